//! TF-RMM: one entry at a time.

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, Status};

use super::{aux_error, aux_table, aux_tables, hide, hide_shared, host, ram, realm, share};
use super::{shared_realm, show, show_shared};
use crate::host::{Host, MIB2, PAGE, SHARED, rtt_error, status};

fn tf_rmm() -> Host {
    host(Dialect::TfRmm2026_07)
}

/// Calls with a mark in X4, which commands without a fourth output do not change.
fn marked(host: &Host, command: Command, arguments: [u64; 3]) -> [u64; 5] {
    let [rd, ipa, tree] = arguments;
    let answer = host.call(command, &[rd, ipa, tree, 0x77]);
    [answer[0], answer[1], answer[2], answer[3], answer[4]]
}

#[test]
fn what_the_primary_tree_maps_is_shown() {
    let host = tf_rmm();
    let (realm, _) = realm(&host, 2);
    ram(&host, realm, PAGE);
    aux_tables(&host, realm, 2);
    let map = |ipa| marked(&host, Command::RttAuxMapProtected, [realm.rd, ipa, 2]);
    assert_eq!(map(PAGE), [0; 5]);
    assert_eq!(map(PAGE), [0; 5]);
    // While the auxiliary tree maps it, it cannot be unmapped.
    let unmap = [realm.rd, 0, 4 * PAGE, 0, 0];
    assert_eq!(host.done(Command::RttDataUnmap, &unmap)[1], PAGE);
    let refused = host.call(Command::RttDataUnmap, &[realm.rd, PAGE, 4 * PAGE, 0, 0]);
    assert_eq!((refused[0], refused[1]), (u64::from(u8::from(Status::ErrorRttAux)), 0));
    // X1 is where the next live entry may be.
    let hide = |ipa| marked(&host, Command::RttAuxUnmapProtected, [realm.rd, ipa, 2]);
    assert_eq!(hide(0), [aux_error(Level::L3), PAGE, 0, 0, 0x77]);
    assert_eq!(hide(PAGE), [0, MIB2, 0, 0, 0x77]);
    assert_eq!(hide(PAGE), [aux_error(Level::L3), MIB2, 0, 0, 0x77]);
    assert_eq!(hide(MIB2), [aux_error(Level::L2), 1 << 30, 0, 0, 0x77]);
    assert_eq!(host.done(Command::RttDataUnmap, &unmap)[1], 4 * PAGE);
}

#[test]
fn what_is_in_the_way_is_reported() {
    let host = tf_rmm();
    let (realm, _) = realm(&host, 1);
    let map = |ipa| marked(&host, Command::RttAuxMapProtected, [realm.rd, ipa, 1]);
    // Nothing mapped, RAM or not; memory that is not RAM; a missing table.
    assert_eq!(map(0), [rtt_error(Level::L3), 0, 3, 0, 0]);
    assert_eq!(map(MIB2), [rtt_error(Level::L2), 0, 2, 0, 0]);
    host.done(Command::RttInitRipas, &[realm.rd, 0, PAGE]);
    assert_eq!(map(0), [rtt_error(Level::L3), 0, 3, 0, 1]);
    host.map(realm, PAGE);
    assert_eq!(map(PAGE), [rtt_error(Level::L3), 0, 3, 1, 0]);
    ram(&host, realm, 2 * PAGE);
    assert_eq!(map(2 * PAGE), [aux_error(Level::L0), 1, 3, 0, 1]);
    aux_tables(&host, realm, 1);
    assert_eq!(map(2 * PAGE), [0; 5]);
    hide(&host, realm, 1, 2 * PAGE);
    // A table that was destroyed. X1 is the index of the entry.
    host.done(Command::RttAuxDestroy, &[realm.rd, 0, 3, 1]);
    assert_eq!(map(2 * PAGE), [aux_error(Level::L2), 1, 3, 0, 1]);
    aux_table(&host, realm, 1, 0, 3);
    assert_eq!(map(2 * PAGE), [aux_error(Level::L3), 2, 3, 5, 1]);
}

#[test]
fn a_block_is_shown_page_by_page() {
    let host = tf_rmm();
    let (realm, _) = realm(&host, 1);
    let block = host.fresh_block();
    host.done(Command::RttInitRipas, &[realm.rd, MIB2, 2 * MIB2]);
    host.done(Command::RttDataMap, &[realm.rd, MIB2, 2 * MIB2, 1, block | 1 << 2 | 1]);
    aux_tables(&host, realm, 1);
    aux_table(&host, realm, 1, MIB2, 3);
    assert_eq!(show(&host, realm, 1, MIB2 + 5 * PAGE)[0], 0);
    // One page in the auxiliary tree is enough to keep the block mapped.
    let unmap = [realm.rd, MIB2, 2 * MIB2, 0, 0];
    host.fails(Status::ErrorRttAux, Command::RttDataUnmap, &unmap);
    assert_eq!(hide(&host, realm, 1, MIB2 + 5 * PAGE)[0], 0);
    host.done(Command::RttDataUnmap, &unmap);
}

