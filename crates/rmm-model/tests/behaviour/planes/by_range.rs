//! 2.0-bet3: ranges.

use core::num::NonZeroU32;

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, Status};
use rmm_model::Options;

use super::{BOTH_WAYS, ROOT_ENTRY, aux_error, aux_table, aux_tables, hide_shared, host, ram};
use super::{realm, share, shared_realm, show_shared};
use crate::host::{Host, MIB2, PAGE, Realm, SHARED, rtt_error, status};

/// The flags beside the index of the tree.
const BLOCK: u64 = 1 << 2;
const INVALID_PRI: u64 = 1 << 3;

fn bet3() -> Host {
    host(Dialect::V2_0Bet3)
}

/// Maps a range; X0 and X1.
fn map(host: &Host, realm: Realm, base: u64, top: u64, flags: u64) -> [u64; 2] {
    let answer = host.call(Command::RttAuxProtMap, &[realm.rd, base, top, flags]);
    [answer[0], answer[1]]
}

fn unmap(host: &Host, realm: Realm, base: u64, top: u64, flags: u64) -> [u64; 2] {
    let answer = host.call(Command::RttAuxProtUnmap, &[realm.rd, base, top, flags]);
    [answer[0], answer[1]]
}

#[test]
fn a_range_is_shown_as_far_as_it_goes() {
    let host = bet3();
    let (realm, _) = realm(&host, 2);
    for page in [0, 1, 2, 4] {
        ram(&host, realm, page * PAGE);
    }
    aux_tables(&host, realm, 2);
    assert_eq!(map(&host, realm, 0, 8 * PAGE, 2), [0, 3 * PAGE]);
    // A hole is an error at the start of the range, or is skipped.
    assert_eq!(map(&host, realm, 3 * PAGE, 8 * PAGE, 2), [1, 0]);
    assert_eq!(map(&host, realm, 3 * PAGE, 8 * PAGE, 2 | INVALID_PRI), [0, 8 * PAGE]);
    // Mapping again is no error, and unmapping stops where nothing is mapped.
    assert_eq!(map(&host, realm, 0, 3 * PAGE, 2), [0, 3 * PAGE]);
    let kept = host.call(Command::RttDataUnmap, &[realm.rd, 0, 8 * PAGE, 0, 0]);
    assert_eq!(status(kept), Status::ErrorRttAux);
    assert_eq!(unmap(&host, realm, 0, 8 * PAGE, 2), [0, 3 * PAGE]);
    assert_eq!(unmap(&host, realm, 3 * PAGE, 8 * PAGE, 2), [aux_error(Level::L3), 0]);
    assert_eq!(unmap(&host, realm, 4 * PAGE, 8 * PAGE, 2), [0, 5 * PAGE]);
    assert_eq!(host.done(Command::RttDataUnmap, &[realm.rd, 0, 8 * PAGE, 0, 0])[1], 8 * PAGE);
}

#[test]
fn what_is_in_the_way_is_reported() {
    let host = bet3();
    let (realm, _) = realm(&host, 1);
    host.map(realm, 0);
    ram(&host, realm, PAGE);
    // Memory that is not RAM; a missing table; one that was destroyed.
    assert_eq!(map(&host, realm, 0, PAGE, 1), [rtt_error(Level::L3), 0]);
    assert_eq!(map(&host, realm, PAGE, 2 * PAGE, 1), [1, 0]);
    assert_eq!(map(&host, realm, PAGE, 2 * PAGE, 1 | BLOCK), [aux_error(Level::L0), 0]);
    aux_tables(&host, realm, 1);
    assert_eq!(map(&host, realm, PAGE, 2 * PAGE, 1), [0, 2 * PAGE]);
    assert_eq!(unmap(&host, realm, PAGE, 2 * PAGE, 1), [0, 2 * PAGE]);
    host.done(Command::RttAuxDestroy, &[realm.rd, 0, 3, 1]);
    aux_table(&host, realm, 1, 0, 3);
    assert_eq!(map(&host, realm, PAGE, 2 * PAGE, 1), [aux_error(Level::L3), 0]);
}

