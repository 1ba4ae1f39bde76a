//! What is used of a retry budget.

use core::time::Duration;

use rmi_abi::Status;

use crate::channel::Channel;
use crate::platform::Platform;

/// What one command has used of its [`RetryBudget`](crate::RetryBudget): in all its calls, from the
/// first one to the last one of the operation that it started. Also what a wait for another thread
/// has used of its time.
///
/// ```
/// # use rmi_abi::{Dialect, Status};
/// # use rmi_host::{Attempts, RetryBudget, SessionOptions};
/// # use rmm_model::{Model, Options};
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// let mut options = SessionOptions::default();
/// options.retry_budget = RetryBudget { busy: 2, blocked: 1, ..RetryBudget::default() };
/// let rmm = rmm_model::open_with(model.host(), options, &mut model.take_memory())?;
///
/// let mut attempts = Attempts::default();
/// assert!(rmm.pause(&mut attempts, Status::Busy));
/// assert!(rmm.pause(&mut attempts, Status::Blocked));
/// assert!(rmm.pause(&mut attempts, Status::Busy));
/// assert!(!rmm.pause(&mut attempts, Status::Busy));
/// assert!(!rmm.pause(&mut attempts, Status::Blocked));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    busy: u32,
    blocked: u32,
    steps: u32,
    /// When the time is over, in nanoseconds of the clock; `NOT_BEGUN` before the first
    /// repetition.
    until: u64,
}

/// No time yet.
const NOT_BEGUN: u64 = 0;

impl Attempts {
    /// Starts the time anew: for a command that was not waited for, but left for later.
    pub const fn restart_time(&mut self) {
        self.until = NOT_BEGUN;
    }
}

impl<P: Platform> Channel<P> {
    /// Counts one more repetition of a command, because of [`Status::Blocked`], or of
    /// [`Status::Busy`] or no progress, and pauses before it ([`Platform::relax`]). Returns false,
    /// without a pause, when the budget of these or the time is used up.
    #[must_use]
    #[inline(never)]
    pub fn pause(&self, attempts: &mut Attempts, why: Status) -> bool {
        let budget = self.retry_budget();
        let (spent, limit) = match why {
            Status::Blocked => (&mut attempts.blocked, budget.blocked),
            _ => (&mut attempts.busy, budget.busy),
        };
        if *spent >= limit {
            return false;
        }
        *spent += 1;
        let is_left = !self.is_over(attempts);
        if is_left {
            self.platform().relax();
        }
        is_left
    }

    /// Whether [`RetryBudget::time`](crate::RetryBudget::time) is over since the first call of this
    /// or of [`Channel::pause`]; always false without a limit or without a clock.
    #[must_use]
    pub fn is_over(&self, attempts: &mut Attempts) -> bool {
        let Some(time) = self.retry_budget().time else { return false };
        let Some(now) = self.platform().now().map(nanoseconds) else { return false };
        if attempts.until == NOT_BEGUN {
            attempts.until = now.saturating_add(nanoseconds(time)).max(1);
        }
        attempts.until <= now
    }

    /// Counts one more step of a stateful operation. Returns false when the budget is used up.
    #[doc(hidden)]
    #[must_use]
    pub const fn may_step(&self, attempts: &mut Attempts) -> bool {
        let is_left = attempts.steps < self.retry_budget().steps;
        if is_left {
            attempts.steps += 1;
        }
        is_left
    }
}

/// A time in nanoseconds, of which a word has 584 years.
const fn nanoseconds(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos() as u64)
}
