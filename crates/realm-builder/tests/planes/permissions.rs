//! Changes of stage 2 permissions that a Realm requests.

use std::sync::{Arc, Mutex};

use realm_builder::{
    Active, BuildError, Content, PlaneTables, Realm, RealmStorage, RecStart, Region,
};
use rmi_abi::run::{ExitReason, ExitRecord};
use rmi_abi::{Dialect, Ipa, IpaRange, Status};
use rmi_host::Error;
use rmm_model::{Action, GuestCpu};
use sro::{CallbackMemory, RecObject};

use crate::fixture::{
    DIALECTS, Ending, Fixture, MIB2, PAGE, Platform, RAM, config, options, range, run_scenario,
};
use crate::lifecycle::{enter, recorded, tree};

/// X0 to X3 after each of a guest's actions.
type Seen = Arc<Mutex<Vec<[u64; 4]>>>;
type Running<'r, 'm> = Realm<'m, Platform<'r>, Active>;

/// Runs a Realm with two blocks at `RAM`, whose guest makes these calls.
fn with_guest(
    dialect: Dialect,
    tables: PlaneTables,
    actions: &[Action],
    test: impl Fn(&Running<'_, '_>, &mut Fixture<'_, '_>, &RecObject, &Seen),
) -> Ending {
    let scenario = |b: &mut Fixture<'_, '_>| {
        let mut storage = RealmStorage::<48, 4>::new();
        let config = config(2, tables);
        let mut realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
        let blocks = b.heap.take(2 * MIB2, MIB2).unwrap();
        let mut regions = [Region::new(Ipa::new(RAM), blocks, Content::Unspecified)];
        realm.populate(b.pool, &mut regions).unwrap();
        b.pool.prefill(b.rmm, 17 * PAGE, PAGE).unwrap();
        let start = RecStart { runnable: true, pc: Ipa::new(RAM), gprs: [0; 8] };
        let rec = realm.create_rec(b.pool, &start).unwrap();
        let results = |cpu: &GuestCpu| [cpu.x[0], cpu.x[1], cpu.x[2], cpu.x[3]];
        let seen = recorded(b, realm.rd().pa(), actions, results);
        let realm = realm.activate().unwrap();
        test(&realm, b, &rec, &seen);
        let give_back = &mut |memory| b.heap.insert(memory).unwrap();
        realm
            .tear_down(&mut CallbackMemory::freeing(b.pool, &mut *give_back), [rec])
            .error
            .is_none()
    };
    run_scenario(options(dialect), None, &scenario).0
}

fn set_index(range: IpaRange, handle: u64) -> Action {
    Action::mem_set_perm_index(range.base(), range.top(), 1, handle)
}

fn asked(exit: &ExitRecord) -> IpaRange {
    IpaRange::new(Ipa::new(exit.s2ap_base), Ipa::new(exit.s2ap_top)).unwrap()
}

#[test]
fn planes_that_share_a_tree() {
    // From the middle of one block to the middle of the next.
    let middle = range(RAM + PAGE, MIB2);
    for dialect in DIALECTS {
        let actions = [set_index(middle, 0)];
        let ending = with_guest(dialect, PlaneTables::Shared, &actions, |realm, b, rec, seen| {
            let (reason, exit) = enter(b, rec).unwrap();
            assert_eq!((reason, asked(&exit)), (ExitReason::S2apChange, middle));
            let done = realm.set_s2ap(b.pool, rec.name(), middle, u32::MAX).unwrap();
            assert_eq!((done.top, done.tree), (middle.top(), 0));
            assert_eq!(enter(b, rec).unwrap().0, ExitReason::Fiq);
            assert_eq!(*seen.lock().unwrap(), [[0, middle.top().raw(), 0, 0]]);
        });
        assert_eq!(ending, Ending::GOOD);
    }
}

