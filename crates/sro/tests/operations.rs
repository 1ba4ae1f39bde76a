//! Stateful operations against the model with various options.
// Uses a machine of 1 GiB, which is too large for Miri.
#![cfg(not(miri))]
#![expect(clippy::unwrap_used, reason = "tests")]

use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::Geometry;
use rmi_abi::{Command, Dialect, Status};
use rmi_conduits::counting::Counting;
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::command::Donation;
use rmi_host::{
    CountingLedger, Error, Failed, FixedQuarantine, Host, Platform, Progress, QuarantineReason, Rd,
    Rmm, SessionError, SessionOptions, Undelegated,
};
use rmm_model::{Model, Options};
use sro::{Advance, Donated, FixedPool, GrowingPool, Next, Operation, Pool, RecObject, open};

const GRANULE: u64 = 0x1000;
const DIALECTS: [Dialect; 4] = Options::DIALECTS;

fn params(index: u32) -> RecParams {
    RecParams { runnable: true, mpidr: Mpidr::from_index(index), pc: 0, gprs: [0; 8] }
}

type TestConduit<'m> = Counting<&'m Model>;

/// What a test works with.
struct Fixture<'s, P> {
    rmm: &'s Rmm<P>,
    rd: &'s Rd,
    pool: &'s mut Pool,
    conduit: &'s TestConduit<'s>,
    model: &'s Model,
    ledger: &'s CountingLedger,
}

/// Opens a session with a new Realm and a pool of runs with the given numbers of granules, and
/// checks afterwards that all memory is back.
fn with_fixture<R>(
    options: Options,
    runs: &[u64],
    test: impl FnOnce(
        Fixture<'_, Host<&TestConduit<'_>, &Model, &CountingLedger, &FixedQuarantine<8>>>,
    ) -> R,
) -> R {
    let model = Model::new(options).unwrap();
    let conduit = Counting::new(&model);
    let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<8>::new());
    let mut memory = model.take_memory();
    let total = memory.bytes();
    let mut back = 0;
    let mut give_back = |memory: Undelegated| back += memory.bytes();
    let mut pool = FixedPool::<40>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    // Memory that activation may request, and the memory of the Realm, apart from the pool.
    let mut first = FixedPool::<4>::new();
    first.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    first.add(memory.take_front(16 * GRANULE).unwrap()).unwrap();
    let platform = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let rmm = open(platform, SessionOptions::default(), &mut first).unwrap();
    let roots = rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap();
    let rd = rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap();
    let page =
        RealmParams::new(Geometry::new(40).unwrap(), roots.base()).encode(rmm.dialect()).unwrap();
    let progress = rmm.commands().realm_create(&rd, first.pages().page, &page).unwrap();
    assert!(matches!(progress, Progress::Done(_)));
    let rd = Rd::new(rd);

    for run in runs {
        pool.add(memory.take_front(run * GRANULE).unwrap()).unwrap();
        give_back(memory.take_front(GRANULE).unwrap());
    }
    let result = test(Fixture {
        rmm: &rmm,
        rd: &rd,
        pool: &mut pool,
        conduit: &conduit,
        model: &model,
        ledger: &ledger,
    });

    rmm.commands().realm_terminate(&rd).unwrap();
    assert!(matches!(rmm.commands().realm_destroy(&rd).unwrap(), Progress::Done(_)));
    for memory in [rd.into_released(), roots] {
        give_back(rmm.undelegate(memory).unwrap());
    }
    pool.drain(&rmm, &mut give_back);
    first.drain(&rmm, &mut give_back);
    give_back(memory);
    assert_eq!(back, total);
    assert_eq!(ledger.balance().outstanding(), 0);
    assert!(quarantine.is_empty());
    assert_eq!(model.open_operations(), 0);
    assert_eq!(model.census().undelegated, model.census().total);
    result
}

#[test]
fn memory_may_be_scattered() {
    for dialect in DIALECTS {
        // Seventeen runs of one granule: the most that a REC can consist of. One list describes
        // them all.
        with_fixture(Options::new(dialect), &[1; 17], |fixture| {
            let rec = RecObject::create(fixture.rmm, fixture.rd, fixture.pool, &params(0)).unwrap();
            assert_eq!(rec.donated_bytes(), 16 * GRANULE);
            assert_eq!(fixture.conduit.counts(Command::OpMemDonate, dialect).issued, 1);
            rec.destroy(fixture.rmm, fixture.pool).unwrap();
        });
    }
}

