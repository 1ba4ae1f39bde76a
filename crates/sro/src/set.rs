//! Sets of granules without a heap: sorted, disjoint ranges in storage of a fixed size.

use core::fmt;

use rmi_abi::sort::sort_by_key;
use rmi_abi::{Pa, PaRange};
use rmi_host::granules::{AnyGranules, Granules, Owner};

use crate::ranges::{Ranges, RangesMut};

/// Slots for the ranges of a [`GranuleSet`]: an array, a mutable slice, or (with the feature
/// `alloc`) a vector, which grows.
pub trait Slots: AsRef<[AnyGranules]> + AsMut<[AnyGranules]> {
    /// Adds an empty slot at the end, if the storage can grow.
    fn grow(&mut self) {}
}

impl<const N: usize> Slots for [AnyGranules; N] {}
impl Slots for &mut [AnyGranules] {}

#[cfg(feature = "alloc")]
impl Slots for alloc::vec::Vec<AnyGranules> {
    fn grow(&mut self) {
        if self.try_reserve(1).is_ok() {
            self.push(AnyGranules::empty());
        }
    }
}

/// A set of granules whose owner is `H`, stored in `S` as disjoint ranges, sorted by address: see
/// [`Slots`].
///
/// Adjacent ranges merge, so a set needs as many slots as the memory has gaps, plus one.
///
/// ```
/// # use rmi_abi::Dialect;
/// use rmi_host::granules::{AnyGranules, HostOwned};
/// # use rmm_model::{Model, Options};
/// use sro::GranuleSet;
///
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// let mut pieces = [(); 5].map(|()| memory.take_front(0x1000).expect("1 GiB"));
/// let last = pieces[4].base();
/// // Two slots, for two separate ranges.
/// let mut set: GranuleSet<HostOwned, [AnyGranules; 2]> = GranuleSet::default();
/// set.insert(pieces[0].take()).expect("two slots");
/// set.insert(pieces[2].take()).expect("one slot");
/// let back = set.insert(pieces[4].take()).expect_err("no slot");
///
/// // A range that closes a gap needs no slot, and frees one.
/// set.insert(pieces[1].take()).expect("touches both");
/// assert_eq!((set.len(), set.spare()), (1, 1));
/// set.insert(back).expect("one slot");
///
/// // Taken from the smallest range that contains it, aligned.
/// assert_eq!(set.take(0x1000, 0x1000).map(|one| one.base()), Some(last));
/// assert!(set.take(0x4000, 0x1000).is_none());
/// assert_eq!(set.bytes(), 0x3000);
/// # Ok::<(), rmm_model::OptionsError>(())
/// ```
///
/// A given range can be taken, too, from the middle of another one:
///
/// ```
/// # use rmi_abi::{Dialect, Pa, PaRange};
/// use rmi_host::granules::{AnyGranules, HostOwned};
/// # use rmm_model::{Model, Options};
/// use sro::GranuleSet;
///
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// let mut set: GranuleSet<HostOwned, [AnyGranules; 4]> = GranuleSet::default();
/// set.insert(memory.take_front(0x4000).expect("1 GiB")).expect("four slots");
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
    len: usize,
    slots: S,
    owner: core::marker::PhantomData<H>,
}

impl<H: Owner, const N: usize> GranuleSet<H, [AnyGranules; N]> {
    /// An empty set of at most `N` ranges.
    pub const fn empty() -> Self {
        let slots = [const { AnyGranules::empty() }; N];
        Self { len: 0, slots, owner: core::marker::PhantomData }
    }
}

#[cfg(feature = "alloc")]
impl<H: Owner> GranuleSet<H, alloc::vec::Vec<AnyGranules>> {
    /// An empty set on the heap, which grows when memory is added or split.
    pub const fn growing() -> Self {
        let slots = alloc::vec::Vec::new();
        Self { len: 0, slots, owner: core::marker::PhantomData }
    }
}

