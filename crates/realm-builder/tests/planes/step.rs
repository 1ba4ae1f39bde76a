//! Changes to what a Realm's trees show.

use proptest::prelude::*;
use realm_builder::{FoldPolicy, New, Realm};
use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::command::AuxTree;
use rmi_host::{Platform, Undelegated};
use sro::Pool;

/// Where the Realm has its memory: three blocks.
pub(crate) const RAM: u64 = 0x4000_0000;
const BLOCKS: u64 = 3;
const PAGE: u64 = 0x1000;

/// A change.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Show(u8, IpaRange),
    Hide(u8, IpaRange),
    Split(IpaRange),
    Fold(IpaRange, FoldPolicy),
    Reclaim(IpaRange),
}

fn ranges() -> impl Strategy<Value = IpaRange> {
    let pages = BLOCKS * 512;
    let edge = prop_oneof![0..=pages, (0..=BLOCKS).prop_map(|block| block * 512), 0..=8u64];
    let edges = (edge.clone(), edge).prop_filter("not empty", |(one, two)| one != two);
    edges.prop_map(|(one, two)| {
        IpaRange::with_size(Ipa::new(RAM + one.min(two) * PAGE), one.abs_diff(two) * PAGE).unwrap()
    })
}

pub(crate) fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..=2u8, ranges()).prop_map(|(tree, range)| Step::Show(tree, range)),
        1 => (1..=2u8, ranges()).prop_map(|(tree, range)| Step::Hide(tree, range)),
        1 => ranges().prop_map(Step::Split),
        1 => ranges().prop_map(|range| Step::Fold(range, FoldPolicy::Blocks)),
        1 => ranges().prop_map(|range| Step::Fold(range, FoldPolicy::BlocksAndVoid)),
        1 => ranges().prop_map(Step::Reclaim),
    ]
}

/// Takes a step; says how many calls the RMM refuses in it.
pub(crate) fn take<P: Platform>(
    realm: &Realm<'_, '_, P, New>,
    pool: &mut Pool<'_>,
    home: &mut dyn FnMut(Undelegated),
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
            realm.reclaim(pool, range, home).unwrap();
        }
    }
    0
}
