//! Conversions report what they did, check for what they need before they begin, and continue where
//! they stopped.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::{
    Active, BuildError, ConvertStopped, Converted, Realm, RealmConfig, RealmStorage, RegionProblem,
};
use rmi_abi::{Command, Dialect, Ipa, IpaRange, Status};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::command::SharedAccess;
use rmi_host::{CountingLedger, Host, Registers, Undelegated};
use rmm_model::Model;
use sro::{CallbackMemory, FixedPool};

const D: Dialect = Dialect::TfRmm2026_07;
const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;
const RAM: u64 = 0x4000_0000;
const SHARED: u64 = (1 << 39) + RAM;
const ACCESS: SharedAccess = SharedAccess::MEMORY;

type TestConduit<'m> = Injecting<&'m Model, fn(&Registers) -> bool>;
type Machine<'p> = Host<&'p TestConduit<'p>, &'p Model, &'p CountingLedger>;

fn pages(base: u64, first: u64, count: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base + first * PAGE), count * PAGE).unwrap()
}

struct Fixture<'p> {
    realm: Realm<'p, Machine<'p>, Active>,
    pool: FixedPool<32>,
    memory: Undelegated,
    returned: Vec<Undelegated>,
    conduit: &'p TestConduit<'p>,
}

impl Fixture<'_> {
    fn map(&mut self, first: u64, count: u64) {
        let memory = self.memory.take_front(count * PAGE).unwrap();
        let ipa = pages(RAM, first, count).base();
        self.realm.map(&mut self.pool, ipa, memory).unwrap();
    }

    fn share_pages(&mut self, range: IpaRange, supplied: u64) -> Result<Converted, ConvertStopped> {
        let Self { realm, pool, memory, returned, .. } = self;
        let mut left = supplied;
        let supply = |_: IpaRange| {
            left = left.checked_sub(1)?;
            memory.take_front(PAGE)
        };
        realm.convert_to_shared(
            &mut CallbackMemory::new(pool, supply, |host| {
                returned.push(host);
                Ok(())
            }),
            range,
            ACCESS,
        )
    }

    fn privatize(&mut self, range: IpaRange) -> Result<Converted, ConvertStopped> {
        let Self { realm, pool, returned, .. } = self;
        realm.convert_to_private(
            &mut CallbackMemory::freeing(pool, |host| returned.push(host)),
            range,
        )
    }

    fn returned(&self) -> u64 {
        self.returned.iter().map(Undelegated::bytes).sum()
    }

    fn bytes(&self) -> (u64, u64) {
        (self.realm.memory_bytes(), self.realm.shared_bytes())
    }
}

fn with_realm<const TABLES: usize, const RECORDS: usize>(
    stock: u64,
    (rule, fault): (Rule, Fault),
    act: impl FnOnce(&mut Fixture<'_>),
) {
    let model = test_support::model(D);
    let when: fn(&Registers) -> bool = |_| true;
    let conduit = Injecting::by_rule(&model, rule.when(when), fault);
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<32>(&mut memory, stock * PAGE);
    let platform = Host::new(&conduit, &model).with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<TABLES, RECORDS>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let realm = realm.activate().unwrap();
    let mut fixture = Fixture { realm, pool, memory, returned: Vec::new(), conduit: &conduit };
    act(&mut fixture);
    let Fixture { realm, mut pool, .. } = fixture;
    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error, None);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0, "{}", ledger.balance());
}

fn never() -> (Rule, Fault) {
    (Rule::any().nth(u64::MAX), Fault::status(Status::ErrorInput))
}

fn of(converted: Result<Converted, ConvertStopped>) -> (u64, u64) {
    let converted = converted.unwrap();
    (converted.bytes / PAGE, converted.without_memory / PAGE)
}

