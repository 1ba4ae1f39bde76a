//! Requests to leave a run loop.

use crate::set::PhysicalCpus;
use crate::set::word::{SharedWord, Word};

/// A request to a REC's run loop to stop before its next entry, from any CPU or interrupt handler.
///
/// For a REC that does not belong to a [`RecSet`](crate::RecSet), which has its own
/// [`kick`](crate::RecSet::kick).
///
/// [`Kick::request`] does not end a run that is in progress: for that the host sends an interrupt
/// to the CPU, after the request (on the model RMM with `Cpu::interrupt`). Checking the request is
/// the last step of the loop before it enters, after
/// [`Handler::before_entry`](crate::Handler::before_entry). If that masks interrupts (which still
/// end the run, as they are taken by the RMM's world switch), a request followed by an interrupt is
/// never lost: either the loop sees the request, or the interrupt is pending when the REC is
/// entered and ends the run immediately. [`Kick::interrupt`] does both for a loop that
/// [knows the physical CPUs](crate::Rec::run_on).
#[derive(Debug)]
pub struct Kick(SharedWord);

impl Kick {
    /// No request.
    #[must_use]
    pub const fn new() -> Self {
        Self(SharedWord::new(true))
    }

    /// Makes the request.
    pub fn request(&self) {
        let _ = self.0.update(Word::kick);
    }

    /// Makes the request, and interrupts the CPU of a loop that is in progress, if it is that of
    /// [`Rec::run_on`](crate::Rec::run_on).
    pub fn interrupt(&self, cpus: &(impl PhysicalCpus + ?Sized)) {
        if let Some(cpu) = self.0.update(Word::kick).interrupt {
            cpus.interrupt(cpu);
        }
    }

    /// Clears the request; whether there was one.
    pub fn take_request(&self) -> bool {
        self.0.update(Word::take_kick)
    }

    /// Whether a loop is to leave instead of entering; with a CPU, notes that it is there.
    pub(crate) fn is_due(&self, cpu: Option<u16>) -> bool {
        let word = self.0.load();
        match cpu {
            None => word.is_kicked() && self.take_request(),
            Some(cpu) if word.cpu() == Some(cpu) && word.is_plain(cpu) => false,
            Some(cpu) => self.0.update(|word| word.begin(cpu)).is_err(),
        }
    }

    /// Notes that the loop ends.
    pub(crate) fn leave(&self) {
        self.0.update(Word::leave);
    }
}

impl Default for Kick {
    fn default() -> Self {
        Self::new()
    }
}
