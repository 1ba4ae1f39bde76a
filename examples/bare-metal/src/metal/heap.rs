//! The heap: part of the image, see [`boot::heap`].
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait")]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use buddy_system_allocator::Heap;
use spin::mutex::SpinMutex;

use crate::metal::boot;

/// Blocks of up to 2^31 bytes.
const ORDERS: usize = 32;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator(SpinMutex::new(Heap::new()));

struct Allocator(SpinMutex<Heap<ORDERS>>);

// SAFETY: memory is that of the heap's space, which nothing else uses; the lock orders accesses to
// its records. Handlers of interrupts do not allocate, so it is never taken twice on a CPU.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if let Some(at) = NonNull::new(at) {
            // SAFETY: the caller returns what `alloc` gave, with the same layout.
            unsafe { self.0.lock().dealloc(at, layout) };
        }
    }
}

/// Gives the allocator its memory. Called once, before anything allocates.
pub(crate) fn set_up() {
    let space = boot::heap();
    // SAFETY: the memory is there for this purpose alone.
    unsafe { ALLOCATOR.0.lock().init(space.start, space.len()) };
}
