//! Adjacent regions that are merged into one.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::plan::Limits;
use realm_builder::{
    BuildError, Content, New, Realm, RealmConfig, RealmStorage, Region, RegionProblem,
};
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, Ipa, IpaRange, Status};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::command::SharedAccess;
use rmi_host::{CountingLedger, Host, Registers, Undelegated};
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool};

const PAGE: u64 = 0x1000;
const MIB: u64 = 1 << 20;

type Injected<'m> = Injecting<&'m Model, fn(&Registers) -> bool>;
type Platform<'p> = Host<&'p Injected<'p>, &'p Model, &'p CountingLedger>;
type Job<'j> =
    &'j mut dyn FnMut(&mut Realm<'_, Platform<'_>, New>, &mut FixedPool<16>, Undelegated);

/// Does a job with a new Realm, a pool, and 8 MiB that begin at a multiple of 2 MiB. The call that
/// `rule` names is refused once. Afterwards all memory must be accounted for.
fn with_realm(options: Options, rule: Rule, job: Job<'_>) {
    let model = Model::new(options).unwrap();
    let conduit: Injected<'_> = Injecting::by_rule(&model, rule, Fault::status(Status::ErrorInput));
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let ram = memory.take_front(8 * MIB).unwrap();
    let mut pool = test_support::pool::<16>(&mut memory, 64 << 12);
    let platform = Host::new(&conduit, &model).with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<8, 0>::new();
    let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    job(&mut realm, &mut pool, ram);
    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error, None);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
}

fn parts<const N: usize>(memory: &mut Undelegated, sizes: [u64; N]) -> [Undelegated; N] {
    sizes.map(|bytes| memory.take_front(bytes).unwrap())
}

#[test]
fn neighbours_without_content_become_one_block() {
    let options = Options::new(Dialect::TfRmm2026_07).range_capable();
    with_realm(options, Rule::any().nth(u64::MAX), &mut |realm, pool, mut ram| {
        let base = 0x8000_0000;
        // Three parts of 2 MiB, in any order, and 2 MiB with content next to them.
        let content = vec![1; 2 << 20];
        let [first, second, third] = parts(&mut ram, [MIB / 2, MIB, MIB / 2]);
        let rest = ram.take_front(2 * MIB).unwrap();
        let mut regions = [
            Region::new(Ipa::new(base + MIB / 2), second, Content::Unspecified),
            Region::new(Ipa::new(base + 2 * MIB), rest, Content::Unmeasured(&content)),
            Region::new(Ipa::new(base), first, Content::Unspecified),
            Region::new(Ipa::new(base + 3 * MIB / 2), third, Content::Unspecified),
        ];
        // Predicting the cost merges them too.
        let cost = realm.populate_cost(pool, &mut regions, Limits::RANGES);
        assert_eq!((cost.map, cost.ripas), (513, 1));
        realm.populate(pool, &mut regions).unwrap();
        assert_eq!(realm.memory_at(Ipa::new(base)).unwrap().bytes(), Level::L2.entry_bytes());
        assert_eq!(realm.memory_at(Ipa::new(base + 2 * MIB)).unwrap().bytes(), PAGE);
        assert_eq!(realm.memory_bytes(), 4 * MIB);
        // All of it is populated; the second time there is nothing to do.
        realm.populate(pool, &mut regions).unwrap();
    });
}

/// After an error the first region holds the rest of those that were merged, and they lie at
/// addresses that it covers.
#[test]
fn neighbours_go_on_together() {
    let options = Options::new(Dialect::TfRmm2026_07);
    for refused in 0..2 {
        let rule = Rule::command(Command::RttDataMap, options.dialect).nth(refused);
        with_realm(options.clone(), rule, &mut |realm, pool, mut ram| {
            // By pages, two megabytes a call: the second begins inside the second part.
            let _ = ram.take_front(PAGE).map(Undelegated::into_raw);
            let sizes = [3 * MIB / 2, MIB, MIB, MIB / 2];
            let mut ipa = 0x8000_0000;
            let mut regions = parts(&mut ram, sizes).map(|part| {
                let region = Region::new(Ipa::new(ipa), part, Content::Unspecified);
                ipa = region.range().top().raw();
                region
            });
            realm.populate(pool, &mut regions).unwrap_err();
            assert_eq!(realm.memory_bytes(), refused * 2 * MIB);
            let left: u64 = regions.iter().map(|region| region.range().bytes()).sum();
            assert_eq!(left, 4 * MIB - realm.memory_bytes());
            realm.populate(pool, &mut regions).unwrap();
            assert_eq!(realm.memory_bytes(), 4 * MIB);
        });
    }
}

