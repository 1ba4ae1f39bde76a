//! What threads and interrupt handlers have to agree on about a REC, in one atomic word.
//!
//! Everything that two of them might do at the same time is a change of this word, so all changes
//! have one order, and whoever comes second sees what the first did. The changes are functions
//! without side effects on a [`Word`]; `tests` runs them in all orders.

#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicU64, Ordering};

/// The bits of a word:
///
/// | Bits | Contents |
/// |---|---|
/// | 0 | a thread is in the run loop |
/// | 1 | that thread is to leave the loop |
/// | 2 | the Realm is off |
/// | 3 | something happened that ends a wait |
/// | 4 | the loop ended in a way that a wake-up is wanted |
/// | 5 | the loop ended because the REC waits for an interrupt or event |
/// | 7:6 | power: 0 off, 1 on pending, 2 on |
/// | 15:8 | pauses that have not ended |
/// | 31:16 | the physical CPU of the thread in the loop |
/// | 63:32 | calls of `CPU_ON` that the RMM accepted for this REC |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

const INSIDE: u64 = 1;
const KICK: u64 = 1 << 1;
const STOP: u64 = 1 << 2;
const EVENT: u64 = 1 << 3;
const ASLEEP: u64 = 1 << 4;
const WAITS: u64 = 1 << 5;
const POWER: u64 = 0b11 << 6;
const PENDING: u64 = 1 << 6;
const ON: u64 = 2 << 6;
const ONE_PAUSE: u64 = 1 << 8;
const PAUSE: u64 = 0xff << 8;
const CPU_SHIFT: u32 = 16;
const CPU: u64 = 0xffff << CPU_SHIFT;
const EPOCH_SHIFT: u32 = 32;

/// Whether a REC is on, as far as the host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Power {
    /// It cannot be entered until another REC turns it on.
    Off,
    /// The RMM accepted a `CPU_ON` of it, and it has not exited since. An RMM accepts also what it
    /// does not carry out, so the next entry may still be refused.
    OnPending,
    /// It is on.
    On,
}

/// Why a run loop does not enter the REC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Stopped,
    Kicked,
    Paused,
    Off,
    /// The thread has moved to another CPU, and an interrupt may have been sent to the former one
    /// after it loaded the REC's interrupts: it stays in the loop and begins the entry again.
    Moved,
}

/// What whoever changed a word does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Effect {
    /// The physical CPU to interrupt.
    pub(crate) interrupt: Option<u16>,
    /// Whether to wake the thread that runs the REC.
    pub(crate) wake: bool,
}

impl Word {
    /// The word of a REC that nothing has happened to.
    pub(crate) const fn new(is_on: bool) -> Self {
        Self(if is_on { ON } else { 0 })
    }

    const fn has(self, bits: u64) -> bool {
        self.0 & bits != 0
    }

    const fn with(self, bits: u64) -> Self {
        Self(self.0 | bits)
    }

    const fn without(self, bits: u64) -> Self {
        Self(self.0 & !bits)
    }

    const fn on_cpu(self, cpu: u16) -> Self {
        Self(self.0 & !CPU | (cpu as u64) << CPU_SHIFT)
    }

    pub(crate) const fn power(self) -> Power {
        match self.0 & POWER {
            0 => Power::Off,
            PENDING => Power::OnPending,
            _ => Power::On,
        }
    }

    /// Accepted calls of `CPU_ON`.
    pub(crate) const fn epoch(self) -> u32 {
        (self.0 >> EPOCH_SHIFT) as u32
    }

    /// The physical CPU of the thread that is in the run loop.
    #[expect(clippy::cast_possible_truncation, reason = "16 bits")]
    pub(crate) const fn cpu(self) -> Option<u16> {
        if self.has(INSIDE) { Some((self.0 >> CPU_SHIFT) as u16) } else { None }
    }

    pub(crate) const fn is_kicked(self) -> bool {
        self.has(KICK)
    }

    /// Whether there was a notification that no thread has seen.
    pub(crate) const fn is_notified(self) -> bool {
        self.has(EVENT)
    }

    pub(crate) const fn is_paused(self) -> bool {
        self.has(PAUSE)
    }

    /// Whether the REC waits for an interrupt or event.
    pub(crate) const fn waits(self) -> bool {
        self.has(WAITS)
    }

    /// Whether a thread that left the loop has a reason to run it again.
    pub(crate) const fn is_ready(self) -> bool {
        self.has(STOP | KICK)
            || !self.has(PAUSE) && self.has(POWER) && (!self.has(WAITS) || self.has(EVENT))
    }

    /// Whether the REC can be entered on this CPU without a change of the word.
    pub(crate) const fn is_plain(self, cpu: u16) -> bool {
        self.0 & (KICK | PAUSE | STOP | POWER | CPU) == ON | (cpu as u64) << CPU_SHIFT
    }

    const fn obstacle(self) -> Option<Obstacle> {
        if self.has(STOP) {
            Some(Obstacle::Stopped)
        } else if self.has(KICK) {
            Some(Obstacle::Kicked)
        } else if self.has(PAUSE) {
            Some(Obstacle::Paused)
        } else if !self.has(POWER) {
            Some(Obstacle::Off)
        } else {
            None
        }
    }