#[test]
fn memory_may_have_to_be_contiguous() {
    for dialect in DIALECTS {
        let mut options = Options::new(dialect);
        options.contiguous_donations = true;
        with_fixture(options.clone(), &[3, 48], |fixture| {
            let rec = RecObject::create(fixture.rmm, fixture.rd, fixture.pool, &params(0)).unwrap();
            rec.destroy(fixture.rmm, fixture.pool).unwrap();
        });
        // Enough memory, but no contiguous run of 16 granules that is aligned to 16: the operation
        // is cancelled, and all memory is returned.
        options.can_cancel = true;
        with_fixture(options, &[8, 8, 8], |fixture| {
            let error =
                RecObject::create(fixture.rmm, fixture.rd, fixture.pool, &params(0)).unwrap_err();
            assert!(matches!(error, Error::NeedMemory { alignment: 0x10000, .. }), "{error}");
            assert_eq!(error.command(), Some(Command::RecCreate));
        });
    }
}

/// An operation with a contiguous request that can be neither met nor cancelled cannot be ended:
/// the only offer that an RMM must refuse would have to include memory that the host does not own.
/// The operation stays in the RMM, the ledger records it, and the REC's granule is in quarantine.
#[test]
fn an_operation_that_cannot_be_ended_is_reported() {
    let mut options = Options::new(Dialect::TfRmm2026_07);
    options.contiguous_donations = true;
    let model = Model::new(options).unwrap();
    let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<8>::new());
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    for _ in 0..3 {
        pool.add(memory.take_front(8 * GRANULE).unwrap()).unwrap();
        let _ = memory.take_front(GRANULE).unwrap().into_raw();
    }
    let platform = model.host().with_ledger(&ledger).with_quarantine(&quarantine);
    let rmm = test_support::open(platform, &mut pool);
    let rd = Rd::new(rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap());
    let error = RecObject::create(&rmm, &rd, &mut pool, &params(0)).unwrap_err();
    assert!(!error.is_clean(), "{error}");
    let Error::Abandoned { missing, .. } = error else { panic!("{error}") };
    assert_eq!(missing, 16 * GRANULE);
    assert_eq!((model.open_operations(), ledger.balance().dropped_operations), (1, 1));
    let mut reasons = Vec::new();
    quarantine.for_each(|range, reason| reasons.push((range.bytes(), reason)));
    assert_eq!(
        reasons,
        [(GRANULE, QuarantineReason::NotDestroyed { command: Command::RecDestroy })]
    );
    let _ = rd.into_released();
    pool.drain(&rmm, &mut |_| {});
}

#[test]
fn a_short_pool_is_refused_before_the_first_call() {
    for dialect in DIALECTS {
        with_fixture(Options::new(dialect), &[10, 6], |fixture| {
            let before = fixture.conduit.total();
            let error =
                RecObject::create(fixture.rmm, fixture.rd, fixture.pool, &params(0)).unwrap_err();
            assert_eq!(error, Error::need_memory(Command::RecCreate, GRANULE, GRANULE));
            assert_eq!(fixture.conduit.total(), before, "no call was made");
        });
    }
}

#[test]
fn an_rmm_that_wants_more_than_ever_is_cancelled_or_refused() {
    for dialect in DIALECTS {
        for can_cancel in [false, true] {
            let mut options = Options::new(dialect);
            options.rec_aux_granules = 24;
            options.can_cancel = can_cancel;
            with_fixture(options, &[20], |fixture| {
                // 16 granules is what RMMs are known to request.
                assert_eq!(fixture.pool.reserve_for(Command::RecCreate), 16 * GRANULE);
                let error = RecObject::create(fixture.rmm, fixture.rd, fixture.pool, &params(0))
                    .unwrap_err();
                assert_eq!(error, Error::need_memory(Command::RecCreate, 5 * GRANULE, GRANULE));
                let cancelled = fixture.conduit.counts(Command::OpCancel, dialect).issued;
                assert_eq!(cancelled, u64::from(can_cancel), "{dialect}");
                assert_eq!(fixture.model.open_operations(), 0);
            });
        }
    }
}

