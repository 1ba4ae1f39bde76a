//! Translation tables: create, fold, destroy, and what remains afterwards.

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, Pa, Status};
use rmm_model::{GranuleState, Options};
use zerocopy::IntoBytes;

use crate::host::{DIALECTS, Host, MIB2, PAGE, Realm, SHARED, rtt_error};

#[test]
fn a_block_unfolds_and_folds_again() {
    let host = Host::new(Options::new(DIALECTS[0]));
    let realm = host.bare_realm();
    host.table(realm, 0, 1);
    host.table(realm, 0, 2);
    let block = host.fresh_block();
    host.done(Command::RttDataMap, &[realm.rd, MIB2, 2 * MIB2, 1, block | 1 << 2 | 1]);
    assert_eq!(host.entry(realm, MIB2, 2), (1, block, 0));
    let table = host.table(realm, MIB2, 3);
    assert_eq!(host.entry(realm, MIB2 + 5 * PAGE, 3), (1, block + 5 * PAGE, 0));
    // A hole prevents folding, until the same page is mapped again.
    let hole = MIB2 + 7 * PAGE;
    host.done(Command::RttDataUnmap, &[realm.rd, hole, hole + PAGE, 0, 0]);
    let fold = [realm.rd, MIB2, 3];
    assert_eq!(host.call(Command::RttFold, &fold)[..2], [rtt_error(Level::L3), 0]);
    let page = block + 7 * PAGE;
    host.done(Command::RttDataMap, &[realm.rd, hole, hole + PAGE, 1, page | 1 << 2]);
    assert_eq!(host.done(Command::RttFold, &fold)[1], table);
    assert_eq!(host.entry(realm, MIB2, 2), (1, block, 0));
    assert_eq!(host.model.granule_state(Pa::new(table)), Some(GranuleState::Delegated));
    assert_eq!(host.call(Command::RttFold, &fold)[0], rtt_error(Level::L2));
}

#[test]
fn destroying_a_table_destroys_what_the_realm_had_there() {
    let host = Host::tf_rmm();
    let realm = host.realm();
    host.done(Command::RttInitRipas, &[realm.rd, 0, 4 * PAGE]);
    let second = host.table(realm, MIB2, 3);
    host.map(realm, 0);
    let live = host.call(Command::RttDestroy, &[realm.rd, 0, 3]);
    assert_eq!(live[..3], [rtt_error(Level::L3), 0, 0]);
    host.done(Command::RttDataUnmap, &[realm.rd, 0, PAGE, 0, 0]);
    // X2 is the address of the next live entry.
    let answer = host.done(Command::RttDestroy, &[realm.rd, 0, 3]);
    assert_eq!(answer[2], MIB2);
    assert_eq!(host.entry(realm, 0, 2), (0, 0, 2));
    let absent = host.call(Command::RttDestroy, &[realm.rd, 0, 3]);
    assert_eq!(absent[..3], [rtt_error(Level::L2), 0, MIB2]);
    let answer = host.done(Command::RttDestroy, &[realm.rd, MIB2, 3]);
    assert_eq!(answer[1..3], [second, 1 << 30]);
    // The host cannot repair DESTROYED, but it is inherited, folded and mapped.
    assert_eq!(host.call(Command::RttInitRipas, &[realm.rd, 0, MIB2])[0], rtt_error(Level::L2));
    host.table(realm, 0, 3);
    assert_eq!(host.entry(realm, 5 * PAGE, 3), (0, 0, 2));
    host.done(Command::RttFold, &[realm.rd, 0, 3]);
    assert_eq!(host.entry(realm, 0, 2), (0, 0, 2));
}

#[test]
fn an_unprotected_table_goes_with_its_mappings() {
    let host = Host::tf_rmm();
    let realm = host.realm();
    let page = host.page();
    let map = [realm.rd, SHARED, SHARED + PAGE, 0x1e_0001, page | 1 << 2 | 1 << 63];
    host.done(Command::RttUnprotMap, &map);
    assert_eq!(host.entry(realm, SHARED, 3), (1, page | 0xd8, 0));
    host.done(Command::RttDestroy, &[realm.rd, SHARED, 3]);
    assert_eq!(host.entry(realm, SHARED, 2), (0, 0, 0));
    host.done(Command::RealmTerminate, &[realm.rd]);
    host.fails(Status::ErrorRealm, Command::RealmDestroy, &[realm.rd]);
}

