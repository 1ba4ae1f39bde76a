//! How the RMM tracks physical memory: tracking regions, memory categories, granule protection
//! tables.

use num_enum::{FromPrimitive, IntoPrimitive};

use crate::address::GranuleSize;

/// The size of a tracking region, a code whose meaning depends on the granule size.
///
/// 4 KiB granules: 0 is 1 GiB. 16 KiB: 0 is 32 MiB, 1 is 64 GiB. 64 KiB: 0 is 512 MiB, 1 is 4
/// TiB. 2.0-bet3 adds 2 MiB for 4 KiB granules; its code is not public, so every code is kept
/// unchanged. Source: DEN0137 2.0-bet3, `RmiTrackingRegionSize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
#[doc(alias = "RmiTrackingRegionSize")]
#[doc(alias = "RmiTrackingRegionSize_4KB")]
#[doc(alias = "RmiTrackingRegionSize_16KB")]
#[doc(alias = "RmiTrackingRegionSize_64KB")]
#[doc(alias = "1GB")]
#[doc(alias = "32MB")]
#[doc(alias = "64GB")]
#[doc(alias = "512MB")]
#[doc(alias = "4TB")]
pub struct TrackingRegionSize(pub u8);

impl TrackingRegionSize {
    /// Size in bytes; `None` for a code that the granule size does not define.
    #[must_use]
    pub const fn bytes(self, granule: GranuleSize) -> Option<u64> {
        Some(match (granule, self.0) {
            (GranuleSize::Size4KiB, 0) => 1 << 30,
            (GranuleSize::Size16KiB, 0) => 32 << 20,
            (GranuleSize::Size16KiB, 1) => 64 << 30,
            (GranuleSize::Size64KiB, 0) => 512 << 20,
            (GranuleSize::Size64KiB, 1) => 4 << 40,
            _ => return None,
        })
    }

    /// The code of a size in bytes; `None` where the granule size does not define one.
    ///
    /// ```
    /// use rmi_abi::GranuleSize;
    /// use rmi_abi::granule::TrackingRegionSize;
    ///
    /// let code = |bytes| TrackingRegionSize::of(bytes, GranuleSize::Size4KiB);
    /// assert_eq!(code(1 << 30), Some(TrackingRegionSize(0)));
    /// // 2.0-bet3 has it, but its code is not public.
    /// assert_eq!(code(2 << 20), None);
    /// ```
    #[must_use]
    pub fn of(bytes: u64, granule: GranuleSize) -> Option<Self> {
        [Self(0), Self(1)].into_iter().find(|code| code.bytes(granule) == Some(bytes))
    }
}

/// How finely the RMM tracks a region of physical memory.
///
/// Source: DEN0137 2.0-bet3, `RmiTrackingRegionState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiTrackingRegionState")]
#[non_exhaustive]
pub enum TrackingRegionState {
    /// The host may not change it.
    #[doc(alias = "RESERVED")]
    Reserved = 0,
    /// Not tracked.
    #[doc(alias = "NONE")]
    None = 1,
    /// Each granule has its own state.
    #[doc(alias = "FINE")]
    Fine = 2,
    /// The region as a whole has one state.
    #[doc(alias = "COARSE")]
    Coarse = 3,
    /// A change is in progress (2.0-bet3).
    #[doc(alias = "INTERMEDIATE")]
    Intermediate = 4,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

/// The kind of memory at a physical address.
///
/// Source: DEN0137 2.0-bet3, `RmiMemCategory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiMemCategory")]
#[non_exhaustive]
pub enum MemCategory {
    /// Conventional memory.
    #[doc(alias = "CONVENTIONAL")]
    Conventional = 0,
    /// Memory of a device, not coherent.
    #[doc(alias = "DEV_NCOH")]
    DevNcoh = 1,
    /// Memory of a device, coherent.
    #[doc(alias = "DEV_COH")]
    DevCoh = 2,
    /// Nothing (2.0-bet3).
    #[doc(alias = "NONE")]
    None = 3,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

/// Who created the granule protection tables of a range.
///
/// Source: DEN0137 2.0-bet3, `RmiGptParState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiGptParState")]
#[non_exhaustive]
pub enum GptParState {
    /// The host may not change it.
    #[doc(alias = "RESERVED")]
    Reserved = 0,
    /// The platform.
    #[doc(alias = "PLAT")]
    Plat = 1,
    /// Nobody yet; the host may create them.
    #[doc(alias = "HOST_NOT_CREATED")]
    HostNotCreated = 2,
    /// The host.
    #[doc(alias = "HOST_CREATED")]
    HostCreated = 3,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracking_regions_have_the_size_of_the_largest_blocks() {
        for (granule, code, bytes) in [
            (GranuleSize::Size4KiB, 0, Some(0x4000_0000)),
            (GranuleSize::Size4KiB, 1, None),
            (GranuleSize::Size16KiB, 1, Some(0x10_0000_0000)),
            (GranuleSize::Size64KiB, 0, Some(0x2000_0000)),
            (GranuleSize::Size64KiB, 1, Some(0x400_0000_0000)),
            (GranuleSize::Size64KiB, 2, None),
        ] {
            assert_eq!(TrackingRegionSize(code).bytes(granule), bytes);
            if let Some(bytes) = bytes {
                assert_eq!(TrackingRegionSize::of(bytes, granule), Some(TrackingRegionSize(code)));
                assert_eq!(TrackingRegionSize::of(bytes + 1, granule), None);
            }
        }
    }
}
