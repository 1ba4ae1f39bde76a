//! Tables of auxiliary trees: create, destroy, fold.

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Pa, Status};
use rmm_model::GranuleState;

use super::{aux_error, aux_table, aux_tables, hide, host, ram, realm, share, shared_realm};
use super::{hide_shared, show, show_shared};
use crate::host::{DIALECTS, MIB2, PAGE, SHARED, rtt_error, status};

#[test]
fn tables_are_made_from_the_root_down_and_destroyed_from_the_leaves_up() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, _) = realm(&host, 2);
        let spare = host.fresh(1);
        let create =
            |level: u64| host.call(Command::RttAuxCreate, &[realm.rd, spare, 0, level, 2])[0];
        assert_eq!(create(2), aux_error(Level::L0));
        let tables = [1, 2, 3].map(|level| aux_table(&host, realm, 2, 0, level));
        assert_eq!(host.model.granule_state(Pa::new(tables[2])), Some(GranuleState::Rtt));
        assert_eq!(create(3), aux_error(Level::L2));
        assert_eq!(create(1), aux_error(Level::L0));
        // The other trees are not affected.
        let other = host.call(Command::RttAuxDestroy, &[realm.rd, 0, 3, 1]);
        assert_eq!(other[..3], [aux_error(Level::L0), 0, 1 << 48]);

        let destroy = |level: u64| host.call(Command::RttAuxDestroy, &[realm.rd, 0, level, 2]);
        assert_eq!(destroy(2)[..3], [aux_error(Level::L2), 0, 0]);
        assert_eq!(destroy(3)[..3], [0, tables[2], 1 << 30]);
        assert_eq!(destroy(3)[..3], [aux_error(Level::L2), 0, 1 << 30]);
        assert_eq!(destroy(2)[..3], [0, tables[1], 1 << 39]);
        assert_eq!(destroy(1)[..2], [0, tables[0]]);
        let state = host.model.granule_state(Pa::new(tables[0]));
        assert_eq!(state, Some(GranuleState::Delegated));
        assert_eq!(host.entry(realm, 0, 3), (0, 0, 0));
    }
}

#[test]
fn arguments_that_name_no_table() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, _) = realm(&host, 1);
        let shared = shared_realm(&host, 1);
        let (table, used) = (host.fresh(1), host.page());
        for (rd, rtt, ipa, level, tree) in [
            (realm.rd, table, 0, 1, 0),
            (realm.rd, table, 0, 1, 2),
            (realm.rd, table, 0, 1, u64::MAX),
            (shared.rd, table, 0, 1, 1),
            (realm.rd, table, 0, 0, 1),
            (realm.rd, table, 0, 4, 1),
            (realm.rd, table, PAGE, 1, 1),
            (realm.rd, table, SHARED, 1, 1),
            (realm.rd, table, 1 << 40, 1, 1),
            (table, table, 0, 1, 1),
            (realm.rd, used, 0, 1, 1),
            (realm.rd, table + 8, 0, 1, 1),
        ] {
            let create = [rd, rtt, ipa, level, tree];
            host.fails(Status::ErrorInput, Command::RttAuxCreate, &create);
            if rtt == table {
                for command in [Command::RttAuxDestroy, Command::RttAuxFold] {
                    let answer = host.call(command, &[rd, ipa, level, tree]);
                    assert_eq!(status(answer), Status::ErrorInput);
                    assert_eq!(answer[1..3], [0, 0]);
                }
            }
        }
    }
}

