//! Errors, with everything that is known about them.
//!
//! An [`Error`] prints as one line for a log, and is data for a program:
//!
//! ```
//! use rmi_abi::{Command, Dialect, Pa, PaRange, Status};
//! # use rmi_host::{Error, Subject};
//! # use rmm_model::{Model, Options};
//! # let mut machine = Options::new(Dialect::V2_0Bet3);
//! # machine.untracked = vec![PaRange::with_size(Pa::new(0x8000_0000), 0x1000)?];
//! # let model = Model::new(machine)?;
//! # let mut memory = model.take_memory();
//! # let rmm = rmm_model::open(model.host(), &mut memory)?;
//! let error = rmm.delegate(memory.take_front(0x1000).expect("1 GiB")).unwrap_err().error;
//! assert_eq!(
//!     error.to_string(),
//!     "RMI_GRANULE_RANGE_DELEGATE for PA 0x80000000 refused: RMI_ERROR_TRACKING at level 0 \
//!      (the memory is not tracked by granule; dialect 2.0-bet3)"
//! );
//! assert_eq!(error.command(), Some(Command::GranuleRangeDelegate));
//! assert_eq!(error.status(), Some(Status::ErrorTracking));
//! assert!(error.is_clean());
//! let Error::Refused(refusal) = error else { panic!("the RMM answered") };
//! assert_eq!(refusal.subject(), Subject::Pa(Pa::new(0x8000_0000)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "alloc")]
use alloc::boxed::Box;
use core::fmt;

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, Ipa, Pa, ResultWord, Status};

use crate::access::AccessFault;

/// The subject of a command: the address that an operator needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// The RMM as a whole.
    Rmm,
    /// A physical address.
    Pa(Pa),
    /// An intermediate physical address of a Realm.
    Ipa(Ipa),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rmm => f.write_str("the RMM"),
            Self::Pa(pa) => write!(f, "PA {pa}"),
            Self::Ipa(ipa) => write!(f, "IPA {ipa}"),
        }
    }
}

/// What an error is about, in a word, so that errors are moved by words: see [`Error::command`],
/// [`Error::subject`] and the like.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context(u32);

impl Context {
    /// `detail` is the number of whatever else the error has.
    const fn new(command: Command, subject: Subject, detail: u8) -> Self {
        Self(command as u32 | subject.kind() << Self::KIND_SHIFT | (detail as u32) << 24)
    }

    const KIND_SHIFT: u32 = 16;

    fn command(self) -> Command {
        let [code, ..] = self.0.to_le_bytes();
        Command::ALL.get(usize::from(code)).copied().unwrap_or(Command::Version)
    }

    const fn subject(self, address: u64) -> Subject {
        let [_, _, kind, _] = self.0.to_le_bytes();
        match kind {
            0 => Subject::Rmm,
            1 => Subject::Pa(Pa::new(address)),
            _ => Subject::Ipa(Ipa::new(address)),
        }
    }

    const fn detail(self) -> u8 {
        let [_, _, _, detail] = self.0.to_le_bytes();
        detail
    }

    fn dialect(self) -> Option<Dialect> {
        Dialect::from_index(self.detail())
    }
}

impl Subject {
    const fn kind(self) -> u32 {
        match self {
            Self::Rmm => 0,
            Self::Pa(_) => 1,
            Self::Ipa(_) => 2,
        }
    }

    const fn address(self) -> u64 {
        match self {
            Self::Rmm => 0,
            Self::Pa(pa) => pa.raw(),
            Self::Ipa(ipa) => ipa.raw(),
        }
    }
}

/// The RMM refused a command: nothing changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// A [`Context`] with the dialect, of the size that the other words of an [`Error`] have.
    context: u64,
    result: ResultWord,
    address: u64,
}

impl Refusal {
    pub(crate) const fn new(
        command: Command,
        dialect: Dialect,
        result: ResultWord,
        subject: Subject,
    ) -> Self {
        let context = Context::new(command, subject, dialect.index());
        Self { context: context.0 as u64, result, address: subject.address() }
    }

    const fn context(&self) -> Context {
        let [a, b, c, d, ..] = self.context.to_le_bytes();
        Context(u32::from_le_bytes([a, b, c, d]))
    }

    /// The command.
    #[must_use]
    pub fn command(&self) -> Command {
        self.context().command()
    }

