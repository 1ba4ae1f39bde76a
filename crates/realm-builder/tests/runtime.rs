//! Any sequence of changes to a Realm's memory: the RMM maps what a simple map of pages says, refuses nothing, and in the end everything is back.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use proptest::prelude::*;
use realm_builder::{
    Alive, BuildError, FoldPolicy, Realm, RealmConfig, Records, RegionProblem, SharedRoom,
    TableRoom,
};
use rmi_abi::rtt::{Level, RttEntryState};
use rmi_abi::{Dialect, Ipa, IpaRange, PaRange};
use rmi_host::command::SharedAccess;
use rmi_host::counting::Counting;
use rmi_host::granules::Host as HostHand;
use rmi_host::{CountingLedger, Discovered, Host, Platform, SessionOptions, Undelegated, leaked};
use rmm_model::{Model, Options};
use sro::{GranuleSet, Pool, PoolStorage, activate};

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;
const GIB: u64 = 1 << 30;
/// IPA space of either half that is used.
const AREA: u64 = 3 * GIB;

type Heap = GranuleSet<HostHand, Vec<Undelegated>>;

/// What one half of the IPA space maps: runs that are contiguous on both sides, as far as they go. By first address: bytes, and where in physical memory.
#[derive(Default)]
struct Half(BTreeMap<u64, (u64, u64)>);

impl Half {
    fn bytes(&self) -> u64 {
        self.0.values().map(|(bytes, _)| bytes).sum()
    }

    /// The run at an address: where it begins, how long it is, and where it leads.
    fn at(&self, ipa: u64) -> Option<(u64, u64, u64)> {
        let (base, (bytes, pa)) = self.0.range(..=ipa).next_back()?;
        (ipa < base + bytes).then_some((*base, *bytes, *pa))
    }

    fn next(&self, range: IpaRange) -> Option<u64> {
        let (base, top) = (range.base().raw(), range.top().raw());
        let before = self.at(base).map(|_| base);
        before.or_else(|| self.0.range(base..top).next().map(|(base, _)| *base))
    }

    fn put(&mut self, mut base: u64, mut bytes: u64, mut pa: u64) {
        if let Some((before, length, there)) = base.checked_sub(1).and_then(|last| self.at(last))
            && there + length == pa
        {
            self.0.remove(&before);
            (base, bytes, pa) = (before, bytes + length, there);
        }
        if let Some((length, there)) = self.0.get(&(base + bytes)).copied()
            && pa + bytes == there
        {
            self.0.remove(&(base + bytes));
            bytes += length;
        }
        self.0.insert(base, (bytes, pa));
    }

    /// Takes all out that lies in a range.
    fn cut(&mut self, range: IpaRange) -> Half {
        let (mut out, top) = (Half::default(), range.top().raw());
        while let Some(from) = self.next(range) {
            let (base, bytes, pa) = self.at(from).unwrap();
            self.0.remove(&base);
            let end = top.min(base + bytes);
            if base < from {
                self.0.insert(base, (from - base, pa));
            }
            if end < base + bytes {
                self.0.insert(end, (base + bytes - end, pa + end - base));
            }
            out.put(from, end - from, pa + from - base);
        }
        out
    }

    /// The physical memory, sorted, without the borders between neighbours.
    fn memory(&self) -> Vec<PaRange> {
        join(
            self.0
                .values()
                .map(|(bytes, pa)| PaRange::with_size(rmi_abi::Pa::new(*pa), *bytes).unwrap()),
        )
    }
}

fn join(ranges: impl Iterator<Item = PaRange>) -> Vec<PaRange> {
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort();
    let mut joined: Vec<PaRange> = Vec::new();
    for range in ranges {
        match joined.last_mut().filter(|last| last.top() == range.base()) {
            Some(last) => *last = PaRange::new(last.base(), range.top()).unwrap(),
            None => joined.push(range),
        }
    }
    joined
}

/// One change. Ranges are offsets in a half.
#[derive(Clone, Debug)]
enum Change {
    Map { at: u64, bytes: u64, alignment: u64 },
    Scattered { at: u64, pieces: Vec<u64> },
    Reclaim { at: u64, bytes: u64 },
    Split { at: u64, level: Level },
    Fold { at: u64, bytes: u64, void: bool },
    Share { at: u64, bytes: u64, alignment: u64 },
    Unshare { at: u64, bytes: u64 },
    Reshare { at: u64, bytes: u64, write: bool },
}

