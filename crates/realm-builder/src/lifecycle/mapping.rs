//! Memory of a Realm: mapped, served where it faults, and taken back.

use rmi_abi::{Ipa, IpaRange, PaRange};
use rmi_host::{Failed, Platform, Undelegated};
use sro::Pool;

use crate::error::BuildError;
use crate::lifecycle::realm::{Alive, Realm};
use crate::memory::fault::Served;
use crate::memory::reclaim::Reclaimed;
use crate::memory::stopped::Stopped;

impl<P: Platform, S: Alive> Realm<'_, P, S> {
    /// Serves a fault of a REC at `ipa`: maps memory there and, to save the Realm its next faults,
    /// around it, up to the leaf table (2 MiB) that covers it and inside `window`.
    ///
    /// `supply` is asked for memory for a void range and returns a piece for its front; it is
    /// called again for what is left, until it returns `None`. A piece of 2 MiB that is aligned to
    /// that is mapped as a block. If the first piece does not reach the address, it is mapped at
    /// the address: however little there is, the fault is served. What the RMM does not map is
    /// passed to `home`.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP.
    ///
    /// Where another thread works on the same 2 MiB (it may be mapping them), this waits as long as
    /// the retry budget ([`RetryBudget`](rmi_host::RetryBudget)) allows and then returns
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
        pool: &mut Pool,
        ipa: Ipa,
        window: IpaRange,
        supply: &mut dyn FnMut(IpaRange) -> Option<Undelegated>,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<Served, BuildError> {
        self.core.serve_fault(pool, ipa, window, supply, home)
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
    /// and the others go to the pool.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn map(
        &self,
        pool: &mut Pool,
        ipa: Ipa,
        memory: Undelegated,
    ) -> Result<(), Failed<Undelegated, BuildError>> {
        self.core.map(pool, ipa, memory)
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
        pool: &mut Pool,
        ipa: Ipa,
        memory: &mut [Undelegated],
    ) -> Result<(), BuildError> {
        self.core.map_scattered(pool, ipa, memory)
    }

    /// Takes memory back from the Realm: unmaps all of a range, in all trees, and passes its memory
    /// to `home`. Blocks that extend beyond the range are split first, with granules from the pool;
    /// what that needs at both ends is obtained before anything else changes. Where the RIPAS was
    /// RAM it is DESTROYED now: the Realm cannot continue there until it asks for a change.
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
    /// memory for tables before anything changes; otherwise the reason why it stopped. Below
    /// [`Stopped::reached`] nothing is mapped any more: that memory was passed to `home`, or is in
    /// quarantine if the RMM does not return it. At that address, memory is still mapped, or may
    /// be; of what is above, some may have been returned, too. The call can be repeated.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn reclaim(
        &self,
        pool: &mut Pool,
        range: IpaRange,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<Reclaimed, Stopped> {
        self.core.reclaim(pool, range, home)
    }

    /// Takes a part of the machine's memory from this Realm, as before that memory is removed:
    /// reclaims every block that lies in it, or overlaps it, unshares what is shared of it, and
    /// passes all that to `home`. What is needed to cut shared memory at the ends is obtained
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
    pub fn evacuate(
        &self,
        pool: &mut Pool,
        memory: PaRange,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<(), Stopped> {
        self.core.evacuate(pool, memory, home)
    }
}
