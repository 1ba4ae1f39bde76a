//! The Realm of a test, and how the host serves it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::time::Duration;

use realm_sdk::abi::run::RUN_GPRS;
use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::{Active, Content, New, Realm, RealmConfig, RecStart, Records, Region};
use realm_sdk::host::command::SharedAccess;
use realm_sdk::host::{Platform, Rmm, Undelegated};
use realm_sdk::rec::exit::{Exit, Fault, HostCall, RipasChange};
use realm_sdk::rec::gic::{GicHandler, RealmGic, RecInterface};
use realm_sdk::rec::mmio::{MmioBus, MmioDevice};
use realm_sdk::rec::set::{Outcome as Ended, Sleep};
use realm_sdk::rec::{Flow, Handler, Rec, RecSet, Timers};
use realm_sdk::sro::HostAllocator;
use realm_sdk::vgic::{Gic, GicConfig, GicStorage, VirtualInterface};

use super::tests::{COST, Needs, Test};
use crate::frames::CpuMemory;
use crate::linux::layout::{DISTRIBUTOR, IPA_WIDTH, REDISTRIBUTORS};
use crate::linux::{Comparison, Counters, Placement, Vcpu, ticks_of};
use crate::machine::Machine;
use crate::recs::{create_rec, give_back, tear_down};
use crate::report::{Outcome, Stop};

/// RAM of the Realm, and where the payload is in it: it is linked for any address.
const RAM: Ipa = Ipa::new(0x6000_0000);
const RAM_BYTES: u64 = 128 << 20;
/// What the payload may take, with its stacks.
const IMAGE_BYTES: usize = 1 << 20;
/// What is mapped to see what that costs: blocks after the payload.
const MAPPED: u64 = RAM.raw() + (2 << 20);
const MAPPED_BYTES: u64 = 64 << 20;
/// Protected pages that are no RAM at first.
pub(super) const RIPAS_PAGES: u64 = 0x7000_0000;
/// The shared buffer, and what is used of it: the part of the first plane of the first REC.
const BUFFER: u64 = 0x7800_0000;
const BUFFER_BYTES: usize = 0x4000;
/// Parts of the buffer: text, the command, its arguments (the first is not used).
const LOG_BYTES: usize = 10240;
const COMMAND: u64 = LOG_BYTES as u64;
const ARGUMENTS: u64 = COMMAND + 8;
/// The longest wait of a REC whose deadline the host may not be told.
const LONGEST_WAIT: Duration = Duration::from_millis(10);

/// Host calls of the payload, by their immediates.
mod call {
    pub(super) const GET_BUFFER: u16 = 1;
    pub(super) const SUCCESS: u16 = 2;
    pub(super) const FAILURE: u16 = 3;
    pub(super) const PRINT: u16 = 4;
}

fn buffer(offset: u64) -> Ipa {
    Ipa::new(1 << (IPA_WIDTH - 1) | (BUFFER + offset))
}

/// Makes Realms for tests.
pub(super) struct TestRealm<'t, M, P> {
    pub(super) machine: &'t M,
    pub(super) rmm: &'t Rmm<P>,
    pub(super) payload: &'t [u8],
    /// The longest time that a command may take.
    pub(super) limit: Duration,
}

/// A Realm that is being built: it is torn down if a step fails.
struct Parts<'r, P: Platform> {
    vcpus: RecSet<'r>,
    realm: Option<Realm<'r, P, New>>,
}

impl<P: Platform> Parts<'_, P> {
    /// Tears down what there is. The error that is reported is the one before.
    fn give_up(mut self, memory: &mut CpuMemory<'_>, stop: Stop) -> Stop {
        if let Some(realm) = self.realm {
            let _ = tear_down(realm, self.vcpus.drain(), memory);
        }
        stop
    }
}

