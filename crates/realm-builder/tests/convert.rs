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
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool};

const D: Dialect = Dialect::TfRmm2026_07;
const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;
const RAM: u64 = 0x4000_0000;
const SHARED: u64 = (1 << 39) + RAM;
const ACCESS: SharedAccess = SharedAccess::MEMORY;

type Door<'m> = Injecting<&'m Model, fn(&Registers) -> bool>;
type Machine<'p> = Host<&'p Door<'p>, &'p Model, &'p CountingLedger>;

fn pages(base: u64, first: u64, count: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base + first * PAGE), count * PAGE).unwrap()
}

struct Bench<'p> {
    realm: Realm<'p, Machine<'p>, Active>,
    pool: FixedPool<32>,
    memory: Undelegated,
    home: Vec<Undelegated>,
    door: &'p Door<'p>,
}

impl Bench<'_> {
    fn map(&mut self, first: u64, count: u64) {
        let memory = self.memory.take_front(count * PAGE).unwrap();
        let ipa = pages(RAM, first, count).base();
        self.realm.map(&mut self.pool, ipa, memory).unwrap();
    }

    fn share_pages(&mut self, range: IpaRange, supplied: u64) -> Result<Converted, ConvertStopped> {
        let Self { realm, pool, memory, home, .. } = self;
        let mut left = supplied;
        let supply = |_: IpaRange| {
            left = left.checked_sub(1)?;
            memory.take_front(PAGE)
        };
        realm.convert_to_shared(
            &mut CallbackMemory::new(pool, supply, |host| {
                home.push(host);
                Ok(())
            }),
            range,
            ACCESS,
        )
    }

    fn privatize(&mut self, range: IpaRange) -> Result<Converted, ConvertStopped> {
        let Self { realm, pool, home, .. } = self;
        realm.convert_to_private(
            &mut CallbackMemory::new(
                pool,
                |_| None,
                |host| {
                    home.push(host);
                    Ok(())
                },
            ),
            range,
        )
    }

    fn home(&self) -> u64 {
        self.home.iter().map(Undelegated::bytes).sum()
    }

    fn bytes(&self) -> (u64, u64) {
        (self.realm.memory_bytes(), self.realm.shared_bytes())
    }
}