impl<H: Owner, S: Slots> GranuleSet<H, S> {
    /// A set in `slots`. Memory that is stored there, from an earlier set of the same owner,
    /// belongs to the new one; that of another owner is dropped.
    pub fn new(mut slots: S) -> Self {
        for slot in slots.as_mut() {
            if let Ok(granules) = slot.take().into_granules::<H>() {
                *slot = granules.into();
            }
        }
        sort_by_key(slots.as_mut(), |slot| (slot.is_empty(), slot.range().base()));
        let len = slots.as_ref().iter().take_while(|slot| !slot.is_empty()).count();
        Self { len, slots, owner: core::marker::PhantomData }
    }

    /// The ranges of the set, for reading.
    pub(crate) fn ranges(&self) -> Ranges<'_> {
        let slots = self.slots.as_ref();
        Ranges::new(slots, self.len)
    }

    /// The ranges of the set, for changing.
    pub(crate) fn ranges_mut(&mut self) -> RangesMut<'_> {
        RangesMut::new(&mut self.slots, &mut self.len)
    }

    /// The ranges of the set, sorted.
    pub fn iter(&self) -> impl Iterator<Item = PaRange> + '_ {
        self.ranges().iter()
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
        self.ranges().bytes()
    }

    /// How many more ranges fit in any case, whatever they are.
    #[must_use]
    pub fn spare(&self) -> usize {
        self.ranges().spare()
    }

    /// Adds memory, merging it with adjacent ranges.
    ///
    /// # Errors
    ///
    /// The memory is returned when it is adjacent to nothing in the set and no slot is free, or
    /// when it belongs to a different machine than what is in the set.
    pub fn insert(&mut self, memory: Granules<H>) -> Result<(), Granules<H>> {
        self.ranges_mut().insert(memory.into()).map_err(typed)
    }

    /// Takes out exactly `range`, if all of it is in the set and there is a slot for what remains
    /// on both sides.
    pub fn take_range(&mut self, range: PaRange) -> Option<Granules<H>> {
        self.ranges_mut().take_range(range).map(typed)
    }

    /// Takes out `bytes` of contiguous memory, aligned to `alignment`, from the smallest range that
    /// contains them. `None` when no range does, or when no slot is free for what remains.
    pub fn take(&mut self, bytes: u64, alignment: u64) -> Option<Granules<H>> {
        self.ranges_mut().take(bytes, alignment).map(typed)
    }

    /// The longest run of whole blocks of `block` bytes, aligned to their size, as base and bytes.
    #[must_use]
    pub fn longest_run(&self, block: u64) -> Option<(Pa, u64)> {
        self.ranges().longest_run(block)
    }

    /// Takes out any range.
    pub fn pop(&mut self) -> Option<Granules<H>> {
        self.ranges_mut().pop().map(typed)
    }
}

/// A token of a set whose owner is `H`: all of them are of that owner.
pub(crate) fn typed<H: Owner>(memory: AnyGranules) -> Granules<H> {
    memory.into_granules().unwrap_or_default()
}

