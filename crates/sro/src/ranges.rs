//! The ranges of a set of granules: the algorithms, once for all owners and all storage.

use core::fmt;

use rmi_abi::{Pa, PaRange};
use rmi_host::granules::{AnyGranules, Machine};

use crate::set::Slots;

/// The ranges of a set, sorted and disjoint, whatever stores them.
pub struct Ranges<'s> {
    used: &'s [AnyGranules],
    /// Number of slots, used or not.
    slots: usize,
}

impl<'s> Ranges<'s> {
    /// The ranges in the first `used` of these slots.
    pub fn new(slots: &'s [AnyGranules], used: usize) -> Self {
        Self { used: slots.get(..used).unwrap_or_default(), slots: slots.len() }
    }

    pub fn iter(&self) -> impl Iterator<Item = PaRange> + use<'s> {
        self.used.iter().map(AnyGranules::range)
    }

    /// Whether all of it is memory of this machine.
    pub fn are_of(&self, machine: Machine) -> bool {
        self.used.iter().all(|slot| slot.machine() == machine)
    }

    pub fn bytes(&self) -> u64 {
        self.used.iter().map(|slot| slot.range().bytes()).sum()
    }

    pub fn spare(&self) -> usize {
        self.slots.saturating_sub(self.used.len())
    }

    pub fn longest_run(&self, block: u64) -> Option<(Pa, u64)> {
        self.iter()
            .filter_map(|range| {
                let base = range.base().align_up(block)?;
                let bytes = range.top().align_down(block).checked_offset_from(base)?;
                (bytes > 0).then_some((base, bytes))
            })
            .max_by_key(|(_, bytes)| *bytes)
    }

    /// Where `bytes` of contiguous memory, aligned to `alignment`, are in the smallest range that
    /// contains them.
    fn find(&self, bytes: u64, alignment: u64) -> Option<PaRange> {
        let fit = |range: PaRange| {
            let base = range.base().align_up(alignment)?;
            let wanted = PaRange::with_size(base, bytes).ok()?;
            range.contains_range(&wanted).then_some(wanted)
        };
        self.iter()
            .filter_map(|range| Some((range.bytes(), fit(range)?)))
            .min_by_key(|(bytes, _)| *bytes)
            .map(|(_, wanted)| wanted)
    }
}

/// The ranges of a set, which are changed here: once for all kinds of slots.
pub struct RangesMut<'s> {
    slots: &'s mut dyn Slots,
    len: &'s mut usize,
}

impl<'s> RangesMut<'s> {
    /// The ranges in the first `len` of these slots.
    pub fn new(slots: &'s mut dyn Slots, len: &'s mut usize) -> Self {
        Self { slots, len }
    }

    fn ranges(&self) -> Ranges<'_> {
        Ranges::new((*self.slots).as_ref(), *self.len)
    }

    fn slot(&mut self, at: usize) -> Option<&mut AnyGranules> {
        (*self.slots).as_mut().get_mut(at)
    }

    /// As [`GranuleSet::insert`].
    pub fn insert(&mut self, memory: AnyGranules) -> Result<(), AnyGranules> {
        if memory.is_empty() {
            return Ok(());
        }
        let used = self.ranges().used;
        if used.first().is_some_and(|have| have.machine() != memory.machine()) {
            return Err(memory);
        }
        // A set of tokens cannot overlap: each of them is the only owner of its range.
        let (Ok(at) | Err(at)) =
            used.binary_search_by_key(&memory.range().base(), |slot| slot.range().base());
        let memory = match at.checked_sub(1).and_then(|before| self.slot(before)) {
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
    fn insert_at(&mut self, at: usize, memory: AnyGranules) -> Result<(), AnyGranules> {
        let len = *self.len;
        let memory = match self.slot(at).filter(|_| at < len) {
            Some(after) => match after.merge(memory) {
                Ok(()) => return Ok(()),
                Err(memory) => memory,
            },
            None => memory,
        };
        if self.ranges().spare() == 0 {
            self.slots.grow();
        }
        match (*self.slots).as_mut().get_mut(at..=len) {
            Some(tail) => {
                // Up to the slot at `len`, which is empty. A rotation would link a panic.
                let mut memory = memory;
                for slot in tail {
                    core::mem::swap(slot, &mut memory);
                }
                *self.len += 1;
                Ok(())
            }
            None => Err(memory),
        }
    }

    /// Removes the slot at `at`, which is empty, from the sequence.
    fn remove(&mut self, at: usize) {
        let tail = (*self.slots).as_mut().get_mut(at..*self.len);
        if let Some(tail) = tail.filter(|tail| !tail.is_empty()) {
            let mut empty = AnyGranules::empty();
            for slot in tail.iter_mut().rev() {
                core::mem::swap(slot, &mut empty);
            }
            *self.len -= 1;
        }
    }

    /// As [`GranuleSet::take_range`].
    pub fn take_range(&mut self, range: PaRange) -> Option<AnyGranules> {
        if range.is_empty() {
            return None;
        }
        let at = self.ranges().iter().position(|slot| slot.contains_range(&range))?;
        if self.ranges().spare() == 0 {
            self.slots.grow();
        }
        let spare = self.ranges().spare();
        let slot = self.slot(at)?;
        let whole = slot.range();
        let front = range.base().checked_offset_from(whole.base())?;
        if front != 0 && range.top() != whole.top() && spare == 0 {
            return None;
        }
        let before = slot.take_front(front)?;
        let wanted = slot.take_front(range.bytes())?;
        let after = core::mem::replace(slot, before);
        if slot.is_empty() {
            self.remove(at);
        }
        // There is a slot: either one was free, or one of the two sides is empty.
        if let Err(lost) = self.insert(after) {
            drop(lost);
        }
        Some(wanted)
    }

    /// As [`GranuleSet::take`].
    pub fn take(&mut self, bytes: u64, alignment: u64) -> Option<AnyGranules> {
        let wanted = self.ranges().find(bytes, alignment)?;
        self.take_range(wanted)
    }

    /// As [`GranuleSet::pop`].
    pub fn pop(&mut self) -> Option<AnyGranules> {
        let last = self.len.checked_sub(1)?;
        let memory = self.slot(last)?.take();
        *self.len = last;
        Some(memory)
    }
}

impl fmt::Debug for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for RangesMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ranges().fmt(f)
    }
}
