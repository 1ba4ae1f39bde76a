//! Virtual devices: interfaces of physical devices, assigned to Realms.

use num_enum::{FromPrimitive, IntoPrimitive};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::AddrRange;
use crate::dialect::DialectSet;
use crate::layout::layout;

use DialectSet as D;

/// The state of a VDEV object.
///
/// Source: DEN0137 2.0-bet3, `RmiVdevState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiVdevState")]
#[non_exhaustive]
pub enum VdevState {
    /// Created.
    #[doc(alias = "NEW")]
    New = 0,
    /// Not locked; may be destroyed.
    #[doc(alias = "UNLOCKED")]
    Unlocked = 1,
    /// Locked: its configuration is fixed and can be measured.
    #[doc(alias = "LOCKED")]
    Locked = 2,
    /// Started: the Realm may use it.
    #[doc(alias = "STARTED")]
    Started = 3,
    /// Broken.
    #[doc(alias = "ERROR")]
    Error = 4,
    /// The keys of its stream are being refreshed.
    #[doc(alias = "KEY_REFRESH")]
    KeyRefresh = 5,
    /// Old keys of its stream are being purged.
    #[doc(alias = "KEY_PURGE")]
    KeyPurge = 6,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

bitflags::bitflags! {
    /// The properties of a VDEV.
    ///
    /// Source: DEN0137 2.0-bet3, `RmiVdevFlags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiVdevFlags")]
    pub struct VdevFlags: u64 {
        /// The device is behind a virtual SMMU.
        #[doc(alias = "vsmmu")]
        const VSMMU = 1 << 0;
        const _ = !0;
    }
}

layout! {
    /// The VDEV parameter page, 4 KiB, host to RMM. Bytes between fields are reserved and zero.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet3, `RmiVdevParams`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiVdevParams")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct VdevParamsPage {
        pub flags: u64,
        pub vdev_id: u64,
        pub tdi_id: u64,
        _sbz0: [u8; 8],
        pub vsmmu_addr: u64,
        pub vsid: u64,
        pub num_addr_range: u64,
        _sbz1: [u8; 0x200 - 0x038],
        pub addr_range: [AddrRange; 8],
        _sbz2: [u8; 0x1000 - 0x280],
    }

    DialectSet = "RmiVdevParams", 0x1000 bytes, aligned to 0x1000,
    in D::EVERY_2_0, unsure in D::NONE;
    0x000, 8, flags, D::EVERY_2_0, "[`VdevFlags`]";
    0x008, 8, vdev_id, D::EVERY_2_0, "the Realm's name of the device";
    0x010, 8, tdi_id, D::EVERY_2_0, "identifier of the device interface";
    0x020, 8, vsmmu_addr, D::EVERY_2_0, "PA of the virtual SMMU";
    0x028, 8, vsid, D::EVERY_2_0, "virtual stream identifier";
    0x030, 8, num_addr_range, D::EVERY_2_0, "ranges, at most 8";
    0x200, 128, addr_range, D::EVERY_2_0, "[`AddrRange`] each, PAs of the device memory";
}

bitflags::bitflags! {
    /// How a VDEV is measured.
    ///
    /// Source: DEN0137 2.0-bet3, `RmiVdevMeasureFlags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiVdevMeasureFlags")]
    pub struct VdevMeasureFlags: u64 {
        /// Measurements are requested raw, not hashed.
        #[doc(alias = "raw")]
        const RAW = 1 << 0;
        const _ = !0;
    }
}

layout! {
    /// The parameter page of `RMI_VDEV_GET_MEASUREMENTS`, 4 KiB, host to RMM. Bytes between fields
    /// are reserved and zero.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet3, `RmiVdevMeasureParams`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiVdevMeasureParams")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct VdevMeasureParamsPage {
        pub flags: u64,
        _sbz0: [u8; 0x100 - 0x008],
        pub nonce: [u8; 32],
        _sbz1: [u8; 0x1000 - 0x120],
    }

    DialectSet = "RmiVdevMeasureParams", 0x1000 bytes, aligned to 0x1000,
    in D::EVERY_2_0, unsure in D::NONE;
    0x000, 8, flags, D::EVERY_2_0, "[`VdevMeasureFlags`]";
    0x100, 32, nonce, D::EVERY_2_0, "freshness of the measurement";
}
