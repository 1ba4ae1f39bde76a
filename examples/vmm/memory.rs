//! The VMM's page allocator, and what each thread has of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use realm_sdk::abi::IpaRange;
use realm_sdk::host::Undelegated;
use realm_sdk::sro::{FixedPool, HostMemory, Pool};

/// Memory that is mapped by one entry of a table of level 2.
const BLOCK: u64 = 2 << 20;
/// What a thread keeps in its pool, for tables and RECs.
const POOL: u64 = 512 << 10;

/// Free memory of the machine, for all threads: runs that are not adjacent.
pub(crate) struct Frames(Mutex<Vec<Undelegated>>);

impl Frames {
    pub(crate) fn new(memory: Undelegated) -> Self {
        Self(Mutex::new(vec![memory]))
    }

    fn free_runs(&self) -> MutexGuard<'_, Vec<Undelegated>> {
        // A thread that panicked here left a list that is complete.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Contiguous memory, aligned to `alignment`.
    pub(crate) fn allocate(&self, bytes: u64, alignment: u64) -> Option<Undelegated> {
        let mut runs = self.free_runs();
        for at in 0..runs.len() {
            let run = runs.get_mut(at)?;
            let unaligned = run.base().align_up(alignment)?.checked_offset_from(run.base())?;
            if unaligned.checked_add(bytes).is_none_or(|need| need > run.bytes()) {
                continue;
            }
            let front = run.take_front(unaligned)?;
            let memory = run.take_front(bytes)?;
            runs.push(front);
            runs.retain(|run| !run.is_empty());
            return Some(memory);
        }
        None
    }

    /// Takes memory back, and joins it with the runs beside it.
    pub(crate) fn free(&self, mut memory: Undelegated) {
        let mut runs = self.free_runs();
        let apart = runs.drain(..).filter_map(|run| memory.merge(run).err()).collect();
        *runs = apart;
        runs.push(memory);
    }

    /// How much is free.
    pub(crate) fn bytes(&self) -> u64 {
        self.free_runs().iter().map(Undelegated::bytes).sum()
    }
}

/// The memory of one thread: a pool of its own, and the allocator of all.
pub(crate) struct ThreadMemory<'f> {
    pub(crate) pool: FixedPool<16>,
    frames: &'f Frames,
}

impl<'f> ThreadMemory<'f> {
    pub(crate) fn new(frames: &'f Frames) -> Self {
        let mut pool = FixedPool::new();
        if let Some(Err(refused)) = frames.allocate(POOL, 0x1000).map(|stock| pool.add(stock)) {
            frames.free(refused);
        }
        Self { pool, frames }
    }

    /// Memory for the VMM itself, or for a region of a Realm.
    pub(crate) fn take(&self, bytes: u64) -> Undelegated {
        self.frames.allocate(bytes, 0x1000).unwrap_or_default()
    }

    /// Takes such memory back.
    pub(crate) fn put(&self, memory: Undelegated) {
        self.frames.free(memory);
    }

    /// Returns what is in the pool. Its delegated memory has been undelegated.
    pub(crate) fn close(mut self) {
        self.pool.drain_host(&mut |memory| self.frames.free(memory));
    }
}

impl HostMemory for ThreadMemory<'_> {
    fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    fn allocate(&mut self, range: IpaRange) -> Option<Undelegated> {
        if range.is_aligned(BLOCK) {
            return self.frames.allocate(BLOCK, BLOCK);
        }
        self.frames.allocate(range.bytes().min(0x1_0000), 0x1000)
    }

    fn free(&mut self, memory: Undelegated) -> Result<(), Undelegated> {
        self.frames.free(memory);
        Ok(())
    }
}
