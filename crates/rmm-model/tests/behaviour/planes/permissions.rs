//! Permissions: values and indices that the Realm sets, and changes that the host makes.

use std::sync::{Arc, Mutex};

use rmi_abi::rtt::Level;
use rmi_abi::run::{ExitReason, RecEnterFlags};
use rmi_abi::{Command, Dialect, Ipa, Pa, Status};
use rmm_model::{Action, GuestCpu, Options};

use super::{aux_error, aux_tables, host, realm, shared_realm};
use crate::host::{DIALECTS, Host, MIB2, PAGE, Realm, Running, SHARED, rtt_error};

const REJECT: u64 = RecEnterFlags::S2AP_REJECT.bits();
const INPUT: [u64; 4] = [1, 0, 0, 0];

/// A running Realm, and X0 to X3 after each of its actions.
fn run(
    host: &Host,
    realm: Realm,
    actions: Vec<Action>,
) -> (Running<'_>, Arc<Mutex<Vec<[u64; 4]>>>) {
    let rec = host.rec(realm, 0, true);
    host.done(Command::RealmActivate, &[realm.rd]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let mut actions = actions.into_iter();
    let mut is_first = true;
    let guest = move |cpu: &GuestCpu| {
        if !std::mem::take(&mut is_first) {
            log.lock().unwrap().push([cpu.x[0], cpu.x[1], cpu.x[2], cpu.x[3]]);
        }
        actions.next().unwrap_or(Action::Spin)
    };
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
    (Running { host, realm, rec, run: host.page() }, seen)
}

fn set_index(base: u64, top: u64, index: u64, handle: u64) -> Action {
    Action::mem_set_perm_index(Ipa::new(base), Ipa::new(top), index, handle)
}

#[test]
fn values_are_set_by_plane_and_index() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let realm = shared_realm(&host, 2);
        let get = Action::mem_get_perm_value;
        let set = Action::mem_set_perm_value;
        let (running, seen) = run(
            &host,
            realm,
            vec![
                get(0, 14),
                get(2, 14),
                set(2, 14, 8),
                get(2, 14),
                get(1, 14),
                // Planes and indices that do not exist, plane 0, index 0, and a value of five bits.
                get(3, 0),
                get(0, 15),
                set(3, 1, 8),
                set(1, 15, 8),
                set(0, 1, 8),
                set(1, 0, 8),
                set(1, 1, 16),
            ],
        );
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
        let seen = seen.lock().unwrap().clone();
        let values = [[0, 15, 0, 0], [0; 4], [0; 4], [0, 8, 0, 0], [0; 4]];
        assert_eq!(seen, [&values[..], &[INPUT; 7]].concat());
    }
}

#[test]
fn a_change_is_asked_for_and_carried_out() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let realm = shared_realm(&host, 1);
        let (running, seen) = run(
            &host,
            realm,
            vec![
                Action::mem_set_perm_value(1, 3, 8),
                set_index(0, MIB2 + PAGE, 3, 0),
                set_index(MIB2, MIB2 + PAGE, 3, 0),
                // Locked from now on.
                Action::mem_set_perm_value(1, 3, 10),
            ],
        );
        let (reason, exit) = running.enter(0, &[]);
        assert_eq!(reason, ExitReason::S2apChange);
        assert_eq!((exit.s2ap_base, exit.s2ap_top), (0, MIB2 + PAGE));
        let set = |base, top| host.call(Command::RttSetS2ap, &[realm.rd, running.rec, base, top]);
        assert_eq!(set(0, PAGE)[..3], [0, PAGE, 0]);
        // Only from where it stopped, and not beyond what was requested.
        for (base, top) in [(0, PAGE), (PAGE, MIB2 + 2 * PAGE), (PAGE, PAGE), (PAGE, 2 * PAGE + 8)]
        {
            assert_eq!(set(base, top)[0], 1, "{base:#x} {top:#x}");
        }
        // To the end of the table.
        assert_eq!(set(PAGE, MIB2 + PAGE)[..3], [0, MIB2, 0]);
        // The next entry is larger than what remains.
        let stopped = set(MIB2, MIB2 + PAGE);
        assert_eq!(stopped[..3], [rtt_error(Level::L2), MIB2, 0]);
        assert_eq!(running.enter(0, &[]).0, ExitReason::S2apChange);
        // The entries differ in their index.
        assert_eq!(host.call(Command::RttFold, &[realm.rd, 0, 3])[0], 0);
        host.table(realm, MIB2, 3);
        assert_eq!(set(MIB2, MIB2 + PAGE)[..3], [0, MIB2 + PAGE, 0]);
        assert_eq!(host.call(Command::RttFold, &[realm.rd, MIB2, 3])[0], rtt_error(Level::L3));
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
        let steps = [[0; 4], [0, MIB2, 0, 0], [0, MIB2 + PAGE, 0, 0], INPUT];
        assert_eq!(*seen.lock().unwrap(), steps);
        host.fails(Status::ErrorInput, Command::RttSetS2ap, &[realm.rd, running.rec, 0, PAGE]);
    }
}

