//! What auxiliary trees map, and how changes to the primary tree affect it.

use realm_builder::plan::Limits;
use realm_builder::{
    BuildError, Content, DismantleProgress, FoldPolicy, New, PlaneTables, Realm, RealmStorage,
    RecStart, Region, RegionProblem, Served,
};
use rmi_abi::esr::fault_page;
use rmi_abi::rtt::Level;
use rmi_abi::run::ExitReason;
use rmi_abi::{Command, Ipa, IpaRange};
use rmi_host::Error;
use rmi_host::command::AuxTree;
use rmm_model::{Action, Script};
use sro::CallbackMemory;

use crate::fixture::{
    DIALECTS, Ending, Fixture, MIB2, PAGE, Platform, RAM, config, options, range, run_scenario,
};
use crate::lifecycle::{BLOCKS, enter, tree};

type Storage = RealmStorage<48, 4>;

/// Three pages at RAM and two blocks at BLOCKS.
fn populate(realm: &mut Realm<'_, Platform<'_>, New>, b: &mut Fixture<'_, '_>) {
    let pages = b.heap.take(3 * PAGE, PAGE).unwrap();
    let blocks = b.heap.take(2 * MIB2, MIB2).unwrap();
    let mut regions = [
        Region::new(Ipa::new(RAM), pages, Content::Unspecified),
        Region::new(Ipa::new(BLOCKS), blocks, Content::Unspecified),
    ];
    realm.populate(b.pool, &mut regions).unwrap();
}

/// Does something with a new Realm that has three trees, in both dialects, on RMMs that take ranges
/// and on RMMs that take tables; no call may fail.
fn with_realm(test: impl Fn(&mut Realm<'_, Platform<'_>, New>, &mut Fixture<'_, '_>)) {
    for dialect in DIALECTS {
        for options in [options(dialect), options(dialect).range_capable()] {
            let scenario = |b: &mut Fixture<'_, '_>| {
                let mut storage = Storage::new();
                let config = config(2, PlaneTables::PerPlane);
                let mut realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
                assert_eq!((realm.aux_trees(), realm.tables()), (2, 6));
                populate(&mut realm, b);
                test(&mut realm, b);
                let give_back = &mut |memory| b.heap.insert(memory).unwrap();
                realm
                    .tear_down(&mut CallbackMemory::freeing(b.pool, &mut *give_back), [])
                    .error
                    .is_none()
            };
            assert_eq!(run_scenario(options, None, &scenario).0, Ending::GOOD, "{dialect}");
        }
    }
}

fn reclaim(realm: &Realm<'_, Platform<'_>, New>, b: &mut Fixture<'_, '_>, range: IpaRange) {
    let Fixture { pool, heap, .. } = b;
    let done = realm
        .reclaim(&mut CallbackMemory::freeing(pool, |memory| heap.insert(memory).unwrap()), range)
        .unwrap();
    assert_eq!(done, realm_builder::Reclaimed::Whole);
}

#[test]
fn a_plane_faults_in_its_own_tree_and_is_served() {
    for dialect in DIALECTS {
        for planes in 1..=3 {
            let scenario = |b: &mut Fixture<'_, '_>| {
                let mut storage = Storage::new();
                let config = config(planes, PlaneTables::PerPlane);
                let mut realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
                populate(&mut realm, b);
                b.pool.prefill(b.rmm, 17 * PAGE, PAGE).unwrap();
                let start = RecStart { runnable: true, pc: Ipa::new(RAM), gprs: [0; 8] };
                let rec = realm.create_rec(b.pool, &start).unwrap();
                let load = |ipa| Action::Load { ipa: Ipa::new(ipa), bytes: 8 };
                let loads = [RAM, RAM + 2 * PAGE, BLOCKS + MIB2 - PAGE, BLOCKS + PAGE];
                let script = Script::new(loads.map(load).to_vec());
                b.model.set_guest(realm.rd().pa(), 0, Box::new(script));
                let realm = realm.activate().unwrap();
                // What is mapped around the first address; then the block as a whole.
                let whole = [range(RAM, PAGE), range(BLOCKS, MIB2)];
                for (at, memory) in [RAM, BLOCKS + MIB2 - PAGE].into_iter().zip(whole) {
                    let (reason, exit) = enter(b, &rec).unwrap();
                    assert_eq!((reason, exit.rtt_tree), (ExitReason::Sync, 1));
                    let ipa = Ipa::new(fault_page(exit.hpfar).raw());
                    assert_eq!(ipa.raw(), at);
                    let window = match at {
                        RAM => range(RAM, 3 * PAGE),
                        at => range(at, PAGE),
                    };
                    // Nothing is missing in the primary tree.
                    let tree = exit.rtt_tree;
                    let served = realm.serve_plane_fault(
                        &mut CallbackMemory::freeing(b.pool, drop),
                        tree,
                        ipa,
                        window,
                    );
                    assert_eq!(served, Ok(Served::Mapped(memory)));
                    let again = realm.serve_plane_fault(
                        &mut CallbackMemory::freeing(b.pool, drop),
                        tree,
                        ipa,
                        window,
                    );
                    assert_eq!(again, Ok(Served::Present));
                }
                assert_eq!(enter(b, &rec).unwrap().0, ExitReason::Fiq);
                let give_back = &mut |memory| b.heap.insert(memory).unwrap();
                realm
                    .tear_down(&mut CallbackMemory::freeing(b.pool, &mut *give_back), [rec])
                    .error
                    .is_none()
            };
            let options = options(dialect).range_capable();
            assert_eq!(
                run_scenario(options, None, &scenario).0,
                Ending::GOOD,
                "{dialect}, {planes}"
            );
        }
    }
}