/// Ranges near each other, at and around the borders of entries.
fn range() -> impl Strategy<Value = (u64, u64)> {
    let near = prop_oneof![
        8 => (0u64..4).prop_map(|n| n * BLOCK),
        2 => Just(GIB - 2 * BLOCK),
        2 => Just(GIB),
        1 => Just(2 * GIB - BLOCK),
    ];
    let pages = (near.clone(), 0u64..8, 1u64..12)
        .prop_map(|(at, first, count)| (at + first * PAGE, count * PAGE));
    let long = (near.clone(), 500u64..516, 1u64..1100)
        .prop_map(|(at, first, count)| (at + first * PAGE, count * PAGE));
    let blocks = (near, 1u64..4).prop_map(|(at, count)| (at, count * BLOCK));
    let large = (0u64..3).prop_map(|n| (n * GIB, GIB));
    prop_oneof![6 => pages, 3 => long, 6 => blocks, 2 => large]
}

fn change() -> impl Strategy<Value = Change> {
    let alignment = prop_oneof![1 => Just(PAGE), 3 => Just(BLOCK), 3 => Just(GIB)];
    let pieces = prop::collection::vec(prop_oneof![6 => 1u64..5, 1 => Just(512u64)], 1..12);
    let level = prop_oneof![Just(Level::L2), Just(Level::L3)];
    prop_oneof![
        5 => (range(), alignment.clone()).prop_map(|((at, bytes), alignment)| Change::Map { at, bytes, alignment }),
        2 => (range(), pieces).prop_map(|((at, _), pieces)| Change::Scattered { at, pieces }),
        4 => range().prop_map(|(at, bytes)| Change::Reclaim { at, bytes }),
        1 => (range(), level).prop_map(|((at, _), level)| Change::Split { at, level }),
        2 => (range(), any::<bool>()).prop_map(|((at, bytes), void)| Change::Fold { at, bytes, void }),
        4 => (range(), alignment).prop_map(|((at, bytes), alignment)| Change::Share { at, bytes, alignment }),
        3 => range().prop_map(|(at, bytes)| Change::Unshare { at, bytes }),
        2 => (range(), any::<bool>()).prop_map(|((at, bytes), write)| Change::Reshare { at, bytes, write }),
    ]
}

/// A Realm and what it should be.
struct Bench<'r, 'm, 'b, P: Platform, S> {
    realm: &'b Realm<'r, 'm, P, S>,
    pool: &'b mut Pool<'m>,
    heap: &'b mut Heap,
    unprotected: u64,
    memory: Half,
    shared: Half,
}

