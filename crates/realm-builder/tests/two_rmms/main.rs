//! Realms that run, from creation to destruction, on two RMMs that have to agree; see
//! `both/rmms.rs` for which.
#![expect(clippy::unwrap_used, reason = "tests")]

mod configs;
mod costs;
mod lifecycle;
mod planes;
#[path = "../both/rmms.rs"]
mod rmms;
#[path = "../planes/step.rs"]
mod step;
mod tables_not_released;

use realm_builder::{
    FixedRecords, New, PlaneTables, Realm, RealmConfig, Records, ShadowTable, SharedRecord,
};
use rmi_abi::Dialect;
use rmi_abi::realm::HashAlgorithm;
use rmi_abi::rtt::Level;
use rmi_host::granules::{AnyGranules, HostOwned};
use rmi_host::{CountingLedger, Host, Platform};
use sro::{FixedPool, GranuleSet, Pool};

use lifecycle::Whole;
use rmms::Both;

pub(crate) const PAGE: u64 = 0x1000;
pub(crate) const MIB: u64 = 1 << 20;
const MEMORY: u64 = 64 * MIB;

pub(crate) type Heap = GranuleSet<HostOwned, Vec<AnyGranules>>;

/// What happens to a Realm from its creation to its destruction.
trait Scenario {
    fn run<P: Platform>(
        &self,
        both: &Both,
        realm: Realm<'_, P, New>,
        pool: &mut FixedPool<64>,
        heap: &mut Heap,
    );
}

/// Runs a scenario with this configuration. In the end all memory is back.
fn run_scenario(both: &Both, config: &RealmConfig, scenario: &impl Scenario) {
    let mut heap = Heap::new((0..128).map(|_| AnyGranules::empty()).collect());
    heap.insert(both.take_memory(MEMORY)).unwrap();
    let whole: Vec<_> = heap.iter().collect();
    let mut pool = FixedPool::<64>::new();
    pool.add(heap.take(Pool::PAGES, PAGE).unwrap()).unwrap();
    pool.add(heap.take(256 * PAGE, 16 * PAGE).unwrap()).unwrap();
    let ledger = CountingLedger::new();
    let platform = Host::new(both, both).with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);

    let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(128).collect();
    let mut shared: Vec<SharedRecord> = std::iter::repeat_with(|| None).take(32).collect();
    let mut fixed = FixedRecords::new();
    let records = Records::new(&mut fixed, &mut tables, &mut shared);
    let realm = Realm::create(&rmm, config, records, &mut pool).unwrap();
    scenario.run(both, realm, &mut pool, &mut heap);

    pool.drain(&rmm, &mut |memory| heap.insert(memory).unwrap());
    assert_eq!(heap.iter().collect::<Vec<_>>(), whole);
    let balance = ledger.balance();
    assert_eq!((balance.outstanding(), balance.quarantined), (0, 0), "{balance}");
}

#[test]
fn realms_of_all_kinds() {
    for dialect in rmms::dialects() {
        realms_of(dialect);
    }
}

fn realms_of(dialect: Dialect) {
    for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha512] {
        for (width, start_level, planes) in [
            (40, Level::L1, 0),
            (40, Level::L0, 0),
            (36, Level::L1, 0),
            (33, Level::L1, 0),
            (40, Level::L1, 2),
            (36, Level::L1, 3),
        ] {
            if planes > 0 && dialect != rmms::D {
                continue;
            }
            let mut config = RealmConfig::new(width);
            config.hash = hash;
            config.start_level = Some(start_level);
            config.personalization = [width; 64];
            config.num_aux_planes = planes;
            config.plane_tables = (planes > 0).then_some(PlaneTables::PerPlane);
            run_scenario(&Both::of(dialect), &config, &Whole { config: &config });
        }
    }
}
