//! Memory shared with a Realm, in auxiliary trees.

use std::sync::{Arc, Mutex};

use realm_builder::plan::Limits;
use realm_builder::{
    Active, BuildError, DismantleProgress, PlaneTables, Realm, RealmStorage, RecStart,
    RegionProblem, Served,
};
use rmi_abi::esr::fault_page;
use rmi_abi::run::ExitReason;
use rmi_abi::{Command, Dialect, Ipa, Status};
use rmi_conduits::inject::{Fault, Rule};
use rmi_host::command::{AuxTree, SharedAccess};
use rmm_model::{Action, Outcome};
use sro::{CallbackMemory, RecObject};

use crate::fixture::{
    DIALECTS, Ending, Fixture, MIB2, PAGE, Platform, RAM, config, options, range, run_scenario,
    run_scenario_by,
};
use crate::lifecycle::{enter, recorded, tree};
use crate::step::show_shared;

const SHARED: u64 = 1 << 39;
/// The size that a root entry covers: walks start at level 1.
const ROOT: u64 = 1 << 30;

type Running<'r, 'm> = Realm<'m, Platform<'r>, Active>;

/// The outcome of each of the guest's actions.
type Seen = Arc<Mutex<Vec<Outcome>>>;

/// Runs a Realm with two auxiliary planes and no memory, in both dialects, with this guest; no call
/// may fail except those that the test says.
fn with_guest(
    actions: &[Action],
    test: impl Fn(&Running<'_, '_>, &mut Fixture<'_, '_>, &RecObject, &Seen) -> u64,
) {
    for dialect in DIALECTS {
        let refused = std::cell::Cell::new(0);
        let scenario = |b: &mut Fixture<'_, '_>| {
            let mut storage = RealmStorage::<48, 4>::new();
            let config = config(2, PlaneTables::PerPlane);
            let mut realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
            b.pool.prefill(b.rmm, 17 * PAGE, PAGE).unwrap();
            let start = RecStart { runnable: true, pc: Ipa::new(RAM), gprs: [0; 8] };
            let rec = realm.create_rec(b.pool, &start).unwrap();
            let seen = recorded(b, realm.rd().pa(), actions, |cpu| cpu.last);
            let realm = realm.activate().unwrap();
            refused.set(test(&realm, b, &rec, &seen));
            let give_back = &mut |memory| b.heap.insert(memory).unwrap();
            realm
                .tear_down(&mut CallbackMemory::freeing(b.pool, &mut *give_back), [rec])
                .error
                .is_none()
        };
        let (mut ending, _) = run_scenario(options(dialect), None, &scenario);
        assert_eq!(ending.failed, refused.get(), "{dialect}");
        ending.failed = 0;
        assert_eq!(ending, Ending::GOOD, "{dialect}");
    }
}

fn share(realm: &Running<'_, '_>, b: &mut Fixture<'_, '_>, at: u64, bytes: u64) -> u64 {
    let memory = b.heap.take(bytes, bytes.min(MIB2)).unwrap();
    let pa = memory.base();
    let shared = realm.share(b.pool, Ipa::new(at), memory, SharedAccess::MEMORY);
    shared.unwrap();
    pa.raw()
}

fn unshare(realm: &Running<'_, '_>, b: &mut Fixture<'_, '_>, at: u64, bytes: u64) {
    let give_back = &mut |memory| b.heap.insert(memory).unwrap();
    realm.unshare(&mut CallbackMemory::freeing(b.pool, &mut *give_back), range(at, bytes)).unwrap();
}

/// The Realm faults in its tree; returns how that is served.
fn faults(
    realm: &Running<'_, '_>,
    b: &mut Fixture<'_, '_>,
    rec: &RecObject,
) -> Result<Served, BuildError> {
    let (reason, exit) = enter(b, rec).unwrap();
    assert_eq!((reason, exit.rtt_tree), (ExitReason::Sync, 1));
    let ipa = Ipa::new(fault_page(exit.hpfar).raw());
    let nothing = &mut |_| unreachable!("nothing is to be mapped");
    let give_back = &mut |_| unreachable!("nothing is taken away");
    let page = range(ipa.raw(), PAGE);
    realm.serve_plane_fault(
        &mut CallbackMemory::new(b.pool, nothing, |host| {
            give_back(host);
            Ok(())
        }),
        exit.rtt_tree,
        ipa,
        page,
    )
}