fn ipas(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

impl<P: Platform, S: Alive> Bench<'_, '_, '_, P, S> {
    /// Memory, of the alignment wanted or else of what there is.
    fn take(&mut self, bytes: u64, alignment: u64) -> Option<Undelegated> {
        // A GiB by pages would take more tables than it is worth.
        let least = if bytes < GIB { PAGE } else { BLOCK };
        self.heap.take(bytes, alignment.max(least)).or_else(|| self.heap.take(bytes, least))
    }

    /// What came home is what was there.
    fn home(&mut self, back: Vec<Undelegated>, was: &Half) {
        assert_eq!(join(back.iter().map(Undelegated::range)), was.memory());
        for memory in back {
            self.heap.insert(memory).unwrap();
        }
    }

    fn change(&mut self, change: &Change) {
        let up = |at: u64| self.unprotected + at;
        match *change {
            Change::Map { at, bytes, alignment } => {
                let Some(memory) = self.take(bytes, alignment) else { return };
                let (pa, other) = (memory.base().raw(), self.memory.next(ipas(at, bytes)));
                match (self.realm.map(self.pool, Ipa::new(at), memory), other) {
                    (Ok(()), None) => self.memory.put(at, bytes, pa),
                    (Err(failed), Some(other)) => {
                        assert_overlap(&failed.error, other);
                        assert_eq!((failed.kept.base().raw(), failed.kept.bytes()), (pa, bytes));
                        self.heap.insert(failed.kept).unwrap();
                    }
                    (result, other) => panic!("{result:?} with {other:x?}"),
                }
            }
            Change::Scattered { at, ref pieces } => {
                let take = |pages: &u64| self.heap.take(pages * PAGE, PAGE);
                let mut memory: Vec<_> = pieces.iter().map_while(take).collect();
                // So that hardly any follows the one before it.
                memory.reverse();
                let bytes = memory.iter().map(Undelegated::bytes).sum();
                if bytes == 0 {
                    return;
                }
                let runs: Vec<_> = memory.iter().map(Undelegated::range).collect();
                let other = self.memory.next(ipas(at, bytes));
                match (self.realm.map_scattered(self.pool, Ipa::new(at), &mut memory), other) {
                    (Ok(()), None) => {
                        assert!(memory.iter().all(Undelegated::is_empty));
                        let mut at = at;
                        for run in runs {
                            self.memory.put(at, run.bytes(), run.base().raw());
                            at += run.bytes();
                        }
                    }
                    (Err(error), Some(other)) => {
                        assert_overlap(&error, other);
                        assert!(memory.iter().map(Undelegated::range).eq(runs));
                        for memory in memory {
                            self.heap.insert(memory).unwrap();
                        }
                    }
                    (result, other) => panic!("{result:?} with {other:x?}"),
                }
            }
            Change::Reclaim { at, bytes } => {
                let (range, mut back) = (ipas(at, bytes), Vec::new());
                self.realm.reclaim(self.pool, range, &mut |memory| back.push(memory)).unwrap();
                let was = self.memory.cut(range);
                self.home(back, &was);
            }
            Change::Split { at, level } => {
                self.realm.make_tables(self.pool, ipas(at, PAGE), level).unwrap();
            }
            Change::Fold { at, bytes, void } => self.fold(ipas(at, bytes), void),
            Change::Share { at, bytes, alignment } => {
                let ipa = up(at);
                let Some(memory) = self.take(bytes, alignment) else { return };
                let (pa, other) = (memory.base().raw(), self.shared.next(ipas(ipa, bytes)));
                let result =
                    self.realm.share(self.pool, Ipa::new(ipa), memory, SharedAccess::MEMORY);
                match (result, other) {
                    (Ok(()), None) => self.shared.put(ipa, bytes, pa),
                    (Err(failed), Some(_)) => {
                        assert!(matches!(
                            failed.error,
                            BuildError::Region { problem: RegionProblem::Overlap { .. }, .. }
                        ));
                        assert_eq!((failed.host.base().raw(), failed.host.bytes()), (pa, bytes));
                        self.heap.insert(failed.host).unwrap();
                    }
                    (result, other) => panic!("{result:?} with {other:x?}"),
                }
            }
            Change::Unshare { at, bytes } => {
                let (range, mut back) = (ipas(up(at), bytes), Vec::new());
                self.realm.unshare(self.pool, range, &mut |memory| back.push(memory)).unwrap();
                let was = self.shared.cut(range);
                self.home(back, &was);
            }
            Change::Reshare { at, bytes, write } => {
                let (range, mut access) = (ipas(up(at), bytes), SharedAccess::MEMORY);
                access.permissions.write = write;
                self.realm
                    .reshare(self.pool, range, access, &mut |memory| panic!("{memory:?}"))
                    .unwrap();
            }
        }
    }

    fn fold(&mut self, range: IpaRange, void: bool) {
        let policy = if void { FoldPolicy::BlocksAndVoid } else { FoldPolicy::Blocks };
        let folded = self.realm.fold(self.pool, range, policy).unwrap();
        assert_eq!(folded.kept, 0, "nothing differs in its RIPAS");
        assert!(void || folded.void == 0);
        // What could be a block is one.
        for level in [Level::L1, Level::L2] {
            let block = level.entry_bytes();
            let first = range.base().align_up(block).unwrap().raw();
            for at in (first..range.top().raw()).step_by(usize::try_from(block).unwrap()) {
                let run = self.memory.at(at).filter(|_| at + block <= range.top().raw());
                if let Some((base, bytes, pa)) = run
                    && (pa + at - base).is_multiple_of(block)
                    && at + block <= base + bytes
                {
                    let found = self.realm.memory_at(Ipa::new(at)).unwrap();
                    assert!(found.bytes() >= block, "{found} could be a block of {level:?}");
                }
            }
        }
    }

    fn compare(&self) {
        assert_eq!(self.realm.memory_bytes(), self.memory.bytes());
        assert_eq!(self.realm.shared_bytes(), self.shared.bytes());
        for (half, from) in [(&self.memory, 0), (&self.shared, self.unprotected)] {
            let (mut at, mut bytes) = (from, 0);
            while at < from + AREA + 16 * BLOCK {
                let (rmm, rd) = (self.realm.rmm(), self.realm.rd());
                let entry = rmm.rtt_read_entry(rd, Ipa::new(at), Level::L3).unwrap();
                let size = entry.level.unwrap().entry_bytes();
                let base = at - at % size;
                let block = ipas(base, size);
                match (half.at(base), entry.state) {
                    (Some((run, length, pa)), RttEntryState::Data) => {
                        assert!(base + size <= run + length, "{block} is more than was mapped");
                        assert_eq!(entry.desc & 0xffff_ffff_f000, pa + base - run, "{block}");
                        bytes += size;
                    }
                    (None, RttEntryState::Void) => {
                        assert_eq!(half.next(block), None, "nothing is mapped in {block}");
                    }
                    (run, state) => panic!("{block} is {state:?}, and should be {run:x?}"),
                }
                let found = self.realm.memory_at(block.base());
                let is_memory = from == 0 && entry.state == RttEntryState::Data;
                assert_eq!(found, is_memory.then_some(block));
                let is_shared = from != 0 && entry.state == RttEntryState::Data;
                let found = self.realm.shared_at(block.base());
                assert_eq!(found.is_some_and(|piece| piece.contains_range(&block)), is_shared);
                at = base + size;
            }
            assert_eq!(bytes, half.bytes());
        }
    }
}

