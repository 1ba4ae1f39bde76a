//! Realms with private memory encryption contexts.

use realm_builder::{BuildError, Realm, RealmConfig, RealmStorage};
use rmi_abi::Status;
use sro::{CallbackMemory, FixedPool};

use crate::fixture::{DIALECTS, Ending, Fixture, options, run_scenario};

#[test]
fn as_many_private_contexts_as_the_rmm_has() {
    for dialect in DIALECTS {
        let scenario = |b: &mut Fixture<'_, '_>| {
            let count = b.rmm.features().mec_count();
            assert_eq!(count, 3);
            let mut storages: Vec<_> =
                (0..count + 2).map(|_| RealmStorage::<4, 0>::new()).collect();
            let mut storages = storages.iter_mut();
            let mut fresh = || storages.next().unwrap();
            let mut private = RealmConfig::new(36);
            private.private_mec = true;
            let new =
                |storage, pool: &mut FixedPool<64>| Realm::create(b.rmm, &private, storage, pool);
            let mut realms: Vec<_> = (0..count).map(|_| new(fresh(), b.pool).unwrap()).collect();

            // One more is refused; the memory that it was made of is back.
            let sum = |pool: &sro::Pool| pool.bytes().0 + pool.bytes().1;
            let before = sum(b.pool);
            let error = new(fresh(), b.pool).unwrap_err().error;
            let BuildError::Call(call) = error else { panic!("{error:?}") };
            assert_eq!((call.status(), call.is_clean()), (Some(Status::ErrorGlobal), true));
            assert_eq!(sum(b.pool), before);
            // This does not concern a Realm that shares a context.
            let shared = RealmConfig::new(36);
            let mut storage = RealmStorage::<4, 0>::new();
            let realm = Realm::create(b.rmm, &shared, &mut storage, b.pool).unwrap();
            assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(b.pool, drop), []).error, None);
            // After one is destroyed, another can be created.
            assert_eq!(
                realms
                    .pop()
                    .unwrap()
                    .tear_down(&mut CallbackMemory::freeing(b.pool, drop), [])
                    .error,
                None
            );
            realms.push(new(fresh(), b.pool).unwrap());
            let torn = realms
                .into_iter()
                .map(|realm| realm.tear_down(&mut CallbackMemory::freeing(b.pool, drop), []).error);
            torn.into_iter().all(|error| error.is_none())
        };
        let mut options = options(dialect);
        options.features[4] = 3;
        let (mut ending, _) = run_scenario(options, None, &scenario);
        assert_eq!(core::mem::take(&mut ending.failed), 1);
        assert_eq!(ending, Ending::GOOD, "{dialect}");
    }
}
