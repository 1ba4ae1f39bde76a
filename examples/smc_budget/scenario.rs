//! The operations that are measured.

use core::fmt;

use realm_sdk::Error;
use realm_sdk::abi::address::MIN_GRANULE;
use realm_sdk::abi::rtt::Level;
use realm_sdk::abi::{Dialect, Ipa, IpaRange, Pa, PaRange};
use realm_sdk::builder::plan::Limits;
use realm_sdk::builder::{
    Active, Content, DismantleProgress, FixedRecords, New, Realm, RealmConfig, Records, Region,
    ShadowTable,
};
use realm_sdk::conduits::counting::Counting;
use realm_sdk::host::{CountingLedger, Host, Platform, SessionOptions, Undelegated};
use realm_sdk::sro::{CallbackMemory, FixedPool, Pool, open};
use rmm_model::{Model, Options};

pub(crate) const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// RAM of the Realm.
const RAM: Ipa = Ipa::new(GIB);

/// A row of the table.
pub(crate) struct Row {
    pub(crate) operation: &'static str,
    pub(crate) model: char,
    pub(crate) smcs: u64,
    pub(crate) budget: u64,
    pub(crate) best: &'static str,
}

impl Row {
    pub(crate) const HEAD: &str =
        "operation                           | RMM |   SMCs | budget | best other host";
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, model, smcs, budget, best } = self;
        write!(f, "{operation:35} |  {model}  | {smcs:6} | {budget:6} | {best}")
    }
}

/// The counts of one operation.
pub(crate) struct Measured {
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    /// The number of calls that was predicted.
    pub(crate) predicted: Option<u64>,
    /// Whether all memory was back with the host at the end.
    pub(crate) balanced: bool,
}

/// An RMM of a dialect as TF-RMM is, with enough memory.
pub(crate) fn with_memory(dialect: Dialect) -> Options {
    let mut options = Options::new(dialect);
    options.dram = PaRange::with_size(Pa::new(GIB), 6 * GIB).unwrap();
    options
}

/// A host with a session, a pool and memory.
struct Fixture<'b, P: Platform> {
    conduit: &'b Counting<&'b Model>,
    pool: FixedPool<32>,
    /// It begins at a multiple of 1 GiB.
    memory: Undelegated,
    realm: Option<Realm<'b, P, New>>,
    returned: u64,
    predicted: Option<u64>,
    calls: u64,
    failed: u64,
}

impl<'b, P: Platform> Fixture<'b, P> {
    fn new_realm(&mut self) -> Realm<'b, P, New> {
        self.realm.take().unwrap()
    }

    fn active(&mut self) -> Result<Realm<'b, P, Active>, Error> {
        Ok(self.new_realm().activate()?)
    }

    /// Starts counting.
    fn start(&mut self) {
        self.calls = self.conduit.total().issued;
        self.failed = self.conduit.total().failed;
    }

    /// Stops counting.
    fn stop(&mut self) {
        self.calls = self.conduit.total().issued - self.calls;
        self.failed = self.conduit.total().failed - self.failed;
    }

    /// Tears down what is left of the Realm.
    fn end<S>(&mut self, realm: Realm<'b, P, S>) -> Result<(), Error> {
        let returned = &mut self.returned;
        let ended = realm
            .tear_down(
                &mut CallbackMemory::freeing(&mut self.pool, |host| *returned += host.bytes()),
                [],
            )
            .error;
        ended.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Sets the fixture up, measures, and checks whether all memory came back.
fn measure(
    options: Options,
    job: impl for<'b> FnOnce(
        &mut Fixture<'b, Host<&'b Counting<&'b Model>, &'b Model, &'b CountingLedger>>,
    ) -> Result<(), Error>,
) -> Result<Measured, Error> {
    let model = Model::new(options).unwrap();
    let conduit = Counting::new(&model);
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let pages = memory.take_back(Pool::PAGES).unwrap();
    let mut pool = FixedPool::<32>::new();
    pool.add(pages).unwrap();
    pool.add(memory.take_back(4 * MIB).unwrap()).unwrap();
    let platform = Host::new(&conduit, &model).with_ledger(&ledger);
    let rmm = open(platform, SessionOptions::default(), &mut pool)?;
    // The root table has 1 GiB entries.
    let mut config = RealmConfig::new(39);
    config.start_level = Some(Level::L1);
    let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(520).collect();
    let mut fixed = FixedRecords::new();
    let records = Records::new(&mut fixed, &mut tables, &mut []);
    let realm = Realm::create(&rmm, &config, records, &mut pool)?;
    // What the pool has delegated so far must not serve the measured operation.
    pool.undelegate(&rmm);
    let realm = Some(realm);
    let mut fixture = Fixture {
        conduit: &conduit,
        pool,
        memory,
        realm,
        returned: 0,
        predicted: None,
        calls: 0,
        failed: 0,
    };
    job(&mut fixture)?;
    let Fixture { mut pool, predicted, calls, failed, .. } = fixture;
    pool.drain(&rmm, &mut |_| {});
    let balanced =
        ledger.balance().outstanding() == 0 && model.census().undelegated == model.census().total;
    Ok(Measured { calls, failed, predicted, balanced })
}

/// Maps pieces of memory into an active Realm.
fn map(
    options: Options,
    limits: Limits,
    cut: impl FnOnce(&mut Undelegated) -> Vec<Undelegated>,
) -> Result<Measured, Error> {
    measure(options, |fixture| {
        let realm = fixture.active()?;
        let mut pieces = cut(&mut fixture.memory);
        let ranges: Vec<_> = pieces.iter().map(Undelegated::range).collect();
        fixture.predicted = Some(realm.map_cost(&mut fixture.pool, RAM, &ranges, limits).calls());
        fixture.start();
        realm.map_scattered(&mut fixture.pool, RAM, &mut pieces)?;
        fixture.stop();
        fixture.end(realm)
    })
}

