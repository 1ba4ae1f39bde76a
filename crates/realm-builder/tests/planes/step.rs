//! Changes to what the trees of a Realm map.

use proptest::prelude::*;
use realm_builder::{BuildError, FoldPolicy, New, NotTerminated, Realm, RegionProblem};
use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::command::{AuxTree, SharedAccess};
use rmi_host::{Platform, Undelegated};
use sro::{CallbackMemory, FixedPool};

/// Where the Realm has its memory: three blocks.
pub(crate) const RAM: u64 = 0x4000_0000;
const BLOCKS: u64 = 3;
const SHARED: u64 = 1 << 39;
const PAGE: u64 = 0x1000;

/// A change.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Show(u8, IpaRange),
    Hide(u8, IpaRange),
    Split(IpaRange),
    Fold(IpaRange, FoldPolicy),
    Reclaim(IpaRange),
    Share(IpaRange),
    Unshare(IpaRange),
    ShowShared(u8, IpaRange),
    HideShared(u8, IpaRange),
}

fn ranges() -> impl Strategy<Value = IpaRange> {
    let pages = BLOCKS * 512;
    let edge = prop_oneof![0..=pages, (0..=BLOCKS).prop_map(|block| block * 512), 0..=8u64];
    let edges = (edge.clone(), edge).prop_filter("not empty", |(one, two)| one != two);
    edges.prop_map(|(one, two)| {
        IpaRange::with_size(Ipa::new(RAM + one.min(two) * PAGE), one.abs_diff(two) * PAGE).unwrap()
    })
}

/// A few pages below one of two root entries of the unprotected half, around the ends of tables and
/// of the root entry.
fn shared_ranges() -> impl Strategy<Value = IpaRange> {
    let base = (0..2u64, prop_oneof![4 => 0..6u64, 4 => 508..514u64, 1 => 0x3fffc..0x40000u64]);
    (base, 1..6u64).prop_map(|((root, page), pages)| {
        IpaRange::with_size(Ipa::new(SHARED + (root << 30) + page * PAGE), pages * PAGE).unwrap()
    })
}

/// Ranges that include much memory that is not shared.
fn wide_ranges() -> impl Strategy<Value = IpaRange> {
    let both = IpaRange::with_size(Ipa::new(SHARED), 2 << 30).unwrap();
    let most = IpaRange::with_size(Ipa::new(SHARED), (1 << 30) + 4 * PAGE).unwrap();
    prop_oneof![4 => shared_ranges(), 1 => Just(both), 1 => Just(most)]
}

pub(crate) fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..=2u8, ranges()).prop_map(|(tree, range)| Step::Show(tree, range)),
        1 => (1..=2u8, ranges()).prop_map(|(tree, range)| Step::Hide(tree, range)),
        1 => ranges().prop_map(Step::Split),
        1 => ranges().prop_map(|range| Step::Fold(range, FoldPolicy::Blocks)),
        1 => ranges().prop_map(|range| Step::Fold(range, FoldPolicy::BlocksAndVoid)),
        1 => ranges().prop_map(Step::Reclaim),
        2 => shared_ranges().prop_map(Step::Share),
        1 => wide_ranges().prop_map(Step::Unshare),
        2 => (1..=2u8, wide_ranges()).prop_map(|(tree, range)| Step::ShowShared(tree, range)),
        1 => (1..=2u8, wide_ranges()).prop_map(|(tree, range)| Step::HideShared(tree, range)),
    ]
}

/// Maps what is shared with a Realm in an auxiliary tree.
#[expect(unsafe_code, reason = "no plane of these Realms has any translation cached")]
pub(crate) fn show_shared<P: Platform, S: NotTerminated>(
    realm: &Realm<'_, P, S>,
    pool: &mut FixedPool<64>,
    tree: AuxTree,
    range: IpaRange,
) -> Result<(), BuildError> {
    // SAFETY: the memory is a model's, or that of firmware which is only simulated: nothing caches
    // translations there.
    unsafe { realm.map_plane_shared(pool, tree, range) }
}

/// Makes the change; says how many calls the RMM refuses in it.
pub(crate) fn take<P: Platform>(
    realm: &Realm<'_, P, New>,
    pool: &mut FixedPool<64>,
    supply: &mut dyn FnMut(u64) -> Undelegated,
    give_back: &mut dyn FnMut(Undelegated),
    step: Step,
) -> u64 {
    let tree = |index| AuxTree::new(index).unwrap();
    match step {
        Step::Show(index, range) => {
            realm.map_plane(pool, tree(index), range).unwrap();
            let again = realm.map_plane(pool, tree(index), range).unwrap();
            assert_eq!((again.bytes, again.not_ram), (0, 0));
        }
        Step::Hide(index, range) => realm.unmap_plane(tree(index), range).unwrap(),
        Step::Split(range) => realm.make_tables(pool, range, Level::L3).unwrap(),
        Step::Fold(range, policy) => return realm.fold(pool, range, policy).unwrap().kept,
        Step::Reclaim(range) => {
            let done =
                realm.reclaim(&mut CallbackMemory::freeing(pool, &mut *give_back), range).unwrap();
            assert_eq!(done, realm_builder::Reclaimed::Whole);
        }
        Step::Share(range) => {
            let memory = supply(range.bytes());
            let access = SharedAccess::MEMORY;
            if let Err(failed) = realm.share(pool, range.base(), memory, access) {
                let problem = matches!(
                    failed.error,
                    BuildError::Region { problem: RegionProblem::Overlap { .. }, .. }
                );
                assert!(problem, "{failed}");
                give_back(failed.host);
            }
        }
        Step::Unshare(range) => {
            realm.unshare(&mut CallbackMemory::freeing(pool, &mut *give_back), range).unwrap()
        }
        Step::ShowShared(index, range) => {
            if let Err(error) = show_shared(realm, pool, tree(index), range) {
                let problem = matches!(
                    error,
                    BuildError::Region { problem: RegionProblem::NoMemory { .. }, .. }
                );
                assert!(problem && realm.rmm().dialect().aux_maps_by_range(), "{error}");
            }
        }
        Step::HideShared(index, range) => realm.unmap_plane_shared(tree(index), range).unwrap(),
    }
    0
}
