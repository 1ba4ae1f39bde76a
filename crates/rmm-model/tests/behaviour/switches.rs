//! The options for stateful operations, one at a time.

use std::num::{NonZeroU8, NonZeroU16, NonZeroU32};

use rmi_abi::{Command, Dialect, Pa, Status};
use rmm_model::{GranuleState, Options};

use crate::host::{DIALECTS, Host, PAGE, Realm};

fn with(dialect: Dialect, change: impl FnOnce(&mut Options)) -> Host {
    let mut options = Options::new(dialect);
    change(&mut options);
    Host::new(options)
}

/// `RMI_REC_CREATE` of the first REC of a Realm: its granule and the answer.
fn rec_create(host: &Host, realm: Realm) -> (u64, [u64; 8]) {
    let rec = host.fresh(1);
    let params = host.rec_params(0, true);
    (rec, host.call(Command::RecCreate, &[realm.rd, rec, params]))
}

#[test]
fn an_operation_that_has_its_memory_may_still_fail() {
    for dialect in DIALECTS {
        let host = with(dialect, |o| o.fail_operations_every = NonZeroU32::new(2));
        let realm = host.bare_realm();
        let rec = host.rec(realm, 0, true);
        assert_eq!(host.model.granule_state(Pa::new(rec)), Some(GranuleState::Rec));
        let before = host.model.census();
        let (rec, aux) = (host.fresh(1), host.fresh(16));
        let params = host.rec_params(1, true);
        assert_eq!(host.call(Command::RecCreate, &[realm.rd, rec, params])[0], 0x10d);
        let list = host.list(&[aux | 16 << 2]);
        assert_eq!(host.call(Command::OpMemDonate, &[0, list, 1])[0], 0xd);
        assert_eq!(host.call(Command::OpContinue, &[0, 0])[0], 0x20d);
        assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 1])[..2], [0x20d, 1]);
        assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 512])[..2], [0xd, 1]);
        host.fails(Status::ErrorInput, Command::OpContinue, &[0, 0]);
        host.undelegate(rec, PAGE);
        host.undelegate(aux, 16 * PAGE);
        assert_eq!(host.model.census(), before);
        // The next operation does not.
        host.rec(realm, 1, true);
    }
}

#[test]
fn memory_may_be_asked_for_in_rounds() {
    let host = with(Dialect::TfRmm2026_07, |o| o.donation_rounds = NonZeroU8::new(3).unwrap());
    let realm = host.bare_realm();
    let (rec, answer) = rec_create(&host, realm);
    assert_eq!(answer[..3], [0x10d, 0, 6 << 2]);
    let aux = host.fresh(16);
    let list = host.list(&[aux | 7 << 2]);
    host.fails(Status::ErrorInput, Command::OpMemDonate, &[0, list, 1]);
    let mut next = aux;
    for (count, answer) in [
        (4, [0x10d, 4, 2 << 2]),
        (2, [0x10d, 2, 5 << 2]),
        (5, [0x10d, 5, 5 << 2]),
        (5, [0xd, 5, 0]),
    ] {
        let list = host.list(&[next | count << 2]);
        assert_eq!(host.call(Command::OpMemDonate, &[0, list, 1])[..3], answer);
        next += count * PAGE;
    }
    host.done(Command::OpContinue, &[0, 0]);
    assert_eq!(host.model.granule_state(Pa::new(rec)), Some(GranuleState::Rec));
    // All of it comes back in one call.
    assert_eq!(host.call(Command::RecDestroy, &[rec])[0], 0x20d);
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 512])[..2], [0xd, 1]);
    assert_eq!(host.words(list, 1), [aux | 16 << 2]);
    host.done(Command::OpContinue, &[0, 0]);
}

#[test]
fn rounds_of_contiguous_memory_are_powers_of_two() {
    let host = with(Dialect::V2_0Bet3, |o| {
        o.donation_rounds = NonZeroU8::new(3).unwrap();
        o.contiguous_donations = true;
        o.can_cancel = true;
    });
    let realm = host.bare_realm();
    let (_, answer) = rec_create(&host, realm);
    assert_eq!(answer[..3], [0x50d, 0, 4 << 2 | 1 << 16]);
    let block = host.fresh_block();
    for (at, count, answer) in [
        (0, 4, [0x50d, 4, 4 << 2 | 1 << 16]),
        (4, 4, [0x50d, 4, 8 << 2 | 1 << 16]),
        (8, 8, [0xd | 1 << 10, 8, 0]),
    ] {
        // A block is refused as a whole if one of its granules is missing.
        let list = host.list(&[(block + at * PAGE) | count << 2]);
        assert_eq!(host.call(Command::OpMemDonate, &[0, list, 1])[..3], answer);
    }
    host.done(Command::OpContinue, &[0, 0]);
}

