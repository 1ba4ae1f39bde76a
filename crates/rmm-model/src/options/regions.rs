//! Tracking regions that the host can change.

use core::num::{NonZeroU8, NonZeroU32};

use rmi_abi::GranuleSize;
use rmi_abi::granule::TrackingRegionSize;

/// How tracking regions are tracked when the RMM becomes active.
///
/// Source: the design of dynamic granules in TF-RMM (October 2026), "Activation modes".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirstTracking {
    /// All are FINE, and the RMM has the memory to track them: no change takes or returns any.
    Fine,
    /// Regions that are memory as a whole are COARSE, the others are not tracked. To become FINE
    /// they take memory.
    Coarse,
}

/// An RMM whose tracking regions the host can change.
///
/// All of these rules come together: a call that delegates or undelegates stays in one region,
/// skips what is in the wanted state already and counts that as progress, and a delegation ends
/// before the next granule that it would skip. A COARSE region changes its owner, is mapped and is
/// unmapped as a whole only. A region that is being changed, and granules of an operation that is
/// not complete, answer `RMI_BLOCKED`. A mapping is not larger than a region. Unmapping ends where
/// memory of another region begins.
///
/// Source: the design of dynamic granules in TF-RMM (October 2026).
#[derive(Clone, Copy, Debug)]
pub struct RegionOptions {
    /// How regions are tracked when the RMM becomes active.
    pub first: FirstTracking,
    /// The code by which `RMI_RMM_CONFIG_SET` selects regions of 2 MiB, which no public source
    /// tells; with `None` there are none. Code 0 is 1 GiB.
    pub code_of_2_mib: Option<NonZeroU8>,
    /// Calls of `RMI_OP_CONTINUE` after which a COARSE region is delegated, undelegated, mapped or
    /// unmapped; until then its memory belongs to the operation. With 0 it is done at once.
    pub coarse_steps: u32,
    /// Every n-th delegation of a COARSE region is rolled back: it answers `RMI_INCOMPLETE`, and
    /// then, in turn, `RMI_ERROR_TRACKING` and `RMI_BLOCKED`.
    pub roll_back_every: Option<NonZeroU32>,
}

impl RegionOptions {
    /// Regions of 1 GiB, and no delegation of one that fails or needs more than one call.
    #[must_use]
    pub const fn new(first: FirstTracking) -> Self {
        Self { first, code_of_2_mib: None, coarse_steps: 0, roll_back_every: None }
    }

    /// Whether a region takes memory to become FINE.
    pub(crate) fn takes_memory(&self) -> bool {
        self.first == FirstTracking::Coarse
    }

    /// The size of the regions of a configuration, in bytes.
    pub(crate) fn size(&self, granule: GranuleSize, code: u8) -> Option<u64> {
        match self.code_of_2_mib {
            Some(two) if two.get() == code && granule == GranuleSize::Size4KiB => Some(2 << 20),
            _ => TrackingRegionSize(code).bytes(granule),
        }
    }
}
