//! Why a measurement cannot be computed.

use rmi_abi::address::RangeError;
use rmi_abi::realm::{HashAlgorithm, ParamsError};
use rmi_abi::rtt::Level;
use rmi_abi::{Dialect, GranuleSize, Ipa, IpaRange};
use thiserror::Error;

use crate::measurement_log::DigestError;
use crate::region::LayoutError;

/// Why a measurement cannot be computed; it is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RimError {
    /// The dialect cannot express a parameter of the Realm.
    #[error("{0}")]
    Params(#[from] ParamsError),
    /// The algorithm is unknown.
    #[error("{0}")]
    Digest(#[from] DigestError),
    /// An event has a digest of another algorithm than the Realm's.
    #[error("a digest of {event} in the measurement of a realm with {realm}")]
    #[non_exhaustive]
    Algorithm {
        /// The Realm's algorithm.
        realm: HashAlgorithm,
        /// The event's.
        event: HashAlgorithm,
    },
    /// An address is not aligned to granules, or the content leaves the address space.
    #[error("{0}")]
    Range(#[from] RangeError),
    /// An address is not aligned to the granules of the RMM, which are larger than 4 KiB.
    #[error("IPA {ipa} is not aligned to granules of {} KiB", .granule.bytes() >> 10)]
    #[non_exhaustive]
    Unaligned {
        /// The address.
        ipa: Ipa,
        /// Their size.
        granule: GranuleSize,
    },
    /// A Realm cannot start with a region.
    #[error("{0}")]
    Layout(#[from] LayoutError),
    /// A RIPAS change is not one or more whole entries of this level, or an event's not of one
    /// table.
    #[error("{range} is not whole entries of a table of level {}", .level.number())]
    #[non_exhaustive]
    Entries {
        /// The range.
        range: IpaRange,
        /// Level of the entries.
        level: Level,
    },
    /// A RIPAS change is among the events, but this dialect does not measure it.
    #[error("dialect {0} does not measure RIPAS changes")]
    RipasNotMeasured(Dialect),
    /// The events do not begin with the Realm's creation.
    #[error("the events do not begin with the realm's creation")]
    NotCreated,
    /// The Realm's creation occurs again.
    #[error("the realm is created a second time")]
    CreatedAgain,
    /// The measurement does not begin with zero, but in this dialect it does.
    #[error("measurements of dialect {0} begin with zero")]
    NotZero(Dialect),
}