    /// The dialect of the session.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.context().dialect().unwrap_or(Dialect::V1_0)
    }

    /// X0 as the RMM returned it, with status and index.
    pub const fn result(&self) -> ResultWord {
        self.result
    }

    /// What the command was about.
    #[must_use]
    pub const fn subject(&self) -> Subject {
        self.context().subject(self.address)
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> Status {
        self.result.status()
    }

    /// The level at which a walk stopped, when the status carries one.
    ///
    /// The level of a walk says which table is missing:
    ///
    /// ```
    /// # use rmi_abi::{Dialect, Ipa};
    /// # use rmi_abi::rtt::Level;
    /// # use rmi_abi::realm::RealmParams;
    /// # use rmi_abi::rtt::Geometry;
    /// # use rmi_host::{Error, Failed, Rd, Undelegated};
    /// # use rmm_model::{Model, Options};
    /// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
    /// # let mut memory = model.take_memory();
    /// # let rmm = rmm_model::open(model.host(), &mut memory)?;
    /// # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
    /// # let (rd, root, mut page) =
    /// #     (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
    /// # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
    /// # rmm.commands().realm_create(&rd, &mut page, &params)?;
    /// # let rd = Rd::new(rd);
    /// // A new Realm with 40-bit addresses has a root table of level 0 only. Which tables are
    /// // missing above level 3?
    /// let mut wanted = Level::L3;
    /// let mut created = Vec::new();
    /// loop {
    ///     let table = granule(&mut memory)?;
    ///     match rmm.commands().rtt_create(&rd, table, Ipa::new(0), wanted) {
    ///         Ok(_in_use) if wanted == Level::L3 => break,
    ///         Ok(_in_use) => created.push(core::mem::replace(&mut wanted, Level::L3)),
    ///         Err(Failed { error: Error::Refused(refusal), kept }) => {
    ///             rmm.undelegate(kept)?;
    ///             wanted =
    ///                 refusal.level().and_then(Level::child).expect("a table is missing");
    ///         }
    ///         Err(failed) => panic!("{failed}"),
    ///     }
    /// }
    /// assert_eq!(created, [Level::L1, Level::L2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        // An RMM that reports no level with this status leaves all the data of the status zero.
        let silent = self.status() == Status::ErrorTracking && self.result.data() == 0;
        if silent { None } else { self.result.level() }
    }

    /// What an operator or a developer can do about it, in a few words.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        if self.result.is_not_supported() {
            return "this RMM does not have the command; check the dialect";
        }
        match self.result.status() {
            Status::ErrorInput => "an argument is wrong, or a granule is in the wrong state",
            Status::ErrorRealm => "the realm is in the wrong state for this",
            Status::ErrorRec => "the REC is running, not runnable, or waits for an answer",
            Status::ErrorRtt | Status::ErrorRttAux => {
                "a translation table is missing, or the entry is taken"
            }
            Status::ErrorNotSupported => "this RMM lacks the feature",
            Status::Busy | Status::Blocked => "try again later",
            Status::ErrorGlobal => "the RMM is not active, or out of a global resource",
            Status::ErrorTracking => "the memory is not tracked by granule",
            _ => "see the RMM's documentation for this status",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {} refused: ", self.command(), self.subject())?;
        if self.result.is_not_supported() {
            f.write_str("no such function")?;
        } else {
            match self.result.status() {
                Status::Unknown(code) => write!(f, "unknown status {code}")?,
                status => f.write_str(status.name())?,
            }
            match self.level() {
                Some(level) => write!(f, " at level {level}")?,
                None if self.result.index() != 0 => write!(f, " index {:#x}", self.result.index())?,
                None => {}
            }
        }
        write!(f, " ({}; dialect {})", self.advice(), self.dialect())
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("command", &self.command())
            .field("dialect", &self.dialect())
            .field("result", &self.result)
            .field("subject", &self.subject())
            .finish()
    }
}

impl core::error::Error for Refusal {}