/// Whichever call is refused, populating in parts continues where it stopped.
#[test]
fn parts_go_on_after_an_error() {
    let content = vec![7; 5 << 12];
    // Creating the Realm delegates memory, too.
    for (command, numbers) in [
        (Command::RttDataMapInit, 0..10),
        (Command::RttDataMap, 0..3),
        (Command::RttInitRipas, 0..2),
        (Command::GranuleRangeDelegate, 10..780),
        (Command::RttCreate, 0..4),
    ] {
        let step = if numbers.end > 100 { 37 } else { 1 };
        for refused in numbers.step_by(step) {
            let options = Options::new(Dialect::TfRmm2026_07);
            let rule = Rule::command(command, options.dialect).nth(refused);
            with_realm(options, rule, &mut |realm, pool, mut ram| {
                let base = 0x8000_0000;
                let [vacant, first, second] = parts(&mut ram, [3 * MIB, 5 * PAGE, 5 * PAGE]);
                let mut regions = [
                    Region::new(Ipa::new(base), first, Content::Measured(&content)),
                    Region::new(Ipa::new(base + 5 * PAGE), second, Content::Unmeasured(&content)),
                    Region::new(Ipa::new(base + 2 * MIB), vacant, Content::Unspecified),
                ];
                let (mut left, mut failures) = (3 * MIB + 10 * PAGE, 0);
                while left > 0 {
                    // Three pages at first, which end inside regions; then more.
                    let most = if left > 3 * MIB { 3 * PAGE } else { 300 * PAGE };
                    match realm.populate_some(pool, &mut regions, most) {
                        Ok(now) => assert!(now < left && now + most >= left, "{now:#x}"),
                        Err(_) => failures += 1,
                    }
                    let apart: u64 = regions.iter().map(|region| region.range().bytes()).sum();
                    assert_eq!(realm.memory_bytes() + apart, 3 * MIB + 10 * PAGE);
                    left = apart;
                }
                assert_eq!(failures, 1);
                assert!(regions.iter().all(|region| region.range().is_empty()));
            });
        }
    }
}

/// A part ends where a block ends, if one fits.
#[test]
fn blocks_that_fit_into_parts_are_made() {
    let options = Options::new(Dialect::TfRmm2026_07).range_capable();
    for (most, parts, block) in
        [(u64::MAX, 1, 2 * MIB), (3 * MIB, 2, 2 * MIB), (2 * MIB, 3, 2 * MIB), (MIB, 5, PAGE)]
    {
        with_realm(options.clone(), Rule::any().nth(u64::MAX), &mut |realm, pool, mut ram| {
            // A megabyte, then two blocks.
            let _ = ram.take_front(MIB).unwrap().into_raw();
            let memory = ram.take_front(5 * MIB).unwrap();
            let base = 0x8000_0000 + MIB;
            let mut regions = [Region::new(Ipa::new(base), memory, Content::Unspecified)];
            let mut count = 1;
            while realm.populate_some(pool, &mut regions, most).unwrap() > 0 {
                count += 1;
            }
            assert_eq!(count, parts);
            let found = realm.memory_at(Ipa::new(base + MIB)).unwrap();
            assert_eq!(found.bytes(), block);
        });
    }
}