#[test]
fn the_pool_records_what_is_requested() {
    let mut options = Options::new(Dialect::TfRmm2026_07);
    options.rec_aux_granules = 24;
    with_fixture(options, &[30], |fixture| {
        let rec = RecObject::create(fixture.rmm, fixture.rd, fixture.pool, &params(0)).unwrap();
        assert_eq!(fixture.pool.reserve_for(Command::RecCreate), 24 * GRANULE);
        // From now on a short pool is refused before the first call.
        let before = fixture.conduit.total();
        let error =
            RecObject::create(fixture.rmm, fixture.rd, fixture.pool, &params(1)).unwrap_err();
        assert_eq!(error, Error::need_memory(Command::RecCreate, 20 * GRANULE, GRANULE));
        assert_eq!(fixture.conduit.total(), before);
        rec.destroy(fixture.rmm, fixture.pool).unwrap();
    });
}

#[test]
fn a_creation_that_fails_late_gives_its_memory_back() {
    for dialect in DIALECTS {
        with_fixture(Options::new(dialect), &[40], |fixture| {
            // TF-RMM checks the MPIDR only after it has taken the memory.
            let error =
                RecObject::create(fixture.rmm, fixture.rd, fixture.pool, &params(7)).unwrap_err();
            assert_eq!(error.status(), Some(Status::ErrorInput));
            assert!(error.is_clean());
            let balance = fixture.ledger.balance();
            assert_eq!((balance.donated, balance.reclaimed), (16, 16));
        });
    }
}

#[test]
fn an_operation_can_be_parked_and_resumed_elsewhere() {
    with_fixture(Options::new(Dialect::TfRmm2026_07), &[40], |fixture| {
        let Fixture { rmm, rd, pool, .. } = fixture;
        let rec = pool.take(rmm, Command::RecCreate, GRANULE, GRANULE).unwrap();
        let progress =
            rmm.commands().rec_create(rd, &rec, pool.pages().page, &params(0).encode()).unwrap();
        let Advance::Again(mut operation) = Operation::take_up(rmm, progress) else {
            unreachable!()
        };
        let mut donated = Donated::default();
        let Next::Need(need) = operation.next().unwrap() else { unreachable!() };
        // Ten granules first, on one thread; six later, on another.
        for part in [10, need.bytes / GRANULE - 10] {
            let parked = std::thread::scope(|scope| {
                scope
                    .spawn(|| {
                        let mut batch =
                            [pool.take(rmm, Command::RecCreate, part * GRANULE, GRANULE).unwrap()];
                        let list = pool.pages().list;
                        let _ =
                            operation.donate(list, &mut batch, need.block, &mut donated).unwrap();
                        operation.park().unwrap()
                    })
                    .join()
                    .unwrap()
            });
            assert_eq!(parked.command(), Command::RecCreate);
            operation = parked.resume(rmm);
        }
        assert_eq!(operation.next().unwrap(), Next::Continue);
        assert!(matches!(operation.proceed(), Ok(Advance::Done(_))));
        let rec = rmi_host::RecGranule::new(rec);
        let progress = rmm.commands().rec_destroy(&rec).unwrap();
        sro::drive(rmm, pool, &mut donated, progress).unwrap();
        pool.put_back(rmm, rec.into_released());
    });
}

/// Tokens that are offered stay with their owner as far as the RMM does not take them, and no more
/// of them are offered than the record has slots for.
#[test]
fn what_is_offered_and_not_taken_stays_in_its_token() {
    with_fixture(Options::new(Dialect::TfRmm2026_07), &[40], |fixture| {
        let Fixture { rmm, rd, pool, model, .. } = fixture;
        let rec = pool.take(rmm, Command::RecCreate, GRANULE, GRANULE).unwrap();
        let progress =
            rmm.commands().rec_create(rd, &rec, pool.pages().page, &params(0).encode()).unwrap();
        let Advance::Again(mut operation) = Operation::take_up(rmm, progress) else {
            unreachable!()
        };
        let Next::Need(need) = operation.next().unwrap() else { unreachable!() };
        assert_eq!(need.bytes, 16 * GRANULE);
        let mut donated = Donated::default();
        let take = |pool: &mut Pool, granules: u64| {
            pool.take(rmm, Command::RecCreate, granules * GRANULE, GRANULE).unwrap()
        };

        let mut many = [(); Donated::RANGES + 1].map(|()| take(pool, 1));
        let calls = model.calls();
        let refused = operation.donate(pool.pages().list, &mut many, need.block, &mut donated);
        let bytes = many.len() as u64 * GRANULE;
        assert!(
            matches!(refused, Err(Error::NeedMemory { bytes: missing, .. }) if missing == bytes)
        );
        assert_eq!(model.calls(), calls);
        assert!(many.iter().all(|token| token.bytes() == GRANULE) && donated.is_empty());

        // As many as it has slots for, but more memory than was asked for: the RMM refuses all.
        let [first, rest @ ..] = &mut many;
        pool.put_back(rmm, core::mem::take(first));
        let [.., last] = rest;
        let one = core::mem::replace(last, take(pool, 5));
        let refused = operation.donate(pool.pages().list, rest, need.block, &mut donated).unwrap();
        assert!(matches!(refused, Donation::Refused(_)), "{refused:?}");
        assert_eq!(rest.iter().map(|token| token.bytes()).sum::<u64>(), 20 * GRANULE);
        let [.., last] = rest;
        pool.put_back(rmm, core::mem::replace(last, one));

        let taken = operation.donate(pool.pages().list, rest, need.block, &mut donated).unwrap();
        assert_eq!(taken, Donation::Taken(16 * GRANULE));
        assert!(!donated.is_empty() && rest.iter().all(|token| token.is_empty()));
        assert_eq!(donated.bytes(), 16 * GRANULE);

        assert!(matches!(operation.proceed(), Ok(Advance::Done(_))));
        let rec = rmi_host::RecGranule::new(rec);
        let progress = rmm.commands().rec_destroy(&rec).unwrap();
        sro::drive(rmm, pool, &mut donated, progress).unwrap();
        pool.put_back(rmm, rec.into_released());
    });
}