#[test]
fn each_tree_is_folded_separately() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, _) = realm(&host, 1);
        // A block of RAM in the primary tree, pages in the auxiliary one.
        let block = host.fresh_block();
        host.table(realm, MIB2, 3);
        host.done(Command::RttInitRipas, &[realm.rd, MIB2, 2 * MIB2]);
        host.done(Command::RttFold, &[realm.rd, MIB2, 3]);
        host.done(Command::RttDataMap, &[realm.rd, MIB2, 2 * MIB2, 1, block | 1 << 2 | 1]);
        aux_tables(&host, realm, 1);
        let fold = [realm.rd, MIB2, 3, 1];
        assert_eq!(host.call(Command::RttAuxFold, &fold)[..2], [aux_error(Level::L2), 0]);
        let leaf = aux_table(&host, realm, 1, MIB2, 3);
        if dialect.aux_maps_by_range() {
            let answer = host.done(Command::RttAuxProtMap, &[realm.rd, MIB2, 2 * MIB2, 1]);
            assert_eq!(answer[1], 2 * MIB2);
        } else {
            for page in 0..512 {
                assert_eq!(show(&host, realm, 1, MIB2 + page * PAGE)[0], 0);
            }
        }
        // A hole prevents folding.
        let unmap = |ipa| hide(&host, realm, 1, ipa)[0];
        if !dialect.aux_maps_by_range() {
            assert_eq!(unmap(MIB2 + PAGE), 0);
            assert_eq!(host.call(Command::RttAuxFold, &fold)[..2], [aux_error(Level::L3), 0]);
            assert_eq!(show(&host, realm, 1, MIB2 + PAGE)[0], 0);
        }
        assert_eq!(host.done(Command::RttAuxFold, &fold)[1], leaf);
        // It is unmapped as a block, and nothing of it remains.
        let whole = match dialect.aux_maps_by_range() {
            true => host.call(Command::RttAuxProtUnmap, &[realm.rd, MIB2, 2 * MIB2, 1]),
            false => hide(&host, realm, 1, MIB2),
        };
        assert_eq!(whole[0], 0);
        host.done(Command::RttDataUnmap, &[realm.rd, MIB2, 2 * MIB2, 0, 0]);
        // Void tables fold at any level.
        for level in [3, 2, 1] {
            host.done(Command::RttAuxFold, &[realm.rd, 0, level, 1]);
        }
        assert_eq!(host.call(Command::RttAuxFold, &[realm.rd, 0, 1, 1])[0], aux_error(Level::L0));
    }
}

#[test]
fn a_destroyed_table_is_remembered() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, _) = realm(&host, 1);
        ram(&host, realm, 0);
        aux_tables(&host, realm, 1);
        assert_eq!(show(&host, realm, 1, 0)[0], 0);
        let live = host.call(Command::RttAuxDestroy, &[realm.rd, 0, 3, 1]);
        assert_eq!(live[..3], [aux_error(Level::L3), 0, 0]);
        assert_eq!(hide(&host, realm, 1, 0)[0], 0);
        host.done(Command::RttAuxDestroy, &[realm.rd, 0, 3, 1]);
        aux_table(&host, realm, 1, 0, 3);
        let destroyed = show(&host, realm, 1, 0);
        assert_eq!(destroyed[0], aux_error(Level::L3));
    }
}

#[test]
fn primary_tables_stay_as_long_as_a_tree_shows_them() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, _) = realm(&host, 1);
        share(&host, realm, SHARED);
        assert_eq!(show_shared(&host, realm, 1)[0], 0);
        // An entry that keeps a table is reported before a tree that maps it.
        for (level, parent, at) in
            [(3, Level::L2, Level::L2), (2, Level::L1, Level::L2), (1, Level::L0, Level::L1)]
        {
            let destroyed = host.call(Command::RttDestroy, &[realm.rd, SHARED, level]);
            assert_eq!(destroyed[..3], [rtt_error(at), 0, SHARED]);
            let folded = host.call(Command::RttFold, &[realm.rd, SHARED, level]);
            assert_eq!(folded[..2], [rtt_error(parent), 0]);
        }
        // Protected tables are not used by another tree.
        host.done(Command::RttFold, &[realm.rd, 0, 3]);
        assert_eq!(hide_shared(&host, realm, 1)[0], 0);
        for level in [3, 2, 1] {
            host.done(Command::RttDestroy, &[realm.rd, SHARED, level]);
        }
    }
}
