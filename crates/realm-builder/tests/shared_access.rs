//! The host accesses memory that it shares with a Realm, by the Realm's addresses, and no other
//! memory.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use realm_builder::{Active, BuildError, Realm, RealmConfig, RealmStorage, RegionProblem};
use rmi_abi::{Dialect, Ipa, IpaRange, PaRange};
use rmi_host::command::SharedAccess;
use rmi_host::{CountingLedger, Host, RetryBudget, SessionOptions, Undelegated};
use rmm_model::Model;
use sro::{CallbackMemory, FixedPool, open};

const PAGE: u64 = 0x1000;
const SHARED: u64 = 1 << 39;

type Live<'p> = Realm<'p, Host<&'p Model, &'p Model, &'p CountingLedger>, Active>;

fn at(page: u64, pages: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(SHARED + page * PAGE), pages * PAGE).unwrap()
}

fn with_realm(
    retry_budget: RetryBudget,
    act: impl FnOnce(&Live<'_>, &mut FixedPool<16>, &mut Undelegated),
) {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<16>(&mut memory, 64 * PAGE);
    let mut session = SessionOptions::default();
    session.retry_budget = retry_budget;
    let rmm = open(model.host().with_ledger(&ledger), session, &mut pool).unwrap();
    let mut storage = RealmStorage::<16, 8>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let realm = realm.activate().unwrap();
    act(&realm, &mut pool, &mut memory);
    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error, None);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
}

/// Shares single pages that do not follow each other in physical memory, with a hole after the
/// third.
fn share_pages(
    realm: &Live<'_>,
    pool: &mut FixedPool<16>,
    memory: &mut Undelegated,
) -> Vec<PaRange> {
    let mut pages: Vec<_> = (0..4).map(|_| memory.take_front(PAGE).unwrap()).collect();
    pages.reverse();
    let ranges = pages.iter().map(Undelegated::range).collect();
    for (page, n) in pages.into_iter().zip([0, 1, 2, 4]) {
        realm.share(pool, at(n, 1).base(), page, SharedAccess::MEMORY).unwrap();
    }
    ranges
}

fn problem(result: Result<(), BuildError>) -> RegionProblem {
    match result {
        Err(BuildError::Region { problem, .. }) => problem,
        result => panic!("{result:?}"),
    }
}

#[test]
fn bytes_are_copied_across_pieces_and_not_beyond() {
    with_realm(RetryBudget::NONE, |realm, pool, memory| {
        share_pages(realm, pool, memory);
        let text: Vec<u8> = (0..2 * PAGE).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let from = Ipa::new(SHARED + PAGE - 50);
        realm.write_shared(from, &text).unwrap();
        let mut back = vec![0; text.len()];
        realm.read_shared(from, &mut back).unwrap();
        assert_eq!(back, text);
        // To the last byte before the hole, and one byte further: then nothing is written.
        let last = Ipa::new(SHARED + 3 * PAGE - 4);
        realm.write_shared(last, b"good").unwrap();
        for wrong in [&b"wrong"[..], &[1; 2 * 0x1000]] {
            let beyond = problem(realm.write_shared(last, wrong));
            assert!(
                matches!(beyond, RegionProblem::NotShared { ipa, .. } if ipa == at(3, 1).base())
            );
            let mut back = vec![0; wrong.len()];
            let beyond = problem(realm.read_shared(last, &mut back));
            assert!(matches!(beyond, RegionProblem::NotShared { .. }));
            assert!(back.iter().all(|byte| *byte == 0));
        }
        let mut back = [0; 4];
        realm.read_shared(last, &mut back).unwrap();
        assert_eq!(&back, b"good");
        // An access of no bytes is allowed anywhere; what is private, or is no address, is not
        // shared.
        realm.read_shared(Ipa::new(0), &mut []).unwrap();
        for nowhere in [0, SHARED - 2, (1 << 40) - 2, u64::MAX - 1] {
            let nowhere = Ipa::new(nowhere);
            assert_eq!(
                problem(realm.read_shared(nowhere, &mut back)),
                RegionProblem::NotUnprotected
            );
            assert_eq!(
                problem(realm.write_shared(nowhere, b"none")),
                RegionProblem::NotUnprotected
            );
        }
    });
}

