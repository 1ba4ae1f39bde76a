//! Work on a range that stops says how far it came, in agreement with the RMM's tables, and
//! continues when repeated; it checks for what it needs before anything changes.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::{
    Active, BuildError, FoldPolicy, Realm, RealmConfig, RealmStorage, Reclaimed, Stopped,
};
use rmi_abi::flags::S2Access;
use rmi_abi::rtt::{Level, RttEntryState};
use rmi_abi::{Dialect, Ipa, IpaRange, PaRange, Status};
use rmi_conduits::inject::{Fault, Injecting};
use rmi_host::command::SharedAccess;
use rmi_host::{CountingLedger, FixedQuarantine, Host, Undelegated};
use rmm_model::Model;
use sro::{CallbackMemory, FixedPool, Pool};

const D: Dialect = Dialect::TfRmm2026_07;
const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;
const GIB: u64 = 1 << 30;
const RAM: u64 = GIB;
const SHARED: u64 = (1 << 39) + RAM;
const NEVER: u64 = u64::MAX;

type Faulty<'m> = Injecting<&'m Model>;
type Platform<'p> = Host<&'p Faulty<'p>, &'p Model, &'p CountingLedger, &'p FixedQuarantine<8>>;

struct Fixture<'p> {
    realm: Realm<'p, Platform<'p>, Active>,
    pool: FixedPool<32>,
    /// A pool without granules.
    empty: FixedPool<32>,
    memory: Undelegated,
    returned: Vec<Undelegated>,
    conduit: &'p Faulty<'p>,
}

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

impl Fixture<'_> {
    fn map(&mut self, ipa: u64, bytes: u64) {
        let memory = self.memory.take_front(bytes).unwrap();
        let mapped = self.realm.map(&mut self.pool, Ipa::new(ipa), memory);
        mapped.unwrap();
    }

    fn share(&mut self, ipa: u64, bytes: u64) {
        let memory = self.memory.take_front(bytes).unwrap();
        self.realm.share(&mut self.pool, Ipa::new(ipa), memory, SharedAccess::MEMORY).unwrap();
    }

    fn reclaim(&mut self, range: IpaRange) -> Result<(), Stopped> {
        let Self { realm, pool, returned, .. } = self;
        let done =
            realm.reclaim(&mut CallbackMemory::freeing(pool, |host| returned.push(host)), range)?;
        assert_eq!(done, Reclaimed::Whole);
        Ok(())
    }

    fn unshare(&mut self, range: IpaRange) -> Result<(), Stopped> {
        let Self { realm, pool, returned, .. } = self;
        realm.unshare(&mut CallbackMemory::freeing(pool, |host| returned.push(host)), range)
    }

    fn reshare(&mut self, range: IpaRange) -> Result<(), Stopped> {
        let Self { realm, pool, returned, .. } = self;
        realm.reshare(
            &mut CallbackMemory::freeing(pool, |host| returned.push(host)),
            range,
            read_only(),
        )
    }

    fn evacuate(&mut self, memory: PaRange) -> Result<(), Stopped> {
        let Self { realm, pool, returned, .. } = self;
        realm.evacuate(&mut CallbackMemory::freeing(pool, |host| returned.push(host)), memory)
    }

    /// The descriptor in the RMM's table for a page, if it is mapped.
    fn entry(&self, ipa: Ipa) -> Option<u64> {
        let entry =
            self.realm.rmm().commands().rtt_read_entry(self.realm.rd(), ipa, Level::L3).unwrap();
        (entry.state != RttEntryState::Void).then_some(entry.desc)
    }

    /// The first page of a range for which `is` is true; the top if there is none.
    fn first(&self, range: IpaRange, is: impl Fn(Ipa) -> bool) -> Ipa {
        let pages = (range.base().raw()..range.top().raw()).step_by(0x1000).map(Ipa::new);
        pages.into_iter().find(|page| is(*page)).unwrap_or(range.top())
    }

    fn bytes(&self) -> (u64, u64, usize) {
        (self.realm.memory_bytes(), self.realm.shared_bytes(), self.realm.tables())
    }
}

fn read_only() -> SharedAccess {
    SharedAccess { permissions: S2Access::READ_ONLY, ..SharedAccess::MEMORY }
}

