//! The memory of the machine: what the host may access, and what of it is free.
#![expect(unsafe_code, reason = "claims about memory that the device tree describes")]

use alloc::vec::Vec;

use bare_metal::Frames;
use bare_metal::board::Board;
use realm_sdk::abi::{Pa, PaRange};
use realm_sdk::host::linear_map::LinearMap;
use realm_sdk::host::{AccessFault, HostAccess, Machine, Undelegated};
use realm_sdk::sro::HostAllocator;

/// The host's view of its memory: virtual addresses are the physical ones.
#[derive(Debug)]
pub(crate) struct Ram {
    windows: Vec<(PaRange, LinearMap)>,
}

impl Ram {
    /// The memory of this board that is not reserved.
    ///
    /// # Safety
    ///
    /// It is mapped as normal memory by the tables in use, readable and writable.
    pub(crate) unsafe fn of(board: &Board) -> Self {
        let window = |range: PaRange| {
            let base = usize::try_from(range.base().raw()).ok()?;
            let base = core::ptr::with_exposed_provenance_mut(base);
            // SAFETY: by the caller's promise; and it is memory of this machine.
            Some((range, unsafe { LinearMap::new(range, base) }))
        };
        Self { windows: board.accessible_memory().into_iter().filter_map(window).collect() }
    }

    fn window(&self, at: Pa) -> Result<&LinearMap, AccessFault> {
        let found = self.windows.iter().find(|(range, _)| range.contains(at));
        found.map(|(_, map)| map).ok_or(AccessFault { at })
    }
}

// SAFETY: all of it is done by maps of this machine's memory.
unsafe impl HostAccess for Ram {
    fn machine(&self) -> Machine {
        Machine::REAL
    }

    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { self.window(at)?.read(at, into) }
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { self.window(at)?.write(at, from) }
    }
}

/// The free memory of this board, without what is in use.
///
/// # Safety
///
/// Called once. Nothing uses any memory of the board but what is reserved and `in_use`.
pub(crate) unsafe fn free(board: &Board, in_use: &[PaRange]) -> Frames {
    let frames = Frames::new();
    for range in board.free_memory(in_use) {
        // SAFETY: it is whole granules of memory of this machine that nothing refers to, and no
        // other token covers any part of it: ranges do not overlap.
        let memory = unsafe { Undelegated::from_raw(range) };
        // Without the heap a range would be lost; nothing else is.
        let _ = frames.free(memory);
    }
    frames
}
