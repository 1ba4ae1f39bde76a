//! RECs of another Realm whose descriptor has the same address. Safe code only.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::{AnyRealm, New, Realm, RealmConfig, RealmStorage, RecStart, shutdown};
use rmi_abi::{Dialect, Ipa};
use rmi_host::{CountingLedger, Error, FixedQuarantine, Host, Platform, RealmNumber};
use rmm_model::Model;
use sro::{FixedPool, RecObject};

const DIALECT: Dialect = Dialect::TfRmm2026_07;

type Storage = RealmStorage<4, 4>;

const START: RecStart = RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] };

fn create<'r, P: Platform>(
    rmm: &'r rmi_host::Rmm<P>,
    storage: &'r mut Storage,
    pool: &mut FixedPool<16>,
) -> (Realm<'r, P, New>, RecObject) {
    let mut realm = Realm::create(rmm, &RealmConfig::new(40), storage, pool).unwrap();
    let rec = realm.create_rec(pool, &START).unwrap();
    (realm, rec)
}

fn is_refused(error: &Error) {
    let what = "the REC belongs to another Realm";
    assert!(matches!(error, Error::Argument { what: why, .. } if *why == what), "{error}");
}

#[test]
fn sound_3_a_realm_refuses_a_rec_of_another_machine_at_the_same_address() {
    let (one, two): (Model, Model) = (test_support::model(DIALECT), test_support::model(DIALECT));
    let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<8>::new());
    let mut pools: [FixedPool<16>; 2] =
        [&one, &two].map(|model| test_support::pool(&mut model.take_memory(), 1 << 20));
    let [mine, theirs] = &mut pools;
    let platform: Host<_, _, _, _> = one.host().with_ledger(&ledger).with_quarantine(&quarantine);
    let (here, there) =
        (test_support::open(platform, mine), test_support::open(two.host(), theirs));
    let (mut storage, mut other_storage) = (Storage::new(), Storage::new());
    let (mut realm, rec) = create(&here, &mut storage, mine);
    let (other, foreign) = create(&there, &mut other_storage, theirs);
    assert_eq!(realm.rd().pa(), other.rd().pa());
    assert_eq!(rec.name().pa(), foreign.name().pa());
    assert_ne!(realm.rd().number(), other.rd().number());

    // It is no REC of the Realm, and so nothing is to be counted for it.
    let (calls, donated) = (one.calls(), foreign.donated_bytes());
    let failed = realm.destroy_rec(mine, foreign).unwrap_err();
    is_refused(&failed.error);
    assert_eq!((realm.recs(), one.calls()), (1, calls));
    let foreign = failed.kept.unwrap();

    // At the end it is not destroyed, and does not take the place of the REC of the Realm either.
    let torn = realm.tear_down(mine, [foreign, rec]);
    is_refused(&torn.error.unwrap());
    let _ = torn.storage;
    // What belongs to the other machine is where a session there finds it, and is nothing that this
    // machine has lost.
    let mut bytes = 0;
    quarantine.for_each(|range, _| bytes += range.bytes());
    assert_eq!(bytes, donated + 0x1000);
    assert_eq!((ledger.balance().quarantined, ledger.balance().leaked), (0, 0));
    mine.drain(&here, &mut |_| ());
    assert_eq!(ledger.balance().outstanding(), 0);
    // Without it, that Realm cannot be destroyed.
    assert!(other.tear_down(theirs, []).error.is_some());
}

#[test]
fn sound_3_shutdown_asks_for_the_recs_of_one_realm() {
    let (one, two): (Model, Model) = (test_support::model(DIALECT), test_support::model(DIALECT));
    let mut pools: [FixedPool<16>; 2] =
        [&one, &two].map(|model| test_support::pool(&mut model.take_memory(), 1 << 20));
    let [mine, theirs] = &mut pools;
    let (here, there) =
        (test_support::open(one.host(), mine), test_support::open(two.host(), theirs));
    let (mut storage, mut other_storage) = (Storage::new(), Storage::new());
    let (realm, rec) = create(&here, &mut storage, mine);
    let (other, foreign) = create(&there, &mut other_storage, theirs);
    assert_eq!(realm.rd().pa(), other.rd().pa());

    // Both Realms are of one type and their descriptors have one address.
    let mut recs = vec![foreign, rec];
    let mut rec_of = |realm: RealmNumber| {
        let at = recs.iter().position(|rec| rec.realm() == realm)?;
        Some(recs.swap_remove(at))
    };
    for (realm, pool) in [(realm, mine), (other, theirs)] {
        let mut realms = [Some(AnyRealm::from(realm))];
        let ended = shutdown(&mut realms, &mut rec_of, pool, &mut |_, error| {
            assert!(error.is_none(), "{error:?}");
        });
        assert_eq!((ended.realms, ended.stuck), (1, 0));
    }
}
