//! Pausing all RECs of a set.

use super::RecSet;
use super::word::Word;

impl RecSet<'_> {
    /// Requests that all RECs leave their run loops, with [`Outcome::Paused`](super::Outcome), and
    /// stay out until [`RecSet::resume`]. CPUs that run one are interrupted.
    ///
    /// Returns which threads are still to leave, see [`RecSet::is_paused`].
    pub fn pause(&self) -> Inside<'_> {
        for index in 0..self.len {
            self.change(index, Word::pause);
        }
        Inside { set: self, next: 0 }
    }

    /// Whether [`RecSet::pause`] was requested, and no thread is in a run loop. A set without RECs
    /// is always paused: there is nothing to wait for.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.slots().iter().all(|slot| {
            let word = slot.word.load();
            word.is_paused() && word.cpu().is_none()
        })
    }

    /// Ends a pause. Threads that wait for RECs wake where these can be entered.
    pub fn resume(&self) {
        for index in 0..self.len {
            self.change(index, Word::resume);
        }
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
