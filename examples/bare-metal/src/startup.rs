//! Starting another CPU, which takes part in time or not at all.

use core::sync::atomic::{AtomicU8, Ordering};

const STARTING: u8 = 0;
const ARRIVED: u8 = 1;
const GIVEN_UP: u8 = 2;

/// What a CPU that starts another one has in common with it. Whichever comes first of
/// [`Startup::arrive`] and [`Startup::give_up`] is final; all methods may be called with interrupts
/// masked, and take no lock.
#[derive(Debug)]
pub struct Startup(AtomicU8);

impl Startup {
    /// The other CPU has not arrived.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU8::new(STARTING))
    }

    /// Called on the new CPU when it can do work. False if it comes too late: its number may have
    /// been given to another CPU.
    #[must_use]
    pub fn arrive(&self) -> bool {
        self.decide(ARRIVED)
    }

    /// Called on the CPU that waits, to wait no longer. False if the new CPU has arrived.
    #[must_use]
    pub fn give_up(&self) -> bool {
        self.decide(GIVEN_UP)
    }

    /// Whether the new CPU has arrived in time; what it did before is visible then.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        self.0.load(Ordering::Acquire) == ARRIVED
    }

    fn decide(&self, end: u8) -> bool {
        self.0.compare_exchange(STARTING, end, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Default for Startup {
    fn default() -> Self {
        Self::new()
    }
}