    /// Leaves the loop, or does not begin it, because of an obstacle.
    const fn give_way(self, obstacle: Obstacle) -> Self {
        let out = self.without(INSIDE);
        match obstacle {
            Obstacle::Stopped => out,
            Obstacle::Kicked => out.without(KICK),
            Obstacle::Paused | Obstacle::Off => out.with(ASLEEP),
            Obstacle::Moved => self,
        }
    }

    /// A thread begins the loop on this CPU. What ended a wait is used up: what it announced is
    /// seen before the next entry.
    pub(crate) const fn begin(self, cpu: u16) -> (Self, Result<Self, Obstacle>) {
        let awake = self.without(ASLEEP | WAITS | EVENT);
        match awake.obstacle() {
            Some(obstacle) => (awake.give_way(obstacle), Err(obstacle)),
            None => {
                let inside = awake.on_cpu(cpu).with(INSIDE);
                (inside, Ok(inside))
            }
        }
    }

    /// The thread in the loop is about to enter the REC on this CPU, and interrupts are masked.
    pub(crate) const fn prepare(self, cpu: u16) -> (Self, Result<Self, Obstacle>) {
        match self.obstacle() {
            Some(obstacle) => (self.give_way(obstacle), Err(obstacle)),
            None => {
                let (here, has_event) = (self.on_cpu(cpu), self.has(EVENT));
                if self.0 != here.0 && has_event {
                    (here.without(EVENT), Err(Obstacle::Moved))
                } else {
                    (here, Ok(here))
                }
            }
        }
    }

    /// The thread leaves the loop, for a reason of its own.
    pub(crate) const fn leave(self) -> (Self, ()) {
        (self.without(INSIDE), ())
    }

    /// The REC waits for an interrupt or event: the thread leaves the loop, unless something has
    /// ended the wait already.
    pub(crate) const fn sleep(self) -> (Self, bool) {
        if self.has(EVENT | KICK | PAUSE | STOP) {
            (self.without(EVENT), false)
        } else {
            (self.without(INSIDE).with(ASLEEP | WAITS), true)
        }
    }

    /// The REC has run and is on.
    pub(crate) const fn confirm_on(self) -> (Self, ()) {
        (Self(self.0 & !POWER | ON), ())
    }

    /// The REC was found off, by a run that began when the word had this epoch. The thread leaves
    /// the loop, unless a `CPU_ON` has been accepted since, or there is another obstacle.
    pub(crate) const fn turn_off(self, epoch: u32) -> (Self, bool) {
        if self.epoch() != epoch {
            return (self, false);
        }
        let off = self.without(POWER);
        if self.has(KICK | PAUSE | STOP) {
            (off, false)
        } else {
            (off.give_way(Obstacle::Off), true)
        }
    }

    /// The RMM has accepted a `CPU_ON` of the REC.
    pub(crate) const fn turn_on(self) -> (Self, Effect) {
        let counted = Self(self.0.wrapping_add(1 << EPOCH_SHIFT));
        let on = Self(counted.0 & !POWER | PENDING);
        (on, Effect { interrupt: None, wake: self.has(ASLEEP) })
    }

    const fn effect(self) -> Effect {
        Effect { interrupt: self.cpu(), wake: self.has(ASLEEP) }
    }

    /// The thread is to leave the loop.
    pub(crate) const fn kick(self) -> (Self, Effect) {
        (self.with(KICK), self.effect())
    }

    /// Takes back a request to leave the loop; whether there was one.
    pub(crate) const fn take_kick(self) -> (Self, bool) {
        (self.without(KICK), self.has(KICK))
    }

    /// There is an interrupt or event for the REC.
    pub(crate) const fn notify(self) -> (Self, Effect) {
        (self.with(EVENT), self.effect())
    }

    /// The REC is to be out of the loop until as many calls of [`Word::resume`]. Beyond 255 they
    /// are not counted.
    pub(crate) const fn pause(self) -> (Self, Effect) {
        let paused = if self.0 & PAUSE == PAUSE { self } else { Self(self.0 + ONE_PAUSE) };
        (paused, self.effect())
    }

    /// One pause less, if there is any.
    pub(crate) const fn resume(self) -> (Self, Effect) {
        let resumed = if self.is_paused() { Self(self.0 - ONE_PAUSE) } else { self };
        let wake = !resumed.is_paused() && self.has(ASLEEP);
        (resumed, Effect { interrupt: None, wake })
    }

    /// The Realm is off.
    pub(crate) const fn stop(self) -> (Self, Effect) {
        (self.with(STOP), self.effect())
    }
}

/// A [`Word`] that threads and interrupt handlers share.
#[derive(Debug)]
pub(crate) struct SharedWord(AtomicU64);

impl SharedWord {
    pub(crate) const fn new(is_on: bool) -> Self {
        Self(AtomicU64::new(Word::new(is_on).0))
    }

    pub(crate) fn load(&self) -> Word {
        Word(self.0.load(Ordering::SeqCst))
    }

    /// Changes the word. Also where nothing changes it is written, so that what was done before is
    /// visible to whoever changes it next.
    pub(crate) fn update<T>(&self, change: impl Fn(Word) -> (Word, T)) -> T {
        let (success, failure) = (Ordering::SeqCst, Ordering::Relaxed);
        let mut before = self.0.load(Ordering::Relaxed);
        loop {
            let (after, result) = change(Word(before));
            match self.0.compare_exchange_weak(before, after.0, success, failure) {
                Ok(_) => return result,
                Err(found) => before = found,
            }
        }
    }
}