#[test]
fn what_is_shown_is_hidden_before_it_goes() {
    with_realm(|realm, b| {
        let everything = range(RAM, 4 * MIB2);
        for index in 1..=2 {
            let shown = realm.map_plane(b.pool, tree(index), everything).unwrap();
            assert_eq!((shown.bytes, shown.not_ram), (2 * MIB2 + 3 * PAGE, 0));
            // Nothing is mapped twice.
            let again = realm.map_plane(b.pool, tree(index), everything).unwrap();
            assert_eq!((again.bytes, again.not_ram), (0, 0));
        }
        reclaim(realm, b, range(RAM + PAGE, PAGE));
        // A block is split: all of it is unmapped in the auxiliary trees.
        reclaim(realm, b, range(BLOCKS + 5 * PAGE, PAGE));
        for index in 1..=2 {
            let shown = realm.map_plane(b.pool, tree(index), range(RAM, PAGE)).unwrap();
            assert_eq!(shown.bytes, 0);
            let shown = realm.map_plane(b.pool, tree(index), range(BLOCKS, 8 * PAGE)).unwrap();
            assert_eq!(shown.bytes, 7 * PAGE);
        }
        realm.unmap_plane(tree(1), range(BLOCKS, 4 * PAGE)).unwrap();
        let shown = realm.map_plane(b.pool, tree(1), range(BLOCKS, 6 * PAGE)).unwrap();
        assert_eq!(shown.bytes, 4 * PAGE);
        reclaim(realm, b, everything);
        assert_eq!(realm.memory_bytes(), 0);
    });
}

#[test]
fn tables_are_folded_in_all_trees() {
    with_realm(|realm, b| {
        let block = range(BLOCKS, MIB2);
        let before = realm.tables();
        realm.make_tables(b.pool, block, Level::L3).unwrap();
        // One tree maps all of the table, the other one a part.
        realm.map_plane(b.pool, tree(1), block).unwrap();
        realm.map_plane(b.pool, tree(2), range(BLOCKS + PAGE, PAGE)).unwrap();
        let folded = realm.fold(b.pool, block, FoldPolicy::Blocks).unwrap();
        assert_eq!((folded.blocks, folded.auxiliary, folded.kept), (1, 2, 0));
        assert_eq!(folded.granules(), 3);
        // A table of level 2 remains in each tree, where blocks are mapped now.
        assert_eq!(realm.tables(), before + 2);
        for index in 1..=2 {
            let shown = realm.map_plane(b.pool, tree(index), range(BLOCKS, PAGE)).unwrap();
            assert_eq!(shown.bytes, MIB2);
        }
        // Permissions and RIPAS are the same everywhere, so tables that map nothing are folded as
        // well.
        realm.make_tables(b.pool, range(RAM + 8 * MIB2, PAGE), Level::L3).unwrap();
        let void = range(RAM + 8 * MIB2, MIB2);
        let folded = realm.fold(b.pool, void, FoldPolicy::BlocksAndVoid).unwrap();
        assert_eq!((folded.void, folded.auxiliary, folded.kept), (1, 0, 0));
    });
}

#[test]
fn memory_that_is_not_ram_is_not_shown() {
    for dialect in DIALECTS {
        let scenario = |b: &mut Fixture<'_, '_>| {
            let mut storage = Storage::new();
            let config = config(1, PlaneTables::PerPlane);
            let mut realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
            populate(&mut realm, b);
            let page = b.heap.take(PAGE, PAGE).unwrap();
            realm.map(b.pool, Ipa::new(RAM + 3 * PAGE), page).unwrap();
            let shown = realm.map_plane(b.pool, tree(1), range(RAM, 4 * PAGE)).unwrap();
            assert_eq!((shown.bytes, shown.not_ram), (3 * PAGE, PAGE));
            let give_back = &mut |memory| b.heap.insert(memory).unwrap();
            realm
                .tear_down(&mut CallbackMemory::freeing(b.pool, &mut *give_back), [])
                .error
                .is_none()
        };
        let (mut ending, _) = run_scenario(options(dialect), None, &scenario);
        assert_eq!(core::mem::take(&mut ending.failed), 1);
        assert_eq!(ending, Ending::GOOD);
    }
}