#[test]
fn start_levels_and_concatenated_roots() {
    let host = Host::tf_rmm();
    for (width, level, tables) in [(32, 2, 4), (34, 2, 16), (39, 1, 1), (43, 1, 16), (48, 0, 1)] {
        let rd = host.fresh(1);
        let space = host.fresh(32);
        let root = space.next_multiple_of(tables * PAGE);
        let level = Level::new(level).unwrap();
        let geometry = rmi_abi::rtt::Geometry::with_start_level(width, level).unwrap();
        let params = rmi_abi::realm::RealmParams::new(geometry, Pa::new(root));
        let page = host.page();
        host.write(page, params.encode(host.dialect).unwrap().as_bytes());
        let before = host.model.census().rtt;
        host.done(Command::RealmCreate, &[rd, page]);
        assert_eq!(host.model.census().rtt, before + tables);
        let last = (1 << width) - level.entry_bytes();
        let answer = host.done(Command::RttReadEntry, &[rd, last, level.to_register()]);
        assert_eq!(answer[1..5], [level.to_register(), 0, 0, 0]);
        host.fails(
            Status::ErrorInput,
            Command::RttReadEntry,
            &[rd, 1 << width, level.to_register()],
        );
        let child = host.fresh(1);
        let down = level.child().unwrap().to_register();
        host.done(Command::RttCreate, &[rd, child, last, down]);
        host.done(Command::RttDestroy, &[rd, last, down]);
        host.done(Command::RealmTerminate, &[rd]);
        host.done(Command::RealmDestroy, &[rd]);
    }
}

#[test]
fn void_tables_fold_at_any_level() {
    let host = Host::tf_rmm();
    let realm = host.realm();
    host.fails(Status::ErrorRtt, Command::RttFold, &[realm.rd, 0, 1]);
    for level in [3, 2, 1] {
        host.done(Command::RttFold, &[realm.rd, 0, level]);
        host.done(Command::RttFold, &[realm.rd, SHARED, level]);
    }
    assert_eq!(host.entry(realm, 0, 0), (0, 0, 0));
}

/// An address that no granule can have is refused where its granule is looked up: after the walk.
/// Without LPA2 its width is checked before that, as in TF-RMM.
#[test]
fn the_walk_comes_before_the_granule() {
    const NOWHERE: u64 = 0xffff_ffff_ffff_f000;
    for lpa2 in [false, true] {
        let mut options = Options::new(Dialect::TfRmm2026_07);
        options.features[0] |= u64::from(lpa2) << 8;
        let host = Host::new(options);
        let (rd, root, page) = (host.fresh(1), host.fresh(1), host.page());
        let mut params = host.params(root);
        params.lpa2 = lpa2;
        host.write(page, params.encode(host.dialect).unwrap().as_bytes());
        host.done(Command::RealmCreate, &[rd, page]);
        let realm = Realm { rd, root };
        let (source, before) = (host.page(), host.model.census());
        let without_table = rtt_error(Level::L0);
        let init = |ipa| host.call(Command::RttDataMapInit, &[rd, NOWHERE, ipa, source, 0])[0];
        let input = u64::from(u8::from(Status::ErrorInput));
        assert_eq!(init(PAGE), if lpa2 { without_table } else { input });
        // The page is read before all of that; the Realm's state and the IPA are checked, too.
        let unread = [rd, NOWHERE, PAGE, root, 0];
        host.fails(Status::ErrorInput, Command::RttDataMapInit, &unread);
        assert_eq!(init(SHARED), input);
        assert_eq!(host.model.census(), before);
        for level in 1..=3 {
            host.table(realm, 0, level);
        }
        assert_eq!(init(PAGE), input);
        host.done(Command::RealmActivate, &[rd]);
        host.fails(Status::ErrorRealm, Command::RttDataMapInit, &[rd, NOWHERE, PAGE, source, 0]);
    }
}