fn word(b: &Fixture<'_, '_>, pa: u64) -> u64 {
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
        // As at any unprotected address, the host may emulate the access, whether or not memory is
        // shared there.
        let before = b.conduit.calls();
        let refused = faults(realm, b, rec).unwrap_err();
        let BuildError::Region { problem, .. } = refused else { panic!("{refused}") };
        assert_eq!((problem, b.conduit.calls() - before), (RegionProblem::NotProtected, 1));
        show_shared(realm, b.pool, tree(1), range(SHARED, PAGE)).unwrap();
        // Memory that is shared from now on is mapped there, too.
        let other = share(realm, b, far, MIB2);
        assert_eq!(enter(b, rec).unwrap().0, ExitReason::Fiq);
        let stored = [Outcome::Stored; 2];
        assert_eq!(seen.lock().unwrap().get(1..3), Some(stored.as_slice()));
        assert_eq!((word(b, page), word(b, other)), (2, 3));
        // And no longer mapped once it is not shared.
        unshare(realm, b, SHARED, PAGE);
        assert!(faults(realm, b, rec).is_err());
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
            let before = b.conduit.calls();
            show_shared(realm, b.pool, tree, range(SHARED, ROOT + PAGE)).unwrap();
            show_shared(realm, b.pool, tree, range(SHARED, PAGE)).unwrap();
            assert_eq!(b.conduit.calls() - before, 2);
        }
        assert_eq!(realm.tables(), tables);
        // Other tables are created below the one that is referred to; those that exist cannot be
        // folded.
        share(realm, b, SHARED + 4 * MIB2, PAGE);
        assert_eq!(realm.tables(), tables + 1);
        let [first, second] = trees;
        realm.unmap_plane_shared(first, range(SHARED, 2 * ROOT)).unwrap();
        let before = b.conduit.calls();
        realm.unmap_plane_shared(first, range(SHARED, 2 * ROOT)).unwrap();
        assert_eq!(b.conduit.calls(), before);
        // All shared memory is removed; the references to it may have to be removed before.
        for (at, bytes) in [(SHARED, 5 * MIB2), (SHARED + ROOT, 2 * MIB2)] {
            let before = b.conduit.calls();
            unshare(realm, b, at, bytes);
            let calls = b.conduit.calls() - before;
            let pieces = if at == SHARED { 2 } else { 1 };
            let by_range = b.rmm.dialect().aux_maps_by_range();
            assert_eq!(calls, pieces + u64::from(by_range));
        }
        // An RMM that takes ranges finds entries by what is mapped there.
        match show_shared(realm, b.pool, second, range(SHARED, PAGE)) {
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
        let scenario = |b: &mut Fixture<'_, '_>| {
            let mut storage = RealmStorage::<48, 4>::new();
            let config = config(1, PlaneTables::PerPlane);
            let realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
            let tables = realm.tables();
            let block = b.heap.take(ROOT, ROOT).unwrap();
            let shared = realm.share(b.pool, Ipa::new(SHARED), block, SharedAccess::MEMORY);
            shared.unwrap();
            assert_eq!(realm.tables(), tables, "one block");
            show_shared(&realm, b.pool, tree(1), range(SHARED, PAGE)).unwrap();
            assert_eq!(realm.tables(), tables + 1, "a copy of a block would outlive it");
            let give_back = &mut |memory| b.heap.insert(memory).unwrap();
            realm
                .unshare(&mut CallbackMemory::freeing(b.pool, &mut *give_back), range(SHARED, ROOT))
                .unwrap();
            realm
                .tear_down(&mut CallbackMemory::freeing(b.pool, &mut *give_back), [])
                .error
                .is_none()
        };
        assert_eq!(run_scenario(options, None, &scenario).0, Ending::GOOD, "{dialect}");
    }
}

