//! What a Realm with auxiliary trees can do with them.

use rmi_abi::{Ipa, IpaRange};
use rmi_host::Platform;
use rmi_host::command::AuxTree;
use sro::HostMemory;

use crate::error::BuildError;
use crate::lifecycle::realm::{NotTerminated, Realm};
use crate::memory::fault::Served;
use crate::planes::PlaneMapped;

/// # Planes
impl<P: Platform, S: NotTerminated> Realm<'_, P, S> {
    /// Shows, in an auxiliary tree, the memory that the primary tree maps in a range of the
    /// protected half; by entries of the same size. Tables come from the pool and are made first. A
    /// block that extends beyond the range is shown as a whole.
    ///
    /// Memory is shown only where its RIPAS is RAM. Other memory is skipped after the RMM has
    /// refused it: the host does not keep the RIPAS.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_AUX_CREATE, RMI_RTT_AUX_PROT_MAP; TF-RMM (July 2026),
    /// RMI_RTT_AUX_MAP_PROTECTED.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoTree`] and [`BuildError::Region`] before any call, and
    /// [`BuildError::Storage`] before a call that makes a table; otherwise the reason why it
    /// stopped. What was shown stays shown, and the call can be repeated.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn map_plane(
        &self,
        memory: &mut dyn HostMemory,
        tree: AuxTree,
        range: IpaRange,
    ) -> Result<PlaneMapped, BuildError> {
        self.core.map_plane(memory, tree, range)
    }

    /// Hides what an auxiliary tree shows in a range of the protected half. A block that extends
    /// beyond the range is hidden as a whole. Tables stay until those of the primary tree are
    /// [folded](Realm::fold).
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_AUX_PROT_UNMAP; TF-RMM (July 2026),
    /// RMI_RTT_AUX_UNMAP_PROTECTED.
    ///
    /// # Errors
    ///
    /// As [`Realm::map_plane`]. What was not hidden is still shown.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn unmap_plane(&self, tree: AuxTree, range: IpaRange) -> Result<(), BuildError> {
        self.core.unmap_plane(tree, range)
    }

    /// Serves a fault in any tree: as [`Realm::serve_fault`], and shows the memory around the
    /// address in the tree in which it was missing, up to the leaf table (2 MiB) that covers it and
    /// inside `window`. `tree` is the exit's `rtt_tree`; it has no effect where planes share a
    /// tree. What is shared with the Realm is not served: the host emulates the access, or
    /// [shows it](Realm::map_plane_shared).
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP, RMI_RTT_AUX_PROT_MAP.
    ///
    /// # Errors
    ///
    /// As [`Realm::serve_fault`] and [`Realm::map_plane`]. What was mapped before stays mapped.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn serve_plane_fault(
        &self,
        memory: &mut dyn HostMemory,
        tree: u64,
        ipa: Ipa,
        window: IpaRange,
    ) -> Result<Served, BuildError> {
        self.core.serve_plane_fault(memory, tree, ipa, window)
    }
}
