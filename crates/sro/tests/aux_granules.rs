//! RECs of RMI 1.0, whose auxiliary granules come from the pool and go back to it.
#![cfg(not(miri))] // Slow, and `sro` has no unsafe code.
#![expect(clippy::unwrap_used, reason = "tests")]

use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::Geometry;
use rmi_abi::{Command, Dialect, Status};
use rmi_conduits::counting::Counting;
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::{CountingLedger, Error, Host, Rd, Registers, Undelegated, Violation};
use rmm_model::{Model, Options};
use sro::{FixedPool, Pool, RecObject};

const DIALECT: Dialect = Dialect::V1_0;
const GRANULE: u64 = 0x1000;

type Line<'m> = Injecting<&'m Model, fn(&Registers) -> bool>;
type Rmm<'c, 'm> = rmi_host::Rmm<Host<&'c Counting<Line<'m>>, &'m Model, &'c CountingLedger>>;

fn params(index: u32) -> RecParams {
    RecParams { runnable: true, mpidr: Mpidr::from_index(index), pc: 0, gprs: [0; 8] }
}

/// A new Realm on an RMM that wants so many auxiliary granules for a REC, an empty pool with its
/// pages, and memory.
fn with(
    aux: u16,
    (rule, fault): (Rule, Fault),
    test: impl FnOnce(&Rmm<'_, '_>, &Rd, &mut FixedPool<32>, Undelegated, &dyn Fn(Command) -> u64),
) {
    let mut options = Options::new(DIALECT);
    options.rec_aux_granules = aux;
    let model = Model::new(options).unwrap();
    let conduit = Counting::new(Injecting::by_rule(&model, rule, fault));
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(Host::new(&conduit, &model).with_ledger(&ledger), &mut memory);
    let rmm = rmm.unwrap();
    let mut granule = || rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap();
    let (rd, root) = (granule(), granule());
    let mut page = memory.take_front(GRANULE).unwrap();
    let page_of = RealmParams::new(Geometry::new(40).unwrap(), root.base()).encode(DIALECT);
    let _ = rmm.commands().realm_create(&rd, &mut page, &page_of.unwrap()).unwrap();
    let rd = Rd::new(rd);
    let mut pool = FixedPool::<32>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    let issued = |command| conduit.counts(command, DIALECT).issued;
    test(&rmm, &rd, &mut pool, memory, &issued);
    pool.drain(&rmm, &mut |_| ());
    let _ = rmm.commands().realm_destroy(&rd).unwrap();
    for granule in [rd.into_released(), root] {
        let _ = rmm.undelegate(granule).unwrap();
    }
    assert_eq!(ledger.balance().outstanding(), 0, "{}", ledger.balance());
}

fn never() -> (Rule, Fault) {
    (Rule::any().nth(u64::MAX), Fault::Instead([0; 8]))
}

#[test]
fn a_rec_is_made_and_destroyed_by_one_call_each() {
    with(16, never(), |rmm, rd, pool, mut memory, issued| {
        // No two granules touch.
        for _ in 0..17 {
            pool.add(memory.take_front(GRANULE).unwrap()).unwrap();
            let _ = memory.take_front(GRANULE).map(Undelegated::into_raw);
        }
        let delegated = issued(Command::GranuleDelegate);
        let first = RecObject::create(rmm, rd, pool, &params(0)).unwrap();
        assert_eq!((first.donated_bytes(), pool.bytes()), (16 * GRANULE, (0, 0)));
        assert_eq!(issued(Command::GranuleDelegate) - delegated, 17);
        assert_eq!(issued(Command::RecCreate), 1);

        pool.add(memory.take_front(17 * GRANULE).unwrap()).unwrap();
        let second = RecObject::create(rmm, rd, pool, &params(1)).unwrap();
        // The RMM is asked once for each Realm.
        assert_eq!((issued(Command::RecAuxCount), issued(Command::RecCreate)), (1, 2));
        for rec in [first, second] {
            rec.destroy(rmm, pool).unwrap();
        }
        // All of it is in the pool, still delegated.
        assert_eq!(pool.bytes(), (0, 34 * GRANULE));
        assert_eq!((issued(Command::RecDestroy), issued(Command::GranuleUndelegate)), (2, 0));
    });
}

