//! Pausing all RECs of a set.

use core::sync::atomic::Ordering;

use super::RecSet;
use super::word::Word;

/// Pauses that are counted: as many as a [`Word`] can.
const MOST: u32 = 255;

impl RecSet<'_> {
    /// Requests that all RECs leave their run loops, with [`Outcome::Paused`](super::Outcome), and
    /// stay out until [`RecSet::resume`]. CPUs that run one are interrupted.
    ///
    /// Pauses are counted: the RECs stay out until `resume` was called as often. So several threads
    /// may pause the set independently of each other. While there are 255, of which the last call
    /// of `pause` or `resume` may not have returned yet, another one changes nothing.
    ///
    /// Returns which threads are still to leave, see [`RecSet::is_paused`].
    pub fn pause(&self) -> Inside<'_> {
        let one_more = |begun: u32| (begun < MOST).then(|| begun.saturating_add(1));
        if self.begun_pauses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok() {
            for index in 0..self.len {
                self.change(index, Word::pause);
            }
            // Only now: so each call of `resume` ends a pause that has reached all RECs.
            self.pauses.fetch_add(1, Ordering::SeqCst);
        }
        Inside { set: self, next: 0 }
    }

    /// Whether [`RecSet::pause`] was requested and has not ended, and no thread is in a run loop.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.wants_pause()
            && self.slots().iter().all(|slot| {
                let word = slot.word.load();
                word.is_paused() && word.cpu().is_none()
            })
    }

    /// Ends one pause. After the last one, threads that wait for RECs wake where these can be
    /// entered, and `RecSet::wait_paused` ends.
    ///
    /// Without a pause, it does nothing; so also before [`RecSet::pause`] has returned in another
    /// thread.
    pub fn resume(&self) {
        let one_less = |pauses: u32| pauses.checked_sub(1);
        if self.pauses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err() {
            return;
        }
        for index in 0..self.len {
            self.change(index, Word::resume);
        }
        // Only now: so the count of a REC never exceeds this one, and all RECs have the same.
        self.begun_pauses.fetch_sub(1, Ordering::SeqCst);
        #[cfg(feature = "std")]
        self.paused.wake();
    }

    /// Whether there is a pause that has not ended.
    pub(super) fn wants_pause(&self) -> bool {
        self.pauses.load(Ordering::SeqCst) > 0
    }

    /// Which RECs have a thread in their run loop, and on which CPU.
    #[must_use]
    pub const fn inside(&self) -> Inside<'_> {
        Inside { set: self, next: 0 }
    }

    /// Whether [`Runner::run`](super::Runner::run) does something for the REC with this index, and
    /// does not end at once because the REC is off or waits or the set is paused.
    #[must_use]
    pub fn is_ready(&self, index: usize) -> bool {
        self.slot(index).is_some_and(|slot| slot.word.load().is_ready())
    }
}

/// The RECs that have a thread in their run loop: index and physical CPU, as it is when the
/// iterator reaches them.
#[derive(Clone, Debug)]
pub struct Inside<'s> {
    set: &'s RecSet<'s>,
    next: usize,
}

impl Iterator for Inside<'_> {
    type Item = (usize, u16);

    fn next(&mut self) -> Option<(usize, u16)> {
        loop {
            let index = self.next;
            let slot = self.set.slot(index)?;
            self.next = index.saturating_add(1);
            if let Some(cpu) = slot.word.load().cpu() {
                return Some((index, cpu));
            }
        }
    }
}