#[test]
fn one_tree_after_the_other() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, _) = realm(&host, 1);
        let (running, seen) = run(
            &host,
            realm,
            vec![set_index(PAGE, 2 * PAGE, 1, 0), set_index(PAGE, 2 * PAGE, 1, PAGE | 1)],
        );
        let set = || {
            let range = [realm.rd, running.rec, PAGE, 2 * PAGE];
            host.call(Command::RttSetS2ap, &range)
        };
        assert_eq!(running.enter(0, &[]).0, ExitReason::S2apChange);
        assert_eq!(set()[..3], [0, 2 * PAGE, 0]);
        assert_eq!(running.enter(0, &[]).0, ExitReason::S2apChange);
        // The auxiliary tree has no table there yet.
        assert_eq!(set()[..3], [aux_error(Level::L0), PAGE, 1]);
        aux_tables(&host, realm, 1);
        assert_eq!(set()[..3], [0, 2 * PAGE, 0]);
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
        assert_eq!(*seen.lock().unwrap(), [[0, PAGE, 0, PAGE | 1], [0, 2 * PAGE, 0, 0]]);
    }
}

#[test]
fn part_of_a_tree() {
    let host = host(DIALECTS[0]);
    let (realm, _) = realm(&host, 1);
    let (running, seen) = run(&host, realm, vec![set_index(0, 2 * PAGE, 1, 0)]);
    running.enter(0, &[]);
    host.done(Command::RttSetS2ap, &[realm.rd, running.rec, 0, PAGE]);
    running.enter(0, &[]);
    assert_eq!(*seen.lock().unwrap(), [[0, PAGE, 0, PAGE]]);
}

#[test]
fn direct_permissions_are_those_of_the_trees_plane() {
    let host = host(DIALECTS[0]);
    let (realm, _) = realm(&host, 1);
    aux_tables(&host, realm, 1);
    let (running, _) = run(
        &host,
        realm,
        vec![
            Action::mem_set_perm_value(1, 1, 8),
            // "Mostly read-only" is something that an entry cannot express directly.
            Action::mem_set_perm_value(1, 2, 2),
            set_index(0, PAGE, 1, 0),
            set_index(PAGE, 2 * PAGE, 2, 0),
            set_index(0, PAGE, 1, 1),
        ],
    );
    let fold = |tree: u64| match tree {
        0 => host.call(Command::RttFold, &[realm.rd, 0, 3])[0],
        _ => host.call(Command::RttAuxFold, &[realm.rd, 0, 3, tree])[0],
    };
    // The primary tree is the last plane's. Page 0 differs, page 1 does not.
    running.enter(0, &[]);
    host.done(Command::RttSetS2ap, &[realm.rd, running.rec, 0, PAGE]);
    assert_eq!(fold(0), rtt_error(Level::L3));
    running.enter(0, &[]);
    host.done(Command::RttSetS2ap, &[realm.rd, running.rec, PAGE, 2 * PAGE]);
    running.enter(0, &[]);
    host.done(Command::RttSetS2ap, &[realm.rd, running.rec, 0, PAGE]);
    // Plane 0 has all permissions anyway.
    assert_eq!(fold(1), 0);
    // A destroyed table does not keep the index.
    host.done(Command::RttDestroy, &[realm.rd, 0, 3]);
    host.table(realm, 0, 3);
    assert_eq!(fold(0), 0);
}