impl<M, P> TestRealm<'_, M, P>
where
    M: Machine,
    P: Platform<Conduit: Sync, Lock: Send + Sync> + Sync,
{
    /// What a Realm costs: to create it with 1 MiB of content, to map 64 MiB, to have the payload
    /// execute one command, and to tear it down; in calls to the RMM, and in ticks.
    pub(super) fn cost(&self, memory: &mut CpuMemory<'_>, issued: &dyn Fn() -> u64) -> Outcome {
        self.check_payload()?;
        let mut image = self.payload.to_vec();
        image.resize(IMAGE_BYTES, 0);
        let mut marks = Vec::new();
        let mut mark = || marks.push((self.machine.ticks(), issued()));
        let placement = Placement { machine: self.machine, cpus: 1, before: 0 };
        mark();
        let config = RealmConfig::new(IPA_WIDTH);
        let realm = Realm::create(self.rmm, &config, Records::growing(), memory)?;
        let mut parts = Parts { vcpus: RecSet::with_capacity(1, &placement), realm: Some(realm) };
        let realm = match self.fill(&mut parts, memory, Content::Unmeasured(&image)) {
            Ok(realm) => realm,
            Err(stop) => return Err(parts.give_up(memory, stop)),
        };
        mark();
        let mapped = self.map(&realm, memory);
        mark();
        let outcome = mapped.and_then(|()| self.serve(&realm, &parts.vcpus, memory, &COST));
        mark();
        let torn_down = tear_down(realm, parts.vcpus.drain(), memory);
        mark();
        outcome.and(torn_down)?;
        let phases = ["create", "map 64 MiB", "run", "tear down"];
        let mut text = String::new();
        for ((from, to), phase) in marks.iter().zip(marks.iter().skip(1)).zip(phases) {
            let (ticks, calls) = (to.0.saturating_sub(from.0), to.1.saturating_sub(from.1));
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = write!(text, "{separator}{phase} {calls} SMCs, {ticks} ticks");
        }
        Ok(text)
    }

    fn check_payload(&self) -> Result<(), Stop> {
        match self.payload.len() {
            1..=IMAGE_BYTES => Ok(()),
            _ => Err(Stop::failed("the payload is empty, or larger than 1 MiB")),
        }
    }

    fn map(&self, realm: &Realm<'_, P, Active>, memory: &mut CpuMemory<'_>) -> Result<(), Stop> {
        const BLOCK: u64 = 2 << 20;
        let Some(granules) = memory.allocator().allocate(MAPPED_BYTES, BLOCK) else {
            return Err(Stop::failed("no memory"));
        };
        realm.map(memory, Ipa::new(MAPPED), granules).map_err(|failed| {
            give_back(memory, failed.kept);
            Stop::failed(failed.error)
        })
    }

    /// Runs a test in a Realm of its own.
    pub(super) fn run(&self, memory: &mut CpuMemory<'_>, test: &Test) -> Outcome {
        let placement = Placement { machine: self.machine, cpus: 1, before: 0 };
        let config = self.config(test)?;
        let realm = Realm::create(self.rmm, &config, Records::growing(), memory)?;
        let mut parts = Parts { vcpus: RecSet::with_capacity(1, &placement), realm: Some(realm) };
        match self.fill(&mut parts, memory, Content::Measured(self.payload)) {
            Ok(realm) => {
                let outcome = self.serve(&realm, &parts.vcpus, memory, test);
                let torn_down = tear_down(realm, parts.vcpus.drain(), memory);
                outcome.and_then(|detail| torn_down.map(|()| detail))
            }
            Err(stop) => Err(parts.give_up(memory, stop)),
        }
    }

    fn config(&self, test: &Test) -> Result<RealmConfig, Stop> {
        let mut config = RealmConfig::new(IPA_WIDTH);
        match test.needs {
            Needs::Sve => config.sve_vl = Some(0),
            Needs::Pmu => config.pmu_num_ctrs = Some(1),
            Needs::Nothing | Needs::Rejection => return Ok(config),
        }
        match config.validate(self.rmm.features(), self.rmm.dialect()) {
            Ok(_) => Ok(config),
            Err(error) => Err(Stop::skipped(error)),
        }
    }

    fn fill<'r>(
        &self,
        parts: &mut Parts<'r, P>,
        memory: &mut CpuMemory<'_>,
        content: Content<'_>,
    ) -> Result<Realm<'r, P, Active>, Stop> {
        let Some(realm) = parts.realm.as_mut() else { return Err(Stop::failed("no Realm")) };
        self.check_payload()?;
        let (Content::Measured(file) | Content::Unmeasured(file)) = content else {
            return Err(Stop::failed("no content"));
        };
        let bytes = (file.len() as u64).next_multiple_of(0x1000);
        let rest = IpaRange::with_size_or_empty(RAM, RAM_BYTES);
        let rest = rest.after(RAM.checked_add(bytes).unwrap_or(RAM));
        let image = allocate(memory, bytes)?;
        let mut regions =
            [Region::new(RAM, image, content), Region::without_memory(rest.base(), rest.bytes())];
        let populated = realm.populate(memory, &mut regions);
        for region in regions {
            give_back(memory, region.into_memory());
        }
        populated?;
        let start = RecStart { runnable: true, pc: RAM, gprs: [0; 8] };
        let rec = create_rec(realm, memory, &start)?;
        parts.vcpus.add(rec, true).map_err(|refused| Stop::failed(refused.error))?;
        let Some(realm) = parts.realm.take() else { return Err(Stop::failed("no Realm")) };
        realm.activate().map_err(|failed| {
            parts.realm = Some(failed.kept);
            Stop::failed(failed.error)
        })
    }

    /// Has the payload execute the commands of a test.
    fn serve(
        &self,
        realm: &Realm<'_, P, Active>,
        vcpus: &RecSet<'_>,
        memory: &mut CpuMemory<'_>,
        test: &Test,
    ) -> Outcome {
        let shared = allocate(memory, BUFFER_BYTES as u64)?;
        realm.share(memory, buffer(0), shared, SharedAccess::MEMORY)?;
        realm.write_shared(buffer(0), &[0; BUFFER_BYTES])?;
        let storage = GicStorage::<1, 32>::new();
        let affinities: Vec<_> = vcpus.affinities().collect();
        let vtr = RecInterface::new(self.rmm, self.machine.interface()).vtr();
        let config = GicConfig { affinities: &affinities, spis: 32, vtr };
        let gic = Gic::new(&storage, &config).map_err(Stop::failed)?;
        // The payload relies on a host that has enabled its private interrupts.
        let _ = gic.gicd_write(0, 4, 0b1_0010);
        let _ = gic.gicr_write(0, 0x1_0080, 4, u64::from(u32::MAX));
        let _ = gic.gicr_write(0, 0x1_0100, 4, u64::from(u32::MAX));
        let gic = RealmGic::new(&gic, vcpus).map_err(Stop::failed)?;
        let (distributor, redistributors) = (gic.distributor(), gic.redistributors());
        let mut bus = MmioBus::<2>::new(realm.geometry());
        let devices: [(u64, u64, &dyn MmioDevice); 2] = [
            (DISTRIBUTOR, distributor.bytes(), &distributor),
            (REDISTRIBUTORS, redistributors.bytes(), &redistributors),
        ];
        for (offset, bytes, device) in devices {
            let base = Ipa::new(1 << (IPA_WIDTH - 1) | offset);
            let range = IpaRange::with_size_or_empty(base, bytes);
            bus.add(range, device).map_err(Stop::failed)?;
        }
        let (counters, comparison) = (Counters::default(), Comparison::off());
        let mut runner = vcpus.claim(0).map_err(Stop::failed)?;
        runner.trap_waiting(true, false);
        for (command, arguments) in test.commands {
            realm.write_shared(buffer(COMMAND), &[*command])?;
            for (offset, argument) in (ARGUMENTS + 8..).step_by(8).zip(arguments) {
                realm.write_shared(buffer(offset), &argument.to_le_bytes())?;
            }
            let end = self.machine.ticks().saturating_add(ticks_of(self.machine, self.limit));
            let rest = Payload {
                vcpu: Vcpu {
                    machine: self.machine,
                    realm,
                    ram: IpaRange::with_size_or_empty(RAM, BUFFER - RAM.raw()),
                    memory: &mut *memory,
                    counters: &counters,
                    comparison: &comparison,
                    stop: None,
                },
                rejects: test.needs == Needs::Rejection,
                verdict: None,
            };
            let interface = RecInterface::new(self.rmm, self.machine.interface());
            let mut handler = GicHandler { gic, index: 0, interface, bus: &bus, rest };
            loop {
                self.machine.set_alarm(Some(end));
                let machine = self.machine;
                let is_enough = &mut |_| machine.ticks() >= end;
                match runner.run_until(self.rmm, &mut handler, is_enough).map_err(Stop::failed)? {
                    Ended::Stopped => break,
                    Ended::Waiting(sleep) => self.wait(vcpus, gic, &sleep),
                    Ended::Bounded => return Err(Stop::failed("it takes too long")),
                    other => {
                        let stop = handler.rest.vcpu.stop.take();
                        return Err(stop.unwrap_or_else(|| Stop::failed(format!("{other:?}"))));
                    }
                }
            }
            self.machine.set_alarm(None);
            match handler.rest.verdict {
                Some(true) => {}
                _ => return Err(Stop::failed(format_args!("command {command} fails"))),
            }
        }
        Ok(String::from("the payload reports success"))
    }

    fn wait(&self, vcpus: &RecSet<'_>, gic: RealmGic<'_>, sleep: &Sleep) {
        let machine = self.machine;
        machine.mask_interrupts();
        let now = machine.ticks();
        let timeout = sleep.timeout(now, machine.frequency(), LONGEST_WAIT);
        if !vcpus.is_ready(0) {
            let wait = timeout.unwrap_or(LONGEST_WAIT);
            machine.set_alarm(Some(now.saturating_add(ticks_of(machine, wait))));
            machine.wait_for_interrupt();
        }
        machine.unmask_interrupts();
        gic.set_timers(0, sleep.timers.at(machine.ticks()));
    }
}

