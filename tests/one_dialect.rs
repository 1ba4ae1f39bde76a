//! A platform that is built for one dialect: it serves an RMM of that dialect from opening a
//! session to closing it, and no other.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_sdk::abi::{Command, Dialect, GranuleSize, Ipa};
use realm_sdk::builder::{
    BuildError, Content, PlaneTables, Realm, RealmConfig, RealmStorage, RecStart, Region,
};
use realm_sdk::host::{
    Channel, CountingLedger, Discovered, Error, OnlyTfRmm2026_07, OnlyV1_0, OnlyV2_0Bet0,
    OnlyV2_0Bet1, OnlyV2_0Bet3, RetryBudget, ServedDialect, SessionError, SessionOptions,
};
use realm_sdk::sro::{self, FixedPool};
use rmm_model::{Model, Options};

/// A Realm with content, memory and a REC, from a session that is opened to one that is closed.
fn whole<D: ServedDialect>() {
    let dialect = D::DIALECT.unwrap();
    let model = Model::new(Options::new(dialect)).unwrap();
    let mut memory = model.take_memory();
    let ledger = CountingLedger::new();
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(256 << 12).unwrap()).unwrap();

    let host = model.host().with_ledger(&ledger).with_dialect::<D>();
    let session = sro::open(host, SessionOptions::default(), &mut pool).unwrap();
    assert_eq!(session.dialect(), dialect);
    let mut storage = RealmStorage::<16, 4>::new();
    let config = RealmConfig::new(40);
    let mut realm = Realm::create(&session, &config, &mut storage, &mut pool).unwrap();
    let mut take = |bytes| memory.take_front(bytes).unwrap();
    let mut regions = [
        Region::new(Ipa::new(0x8000_0000), take(0x2000), Content::Measured(&[0xd5; 0x2000])),
        Region::new(Ipa::new(0x8000_2000), take(0x3000), Content::Unspecified),
    ];
    realm.populate(&mut pool, &mut regions).unwrap();
    let start = RecStart { runnable: true, pc: Ipa::new(0x8000_0000), gprs: [0; 8] };
    let mut realm = realm.populated();
    let rec = realm.create_rec(&mut pool, &start).unwrap();
    let realm = realm.activate().unwrap();
    assert_eq!(realm.memory_bytes(), 0x5000);
    assert_eq!(realm.tear_down(&mut pool, [rec]).error, None);
    assert!(session.close(&mut pool).unwrap().kept.is_empty());
    assert_eq!(ledger.balance().outstanding(), 0);
}

#[test]
fn a_realm_is_built_and_torn_down_in_the_only_dialect() {
    whole::<OnlyTfRmm2026_07>();
    whole::<OnlyV2_0Bet3>();
    whole::<OnlyV2_0Bet1>();
    whole::<OnlyV2_0Bet0>();
    whole::<OnlyV1_0>();
}

/// A platform that is built without auxiliary trees.
enum NoAuxTrees {}

impl ServedDialect for NoAuxTrees {
    const DIALECT: Option<Dialect> = Some(Dialect::TfRmm2026_07);
    const AUX_TREES: bool = false;
}

/// With planes that share the primary tree, or without planes, such a platform does what others do.
#[test]
fn auxiliary_trees_are_refused_where_the_platform_is_built_without_them() {
    fn create<D: ServedDialect>(tables: PlaneTables) -> (Result<(), BuildError>, u64) {
        let mut options = Options::new(Dialect::TfRmm2026_07);
        // Three auxiliary planes, with both kinds of tables and indirect permissions.
        options.features[3] = 3 | 1 << 4 | 1 << 6;
        let model = Model::new(options).unwrap();
        let mut memory = model.take_memory();
        let mut pool = FixedPool::<8>::new();
        pool.add(memory.take_front(256 << 12).unwrap()).unwrap();
        let host = model.host().with_dialect::<D>();
        let session = sro::open(host, SessionOptions::default(), &mut pool).unwrap();
        let mut config = RealmConfig::new(40);
        config.num_aux_planes = 1;
        config.plane_tables = Some(tables);
        let calls = model.calls();
        let mut storage = RealmStorage::<16, 4>::new();
        let created = match Realm::create(&session, &config, &mut storage, &mut pool) {
            Ok(realm) => {
                assert_eq!(realm.aux_trees(), usize::from(tables == PlaneTables::PerPlane));
                assert_eq!(realm.tear_down(&mut pool, []).error, None);
                Ok(())
            }
            Err(failed) => Err(failed.error),
        };
        (created, model.calls() - calls)
    }

    whole::<NoAuxTrees>();
    let refused = BuildError::NoAuxTrees;
    assert_eq!(create::<NoAuxTrees>(PlaneTables::PerPlane), (Err(refused), 0));
    assert_eq!(refused.to_string(), "the platform is built without auxiliary trees");
    assert_eq!(create::<OnlyTfRmm2026_07>(PlaneTables::PerPlane).0, Ok(()));
    for created in
        [create::<NoAuxTrees>(PlaneTables::Shared), create::<OnlyTfRmm2026_07>(PlaneTables::Shared)]
    {
        assert_eq!(created.0, Ok(()));
    }
}