fn assert_overlap(error: &BuildError, other: u64) {
    let BuildError::Region { problem: RegionProblem::Overlap { at }, .. } = error else {
        panic!("{error}")
    };
    assert!(at.raw() <= other, "{at} is not the block at {other:#x}");
}

/// Which RMM, and which Realm.
#[derive(Clone, Copy, Debug)]
struct Setting {
    dialect: Dialect,
    width: u8,
    activated: bool,
    moody: bool,
}

fn setting() -> impl Strategy<Value = Setting> {
    let dialect = prop::sample::select(vec![Dialect::TfRmm2026_07, Dialect::V2_0Bet3]);
    (dialect, prop::sample::select(vec![36u8, 40]), any::<bool>(), any::<bool>())
        .prop_map(|(dialect, width, activated, moody)| Setting { dialect, width, activated, moody })
}

fn live(setting: Setting, mut options: Options, changes: &[Change]) {
    if setting.moody {
        options.busy_every = NonZeroU32::new(5);
        options.yield_every = NonZeroU32::new(3);
    }
    let (dialect, leaked_before) = (setting.dialect, leaked());
    let model = Model::new(options).unwrap();
    let (door, ledger) = (Counting::new(&model), CountingLedger::new());
    let mut memory = model.take_memory();
    let whole = memory.range();
    let mut places = PoolStorage::<64>::new();
    let mut pool = Pool::new(&mut places, memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(254 * PAGE).unwrap()).unwrap();
    let mut heap = Heap::new((0..4096).map(|_| Undelegated::empty()).collect());
    heap.insert(memory).unwrap();
    let platform = Host::new(&door, &model).with_ledger(&ledger);
    let found = Discovered::probe(platform, SessionOptions::default());
    let found = found.map_err(|failed| failed.error).unwrap();
    let rmm = activate(found, &mut pool).map_err(|failed| failed.error).unwrap().rmm;
    let mut tables: Vec<_> = std::iter::repeat_with(TableRoom::new).take(128).collect();
    let mut shared: Vec<SharedRoom> = std::iter::repeat_with(|| None).take(128).collect();
    let records = Records { tables: &mut tables, shared: &mut shared };
    let failed_before = door.total().failed;
    let realm = Realm::create(&rmm, &RealmConfig::new(setting.width), records, &mut pool).unwrap();
    let left = if setting.activated {
        let realm = realm.activate().map_err(|failed| failed.error).unwrap();
        change_all(&realm, &mut pool, &mut heap, changes);
        realm.tear_down([], &mut pool, &mut |memory| heap.insert(memory).unwrap())
    } else {
        change_all(&realm, &mut pool, &mut heap, changes);
        realm.tear_down([], &mut pool, &mut |memory| heap.insert(memory).unwrap())
    };
    assert_eq!(left, None);
    assert_eq!(door.total().failed, failed_before, "{}", door.report(dialect));
    pool.drain(&rmm, &mut |memory| heap.insert(memory).unwrap());
    assert_eq!(heap.iter().collect::<Vec<_>>(), [whole]);
    let (balance, census) = (ledger.balance(), model.census());
    assert_eq!((balance.outstanding(), balance.quarantined, balance.homeless), (0, 0, 0));
    assert_eq!((census.undelegated, leaked()), (census.total, leaked_before));
}

fn change_all<'m, P: Platform, S: Alive>(
    realm: &Realm<'_, 'm, P, S>,
    pool: &mut Pool<'m>,
    heap: &mut Heap,
    changes: &[Change],
) {
    let unprotected = realm.geometry().unprotected_base().raw();
    let (memory, shared) = (Half::default(), Half::default());
    let mut bench = Bench { realm, pool, heap, unprotected, memory, shared };
    for (number, change) in changes.iter().enumerate() {
        bench.change(change);
        assert_eq!(realm.memory_bytes(), bench.memory.bytes(), "{change:x?}");
        assert_eq!(realm.shared_bytes(), bench.shared.bytes(), "{change:x?}");
        if number % 8 == 7 {
            bench.compare();
        }
    }
    bench.compare();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_changes_by_ranges(setting in setting(), changes in prop::collection::vec(change(), 1..48)) {
        let mut options = Options::new(setting.dialect).range_capable();
        options.dram = PaRange::with_size(options.dram.base(), 4 * GIB).unwrap();
        live(setting, options, &changes);
    }

    #[test]
    fn any_sequence_of_changes_one_by_one(setting in setting(), changes in prop::collection::vec(change(), 1..32)) {
        // Too little for blocks of 1 GiB, which would take a million calls.
        let mut options = Options::new(setting.dialect);
        options.dram = PaRange::with_size(options.dram.base(), 24 << 20).unwrap();
        live(setting, options, &changes);
    }
}