/// Builds a Realm and does the job, with call number `at` refused.
fn with_realm<R>(at: u64, job: impl FnOnce(&mut Fixture<'_>) -> R) -> R {
    let model = test_support::model(D);
    let conduit = Injecting::once(&model, at, Fault::status(Status::ErrorInput));
    let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<8>::new());
    let platform = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<32>(&mut memory, BLOCK - Pool::PAGES);
    let mut empty = FixedPool::<32>::new();
    empty.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    let to_block = (BLOCK - memory.base().raw() % BLOCK) % BLOCK;
    let _ = memory.take_front(to_block);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<32, 8>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let realm = realm.activate().unwrap();
    let mut fixture =
        Fixture { realm, pool, empty, memory, returned: Vec::new(), conduit: &conduit };
    let result = job(&mut fixture);
    let Fixture { realm, mut pool, mut empty, .. } = fixture;
    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error, None);
    quarantine.retry(&rmm, |_| {});
    pool.drain(&rmm, &mut |_| {});
    empty.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0, "{}", ledger.balance());
    result
}

/// Does a job once for each of its calls, with that call refused, and checks the result. Says how
/// often it stopped.
fn at_each_call<R>(
    prepare: impl Fn(&mut Fixture<'_>),
    job: impl Fn(&mut Fixture<'_>) -> R,
    stops: impl Fn(&mut Fixture<'_>, R) -> bool,
) -> usize {
    let once = |at| {
        with_realm(at, |fixture| {
            prepare(fixture);
            let first = fixture.conduit.calls();
            let result = job(fixture);
            let end = fixture.conduit.calls();
            (first..end, stops(fixture, result))
        })
    };
    let (calls, stopped) = once(NEVER);
    assert!(!stopped);
    calls.filter(|at| once(*at).1).count()
}

/// Blocks, of which the range includes a part, and pages apart from each other.
fn scattered(base: u64, mut give: impl FnMut(u64, u64)) -> IpaRange {
    give(base, BLOCK);
    give(base + 2 * BLOCK, BLOCK);
    give(base + BLOCK + 3 * PAGE, 2 * PAGE);
    give(base + BLOCK + PAGE, PAGE);
    range(base + BLOCK - 2 * PAGE, BLOCK + 4 * PAGE)
}

fn part_of(base: u64) -> IpaRange {
    scattered(base, |_, _| {})
}

#[test]
fn reclaiming_that_stops_says_how_far_it_came() {
    let all = part_of(RAM);
    let stops = at_each_call(
        |fixture| {
            scattered(RAM, |ipa, bytes| fixture.map(ipa, bytes));
        },
        |fixture| (fixture.realm.memory_bytes(), fixture.reclaim(all)),
        |fixture, (before, result)| {
            let left = fixture.first(all, |page| fixture.entry(page).is_some());
            let reached = result.map_or_else(|stopped| stopped.reached, |()| all.top());
            assert_eq!(reached, left, "{result:?}");
            fixture.reclaim(all).unwrap();
            assert_eq!(fixture.first(all, |page| fixture.entry(page).is_some()), all.top());
            assert_eq!(fixture.realm.memory_bytes(), before - 7 * PAGE);
            result.is_err()
        },
    );
    assert!(stops >= 5, "{stops}");
}

#[test]
fn unsharing_that_stops_says_how_far_it_came() {
    let all = part_of(SHARED);
    let stops = at_each_call(
        |fixture| {
            scattered(SHARED, |ipa, bytes| fixture.share(ipa, bytes));
        },
        |fixture| (fixture.realm.shared_bytes(), fixture.unshare(all)),
        |fixture, (before, result)| {
            let left = fixture.first(all, |page| fixture.entry(page).is_some());
            let reached = result.map_or_else(|stopped| stopped.reached, |()| all.top());
            assert_eq!(reached, left, "{result:?}");
            fixture.unshare(all).unwrap();
            assert_eq!(fixture.first(all, |page| fixture.entry(page).is_some()), all.top());
            assert_eq!(fixture.realm.shared_bytes(), before - 7 * PAGE);
            let returned: u64 = fixture.returned.iter().map(Undelegated::bytes).sum();
            assert_eq!(returned, 7 * PAGE);
            result.is_err()
        },
    );
    assert!(stops >= 5, "{stops}");
}

#[test]
fn resharing_that_stops_says_how_far_it_came() {
    let all = part_of(SHARED);
    let stops = at_each_call(
        |fixture| {
            scattered(SHARED, |ipa, bytes| fixture.share(ipa, bytes));
        },
        |fixture| fixture.reshare(all),
        |fixture, result| {
            let was = |page: Ipa| {
                let page = page.raw() - SHARED;
                !(BLOCK..2 * BLOCK).contains(&page) || [1, 3, 4].contains(&((page - BLOCK) / PAGE))
            };
            // Bits 7:6 of the descriptor: what a Realm may do.
            let may = |fixture: &Fixture<'_>, page| fixture.entry(page).map(|desc| desc >> 6 & 3);
            let old = may(fixture, Ipa::new(SHARED));
            let left = fixture.first(all, |page| {
                was(page) && may(fixture, page).is_none_or(|now| Some(now) == old)
            });
            let reached = result.map_or_else(|stopped| stopped.reached, |()| all.top());
            assert_eq!(reached, left, "{result:?}");
            // What was unmapped and not mapped again was given back.
            fixture.reshare(all).unwrap();
            let gone = fixture.returned.iter().map(Undelegated::bytes).sum::<u64>() / PAGE;
            let pages = (all.base().raw()..all.top().raw()).step_by(0x1000).map(Ipa::new);
            let now: Vec<_> = pages.filter_map(|page| may(fixture, page)).collect();
            assert_eq!(now.len() as u64 + gone, 7);
            assert!(now.iter().all(|now| Some(*now) != old), "{now:?}");
            result.is_err()
        },
    );
    assert!(stops >= 5, "{stops}");
}

#[test]
fn sharing_that_stops_says_how_far_it_came() {
    let all = range(SHARED + BLOCK - 3 * PAGE, BLOCK + 6 * PAGE);
    let access = SharedAccess::MEMORY;
    let stops = at_each_call(
        |fixture| {
            // The memory is aligned like the range.
            let _ = fixture.memory.take_front(BLOCK - 3 * PAGE);
        },
        |fixture| {
            let memory = fixture.memory.take_front(all.bytes()).unwrap();
            fixture.realm.share(&mut fixture.pool, all.base(), memory, access)
        },
        |fixture, result| {
            let left = fixture.first(all, |page| fixture.entry(page).is_none());
            let Err(stopped) = result else {
                assert_eq!(left, all.top());
                return false;
            };
            assert_eq!(stopped.reached, left, "{stopped}");
            assert_eq!(stopped.host.bytes(), all.top().raw() - left.raw(), "{stopped}");
            fixture.realm.share(&mut fixture.pool, stopped.reached, stopped.host, access).unwrap();
            assert_eq!(fixture.first(all, |page| fixture.entry(page).is_none()), all.top());
            true
        },
    );
    assert!(stops >= 5, "{stops}");
}

#[test]
fn folding_that_stops_says_how_far_it_came() {
    let (all, policy) = (range(RAM, 2 * GIB), FoldPolicy::BlocksAndVoid);
    let mapped = RAM + GIB + 3 * BLOCK;
    let void = [RAM, RAM + BLOCK].map(|base| (Level::L3, base));
    let others = [GIB, GIB + BLOCK, GIB + 3 * BLOCK, GIB + 5 * BLOCK];
    let others = others.map(|offset| (Level::L3, RAM + offset));
    // In the order of their ends; the second table of level 2 contains a block and stays.
    let tables = void.into_iter().chain([(Level::L2, RAM)]).chain(others);
    let stops = at_each_call(
        |fixture| {
            fixture.map(mapped, BLOCK);
            for (_, base) in void.into_iter().chain(others) {
                fixture.realm.make_tables(&mut fixture.pool, range(base, PAGE), Level::L3).unwrap();
            }
        },
        |fixture| fixture.realm.fold(&mut fixture.pool, all, policy),
        |fixture, result| {
            let is_table = |(level, base): &(Level, u64)| {
                let (rd, parent) = (fixture.realm.rd(), level.parent().unwrap());
                let entry =
                    fixture.realm.rmm().commands().rtt_read_entry(rd, Ipa::new(*base), parent);
                entry.is_ok_and(|entry| {
                    entry.level == Some(parent) && entry.state == RttEntryState::Table
                })
            };
            let left = tables.clone().find(is_table).map_or(all.top(), |(_, base)| Ipa::new(base));
            let reached = result.map_or_else(|stopped| stopped.reached, |_| all.top());
            assert_eq!(reached, left, "{result:?}");
            let before = result.unwrap_or_else(|stopped| stopped.folded);
            let again = fixture.realm.fold(&mut fixture.pool, all, policy).unwrap();
            assert_eq!((before.blocks + again.blocks, before.void + again.void), (1, 6));
            assert!(!tables.clone().any(|table| is_table(&table)));
            result.is_err()
        },
    );
    assert_eq!(stops, 7);
}

/// Does a job with too few granules in the pool, until there are enough: says how many are needed.
fn with_few_granules(
    prepare: impl Fn(&mut Fixture<'_>),
    job: impl Fn(&mut Fixture<'_>) -> Result<(), Stopped>,
    unchanged: impl Fn(&Fixture<'_>) -> (u64, u64, usize),
) -> u64 {
    let is_enough = |granules: &u64| {
        with_realm(NEVER, |fixture| {
            prepare(fixture);
            core::mem::swap(&mut fixture.pool, &mut fixture.empty);
            if *granules > 0 {
                fixture.pool.add(fixture.memory.take_front(*granules * PAGE).unwrap()).unwrap();
            }
            let before = unchanged(fixture);
            let result = job(fixture);
            if let Err(stopped) = result {
                assert!(matches!(stopped.error, BuildError::Call(_)), "{stopped}");
                assert_eq!(unchanged(fixture), before, "{granules} granules: {stopped}");
                assert!(fixture.returned.is_empty());
                fixture.pool.add(fixture.memory.take_front(16 * PAGE).unwrap()).unwrap();
                job(fixture).unwrap();
            }
            result.is_ok()
        })
    };
    (0..16).find(is_enough).unwrap()
}

#[test]
fn tables_for_both_ends_are_looked_for_before_anything_changes() {
    let private = |fixture: &mut Fixture<'_>| {
        scattered(RAM, |ipa, bytes| fixture.map(ipa, bytes));
    };
    let shared = |fixture: &mut Fixture<'_>| {
        scattered(SHARED, |ipa, bytes| fixture.share(ipa, bytes));
    };
    // One for each end.
    let all = |fixture: &Fixture<'_>| fixture.bytes();
    let reclaim = |fixture: &mut Fixture<'_>| fixture.reclaim(part_of(RAM));
    assert_eq!(with_few_granules(private, reclaim, all), 2);
    let unshare = |fixture: &mut Fixture<'_>| fixture.unshare(part_of(SHARED));
    assert_eq!(with_few_granules(shared, unshare, all), 2);
    let reshare = |fixture: &mut Fixture<'_>| fixture.reshare(part_of(SHARED));
    assert_eq!(with_few_granules(shared, reshare, all), 2);
    // Both ends in one block: one table is enough.
    let middle = |fixture: &mut Fixture<'_>| fixture.reclaim(range(RAM + PAGE, PAGE));
    assert_eq!(with_few_granules(private, middle, all), 1);
}

#[test]
fn a_machine_is_evacuated_only_with_tables_for_both_ends() {
    let memory = std::cell::Cell::new(PaRange::empty(rmi_abi::Pa::new(0)));
    let prepare = |fixture: &mut Fixture<'_>| {
        let base = fixture.memory.base().checked_add(BLOCK - PAGE).unwrap();
        memory.set(PaRange::with_size(base, BLOCK + 2 * PAGE).unwrap());
        fixture.share(SHARED, BLOCK);
        fixture.map(RAM, BLOCK);
        fixture.share(SHARED + 2 * BLOCK, BLOCK);
    };
    let evacuate = |fixture: &mut Fixture<'_>| fixture.evacuate(memory.get());
    // A table may have been created, but all memory is still there.
    let moved =
        |fixture: &Fixture<'_>| (fixture.realm.memory_bytes(), fixture.realm.shared_bytes(), 0);
    assert_eq!(with_few_granules(prepare, evacuate, moved), 2);
}

#[test]
fn records_are_looked_for_before_anything_changes() {
    with_realm(NEVER, |fixture| {
        for n in 0..8 {
            fixture.share(SHARED + n * BLOCK, 3 * PAGE);
            let _ = fixture.memory.take_front(PAGE);
        }
        let (calls, before) = (fixture.conduit.calls(), fixture.bytes());
        let middle = range(SHARED + PAGE, PAGE);
        for stopped in [fixture.unshare(middle), fixture.reshare(middle)] {
            let Stopped { error, reached, .. } = stopped.unwrap_err();
            assert!(matches!(error, BuildError::Storage { missing: 2, .. }), "{error}");
            assert_eq!(reached, middle.base());
        }
        assert_eq!((fixture.conduit.calls(), fixture.bytes()), (calls, before));
    });
}
