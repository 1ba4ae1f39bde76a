//! Shared memory keeps its record while it is unmapped: no other memory gets the record, and what
//! comes back is recorded again.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use realm_builder::{Active, BuildError, NotShared, Realm, RealmConfig, RealmStorage};
use rmi_abi::{Command, Dialect, Ipa, IpaRange, Status};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::command::SharedAccess;
use rmi_host::{CountingLedger, Host, Registers, Undelegated};
use rmm_model::Model;
use sro::{CallbackMemory, FixedPool, Pool};

const D: Dialect = Dialect::TfRmm2026_07;
const PAGE: u64 = 0x1000;
const SHARED: u64 = 1 << 39;
const ACCESS: SharedAccess = SharedAccess::MEMORY;

type TestConduit<'m> = Injecting<&'m Model, fn(&Registers) -> bool>;
type Machine<'p> = Host<&'p TestConduit<'p>, &'p Model, &'p CountingLedger>;
type Live<'p> = Realm<'p, Machine<'p>, Active>;

thread_local! {
    /// What this thread does inside the call that the rule names, once.
    static INSIDE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

fn inside(_: &Registers) -> bool {
    if let Some(act) = INSIDE.take() {
        act();
    }
    true
}

fn at(page: u64, pages: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(SHARED + page * PAGE), pages * PAGE).unwrap()
}

/// A Realm with `RECORDS` records for shared memory; all memory that `act` does not keep comes
/// back.
fn with_realm<const RECORDS: usize>(
    rule: Rule,
    fault: Fault,
    act: impl FnOnce(&Live<'_>, [&mut FixedPool<16>; 2], &mut Undelegated),
) {
    let model = test_support::model(D);
    let when: fn(&Registers) -> bool = inside;
    let conduit = Injecting::by_rule(&model, rule.when(when), fault);
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let (mut pool, mut other) = (FixedPool::<16>::new(), FixedPool::<16>::new());
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    other.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(64 * PAGE).unwrap()).unwrap();
    other.add(memory.take_front(16 * PAGE).unwrap()).unwrap();
    let platform = Host::new(&conduit, &model).with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<16, RECORDS>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let realm = realm.activate().unwrap();
    act(&realm, [&mut pool, &mut other], &mut memory);
    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error, None);
    other.drain(&rmm, &mut |_| {});
    pool.drain(&rmm, &mut |_| {});
    let balance = ledger.balance();
    assert_eq!((balance.outstanding(), balance.exposed), (0, 0), "{balance}");
}

fn share(
    realm: &Live<'_>,
    pool: &mut FixedPool<16>,
    page: u64,
    memory: Undelegated,
) -> Result<(), NotShared> {
    realm.share(pool, at(page, 1).base(), memory, ACCESS)
}

/// While one thread is inside the call that the rule names, another tries to share a page
/// elsewhere; there is no record for that.
fn meanwhile(
    realm: &Live<'_>,
    other: &mut FixedPool<16>,
    page: Undelegated,
    act: impl FnOnce(),
) -> Undelegated {
    let meet = Arc::new(Barrier::new(2));
    let mut kept = None;
    thread::scope(|scope| {
        let there = Arc::clone(&meet);
        let kept = &mut kept;
        scope.spawn(move || {
            there.wait();
            let failed = share(realm, other, 100, page).unwrap_err();
            let full =
                matches!(failed.error, BuildError::Storage { .. } | BuildError::Contended { .. });
            assert!(full, "{:?}", failed.error);
            *kept = Some(failed.host);
            there.wait();
        });
        INSIDE.set(Some(Box::new(move || {
            meet.wait();
            meet.wait();
        })));
        act();
        assert!(INSIDE.take().is_none(), "the call was not made");
    });
    kept.unwrap()
}

#[test]
fn sound_6_the_record_of_memory_that_stays_shared_is_not_reused() {
    let rule = Rule::command(Command::RttUnprotUnmap, D).nth(0);
    with_realm::<1>(rule, Fault::status(Status::ErrorInput), |realm, [pool, other], memory| {
        share(realm, pool, 0, memory.take_front(4 * PAGE).unwrap()).unwrap();
        let page = memory.take_front(PAGE).unwrap();
        let _page = meanwhile(realm, other, page, || {
            assert!(
                realm
                    .unshare(&mut CallbackMemory::freeing(pool, |_| unreachable!()), at(0, 4))
                    .is_err()
            );
        });
        assert_eq!(realm.shared_bytes(), 4 * PAGE);
        let mut back = 0;
        realm
            .unshare(&mut CallbackMemory::freeing(pool, |host| back += host.bytes()), at(0, 4))
            .unwrap();
        assert_eq!((back, realm.shared_bytes()), (4 * PAGE, 0));
    });
}