/// An answer of an RMM that its specification does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
// A word, as the other parts of an error.
#[repr(u64)]
#[non_exhaustive]
pub enum Violation {
    /// A range command reported an end that is outside the range or unaligned, or no progress where
    /// it must make progress.
    Progress,
    /// The RMM reported memory that it was never given, or not at this address.
    ForeignMemory,
    /// A command that moves no memory requested memory or offered some.
    UnexpectedTransfer,
    /// More was consumed or returned than was offered.
    Count,
    /// A donation request for nothing, or for more than addresses can express.
    Request,
    /// A status that this command cannot have.
    Status,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Progress => "impossible progress",
            Self::ForeignMemory => "memory that it was not given",
            Self::UnexpectedTransfer => "a memory transfer that the command does not have",
            Self::Count => "an impossible count",
            Self::Request => "an impossible donation request",
            Self::Status => "a status that the command does not have",
        })
    }
}

/// Why a call to the RMM failed.
///
/// All have a command, except [`Error::Access`]; most have a subject: see [`Error::command`] and
/// [`Error::subject`].
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
// A tag of four bytes, and behind it a context of four and three words: the compiler moves what is
// smaller piece by piece, which was a tenth of the text of small code.
#[repr(u32)]
pub enum Error {
    /// The RMM refused the command; nothing changed.
    Refused(Refusal),
    /// The dialect ([`Error::dialect`]) has no such command; nothing was called.
    #[non_exhaustive]
    Unsupported {
        #[doc(hidden)]
        context: Context,
    },
    /// The RMM stayed `RMI_BUSY` or `RMI_BLOCKED` ([`Error::status`]) for as many attempts as the
    /// caller allows; nothing changed.
    #[non_exhaustive]
    Exhausted {
        #[doc(hidden)]
        context: Context,
        #[doc(hidden)]
        address: u64,
    },
    /// The RMM interrupted the command, as it may, and made no further progress for as many
    /// attempts as the caller allows; the last of them changed nothing. The subject is where it
    /// stopped.
    #[non_exhaustive]
    NoProgress {
        #[doc(hidden)]
        context: Context,
        #[doc(hidden)]
        address: u64,
    },
    /// The RMM violated its specification; the outcome of the command is unclear.
    #[non_exhaustive]
    Violation {
        #[doc(hidden)]
        context: Context,
        /// How it violated it.
        violation: Violation,
        /// The invalid register value.
        value: u64,
        #[doc(hidden)]
        address: u64,
    },
    /// No answer was received to a call that may have reached the RMM: the connection to the RMM
    /// failed, or the RMM itself. The outcome of the command is unclear.
    #[non_exhaustive]
    NoAnswer {
        #[doc(hidden)]
        context: Context,
        #[doc(hidden)]
        address: u64,
    },
    /// The call did not reach the RMM, because the connection to it failed; nothing changed.
    #[non_exhaustive]
    NotSent {
        #[doc(hidden)]
        context: Context,
        #[doc(hidden)]
        address: u64,
    },
    /// A started operation ended in a way that leaves unclear what was done.
    Unclear(Refusal),
    /// An operation did not end within the steps and the waiting that the retry budget allows, as
    /// it may: the RMM was busy, or yields often. It was cancelled where the RMM accepts that, and
    /// given up: its objects may stay blocked. A larger budget lets it end.
    #[non_exhaustive]
    Unfinished {
        #[doc(hidden)]
        context: Context,
        /// The RMM's handle of it.
        handle: u64,
        #[doc(hidden)]
        address: u64,
    },
    /// An operation could be neither finished nor undone. It stays in the RMM, and its objects stay
    /// blocked.
    #[non_exhaustive]
    Abandoned {
        #[doc(hidden)]
        context: Context,
        /// The RMM's handle of it.
        handle: u64,
        /// Bytes of memory that it needed to continue and did not get; 0 if it stopped for another
        /// reason.
        missing: u64,
        #[doc(hidden)]
        address: u64,
    },
    /// The pool does not have the memory needed; nothing was called, or the operation was undone.
    #[non_exhaustive]
    NeedMemory {
        #[doc(hidden)]
        context: Context,
        /// Bytes that were missing.
        bytes: u64,
        /// The alignment needed, in bytes.
        alignment: u64,
    },
    /// The host cannot reach a page that it shares with the RMM.
    Access(AccessFault),
    /// A token or an object belongs to another machine than the session; nothing was called.
    #[non_exhaustive]
    OtherMachine {
        #[doc(hidden)]
        context: Context,
        #[doc(hidden)]
        address: u64,
    },
    /// An argument is wrong; nothing was called.
    #[non_exhaustive]
    Argument {
        #[doc(hidden)]
        context: Context,
        /// What is wrong.
        what: &'static str,
        #[doc(hidden)]
        address: u64,
    },
}

