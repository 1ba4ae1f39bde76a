//! One bad answer of the RMM, or one thing that it never does: the consequences are no worse than
//! necessary.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::{
    Active, BuildError, DismantleProgress, FoldPolicy, Realm, RealmConfig, RealmStorage, RecStart,
    Reclaimed, RegionProblem, Served,
};
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, Ipa, IpaRange, Status};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::command::SharedAccess;
use rmi_host::{
    CountingLedger, FixedQuarantine, Host, Registers, RetryBudget, Rmm, SessionOptions, Undelegated,
};
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool, Pool, open};

const D: Dialect = Dialect::TfRmm2026_07;
const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;
const SHARED: u64 = 1 << 39;

type TestConduit<'m> = Injecting<&'m Model, fn(&Registers) -> bool>;
type Platform<'p> =
    Host<&'p TestConduit<'p>, &'p Model, &'p CountingLedger, &'p FixedQuarantine<8>>;

/// A Realm on an RMM with a fault, its pool, and memory that begins at a multiple of 2 MiB.
struct Fixture<'p> {
    realm: Option<Realm<'p, Platform<'p>, Active>>,
    pool: FixedPool<32>,
    memory: Undelegated,
    conduit: &'p TestConduit<'p>,
    ledger: &'p CountingLedger,
    returned: u64,
}

impl<'p> Fixture<'p> {
    fn realm(&self) -> &Realm<'p, Platform<'p>, Active> {
        self.realm.as_ref().unwrap()
    }

    fn take(&mut self, bytes: u64) -> Undelegated {
        self.memory.take_front(bytes).unwrap()
    }

    fn map(&mut self, ipa: u64, bytes: u64) {
        let memory = self.take(bytes);
        let realm = self.realm.as_ref().unwrap();
        realm.map(&mut self.pool, Ipa::new(ipa), memory).unwrap();
    }

    fn share(&mut self, ipa: u64, memory: Undelegated) -> Result<(), BuildError> {
        let realm = self.realm.as_ref().unwrap();
        Ok(realm.share(&mut self.pool, Ipa::new(ipa), memory, SharedAccess::MEMORY)?)
    }

    fn end(&mut self) -> Option<rmi_host::Error> {
        let returned = &mut self.returned;
        let realm = self.realm.take().unwrap();
        realm
            .tear_down(
                &mut CallbackMemory::freeing(&mut self.pool, |memory| *returned += memory.bytes()),
                [],
            )
            .error
    }
}

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

fn never() -> Rule {
    Rule::any().nth(u64::MAX)
}

/// Sets up, does the job, and tears down what is left; all memory must be accounted for.
fn with_realm(rule: Rule, fault: Fault, job: impl FnOnce(&mut Fixture<'_>)) {
    let model = Model::new(Options::new(D).range_capable()).unwrap();
    let conduit = Injecting::by_rule(&model, rule, fault);
    let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<8>::new());
    let platform = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<32>(&mut memory, BLOCK - Pool::PAGES);
    let mut session = SessionOptions::default();
    session.retry_budget =
        RetryBudget { busy: 10, blocked: 10, steps: 50, ..RetryBudget::default() };
    let rmm = open(platform, session, &mut pool).unwrap();
    let mut storage = RealmStorage::<64, 4>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let realm = realm.activate().unwrap();
    let mut fixture = Fixture {
        realm: Some(realm),
        pool,
        memory,
        conduit: &conduit,
        ledger: &ledger,
        returned: 0,
    };
    job(&mut fixture);
    if fixture.realm.is_some() {
        fixture.end();
    }
    fixture.pool.drain(&rmm, &mut |_| {});
    let balance = ledger.balance();
    assert_eq!((balance.outstanding(), balance.leaked), (0, 0), "{balance}");
}

