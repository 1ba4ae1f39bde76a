//! Why a call did not do what was asked.

use core::fmt;

use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::rsi::{Command, ReturnCode};

/// Why a call of the Realm Services Interface failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The RMM does not have the command: it answered with all ones.
    #[non_exhaustive]
    NotSupported {
        /// The command.
        command: Command,
    },
    /// The RMM refused the command, and nothing changed.
    #[non_exhaustive]
    Refused {
        /// The command.
        command: Command,
        /// The return code, which may be one that is not documented for the command.
        status: ReturnCode,
    },
    /// The RMM reported success, with a value that cannot be. What it did is not known.
    #[non_exhaustive]
    BadReply {
        /// The command.
        command: Command,
        /// The value.
        value: u64,
    },
    /// No call was made: a buffer is not private memory of the Realm, as the conduit says.
    #[non_exhaustive]
    Buffer {
        /// The command.
        command: Command,
    },
    /// No call was made: an argument is out of its range.
    #[non_exhaustive]
    Argument {
        /// The command.
        command: Command,
        /// The value of the argument.
        value: u64,
    },
}

impl Error {
    /// The command that failed.
    #[must_use]
    pub const fn command(&self) -> Command {
        match *self {
            Self::NotSupported { command }
            | Self::Refused { command, .. }
            | Self::BadReply { command, .. }
            | Self::Buffer { command }
            | Self::Argument { command, .. } => command,
        }
    }

    /// The return code of the RMM; `None` if no call was made, or one that succeeded.
    #[must_use]
    pub const fn status(&self) -> Option<ReturnCode> {
        match *self {
            Self::NotSupported { .. } => Some(ReturnCode::NOT_SUPPORTED),
            Self::Refused { status, .. } => Some(status),
            Self::BadReply { .. } => Some(ReturnCode::Success),
            Self::Buffer { .. } | Self::Argument { .. } => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSupported { command } => write!(f, "{command}: the RMM does not have it"),
            Self::Refused { command, status } => match status.name() {
                Some(name) => write!(f, "{command}: {name}"),
                None => write!(f, "{command}: return code {:#x}", u64::from(*status)),
            },
            Self::BadReply { command, value } => {
                write!(f, "{command}: the RMM answered with the impossible value {value:#x}")
            }
            Self::Buffer { command } => {
                write!(f, "{command}: the buffer is not in private memory of the Realm")
            }
            Self::Argument { command, value } => {
                write!(f, "{command}: the argument {value:#x} is out of its range")
            }
        }
    }
}

impl core::error::Error for Error {}

/// Why there is no interface to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// This is not a Realm: there is no `RSI_VERSION`.
    NotARealm,
    /// The RMM has none of the versions of [`Rsi::VERSIONS`](crate::Rsi::VERSIONS).
    #[non_exhaustive]
    Version {
        /// The oldest version that the RMM names.
        lower: InterfaceVersion,
        /// The newest version that the RMM names.
        higher: InterfaceVersion,
    },
    /// The RMM answered `RSI_VERSION` otherwise.
    Call(Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARealm => f.write_str("this is not a Realm: there is no RSI_VERSION"),
            Self::Version { lower, higher } => {
                write!(f, "the RMM has RSI {lower} to {higher}, and this program 1.0 and 1.1")
            }
            Self::Call(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Call(error) => Some(error),
            Self::NotARealm | Self::Version { .. } => None,
        }
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}
