//! Sets of granules without a heap: sorted, disjoint ranges in storage of a fixed size.
//!
//! ```
//! # use rmi_abi::Dialect;
//! use rmi_host::Undelegated;
//! use rmi_host::granules::Host;
//! # use rmm_model::{Model, Options};
//! use sro::GranuleSet;
//!
//! # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! # let mut memory = model.take_memory();
//! let mut pieces = [(); 5].map(|()| memory.take_front(0x1000).expect("1 GiB"));
//! let last = pieces[4].base();
//! // Two slots, for two separate ranges.
//! let mut set: GranuleSet<Host, [Undelegated; 2]> = GranuleSet::default();
//! set.insert(pieces[0].take()).expect("two places");
//! set.insert(pieces[2].take()).expect("one place");
//! let back = set.insert(pieces[4].take()).expect_err("no place");
//!
//! // A range that closes a gap needs no slot, and frees one.
//! set.insert(pieces[1].take()).expect("touches both");
//! assert_eq!((set.len(), set.spare()), (1, 1));
//! set.insert(back).expect("one place");
//!
//! // Taken from the smallest range that contains it, aligned.
//! assert_eq!(set.take(0x1000, 0x1000).map(|one| one.base()), Some(last));
//! assert!(set.take(0x4000, 0x1000).is_none());
//! assert_eq!(set.bytes(), 0x3000);
//! # Ok::<(), rmm_model::OptionsError>(())
//! ```

use core::fmt;

use rmi_abi::{Pa, PaRange};
use rmi_host::granules::{Granules, Owner};

use crate::sort::sort_by_key;

/// Slots for the ranges of a [`GranuleSet`]: an array, a mutable slice, or (with the feature
/// `alloc`) a vector, which grows.
pub trait Places<H: Owner>: AsRef<[Granules<H>]> + AsMut<[Granules<H>]> {
    /// Adds an empty slot at the end; `false` when the storage cannot grow.
    fn grow(&mut self) -> bool {
        false
    }
}

impl<H: Owner, const N: usize> Places<H> for [Granules<H>; N] {}
impl<H: Owner> Places<H> for &mut [Granules<H>] {}

#[cfg(feature = "alloc")]
impl<H: Owner> Places<H> for alloc::vec::Vec<Granules<H>> {
    fn grow(&mut self) -> bool {
        let room = self.try_reserve(1).is_ok();
        if room {
            self.push(Granules::empty());
        }
        room
    }
}

/// A set of granules whose owner is `H`, stored in `S` as disjoint ranges, sorted by address: see
/// [`Places`].
///
/// Adjacent ranges merge, so a set needs as many slots as the memory has gaps, plus one.
///
/// ```
/// # use rmi_abi::{Dialect, Pa, PaRange};
/// use rmi_host::Undelegated;
/// use rmi_host::granules::Host;
/// # use rmm_model::{Model, Options};
/// use sro::GranuleSet;
///
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// let mut set: GranuleSet<Host, [Undelegated; 4]> = GranuleSet::default();
/// set.insert(memory.take_front(0x4000).expect("1 GiB")).expect("four places");
///
/// // Taken from the middle: two ranges remain. What is not in the set cannot be taken.
/// let middle = PaRange::with_size(Pa::new(0x8000_1000), 0x1000)?;
/// let taken = set.take_range(middle).expect("it is there");
/// assert_eq!((taken.range(), set.len()), (middle, 2));
/// assert!(set.take_range(middle).is_none());
/// assert_eq!(set.longest_run(0x1000), Some((Pa::new(0x8000_2000), 0x2000)));
///
/// // A set is to be emptied, not dropped.
/// while let Some(memory) = set.pop() {
///     println!("{memory:?}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it leaks the memory"]
pub struct GranuleSet<H: Owner, S> {
    places: S,
    len: usize,
    hand: core::marker::PhantomData<H>,
}

impl<H: Owner, S: Places<H>> GranuleSet<H, S> {
    /// A set in `places`. Memory that is stored there, from an earlier set, belongs to the new one.
    pub fn new(mut places: S) -> Self {
        sort_by_key(places.as_mut(), |place| (place.is_empty(), place.base()));
        let len = places.as_ref().iter().take_while(|place| !place.is_empty()).count();
        Self { places, len, hand: core::marker::PhantomData }
    }

    fn ranges(&self) -> &[Granules<H>] {
        self.places.as_ref().get(..self.len).unwrap_or_default()
    }

