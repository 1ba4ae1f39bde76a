//! Which interrupts go into the list registers.

use crate::interface::Vtr;

/// An interrupt, ordered by urgency: whether the REC enables its group, its priority, its INTID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate(u32);

impl Candidate {
    const NONE: Self = Self(u32::MAX);
    const DISABLED: u32 = 1 << 24;

    /// INTIDs are below 2^16.
    pub(super) const fn new(intid: u32, priority: u8, is_enabled: bool) -> Self {
        let disabled = if is_enabled { 0 } else { Self::DISABLED };
        Self(disabled | (priority as u32) << 16 | intid & 0xffff)
    }

    pub(super) const fn intid(self) -> u32 {
        self.0 & 0xffff
    }

    const fn is_enabled(self) -> bool {
        self.0 & Self::DISABLED == 0
    }
}

/// The most urgent interrupts of those that were added, in order.
#[derive(Debug)]
pub(super) struct Most {
    found: [Candidate; Vtr::MAX_LIST_REGISTERS],
    /// How many were added, and how many of them the REC enables.
    added: usize,
    enabled: usize,
}

impl Most {
    pub(super) const fn new() -> Self {
        Self { found: [Candidate::NONE; Vtr::MAX_LIST_REGISTERS], added: 0, enabled: 0 }
    }

    /// At most 16 comparisons.
    pub(super) fn add(&mut self, candidate: Candidate) {
        self.added += 1;
        self.enabled += usize::from(candidate.is_enabled());
        let mut displaced = candidate;
        for place in &mut self.found {
            if displaced < *place {
                core::mem::swap(place, &mut displaced);
            }
            if displaced == Candidate::NONE {
                break;
            }
        }
    }

    /// The most urgent ones.
    pub(super) fn first(&self, count: usize) -> &[Candidate] {
        self.found.get(..count).unwrap_or_default()
    }
}

/// What a REC has.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) pending: Most,
    pub(super) active: Most,
}

/// What is left outside the list registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outside {
    /// Pending interrupts of groups that the REC enables.
    pub(super) enabled: bool,
    /// Pending interrupts of groups that the REC disables.
    pub(super) disabled: bool,
    /// Active interrupts.
    pub(super) active: bool,
}

impl Outside {
    /// Nothing.
    pub(super) const NONE: Self = Self { enabled: false, disabled: false, active: false };
}

impl Selection {
    pub(super) const fn new() -> Self {
        Self { pending: Most::new(), active: Most::new() }
    }

    /// How many of the most urgent pending and active interrupts go into `count` list registers, 16
    /// at most, and what is left outside.
    ///
    /// The most urgent pending interrupt comes first: it may preempt all that are active. The most
    /// urgent active one is next, as its end would otherwise cause an exit; then the other pending
    /// ones, and the other active ones.
    pub(super) fn choose(&self, count: usize) -> (usize, usize, Outside) {
        let (pending, active) = (self.pending.added, self.active.added);
        let first = pending.min(1).min(count);
        let second = active.min(1).min(count - first);
        let pending = pending.min(count - second);
        let active = active.min(count - pending);
        let outside = Outside {
            enabled: self.pending.enabled > pending,
            disabled: self.pending.added > pending.max(self.pending.enabled),
            active: self.active.added > active,
        };
        (pending, active, outside)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    fn selection(pending: &[(u32, u8, bool)], active: &[(u32, u8)]) -> Selection {
        let mut selection = Selection::new();
        for (intid, priority, is_enabled) in pending {
            selection.pending.add(Candidate::new(*intid, *priority, *is_enabled));
        }
        for (intid, priority) in active {
            selection.active.add(Candidate::new(*intid, *priority, true));
        }
        selection
    }

    fn chosen(selection: &Selection, count: usize) -> (Vec<u32>, (bool, bool, bool)) {
        let (pending, active, outside) = selection.choose(count);
        let chosen = [selection.pending.first(pending), selection.active.first(active)].concat();
        let Outside { enabled, disabled, active } = outside;
        (chosen.into_iter().map(Candidate::intid).collect(), (enabled, disabled, active))
    }

    #[test]
    fn the_most_urgent_pending_interrupt_and_then_the_most_urgent_active_one_come_first() {
        let pending = [(40, 0x80, true), (41, 0x20, true), (39, 0x80, true), (42, 0x10, false)];
        let all = selection(&pending, &[(50, 0x60), (51, 0x40)]);
        assert_eq!(chosen(&all, 1), ([41].into(), (true, true, true)));
        assert_eq!(chosen(&all, 2), ([41, 51].into(), (true, true, true)));
        assert_eq!(chosen(&all, 3), ([41, 39, 51].into(), (true, true, true)));
        assert_eq!(chosen(&all, 4), ([41, 39, 40, 51].into(), (false, true, true)));
        assert_eq!(chosen(&all, 5), ([41, 39, 40, 42, 51].into(), (false, false, true)));
        let six = [41, 39, 40, 42, 51, 50].into();
        assert_eq!(chosen(&all, 6), (six, (false, false, false)));
        assert_eq!(chosen(&all, 16).0.len(), 6);
        assert_eq!(chosen(&all, 0), (Vec::new(), (true, true, true)));
        let none = selection(&[], &[]);
        assert_eq!(chosen(&none, 4), (Vec::new(), (false, false, false)));
        let active = selection(&[], &[(50, 0x60), (51, 0x40), (52, 0x50)]);
        assert_eq!(chosen(&active, 2), ([51, 52].into(), (false, false, true)));
        let pending = selection(&pending, &[]);
        assert_eq!(chosen(&pending, 3), ([41, 39, 40].into(), (false, true, false)));
        let disabled = selection(&[(42, 0x10, false), (43, 0, false)], &[]);
        assert_eq!(chosen(&disabled, 1), ([43].into(), (false, true, false)));
    }

    #[test]
    fn more_than_all_list_registers_are_sorted() {
        let mut all = Selection::new();
        for n in 0..40 {
            all.pending.add(Candidate::new(100 + n * 7 % 40, 0xf0, true));
        }
        let (intids, outside) = chosen(&all, 16);
        assert_eq!(intids, (100..116).collect::<Vec<_>>());
        assert_eq!(outside, (true, false, false));
    }
}