#[test]
fn only_what_is_stuck_is_given_up() {
    let always: fn(&Registers) -> bool = |_| true;
    let at_zero: fn(&Registers) -> bool = |call| call[2] == 0;
    for (command, when) in [(Command::RttUnprotUnmap, always), (Command::RttDataUnmap, at_zero)] {
        let rule = Rule::command(command, D).when(when);
        with_realm(rule, Fault::status(Status::ErrorInput), |fixture| {
            let memory = fixture.take(PAGE);
            fixture.share(SHARED, memory).unwrap();
            fixture.map(0, PAGE);
            let _ = fixture.take(BLOCK - 2 * PAGE);
            fixture.map(1 << 30, 16 * BLOCK);
            let calls = fixture.conduit.calls();
            assert!(fixture.end().is_some());
            assert!(fixture.returned >= 16 * BLOCK, "{:#x}", fixture.returned);
            assert!(fixture.conduit.calls() - calls < 64, "{}", fixture.conduit.calls() - calls);
            // The ledger says what the Realm may still reach.
            let exposed = u64::from(command == Command::RttUnprotUnmap);
            assert_eq!(fixture.ledger.balance().exposed, exposed);
        });
    }
}

#[test]
fn an_unclear_mapping_is_no_served_fault() {
    let rule = Rule::command(Command::RttDataMap, D).nth(0);
    let garbage = Fault::Instead([0, 0xdead_beef_f001, 0, 0, 0, 0, 0, 0]);
    with_realm(rule, garbage, |fixture| {
        let Fixture { realm, pool, memory, returned, .. } = fixture;
        let realm = realm.as_ref().unwrap();
        let mut supply = |void: IpaRange| memory.take_front(void.bytes().min(PAGE));
        let mut fault = || {
            let keep = &mut |memory: Undelegated| *returned += memory.bytes();
            realm.serve_fault(
                &mut CallbackMemory::new(pool, &mut supply, |host| {
                    keep(host);
                    Ok(())
                }),
                Ipa::new(0),
                range(0, PAGE),
            )
        };
        assert!(fault().is_err());
        assert_eq!(fault(), Ok(Served::Mapped(range(0, PAGE))));
        assert_eq!(fault(), Ok(Served::Present));
        assert_eq!((*returned, realm.memory_bytes()), (PAGE, PAGE));
    });
}

#[test]
fn whether_an_unclear_table_exists_is_found_out() {
    for (unclear, exists) in
        [(Fault::Instead([0xff; 8]), false), (Fault::Afterwards([0xff; 8]), true)]
    {
        let rule = Rule::command(Command::RttCreate, D).nth(2);
        with_realm(rule, unclear, |fixture| {
            let Fixture { realm, pool, memory, .. } = fixture;
            let realm = realm.as_ref().unwrap();
            let page = memory.take_front(PAGE).unwrap();
            let failed = realm.map(pool, Ipa::new(0), page).unwrap_err();
            let page = failed.kept;
            assert_eq!(page.bytes(), PAGE);
            realm.map(pool, Ipa::new(0), page).unwrap();
            assert_eq!(realm.memory_bytes(), PAGE, "table made the first time: {exists}");
        });
    }
}

