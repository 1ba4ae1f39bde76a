//! Stateful operations, with the value of each register.

use rmi_abi::{Command, Dialect, Pa, Status};
use rmm_model::{GranuleState, Options};

use crate::host::{DIALECTS, Host, PAGE, Realm};

fn rec_create(host: &Host, realm: Realm, mpidr: u32) -> (u64, [u64; 8]) {
    let rec = host.fresh(1);
    let params = host.rec_params(mpidr, true);
    (rec, host.call(Command::RecCreate, &[realm.rd, rec, params]))
}

#[test]
fn rec_create_as_in_the_worked_example() {
    for dialect in DIALECTS {
        let host = Host::new(Options::new(dialect));
        let realm = host.bare_realm();
        let (rec, answer) = rec_create(&host, realm, 0);
        let handle = answer[1];
        assert_eq!(answer[..4], [0x10d, 0, 0x40, 0]);
        assert_eq!(host.model.granule_state(Pa::new(rec)), Some(GranuleState::Partial));
        assert_eq!(host.model.open_operations(), 1);
        // Two steps: ten granules, then six.
        let aux = host.fresh(16);
        let list = host.list(&[aux | 10 << 2]);
        let answer = host.call(Command::OpMemDonate, &[handle, list, 1]);
        assert_eq!(answer[..4], [0x10d, 10, 0x18, 0]);
        let list = host.list(&[(aux + 10 * PAGE) | 6 << 2]);
        let answer = host.call(Command::OpMemDonate, &[handle, list, 1]);
        assert_eq!(answer[..4], [0xd, 6, 0, 0]);
        assert_eq!(host.done(Command::OpContinue, &[handle, 0])[..4], [0; 4]);
        assert_eq!(host.model.granule_state(Pa::new(rec)), Some(GranuleState::Rec));

        let answer = host.call(Command::RecDestroy, &[rec]);
        assert_eq!(answer[..4], [0x20d, 0, 0, 0]);
        let list = host.page();
        let answer = host.call(Command::OpMemReclaim, &[handle, list, 256]);
        assert_eq!(answer[..4], [0xd, 1, 0, 0]);
        assert_eq!(host.words(list, 2), [aux | 16 << 2, 0]);
        assert_eq!(host.done(Command::OpContinue, &[handle, 0])[..4], [0; 4]);
        for granule in [rec, aux, aux + 15 * PAGE] {
            assert_eq!(host.model.granule_state(Pa::new(granule)), Some(GranuleState::Delegated));
        }
    }
}

#[test]
fn a_late_failure_gives_everything_back() {
    let host = Host::tf_rmm();
    let realm = host.bare_realm();
    let (rec, answer) = rec_create(&host, realm, 5);
    let handle = answer[1];
    let aux = host.fresh(16);
    let list = host.list(&[aux | 16 << 2]);
    host.call(Command::OpMemDonate, &[handle, list, 1]);
    assert_eq!(host.call(Command::OpContinue, &[handle, 0])[..3], [0x20d, 0, 0]);
    host.fails(Status::ErrorInput, Command::OpContinue, &[handle, 0]);
    assert_eq!(host.call(Command::OpMemReclaim, &[handle, list, 5])[..2], [0x20d, 1]);
    assert_eq!(host.words(list, 1), [aux | 5 << 2]);
    assert_eq!(host.call(Command::OpMemReclaim, &[handle, list, 0])[..2], [0x20d, 0]);
    assert_eq!(host.call(Command::OpMemReclaim, &[handle, list, 512])[..2], [0xd, 1]);
    assert_eq!(host.words(list, 1), [(aux + 5 * PAGE) | 11 << 2]);
    host.fails(Status::ErrorInput, Command::OpContinue, &[handle, 0]);
    assert_eq!(host.model.granule_state(Pa::new(rec)), Some(GranuleState::Delegated));
    assert_eq!(host.model.open_operations(), 0);
    host.fails(Status::ErrorInput, Command::OpContinue, &[handle, 0]);
}

