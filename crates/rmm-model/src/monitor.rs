//! The RMM: its state, and the dispatch of commands.

mod access;
mod auxiliary;
mod boot;
mod by_entry;
mod coarse;
mod delegation;
mod enter;
mod map;
mod operation;
mod permission;
mod plane_call;
mod realm;
mod realm_call;
mod rec;
mod rec_aux;
mod region_change;
mod regions;
mod ripas;
mod step;
mod sysreg;
mod table;
#[cfg(test)]
mod tests;
mod token_call;
mod unmap;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::feature::Features;
use rmi_abi::{Command, Fid, GranuleSize, Ipa, IpaRange, Pa, PaRange, Status};
use rmi_host::Registers;

use crate::answer::{Answer, Answered, refuse, require};
use crate::clock::Clock;
use crate::cpu::PhysicalCpu;
use crate::gic::Vtr;
use crate::granule::{GranuleState, Granules};
use crate::guest::{DefaultGuest, Guest};
use crate::memory::Memory;
use crate::options::Options;
use crate::realm::{Realm, RealmState};
use crate::rec::Rec;
use crate::regions::Regions;
use crate::unsupported::tracking_get_needs_active;
pub(crate) use enter::{Entered, Stepped};
use operation::Operations;

/// The state of the RMM itself.
///
/// Source: DEN0137 2.0-bet3, `RmiRmmState`; the codes are those of TF-RMM's internal enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RmmState {
    Init = 0,
    Intermediate = 1,
    Active = 2,
}

/// What a call led to.
pub(crate) enum Called {
    /// It is complete.
    Answered(Registers),
    /// It entered a REC, whose program has not acted yet.
    Entered(Box<Entered>),
}

/// All of the RMM's state, and the machine that it runs on.
pub(crate) struct Monitor {
    pub(crate) options: Options,
    features: Features,
    state: RmmState,
    pub(crate) calls: u64,
    /// The counts for [`Options::busy_every`], [`Options::blocked_every`], [`Options::yield_every`]
    /// and [`Options::fail_operations_every`].
    periods: [u32; 4],
    pub(crate) granules: Granules,
    regions: Regions,
    pub(crate) memory: Box<dyn Memory>,
    pub(crate) realms: BTreeMap<Pa, Realm>,
    realms_created: u64,
    recs: BTreeMap<Pa, Rec>,
    pub(crate) operations: Operations,
    /// Granules donated to the RMM itself.
    donated: Vec<Pa>,
    /// A command runs that was interrupted: it is not interrupted again.
    is_resumed: bool,
    /// By Realm, MPIDR and plane.
    pub(crate) guests: BTreeMap<GuestKey, Box<dyn Guest>>,
    pub(crate) default_guest: Option<DefaultGuest>,
    /// Programs that are to be dropped when the monitor is not locked.
    pub(crate) ended: Vec<Box<dyn Guest>>,
    cpus: BTreeMap<u32, PhysicalCpu>,
    pub(crate) clock: Clock,
}

/// Whose program it is: the Realm, the MPIDR of the REC, and the plane.
pub(crate) type GuestKey = (Pa, u64, usize);

impl Monitor {
    pub(crate) fn new(options: Options, memory: Box<dyn Memory>) -> Self {
        Self {
            features: Features::new(options.dialect, options.features),
            state: if options.already_active || !options.dialect.is_2_0() {
                // 1.0 has no other state.
                RmmState::Active
            } else {
                RmmState::Init
            },
            calls: 0,
            periods: [0; 4],
            granules: Granules::new(options.dram),
            regions: Regions::new(&options),
            memory,
            realms: BTreeMap::new(),
            realms_created: 0,
            recs: BTreeMap::new(),
            operations: Operations::default(),
            donated: Vec::new(),
            is_resumed: false,
            guests: BTreeMap::new(),
            default_guest: None,
            ended: Vec::new(),
            cpus: BTreeMap::new(),
            clock: Clock::default(),
            options,
        }
    }

    /// A physical CPU. It is created, reset, the first time that it is named.
    pub(crate) fn cpu(&mut self, number: u32) -> &mut PhysicalCpu {
        let vtr = Vtr::new(&self.options);
        self.cpus.entry(number).or_insert_with(|| PhysicalCpu::new(vtr))
    }

    /// `ICH_VTR_EL2` of the machine.
    fn vtr(&self) -> vgic_realm::Vtr {
        vgic_realm::Vtr::from_raw(Vtr::new(&self.options).value().into())
    }

