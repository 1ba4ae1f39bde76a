//! What a Realm asks for on RMMs with granules of 16 KiB and 64 KiB: its own granules have 4 KiB.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use realm_sdk::abi::rtt::Ripas;
use realm_sdk::abi::{Dialect, GranuleSize, Ipa, IpaRange};
use realm_sdk::builder::{
    BuildError, Content, FixedRecords, PlaneTables, Realm, RealmConfig, RecStart, Records, Region,
    RegionProblem, Served, ShadowTable,
};
use realm_sdk::host::command::AuxTree;
use realm_sdk::host::{CountingLedger, Host};
use realm_sdk::rec::exit::PsciNotice;
use realm_sdk::rec::{Answer, Exit, Rec};
use realm_sdk::sro::FixedPool;
use rmm_model::{Action, Model, Options, Script};
use test_support::Scale;

const RAM: u64 = 1 << 30;
/// The unprotected half of a Realm of 40 bits.
const SHARED: u64 = 1 << 39;

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

fn with_granule(granule: GranuleSize, dialect: Dialect) {
    let bytes = granule.bytes();
    let mut options = Options::new(dialect).with_all_granules();
    options.features[3] = 3 | 1 << 4 | 1 << 6;
    let model = Model::new(options).unwrap();
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<32>::new();
    pool.add(memory.take_front(512 * bytes).unwrap()).unwrap();
    let host = Host::new(&model, &model).with_ledger(&ledger);
    let rmm = test_support::open_with(host, granule, &mut pool);
    let mut config = RealmConfig::new(40);
    config.num_aux_planes = 1;
    config.plane_tables = Some(PlaneTables::PerPlane);
    let parts = Scale::new(granule).shadow_tables(16);
    let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(parts).collect();
    let mut fixed = FixedRecords::new();
    let records = Records::new(&mut fixed, &mut tables, &mut []);
    let mut realm = Realm::create(&rmm, &config, records, &mut pool).unwrap();
    let ram = memory.take_front(4 * bytes).unwrap();
    let mut regions = [
        Region::new(Ipa::new(RAM), ram, Content::Unspecified),
        Region::without_memory(Ipa::new(RAM + 4 * bytes), 4 * bytes),
    ];
    realm.populate(&mut pool, &mut regions).unwrap();
    let start = RecStart { runnable: true, pc: Ipa::new(RAM), gprs: [0; 8] };
    let rec = realm.create_rec(&mut pool, &start).unwrap();
    // The last bytes of a granule, beyond the first 4 KiB.
    let (port, missing) = (SHARED + 5 * bytes - 8, RAM + 7 * bytes - 8);
    let change = |base, top| Action::ipa_state_set(Ipa::new(base), Ipa::new(top), Ripas::Ram, 0);
    let actions = vec![
        Action::Store { ipa: Ipa::new(port), bytes: 4, value: 7 },
        change(RAM, RAM + bytes + 0x1000),
        change(RAM + bytes, RAM + bytes + 0x1000),
        change(RAM + 0x1000, RAM + 2 * bytes),
        Action::Load { ipa: Ipa::new(missing), bytes: 8 },
        Action::psci_system_off(),
    ];
    model.set_guest(realm.rd().pa(), 0, Box::new(Script::new(actions)));
    let realm = realm.activate().unwrap();

    // Planes have tables of the same size.
    let tree = AuxTree::new(1).unwrap();
    let shown = realm.map_plane(&mut pool, tree, range(RAM, 3 * bytes)).unwrap();
    assert_eq!(shown.bytes, 3 * bytes);

    let page = memory.take_front(bytes).unwrap();
    let rec = Rec::new(rec, page, realm.geometry());
    let (mut answer, mut seen) = (Answer::resume(), Vec::new());
    loop {
        let event = rec.enter(&rmm, answer).unwrap();
        answer = match event.exit {
            Exit::MmioStore(store) => {
                assert_eq!((store.ipa(), store.bytes()), (Ipa::new(port), 4));
                seen.push(Ok(store.ipa()));
                store.complete()
            }
            Exit::RipasChange(change) => {
                match realm.set_ripas_to(
                    &mut pool,
                    rec.name(),
                    change.range(),
                    change.ripas(),
                    u32::MAX,
                ) {
                    Ok(reached) => {
                        seen.push(Ok(reached));
                        change.accept()
                    }
                    Err(stopped) => {
                        let BuildError::Region { problem, .. } = stopped.error else {
                            panic!("{}", stopped.error)
                        };
                        seen.push(Err(problem));
                        change.reject().unwrap()
                    }
                }
            }
            Exit::Fault(fault) => {
                assert_eq!(fault.page(), Ipa::new(RAM + 6 * bytes));
                let window = range(RAM + 4 * bytes, 4 * bytes);
                let served = realm.serve_fault(&mut pool, fault.page(), window).unwrap();
                assert_eq!(served, Served::Mapped(window));
                // Plane 0 has a tree of its own.
                let shown = realm.map_plane(&mut pool, tree, window).unwrap();
                assert_eq!(shown.bytes, 4 * bytes);
                fault.retry()
            }
            Exit::PsciNotice(PsciNotice::SystemOff) => break,
            other => panic!("{other:?}"),
        };
    }
    // A change is made up to the last whole granule; less than a granule is not changed.
    assert_eq!(
        seen,
        [
            Ok(Ipa::new(port)),
            Ok(Ipa::new(RAM + bytes)),
            Err(RegionProblem::Unaligned),
            Err(RegionProblem::Unaligned),
        ]
    );
    let (rec, page) = rec.into_parts();
    pool.add(page).unwrap();
    assert_eq!(realm.tear_down(&mut pool, [rec]).error, None);
    pool.undelegate(&rmm);
    assert!(rmm.close(&mut pool).unwrap().kept.is_empty());
    assert_eq!(ledger.balance().outstanding(), 0);
    let census = model.census();
    assert_eq!(census.undelegated, census.total);
    pool.drain_host(&mut |memory| {
        let _ = memory.into_raw();
    });
    let _ = memory.into_raw();
}

#[test]
fn a_realm_has_granules_of_4_kib_whatever_its_rmm_has() {
    for dialect in [Dialect::TfRmm2026_07, Dialect::V2_0Bet3] {
        for granule in [GranuleSize::Size16KiB, GranuleSize::Size64KiB] {
            with_granule(granule, dialect);
        }
    }
}
