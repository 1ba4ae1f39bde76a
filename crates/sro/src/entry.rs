//! Entering a REC, and what it waits for between runs.
//!
//! After some exits the RMM waits for an answer, which the next entry supplies. The [`RecObject`]
//! records which exit that is, regardless of who owns the object and of what it was separated from
//! in the meantime.

use core::num::NonZeroU64;
use core::sync::atomic::{AtomicU64, Ordering};

use rmi_abi::Status;
use rmi_abi::run::{EntryRecord, ExitRecord};
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
    /// The end of an entry: a thread has entered the REC and it has not exited yet.
    Exit,
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
    /// Another thread has entered the REC ([`Awaiting::Exit`]), or the REC is in a set
    /// (`rec_runtime::RecSet`), where only the `Runner` that claimed it enters it and changes its
    /// entries; no call was made.
    #[error("another thread has entered the REC, or the REC is in a set and has to be claimed")]
    Running,
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

    /// Whether the RMM refused because the REC cannot run now: it is off
    /// ([`ErrorRec`](rmi_abi::Status::ErrorRec)), or its Realm is
    /// ([`ErrorRealm`](rmi_abi::Status::ErrorRealm)). A host that does not keep track of which RECs
    /// are on waits then until another REC turns this one on, and enters it again.
    ///
    /// An RMM uses the same status for a REC whose registers of the virtual GIC it refuses.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REC_ENTER.
    #[must_use]
    pub fn is_off(&self) -> bool {
        let Self::Call(error) = self else { return false };
        matches!(error.status(), Some(Status::ErrorRec | Status::ErrorRealm))
    }
}

/// Drops what was kept.
impl<T> From<Failed<T, Self>> for EnterError {
    fn from(failed: Failed<T, Self>) -> Self {
        failed.error
    }
}

/// What a REC waits for, in one word. Threads may share a REC; one of them enters it at a time.
#[derive(Debug)]
pub(crate) struct EntryState(AtomicU64);

const NOTHING: u64 = 0;
const UNKNOWN: u64 = u64::MAX;
const ENTERED: u64 = u64::MAX - 1;

impl EntryState {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(NOTHING))
    }

    /// The state of a REC that may not exist.
    pub(crate) const fn unknown() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }

    fn get(&self) -> Awaiting {
        Self::decode(self.0.load(Ordering::Acquire))
    }

    fn decode(word: u64) -> Awaiting {
        match (word, NonZeroU64::new(word)) {
            (UNKNOWN, _) => Awaiting::Unknown,
            (ENTERED, _) => Awaiting::Exit,
            (_, Some(number)) => Awaiting::Answer(ExitNumber(number)),
            (_, None) => Awaiting::Nothing,
        }
    }

    /// Begins an entry that answers `answers`, unless the REC waits for something else.
    fn begin(&self, answers: Option<ExitNumber>) -> Result<Entry<'_>, EnterError> {
        let mut before = self.0.load(Ordering::Acquire);
        loop {
            match (Self::decode(before), answers) {
                (Awaiting::Unknown, _) => return Err(EnterError::Unclear),
                (Awaiting::Exit, _) => return Err(EnterError::Running),
                (Awaiting::Nothing, None) => {}
                (Awaiting::Answer(due), Some(given)) if due == given => {}
                (Awaiting::Answer(_), None) => return Err(EnterError::Unanswered),
                (_, Some(_)) => return Err(EnterError::WrongAnswer),
            }
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.0.compare_exchange_weak(before, ENTERED, success, failure) {
                Ok(_) => return Ok(Entry { state: self, before, after: UNKNOWN }),
                Err(found) => before = found,
            }
        }
    }
}

/// An entry under way. When it ends, also by unwinding, it is unknown what the REC waits for,
/// unless that was determined.
struct Entry<'s> {
    state: &'s EntryState,
    before: u64,
    after: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.state.0.store(self.after, Ordering::Release);
    }
}

impl RecObject {
    /// What the REC waits for.
    #[must_use]
    pub fn awaiting(&self) -> Awaiting {
        self.entry.get()
    }

    /// Enters the REC and runs it until its next exit: `RMI_REC_ENTER`. `answers` is the exit that
    /// `enter` answers, if any. Of the run page only the fields in use are accessed
    /// ([`Channel::clear_run_page`](rmi_host::Channel::clear_run_page)).
    ///
    /// The new exit gets a number, and `decode` says what it is and whether it needs an answer. If
    /// `decode` or anything in the conduit unwinds, the REC's state is [`Awaiting::Unknown`].
    ///
    /// Threads may share the REC: while one has entered it, others can name it
    /// ([`RecObject::name`]), and an entry by another is refused.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REC_ENTER.
    ///
    /// # Errors
    ///
    /// [`EnterError::Unanswered`], [`EnterError::WrongAnswer`], [`EnterError::Running`] and
    /// [`EnterError::Unclear`] before any call; otherwise as
    /// [`Channel::rec_enter`](rmi_host::Channel::rec_enter). After an error that [is not
    /// clean](EnterError::is_clean) the REC may have run, and its state is [`Awaiting::Unknown`].
    pub fn enter<P: Platform, T>(
        &self,
        rmm: &Rmm<P>,
        run: &mut Undelegated,
        enter: &EntryRecord<'_>,
        answers: Option<ExitNumber>,
        decode: impl FnOnce(&ExitRecord, ExitNumber) -> (T, bool),
    ) -> Result<T, EnterError> {
        let mut entry = self.entry.begin(answers)?;
        let entered = rmm.commands().rec_enter(&self.granule, run, enter, |record| {
            let number = ExitNumber::next();
            let (exit, wants_answer) = decode(record, number);
            entry.after = if wants_answer { number.0.get() } else { NOTHING };
            exit
        });
        entered.map_err(|error| {
            if error.is_clean() {
                entry.after = entry.before;
            }
            error.into()
        })
    }
}
