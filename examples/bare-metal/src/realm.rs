//! A Realm that runs a program: made, run on physical CPUs, and torn down.

mod cpu;
mod devices;
mod phases;
mod record;
mod vcpu;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use realm_guest::layout::{self, CALLS_BYTES, IMAGE, IMAGE_BYTES, RAM, RAM_BYTES};
use realm_guest::{Entry, Program};
use realm_sdk::abi::rec::RecParams;
use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::plan::Limits;
use realm_sdk::builder::{Active, Content, New, Realm, RealmConfig, RecStart, Records, Region};
use realm_sdk::measurement::{Rim, measurement_log};
use realm_sdk::rec::gic::{RealmGic, RecInterface};
use realm_sdk::rec::mmio::{MmioBus, MmioDevice, PL011_SIZE, Pl011};
use realm_sdk::rec::set::{ExitKind, PhysicalCpus, Statistics, SystemEnd};
use realm_sdk::rec::{Rec, RecSet};
use realm_sdk::sro::HostAllocator;
use realm_sdk::vgic::{Gic, GicConfig, OwnedGicStorage, SpiIntid, VirtualInterface};
use spin::Mutex;

use crate::checks::expect;
use crate::fixture::{Fixture, FixtureHost};
use crate::frames::{CpuMemory, Frames, Pieces};
use crate::machine::Machine;
use crate::recs::{create_rec, tear_down};
use crate::report::Stop;
use cpu::run_shares;
use devices::{Console, Device};
use phases::Phases;
pub(crate) use record::{Record, Values};

/// SPIs of a Realm's GIC.
const SPIS: usize = 32;
/// The image where there is no payload. Guests of the model are functions, so it is measured there
/// and never executed; elsewhere it has the Realm reset at once, which no program does.
const NO_IMAGE: [u8; 0x4000] = {
    let mut image = [0x1f; 0x4000];
    if let Some((code, _)) = image.split_first_chunk_mut() {
        *code = RESET;
    }
    image
};
/// movz w0, #0x8400, lsl #16; movk w0, #9: PSCI_SYSTEM_RESET; smc #0; b .
const RESET: [u8; 16] = [
    0x00, 0x80, 0xb0, 0x52, 0x20, 0x01, 0x80, 0x72, 0x03, 0x00, 0x00, 0xd4, 0x00, 0x00, 0x00, 0x14,
];
/// How long a Realm may run, in seconds.
const LONGEST_RUN: u64 = 60;

/// Answers a step of a program: the running Realm, the number of the step and its arguments.
pub(crate) type OnStep<'p, M> = dyn Fn(&Running<'_, '_, M>, [u64; 3]) -> u64 + Sync + 'p;
/// Is told values by a program.
pub(crate) type OnValues<'p, M> = dyn Fn(&Running<'_, '_, M>, &Values) + Sync + 'p;
/// What another CPU does while a Realm runs.
pub(crate) type Operator<'p, M> = dyn Fn(&Running<'_, '_, M>) + Sync + 'p;

/// What a Realm is like, and what it runs.
pub(crate) struct Plan<'p, M: Machine> {
    pub(crate) program: Program,
    pub(crate) arguments: [u64; 7],
    /// Virtual CPUs.
    pub(crate) vcpus: u16,
    /// Whether all of them are on at first, and not only the first one.
    pub(crate) all_on: bool,
    /// Physical CPUs that run them, from `first_cpu` on: virtual CPU `i` runs on number `i % cpus`
    /// of these.
    pub(crate) cpus: u16,
    pub(crate) first_cpu: u16,
    /// The largest piece of memory that it is given, in bytes.
    pub(crate) largest_piece: u64,
    /// Beside the image and RAM: memory with content, in granules.
    pub(crate) extra: Vec<(Ipa, Content<'p>)>,
    /// What is not as [`RealmConfig::new`] has it.
    pub(crate) config: RealmConfig,
    /// The personalization value has this number, beside the program.
    pub(crate) salt: u64,
    /// Most calls for a change of the RIPAS at once.
    pub(crate) ripas_calls: u32,
    /// Whether memory that becomes EMPTY is shared; otherwise it is reclaimed.
    pub(crate) shares: bool,
    /// Whether WFE ends a run.
    pub(crate) traps_events: bool,
    /// Bytes of RAM that have memory before it runs.
    pub(crate) mapped_ahead: u64,
    /// Whether entries and exits are timed.
    pub(crate) is_timed: bool,
    /// Every so many requests of `CPU_ON` one is denied; 0 for none.
    pub(crate) deny_every: u64,
    /// How much the RMM does in one call, if the number of calls that populate the Realm is to be
    /// compared with the predicted one.
    pub(crate) limits: Option<Limits>,
    /// Of how much RAM around a fault memory is mapped at most, in bytes, a power of two.
    pub(crate) fault_window: u64,
    pub(crate) on_step: &'p OnStep<'p, M>,
    pub(crate) on_values: &'p OnValues<'p, M>,
    /// It runs on the CPU after the `cpus` that run the Realm.
    pub(crate) operator: Option<&'p Operator<'p, M>>,
}

