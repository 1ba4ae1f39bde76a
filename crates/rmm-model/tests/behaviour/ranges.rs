//! Range commands: how far they get, what they report, where they stop.

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Pa, Status};
use rmm_model::{GranuleState, Options};

use crate::host::{DIALECTS, Host, MIB2, PAGE, SHARED, rtt_error};

#[test]
fn mapping_again_is_no_error_and_changes_nothing() {
    let host = Host::tf_rmm();
    let realm = host.realm();
    let data = host.fresh(2);
    let map = [realm.rd, 0, 2 * PAGE, 1, data | 2 << 2];
    assert_eq!(host.done(Command::RttDataMap, &map)[1], 2 * PAGE);
    host.model.poke(Pa::new(data), b"kept");
    assert_eq!(host.done(Command::RttDataMap, &map)[1], 2 * PAGE);
    let mut content = [0; 4];
    host.model.peek(Pa::new(data), &mut content);
    assert_eq!(&content, b"kept");
    let other = host.fresh(1);
    let answer = host.call(Command::RttDataMap, &[realm.rd, 0, PAGE, 1, other | 1 << 2]);
    assert_eq!(answer[0], rtt_error(Level::L3));
    // The same memory cannot be mapped twice.
    let twice = [realm.rd, 4 * PAGE, 5 * PAGE, 1, data | 1 << 2];
    host.fails(Status::ErrorInput, Command::RttDataMap, &twice);
}

#[test]
fn the_first_entry_decides_and_later_ones_end_the_call() {
    let host = Host::tf_rmm();
    let realm = host.realm();
    let data = host.fresh(2);
    let mine = host.page();
    assert_eq!(mine, data + 2 * PAGE, "the third page of the run is host memory");
    let map = [realm.rd, 0, 3 * PAGE, 1, data | 3 << 2];
    assert_eq!(host.done(Command::RttDataMap, &map)[1], 2 * PAGE);
    assert!(host.can_read(mine));
    let rest = [realm.rd, 2 * PAGE, 3 * PAGE, 1, mine | 1 << 2];
    host.fails(Status::ErrorInput, Command::RttDataMap, &rest);
    // A range longer than its memory also stops early.
    let data = host.fresh(1);
    let map = [realm.rd, 2 * PAGE, 9 * PAGE, 1, data | 1 << 2];
    assert_eq!(host.done(Command::RttDataMap, &map)[1], 3 * PAGE);
}

#[test]
fn one_table_a_call_or_all_of_them() {
    for dialect in DIALECTS {
        for whole in [false, true] {
            let options = Options::new(dialect);
            let host = Host::new(if whole { options.range_capable() } else { options });
            let realm = host.realm();
            host.table(realm, MIB2, 3);
            let data = host.fresh(4);
            let (base, top) = (MIB2 - 2 * PAGE, MIB2 + 2 * PAGE);
            let reached = |answer: [u64; 8]| answer[1];
            let expected = if whole { top } else { MIB2 };
            let map = [realm.rd, base, top, 1, data | 4 << 2];
            assert_eq!(reached(host.done(Command::RttDataMap, &map)), expected);
            if !whole {
                let rest = (data + 2 * PAGE) | 2 << 2;
                host.done(Command::RttDataMap, &[realm.rd, MIB2, top, 1, rest]);
            }
            let ripas = [realm.rd, base, top];
            assert_eq!(reached(host.done(Command::RttInitRipas, &ripas)), expected);
            let unmap = [realm.rd, base, top, 1, 0];
            let answer = host.done(Command::RttDataUnmap, &unmap);
            let count = if whole { 4 } else { 2 };
            assert_eq!(answer[1..4], [expected, data | count << 2, 0]);
        }
    }
}

#[test]
fn unmapping_reports_by_descriptor_by_list_or_not_at_all() {
    let host = Host::tf_rmm();
    let realm = host.realm();
    let data = host.fresh(4);
    let map = |ipa: u64, pa: u64| {
        host.done(Command::RttDataMap, &[realm.rd, ipa, ipa + PAGE, 1, pa | 1 << 2]);
    };
    let scatter = || {
        map(PAGE, data);
        map(2 * PAGE, data + PAGE);
        map(5 * PAGE, data + 3 * PAGE);
        map(6 * PAGE, data + 2 * PAGE);
    };
    scatter();
    // One descriptor: stops where memory does not continue upwards, holes included.
    let answer = host.done(Command::RttDataUnmap, &[realm.rd, 0, MIB2, 1, 0]);
    assert_eq!(answer[1..4], [5 * PAGE, data | 2 << 2, 0]);
    let answer = host.done(Command::RttDataUnmap, &[realm.rd, 5 * PAGE, MIB2, 1, 0]);
    assert_eq!(answer[1..4], [6 * PAGE, (data + 3 * PAGE) | 1 << 2, 0]);
    let answer = host.done(Command::RttDataUnmap, &[realm.rd, 6 * PAGE, MIB2, 1, 0]);
    assert_eq!(answer[1..4], [MIB2, (data + 2 * PAGE) | 1 << 2, 0]);
    let answer = host.done(Command::RttDataUnmap, &[realm.rd, 0, MIB2, 1, 0]);
    assert_eq!(answer[1..4], [MIB2, 0, 0], "nothing is left");

    scatter();
    // A list: runs merge in either direction; a full list ends the call.
    let list = host.list(&[0; 4]);
    let answer = host.done(Command::RttDataUnmap, &[realm.rd, 0, MIB2, 2 | 1 << 2, list]);
    assert_eq!(answer[1..4], [5 * PAGE, 0, 1]);
    let answer = host.done(Command::RttDataUnmap, &[realm.rd, 5 * PAGE, MIB2, 2 | 8 << 2, list]);
    assert_eq!(answer[1..4], [MIB2, 0, 1]);
    assert_eq!(host.words(list, 2), [(data + 2 * PAGE) | 2 << 2, 0]);

    scatter();
    let answer = host.done(Command::RttDataUnmap, &[realm.rd, 0, MIB2, 0, 0]);
    assert_eq!(answer[1..4], [MIB2, 0, 0]);
    for n in 0..4 {
        let pa = Pa::new(data + n * PAGE);
        assert_eq!(host.model.granule_state(pa), Some(GranuleState::Delegated));
    }
    // A list ends with its page.
    scatter();
    let short = list + 0xff8;
    let answer = host.done(Command::RttDataUnmap, &[realm.rd, 0, MIB2, 2 | 600 << 2, short]);
    assert_eq!(answer[1..4], [5 * PAGE, 0, 1]);
}