/// References of several trees to several root entries, in any order: a reference is removed when
/// the last memory below its root entry is.
#[test]
fn what_is_emptied_is_hidden_in_all_trees() {
    for swapped in [false, true] {
        with_guest(&[], |realm, b, _, _| {
            let trees = if swapped { [tree(2), tree(1)] } else { [tree(1), tree(2)] };
            for at in [SHARED, SHARED + ROOT, SHARED + ROOT + 8 * PAGE] {
                share(realm, b, at, PAGE);
            }
            for (tree, at) in trees.into_iter().zip([SHARED + ROOT, SHARED]) {
                show_shared(realm, b.pool, tree, range(at, PAGE)).unwrap();
            }
            // All memory of the first root entry, a part of the second's.
            unshare(realm, b, SHARED, ROOT + PAGE);
            0
        });
    }
}

/// No table is created and no call made where an RMM would find nothing to map; what else is in the
/// range is mapped.
#[test]
fn where_nothing_is_shared() {
    with_guest(&[], |realm, b, _, _| {
        if b.rmm.dialect() == Dialect::TfRmm2026_07 {
            return 0;
        }
        let (before, tables) = (b.conduit.calls(), realm.tables());
        let nothing = show_shared(realm, b.pool, tree(1), range(SHARED, 8 * ROOT));
        let no_memory = matches!(
            nothing,
            Err(BuildError::Region { problem: RegionProblem::NoMemory { .. }, .. })
        );
        assert!(no_memory, "{nothing:?}");
        assert_eq!((b.conduit.calls(), realm.tables()), (before, tables));
        share(realm, b, SHARED + ROOT, PAGE);
        let (before, tables) = (b.conduit.calls(), realm.tables());
        show_shared(realm, b.pool, tree(1), range(SHARED, 8 * ROOT)).unwrap();
        assert_eq!((b.conduit.calls() - before, realm.tables()), (1, tables));
        0
    });
}

/// A call to share memory whose outcome is unclear is resolved at once, so that what is shared
/// beside it is found and unmapped by what is mapped.
#[test]
fn what_is_unclear_is_settled_before_it_joins_others() {
    for dialect in DIALECTS {
        let scenario = |b: &mut Fixture<'_, '_>| {
            let mut storage = RealmStorage::<48, 8>::new();
            let config = config(2, PlaneTables::PerPlane);
            let realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
            // Neighbours on both sides.
            let unclear = b.heap.take(PAGE, 2 * PAGE).unwrap();
            let memory = b.heap.take(PAGE, PAGE).unwrap();
            assert_eq!(memory.base(), unclear.range().top());
            let at = Ipa::new(SHARED + PAGE);
            let shared = realm.share(b.pool, at, memory, SharedAccess::MEMORY);
            shared.unwrap();
            show_shared(&realm, b.pool, tree(1), range(SHARED, PAGE)).unwrap();
            // The table exists; this is the call that maps.
            let failed = realm.share(b.pool, Ipa::new(SHARED), unclear, SharedAccess::MEMORY);
            let host = failed.unwrap_err().host;
            assert!(b.conduit.has_injected());
            assert_eq!((host.bytes(), realm.shared_bytes()), (PAGE, PAGE));
            b.heap.insert(host).unwrap();
            show_shared(&realm, b.pool, tree(2), range(SHARED, PAGE)).unwrap();
            realm.unmap_plane_shared(tree(1), range(SHARED, PAGE)).unwrap();
            let give_back = &mut |memory| b.heap.insert(memory).unwrap();
            realm
                .tear_down(&mut CallbackMemory::freeing(b.pool, &mut *give_back), [])
                .error
                .is_none()
        };
        // The call that maps for the second time, the last one before teardown.
        let number = std::cell::Cell::new(0);
        let count = |b: &mut Fixture<'_, '_>| {
            let mut storage = RealmStorage::<48, 8>::new();
            let config = config(2, PlaneTables::PerPlane);
            let realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
            for at in [SHARED + PAGE, SHARED] {
                number.set(b.conduit.calls());
                let memory = b.heap.take(PAGE, PAGE).unwrap();
                let shared = realm.share(b.pool, Ipa::new(at), memory, SharedAccess::MEMORY);
                shared.unwrap();
                if at != SHARED {
                    show_shared(&realm, b.pool, tree(1), range(SHARED, PAGE)).unwrap();
                }
            }
            let give_back = &mut |memory| b.heap.insert(memory).unwrap();
            realm
                .tear_down(&mut CallbackMemory::freeing(b.pool, &mut *give_back), [])
                .error
                .is_none()
        };
        assert_eq!(run_scenario(options(dialect), None, &count).0, Ending::GOOD);
        let garbage = rmi_conduits::inject::Fault::Instead([99, 0, 0, 0, 0, 0, 0, 0]);
        let (mut ending, _) =
            run_scenario(options(dialect), Some((number.get(), garbage)), &scenario);
        ending.failed = 0;
        assert_eq!(ending, Ending::GOOD, "{dialect}");
    }
}

