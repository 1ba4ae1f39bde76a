//! Code of the embedder panics while a part of a region is populated, and the program continues:
//! the rest of the region does not take the place of that part.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests, and panics on purpose")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use realm_builder::{BuildError, Content, Realm, RealmConfig, RealmStorage, Region, RegionProblem};
use rmi_abi::{Dialect, Ipa};
use rmi_host::Undelegated;
use rmm_model::{Model, Options};
use sro::{FixedPool, HostMemory, Pool, open};

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;
const BASE: Ipa = Ipa::new(0x8000_0000);

/// A pool that is not available in one of its uses.
struct Fused {
    pool: FixedPool<16>,
    uses_left: u32,
}

impl HostMemory for Fused {
    fn pool(&mut self) -> &mut Pool {
        self.uses_left = self.uses_left.wrapping_sub(1);
        assert_ne!(self.uses_left, 0, "on purpose");
        &mut self.pool
    }
}

/// Populates the first half of a region and is interrupted at some use of the pool; returns whether
/// it was.
fn interrupted(at: u32, make: impl Fn(&mut Undelegated) -> Region<'static>) -> bool {
    let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
    let mut memory = model.take_memory();
    let mut source = Fused { pool: FixedPool::new(), uses_left: 0 };
    source.pool.add(memory.take_front(64 * PAGE).unwrap()).unwrap();
    let rmm = open(model.host(), Default::default(), &mut source.pool).unwrap();
    let mut storage = RealmStorage::<16, 0>::new();
    let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut source).unwrap();
    let mut regions = [make(&mut memory)];
    let whole = regions[0].range();

    source.uses_left = at;
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        realm.populate_some(&mut source, &mut regions, whole.bytes() / 2)
    }));
    std::panic::set_hook(quiet);
    source.uses_left = 0;
    let calls = model.calls();
    let again = realm.populate(&mut source, &mut regions);
    match outcome {
        Ok(left) => {
            assert_eq!((left, again), (Ok(whole.bytes() / 2), Ok(())));
            assert_eq!(regions[0].range().base(), whole.top());
        }
        // Before anything was begun, all is as it was.
        Err(_) if again.is_ok() => assert_eq!(regions[0].range().base(), whole.top()),
        Err(_) => {
            let Err(BuildError::Region { problem, .. }) = again else { panic!("{again:?}") };
            assert_eq!(problem, RegionProblem::Lost { bytes: whole.bytes() / 2 }, "at {at}");
            assert_eq!(model.calls(), calls);
        }
    }
    drop(realm);
    outcome.is_err()
}

#[test]
fn sound_1_a_part_that_was_interrupted_is_not_replaced_by_the_rest() {
    static CONTENT: [u8; 0x3800] = [0xa5; 0x3800];
    for content in [Content::Unspecified, Content::Measured(&CONTENT)] {
        let region = |memory: &mut Undelegated| {
            Region::new(BASE, memory.take_front(4 * PAGE).unwrap(), content)
        };
        let count = (1..16).filter(|at| interrupted(*at, region)).count();
        assert!(count >= 2, "{content:?}: {count}");
    }
    let count = (1..16).filter(|at| interrupted(*at, |_| Region::without_memory(BASE, 4 * BLOCK)));
    assert!(count.count() >= 2);
}