/// If it is unclear whether a block was split, or whether pages were folded into one, its entry is
/// read before a part of it is reclaimed.
#[test]
fn whether_an_unclear_block_exists_is_found_out() {
    let cases = [
        (Command::RttCreate, 2, Fault::Instead([0xff; 8])),
        (Command::RttCreate, 2, Fault::Afterwards([0xff; 8])),
        (Command::RttFold, 0, Fault::Instead([0xff; 8])),
        (Command::RttFold, 0, Fault::Afterwards([0xff; 8])),
    ];
    for (command, nth, unclear) in cases {
        for shared in [false, true] {
            let rule = Rule::command(command, D).nth(nth);
            with_realm(rule, unclear, |fixture| {
                fixture.map(0, BLOCK);
                let Fixture { realm, pool, returned, .. } = fixture;
                let realm = realm.as_ref().unwrap();
                if command == Command::RttFold {
                    realm.make_tables(pool, range(0, PAGE), Level::L3).unwrap();
                    realm.fold(pool, range(0, BLOCK), FoldPolicy::Blocks).unwrap_err();
                } else {
                    let middle = range(BLOCK / 2, PAGE);
                    let failed = realm
                        .reclaim(&mut CallbackMemory::freeing(pool, drop), middle)
                        .unwrap_err();
                    assert!(matches!(failed.error, BuildError::Call(_)), "{failed}");
                }
                let (page, keep) =
                    (range(0, PAGE), &mut |host: Undelegated| *returned += host.bytes());
                if shared {
                    let access = SharedAccess::MEMORY;
                    let converted = realm
                        .convert_to_shared(
                            &mut CallbackMemory::freeing(pool, &mut *keep),
                            page,
                            access,
                        )
                        .unwrap();
                    assert_eq!((converted.bytes, realm.shared_bytes()), (PAGE, PAGE));
                } else {
                    assert_eq!(
                        realm.reclaim(&mut CallbackMemory::freeing(pool, &mut *keep), page),
                        Ok(Reclaimed::Whole)
                    );
                    assert_eq!(*returned, PAGE);
                }
                assert_eq!(realm.memory_bytes(), BLOCK - PAGE, "{command}: {unclear:?}");
                assert_eq!(realm.memory_at(Ipa::new(PAGE)), Some(range(PAGE, PAGE)));
                assert_eq!(fixture.end(), None);
            });
        }
    }
}

#[test]
fn an_unmap_may_be_deferred() {
    for reverse in [false, true] {
        let rule = Rule::command(Command::RttDataUnmap, D).nth(0);
        with_realm(rule, Fault::Instead([0; 8]), |fixture| {
            let mut pages = [fixture.take(PAGE), fixture.take(PAGE)];
            if reverse {
                pages.reverse();
            }
            let Fixture { realm, pool, returned, .. } = fixture;
            let realm = realm.as_ref().unwrap();
            realm.map_scattered(pool, Ipa::new(0), &mut pages).unwrap();
            let done = realm
                .reclaim(
                    &mut CallbackMemory::freeing(pool, |memory| *returned += memory.bytes()),
                    range(0, 2 * PAGE),
                )
                .unwrap();
            assert_eq!(done, realm_builder::Reclaimed::Whole);
            assert_eq!(*returned, 2 * PAGE);
        });
    }
}

#[test]
fn what_does_not_come_back_is_not_converted() {
    let rule = Rule::command(Command::GranuleRangeUndelegate, D).nth(0);
    with_realm(rule, Fault::status(Status::ErrorInput), |fixture| {
        fixture.map(0, 4 * PAGE);
        let Fixture { realm, pool, returned, ledger, .. } = fixture;
        let realm = realm.as_ref().unwrap();
        let keep = &mut |memory: Undelegated| *returned += memory.bytes();
        let all = range(0, 4 * PAGE);
        let converted = realm.convert_to_shared(
            &mut CallbackMemory::freeing(pool, &mut *keep),
            all,
            SharedAccess::MEMORY,
        );
        let withheld = matches!(
            converted.map_err(BuildError::from),
            Err(BuildError::Region { problem: RegionProblem::Withheld { .. }, .. })
        );
        assert!(withheld, "{converted:?}");
        assert_eq!((*returned, ledger.balance().quarantined), (3 * PAGE, 1));
    });
}

#[test]
fn dismantling_makes_no_more_calls_than_allowed() {
    let refusal = Fault::status(Status::ErrorInput);
    let false_answer = Fault::Afterwards([0, 8 * BLOCK, 0, 0, 0, 0, 0, 0]);
    for (command, fault) in
        [(Command::GranuleRangeUndelegate, refusal), (Command::RttDataUnmap, false_answer)]
    {
        with_realm(Rule::command(command, D), fault, |fixture| {
            fixture.map(0, 8 * BLOCK);
            let realm = fixture.realm.take().unwrap().terminate();
            let mut realm = realm.unwrap();
            for _ in 0..20 {
                let calls = fixture.conduit.calls();
                let _ = realm.dismantle(&mut CallbackMemory::freeing(&mut fixture.pool, drop), 1);
                let calls = fixture.conduit.calls() - calls;
                assert!(calls <= 4, "{command}: {calls} calls");
            }
            let _ = realm.tear_down(&mut CallbackMemory::freeing(&mut fixture.pool, drop), []);
        });
    }
}