impl<M: Machine> Plan<'_, M> {
    /// A Realm with one virtual CPU on one CPU, to which nothing unusual is done.
    pub(crate) fn new(program: Program, arguments: &[u64]) -> Self {
        let mut all = [0; 7];
        for (to, from) in all.iter_mut().zip(arguments) {
            *to = *from;
        }
        Self {
            program,
            arguments: all,
            vcpus: 1,
            all_on: false,
            cpus: 1,
            first_cpu: 0,
            largest_piece: u64::MAX,
            extra: Vec::new(),
            config: RealmConfig::new(layout::IPA_WIDTH),
            salt: 0,
            ripas_calls: u32::MAX,
            shares: false,
            traps_events: false,
            mapped_ahead: 0,
            is_timed: false,
            deny_every: 0,
            limits: None,
            fault_window: u64::MAX,
            on_step: &|_, _| 0,
            on_values: &|_, _| {},
            operator: None,
        }
    }
}

/// Which physical CPU runs each virtual CPU.
struct Cpus<'m, M> {
    machine: &'m M,
    cpus: u16,
    first: u16,
}

impl<M: Machine> PhysicalCpus for Cpus<'_, M> {
    fn current(&self) -> u16 {
        self.machine.current_cpu()
    }

    fn interrupt(&self, cpu: u16) {
        self.machine.interrupt(cpu);
    }

    fn wake(&self, index: usize) {
        self.machine.interrupt(self.first + cpu_of(index, self.cpus));
    }
}

/// Which of the physical CPUs of a Realm runs a virtual one.
fn cpu_of(index: usize, cpus: u16) -> u16 {
    u16::try_from(index).unwrap_or(0).checked_rem(cpus).unwrap_or(0)
}

/// A Realm that runs.
pub(crate) struct Running<'s, 'b, M: Machine> {
    pub(crate) fixture: &'s Fixture<'b, M>,
    pub(crate) realm: &'s ActiveRealm<'s, 'b, M>,
    pub(crate) set: &'s RecSet<'s>,
    pub(crate) gic: RealmGic<'s>,
    bus: &'s MmioBus<'s, 4>,
    plan: &'s Plan<'s, M>,
    record: &'s Mutex<Record>,
    /// Whether changes of the RIPAS to RAM are rejected.
    rejects_ram: AtomicBool,
    /// Steps that programs have told.
    steps: AtomicU64,
    /// Runs that ended by a kick.
    kicks: AtomicU64,
    /// Requests of `CPU_ON` so far.
    requests: AtomicU64,
    has_given_up: AtomicBool,
    /// The counter value at which it has run for too long.
    deadline: u64,
}

