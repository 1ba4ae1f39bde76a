//! PSCI calls as changes of the set.

use core::sync::atomic::{AtomicUsize, Ordering};

use rmi_abi::Status;
use rmi_host::{Error, Failed, Platform, Rmm};

use super::RecSet;
use super::word::{Power, Word};
use crate::Handler;
use crate::answer::Answer;
use crate::exit::{PsciRequest, PsciRequestKind};
use crate::rec::Rec;

/// A host's decision about a `CPU_ON`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuOnDecision {
    /// The RMM turns the REC on, if it is off.
    Accept,
    /// The Realm gets `DENIED`; or `ALREADY_ON`, if the REC is on.
    Deny,
}

/// How a Realm ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SystemEnd {
    /// It turned itself off.
    Off,
    /// It requests a reset: a new Realm has to be built.
    Reset,
}

impl SystemEnd {
    const fn code(self) -> u32 {
        match self {
            Self::Off => 1,
            Self::Reset => 2,
        }
    }
}

/// # Power
impl RecSet<'_> {
    /// Lets at most `limit` RECs be on at a time: a `CPU_ON` beyond is denied. While several RECs
    /// request one at the same time, one that would just be possible may be denied, too.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::SeqCst);
    }

    /// RECs that are on, or on pending.
    #[must_use]
    pub fn count_on(&self) -> usize {
        self.slots().iter().filter(|slot| slot.word.load().power() != Power::Off).count()
    }

    /// Whether no REC is on, so that none can be again: only a REC that is on can turn another on.
    #[must_use]
    pub fn is_all_off(&self) -> bool {
        // RECs may have been turned on and off while they were counted. Each time an epoch changes,
        // and none changes back.
        let epochs = || {
            self.slots().iter().try_fold(0_u64, |sum, slot| {
                let word = slot.word.load();
                (word.power() == Power::Off).then(|| sum.wrapping_add(word.epoch().into()))
            })
        };
        let first = epochs();
        first.is_some() && first == epochs()
    }

    /// Whether the Realm has turned itself off or requested a reset.
    #[must_use]
    pub fn system_end(&self) -> Option<SystemEnd> {
        let end = self.end.load(Ordering::SeqCst);
        [SystemEnd::Off, SystemEnd::Reset].into_iter().find(|known| known.code() == end)
    }

    /// Notes that the Realm has ended, which the first notice decides, and stops all RECs.
    pub(super) fn end_system(&self, end: SystemEnd) -> SystemEnd {
        let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        let _ = self.end.compare_exchange(0, end.code(), success, failure);
        for index in 0..self.len {
            self.change(index, Word::stop);
        }
        self.system_end().unwrap_or(end)
    }

    /// Completes a PSCI call of `caller`. The target is turned on in the set after the RMM has done
    /// it, so its thread cannot enter it before; the caller cannot be entered before without the
    /// answer that this returns.
    pub(super) fn complete<P: Platform>(
        &self,
        rmm: &Rmm<P>,
        caller: &Rec,
        request: PsciRequest,
        handler: &mut (impl Handler + ?Sized),
    ) -> Result<Answer, Incomplete> {
        let target =
            self.index_of(request.target()).and_then(|index| Some((index, self.rec(index)?)));
        let Some((index, target)) = target else { return Err(Incomplete { request, error: None }) };
        if request.kind() == PsciRequestKind::AffinityInfo {
            return request.accept(rmm, caller, target).map_err(Incomplete::from);
        }
        let _turning_on = TurningOn::new(&self.turning_on);
        let decision = if self.is_within_limit(index) {
            handler.cpu_on(caller, target)
        } else {
            CpuOnDecision::Deny
        };
        match decision {
            CpuOnDecision::Accept => self.accept(rmm, caller, request, index, target),
            CpuOnDecision::Deny => self.deny(rmm, caller, request, index, target),
        }
        .map_err(Incomplete::from)
    }

    /// Whether the REC with this index is on, or may be turned on in addition to those that are.
    fn is_within_limit(&self, index: usize) -> bool {
        let is_off = self.power(index) == Some(Power::Off);
        let others = self.turning_on.load(Ordering::SeqCst).saturating_sub(1);
        let on = self.count_on().saturating_add(others);
        !is_off || on < self.limit.load(Ordering::SeqCst)
    }

    fn accept<P: Platform>(
        &self,
        rmm: &Rmm<P>,
        caller: &Rec,
        request: PsciRequest,
        index: usize,
        target: &Rec,
    ) -> Result<Answer, Failed<PsciRequest>> {
        let answer = request.accept(rmm, caller, target)?;
        self.change(index, Word::turn_on);
        Ok(answer)
    }

    /// Denies a call. If the target is on, an RMM refuses that: TF-RMM has then completed the call
    /// nevertheless, and others have not; they accept it without turning anything on.
    ///
    /// If the target has turned itself off since the refusal, a second attempt is not refused. Only
    /// if it does so after that one, the third call turns it on although that was denied; an RMM
    /// offers no way to exclude that.
    fn deny<P: Platform>(
        &self,
        rmm: &Rmm<P>,
        caller: &Rec,
        request: PsciRequest,
        index: usize,
        target: &Rec,
    ) -> Result<Answer, Failed<PsciRequest>> {
        let is_refused = |error: &Error| error.status() == Some(Status::ErrorInput);
        let request = match request.deny(rmm, caller, target) {
            Err(Failed { kept, error }) if is_refused(&error) => kept,
            completed => return completed,
        };
        let request = match request.deny(rmm, caller, target) {
            Err(Failed { kept, error }) if is_refused(&error) => kept,
            completed => return completed,
        };
        match self.accept(rmm, caller, request, index, target) {
            Err(Failed { kept, error }) if is_refused(&error) => Ok(kept.completed()),
            completed => completed,
        }
    }
}

/// A `CPU_ON` that is decided but not completed: it is counted until this is dropped, also by a
/// handler that panics.
struct TurningOn<'s>(&'s AtomicUsize);

impl<'s> TurningOn<'s> {
    fn new(count: &'s AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for TurningOn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A request that was not completed.
#[derive(Debug)]
pub(super) struct Incomplete {
    pub(super) request: PsciRequest,
    /// `None` if the set does not have the target.
    pub(super) error: Option<Error>,
}

impl From<Failed<PsciRequest>> for Incomplete {
    fn from(failed: Failed<PsciRequest>) -> Self {
        Self { request: failed.kept, error: Some(failed.error) }
    }
}