#[test]
fn pages_without_memory_are_counted_or_get_some() {
    with_realm::<16, 8>(64, never(), |fixture| {
        let all = pages(RAM, 0, 4);
        // Nothing is mapped and nothing is shared.
        assert_eq!(of(fixture.share_pages(all, 0)), (0, 4));
        assert_eq!(fixture.bytes(), (0, 0));
        // Two of four.
        fixture.map(1, 2);
        assert_eq!(of(fixture.share_pages(all, 0)), (2, 2));
        assert_eq!(fixture.bytes(), (0, 2 * PAGE));
        // Memory for one more page, before them; then for the last one.
        assert_eq!(of(fixture.share_pages(all, 1)), (3, 1));
        assert_eq!(of(fixture.share_pages(all, 5)), (4, 0));
        assert_eq!((fixture.bytes(), fixture.returned()), ((0, 4 * PAGE), 0));
        // And private again; pages without memory stay without.
        assert_eq!(of(fixture.privatize(pages(RAM, 0, 6))), (4, 2));
        assert_eq!(of(fixture.privatize(pages(RAM, 0, 6))), (4, 2));
        assert_eq!((fixture.bytes(), fixture.returned()), ((4 * PAGE, 0), 0));
    });
}

#[test]
fn memory_of_the_wrong_size_is_cut() {
    with_realm::<16, 8>(64, never(), |fixture| {
        let Fixture { realm, pool, memory, returned, .. } = fixture;
        let mut wanted = Vec::new();
        let supply = |part: IpaRange| {
            wanted.push(part);
            memory.take_front(8 * PAGE)
        };
        let all = pages(RAM, 0, 3);
        let keep = &mut |host| returned.push(host);
        let converted = realm
            .convert_to_shared(
                &mut CallbackMemory::new(pool, supply, |host| {
                    keep(host);
                    Ok(())
                }),
                all,
                ACCESS,
            )
            .unwrap();
        assert_eq!((converted.bytes, &wanted[..]), (3 * PAGE, &[all][..]));
        assert_eq!(fixture.returned(), 5 * PAGE);
    });
}

#[test]
fn a_lack_of_records_is_found_before_anything_changes() {
    with_realm::<16, 1>(64, never(), |fixture| {
        // Two runs.
        fixture.map(0, 1);
        fixture.map(2, 1);
        let calls = fixture.conduit.calls();
        let stopped = fixture.share_pages(pages(RAM, 0, 4), 0).unwrap_err();
        assert!(matches!(stopped.error, BuildError::Storage { missing: 1, .. }), "{stopped}");
        assert_eq!((stopped.reached, stopped.converted), (Ipa::new(RAM), Converted::default()));
        assert_eq!(fixture.conduit.calls(), calls);
        assert_eq!((fixture.bytes(), fixture.returned()), ((2 * PAGE, 0), 0));
        // The second attempt is refused as well; a part of the range can be converted.
        assert!(fixture.share_pages(pages(RAM, 0, 4), 0).is_err());
        assert_eq!(of(fixture.share_pages(pages(RAM, 0, 2), 0)), (1, 1));
    });
}

#[test]
fn a_lack_of_memory_for_tables_is_found_before_anything_changes() {
    // The descriptor, the root, three tables in each half: the last one is missing.
    let mut stops = 0;
    for stock in 5..9 {
        with_realm::<16, 4>(stock, never(), |fixture| {
            let Some(memory) = fixture.memory.take_front(4 * PAGE) else { return };
            let mapped = fixture.realm.map(&mut fixture.pool, Ipa::new(RAM), memory);
            if mapped.is_err() {
                return;
            }
            let all = pages(RAM, 0, 4);
            for _ in 0..2 {
                match fixture.share_pages(all, 0) {
                    Ok(converted) => assert_eq!(converted.bytes, 4 * PAGE),
                    Err(stopped) => {
                        stops += 1;
                        assert!(matches!(stopped.error, BuildError::Call(_)), "{stopped}");
                        assert_eq!((fixture.bytes(), fixture.returned()), ((4 * PAGE, 0), 0));
                    }
                }
            }
            fixture.pool.add(fixture.memory.take_front(8 * PAGE).unwrap()).unwrap();
            assert_eq!(of(fixture.share_pages(all, 0)), (4, 0));
        });
    }
    assert!(stops >= 2, "there was always enough");
}

#[test]
fn a_lack_of_shadow_tables_is_found_before_anything_changes() {
    // The root and three tables for the private half, one for the other.
    with_realm::<5, 4>(64, never(), |fixture| {
        fixture.map(0, 4);
        for _ in 0..2 {
            let stopped = fixture.share_pages(pages(RAM, 0, 4), 0).unwrap_err();
            assert!(matches!(stopped.error, BuildError::Storage { .. }), "{stopped}");
            assert_eq!((fixture.bytes(), fixture.returned()), ((4 * PAGE, 0), 0));
        }
    });
}

