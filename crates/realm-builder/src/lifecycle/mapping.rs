//! Memory of a Realm: mapped, served where it faults, and taken back.

use rmi_abi::{Ipa, IpaRange, PaRange};
use rmi_host::{Failed, Platform, Undelegated};
use sro::HostMemory;

use crate::error::BuildError;
use crate::lifecycle::realm::{NotTerminated, Realm};
use crate::memory::fault::Served;
use crate::memory::reclaim::Reclaimed;
use crate::memory::stopped::Stopped;

/// # Memory: mapped, served where it faults, taken back
impl<P: Platform, S: NotTerminated> Realm<'_, P, S> {
    /// Serves a fault of a REC at `ipa`: maps memory there and, to save the Realm its next faults,
    /// around it, inside `window` and the aligned 512 granules that it is in. With granules of
    /// 4 KiB these are what a leaf table covers, 2 MiB.
    ///
    /// [`HostMemory::allocate`] is asked for memory for a void range and returns a piece for its
    /// front; it is called again for what is left, until it returns `None`. A piece of 2 MiB that
    /// is aligned to that is mapped as a block, with granules of 4 KiB; blocks of larger granules
    /// (32 MiB, 512 MiB) are mapped by [`Realm::map`] alone. If the first piece does not reach the
    /// address, it is mapped at the address: however little there is, the fault is served. What the
    /// RMM does not map is freed.
    ///
    /// Where memory is shared at the unprotected alias, none is mapped: the range can be
    /// [made private](crate::Realm::convert_to_private) later. For a fault at such an address this
    /// is [`Served::Shared`].
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP.
    ///
    /// Where another thread works on the same granules (it may be mapping them), this waits as long
    /// as the retry budget ([`RetryBudget`](rmi_host::RetryBudget)) allows and then returns
    /// [`Served::Contended`]: enter the REC again.
    ///
    /// # Errors
    ///
    /// [`BuildError::Region`] when the window does not contain the address or is not protected,
    /// before any call, and when there is no memory for the address; otherwise the reason why the
    /// address could not be mapped. A failure that concerns only memory around it is not an error.
    ///
    /// An entry that the host has unmapped before, or of which it is unclear whether it is mapped,
    /// is read first (RMI_RTT_READ_ENTRY), and mapped only for a fault at itself: around a fault
    /// such entries are left out.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn serve_fault(
        &self,
        memory: &mut dyn HostMemory,
        ipa: Ipa,
        window: IpaRange,
    ) -> Result<Served, BuildError> {
        self.core.serve_fault(memory, ipa, window)
    }

    /// Maps memory for a Realm at an IPA where it has none. The RIPAS does not change: the Realm
    /// can access the memory where the RIPAS is RAM.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP.
    ///
    /// # Errors
    ///
    /// [`BuildError::Region`] before any call; otherwise the reason why it stopped. The memory that
    /// was not mapped is returned; if the RMM returns it in parts, the last of them is returned,
    /// and the others are freed.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn map(
        &self,
        memory: &mut dyn HostMemory,
        ipa: Ipa,
        granules: Undelegated,
    ) -> Result<(), Failed<Undelegated, BuildError>> {
        self.core.map(memory, ipa, granules)
    }

    /// As [`Realm::map`], of several pieces of memory that follow each other in the IPA space: 512
    /// of them and more in one call. Contiguous pieces are delegated together.
    ///
    /// What is mapped was removed from `memory`; what was not mapped is in it, from the front.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP.
    ///
    /// # Errors
    ///
    /// As [`Realm::map`].
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn map_scattered(
        &self,
        memory: &mut dyn HostMemory,
        ipa: Ipa,
        pieces: &mut [Undelegated],
    ) -> Result<(), BuildError> {
        self.core.map_scattered(memory, ipa, pieces)
    }

    /// Takes memory back from the Realm: unmaps all of a range, in all trees, and passes its memory
    /// back. Blocks that extend beyond the range are split first, with granules from the pool;
    /// what that needs at both ends is obtained before anything else changes. Where the dialect
    /// unmaps pages only (1.0), so are the blocks inside, before any memory is unmapped. Where the
    /// RIPAS was RAM it is DESTROYED now: the Realm cannot continue there until it asks for a
    /// change.
    ///
    /// Where another thread works on a part of the range, this waits as long as the retry budget
    /// ([`RetryBudget`](rmi_host::RetryBudget)) allows and then returns [`Reclaimed::Contended`]:
    /// repeat it later.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_CREATE, RMI_RTT_DATA_UNMAP.
    ///
    /// # Errors
    ///
    /// [`Stopped`]: [`BuildError::Region`] before any call, [`BuildError::Storage`] and a lack of
    /// memory for tables before anything is unmapped; otherwise the reason why it stopped. Below
    /// [`Stopped::reached`] nothing is mapped any more: that memory was freed, or is in
    /// quarantine if the RMM does not return it. At that address, memory is still mapped, or may
    /// be; of what is above, some may have been returned, too. The call can be repeated.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn reclaim(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
    ) -> Result<Reclaimed, Stopped> {
        self.core.reclaim(memory, range)
    }

    /// Takes a part of the machine's memory from this Realm, as before that memory is removed:
    /// reclaims every block that lies in it, or overlaps it, unshares what is shared of it, and
    /// frees all that. What is needed to cut shared memory at the ends is obtained
    /// before any memory is moved.
    ///
    /// The Realm's tables and descriptors are not moved: no command does that.
    ///
    /// # Errors
    ///
    /// As [`Realm::reclaim`] and [`Realm::unshare`]; where another thread works on a part for
    /// longer than the retry budget ([`RetryBudget`](rmi_host::RetryBudget)) allows,
    /// [`BuildError::Contended`]. Below [`Stopped::reached`] nothing of the memory is mapped or
    /// shared any more, except what other threads have mapped or shared there since. The call can
    /// be repeated.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn evacuate(&self, memory: &mut dyn HostMemory, pas: PaRange) -> Result<(), Stopped> {
        self.core.evacuate(memory, pas)
    }
}
