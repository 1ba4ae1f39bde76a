//! Any sequence of changes to what a Realm's trees show.

use std::cell::Cell;

use proptest::prelude::*;
use realm_builder::{Content, FoldPolicy, New, PlaneTables, Realm, RealmStorage, Region};
use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange};

use crate::bench::{
    Bench, DIALECTS, Ending, MIB2, PAGE, Platform, RAM, config, live, options, range,
};
use crate::life::tree;

const BLOCKS: u64 = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
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
    edges.prop_map(|(one, two)| range(RAM + one.min(two) * PAGE, one.abs_diff(two) * PAGE))
}

fn steps() -> impl Strategy<Value = Step> {
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
fn take(realm: &Realm<'_, '_, Platform<'_>, New>, b: &mut Bench<'_, '_, '_>, step: Step) -> u64 {
    match step {
        Step::Show(index, range) => {
            realm.map_plane(b.pool, tree(index), range).unwrap();
            let again = realm.map_plane(b.pool, tree(index), range).unwrap();
            assert_eq!((again.bytes, again.not_ram), (0, 0));
        }
        Step::Hide(index, range) => realm.unmap_plane(tree(index), range).unwrap(),
        Step::Split(range) => realm.make_tables(b.pool, range, Level::L3).unwrap(),
        Step::Fold(range, policy) => return realm.fold(b.pool, range, policy).unwrap().kept,
        Step::Reclaim(range) => {
            let home = &mut |memory| b.heap.insert(memory).unwrap();
            realm.reclaim(b.pool, range, home).unwrap();
        }
    }
    0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The RMM refuses nothing but to fold tables whose entries differ in their RIPAS.
    #[test]
    fn no_call_fails(steps in prop::collection::vec(steps(), 1..24)) {
        for dialect in DIALECTS {
            let refused = Cell::new(0);
            let life = |b: &mut Bench<'_, '_, '_>| {
                let mut storage = Box::new(RealmStorage::<48, 4>::new());
                let config = config(2, PlaneTables::PerPlane);
                let mut realm = Realm::create(b.rmm, &config, &mut *storage, b.pool).unwrap();
                let first = b.heap.take(2 * MIB2, MIB2).unwrap();
                let last = b.heap.take(MIB2, MIB2).unwrap();
                let mut regions = [
                    Region::new(Ipa::new(RAM), first, Content::Unspecified),
                    Region::new(Ipa::new(RAM + 2 * MIB2), last, Content::Unspecified),
                ];
                realm.populate(b.pool, &mut regions, &mut |_| {}).unwrap();
                for step in &steps {
                    refused.set(refused.get() + take(&realm, b, *step));
                }
                let home = &mut |memory| b.heap.insert(memory).unwrap();
                realm.tear_down([], b.pool, home).is_none()
            };
            let (mut ending, _) = live(options(dialect).range_capable(), None, &life);
            prop_assert_eq!(core::mem::take(&mut ending.failed), refused.get());
            prop_assert_eq!(ending, Ending::GOOD);
        }
    }
}
