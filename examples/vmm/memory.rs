//! The VMM's page allocator.

use std::sync::{Mutex, MutexGuard, PoisonError};

use realm_sdk::host::Undelegated;
use realm_sdk::host::granules::{AnyGranules, HostOwned};
use realm_sdk::sro::{AllocatorMemory, GranuleSet, HostAllocator};

/// What a thread keeps in its pool, for tables and RECs, in bytes.
pub(crate) const STOCK: u64 = 256 << 10;

type Free = GranuleSet<HostOwned, Vec<AnyGranules>>;

/// The free memory of the machine: all threads share it.
pub(crate) struct Frames(Mutex<Free>);

impl Frames {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(GranuleSet::growing()))
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        // A set is whole at any time, also when a thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much is free, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes()
    }
}

impl HostAllocator for Frames {
    fn allocate(&self, bytes: u64, alignment: u64) -> Option<Undelegated> {
        self.lock().take(bytes, alignment)
    }

    fn free(&self, memory: Undelegated) -> Result<(), Undelegated> {
        self.lock().insert(memory)
    }
}

/// The memory of one thread: its own pool, and the allocator of all.
pub(crate) type ThreadMemory<'f> = AllocatorMemory<'f, Frames, 16>;
