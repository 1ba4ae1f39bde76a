//! Learns whether this RMM ends range commands at table boundaries.

use core::sync::atomic::{AtomicU8, Ordering};

use rmi_abi::IpaRange;

/// Whether an RMM ends range commands at the end of the table that they begin in. If so, nothing
/// beyond the table is prepared for it.
#[derive(Debug, Default)]
pub(crate) struct RangeHint {
    /// Commands, one after the other, that ended there although there was more.
    stops: AtomicU8,
}

impl RangeHint {
    /// One such end may be a coincidence: the RMM may have yielded to an interrupt.
    const ENOUGH: u8 = 2;

    pub(crate) fn is_set(&self) -> bool {
        self.stops.load(Ordering::Relaxed) >= Self::ENOUGH
    }

    /// Records what a command did: the range that it processed, by entries of a table that covers
    /// `table` bytes, and whether there was more.
    pub(crate) fn note(&self, done: IpaRange, table: u64, more: bool) {
        let first_end = done.base().align_down(table).checked_add(table);
        if first_end.is_some_and(|end| done.top() > end) {
            self.stops.store(0, Ordering::Relaxed);
        } else if more && first_end == Some(done.top()) {
            let stops = self.stops.load(Ordering::Relaxed);
            self.stops.store(stops.saturating_add(1), Ordering::Relaxed);
        }
    }
}