#[test]
fn a_contiguous_block_with_a_hole_is_not_taken() {
    let host = with(Dialect::TfRmm2026_07, |o| o.contiguous_donations = true);
    let realm = host.bare_realm();
    rec_create(&host, realm);
    let block = host.fresh_block();
    host.undelegate(block + 15 * PAGE, PAGE);
    let list = host.list(&[block | 16 << 2]);
    assert_eq!(host.call(Command::OpMemDonate, &[0, list, 1])[..3], [0x20d, 0, 0]);
    assert_eq!(host.model.granule_state(Pa::new(block)), Some(GranuleState::Delegated));
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 1])[..2], [0xd, 0]);
    host.fails(Status::ErrorInput, Command::OpContinue, &[0, 0]);
}

#[test]
fn requests_may_name_blocks() {
    let host = with(Dialect::TfRmm2026_07, |o| {
        o.donation_blocks = true;
        o.contiguous_donations = true;
        o.rec_aux_granules = 1024;
    });
    let realm = host.bare_realm();
    // Two blocks of 2 MiB; descriptors may still be of pages.
    let (_, answer) = rec_create(&host, realm);
    assert_eq!(answer[..3], [0x10d, 0, 1 | 2 << 2 | 1 << 16]);
    let block = 0x9040_0000;
    host.delegate(block, 2 << 21);
    let list = host.list(&[block | 2 << 2 | 1]);
    assert_eq!(host.call(Command::OpMemDonate, &[0, list, 1])[..3], [0xd, 1024, 0]);
    host.done(Command::OpContinue, &[0, 0]);

    // What remains after part of it is reclaimed may not be blocks any more.
    let host = with(Dialect::TfRmm2026_07, |o| {
        o.donation_blocks = true;
        o.rec_aux_granules = 512;
    });
    let realm = host.bare_realm();
    assert_eq!(rec_create(&host, realm).1[2], 1 | 1 << 2);
    let list = host.list(&[host.fresh(1) | 1 << 2]);
    assert_eq!(host.call(Command::OpMemDonate, &[0, list, 1])[..3], [0x10d, 1, 511 << 2]);
}

#[test]
fn conditional_memory_comes_in_either_state_and_goes_back_delegated() {
    let host = with(Dialect::V2_0Bet3, |o| {
        o.conditional_donations = true;
        o.rec_aux_granules = 3;
    });
    let realm = host.bare_realm();
    let (rec, answer) = rec_create(&host, realm);
    assert_eq!(answer[..3], [0x10d, 0, 3 << 2 | 2 << 17]);
    let (mine, theirs) = (host.page(), host.fresh(1));
    let (undelegated, conditional) = (1 << 62, 2 << 62);
    let list = host.list(&[mine | 1 << 2 | conditional]);
    host.fails(Status::ErrorInput, Command::OpMemDonate, &[0, list, 1]);
    let list = host.list(&[mine | 1 << 2 | undelegated, theirs | 1 << 2]);
    assert_eq!(host.call(Command::OpMemDonate, &[0, list, 2])[..2], [0x10d, 2]);
    assert!(!host.can_read(mine));
    let list = host.list(&[host.fresh(1) | 1 << 2]);
    assert_eq!(host.call(Command::OpMemDonate, &[0, list, 1])[..2], [0xd, 1]);
    host.done(Command::OpContinue, &[0, 0]);
    assert_eq!(host.call(Command::RecDestroy, &[rec])[0], 0x20d);
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 512])[0], 0xd);
    host.done(Command::OpContinue, &[0, 0]);
    host.undelegate(mine, PAGE);
}