    /// Whether the call enters a REC on CPU 0 although the host programmed the virtual CPU
    /// interface of another: the number of that CPU.
    pub(crate) fn other_cpu_programmed(&self, x: &Registers) -> Option<u32> {
        let is_enter = self.enters_rec(x);
        let other = self.cpus.iter().find(|(number, cpu)| **number != 0 && cpu.host_programs_it);
        other.filter(|_| is_enter).map(|(number, _)| *number)
    }

    /// Whether the call is `RMI_REC_ENTER`.
    pub(crate) fn enters_rec(&self, x: &Registers) -> bool {
        let [x0, ..] = *x;
        self.command(x0) == Some(Command::RecEnter)
    }

    /// The command that X0 names.
    fn command(&self, x0: u64) -> Option<Command> {
        Command::from_fid(Fid::from_register(x0), self.options.dialect)
    }

    /// Handles one call from the Normal world.
    pub(crate) fn call(&mut self, cpu: u32, x: Registers) -> Called {
        self.calls = self.calls.wrapping_add(1);
        let [x0, ..] = x;
        let answer = match self.command(x0) {
            None => Answer::absent(),
            Some(command) => match self.admit(command) {
                Err(refused) => refused,
                Ok(()) if command == Command::RecEnter => match self.rec_enter(cpu, &x) {
                    Ok(entered) => return Called::Entered(entered),
                    Err(answer) => answer,
                },
                Ok(()) => self.run(command, &x),
            },
        };
        Called::Answered(answer.registers(x))
    }

    /// The check before every command: the state of the RMM, and the refusals that the options ask
    /// for.
    fn admit(&mut self, command: Command) -> Result<(), Answer> {
        let is_op = matches!(
            command,
            Command::OpContinue | Command::OpMemDonate | Command::OpMemReclaim | Command::OpCancel
        );
        let accepted = match command {
            Command::Version
            | Command::Features
            | Command::RmmConfigGet
            | Command::RmmStateGet
            | Command::GptInfo => return Ok(()),
            Command::GranuleTrackingGet if !tracking_get_needs_active(self.options.dialect) => {
                return Ok(());
            }
            Command::RmmConfigSet | Command::RmmActivate => self.state == RmmState::Init,
            _ if is_op => self.state != RmmState::Init,
            _ => self.state == RmmState::Active,
        };
        require(accepted, Status::ErrorGlobal)?;
        let [busy, blocked, ..] = &mut self.periods;
        require(!is_due(self.options.busy_every, busy), Status::Busy)?;
        require(is_op || !is_due(self.options.blocked_every, blocked), Status::Blocked)
    }

    /// Runs a command that was admitted.
    fn run(&mut self, command: Command, x: &Registers) -> Answer {
        // As in TF-RMM, these take a slot before they know whether they need it.
        if takes_slot(command) && self.operations.is_full() {
            return Answer::from(Status::Blocked);
        }
        if self.yields(command) {
            if self.options.dialect.is_2_0() {
                return self.open_deferred(command, *x);
            }
            // 1.0 has no other sign of an interruption than how far a command came.
            return self.execute(command, x, Some(1)).unwrap_or_else(|refused| refused);
        }
        self.execute(command, x, None).unwrap_or_else(|refused| refused)
    }

    /// Whether the options ask for this call of a range command to be interrupted.
    fn yields(&mut self, command: Command) -> bool {
        let [_, _, period, _] = &mut self.periods;
        let is_range = is_range_command(command)
            || self.features.max_aux_planes() != 0 && is_range_command_of_planes(command);
        is_range && is_due(self.options.yield_every, period)
    }

