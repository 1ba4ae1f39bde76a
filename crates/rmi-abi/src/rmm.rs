//! The RMM itself: its configuration page and activation state.

use num_enum::{FromPrimitive, IntoPrimitive};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::address::GranuleSize;
use crate::dialect::DialectSet;
use crate::granule::TrackingRegionSize;
use crate::layout::layout;

use DialectSet as D;

layout! {
    /// The RMM configuration page, 4 KiB, host to RMM (set) and RMM to host (get). Bytes between
    /// fields are reserved and zero.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet3, `RmiRmmConfig`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiRmmConfig")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct RmmConfigPage {
        pub tracking_region_size: u8,
        _sbz0: [u8; 7],
        pub rmi_granule_size: u8,
        _sbz1: [u8; 0x1000 - 9],
    }

    DialectSet = "RmiRmmConfig", 0x1000 bytes, aligned to 0x1000,
    in D::EVERY_2_0, unsure in D::NONE;
    0x000, 1, tracking_region_size, D::EVERY_2_0,
        "[`TrackingRegionSize`], a code whose meaning depends on the granule size";
    0x008, 1, rmi_granule_size, D::EVERY_2_0, "`RmiGranuleSize`, see [`GranuleSize::from_code`]";
}

/// What `RMI_RMM_CONFIG_SET` sets and `RMI_RMM_CONFIG_GET` reads.
///
/// Source: DEN0137 2.0-bet3, `RmiRmmConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiRmmConfig")]
pub struct RmmConfig {
    /// The size of a granule.
    pub granule: GranuleSize,
    /// The size of a tracking region, a code relative to the granule size.
    pub tracking: TrackingRegionSize,
}

impl RmmConfig {
    /// Lays the configuration out; the same in all dialects of 2.0.
    #[must_use]
    pub fn encode(&self) -> RmmConfigPage {
        let mut page = RmmConfigPage::new_zeroed();
        page.tracking_region_size = self.tracking.0;
        page.rmi_granule_size = self.granule.code();
        page
    }
}

impl RmmConfigPage {
    /// Reads the configuration; `None` for a granule size that does not exist.
    #[must_use]
    pub const fn decode(&self) -> Option<RmmConfig> {
        match GranuleSize::from_code(self.rmi_granule_size) {
            Some(granule) => {
                let tracking = TrackingRegionSize(self.tracking_region_size);
                Some(RmmConfig { granule, tracking })
            }
            None => None,
        }
    }
}

/// The activation state of the RMM, as `RMI_RMM_STATE_GET` reports it.
///
/// The numbers are those of TF-RMM (July 2026), which uses them internally only; it is not
/// confirmed that the command reports the same ones. Source: DEN0137 2.0-bet3, `RmiRmmState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiRmmState")]
#[non_exhaustive]
pub enum RmmState {
    /// Not activated: only configuration commands are accepted.
    #[doc(alias = "INIT")]
    Init = 0,
    /// An activation or deactivation is in progress.
    #[doc(alias = "INTERMEDIATE")]
    Intermediate = 1,
    /// Every command is accepted.
    #[doc(alias = "ACTIVE")]
    Active = 2,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}