const _: () = assert!(size_of::<Result<(), Error>>() == 32);

impl Error {
    /// Memory is missing for a command.
    #[doc(hidden)]
    #[must_use]
    pub const fn need_memory(command: Command, bytes: u64, alignment: u64) -> Self {
        let context = Context::new(command, Subject::Rmm, 0);
        Self::NeedMemory { context, bytes, alignment }
    }

    /// Something belongs to another machine than the session.
    #[doc(hidden)]
    #[must_use]
    pub const fn other_machine(command: Command, subject: Subject) -> Self {
        let context = Context::new(command, subject, 0);
        Self::OtherMachine { context, address: subject.address() }
    }

    /// An operation could be neither finished nor undone.
    #[doc(hidden)]
    #[must_use]
    pub const fn abandoned(command: Command, handle: u64, missing: u64, subject: Subject) -> Self {
        let context = Context::new(command, subject, 0);
        Self::Abandoned { context, handle, missing, address: subject.address() }
    }

    /// An operation did not end within the retry budget.
    #[doc(hidden)]
    #[must_use]
    pub const fn unfinished(command: Command, handle: u64, subject: Subject) -> Self {
        let context = Context::new(command, subject, 0);
        Self::Unfinished { context, handle, address: subject.address() }
    }

    /// A command makes no further progress.
    #[doc(hidden)]
    #[must_use]
    pub const fn no_progress(command: Command, subject: Subject) -> Self {
        let context = Context::new(command, subject, 0);
        Self::NoProgress { context, address: subject.address() }
    }

    /// An argument of a command is wrong.
    #[doc(hidden)]
    #[must_use]
    pub const fn argument(command: Command, what: &'static str, subject: Subject) -> Self {
        let context = Context::new(command, subject, 0);
        Self::Argument { context, what, address: subject.address() }
    }

    /// The RMM violated its specification.
    #[doc(hidden)]
    #[must_use]
    pub const fn violation(
        command: Command,
        violation: Violation,
        value: u64,
        subject: Subject,
    ) -> Self {
        let context = Context::new(command, subject, 0);
        Self::Violation { context, violation, value, address: subject.address() }
    }

    /// The dialect does not have the command.
    pub(crate) const fn unsupported(command: Command, dialect: Dialect) -> Self {
        Self::Unsupported { context: Context::new(command, Subject::Rmm, dialect.index()) }
    }

    /// The RMM was busy or blocked at every attempt.
    pub(crate) fn exhausted(command: Command, status: Status, subject: Subject) -> Self {
        let context = Context::new(command, subject, status.into());
        Self::Exhausted { context, address: subject.address() }
    }

    /// There was no answer to a call.
    pub(crate) const fn no_answer(command: Command, subject: Subject, sent: bool) -> Self {
        let (context, address) = (Context::new(command, subject, 0), subject.address());
        match sent {
            true => Self::NoAnswer { context, address },
            false => Self::NotSent { context, address },
        }
    }

