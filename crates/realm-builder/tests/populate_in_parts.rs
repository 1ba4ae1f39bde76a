//! Any regions, populated in parts of any size, with one bad answer at some call: what is populated
//! and what is left together are everything, and nothing is lost.

use proptest::prelude::*;
use realm_builder::{BuildError, Content, Realm, RealmConfig, RealmStorage, Region, Rim};
use rmi_abi::{Command, Dialect, Ipa, Status};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::{CountingLedger, FixedQuarantine, Host, Registers, Undelegated};
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool, Pool};
use test_support::equivalent;

const PAGE: u64 = 0x1000;
/// Calls that populating makes.
const COMMANDS: [Command; 6] = [
    Command::RttDataMapInit,
    Command::RttDataMap,
    Command::RttInitRipas,
    Command::GranuleRangeDelegate,
    Command::GranuleRangeUndelegate,
    Command::RttCreate,
];

/// A region: its content, its number of pages, and its distance from the previous one, in the Realm
/// and in memory.
#[derive(Clone, Copy, Debug)]
struct Spec {
    kind: u8,
    pages: u64,
    gap: u64,
    apart: u64,
}

fn specs() -> impl Strategy<Value = Vec<Spec>> {
    let pages = prop_oneof![1..8u64, 500..520u64, Just(512), Just(256), 512..700u64];
    let gap = prop::sample::select(vec![0, PAGE, 256 * PAGE]);
    let apart = prop::sample::select(vec![0, 0, PAGE, 300 * PAGE]);
    let spec = (0..3u8, pages, gap, apart);
    let spec = spec.prop_map(|(kind, pages, gap, apart)| Spec { kind, pages, gap, apart });
    prop::collection::vec(spec, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn everything_is_populated_or_left(
        specs in specs(),
        budgets in prop::collection::vec(
            prop_oneof![Just(0), Just(1), 0..0x4_0000u64, 0..0x40_0000u64, Just(u64::MAX)],
            1..6,
        ),
        command in prop::sample::select(COMMANDS.to_vec()),
        number in 10..60u64,
        refused in any::<bool>(),
        (dialect, ranges) in prop::sample::select(vec![
            (Dialect::TfRmm2026_07, false),
            (Dialect::TfRmm2026_07, true),
            (Dialect::V1_0, false),
        ]),
    ) {
        let options = Options::new(dialect);
        let options = if ranges { options.range_capable() } else { options };
        let model = Model::new(options).unwrap();
        let fault = match refused {
            true => Fault::status(Status::ErrorInput),
            false => Fault::Instead([99, 0, 0, 0, 0, 0, 0, 0]),
        };
        // The first delegations are those for the Realm itself.
        let number =
            if command == Command::GranuleRangeDelegate && !ranges { number } else { number % 10 };
        let rule = Rule::command(equivalent(command, dialect).unwrap(), dialect);
        let conduit: Injecting<_, fn(&Registers) -> bool> =
            Injecting::by_rule(&model, rule.nth(number), fault);
        let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<64>::new());
        let mut memory = model.take_memory();
        let mut pool = FixedPool::<16>::new();
        pool.add(memory.take_back(Pool::PAGES).unwrap()).unwrap();
        pool.add(memory.take_back(64 * PAGE).unwrap()).unwrap();
        let platform =
            Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
        let rmm = test_support::open(platform, &mut pool);
        let mut storage = RealmStorage::<16, 0>::new();
        let created = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool);
        let Ok(mut realm) = created else {
            // The fault was injected early.
            prop_assert!(conduit.has_injected());
            return Ok(());
        };

        let content = vec![7; 700 << 12];
        let (mut at, mut regions) = (0x8000_0000, Vec::new());
        for Spec { kind, pages, gap, apart } in specs {
            at += gap;
            let _ = memory.take_front(apart).map(Undelegated::into_raw);
            let part = memory.take_front(pages * PAGE).unwrap();
            // The last page is not full.
            let bytes = usize::try_from(part.bytes()).unwrap() - 5;
            let content = match kind {
                0 => Content::Measured(&content[..bytes]),
                1 => Content::Unmeasured(&content[..bytes]),
                _ => Content::Unspecified,
            };
            regions.push(Region::new(Ipa::new(at), part, content));
            at += pages * PAGE;
        }
        let params =
            RealmConfig::new(40).validate(rmm.features(), dialect).expect("what it was made with");
        let mut rim = Rim::new(&params, dialect, &mut |_| {}).unwrap();
        rim.add_regions(&mut regions, params.geometry, &mut |_| {}).unwrap();
        let total: u64 = regions.iter().map(|region| region.memory().bytes()).sum();
        let (mut left, mut failures, mut lost) = (total, 0, false);
        for (number, budget) in budgets.iter().cycle().enumerate() {
            // Populating page by page takes long.
            let budget = if number > 30 { u64::MAX } else { *budget };
            let result = realm.populate_some(&mut pool, &mut regions, budget);
            let apart: u64 = regions.iter().map(|region| region.memory().bytes()).sum();
            match result {
                Ok(now) => {
                    prop_assert_eq!((now, realm.memory_bytes() + apart), (apart, total));
                    // What an unclear call may have populated is not populated again.
                    prop_assert!(now < left || left == 0);
                    prop_assert!(left - now <= budget.max(PAGE));
                    if now == 0 {
                        break;
                    }
                }
                // Memory in the middle did not come back.
                Err(BuildError::Region { .. }) => {
                    lost = true;
                    break;
                }
                Err(_) => failures += 1,
            }
            prop_assert!(realm.memory_bytes() + apart <= total);
            left = apart;
        }
        prop_assert!(failures <= 1 && (failures == 0 || conduit.has_injected()));
        prop_assert!(lost || realm.memory_bytes() == total);
        // A refusal in the middle changes nothing of what is measured.
        if !lost && (refused || failures == 0) {
            prop_assert_eq!(model.measurement(realm.rd().pa(), 0), Some(rim.value()));
        }

        for region in regions {
            let _ = region.into_memory().into_raw();
        }
        let _ = realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []);
        pool.drain(&rmm, &mut |_| {});
        let balance = ledger.balance();
        prop_assert_eq!((balance.outstanding(), balance.leaked), (0, 0), "{}", balance);
    }
}
