//! The run loop of a REC that belongs to a set.

use core::fmt;
use core::num::{NonZeroU32, NonZeroU64};
use core::time::Duration;

use rmi_abi::Status;
use rmi_abi::run::RecEnterFlags;
use rmi_host::{DefaultLock, Error, Platform, Rmm, lock_api};
use sro::EnterError;

use super::RecSet;
use super::power::{Incomplete, SystemEnd};
use super::slot::{Held, RecSlot};
use super::statistics::ExitKind;
use super::word::{Obstacle, Power, Word};
use crate::answer::Answer;
use crate::exit::{Exit, PsciNotice, PsciRequest};
use crate::rec::Rec;
use crate::run::{Flow, Handler, OfHandler, dispatch};
use crate::timer::{InterruptLines, Timers};

/// The only one who enters a REC of a [`RecSet`], see [`RecSet::claim`].
///
/// It may be sent to another thread. Between two runs it holds the answer for the next entry, and
/// leaves it in the set when it is dropped, for the next runner.
#[must_use = "dropping it ends the claim"]
pub struct Runner<'r> {
    set: &'r RecSet<'r>,
    index: usize,
    slot: &'r RecSlot,
    rec: &'r Rec,
    held: lock_api::MutexGuard<'r, DefaultLock, Held>,
}

/// Why the run loop of a REC ended.
///
/// After all of them the REC may be run again: the same call then ends in the same way until
/// something has changed, except that [`Outcome::Kicked`] uses the kick up, and that a REC that
/// waits is entered. With `std`, `Runner::wait` waits for that after `Waiting`, `Off` and `Paused`;
/// otherwise [`PhysicalCpus::wake`](super::PhysicalCpus::wake) tells.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// The REC waits for an interrupt or event: it executed WFI or WFE, or called `CPU_SUSPEND`.
    Waiting(Sleep),
    /// The REC is off, until another one turns it on.
    Off {
        /// Whether no REC is on, so that none can be again.
        is_last: bool,
        /// If an entry found that it is off, without an exit: the RMM's refusal. That is
        /// [`ErrorRec`](rmi_abi::Status::ErrorRec) of a REC that was on pending, which may also be
        /// due to the virtual GIC's state.
        refused: Option<EnterError>,
    },
    /// The set is paused.
    Paused,
    /// [`RecSet::kick`] requested it.
    Kicked,
    /// The Realm is off. `None` while it is not known how: an entry was refused before the exit was
    /// handled with which another REC turned it off.
    RealmOff(Option<SystemEnd>),
    /// The hook of [`Runner::run_until`] ended it.
    Bounded,
    /// By [`Flow::Stop`]: the REC may be run again.
    Stopped,
    /// By [`Flow::Leave`]: the handler gave no answer. If the last exit needs one, give it to
    /// [`Runner::set_answer`].
    Left,
    /// A PSCI call could not be completed. The REC cannot be run before it is: complete it by other
    /// means, and give the answer to [`Runner::set_answer`].
    Incomplete {
        /// The call.
        request: PsciRequest,
        /// The RMM's refusal; `None` if the set does not have the target.
        error: Option<Error>,
    },
}

/// What a REC that waits is waiting for, beside interrupts and events that the host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sleep {
    /// The counter value in ticks at which it is to be entered again at the latest: the earliest of
    /// its own deadline and those of its timers.
    pub deadline: Option<u64>,
    /// Whether it may have a deadline that the host is not told, see
    /// [`Wait::may_hide_deadline`](crate::exit::Wait::may_hide_deadline).
    pub may_hide_deadline: bool,
    /// Its timers at the exit. What has expired when the thread wakes is raised before the next
    /// entry, see [`Timers::at`].
    pub timers: Timers,
}

