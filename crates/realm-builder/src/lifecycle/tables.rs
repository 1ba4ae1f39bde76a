//! Translation tables: made before they are needed, and folded.

use rmi_abi::IpaRange;
use rmi_abi::rtt::Level;
use rmi_host::Platform;
use sro::HostMemory;

use crate::error::BuildError;
use crate::lifecycle::realm::{NotTerminated, Realm};
use crate::memory::fold::{FoldPolicy, FoldStopped, Folded};

/// # Translation tables
impl<P: Platform, S> Realm<'_, P, S> {
    /// Tables that are missing before entries of `level` can be written in `range`.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn missing_tables(&self, range: IpaRange, level: Level) -> usize {
        self.core.missing_tables(range, level)
    }

    /// Makes every table that is missing before entries of `level` can be written in `range`, from
    /// the top down, with granules from the pool. A block in the place of a table is split.
    ///
    /// Where the dialect measures the RIPAS (1.0), it does so entry by entry: tables that are made
    /// before the Realm is populated, here or for memory that is mapped, change its measurement,
    /// and no prediction knows of them.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_CREATE.
    ///
    /// # Errors
    ///
    /// [`BuildError::Region`] when the range is empty or reaches outside the IPA space, and
    /// [`BuildError::Storage`] when there is no storage for the records, before any call; otherwise
    /// the reason why a table was refused. Tables that were made stay.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn make_tables(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        level: Level,
    ) -> Result<(), BuildError> {
        self.core.make_tables(memory, range, level)
    }
}

impl<P: Platform, S: NotTerminated> Realm<'_, P, S> {
    /// Folds the tables that lie in a range of the protected half as a whole, each after those in
    /// it and otherwise in the order of their addresses, and returns the result. Their granules go
    /// to the pool, delegated.
    ///
    /// Tables of auxiliary trees are folded before those of the primary one, and what they show is
    /// hidden: each plane faults once, and is then given a block.
    ///
    /// Where the dialect unmaps private memory by pages only (1.0), each block has to be split
    /// again before its memory is returned: folding pays for memory that the Realm keeps for long.
    /// TF-RMM v0.8.0 invalidates the TLB entries of the first 2 MiB only when it folds a table of
    /// level 2 (to a block of 1 GiB): there, a CPU that does not accept blocks of two sizes for one
    /// address (`FEAT_BBM` below level 2) may report a TLB conflict to the RMM. It is avoided by
    /// ranges that contain no 1 GiB as a whole.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_FOLD, RMI_RTT_AUX_FOLD.
    ///
    /// # Errors
    ///
    /// [`FoldStopped`], with the result so far: [`BuildError::Region`] and
    /// [`BuildError::Contended`] before any call; otherwise the reason why it stopped. What was
    /// folded stays so. It is no error if the RMM finds that the entries of a table differ.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn fold(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        policy: FoldPolicy,
    ) -> Result<Folded, FoldStopped> {
        self.core.fold(memory, range, policy)
    }
}
