//! Realms on memory of COARSE tracking regions: from creation to teardown, with an RMM that takes
//! several calls for a region, undoes delegations or fails at any call; and what becomes of memory
//! that cannot be mapped or unmapped.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::num::{NonZeroU8, NonZeroU32};

use realm_builder::plan::Limits;
use realm_builder::{
    BuildError, Content, DismantleProgress, FixedRecords, Realm, RealmConfig, RealmStorage,
    Reclaimed, Records, Region, ShadowTable,
};
use rmi_abi::granule::{TrackingRegionSize, TrackingRegionState};
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Command, Dialect, GranuleSize, Ipa, IpaRange, Pa, PaRange, Status};
use rmi_conduits::counting::Counting;
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::granules::{AnyGranules, HostOwned};
use rmi_host::{
    CountingLedger, Error, FixedQuarantine, Host, Platform, RetryBudget, SessionOptions,
    TrackingRegion, Undelegated,
};
use rmm_model::{FirstTracking, GranuleState, Model, Options, RegionOptions};
use sro::{CallbackMemory, FineRegion, FineRegions, FixedPool, GranuleSet, Session};
use test_support::Scale;

const DRAM: u64 = 0x8000_0000;
const MIB2: u64 = 2 << 20;
const GIB: u64 = 1 << 30;
const PAGE: u64 = 0x1000;
const RAM: u64 = GIB;

/// The sizes of granules and regions, and how many granules a region takes to become FINE.
#[derive(Clone, Copy, Debug)]
struct Shape {
    granule: GranuleSize,
    region: u64,
    takes: u16,
}

/// As TF-RMM does: 8 bytes for each granule.
const BY_GIB: Shape = Shape { granule: GranuleSize::Size4KiB, region: GIB, takes: 512 };
const BY_2_MIB: Shape = Shape { granule: GranuleSize::Size4KiB, region: MIB2, takes: 1 };
const BY_32_MIB: Shape = Shape { granule: GranuleSize::Size16KiB, region: 32 << 20, takes: 1 };
const BY_512_MIB: Shape = Shape { granule: GranuleSize::Size64KiB, region: 512 << 20, takes: 1 };

/// An RMM with five regions, all COARSE.
fn model(shape: Shape, change: impl Fn(&mut Options)) -> Model {
    let mut options = Options::new(Dialect::V2_0Bet3).range_capable().with_all_granules();
    options.dram = PaRange::with_size(Pa::new(DRAM), 5 * shape.region).unwrap();
    let mut regions = RegionOptions::new(FirstTracking::Coarse);
    regions.code_of_2_mib = NonZeroU8::new(1);
    options.regions = Some(regions);
    options.tracking_donates = shape.takes;
    change(&mut options);
    Model::new(options).unwrap()
}

fn session_options(shape: Shape) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.granule_size = shape.granule;
    options.tracking_region = Some(match shape.region {
        MIB2 => TrackingRegion::with_code(MIB2, TrackingRegionSize(1)),
        bytes => TrackingRegion::new(bytes),
    });
    options.retry_budget = RetryBudget { busy: 3, blocked: 3, steps: 50, ..RetryBudget::default() };
    options
}

type Heap = GranuleSet<HostOwned, Vec<AnyGranules>>;

/// A machine whose first region is the pool's.
struct Vmm<P: Platform> {
    session: Session<P>,
    pool: FixedPool<8>,
    fine: FineRegions<[FineRegion; 5]>,
    heap: Heap,
}

fn region(shape: Shape, number: u64) -> PaRange {
    PaRange::with_size(Pa::new(DRAM + number * shape.region), shape.region).unwrap()
}

impl<P: Platform> Vmm<P> {
    /// `None` when the RMM did not let it begin; then all memory is in `heap`.
    fn start(shape: Shape, platform: P, mut memory: Undelegated) -> Result<Self, Heap> {
        let mut heap = Heap::new((0..64).map(|_| AnyGranules::empty()).collect());
        let mut pool = FixedPool::new();
        pool.add(memory.take_front(shape.region).unwrap()).unwrap();
        heap.insert(memory).unwrap();
        let session = match sro::open(platform, session_options(shape), &mut pool) {
            Ok(session) => session,
            Err(_) => {
                pool.drain_host(&mut |memory| heap.insert(memory).unwrap());
                return Err(heap);
            }
        };
        let fine = FineRegions::new([const { FineRegion::EMPTY }; 5]);
        Ok(Self { session, pool, fine, heap })
    }