#[test]
fn one_tree_after_the_other() {
    let middle = range(RAM + PAGE, MIB2);
    let base = middle.base().raw();
    let actions = [0, base | 1, base | 2].map(|handle| set_index(middle, handle));
    for dialect in DIALECTS {
        let ending = with_guest(dialect, PlaneTables::PerPlane, &actions, |realm, b, rec, seen| {
            // One tree maps the block, which is split in the first round.
            realm.map_plane(b.pool, tree(1), range(RAM, PAGE)).unwrap();
            for round in 0..3 {
                let (reason, exit) = enter(b, rec).unwrap();
                assert_eq!((reason, asked(&exit)), (ExitReason::S2apChange, middle));
                let done = realm.set_s2ap(b.pool, rec.name(), middle, u32::MAX).unwrap();
                assert_eq!(done.top, middle.top());
                // The permissions of pages that auxiliary trees map are kept up to date, too.
                let page = range(RAM + PAGE, PAGE);
                let shown = realm.map_plane(b.pool, tree(1), page).unwrap();
                assert_eq!(shown.bytes, if round == 0 { PAGE } else { 0 });
            }
            assert_eq!(enter(b, rec).unwrap().0, ExitReason::Fiq);
            let top = middle.top().raw();
            // The cookie contains the base of the latest call.
            let steps = [[0, base, 0, base | 1], [0, base, 0, base | 2], [0, top, 0, 0]];
            assert_eq!(*seen.lock().unwrap(), steps);
        });
        assert_eq!(ending, Ending::GOOD);
    }
}

#[test]
fn a_part_of_what_is_asked_for() {
    let pages = range(RAM, 4 * PAGE);
    for dialect in DIALECTS {
        let actions = [set_index(pages, 0)];
        let ending = with_guest(dialect, PlaneTables::Shared, &actions, |realm, b, rec, seen| {
            assert_eq!(enter(b, rec).unwrap().0, ExitReason::S2apChange);
            let name = rec.name();
            realm.set_s2ap(b.pool, name, range(RAM, PAGE), u32::MAX).unwrap();
            realm.set_s2ap(b.pool, name, range(RAM + PAGE, PAGE), u32::MAX).unwrap();
            let nothing = realm.set_s2ap(b.pool, name, IpaRange::empty(Ipa::new(RAM)), u32::MAX);
            assert_eq!(nothing.unwrap().top.raw(), RAM);
            assert_eq!(enter(b, rec).unwrap().0, ExitReason::Fiq);
            assert_eq!(*seen.lock().unwrap(), [[0, RAM + 2 * PAGE, 0, 0]]);
        });
        assert_eq!(ending, Ending::GOOD);
    }
}

#[test]
fn what_was_not_asked_for_is_refused() {
    let pages = range(RAM, 4 * PAGE);
    for dialect in DIALECTS {
        let actions = [set_index(pages, 0)];
        let mut ending = with_guest(dialect, PlaneTables::Shared, &actions, |realm, b, rec, _| {
            assert_eq!(enter(b, rec).unwrap().0, ExitReason::S2apChange);
            let name = rec.name();
            for bad in [range(1 << 39, PAGE), range((1 << 39) - PAGE, 2 * PAGE)] {
                let stopped = realm.set_s2ap(b.pool, name, bad, u32::MAX).unwrap_err();
                assert!(matches!(stopped.error, BuildError::Region { .. }));
                assert_eq!((stopped.reached, stopped.tree), (bad.base(), None));
            }
            let stopped =
                realm.set_s2ap(b.pool, name, range(RAM + PAGE, PAGE), u32::MAX).unwrap_err();
            let BuildError::Call(Error::Refused(refusal)) = stopped.error else {
                panic!("{stopped:?}");
            };
            assert_eq!(refusal.status(), Status::ErrorInput);
            assert_eq!((stopped.reached.raw(), stopped.tree), (RAM + PAGE, None));
        });
        assert_eq!(core::mem::take(&mut ending.failed), 1);
        assert_eq!(ending, Ending::GOOD);
    }
}
