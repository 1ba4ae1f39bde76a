//! Several threads that change the trees of one Realm.

use realm_builder::{
    BuildError, Content, FoldPolicy, New, PlaneTables, Realm, RealmStorage, Region,
};
use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::Undelegated;
use sro::{CallbackMemory, FixedPool, Pool};

use crate::fixture::{
    DIALECTS, Ending, Fixture, MIB2, PAGE, Platform, RAM, config, options, range, run_scenario,
};
use crate::lifecycle::tree;

const THREADS: u64 = 3;
const ROUNDS: u64 = 12;

/// Maps, unmaps, splits and folds one block in an auxiliary tree, again and again.
fn work(
    realm: &Realm<'_, Platform<'_>, New>,
    memory: Undelegated,
    block: IpaRange,
) -> Vec<Undelegated> {
    let mut memory = memory;
    let mut pool = FixedPool::<64>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory).unwrap();
    let first = block.base().raw();
    for round in 0..ROUNDS {
        let index = tree(1 + u8::try_from(round % 2).unwrap());
        // For a while, the thread that creates the first tables has claimed more than the block.
        let shown = loop {
            match realm.map_plane(&mut pool, index, block) {
                Err(BuildError::Contended { .. }) => std::thread::yield_now(),
                shown => break shown.unwrap(),
            }
        };
        assert_eq!(shown.bytes, MIB2);
        realm.make_tables(&mut pool, range(first, PAGE), Level::L3).unwrap();
        let pages = range(first + round * PAGE, 3 * PAGE);
        assert_eq!(realm.map_plane(&mut pool, index, pages).unwrap().bytes, 3 * PAGE);
        if round % 3 == 0 {
            realm.unmap_plane(index, pages).unwrap();
        }
        let folded = realm.fold(&mut pool, block, FoldPolicy::Blocks).unwrap();
        assert_eq!((folded.blocks, folded.auxiliary, folded.kept), (1, 1, 0));
    }
    let mut back = Vec::new();
    pool.drain(realm.rmm(), &mut |memory| back.push(memory));
    back
}

#[test]
fn a_thread_claims_a_range_in_all_trees() {
    for dialect in DIALECTS {
        let scenario = |b: &mut Fixture<'_, '_>| {
            let mut storage = Box::new(RealmStorage::<48, 4>::new());
            let config = config(2, PlaneTables::PerPlane);
            let mut realm = Realm::create(b.rmm, &config, &mut *storage, b.pool).unwrap();
            let blocks = b.heap.take(2 * MIB2, MIB2).unwrap();
            let last = b.heap.take(MIB2, MIB2).unwrap();
            let mut regions = [
                Region::new(Ipa::new(RAM), blocks, Content::Unspecified),
                Region::new(Ipa::new(RAM + 2 * MIB2), last, Content::Unspecified),
            ];
            realm.populate(b.pool, &mut regions).unwrap();
            let mut back = Vec::new();
            std::thread::scope(|scope| {
                let realm = &realm;
                let threads: Vec<_> = (0..THREADS)
                    .map(|thread| {
                        let memory = b.heap.take(26 * PAGE, PAGE).unwrap();
                        let block = range(RAM + thread * MIB2, MIB2);
                        scope.spawn(move || work(realm, memory, block))
                    })
                    .collect();
                for thread in threads {
                    back.append(&mut thread.join().unwrap());
                }
            });
            for memory in back {
                b.heap.insert(memory).unwrap();
            }
            let give_back = &mut |memory| b.heap.insert(memory).unwrap();
            realm
                .tear_down(&mut CallbackMemory::freeing(b.pool, &mut *give_back), [])
                .error
                .is_none()
        };
        let (ending, _) = run_scenario(options(dialect).range_capable(), None, &scenario);
        assert_eq!(ending, Ending::GOOD, "{dialect}");
    }
}