#[test]
fn unmapping_tells_the_realm_what_it_lost() {
    let host = Host::tf_rmm();
    let realm = host.realm();
    host.done(Command::RttInitRipas, &[realm.rd, 0, PAGE]);
    host.map(realm, 0);
    host.map(realm, PAGE);
    host.done(Command::RttDataUnmap, &[realm.rd, 0, 2 * PAGE, 0, 0]);
    assert_eq!(host.entry(realm, 0, 3), (0, 0, 2), "RAM becomes DESTROYED");
    assert_eq!(host.entry(realm, PAGE, 3), (0, 0, 0), "EMPTY stays EMPTY");
    let data = host.map(realm, 0);
    assert_eq!(host.entry(realm, 0, 3), (1, data, 2), "new memory does not bring it back");
}

#[test]
fn a_hole_at_the_start_must_fit_the_range() {
    let host = Host::tf_rmm();
    let realm = host.realm();
    let hole = 4 * MIB2;
    for (base, top) in [(hole, hole + PAGE), (hole + PAGE, hole + MIB2)] {
        let answer = host.call(Command::RttDataUnmap, &[realm.rd, base, top, 1, 0]);
        assert_eq!(answer[..4], [rtt_error(Level::L2), 0, 0, 0]);
    }
    // Up to the next table below this entry.
    host.table(realm, 6 * MIB2, 3);
    let answer = host.done(Command::RttDataUnmap, &[realm.rd, hole, 8 * MIB2, 1, 0]);
    assert_eq!(answer[1], 6 * MIB2);
}

#[test]
fn host_memory_at_every_size() {
    for dialect in DIALECTS {
        let host = Host::new(Options::new(dialect));
        let realm = host.realm();
        let undelegated = 1 << dialect.range_state_field().0;
        let (page, block) = (host.page(), 0xa000_0000);
        let flags = 0x1e_0001;
        let ipa = SHARED + MIB2;
        let map = [realm.rd, ipa, ipa + MIB2, flags, block | 1 << 2 | 1 | undelegated];
        host.done(Command::RttUnprotMap, &map);
        assert_eq!(host.entry(realm, ipa, 2), (1, block | 0xd8, 0));
        let list = host.list(&[0, page | 1 << 2, 0x1000 | 2 << 2]);
        let map = [realm.rd, SHARED, SHARED + 4 * PAGE, 0x1e_0002 | 3 << 2, list];
        assert_eq!(host.done(Command::RttUnprotMap, &map)[1], SHARED + 3 * PAGE);
        // Other attributes make it another mapping.
        let other = [realm.rd, SHARED, SHARED + PAGE, 0x1d_0001, page | 1 << 2];
        assert_eq!(host.call(Command::RttUnprotMap, &other)[0], rtt_error(Level::L3));
        let unmap = [realm.rd, SHARED, SHARED + MIB2, 2 | 8 << 2, list];
        assert_eq!(host.done(Command::RttUnprotUnmap, &unmap)[1..4], [SHARED + MIB2, 0, 2]);
        let expected = [page | 1 << 2 | undelegated, 0x1000 | 2 << 2 | undelegated];
        assert_eq!(host.words(list, 2), expected);
        let unmap = [realm.rd, ipa, ipa + MIB2, 1, 0];
        assert_eq!(host.done(Command::RttUnprotUnmap, &unmap)[2], block | 1 << 2 | 1);
        assert_eq!(host.model.census().data, 0);
    }
}

/// A 512 MiB Realm in pages, on an RMM that takes ranges. In release mode this takes well under a
/// second.
#[test]
fn half_a_gibibyte_in_pages() {
    let mut options = Options::new(DIALECTS[0]).range_capable();
    options.dram = rmi_abi::PaRange::with_size(Pa::new(0x8000_0000), 4 << 30).unwrap();
    let host = Host::new(options);
    let realm = host.realm();
    let (base, memory, bytes) = (1 << 30, 0x1_0000_0000, 512 << 20);
    host.delegate(memory, bytes);
    host.table(realm, base, 2);
    let mut ipa = base;
    while ipa < base + bytes {
        host.table(realm, ipa, 3);
        ipa += MIB2;
    }
    ipa = base;
    while ipa < base + bytes {
        let desc = (memory + (ipa - base)) | 1023 << 2;
        ipa = host.done(Command::RttDataMap, &[realm.rd, ipa, base + bytes, 1, desc])[1];
    }
    assert_eq!(host.model.census().data, bytes / PAGE);
    ipa = base;
    while ipa < base + bytes {
        ipa = host.done(Command::RttDataUnmap, &[realm.rd, ipa, base + bytes, 1, 0])[1];
    }
    host.undelegate(memory, bytes);
    assert_eq!(host.model.census().data, 0);
}
