//! Regions that are one.

use realm_builder::{Content, Realm, RealmConfig, RealmStorage, Region};
use rmi_abi::rtt::Level;
use rmi_abi::{Dialect, Ipa};
use rmi_host::{CountingLedger, Discovered, Host, SessionOptions};
use rmm_model::{Model, Options};
use sro::{Pool, PoolStorage, activate};

const MIB: u64 = 1 << 20;

#[test]
fn neighbours_without_content_become_one_block() {
    let model = Model::new(Options::new(Dialect::TfRmm2026_07).range_capable()).unwrap();
    let mut memory = model.take_memory();
    let ledger = CountingLedger::new();
    let mut ram = memory.take_front(4 * MIB).unwrap();
    let mut places = PoolStorage::<16>::new();
    let mut pool = Pool::new(&mut places, memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
    let platform = Host::new(&model, &model).with_ledger(&ledger);
    let found = Discovered::probe(platform, SessionOptions::default())
        .map_err(|failed| failed.error)
        .unwrap();
    let rmm = activate(found, &mut pool).map_err(|failed| failed.error).unwrap().rmm;
    let mut storage = RealmStorage::<8, 0>::new();
    let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let base = 0x8000_0000;
    // Three parts of 2 MiB, in any order, and 2 MiB with content beside them.
    let content = vec![1; 2 << 20];
    let parts = [MIB / 2, MIB, MIB / 2].map(|bytes| ram.take_front(bytes).unwrap());
    let [first, second, third] = parts;
    let mut regions = [
        Region::new(Ipa::new(base + MIB / 2), second, Content::Unspecified),
        Region::new(Ipa::new(base + 2 * MIB), ram, Content::Unmeasured(&content)),
        Region::new(Ipa::new(base), first, Content::Unspecified),
        Region::new(Ipa::new(base + 3 * MIB / 2), third, Content::Unspecified),
    ];
    realm.populate(&mut pool, &mut regions, &mut |_| {}).unwrap();
    assert_eq!(realm.memory_at(Ipa::new(base)).unwrap().bytes(), Level::L2.entry_bytes());
    assert_eq!(realm.memory_at(Ipa::new(base + 2 * MIB)).unwrap().bytes(), 0x1000);
    assert_eq!(realm.memory_bytes(), 4 * MIB);
    // All of it is taken in; again there is nothing to do.
    realm.populate(&mut pool, &mut regions, &mut |_| {}).unwrap();
    assert_eq!(realm.tear_down([], &mut pool, &mut |_| {}), None);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
}