    /// Whether it is certain that the command changed nothing.
    ///
    /// After a clean error, the memory concerned has the same owner as before. After any other,
    /// memory that the command named is treated as the RMM's until an undelegation succeeds:
    ///
    /// ```
    /// # use rmi_abi::{Command, Dialect};
    /// # use rmi_host::{Conduit, Host, OpenSessions, Registers};
    /// # use rmm_model::{Model, Options};
    /// # struct Invalid<'m> { model: &'m Model, at: u64 }
    /// # // SAFETY: the model has its own memory; nothing of this program is affected.
    /// # unsafe impl Conduit for Invalid<'_> {
    /// #     fn open_sessions(&self) -> &OpenSessions { self.model.open_sessions() }
    /// #     unsafe fn call(&self, registers: Registers) -> Registers {
    /// #         // SAFETY: the caller's promise is passed on unchanged.
    /// #         let mut answer = unsafe { self.model.call(registers) };
    /// #         if registers[0] == self.at { answer[1] = 1 }
    /// #         answer
    /// #     }
    /// # }
    /// # let dialect = Dialect::TfRmm2026_07;
    /// # let model = Model::new(Options::new(dialect))?;
    /// # let mut memory = model.take_memory();
    /// // This RMM delegates the memory, and returns an invalid answer.
    /// # let fid = Command::GranuleRangeDelegate.fid(dialect).expect("in this dialect");
    /// # let conduit = Invalid { model: &model, at: fid.0.into() };
    /// # let rmm = rmm_model::open(Host::new(&conduit, &model), &mut memory)?;
    /// let failed = rmm.delegate(memory.take_front(0x4000).expect("1 GiB")).unwrap_err();
    /// assert!(!failed.error.is_clean());
    /// assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (0x4000, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        !matches!(
            self,
            Self::Violation { .. }
                | Self::Unclear(_)
                | Self::NoAnswer { .. }
                | Self::Unfinished { .. }
                | Self::Abandoned { .. }
                | Self::Access(_)
        )
    }

    /// Whether the RMM, or the dialect, does not have the command or feature. An RMM may report
    /// that in two ways: as if the function did not exist, or by a status.
    #[must_use]
    pub fn is_not_supported(&self) -> bool {
        match self {
            Self::Unsupported { .. } => true,
            Self::Refused(refusal) => {
                refusal.result.is_not_supported() || refusal.status() == Status::ErrorNotSupported
            }
            _ => false,
        }
    }

    /// The status that the RMM answered with, if it answered.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Refused(refusal) | Self::Unclear(refusal) => Some(refusal.status()),
            Self::Exhausted { context, .. } => Some(Status::from(context.detail())),
            _ => None,
        }
    }

    /// What the error is about, and its address.
    const fn about(&self) -> Option<(Context, u64)> {
        Some(match self {
            Self::Refused(refusal) | Self::Unclear(refusal) => (refusal.context(), refusal.address),
            Self::Unsupported { context } | Self::NeedMemory { context, .. } => (*context, 0),
            Self::Exhausted { context, address }
            | Self::NoProgress { context, address }
            | Self::Violation { context, address, .. }
            | Self::NoAnswer { context, address }
            | Self::NotSent { context, address }
            | Self::Unfinished { context, address, .. }
            | Self::Abandoned { context, address, .. }
            | Self::OtherMachine { context, address }
            | Self::Argument { context, address, .. } => (*context, *address),
            Self::Access(_) => return None,
        })
    }

    /// The command that failed, if there is one.
    #[must_use]
    pub fn command(&self) -> Option<Command> {
        Some(self.about()?.0.command())
    }

    /// What the command was about; [`Subject::Rmm`] for an error that names nothing else. `None` if
    /// there is no command.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        let (context, address) = self.about()?;
        Some(context.subject(address))
    }

    /// The dialect, where it matters: of a refusal, and of a command that does not exist.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        match self {
            Self::Refused(refusal) | Self::Unclear(refusal) => Some(refusal.dialect()),
            Self::Unsupported { context } => context.dialect(),
            _ => None,
        }
    }
}

impl From<AccessFault> for Error {
    fn from(fault: AccessFault) -> Self {
        Self::Access(fault)
    }
}

