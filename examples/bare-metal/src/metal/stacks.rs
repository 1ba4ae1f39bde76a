//! The stacks of the CPUs, with a page below each that is not mapped.
//!
//! A CPU that needs more than its stack takes data aborts from then on, as the handlers use the
//! same stack: it stops without a report, and changes no memory that is not its own.

use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::ops::Range;

use aarch64_rt::Stack;

use crate::metal::boot::{self, STACK_PAGES};

const PAGE: usize = 0x1000;
/// Pages of the stack of a CPU but the first; with the guard they are a power of two, as the heap
/// has it.
pub(crate) const PAGES: usize = STACK_PAGES - 1;

/// A stack of a CPU but the first, and its guard.
#[repr(C, align(4096))]
pub(crate) struct GuardedStack {
    guard: [u8; PAGE],
    stack: Stack<PAGES>,
}

/// Stacks for CPUs that have not started, each with room for one.
pub(crate) type Stacks = Vec<Vec<GuardedStack>>;

/// Stacks for so many CPUs; `None` if the heap has no room for them.
pub(crate) fn allocate(count: usize) -> Option<Stacks> {
    // None is made by value, which would take as much of this CPU's stack.
    let room = |_| {
        let mut stack = Vec::new();
        stack.try_reserve_exact(1).ok().map(|()| stack)
    };
    (0..count).map(room).collect()
}

/// The guard of the first CPU: the last page of its stack.
pub(crate) fn first_guard() -> Range<usize> {
    let base = boot::stack().start;
    base..base + PAGE
}

/// The guard of a stack.
pub(crate) fn guard(stack: &[GuardedStack]) -> Range<usize> {
    let base = stack.as_ptr().addr();
    base..base + PAGE
}

/// A stack without its guard, for ever.
pub(crate) fn leak(stack: Vec<GuardedStack>) -> *mut Stack<PAGES> {
    let stack = ManuallyDrop::new(stack).as_mut_ptr().cast::<u8>();
    stack.wrapping_add(core::mem::offset_of!(GuardedStack, stack)).cast()
}
