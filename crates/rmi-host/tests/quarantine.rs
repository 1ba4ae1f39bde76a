//! Memory that the RMM would not give back, and then would.
#![cfg(feature = "alloc")]

use rmi_abi::realm::RealmParams;
use rmi_abi::rtt::Geometry;
use rmi_abi::{Command, Dialect, Status};
use rmi_host::inject::{Fault, Injecting, Rule};
use rmi_host::quarantine::GrowingQuarantine;
use rmi_host::{
    CountingLedger, Discovered, Host, Patience, QuarantineReason, QuarantineShelf, SessionOptions,
};
use rmm_model::{Model, Options};

#[test]
fn what_is_refused_waits_and_comes_back() {
    let dialect = Dialect::TfRmm2026_07;
    let model = Model::new(Options::new(dialect)).unwrap();
    // Three refusals in a row, then the RMM relents.
    let rule = Rule::command(Command::GranuleRangeUndelegate, dialect);
    let fault = Fault::Delay { status: Status::ErrorInput, times: 3 };
    let door = Injecting::by_rule(&model, rule.nth(0), fault);
    let (ledger, quarantine) = (CountingLedger::new(), GrowingQuarantine::new());
    let platform = Host::new(&door, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let mut options = SessionOptions::default();
    options.patience = Patience::NONE;
    let found = Discovered::probe(platform, options).unwrap();
    let _ = found.start_activation().unwrap();
    let rmm = found.into_active();

    let mut memory = model.take_memory();
    let mut home = Vec::new();
    for _ in 0..3 {
        let granule = rmm.delegate(memory.take_front(0x1000).unwrap()).unwrap();
        rmm.return_or_quarantine(granule, &mut |memory| home.push(memory));
    }
    assert_eq!((home.len(), quarantine.len(), quarantine.bytes()), (0, 3, 0x3000));
    let mut seen = Vec::new();
    quarantine.for_each(|range, reason| seen.push((range.base().raw(), reason)));
    let reason = QuarantineReason::UndelegateRefused { status: Status::ErrorInput };
    assert_eq!(seen, [0x8000_0000, 0x8000_1000, 0x8000_2000].map(|base| (base, reason)));

    assert_eq!(quarantine.retry(&rmm, |memory| home.push(memory)), 0);
    assert_eq!(home.len(), 3);
    let balance = ledger.balance();
    assert_eq!((balance.delegated, balance.returned, balance.quarantined), (3, 3, 0));
}

/// What the RMM keeps at one end does not hold up the other.
#[test]
#[cfg_attr(miri, ignore = "slow")]
fn a_range_shrinks_from_both_ends() {
    let dialect = Dialect::TfRmm2026_07;
    let model = Model::new(Options::new(dialect)).unwrap();
    let quarantine = QuarantineShelf::<1>::new();
    let ledger = CountingLedger::new();
    let platform = Host::new(&model, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let found = Discovered::probe(platform, SessionOptions::default()).unwrap();
    let _ = found.start_activation().unwrap();
    let rmm = found.into_active();

    let mut memory = model.take_memory();
    let mut page = memory.take_front(0x1000).unwrap();
    let root = rmm.delegate(memory.take_front(0x1000).unwrap()).unwrap();
    let mut range = rmm.delegate(memory.take_front(0x5000).unwrap()).unwrap();
    let params = RealmParams::new(Geometry::new(40).unwrap(), root.base()).encode(dialect).unwrap();
    // The second of five granules becomes a Realm Descriptor that the RMM keeps.
    let mut front = range.take_front(0x1000).unwrap();
    let rd = range.take_front(0x1000).unwrap();
    let _ = rmm.realm_create(&rd, &mut page, &params).unwrap();
    let base = rd.base();
    front.append(rd).unwrap();
    front.append(range).unwrap();
    rmm.quarantine(front, QuarantineReason::PoolFull);

    let mut bytes = 0;
    assert_eq!(quarantine.retry(&rmm, |host| bytes += host.bytes()), 1);
    assert_eq!(bytes, 0x4000);
    let mut left = Vec::new();
    quarantine.for_each(|range, reason| left.push((range.base(), range.bytes(), reason)));
    assert_eq!(left, [(base, 0x1000, QuarantineReason::PoolFull)]);
    assert_eq!(ledger.balance().quarantined, 1);
}
