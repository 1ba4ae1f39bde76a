//! Why a measurement cannot be computed.

use core::fmt;

use rmi_abi::address::RangeError;
use rmi_abi::realm::{HashAlgorithm, ParamsError};
use rmi_abi::rtt::Level;
use rmi_abi::{Dialect, IpaRange};

use crate::measurement_log::DigestError;

/// Why a measurement cannot be computed; it is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RimError {
    /// The dialect cannot express a parameter of the Realm.
    Params(ParamsError),
    /// The algorithm is unknown.
    Digest(DigestError),
    /// An event has a digest of another algorithm than the Realm's.
    #[non_exhaustive]
    Algorithm {
        /// The Realm's algorithm.
        realm: HashAlgorithm,
        /// The event's.
        event: HashAlgorithm,
    },
    /// An address is not aligned to granules, or the content leaves the address space.
    Range(RangeError),
    /// A RIPAS change is not one or more whole entries of this level, or an event's not of one
    /// table.
    #[non_exhaustive]
    Entries {
        /// The range.
        range: IpaRange,
        /// Level of the entries.
        level: Level,
    },
    /// A RIPAS change is among the events, but this dialect does not measure it.
    RipasNotMeasured(Dialect),
    /// The events do not begin with the Realm's creation.
    NotCreated,
    /// The Realm's creation occurs again.
    CreatedAgain,
    /// The measurement does not begin with zero, but in this dialect it does.
    NotZero(Dialect),
}

impl From<ParamsError> for RimError {
    fn from(error: ParamsError) -> Self {
        Self::Params(error)
    }
}

impl From<DigestError> for RimError {
    fn from(error: DigestError) -> Self {
        Self::Digest(error)
    }
}

impl From<RangeError> for RimError {
    fn from(error: RangeError) -> Self {
        Self::Range(error)
    }
}

impl fmt::Display for RimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Params(error) => error.fmt(f),
            Self::Digest(error) => error.fmt(f),
            Self::Algorithm { realm, event } => {
                write!(f, "a digest of {event} in the measurement of a realm with {realm}")
            }
            Self::Range(error) => error.fmt(f),
            Self::Entries { range, level } => {
                write!(f, "{range} is not whole entries of a table of level {}", level.number())
            }
            Self::RipasNotMeasured(dialect) => {
                write!(f, "dialect {dialect} does not measure RIPAS changes")
            }
            Self::NotCreated => f.write_str("the events do not begin with the realm's creation"),
            Self::CreatedAgain => f.write_str("the realm is created a second time"),
            Self::NotZero(dialect) => {
                write!(f, "measurements of dialect {dialect} begin with zero")
            }
        }
    }
}

impl core::error::Error for RimError {}