#[test]
fn a_short_pool_is_refused_before_anything_is_delegated() {
    with(3, never(), |rmm, rd, pool, mut memory, issued| {
        for missing in [4, 1] {
            let before = issued(Command::GranuleDelegate);
            let error = RecObject::create(rmm, rd, pool, &params(0)).unwrap_err();
            let bytes = missing * GRANULE;
            let Error::NeedMemory { bytes: missed, alignment, .. } = error else {
                panic!("{error:?}")
            };
            assert_eq!((missed, alignment), (bytes, GRANULE));
            assert_eq!(issued(Command::GranuleDelegate), before);
            assert_eq!(issued(Command::RecCreate), 0);
            if missing == 4 {
                pool.add(memory.take_front(3 * GRANULE).unwrap()).unwrap();
            }
        }
        pool.add(memory.take_front(GRANULE).unwrap()).unwrap();
        let rec = RecObject::create(rmm, rd, pool, &params(0)).unwrap();
        assert_eq!((rec.donated_bytes(), pool.bytes()), (3 * GRANULE, (0, 0)));
        rec.destroy(rmm, pool).unwrap();
    });
}

#[test]
fn an_rmm_that_needs_none_gets_none() {
    with(0, never(), |rmm, rd, pool, mut memory, _| {
        pool.add(memory.take_front(GRANULE).unwrap()).unwrap();
        let rec = RecObject::create(rmm, rd, pool, &params(0)).unwrap();
        assert_eq!((rec.donated_bytes(), pool.bytes()), (0, (0, 0)));
        rec.destroy(rmm, pool).unwrap();
        assert_eq!(pool.bytes(), (0, GRANULE));
    });
}

#[test]
fn what_is_refused_is_in_the_pool_again() {
    let refused = (Rule::command(Command::RecCreate, DIALECT), Fault::status(Status::ErrorRealm));
    with(16, refused, |rmm, rd, pool, mut memory, issued| {
        pool.add(memory.take_front(17 * GRANULE).unwrap()).unwrap();
        let error = RecObject::create(rmm, rd, pool, &params(0)).unwrap_err();
        assert_eq!(error.status(), Some(Status::ErrorRealm));
        let (host, delegated) = pool.bytes();
        assert_eq!(host + delegated, 17 * GRANULE);
        assert_eq!(issued(Command::RecDestroy), 0);
    });
    let busy =
        (Rule::command(Command::RecDestroy, DIALECT).nth(0), Fault::status(Status::ErrorRec));
    with(16, busy, |rmm, rd, pool, mut memory, _| {
        pool.add(memory.take_front(17 * GRANULE).unwrap()).unwrap();
        let rec = RecObject::create(rmm, rd, pool, &params(0)).unwrap();
        let failed = rec.destroy(rmm, pool).unwrap_err();
        assert_eq!(failed.error.status(), Some(Status::ErrorRec));
        let rec = failed.kept.unwrap();
        assert_eq!((rec.donated_bytes(), pool.bytes()), (16 * GRANULE, (0, 0)));
        rec.destroy(rmm, pool).unwrap();
        assert_eq!(pool.bytes(), (0, 17 * GRANULE));
    });
}

#[test]
fn after_an_unclear_answer_the_rec_is_destroyed_if_it_exists() {
    let lost =
        (Rule::command(Command::RecCreate, DIALECT), Fault::Afterwards([99, 0, 0, 0, 0, 0, 0, 0]));
    with(16, lost, |rmm, rd, pool, mut memory, issued| {
        pool.add(memory.take_front(17 * GRANULE).unwrap()).unwrap();
        let error = RecObject::create(rmm, rd, pool, &params(0)).unwrap_err();
        assert!(!error.is_clean(), "{error}");
        assert_eq!(issued(Command::RecDestroy), 1);
        let (host, delegated) = pool.bytes();
        assert_eq!(host + delegated, 17 * GRANULE);
    });
}

/// No REC has more than 16.
#[test]
fn a_number_that_is_too_large_is_a_violation() {
    for (answer, is_refused) in [(16, false), (17, true), (255, true), (u64::MAX, true)] {
        let said = (
            Rule::command(Command::RecAuxCount, DIALECT),
            Fault::Instead([0, answer, 0, 0, 0, 0, 0, 0]),
        );
        with(16, said, |rmm, rd, pool, mut memory, issued| {
            pool.add(memory.take_front(17 * GRANULE).unwrap()).unwrap();
            match RecObject::create(rmm, rd, pool, &params(0)) {
                Ok(rec) => {
                    assert!(!is_refused, "{answer}");
                    rec.destroy(rmm, pool).unwrap();
                }
                Err(Error::Violation { violation: Violation::Count, value, .. }) => {
                    assert!(is_refused && value == answer);
                    assert_eq!(issued(Command::RecCreate), 0);
                }
                Err(error) => panic!("{answer}: {error}"),
            }
        });
    }
}
