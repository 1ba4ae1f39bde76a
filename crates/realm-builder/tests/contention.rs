//! Two threads that want the same memory: the second waits as long as its budget allows, and then
//! gets a result that no handler treats as a failure.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::time::Duration;

use realm_builder::{
    Active, BuildError, Realm, RealmConfig, RealmStorage, RecStart, Reclaimed, Served,
};
use rmi_abi::rtt::Ripas;
use rmi_abi::{Command, Dialect, Ipa, IpaRange, Status};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::command::{S2apProgress, SharedAccess};
use rmi_host::{
    CountingLedger, Error, Host, RecName, Registers, RetryBudget, SessionOptions, Undelegated,
};
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool, Pool, open};

const D: Dialect = Dialect::TfRmm2026_07;
const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;

type TestConduit<'m> = Injecting<&'m Model, fn(&Registers) -> bool>;
type Machine<'p> = Host<&'p TestConduit<'p>, &'p Model, &'p CountingLedger>;

thread_local! {
    /// Calls of `relax`.
    static PAUSES: Cell<u32> = const { Cell::new(0) };
    /// Time by a clock that advances by a millisecond at each reading.
    static TIME: Cell<u64> = const { Cell::new(0) };
}

fn pause() {
    PAUSES.set(PAUSES.get() + 1);
}

fn clock() -> Duration {
    TIME.set(TIME.get() + 1);
    Duration::from_millis(TIME.get())
}

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

/// Calls `act` with a Realm that has 2 MiB of pages at 0, two pools and memory.
fn with_realm(
    retry_budget: RetryBudget,
    (rule, fault): (Rule, Fault),
    act: impl FnOnce(
        &Realm<'_, Machine<'_>, Active>,
        [&mut FixedPool<16>; 2],
        &mut Undelegated,
        &TestConduit<'_>,
        RecName<'_>,
    ),
) {
    let model = Model::new(Options::new(D).range_capable()).unwrap();
    let conduit = Injecting::by_rule(&model, rule, fault);
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let (mut pool, mut other) = (FixedPool::<16>::new(), FixedPool::<16>::new());
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    other.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(64 * PAGE).unwrap()).unwrap();
    other.add(memory.take_front(8 * PAGE).unwrap()).unwrap();
    let platform =
        Host::new(&conduit, &model).with_ledger(&ledger).with_relax(pause).with_clock(clock);
    let mut session = SessionOptions::default();
    session.retry_budget = retry_budget;
    let rmm = open(platform, session, &mut pool).unwrap();
    let mut storage = RealmStorage::<16, 4>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let mut realm = realm.populated();
    let start = RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] };
    let rec = realm.create_rec(&mut pool, &start).unwrap();
    let name = rec.name();
    let realm = realm.activate().unwrap();
    act(&realm, [&mut pool, &mut other], &mut memory, &conduit, name);
    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), [rec]).error, None);
    other.drain(&rmm, &mut |_| {});
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
}

fn never() -> (Rule, Fault) {
    (Rule::any().nth(u64::MAX), Fault::status(Status::Busy))
}

#[test]
fn a_fault_where_another_thread_is_at_work_means_enter_again() {
    let retry_budget = RetryBudget { contended: 1000, ..RetryBudget::default() };
    with_realm(retry_budget, never(), |realm, [pool, other], memory, conduit, _| {
        // The range is claimed while the supply is asked for memory.
        let (at, window) = (Ipa::new(PAGE), range(0, BLOCK));
        let mut asked = 0;
        let supply = |void: IpaRange| {
            asked += 1;
            if asked == 1 {
                let (before, calls) = (PAUSES.get(), conduit.calls());
                let page = Ipa::new(7 * PAGE);
                let served = realm.serve_fault(
                    &mut CallbackMemory::new(other, |_| unreachable!(), |_| Ok(())),
                    page,
                    window,
                );
                assert_eq!(served, Ok(Served::Contended(window)));
                assert_eq!(PAUSES.get() - before, 1000);
                let back = realm.reclaim(
                    &mut CallbackMemory::freeing(other, |_| unreachable!()),
                    range(0, PAGE),
                );
                assert_eq!(back, Ok(Reclaimed::Contended(range(0, PAGE))));
                assert_eq!(PAUSES.get() - before, 2000);
                assert_eq!(conduit.calls(), calls, "a call was made");
            }
            memory.take_front(void.bytes())
        };
        let served =
            realm.serve_fault(&mut CallbackMemory::new(pool, supply, |_| Ok(())), at, window);
        assert_eq!(served, Ok(Served::Mapped(window)));
        // Once the other thread is done, the second fault is served.
        let served = realm.serve_fault(
            &mut CallbackMemory::new(other, |_| unreachable!(), |_| Ok(())),
            at,
            window,
        );
        assert_eq!(served, Ok(Served::Present));
    });
}