#[test]
fn a_dropped_operation_is_in_the_ledger() {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut take = |bytes| memory.take_front(bytes).unwrap();
    let mut pool = FixedPool::<4>::new();
    pool.add(take(Pool::PAGES)).unwrap();
    let platform = model.host().with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);
    let rec = rmm.delegate(take(GRANULE)).unwrap();
    let rd = Rd::new(rmm.delegate(take(GRANULE)).unwrap());
    let progress =
        rmm.commands().rec_create(&rd, &rec, pool.pages().page, &params(0).encode()).unwrap();
    let Advance::Again(operation) = Operation::take_up(&rmm, progress) else { unreachable!() };
    assert_eq!(ledger.balance().dropped_operations, 0);
    operation.abandon();
    assert_eq!(ledger.balance().dropped_operations, 1);
    assert_eq!(model.open_operations(), 1);
    // The objects of the operation are lost to the host permanently; this test ends here.
    assert_eq!(rmm.undelegate(rec).unwrap_err().error.status(), Some(Status::ErrorInput));
}

#[test]
fn activation_takes_host_memory() {
    for donates in [0, 1, 16] {
        let mut options = Options::new(Dialect::V2_0Bet3);
        options.rmm_activate_donates = donates;
        let model = Model::new(options).unwrap();
        let ledger = CountingLedger::new();
        let mut memory = model.take_memory();
        let mut pool = test_support::pool::<4>(&mut memory, 8 * GRANULE);
        let platform = model.host().with_ledger(&ledger);
        match open(platform, SessionOptions::default(), &mut pool) {
            Ok(session) => {
                assert!(donates <= 8 && !session.was_active());
                assert_eq!(session.donated().bytes(), u64::from(donates) * GRANULE);
                assert_eq!(ledger.balance().outstanding(), u64::from(donates));
                // A second session finds the RMM active.
                let again = open(*session.platform(), SessionOptions::default(), &mut pool);
                assert!(again.unwrap().was_active());
                drop(session);
            }
            Err(failed) => {
                assert_eq!(donates, 16);
                // The activation cannot be cancelled, and there is no offer whose refusal would end
                // it.
                let abandoned = matches!(failed.error, SessionError::Call(Error::Abandoned { .. }));
                assert!(abandoned, "{}", failed.error);
                assert_eq!(pool.bytes(), (8 * GRANULE, 0));
                // The RMM is between its states, which must not be mistaken for active.
                let again = open(failed.kept, SessionOptions::default(), &mut pool);
                let SessionError::Call(error) = again.unwrap_err().error else { panic!() };
                assert_eq!(error.status(), Some(Status::ErrorGlobal), "{error}");
            }
        }
        pool.drain_host(&mut |_| {});
    }
}

