//! Realm memory: pages with and without content, and what is found where there are none.

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Pa};
use rmm_model::GranuleState;

use crate::host::{Host, MIB2, PAGE, Realm, SHARED, rtt_error, word};

const GIB: u64 = 1 << 30;
const EMPTY: u64 = 0;
const RAM: u64 = 1;
const DESTROYED: u64 = 2;

fn contents<const N: usize>(host: &Host, at: u64) -> [u8; N] {
    let mut bytes = [0; N];
    host.model.peek(Pa::new(at), &mut bytes);
    bytes
}

/// Folds the table of level 3 at `ipa` into a block.
fn block(host: &Host, realm: Realm, ipa: u64) -> u64 {
    let block = host.fresh_block();
    for offset in (0..MIB2).step_by(0x1000) {
        host.done(Command::DataCreateUnknown, &[realm.rd, block + offset, ipa + offset]);
    }
    host.done(Command::RttFold, &[realm.rd, ipa, 3]);
    block
}

#[test]
fn a_page_has_the_content_of_the_source() {
    let host = Host::v1_0();
    let realm = host.realm();
    let before = host.model.measurement(Pa::new(realm.rd), 0);
    let data = host.populate(realm, 0, 0xa5, 0);
    assert_eq!(contents::<16>(&host, data), [0xa5; 16]);
    assert_eq!(host.entry(realm, 0, 3), (1, data, RAM));
    assert_eq!(host.model.granule_state(Pa::new(data)), Some(GranuleState::Data));
    // Its address is measured even if its content is not.
    assert_ne!(host.model.measurement(Pa::new(realm.rd), 0), before);
}

#[test]
fn a_page_without_content_is_zero_and_not_measured() {
    let host = Host::v1_0();
    let realm = host.realm();
    host.done(Command::RttInitRipas, &[realm.rd, PAGE, 2 * PAGE]);
    let before = host.model.measurement(Pa::new(realm.rd), 0);
    let (empty, ram) = (host.map(realm, 0), host.map(realm, PAGE));
    assert_eq!(contents::<16>(&host, empty), [0; 16]);
    assert_eq!(host.entry(realm, 0, 3), (1, empty, EMPTY));
    assert_eq!(host.entry(realm, PAGE, 3), (1, ram, RAM));
    assert_eq!(host.model.measurement(Pa::new(realm.rd), 0), before);
    // In any state of the Realm, also when it has ended.
    host.done(Command::RealmActivate, &[realm.rd]);
    host.map(realm, 2 * PAGE);
}

#[test]
fn what_is_refused_and_in_which_order() {
    let host = Host::v1_0();
    let realm = host.realm();
    let (data, src) = (host.fresh(1), host.page());
    let create = |arguments: [u64; 5]| host.call(Command::DataCreate, &arguments)[0];
    let (input, refused) = (1, 2);
    let before = host.model.census();
    // Each of these alone; the Realm is new.
    assert_eq!(create([realm.rd, data, 0, src, 2]), input);
    assert_eq!(create([realm.rd, data, 0, src, 1 << 63 | 1]), input);
    assert_eq!(create([realm.rd, data, 0, data, 0]), input);
    assert_eq!(create([realm.rd, data, 0, src + 8, 0]), input);
    assert_eq!(create([realm.rd, src, 0, src, 0]), input);
    assert_eq!(create([realm.rd, realm.rd, 0, src, 0]), input);
    assert_eq!(create([data, data, 0, src, 0]), input);
    assert_eq!(create([realm.rd, data, 0x800, src, 0]), input);
    assert_eq!(create([realm.rd, data, SHARED, src, 0]), input);
    assert_eq!(create([realm.rd, data, 2 * SHARED, src, 0]), input);
    assert_eq!(create([realm.rd, data, GIB, src, 0]), rtt_error(Level::L1));
    host.map(realm, 0);
    assert_eq!(create([realm.rd, data, 0, src, 0]), rtt_error(Level::L3));
    let unknown = |arguments: [u64; 3]| host.call(Command::DataCreateUnknown, &arguments)[0];
    assert_eq!(unknown([realm.rd, src, PAGE]), input);
    assert_eq!(unknown([data, data, PAGE]), input);
    assert_eq!(unknown([realm.rd, data, PAGE + 8]), input);
    assert_eq!(unknown([realm.rd, data, SHARED - PAGE]), rtt_error(Level::L1));
    assert_eq!(unknown([realm.rd, data, SHARED]), input);
    assert_eq!(unknown([realm.rd, data, 0]), rtt_error(Level::L3));
    assert_eq!(host.model.census().data, before.data + 1);
    // The state of the Realm comes after the granules and before the address.
    host.done(Command::RealmActivate, &[realm.rd]);
    assert_eq!(create([realm.rd, data, 0x800, src, 0]), refused);
    assert_eq!(create([realm.rd, src, 0x800, src, 0]), input);
    assert_eq!(create([realm.rd, data, 0x800, data, 0]), input);
    assert_eq!(create([realm.rd, data, 0x800, src, 2]), input);
    assert_eq!(host.model.granule_state(Pa::new(data)), Some(GranuleState::Delegated));
}