#[test]
fn access_is_not_changed_where_a_fault_is_being_served() {
    let retry_budget = RetryBudget { contended: 1000, ..RetryBudget::default() };
    with_realm(retry_budget, never(), |realm, [pool, other], memory, conduit, _| {
        let (window, alias) = (range(0, BLOCK), range(1 << 39, 8 * PAGE));
        let granules = memory.take_front(alias.bytes()).unwrap();
        realm.share(pool, alias.base(), granules, SharedAccess::MEMORY).unwrap();
        // With a table beside the window, no more than the window is claimed.
        realm.map(pool, Ipa::new(BLOCK), memory.take_front(PAGE).unwrap()).unwrap();
        let supply = |void: IpaRange| {
            let calls = conduit.calls();
            let stopped = realm.reshare(other, alias, SharedAccess::MEMORY).unwrap_err();
            assert_eq!(stopped.reached, alias.base());
            let BuildError::Contended { range: contended, .. } = stopped.error else {
                panic!("{stopped}")
            };
            assert_eq!(contended, range(0, alias.bytes()));
            assert_eq!(conduit.calls(), calls, "a call was made");
            // Elsewhere it is.
            realm.reshare(other, range((1 << 39) + BLOCK, PAGE), SharedAccess::MEMORY).unwrap();
            memory.take_front(void.bytes())
        };
        let fault = Ipa::new(9 * PAGE);
        let served =
            realm.serve_fault(&mut CallbackMemory::new(pool, supply, |_| Ok(())), fault, window);
        let rest = range(alias.bytes(), BLOCK - alias.bytes());
        assert_eq!(served, Ok(Served::Mapped(rest)));
        realm.reshare(other, alias, SharedAccess::MEMORY).unwrap();
        assert_eq!(realm.shared_bytes(), alias.bytes());
    });
}

#[test]
fn a_change_where_another_thread_is_at_work_changes_nothing() {
    let retry_budget = RetryBudget { contended: 1000, ..RetryBudget::default() };
    with_realm(retry_budget, never(), |realm, [pool, other], memory, conduit, rec| {
        let window = range(0, BLOCK);
        let supply = |void: IpaRange| {
            let (before, calls) = (PAUSES.get(), conduit.calls());
            // Partly in the range that the other thread has claimed: all of it waits.
            let asked = range(PAGE, 2 * BLOCK);
            let reached = realm.set_ripas_to(other, rec, asked, Ripas::Ram, u32::MAX);
            assert_eq!(reached, Ok(asked.base()));
            assert_eq!(realm.set_ripas(other, rec, asked, u32::MAX), Ok(asked.base()));
            let changed = realm.set_s2ap(other, rec, asked, u32::MAX);
            assert_eq!(changed, Ok(S2apProgress { top: asked.base(), tree: 0 }));
            assert_eq!((PAUSES.get() - before, conduit.calls() - calls), (3000, 0));
            memory.take_front(void.bytes())
        };
        realm
            .serve_fault(&mut CallbackMemory::new(pool, supply, |_| Ok(())), Ipa::new(0), window)
            .unwrap();
        // Now the RMM says that no REC has asked for that.
        let stopped = realm.set_ripas(other, rec, range(0, PAGE), 1).unwrap_err();
        assert!(matches!(stopped.error, BuildError::Call(_)), "{stopped}");
    });
}

#[test]
fn a_caller_that_may_not_wait_does_not() {
    with_realm(RetryBudget::NONE, never(), |realm, [pool, other], memory, _, _| {
        let window = range(0, BLOCK);
        let supply = |void: IpaRange| {
            let before = PAUSES.get();
            let back = realm
                .reclaim(&mut CallbackMemory::freeing(other, |_| unreachable!()), range(0, PAGE));
            assert_eq!(back, Ok(Reclaimed::Contended(range(0, PAGE))));
            assert_eq!(PAUSES.get(), before);
            memory.take_front(void.bytes())
        };
        realm
            .serve_fault(&mut CallbackMemory::new(pool, supply, |_| Ok(())), Ipa::new(0), window)
            .unwrap();
    });
}

#[test]
fn a_wait_ends_when_its_time_is_over() {
    let time = Some(Duration::from_millis(20));
    let retry_budget =
        RetryBudget { busy: u32::MAX, contended: u32::MAX, time, ..RetryBudget::default() };
    let busy = Fault::status(Status::Busy);
    let rule = Rule::command(Command::RttReadEntry, D);
    with_realm(retry_budget, (rule, busy), |realm, [pool, other], memory, conduit, _| {
        let window = range(0, BLOCK);
        let supply = |void: IpaRange| {
            let before = TIME.get();
            let back = realm
                .reclaim(&mut CallbackMemory::freeing(other, |_| unreachable!()), range(0, PAGE));
            assert_eq!(back, Ok(Reclaimed::Contended(range(0, PAGE))));
            // Read once at the start, and then until 20 ms have passed.
            assert_eq!(TIME.get() - before, 21);
            memory.take_front(void.bytes())
        };
        realm
            .serve_fault(&mut CallbackMemory::new(pool, supply, |_| Ok(())), Ipa::new(0), window)
            .unwrap();
        // A busy RMM is waited for as long.
        let (before, calls) = (TIME.get(), conduit.calls());
        let read =
            realm.rmm().commands().rtt_read_entry(realm.rd(), Ipa::new(0), rmi_abi::rtt::Level::L3);
        assert!(
            matches!(read, Err(error @ Error::Exhausted { .. })
                if error.status() == Some(Status::Busy)),
            "{read:?}"
        );
        assert_eq!((TIME.get() - before, conduit.calls() - calls), (21, 21));
    });
}
