//! The free memory of the machine.

use alloc::vec::Vec;
use core::fmt;

use realm_sdk::host::Undelegated;
use realm_sdk::host::granules::{AnyGranules, HostOwned};
use realm_sdk::sro::{AllocatorMemory, GranuleSet, HostAllocator};
use spin::Mutex;

/// What a CPU keeps in its pool, for tables and RECs, in bytes.
pub(crate) const STOCK: u64 = 256 << 10;

/// The memory of one CPU: its own pool, and the allocator of all.
pub type CpuMemory<'f, A = Frames> = AllocatorMemory<'f, A, 16>;

/// The free memory of the machine, which its CPUs share.
#[derive(Default)]
pub struct Frames(Mutex<Option<Free>>);

type Free = GranuleSet<HostOwned, Vec<AnyGranules>>;

impl Frames {
    /// No memory; [`HostAllocator::free`] adds some.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// How much is free, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.lock().as_ref().map_or(0, GranuleSet::bytes)
    }
}

impl HostAllocator for Frames {
    fn allocate(&self, bytes: u64, alignment: u64) -> Option<Undelegated> {
        self.0.lock().as_mut()?.take(bytes, alignment)
    }

    fn free(&self, memory: Undelegated) -> Result<(), Undelegated> {
        self.0.lock().get_or_insert_with(GranuleSet::growing).insert(memory)
    }
}

/// The same memory, in pieces of a largest size, as on a machine that has run for a while.
#[derive(Debug)]
pub(crate) struct Pieces<'f> {
    pub(crate) frames: &'f Frames,
    /// In bytes.
    pub(crate) largest: u64,
}

impl HostAllocator for Pieces<'_> {
    fn allocate(&self, bytes: u64, alignment: u64) -> Option<Undelegated> {
        (bytes <= self.largest).then(|| self.frames.allocate(bytes, alignment))?
    }

    fn free(&self, memory: Undelegated) -> Result<(), Undelegated> {
        self.frames.free(memory)
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
