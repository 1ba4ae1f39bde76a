//! Entering a REC, and what it waits for between runs.
//!
//! After some exits the RMM waits for an answer, which the next entry supplies. The [`RecObject`]
//! records which exit that is, regardless of who owns the object and of what it was separated from
//! in the meantime.

use core::num::NonZeroU64;
use core::sync::atomic::{AtomicU64, Ordering};

use rmi_abi::run::{RecEnter, RecExit};
use rmi_host::{Error, Failed, Platform, Rmm, Undelegated};

use crate::rec::RecObject;

/// The number of one exit of one REC. No two exits have the same number, across all RECs and
/// Realms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExitNumber(NonZeroU64);

/// The number of exits so far, of all RECs of this process or machine.
static EXITS: AtomicU64 = AtomicU64::new(0);

impl ExitNumber {
    fn next() -> Self {
        // 2^64 exits are never reached.
        let before = EXITS.fetch_add(1, Ordering::Relaxed);
        Self(NonZeroU64::MIN.saturating_add(before))
    }
}

/// What a REC waits for before it can be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaiting {
    /// Nothing.
    Nothing,
    /// The answer to this exit.
    Answer(ExitNumber),
    /// Unknown: the answer of an entry was lost or garbled, so there may have been an exit that the
    /// host did not see. The REC is not entered again; it can be destroyed.
    Unknown,
}

/// Why a REC was not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// The last exit needs an answer and none was given; no call was made.
    #[error("the REC's last exit has not been answered")]
    Unanswered,
    /// The answer belongs to another REC or to an earlier exit; no call was made.
    #[error("the answer belongs to another exit")]
    WrongAnswer,
    /// An earlier entry ended without a clear answer ([`Awaiting::Unknown`]); no call was made.
    #[error("an earlier entry of the REC ended without an answer")]
    Unclear,
    /// The RMM refused, or did not answer clearly.
    #[error("{0}")]
    Call(#[from] Error),
}

impl EnterError {
    /// Whether it is certain that the REC did not run, so that it still waits for what it waited
    /// for before.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        match self {
            Self::Call(error) => error.is_clean(),
            _ => true,
        }
    }
}

/// Drops what was kept.
impl<T> From<Failed<T, Self>> for EnterError {
    fn from(failed: Failed<T, Self>) -> Self {
        failed.error
    }
}

impl RecObject {
    /// What the REC waits for.
    #[must_use]
    pub const fn awaiting(&self) -> Awaiting {
        self.awaiting
    }

    /// Enters the REC and runs it until its next exit: `RMI_REC_ENTER`. `answers` is the exit that
    /// `enter` answers, if any.
    ///
    /// The new exit gets a number, and `decode` says what it is and whether it needs an answer. If
    /// `decode` or anything in the conduit unwinds, the REC's state is [`Awaiting::Unknown`].
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REC_ENTER.
    ///
    /// # Errors
    ///
    /// [`EnterError::Unanswered`], [`EnterError::WrongAnswer`] and [`EnterError::Unclear`] before
    /// any call; otherwise as [`Channel::rec_enter`](rmi_host::Channel::rec_enter). After an error
    /// that [is not clean](EnterError::is_clean) the REC may have run, and its state is
    /// [`Awaiting::Unknown`].
    pub fn enter<P: Platform, T>(
        &mut self,
        rmm: &Rmm<P>,
        run: &mut Undelegated,
        enter: &RecEnter,
        answers: Option<ExitNumber>,
        decode: impl FnOnce(&RecExit, ExitNumber) -> (T, bool),
    ) -> Result<T, EnterError> {
        match (self.awaiting, answers) {
            (Awaiting::Unknown, _) => return Err(EnterError::Unclear),
            (Awaiting::Nothing, None) => {}
            (Awaiting::Answer(due), Some(given)) if due == given => {}
            (Awaiting::Answer(_), None) => return Err(EnterError::Unanswered),
            (_, Some(_)) => return Err(EnterError::WrongAnswer),
        }
        let before = core::mem::replace(&mut self.awaiting, Awaiting::Unknown);
        let record = match rmm.commands().rec_enter(self.granule(), run, enter) {
            Ok(record) => record,
            Err(error) => {
                if error.is_clean() {
                    self.awaiting = before;
                }
                return Err(error.into());
            }
        };
        let number = ExitNumber::next();
        let (exit, wants_answer) = decode(&record, number);
        self.awaiting = if wants_answer { Awaiting::Answer(number) } else { Awaiting::Nothing };
        Ok(exit)
    }
}
