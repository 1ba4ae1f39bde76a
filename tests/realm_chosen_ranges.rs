//! Changes that a Realm requests, of ranges that it chooses: the host makes as many calls as its
//! budget allows, and the rest later.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use realm_sdk::abi::realm::OptionalParameter;
use realm_sdk::abi::rtt::{Level, Ripas};
use realm_sdk::abi::{Command, Dialect, Ipa, IpaRange};
use realm_sdk::builder::{
    Active, Content, FixedRecords, PlaneTables, Realm, RealmConfig, RecStart, Records, Region,
    ShadowTable, SharedRecord,
};
use realm_sdk::conduits::counting::Counting;
use realm_sdk::host::command::AuxTree;
use realm_sdk::host::{Conduit, CountingLedger, Host, Registers, SessionOptions, Undelegated};
use realm_sdk::rec::{Answer, Exit, Rec};
use realm_sdk::sro::{CallbackMemory, FixedPool, open};
use rmm_model::{Action, GuestCpu, Model, Options};

const PAGE: u64 = 0x1000;
const MIB: u64 = 1 << 20;
/// The protected half of a Realm of 48 bits.
const HALF: u64 = 1 << 47;

/// The dialects in which a Realm has planes, and requests permissions for them.
fn with_planes() -> impl Iterator<Item = Dialect> {
    Dialect::ALL.into_iter().filter(has_planes)
}

fn has_planes(dialect: &Dialect) -> bool {
    OptionalParameter::NumAuxPlanes.exists_in(*dialect)
}

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

/// An RMM that, once it is slow, changes one page per call, or says so.
#[derive(Debug)]
struct Slow<'m> {
    model: &'m Model,
    dialect: Dialect,
    is_slow: bool,
}

// SAFETY: what is not answered here is answered by the model; the answers given here transfer no
// memory.
#[expect(unsafe_code, reason = "a conduit")]
unsafe impl Conduit for Slow<'_> {
    fn open_sessions(&self) -> &rmi_host::OpenSessions {
        self.model.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        let is = |command: Command| {
            command.fid(self.dialect).is_some_and(|fid| u64::from(fid.0) == registers[0])
        };
        if self.is_slow && (is(Command::RttSetRipas) || is(Command::RttSetS2ap)) {
            return [0, registers[3] + PAGE, 0, 0, 0, 0, 0, 0];
        }
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { self.model.call(registers) }
    }
}

type TestConduit<'m> = Counting<Slow<'m>>;
type Platform<'p> = Host<&'p TestConduit<'p>, &'p Model, &'p CountingLedger>;

/// A running Realm, and what is needed to run it.
struct Fixture<'p> {
    realm: Realm<'p, Platform<'p>, Active>,
    rec: Rec,
    pool: FixedPool<32>,
    conduit: &'p TestConduit<'p>,
    dialect: Dialect,
    /// X0 to X2 after each of the guest's calls.
    seen: Arc<Mutex<Vec<[u64; 3]>>>,
}

impl Fixture<'_> {
    fn issued(&self, command: Command) -> u64 {
        self.conduit.counts(command, self.dialect).issued
    }
}