#[test]
fn dismantling_takes_the_predicted_calls() {
    for dialect in DIALECTS {
        let scenario = |b: &mut Fixture<'_, '_>| {
            let mut storage = RealmStorage::<48, 4>::new();
            let config = config(2, PlaneTables::PerPlane);
            let realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
            let memory = b.heap.take(PAGE, PAGE).unwrap();
            let shared = realm.share(b.pool, Ipa::new(SHARED), memory, SharedAccess::MEMORY);
            shared.unwrap();
            for index in [1, 2] {
                show_shared(&realm, b.pool, tree(index), range(SHARED, PAGE)).unwrap();
            }
            let cost = realm.dismantle_cost(Limits::ONE_BY_ONE);
            let mut realm = realm.terminate().unwrap();
            let give_back = &mut |memory| b.heap.insert(memory).unwrap();
            let before = b.conduit.calls();
            while realm.dismantle(&mut CallbackMemory::freeing(b.pool, &mut *give_back), 1).unwrap()
                == DismantleProgress::More
            {}
            // What is shared is part of the cost.
            assert_eq!((b.conduit.calls() - before, cost.unshare), (cost.calls(), 1), "{dialect}");
            realm.destroy(&mut CallbackMemory::freeing(b.pool, &mut *give_back)).is_ok()
        };
        assert_eq!(run_scenario(options(dialect), None, &scenario).0, Ending::GOOD, "{dialect}");
    }
}

#[test]
fn what_is_no_tree_or_no_range_is_refused_without_a_call() {
    with_guest(&[], |realm, b, _, _| {
        share(realm, b, SHARED, PAGE);
        let before = b.conduit.calls();
        let third = AuxTree::new(3).unwrap();
        let page = range(SHARED, PAGE);
        assert!(matches!(
            show_shared(realm, b.pool, third, page),
            Err(BuildError::NoTree { tree: 3, trees: 2, .. })
        ));
        assert!(realm.unmap_plane_shared(third, page).is_err());
        for range in [range(RAM, PAGE), range(SHARED, 0), range(SHARED - PAGE, 2 * PAGE)] {
            assert!(show_shared(realm, b.pool, tree(1), range).is_err());
            assert!(realm.unmap_plane_shared(tree(1), range).is_err());
        }
        assert_eq!(b.conduit.calls(), before);
        0
    });
}

/// Runs a Realm with an auxiliary plane and memory that is shared at these addresses, on an RMM
/// whose calls that show it fail; `test` gets how showing it ended, and after how many calls.
fn with_fault(
    dialect: Dialect,
    pieces: &[u64],
    (rule, fault): (impl Fn(Rule) -> Rule, Fault),
    test: impl Fn(&Running<'_, '_>, &mut Fixture<'_, '_>, Result<(), BuildError>, u64),
) {
    let by_range = dialect.aux_maps_by_range();
    let command = if by_range { Command::RttAuxUnprotMap } else { Command::RttAuxMapUnprotected };
    let scenario = |b: &mut Fixture<'_, '_>| {
        let mut storage = RealmStorage::<48, 4>::new();
        let config = config(1, PlaneTables::PerPlane);
        let realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
        let realm = realm.activate().unwrap();
        for at in pieces {
            share(&realm, b, *at, PAGE);
        }
        let (shown, calls) = shows(&realm, b);
        assert!(b.conduit.has_injected());
        test(&realm, b, shown, calls);
        let give_back = &mut |memory| b.heap.insert(memory).unwrap();
        realm.tear_down(&mut CallbackMemory::freeing(b.pool, &mut *give_back), []).error.is_none()
    };
    let rule = rule(Rule::command(command, dialect));
    let (mut ending, _) = run_scenario_by(options(dialect), rule, fault, &scenario);
    ending.failed = 0;
    assert_eq!(ending, Ending::GOOD, "{dialect} {fault:?}");
}

