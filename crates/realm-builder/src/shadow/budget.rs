//! How many entries of the shadow are visited while its lock is held.

use rmi_abi::rtt::ENTRIES_PER_TABLE;

/// How many more entries may be visited before the lock is released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    left: u64,
}

impl Budget {
    /// As many entries as a table has.
    pub(crate) const fn new() -> Self {
        Self { left: ENTRIES_PER_TABLE }
    }

    /// Spends one entry; false if nothing is left.
    pub(crate) const fn spend_one(&mut self) -> bool {
        let is_left = self.left > 0;
        self.spend(1);
        is_left
    }

    /// Spends entries that were visited already.
    pub(crate) const fn spend(&mut self, entries: u64) {
        self.left = self.left.saturating_sub(entries);
    }
}

/// Counts, in tests, visited entries.
#[inline]
pub(crate) fn look_at(entries: usize) {
    #[cfg(test)]
    looks::add(entries);
    let _ = entries;
}

#[cfg(test)]
pub(crate) mod looks {
    //! Counts the entries that a thread visits while it holds a lock.

    use core::cell::Cell;

    extern crate std;

    std::thread_local! {
        static LOOKS: Cell<u64> = const { Cell::new(0) };
    }

    /// Adds visited entries.
    pub(crate) fn add(entries: usize) {
        LOOKS.set(LOOKS.get() + entries as u64);
    }

    /// How many entries were visited since the last call.
    pub(crate) fn take() -> u64 {
        LOOKS.replace(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_as_many_entries_as_a_table_has_and_no_more() {
        let mut budget = Budget::new();
        for _ in 0..ENTRIES_PER_TABLE - 3 {
            assert!(budget.spend_one());
        }
        budget.spend(2);
        assert!(budget.spend_one());
        assert!(!budget.spend_one());
        budget.spend(5);
        assert!(!budget.spend_one());
    }
}
