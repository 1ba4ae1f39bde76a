//! Sorted slots: records sorted by key.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;
use core::fmt;

use crate::shadow::slots::Slots;

/// A record with a key.
pub(crate) trait Record {
    /// The key by which the records are sorted.
    type Key: Ord + Copy;
    fn key(&self) -> Self::Key;
}

/// Records, sorted by key. Those that are left when this is dropped are dropped with it.
pub(crate) struct SortedSlots<'m, T> {
    slots: Slots<'m, Option<T>>,
    len: usize,
}

impl<'m, T> SortedSlots<'m, T> {
    /// No records: what the slots contain is dropped.
    pub(crate) fn new(mut slots: Slots<'m, Option<T>>) -> Self {
        slots.iter_mut().for_each(|slot| *slot = None);
        Self { slots, len: 0 }
    }

    fn clear(&mut self) {
        self.slots.iter_mut().take(self.len).for_each(|slot| *slot = None);
        self.len = 0;
    }

    /// Drops the records, and takes the slots out.
    pub(crate) fn take(&mut self) -> Slots<'m, Option<T>> {
        self.clear();
        core::mem::take(&mut self.slots)
    }

    /// How many slots there are, if their number grows.
    #[cfg(feature = "alloc")]
    pub(crate) fn growing(&self) -> Option<usize> {
        match &self.slots {
            Slots::Lent(_) => None,
            Slots::Heap(slots) => Some(slots.len()),
        }
    }

    /// Moves the records into more slots, if these are more, and returns what is no longer needed.
    #[cfg(feature = "alloc")]
    pub(crate) fn replace(&mut self, mut larger: Vec<Option<T>>) -> Vec<Option<T>> {
        if let Slots::Heap(slots) = &mut self.slots
            && larger.len() > slots.len()
        {
            for (slot, new) in slots.iter_mut().zip(&mut larger) {
                core::mem::swap(slot, new);
            }
            core::mem::swap(slots, &mut larger);
        }
        larger
    }
}

impl<T> Drop for SortedSlots<'_, T> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<T: Record> SortedSlots<'_, T> {
    pub(crate) fn spare(&self) -> usize {
        self.slots.len() - self.len
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.slots.get(..self.len).unwrap_or_default().iter().flatten()
    }

    /// The index of a key, or where it would be inserted.
    pub(crate) fn find(&self, key: T::Key) -> Result<usize, usize> {
        let row = self.slots.get(..self.len).unwrap_or_default();
        // All slots below `len` are filled.
        row.binary_search_by(|slot| slot.as_ref().map(T::key).cmp(&Some(key)))
    }

    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.slots.get(at).and_then(Option::as_ref)
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.slots.get_mut(at).and_then(Option::as_mut)
    }

    /// Inserts a record in the order of keys; it is returned when all slots are used.
    pub(crate) fn insert(&mut self, record: T) -> Result<(), T> {
        let at = match self.find(record.key()) {
            Ok(at) | Err(at) => at,
        };
        match self.slots.get_mut(at..=self.len) {
            Some(tail) => {
                // A rotation would link a panic.
                let mut record = Some(record);
                for slot in tail {
                    core::mem::swap(slot, &mut record);
                }
                self.len += 1;
                Ok(())
            }
            None => Err(record),
        }
    }

    /// Removes a record.
    pub(crate) fn remove(&mut self, at: usize) -> Option<T> {
        let tail = self.slots.get_mut(at..self.len).filter(|tail| !tail.is_empty())?;
        let mut record = None;
        for slot in tail.iter_mut().rev() {
            core::mem::swap(slot, &mut record);
        }
        self.len -= 1;
        record
    }

    /// The record with the largest key.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.len.checked_sub(1)?;
        let record = self.slots.get_mut(last)?.take();
        self.len = last;
        record
    }
}

impl<T: fmt::Debug + Record> fmt::Debug for SortedSlots<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    impl Record for u32 {
        type Key = u32;
        fn key(&self) -> u32 {
            *self
        }
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn only_more_slots_replace_the_slots() {
        let mut sorted = SortedSlots::new(Slots::Heap(std::vec![None; 2]));
        sorted.insert(5).unwrap();
        for (new, is_kept) in [(1, false), (2, false), (3, true), (2, false)] {
            let new: Vec<Option<u32>> = std::vec![None; new];
            let at = new.as_ptr();
            let back = sorted.replace(new);
            assert_eq!(back.as_ptr() != at, is_kept);
            assert!(sorted.iter().eq([&5]));
        }
        assert_eq!((sorted.growing(), sorted.spare()), (Some(3), 2));
    }

    #[test]
    fn stays_sorted_and_refuses_when_full() {
        let mut slots = [None; 3];
        let mut sorted = SortedSlots::new(Slots::Lent(&mut slots));
        for record in [5, 1, 3] {
            sorted.insert(record).unwrap();
        }
        assert!(sorted.iter().eq([1, 3, 5].iter()));
        assert_eq!(std::format!("{sorted:?}"), "[1, 3, 5]");
        assert_eq!(sorted.insert(4), Err(4));
        assert_eq!(sorted.find(3), Ok(1));
        assert_eq!(sorted.find(4), Err(2));
        assert_eq!((sorted.remove(1), sorted.remove(2), sorted.spare()), (Some(3), None, 1));
        sorted.insert(3).unwrap();
        assert_eq!(
            (sorted.pop(), sorted.pop(), sorted.pop(), sorted.pop()),
            (Some(5), Some(3), Some(1), None)
        );
    }

    /// Storage that is lent to another Realm has nothing of the first one.
    #[test]
    fn slots_are_empty_afterwards() {
        let mut slots = [Some(7); 3];
        let mut sorted = SortedSlots::new(Slots::Lent(&mut slots));
        assert!(sorted.iter().next().is_none());
        sorted.insert(1).unwrap();
        let taken = sorted.take();
        drop(sorted);
        assert_eq!(taken[..], [None; 3]);
        let mut sorted = SortedSlots::new(taken);
        assert_eq!(sorted.spare(), 3);
        sorted.insert(2).unwrap();
        drop(sorted);
        assert_eq!(slots, [None; 3]);
    }
}
