//! A Realm, and the memory that it should have.

use realm_builder::{BuildError, FoldPolicy, NotTerminated, Realm, RegionProblem};
use rmi_abi::rtt::{Level, RttEntryState};
use rmi_abi::{Ipa, IpaRange};
use rmi_host::command::SharedAccess;
use rmi_host::{Platform, Undelegated};
use sro::{CallbackMemory, FixedPool};

use crate::Heap;
use crate::change::Change;
use crate::half::{Half, join};
use crate::scale::Scale;

/// A Realm and what it should map.
pub(crate) struct Fixture<'r, 'b, P: Platform, S> {
    pub(crate) realm: &'b Realm<'r, P, S>,
    pub(crate) pool: &'b mut FixedPool<64>,
    pub(crate) heap: &'b mut Heap,
    pub(crate) unprotected: u64,
    pub(crate) memory: Half,
    pub(crate) shared: Half,
    pub(crate) scale: Scale,
}

fn ipas(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

impl<P: Platform, S: NotTerminated> Fixture<'_, '_, P, S> {
    /// Memory with the wanted alignment, or else from what there is.
    fn take(&mut self, bytes: u64, alignment: u64) -> Option<Undelegated> {
        // A GiB by pages would take too many tables.
        let Scale { page, block, large } = self.scale;
        let least = if bytes < large { page } else { block };
        self.heap.take(bytes, alignment.max(least)).or_else(|| self.heap.take(bytes, least))
    }

    /// Checks that the memory that was given back is what was mapped there.
    fn take_back(&mut self, back: Vec<Undelegated>, was: &Half) {
        assert_eq!(join(back.iter().map(Undelegated::range)), was.memory());
        for memory in back {
            self.heap.insert(memory).unwrap();
        }
    }

    pub(crate) fn change(&mut self, change: &Change) {
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
                let page = self.scale.page;
                let take = |pages: &u64| self.heap.take(pages * page, page);
                let mut memory: Vec<_> = pieces.iter().map_while(take).collect();
                // So that hardly any piece follows the one before it.
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
                let done = self
                    .realm
                    .reclaim(
                        &mut CallbackMemory::freeing(self.pool, |memory| back.push(memory)),
                        range,
                    )
                    .unwrap();
                assert_eq!(done, realm_builder::Reclaimed::Whole);
                let was = self.memory.cut(range);
                self.take_back(back, &was);
            }
            Change::Split { at, level } => {
                self.realm.make_tables(self.pool, ipas(at, self.scale.page), level).unwrap();
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
                self.realm
                    .unshare(
                        &mut CallbackMemory::freeing(self.pool, |memory| back.push(memory)),
                        range,
                    )
                    .unwrap();
                let was = self.shared.cut(range);
                self.take_back(back, &was);
            }
            Change::Reshare { at, bytes, write } => {
                let (range, mut access) = (ipas(up(at), bytes), SharedAccess::MEMORY);
                access.permissions.write = write;
                self.realm
                    .reshare(
                        &mut CallbackMemory::freeing(self.pool, |memory| panic!("{memory:?}")),
                        range,
                        access,
                    )
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
            let block = self.realm.geometry().entry_bytes(level);
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

    pub(crate) fn compare(&self) {
        assert_eq!(self.realm.memory_bytes(), self.memory.bytes());
        assert_eq!(self.realm.shared_bytes(), self.shared.bytes());
        for (half, from) in [(&self.memory, 0), (&self.shared, self.unprotected)] {
            let (mut at, mut bytes) = (from, 0);
            while at < from + self.scale.area() {
                let (rmm, rd) = (self.realm.rmm(), self.realm.rd());
                let entry = rmm.commands().rtt_read_entry(rd, Ipa::new(at), Level::L3).unwrap();
                let size = self.realm.geometry().entry_bytes(entry.level.unwrap());
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