#[test]
fn a_conversion_that_stops_goes_on() {
    // The second run is refused: when it is unmapped, or when it is shared.
    for command in [Command::RttDataUnmap, Command::RttUnprotMap] {
        let rule = Rule::command(command, D).nth(1);
        with_realm::<16, 8>(64, (rule, Fault::status(Status::ErrorInput)), |fixture| {
            fixture.map(2, 1);
            fixture.map(0, 2);
            let all = pages(RAM, 0, 4);
            let stopped = fixture.share_pages(all, 0).unwrap_err();
            assert_eq!(stopped.reached, pages(RAM, 2, 1).base());
            let reached = stopped.converted;
            assert_eq!((reached.bytes, reached.without_memory), (2 * PAGE, 0));
            let lost = if command == Command::RttUnprotMap { 1 } else { 0 };
            assert_eq!(fixture.bytes(), ((1 - lost) * PAGE, 2 * PAGE));
            assert_eq!(fixture.returned(), lost * PAGE);
            // The memory that was given back is asked for again.
            assert_eq!(of(fixture.share_pages(all, lost)), (3, 1));
        });
    }
    // The same in the other direction.
    for command in [Command::RttUnprotUnmap, Command::RttDataMap] {
        // Three were mapped at the start.
        let nth = if command == Command::RttDataMap { 3 } else { 1 };
        let rule = Rule::command(command, D).nth(nth);
        with_realm::<16, 8>(64, (rule, Fault::status(Status::ErrorInput)), |fixture| {
            fixture.map(2, 1);
            fixture.map(0, 2);
            let all = pages(RAM, 0, 4);
            assert_eq!(of(fixture.share_pages(all, 0)), (3, 1));
            let stopped = fixture.privatize(all).unwrap_err();
            assert_eq!(stopped.reached, pages(RAM, 2, 1).base());
            assert_eq!(stopped.converted.bytes, 2 * PAGE);
            let lost = if command == Command::RttDataMap { 1 } else { 0 };
            assert_eq!(fixture.bytes(), (2 * PAGE, (1 - lost) * PAGE));
            assert_eq!(fixture.returned(), lost * PAGE);
            assert_eq!(of(fixture.privatize(all)), (3 - lost, 1 + lost));
        });
    }
}

#[test]
fn what_has_memory_in_both_halves_is_refused_first() {
    with_realm::<16, 8>(64, never(), |fixture| {
        fixture.map(0, 4);
        let page = fixture.memory.take_front(PAGE).unwrap();
        let alias = pages(SHARED, 3, 1).base();
        fixture.realm.share(&mut fixture.pool, alias, page, ACCESS).unwrap();
        let calls = fixture.conduit.calls();
        for stopped in
            [fixture.share_pages(pages(RAM, 0, 4), 0), fixture.privatize(pages(RAM, 0, 4))]
        {
            let error = stopped.unwrap_err().error;
            let BuildError::Region { problem: RegionProblem::Overlap { at, .. }, .. } = error
            else {
                panic!("{error}");
            };
            assert_eq!(at, alias);
        }
        assert_eq!((fixture.conduit.calls(), fixture.bytes()), (calls, (4 * PAGE, PAGE)));
    });
}

#[test]
fn the_middle_of_blocks_is_converted() {
    with_realm::<16, 8>(64, never(), |fixture| {
        let to_block = (BLOCK - fixture.memory.base().raw() % BLOCK) % BLOCK;
        let _rest = fixture.memory.take_front(to_block);
        fixture.map(0, 512);
        assert_eq!(of(fixture.share_pages(pages(RAM, 510, 4), 0)), (2, 2));
        assert_eq!(fixture.bytes(), (510 * PAGE, 2 * PAGE));
        let mut bytes = [0; 16];
        fixture.realm.read_shared(pages(SHARED, 510, 1).base(), &mut bytes).unwrap();
        assert_eq!(of(fixture.privatize(pages(RAM, 511, 1))), (1, 0));
        assert_eq!((fixture.bytes(), fixture.returned()), ((511 * PAGE, PAGE), 0));
    });
}