/// Shows what is shared in the first root entry; how that ended, and after how many calls.
fn shows(realm: &Running<'_, '_>, b: &mut Fixture<'_, '_>) -> (Result<(), BuildError>, u64) {
    let before = b.conduit.calls();
    let shown = show_shared(realm, b.pool, tree(1), range(SHARED, PAGE));
    (shown, b.conduit.calls() - before)
}

const APART: [u64; 2] = [SHARED, SHARED + 2 * PAGE];

fn once(rule: Rule) -> Rule {
    rule.nth(0)
}

#[test]
fn what_may_be_shown_is_hidden_before_it_is_shown_again() {
    let garbage = [99, 0, 0, 0, 0, 0, 0, 0];
    for dialect in DIALECTS {
        for fault in [Fault::Afterwards(garbage), Fault::Instead(garbage)] {
            with_fault(dialect, &APART[..1], (once, fault), |realm, b, shown, calls| {
                assert!(shown.is_err() && calls == 1, "{shown:?}");
                let (shown, calls) = shows(realm, b);
                assert!(shown.is_ok() && calls == 2, "{shown:?} {calls}");
                let (shown, calls) = shows(realm, b);
                assert!(shown.is_ok() && calls == 0, "{shown:?} {calls}");
            });
            // Nor does it keep a table of the Realm in use.
            with_fault(dialect, &APART[..1], (once, fault), |_, _, _, _| {});
        }
    }
}

#[test]
fn what_an_rmm_refuses_to_show_is_not_shown() {
    for dialect in DIALECTS {
        let fault = Fault::status(Status::ErrorInput);
        with_fault(dialect, &APART, (once, fault), |realm, b, shown, calls| {
            assert!(shown.is_err() && calls == 1, "{shown:?} {calls}");
            let (shown, calls) = shows(realm, b);
            assert!(shown.is_ok() && calls == 1, "{shown:?} {calls}");
        });
    }
}

/// An RMM that takes ranges looks at the first address: what is not mapped there is passed over.
#[test]
fn a_reference_is_made_where_memory_is_mapped() {
    for dialect in DIALECTS {
        let by_range = dialect.aux_maps_by_range();
        let fault = Fault::status(Status::ErrorRtt);
        with_fault(dialect, &APART, (once, fault), |_, _, shown, calls| {
            assert_eq!((shown.is_ok(), calls), (by_range, 1 + u64::from(by_range)), "{shown:?}");
        });
        let always = |rule| rule;
        with_fault(dialect, &APART, (always, fault), |_, _, shown, calls| {
            assert_eq!((shown.is_ok(), calls), (false, 1 + u64::from(by_range)), "{shown:?}");
        });
    }
}

#[test]
fn an_rmm_that_yields_is_called_again_a_bounded_number_of_times() {
    let dialect = Dialect::V2_0Bet3;
    let fault = Fault::Instead([0, SHARED, 0, 0, 0, 0, 0, 0]);
    with_fault(dialect, &APART, (once, fault), |_, _, shown, calls| {
        assert!(shown.is_ok() && calls == 2, "{shown:?} {calls}");
    });
    with_fault(dialect, &APART, (|rule| rule, fault), |realm, b, shown, calls| {
        assert!(shown.is_err(), "{shown:?}");
        assert_eq!(calls, u64::from(b.rmm.retry_budget().busy) + 1);
        // Nothing is shown.
        let before = b.conduit.calls();
        realm.unmap_plane_shared(tree(1), range(SHARED, PAGE)).unwrap();
        assert_eq!(b.conduit.calls(), before);
    });
}