/// The error of probing an RMM of `dialect` on a platform for `D`, and how many calls were made.
fn refused<D: ServedDialect>(dialect: Dialect, told: Option<Dialect>) -> (SessionError, u64) {
    let model = Model::new(Options::new(dialect)).unwrap();
    let mut options = SessionOptions::default();
    options.dialect = told;
    let host = model.host().with_dialect::<D>();
    (Discovered::probe(host, options).unwrap_err().error, model.calls())
}

#[test]
fn an_rmm_of_another_dialect_is_refused() {
    let (tf_rmm, bet3) = (Dialect::TfRmm2026_07, Dialect::V2_0Bet3);
    // `RMI_VERSION` and the probes.
    let (error, calls) = refused::<OnlyTfRmm2026_07>(bet3, None);
    assert_eq!(
        error.to_string(),
        "the dialect is 2.0-bet3, and the platform is built for tf-rmm-2026-07 only"
    );
    assert_eq!(calls, 2);
    let (error, calls) = refused::<OnlyV2_0Bet3>(tf_rmm, None);
    let SessionError::OtherDialect { found, served, .. } = error else { panic!("{error}") };
    assert_eq!((found, served, calls), (tf_rmm, bet3, 4));
    let (bet0, bet1) = (Dialect::V2_0Bet0, Dialect::V2_0Bet1);
    for (dialect, probes) in [(bet0, 2), (bet1, 3)] {
        let (error, calls) = refused::<OnlyTfRmm2026_07>(dialect, None);
        let SessionError::OtherDialect { found, served, .. } = error else { panic!("{error}") };
        assert_eq!((found, served, calls), (dialect, tf_rmm, 1 + probes));
    }
    // It speaks no 1.0.
    let (error, _) = refused::<OnlyV1_0>(bet3, None);
    assert!(matches!(error, SessionError::Version { .. }), "{error}");
}

#[test]
fn options_with_another_dialect_are_refused_before_any_call() {
    for told in Dialect::ALL.into_iter().filter(|told| *told != Dialect::V2_0Bet3) {
        let (error, calls) = refused::<OnlyV2_0Bet3>(Dialect::V2_0Bet3, Some(told));
        let SessionError::OtherDialect { found, served, .. } = error else { panic!("{error}") };
        assert_eq!((found, served, calls), (told, Dialect::V2_0Bet3, 0));
    }
}

#[test]
fn commands_are_those_of_the_only_dialect() {
    let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
    let host = model.host().with_dialect::<OnlyTfRmm2026_07>();
    // SAFETY: the parts belong to the model, which speaks this dialect.
    #[expect(unsafe_code, reason = "a channel without a session")]
    let channel = unsafe {
        Channel::new(host, Dialect::TfRmm2026_07, GranuleSize::Size4KiB, RetryBudget::default())
    };
    assert_eq!(channel.dialect(), Dialect::TfRmm2026_07);
    let error = channel.rmm_deactivate().unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert_eq!(error.command(), Some(Command::RmmDeactivate));
    assert_eq!(error.dialect(), Some(Dialect::TfRmm2026_07));
    assert_eq!(model.calls(), 0);
}
