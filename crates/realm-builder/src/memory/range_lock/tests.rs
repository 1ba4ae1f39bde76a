extern crate std;

use std::cell::Cell;
use std::vec::Vec;

use rmi_abi::Dialect;
use rmi_abi::desc::BlockSize;
use rmi_abi::realm::RealmParams;
use rmi_abi::rtt::Geometry;
use rmi_host::command::{Rd, ShareAt, SharedAccess};
use rmi_host::{Host, RetryBudget, Rmm, SessionOptions, Undelegated};
use rmm_model::{Model, Options};
use sro::{FixedPool, Pool};

use super::*;
use crate::shadow::shape::AnyShape;
use crate::shadow::storage::SharedPiece;
use crate::{FixedRecords, Realm, RealmConfig, RealmStorage, Records, ShadowTable, SharedRecord};

const PAGE: u64 = 0x1000;
/// Where the unprotected half begins.
const SHARED: u64 = 1 << 38;
/// Pages that are shared.
const PAGES: u64 = 16;

type Machine<'m> = Host<&'m Model, &'m Model>;
type Locked<'m> = LentShadow<'m, AnyShape>;

fn pages(first: u64, count: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(SHARED + first * PAGE), count * PAGE).unwrap()
}

/// A claim on some pages.
fn claim<'s>(shadow: &'s Locked<'s>, first: u64, count: u64) -> RangeLock<'s, AnyShape> {
    let claim = shadow.lock().claim(pages(first, count)).unwrap();
    RangeLock { shadow, claim, reserved: 0, reserved_shared: 0 }
}

/// The pieces in the records, by page.
fn pieces(shadow: &Locked<'_>) -> Vec<(u64, u64)> {
    let page = |bytes: u64| bytes / PAGE;
    let shadow = shadow.lock();
    let ranges = shadow.shared.iter().map(|piece| piece.range());
    ranges.map(|range| (page(range.base().raw() - SHARED), page(range.bytes()))).collect()
}

fn delegate(rmm: &Rmm<Machine<'_>>, memory: &mut Undelegated) -> rmi_host::Delegated {
    rmm.delegate(memory.take_front(PAGE).unwrap()).unwrap()
}