fn allocate(memory: &CpuMemory<'_>, bytes: u64) -> Result<Undelegated, Stop> {
    memory.allocator().allocate(bytes, 0x1000).ok_or_else(|| Stop::failed("no memory"))
}

/// The handler of the payload's REC.
struct Payload<'v, 'r, P: Platform, M> {
    vcpu: Vcpu<'v, 'r, P, M>,
    rejects: bool,
    /// What the payload said last about a command.
    verdict: Option<bool>,
}

impl<P: Platform, M: Machine> Payload<'_, '_, P, M> {
    /// Prints what the payload has written to the buffer, and clears it.
    fn print(&self) -> Result<(), Stop> {
        const PART: usize = 256;
        let mut text = String::new();
        for offset in (0..LOG_BYTES).step_by(PART) {
            let mut part = [0; PART];
            self.vcpu.realm.read_shared(buffer(offset as u64), &mut part)?;
            let end = part.iter().position(|byte| *byte == 0);
            let printable = part.iter().take(end.unwrap_or(PART));
            text.extend(printable.map(|byte| match byte {
                b' '..=b'~' => char::from(*byte),
                _ => ' ',
            }));
            if end.is_some() {
                break;
            }
        }
        self.vcpu.machine.print(format_args!("realm | {}", text.trim_end()));
        Ok(self.vcpu.realm.write_shared(buffer(0), &[0; LOG_BYTES])?)
    }
}

