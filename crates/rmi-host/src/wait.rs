//! Waits limited by the platform's clock.

use core::time::Duration;

use crate::channel::Channel;
use crate::platform::Platform;

/// A wait that has begun. It ends with [`RetryBudget::time`](crate::RetryBudget::time), if that is
/// set and the platform has a clock; the caller that waits counts its attempts.
#[derive(Debug)]
pub struct Wait<'p, P: ?Sized> {
    platform: &'p P,
    until: Option<Duration>,
}

impl<P: Platform> Channel<P> {
    /// Begins a wait. Reads the platform's clock once if
    /// [`RetryBudget::time`](crate::RetryBudget::time) is set, and does nothing else.
    pub fn wait(&self) -> Wait<'_, P> {
        let platform = self.platform();
        let until =
            self.retry_budget().time.and_then(|time| Some(platform.now()?.saturating_add(time)));
        Wait { platform, until }
    }
}

impl<P: Platform + ?Sized> Wait<'_, P> {
    /// Whether the time is over; always false without a limit or without a clock.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.until.is_some_and(|until| self.platform.now().is_some_and(|now| now >= until))
    }
}
