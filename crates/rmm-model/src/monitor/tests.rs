//! Random calls and random Realms, checked against the granule table: no call panics and every
//! granule has one owner.

mod by_entry;
mod planes;

use core::num::{NonZeroU8, NonZeroU16};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use proptest::sample::select;
use rmi_abi::esr::AbortSeverity;
use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rsi::Version;
use rmi_abi::rtt::{Geometry, Ripas};
use rmi_abi::{Dialect, PaRange};
use zerocopy::IntoBytes;

use super::*;
use crate::guest::{Action, SysReg, TimerKind};
use crate::options::{FirstTracking, RegionOptions};

const DRAM: u64 = 0x8000_0000;
const PAGE: u64 = MIN_GRANULE;
/// Pages of the machine: few, so that random addresses meet.
const PAGES: u64 = 0x300;
/// Pages with a fixed use: parameters of a Realm and of two RECs, an address list, a run page.
const PARAMS: u64 = DRAM;
const REC_PARAMS: [u64; 2] = [DRAM + PAGE, DRAM + 2 * PAGE];
const LIST: u64 = DRAM + 3 * PAGE;
const RUN: u64 = DRAM + 4 * PAGE;
const RD: u64 = DRAM + 0x10 * PAGE;
const ROOT: u64 = DRAM + 0x11 * PAGE;
const SHARED: u64 = 1 << 31;

struct Machine {
    monitor: Monitor,
    dialect: Dialect,
}

impl Machine {
    /// An active RMM with a Realm that has a table of each level, two RECs, and a supply of
    /// delegated pages.
    fn new(mut options: Options) -> Self {
        let dialect = options.dialect;
        options.dram = PaRange::with_size(Pa::new(DRAM), PAGES * PAGE).unwrap();
        if options.regions.is_some() {
            // One region as a whole, and half of another.
        } else if options.blocked_objects {
            let region = |page| PaRange::with_size(Pa::new(DRAM + page * PAGE), 16 * PAGE).unwrap();
            options.coarse = vec![region(0x70), region(0x90)];
            options.untracked = vec![region(0xa0)];
            let has_set = Command::GranuleTrackingSet.form(dialect).is_some();
            options.tracking_donates = if has_set { 3 } else { 0 };
        }
        let has_planes = options.features[3] != 0;
        let has_regions = options.regions.is_some();
        let memory = Box::new(crate::memory::SparseMemory::new(options.dram));
        let mut machine = Self { monitor: Monitor::new(options, memory), dialect };
        let mut params = RealmParams::new(Geometry::new(32).unwrap(), Pa::new(ROOT));
        if has_planes {
            planes::ask_for(&mut params);
        }
        machine.poke(PARAMS, params.encode(dialect).unwrap().as_bytes());
        if let Some(regions) = machine.monitor.options.regions {
            let code = regions.code_of_2_mib.unwrap().get();
            machine.monitor.regions.configure(GranuleSize::Size4KiB, code);
        }
        for (index, at) in (0..).zip(REC_PARAMS) {
            let mpidr = Mpidr::from_index(index);
            let params = RecParams { runnable: index == 0, mpidr, pc: 0, gprs: [0; 8] };
            machine.poke(at, params.encode().as_bytes());
        }
        machine.call(Command::RmmActivate, &[]);
        if machine.monitor.options.tracking_donates != 0 && has_regions {
            machine.call(Command::GranuleTrackingSet, &[DRAM, 0, 2]);
            machine.poke(LIST, &((DRAM + 5 * PAGE) | 3 << 2 | 1 << 62).to_le_bytes());
            machine.call(Command::OpMemDonate, &[0, LIST, 1]);
            machine.call(Command::OpContinue, &[0, 0]);
        }
        for page in 0x10..0x80 {
            let at = DRAM + page * PAGE;
            machine.call(Command::GranuleRangeDelegate, &[at, at + PAGE]);
            machine.call(Command::GranuleDelegate, &[at]);
        }
        machine.call(Command::RealmCreate, &[RD, PARAMS]);
        for (n, (ipa, level)) in
            (0x12..).zip([(0, 2), (0, 3), (1 << 21, 3), (SHARED, 2), (SHARED, 3)])
        {
            machine.call(Command::RttCreate, &[RD, DRAM + n * PAGE, ipa, level]);
        }
        if has_planes {
            machine.aux_tables();
        }
        for (n, params) in (0..).zip(REC_PARAMS) {
            let rec = DRAM + (0x18 + n) * PAGE;
            by_entry::name_aux(&mut machine, params, DRAM + (0x20 + 16 * n) * PAGE);
            machine.call(Command::RecCreate, &[RD, rec, params]);
            for half in 0..2 {
                let memory = DRAM + (0x20 + 16 * n + 8 * half) * PAGE;
                machine.poke(LIST, &(memory | 8 << 2).to_le_bytes());
                machine.call(Command::OpMemDonate, &[0, LIST, 1]);
            }
            machine.call(Command::OpContinue, &[0, 0]);
        }
        machine
    }

