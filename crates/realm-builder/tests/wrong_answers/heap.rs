//! The memory of the host, in which each granule is owned once, and an allocator of which not
//! everything comes as it was asked for.

use proptest::prelude::*;
use proptest::test_runner::TestRng;
use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{IpaRange, PaRange};
use rmi_host::Undelegated;
use rmi_host::granules::{AnyGranules, HostOwned};
use sro::{GranuleSet, HostMemory, Pool};

use crate::machine::Machine;

/// Free memory of the host.
pub(crate) struct Heap(spin::Mutex<GranuleSet<HostOwned, Vec<AnyGranules>>>);

impl Heap {
    pub(crate) fn new() -> Self {
        Self(spin::Mutex::new(GranuleSet::growing()))
    }

    /// Takes memory back, none of which the host has already.
    pub(crate) fn give(&self, memory: Undelegated) {
        let range = memory.range();
        let mut set = self.0.lock();
        assert!(!set.iter().any(|known| known.overlaps(&range)), "{range} is owned twice");
        set.insert(memory).unwrap();
    }

    /// Memory with this length and alignment, if there is a run that has it.
    pub(crate) fn take(&self, bytes: u64, alignment: u64) -> Option<Undelegated> {
        self.0.lock().take(bytes, alignment)
    }

    pub(crate) fn ranges(&self) -> Vec<PaRange> {
        self.0.lock().iter().collect()
    }
}

/// The memory of one operation: it refuses some memory, and supplies less, more, none, or parts of
/// granules.
pub(crate) struct OddMemory<'a> {
    pub(crate) pool: &'a mut Pool,
    pub(crate) heap: &'a Heap,
    pub(crate) machine: Machine,
    pub(crate) random: TestRng,
    /// How often it does not accept what is freed. The SDK puts that into the pool, whose memory
    /// must not be COARSE.
    pub(crate) refuses: u32,
}

impl HostMemory for OddMemory<'_> {
    fn pool(&mut self) -> &mut Pool {
        self.pool
    }

    fn allocate(&mut self, range: IpaRange) -> Option<Undelegated> {
        let granule = self.machine.granule.bytes();
        match self.random.random_range(0..10) {
            0 => None,
            1 => Some(Undelegated::empty()),
            2 => self.heap.take(MIN_GRANULE, MIN_GRANULE),
            3 => self.heap.take(granule + MIN_GRANULE, MIN_GRANULE),
            4 => self.heap.take(granule, MIN_GRANULE),
            5 => self.heap.take(range.bytes() + granule, granule),
            6 => self.heap.take(range.bytes(), self.machine.block()),
            _ => {
                let granules = self.random.random_range(1..=20);
                self.heap.take(range.bytes().min(granules * granule), granule)
            }
        }
    }

    fn free(&mut self, memory: Undelegated) -> Result<(), Undelegated> {
        if self.refuses > 0 {
            self.refuses -= 1;
            return Err(memory);
        }
        self.heap.give(memory);
        Ok(())
    }
}
