//! Slots for the records of a Realm: lent by the embedder, or on the heap.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// Slots for records.
#[derive(Debug)]
pub(crate) enum Slots<'m, T> {
    /// Lent.
    Lent(&'m mut [T]),
    /// On the heap, where their number grows.
    #[cfg(feature = "alloc")]
    Heap(Vec<T>),
}

impl<T> Default for Slots<'_, T> {
    fn default() -> Self {
        Self::Lent(&mut [])
    }
}

impl<T> Deref for Slots<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Lent(slots) => slots,
            #[cfg(feature = "alloc")]
            Self::Heap(slots) => slots,
        }
    }
}

impl<T> DerefMut for Slots<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Lent(slots) => slots,
            #[cfg(feature = "alloc")]
            Self::Heap(slots) => slots,
        }
    }
}
