//! Why a Realm cannot be built as asked.

use rmi_abi::{Ipa, IpaRange};
use rmi_host::{Error, Failed};

use crate::config::ConfigError;

/// Why an operation on a Realm failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
// A tag of a word: behind a smaller one the compiler moves byte by byte.
#[repr(u64)]
pub enum BuildError {
    /// The configuration does not fit the RMM; nothing was called.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Something is wrong with a region. An operation that checks it first has made no call; one
    /// that detects it later reports what it did.
    #[error("region {range} {problem}")]
    #[non_exhaustive]
    Region {
        /// The region.
        range: IpaRange,
        /// What is wrong with it.
        #[source]
        problem: RegionProblem,
    },
    /// The storage of the Realm is full: it cannot hold another record. Storage on the heap is full
    /// when there is no memory to make it grow. As to calls, the same holds as for
    /// [`BuildError::Region`].
    #[error("the realm's storage is too small: {missing} more records of {records} needed")]
    #[non_exhaustive]
    Storage {
        /// Records of what.
        records: &'static str,
        /// How many records are missing.
        missing: usize,
    },
    /// Another thread is working on this part of the Realm's memory, for longer than the retry
    /// budget ([`RetryBudget`](rmi_host::RetryBudget)) allows to wait. Nothing was called for this
    /// part, and the operation can be repeated.
    ///
    /// Mapping, sharing, folding and conversions return this error. What a Realm causes, and where
    /// waiting is part of the result, has no error: a fault is answered with
    /// [`Served::Contended`](crate::Served::Contended), [`Realm::reclaim`](crate::Realm::reclaim)
    /// returns [`Reclaimed`](crate::Reclaimed), and a change of RIPAS or permissions has made no
    /// progress.
    #[error("another thread is working on the realm's memory at {range}")]
    #[non_exhaustive]
    Contended {
        /// The part.
        range: IpaRange,
    },
    /// The configuration asks for auxiliary trees, and the platform is built without them
    /// ([`Platform::AUX_TREES`](rmi_host::Platform::AUX_TREES)); nothing was called.
    #[error("the platform is built without auxiliary trees")]
    NoAuxTrees,
    /// The Realm has no such auxiliary tree; nothing was called.
    #[error("the realm has {trees} auxiliary trees, and none of number {tree}")]
    #[non_exhaustive]
    NoTree {
        /// The tree's number.
        tree: u64,
        /// How many auxiliary trees the Realm has.
        trees: usize,
    },
    /// A call failed.
    #[error("{0}")]
    Call(#[from] Error),
}

/// What is wrong with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionProblem {
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// It reaches outside the protected half of the IPA space.
    #[error("is not inside the protected half of the IPA space")]
    NotProtected,
    /// It reaches outside the unprotected half of the IPA space.
    #[error("is not inside the unprotected half of the IPA space")]
    NotUnprotected,
    /// It reaches outside the IPA space.
    #[error("is not inside the IPA space")]
    OutOfSpace,
    /// Some of its memory was not returned by the RMM (it is in quarantine), or has another owner
    /// by now.
    #[error("lacks {bytes:#x} bytes that the RMM did not return")]
    #[non_exhaustive]
    Withheld {
        /// How much, in bytes.
        bytes: u64,
    },
    /// It is not aligned to the RMM's granule size.
    #[error("is not aligned to granules")]
    Unaligned,
    /// It overlaps memory that the Realm has, or another region.
    #[error("overlaps the memory at IPA {at}")]
    Overlap {
        /// First address of the other.
        at: Ipa,
    },
    /// Populating stopped in it before, and memory that was to be populated next was not returned.
    /// The Realm has to be built again.
    #[error("lacks {bytes:#x} bytes that are in the pool or in quarantine; build the realm again")]
    Lost {
        /// How much, in bytes.
        bytes: u64,
    },
    /// It does not contain the address that is asked about.
    #[error("does not contain IPA {ipa}")]
    #[non_exhaustive]
    Elsewhere {
        /// The address.
        ipa: Ipa,
    },
    /// There is no memory for this address.
    #[error("has no memory at IPA {ipa}")]
    #[non_exhaustive]
    NoMemory {
        /// The address.
        ipa: Ipa,
    },
    /// Nothing is shared with the Realm at this address.
    #[error("is not shared at IPA {ipa}")]
    #[non_exhaustive]
    NotShared {
        /// The address.
        ipa: Ipa,
    },
    /// It is not certain that the table exists through which it would be shown: the answer to its
    /// creation was unclear.
    #[error("has a translation table that may not exist")]
    NoTable,
    /// The memory for it is longer than what is to be mapped.
    #[error("is longer than the {bytes:#x} bytes that are to be mapped")]
    #[non_exhaustive]
    TooLong {
        /// Bytes to be mapped.
        bytes: u64,
    },
    /// Its content does not fill it up to the last granule, or is longer.
    #[error("does not match its content of {bytes:#x} bytes")]
    Content {
        /// Length of the content in bytes.
        bytes: u64,
    },
}

/// Drops what was kept.
impl<T> From<Failed<T, Self>> for BuildError {
    fn from(failed: Failed<T, Self>) -> Self {
        failed.error
    }
}

#[cfg(test)]
mod tests;
