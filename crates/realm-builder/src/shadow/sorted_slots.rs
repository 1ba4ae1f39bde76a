//! Sorted slots: records sorted by key, in storage that the embedder lends.

use core::fmt;

/// A record with a key.
pub(crate) trait Record {
    /// The key by which the records are sorted.
    type Key: Ord + Copy;
    fn key(&self) -> Self::Key;
}

/// Records, sorted by key, without a heap. Those that are left when this is dropped are dropped with
/// it.
pub(crate) struct SortedSlots<'m, T> {
    places: &'m mut [Option<T>],
    len: usize,
}

impl<'m, T> SortedSlots<'m, T> {
    /// No records: what the slots contain is dropped.
    pub(crate) fn new(places: &'m mut [Option<T>]) -> Self {
        places.iter_mut().for_each(|place| *place = None);
        Self { places, len: 0 }
    }

    fn clear(&mut self) {
        self.places.iter_mut().take(self.len).for_each(|place| *place = None);
        self.len = 0;
    }

    /// Drops the records, and takes the slots out.
    pub(crate) fn take(&mut self) -> &'m mut [Option<T>] {
        self.clear();
        core::mem::take(&mut self.places)
    }
}

impl<T> Drop for SortedSlots<'_, T> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<T: Record> SortedSlots<'_, T> {
    pub(crate) fn spare(&self) -> usize {
        self.places.len() - self.len
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.places.get(..self.len).unwrap_or_default().iter().flatten()
    }

    /// The index of a key, or where it would be inserted.
    pub(crate) fn find(&self, key: T::Key) -> Result<usize, usize> {
        let row = self.places.get(..self.len).unwrap_or_default();
        // All slots below `len` are filled.
        row.binary_search_by(|place| place.as_ref().map(T::key).cmp(&Some(key)))
    }

    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.places.get(at).and_then(Option::as_ref)
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.places.get_mut(at).and_then(Option::as_mut)
    }

    /// Inserts a record in the order of keys; it is returned when all slots are used.
    pub(crate) fn insert(&mut self, record: T) -> Result<(), T> {
        let at = match self.find(record.key()) {
            Ok(at) | Err(at) => at,
        };
        match self.places.get_mut(at..=self.len) {
            Some(tail) => {
                // A rotation would link a panic.
                let mut record = Some(record);
                for place in tail {
                    core::mem::swap(place, &mut record);
                }
                self.len += 1;
                Ok(())
            }
            None => Err(record),
        }
    }

    /// Removes a record.
    pub(crate) fn remove(&mut self, at: usize) -> Option<T> {
        let tail = self.places.get_mut(at..self.len).filter(|tail| !tail.is_empty())?;
        let mut record = None;
        for place in tail.iter_mut().rev() {
            core::mem::swap(place, &mut record);
        }
        self.len -= 1;
        record
    }

    /// The record with the largest key.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.len.checked_sub(1)?;
        let record = self.places.get_mut(last)?.take();
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

    #[test]
    fn stays_sorted_and_refuses_when_full() {
        let mut places = [None; 3];
        let mut shelf = SortedSlots::new(&mut places);
        for record in [5, 1, 3] {
            shelf.insert(record).unwrap();
        }
        assert!(shelf.iter().eq([1, 3, 5].iter()));
        assert_eq!(std::format!("{shelf:?}"), "[1, 3, 5]");
        assert_eq!(shelf.insert(4), Err(4));
        assert_eq!(shelf.find(3), Ok(1));
        assert_eq!(shelf.find(4), Err(2));
        assert_eq!((shelf.remove(1), shelf.remove(2), shelf.spare()), (Some(3), None, 1));
        shelf.insert(3).unwrap();
        assert_eq!(
            (shelf.pop(), shelf.pop(), shelf.pop(), shelf.pop()),
            (Some(5), Some(3), Some(1), None)
        );
    }
}