#[test]
fn what_is_no_tree_or_no_range_is_refused_without_a_call() {
    with_realm(|realm, b| {
        let calls = b.model.calls();
        let page = range(RAM, PAGE);
        let no_tree = realm.map_plane(b.pool, tree(3), page).unwrap_err();
        assert!(matches!(no_tree, BuildError::NoTree { tree: 3, trees: 2, .. }), "{no_tree:?}");
        assert!(realm.unmap_plane(tree(3), page).is_err());
        for far in [3, 4, u64::MAX] {
            let served = realm
                .serve_plane_fault(
                    &mut CallbackMemory::freeing(b.pool, drop),
                    far,
                    page.base(),
                    page,
                )
                .unwrap_err();
            assert!(matches!(served, BuildError::NoTree { trees: 2, .. }), "{served:?}");
        }
        for (range, expected) in [
            (range(1 << 39, PAGE), RegionProblem::NotProtected),
            (IpaRange::empty(Ipa::new(RAM)), RegionProblem::Empty),
        ] {
            let error = realm.map_plane(b.pool, tree(1), range).unwrap_err();
            assert!(matches!(error, BuildError::Region { problem, .. } if problem == expected));
            assert!(realm.unmap_plane(tree(1), range).is_err());
        }
        assert_eq!(b.model.calls(), calls);
    });
}

#[test]
fn a_lack_of_memory_is_reported_before_the_realm_is_created() {
    for dialect in DIALECTS {
        let scenario = |b: &mut Fixture<'_, '_>| {
            let config = config(3, PlaneTables::PerPlane);
            // Eight root tables, and a descriptor, for which the pool has no granule.
            let mut few = RealmStorage::<5, 0>::new();
            let error = Realm::create(b.rmm, &config, &mut few, b.pool).unwrap_err().error;
            assert!(matches!(error, BuildError::Storage { missing: 3, .. }), "{error:?}");
            let (host, free) = b.pool.bytes();
            let rest = b.pool.take_host(host - 8 * PAGE, PAGE).unwrap();
            assert_eq!((b.pool.bytes(), free), ((8 * PAGE, 0), 0));
            let mut storage = Storage::new();
            let error = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap_err().error;
            let BuildError::Call(error @ Error::NeedMemory { bytes, .. }) = error else {
                panic!("{error:?}");
            };
            assert_eq!((error.command(), bytes), (Some(Command::RealmCreate), PAGE));
            // Enough granules, but not in pairs: what was taken is given back.
            b.pool.add(rest).unwrap();
            let mut kept = Vec::new();
            while let Some(pair) = b.pool.take_host(2 * PAGE, 2 * PAGE) {
                kept.push(pair);
            }
            for mut pair in kept.drain(..) {
                let first = pair.take_front(PAGE).unwrap();
                b.heap.insert(first).unwrap();
                if b.pool.bytes().0 < 3 * PAGE {
                    b.pool.add(pair).unwrap();
                } else {
                    b.heap.insert(pair).unwrap();
                }
            }
            b.pool.add(b.heap.take(6 * PAGE, 2 * PAGE).unwrap()).unwrap();
            let before = b.pool.bytes();
            let error = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap_err().error;
            assert!(matches!(error, BuildError::Call(Error::NeedMemory { .. })), "{error:?}");
            let after = b.pool.bytes();
            assert_eq!(before.0 + before.1, after.0 + after.1);
            true
        };
        assert_eq!(run_scenario(options(dialect), None, &scenario).0, Ending::GOOD);
    }
}

#[test]
fn a_realm_whose_memory_is_shown_is_dismantled_call_by_call() {
    for (dialect, limits) in DIALECTS
        .into_iter()
        .flat_map(|dialect| [Limits::ONE_BY_ONE, Limits::RANGES].map(|limits| (dialect, limits)))
    {
        let scenario = |b: &mut Fixture<'_, '_>| {
            let mut storage = Storage::new();
            let config = config(3, PlaneTables::PerPlane);
            let mut realm = Realm::create(b.rmm, &config, &mut storage, b.pool).unwrap();
            populate(&mut realm, b);
            for index in 1..=3 {
                let everything = range(RAM, 4 * MIB2);
                realm.map_plane(b.pool, AuxTree::new(index).unwrap(), everything).unwrap();
            }
            let mut realm = realm.terminate().unwrap();
            let (expected, before) = (realm.dismantle_cost(limits).calls(), b.model.calls());
            let give_back = &mut |memory| b.heap.insert(memory).unwrap();
            let (mut steps, mut most) = (0, 0);
            loop {
                let calls = b.model.calls();
                let progress = realm
                    .dismantle(&mut CallbackMemory::freeing(b.pool, &mut *give_back), 1)
                    .unwrap();
                most = most.max(b.model.calls() - calls);
                steps += 1;
                if progress == DismantleProgress::Empty {
                    break;
                }
            }
            assert_eq!((realm.memory_bytes(), realm.tables(), most), (0, 8, 1));
            assert!(steps > 12, "{steps}");
            assert_eq!(b.model.calls() - before, expected, "{dialect}, {limits:?}");
            realm.destroy(&mut CallbackMemory::freeing(b.pool, &mut *give_back)).is_ok()
        };
        let mut options = options(dialect);
        if limits == Limits::RANGES {
            options = options.range_capable();
        }
        assert_eq!(run_scenario(options, None, &scenario).0, Ending::GOOD);
    }
}
