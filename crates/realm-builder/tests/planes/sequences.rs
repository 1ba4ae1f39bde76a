//! Any sequence of changes to what the trees of a Realm map.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use realm_builder::{Content, PlaneTables, Realm, RealmStorage, Region};
use rmi_abi::Ipa;

use crate::fixture::{DIALECTS, Ending, Fixture, MIB2, PAGE, config, options, run_scenario};
use crate::step::{RAM, steps, take};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The RMM refuses nothing except folding tables whose entries differ in RIPAS.
    #[test]
    fn no_call_fails(steps in prop::collection::vec(steps(), 1..24)) {
        for dialect in DIALECTS {
            let refused = Cell::new(0);
            let scenario = |b: &mut Fixture<'_, '_>| {
                let mut storage = Box::new(RealmStorage::<48, 32>::new());
                let config = config(2, PlaneTables::PerPlane);
                let mut realm = Realm::create(b.rmm, &config, &mut *storage, b.pool).unwrap();
                let first = b.heap.take(2 * MIB2, MIB2).unwrap();
                let last = b.heap.take(MIB2, MIB2).unwrap();
                let mut regions = [
                    Region::new(Ipa::new(RAM), first, Content::Unspecified),
                    Region::new(Ipa::new(RAM + 2 * MIB2), last, Content::Unspecified),
                ];
                realm.populate(b.pool, &mut regions).unwrap();
                for step in &steps {
                    let heap = RefCell::new(&mut *b.heap);
                    let supply = &mut |bytes| heap.borrow_mut().take(bytes, PAGE).unwrap();
                    let give_back = &mut |memory| heap.borrow_mut().insert(memory).unwrap();
                    refused.set(refused.get() + take(&realm, b.pool, supply, give_back, *step));
                }
                let give_back = &mut |memory| b.heap.insert(memory).unwrap();
                realm
                    .tear_down(&mut sro::CallbackMemory::freeing(b.pool, &mut *give_back), [])
                    .error
                    .is_none()
            };
            let (mut ending, _) = run_scenario(options(dialect).range_capable(), None, &scenario);
            prop_assert_eq!(core::mem::take(&mut ending.failed), refused.get());
            prop_assert_eq!(ending, Ending::GOOD);
        }
    }
}
