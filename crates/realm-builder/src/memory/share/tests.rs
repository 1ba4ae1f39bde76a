extern crate std;

use std::cell::Cell;

use rmi_abi::Dialect;
use rmi_abi::flags::{S2Access, UnprotMapFlags};
use rmi_abi::realm::S2apEncoding;
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::{CountingLedger, Host, Registers, SessionOptions};
use rmm_model::{Model, Options};
use sro::{FixedPool, Pool, open};

use super::*;
use crate::{Realm, RealmConfig, RealmStorage};

const PAGE: u64 = 0x1000;

fn pages(first: u64, count: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new((1 << 39) + first * PAGE), count * PAGE).unwrap()
}

#[test]
fn what_is_shared_ends_at_the_first_gap_and_what_has_no_record_is_exposed() {
    let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(64 * PAGE).unwrap()).unwrap();
    let ledger = CountingLedger::new();
    let host = model.host().with_ledger(&ledger);
    let rmm = open(host, SessionOptions::default(), &mut pool).unwrap();
    let mut storage = RealmStorage::<8, 4>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    for (first, count) in [(0, 1), (1, 2), (4, 1)] {
        let memory = memory.take_front(count * PAGE).unwrap();
        let ipa = pages(first, count).base();
        realm.share(&mut pool, ipa, memory, SharedAccess::MEMORY).unwrap();
    }
    for (first, count, expected) in [(0, 6, 3), (0, 2, 2), (3, 2, 3), (4, 1, 5), (4, 2, 5)] {
        let until = realm.core.shared_until(pages(first, count));
        assert_eq!(until, pages(expected, 1).base(), "{first}, {count}");
    }

    let piece = realm.core.shadow.lock().leave_shared(&pages(4, 1)).unwrap();
    assert_eq!(ledger.balance().exposed, 0);
    realm.core.record_shared(Err(piece));
    assert_eq!(ledger.balance().exposed, 1);
    realm.core.record_shared(Ok(()));
    assert_eq!(ledger.balance().exposed, 1);
}

std::thread_local! {
    /// The flags of the last RMI_RTT_UNPROT_MAP.
    static FLAGS: Cell<u64> = const { Cell::new(0) };
}

/// Permissions are encoded as the tables of the Realm encode them, whatever the caller says.
#[test]
fn permissions_are_encoded_as_in_the_tables_of_the_realm() {
    for encoding in [S2apEncoding::Direct, S2apEncoding::Indirect] {
        let mut options = Options::new(Dialect::TfRmm2026_07);
        options.features[3] |= 1 << 6;
        let model = Model::new(options).unwrap();
        let seen: fn(&Registers) -> bool = |registers| {
            FLAGS.set(registers[4]);
            false
        };
        let rule = Rule::command(Command::RttUnprotMap, Dialect::TfRmm2026_07).when(seen);
        let fault = Fault::status(rmi_abi::Status::ErrorInput);
        let conduit = Injecting::by_rule(&model, rule, fault);
        let mut memory = model.take_memory();
        let mut pool = FixedPool::<8>::new();
        pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
        pool.add(memory.take_front(64 * PAGE).unwrap()).unwrap();
        let host = Host::new(&conduit, &model);
        let rmm = open(host, SessionOptions::default(), &mut pool).unwrap();
        let mut storage = RealmStorage::<8, 4>::new();
        let mut config = RealmConfig::new(40);
        config.s2ap = Some(encoding);
        let realm = Realm::create(&rmm, &config, &mut storage, &mut pool).unwrap();
        let permissions = S2Access::READ_ONLY;
        let field = match encoding {
            S2apEncoding::Indirect => permissions.encode_indirect(),
            _ => permissions.encode_direct(),
        };
        for (page, said) in [(0, S2apEncoding::Direct), (1, S2apEncoding::Indirect)] {
            let access = SharedAccess { permissions, encoding: said, ..SharedAccess::MEMORY };
            let memory = memory.take_front(PAGE).unwrap();
            realm.share(&mut pool, pages(page, 1).base(), memory, access).unwrap();
            let flags = UnprotMapFlags::decode(FLAGS.take()).unwrap();
            assert_eq!(u64::from(flags.s2ap), field, "{encoding:?}, {said:?}");
        }
    }
}
