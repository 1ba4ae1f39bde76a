//! Runs Linux Realms on the machine, and reports what they did.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use realm_sdk::abi::rtt::Geometry;
use realm_sdk::abi::{Command, IpaRange};
use realm_sdk::conduits::counting::Counts;
use realm_sdk::host::{Platform, Rmm};
use realm_sdk::rec::gic::{RealmGic, RecInterface};
use realm_sdk::rec::mmio::{MmioBus, MmioDevice, PL011_SIZE, Pl011};
use realm_sdk::rec::set::{ExitKind, SystemEnd};
use realm_sdk::vgic::{Gic, GicConfig, OwnedGicStorage, VirtualInterface};
use spin::Mutex;

use super::comparison::Comparison;
use super::console::Console;
use super::cpus::Placement;
use super::guest::{Build, Guest};
use super::layout::{BLOCK, DISTRIBUTOR, REDISTRIBUTORS, UART};
use super::options::{Files, Options};
use super::schedule::{Board, Shared, ticks_of};
use super::vcpu::Counters;
use crate::balanced::in_session;
use crate::frames::{CpuMemory, STOCK};
use crate::limits;
use crate::machine::Machine;
use crate::report::{Milliseconds, Outcome, Stop, Summary};

/// SPIs of the guest's GIC: the first register's.
const SPIS: usize = 32;
/// Devices of the bus: distributor, redistributors, UART.
const DEVICES: usize = 3;
/// Resets of a Realm after which it is not built again.
const MOST_RESETS: u32 = 16;

/// Runs the Realms that the options name, and prints what their consoles do, what they did, the
/// table of calls to the RMM, and the balance of memory.
///
/// A run passes if each Realm turns itself off (`SYSTEM_OFF`) in time, and all memory is back. A
/// Realm that resets itself is built again.
pub fn run<M: Machine>(machine: &M, files: &Files<'_>, options: &Options) -> Summary {
    in_session(machine, "linux ", true, &mut |session, conduit, memory, summary| {
        let issued = || conduit.total().issued;
        let dialect = session.dialect();
        let delegations = || conduit.counts(Command::GranuleRangeDelegate, dialect).issued;
        let limits = match limits::shown(session, machine.memory(), &delegations) {
            Ok(limits) => limits,
            Err(stop) => return summary.print(machine, "linux limits of calls", Err(stop)),
        };
        let done = |counts: Counts| counts.issued.saturating_sub(counts.retried());
        let of_memory = || {
            let of_recs = [Command::RecEnter, Command::PsciComplete]
                .map(|command| done(conduit.counts(command, dialect)));
            of_recs.into_iter().fold(done(conduit.total()), u64::saturating_sub)
        };
        for number in 1..=options.runs {
            let failed = || {
                let entries = conduit.counts(Command::RecEnter, dialect).failed;
                (conduit.total().failed.saturating_sub(entries), entries)
            };
            let before = failed();
            let name = format!("linux run {number}");
            let comparison = Comparison::new(limits, &of_memory, options.compare);
            let totals = Totals::default();
            let (comparison, totals) = (&comparison, &totals);
            let rmm = session;
            let run = Run { machine, rmm, files, options, issued: &issued, comparison, totals };
            let outcome = run.until_off();
            memory.drain(session);
            let has_passed = outcome.is_ok();
            summary.print(machine, &name, outcome);
            if !has_passed {
                continue;
            }
            for (kind, outcome) in comparison.outcomes() {
                summary.print(machine, &format!("{name}, {}", kind.name()), outcome);
            }
            let outcome = totals.fault_exits();
            summary.print(machine, &format!("{name}, exits for faults"), outcome);
            let (others, entries) = failed();
            let failed = (others.saturating_sub(before.0), entries.saturating_sub(before.1));
            let outcome = totals.failed_calls(failed);
            summary.print(machine, &format!("{name}, failed calls"), outcome);
        }
    })
}