#[test]
fn blocks() {
    let host = bet3();
    let (realm, _) = realm(&host, 1);
    let block = host.fresh_block();
    host.done(Command::RttInitRipas, &[realm.rd, MIB2, 2 * MIB2]);
    host.done(Command::RttDataMap, &[realm.rd, MIB2, 2 * MIB2, 1, block | 1 << 2 | 1]);
    for level in 1..=2 {
        aux_table(&host, realm, 1, 0, level);
    }
    // A block that extends beyond the range is mapped only on request.
    let top = MIB2 + PAGE;
    assert_eq!(map(&host, realm, MIB2, top, 1), [aux_error(Level::L2), 0]);
    assert_eq!(map(&host, realm, MIB2, top, 1 | BLOCK), [0, top]);
    // It is unmapped as a whole.
    assert_eq!(unmap(&host, realm, MIB2, top, 1), [aux_error(Level::L2), 0]);
    assert_eq!(unmap(&host, realm, MIB2, 2 * MIB2, 1), [0, 2 * MIB2]);
    // The base is aligned to the entry in the primary tree, even if the auxiliary one has pages.
    aux_table(&host, realm, 1, MIB2, 3);
    assert_eq!(map(&host, realm, top, 2 * MIB2, 1), [1, 0]);
    assert_eq!(map(&host, realm, MIB2, 2 * MIB2, 1), [0, 2 * MIB2]);
    assert_eq!(unmap(&host, realm, top, 2 * MIB2, 1), [1, 0]);
    host.fails(Status::ErrorRttAux, Command::RttDataUnmap, &[realm.rd, MIB2, 2 * MIB2, 0, 0]);
}

#[test]
fn a_call_ends_with_a_table_or_not() {
    for (ranges, reached) in [(false, MIB2), (true, MIB2 + 2 * PAGE)] {
        let mut options = Options::new(Dialect::V2_0Bet3);
        options.features[3] = BOTH_WAYS;
        let host = Host::new(if ranges { options.range_capable() } else { options });
        let (realm, _) = realm(&host, 1);
        host.table(realm, MIB2, 3);
        for page in [MIB2 - 2 * PAGE, MIB2 - PAGE, MIB2, MIB2 + PAGE] {
            ram(&host, realm, page);
        }
        aux_tables(&host, realm, 1);
        aux_table(&host, realm, 1, MIB2, 3);
        let (base, top) = (MIB2 - 2 * PAGE, MIB2 + 2 * PAGE);
        assert_eq!(map(&host, realm, base, top, 1), [0, reached]);
        assert_eq!(unmap(&host, realm, base, reached, 1), [0, reached]);
    }
}

#[test]
fn a_call_may_yield() {
    let mut options = Options::new(Dialect::V2_0Bet3);
    options.features[3] = BOTH_WAYS;
    options.yield_every = NonZeroU32::new(1);
    let host = Host::cold(options);
    host.done(Command::RmmActivate, &[]);
    // There is no such Realm: that is answered when the operation ends.
    let answer = host.call(Command::RttAuxProtMap, &[0, 0, PAGE, 1]);
    assert_eq!(status(answer), Status::Incomplete);
    host.fails(Status::ErrorInput, Command::OpContinue, &[answer[1], 0]);
}

