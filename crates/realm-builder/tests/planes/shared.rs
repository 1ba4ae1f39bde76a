//! What is shared with a Realm, in auxiliary trees.

use std::sync::{Arc, Mutex};

use realm_builder::plan::Limits;
use realm_builder::{
    Active, BuildError, PlaneTables, Progress, Realm, RealmStorage, RecStart, RegionProblem, Served,
};
use rmi_abi::esr::fault_page;
use rmi_abi::run::ExitReason;
use rmi_abi::{Dialect, Ipa};
use rmi_host::command::{AuxTree, SharedAccess};
use rmm_model::{Action, GuestCpu, Outcome};
use sro::RecObject;

use crate::bench::{
    Bench, DIALECTS, Ending, MIB2, PAGE, Platform, RAM, config, live, options, range,
};
use crate::life::{enter, tree};

const SHARED: u64 = 1 << 39;
/// What a root entry covers: walks start at level 1.
const ROOT: u64 = 1 << 30;

type Running<'r, 'm> = Realm<'r, 'm, Platform<'r>, Active>;

/// How each of the guest's actions ended.
type Seen = Arc<Mutex<Vec<Outcome>>>;

/// A Realm with two auxiliary planes and no memory, in both dialects, whose guest does this; no call may fail but those that the test says.
fn with_guest(
    actions: &[Action],
    test: impl Fn(&Running<'_, '_>, &mut Bench<'_, '_, '_>, &RecObject, &Seen) -> u64,
) {
    for dialect in DIALECTS {
        let refused = std::cell::Cell::new(0);
        let life = |b: &mut Bench<'_, '_, '_>| {
            let mut storage = RealmStorage::<48, 4>::new();
            let config = config(2, PlaneTables::PerPlane);
            let mut realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
            b.pool.prefill(b.rmm, 17 * PAGE, PAGE).unwrap();
            let start = RecStart { runnable: true, pc: Ipa::new(RAM), gprs: [0; 8] };
            let rec = realm.create_rec(b.pool, &start).unwrap();
            let seen = Seen::default();
            let (log, mut actions) = (Arc::clone(&seen), Vec::from(actions).into_iter());
            let mut first = true;
            let guest = move |cpu: &GuestCpu| {
                if !std::mem::take(&mut first) {
                    log.lock().unwrap().push(cpu.last);
                }
                actions.next().unwrap_or(Action::Spin)
            };
            b.model.set_guest(realm.rd().pa(), 0, Box::new(guest));
            let realm = realm.activate().unwrap();
            refused.set(test(&realm, b, &rec, &seen));
            let home = &mut |memory| b.heap.insert(memory).unwrap();
            realm.tear_down([rec], b.pool, home).is_none()
        };
        let (mut ending, _) = live(options(dialect), None, &life);
        assert_eq!(ending.failed, refused.get(), "{dialect}");
        ending.failed = 0;
        assert_eq!(ending, Ending::GOOD, "{dialect}");
    }
}

fn share(realm: &Running<'_, '_>, b: &mut Bench<'_, '_, '_>, at: u64, bytes: u64) -> u64 {
    let memory = b.heap.take(bytes, bytes.min(MIB2)).unwrap();
    let pa = memory.base();
    let shared = realm.share(b.pool, Ipa::new(at), memory, SharedAccess::MEMORY);
    shared.map_err(|failed| failed.error).unwrap();
    pa.raw()
}

fn unshare(realm: &Running<'_, '_>, b: &mut Bench<'_, '_, '_>, at: u64, bytes: u64) {
    let home = &mut |memory| b.heap.insert(memory).unwrap();
    realm.unshare(b.pool, range(at, bytes), home).unwrap();
}