#[test]
fn folding_that_stops_says_what_it_has_done() {
    // The second of three tables.
    let rule = Rule::command(Command::RttFold, D).nth(1);
    with_realm(rule, Fault::status(Status::ErrorInput), |fixture| {
        fixture.map(0, 3 * BLOCK);
        let realm = fixture.realm.as_ref().unwrap();
        for block in 0..3 {
            let page = range(block * BLOCK, PAGE);
            realm.make_tables(&mut fixture.pool, page, Level::L3).unwrap();
        }
        let (tables, all) = (realm.tables(), range(0, 3 * BLOCK));
        let stopped = realm.fold(&mut fixture.pool, all, FoldPolicy::Blocks).unwrap_err();
        assert!(matches!(stopped.error, BuildError::Call(_)), "{stopped}");
        assert_eq!((stopped.folded.blocks, stopped.folded.granules()), (1, 1));
        assert_eq!(realm.tables(), tables - 1);
        let folded = realm.fold(&mut fixture.pool, all, FoldPolicy::Blocks).unwrap();
        assert_eq!((folded.blocks, realm.tables()), (2, tables - 3));
        assert_eq!(fixture.end(), None);
    });
}

#[test]
fn shared_records_are_as_few_as_they_can_be() {
    with_realm(never(), Fault::status(Status::ErrorInput), |fixture| {
        // In descending order, contiguous on both sides: still one piece.
        let mut pages: Vec<_> = (0..8).map(|_| fixture.take(PAGE)).collect();
        for n in (0..8).rev() {
            let page = pages.pop().unwrap();
            fixture.share(SHARED + n * PAGE, page).unwrap();
        }
        assert_eq!(fixture.realm().shared_at(Ipa::new(SHARED)), Some(range(SHARED, 8 * PAGE)));
        // Three more fill the records. What is there can still be reclaimed, but not split.
        for n in 1..=3 {
            let page = fixture.take(PAGE);
            let _ = fixture.take(PAGE);
            fixture.share(SHARED + (10 + 2 * n) * PAGE, page).unwrap();
        }
        let page = fixture.take(PAGE);
        let full = fixture.share(SHARED + BLOCK, page);
        assert!(matches!(full, Err(BuildError::Storage { .. })), "{full:?}");
        let Fixture { realm, pool, .. } = fixture;
        let realm = realm.as_ref().unwrap();
        let cut =
            realm.unshare(&mut CallbackMemory::freeing(pool, drop), range(SHARED + PAGE, PAGE));
        let cut = cut.map_err(BuildError::from);
        assert!(matches!(cut, Err(BuildError::Storage { .. })), "{cut:?}");
        realm
            .reshare(
                &mut CallbackMemory::freeing(pool, drop),
                range(SHARED, 8 * PAGE),
                SharedAccess::MEMORY,
            )
            .unwrap();
        realm.unshare(&mut CallbackMemory::freeing(pool, drop), range(SHARED, BLOCK)).unwrap();
        assert_eq!(realm.shared_bytes(), 0);
    });
}

#[test]
fn memory_that_leaves_the_machine_is_not_shared_either() {
    with_realm(never(), Fault::status(Status::ErrorInput), |fixture| {
        fixture.map(0, BLOCK);
        let module = fixture.memory.range();
        fixture.map(BLOCK, 2 * PAGE);
        let shared = fixture.take(4 * PAGE);
        fixture.share(SHARED, shared).unwrap();
        let Fixture { realm, pool, returned, .. } = fixture;
        let realm = realm.as_ref().unwrap();
        realm
            .evacuate(
                &mut CallbackMemory::freeing(pool, |memory| *returned += memory.bytes()),
                module,
            )
            .unwrap();
        assert_eq!((realm.memory_bytes(), realm.shared_bytes(), *returned), (BLOCK, 0, 6 * PAGE));
    });
}