/// One run, of all Realms at once.
struct Run<'r, M, P> {
    machine: &'r M,
    rmm: &'r Rmm<P>,
    files: &'r Files<'r>,
    options: &'r Options,
    /// The calls to the RMM so far.
    issued: &'r dyn Fn() -> u64,
    comparison: &'r Comparison<'r>,
    totals: &'r Totals,
}

/// A time, and the calls to the RMM up to it.
#[derive(Clone, Copy)]
struct Mark(u64, u64);

/// What all Realms of a run did and had, together.
#[derive(Debug, Default)]
struct Totals {
    /// Exits for faults.
    faults: Cell<u64>,
    /// Leaf tables of RAM.
    tables: Cell<u64>,
    /// Virtual CPUs beside the one that turns its Realm off.
    others: Cell<u64>,
}

impl Totals {
    fn add(&self, faults: u64, ram: IpaRange, vcpus: usize) {
        self.faults.set(self.faults.get() + faults);
        self.tables.set(self.tables.get() + ram.bytes().div_ceil(BLOCK));
        self.others.set(self.others.get() + (vcpus as u64).saturating_sub(1));
    }

    /// One for a leaf table is enough, as a fault gets all memory of its table.
    fn fault_exits(&self) -> Outcome {
        let (exits, tables) = (self.faults.get(), self.tables.get());
        let what = format!("{exits} for {tables} leaf tables");
        if exits <= tables { Ok(what) } else { Err(Stop::failed(what)) }
    }

    /// No call may fail, but one entry of each other virtual CPU: when it is made, the Realm may
    /// have turned itself off, on another CPU.
    fn failed_calls(&self, (others, entries): (u64, u64)) -> Outcome {
        match (others, entries) {
            (0, 0) => Ok("none".into()),
            (0, entries) if entries <= self.others.get() => {
                Ok(format!("none but {entries} entries of other CPUs at the end"))
            }
            (others, entries) => Err(Stop::failed(format_args!("{others}, and {entries} entries"))),
        }
    }
}