#[test]
fn pieces_are_reported_with_their_gaps() {
    with_realm(RetryBudget::NONE, |realm, pool, memory| {
        let pages = share_pages(realm, pool, memory);
        let more = memory.take_front(4 * PAGE).unwrap();
        let run = more.range();
        realm.share(pool, at(8, 4).base(), more, SharedAccess::MEMORY).unwrap();
        let mut told = Vec::new();
        let bytes = realm.shared_pieces(at(1, 9), &mut |ipas, pas| told.push((ipas, pas))).unwrap();
        let part = PaRange::with_size(run.base(), 2 * PAGE).unwrap();
        let right =
            [(at(1, 1), pages[1]), (at(2, 1), pages[2]), (at(4, 1), pages[3]), (at(8, 2), part)];
        assert_eq!((bytes, &told[..]), (5 * PAGE, &right[..]));
    });
}

#[test]
fn what_is_looked_at_stays_shared() {
    with_realm(RetryBudget::NONE, |realm, pool, memory| {
        share_pages(realm, pool, memory);
        let mut pieces = 0;
        let result = realm.shared_pieces(at(0, 3), &mut |ipas, _| {
            pieces += 1;
            realm.read_shared(ipas.base(), &mut [0; 8]).unwrap();
            let mut none = CallbackMemory::freeing(pool, |_| unreachable!());
            let busy = [
                realm.write_shared(ipas.base(), &[0; 8]),
                realm.unshare(&mut none, ipas).map_err(BuildError::from),
                realm.reshare(&mut none, at(0, 5), SharedAccess::MEMORY).map_err(BuildError::from),
            ];
            for result in busy {
                assert!(matches!(result, Err(BuildError::Contended { .. })), "{result:?}");
            }
            // Elsewhere accesses still work.
            realm.write_shared(at(4, 1).base(), &[0; 8]).unwrap();
        });
        assert_eq!((result, pieces), (Ok(3 * PAGE), 3));
        let mut back = 0;
        realm
            .unshare(&mut CallbackMemory::freeing(pool, |host| back += host.bytes()), at(0, 5))
            .unwrap();
        assert_eq!(back, 4 * PAGE);
    });
}

#[test]
fn nothing_is_read_that_has_become_the_rmms() {
    with_realm(RetryBudget::default(), |realm, pool, memory| {
        let mut page = Some(memory.take_front(PAGE).unwrap());
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let (mut read, mut bytes) = (0, [0; 64]);
                        for _ in 0..100_000 {
                            if done.load(Ordering::Relaxed) {
                                break;
                            }
                            let from = Ipa::new(SHARED + 8);
                            match realm.read_shared(from, &mut bytes) {
                                Ok(()) => {
                                    read += 1;
                                    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
                                    let word = [bytes[0].wrapping_add(1); 64];
                                    let _ = realm.write_shared(from, &word);
                                    thread::sleep(std::time::Duration::from_micros(50));
                                }
                                Err(BuildError::Region {
                                    problem: RegionProblem::NotShared { .. },
                                    ..
                                })
                                | Err(BuildError::Contended { .. }) => thread::yield_now(),
                                Err(error) => panic!("{error}"),
                            }
                        }
                        read
                    })
                })
                .collect();
            for _ in 0..30 {
                let mut host = page.take().unwrap();
                realm.rmm().write_host(&mut host, 0, &[7; 128]).unwrap();
                let base = at(0, 1).base();
                while let Err(failed) = realm.share(pool, base, host, SharedAccess::MEMORY) {
                    assert!(matches!(failed.error, BuildError::Contended { .. }));
                    host = failed.host;
                    thread::yield_now();
                }
                thread::yield_now();
                while let Err(error) = realm
                    .unshare(&mut CallbackMemory::freeing(pool, |host| page = Some(host)), at(0, 1))
                {
                    assert!(matches!(error.error, BuildError::Contended { .. }), "{error}");
                    thread::yield_now();
                }
                // The RMM's now, and no access of the host reaches it.
                let delegated = realm.rmm().delegate(page.take().unwrap());
                let delegated = delegated.unwrap();
                let host = realm.rmm().undelegate(delegated).unwrap();
                page = Some(host);
            }
            done.store(true, Ordering::Relaxed);
            for reader in readers {
                reader.join().unwrap();
            }
        });
    });
}
