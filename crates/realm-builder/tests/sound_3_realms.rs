//! RECs of another Realm whose descriptor has the same address. Safe code only.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::{
    AnyRealm, BuildError, Content, New, Realm, RealmConfig, RealmStorage, RecStart, Region,
    shutdown,
};
use rmi_abi::{Dialect, Ipa};
use rmi_host::{CountingLedger, Error, FixedQuarantine, Host, Platform, RealmNumber, Subject};
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

/// Memory of another machine is refused before the first region is populated.
#[test]
fn sound_3_a_realm_is_not_populated_in_part_before_foreign_memory_is_refused() {
    let (one, two): (Model, Model) = (test_support::model(DIALECT), test_support::model(DIALECT));
    let mut memory = one.take_memory();
    let mut pool: FixedPool<16> = test_support::pool(&mut memory, 1 << 20);
    let rmm = test_support::open(one.host(), &mut pool);
    let mut storage = Storage::new();
    let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let own = memory.take_front(0x1000).unwrap();
    let foreign = two.take_memory().take_front(0x1000).unwrap();
    let (machine, at) = (foreign.machine(), foreign.base());
    let mut regions = [
        Region::new(Ipa::new(0x8000_0000), own, Content::Measured(b"own")),
        Region::without_memory(Ipa::new(0x8000_1000), 0x1000),
        Region::new(Ipa::new(0x8000_2000), foreign, Content::Unspecified),
    ];
    let (calls, tables) = (one.calls(), realm.tables());
    let refused = realm.populate(&mut pool, &mut regions).unwrap_err();
    let BuildError::Call(error @ Error::OtherMachine { .. }) = refused else { panic!("{refused}") };
    let subject = error.subject();
    assert_eq!((subject, one.calls(), realm.tables()), (Some(Subject::Pa(at)), calls, tables));
    let [_, _, region] = &regions;
    assert_eq!(region.memory(), rmi_abi::PaRange::with_size_or_empty(at, 0x1000));
    // Without it the others are populated.
    let [own, ram, foreign] = regions;
    realm.populate(&mut pool, &mut [own, ram]).unwrap();
    assert_eq!(foreign.into_memory().machine(), machine);
    assert_eq!(realm.tear_down(&mut pool, []).error, None);
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
