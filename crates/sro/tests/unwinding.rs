//! Code of the embedder that panics during a donation, and an RMM that takes what it must refuse.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use rmi_abi::desc::BlockSize;
use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::Geometry;
use rmi_abi::{Command, Dialect, PaRange};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::{
    CountingLedger, Delegated, Discovered, Error, Host, Ledger, LedgerEvent, Platform, Progress,
    Rd, Rmm, SessionOptions, Undelegated, Violation,
};
use rmm_model::{GranuleState, Model, Options};
use sro::{Advance, Donated, Operation, drive};

const GRANULE: u64 = 0x1000;

/// Panics at the event with the given number, counted from 1; never for 0.
#[derive(Debug, Default)]
struct Fuse(AtomicU64);

impl Ledger for Fuse {
    fn record(&self, _: LedgerEvent, _: PaRange) {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        assert_ne!(left, 1, "a panic on purpose");
    }
}

/// Each event of a donation panics once; each time the record contains what the RMM has.
#[test]
fn sound_1_what_the_rmm_took_is_in_the_record_when_the_ledger_panics() {
    for at in if cfg!(miri) { 2..=2 } else { 1..=4 } {
        let mut options = Options::new(Dialect::V2_0Bet3);
        options.rmm_activate_donates = 4;
        let (model, ledger) = (Model::new(options).unwrap(), Fuse::default());
        let mut memory = model.take_memory();
        let platform = model.host().with_ledger(&ledger);
        let found = Discovered::probe(platform, SessionOptions::default()).unwrap();
        let configured = found.configure(&mut memory).unwrap();
        let started = configured.start_activation().unwrap();
        let rmm = configured.into_active();
        let Advance::Again(mut operation) = Operation::take_up(&rmm, started) else {
            panic!("it wants memory")
        };
        let mut list = memory.take_front(GRANULE).unwrap();
        let mut offer = [0; 2].map(|_| {
            let _ = memory.take_front(GRANULE).unwrap().into_raw();
            memory.take_front(2 * GRANULE).unwrap()
        });
        let [first, second] = [0, 1].map(|n: usize| offer[n].range());
        let mut donated = Donated::default();
        ledger.0.store(at, Ordering::Relaxed);
        let donation = catch_unwind(AssertUnwindSafe(|| {
            operation.donate(&mut list, &mut offer, BlockSize::Page, &mut donated)
        }));
        assert!(donation.is_err(), "{at}");
        let taken: Vec<PaRange> = donated.iter().collect();
        assert_eq!(taken, [first, second], "{at}");
        assert!(offer.iter().all(Undelegated::is_empty), "{at}");
        for range in taken {
            assert_eq!(model.granule_state(range.base()), Some(GranuleState::Internal));
        }
        // The operation is in its previous state, and continues.
        assert!(matches!(operation.proceed(), Ok(Advance::Done(_))));
    }
}

fn granule(rmm: &Rmm<impl Platform>, memory: &mut Undelegated) -> Delegated {
    rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap()
}

/// If a pool is short, the page of its address list is offered. If the RMM takes that page, the
/// pool uses another, and the page is in the record.
#[test]
#[cfg_attr(miri, ignore = "a minute, and `sro` has no unsafe code")]
fn sound_9_a_list_page_that_the_rmm_takes_is_used_no_more() {
    let dialect = Dialect::TfRmm2026_07;
    let model = test_support::model(dialect);
    // "Go on, I took one granule."
    let taken = [0xd, 1, 0, 0, 0, 0, 0, 0];
    let rule = Rule::command(Command::OpMemDonate, dialect);
    let conduit = Injecting::by_rule(&model, rule, Fault::Instead(taken));
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let platform = Host::new(&conduit, &model).with_ledger(&ledger);
    let rmm = rmm_model::open(platform, &mut memory).unwrap();
    let (rd, root) = (granule(&rmm, &mut memory), granule(&rmm, &mut memory));
    let mut page = memory.take_front(GRANULE).unwrap();
    let params = RealmParams::new(Geometry::new(40).unwrap(), root.base()).encode(dialect).unwrap();
    assert!(matches!(rmm.commands().realm_create(&rd, &mut page, &params), Ok(Progress::Done(_))));
    let rd = Rd::new(rd);

    let mut pool = test_support::pool::<8>(&mut memory, 2 * GRANULE);
    let rec = granule(&rmm, &mut memory);
    let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
    let started = rmm.commands().rec_create(&rd, &rec, &mut page, &params.encode()).unwrap();
    let list = pool.pages().list.range();
    let before = ledger.balance();
    let mut donated = Donated::default();
    let error = drive(&rmm, &mut pool, &mut donated, started).unwrap_err();
    let count = Violation::Count;
    assert!(matches!(error, Error::Violation { violation, .. } if violation == count), "{error}");
    assert_eq!(donated.iter().collect::<Vec<_>>(), [list]);
    let after = ledger.balance();
    assert_eq!((after.delegated, after.donated), (before.delegated + 1, before.donated + 1));
    let new = pool.pages().list.range();
    assert_eq!((new.bytes(), new.intersection(&list)), (GRANULE, None));
    assert_eq!(pool.bytes().0, GRANULE);
}

/// An unknown status may mean anything.
#[test]
#[cfg_attr(miri, ignore = "a minute, and `sro` has no unsafe code")]
fn sound_1_an_unknown_status_is_no_refusal_of_a_donation() {
    let mut options = Options::new(Dialect::V2_0Bet3);
    options.rmm_activate_donates = 4;
    let model = Model::new(options).unwrap();
    let rule = Rule::command(Command::OpMemDonate, Dialect::V2_0Bet3);
    let conduit = Injecting::by_rule(&model, rule, Fault::Instead([99, 0, 0, 0, 0, 0, 0, 0]));
    let mut memory = model.take_memory();
    let found = Discovered::probe(Host::new(&conduit, &model), SessionOptions::default()).unwrap();
    let configured = found.configure(&mut memory).unwrap();
    let started = configured.start_activation().unwrap();
    let rmm = configured.into_active();
    let mut pool = test_support::pool::<8>(&mut memory, 4 * GRANULE);
    let mut donated = Donated::default();
    let error = drive(&rmm, &mut pool, &mut donated, started).unwrap_err();
    assert!(!error.is_clean(), "{error}");
    assert_eq!((donated.bytes(), pool.bytes().0), (4 * GRANULE, 0));
}