    fn poke(&mut self, at: u64, bytes: &[u8]) {
        self.monitor.memory.write(Pa::new(at), bytes);
    }

    /// A call; a REC that it enters runs to its exit.
    fn call(&mut self, command: Command, arguments: &[u64]) -> u64 {
        let mut x = [0; 8];
        x[0] = command.fid(self.dialect).map_or(0, |fid| fid.0.into());
        x[1..=arguments.len()].copy_from_slice(arguments);
        match self.monitor.call(0, x) {
            Called::Answered([x0, ..]) => x0,
            Called::Entered(mut entered) => loop {
                let action = entered.next_action();
                if let Stepped::Left([x0, ..]) = self.monitor.step(&mut entered, action) {
                    break x0;
                }
            },
        }
    }

    /// Compares the granule table with every object that has a granule.
    fn audit(&self) {
        let monitor = &self.monitor;
        let mut owners: BTreeMap<Pa, GranuleState> = BTreeMap::new();
        let mut own = |pa: Pa, state| {
            assert_eq!(owners.insert(pa, state), None, "{pa} has two owners");
        };
        let (memory, objects) = monitor.operations.held(&monitor.granules);
        for pa in memory
            .into_iter()
            .chain(monitor.donated.iter().copied())
            .chain(monitor.regions.donated())
        {
            // An operation that returns an object's memory shares the list with the object until it
            // is complete.
            own(pa, GranuleState::Internal);
        }
        for pa in &objects {
            own(*pa, GranuleState::Partial);
        }
        for (rd, realm) in &monitor.realms {
            if !objects.contains(rd) {
                own(*rd, GranuleState::Rd);
                realm.donated.iter().for_each(|pa| own(*pa, GranuleState::Internal));
            }
            realm.tree.tables().for_each(|table| own(table, GranuleState::Rtt));
            for tree in realm.planes.trees() {
                tree.tables().for_each(|table| own(table, GranuleState::Rtt));
                planes::audit(realm, tree);
            }
            for (pa, bytes) in realm.tree.data() {
                for granule in monitor.granules.each(&PaRange::with_size(pa, bytes).unwrap()) {
                    own(granule, GranuleState::Data);
                }
            }
        }
        for (pa, rec) in &monitor.recs {
            assert!(!rec.running);
            if !objects.contains(pa) {
                own(*pa, GranuleState::Rec);
                rec.donated.iter().for_each(|pa| own(*pa, GranuleState::Internal));
            }
        }
        let mut census = crate::granule::Census::default();
        for page in 0..PAGES {
            let pa = Pa::new(DRAM + page * PAGE);
            let state = monitor.granules.state(pa).unwrap();
            let is_free = matches!(state, GranuleState::Undelegated | GranuleState::Delegated);
            assert_eq!(owners.get(&pa).copied(), (!is_free).then_some(state), "{pa}");
            census.total += 1;
        }
        let counted = monitor.granules.census();
        assert_eq!(counted.total, census.total);
        let states = [
            GranuleState::Undelegated,
            GranuleState::Delegated,
            GranuleState::Rd,
            GranuleState::Rec,
            GranuleState::Internal,
            GranuleState::Rtt,
            GranuleState::Data,
            GranuleState::Partial,
        ];
        assert_eq!(states.iter().map(|state| counted.of(*state)).sum::<u64>(), counted.total);
    }
}

