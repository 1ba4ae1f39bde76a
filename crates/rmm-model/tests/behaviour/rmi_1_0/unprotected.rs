//! Host memory at unprotected IPAs, one entry per call.

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, Pa};
use rmm_model::Options;

use crate::host::{Host, MIB2, PAGE, SHARED, rtt_error};

const GIB: u64 = 1 << 30;
/// Write-back, read and write.
const NORMAL: u64 = 0b110 << 2 | 0b11 << 6;
const INPUT: u64 = 1;

#[test]
fn entries_of_three_levels_map_and_unmap() {
    let host = Host::v1_0();
    let realm = host.realm();
    let pa = 4 * GIB;
    for (level, ipa, end) in [
        (3, SHARED, SHARED + MIB2),
        (3, SHARED + 511 * PAGE, SHARED + MIB2),
        (2, SHARED + 5 * MIB2, SHARED + GIB),
        (1, SHARED + 3 * GIB, SHARED + 512 * GIB),
    ] {
        let map = [realm.rd, ipa, level, pa | NORMAL];
        assert_eq!(host.call(Command::RttMapUnprotected, &map), {
            let mut same = [0; 8];
            same[4] = pa | NORMAL;
            same
        });
        assert_eq!(host.entry(realm, ipa, level), (1, pa | NORMAL, 0));
        let level_of = Level::new(i8::try_from(level).unwrap()).unwrap();
        assert_eq!(host.call(Command::RttMapUnprotected, &map)[0], rtt_error(level_of));
        let unmap = [realm.rd, ipa, level];
        assert_eq!(host.call(Command::RttUnmapUnprotected, &unmap)[..3], [0, end, 0]);
        assert_eq!(host.entry(realm, ipa, level), (0, 0, 0));
        let answer = host.call(Command::RttUnmapUnprotected, &unmap);
        assert_eq!(answer[..3], [rtt_error(level_of), end, 0]);
    }
}

#[test]
fn what_is_in_the_way_is_named() {
    let host = Host::v1_0();
    let realm = host.realm();
    let map =
        |ipa, level| host.call(Command::RttMapUnprotected, &[realm.rd, ipa, level, NORMAL])[0];
    let unmap = |ipa, level| {
        let answer = host.call(Command::RttUnmapUnprotected, &[realm.rd, ipa, level]);
        (answer[0], answer[1])
    };
    // There is no table of that level.
    assert_eq!(map(SHARED + MIB2, 3), rtt_error(Level::L2));
    assert_eq!(unmap(SHARED + MIB2, 3), (rtt_error(Level::L2), SHARED + GIB));
    // There is a table at that level.
    assert_eq!(map(SHARED, 2), rtt_error(Level::L2));
    assert_eq!(unmap(SHARED, 2), (rtt_error(Level::L2), SHARED));
    assert_eq!(unmap(SHARED, 1), (rtt_error(Level::L1), SHARED));
    // A larger mapping.
    host.done(Command::RttMapUnprotected, &[realm.rd, SHARED + MIB2, 2, NORMAL]);
    assert_eq!(map(SHARED + MIB2 + PAGE, 3), rtt_error(Level::L2));
    let inside = SHARED + MIB2 + 3 * PAGE;
    assert_eq!(unmap(inside, 3), (rtt_error(Level::L2), inside));
    // Before it: the next live entry is the mapping.
    assert_eq!(unmap(SHARED + 7 * PAGE, 3), (rtt_error(Level::L3), SHARED + MIB2));
}

#[test]
fn levels_addresses_and_descriptors_are_checked() {
    let host = Host::v1_0();
    let realm = host.realm();
    let map =
        |ipa, level, desc| host.call(Command::RttMapUnprotected, &[realm.rd, ipa, level, desc])[0];
    for level in [0, 4, u64::MAX, 1 << 32 | 3] {
        assert_eq!(map(SHARED, level, NORMAL), INPUT, "{level:#x}");
        let answer = host.call(Command::RttUnmapUnprotected, &[realm.rd, SHARED, level]);
        assert_eq!(answer[..2], [INPUT, 0]);
    }
    for (ipa, level) in
        [(SHARED + 8, 3), (SHARED + PAGE, 2), (SHARED + MIB2, 1), (0, 3), (2 * SHARED, 3)]
    {
        assert_eq!(map(ipa, level, NORMAL), INPUT, "{ipa:#x}");
        let answer = host.call(Command::RttUnmapUnprotected, &[realm.rd, ipa, level]);
        assert_eq!(answer[..2], [INPUT, 0]);
    }
    assert_eq!(map(SHARED - PAGE, 3, NORMAL), INPUT);
    // Of a descriptor, only address, attributes and permissions.
    for bit in 0..64 {
        let allowed = matches!(bit, 2..=4 | 6..=7 | 12..=47);
        let desc = 1 << bit;
        let expected = match desc >> 2 & 0b111 {
            0b100 => INPUT,
            _ if allowed => 0,
            _ => INPUT,
        };
        assert_eq!(map(SHARED, 3, desc), expected, "{bit}");
        if expected == 0 {
            assert_eq!(host.entry(realm, SHARED, 3), (1, desc, 0));
            host.done(Command::RttUnmapUnprotected, &[realm.rd, SHARED, 3]);
        }
    }
    // The address is aligned to the level.
    assert_eq!(map(SHARED + MIB2, 2, NORMAL | MIB2), 0);
    assert_eq!(map(SHARED + 2 * MIB2, 2, NORMAL | PAGE), INPUT);
    assert_eq!(map(SHARED + GIB, 1, NORMAL | MIB2), INPUT);
    let answer = host.call(Command::RttMapUnprotected, &[realm.root, SHARED, 3, NORMAL]);
    assert_eq!(answer[0], INPUT);
}

#[test]
fn wide_addresses_have_their_top_bits_below() {
    let mut options = Options::new(Dialect::V1_0);
    options.features[0] |= 1 << 8;
    let host = Host::new(options);
    let (rd, root) = (host.fresh(1), host.fresh(1));
    let mut params = host.params(root);
    params.lpa2 = true;
    let realm = host.create_realm(rd, &params);
    for level in 1..=3 {
        host.table(realm, SHARED, level);
    }
    for high in [0b11 << 8, 0b11 << 48, 1 << 9 | 1 << 48] {
        let desc = high | 0x1234_5000 | NORMAL;
        host.done(Command::RttMapUnprotected, &[rd, SHARED, 3, desc]);
        assert_eq!(host.entry(realm, SHARED, 3), (1, desc, 0));
        host.done(Command::RttUnmapUnprotected, &[rd, SHARED, 3]);
    }
    let too_wide = [rd, SHARED, 3, 1 << 50 | NORMAL];
    assert_eq!(host.call(Command::RttMapUnprotected, &too_wide)[0], INPUT);
    // The memory that it names: a page of the upper half of a block.
    let wide = 1 << 9 | 0x4000_0000 | NORMAL;
    host.done(Command::RttMapUnprotected, &[rd, SHARED + GIB, 1, wide]);
    host.table(realm, SHARED + GIB, 2);
    let second = host.entry(realm, SHARED + GIB + MIB2, 2);
    assert_eq!(second, (1, wide | MIB2, 0));
    assert_eq!(host.model.granule_state(Pa::new(1 << 51)), None);
}