impl<'b, M: Machine> Running<'_, 'b, M> {
    /// Ends the run, because of a failure.
    pub(crate) fn give_up(&self, why: String) {
        self.record.lock().failure.get_or_insert(why);
        self.leave();
    }

    /// From now on, changes of the RIPAS to RAM are rejected, or not any more.
    pub(crate) fn reject_ram(&self, rejects: bool) {
        self.rejects_ram.store(rejects, Ordering::SeqCst);
    }

    /// Ends the program [`Program::Spin`] on a virtual CPU that has told its step.
    pub(crate) fn end_spinning(&self, vcpu: u64) {
        let flag = layout::alias(Ipa::new(RAM + 0x1000 * vcpu));
        if let Err(error) = self.realm.write_shared(flag, &1_u64.to_le_bytes()) {
            self.give_up(format!("the flag is not shared: {error}"));
        }
    }

    /// Runs that ended by a kick.
    pub(crate) fn kicks(&self) -> u64 {
        self.kicks.load(Ordering::SeqCst)
    }

    /// Exits of all virtual CPUs so far.
    pub(crate) fn exits(&self) -> u64 {
        let recs = (0..self.set.len()).filter_map(|index| self.set.rec(index));
        recs.map(Rec::exits).sum()
    }

    /// Waits until programs have told so many steps; false if the run is over before.
    pub(crate) fn wait_for_steps(&self, steps: u64) -> bool {
        self.wait_until(|| self.steps.load(Ordering::SeqCst) >= steps)
    }

    /// Waits until something is so; false if the run is over before.
    pub(crate) fn wait_until(&self, mut is_so: impl FnMut() -> bool) -> bool {
        while !is_so() {
            if self.is_over() {
                return false;
            }
            M::relax();
        }
        true
    }

    /// Waits for some ticks.
    pub(crate) fn sleep(&self, ticks: u64) {
        let end = self.fixture.machine.ticks().saturating_add(ticks);
        self.wait_until(|| self.fixture.machine.ticks() >= end);
    }

    /// Has all CPUs leave the Realm.
    pub(crate) fn leave(&self) {
        self.has_given_up.store(true, Ordering::SeqCst);
        self.set.kick_all();
        let cpus = self.plan.first_cpu..self.plan.first_cpu + self.plan.cpus;
        cpus.for_each(|cpu| self.fixture.machine.interrupt(cpu));
    }

    /// The memory that it is given.
    fn pieces(&self) -> Pieces<'b> {
        Pieces { frames: self.fixture.machine.memory(), largest: self.plan.largest_piece }
    }

    /// Whether all CPUs leave the Realm.
    pub(crate) fn is_over(&self) -> bool {
        self.has_given_up.load(Ordering::SeqCst) || self.set.system_end().is_some()
    }
}

/// What became of a Realm.
pub(crate) struct Ended {
    pub(crate) record: Record,
    /// Exits by kind, of all virtual CPUs.
    exits: [u64; ExitKind::ALL.len()],
    /// Runs that ended by a kick.
    pub(crate) kicks: u64,
    /// How it turned itself off.
    pub(crate) end: Option<SystemEnd>,
    /// The predicted initial measurement: the digest, and zeros.
    pub(crate) rim: [u8; 64],
    /// What its parts took.
    pub(crate) phases: Phases,
    /// What entries and exits took, if that was measured.
    pub(crate) times: Times,
}

/// Times of all virtual CPUs together, in ticks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Times {
    /// In the RMM and the Realm.
    pub(crate) inside: u64,
    /// In the host, between two entries, after stores to devices.
    pub(crate) after_stores: u64,
    /// The same after loads.
    pub(crate) after_loads: u64,
}

impl Times {
    fn of(statistics: &[Statistics]) -> Self {
        let after = |kind| statistics.iter().map(|each| each.time_after(kind)).sum();
        Self {
            inside: statistics.iter().map(|each| each.time_inside).sum(),
            after_stores: after(ExitKind::MmioStore),
            after_loads: after(ExitKind::MmioLoad),
        }
    }
}

impl Ended {
    /// Exits of a kind.
    pub(crate) fn exits(&self, kind: ExitKind) -> u64 {
        self.exits.get(kind as usize).copied().unwrap_or(0)
    }

    /// All exits.
    pub(crate) fn all_exits(&self) -> u64 {
        self.exits.iter().sum()
    }

    /// Checks that the Realm turned itself off, and that each virtual CPU was content at its end.
    pub(crate) fn check(&self, vcpus: u16) -> Result<(), Stop> {
        self.record.check(vcpus)?;
        match self.end {
            Some(SystemEnd::Off) => Ok(()),
            other => Err(Stop::failed(format!("the Realm did not turn itself off: {other:?}"))),
        }
    }
}

/// A Realm before it runs.
pub(crate) struct Built<'r, 'b, M: Machine> {
    pub(crate) realm: Realm<'r, FixtureHost<'b, M>, New>,
    recs: Vec<Rec>,
    rim: [u8; 64],
    phases: Phases,
    /// Calls that populated it.
    populating: u64,
}

/// A Realm that may run.
pub(crate) type ActiveRealm<'r, 'b, M> = Realm<'r, FixtureHost<'b, M>, Active>;

impl<'r, 'b, M: Machine> Built<'r, 'b, M> {
    /// The Realm and its RECs.
    pub(crate) fn into_parts(self) -> (Realm<'r, FixtureHost<'b, M>, New>, Vec<Rec>) {
        (self.realm, self.recs)
    }

    /// How many calls populated it.
    pub(crate) const fn populating(&self) -> u64 {
        self.populating
    }

    /// Its RECs.
    pub(crate) fn recs(&self) -> &[Rec] {
        &self.recs
    }

