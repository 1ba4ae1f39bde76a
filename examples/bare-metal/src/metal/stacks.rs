//! The stacks of the CPUs, with a page below each that is not mapped.
//!
//! A CPU that needs more than its stack takes data aborts from then on, as the handlers use the
//! same stack: it stops without a report, and changes no memory that is not its own.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::MaybeUninit;
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

/// Stacks for CPUs that have not started.
pub(crate) type Stacks = Vec<Box<MaybeUninit<GuardedStack>>>;

/// Stacks for so many CPUs.
pub(crate) fn allocate(count: usize) -> Stacks {
    // None is made by value, which would take as much of this CPU's stack.
    core::iter::repeat_with(Box::new_uninit).take(count).collect()
}

/// The guard of the first CPU: the last page of its stack.
pub(crate) fn first_guard() -> Range<usize> {
    let base = boot::stack().start;
    base..base + PAGE
}

/// The guard of a stack.
pub(crate) fn guard(stack: &MaybeUninit<GuardedStack>) -> Range<usize> {
    let base = stack.as_ptr().addr();
    base..base + PAGE
}

/// A stack without its guard, for ever.
pub(crate) fn leak(stack: Box<MaybeUninit<GuardedStack>>) -> *mut Stack<PAGES> {
    let stack = Box::into_raw(stack).cast::<u8>();
    stack.wrapping_add(core::mem::offset_of!(GuardedStack, stack)).cast()
}