impl<P: Platform, M: Machine> Handler for Payload<'_, '_, P, M> {
    fn before_entry(&mut self, rec: &Rec) {
        self.vcpu.before_entry(rec);
    }

    fn entry_cancelled(&mut self, rec: &Rec) {
        self.vcpu.entry_cancelled(rec);
    }

    fn after_exit(&mut self, timers: Timers, pmu_overflow: bool) {
        self.vcpu.after_exit(timers, pmu_overflow);
    }

    fn fault(&mut self, fault: Fault) -> Flow {
        self.vcpu.fault(fault)
    }

    fn ripas_change(&mut self, rec: &Rec, change: RipasChange) -> Flow {
        if !self.rejects {
            return self.vcpu.ripas_change(rec, change);
        }
        match change.reject() {
            Ok(answer) => Flow::Enter(answer),
            Err(_) => Flow::Leave,
        }
    }

    fn host_call(&mut self, call: HostCall) -> Flow {
        let mut gprs = [0; RUN_GPRS];
        match call.imm() {
            call::GET_BUFFER => {
                let [x0, ..] = &mut gprs;
                *x0 = buffer(0).raw();
            }
            call::PRINT => {
                if let Err(stop) = self.print() {
                    self.vcpu.stop = Some(stop);
                    return Flow::Leave;
                }
            }
            call::SUCCESS | call::FAILURE => {
                self.verdict = Some(call.imm() == call::SUCCESS);
                return Flow::Stop(call.complete(gprs));
            }
            _ => return Flow::Enter(call.not_supported()),
        }
        Flow::Enter(call.complete(gprs))
    }

    fn other(&mut self, exit: &Exit) -> Flow {
        self.vcpu.other(exit)
    }
}