/// Memory that a Realm shares, and a shadow with `RECORDS` records for it and three shadow tables
/// for tables.
fn with_shadow<const RECORDS: usize>(
    test: impl FnOnce(&Locked<'_>, SharedMemory, &mut dyn FnMut() -> InUse),
) {
    let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(model.host(), &mut memory).unwrap();
    let geometry = Geometry::with_start_level(39, Level::L1).unwrap();
    let (rd, root) = (delegate(&rmm, &mut memory), delegate(&rmm, &mut memory));
    let params = RealmParams::new(geometry, root.base()).encode(rmm.dialect()).unwrap();
    let mut page = memory.take_front(PAGE).unwrap();
    let _done = rmm.commands().realm_create(&rd, &mut page, &params).unwrap();
    let rd = Rd::new(rd);
    let ipa = Ipa::new(SHARED);
    for level in [Level::L2, Level::L3] {
        let _back =
            rmm.commands().rtt_create(&rd, delegate(&rmm, &mut memory), ipa, level).unwrap();
    }
    let at = ShareAt { rd: &rd, ipa, access: SharedAccess::MEMORY };
    let run = memory.take_front(PAGES * PAGE).unwrap();
    let mut answer = rmm.commands().rtt_unprot_map(at, run, BlockSize::Page).unwrap();
    while !answer.rest.is_empty() {
        let ipa = answer.shared.ipa_range().top();
        let next =
            rmm.commands().rtt_unprot_map(ShareAt { ipa, ..at }, answer.rest, BlockSize::Page);
        let next = next.unwrap();
        answer.shared.append(next.shared).unwrap();
        answer.rest = next.rest;
    }
    let mut tables = [(); 4].map(|()| ShadowTable::new());
    let mut records: [SharedRecord; RECORDS] = [const { None }; RECORDS];
    let mut fixed = FixedRecords::new();
    let storage = Records::new(&mut fixed, &mut tables, &mut records);
    let shadow = Shadow::<AnyShape>::new(geometry, 0, storage).unwrap();
    test(&LentShadow::new(shadow), answer.shared, &mut || delegate(&rmm, &mut memory).into_use());
}

/// Whether a place for a record is left that nobody has reserved.
fn has_place(shadow: &Locked<'_>) -> bool {
    let mut probe = claim(shadow, PAGES, 1);
    probe.reserve_shared(1).is_ok()
}

#[test]
fn a_place_that_is_used_is_no_longer_reserved() {
    with_shadow::<4>(|shadow, mut shared, _| {
        let (mut own, mut other) = (claim(shadow, 0, 4), claim(shadow, 8, 4));
        own.reserve_shared(2).unwrap();
        assert!(has_place(shadow));
        other.reserve_shared(2).unwrap();
        assert!(!has_place(shadow));
        own.add_shared(shared.take_front(3 * PAGE).unwrap()).unwrap();
        own.cut_shared(pages(1, 1).base());
        assert_eq!((pieces(shadow), own.reserved_shared), ([(0, 1), (1, 2)].into(), 0));
        // What is at the end of a piece, or shared by nobody, is not cut.
        other.cut_shared(pages(3, 1).base());
        other.cut_shared(pages(0, 1).base());
        assert_eq!(other.reserved_shared, 2);
        drop(own);
        assert!(!has_place(shadow), "it is the other thread's");
        drop(other);
        assert!(has_place(shadow));
    });
}

#[test]
fn a_place_for_unclear_memory_is_the_reserved_one() {
    with_shadow::<4>(|shadow, mut shared, _| {
        let (mut own, mut other) = (claim(shadow, 0, 4), claim(shadow, 8, 4));
        own.reserve_shared(1).unwrap();
        other.reserve_shared(2).unwrap();
        assert!(matches!(own.add_unclear(shared.take_front(0).unwrap()), Ok(false)));
        assert!(matches!(own.add_unclear(shared.take_front(PAGE).unwrap()), Ok(true)));
        assert_eq!(own.reserved_shared, 0);
        assert!(has_place(shadow));
        drop(own);
        let mut own = claim(shadow, 0, 4);
        own.reserve_shared(1).unwrap();
        assert!(!has_place(shadow));
    });
}

#[test]
fn unclear_memory_is_recorded_apart_while_there_is_a_place() {
    with_shadow::<2>(|shadow, mut shared, _| {
        let mut own = claim(shadow, 0, 8);
        own.add_shared(shared.take_front(PAGE).unwrap()).unwrap();
        assert!(matches!(own.add_unclear(shared.take_front(PAGE).unwrap()), Ok(true)));
        assert_eq!((pieces(shadow), own.reserved_shared), ([(0, 1), (1, 1)].into(), 0));
        // Without a place it becomes a part of the piece before it, or of none.
        assert!(matches!(own.add_unclear(shared.take_front(PAGE).unwrap()), Ok(false)));
        assert_eq!(pieces(shadow), [(0, 1), (1, 2)]);
        let _gap = shared.take_front(PAGE).unwrap();
        let last = shared.take_front(PAGE).unwrap();
        let last = own.add_unclear(last).unwrap_err();
        assert_eq!(last.ipa_range(), pages(4, 1));
        let last = own.add_shared(last).unwrap_err();
        assert_eq!(shadow.lock().add_apart(last).unwrap_err().bytes(), PAGE);
    });
}

#[test]
fn a_piece_stays_whole_without_a_place_for_its_second_part() {
    with_shadow::<1>(|shadow, mut shared, _| {
        let mut own = claim(shadow, 0, 4);
        own.add_shared(shared.take_front(3 * PAGE).unwrap()).unwrap();
        own.cut_shared(pages(1, 1).base());
        assert_eq!(pieces(shadow), [(0, 3)]);
        assert!(!shadow.lock().cut_shared(pages(2, 1).base()));
        assert_eq!(pieces(shadow), [(0, 3)]);
    });
}

#[test]
fn pieces_of_other_threads_are_not_joined() {
    with_shadow::<4>(|shadow, mut shared, _| {
        let (own, mut other) = (claim(shadow, 0, 1), claim(shadow, 1, 1));
        let (first, second) = (shared.take_front(PAGE).unwrap(), shared.take_front(PAGE).unwrap());
        let page = pages(1, 1);
        shadow.lock().add_apart(first).unwrap();
        assert!(matches!(shadow.lock().add_shared(second, other.claim), Ok(true)));
        assert_eq!(pieces(shadow), [(0, 1), (1, 1)]);
        for held in [&own, &other] {
            held.join_shared(page.base());
            assert_eq!(pieces(shadow), [(0, 1), (1, 1)]);
        }
        assert!(own.others_are_in(&shadow.lock(), &pages(0, 2)));
        assert!(!own.others_are_in(&shadow.lock(), &pages(0, 1)));
        drop(own);
        assert!(!other.others_are_in(&shadow.lock(), &pages(0, 2)));
        // Where no piece begins or nothing is before it, nothing is joined.
        other.join_shared(pages(2, 1).base());
        other.join_shared(pages(0, 1).base());
        assert_eq!(pieces(shadow), [(0, 1), (1, 1)]);
        other.join_shared(page.base());
        assert_eq!(pieces(shadow), [(0, 2)]);
        // What is not contiguous, in either address space, stays apart.
        let gap = shared.take_front(PAGE).unwrap();
        other.reserve_shared(1).unwrap();
        other.add_shared(shared.take_front(PAGE).unwrap()).unwrap();
        assert_eq!((pieces(shadow), other.reserved_shared), ([(0, 2), (3, 1)].into(), 0));
        // The gap is filled: no place is needed, and one becomes free.
        other.reserve_shared(1).unwrap();
        other.add_shared(gap).unwrap();
        assert_eq!((pieces(shadow), other.reserved_shared), ([(0, 4)].into(), 1));
        // At the end of a piece: no place is needed.
        other.add_shared(shared.take_front(PAGE).unwrap()).unwrap();
        assert_eq!((pieces(shadow), other.reserved_shared), ([(0, 5)].into(), 1));
    });
}

#[test]
fn a_piece_that_is_being_unmapped_follows_none_and_is_followed_by_none() {
    with_shadow::<1>(|_, mut shared, _| {
        let mut piece = || SharedPiece::new(shared.take_front(PAGE).unwrap());
        let [mut first, mut second, third] = [piece(), piece(), piece()];
        assert!(first.is_followed_by(&second) && second.is_followed_by(&third));
        assert!(!first.is_followed_by(&third) && !second.is_followed_by(&first));
        let _memory = second.leave().unwrap();
        assert!(!first.is_followed_by(&second) && !second.is_followed_by(&third));
        let _memory = first.leave().unwrap();
        assert!(!first.is_followed_by(&second));
        assert!(first.leave().is_none());
    });
}

#[test]
fn a_place_that_is_kept_is_reserved() {
    with_shadow::<1>(|shadow, shared, _| {
        let mut own = claim(shadow, 0, 4);
        shadow.lock().reserve_shared(1).unwrap();
        own.keep_shared();
        assert!(!has_place(shadow));
        own.add_shared(shared).unwrap();
        assert_eq!(own.reserved_shared, 0);
        let range = pages(0, PAGES);
        let memory = shadow.lock().leave_shared(&range).unwrap();
        assert!(!shadow.lock().return_shared(range.base(), memory));
        let mut memory = shadow.lock().leave_shared(&range).unwrap();
        let _all = memory.take_front(memory.bytes()).unwrap();
        assert!(shadow.lock().return_shared(range.base(), memory.take_front(0).unwrap()));
        assert!(has_place(shadow));
        shadow.lock().reserve_shared(1).unwrap();
        own.keep_shared();
        drop(own);
        assert!(has_place(shadow));
    });
}

#[test]
fn places_are_reserved_once_and_the_error_says_what_is_missing() {
    with_shadow::<3>(|shadow, mut shared, _| {
        let mut own = claim(shadow, 0, 4);
        let missing = |missing| Err(BuildError::Storage { records: "shared memory", missing });
        assert_eq!(own.reserve_shared(5), missing(2));
        own.reserve_shared(2).unwrap();
        own.reserve_shared(0).unwrap();
        let range = IpaRange::with_size(Ipa::new(SHARED), SHARED).unwrap();
        assert_eq!(own.reserve_shared(2), Err(BuildError::Contended { range }));
        own.reserve_shared(1).unwrap();
        assert_eq!(own.reserved_shared, 3);
        own.add_shared(shared.take_front(3 * PAGE).unwrap()).unwrap();
        let cuts = |first, count| shadow.lock().shared_cuts(&pages(first, count));
        assert_eq!((cuts(0, 3), cuts(1, 2), cuts(0, 2), cuts(1, 1), cuts(3, 2)), (0, 1, 1, 2, 0));
    });
}

#[test]
fn a_shadow_table_that_is_used_is_no_longer_reserved() {
    with_shadow::<1>(|shadow, _, granule| {
        let (mut own, mut other) = (claim(shadow, 0, 1), claim(shadow, 1, 1));
        own.reserve(1).unwrap();
        other.reserve(2).unwrap();
        let full = Err(BuildError::Storage { records: "translation tables", missing: 1 });
        assert_eq!(other.reserve(1), full);
        own.add_table(None, (Level::L2, Ipa::new(0)), granule(), true).unwrap();
        assert_eq!(own.reserved, 0);
        drop(own);
        assert_eq!(other.reserve(1), full);
        drop(other);
        claim(shadow, 1, 1).reserve(2).unwrap();
    });
}

#[test]
fn a_range_that_stays_claimed_is_tried_at_growing_intervals() {
    let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(64 * PAGE).unwrap()).unwrap();
    let retry_budget = RetryBudget { contended: 600, ..RetryBudget::default() };
    let mut options = SessionOptions::default();
    options.retry_budget = retry_budget;
    let rmm = sro::open(model.host(), options, &mut pool).unwrap();
    let mut storage = RealmStorage::<8, 2>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(39), &mut storage, &mut pool).unwrap();
    let attempts = Cell::new(0);
    let refuse = |_: &mut Shadow<'_, Machine<'_>>| {
        attempts.set(attempts.get() + 1);
        None
    };
    let refused = realm.core.hold_by(pages(0, 1), &refuse).err();
    assert_eq!(refused, Some(BuildError::Contended { range: pages(0, 1) }));
    // After 0, 1, 3, 7, 15, 31, 63, 127, 255, 511 and 600 calls of `relax`.
    assert_eq!(attempts.get(), 11);
}