    /// Activates the Realm; on an error it is torn down.
    pub(crate) fn activate(
        self,
        memory: &mut CpuMemory<'_>,
    ) -> Result<(ActiveRealm<'r, 'b, M>, Vec<Rec>), Stop> {
        match self.realm.activate() {
            Ok(realm) => Ok((realm, self.recs)),
            Err(failed) => {
                let error = failed.error;
                let _ = tear_down(failed.kept, self.recs, memory);
                Err(error.into())
            }
        }
    }
}

/// Makes a Realm, runs it to its end, and tears it down.
pub(crate) fn run<M: Machine>(fixture: &Fixture<'_, M>, plan: &Plan<'_, M>) -> Result<Ended, Stop> {
    let mut memory = fixture.cpu_memory();
    let ended = run_with(fixture, plan, &mut memory);
    memory.drain(fixture.session);
    ended
}

fn run_with<M: Machine>(
    fixture: &Fixture<'_, M>,
    plan: &Plan<'_, M>,
    memory: &mut CpuMemory<'_>,
) -> Result<Ended, Stop> {
    let built = build(fixture, plan, memory)?;
    run_built(fixture, plan, built, memory, &mut |running| {
        let count = plan.cpus + u16::from(plan.operator.is_some());
        fixture.machine.on_cpus(count, &|cpu| match plan.operator {
            Some(operate) if cpu == plan.cpus => operate(running),
            _ => running.run_cpu(cpu),
        });
    })
}

/// Makes a Realm.
pub(crate) fn build<'s, 'b, M: Machine>(
    fixture: &'s Fixture<'b, M>,
    plan: &Plan<'_, M>,
    memory: &mut CpuMemory<'_>,
) -> Result<Built<'s, 'b, M>, Stop> {
    let mut config = plan.config;
    config.personalization = plan.program.personalization(plan.salt);
    let mut phases = Phases::begin(fixture);
    let realm = Realm::create(fixture.session, &config, Records::growing(), memory)?;
    phases.end(fixture, "create");
    let mut built = Built { realm, recs: Vec::new(), rim: [0; 64], phases, populating: 0 };
    match fill(fixture, plan, &config, &mut built, memory) {
        Ok(()) => Ok(built),
        Err(stop) => {
            let _ = tear_down(built.realm, built.recs, memory);
            Err(stop)
        }
    }
}

/// Populates a Realm, makes its RECs, and predicts its measurement.
fn fill<M: Machine>(
    fixture: &Fixture<'_, M>,
    plan: &Plan<'_, M>,
    config: &RealmConfig,
    built: &mut Built<'_, '_, M>,
    memory: &mut CpuMemory<'_>,
) -> Result<(), Stop> {
    let (session, frames) = (fixture.session, fixture.machine.memory());
    let image = fixture.machine.payload().unwrap_or(&NO_IMAGE);
    let image_bytes = (image.len() as u64).next_multiple_of(0x1000);
    let rest = (IMAGE_BYTES + CALLS_BYTES).checked_sub(image_bytes);
    let rest = rest.ok_or_else(|| Stop::failed("the payload is larger than its range"))?;
    let allocate = |bytes| {
        let allocated = frames.allocate(bytes, 0x1000);
        allocated.ok_or_else(|| Stop::failed(format!("no {bytes:#x} bytes are free")))
    };
    let mut regions = vec![
        Region::new(Ipa::new(IMAGE), allocate(image_bytes)?, Content::Measured(image)),
        Region::without_memory(Ipa::new(IMAGE + image_bytes), rest),
        Region::without_memory(Ipa::new(RAM), RAM_BYTES),
    ];
    for (ipa, content) in &plan.extra {
        let bytes = match content {
            Content::Measured(bytes) | Content::Unmeasured(bytes) => bytes.len() as u64,
            _ => 0,
        };
        let bytes = bytes.next_multiple_of(0x1000);
        match allocate(bytes) {
            Ok(granules) => regions.push(Region::new(*ipa, granules, *content)),
            Err(stop) => {
                free_regions(frames, regions);
                return Err(stop);
            }
        }
    }
    let dialect = session.dialect();
    let params = config.validate(session.features(), dialect)?;
    let mut log = |_: &measurement_log::MeasurementEvent| {};
    let mut rim = Rim::new(&params, dialect, &mut log).map_err(Stop::failed)?;
    let measured = rim.add_regions(&mut regions, params.geometry, &mut log);
    let cost = |limits| built.realm.populate_cost(memory, &mut regions, limits).calls();
    let predicted = plan.limits.map(cost);
    let before = fixture.calls();
    let populated = built.realm.populate(memory, &mut regions);
    built.populating = fixture.calls() - before;
    free_regions(frames, regions);
    measured.map_err(Stop::failed)?;
    populated?;
    expect("SMCs to populate", predicted.unwrap_or(built.populating), built.populating)?;
    built.phases.end(fixture, "populate");

    for index in 0..plan.vcpus {
        let arguments = if index == 0 || plan.all_on { plan.arguments } else { [0; 7] };
        let entry = Entry { program: plan.program, index, arguments };
        let runnable = index == 0 || plan.all_on;
        let start = RecStart { runnable, pc: Ipa::new(IMAGE), gprs: entry.registers() };
        let rec = create_rec(&mut built.realm, memory, &start)?;
        let (mpidr, gprs) = (rec.mpidr(), start.gprs);
        let params = RecParams { runnable, mpidr, pc: start.pc.raw(), gprs };
        built.recs.push(rec);
        rim.add_rec(&params, &mut log).map_err(Stop::failed)?;
    }
    built.rim = rim.digest().value();
    built.phases.end(fixture, "RECs");
    Ok(())
}

