//! Memory that the RMM first refuses to give back, and gives back later.
#![cfg(feature = "alloc")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rmi_abi::realm::RealmParams;
use rmi_abi::rtt::Geometry;
use rmi_abi::{Command, Dialect, PaRange, ResultWord, Status};
use rmi_host::quarantine::GrowingQuarantine;
use rmi_host::{
    CountingLedger, Delegated, Discovered, FixedQuarantine, Host, Ledger, LedgerEvent, Quarantine,
    QuarantineReason, Quarantined, RetryBudget, Rmm, SessionOptions, Undelegated,
};
use rmm_model::{Model, Options};
use test_support::Altered;

#[test]
fn what_is_refused_waits_and_comes_back() {
    let dialect = Dialect::TfRmm2026_07;
    let model = Model::new(Options::new(dialect)).unwrap();
    // Three refusals in a row, then the RMM gives it back.
    let refusals = AtomicU32::new(3);
    let undelegate = u64::from(Command::GranuleRangeUndelegate.fid(dialect).unwrap().0);
    let refused = [ResultWord::from_status(Status::ErrorInput).0, 0, 0, 0, 0, 0, 0, 0];
    let is_refused = |call: &[u64; 8]| {
        let left = refusals.load(Ordering::Relaxed);
        let is_refused = call[0] == undelegate && left > 0;
        refusals.store(left - u32::from(is_refused), Ordering::Relaxed);
        is_refused.then_some(refused)
    };
    let conduit = Altered { model: &model, instead: is_refused };
    let (ledger, quarantine) = (CountingLedger::new(), GrowingQuarantine::new());
    let platform = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let mut options = SessionOptions::default();
    options.retry_budget = RetryBudget::NONE;
    let mut memory = model.take_memory();
    let rmm = rmm_model::open_with(platform, options, &mut memory).unwrap();

    let mut returned = Vec::new();
    assert!(quarantine.is_empty());
    for _ in 0..3 {
        let granule = rmm.delegate(memory.take_front(0x1000).unwrap()).unwrap();
        rmm.return_or_quarantine(granule, &mut |memory| returned.push(memory));
    }
    assert_eq!((returned.len(), quarantine.len(), quarantine.bytes()), (0, 3, 0x3000));
    assert!(!quarantine.is_empty());
    let mut seen = Vec::new();
    quarantine.for_each(|range, reason| seen.push((range.base().raw(), reason)));
    let reason = QuarantineReason::UndelegateRefused { status: Status::ErrorInput };
    assert_eq!(seen, [0x8000_0000, 0x8000_1000, 0x8000_2000].map(|base| (base, reason)));

    assert_eq!(quarantine.retry(&rmm, |memory| returned.push(memory)), 0);
    assert_eq!(returned.len(), 3);
    let balance = ledger.balance();
    assert_eq!((balance.delegated, balance.returned, balance.quarantined), (3, 3, 0));
}