    fn take(&mut self, shape: Shape, number: u64) -> Undelegated {
        self.heap.take_range(region(shape, number)).unwrap()
    }

    fn tracked(&self, shape: Shape, number: u64) -> TrackingRegionState {
        self.session.commands().granule_tracking_get(region(shape, number)).unwrap().state
    }

    /// Everything as it was before: the heap with all memory that came back, and how many bytes the
    /// RMM has to track regions, because a granule of theirs is in quarantine.
    fn end(mut self) -> (Heap, u64) {
        for _ in 0..3 {
            let _ = self.fine.restore(&self.session, &mut self.pool);
        }
        let heap = &mut self.heap;
        self.pool.drain(&self.session, &mut |memory| heap.insert(memory).unwrap());
        (self.heap, self.fine.donated_bytes())
    }
}

/// A Realm with two COARSE regions as RAM, and a page from a FINE one, is made, changed and taken
/// apart. Whether everything went well.
fn lifecycle<P: Platform>(shape: Shape, vmm: &mut Vmm<P>) -> bool {
    let Vmm { session, pool, fine, heap } = vmm;
    if fine.make_fine(session, pool, region(shape, 0)).is_err() {
        return false;
    }
    let image = [7; 0x1000];
    let granule = shape.granule.bytes();
    let parts = Scale::new(shape.granule).shadow_tables(8);
    let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(parts).collect();
    let (mut fixed, mut shared) = (FixedRecords::new(), [const { None }; 2]);
    let records = Records::new(&mut fixed, &mut tables, &mut shared);
    let Ok(mut realm) = Realm::create(session, &RealmConfig::new(36), records, pool) else {
        return false;
    };
    let two = region(shape, 1).base();
    let two = heap.take_range(PaRange::with_size(two, 2 * shape.region).unwrap()).unwrap();
    let page = pool.take_host(granule, granule).unwrap();
    let mut regions = [
        Region::new(Ipa::new(RAM), two, Content::Unspecified),
        Region::new(Ipa::new(RAM + 4 * shape.region), page, Content::Measured(&image)),
    ];
    let mut is_good = realm.populate(pool, &mut regions).is_ok();
    for region in regions {
        let memory = region.into_memory();
        if !memory.is_empty() {
            heap.insert(memory).unwrap();
        }
    }
    let mut memory = CallbackMemory::freeing(pool, |memory| heap.insert(memory).unwrap());
    if is_good {
        // The second region as a whole is the host's again.
        let second = IpaRange::with_size(Ipa::new(RAM + shape.region), shape.region).unwrap();
        is_good &= realm.reclaim(&mut memory, second).is_ok();
    }
    is_good &= realm.tear_down(&mut memory, []).error.is_none();
    is_good
}

#[test]
fn a_realm_on_coarse_memory_leaves_nothing_behind() {
    for (shape, steps) in
        [(BY_GIB, 0), (BY_2_MIB, 0), (BY_2_MIB, 3), (BY_32_MIB, 0), (BY_512_MIB, 1)]
    {
        let model = model(shape, |options| {
            options.regions.as_mut().unwrap().coarse_steps = steps;
        });
        let ledger = CountingLedger::new();
        let quarantine = FixedQuarantine::<4>::new();
        let platform = model.host().with_ledger(&ledger).with_quarantine(&quarantine);
        let mut vmm = Vmm::start(shape, platform, model.take_memory()).unwrap();
        assert!(lifecycle(shape, &mut vmm));
        let states = [0, 1, 2, 3, 4].map(|number| vmm.tracked(shape, number));
        let coarse = TrackingRegionState::Coarse;
        assert_eq!(states, [TrackingRegionState::Fine, coarse, coarse, coarse, coarse]);
        let Vmm { session, mut pool, mut fine, heap } = vmm;
        fine.restore(&session, &mut pool).unwrap();
        let taken = u64::from(shape.takes) * shape.granule.bytes();
        assert_eq!(ledger.balance().donated, taken / PAGE);
        assert!(session.close(&mut pool).unwrap().deactivated);
        assert_eq!(ledger.balance().outstanding(), 0);
        assert_eq!((quarantine.len(), model.open_operations()), (0, 0));
        assert_eq!(model.census().undelegated, model.census().total);
        let pages = pool.pages();
        let pages = pages.list.bytes() + pages.page.bytes();
        assert_eq!(pool.bytes().0 + pages + heap.bytes(), 5 * shape.region);
    }
}