/// Frees what populating has left.
fn free_regions(frames: &Frames, regions: Vec<Region<'_>>) {
    for region in regions {
        let _ = frames.free(region.into_memory());
    }
}

/// Makes two Realms, runs them at once, and tears them down. With several physical CPUs each of
/// them has CPUs of its own; otherwise they take turns.
pub(crate) fn run_both<M: Machine>(
    fixture: &Fixture<'_, M>,
    plans: [&Plan<'_, M>; 2],
) -> Result<[Ended; 2], Stop> {
    let machine = fixture.machine;
    let mut memory = fixture.cpu_memory();
    let [first, second] = plans;
    let ended = build(fixture, first, &mut memory).and_then(|one| {
        let mut two = match build(fixture, second, &mut memory) {
            Ok(two) => Some(two),
            Err(stop) => {
                let _ = tear_down(one.realm, one.recs, &mut memory);
                return Err(stop);
            }
        };
        let mut other = None;
        let mut other_memory = fixture.cpu_memory();
        let ended = run_built(fixture, first, one, &mut memory, &mut |one| {
            let run = &mut |two: &Running<'_, '_, M>| {
                let last = second.first_cpu + second.cpus;
                machine.on_cpus(last, &|cpu| match (cpu < first.cpus, cpu < second.first_cpu) {
                    (true, true) => one.run_cpu(cpu),
                    (true, false) => {
                        let pieces = (one.pieces(), two.pieces());
                        let mut shares = (one.share(cpu, &pieces.0), two.share(cpu, &pieces.1));
                        run_shares(machine, &mut [&mut shares.0, &mut shares.1]);
                    }
                    _ => two.run_cpu(cpu),
                });
            };
            if let Some(two) = two.take() {
                other = Some(run_built(fixture, second, two, &mut other_memory, run));
            }
        });
        other_memory.drain(fixture.session);
        let other = other.unwrap_or_else(|| Err(Stop::failed("the second Realm did not run")));
        Ok([ended?, other?])
    });
    memory.drain(fixture.session);
    ended
}

/// Runs a Realm to its end with `run`, and tears it down.
fn run_built<'b, M: Machine>(
    fixture: &Fixture<'b, M>,
    plan: &Plan<'_, M>,
    built: Built<'_, 'b, M>,
    memory: &mut CpuMemory<'_>,
    run: &mut dyn FnMut(&Running<'_, '_, M>),
) -> Result<Ended, Stop> {
    let (rim, mut phases) = (built.rim, built.phases.clone());
    let (realm, recs) = built.activate(memory)?;
    phases.end(fixture, "activate");
    if let Err(stop) = map_ahead(fixture, plan, &realm, memory) {
        let _ = tear_down(realm, recs, memory);
        return Err(stop);
    }
    phases.end(fixture, "map");
    let cpus = Cpus { machine: fixture.machine, cpus: plan.cpus, first: plan.first_cpu };
    let clock = || fixture.machine.ticks();
    let mut set = RecSet::with_capacity(recs.len(), &cpus);
    if plan.is_timed {
        set.set_clock(&clock);
    }
    let mut left = Vec::new();
    for (index, rec) in recs.into_iter().enumerate() {
        if let Err(failed) = set.add(rec, index == 0 || plan.all_on) {
            left.push(failed.kept);
        }
    }
    let record = Mutex::new(Record::new(plan.vcpus.into()));
    let kicks = run_active(fixture, plan, &realm, &set, &record, run);
    let mut exits = [0; ExitKind::ALL.len()];
    let statistics: Vec<Statistics> =
        (0..set.len()).filter_map(|index| set.statistics(index)).collect();
    for (kind, exits) in ExitKind::ALL.into_iter().zip(&mut exits) {
        *exits = statistics.iter().map(|statistics| statistics.exits(kind)).sum();
    }
    let end = set.system_end();
    left.extend(set.drain());
    phases.end(fixture, "run");
    let torn_down = tear_down(realm, left, memory);
    phases.end(fixture, "tear down");
    if fixture.machine.payload().is_none() && end == Some(SystemEnd::Reset) {
        torn_down?;
        return Err(Stop::skipped("the program was built without a payload for Realms"));
    }
    let kicks = kicks?;
    torn_down?;
    let times = Times::of(&statistics);
    Ok(Ended { record: record.into_inner(), exits, kicks, end, rim, phases, times })
}

