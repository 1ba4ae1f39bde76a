//! Realms: what they may be, and that they end.

use rmi_abi::realm::{HashAlgorithm, RealmParams};
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Command, Dialect, Pa, Status};
use rmm_model::{GranuleState, Options};
use zerocopy::IntoBytes;

use crate::host::{Host, PAGE, Realm, SHARED};

/// `RMI_REALM_CREATE` with a parameter page of which words are replaced.
fn create(host: &Host, params: &RealmParams, words: &[(u64, u64)]) -> (u64, Realm) {
    let (rd, page) = (host.fresh(1), host.page());
    host.write(page, params.encode(host.dialect).unwrap().as_bytes());
    for (offset, word) in words {
        host.write(page + offset, &word.to_le_bytes());
    }
    let answer = host.call(Command::RealmCreate, &[rd, page]);
    (answer[0], Realm { rd, root: params.rtt_base.raw() })
}

/// Whether a Realm with these words in its parameters is created; it is destroyed then.
fn is_accepted(host: &Host, words: &[(u64, u64)]) -> bool {
    let before = host.model.census();
    let root = host.fresh(1);
    let (status, realm) = create(host, &host.params(root), words);
    if status == 0 {
        assert_eq!(host.model.granule_state(Pa::new(realm.rd)), Some(GranuleState::Rd));
        assert_eq!(host.model.granule_state(Pa::new(root)), Some(GranuleState::Rtt));
        host.done(Command::RealmDestroy, &[realm.rd]);
    } else {
        assert_eq!(status, 1);
    }
    host.undelegate(realm.rd, PAGE);
    host.undelegate(root, PAGE);
    assert_eq!(host.model.census(), before);
    status == 0
}

#[test]
fn parameters_are_checked() {
    let host = Host::v1_0();
    assert!(is_accepted(&host, &[]));
    for (offset, good, bad) in [
        // Flags: no LPA2, PMU or devices here; what is not defined does not matter.
        (0x00, 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 63, 1 << 0),
        (0x00, 1 << 1, 1 << 2),
        (0x00, 0, 1 << 3),
        // Widths.
        (0x08, 40, 39),
        (0x08, 40, 49),
        (0x08, 40, 1 << 8 | 40),
        // Breakpoints and watchpoints, of which 32 bits count.
        (0x18, 5, 6),
        (0x18, 1, 0),
        (0x18, 1 << 32 | 1, 1 << 8 | 1),
        (0x20, 3, 4),
        (0x20, 1, 0),
        // SHA-256 and SHA-512 only.
        (0x30, 1, 2),
        (0x30, 0, 3),
        // Planes of a later version, of which 32 bits count, and indirect permissions.
        (0x38, 1 << 32, 1),
        (0x820, 1, 2),
        // The plane of devices of a later version, and anything between.
        (0x440, 1, u64::MAX),
    ] {
        let bad_is_refused = offset != 0x440;
        assert!(is_accepted(&host, &[(offset, good)]), "{offset:#x} {good:#x}");
        assert_eq!(is_accepted(&host, &[(offset, bad)]), !bad_is_refused, "{offset:#x} {bad:#x}");
    }
    // The SVE vector length counts with the flag only.
    assert!(is_accepted(&host, &[(0x10, 4)]));
    assert!(is_accepted(&host, &[(0x00, 2), (0x10, 3)]));
    assert!(!is_accepted(&host, &[(0x00, 2), (0x10, 4)]));
}

#[test]
fn a_pmu_has_counters() {
    let mut options = Options::new(Dialect::V1_0);
    options.features[0] |= 1 << 26 | 6 << 27;
    let host = Host::new(options);
    for (counters, expected) in [(0, false), (1, true), (6, true), (7, false)] {
        assert_eq!(is_accepted(&host, &[(0x00, 1 << 2), (0x28, counters)]), expected);
        assert!(is_accepted(&host, &[(0x28, counters)]));
    }
}

#[test]
fn wide_realms_ask_for_lpa2() {
    let mut options = Options::new(Dialect::V1_0);
    options.features[0] = options.features[0] & !0xff | 52 | 1 << 8;
    let host = Host::new(options);
    for (width, level, lpa2, expected) in [
        (48, Level::L0, false, true),
        (49, Level::L0, false, false),
        (49, Level::L0, true, true),
        (52, Level::L0, true, true),
        (49, Level::MINUS_1, true, true),
        (52, Level::MINUS_1, false, false),
        (40, Level::L0, true, true),
    ] {
        let geometry = Geometry::with_start_level(width, level).unwrap();
        let tables = u64::from(geometry.root_tables());
        let root = host.fresh(2 * tables).next_multiple_of(tables * PAGE);
        let mut params = RealmParams::new(geometry, Pa::new(root));
        params.lpa2 = lpa2;
        params.vmid = 3;
        let (status, realm) = create(&host, &params, &[]);
        assert_eq!(status == 0, expected, "{width} {level:?} {lpa2}");
        if expected {
            host.done(Command::RealmDestroy, &[realm.rd]);
        }
    }
}