#[test]
fn no_tables_outside_the_ipa_space() {
    for answer in [[0; 8], [0xff; 8]] {
        let rule = Rule::command(Command::RttCreate, D);
        with_realm(rule, Fault::Instead(answer), |fixture| {
            let Fixture { realm, pool, conduit, .. } = fixture;
            let calls = conduit.calls();
            let made = realm.as_ref().unwrap().make_tables(pool, range(1 << 41, PAGE), Level::L3);
            let outside = RegionProblem::OutOfSpace;
            let refused =
                matches!(made, Err(BuildError::Region { problem, .. }) if problem == outside);
            assert!(refused, "{made:?}");
            assert_eq!(conduit.calls(), calls);
        });
    }
}

/// Opens a session on an RMM without faults, with a pool of `ENTRIES` entries and memory, does the
/// job, and checks the ledger.
fn with_session<const ENTRIES: usize>(
    job: impl FnOnce(
        &Rmm<Host<&Model, &Model, &CountingLedger>>,
        &mut FixedPool<ENTRIES>,
        &mut Undelegated,
    ),
) {
    let model = Model::new(Options::new(D).range_capable()).unwrap();
    let ledger = CountingLedger::new();
    let platform = model.host().with_ledger(&ledger);
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<ENTRIES>(&mut memory, 64 * PAGE);
    let rmm = test_support::open(platform, &mut pool);
    job(&rmm, &mut pool, &mut memory);
    assert_eq!(ledger.balance().quarantined, 0, "{}", ledger.balance());
    pool.drain(&rmm, &mut |_| {});
    let balance = ledger.balance();
    assert_eq!((balance.outstanding(), balance.quarantined), (0, 0), "{balance}");
}

#[test]
fn a_rec_of_another_realm_is_refused() {
    with_session::<32>(|rmm, pool, _| {
        let (mut one, mut two) = (RealmStorage::<4, 4>::new(), RealmStorage::<4, 4>::new());
        let config = RealmConfig::new(40);
        let mut first = Realm::create(rmm, &config, &mut one, pool).unwrap();
        let second = Realm::create(rmm, &config, &mut two, pool).unwrap();
        let start = RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] };
        let rec = first.create_rec(pool, &start).unwrap();
        assert!(second.tear_down(&mut CallbackMemory::freeing(pool, drop), [rec]).error.is_some());
        assert_eq!(first.tear_down(&mut CallbackMemory::freeing(pool, drop), []).error, None);
    });
}

#[test]
fn a_pool_without_free_entries_takes_no_more_granules() {
    with_session::<2>(|rmm, pool, memory| {
        for _ in 0..2 {
            let page = rmm.delegate(memory.take_front(PAGE).unwrap());
            pool.put_back(rmm, page.unwrap());
            let _ = memory.take_front(PAGE);
        }
        pool.stock(rmm, Command::RttCreate, 4 * PAGE).unwrap();
        assert_eq!(pool.bytes(), (64 * PAGE, 2 * PAGE));
    });
}

#[test]
fn dismantling_ends() {
    with_realm(never(), Fault::status(Status::ErrorInput), |fixture| {
        fixture.map(0, 4 * PAGE);
        let realm = fixture.realm.take().unwrap().terminate();
        let mut realm = realm.unwrap();
        while realm.dismantle(&mut CallbackMemory::freeing(&mut fixture.pool, drop), 1).unwrap()
            == DismantleProgress::More
        {}
        assert!(realm.is_dismantled());
        assert!(realm.destroy(&mut CallbackMemory::freeing(&mut fixture.pool, drop)).is_ok());
    });
}