/// Runs a Realm whose guest requests each of these, and turns itself off.
fn with_realm(
    dialect: Dialect,
    is_slow: bool,
    asks: Vec<Action>,
    act: impl FnOnce(&mut Fixture<'_>),
) {
    let mut options = Options::new(dialect);
    if has_planes(&dialect) {
        options.features[3] = 3 | 1 << 4 | 1 << 6;
    }
    let model = Model::new(options).unwrap();
    let conduit = Counting::new(Slow { model: &model, dialect, is_slow });
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<32>(&mut memory, 256 * PAGE);
    let platform = Host::new(&conduit, &model).with_ledger(&ledger);
    let mut session = SessionOptions::default();
    session.dialect = Some(dialect);
    let rmm = open(platform, session, &mut pool).unwrap();
    let mut config = RealmConfig::new(48);
    if has_planes(&dialect) {
        config.num_aux_planes = 1;
        config.plane_tables = Some(PlaneTables::PerPlane);
    }
    let mut tables: Vec<ShadowTable> = std::iter::repeat_with(ShadowTable::new).take(256).collect();
    let mut shared: [SharedRecord; 1] = [None];
    let mut fixed = FixedRecords::new();
    let records = Records::new(&mut fixed, &mut tables, &mut shared);
    let mut realm = Realm::create(&rmm, &config, records, &mut pool).unwrap();
    // 4 MiB of pages in tables of their own, and 28 MiB of tables after that.
    let _unaligned = memory.take_front(PAGE).map(Undelegated::into_raw);
    let ram = memory.take_front(4 * MIB).unwrap();
    realm.make_tables(&mut pool, range(0, 32 * MIB), Level::L3).unwrap();
    let mut regions = [Region::new(Ipa::new(0), ram, Content::Unspecified)];
    realm.populate(&mut pool, &mut regions).unwrap();
    let start = RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] };
    let object = realm.create_rec(&mut pool, &start).unwrap();

    let seen = Arc::new(Mutex::new(Vec::new()));
    let (told, mut asks, mut first) = (Arc::clone(&seen), asks.into_iter(), true);
    let guest = move |cpu: &GuestCpu| {
        if !std::mem::replace(&mut first, false) {
            told.lock().unwrap().push([cpu.x[0], cpu.x[1], cpu.x[2]]);
        }
        asks.next().unwrap_or(Action::psci_system_off())
    };
    model.set_guest(realm.rd().pa(), 0, Box::new(guest));
    let realm = realm.activate().unwrap();
    let rec = Rec::new(object, memory.take_front(PAGE).unwrap(), realm.geometry());
    let mut fixture = Fixture { realm, rec, pool, conduit: &conduit, dialect, seen };
    act(&mut fixture);
    let Fixture { realm, rec, mut pool, .. } = fixture;
    assert_eq!(
        realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), [rec.into_parts().0]).error,
        None
    );
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0, "{}", ledger.balance());
}

/// The Realm requests a change of the whole half, and the RMM changes a page per call: 2^35 calls,
/// if there were no budget.
#[test]
fn sound_9_a_realm_does_not_keep_its_host_busy_with_ripas() {
    for dialect in Dialect::ALL {
        let all = Action::ipa_state_set(Ipa::new(0), Ipa::new(HALF), Ripas::Ram, 1);
        with_realm(dialect, true, vec![all], |fixture| {
            let event = fixture.rec.enter(fixture.realm.rmm(), Answer::resume()).unwrap();
            let Exit::RipasChange(change) = event.exit else { panic!("{:?}", event.exit) };
            assert_eq!(change.range(), range(0, HALF));
            let mut from = 0;
            for calls in [0, 1, 1000, 0, 7] {
                let before = fixture.conduit.total().issued;
                let left = range(from, HALF - from);
                let (pool, rec) = (&mut fixture.pool, fixture.rec.name());
                let reached =
                    fixture.realm.set_ripas_to(pool, rec, left, Ripas::Ram, calls).unwrap();
                from += u64::from(calls) * PAGE;
                assert_eq!(reached, Ipa::new(from));
                assert_eq!(fixture.conduit.total().issued - before, u64::from(calls));
            }
            // The Realm is refused what the host did not change; for the RMM nothing was changed.
            let event = fixture.rec.enter(fixture.realm.rmm(), change.accept()).unwrap();
            assert!(matches!(event.exit, Exit::PsciNotice(_)), "{:?}", event.exit);
        });
    }
}

#[test]
fn sound_9_a_realm_does_not_keep_its_host_busy_with_permissions() {
    for dialect in with_planes() {
        let all = Action::mem_set_perm_index(Ipa::new(0), Ipa::new(HALF), 1, 0);
        with_realm(dialect, true, vec![all], |fixture| {
            let event = fixture.rec.enter(fixture.realm.rmm(), Answer::resume()).unwrap();
            let Exit::S2apChange(change) = event.exit else { panic!("{:?}", event.exit) };
            assert_eq!(change.range(), range(0, HALF));
            let mut from = 0;
            for calls in [0, 1, 1000, 0, 7] {
                let before = fixture.issued(Command::RttSetS2ap);
                let left = range(from, HALF - from);
                let done = fixture
                    .realm
                    .set_s2ap(&mut fixture.pool, fixture.rec.name(), left, calls)
                    .unwrap();
                from += u64::from(calls) * PAGE;
                assert_eq!(done.top, Ipa::new(from));
                assert_eq!(fixture.issued(Command::RttSetS2ap) - before, u64::from(calls));
            }
            let event = fixture.rec.enter(fixture.realm.rmm(), change.accept()).unwrap();
            assert!(matches!(event.exit, Exit::PsciNotice(_)), "{:?}", event.exit);
        });
    }
}

