//! Configurations that the host accepts are accepted by both RMMs, and measured as the host
//! predicts.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;
use proptest::sample::select;
use realm_builder::{
    Content, MeasurementEvent, New, PlaneTables, Realm, RealmConfig, RecStart, Region, Rim,
};
use rmi_abi::feature::Features;
use rmi_abi::realm::{HashAlgorithm, S2apEncoding};
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::Level;
use rmi_abi::{Dialect, Ipa};
use rmi_host::{Discovered, Host, Platform, SessionOptions};
use sro::{CallbackMemory, FixedPool};

use crate::lifecycle::Fixture;
use crate::rmms::{self, Both};
use crate::{Heap, PAGE, Scenario, run_scenario};

/// The address of the Realm's only page.
const CODE: u64 = 0x4000_0000;

/// Configurations, some of which are valid.
fn configs() -> impl Strategy<Value = RealmConfig> {
    let widths = prop_oneof![8 => 32..=48u8, 1 => 49..=52u8];
    let levels = prop::option::of((-1..=2i8).prop_map(|level| Level::new(level).unwrap()));
    let hashes = prop::sample::select(vec![HashAlgorithm::Sha256, HashAlgorithm::Sha512]);
    let lpa2 = prop::sample::select(vec![None, None, None, Some(false), Some(true)]);
    let space = (widths, levels, lpa2);
    let debug = (1..=2u8, 1..=2u8);
    let vectors = prop_oneof![6 => Just(None), 1 => (0..4u8).prop_map(Some)];
    let counters = prop_oneof![6 => Just(None), 1 => (0..4u8).prop_map(Some)];
    let trees = vec![None, None, Some(PlaneTables::PerPlane), Some(PlaneTables::Shared)];
    let encodings =
        vec![None, None, None, Some(S2apEncoding::Direct), Some(S2apEncoding::Indirect)];
    let planes = (0..=3u8, prop::sample::select(trees), prop::sample::select(encodings));
    let policies = (any::<bool>(), any::<bool>(), any::<u8>());
    (space, hashes, debug, (vectors, counters), planes, policies).prop_map(
        |(space, hash, debug, (sve_vl, pmu_num_ctrs), planes, policies)| {
            let mut config = RealmConfig::new(space.0);
            (config.start_level, config.lpa2, config.hash) = (space.1, space.2, hash);
            (config.num_bps, config.num_wps) = debug;
            (config.sve_vl, config.pmu_num_ctrs) = (sve_vl, pmu_num_ctrs);
            (config.num_aux_planes, config.plane_tables, config.s2ap) = planes;
            (config.private_mec, config.live_activation) = (policies.0, policies.1);
            config.personalization = [policies.2; 64];
            config
        },
    )
}

/// One measured page, one REC, and the values that it reads about itself.
struct Brief<'c> {
    config: &'c RealmConfig,
}

impl Scenario for Brief<'_> {
    fn run<P: Platform>(
        &self,
        both: &Both,
        mut realm: Realm<'_, P, New>,
        pool: &mut FixedPool<64>,
        heap: &mut Heap,
    ) {
        let content = [0x5a; 0x1000];
        let page = heap.take(PAGE, PAGE).unwrap();
        let region = Region::new(Ipa::new(CODE), page, Content::Measured(&content));
        realm.populate(pool, &mut [region]).unwrap();
        let start = RecStart { runnable: true, pc: Ipa::new(CODE), gprs: [0; 8] };
        let rec = realm.create_rec(pool, &start).unwrap();

        let (rmm, ignore) = (realm.rmm(), &mut |_: &MeasurementEvent| {});
        let params = self.config.validate(rmm.features(), rmm.dialect()).unwrap();
        let mut rim = Rim::new(&params, rmm.dialect(), ignore).unwrap();
        rim.add_measured(Ipa::new(CODE), &content, ignore).unwrap();
        let mpidr = Mpidr::from_index(0);
        let params = RecParams { runnable: true, mpidr, pc: CODE, gprs: start.gprs };
        rim.add_rec(&params, ignore).unwrap();

        let realm = realm.activate().unwrap();
        let mut fixture = Fixture { both, realm: &realm, pool, heap, rec: &rec };
        fixture.reads_its_measurement(rim.digest().as_bytes());
        let left = realm
            .tear_down(
                &mut CallbackMemory::freeing(pool, |memory| heap.insert(memory).unwrap()),
                [rec],
            )
            .error;
        assert_eq!(left, None);
    }
}

/// Whether the host accepts a configuration on the RMMs of a dialect.
fn is_accepted(dialect: Dialect, config: &RealmConfig) -> bool {
    // Starting a program takes long.
    static FEATURES: Mutex<BTreeMap<Dialect, Features>> = Mutex::new(BTreeMap::new());
    let mut known = FEATURES.lock().unwrap();
    let features = known.entry(dialect).or_insert_with(|| {
        let both = Both::of(dialect);
        let found = Discovered::probe(Host::new(&both, &both), SessionOptions::default());
        *found.unwrap().features()
    });
    config.validate(features, dialect).is_ok()
}

/// The configuration without what 1.0 does not have, and without a PMU that has no counters: those
/// need FEAT_HPMN0, of which the features say nothing.
fn of_1_0(config: RealmConfig) -> RealmConfig {
    let mut reduced = config;
    (reduced.num_aux_planes, reduced.plane_tables, reduced.s2ap) = (0, None, None);
    (reduced.private_mec, reduced.live_activation) = (false, false);
    reduced.pmu_num_ctrs = reduced.pmu_num_ctrs.map(|counters| counters.max(1));
    reduced
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        max_global_rejects: 65536,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_accepted_works(config in configs(), dialect in select(rmms::dialects())) {
        let config = if dialect == Dialect::V1_0 { of_1_0(config) } else { config };
        // Checked before the first call about the Realm.
        prop_assume!(is_accepted(dialect, &config));
        run_scenario(&Both::of(dialect), &config, &Brief { config: &config });
    }
}