/// In parts or in one call: the same blocks, the same tables, in the same order.
#[test]
fn parts_map_what_the_whole_does() {
    let content = vec![3; 5 << 12];
    // Offset, size, distance from a multiple of 2 MiB in memory, and whether there is content.
    type Layout<'l> = &'l [(u64, u64, u64, bool)];
    let layouts: [Layout<'_>; 3] = [
        &[(0, 5 * PAGE, 0, true), (2 * MIB, 4 * MIB, 0, false)],
        &[(MIB, MIB, MIB, false), (8 * MIB, 4 * MIB, 0, false)],
        &[
            (PAGE, 3 * MIB, PAGE, false),
            (8 * MIB - PAGE, MIB, 0, false),
            (12 * MIB, 5 * PAGE, 0, true),
        ],
    ];
    for layout in layouts {
        let mut maps = Vec::new();
        for most in [u64::MAX, 4 * MIB, 2 * MIB + 3 * PAGE, 2 * MIB] {
            let options = Options::new(Dialect::TfRmm2026_07).range_capable();
            with_realm(options, Rule::any().nth(u64::MAX), &mut |realm, pool, ram| {
                let base = 0x8000_0000;
                let (mut left, mut regions) = (ram, Vec::new());
                for (at, bytes, skew, filled) in layout.iter().copied() {
                    let next = left.base().align_up(2 * MIB).unwrap().raw() + skew;
                    let _ = left.take_front(next - left.base().raw()).map(Undelegated::into_raw);
                    let memory = left.take_front(bytes).unwrap();
                    let what =
                        if filled { Content::Measured(&content) } else { Content::Unspecified };
                    regions.push(Region::new(Ipa::new(base + at), memory, what));
                }
                let all: Vec<_> = regions.iter().map(Region::range).collect();
                while realm.populate_some(pool, &mut regions, most).unwrap() > 0 {
                    // Each part after the previous one.
                    let begun =
                        |(region, whole): (&Region<'_>, &IpaRange)| region.range() != *whole;
                    let begun = regions.iter().zip(&all).filter(|both| begun(*both)).count();
                    let done =
                        regions.iter().take_while(|region| region.range().is_empty()).count();
                    assert!(begun <= done + 1);
                }
                let mut map = Vec::new();
                for range in all {
                    let mut at = range.base();
                    while at < range.top() {
                        let block = realm.memory_at(at).unwrap();
                        map.push(block);
                        at = block.top();
                    }
                }
                maps.push((map, realm.tables()));
            });
        }
        let (whole, parts) = maps.split_first().unwrap();
        assert!(parts.iter().all(|part| part == whole));
    }
}

/// An address in the protected half that is not the start of a granule is reported as not aligned,
/// not as outside the half.
#[test]
fn an_unaligned_ipa_is_called_unaligned() {
    let options = Options::new(Dialect::TfRmm2026_07);
    with_realm(options, Rule::any().nth(u64::MAX), &mut |realm, pool, mut ram| {
        let unaligned = |problem| {
            matches!(problem, BuildError::Region { problem: RegionProblem::Unaligned, .. })
        };
        let outside = 1 << 39;
        for (base, is_aligned) in [(0x8000_0800, false), (0x8000_0001, false), (outside, true)] {
            for content in [Content::Unspecified, Content::Measured(&[1; 0x1000])] {
                let page = ram.take_front(PAGE).unwrap();
                let mut regions = [Region::new(Ipa::new(base), page, content)];
                let error = realm.populate(pool, &mut regions).unwrap_err();
                assert_eq!(unaligned(error), !is_aligned, "{error}");
                let [region] = regions;
                let page = region.into_memory();
                let refused = realm.map(pool, Ipa::new(base), page).unwrap_err();
                assert_eq!(unaligned(refused.error), !is_aligned, "{}", refused.error);
                let shared = Ipa::new(base ^ outside);
                let refused =
                    realm.share(pool, shared, refused.kept, SharedAccess::MEMORY).unwrap_err();
                assert_eq!(unaligned(refused.error), !is_aligned, "{}", refused.error);
                let _ = refused.host.into_raw();
            }
        }
    });
}