#[test]
fn destroying_a_page_says_where_the_next_one_is() {
    let host = Host::v1_0();
    let realm = host.realm();
    host.done(Command::RttInitRipas, &[realm.rd, 0, 4 * PAGE]);
    let pages = [host.map(realm, PAGE), host.map(realm, 7 * PAGE)];
    let destroy = |ipa| host.call(Command::DataDestroy, &[realm.rd, ipa])[..4].to_vec();
    // Nothing is mapped: where the next page is.
    assert_eq!(destroy(0), [rtt_error(Level::L3), 0, PAGE, 0]);
    assert_eq!(destroy(PAGE), [0, pages[0], 7 * PAGE, 0]);
    assert_eq!(host.entry(realm, PAGE, 3), (0, 0, DESTROYED));
    assert_eq!(host.entry(realm, 2 * PAGE, 3), (0, 0, RAM));
    assert_eq!(destroy(7 * PAGE), [0, pages[1], MIB2, 0]);
    assert_eq!(host.entry(realm, 7 * PAGE, 3), (0, 0, EMPTY));
    assert_eq!(destroy(7 * PAGE), [rtt_error(Level::L3), 0, MIB2, 0]);
    assert_eq!(contents::<8>(&host, pages[0]), [0; 8]);
    host.undelegate(pages[0], PAGE);
    // A page that is destroyed twice stays DESTROYED.
    host.map(realm, PAGE);
    host.done(Command::DataDestroy, &[realm.rd, PAGE]);
    assert_eq!(host.entry(realm, PAGE, 3), (0, 0, DESTROYED));
    // Without a table the answer counts in larger steps.
    assert_eq!(destroy(3 * MIB2 + PAGE), [rtt_error(Level::L2), 0, GIB, 0]);
    assert_eq!(destroy(5 * GIB), [rtt_error(Level::L1), 0, 512 * GIB, 0]);
    for (rd, ipa) in [(realm.rd, 8), (realm.rd, SHARED), (pages[1], 0), (realm.rd, 1 << 63)] {
        let answer = host.call(Command::DataDestroy, &[rd, ipa]);
        assert_eq!(answer[..3], [1, 0, 0], "{ipa:#x}");
    }
}

#[test]
fn a_page_of_a_block_is_not_destroyed() {
    let host = Host::v1_0();
    let realm = host.realm();
    let block = block(&host, realm, 0);
    assert_eq!(host.entry(realm, 0, 2), (1, block, EMPTY));
    for ipa in [0, 5 * PAGE] {
        let answer = host.call(Command::DataDestroy, &[realm.rd, ipa]);
        assert_eq!(answer[..3], [rtt_error(Level::L2), 0, ipa]);
        let answer = host.call(Command::RttDestroy, &[realm.rd, 0, 3]);
        assert_eq!(answer[..3], [rtt_error(Level::L2), 0, 0]);
    }
    host.table(realm, 0, 3);
    assert_eq!(host.entry(realm, 5 * PAGE, 3), (1, block + 5 * PAGE, EMPTY));
    let answer = host.done(Command::DataDestroy, &[realm.rd, 5 * PAGE]);
    assert_eq!(answer[1..3], [block + 5 * PAGE, 6 * PAGE]);
    assert_eq!(word(host.call(Command::RttFold, &[realm.rd, 0, 3])).index(), 3);
}

/// The table above a block is in the way of one below it: X2 is the address that was asked for.
#[test]
fn a_table_inside_a_block_is_where_something_is() {
    let host = Host::v1_0();
    let realm = host.realm();
    let gib = 0x4000_0000_u64;
    host.done(Command::RttMapUnprotected, &[realm.rd, SHARED + gib, 1, gib | 0xd8]);
    let ipa = SHARED + gib + 3 * MIB2;
    let answer = host.call(Command::RttDestroy, &[realm.rd, ipa, 3]);
    assert_eq!(answer[..3], [rtt_error(Level::L1), 0, ipa]);
    let answer = host.call(Command::RttUnmapUnprotected, &[realm.rd, ipa, 2]);
    assert_eq!(answer[..2], [rtt_error(Level::L1), ipa]);
}
