//! Memory of a Realm that is dropped is counted as leaked at once, whatever storage its records are
//! in; that of one that is forgotten, when another Realm takes its storage over.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use realm_builder::{
    Active, AnyRealm, BuildError, Content, Realm, RealmConfig, RealmStorage, Region,
};
use rmi_abi::rtt::Level;
use rmi_abi::{Dialect, Ipa, IpaRange, PaRange};
use rmi_host::command::SharedAccess;
use rmi_host::{CountingLedger, Host, leaked};
use rmm_model::{Model, Options};
use sro::{FixedPool, Session};

const PAGE: u64 = 0x1000;
const SHARED: Ipa = Ipa::new(1 << 39);

/// The counter is one for the process.
static COUNTER: Mutex<()> = Mutex::new(());

type Frames = FixedPool<16>;
type Storage = RealmStorage<15, 4>;
type Machine<'p> = Host<&'p Model, &'p Model, &'p CountingLedger>;
type Running<'p> = Realm<'p, Machine<'p>, Active>;

struct Setting {
    model: Model,
    ledger: CountingLedger,
    _alone: MutexGuard<'static, ()>,
}

impl Setting {
    fn new(dialect: Dialect) -> Self {
        let mut options = Options::new(dialect);
        // A Realm owns what the RMM asked for, too.
        options.realm_create_donates = 3;
        // Miri is slow.
        options.dram = PaRange::with_size(options.dram.base(), 2 << 20).unwrap();
        Self {
            model: Model::new(options).unwrap(),
            ledger: CountingLedger::new(),
            _alone: COUNTER.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn open(&self, pool: &mut Frames) -> Session<Machine<'_>> {
        let mut memory = self.model.take_memory();
        pool.add(memory.take_front(256 * PAGE).unwrap()).unwrap();
        drop(memory);
        test_support::open(self.model.host().with_ledger(&self.ledger), pool)
    }

    /// Granules that the RMM and Realms have, and the pool does not.
    fn taken<P: rmi_host::Platform>(&self, rmm: &rmi_host::Rmm<P>, pool: &mut Frames) -> u64 {
        pool.undelegate(rmm);
        let census = self.model.census();
        census.total - census.undelegated
    }
}

/// A Realm with private memory and two pieces of shared memory of three granules together.
fn build<'p>(
    rmm: &'p Session<Machine<'p>>,
    storage: &'p mut Storage,
    pool: &mut Frames,
) -> Running<'p> {
    let mut realm = Realm::create(rmm, &RealmConfig::new(40), storage, pool).unwrap();
    let memory = pool.take_host(5 * PAGE, PAGE).unwrap();
    let mut regions = [Region::new(Ipa::new(0x8000_0000), memory, Content::Unspecified)];
    realm.populate(pool, &mut regions).unwrap();
    // Tables with nothing in them.
    let empty = IpaRange::with_size(Ipa::new(0xc000_0000), PAGE).unwrap();
    realm.make_tables(pool, empty, Level::L3).unwrap();
    let realm = realm.activate().unwrap();
    for (at, bytes) in [(SHARED, 2 * PAGE), (Ipa::new(SHARED.raw() + 8 * PAGE), PAGE)] {
        let granules = pool.take_host(bytes, PAGE).unwrap();
        realm.share(pool, at, granules, SharedAccess::MEMORY).unwrap();
    }
    assert_eq!((realm.memory_bytes(), realm.shared_bytes()), (5 * PAGE, 3 * PAGE));
    realm
}

/// A Realm ends by `end`; all its memory is counted at once, and another one takes its storage over
/// without counting anything.
#[track_caller]
fn ends_counted(dialect: Dialect, end: impl FnOnce(Running<'_>)) {
    let setting = Setting::new(dialect);
    let mut pool = Frames::new();
    let rmm = setting.open(&mut pool);
    let without = setting.taken(&rmm, &mut pool);
    let mut storage = Storage::new();
    let realm = build(&rmm, &mut storage, &mut pool);
    // Its descriptor, a root table, and what it was built with.
    let with = setting.taken(&rmm, &mut pool) - without;
    assert!(with > 5 + 2, "{with}");
    let before = leaked();
    end(realm);
    assert_eq!(leaked() - before, with + 3);
    let balance = setting.ledger.balance();
    assert_eq!((balance.exposed, balance.outstanding()), (3, without + with), "{balance}");

    let before = leaked();
    let next = build(&rmm, &mut storage, &mut pool);
    assert_eq!(next.tear_down(&mut pool, []).error, None);
    drop(storage);
    assert_eq!(leaked(), before);
}

#[test]
fn sound_6_memory_of_a_dropped_realm_is_leaked_at_once() {
    for dialect in Options::DIALECTS {
        ends_counted(dialect, |realm| drop(realm));
        ends_counted(dialect, |realm| drop(AnyRealm::from(realm)));
        ends_counted(dialect, |realm| drop(realm.terminate().unwrap()));
    }
}

#[test]
fn sound_6_memory_of_a_realm_is_counted_on_unwinding() {
    ends_counted(Dialect::TfRmm2026_07, |realm| {
        let unwound = catch_unwind(AssertUnwindSafe(move || {
            let realm = realm;
            panic!("a panic on purpose, with {} tables", realm.tables());
        }));
        assert!(unwound.is_err());
    });
}

#[test]
fn sound_6_a_refused_transition_that_is_dropped_is_counted() {
    ends_counted(Dialect::TfRmm2026_07, |realm| {
        // It is active already; with `?` the Realm in the error is dropped.
        fn again(realm: Running<'_>) -> Result<(), Box<dyn std::error::Error>> {
            let _ = AnyRealm::from(realm).activate()?;
            Ok(())
        }
        assert!(again(realm).is_err());
    });
}

/// The storage of a forgotten Realm is taken over, by a Realm that is created or refused: tables,
/// memory, shared memory and what was donated are counted. Its descriptor and its root table were
/// in the Realm itself.
#[test]
fn sound_6_storage_of_a_forgotten_realm_is_counted_when_it_is_taken_over() {
    for is_refused in [false, true] {
        let setting = Setting::new(Dialect::V2_0Bet3);
        let mut pool = Frames::new();
        let rmm = setting.open(&mut pool);
        let without = setting.taken(&rmm, &mut pool);
        let mut storage = Storage::new();
        let realm = build(&rmm, &mut storage, &mut pool);
        let roots = u64::from(realm.geometry().root_tables());
        std::mem::forget(realm);
        let with = setting.taken(&rmm, &mut pool) - without;
        let before = leaked();
        let mut config = RealmConfig::new(40);
        if is_refused {
            // 16 root tables.
            config.ipa_width = 43;
            config.start_level = Some(Level::L1);
        }
        match Realm::create(&rmm, &config, &mut storage, &mut pool) {
            Ok(realm) => {
                assert!(!is_refused);
                assert_eq!(leaked() - before, with - 1 - roots + 3);
                assert_eq!(realm.tear_down(&mut pool, []).error, None);
            }
            Err(failed) => {
                assert!(is_refused);
                assert!(matches!(failed.error, BuildError::Storage { .. }), "{}", failed.error);
            }
        }
        assert_eq!(leaked() - before, with - 1 - roots + 3);
        drop(storage);
        assert_eq!(leaked() - before, with - 1 - roots + 3);
    }
}