#[test]
fn a_vmid_belongs_to_one_realm() {
    for (bits, most) in [(8, 0xff), (16, 0xffff)] {
        let mut options = Options::new(Dialect::V1_0);
        options.vmid_bits = bits;
        let host = Host::new(options);
        let with = |vmid| {
            let mut params = host.params(host.fresh(1));
            params.vmid = vmid;
            create(&host, &params, &[])
        };
        let (status, first) = with(most);
        assert_eq!(status, 0);
        assert_eq!(with(most).0, 1);
        assert_eq!(with(0).0, 0);
        if bits == 8 {
            assert_eq!(with(most + 1).0, 1);
        }
        host.done(Command::RealmDestroy, &[first.rd]);
        assert_eq!(with(most).0, 0);
    }
}

#[test]
fn granules_of_a_realm() {
    let host = Host::v1_0();
    let space = host.fresh(4);
    let root = space.next_multiple_of(2 * PAGE);
    let geometry = Geometry::with_start_level(40, Level::L1).unwrap();
    let mut params = RealmParams::new(geometry, Pa::new(root));
    params.vmid = 9;
    let page = host.page();
    host.write(page, params.encode(host.dialect).unwrap().as_bytes());
    let before = host.model.census();
    let create = |rd: u64, page: u64| host.call(Command::RealmCreate, &[rd, page])[0];
    for rd in [root, root + PAGE, page, root + 8, 0] {
        assert_eq!(create(rd, page), 1, "{rd:#x}");
    }
    let rd = host.fresh(1);
    assert_eq!(create(rd, rd), 1);
    assert_eq!(create(rd, page + 8), 1);
    host.undelegate(root + PAGE, PAGE);
    assert_eq!(create(rd, page), 1);
    host.delegate(root + PAGE, PAGE);
    // Aligned to all of its tables.
    params.rtt_base = Pa::new(root + PAGE);
    host.write(page, params.encode(host.dialect).unwrap().as_bytes());
    host.delegate(root + 4 * PAGE, PAGE);
    assert_eq!(create(rd, page), 1);
    host.undelegate(root + 4 * PAGE, PAGE);
    params.rtt_base = Pa::new(root);
    host.write(page, params.encode(host.dialect).unwrap().as_bytes());
    assert_eq!(create(rd, page), 0);
    assert_eq!(host.model.census().rtt, before.rtt + 2);
    host.done(Command::RealmDestroy, &[rd]);
    assert_eq!(host.model.census().rtt, before.rtt);
    assert_eq!(host.model.census().rd, 0);
}

#[test]
fn a_realm_ends_in_any_state_when_it_is_empty() {
    let host = Host::v1_0();
    let realm = host.bare_realm();
    host.fails(Status::ErrorInput, Command::RealmActivate, &[realm.root]);
    host.done(Command::RealmActivate, &[realm.rd]);
    host.fails(Status::ErrorRealm, Command::RealmActivate, &[realm.rd]);
    host.fails(Status::ErrorInput, Command::RealmDestroy, &[realm.root]);
    // A table or a REC keeps it; mapped host memory does not.
    host.table(realm, 0, 1);
    host.fails(Status::ErrorRealm, Command::RealmDestroy, &[realm.rd]);
    host.done(Command::RttDestroy, &[realm.rd, 0, 1]);
    host.table(realm, SHARED, 1);
    host.done(Command::RttMapUnprotected, &[realm.rd, SHARED, 1, 0xd8]);
    host.done(Command::RttDestroy, &[realm.rd, SHARED, 1]);
    host.done(Command::RealmDestroy, &[realm.rd]);
    host.fails(Status::ErrorInput, Command::RealmDestroy, &[realm.rd]);
    for granule in [realm.rd, realm.root] {
        assert_eq!(host.model.granule_state(Pa::new(granule)), Some(GranuleState::Delegated));
    }
    let realm = host.bare_realm();
    let rec = host.rec(realm, 0, true);
    host.fails(Status::ErrorRealm, Command::RealmDestroy, &[realm.rd]);
    host.destroy_rec(rec);
    host.done(Command::RealmDestroy, &[realm.rd]);
}

#[test]
fn the_hash_is_the_realms() {
    let host = Host::v1_0();
    for (hash, length) in [(HashAlgorithm::Sha256, 32), (HashAlgorithm::Sha512, 64)] {
        let mut params = host.params(host.fresh(1));
        params.hash = hash;
        let (status, realm) = create(&host, &params, &[]);
        assert_eq!(status, 0);
        let rim = host.model.measurement(Pa::new(realm.rd), 0).unwrap();
        assert!(rim.iter().rposition(|byte| *byte != 0).unwrap() < length);
        assert!(rim[length - 8..].iter().take(8).any(|byte| *byte != 0));
    }
}