/// What the RMM keeps at one end does not hold up the other end.
#[test]
#[cfg_attr(miri, ignore = "slow")]
fn a_range_shrinks_from_both_ends() {
    let dialect = Dialect::TfRmm2026_07;
    let model = Model::new(Options::new(dialect)).unwrap();
    let quarantine = FixedQuarantine::<1>::new();
    let ledger = CountingLedger::new();
    let platform = model.host().with_ledger(&ledger).with_quarantine(&quarantine);
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(platform, &mut memory).unwrap();

    let mut page = memory.take_front(0x1000).unwrap();
    let root = rmm.delegate(memory.take_front(0x1000).unwrap()).unwrap();
    let mut range = rmm.delegate(memory.take_front(0x5000).unwrap()).unwrap();
    let params = RealmParams::new(Geometry::new(40).unwrap(), root.base()).encode(dialect).unwrap();
    // The second of five granules becomes a Realm Descriptor that the RMM keeps.
    let mut front = range.take_front(0x1000).unwrap();
    let rd = range.take_front(0x1000).unwrap();
    let _ = rmm.commands().realm_create(&rd, &mut page, &params).unwrap();
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

const GRANULE: u64 = 0x1000;
const REASON: QuarantineReason = QuarantineReason::PoolFull;

fn model() -> Model {
    Model::new(Options::new(Dialect::TfRmm2026_07).range_capable()).unwrap()
}

fn granules(mut memory: Delegated) -> Vec<Quarantined> {
    core::iter::from_fn(|| memory.take_front(GRANULE))
        .map(|memory| Quarantined { memory, reason: REASON })
        .collect()
}

/// One slot with one range, which grows at both ends while other threads look at it. There is
/// always space.
#[test]
fn sound_7_a_range_that_others_read_merges_with_its_neighbours() {
    let each = if cfg!(miri) { 12 } else { 10_000 };
    let model = model();
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(model.host(), &mut memory).unwrap();
    let mut memory = rmm.delegate(memory.take_front(2 * each * GRANULE).unwrap()).unwrap();
    let whole = memory.range();
    let mut below = granules(memory.take_front(each * GRANULE).unwrap());
    let mut above = granules(memory);
    let quarantine = FixedQuarantine::<1>::new();
    // From the middle, downwards and upwards.
    quarantine.put(below.pop().unwrap()).unwrap();
    above.reverse();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    quarantine.for_each(|range, reason| {
                        assert!(whole.contains_range(&range) && !range.is_empty());
                        assert_eq!(reason, REASON);
                    });
                    std::thread::yield_now();
                }
            });
        }
        let puts = [&mut below, &mut above].map(|parts| {
            let quarantine = &quarantine;
            scope.spawn(move || {
                let refused = |part: Quarantined| quarantine.put(part).err();
                core::iter::from_fn(|| parts.pop()).filter_map(refused).count()
            })
        });
        let refused: usize = puts.into_iter().map(|put| put.join().unwrap()).sum();
        done.store(true, Ordering::Relaxed);
        assert_eq!(refused, 0);
    });
    let mut seen = Vec::new();
    quarantine.for_each(|range, _| seen.push(range));
    assert_eq!(seen, [whole]);
    let mut bytes = 0;
    assert_eq!(quarantine.retry(&rmm, |host| bytes += host.bytes()), 0);
    assert_eq!(bytes, whole.bytes());
}

/// The parts of a session with a Realm Descriptor that the RMM keeps.
struct Kept<'m> {
    rmm: Rmm<Host<&'m Model, &'m Model, &'m CountingLedger, &'m FixedQuarantine<1>>>,
    memory: Undelegated,
    /// A granule that can be returned, and after it the descriptor.
    range: Delegated,
}

fn kept<'m>(
    model: &'m Model,
    ledger: &'m CountingLedger,
    quarantine: &'m FixedQuarantine<1>,
) -> Kept<'m> {
    let platform = Host::new(model, model).with_ledger(ledger).with_quarantine(quarantine);
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(platform, &mut memory).unwrap();
    let mut page = memory.take_front(GRANULE).unwrap();
    let root = rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap();
    let mut range = rmm.delegate(memory.take_front(2 * GRANULE).unwrap()).unwrap();
    let dialect = rmm.dialect();
    let params = RealmParams::new(Geometry::new(40).unwrap(), root.base()).encode(dialect).unwrap();
    let rd = range.take_back(GRANULE).unwrap();
    let _ = rmm.commands().realm_create(&rd, &mut page, &params).unwrap();
    range.append(rd).unwrap();
    Kept { rmm, memory, range }
}

#[test]
fn sound_7_what_the_closure_quarantines_does_not_take_the_place_of_what_is_tried_again() {
    let (model, ledger, quarantine) = (model(), CountingLedger::new(), FixedQuarantine::<1>::new());
    let Kept { rmm, mut memory, range } = kept(&model, &ledger, &quarantine);
    let descriptor =
        PaRange::new(range.range().base().checked_add(GRANULE).unwrap(), range.range().top());
    rmm.quarantine(range, REASON);
    // The first granule is given back, and the callback puts memory of its own into the quarantine.
    let left = quarantine.retry(&rmm, |_| {
        let other = rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap();
        rmm.quarantine(other, REASON);
    });
    assert_eq!(left, 1);
    let mut seen = Vec::new();
    quarantine.for_each(|range, _| seen.push(range));
    assert_eq!(seen, [descriptor.unwrap()]);
    // There was no slot for the other one.
    assert_eq!((ledger.balance().quarantined, ledger.balance().leaked), (1, 1));

    // A range that is given back completely leaves its slot before the closure is called.
    let quarantine = FixedQuarantine::<1>::new();
    let one = rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap();
    quarantine.put(Quarantined { memory: one, reason: REASON }).unwrap();
    let mut next = Some(rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap());
    let left = quarantine.retry(&rmm, |_| {
        let memory = next.take().unwrap();
        quarantine.put(Quarantined { memory, reason: REASON }).unwrap();
    });
    assert_eq!(left, 1);
}

