//! A conduit to the model that answers some calls in its place.
#![expect(unsafe_code, reason = "`Conduit` is an unsafe trait")]

use core::fmt;

use rmi_host::{Conduit, OpenSessions, Registers};
use rmm_model::Model;

/// Forwards calls to the model, except those for which `instead` has an answer.
pub struct Altered<'m, F> {
    /// The model.
    pub model: &'m Model,
    /// Answers a call, or not.
    pub instead: F,
}

impl<F> fmt::Debug for Altered<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Altered").finish_non_exhaustive()
    }
}

// SAFETY: the model has its own memory; no answer concerns memory of this program.
unsafe impl<F: Fn(&Registers) -> Option<Registers>> Conduit for Altered<'_, F> {
    fn open_sessions(&self) -> &OpenSessions {
        self.model.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        (self.instead)(&registers).unwrap_or_else(|| {
            // SAFETY: the caller's promise is passed on unchanged.
            unsafe { self.model.call(registers) }
        })
    }
}
