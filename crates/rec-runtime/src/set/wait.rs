//! Threads that wait, with `std`.

use core::time::Duration;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::RecSet;
use super::runner::Runner;

/// Where threads wait for a condition that others make true.
#[derive(Debug)]
pub(super) struct Park {
    lock: Mutex<()>,
    changed: Condvar,
}

impl Park {
    pub(super) const fn new() -> Self {
        Self { lock: Mutex::new(()), changed: Condvar::new() }
    }

    /// Wakes the threads that wait, after their condition has changed.
    pub(super) fn wake(&self) {
        // A thread that found the condition false before it changed waits when the lock is free.
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits until the condition is true; whether it is.
    fn wait(&self, timeout: Option<Duration>, mut is_true: impl FnMut() -> bool) -> bool {
        // A time that does not fit is never reached.
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if is_true() {
                return true;
            }
            guard = match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    let waited = self.changed.wait_timeout(guard, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl RecSet<'_> {
    /// Waits until [`RecSet::is_paused`], at most as long as `timeout`, and no longer than a pause
    /// is requested; whether it is paused. `false` also means that another thread has called
    /// [`RecSet::resume`], or that none called [`RecSet::pause`].
    pub fn wait_paused(&self, timeout: Option<Duration>) -> bool {
        let mut is_paused = false;
        self.paused.wait(timeout, || {
            is_paused = self.is_paused();
            is_paused || !self.wants_pause()
        });
        is_paused
    }
}

impl Runner<'_> {
    /// Waits until [`RecSet::is_ready`] for this REC, at most as long as `timeout`; whether it is.
    /// To be called after an [`Outcome`](super::Outcome) of `Waiting`, `Off` or `Paused`.
    pub fn wait(&mut self, timeout: Option<Duration>) -> bool {
        self.slot().park.wait(timeout, || self.set().is_ready(self.index()))
    }
}