/// Gives a Realm the memory that it has before it runs.
fn map_ahead<M: Machine>(
    fixture: &Fixture<'_, M>,
    plan: &Plan<'_, M>,
    realm: &ActiveRealm<'_, '_, M>,
    memory: &mut CpuMemory<'_>,
) -> Result<(), Stop> {
    if plan.mapped_ahead == 0 {
        return Ok(());
    }
    let frames = fixture.machine.memory();
    let granules = frames.allocate(plan.mapped_ahead, 2 << 20);
    let granules = granules.ok_or_else(|| Stop::failed("there is not enough memory"))?;
    realm.map(memory, Ipa::new(RAM), granules).map_err(|failed| {
        let _ = frames.free(failed.kept);
        failed.error.into()
    })
}

/// Runs a Realm on physical CPUs.
fn run_active<'b, M: Machine>(
    fixture: &Fixture<'b, M>,
    plan: &Plan<'_, M>,
    realm: &ActiveRealm<'_, 'b, M>,
    set: &RecSet<'_>,
    record: &Mutex<Record>,
    run: &mut dyn FnMut(&Running<'_, '_, M>),
) -> Result<u64, Stop> {
    let machine = fixture.machine;
    let storage = OwnedGicStorage::new(set.len());
    let affinities: Vec<_> = set.affinities().collect();
    machine.mask_interrupts();
    let vtr = RecInterface::new(fixture.session, machine.interface()).vtr();
    machine.unmask_interrupts();
    let config = GicConfig { affinities: &affinities, spis: SPIS, vtr };
    let gic = Gic::new(&storage, &config).map_err(Stop::failed)?;
    let gic = RealmGic::new(&gic, set).map_err(Stop::failed)?;
    let spi = |number| SpiIntid::new(number).ok_or_else(|| Stop::failed("no SPI"));
    let uart: Pl011<_> = Pl011::new(Console { gic, spi: spi(layout::UART_SPI)?, record });
    let device = Device::new(gic, spi(layout::DEVICE_SPI)?);
    let (distributor, redistributors) = (gic.distributor(), gic.redistributors());
    let devices: [(u64, u64, &dyn MmioDevice); 4] = [
        (layout::DISTRIBUTOR, distributor.bytes(), &distributor),
        (layout::REDISTRIBUTORS, redistributors.bytes(), &redistributors),
        (layout::UART, PL011_SIZE, &uart),
        (layout::DEVICE, layout::device::BYTES, &device),
    ];
    let mut bus = Box::new(MmioBus::new(realm.geometry()));
    for (offset, bytes, device) in devices {
        let range = IpaRange::with_size_or_empty(layout::unprotected(offset), bytes);
        bus.add(range, device).map_err(Stop::failed)?;
    }
    let longest = LONGEST_RUN * u64::from(machine.frequency().get());
    let running = Running {
        fixture,
        realm,
        set,
        gic,
        bus: &bus,
        plan,
        record,
        rejects_ram: AtomicBool::new(false),
        steps: AtomicU64::new(0),
        kicks: AtomicU64::new(0),
        requests: AtomicU64::new(0),
        has_given_up: AtomicBool::new(false),
        deadline: machine.ticks().saturating_add(longest),
    };
    run(&running);
    let failure = record.lock().failure.take();
    failure.map_or(Ok(running.kicks()), |failure| Err(Stop::Failed(failure)))
}