impl<H: Owner, const N: usize> Default for GranuleSet<H, [AnyGranules; N]> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<H: Owner, S: Slots> fmt::Debug for GranuleSet<H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ranges().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    #![expect(unsafe_code, reason = "tokens of made-up memory that nobody touches")]

    use proptest::prelude::*;
    use rmi_host::granules::{HostOwned, Undelegated};

    use super::*;

    fn memory(first: u64, granules: u64) -> Undelegated {
        let range = PaRange::with_size(Pa::new(first * 0x1000), granules * 0x1000).unwrap();
        // SAFETY: nothing accesses the memory.
        unsafe { Undelegated::from_raw(range) }
    }

    type Set = GranuleSet<HostOwned, [AnyGranules; 4]>;

    #[test]
    fn neighbours_merge_from_both_sides() {
        let mut set = Set::default();
        assert!(set.is_empty());
        set.insert(memory(1, 1)).unwrap();
        assert!(!set.is_empty());
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

    fn bases<const N: usize>(
        set: &GranuleSet<HostOwned, [AnyGranules; N]>,
    ) -> impl Iterator<Item = u64> {
        set.iter().map(|range| range.base().raw() / 0x1000)
    }

    /// A part that leaves something on both sides needs one slot more.
    #[test]
    fn a_full_set_is_not_split() {
        let part = |first: u64, granules: u64| {
            PaRange::with_size(Pa::new(first * 0x1000), granules * 0x1000).unwrap()
        };
        let full = || {
            let mut set: GranuleSet<HostOwned, [AnyGranules; 1]> = GranuleSet::default();
            set.insert(memory(1, 4)).unwrap();
            set
        };
        let mut set = full();
        assert!(set.take_range(part(2, 1)).is_none());
        assert!(set.take_range(part(4, 2)).is_none(), "the second granule is not in the set");
        assert!(set.take_range(part(2, 0)).is_none());
        assert_eq!(set.bytes(), 0x4000);
        assert_eq!(set.take_range(part(1, 1)).unwrap().range(), part(1, 1));
        assert_eq!(set.take_range(part(4, 1)).unwrap().range(), part(4, 1));
        assert_eq!((set.len(), set.bytes()), (1, 0x2000));
        assert_eq!(set.take_range(part(2, 2)).unwrap().range(), part(2, 2));
        assert!(set.is_empty());

        let mut set: GranuleSet<HostOwned, [AnyGranules; 2]> = GranuleSet::default();
        set.insert(memory(1, 4)).unwrap();
        assert_eq!(set.take_range(part(2, 1)).unwrap().range(), part(2, 1));
        assert!(bases(&set).eq([1, 3]));
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn a_growing_set_grows_when_it_is_split() {
        let mut set = GranuleSet::<HostOwned, _>::growing();
        set.insert(memory(1, 3)).unwrap();
        assert_eq!(set.spare(), 0);
        assert_eq!(set.take(0x1000, 0x2000).unwrap().base(), Pa::new(0x2000));
        assert_eq!((set.len(), set.spare(), set.bytes()), (2, 0, 0x2000));
    }

    #[test]
    fn a_run_is_at_least_one_block() {
        let mut set = Set::default();
        set.insert(memory(1, 1)).unwrap();
        assert_eq!(set.longest_run(0x2000), None);
        set.insert(memory(2, 2)).unwrap();
        assert_eq!(set.longest_run(0x2000), Some((Pa::new(0x2000), 0x2000)));
    }

    #[test]
    fn a_set_is_printed_as_its_ranges() {
        extern crate std;
        use std::format;
        use std::vec::Vec;

        let mut set = Set::default();
        assert_eq!(format!("{set:?}"), "[]");
        set.insert(memory(1, 1)).unwrap();
        set.insert(memory(3, 1)).unwrap();
        let ranges: Vec<PaRange> = set.iter().collect();
        assert_eq!(format!("{set:?}"), format!("{ranges:?}"));
        assert_eq!(format!("{:?}", set.ranges_mut()), format!("{ranges:?}"));
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
        fn nothing_is_lost(
            ops in proptest::collection::vec((any::<bool>(), 0u64..64, 1u64..6), 0..60),
        ) {
            let mut set: GranuleSet<HostOwned, [AnyGranules; 6]> = GranuleSet::default();
            let mut outside: [Option<Undelegated>; 64] =
                core::array::from_fn(|i| Some(memory(i as u64, 1)));
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
                let ranges: [Option<PaRange>; 6] = {
                    let mut it = set.iter();
                    core::array::from_fn(|_| it.next())
                };
                for pair in ranges.windows(2) {
                    if let [Some(a), Some(b)] = pair {
                        prop_assert!(a.top() < b.base());
                    }
                }
            }
        }
    }
}