impl Error {
    /// The name of the variant.
    const fn name(&self) -> &'static str {
        match self {
            Self::Refused(_) => "Refused",
            Self::Unsupported { .. } => "Unsupported",
            Self::Exhausted { .. } => "Exhausted",
            Self::NoProgress { .. } => "NoProgress",
            Self::Violation { .. } => "Violation",
            Self::NoAnswer { .. } => "NoAnswer",
            Self::NotSent { .. } => "NotSent",
            Self::Unclear(_) => "Unclear",
            Self::Unfinished { .. } => "Unfinished",
            Self::Abandoned { .. } => "Abandoned",
            Self::NeedMemory { .. } => "NeedMemory",
            Self::Access(_) => "Access",
            Self::OtherMachine { .. } => "OtherMachine",
            Self::Argument { .. } => "Argument",
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) | Self::Unclear(refusal) => {
                return f.debug_tuple(self.name()).field(refusal).finish();
            }
            Self::Access(fault) => return f.debug_tuple(self.name()).field(fault).finish(),
            _ => {}
        }
        let mut fields = f.debug_struct(self.name());
        if let Some((context, address)) = self.about() {
            fields.field("command", &context.command());
            fields.field("subject", &context.subject(address));
        }
        match self {
            Self::Unsupported { context } => fields.field("dialect", &context.dialect()),
            Self::Exhausted { .. } => fields.field("status", &self.status()),
            Self::Violation { violation, value, .. } => {
                fields.field("violation", violation).field("value", value)
            }
            Self::Unfinished { handle, .. } => fields.field("handle", handle),
            Self::Abandoned { handle, missing, .. } => {
                fields.field("handle", handle).field("missing", missing)
            }
            Self::NeedMemory { bytes, alignment, .. } => {
                fields.field("bytes", bytes).field("alignment", alignment)
            }
            Self::Argument { what, .. } => fields.field("what", what),
            _ => &mut fields,
        }
        .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (context, address) = match self {
            Self::Refused(refusal) => return refusal.fmt(f),
            Self::Unclear(refusal) => {
                return write!(f, "what the operation changed is unclear: {refusal}");
            }
            Self::Access(fault) => return fault.fmt(f),
            _ => self.about().ok_or(fmt::Error)?,
        };
        let (command, subject) = (context.command(), context.subject(address));
        match self {
            Self::Unsupported { .. } => {
                let dialect = context.dialect().map_or("unknown", Dialect::name);
                return write!(f, "{command} does not exist in dialect {dialect}");
            }
            Self::OtherMachine { .. } => {
                return write!(
                    f,
                    "{command}: {subject} belongs to another machine than the session"
                );
            }
            Self::NeedMemory { bytes, alignment, .. } => {
                return write!(
                    f,
                    "{command} needs {bytes:#x} more bytes of memory aligned to {alignment:#x} in \
                     the pool"
                );
            }
            _ => write!(f, "{command} for {subject}")?,
        }
        match self {
            Self::Exhausted { .. } => {
                let status = Status::from(context.detail());
                write!(
                    f,
                    " still answered {} after all attempts that the retry budget allows",
                    status.name()
                )
            }
            Self::NoProgress { .. } => {
                f.write_str(" made no progress within the retry budget; try again later")
            }
            Self::Unfinished { handle, .. } => {
                write!(f, ": operation {handle:#x} did not complete within the retry budget")
            }
            Self::Violation { violation, value, .. } => {
                write!(f, ": the RMM reported {violation} ({value:#x})")
            }
            Self::NoAnswer { .. } => f.write_str(": no answer; what the RMM did is unclear"),
            Self::NotSent { .. } => f.write_str(": the call could not be made"),
            Self::Abandoned { handle, missing: 0, .. } => {
                write!(
                    f,
                    ": operation {handle:#x} could not be ended and stays in the RMM until it \
                     restarts"
                )
            }
            Self::Abandoned { handle, missing, .. } => {
                write!(
                    f,
                    ": operation {handle:#x} lacked {missing:#x} bytes, could not be undone, and \
                     stays in the RMM until it restarts; add more memory to the pool beforehand"
                )
            }
            Self::Argument { what, .. } => write!(f, ": {what}"),
            // Written above.
            _ => Ok(()),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Refused(refusal) | Self::Unclear(refusal) => Some(refusal),
            Self::Access(fault) => Some(fault),
            _ => None,
        }
    }
}