#[test]
fn arguments_that_name_no_range() {
    let host = bet3();
    let (realm, _) = realm(&host, 1);
    let shared = shared_realm(&host, 1);
    ram(&host, realm, 0);
    share(&host, realm, SHARED);
    let end = SHARED + ROOT_ENTRY;
    for (rd, base, top, flags) in [
        (realm.rd, 0, PAGE, 0),
        (realm.rd, 0, PAGE, 2),
        (shared.rd, 0, PAGE, 1),
        (realm.rd, 0, 0, 1),
        (realm.rd, PAGE, 0, 1),
        (realm.rd, 8, PAGE, 1),
        (realm.rd, 0, PAGE + 8, 1),
        (realm.rd, SHARED - PAGE, SHARED + PAGE, 1),
        (realm.rd, SHARED, end, 1),
        (realm.root, 0, PAGE, 1),
    ] {
        for command in [Command::RttAuxProtMap, Command::RttAuxProtUnmap] {
            host.fails(Status::ErrorInput, command, &[rd, base, top, flags]);
        }
    }
    for (rd, base, top, flags) in [
        (realm.rd, SHARED, end, 0),
        (realm.rd, SHARED, end, 2),
        (shared.rd, SHARED, end, 1),
        (realm.rd, SHARED, SHARED, 1),
        (realm.rd, SHARED + 8, end, 1),
        (realm.rd, SHARED, end + PAGE, 1),
        (realm.rd, 0, PAGE, 1),
        (realm.rd, SHARED + MIB2 + PAGE, end, 1),
        (realm.root, SHARED, end, 1),
    ] {
        for command in [Command::RttAuxUnprotMap, Command::RttAuxUnprotUnmap] {
            host.fails(Status::ErrorInput, command, &[rd, base, top, flags]);
        }
    }
}

#[test]
fn host_memory_is_shown_by_root_entries() {
    let host = bet3();
    let (realm, _) = realm(&host, 1);
    let end = SHARED + ROOT_ENTRY;
    let map = |top| host.call(Command::RttAuxUnprotMap, &[realm.rd, SHARED, top, 1]);
    let unmap = |top| host.call(Command::RttAuxUnprotUnmap, &[realm.rd, SHARED, top, 1]);
    assert_eq!(map(end)[0], rtt_error(Level::L3));
    share(&host, realm, SHARED);
    assert_eq!(unmap(end)[0], aux_error(Level::L0));
    // Whatever the range is, the root entry is written.
    assert_eq!(map(SHARED + PAGE)[..2], [0, SHARED + PAGE]);
    assert_eq!(unmap(SHARED + PAGE)[..2], [0, SHARED + PAGE]);
    assert_eq!(unmap(end)[0], aux_error(Level::L0));
    // The answer says how far both map memory.
    assert_eq!(map(end)[..2], [0, SHARED + PAGE]);
    assert_eq!(map(SHARED + PAGE)[..2], [0, SHARED + PAGE]);
    assert_eq!(unmap(end)[..2], [0, end]);
    assert_eq!(unmap(end)[0], aux_error(Level::L0));
    // Where nothing is mapped any more, there is nothing to unmap either: below its root, the tree
    // uses the tables of the primary one.
    assert_eq!(map(end)[0], 0);
    let none = [realm.rd, SHARED, SHARED + PAGE, 0, 0];
    host.done(Command::RttUnprotUnmap, &none);
    assert_eq!(unmap(end)[0], aux_error(Level::L3));
}

#[test]
fn a_terminated_realm_can_only_be_unmapped() {
    let host = bet3();
    let (realm, _) = realm(&host, 1);
    ram(&host, realm, 0);
    share(&host, realm, SHARED);
    aux_tables(&host, realm, 1);
    assert_eq!(map(&host, realm, 0, PAGE, 1), [0, PAGE]);
    assert_eq!(show_shared(&host, realm, 1)[0], 0);
    host.done(Command::RealmTerminate, &[realm.rd]);
    assert_eq!(map(&host, realm, 0, PAGE, 1), [2, 0]);
    assert_eq!(status(show_shared(&host, realm, 1)), Status::ErrorRealm);
    assert_eq!(unmap(&host, realm, 0, PAGE, 1), [0, PAGE]);
    assert_eq!(hide_shared(&host, realm, 1)[0], 0);
}