    /// The ranges of the set, sorted.
    pub fn iter(&self) -> impl Iterator<Item = PaRange> + '_ {
        self.ranges().iter().map(Granules::range)
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of ranges.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes in the set.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges().iter().map(Granules::bytes).sum()
    }

    /// How many more ranges fit in any case, whatever they are.
    #[must_use]
    pub fn spare(&self) -> usize {
        self.places.as_ref().len() - self.len
    }

    /// Adds memory, merging it with adjacent ranges.
    ///
    /// # Errors
    ///
    /// The memory is returned when it is adjacent to nothing in the set and no slot is free, or
    /// when it belongs to a different machine than what is in the set.
    pub fn insert(&mut self, memory: Granules<H>) -> Result<(), Granules<H>> {
        if memory.is_empty() {
            return Ok(());
        }
        if self.ranges().first().is_some_and(|have| have.machine() != memory.machine()) {
            return Err(memory);
        }
        let at = self.ranges().partition_point(|range| range.base() < memory.base());
        // A set of tokens cannot overlap: each of them is the only owner of its range.
        let memory = match at.checked_sub(1).and_then(|before| self.places.as_mut().get_mut(before))
        {
            Some(before) => match before.append(memory) {
                Ok(()) => {
                    let joined = before.take();
                    self.remove(at - 1);
                    return self.insert_at(at - 1, joined);
                }
                Err(memory) => memory,
            },
            None => memory,
        };
        self.insert_at(at, memory)
    }

    /// Inserts a range at its position, or extends the following range if it is adjacent to that.
    fn insert_at(&mut self, at: usize, memory: Granules<H>) -> Result<(), Granules<H>> {
        let len = self.len;
        let memory = match self.places.as_mut().get_mut(at).filter(|_| at < len) {
            Some(after) => match after.merge(memory) {
                Ok(()) => return Ok(()),
                Err(memory) => memory,
            },
            None => memory,
        };
        if self.spare() == 0 && !self.places.grow() {
            return Err(memory);
        }
        match self.places.as_mut().get_mut(at..=len) {
            Some(tail) => {
                // Up to the slot at `len`, which is empty. A rotation would link a panic.
                let mut memory = memory;
                for place in tail {
                    core::mem::swap(place, &mut memory);
                }
                self.len += 1;
                Ok(())
            }
            None => Err(memory),
        }
    }

    /// Removes the slot at `at`, which is empty, from the sequence.
    fn remove(&mut self, at: usize) {
        let tail = self.places.as_mut().get_mut(at..self.len);
        if let Some(tail) = tail.filter(|tail| !tail.is_empty()) {
            let mut empty = Granules::empty();
            for place in tail.iter_mut().rev() {
                core::mem::swap(place, &mut empty);
            }
            self.len -= 1;
        }
    }

    /// Takes out exactly `range`, if all of it is in the set and there is a slot for what remains
    /// on both sides.
    pub fn take_range(&mut self, range: PaRange) -> Option<Granules<H>> {
        if range.is_empty() {
            return None;
        }
        let at = self.ranges().iter().position(|place| place.range().contains_range(&range))?;
        if self.spare() == 0 {
            self.places.grow();
        }
        let spare = self.spare();
        let place = self.places.as_mut().get_mut(at)?;
        let (whole, front) = (place.range(), range.base().checked_offset_from(place.base())?);
        if front != 0 && range.top() != whole.top() && spare == 0 {
            return None;
        }
        let before = place.take_front(front)?;
        let wanted = place.take_front(range.bytes())?;
        let after = core::mem::replace(place, before);
        if self.places.as_ref().get(at).is_some_and(Granules::is_empty) {
            self.remove(at);
        }
        // There is a slot: either one was free, or one of the two sides is empty.
        if let Err(homeless) = self.insert(after) {
            drop(homeless);
        }
        Some(wanted)
    }

    /// Takes out `bytes` of contiguous memory, aligned to `alignment`, from the smallest range that
    /// contains them. `None` when no range does, or when no slot is free for what remains.
    pub fn take(&mut self, bytes: u64, alignment: u64) -> Option<Granules<H>> {
        let fit = |range: PaRange| {
            let base = range.base().align_up(alignment)?;
            let wanted = PaRange::with_size(base, bytes).ok()?;
            range.contains_range(&wanted).then_some(wanted)
        };
        let wanted = self
            .iter()
            .filter_map(|range| Some((range.bytes(), fit(range)?)))
            .min_by_key(|(bytes, _)| *bytes)
            .map(|(_, wanted)| wanted)?;
        self.take_range(wanted)
    }

    /// The longest run of whole blocks of `block` bytes, aligned to their size, as base and bytes.
    #[must_use]
    pub fn longest_run(&self, block: u64) -> Option<(Pa, u64)> {
        self.iter()
            .filter_map(|range| {
                let base = range.base().align_up(block)?;
                let bytes = range.top().align_down(block).checked_offset_from(base)?;
                (bytes > 0).then_some((base, bytes))
            })
            .max_by_key(|(_, bytes)| *bytes)
    }

    /// Takes out any range.
    pub fn pop(&mut self) -> Option<Granules<H>> {
        let last = self.len.checked_sub(1)?;
        let memory = self.places.as_mut().get_mut(last)?.take();
        self.len = last;
        Some(memory)
    }
}

