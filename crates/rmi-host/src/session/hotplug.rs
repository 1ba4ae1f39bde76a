//! Memory that is added to the machine or removed from it.

use rmi_abi::PaRange;

use super::{Rmm, TrackingError};
#[cfg(feature = "alloc")]
use crate::ledger::{Holding, Ownership};
use crate::platform::Platform;

/// # Memory that the machine gains and loses
impl<P: Platform> Rmm<P> {
    /// To be called when memory was added, before any of it is delegated: checks that all of it can
    /// be delegated. As [`Rmm::check_memory`].
    ///
    /// # Errors
    ///
    /// [`TrackingError`] names the first part that cannot be delegated. Such memory can be used for
    /// anything that is not a Realm's.
    pub fn memory_added(&self, memory: PaRange) -> Result<(), TrackingError> {
        self.check_memory(memory)
    }

    /// To be called before memory is removed from the machine: checks that the RMM has none of it.
    /// `ownership` has the records of the [`OwnershipMap`](crate::OwnershipMap) of this session.
    ///
    /// Only the records are read: no command is issued, so this may be called inside
    /// [`OwnershipMap::with`](crate::OwnershipMap::with). Its time is proportional to the number of
    /// ranges in them.
    ///
    /// Memory of running Realms can be reclaimed; their tables and descriptors, and what was
    /// donated, stay where they are until the Realms are destroyed.
    ///
    /// ```
    /// # use rmi_abi::{Dialect, PaRange};
    /// # use rmi_host::ledger::Holding;
    /// # use rmi_host::{OwnershipMap, Platform};
    /// # use rmm_model::{Model, Options};
    /// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
    /// # let mut memory = model.take_memory();
    /// # let platform = model.host().with_ledger(OwnershipMap::default());
    /// # let rmm = rmm_model::open(platform, &mut memory)?;
    /// let module = memory.range();
    /// rmm.memory_added(module)?;
    /// let granule = rmm.delegate(memory.take_front(0x1000).expect("1 GiB"))?;
    ///
    /// let stays =
    ///     rmm.platform().ledger().with(|ownership| rmm.memory_removing(ownership, module));
    /// assert_eq!(stays, Err((granule.range(), Holding::Delegated)));
    ///
    /// rmm.undelegate(granule)?;
    /// assert_eq!(
    ///     rmm.platform().ledger().with(|ownership| rmm.memory_removing(ownership, module)),
    ///     Ok(())
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first range of it that the RMM has, or a Realm may access, with its holding.
    #[cfg(feature = "alloc")]
    pub fn memory_removing(
        &self,
        ownership: &Ownership,
        memory: PaRange,
    ) -> Result<(), (PaRange, Holding)> {
        let stays =
            |(range, holding): &(PaRange, Holding)| holding.is_in_use() && range.overlaps(&memory);
        match ownership.ranges().find(stays) {
            Some((range, holding)) => Err((range.intersection(&memory).unwrap_or(range), holding)),
            None => Ok(()),
        }
    }
}