#[test]
fn the_wrong_step_changes_nothing() {
    let host = Host::tf_rmm();
    let realm = host.bare_realm();
    let (rec, answer) = rec_create(&host, realm, 0);
    let handle = answer[1];
    let aux = host.fresh(17);
    let good = host.list(&[aux | 16 << 2]);
    let dirty = host.list(&[aux | 17 << 2]);
    for (command, arguments) in [
        (Command::OpContinue, vec![handle, 0]),
        (Command::OpMemReclaim, vec![handle, good, 1]),
        (Command::OpCancel, vec![handle]),
        (Command::OpMemDonate, vec![handle + 1, good, 1]),
        (Command::OpMemDonate, vec![u64::MAX, good, 1]),
        (Command::OpMemDonate, vec![handle, good + 4, 1]),
        (Command::OpMemDonate, vec![handle, aux, 1]),
        (Command::OpMemDonate, vec![handle, 0x1000, 1]),
        (Command::OpMemDonate, vec![handle, dirty, 1]),
        (Command::RecDestroy, vec![rec]),
        (Command::RecEnter, vec![rec, good]),
        (Command::GranuleRangeUndelegate, vec![rec, rec + PAGE]),
    ] {
        host.fails(Status::ErrorInput, command, &arguments);
    }
    // A list that is invalid as a whole takes nothing; an empty one makes no progress.
    let undelegated = host.list(&[aux | 16 << 2 | 1 << 63]);
    host.fails(Status::ErrorInput, Command::OpMemDonate, &[handle, undelegated, 1]);
    assert_eq!(host.call(Command::OpMemDonate, &[handle, good, 0])[..3], [0x10d, 0, 0x40]);
    assert_eq!(host.call(Command::OpMemDonate, &[handle, good, 1])[..3], [0xd, 16, 0]);
    host.done(Command::OpContinue, &[handle, 0]);
}

#[test]
fn a_first_granule_that_is_not_delegated_ends_it() {
    let host = Host::tf_rmm();
    let realm = host.bare_realm();
    let (_, answer) = rec_create(&host, realm, 0);
    let handle = answer[1];
    let (aux, mine) = (host.fresh(3), host.page());
    let list = host.list(&[aux | 3 << 2, mine | 1 << 2]);
    assert_eq!(host.call(Command::OpMemDonate, &[handle, list, 2])[..3], [0x10d, 3, 0x34]);
    assert_eq!(host.call(Command::OpMemDonate, &[handle, list + 8, 1])[..3], [0x20d, 0, 0]);
    assert_eq!(host.call(Command::OpMemReclaim, &[handle, list, 512])[..2], [0xd, 1]);
    host.fails(Status::ErrorInput, Command::OpContinue, &[handle, 0]);
}

#[test]
fn handles_are_slots_and_run_out() {
    let host = Host::tf_rmm();
    let realm = host.bare_realm();
    for slot in 0..160 {
        assert_eq!(rec_create(&host, realm, 0).1[..2], [0x10d, slot]);
    }
    let rec = host.fresh(1);
    let blocked = [Command::RecCreate, Command::RttDataMap, Command::RttDataUnmap];
    for command in blocked {
        host.fails(Status::Blocked, command, &[realm.rd, rec, 0, 0, 0]);
    }
    host.done(Command::GranuleRangeUndelegate, &[rec, rec + PAGE]);
}

