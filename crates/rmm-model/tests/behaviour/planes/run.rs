//! Plane 0 of a Realm with a tree for each plane: the first auxiliary tree translates for it.

use std::sync::{Arc, Mutex};

use rmi_abi::esr::fault_page;
use rmi_abi::run::{ExitReason, RecEnterFlags};
use rmi_abi::{Command, Ipa, Pa, Status};
use rmm_model::{Action, GuestCpu, Outcome};

use super::{aux_table, aux_tables, hide, hide_shared, host, ram, realm, share, shared_realm};
use super::{show, show_shared};
use crate::host::{DIALECTS, Host, MIB2, PAGE, Realm, Running, SHARED};

fn run(host: &Host, realm: Realm, actions: Vec<Action>) -> (Running<'_>, Arc<Mutex<Vec<Outcome>>>) {
    let rec = host.rec(realm, 0, true);
    host.done(Command::RealmActivate, &[realm.rd]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let mut actions = actions.into_iter();
    let guest = move |cpu: &GuestCpu| {
        log.lock().unwrap().push(cpu.last);
        actions.next().unwrap_or(Action::Spin)
    };
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
    (Running { host, realm, rec, run: host.page() }, seen)
}

fn store(ipa: u64, value: u64) -> Action {
    Action::Store { ipa: Ipa::new(ipa), bytes: 4, value }
}

fn load(ipa: u64) -> Action {
    Action::Load { ipa: Ipa::new(ipa), bytes: 4 }
}

#[test]
fn plane_0_sees_what_the_first_auxiliary_tree_shows() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, _) = realm(&host, 2);
        let data = ram(&host, realm, PAGE);
        let fetch = Action::Fetch { ipa: Ipa::new(PAGE) };
        let (running, seen) =
            run(&host, realm, vec![store(PAGE, 0x1234), fetch, load(2 * PAGE), load(PAGE)]);
        // The primary tree is the last plane's.
        let (reason, exit) = running.enter(0, &[]);
        assert_eq!((reason, exit.rtt_tree), (ExitReason::Sync, 1));
        assert_eq!((fault_page(exit.hpfar).raw(), exit.esr & 0x3f), (PAGE, 0x4));
        aux_tables(&host, realm, 1);
        let (_, exit) = running.enter(0, &[]);
        assert_eq!((exit.rtt_tree, exit.esr & 0x3f), (1, 0x7));
        // Mapping it in another tree does not help.
        assert_ne!(show(&host, realm, 2, PAGE)[0], 0);
        assert_eq!(show(&host, realm, 1, PAGE)[0], 0);
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
        // An access to EMPTY memory is an abort in the Realm in any tree.
        let outcomes = [Outcome::None, Outcome::Stored, Outcome::Fetched, Outcome::Aborted];
        assert_eq!(seen.lock().unwrap()[..4], outcomes);
        assert_eq!(seen.lock().unwrap()[4], Outcome::Loaded(0x1234));
        let mut word = [0; 4];
        host.model.peek(Pa::new(data), &mut word);
        assert_eq!(u32::from_le_bytes(word), 0x1234);
    }
}

#[test]
fn an_instruction_that_is_not_shown() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, _) = realm(&host, 1);
        ram(&host, realm, 0);
        let (running, _) = run(&host, realm, vec![Action::Fetch { ipa: Ipa::new(0) }]);
        let (reason, exit) = running.enter(0, &[]);
        assert_eq!((reason, exit.rtt_tree), (ExitReason::Sync, 1));
        aux_tables(&host, realm, 1);
        show(&host, realm, 1, 0);
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
    }
}

#[test]
fn structures_go_by_the_primary_tree() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, _) = realm(&host, 1);
        let page = ram(&host, realm, PAGE);
        let (running, seen) = run(&host, realm, vec![Action::realm_config(Ipa::new(PAGE))]);
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
        assert_eq!(seen.lock().unwrap()[1], Outcome::Returned);
        let mut planes = [0; 8];
        host.model.peek(Pa::new(page + 0x10), &mut planes);
        assert_eq!(u64::from_le_bytes(planes), 1);
    }
}

#[test]
fn host_memory_is_reached_through_the_root_entry() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, _) = realm(&host, 1);
        let page = share(&host, realm, SHARED);
        let (running, seen) = run(
            &host,
            realm,
            vec![
                store(SHARED, 7),
                store(SHARED, 8),
                Action::Fetch { ipa: Ipa::new(SHARED) },
                store(SHARED, 9),
            ],
        );
        let (reason, exit) = running.enter(0, &[]);
        assert_eq!((reason, exit.rtt_tree, exit.esr & 0x3f), (ExitReason::Sync, 1, 0x4));
        // As for any unprotected address, the host may emulate the access.
        assert_eq!(show_shared(&host, realm, 1)[0], 0);
        running.enter(0, &[]);
        assert_eq!(host.words(page, 1), [9]);
        let seen = seen.lock().unwrap().clone();
        assert_eq!(seen[3..], [Outcome::Aborted, Outcome::Stored]);
        assert_eq!(hide_shared(&host, realm, 1)[0], 0);
    }
}

#[test]
fn planes_that_share_a_tree_fault_in_it() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let realm = shared_realm(&host, 1);
        ram(&host, realm, 0);
        host.done(Command::RttInitRipas, &[realm.rd, PAGE, 2 * PAGE]);
        let (running, seen) = run(&host, realm, vec![store(0, 1), store(PAGE, 1)]);
        let (reason, exit) = running.enter(0, &[]);
        assert_eq!((reason, exit.rtt_tree), (ExitReason::Sync, 1));
        assert_eq!(seen.lock().unwrap()[1], Outcome::Stored);
    }
}

#[test]
fn memory_that_is_shown_stays_ram() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, _) = realm(&host, 2);
        for page in 0..3 {
            ram(&host, realm, page * PAGE);
        }
        for tree in 1..=2 {
            aux_tables(&host, realm, tree);
        }
        assert_eq!(show(&host, realm, 2, PAGE)[0], 0);
        let empty =
            Action::ipa_state_set(Ipa::new(0), Ipa::new(3 * PAGE), rmi_abi::rtt::Ripas::Empty, 0);
        let (running, _) = run(&host, realm, vec![empty]);
        assert_eq!(running.enter(0, &[]).0, ExitReason::RipasChange);
        let set = |base| host.call(Command::RttSetRipas, &[realm.rd, running.rec, base, 3 * PAGE]);
        // X1 is the address; the pages before it are changed, but the command has to start again.
        let kept = u64::from(u8::from(Status::ErrorRttAux));
        assert_eq!(set(0)[..2], [kept, PAGE]);
        assert_eq!(host.entry(realm, 0, 3).2, 0);
        assert_eq!(set(PAGE)[0], 1);
        assert_eq!(hide(&host, realm, 2, PAGE)[0], 0);
        assert_eq!(set(0)[..2], [0, 3 * PAGE]);
        assert_eq!(running.enter(RecEnterFlags::empty().bits(), &[]).0, ExitReason::Fiq);
        // Now it cannot be mapped any more.
        assert_eq!(show(&host, realm, 2, PAGE)[0] & 0xff, 4);
        aux_table(&host, realm, 2, MIB2, 3);
    }
}