    /// Executes a command. `limit` is the number of entries or granules a range command may handle,
    /// if the host limits it.
    fn execute(&mut self, command: Command, x: &Registers, limit: Option<u64>) -> Answered {
        match command {
            _ if is_of_planes(command) && !self.has_planes() => {
                Ok(crate::unsupported::answer(command, self.options.dialect))
            }
            Command::Version => self.version(x),
            Command::Features => self.feature(x),
            Command::RmmConfigGet => self.config_get(x),
            Command::RmmConfigSet => self.config_set(x),
            Command::RmmStateGet => Ok(Answer::success().x1(self.state as u64)),
            Command::RmmActivate => self.rmm_activate(),
            Command::RmmDeactivate => self.rmm_deactivate(),
            Command::GptInfo => self.gpt_info(x),
            Command::GptL1Create => self.gpt_l1_create(x),
            Command::GptL1Destroy => self.gpt_l1_destroy(x),
            Command::GranuleTrackingGet => self.tracking_get(x),
            Command::GranuleTrackingSet => self.tracking_set(x),
            Command::GranuleDelegate => self.delegate_one(x),
            Command::GranuleUndelegate => self.undelegate_one(x),
            Command::GranuleRangeDelegate => self.delegate(x, limit),
            Command::GranuleRangeUndelegate => self.undelegate(x, limit),
            Command::RealmCreate => self.realm_create(x),
            Command::RealmActivate => self.realm_activate(x),
            Command::RealmTerminate => self.realm_terminate(x),
            Command::RealmDestroy => self.realm_destroy(x),
            Command::RecAuxCount => self.rec_aux_count(x),
            Command::RecCreate if !self.options.dialect.is_2_0() => self.rec_create_with_aux(x),
            Command::RecCreate => self.rec_create(x),
            Command::RecDestroy if !self.options.dialect.is_2_0() => self.rec_destroy_with_aux(x),
            Command::RecDestroy => self.rec_destroy(x),
            Command::PsciComplete => self.psci_complete(x),
            Command::RttCreate => self.rtt_create(x),
            Command::RttDestroy => self.rtt_destroy(x),
            Command::RttFold => self.rtt_fold(x),
            Command::RttReadEntry => self.rtt_read_entry(x),
            Command::RttInitRipas => self.rtt_init_ripas(x, limit),
            Command::RttSetRipas => self.rtt_set_ripas(x, limit),
            Command::DataCreate => self.data_create(x),
            Command::DataCreateUnknown => self.data_create_unknown(x),
            Command::DataDestroy => self.data_destroy(x),
            Command::RttMapUnprotected => self.rtt_map_unprotected(x),
            Command::RttUnmapUnprotected => self.rtt_unmap_unprotected(x),
            Command::RttDataMapInit => self.rtt_data_map_init(x),
            Command::RttDataMap => self.rtt_data_map(x, limit),
            Command::RttUnprotMap => self.rtt_unprot_map(x, limit),
            Command::RttDataUnmap => self.rtt_data_unmap(x, limit),
            Command::RttUnprotUnmap => self.rtt_unprot_unmap(x, limit),
            Command::RttAuxCreate => self.rtt_aux_create(x),
            Command::RttAuxDestroy => self.rtt_aux_destroy(x),
            Command::RttAuxFold => self.rtt_aux_fold(x),
            Command::RttAuxMapProtected => self.rtt_aux_map_protected(x),
            Command::RttAuxMapUnprotected => self.rtt_aux_map_unprotected(x),
            Command::RttAuxUnmapProtected => self.rtt_aux_unmap_protected(x),
            Command::RttAuxUnmapUnprotected => self.rtt_aux_unmap_unprotected(x),
            Command::RttAuxProtMap => self.rtt_aux_prot_map(x, limit),
            Command::RttAuxProtUnmap => self.rtt_aux_prot_unmap(x, limit),
            Command::RttAuxUnprotMap => self.rtt_aux_unprot_map(x, limit),
            Command::RttAuxUnprotUnmap => self.rtt_aux_unprot_unmap(x, limit),
            Command::RttSetS2ap => self.rtt_set_s2ap(x, limit),
            Command::OpContinue => self.op_continue(x),
            Command::OpMemDonate => self.op_mem_donate(x),
            Command::OpMemReclaim => self.op_mem_reclaim(x),
            Command::OpCancel => self.op_cancel(x),
            other => Ok(crate::unsupported::answer(other, self.options.dialect)),
        }
    }

    /// The Realm whose descriptor is at `rd`.
    fn realm(&mut self, rd: u64) -> Result<&mut Realm, Answer> {
        match self.realms.get_mut(&Pa::new(rd)) {
            Some(realm) if self.granules.is(Pa::new(rd), GranuleState::Rd) => Ok(realm),
            _ => self.granules.missing(Pa::new(rd), self.options.blocked_objects),
        }
    }

    /// The REC at `rec`.
    fn rec(&mut self, rec: u64) -> Result<&mut Rec, Answer> {
        match self.recs.get_mut(&Pa::new(rec)) {
            Some(found) if self.granules.is(Pa::new(rec), GranuleState::Rec) => Ok(found),
            _ => self.granules.missing(Pa::new(rec), self.options.blocked_objects),
        }
    }

    /// A granule that a command is to consume: it must be a delegated one, tracked by granule.
    fn fresh(&self, pa: u64) -> Result<Pa, Answer> {
        let pa = Pa::new(pa);
        if let Ok(granule) = PaRange::with_size(pa, self.granules.bytes()) {
            self.require_fine(&granule)?;
        }
        if self.granules.is(pa, GranuleState::Delegated) {
            return Ok(pa);
        }
        self.granules.missing(pa, self.options.blocked_objects)
    }