pub(crate) fn map_2_mib_backed(options: Options, limits: Limits) -> Result<Measured, Error> {
    map(options, limits, |memory| {
        let _ = memory.take_front(2 * MIB).unwrap().into_raw();
        vec![memory.take_front(GIB).unwrap()]
    })
}

pub(crate) fn map_1_gib_block(options: Options, limits: Limits) -> Result<Measured, Error> {
    map(options, limits, |memory| vec![memory.take_front(GIB).unwrap()])
}

/// 1 GiB in runs with one page between two runs.
fn scattered(memory: &mut Undelegated, run: u64) -> Vec<Undelegated> {
    // Not at a multiple of 2 MiB, so that even long runs are mapped by pages.
    let _ = memory.take_front(MIN_GRANULE).unwrap().into_raw();
    (0..GIB / run)
        .map(|_| {
            let piece = memory.take_front(run).unwrap();
            let _ = memory.take_front(MIN_GRANULE).unwrap().into_raw();
            piece
        })
        .collect()
}

pub(crate) fn map_scattered(options: Options, limits: Limits) -> Result<Measured, Error> {
    map(options, limits, |memory| scattered(memory, MIN_GRANULE))
}

pub(crate) fn map_scattered_runs(options: Options, limits: Limits) -> Result<Measured, Error> {
    map(options, limits, |memory| scattered(memory, 64 << 10))
}

pub(crate) fn populate_measured(options: Options, limits: Limits) -> Result<Measured, Error> {
    measure(options, |fixture| {
        let mut realm = fixture.new_realm();
        let content = vec![0; usize::try_from(GIB).unwrap()];
        let memory = fixture.memory.take_front(GIB).unwrap();
        let mut regions = [Region::new(RAM, memory, Content::Measured(&content))];
        let cost = realm.populate_cost(&mut fixture.pool, &mut regions, limits);
        fixture.predicted = Some(cost.calls());
        fixture.start();
        realm.populate(&mut fixture.pool, &mut regions)?;
        fixture.stop();
        fixture.end(realm)
    })
}

fn tear_down(
    options: Options,
    limits: Limits,
    cut: impl FnOnce(&mut Undelegated) -> Vec<Undelegated>,
) -> Result<Measured, Error> {
    measure(options, |fixture| {
        let realm = fixture.active()?;
        let rmm = realm.rmm();
        realm.map_scattered(&mut fixture.pool, RAM, &mut cut(&mut fixture.memory))?;
        fixture.pool.undelegate(rmm);
        let cost = realm.dismantle_cost(limits);
        let granule = rmm.granule_size();
        // The tables' granules are one run again at the end.
        let tables = limits.delegation(cost.destroy * granule.bytes(), granule);
        fixture.predicted = Some(cost.calls() + tables);
        let mut realm = realm.terminate()?;
        fixture.start();
        let returned = &mut fixture.returned;
        let mut memory =
            CallbackMemory::freeing(&mut fixture.pool, |host| *returned += host.bytes());
        while realm.dismantle(&mut memory, 100_000)? == DismantleProgress::More {}
        drop(memory);
        fixture.pool.undelegate(rmm);
        fixture.stop();
        assert_eq!(fixture.returned, GIB);
        fixture.end(realm)
    })
}

pub(crate) fn tear_down_contiguous(options: Options, limits: Limits) -> Result<Measured, Error> {
    tear_down(options, limits, |memory| {
        let _ = memory.take_front(2 * MIB).unwrap().into_raw();
        vec![memory.take_front(GIB).unwrap()]
    })
}

pub(crate) fn tear_down_scattered(options: Options, limits: Limits) -> Result<Measured, Error> {
    tear_down(options, limits, |memory| scattered(memory, MIN_GRANULE))
}

pub(crate) fn fault_one_page(options: Options, _: Limits) -> Result<Measured, Error> {
    measure(options, |fixture| {
        let realm = fixture.active()?;
        let page = IpaRange::with_size(RAM, MIN_GRANULE)?;
        realm.make_tables(&mut fixture.pool, page, Level::L3)?;
        let memory = &mut fixture.memory;
        let (before, failed) = (fixture.conduit.total().issued, fixture.conduit.total().failed);
        let supply = |void: IpaRange| memory.take_front(void.bytes().min(MIN_GRANULE));
        realm.serve_fault(
            &mut CallbackMemory::new(&mut fixture.pool, supply, |_| Ok(())),
            RAM,
            page,
        )?;
        fixture.calls = fixture.conduit.total().issued - before;
        fixture.failed = fixture.conduit.total().failed - failed;
        fixture.end(realm)
    })
}

pub(crate) fn fault_around(options: Options, _: Limits) -> Result<Measured, Error> {
    measure(options, |fixture| {
        let realm = fixture.active()?;
        let upper = IpaRange::with_size(RAM, GIB)?;
        realm.make_tables(&mut fixture.pool, upper, Level::L2)?;
        let mut pages = scattered(&mut fixture.memory, MIN_GRANULE).into_iter();
        let window = IpaRange::with_size(RAM, GIB)?;
        let (before, failed) = (fixture.conduit.total().issued, fixture.conduit.total().failed);
        let at = Ipa::new(RAM.raw() + 0x12_3000);
        realm.serve_fault(
            &mut CallbackMemory::new(&mut fixture.pool, |_| pages.next(), |_| Ok(())),
            at,
            window,
        )?;
        fixture.calls = fixture.conduit.total().issued - before;
        fixture.failed = fixture.conduit.total().failed - failed;
        assert_eq!(realm.memory_bytes(), 2 * MIB);
        fixture.end(realm)
    })
}
