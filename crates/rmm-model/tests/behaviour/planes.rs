//! Planes: auxiliary trees, what they map, and permissions.

mod by_entry;
mod by_range;
mod create;
mod enter;
mod permissions;
mod run;
mod tables;

use rmi_abi::realm::RealmParams;
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, Pa, ResultWord, Status};
use rmi_host::Registers;
use rmm_model::Options;
use zerocopy::IntoBytes;

use crate::host::{Host, PAGE, Realm, SHARED};

/// Feature register 3 of an RMM with three auxiliary planes and both kinds of translation tables
/// for them.
const BOTH_WAYS: u64 = 3 | 1 << 4 | 1 << 6;
/// The size that one entry of the root tables covers.
const ROOT_ENTRY: u64 = 1 << 39;

/// A host on an RMM that has planes.
fn host(dialect: Dialect) -> Host {
    host_with(dialect, BOTH_WAYS)
}

fn host_with(dialect: Dialect, register: u64) -> Host {
    let mut options = Options::new(dialect);
    options.features[3] = register;
    Host::new(options)
}

/// Tries to create a Realm; returns its descriptor and the answer.
fn create(host: &Host, change: impl FnOnce(&mut RealmParams)) -> (Realm, Registers) {
    let (rd, root) = (host.fresh(1), host.fresh(1));
    let mut params = host.params(root);
    change(&mut params);
    let page = host.page();
    host.write(page, params.encode(host.dialect).unwrap().as_bytes());
    (Realm { rd, root }, host.call(Command::RealmCreate, &[rd, page]))
}

/// A new Realm with a tree for each of its planes, and the roots of the trees. The primary tree has
/// tables down to level 3 at the first addresses of both halves.
fn realm(host: &Host, planes: u8) -> (Realm, [u64; 3]) {
    let aux = [host.fresh(1), host.fresh(1), host.fresh(1)];
    let (realm, answer) = create(host, |params| {
        params.num_aux_planes = planes;
        params.tree_per_plane = true;
        params.aux_rtt_base = aux.map(Pa::new);
    });
    assert_eq!(answer[0], 0);
    for base in [0, SHARED] {
        for level in 1..=3 {
            host.table(realm, base, level);
        }
    }
    (realm, aux)
}

/// A new Realm whose planes share the primary tree.
fn shared_realm(host: &Host, planes: u8) -> Realm {
    let (realm, answer) = create(host, |params| {
        params.num_aux_planes = planes;
        params.s2ap_indirect = true;
    });
    assert_eq!(answer[0], 0);
    for level in 1..=3 {
        host.table(realm, 0, level);
    }
    realm
}

/// A new table of an auxiliary tree.
fn aux_table(host: &Host, realm: Realm, tree: u64, ipa: u64, level: u64) -> u64 {
    let table = host.fresh(1);
    host.done(Command::RttAuxCreate, &[realm.rd, table, ipa, level, tree]);
    table
}

/// Tables of an auxiliary tree down to level 3 at address 0.
fn aux_tables(host: &Host, realm: Realm, tree: u64) {
    for level in 1..=3 {
        aux_table(host, realm, tree, 0, level);
    }
}

/// `RMI_ERROR_RTT_AUX` at a level, as X0.
fn aux_error(level: Level) -> u64 {
    ResultWord::with_level(Status::ErrorRttAux, level).0
}

/// Maps a page of Realm memory that is RAM; returns it.
fn ram(host: &Host, realm: Realm, ipa: u64) -> u64 {
    host.done(Command::RttInitRipas, &[realm.rd, ipa, ipa + PAGE]);
    host.map(realm, ipa)
}

/// Maps a protected page in an auxiliary tree, with the dialect's command.
fn show(host: &Host, realm: Realm, tree: u64, ipa: u64) -> Registers {
    match host.dialect.aux_maps_by_range() {
        true => host.call(Command::RttAuxProtMap, &[realm.rd, ipa, ipa + PAGE, tree]),
        false => host.call(Command::RttAuxMapProtected, &[realm.rd, ipa, tree]),
    }
}

/// Unmaps it again.
fn hide(host: &Host, realm: Realm, tree: u64, ipa: u64) -> Registers {
    match host.dialect.aux_maps_by_range() {
        true => host.call(Command::RttAuxProtUnmap, &[realm.rd, ipa, ipa + PAGE, tree]),
        false => host.call(Command::RttAuxUnmapProtected, &[realm.rd, ipa, tree]),
    }
}

/// Maps a page of host memory at an unprotected address; returns it.
fn share(host: &Host, realm: Realm, ipa: u64) -> u64 {
    let page = host.page();
    let state = if host.dialect == Dialect::V2_0Bet3 { 1 << 62 } else { 1 << 63 };
    let map = [realm.rd, ipa, ipa + PAGE, 0x1e_0001, page | 1 << 2 | state];
    host.done(Command::RttUnprotMap, &map);
    page
}

/// Maps the unprotected half in an auxiliary tree.
fn show_shared(host: &Host, realm: Realm, tree: u64) -> Registers {
    match host.dialect.aux_maps_by_range() {
        true => {
            let range = [realm.rd, SHARED, SHARED + ROOT_ENTRY, tree];
            host.call(Command::RttAuxUnprotMap, &range)
        }
        false => host.call(Command::RttAuxMapUnprotected, &[realm.rd, SHARED, tree]),
    }
}

/// Unmaps it again.
fn hide_shared(host: &Host, realm: Realm, tree: u64) -> Registers {
    match host.dialect.aux_maps_by_range() {
        true => {
            let range = [realm.rd, SHARED, SHARED + ROOT_ENTRY, tree];
            host.call(Command::RttAuxUnprotUnmap, &range)
        }
        false => host.call(Command::RttAuxUnmapUnprotected, &[realm.rd, SHARED, tree]),
    }
}