    /// Whether `bytes` bytes at `at` are host memory.
    pub(crate) fn is_host_memory(&self, at: Pa, bytes: usize) -> Result<(), Pa> {
        let mut page = at.align_down(MIN_GRANULE);
        let end = at.checked_add(bytes as u64).ok_or(at)?;
        while page < end {
            if self.granules.state(page) != Some(GranuleState::Undelegated) {
                return Err(page.max(at));
            }
            page = page.checked_add(MIN_GRANULE).ok_or(at)?;
        }
        Ok(())
    }

    /// Reads a host page, which must be granule aligned.
    fn read_host_page(&self, at: u64, into: &mut [u8]) -> Result<(), Answer> {
        let at = Pa::new(at);
        require(self.granules.is(at, GranuleState::Undelegated), Status::ErrorInput)?;
        self.memory.read(at, into);
        Ok(())
    }

    /// How many descriptors a list may have: it must not reach beyond its granule.
    fn list_slots(&self, list: u64, count: u64) -> Result<u64, Answer> {
        let list = Pa::new(list);
        let is_host = self.granules.state(list) == Some(GranuleState::Undelegated);
        require(list.is_aligned(8) && is_host, Status::ErrorInput)?;
        Ok(self.slots_in_granule(list, count))
    }

    /// How many words of a list of `count` are at `list`: it ends with its granule.
    fn slots_in_granule(&self, list: Pa, count: u64) -> u64 {
        let granule = self.granules.bytes();
        count.min((granule - list.raw() % granule) / 8)
    }

    /// The words of an address list.
    fn read_list(&self, list: u64, count: u64) -> Result<Vec<u64>, Answer> {
        let slots = self.list_slots(list, count)?;
        Ok((0..slots)
            .map(|n| {
                let mut word = [0; 8];
                self.memory.read(Pa::new(list + 8 * n), &mut word);
                u64::from_le_bytes(word)
            })
            .collect())
    }
}

/// Whether the command processes a range and may be interrupted before the end of it.
fn is_range_command(command: Command) -> bool {
    matches!(
        command,
        Command::GranuleRangeDelegate
            | Command::GranuleRangeUndelegate
            | Command::RttDataMap
            | Command::RttDataUnmap
            | Command::RttUnprotMap
            | Command::RttUnprotUnmap
            | Command::RttInitRipas
            | Command::RttSetRipas
    )
}

/// The same of the commands about planes; without planes they fail at once.
fn is_range_command_of_planes(command: Command) -> bool {
    matches!(
        command,
        Command::RttAuxProtMap
            | Command::RttAuxProtUnmap
            | Command::RttAuxUnprotMap
            | Command::RttAuxUnprotUnmap
            | Command::RttSetS2ap
    )
}

/// Whether the command is about auxiliary trees, or about permissions.
fn is_of_planes(command: Command) -> bool {
    is_range_command_of_planes(command)
        || matches!(
            command,
            Command::RttAuxCreate
                | Command::RttAuxDestroy
                | Command::RttAuxFold
                | Command::RttAuxMapProtected
                | Command::RttAuxMapUnprotected
                | Command::RttAuxUnmapProtected
                | Command::RttAuxUnmapUnprotected
        )
}

/// Whether the command fails with `RMI_BLOCKED` when no operation can be opened.
fn takes_slot(command: Command) -> bool {
    matches!(
        command,
        Command::RecCreate
            | Command::RecDestroy
            | Command::RttDataMap
            | Command::RttDataUnmap
            | Command::RttUnprotUnmap
    )
}

/// Counts a call; true for every `every`-th.
fn is_due(every: Option<NonZeroU32>, count: &mut u32) -> bool {
    let Some(every) = every else { return false };
    *count += 1;
    if *count < every.get() {
        return false;
    }
    *count = 0;
    true
}

/// A non-empty range of granules of physical memory, from two registers.
fn pa_range(granule: GranuleSize, base: u64, top: u64) -> Result<PaRange, Answer> {
    match PaRange::new(Pa::new(base), Pa::new(top)) {
        Ok(range) if !range.is_empty() && range.is_aligned(granule.bytes()) => Ok(range),
        _ => refuse(Status::ErrorInput),
    }
}

/// A non-empty range of pages of IPA space, from two registers.
fn ipa_range(granule: GranuleSize, base: u64, top: u64) -> Result<IpaRange, Answer> {
    match IpaRange::new(Ipa::new(base), Ipa::new(top)) {
        Ok(range) if !range.is_empty() && range.is_aligned(granule.bytes()) => Ok(range),
        _ => refuse(Status::ErrorInput),
    }
}

/// Refuses unless the Realm is in one of `states`.
fn require_state(realm: &Realm, states: &[RealmState]) -> Result<(), Answer> {
    require(states.contains(&realm.state), Status::ErrorRealm)
}