impl Sleep {
    /// How long its thread waits at most, for `Runner::wait`: from `counter`, the counter value
    /// now, to the deadline, rounded up to nanoseconds. `frequency` is that of the counter in hertz
    /// (`CNTFRQ_EL0`).
    ///
    /// At most `bound` if there may be a deadline that the host is not told. `None` if only an
    /// interrupt or event ends it.
    #[must_use]
    pub fn timeout(
        &self,
        counter: u64,
        frequency: NonZeroU32,
        bound: Duration,
    ) -> Option<Duration> {
        let frequency = NonZeroU64::from(frequency);
        let until_deadline = self.deadline.map(|deadline| {
            let ticks = deadline.saturating_sub(counter);
            // The rest is below 2^32, so nothing overflows.
            let rest = (ticks % frequency).saturating_mul(NANOSECONDS);
            let rest = rest.saturating_add(frequency.get().saturating_sub(1)) / frequency;
            Duration::from_secs(ticks / frequency).saturating_add(Duration::from_nanos(rest))
        });
        let bound = self.may_hide_deadline.then_some(bound);
        [until_deadline, bound].into_iter().flatten().min()
    }
}

/// Nanoseconds of a second.
const NANOSECONDS: u64 = 1_000_000_000;

impl<'r> Runner<'r> {
    pub(super) const fn new(
        set: &'r RecSet<'r>,
        index: usize,
        slot: &'r RecSlot,
        rec: &'r Rec,
        held: lock_api::MutexGuard<'r, DefaultLock, Held>,
    ) -> Self {
        Self { set, index, slot, rec, held }
    }