impl<M, P> Run<'_, M, P>
where
    M: Machine,
    P: Platform<Conduit: Sync, Lock: Send + Sync> + Sync,
{
    /// Until all Realms have turned themselves off.
    fn until_off(&self) -> Outcome {
        for _ in 0..=MOST_RESETS {
            let (ends, detail) = self.once()?;
            match ends.iter().find(|end| **end != Some(SystemEnd::Off)) {
                None => return Ok(detail),
                Some(Some(SystemEnd::Reset)) => {
                    self.machine.print(format_args!("linux: reset after {detail}"));
                }
                Some(end) => return Err(Stop::failed(format_args!("a Realm ended by {end:?}"))),
            }
        }
        Err(Stop::failed(format_args!("more than {MOST_RESETS} resets")))
    }

    fn mark(&self) -> Mark {
        Mark(self.machine.ticks(), (self.issued)())
    }

    /// What was done between two marks.
    fn since(&self, phase: &str, from: Mark, to: Mark) -> String {
        let ticks = to.0.saturating_sub(from.0);
        let time = Milliseconds { ticks, frequency: self.machine.frequency().get() };
        format!("{phase} {} SMCs, {time}", to.1.saturating_sub(from.1))
    }

    /// Builds the Realms, runs them until their ends, and tears them down.
    fn once(&self) -> Result<(Vec<Option<SystemEnd>>, String), Stop> {
        let (machine, options) = (self.machine, self.options);
        let cpus = options.cpus.min(machine.cpus()).max(1);
        let placements: Vec<_> = (0..options.realms)
            .map(|number| Placement { machine, cpus, before: number * options.vcpus })
            .collect();
        let clock = || machine.ticks();
        let mut memory = CpuMemory::new(machine.memory(), STOCK);
        let begun = self.mark();
        let mut guests = Vec::new();
        let mut built = Ok(());
        for (number, placement) in (0..).zip(&placements) {
            let build = Build {
                rmm: self.rmm,
                cpus: placement,
                clock: &clock,
                files: self.files,
                options,
                comparison: self.comparison,
                name: format!("linux {number}"),
                vmid: number,
            };
            match build.guest(&mut memory) {
                Ok(guest) => guests.push(guest),
                Err(stop) => {
                    built = Err(stop);
                    break;
                }
            }
        }
        let after_build = self.mark();
        let ran = built.and_then(|()| self.run_guests(cpus, &placements, &guests));
        let after_run = self.mark();
        for (number, guest) in guests.iter().enumerate() {
            self.describe(number, guest);
        }
        let ends = guests.iter().map(|guest| guest.vcpus.system_end()).collect();
        let mut torn_down = Ok(());
        for guest in guests {
            let ended = guest.tear_down(&mut memory, self.comparison);
            torn_down = torn_down.and(ended);
        }
        memory.drain(self.rmm);
        let after_tear_down = self.mark();
        ran.and(torn_down)?;
        let phases = [
            self.since("build", begun, after_build),
            self.since("run", after_build, after_run),
            self.since("tear down", after_run, after_tear_down),
        ];
        Ok((ends, phases.join("; ")))
    }

    /// Runs all virtual CPUs of all Realms.
    fn run_guests(
        &self,
        cpus: u16,
        placements: &[Placement<'_, M>],
        guests: &[Guest<'_, P>],
    ) -> Result<(), Stop> {
        let vtr = RecInterface::new(self.rmm, self.machine.interface()).vtr();
        let storages: Vec<OwnedGicStorage> =
            guests.iter().map(|guest| OwnedGicStorage::new(guest.vcpus.len())).collect();
        let mut gics = Vec::new();
        for (guest, storage) in guests.iter().zip(&storages) {
            let affinities: Vec<_> = guest.vcpus.affinities().collect();
            let config = GicConfig { affinities: &affinities, spis: SPIS, vtr };
            gics.push(Gic::new(storage, &config).map_err(Stop::failed)?);
        }
        let mut joined = Vec::new();
        for (guest, gic) in guests.iter().zip(&gics) {
            joined.push(RealmGic::new(gic, &guest.vcpus).map_err(Stop::failed)?);
        }
        let mut uarts: Vec<Pl011<_>> = Vec::new();
        for (number, gic) in joined.iter().enumerate() {
            uarts.push(Pl011::new(Console::new(self.machine, *gic, number)));
        }
        let frames: Vec<_> =
            joined.iter().map(|gic| (gic.distributor(), gic.redistributors())).collect();
        let mut buses = Vec::new();
        for ((guest, uart), (distributor, redistributors)) in guests.iter().zip(&uarts).zip(&frames)
        {
            let devices: [(u64, u64, &dyn MmioDevice); DEVICES] = [
                (DISTRIBUTOR, distributor.bytes(), distributor),
                (REDISTRIBUTORS, redistributors.bytes(), redistributors),
                (UART, PL011_SIZE, uart),
            ];
            buses.push(bus(guest.realm.geometry(), devices)?);
        }
        let counters: Vec<Counters> = guests.iter().map(|_| Counters::default()).collect();
        let boards: Vec<Board<'_, '_, P>> = (guests.iter().zip(&joined))
            .zip(buses.iter().zip(&counters))
            .map(|((guest, gic), (bus, counters))| {
                let comparison = self.comparison;
                Board { guest, gic: *gic, bus, counters, comparison }
            })
            .collect();
        let is_over = AtomicBool::new(false);
        let limit = ticks_of(self.machine, Duration::from_secs(self.options.limit));
        let limit = self.machine.ticks().saturating_add(limit);
        let (machine, rmm) = (self.machine, self.rmm);
        let shared = Shared { machine, rmm, boards: &boards, is_over: &is_over, limit };
        let failures = Mutex::new(Vec::new());
        machine.on_cpus(cpus, &|cpu| {
            let mut memory = CpuMemory::new(machine.memory(), STOCK);
            let is_own = |realm: usize, index| {
                placements.get(realm).is_some_and(|placement| placement.cpu_of(index) == cpu)
            };
            let ended = shared.run(&mut memory, is_own);
            memory.drain(rmm);
            if let Err(stop) = ended {
                failures.lock().push(stop);
            }
        });
        for (number, counters) in counters.iter().enumerate() {
            let [shared, private, unused] = [&counters.shared, &counters.private, &counters.unused]
                .map(|counter| counter.load(Ordering::Relaxed));
            machine.print(format_args!(
                "linux {number}: {shared} bytes became shared, {private} private again"
            ));
            if unused > 0 {
                let what = format_args!("{unused} runs did not get their interrupts");
                failures.lock().push(Stop::failed(what));
            }
        }
        failures.into_inner().into_iter().next().map_or(Ok(()), Err)
    }

    /// Prints what the virtual CPUs did.
    fn describe(&self, number: usize, guest: &Guest<'_, P>) {
        let frequency = self.machine.frequency().get();
        let faults = (0..guest.vcpus.len())
            .filter_map(|index| Some(guest.vcpus.statistics(index)?.exits(ExitKind::Fault)));
        self.totals.add(faults.sum(), guest.layout.ram, guest.vcpus.len());
        for index in 0..guest.vcpus.len() {
            let Some(statistics) = guest.vcpus.statistics(index) else { continue };
            let mut kinds = String::new();
            for kind in ExitKind::ALL {
                let exits = statistics.exits(kind);
                if exits > 0 {
                    // Writing to a string does not fail.
                    let _ = write!(kinds, ", {kind:?} {exits}");
                }
            }
            let [inside, outside] = [statistics.time_inside, statistics.time_outside]
                .map(|ticks| Milliseconds { ticks, frequency });
            let exits = statistics.all_exits();
            self.machine.print(format_args!(
                "linux {number} cpu {index}: {exits} exits{kinds}; \
                 {inside} in the RMM, {outside} outside"
            ));
        }
    }
}

/// A bus with these devices, at offsets from the first unprotected IPA.
fn bus<'d>(
    geometry: Geometry,
    devices: [(u64, u64, &'d dyn MmioDevice); DEVICES],
) -> Result<MmioBus<'d, DEVICES>, Stop> {
    let mut bus = MmioBus::new(geometry);
    for (offset, bytes, device) in devices {
        let base = geometry
            .unprotected_base()
            .checked_add(offset)
            .ok_or_else(|| Stop::failed("a device is beyond the IPA space"))?;
        bus.add(IpaRange::with_size_or_empty(base, bytes), device).map_err(Stop::failed)?;
    }
    Ok(bus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use realm_sdk::abi::Ipa;

    fn is_failure(outcome: Outcome, what: &str) -> bool {
        matches!(outcome, Err(Stop::Failed(found)) if found == what)
    }

    #[test]
    fn a_call_that_fails_is_a_failure() {
        let totals = Totals::default();
        totals.add(0, IpaRange::empty(Ipa::new(0)), 3);
        assert_eq!(totals.failed_calls((0, 0)).unwrap(), "none");
        assert!(totals.failed_calls((0, 2)).is_ok());
        assert!(is_failure(totals.failed_calls((0, 3)), "0, and 3 entries"));
        assert!(is_failure(totals.failed_calls((1, 0)), "1, and 0 entries"));
        // One virtual CPU alone knows that the Realm is off.
        let alone = Totals::default();
        alone.add(0, IpaRange::empty(Ipa::new(0)), 1);
        assert!(is_failure(alone.failed_calls((0, 1)), "0, and 1 entries"));
    }

    #[test]
    fn a_leaf_table_has_one_fault_at_most() {
        let ram = IpaRange::with_size_or_empty(Ipa::new(0x4000_0000), 2 * BLOCK);
        let totals = Totals::default();
        totals.add(2, ram, 1);
        assert!(totals.fault_exits().is_ok());
        totals.add(3, ram, 1);
        assert!(is_failure(totals.fault_exits(), "5 for 4 leaf tables"));
    }
}