/// "Another agent has activated it" is one status, and no other.
#[test]
fn a_refused_activation_opens_no_session() {
    let dialect = Dialect::TfRmm2026_07;
    for (refusal, opens) in [(Status::ErrorInput, false), (Status::ErrorGlobal, true)] {
        let model = test_support::model(dialect);
        let rule = Rule::command(Command::RmmActivate, dialect);
        let line = Injecting::by_rule(&model, rule, Fault::status(refusal));
        let mut memory = model.take_memory();
        let mut pool = FixedPool::<4>::new();
        pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
        match open(Host::new(&line, &model), SessionOptions::default(), &mut pool) {
            Ok(session) => assert!(opens && session.was_active()),
            Err(Failed { error: SessionError::Call(error), .. }) => {
                assert_eq!((error.status(), opens), (Some(refusal), false));
            }
            Err(Failed { error, .. }) => panic!("{error}"),
        }
    }
}

#[test]
fn any_platform_is_accepted() {
    /// The operations require no more of a platform than the trait states.
    fn needs_platform<P: Platform>(rmm: &Rmm<P>) -> u64 {
        rmm.granule_size().bytes()
    }
    with_fixture(Options::new(Dialect::V2_0Bet3), &[1], |fixture| {
        assert_eq!(needs_platform(fixture.rmm), GRANULE)
    });
}

#[test]
fn deactivation_gives_everything_back() {
    let mut options = Options::new(Dialect::V2_0Bet3);
    options.rmm_activate_donates = 6;
    let model = Model::new(options).unwrap();
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<4>(&mut memory, 16 * GRANULE);
    let platform = model.host().with_ledger(&ledger);
    let mut platform = platform;
    for _ in 0..3 {
        let session = test_support::open(platform, &mut pool);
        assert_eq!(session.donated().bytes(), 6 * GRANULE);
        // Something is left: closing is refused, and the session continues.
        let granule = session.delegate(memory.take_front(GRANULE).unwrap()).unwrap();
        let failed = session.close(&mut pool).unwrap_err();
        assert_eq!(failed.error.status(), Some(Status::ErrorGlobal));
        let session = failed.kept;
        let _ = session.undelegate(granule).unwrap().into_raw();
        // The pool's delegated memory is undelegated first.
        pool.prefill(&session, 3 * GRANULE, GRANULE).unwrap();
        let closed = session.close(&mut pool).unwrap();
        assert!(closed.deactivated && closed.kept.is_empty());
        platform = closed.platform;
        assert_eq!(pool.bytes(), (16 * GRANULE, 0));
        assert_eq!(ledger.balance().outstanding(), 0);
    }
    pool.drain_host(&mut |_| {});
}

#[test]
fn an_older_dialect_stays_active_and_the_session_says_so() {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<4>(&mut memory, 4 * GRANULE);
    let session = test_support::open(model.host(), &mut pool);
    pool.prefill(&session, 3 * GRANULE, GRANULE).unwrap();
    let closed = session.close(&mut pool).unwrap();
    assert_eq!(pool.bytes(), (4 * GRANULE, 0));
    assert!(!closed.deactivated && closed.kept.is_empty());
    // What another agent activated stays active, in any dialect.
    let mut options = Options::new(Dialect::V2_0Bet3);
    options.already_active = true;
    let other = Model::new(options).unwrap();
    let mut memory = other.take_memory();
    let mut pool = FixedPool::<4>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    let session = test_support::open(other.host(), &mut pool);
    assert!(session.was_active());
    assert!(!session.close(&mut pool).unwrap().deactivated);
    pool.drain_host(&mut |_| {});
}

#[cfg(feature = "alloc")]
#[test]
fn a_growing_pool_takes_any_number_of_runs() {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let mut memory = model.take_memory();
    let mut pool = GrowingPool::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    for _ in 0..500 {
        pool.add(memory.take_front(GRANULE).unwrap()).unwrap();
        let _ = memory.take_front(GRANULE).unwrap().into_raw();
    }
    let rmm = test_support::open(model.host(), &mut pool);
    for _ in 0..300 {
        pool.prefill(&rmm, GRANULE, GRANULE).unwrap();
    }
    assert_eq!(pool.bytes(), (200 * GRANULE, 300 * GRANULE));
    let mut back = 0;
    pool.drain(&rmm, &mut |memory| back += memory.bytes());
    assert_eq!(back, 502 * GRANULE);
}

#[test]
fn a_session_serves_all_cpus() {
    fn all_cpus<T: Sync + Send>(_: &T) {}
    with_fixture(Options::new(Dialect::V2_0Bet3), &[1], |fixture| {
        all_cpus(fixture.rmm);
        all_cpus(fixture.rd);
    });
}