    /// The REC's index in its set.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// The REC: to name it and to look at it, as [`RecSet::rec`].
    pub const fn rec(&self) -> &'r Rec {
        self.rec
    }

    /// The set that it belongs to.
    #[must_use]
    pub const fn set(&self) -> &'r RecSet<'r> {
        self.set
    }

    #[cfg(feature = "std")]
    pub(super) const fn slot(&self) -> &'r RecSlot {
        self.slot
    }

    /// Sets the answer for the next entry, in place of one that the run loop kept.
    pub fn set_answer(&mut self, answer: Answer) {
        self.held.answer = Some(answer);
    }

    /// As [`Rec::trap_waiting`], for the REC of the set.
    pub fn trap_waiting(&mut self, wfi: bool, wfe: bool) {
        // Only this runner could be in its way.
        let flags = [(RecEnterFlags::TRAP_WFI, wfi), (RecEnterFlags::TRAP_WFE, wfe)];
        let _ = self.rec.set_flags(&flags);
    }

    /// As [`Rec::force_plane_0`], for the REC of the set.
    pub fn force_plane_0(&mut self, force: bool) {
        let _ = self.rec.set_flags(&[(RecEnterFlags::FORCE_P0, force)]);
    }

    /// Enters the REC repeatedly, passing its exits to `handler`, until the loop has an
    /// [`Outcome`]. PSCI calls are completed by the set: [its module](super#power) says how.
    ///
    /// Each entry is made on the CPU that the thread is on after
    /// [`Handler::before_entry`]; the thread may move between entries. Nothing waits for a
    /// lock, except with the feature `std`: then the thread takes the mutex of one that sleeps in
    /// `Runner::wait` or `RecSet::wait_paused`, to wake it.
    ///
    /// # Errors
    ///
    /// As [`Rec::enter`], except for refusals that are an [`Outcome`]:
    /// [`ErrorRealm`](rmi_abi::Status::ErrorRealm), and [`ErrorRec`](rmi_abi::Status::ErrorRec)
    /// when the REC was just turned on. The answer for the next entry is kept if the error
    /// [is clean](EnterError::is_clean).
    pub fn run<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        handler: &mut (impl Handler + ?Sized),
    ) -> Result<Outcome, EnterError> {
        self.run_until(rmm, handler, &mut |_| false)
    }

    /// As [`Runner::run`], until `should_stop` returns true: [`Outcome::Bounded`]. It is called
    /// before each entry, with interrupts as the caller has them, with the number of entries of
    /// this loop so far, also of those that were cancelled or refused; so it may bound that, or
    /// look at a clock.
    ///
    /// # Errors
    ///
    /// As [`Rec::enter`].
    pub fn run_until<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        handler: &mut (impl Handler + ?Sized),
        should_stop: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Outcome, EnterError> {
        let end = self.run_loop(rmm, handler, should_stop);
        if !matches!(end, Ok(Outcome::Waiting(_))) {
            handler.loop_ended(self.rec);
        }
        end
    }

    fn run_loop<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        handler: &mut (impl Handler + ?Sized),
        should_stop: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Outcome, EnterError> {
        let cpu = self.set.cpus.current();
        if let Err(obstacle) = self.slot.word.update(|word| word.begin(cpu))
            && let Some(outcome) = self.stopped_by(obstacle)
        {
            return Ok(outcome);
        }
        let mut entries = 0;
        loop {
            if should_stop(entries) {
                return Ok(self.left(Outcome::Bounded));
            }
            entries = entries.saturating_add(1);
            if let Some(outcome) = self.run_once(rmm, handler)? {
                return Ok(outcome);
            }
        }
    }

    /// One entry, and what follows from its exit; `None` to go on.
    // The order of these steps is also in `word/tests/orders.rs`; change both.
    fn run_once<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        handler: &mut (impl Handler + ?Sized),
    ) -> Result<Option<Outcome>, EnterError> {
        let rec = self.rec;
        handler.before_entry(rec);
        let cpu = self.set.cpus.current();
        let mut word = self.slot.word.load();
        if !word.is_plain(cpu) {
            match self.slot.word.update(|word| word.prepare(cpu)) {
                Ok(prepared) => word = prepared,
                Err(obstacle) => {
                    handler.entry_cancelled(rec);
                    return Ok(self.stopped_by(obstacle));
                }
            }
        }
        let entered_at = self.set.clock.map(|now| now());
        let answer = self.held.answer.as_ref().unwrap_or(const { &Answer::resume() });
        let mut exit = Exit::Irq;
        let entered = rec.enter_into(rmm, answer, &mut OfHandler(handler), &mut exit);
        let InterruptLines { timers, pmu_overflow } = match entered {
            Ok(lines) => lines,
            Err(error) => {
                handler.entry_cancelled(rec);
                self.slot.counters.refused.add(1);
                if !error.is_clean() {
                    self.held.answer = None;
                }
                return self.refused(error, word);
            }
        };
        self.held.answer = None;
        let kind = ExitKind::of(&exit);
        if let (Some(now), Some(entered_at)) = (self.set.clock, entered_at) {
            self.count_time(entered_at, now(), kind);
        }
        self.slot.counters.count(kind);
        handler.after_exit(timers, pmu_overflow);
        if let Exit::PsciNotice(PsciNotice::CpuOff) = exit {
            handler.cpu_off(rec);
            return Ok(self.turned_off(word, None));
        }
        if word.power() == Power::OnPending {
            self.slot.word.update(Word::confirm_on);
        }
        let flow = match exit {
            Exit::PsciRequest(request) => match self.set.complete(rmm, rec, request, handler) {
                Ok(answer) => Flow::Enter(answer),
                Err(Incomplete { request, error }) => {
                    return Ok(Some(self.left(Outcome::Incomplete { request, error })));
                }
            },
            Exit::PsciNotice(PsciNotice::SystemOff) => {
                return Ok(Some(self.end_system(SystemEnd::Off)));
            }
            Exit::PsciNotice(PsciNotice::SystemReset) => {
                return Ok(Some(self.end_system(SystemEnd::Reset)));
            }
            Exit::PsciNotice(notice @ PsciNotice::CpuSuspend) => {
                match handler.psci_notice(notice) {
                    Flow::Stop(answer) => {
                        let deadline = timers.deadline();
                        let sleep = Sleep { deadline, may_hide_deadline: false, timers };
                        return Ok(self.sleeps(answer, sleep));
                    }
                    flow => flow,
                }
            }
            Exit::Wait(wait) => match handler.wait(wait) {
                Flow::Stop(answer) => {
                    let may_hide_deadline = wait.may_hide_deadline();
                    let sleep = Sleep { deadline: wait.ends_at(), may_hide_deadline, timers };
                    return Ok(self.sleeps(answer, sleep));
                }
                flow => flow,
            },
            exit => dispatch(exit, rmm, rec, handler),
        };
        Ok(match flow {
            Flow::Enter(answer) => {
                self.held.keep(answer);
                None
            }
            Flow::Stop(answer) => {
                self.held.keep(answer);
                Some(self.left(Outcome::Stopped))
            }
            Flow::Leave => Some(self.left(Outcome::Left)),
        })
    }

    /// Leaves the loop, or tries again, because the REC waits.
    fn sleeps(&mut self, answer: Answer, sleep: Sleep) -> Option<Outcome> {
        self.held.answer = Some(answer);
        if !self.slot.word.update(Word::sleep) {
            return None;
        }
        self.tell_pauser();
        Some(Outcome::Waiting(sleep))
    }

    /// Leaves the loop because the REC is off; or goes on because it was turned on meanwhile.
    fn turned_off(&self, entered: Word, refused: Option<EnterError>) -> Option<Outcome> {
        if !self.slot.word.update(|word| word.turn_off(entered.epoch())) {
            return None;
        }
        self.tell_pauser();
        Some(Outcome::Off { is_last: self.set.is_all_off(), refused })
    }

    fn end_system(&self, end: SystemEnd) -> Outcome {
        self.slot.word.update(Word::leave);
        let end = self.set.end_system(end);
        self.tell_pauser();
        Outcome::RealmOff(Some(end))
    }

    /// What the refusal of an entry means.
    fn refused(&self, error: EnterError, entered: Word) -> Result<Option<Outcome>, EnterError> {
        let EnterError::Call(call) = error else {
            self.left(());
            return Err(error);
        };
        match call.status() {
            Some(Status::ErrorRealm) => {
                Ok(Some(self.left(Outcome::RealmOff(self.set.system_end()))))
            }
            Some(Status::ErrorRec) if entered.power() == Power::OnPending => {
                Ok(self.turned_off(entered, Some(error)))
            }
            _ => {
                self.left(());
                Err(error)
            }
        }
    }

    /// The loop has been left because of an obstacle, unless that is none to try again.
    fn stopped_by(&self, obstacle: Obstacle) -> Option<Outcome> {
        self.tell_pauser();
        Some(match obstacle {
            Obstacle::Stopped => Outcome::RealmOff(self.set.system_end()),
            Obstacle::Kicked => Outcome::Kicked,
            Obstacle::Paused => Outcome::Paused,
            Obstacle::Off => Outcome::Off { is_last: self.set.is_all_off(), refused: None },
            Obstacle::Moved => return None,
        })
    }

    /// Leaves the loop.
    fn left<T>(&self, outcome: T) -> T {
        self.slot.word.update(Word::leave);
        self.tell_pauser();
        outcome
    }

    /// Tells a thread that waits for the set to be paused that this one is out.
    fn tell_pauser(&self) {
        #[cfg(feature = "std")]
        if self.slot.word.load().is_paused() {
            self.set.paused.wake();
        }
    }

    fn count_time(&mut self, entered_at: u64, left_at: u64, kind: ExitKind) {
        let counters = &self.slot.counters;
        counters.inside.add(left_at.saturating_sub(entered_at));
        if let Some((before, kind)) = self.held.left_at.replace((left_at, kind)) {
            counters.count_outside(kind, entered_at.saturating_sub(before));
        }
    }
}

impl Drop for Runner<'_> {
    /// After a handler that panicked, the thread is still in the loop.
    fn drop(&mut self) {
        if self.slot.word.load().cpu().is_some() {
            self.left(());
        }
    }
}

impl fmt::Debug for Runner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("index", &self.index).finish_non_exhaustive()
    }
}
