//! What a refused command reports in addition to its status: how far it came, or what to skip.
#![expect(unsafe_code, reason = "a conduit hands the caller's promise on")]

use core::fmt;

use rmi_abi::Status;

use crate::channel::{Call, Channel, Reply};
use crate::error::Error;
use crate::platform::Platform;

/// A command that was refused, and what the RMM reported about it in the other registers.
///
/// ```
/// use rmi_abi::{Dialect, GranuleSize};
/// use rmi_abi::dialect::InterfaceVersion;
/// use rmi_host::{Channel, RetryBudget};
/// use rmm_model::{Model, Options};
///
/// let dialect = Dialect::TfRmm2026_07;
/// let model = Model::new(Options::new(dialect))?;
/// // SAFETY: the parts are the model's, which has this dialect.
/// let channel = unsafe {
///     Channel::new(model.host(), dialect, GranuleSize::Size4KiB, RetryBudget::default())
/// };
/// let halted = channel.rmi_version(InterfaceVersion::new(1, 0)).unwrap_err();
/// let versions = halted.reached.expect("an RMM that refuses a version reports its own");
/// assert_eq!(versions.lower.to_string(), "2.0");
/// # Ok::<(), rmm_model::OptionsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halted<T> {
    /// The error.
    pub error: Error,
    /// What the RMM reported; `None` when the status comes without it, or when the value is
    /// impossible.
    pub reached: Option<T>,
}

impl<T> fmt::Display for Halted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: fmt::Debug> core::error::Error for Halted<T> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<T> From<Error> for Halted<T> {
    fn from(error: Error) -> Self {
        Self { error, reached: None }
    }
}

impl<T> From<Halted<T>> for Error {
    fn from(halted: Halted<T>) -> Self {
        halted.error
    }
}

impl<P: Platform> Channel<P> {
    /// As [`Channel::complete`]; when the command ends with one of the statuses `telling`,
    /// `reached` reads the registers of that answer.
    ///
    /// # Safety
    ///
    /// As [`Conduit::call`](crate::Conduit::call).
    pub(crate) unsafe fn complete_or_halt<T>(
        &self,
        call: &Call,
        telling: &[Status],
        reached: impl FnOnce(Reply) -> Option<T>,
    ) -> Result<Reply, Halted<T>> {
        let mut last = Reply::EMPTY;
        // SAFETY: the caller upholds the same contract.
        match unsafe { self.complete_into(call, &mut last) } {
            Ok(()) => Ok(last),
            Err(error) => {
                let tells = error.status().is_some_and(|status| telling.contains(&status));
                Err(Halted { error, reached: if tells { reached(last) } else { None } })
            }
        }
    }

    /// Fails when the dialect lacks a command, for methods that have work to do before they call.
    pub(crate) fn require(&self, command: rmi_abi::Command) -> Result<(), Error> {
        match command.form(self.dialect()) {
            Some(_) => Ok(()),
            None => Err(Error::unsupported(command, self.dialect())),
        }
    }
}