impl<H: Owner, const N: usize> Default for GranuleSet<H, [Granules<H>; N]> {
    fn default() -> Self {
        Self::new(core::array::from_fn(|_| Granules::empty()))
    }
}

impl<H: Owner, S: Places<H>> fmt::Debug for GranuleSet<H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![expect(unsafe_code, reason = "tokens of made-up memory that nobody touches")]

    use proptest::prelude::*;
    use rmi_host::granules::{Host, Undelegated};

    use super::*;

    fn memory(first: u64, granules: u64) -> Undelegated {
        let range = PaRange::with_size(Pa::new(first * 0x1000), granules * 0x1000).unwrap();
        // SAFETY: nothing accesses the memory.
        unsafe { Undelegated::from_raw(range) }
    }

    type Set = GranuleSet<Host, [Undelegated; 4]>;

    #[test]
    fn neighbours_merge_from_both_sides() {
        let mut set = Set::default();
        set.insert(memory(1, 1)).unwrap();
        set.insert(memory(3, 1)).unwrap();
        assert_eq!(set.len(), 2);
        set.insert(memory(2, 1)).unwrap();
        assert_eq!((set.len(), set.bytes()), (1, 0x3000));
        set.insert(memory(0, 1)).unwrap();
        assert_eq!(set.iter().next(), Some(PaRange::with_size(Pa::new(0), 0x4000).unwrap()));
    }

    #[test]
    fn a_full_set_refuses_and_gives_back() {
        let mut set = Set::default();
        for first in [0, 2, 4, 6] {
            set.insert(memory(first, 1)).unwrap();
        }
        let back = set.insert(memory(8, 1)).unwrap_err();
        assert_eq!(back.base(), Pa::new(0x8000));
        set.insert(memory(1, 1)).unwrap();
        assert_eq!(set.len(), 3);
        set.insert(back).unwrap();
    }

    #[test]
    fn takes_from_the_smallest_range_that_fits() {
        let mut set = Set::default();
        set.insert(memory(0, 8)).unwrap();
        set.insert(memory(17, 3)).unwrap();
        assert_eq!(set.take(0x2000, 0x2000).unwrap().base(), Pa::new(0x12000));
        assert_eq!(set.take(0x4000, 0x4000).unwrap().base(), Pa::new(0));
        assert!(set.take(0x4000, 0x8000).is_none());
        assert_eq!(set.longest_run(0x1000), Some((Pa::new(0x4000), 0x4000)));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 256 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// After any sequence of operations, the set and what is outside it add up to all memory,
        /// and the set is sorted and disjoint.
        #[test]
        fn nothing_is_lost(ops in proptest::collection::vec((any::<bool>(), 0u64..64, 1u64..6), 0..60)) {
            let mut set: GranuleSet<Host, [Undelegated; 6]> = GranuleSet::default();
            let mut outside: [Option<Undelegated>; 64] = core::array::from_fn(|i| Some(memory(i as u64, 1)));
            for (put, first, count) in ops {
                if put {
                    if let Some(token) = outside[usize::try_from(first).unwrap()].take()
                        && let Err(back) = set.insert(token) {
                            outside[usize::try_from(first).unwrap()] = Some(back);
                        }
                } else if let Some(mut token) = set.take(count * 0x1000, 0x1000) {
                    while let Some(one) = token.take_front(0x1000) {
                        let index = usize::try_from(one.base().raw() / 0x1000).unwrap();
                        prop_assert!(outside[index].is_none());
                        outside[index] = Some(one);
                    }
                }
                let held = outside.iter().flatten().count() as u64;
                prop_assert_eq!(set.bytes() / 0x1000 + held, 64);
                let ranges: [Option<PaRange>; 6] = { let mut it = set.iter(); core::array::from_fn(|_| it.next()) };
                for pair in ranges.windows(2) {
                    if let [Some(a), Some(b)] = pair {
                        prop_assert!(a.top() < b.base());
                    }
                }
            }
        }
    }
}