#[test]
fn sound_7_what_is_tried_again_is_in_its_place_when_the_closure_panics() {
    let (model, ledger, quarantine) = (model(), CountingLedger::new(), FixedQuarantine::<1>::new());
    let Kept { rmm, range, .. } = kept(&model, &ledger, &quarantine);
    let top = range.range().top();
    rmm.quarantine(range, REASON);
    let retry = AssertUnwindSafe(|| quarantine.retry(&rmm, |_| panic!("a panic on purpose")));
    assert!(catch_unwind(retry).is_err());
    let mut seen = Vec::new();
    quarantine.for_each(|range, reason| seen.push((range.top(), range.bytes(), reason)));
    assert_eq!(seen, [(top, GRANULE, REASON)]);
}

#[test]
fn sound_7_what_was_not_tried_yet_is_still_there_when_the_closure_panics() {
    let (model, quarantine) = (model(), GrowingQuarantine::new());
    let platform = model.host().with_quarantine(&quarantine);
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(platform, &mut memory).unwrap();
    let memory = rmm.delegate(memory.take_front(3 * GRANULE).unwrap()).unwrap();
    let base = memory.base();
    for part in granules(memory) {
        quarantine.put(part).unwrap();
    }
    let retry = AssertUnwindSafe(|| quarantine.retry(&rmm, |_| panic!("a panic on purpose")));
    assert!(catch_unwind(retry).is_err());
    let mut seen = Vec::new();
    quarantine.for_each(|range, _| seen.push(range.base()));
    assert_eq!(seen, [1, 2].map(|n| base.checked_add(n * GRANULE).unwrap()));
    let mut bytes = 0;
    assert_eq!(quarantine.retry(&rmm, |host| bytes += host.bytes()), 0);
    assert_eq!(bytes, 2 * GRANULE);
}

/// A ledger that panics when memory is tried again.
struct Fragile;

impl Ledger for Fragile {
    fn record(&self, event: LedgerEvent, _: PaRange) {
        assert_ne!(event, LedgerEvent::Retried, "a panic on purpose");
    }
}

#[test]
fn sound_7_what_is_tried_again_is_still_there_when_the_ledger_panics() {
    let (model, fixed, growing) = (model(), FixedQuarantine::<2>::new(), GrowingQuarantine::new());
    let mut memory = model.take_memory();
    let mut page = memory.take_front(GRANULE).unwrap();
    let rmm = rmm_model::open(model.host(), &mut page).unwrap();
    // Another session with the same RMM.
    let platform = model.host().with_ledger(Fragile);
    let found = Discovered::probe(platform, SessionOptions::default()).unwrap();
    let fragile = found.configure(&mut page).unwrap().into_active();
    for quarantine in [&fixed as &dyn Quarantine, &growing] {
        let mut memory = rmm.delegate(memory.take_front(3 * GRANULE).unwrap()).unwrap();
        // Two ranges, between which there is other memory.
        let [first, middle, last] = [(); 3].map(|()| memory.take_front(GRANULE).unwrap());
        for memory in [first, last] {
            quarantine.put(Quarantined { memory, reason: REASON }).unwrap();
        }
        let _ = rmm.undelegate(middle).unwrap();
    }

    let mut bytes = 0;
    let retry = AssertUnwindSafe(|| fixed.retry(&fragile, |_| ()));
    assert!(catch_unwind(retry).is_err());
    assert_eq!(fixed.len(), 2);
    assert_eq!(fixed.retry(&rmm, |host| bytes += host.bytes()), 0);
    let retry = AssertUnwindSafe(|| growing.retry(&fragile, |_| ()));
    assert!(catch_unwind(retry).is_err());
    assert_eq!(growing.len(), 2);
    assert_eq!(growing.retry(&rmm, |host| bytes += host.bytes()), 0);
    assert_eq!(bytes, 4 * GRANULE);
}