/// The error of a call.
fn call(error: BuildError) -> Error {
    match error {
        BuildError::Call(error) => Some(error),
        _ => None,
    }
    .unwrap()
}

#[test]
fn memory_that_cannot_be_mapped_comes_back_as_a_whole() {
    for shape in [BY_GIB, BY_2_MIB] {
        let model = model(shape, |_| ());
        let ledger = CountingLedger::new();
        let platform = model.host().with_ledger(&ledger);
        let mut vmm = Vmm::start(shape, platform, model.take_memory()).unwrap();
        vmm.fine.make_fine(&vmm.session, &mut vmm.pool, region(shape, 0)).unwrap();
        let memory = vmm.take(shape, 1);
        let Vmm { session, pool, fine, .. } = &mut vmm;
        let mut storage = RealmStorage::<16, 16>::new();
        let realm = Realm::create(session, &RealmConfig::new(36), &mut storage, pool).unwrap();
        // By smaller blocks than the region.
        let ipa = Ipa::new(RAM + shape.region / 512);
        let geometry = Geometry::new(36).unwrap();
        let nothing = &|_, _| false;
        let fits = |ipa, memory| {
            realm_builder::plan::fits_coarse(
                geometry,
                ipa,
                memory,
                shape.region,
                Level::L1,
                nothing,
            )
        };
        assert!(!fits(ipa, memory.range()));
        assert!(fits(Ipa::new(RAM), memory.range()));
        let half = PaRange::with_size(memory.base(), shape.region / 2).unwrap();
        assert!(!fits(Ipa::new(RAM), half));
        let failed = realm.map(pool, ipa, memory).unwrap_err();
        let error = call(failed.error);
        assert_eq!(
            (error.command(), error.status()),
            (Some(Command::RttDataMap), Some(Status::ErrorTracking))
        );
        assert_eq!(failed.kept.range(), region(shape, 1));
        // Nor can a part of it; a page is not even delegated.
        let mut whole = failed.kept;
        let part = whole.take_front(PAGE).unwrap();
        let failed = realm.map(pool, Ipa::new(2 * RAM), part).unwrap_err();
        assert_eq!(call(failed.error).status(), Some(Status::ErrorTracking));
        let mut part = failed.kept;
        part.append(whole).unwrap();
        // Once it is FINE it can, with memory of the pool to track it.
        fine.make_fine(session, pool, region(shape, 1)).unwrap();
        realm.map(pool, ipa, part).unwrap();
        let mut back = 0;
        let mut memory = CallbackMemory::freeing(pool, |memory| back += memory.bytes());
        assert!(realm.tear_down(&mut memory, []).error.is_none());
        drop(memory);
        assert_eq!(back, shape.region);
        vmm.fine.restore(&vmm.session, &mut vmm.pool).unwrap();
        assert_eq!(ledger.balance().outstanding(), 0);
        assert_eq!(model.census().undelegated, model.census().total);
        let _ = vmm.end();
    }
}

#[test]
fn a_part_of_a_region_is_reclaimed_once_it_is_fine_or_stays_the_realms() {
    for (shape, becomes_fine) in
        [(BY_GIB, true), (BY_GIB, false), (BY_2_MIB, true), (BY_2_MIB, false)]
    {
        let model = model(shape, |_| ());
        let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<4>::new());
        let platform = model.host().with_ledger(&ledger).with_quarantine(&quarantine);
        let mut vmm = Vmm::start(shape, platform, model.take_memory()).unwrap();
        vmm.fine.make_fine(&vmm.session, &mut vmm.pool, region(shape, 0)).unwrap();
        let memory = vmm.take(shape, 1);
        let Vmm { session, pool, fine, heap } = &mut vmm;
        let mut storage = RealmStorage::<16, 16>::new();
        let realm = Realm::create(session, &RealmConfig::new(36), &mut storage, pool).unwrap();
        realm.map(pool, Ipa::new(RAM), memory).unwrap();
        let part = IpaRange::with_size(Ipa::new(RAM + PAGE), PAGE).unwrap();
        let stopped = realm.reclaim(pool, part).unwrap_err();
        assert_eq!(call(stopped.error).status(), Some(Status::ErrorTracking));
        assert_eq!(stopped.reached, part.base());
        let data = model.granule_state(region(shape, 1).base());
        assert_eq!(data, Some(GranuleState::Data));
        let mut pages = Vec::new();
        if becomes_fine {
            fine.make_fine(session, pool, region(shape, 1)).unwrap();
            let mut memory = CallbackMemory::freeing(pool, |memory| pages.push(memory));
            let _ = realm.reclaim(&mut memory, part).unwrap();
            drop(memory);
            let bases: Vec<_> = pages.iter().map(|page| (page.base(), page.bytes())).collect();
            assert_eq!(bases, [(Pa::new(region(shape, 1).base().raw() + PAGE), PAGE)]);
        }
        // The block that was split is one again before it is unmapped.
        let mut memory = CallbackMemory::freeing(pool, |memory| pages.push(memory));
        assert!(realm.tear_down(&mut memory, []).error.is_none());
        drop(memory);
        for page in pages {
            heap.insert(page).unwrap();
        }
        assert_eq!(heap.bytes(), 4 * shape.region);
        fine.restore(session, pool).unwrap();
        assert_eq!((ledger.balance().outstanding(), quarantine.len()), (0, 0));
        assert_eq!(model.census().undelegated, model.census().total);
        let _ = vmm.end();
    }
}

