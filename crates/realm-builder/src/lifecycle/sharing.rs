//! Memory that the host shares with a Realm, and conversions.

use rmi_abi::{Ipa, IpaRange, PaRange};
use rmi_host::command::SharedAccess;
use rmi_host::{Platform, Undelegated};
use sro::HostMemory;

use crate::error::BuildError;
use crate::lifecycle::realm::{NotTerminated, Realm};
use crate::memory::convert::{ConvertStopped, Converted};
use crate::memory::share::NotShared;
use crate::memory::stopped::Stopped;

/// # Memory that the host shares
impl<P: Platform, S: NotTerminated> Realm<'_, P, S> {
    /// Shares host memory with the Realm at an unprotected IPA, by the largest blocks that
    /// alignment and the tables there allow. Where the host maps the memory for itself, `access`
    /// should have the same attributes and permissions as that mapping. The permission encoding is
    /// always the Realm's, whatever `access` says.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_UNPROT_MAP.
    ///
    /// # Errors
    ///
    /// [`NotShared`]: [`BuildError::Region`] before any call, [`BuildError::Storage`] and a lack of
    /// memory for tables before anything is shared; otherwise the reason why it stopped, and how
    /// far it came. What is not shared is returned; if it is returned in parts, the last of them is
    /// in the error, and the others are freed.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn share(
        &self,
        memory: &mut dyn HostMemory,
        ipa: Ipa,
        granules: Undelegated,
        access: SharedAccess,
    ) -> Result<(), NotShared> {
        self.core.share(memory, ipa, granules, access)
    }

    /// Takes back all shared memory in a range, and frees it. A piece that begins before
    /// the range, or a block that extends beyond it, is split first; what that needs at both ends
    /// is obtained before anything else changes.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_UNPROT_UNMAP.
    ///
    /// # Errors
    ///
    /// [`Stopped`]: [`BuildError::Region`] before any call; before anything changes,
    /// [`BuildError::Storage`] when the range cuts pieces and there is no storage to record the
    /// parts, and a lack of memory for tables; otherwise the reason why it stopped. Below
    /// [`Stopped::reached`] nothing is shared any more: that memory was freed. The rest
    /// stays shared, and the call can be repeated.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn unshare(&self, memory: &mut dyn HostMemory, range: IpaRange) -> Result<(), Stopped> {
        self.core.unshare(memory, range)
    }

    /// Changes how the Realm may access shared memory, for instance to let it write where the host
    /// had mapped for reading: unmaps all that is shared in a range and maps it again, piece by
    /// piece. Blocks that extend beyond the range are split first, as by [`Realm::unshare`].
    ///
    /// The Realm faults if it accesses the memory in between. Faults in the protected half of the
    /// range are not served meanwhile ([`Served::Contended`](crate::Served::Contended)). With an
    /// RMM that takes ranges, auxiliary trees no longer show a root entry in which nothing else is
    /// shared.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_UNPROT_UNMAP, RMI_RTT_UNPROT_MAP.
    ///
    /// # Errors
    ///
    /// As [`Realm::unshare`] before anything changes; otherwise the reason why it stopped. What is
    /// shared below [`Stopped::reached`] is shared with the new access, and the call can be
    /// repeated. Memory that was unmapped and could not be mapped again is freed: there
    /// nothing is shared any more.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn reshare(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        access: SharedAccess,
    ) -> Result<(), Stopped> {
        self.core.reshare(memory, range, access)
    }

    /// Makes a range shared: reclaims its private memory, and shares the same memory at the
    /// unprotected alias of its IPA. The Realm asked for that by a change of the RIPAS to EMPTY,
    /// which has been [applied](Realm::set_ripas); the content is lost.
    ///
    /// Where the range has no memory (a guest shares buffers before it touches them),
    /// [`HostMemory::allocate`] is asked for some, as for a fault: for a part, of which it returns
    /// the front, until it returns nothing. What it returns is shared; what it does not return is
    /// [`Converted::without_memory`], and nothing is shared there. What is shared already stays so
    /// and counts.
    ///
    /// What it needs is obtained first: records of shared memory, tables at the alias, and tables
    /// that split blocks at the ends of the range (where the dialect unmaps pages only, 1.0, also
    /// inside), all for what is mapped. Then memory is moved, run by run.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_UNMAP, RMI_RTT_UNPROT_MAP.
    ///
    /// # Errors
    ///
    /// [`BuildError::Region`] before any call, with [`Overlap`](crate::RegionProblem::Overlap)
    /// among others: an address has memory in both halves. [`BuildError::Contended`],
    /// [`BuildError::Storage`], and a lack of memory for tables, before anything is unmapped.
    /// Otherwise the reason why it stopped, as [`Realm::reclaim`] and [`Realm::share`], and
    /// [`Withheld`](crate::RegionProblem::Withheld); [`Unaligned`](crate::RegionProblem::Unaligned)
    /// also where [`HostMemory::allocate`] returns what is not whole granules, which is freed.
    /// Memory that was reclaimed and could not be shared is freed, too.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn convert_to_shared(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        access: SharedAccess,
    ) -> Result<Converted, ConvertStopped> {
        self.core.convert_to_shared(memory, range, access)
    }

    /// Makes a range private: unshares what is shared at its unprotected alias, and maps the same
    /// memory in the range. The Realm can access it, with unspecified content, where it has made
    /// the RIPAS RAM.
    ///
    /// A part that has no memory in either half gets none, and is [`Converted::without_memory`]:
    /// the Realm faults there. What is private already stays so and counts.
    ///
    /// What it needs is obtained first: tables in the range, places for the records of pieces that
    /// it cuts, and tables that split blocks at the ends of the alias. Then memory is moved, piece
    /// by piece.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_UNPROT_UNMAP, RMI_RTT_DATA_MAP.
    ///
    /// # Errors
    ///
    /// As [`Realm::convert_to_shared`]; otherwise the reason why it stopped, as [`Realm::unshare`]
    /// and [`Realm::map`]. Memory that was unshared and could not be mapped is freed.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn convert_to_private(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
    ) -> Result<Converted, ConvertStopped> {
        self.core.convert_to_private(memory, range)
    }

    /// Copies `into.len()` bytes out of memory that is shared with the Realm, from any byte of the
    /// unprotected half on. The bytes may lie in several pieces of memory. The Realm may write to
    /// them at any time: nothing that is read can be trusted, or read a second time with the same
    /// result.
    ///
    /// No other thread unshares the memory meanwhile; others may read it. No call is made, and the
    /// lock of the Realm is not held while bytes are copied.
    ///
    /// # Errors
    ///
    /// Before anything is copied: [`BuildError::Region`] with
    /// [`NotUnprotected`](crate::RegionProblem::NotUnprotected) or
    /// [`NotShared`](crate::RegionProblem::NotShared), and [`BuildError::Contended`] where another
    /// thread changes or writes the memory for longer than the retry budget
    /// ([`RetryBudget`](rmi_host::RetryBudget)) allows to wait. [`BuildError::Call`] with
    /// [`Error::Access`](rmi_host::Error::Access) when the host cannot read there; `into` is then
    /// unspecified.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn read_shared(&self, ipa: Ipa, into: &mut [u8]) -> Result<(), BuildError> {
        self.core.read_shared(ipa, into)
    }

    /// Copies `from` into memory that is shared with the Realm, from any byte of the unprotected
    /// half on. The bytes may lie in several pieces of memory. The Realm may see them in any order.
    ///
    /// No other thread unshares, reads or writes the memory by the Realm's addresses meanwhile;
    /// this holds for whole granules. No call is made, and the lock of the Realm is not held while
    /// bytes are copied.
    ///
    /// # Errors
    ///
    /// As [`Realm::read_shared`]; when the host cannot write there, the memory is unspecified.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn write_shared(&self, ipa: Ipa, from: &[u8]) -> Result<(), BuildError> {
        self.core.write_shared(ipa, from)
    }

    /// Visits the parts of a range that are shared with the Realm, with their physical addresses:
    /// the pieces in the order of their IPAs, each contiguous in both address spaces. Returns how
    /// many bytes they are together; where that is less than the range, there are gaps.
    ///
    /// For devices that do DMA, and to see the result of a conversion. No thread unshares the
    /// memory while `each` runs; after that the host has to stop a device before it unshares memory
    /// that the device accesses. In `each` the memory can be read ([`Realm::read_shared`]) and not
    /// be changed: an attempt is [`BuildError::Contended`]. No call is made, and the lock of the
    /// Realm is not held while `each` runs.
    ///
    /// # Errors
    ///
    /// [`BuildError::Region`] when the range is empty, unaligned or not in the unprotected half,
    /// and [`BuildError::Contended`] as [`Realm::read_shared`].
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn shared_pieces(
        &self,
        range: IpaRange,
        each: &mut dyn FnMut(IpaRange, PaRange),
    ) -> Result<u64, BuildError> {
        self.core.shared_pieces(range, each)
    }

    /// The memory that is shared at an IPA, as far as it is one piece.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn shared_at(&self, ipa: Ipa) -> Option<IpaRange> {
        self.core.shared_at(ipa)
    }
}

impl<P: Platform, S> Realm<'_, P, S> {
    /// Bytes of host memory that are shared with the Realm, or may be.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn shared_bytes(&self) -> u64 {
        self.core.shared_bytes()
    }
}