/// A register: an address that is in use, a small number, flags, or any value.
fn register() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0..PAGES).prop_map(|page| DRAM + page * PAGE),
        4 => select(vec![RD, ROOT, RD, PARAMS, LIST, RUN, REC_PARAMS[0], REC_PARAMS[1]]),
        3 => (0x18_u64..0x1a).prop_map(|page| DRAM + page * PAGE),
        5 => (0..0x20_u64).prop_map(|page| page * PAGE),
        2 => (0..8_u64).prop_map(|page| SHARED + page * PAGE),
        2 => select(vec![1 << 21, 1 << 22, 1 << 30, SHARED, 2 * SHARED, SHARED + (1 << 21)]),
        6 => 0..9_u64,
        2 => select(vec![0x1e_0001, 0x1e_0002 | 3 << 2, 2 | 3 << 2, u64::MAX, 1 << 63]),
        4 => (0..PAGES, 0..5_u64, 0..3_u64)
            .prop_map(|(page, count, size)| (DRAM + page * PAGE) | count << 2 | size),
        1 => any::<u64>(),
    ]
}

/// A granule of the supply, or one shortly after it.
fn page() -> impl Strategy<Value = u64> {
    (0x40..0x90_u64).prop_map(|page| DRAM + page * PAGE)
}

/// One of the first pages below or above the first boundary between leaf tables.
fn protected() -> impl Strategy<Value = u64> {
    prop_oneof![0..8_u64, 0x1fc..0x204_u64].prop_map(|page| page * PAGE)
}

/// A call with valid arguments; the first one is the Realm, where it takes one.
fn plausible() -> impl Strategy<Value = (Command, Vec<u64>)> {
    let rec = || (0x18..0x1a_u64).prop_map(|page| DRAM + page * PAGE);
    let pages = || 1..5_u64;
    let desc = |page: u64, count: u64| page | count << 2;
    // No output, one descriptor, or a list of three.
    let unmap = || select(vec![(0, 0), (1, 0), (2 | 3 << 2, LIST)]);
    let delegation = select(vec![Command::GranuleRangeDelegate, Command::GranuleRangeUndelegate]);
    let table = select(vec![Command::RttDestroy, Command::RttFold]);
    let lifecycle =
        select(vec![Command::RealmActivate, Command::RealmTerminate, Command::RealmDestroy]);
    prop_oneof![
        6 => (protected(), pages(), page()).prop_map(move |(ipa, n, page)| {
            (Command::RttDataMap, vec![RD, ipa, ipa + n * PAGE, 1, desc(page, n)])
        }),
        2 => (protected(), page(), 0..2_u64).prop_map(|(ipa, page, flags)| {
            (Command::RttDataMapInit, vec![RD, page, ipa, PARAMS, flags])
        }),
        4 => (protected(), pages(), unmap()).prop_map(|(ipa, n, (flags, list))| {
            (Command::RttDataUnmap, vec![RD, ipa, ipa + n * PAGE, flags, list])
        }),
        1 => (0..8_u64, pages(), page()).prop_map(move |(ipa, n, page)| {
            let ipa = SHARED + ipa * PAGE;
            (Command::RttUnprotMap, vec![RD, ipa, ipa + n * PAGE, 0x1e_0001, desc(page, n)])
        }),
        1 => (0..8_u64, pages(), unmap()).prop_map(|(ipa, n, (flags, list))| {
            let ipa = SHARED + ipa * PAGE;
            (Command::RttUnprotUnmap, vec![RD, ipa, ipa + n * PAGE, flags, list])
        }),
        1 => (protected(), pages()).prop_map(|(ipa, n)| {
            (Command::RttInitRipas, vec![RD, ipa, ipa + n * PAGE])
        }),
        1 => (rec(), protected(), pages()).prop_map(|(rec, ipa, n)| {
            (Command::RttSetRipas, vec![RD, rec, ipa, ipa + n * PAGE])
        }),
        2 => (page(), 0..3_u64).prop_map(|(page, n)| {
            (Command::RttCreate, vec![RD, page, n << 21, 3])
        }),
        1 => (table, 0..3_u64).prop_map(|(command, n)| (command, vec![RD, n << 21, 3])),
        3 => (delegation.clone(), page(), pages()).prop_map(|(command, page, n)| {
            (command, vec![page, page + n * PAGE])
        }),
        3 => rec().prop_map(|rec| (Command::RecEnter, vec![rec, RUN])),
        1 => rec().prop_map(|rec| (Command::RecDestroy, vec![rec])),
        2 => (page(), 0..2_usize).prop_map(|(page, n)| {
            (Command::RecCreate, vec![RD, page, REC_PARAMS[n]])
        }),
        1 => Just((Command::RealmCreate, vec![RD, PARAMS])),
        1 => lifecycle.prop_map(|command| (command, vec![RD])),
        1 => (select(vec![0x70_u64, 0x90, 0xa0]), 1..4_u64).prop_map(|(region, state)| {
            (Command::GranuleTrackingSet, vec![DRAM + region * PAGE, 0, state])
        }),
        2 => (0..2_u64, 1..4_u64).prop_map(|(region, state)| {
            (Command::GranuleTrackingSet, vec![DRAM + (region << 21), 0, state])
        }),
        2 => (delegation, 0..3_u64).prop_map(|(command, region)| {
            let base = DRAM + (region << 21);
            (command, vec![base, base + (1 << 21)])
        }),
        1 => (0..3_u64, 0..3_u64).prop_map(move |(ipa, region)| {
            let block = (DRAM + (region << 21)) | 1 << 2 | 1;
            (Command::RttDataMap, vec![RD, ipa << 21, (ipa + 1) << 21, 1, block])
        }),
        1 => (0..3_u64, unmap()).prop_map(|(ipa, (flags, list))| {
            (Command::RttDataUnmap, vec![RD, ipa << 21, (ipa + 2) << 21, flags, list])
        }),
        6 => (0..3_u64, 0..2_u64).prop_map(|(op, flags)| (Command::OpContinue, vec![op, flags])),
        4 => (0..3_u64, 0..5_u64).prop_map(|(op, n)| (Command::OpMemDonate, vec![op, LIST, n])),
        3 => (0..3_u64, 0..9_u64).prop_map(|(op, n)| (Command::OpMemReclaim, vec![op, LIST, n])),
        1 => (0..3_u64).prop_map(|op| (Command::OpCancel, vec![op])),
    ]
}