fn with_realm<const TABLES: usize, const RECORDS: usize>(
    stock: u64,
    (rule, fault): (Rule, Fault),
    act: impl FnOnce(&mut Bench<'_>),
) {
    let model = Model::new(Options::new(D)).unwrap();
    let when: fn(&Registers) -> bool = |_| true;
    let door = Injecting::by_rule(&model, rule.when(when), fault);
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<32>(&mut memory, stock * PAGE);
    let platform = Host::new(&door, &model).with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<TABLES, RECORDS>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let realm = realm.activate().unwrap();
    let mut bench = Bench { realm, pool, memory, home: Vec::new(), door: &door };
    act(&mut bench);
    let Bench { realm, mut pool, .. } = bench;
    assert_eq!(
        realm.tear_down(&mut CallbackMemory::new(&mut pool, |_| None, |_| Ok(())), []).error,
        None
    );
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
fn pages_without_memory_are_told_or_get_some() {
    with_realm::<16, 8>(64, never(), |bench| {
        let all = pages(RAM, 0, 4);
        // Nothing is mapped and nothing is shared.
        assert_eq!(of(bench.share_pages(all, 0)), (0, 4));
        assert_eq!(bench.bytes(), (0, 0));
        // Two of four.
        bench.map(1, 2);
        assert_eq!(of(bench.share_pages(all, 0)), (2, 2));
        assert_eq!(bench.bytes(), (0, 2 * PAGE));
        // Memory for one more page, before them; then for the last one.
        assert_eq!(of(bench.share_pages(all, 1)), (3, 1));
        assert_eq!(of(bench.share_pages(all, 5)), (4, 0));
        assert_eq!((bench.bytes(), bench.home()), ((0, 4 * PAGE), 0));
        // And private again; pages without memory stay without.
        assert_eq!(of(bench.privatize(pages(RAM, 0, 6))), (4, 2));
        assert_eq!(of(bench.privatize(pages(RAM, 0, 6))), (4, 2));
        assert_eq!((bench.bytes(), bench.home()), ((4 * PAGE, 0), 0));
    });
}

#[test]
fn memory_of_the_wrong_size_is_cut() {
    with_realm::<16, 8>(64, never(), |bench| {
        let Bench { realm, pool, memory, home, .. } = bench;
        let mut wanted = Vec::new();
        let supply = |part: IpaRange| {
            wanted.push(part);
            memory.take_front(8 * PAGE)
        };
        let all = pages(RAM, 0, 3);
        let keep = &mut |host| home.push(host);
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
        assert_eq!(bench.home(), 5 * PAGE);
    });
}

#[test]
fn a_lack_of_records_is_found_before_anything_changes() {
    with_realm::<16, 1>(64, never(), |bench| {
        // Two runs.
        bench.map(0, 1);
        bench.map(2, 1);
        let calls = bench.door.calls();
        let stopped = bench.share_pages(pages(RAM, 0, 4), 0).unwrap_err();
        assert!(matches!(stopped.error, BuildError::Storage { missing: 1, .. }), "{stopped}");
        assert_eq!((stopped.reached, stopped.converted), (Ipa::new(RAM), Converted::default()));
        assert_eq!(bench.door.calls(), calls);
        assert_eq!((bench.bytes(), bench.home()), ((2 * PAGE, 0), 0));
        // The second attempt is refused as well; a part of the range can be converted.
        assert!(bench.share_pages(pages(RAM, 0, 4), 0).is_err());
        assert_eq!(of(bench.share_pages(pages(RAM, 0, 2), 0)), (1, 1));
    });
}

#[test]
fn a_lack_of_memory_for_tables_is_found_before_anything_moves() {
    // The descriptor, the root, three tables in each half: the last one is missing.
    let mut stops = 0;
    for stock in 5..9 {
        with_realm::<16, 4>(stock, never(), |bench| {
            let Some(memory) = bench.memory.take_front(4 * PAGE) else { return };
            let mapped = bench.realm.map(&mut bench.pool, Ipa::new(RAM), memory);
            if mapped.is_err() {
                return;
            }
            let all = pages(RAM, 0, 4);
            for _ in 0..2 {
                match bench.share_pages(all, 0) {
                    Ok(converted) => assert_eq!(converted.bytes, 4 * PAGE),
                    Err(stopped) => {
                        stops += 1;
                        assert!(matches!(stopped.error, BuildError::Call(_)), "{stopped}");
                        assert_eq!((bench.bytes(), bench.home()), ((4 * PAGE, 0), 0));
                    }
                }
            }
            bench.pool.add(bench.memory.take_front(8 * PAGE).unwrap()).unwrap();
            assert_eq!(of(bench.share_pages(all, 0)), (4, 0));
        });
    }
    assert!(stops >= 2, "there was always enough");
}

#[test]
fn a_lack_of_rooms_for_tables_is_found_before_anything_moves() {
    // The root and three tables for the private half, one for the other.
    with_realm::<5, 4>(64, never(), |bench| {
        bench.map(0, 4);
        for _ in 0..2 {
            let stopped = bench.share_pages(pages(RAM, 0, 4), 0).unwrap_err();
            assert!(matches!(stopped.error, BuildError::Storage { .. }), "{stopped}");
            assert_eq!((bench.bytes(), bench.home()), ((4 * PAGE, 0), 0));
        }
    });
}

#[test]
fn a_conversion_that_stops_goes_on() {
    // The second run is refused: when it is unmapped, or when it is shared.
    for command in [Command::RttDataUnmap, Command::RttUnprotMap] {
        let rule = Rule::command(command, D).nth(1);
        with_realm::<16, 8>(64, (rule, Fault::status(Status::ErrorInput)), |bench| {
            bench.map(2, 1);
            bench.map(0, 2);
            let all = pages(RAM, 0, 4);
            let stopped = bench.share_pages(all, 0).unwrap_err();
            assert_eq!(stopped.reached, pages(RAM, 2, 1).base());
            let reached = stopped.converted;
            assert_eq!((reached.bytes, reached.without_memory), (2 * PAGE, 0));
            let lost = if command == Command::RttUnprotMap { 1 } else { 0 };
            assert_eq!(bench.bytes(), ((1 - lost) * PAGE, 2 * PAGE));
            assert_eq!(bench.home(), lost * PAGE);
            // The memory that was given back is asked for again.
            assert_eq!(of(bench.share_pages(all, lost)), (3, 1));
        });
    }
    // The same in the other direction.
    for command in [Command::RttUnprotUnmap, Command::RttDataMap] {
        // Three were mapped at the start.
        let nth = if command == Command::RttDataMap { 3 } else { 1 };
        let rule = Rule::command(command, D).nth(nth);
        with_realm::<16, 8>(64, (rule, Fault::status(Status::ErrorInput)), |bench| {
            bench.map(2, 1);
            bench.map(0, 2);
            let all = pages(RAM, 0, 4);
            assert_eq!(of(bench.share_pages(all, 0)), (3, 1));
            let stopped = bench.privatize(all).unwrap_err();
            assert_eq!(stopped.reached, pages(RAM, 2, 1).base());
            assert_eq!(stopped.converted.bytes, 2 * PAGE);
            let lost = if command == Command::RttDataMap { 1 } else { 0 };
            assert_eq!(bench.bytes(), (2 * PAGE, (1 - lost) * PAGE));
            assert_eq!(bench.home(), lost * PAGE);
            assert_eq!(of(bench.privatize(all)), (3 - lost, 1 + lost));
        });
    }
}

#[test]
fn what_has_memory_in_both_halves_is_refused_first() {
    with_realm::<16, 8>(64, never(), |bench| {
        bench.map(0, 4);
        let page = bench.memory.take_front(PAGE).unwrap();
        let alias = pages(SHARED, 3, 1).base();
        bench.realm.share(&mut bench.pool, alias, page, ACCESS).unwrap();
        let calls = bench.door.calls();
        for stopped in [bench.share_pages(pages(RAM, 0, 4), 0), bench.privatize(pages(RAM, 0, 4))] {
            let error = stopped.unwrap_err().error;
            let BuildError::Region { problem: RegionProblem::Overlap { at, .. }, .. } = error
            else {
                panic!("{error}");
            };
            assert_eq!(at, alias);
        }
        assert_eq!((bench.door.calls(), bench.bytes()), (calls, (4 * PAGE, PAGE)));
    });
}

#[test]
fn the_middle_of_blocks_is_converted() {
    with_realm::<16, 8>(64, never(), |bench| {
        let to_block = (BLOCK - bench.memory.base().raw() % BLOCK) % BLOCK;
        let _rest = bench.memory.take_front(to_block);
        bench.map(0, 512);
        assert_eq!(of(bench.share_pages(pages(RAM, 510, 4), 0)), (2, 2));
        assert_eq!(bench.bytes(), (510 * PAGE, 2 * PAGE));
        let mut bytes = [0; 16];
        bench.realm.read_shared(pages(SHARED, 510, 1).base(), &mut bytes).unwrap();
        assert_eq!(of(bench.privatize(pages(RAM, 511, 1))), (1, 0));
        assert_eq!((bench.bytes(), bench.home()), ((511 * PAGE, PAGE), 0));
    });
}