#[test]
fn lists_of_reclaimed_memory_may_be_short() {
    let host = with(Dialect::TfRmm2026_07, |o| o.reclaim_list_limit = NonZeroU16::new(10));
    let realm = host.bare_realm();
    let rec = host.rec(realm, 0, true);
    let list = host.page();
    assert_eq!(host.call(Command::RecDestroy, &[rec])[0], 0x20d);
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 512])[..2], [0x20d, 1]);
    assert_eq!(host.words(list, 1)[0] & 0xfff, 10 << 2);
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 512])[..2], [0xd, 1]);
    host.done(Command::OpContinue, &[0, 0]);
}

#[test]
fn a_list_that_cannot_be_written_is_reported_again() {
    let host = Host::tf_rmm();
    let realm = host.bare_realm();
    let rec = host.rec(realm, 0, true);
    let (list, taken) = (host.page(), host.fresh(1));
    assert_eq!(host.call(Command::RecDestroy, &[rec])[0], 0x20d);
    host.fails(Status::ErrorInput, Command::OpMemReclaim, &[0, list + 4, 3]);
    host.fails(Status::ErrorInput, Command::OpMemReclaim, &[0, taken, 3]);
    assert_eq!(host.call(Command::OpMemReclaim, &[0, taken, 0])[..2], [0x20d, 0]);
    // The list of the failed call had entries for three granules.
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 512])[..2], [0x20d, 1]);
    let [first] = host.words(list, 1)[..] else { unreachable!() };
    assert_eq!(first & 0xfff, 3 << 2);
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 512])[..2], [0xd, 1]);
    assert_eq!(host.words(list, 1), [first + 3 * PAGE + (10 << 2)]);
    host.done(Command::OpContinue, &[0, 0]);
}

#[test]
fn reclaimed_granules_join_any_run_at_either_end() {
    let host = with(Dialect::TfRmm2026_07, |o| o.rec_aux_granules = 4);
    let realm = host.bare_realm();
    let (rec, _) = rec_create(&host, realm);
    let a = host.fresh(8);
    let page = |n: u64| (a + n * PAGE) | 1 << 2;
    let list = host.list(&[page(2), page(6), page(3), page(1)]);
    assert_eq!(host.call(Command::OpMemDonate, &[0, list, 4])[0], 0xd);
    host.done(Command::OpContinue, &[0, 0]);
    host.call(Command::RecDestroy, &[rec]);
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 4])[..2], [0xd, 2]);
    assert_eq!(host.words(list, 2), [(a + PAGE) | 3 << 2, page(6)]);
}

#[test]
fn objects_inside_an_operation_block_or_do_not_exist() {
    for (blocks, status) in [(false, Status::ErrorInput), (true, Status::Blocked)] {
        let host = with(Dialect::V2_0Bet3, |o| {
            o.blocked_objects = blocks;
            o.realm_create_donates = 1;
        });
        let (rd, root) = (host.fresh(1), host.fresh(1));
        let params = host.page();
        let encoded = host.params(root).encode(host.dialect).unwrap();
        host.write(params, zerocopy::IntoBytes::as_bytes(&encoded));
        assert_eq!(host.call(Command::RealmCreate, &[rd, params])[0], 0x10d);
        for (command, arguments) in [
            (Command::RealmCreate, vec![rd, params]),
            (Command::RealmActivate, vec![rd]),
            (Command::RealmDestroy, vec![rd]),
            (Command::RecCreate, vec![root, rd, params]),
            (Command::RecDestroy, vec![rd]),
            (Command::RecEnter, vec![rd, params]),
            (Command::RttCreate, vec![rd, root, 0, 1]),
            (Command::GranuleRangeUndelegate, vec![rd, rd + PAGE]),
        ] {
            host.fails(status, command, &arguments);
        }
        // Memory that was never an object is not waited for.
        host.fails(Status::ErrorInput, Command::RealmActivate, &[root]);
    }
}

#[test]
fn another_agent_may_have_activated_it() {
    for dialect in DIALECTS {
        let mut options = Options::new(dialect);
        options.already_active = true;
        let host = Host::cold(options);
        host.fails(Status::ErrorGlobal, Command::RmmActivate, &[]);
        host.fails(Status::ErrorGlobal, Command::RmmConfigSet, &[host.page()]);
        host.done(Command::RmmConfigGet, &[host.page()]);
        host.fresh(1);
    }
}