#[test]
fn a_region_that_was_split_in_several_places_is_unmapped_as_a_whole() {
    let shape = BY_GIB;
    for by_reclaiming in [true, false] {
        let model = model(shape, |_| ());
        let conduit = Counting::new(&model);
        let ledger = CountingLedger::new();
        let platform = Host::new(&conduit, &model).with_ledger(&ledger);
        let mut vmm = Vmm::start(shape, platform, model.take_memory()).unwrap();
        vmm.fine.make_fine(&vmm.session, &mut vmm.pool, region(shape, 0)).unwrap();
        let memory = vmm.take(shape, 1);
        let Vmm { session, pool, fine, heap } = &mut vmm;
        let mut storage = RealmStorage::<16, 16>::new();
        let realm = Realm::create(session, &RealmConfig::new(36), &mut storage, pool).unwrap();
        realm.map(pool, Ipa::new(RAM), memory).unwrap();
        let realm = realm.activate().unwrap();
        // Across two blocks of 2 MiB, and in the last one: a table of level 2, three of level 3.
        let tables = realm.tables();
        for (base, bytes) in [(MIB2 - PAGE, 2 * PAGE), (GIB - PAGE, PAGE)] {
            let part = IpaRange::with_size(Ipa::new(RAM + base), bytes).unwrap();
            let stopped = realm.reclaim(pool, part).unwrap_err();
            assert_eq!(call(stopped.error).status(), Some(Status::ErrorTracking));
        }
        assert_eq!(realm.tables(), tables + 4);
        let folds = || conduit.counts(Command::RttFold, Dialect::V2_0Bet3).issued;
        let mut memory = CallbackMemory::freeing(pool, |memory| heap.insert(memory).unwrap());
        if by_reclaiming {
            let whole = IpaRange::with_size(Ipa::new(RAM), GIB).unwrap();
            assert_eq!(realm.reclaim(&mut memory, whole).unwrap(), Reclaimed::Whole);
            assert_eq!((realm.tables(), folds()), (tables, 4));
        }
        assert_eq!(realm.tear_down(&mut memory, []).error, None);
        drop(memory);
        assert_eq!((folds(), heap.bytes()), (4, 4 * GIB));
        fine.restore(session, pool).unwrap();
        assert_eq!(ledger.balance().outstanding(), 0);
        assert_eq!(model.census().undelegated, model.census().total);
        let _ = vmm.end();
    }
}

