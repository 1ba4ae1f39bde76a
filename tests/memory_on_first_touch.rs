//! RAM that has no memory when the Realm starts: its RIPAS is RAM, and memory is mapped where the
//! Realm first accesses it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use realm_sdk::abi::rec::{Mpidr, RecParams};
use realm_sdk::abi::rsi::{Command as Rsi, Version};
use realm_sdk::abi::rtt::{Level, Ripas, RttEntryState};
use realm_sdk::abi::{Command, Dialect, Ipa, IpaRange, Status};
use realm_sdk::builder::plan::Limits;
use realm_sdk::builder::{
    BuildError, Content, New, Realm, RealmConfig, RealmStorage, RecStart, Region, RegionProblem,
    Rim, Served,
};
use realm_sdk::conduits::counting::Counting;
use realm_sdk::conduits::inject::{Fault, Injecting, Rule};
use realm_sdk::host::{CountingLedger, Host, Registers, Undelegated};
use realm_sdk::rec::{Answer, Exit, Rec};
use realm_sdk::sro::{CallbackMemory, FixedPool};
use rmm_model::{Action, GuestCpu, Model, Options};
use test_support::equivalent;

const PAGE: u64 = 0x1000;
const MIB: u64 = 1 << 20;
const RAM: u64 = 0x8000_0000;
/// RAM without memory: pages, blocks and pages, after 16 KiB with content.
const BYTES: u64 = 64 * MIB + 3 * PAGE;
const DIALECTS: [Dialect; 5] = Dialect::ALL;

type TestConduit<'m> = Counting<Injecting<&'m Model, fn(&Registers) -> bool>>;
type Platform<'p> = Host<&'p TestConduit<'p>, &'p Model, &'p CountingLedger>;

struct Fixture<'p> {
    realm: Realm<'p, Platform<'p>, New>,
    pool: FixedPool<32>,
    memory: Undelegated,
    model: &'p Model,
    conduit: &'p TestConduit<'p>,
    config: RealmConfig,
}

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

/// Acts with a new Realm, with this call refused, and tears down the Realm that is returned.
fn with_realm(
    options: Options,
    rule: Rule,
    act: impl for<'p> FnOnce(Fixture<'p>) -> Option<(Realm<'p, Platform<'p>, New>, FixedPool<32>)>,
) {
    let model = Model::new(options).unwrap();
    let fault = Fault::status(Status::ErrorInput);
    let conduit = Counting::new(Injecting::by_rule(&model, rule, fault));
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<32>(&mut memory, 64 * PAGE);
    let platform = Host::new(&conduit, &model).with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<24, 0>::new();
    let config = RealmConfig::new(40);
    let realm = Realm::create(&rmm, &config, &mut storage, &mut pool).unwrap();
    let fixture = Fixture { realm, pool, memory, model: &model, conduit: &conduit, config };
    if let Some((realm, mut pool)) = act(fixture) {
        assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error, None);
        pool.drain(&rmm, &mut |_| {});
        assert_eq!(ledger.balance().outstanding(), 0, "{}", ledger.balance());
    }
}

fn never() -> Rule {
    Rule::any().nth(u64::MAX)
}

/// The kernel, and RAM without memory that begins after it.
fn regions<'c>(memory: &mut Undelegated, kernel: &'c [u8]) -> [Region<'c>; 2] {
    let bytes = kernel.len() as u64;
    let memory = memory.take_front(bytes).unwrap();
    [
        Region::without_memory(Ipa::new(RAM + bytes), BYTES - bytes),
        Region::new(Ipa::new(RAM), memory, Content::Measured(kernel)),
    ]
}