#[test]
fn host_memory_is_shown_by_root_entries() {
    let host = tf_rmm();
    let (realm, _) = realm(&host, 2);
    let map = |tree| marked(&host, Command::RttAuxMapUnprotected, [realm.rd, SHARED, tree]);
    let unmap = |tree| marked(&host, Command::RttAuxUnmapUnprotected, [realm.rd, SHARED, tree]);
    assert_eq!(map(1), [0, 0, 0, 0, 0x77]);
    assert_eq!(map(1), [0, 0, 0, 0, 0x77]);
    // The end of the root table, whose unprotected part is one entry; X2 is not set.
    assert_eq!(unmap(1), [0, 1 << 48, 0, 0, 0x77]);
    assert_eq!(unmap(1), [0, 1 << 48, 0, 0, 0x77]);
    for level in [3, 2, 1] {
        host.done(Command::RttDestroy, &[realm.rd, SHARED, level]);
    }
    assert_eq!(map(2), [rtt_error(Level::L0), 0, 0, 0, 0x77]);
}

#[test]
fn a_reference_that_is_made_twice_prevents_destruction() {
    for times in 1..=2 {
        let host = tf_rmm();
        let (realm, _) = realm(&host, 1);
        for _ in 0..times {
            host.done(Command::RttAuxMapUnprotected, &[realm.rd, SHARED, 1]);
        }
        for _ in 0..times {
            host.done(Command::RttAuxUnmapUnprotected, &[realm.rd, SHARED, 1]);
        }
        for ipa in [0, SHARED] {
            for level in [3, 2, 1] {
                host.done(Command::RttDestroy, &[realm.rd, ipa, level]);
            }
        }
        host.done(Command::RealmTerminate, &[realm.rd]);
        let destroyed = status(host.call(Command::RealmDestroy, &[realm.rd]));
        let expected = if times == 1 { Status::Success } else { Status::ErrorRealm };
        assert_eq!(destroyed, expected);
    }
}

#[test]
fn arguments_that_name_no_entry() {
    let host = tf_rmm();
    let (realm, _) = realm(&host, 1);
    let shared = shared_realm(&host, 1);
    ram(&host, realm, 0);
    share(&host, realm, SHARED);
    for (rd, ipa, tree) in [
        (realm.rd, 0, 0),
        (realm.rd, 0, 2),
        (shared.rd, 0, 1),
        (realm.rd, 8, 1),
        (realm.rd, SHARED, 1),
        (realm.rd, 1 << 40, 1),
        (realm.root, 0, 1),
    ] {
        for command in [Command::RttAuxMapProtected, Command::RttAuxUnmapProtected] {
            let answer = marked(&host, command, [rd, ipa, tree]);
            assert_eq!(answer, [1, 0, 0, 0, 0x77], "{command} {ipa:#x} {tree}");
        }
    }
    for (rd, ipa, tree) in [
        (realm.rd, SHARED, 0),
        (realm.rd, SHARED, 2),
        (shared.rd, SHARED, 1),
        (realm.rd, SHARED + PAGE, 1),
        (realm.rd, 0, 1),
        (realm.rd, 1 << 40, 1),
        (realm.root, SHARED, 1),
    ] {
        for command in [Command::RttAuxMapUnprotected, Command::RttAuxUnmapUnprotected] {
            let answer = marked(&host, command, [rd, ipa, tree]);
            assert_eq!(answer, [1, 0, 0, 0, 0x77], "{command} {ipa:#x} {tree}");
        }
    }
}

#[test]
fn a_terminated_realm_can_only_be_unmapped() {
    let host = tf_rmm();
    let (realm, _) = realm(&host, 1);
    ram(&host, realm, 0);
    aux_tables(&host, realm, 1);
    assert_eq!(show(&host, realm, 1, 0)[0], 0);
    assert_eq!(show_shared(&host, realm, 1)[0], 0);
    host.done(Command::RealmTerminate, &[realm.rd]);
    // The state is checked before the arguments.
    for command in [Command::RttAuxMapProtected, Command::RttAuxMapUnprotected] {
        assert_eq!(status(host.call(command, &[realm.rd, 8, 9])), Status::ErrorRealm);
    }
    assert_eq!(hide(&host, realm, 1, 0)[0], 0);
    assert_eq!(hide_shared(&host, realm, 1)[0], 0);
}