#[test]
fn sound_6_nor_by_what_is_shared_while_memory_is_given_back() {
    // They are in two tables, of which a command unmaps one. The second is refused.
    let rule = Rule::command(Command::RttUnprotUnmap, D).nth(1);
    with_realm::<1>(rule, Fault::status(Status::ErrorInput), |realm, [pool, other], memory| {
        share(realm, pool, 510, memory.take_front(4 * PAGE).unwrap()).unwrap();
        let mut back = 0;
        let mut refused = 0;
        let result = realm.unshare(
            &mut CallbackMemory::freeing(pool, |host| {
                back += host.bytes();
                let failed =
                    share(realm, other, 100, memory.take_front(PAGE).unwrap()).unwrap_err();
                assert!(matches!(failed.error, BuildError::Storage { .. }), "{:?}", failed.error);
                refused += 1;
            }),
            at(510, 4),
        );
        assert!(result.is_err());
        assert_eq!((back, refused, realm.shared_bytes()), (2 * PAGE, 1, 2 * PAGE));
        realm
            .unshare(&mut CallbackMemory::freeing(pool, |host| back += host.bytes()), at(510, 4))
            .unwrap();
        assert_eq!((back, realm.shared_bytes()), (4 * PAGE, 0));
    });
}

#[test]
fn sound_6_nor_while_it_is_shared_again() {
    for command in [Command::RttUnprotUnmap, Command::RttUnprotMap] {
        // The answer is the RMM's own; the test is about what happens inside the call.
        let rule = Rule::command(command, D);
        let none = Fault::Delay { status: Status::Busy, times: 0 };
        with_realm::<1>(rule, none, |realm, [pool, other], memory| {
            share(realm, pool, 0, memory.take_front(PAGE).unwrap()).unwrap();
            let page = memory.take_front(PAGE).unwrap();
            let _page = meanwhile(realm, other, page, || {
                realm
                    .reshare(
                        &mut CallbackMemory::freeing(pool, |_| unreachable!()),
                        at(0, 1),
                        ACCESS,
                    )
                    .unwrap();
            });
            assert_eq!(realm.shared_bytes(), PAGE);
        });
    }
}

#[test]
fn sound_6_unwinding_leaves_it_in_its_record() {
    let rule = Rule::command(Command::RttUnprotUnmap, D);
    let none = Fault::Delay { status: Status::Busy, times: 0 };
    with_realm::<1>(rule, none, |realm, [pool, _], memory| {
        share(realm, pool, 510, memory.take_front(4 * PAGE).unwrap()).unwrap();
        // In the callback that gets the memory of the first of two tables.
        let mut back = 0;
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            realm.unshare(
                &mut CallbackMemory::new(
                    pool,
                    |_| None,
                    |host| {
                        back += host.bytes();
                        panic!("in the callback")
                    },
                ),
                at(510, 4),
            )
        }));
        assert!(unwound.is_err());
        assert_eq!((back, realm.shared_bytes()), (2 * PAGE, 2 * PAGE));
        // In the conduit, before the call.
        INSIDE.set(Some(Box::new(|| panic!("in the conduit"))));
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            realm.unshare(&mut CallbackMemory::freeing(pool, |_| unreachable!()), at(510, 4))
        }));
        assert!(unwound.is_err());
        assert_eq!(realm.shared_bytes(), 2 * PAGE);
        // Nothing stays claimed either.
        realm
            .unshare(&mut CallbackMemory::freeing(pool, |host| back += host.bytes()), at(510, 4))
            .unwrap();
        assert_eq!((back, realm.shared_bytes()), (4 * PAGE, 0));
    });
}