#[test]
fn a_realm_gets_memory_where_it_touches_its_ram() {
    let kernel = [0xd5; 4 * 0x1000];
    let touched = [RAM + 4 * PAGE, RAM + 40 * MIB + 8, RAM + BYTES - 8];
    for dialect in DIALECTS {
        with_realm(Options::new(dialect), never(), |fixture| {
            let Fixture { mut realm, mut pool, mut memory, model, config, .. } = fixture;
            let rmm = realm.rmm();
            let mut regions = regions(&mut memory, &kernel);
            let params = config.validate(rmm.features(), dialect).unwrap();
            let mut events = Vec::new();
            let mut log = |event: &realm_sdk::measurement::MeasurementEvent| events.push(*event);
            let mut rim = Rim::new(&params, dialect, &mut log).unwrap();
            rim.add_regions(&mut regions, params.geometry, &mut log).unwrap();
            realm.populate(&mut pool, &mut regions).unwrap();
            // It has no memory except the kernel's, and few tables: those at its ends.
            assert_eq!(realm.memory_bytes(), 4 * PAGE);
            let entry = rmm
                .commands()
                .rtt_read_entry(realm.rd(), Ipa::new(RAM + 2 * MIB), Level::L2)
                .unwrap();
            assert_eq!((entry.state, entry.ripas), (RttEntryState::Void, Ripas::Ram));
            let beyond = Ipa::new(RAM + BYTES);
            let entry = rmm.commands().rtt_read_entry(realm.rd(), beyond, Level::L3).unwrap();
            assert_eq!((entry.state, entry.ripas), (RttEntryState::Void, Ripas::Empty));

            let start = RecStart { runnable: true, pc: Ipa::new(RAM), gprs: [0; 8] };
            let object = realm.create_rec(&mut pool, &start).unwrap();
            let rec =
                RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: RAM, gprs: [0; 8] };
            rim.add_rec(&rec, &mut log).unwrap();
            assert_eq!(Rim::replay(&events), Ok(rim));
            assert_eq!(model.measurement(realm.rd().pa(), 0), Some(rim.value()));

            // Stores everywhere, loads that read the values back, and reads the measurement.
            let seen = Arc::new(Mutex::new((Vec::new(), [0; 8])));
            let (told, mut step) = (Arc::clone(&seen), 0);
            let guest = move |cpu: &GuestCpu| {
                let call = u64::from(Rsi::MeasurementRead.fid(Version::V1_1).unwrap().0);
                step += 1;
                match step {
                    1..=3 => {
                        let ipa = Ipa::new(touched[step - 1]);
                        Action::Store { ipa, bytes: 8, value: step as u64 }
                    }
                    4..=6 => {
                        told.lock().unwrap().0.push(cpu.last);
                        Action::Load { ipa: Ipa::new(touched[step - 4]), bytes: 8 }
                    }
                    7 => {
                        told.lock().unwrap().0.push(cpu.last);
                        Action::smc(call, &[0])
                    }
                    _ => {
                        told.lock().unwrap().1.copy_from_slice(&cpu.x[1..9]);
                        Action::psci_system_off()
                    }
                }
            };
            model.set_guest(realm.rd().pa(), 0, Box::new(guest));
            let realm = realm.activate().unwrap();
            let page = memory.take_front(PAGE).unwrap();
            let rec = Rec::new(object, page, realm.geometry());
            let (mut answer, mut faults) = (Answer::resume(), Vec::new());
            loop {
                let event = rec.enter(rmm, answer).unwrap();
                let Exit::Fault(fault) = event.exit else {
                    assert!(matches!(event.exit, Exit::PsciNotice(_)), "{:?}", event.exit);
                    break;
                };
                let supply = |void: IpaRange| memory.take_front(void.bytes().min(PAGE));
                let served = realm.serve_fault(
                    &mut CallbackMemory::new(&mut pool, supply, |_| Ok(())),
                    fault.page(),
                    range(RAM, BYTES),
                );
                assert!(matches!(served, Ok(Served::Mapped(at)) if at.contains(fault.page())));
                faults.push(fault.page().raw());
                answer = fault.retry();
            }
            assert_eq!(faults, touched.map(|ipa| ipa & !(PAGE - 1)));
            let (outcomes, read) = seen.lock().unwrap().clone();
            let loads = [1, 2, 3].map(rmm_model::Outcome::Loaded);
            assert_eq!(outcomes[1..], loads);
            assert!(rim.is_read_as(&read));
            assert_eq!(
                realm
                    .tear_down(&mut CallbackMemory::freeing(&mut pool, drop), [rec.into_parts().0])
                    .error,
                None
            );
            pool.drain(rmm, &mut |_| {});
            None
        });
    }
}

#[test]
fn the_number_of_calls_is_predicted() {
    let kernel = [0xd5; 4 * 0x1000];
    for dialect in DIALECTS {
        let is_1_0 = dialect == Dialect::V1_0;
        let of_2_0 = [Limits::ONE_BY_ONE, Limits::RANGES];
        for limits in if is_1_0 { &[Limits::ENTRY_BY_ENTRY][..] } else { &of_2_0 } {
            let limits = *limits;
            let options = match limits == Limits::RANGES {
                true => Options::new(dialect).range_capable(),
                false => Options::new(dialect),
            };
            with_realm(options, never(), |fixture| {
                let Fixture { mut realm, mut pool, mut memory, conduit, .. } = fixture;
                let mut regions = regions(&mut memory, &kernel);
                let cost = realm.populate_cost(&mut pool, &mut regions, limits);
                let issued = |command| conduit.counts(command, dialect).issued;
                let before = [
                    Command::GranuleRangeDelegate,
                    Command::RttCreate,
                    Command::RttInitRipas,
                    Command::RttDataMapInit,
                ]
                .map(|command| equivalent(command, dialect).unwrap())
                .map(|command| (command, issued(command)));
                let total = conduit.total().issued;
                realm.populate(&mut pool, &mut regions).unwrap();
                let [delegate, create, ripas, map] =
                    before.map(|(command, before)| issued(command) - before);
                assert_eq!((cost.delegate, cost.create), (delegate, create));
                assert_eq!((cost.ripas, cost.map), (ripas, map));
                assert_eq!(cost.calls(), conduit.total().issued - total);
                // Nothing is left of the regions; the second time there is nothing to do.
                assert!(regions.iter().all(|region| region.range().is_empty()));
                realm.populate(&mut pool, &mut regions).unwrap();
                Some((realm, pool))
            });
        }
    }
}