/// A transition failed; `kept` is the object, still in its old state.
///
/// # The `?` operator
///
/// `?` turns it into its error and drops `kept`. That is right for a program that ends with the
/// error, and for objects that own no memory. Memory of the RMM that is dropped is lost until the
/// machine restarts, and [`leaked`](crate::leaked) counts it; host memory that is dropped is
/// counted by [`dropped_host_granules`](crate::dropped_host_granules), the embedder's allocator
/// does not get it back. Library code takes `kept` out instead.
///
/// ```
/// # use rmi_abi::{Dialect, Ipa};
/// # use rmi_abi::realm::RealmParams;
/// # use rmi_abi::rtt::{Geometry, Level};
/// # use rmi_host::{Delegated, Error, Failed, InUse, Platform, Rd, Rmm, leaked};
/// # use rmm_model::{Model, Options};
/// fn table<P: Platform>(
///     rmm: &Rmm<P>,
///     rd: &Rd,
///     granule: Delegated,
/// ) -> Result<InUse, Error> {
///     // The RMM refuses it: there is no table of level 2 yet. `?` drops the granule.
///     Ok(rmm.commands().rtt_create(rd, granule, Ipa::new(0), Level::L3)?)
/// }
///
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut memory)?;
/// # let (rd, root) = (
/// #     rmm.delegate(memory.take_front(0x1000).unwrap())?,
/// #     rmm.delegate(memory.take_front(0x1000).unwrap())?,
/// # );
/// # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
/// # rmm.commands().realm_create(&rd, &mut memory.take_front(0x1000).unwrap(), &params)?;
/// # let rd = Rd::new(rd);
/// let granule = rmm.delegate(memory.take_front(0x1000).expect("1 GiB"))?;
/// let before = leaked();
/// assert!(table(&rmm, &rd, granule).is_err());
/// assert_eq!(leaked() - before, 1);
///
/// // `kept` loses nothing.
/// let granule = rmm.delegate(memory.take_front(0x1000).expect("1 GiB"))?;
/// let failed =
///     rmm.commands().rtt_create(&rd, granule, Ipa::new(0), Level::L3).unwrap_err();
/// let granule = rmm.undelegate(failed.kept)?;
/// assert_eq!(leaked() - before, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It converts into the type of its error and, with the feature `alloc`, into a `Box<dyn Error>`
/// that holds its error. It is no [`core::error::Error`] itself: what it keeps often borrows, and
/// `Box<dyn Error>` takes only errors that do not.
///
/// # Example
///
/// ```
/// use rmi_abi::Dialect;
/// use rmi_host::{Discovered, SessionError, SessionOptions};
/// use rmm_model::{Model, Options};
///
/// let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// let mut options = SessionOptions::default();
/// options.dialect = Some(Dialect::V1_0);
/// let failed = Discovered::probe(model.host(), options).unwrap_err();
/// assert!(matches!(failed.error, SessionError::Version { .. }));
///
/// // The platform is returned, for another attempt.
/// options.dialect = None;
/// let found = Discovered::probe(failed.kept, options)?;
/// assert_eq!(found.dialect(), Dialect::TfRmm2026_07);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "`kept` still owns what it owned before"]
pub struct Failed<T, E = Error> {
    /// The reason.
    pub error: E,
    /// The object.
    pub kept: T,
}

impl<T, E> Failed<T, E> {
    /// Pairs an object with the reason why its state did not change.
    pub const fn new(kept: T, error: E) -> Self {
        Self { error, kept }
    }

    /// The same failure with the object wrapped in another.
    pub fn map<U>(self, wrap: impl FnOnce(T) -> U) -> Failed<U, E> {
        Failed { error: self.error, kept: wrap(self.kept) }
    }
}

/// Without the object, which often cannot be printed: so `unwrap` works for all.
impl<T, E: fmt::Debug> fmt::Debug for Failed<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failed").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<T, E: fmt::Display> fmt::Display for Failed<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// Drops what was kept.
impl<T> From<Failed<T>> for Error {
    fn from(failed: Failed<T>) -> Self {
        failed.error
    }
}

/// Drops what was kept.
#[cfg(feature = "alloc")]
impl<T, E: core::error::Error + 'static> From<Failed<T, E>> for Box<dyn core::error::Error> {
    fn from(failed: Failed<T, E>) -> Self {
        Box::new(failed.error)
    }
}

/// Drops what was kept.
#[cfg(feature = "alloc")]
impl<T, E: core::error::Error + Send + Sync + 'static> From<Failed<T, E>>
    for Box<dyn core::error::Error + Send + Sync>
{
    fn from(failed: Failed<T, E>) -> Self {
        Box::new(failed.error)
    }
}

/// Makes an error of a struct that has a field `error`: with that as its source, and `?` takes it
/// out.
macro_rules! carries_error {
    ($failed:ty, $format:literal $(, $field:ident)*) => {
        impl core::fmt::Display for $failed {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, $format, error = self.error $(, $field = self.$field.bytes())*)
            }
        }

        impl core::error::Error for $failed {
            fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
                Some(&self.error)
            }
        }

        /// Drops the memory, which is then counted as lost: see [`Failed`](crate::Failed).
        impl From<$failed> for crate::error::Error {
            fn from(failed: $failed) -> Self {
                failed.error
            }
        }
    };
}

pub(crate) use carries_error;

#[cfg(test)]
mod tests;