#[test]
fn realms_and_the_rmm_may_ask_for_memory_too() {
    let mut options = Options::new(Dialect::V2_0Bet3);
    options.realm_create_donates = 4;
    options.rmm_activate_donates = 2;
    options.contiguous_donations = true;
    let host = Host::cold(options);
    let answer = host.call(Command::RmmActivate, &[]);
    // Two contiguous pages, still undelegated.
    assert_eq!(answer[..3], [0x10d, 0, 2 << 2 | 1 << 16 | 1 << 17]);
    assert_eq!(host.done(Command::RmmStateGet, &[])[1], 1);
    let mine = host.page();
    host.page();
    let apart = host.list(&[mine | 1 << 2 | 1 << 62]);
    host.fails(Status::ErrorInput, Command::OpMemDonate, &[0, apart, 1]);
    let list = host.list(&[mine | 2 << 2 | 1 << 62]);
    assert_eq!(host.call(Command::OpMemDonate, &[0, list, 1])[..2], [0xd, 2]);
    host.done(Command::OpContinue, &[0, 0]);
    assert!(!host.can_read(mine));

    let (rd, root) = (host.fresh(1), host.fresh(1));
    let params = host.page();
    let encoded = host.params(root).encode(host.dialect).unwrap();
    host.write(params, zerocopy::IntoBytes::as_bytes(&encoded));
    assert_eq!(host.call(Command::RealmCreate, &[rd, params])[..3], [0x10d, 0, 4 << 2 | 1 << 16]);
    let memory = 0x8800_0000;
    host.delegate(memory, 4 * PAGE);
    let list = host.list(&[memory | 4 << 2]);
    assert_eq!(host.call(Command::OpMemDonate, &[0, list, 1])[..2], [0xd, 4]);
    host.done(Command::OpContinue, &[0, 0]);
    host.done(Command::RealmTerminate, &[rd]);
    assert_eq!(host.call(Command::RealmDestroy, &[rd])[..2], [0x20d, 0]);
    host.fails(Status::ErrorInput, Command::RealmTerminate, &[rd]);
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 512])[..2], [0xd, 1]);
    host.done(Command::OpContinue, &[0, 0]);
    for (base, count) in [(rd, 1), (root, 1), (memory, 4)] {
        host.undelegate(base, count * PAGE);
    }

    assert_eq!(host.call(Command::RmmDeactivate, &[])[..2], [0x20d, 0]);
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 512])[..2], [0xd, 1]);
    assert_eq!(host.words(list, 1), [mine | 2 << 2 | 1 << 62]);
    host.done(Command::OpContinue, &[0, 0]);
    assert!(host.can_read(mine));
    assert_eq!(host.model.census().undelegated, host.model.census().total);
}

#[test]
fn a_cancelled_operation_gives_back_and_fails() {
    let mut options = Options::new(Dialect::V2_0Bet3);
    options.can_cancel = true;
    let host = Host::new(options);
    let realm = host.bare_realm();
    let (rec, answer) = rec_create(&host, realm, 0);
    assert_eq!(answer[..3], [0x50d, 0, 0x40]);
    let aux = host.fresh(2);
    let list = host.list(&[aux | 2 << 2]);
    assert_eq!(host.call(Command::OpMemDonate, &[0, list, 1])[0], 0x50d);
    assert_eq!(host.call(Command::OpCancel, &[0])[0], 0x20d);
    host.fails(Status::ErrorInput, Command::OpCancel, &[0]);
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 512])[..2], [0xd, 1]);
    host.fails(Status::ErrorInput, Command::OpContinue, &[0, 0]);
    assert_eq!(host.model.granule_state(Pa::new(rec)), Some(GranuleState::Delegated));
    // With nothing donated there is nothing to reclaim.
    let (_, answer) = rec_create(&host, realm, 0);
    assert_eq!(answer[0], 0x50d);
    assert_eq!(host.call(Command::OpCancel, &[0])[0], 0xd);
    host.fails(Status::ErrorInput, Command::OpContinue, &[0, 0]);
    // An operation that only gives memory back cannot be cancelled.
    let rec = host.rec(realm, 0, true);
    assert_eq!(host.call(Command::RecDestroy, &[rec])[0], 0x20d);
    host.fails(Status::ErrorInput, Command::OpCancel, &[0]);
}