#[test]
fn a_host_may_reject() {
    for dialect in DIALECTS {
        for is_done in [false, true] {
            let host = host(dialect);
            let realm = shared_realm(&host, 1);
            let actions = vec![set_index(0, PAGE, 1, 0), Action::mem_set_perm_value(1, 1, 8)];
            let (running, seen) = run(&host, realm, actions);
            running.enter(0, &[]);
            if is_done {
                host.done(Command::RttSetS2ap, &[realm.rd, running.rec, 0, PAGE]);
            }
            assert_eq!(running.enter(REJECT, &[]).0, ExitReason::Fiq);
            let reached = if is_done { PAGE } else { 0 };
            // TF-RMM believes the host, and does not lock the index; the specification locks it,
            // and a change that is complete cannot be rejected.
            let (rejected, locked) = match dialect {
                Dialect::TfRmm2026_07 => (1, [0; 4]),
                _ => (u64::from(!is_done), INPUT),
            };
            assert_eq!(*seen.lock().unwrap(), [[0, reached, rejected, 0], locked]);
        }
    }
}

#[test]
fn requests_that_make_no_sense() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let bad = [
            set_index(0, 0, 1, 0),
            set_index(PAGE, 0, 1, 0),
            set_index(8, PAGE, 1, 0),
            set_index(0, PAGE + 8, 1, 0),
            set_index(0, PAGE, 15, 0),
            set_index(0, PAGE, u64::MAX, 0),
            set_index(SHARED, SHARED + PAGE, 1, 0),
            set_index(0, SHARED + PAGE, 1, 0),
            set_index(PAGE, 2 * PAGE, 1, 1),
            set_index(PAGE, 2 * PAGE, 1, PAGE | 2),
        ];
        let (per_plane, _) = realm(&host, 1);
        let shared = shared_realm(&host, 1);
        for (realm, also) in [(per_plane, None), (shared, Some(set_index(PAGE, 2 * PAGE, 1, PAGE)))]
        {
            let actions: Vec<Action> = bad.into_iter().chain(also).collect();
            let count = actions.len();
            let (running, seen) = run(&host, realm, actions);
            assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
            assert_eq!(*seen.lock().unwrap(), vec![INPUT; count]);
        }
    }
}

#[test]
fn the_wrong_rec() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, other) = (shared_realm(&host, 1), shared_realm(&host, 1));
        let (running, _) = run(&host, realm, vec![set_index(0, PAGE, 1, 0)]);
        running.enter(0, &[]);
        let set = |rd, rec| host.call(Command::RttSetS2ap, &[rd, rec, 0, PAGE])[0];
        assert_eq!(set(other.rd, running.rec), 3);
        assert_eq!(set(realm.root, running.rec), 1);
        assert_eq!(set(realm.rd, realm.rd), 1);
        assert_eq!(set(realm.rd, running.rec), 0);
    }
}

#[test]
fn without_planes_the_calls_do_not_exist() {
    for dialect in DIALECTS {
        let host = Host::new(Options::new(dialect));
        let actions = vec![Action::mem_get_perm_value(0, 0), set_index(0, PAGE, 1, 0)];
        let (running, seen) = run(&host, host.realm(), actions);
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
        assert_eq!(*seen.lock().unwrap(), [[u64::MAX, 0, 0, 0]; 2]);
        host.fails(
            Status::ErrorInput,
            Command::RttSetS2ap,
            &[running.realm.rd, running.rec, 0, PAGE],
        );
    }
}