/// The Realm is told how far the host came, and requests the rest.
#[test]
fn sound_9_what_is_changed_in_parts_is_changed() {
    let whole = range(0, 32 * MIB);
    for dialect in Dialect::ALL {
        // One table per call: 16 calls, of which 5 are made for each exit.
        let ask = |base: u64| Action::ipa_state_set(Ipa::new(base), whole.top(), Ripas::Ram, 1);
        let asks = [0, 10 * MIB, 20 * MIB, 30 * MIB].map(ask).to_vec();
        with_realm(dialect, false, asks, |fixture| {
            let mut answer = Answer::resume();
            for part in 1..=4 {
                let event = fixture.rec.enter(fixture.realm.rmm(), answer).unwrap();
                let Exit::RipasChange(change) = event.exit else { panic!("{:?}", event.exit) };
                let before = fixture.issued(Command::RttSetRipas);
                let (pool, asked) = (&mut fixture.pool, change.range());
                let reached = fixture.realm.set_ripas(pool, fixture.rec.name(), asked, 5).unwrap();
                assert_eq!(reached.raw(), (part * 10 * MIB).min(32 * MIB));
                assert!(fixture.issued(Command::RttSetRipas) - before <= 5);
                answer = change.accept();
            }
            let event = fixture.rec.enter(fixture.realm.rmm(), answer).unwrap();
            assert!(matches!(event.exit, Exit::PsciNotice(_)), "{:?}", event.exit);
            let reached =
                fixture.seen.lock().unwrap().iter().map(|x| (x[0], x[1])).collect::<Vec<_>>();
            assert_eq!(reached, [10, 20, 30, 32].map(|mib| (0, mib * MIB)));
        });
    }
}

/// What auxiliary trees map is unmapped within the budget, too.
#[test]
fn sound_9_hiding_is_within_the_budget() {
    let commands = [Command::RttSetRipas, Command::RttAuxUnmapProtected, Command::RttAuxProtUnmap];
    for dialect in with_planes() {
        let ask = Action::ipa_state_set(Ipa::new(0), Ipa::new(4 * MIB), Ripas::Empty, 1);
        with_realm(dialect, false, vec![ask], |fixture| {
            let (tree, shown) = (AuxTree::new(1).unwrap(), range(0, 4 * MIB));
            let shown = fixture.realm.map_plane(&mut fixture.pool, tree, shown).unwrap();
            assert_eq!(shown.bytes, 4 * MIB);
            let event = fixture.rec.enter(fixture.realm.rmm(), Answer::resume()).unwrap();
            let Exit::RipasChange(change) = event.exit else { panic!("{:?}", event.exit) };
            let (mut from, mut rounds) = (0, 0);
            while from < 4 * MIB {
                let before = fixture.conduit.total().issued;
                let left = range(from, 4 * MIB - from);
                let reached = fixture
                    .realm
                    .set_ripas(&mut fixture.pool, fixture.rec.name(), left, 100)
                    .unwrap();
                assert!(fixture.conduit.total().issued - before <= 100);
                from = reached.raw();
                rounds += 1;
                assert!(rounds <= 12, "no end to it");
            }
            let count = |command: Command| command.form(dialect).map(|_| fixture.issued(command));
            // By entry, or by table; the RIPAS by table.
            let by_range = dialect.aux_maps_by_range();
            let expected =
                if by_range { [Some(2), None, Some(2)] } else { [Some(2), Some(1024), None] };
            let counts = commands.map(count);
            assert_eq!(counts, expected);
            let event = fixture.rec.enter(fixture.realm.rmm(), change.accept()).unwrap();
            assert!(matches!(event.exit, Exit::PsciNotice(_)), "{:?}", event.exit);
            assert_eq!(fixture.seen.lock().unwrap()[0][..2], [0, 4 * MIB]);
        });
    }
}