/// The Realm faults in its tree; how that is served.
fn faults(
    realm: &Running<'_, '_>,
    b: &mut Bench<'_, '_, '_>,
    rec: &RecObject,
) -> Result<Served, BuildError> {
    let (reason, exit) = enter(b, rec).unwrap();
    assert_eq!((reason, exit.rtt_tree), (ExitReason::Sync, 1));
    let ipa = Ipa::new(fault_page(exit.hpfar).raw());
    let nothing = &mut |_| unreachable!("nothing is to be mapped");
    let home = &mut |_| unreachable!("nothing is taken away");
    let page = range(ipa.raw(), PAGE);
    realm.serve_plane_fault(b.pool, exit.rtt_tree, ipa, page, nothing, home)
}

fn word(b: &Bench<'_, '_, '_>, pa: u64) -> u64 {
    let mut word = [0; 8];
    b.model.peek(rmi_abi::Pa::new(pa), &mut word);
    u64::from_le_bytes(word)
}

fn store(ipa: u64, value: u64) -> Action {
    Action::Store { ipa: Ipa::new(ipa), bytes: 8, value }
}

#[test]
fn plane_0_reaches_what_is_shared() {
    let far = SHARED + 8 * MIB2;
    let actions =
        [store(SHARED, 1), store(SHARED, 2), store(far, 3), Action::Spin, store(SHARED, 4)];
    with_guest(&actions, |realm, b, rec, seen| {
        let page = share(realm, b, SHARED, PAGE);
        // As at any unprotected address, the access may be emulated; here it is not, and the Realm goes on.
        assert_eq!(faults(realm, b, rec), Ok(Served::Mapped(range(SHARED, PAGE))));
        // What is shared from then on is there.
        let other = share(realm, b, far, MIB2);
        assert_eq!(enter(b, rec).unwrap().0, ExitReason::Fiq);
        let stored = [Outcome::Stored; 2];
        assert_eq!(seen.lock().unwrap().get(1..3), Some(stored.as_slice()));
        assert_eq!((word(b, page), word(b, other)), (2, 3));
        // And gone, when it is shared no more. A tree that shows it already is told nothing.
        unshare(realm, b, SHARED, PAGE);
        let before = b.door.calls();
        let failed = faults(realm, b, rec).unwrap_err();
        assert!(matches!(failed, BuildError::Region { problem: RegionProblem::NotProtected, .. }));
        assert_eq!(b.door.calls() - before, 1, "the entry alone");
        0
    });
}

#[test]
fn a_tree_has_root_entries_and_no_tables() {
    with_guest(&[], |realm, b, _, _| {
        let trees = [tree(1), tree(2)];
        share(realm, b, SHARED + PAGE, PAGE);
        share(realm, b, SHARED + ROOT, 2 * MIB2);
        // The tables of the primary tree: two for the page, one for the blocks.
        let tables = realm.tables();
        for tree in trees {
            let before = b.door.calls();
            realm.map_plane_shared(b.pool, tree, range(SHARED, ROOT + PAGE)).unwrap();
            realm.map_plane_shared(b.pool, tree, range(SHARED, PAGE)).unwrap();
            assert_eq!(b.door.calls() - before, 2);
        }
        assert_eq!(realm.tables(), tables);
        // Other tables are made below the one that is referred to; those that are there cannot be folded.
        share(realm, b, SHARED + 4 * MIB2, PAGE);
        assert_eq!(realm.tables(), tables + 1);
        let [first, second] = trees;
        realm.unmap_plane_shared(first, range(SHARED, 2 * ROOT)).unwrap();
        let before = b.door.calls();
        realm.unmap_plane_shared(first, range(SHARED, 2 * ROOT)).unwrap();
        assert_eq!(b.door.calls(), before);
        // All that is shared goes; what refers to it may have to go before.
        for (at, bytes) in [(SHARED, 5 * MIB2), (SHARED + ROOT, 2 * MIB2)] {
            let before = b.door.calls();
            unshare(realm, b, at, bytes);
            let calls = b.door.calls() - before;
            let pieces = if at == SHARED { 2 } else { 1 };
            let by_range = b.rmm.dialect() == Dialect::V2_0Bet3;
            assert_eq!(calls, pieces + u64::from(by_range));
        }
        // An RMM that takes ranges finds entries by what is mapped there.
        match realm.map_plane_shared(b.pool, second, range(SHARED, PAGE)) {
            Ok(()) => assert_eq!(b.rmm.dialect(), Dialect::TfRmm2026_07),
            Err(BuildError::Region { problem, .. }) => {
                assert!(matches!(problem, RegionProblem::NoMemory { .. }), "{problem}");
            }
            Err(error) => panic!("{error}"),
        }
        0
    });
}