/// In parts of any size, and with a refusal in the middle, the result is the same, with no more
/// tables.
#[test]
fn it_is_populated_in_parts_and_continues() {
    let kernel = [0xd5; 4 * 0x1000];
    for dialect in DIALECTS {
        let mut tables = None;
        for (at_once, refused) in [
            (u64::MAX, u64::MAX),
            (u64::MAX, 0),
            (u64::MAX, 1),
            (u64::MAX, 2),
            (1, u64::MAX),
            (PAGE, 3),
            (MIB, 1),
            (5 * MIB + PAGE, 4),
        ] {
            let rule = Rule::command(Command::RttInitRipas, dialect).nth(refused);
            with_realm(Options::new(dialect), rule, |fixture| {
                let Fixture { mut realm, mut pool, mut memory, model, config, .. } = fixture;
                let mut regions = regions(&mut memory, &kernel);
                let params = config.validate(realm.rmm().features(), dialect).unwrap();
                let mut rim = Rim::new(&params, dialect, &mut |_| {}).unwrap();
                rim.add_regions(&mut regions, params.geometry, &mut |_| {}).unwrap();
                let expected = rim.value();
                let (mut left, mut failures) = (BYTES, 0);
                while left > 0 {
                    let done = realm.populate_some(&mut pool, &mut regions, at_once);
                    let now = regions.iter().map(|region| region.range().bytes()).sum();
                    match done {
                        Ok(rest) => assert!(rest == now && rest < left, "{rest:#x} of {left:#x}"),
                        Err(_) => failures += 1,
                    }
                    left = now;
                }
                assert!(failures <= u32::from(refused != u64::MAX));
                let made = *tables.get_or_insert(realm.tables());
                assert_eq!(made, realm.tables(), "{dialect}, {at_once:#x}, {refused}");
                let rmm = realm.rmm();
                for (ipa, level) in [
                    (RAM + 4 * PAGE, Level::L3),
                    (RAM + 2 * MIB, Level::L2),
                    (RAM + BYTES - PAGE, Level::L3),
                ] {
                    let entry =
                        rmm.commands().rtt_read_entry(realm.rd(), Ipa::new(ipa), level).unwrap();
                    assert_eq!((entry.state, entry.ripas), (RttEntryState::Void, Ripas::Ram));
                }
                let measured = model.measurement(realm.rd().pa(), 0);
                assert_eq!(measured, Some(expected), "{dialect}, {at_once:#x}, {refused}");
                Some((realm, pool))
            });
        }
    }
}

#[test]
fn what_is_not_valid_is_refused_before_any_call() {
    with_realm(Options::new(DIALECTS[0]), never(), |fixture| {
        let Fixture { mut realm, mut pool, mut memory, conduit, .. } = fixture;
        let half = 1 << 39;
        let before = conduit.total().issued;
        for (ipa, bytes, expected) in [
            (RAM, 0, RegionProblem::Empty),
            (RAM + 1, PAGE, RegionProblem::Unaligned),
            (RAM, PAGE + 1, RegionProblem::Unaligned),
            (half - PAGE, 2 * PAGE, RegionProblem::NotProtected),
            (RAM, !(PAGE - 1), RegionProblem::NotProtected),
            (RAM - PAGE, 2 * PAGE, RegionProblem::Overlap { at: Ipa::new(RAM - PAGE) }),
        ] {
            let page = memory.take_front(PAGE).unwrap();
            let other = if matches!(expected, RegionProblem::Overlap { .. }) { RAM } else { 0 };
            let mut regions = [
                Region::without_memory(Ipa::new(ipa), bytes),
                Region::new(Ipa::new(other), page, Content::Unspecified),
            ];
            let refused = realm.populate(&mut pool, &mut regions);
            let Err(BuildError::Region { problem, .. }) = refused else {
                unreachable!("{refused:?}")
            };
            assert_eq!(problem, expected);
            for region in regions {
                let _ = region.into_memory().into_raw();
            }
        }
        assert_eq!(conduit.total().issued, before);
        Some((realm, pool))
    });
}