#[test]
fn sound_6_an_unclear_answer_loses_nothing_where_records_are_few() {
    let unclear = [0xff; 8];
    for (fault, nth) in [(Fault::Instead(unclear), 0), (Fault::Afterwards(unclear), 0)] {
        let rule = Rule::command(Command::RttUnprotMap, D).nth(nth);
        with_realm::<1>(rule, fault, |realm, [pool, _], memory| {
            let failed = share(realm, pool, 0, memory.take_front(4 * PAGE).unwrap()).unwrap_err();
            let sum = failed.host.bytes() + realm.shared_bytes();
            assert_eq!(sum, 4 * PAGE, "{:?}", failed.error);
        });
    }
}

#[test]
fn sound_6_dropped_shared_memory_is_counted() {
    let before = rmi_host::leaked();
    let model = test_support::model(D);
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<16>(&mut memory, 64 * PAGE);
    let rmm = test_support::open(model.host(), &mut pool);
    let mut storage = RealmStorage::<16, 2>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let pages = memory.take_front(512 * PAGE).unwrap();
    realm.share(&mut pool, at(0, 1).base(), pages, ACCESS).unwrap();
    drop(realm);
    drop(storage);
    assert!(rmi_host::leaked() - before >= 512);
}

/// A random number below `sides`: xorshift64.
fn roll(state: &mut u64, sides: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) % sides
}

#[test]
fn sound_6_many_threads_and_few_records_lose_nothing() {
    const THREADS: u64 = 4;
    const EACH: u64 = 24;
    for seed in 1..=60u64 {
        let rule = Rule::command(Command::RttUnprotUnmap, D);
        let none = Fault::Delay { status: Status::Busy, times: 0 };
        with_realm::<6>(rule, none, |realm, [pool, _], memory| {
            let sum = AtomicU64::new(0);
            thread::scope(|scope| {
                for n in 0..THREADS {
                    let mut pages = memory.take_front(EACH * PAGE).unwrap();
                    let mut own = memory.take_front(Pool::PAGES).unwrap();
                    let stock = memory.take_front(16 * PAGE).unwrap();
                    let sum = &sum;
                    scope.spawn(move || {
                        let mut pool = FixedPool::<16>::new();
                        pool.add(own.take()).unwrap();
                        pool.add(stock).unwrap();
                        let mut state = (seed * 31 + n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                        let mut heap: Vec<Undelegated> = Vec::new();
                        while let Some(page) = pages.take_front(PAGE).filter(|p| !p.is_empty()) {
                            heap.push(page);
                        }
                        for _ in 0..120 {
                            let first = roll(&mut state, 24);
                            let range = at(first, 1 + roll(&mut state, 6));
                            match roll(&mut state, 5) {
                                0..=2 => {
                                    let Some(mut some) = heap.pop() else { continue };
                                    for _ in 0..roll(&mut state, 4) {
                                        let Some(next) = heap.pop() else { break };
                                        if let Err(apart) = some.merge(next) {
                                            heap.push(apart);
                                            break;
                                        }
                                    }
                                    let shared = realm.share(&mut pool, range.base(), some, ACCESS);
                                    if let Err(failed) = shared {
                                        heap.push(failed.host);
                                    }
                                }
                                3 => {
                                    let keep = &mut |host| heap.push(host);
                                    let _ = realm.unshare(
                                        &mut CallbackMemory::freeing(&mut pool, &mut *keep),
                                        range,
                                    );
                                }
                                _ => {
                                    let keep = &mut |host| heap.push(host);
                                    let _ = realm.reshare(
                                        &mut CallbackMemory::freeing(&mut pool, &mut *keep),
                                        range,
                                        ACCESS,
                                    );
                                }
                            }
                        }
                        let bytes: u64 = heap.iter().map(Undelegated::bytes).sum();
                        sum.fetch_add(bytes, Ordering::Relaxed);
                        pool.drain(realm.rmm(), &mut |_| {});
                    });
                }
            });
            let returned = sum.into_inner();
            let whole = THREADS * EACH * PAGE;
            assert_eq!(returned + realm.shared_bytes(), whole, "lost in round {seed}");
            let mut back = 0;
            realm
                .unshare(&mut CallbackMemory::freeing(pool, |host| back += host.bytes()), at(0, 64))
                .unwrap();
            assert_eq!((returned + back, realm.shared_bytes()), (whole, 0), "round {seed}");
        });
    }
}