#[test]
fn the_whole_block_at_a_root_entry_is_split() {
    for dialect in DIALECTS {
        let mut options = options(dialect).range_capable();
        options.dram = rmi_abi::PaRange::with_size(options.dram.base(), 3 * ROOT).unwrap();
        let life = |b: &mut Bench<'_, '_, '_>| {
            let mut storage = RealmStorage::<48, 4>::new();
            let config = config(1, PlaneTables::PerPlane);
            let realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
            let tables = realm.tables();
            let block = b.heap.take(ROOT, ROOT).unwrap();
            let shared = realm.share(b.pool, Ipa::new(SHARED), block, SharedAccess::MEMORY);
            shared.map_err(|failed| failed.error).unwrap();
            assert_eq!(realm.tables(), tables, "one block");
            realm.map_plane_shared(b.pool, tree(1), range(SHARED, PAGE)).unwrap();
            assert_eq!(realm.tables(), tables + 1, "a copy of a block would outlive it");
            let home = &mut |memory| b.heap.insert(memory).unwrap();
            realm.unshare(b.pool, range(SHARED, ROOT), home).unwrap();
            realm.tear_down([], b.pool, home).is_none()
        };
        assert_eq!(live(options, None, &life).0, Ending::GOOD, "{dialect}");
    }
}

#[test]
fn it_costs_what_is_said_to_take_it_apart() {
    for dialect in DIALECTS {
        let life = |b: &mut Bench<'_, '_, '_>| {
            let mut storage = RealmStorage::<48, 4>::new();
            let config = config(2, PlaneTables::PerPlane);
            let realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
            let memory = b.heap.take(PAGE, PAGE).unwrap();
            let shared = realm.share(b.pool, Ipa::new(SHARED), memory, SharedAccess::MEMORY);
            shared.map_err(|failed| failed.error).unwrap();
            for index in [1, 2] {
                realm.map_plane_shared(b.pool, tree(index), range(SHARED, PAGE)).unwrap();
            }
            let cost = realm.dismantle_cost(Limits::ONE_BY_ONE);
            let mut realm = realm.terminate().unwrap();
            let home = &mut |memory| b.heap.insert(memory).unwrap();
            let before = b.door.calls();
            while realm.dismantle(b.pool, 1, home).unwrap() == Progress::More {}
            // What is shared is not counted: one call.
            assert_eq!(b.door.calls() - before, cost.calls() + 1);
            realm.destroy(b.pool, home).is_ok()
        };
        assert_eq!(live(options(dialect), None, &life).0, Ending::GOOD, "{dialect}");
    }
}

#[test]
fn what_is_no_tree_or_no_range_is_refused_without_a_call() {
    with_guest(&[], |realm, b, _, _| {
        share(realm, b, SHARED, PAGE);
        let before = b.door.calls();
        let third = AuxTree::new(3).unwrap();
        let page = range(SHARED, PAGE);
        assert!(matches!(
            realm.map_plane_shared(b.pool, third, page),
            Err(BuildError::NoTree { tree: 3, trees: 2, .. })
        ));
        assert!(realm.unmap_plane_shared(third, page).is_err());
        for range in [range(RAM, PAGE), range(SHARED, 0), range(SHARED - PAGE, 2 * PAGE)] {
            assert!(realm.map_plane_shared(b.pool, tree(1), range).is_err());
            assert!(realm.unmap_plane_shared(tree(1), range).is_err());
        }
        assert_eq!(b.door.calls(), before);
        0
    });
}
