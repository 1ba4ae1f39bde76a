//! The heap: what the image leaves of the secure RAM.
#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use buddy_system_allocator::Heap;
use spin::Mutex;

/// Blocks of up to 2^31 bytes.
const ORDERS: usize = 32;

unsafe extern "C" {
    // Made by the linker script.
    static heap_begin: u8;
    static heap_end: u8;
}

struct Locked(Mutex<Heap<ORDERS>>);

#[global_allocator]
static HEAP: Locked = Locked(Mutex::new(Heap::new()));

/// Gives the allocator its memory. Called once, before anything is allocated.
pub(super) fn init() {
    let (begin, end) = ((&raw const heap_begin).addr(), (&raw const heap_end).addr());
    let mut heap = HEAP.0.lock();
    if heap.stats_total_bytes() == 0 {
        // SAFETY: the linker script leaves this memory to nothing else, and this is done once.
        unsafe { heap.add_to_heap(begin, end) };
    }
}

// SAFETY: the buddy allocator hands out parts of its memory that do not overlap, as large and as
// aligned as a layout asks for.
unsafe impl GlobalAlloc for Locked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().alloc(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller promises that the block was allocated here with this layout.
            unsafe { self.0.lock().dealloc(block, layout) }
        }
    }
}
