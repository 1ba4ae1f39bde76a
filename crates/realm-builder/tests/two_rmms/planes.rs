//! Any sequence of changes to what the trees of a Realm with planes map.

use core::cell::RefCell;

use proptest::prelude::*;
use realm_builder::{Content, New, PlaneTables, Realm, RealmConfig, Region};
use rmi_abi::Ipa;
use rmi_abi::rtt::Level;
use rmi_host::Platform;
use sro::{CallbackMemory, FixedPool};

use crate::rmms::{Both, D};
use crate::step::{RAM, Step, steps, take};
use crate::{Heap, MIB, PAGE, Scenario, run_scenario};

struct Sequence(Vec<Step>);

impl Scenario for Sequence {
    fn run<P: Platform>(
        &self,
        _: &Both,
        mut realm: Realm<'_, P, New>,
        pool: &mut FixedPool<64>,
        heap: &mut Heap,
    ) {
        let first = heap.take(4 * MIB, 2 * MIB).unwrap();
        let last = heap.take(2 * MIB, 2 * MIB).unwrap();
        let mut regions = [
            Region::new(Ipa::new(RAM), first, Content::Unspecified),
            Region::new(Ipa::new(RAM + 4 * MIB), last, Content::Unspecified),
        ];
        realm.populate(pool, &mut regions).unwrap();
        let heap = RefCell::new(heap);
        let supply = &mut |bytes| heap.borrow_mut().take(bytes, PAGE).unwrap();
        let give_back = &mut |memory| heap.borrow_mut().insert(memory).unwrap();
        for step in &self.0 {
            take(&realm, pool, supply, give_back, *step);
        }
        assert_eq!(
            realm.tear_down(&mut CallbackMemory::freeing(pool, &mut *give_back), []).error,
            None
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_rmms_show_the_same(steps in prop::collection::vec(steps(), 1..24)) {
        let mut config = RealmConfig::new(40);
        config.start_level = Some(Level::L1);
        (config.num_aux_planes, config.plane_tables) = (2, Some(PlaneTables::PerPlane));
        let both = Both::new();
        if both.dialect() == D {
            run_scenario(&both, &config, &Sequence(steps));
        }
    }
}