/// A call with valid arguments but for one, or one with random arguments.
fn call() -> impl Strategy<Value = (Command, Vec<u64>)> {
    let spoilt = (plausible(), 0..5_usize, register()).prop_map(|((command, mut x), n, value)| {
        if let Some(argument) = x.get_mut(n) {
            *argument = value;
        }
        (command, x)
    });
    let wild = (select(Command::ALL.to_vec()), prop::collection::vec(register(), 7));
    prop_oneof![8 => plausible(), 2 => spoilt, 1 => wild, 4 => planes::plausible()]
}

fn action() -> impl Strategy<Value = Action> {
    let ipa = || register().prop_map(Ipa::new);
    let kind = select(vec![TimerKind::Virtual, TimerKind::Physical]);
    let psci = select(vec![1_u64, 2, 3, 4, 8, 9, 10, 11]);
    prop_oneof![
        (ipa(), any::<u8>()).prop_map(|(ipa, bytes)| Action::Load { ipa, bytes }),
        (ipa(), select(vec![1, 2, 4, 8]), any::<u64>())
            .prop_map(|(ipa, bytes, value)| Action::Store { ipa, bytes, value }),
        ipa().prop_map(|ipa| Action::Fetch { ipa }),
        (0x190..0x1c0_u64, register(), register(), 0..3_u64, 0..3_u64)
            .prop_map(|(f, a, b, c, d)| Action::smc(0xc400_0000 + f, &[a, b, c, d])),
        (psci, any::<bool>(), any::<bool>(), register(), register()).prop_map(
            |(f, short, dirty, a, b)| {
                let convention = if short { 0x8400_0000 } else { 0xc400_0000 };
                let upper = if dirty { 0xdead_beef << 32 } else { 0 };
                Action::smc(upper | convention | f, &[a, b, b])
            }
        ),
        (any::<bool>(), 0..4_u8).prop_map(|(is_fetch, severity)| {
            Action::memory_error(is_fetch, AbortSeverity::from(severity))
        }),
        any::<u64>().prop_map(|deadline| Action::Wfit { deadline }),
        any::<u64>().prop_map(|deadline| Action::Wfet { deadline }),
        (ipa(), ipa()).prop_map(|(a, b)| Action::ipa_state_set(a, b, Ripas::Ram, 1)),
        (kind, 0..8_u64, any::<u64>()).prop_map(|(kind, ctl, cval)| Action::Timer {
            kind,
            ctl,
            cval
        }),
        (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(esr, far, hpfar)| Action::Sync {
            esr,
            far,
            hpfar
        }),
        (any::<u8>(), any::<u64>()).prop_map(|(register, value)| Action::Set { register, value }),
        any::<u64>().prop_map(|value| Action::SysRegWrite { register: SysReg::ICC_DIR_EL1, value }),
        (0..16_u8, 0..8_u8, any::<u64>()).prop_map(|(crm, op2, value)| Action::SysRegWrite {
            register: SysReg { op0: 3, op1: 0, crn: 12, crm, op2 },
            value
        }),
        (0..16_u8, 0..8_u8, any::<u8>()).prop_map(|(crm, op2, into)| Action::SysRegRead {
            register: SysReg { op0: 3, op1: 0, crn: 12, crm, op2 },
            into
        }),
        any::<u64>().prop_map(|esr| Action::SError { esr }),
        select(vec![Action::Wfi, Action::Wfe, Action::Hvc, Action::Interrupt, Action::Spin]),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let rsi = select(vec![Version::V1_0, Version::V1_1, Version::V2_0]);
    let dialect = select(&Options::DIALECTS[..]);
    (any::<[bool; 11]>(), 0..4_u16, rsi, dialect).prop_map(|(on, donates, rsi, dialect)| {
        let [ranges, yields, cancel, fails, rounds, short, either, blocks, planes, on @ ..] = on;
        let [has_regions, takes_memory] = on;
        let mut options = Options::new(dialect);
        if ranges {
            options = options.range_capable();
        }
        options.can_cancel = cancel;
        options.yield_every = NonZeroU32::new(if yields { 5 } else { 0 });
        options.fail_operations_every = NonZeroU32::new(if fails { 3 } else { 0 });
        options.donation_rounds = NonZeroU8::new(if rounds { 2 } else { 1 }).unwrap();
        options.reclaim_list_limit = NonZeroU16::new(if short { 2 } else { 0 });
        options.conditional_donations = either && dialect.donate_state_width() > 1;
        options.blocked_objects = blocks;
        if planes {
            options.features[3] = planes::FEATURES;
        } else {
            options.rsi = rsi;
        }
        options.realm_create_donates = if donates == 3 { 2 } else { 0 };
        if has_regions && dialect == Dialect::V2_0Bet3 {
            let first = if takes_memory { FirstTracking::Coarse } else { FirstTracking::Fine };
            let mut regions = RegionOptions::new(first);
            regions.code_of_2_mib = NonZeroU8::new(1);
            regions.coarse_steps = donates.into();
            regions.roll_back_every = NonZeroU32::new(if fails { 2 } else { 0 });
            options.regions = Some(regions);
            options.tracking_donates = if takes_memory { 3 } else { 0 };
        }
        options
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(96)
    })]

    #[test]
    fn every_granule_has_one_owner_whatever_is_called(
        options in options(),
        calls in prop::collection::vec(
            (call(), prop::collection::vec((page(), 1..9_u64), 4)),
            1..150,
        ),
        actions in prop::collection::vec(action(), 0..60),
        is_active in any::<bool>(),
    ) {
        let mut machine = Machine::new(options);
        machine.audit();
        let mut actions = actions.into_iter();
        let guest = move |_: &crate::guest::GuestCpu| actions.next().unwrap_or(Action::Spin);
        machine.monitor.guests.insert((Pa::new(RD), 0, 0), Box::new(guest));
        if is_active {
            machine.call(Command::RealmActivate, &[RD]);
        }
        for ((command, arguments), list) in calls {
            let descs = list.iter().map(|(page, count)| page | count << 2);
            let words: Vec<u8> = descs.flat_map(u64::to_le_bytes).collect();
            machine.poke(LIST, &words);
            machine.call(command, &arguments);
            machine.audit();
        }
    }

    #[test]
    fn any_registers_are_answered(
        options in options(),
        calls in prop::collection::vec(any::<[u64; 8]>(), 1..50),
    ) {
        let mut machine = Machine::new(options);
        for mut x in calls {
            // A function number in the range that EL3 passes on.
            x[0] = 0xc400_0150 + x[0] % 0xc8;
            machine.monitor.call(1, x);
        }
        machine.audit();
    }
}