/// A page that may have been unmapped, as far as the host knows, is read before a table is folded.
#[test]
fn a_region_is_unmapped_as_a_whole_after_an_unclear_answer() {
    let shape = BY_2_MIB;
    for page in [0, 3, 511] {
        let model = model(shape, |_| ());
        let unclear = Fault::Instead([0xfe, 0, 0, 0, 0, 0, 0, 0]);
        let rule = Rule::command(Command::RttDataUnmap, Dialect::V2_0Bet3).nth(0);
        let conduit = Injecting::by_rule(&model, rule, unclear);
        let ledger = CountingLedger::new();
        let platform = Host::new(&conduit, &model).with_ledger(&ledger);
        let mut vmm = Vmm::start(shape, platform, model.take_memory()).unwrap();
        vmm.fine.make_fine(&vmm.session, &mut vmm.pool, region(shape, 0)).unwrap();
        let memory = vmm.take(shape, 1);
        let Vmm { session, pool, fine, heap } = &mut vmm;
        let mut storage = RealmStorage::<16, 16>::new();
        let realm = Realm::create(session, &RealmConfig::new(36), &mut storage, pool).unwrap();
        realm.map(pool, Ipa::new(RAM), memory).unwrap();
        let realm = realm.activate().unwrap();
        let page = IpaRange::with_size(Ipa::new(RAM + page * PAGE), PAGE).unwrap();
        let failed = call(realm.reclaim(pool, page).unwrap_err().error);
        assert!(!failed.is_clean(), "{failed}");
        let mut memory = CallbackMemory::freeing(pool, |memory| heap.insert(memory).unwrap());
        assert_eq!(realm.tear_down(&mut memory, []).error, None);
        drop(memory);
        assert_eq!(heap.bytes(), 4 * MIB2);
        fine.restore(session, pool).unwrap();
        assert_eq!(ledger.balance().outstanding(), 0);
        let _ = vmm.end();
    }
}

/// Whether the status of a fault can only be the end of an operation, if that is delegation.
fn ends_operations(fault: Fault) -> bool {
    let is_end = |status| matches!(status, Status::ErrorTracking | Status::Blocked);
    matches!(fault, Fault::Delay { status, .. } if is_end(status))
}

#[test]
fn any_call_may_fail_on_coarse_memory() {
    let shape = BY_2_MIB;
    // A call that is refused, one that is executed without an answer, and one that is not executed.
    let faults = [
        Fault::Delay { status: Status::ErrorInput, times: 1 },
        Fault::Delay { status: Status::ErrorTracking, times: 1 },
        Fault::Delay { status: Status::Busy, times: 2 },
        Fault::Delay { status: Status::Blocked, times: 2 },
        Fault::Delay { status: Status::Blocked, times: 9 },
        Fault::Instead([99, 0, 0, 0, 0, 0, 0, 0]),
        Fault::Afterwards([99, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (steps, roll_back) in [(0, 0), (2, 0), (1, 2), (0, 3)] {
        for fault in faults {
            let mut at = 0;
            loop {
                let model = model(shape, |options| {
                    let regions = options.regions.as_mut().unwrap();
                    regions.coarse_steps = steps;
                    regions.roll_back_every = NonZeroU32::new(roll_back);
                });
                let conduit = Injecting::once(&model, at, fault);
                let ledger = CountingLedger::new();
                let quarantine = FixedQuarantine::<256>::new();
                let platform =
                    Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
                let (heap, tracking) = match Vmm::start(shape, platform, model.take_memory()) {
                    Ok(mut vmm) => {
                        let is_good = lifecycle(shape, &mut vmm);
                        assert!(is_good || conduit.has_injected() || roll_back != 0);
                        vmm.end()
                    }
                    Err(heap) => (heap, 0),
                };
                let mut kept = 0;
                quarantine.for_each(|range, _| kept += range.bytes());
                let when = format!("call {at}, {fault:?}, {steps} steps, {roll_back}");
                assert_eq!(heap.bytes() + kept + tracking, 5 * shape.region, "{when}");
                let balance = ledger.balance();
                assert_eq!(balance.outstanding(), tracking / PAGE, "{when}");
                assert_eq!(balance.quarantined, kept / PAGE, "{when}");
                // Regions are as they were unless something of theirs is in quarantine, or the RMM
                // did not finish a change.
                let is_kept = kept != 0 || model.open_operations() != 0;
                assert!(tracking == 0 || is_kept, "{when}");
                // A false end of an operation is believed: only an operation has these statuses.
                let is_false = steps + roll_back != 0 && ends_operations(fault);
                for range in heap.iter().filter(|_| !is_false) {
                    let mut pages = (range.base().raw()..range.top().raw()).step_by(0x1000);
                    let is_host = |page| model.granule_state(Pa::new(page));
                    let all = pages.all(|page| is_host(page) == Some(GranuleState::Undelegated));
                    assert!(all, "{when}: {range}");
                }
                if !conduit.has_injected() {
                    assert_eq!((kept, tracking), (0, 0), "{when}");
                    assert!(at > 30);
                    break;
                }
                at += 1;
            }
        }
    }
}

/// A call ends where a tracking region ends, COARSE or FINE: with these limits predictions are
/// exact.
#[test]
fn coarse_memory_takes_the_predicted_calls() {
    for shape in [BY_GIB, BY_2_MIB, BY_32_MIB, BY_512_MIB] {
        let model = model(shape, |_| ());
        let conduit = Counting::new(&model);
        let platform = Host::new(&conduit, &model);
        let Vmm { session, mut pool, mut fine, mut heap } =
            Vmm::start(shape, platform, model.take_memory()).unwrap();
        fine.make_fine(&session, &mut pool, region(shape, 0)).unwrap();
        fine.make_fine(&session, &mut pool, region(shape, 3)).unwrap();
        let limits = Limits { regions: Some(shape.region), ..Limits::RANGES };
        let parts = Scale::new(shape.granule).shadow_tables(12);
        let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(parts).collect();
        let (mut fixed, mut shared) = (FixedRecords::new(), [const { None }; 2]);
        let records = Records::new(&mut fixed, &mut tables, &mut shared);
        let realm = Realm::create(&session, &RealmConfig::new(40), records, &mut pool).unwrap();
        let realm = realm.activate().unwrap();
        let granule = shape.granule.bytes();
        // Two COARSE regions in one piece; and FINE memory on both sides of the end of a region,
        // the latter of which another one follows in the Realm.
        let mut take = |base: u64, bytes: u64| {
            let at = Pa::new(DRAM + base);
            heap.take_range(PaRange::with_size(at, bytes).unwrap()).unwrap()
        };
        let two = take(shape.region, 2 * shape.region);
        let pages = take(3 * shape.region, 2 * granule);
        let more = pool.take_host(granule, granule).unwrap();
        for (ipa, delegations, pieces) in
            [(RAM, 2, vec![two]), (RAM + 2 * shape.region, 2, vec![pages, more])]
        {
            let mut pieces = pieces;
            let ranges: Vec<_> = pieces.iter().map(Undelegated::range).collect();
            let cost = realm.map_cost(&mut pool, Ipa::new(ipa), &ranges, limits);
            let data: u64 =
                ranges.iter().map(|range| limits.delegation_of(*range, shape.granule)).sum();
            assert_eq!(data, delegations, "{shape:?}");
            let before = conduit.total().issued;
            realm.map_scattered(&mut pool, Ipa::new(ipa), &mut pieces).unwrap();
            assert_eq!(conduit.total().issued - before, cost.calls(), "{shape:?} {cost:?}");
        }
        let cost = realm.dismantle_cost(limits);
        // One for each of the regions, and of the pages.
        assert_eq!(cost.unmap, 4, "{shape:?}");
        let mut realm = realm.terminate().unwrap();
        let before = conduit.total().issued;
        let mut freeing = CallbackMemory::freeing(&mut pool, |memory| {
            let _ = memory.into_raw();
        });
        while realm.dismantle(&mut freeing, 100_000).unwrap() == DismantleProgress::More {}
        drop(freeing);
        assert_eq!(conduit.total().issued - before, cost.calls(), "{shape:?} {cost:?}");
        assert_eq!(conduit.total().failed, 0, "{shape:?}");
        assert_eq!(realm.tear_down(&mut pool, []).error, None);
        fine.restore(&session, &mut pool).unwrap();
        pool.drain(&session, &mut |memory| {
            let _ = memory.into_raw();
        });
    }
}

#[test]
fn delegation_is_counted_by_region() {
    let range = |from: u64, to: u64| PaRange::new(Pa::new(from), Pa::new(to)).unwrap();
    let limits = Limits { regions: Some(0x4000), ..Limits::RANGES };
    let size = GranuleSize::Size4KiB;
    for (from, to, calls) in [
        (0x8000, 0x8000, 0),
        (0x9000, 0x9000, 0),
        (0x9000, 0xa000, 1),
        (0x8000, 0xc000, 1),
        (0x9000, 0xc000, 1),
        (0x8000, 0xd000, 2),
        (0x9000, 0xd000, 2),
        (0x9000, 0x1_1000, 3),
        (0x8000, 0x1_0000, 2),
    ] {
        let memory = range(from, to);
        assert_eq!(limits.delegation_of(memory, size), calls, "{memory}");
        assert_eq!(Limits::RANGES.delegation_of(memory, size), u64::from(from < to));
    }
    // In each region anew.
    let by_two = Limits { granules_per_call: Some(2), ..limits };
    assert_eq!(by_two.delegation_of(range(0x9000, 0x1_1000), size), 2 + 2 + 1);
    assert_eq!(by_two.delegation_of(range(0x9000, 0xc000), size), 2);
}
