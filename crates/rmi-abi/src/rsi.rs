//! The Realm Services Interface (RSI): the requests of a Realm to the RMM.
//!
//! A host does not make these calls; it sees some of them as exits, and a model RMM or a guest
//! needs all of them. The table of commands has the structure of [`crate::commands`] and is listed
//! in [`index`], with RSI versions instead of dialects: RSI 1.0 is final, 1.1 and 2.0 are drafts as
//! TF-RMM implements them.
//!
//! Numbers that TF-RMM reserves but does not implement are not in the table: 0xc400019a
//! (`VSMMU_GET_INFO`), 0xc400019b (`VSMMU_ACTIVATE` in 1.1, `ARCH_DEV_ACTIVATE` in 2.0), 0xc40001bf
//! (`P2P_BIND`). Source: DEN0137 1.0-rel0; TF-RMM 0.8 (1.1) and July 2026 (2.0).

mod command;
mod config;
mod describe;
mod device;
pub mod index;
mod plane;
mod table;

use core::fmt;

use num_enum::{FromPrimitive, IntoPrimitive};

pub use command::{Command, Form, Param, ParamType, fid};
pub use config::{HostCallBlock, RealmConfigPage};
pub use describe::{ENUMERATIONS, REGISTERS, STRUCTURES};
pub use device::{DevInfoBlock, DevMeasureParamsBlock, VdevInfoBlock};
pub use plane::{
    PlaneEnter, PlaneEnter1_1, PlaneEnter2_0, PlaneEnterFlags, PlaneExit, PlaneExit1_1,
    PlaneExit2_0, PlaneExitReason, PlaneRunPage1_1, PlaneRunPage2_0,
};

/// A version of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Version {
    /// 1.0, final.
    V1_0,
    /// 1.1, a draft; TF-RMM 0.8.
    V1_1,
    /// 2.0, a draft; the RSI of an RMM at the level of the 2.0 betas, whose version word is still
    /// that of 1.1.
    V2_0,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 3] = [Self::V1_0, Self::V1_1, Self::V2_0];

    /// The name: `1.0`, `1.1`, `2.0`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V2_0 => "2.0",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of versions, as the tables use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VersionSet(u8);

impl VersionSet {
    /// No version.
    pub const NONE: Self = Self(0);
    /// Only 1.0.
    pub const V1_0: Self = Self::of(Version::V1_0);
    /// Only 1.1.
    pub const V1_1: Self = Self::of(Version::V1_1);
    /// Only 2.0.
    pub const V2_0: Self = Self::of(Version::V2_0);
    /// 1.1 and 2.0.
    pub const SINCE_1_1: Self = Self::V1_1.and(Self::V2_0);
    /// Every version.
    pub const EVERY: Self = Self::V1_0.and(Self::SINCE_1_1);

    /// The set that contains one version.
    #[must_use]
    pub const fn of(version: Version) -> Self {
        Self(match version {
            Version::V1_0 => 1 << 0,
            Version::V1_1 => 1 << 1,
            Version::V2_0 => 1 << 2,
        })
    }

    /// The versions of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set contains `version`.
    #[must_use]
    pub const fn contains(self, version: Version) -> bool {
        self.0 & Self::of(version).0 != 0
    }
}

/// The return code of an RSI command, all of X0.
///
/// Source: DEN0137 1.0-rel0, `RsiCommandReturnCode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u64)]
#[doc(alias = "RsiCommandReturnCode")]
#[non_exhaustive]
pub enum ReturnCode {
    /// Done.
    #[doc(alias = "RSI_SUCCESS")]
    Success = 0,
    /// An argument is wrong.
    #[doc(alias = "RSI_ERROR_INPUT")]
    ErrorInput = 1,
    /// The Realm, REC or device is in the wrong state.
    #[doc(alias = "RSI_ERROR_STATE")]
    ErrorState = 2,
    /// The command is not complete; call again.
    #[doc(alias = "RSI_INCOMPLETE")]
    Incomplete = 3,
    /// Internal error.
    #[doc(alias = "RSI_ERROR_UNKNOWN")]
    ErrorUnknown = 4,
    /// The device is not as the Realm described it (since 1.1).
    #[doc(alias = "RSI_ERROR_DEVICE")]
    ErrorDevice = 5,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u64),
}

impl ReturnCode {
    /// The answer to an unknown function identifier: SMCCC `NOT_SUPPORTED`, all ones.
    pub const NOT_SUPPORTED: Self = Self::Unknown(u64::MAX);

    /// The specification's spelling; `None` for an unknown code.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Success => "RSI_SUCCESS",
            Self::ErrorInput => "RSI_ERROR_INPUT",
            Self::ErrorState => "RSI_ERROR_STATE",
            Self::Incomplete => "RSI_INCOMPLETE",
            Self::ErrorUnknown => "RSI_ERROR_UNKNOWN",
            Self::ErrorDevice => "RSI_ERROR_DEVICE",
            Self::Unknown(_) => return None,
        })
    }
}

bitflags::bitflags! {
    /// How `RSI_IPA_STATE_SET` treats destroyed memory.
    ///
    /// Source: DEN0137 1.0-rel0, `RsiRipasChangeFlags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RsiRipasChangeFlags")]
    pub struct RipasChangeFlags: u64 {
        /// Change destroyed pages too; otherwise stop at the first.
        #[doc(alias = "destroyed")]
        const DESTROYED = 1 << 0;
        const _ = !0;
    }
}

bitflags::bitflags! {
    /// RSI feature register 0; all zero in 1.0.
    ///
    /// Source: RSI 1.1 and 2.0 drafts, `RsiFeatureRegister0`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RsiFeatureRegister0")]
    pub struct FeatureRegister0: u64 {
        /// Devices may be assigned.
        const DA = 1 << 0;
        /// Mostly read-only permissions.
        const MRO = 1 << 1;
        /// Devices may use address translation services.
        const ATS = 1 << 2;
        const _ = !0;
    }
}

/// What a plane may do with memory: the value of a permission index, 4 bits.
///
/// `u` and `p` are execution by unprivileged and by privileged code; `MRO` is mostly read-only
/// memory, with its variants for the translation tables of the plane (`TL`).
///
/// Source: RSI 1.1 and 2.0 drafts, as TF-RMM implements them. The values are those of `S2PIR_EL2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "S2PIR")]
#[non_exhaustive]
pub enum MemPermission {
    /// No access.
    None = 0,
    /// `MRO`
    MostlyReadOnly = 2,
    /// `MRO-TL1`
    MostlyReadOnlyTl1 = 3,
    /// Writing.
    WriteOnly = 4,
    /// `MRO-TL0`
    MostlyReadOnlyTl0 = 6,
    /// `MRO-TL01`
    MostlyReadOnlyTl01 = 7,
    /// Reading.
    ReadOnly = 8,
    /// Reading, `u`.
    ReadOnlyUx = 9,
    /// Reading, `p`.
    ReadOnlyPx = 10,
    /// Reading, `u` and `p`.
    ReadOnlyUpx = 11,
    /// Reading and writing.
    ReadWrite = 12,
    /// Reading and writing, `u`.
    ReadWriteUx = 13,
    /// Reading and writing, `p`.
    ReadWritePx = 14,
    /// Reading and writing, `u` and `p`: what plane 0 has everywhere.
    ReadWriteUpx = 15,
    /// A reserved value.
    #[num_enum(catch_all)]
    Unknown(u8),
}

/// The identifier of a system register in `RSI_PLANE_SYSREG_READ` and `RSI_PLANE_SYSREG_WRITE`.
///
/// Bits 2:0 Op2, 6:3 CRm, 10:7 CRn, 13:11 Op1, 15:14 Op0, 16 a 128-bit access. Source: RSI 2.0
/// draft, `RsiSysregAddress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
#[doc(alias = "RsiSysregAddress")]
pub struct SysregAddress(pub u64);

impl SysregAddress {
    /// Makes the identifier of a register; bits that do not fit a field are dropped.
    #[must_use]
    pub const fn new(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Self {
        Self(
            (op2 as u64 & 7)
                | (crm as u64 & 0xf) << 3
                | (crn as u64 & 0xf) << 7
                | (op1 as u64 & 7) << 11
                | (op0 as u64 & 3) << 14,
        )
    }

    /// Whether the access is 128 bits wide.
    #[must_use]
    #[doc(alias = "sysreg128")]
    pub const fn is_128_bit(self) -> bool {
        self.0 & (1 << 16) != 0
    }

    /// Op0, Op1, CRn, CRm, Op2.
    #[must_use]
    pub const fn parts(self) -> (u8, u8, u8, u8, u8) {
        const fn bits(word: u64, lsb: u32, width: u32) -> u8 {
            ((word >> lsb) & ((1 << width) - 1)).to_le_bytes()[0]
        }
        (
            bits(self.0, 14, 2),
            bits(self.0, 11, 3),
            bits(self.0, 7, 4),
            bits(self.0, 3, 4),
            bits(self.0, 0, 3),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_registers_are_named_by_their_encoding() {
        // SCTLR_EL1 and CNTV_CVAL_EL0.
        assert_eq!(SysregAddress::new(3, 0, 1, 0, 0).0, 0xc080);
        assert_eq!(SysregAddress::new(3, 3, 14, 3, 2).0, 0xdf1a);
        assert_eq!(SysregAddress(0xdf1a).parts(), (3, 3, 14, 3, 2));
    }

    #[test]
    fn one_number_two_commands() {
        let fid = fid::RDEV_CONTINUE;
        assert_eq!(fid, fid::VDEV_DMA_DISABLE);
        assert_eq!(Command::from_fid(fid, Version::V1_1), Some(Command::RdevContinue));
        assert_eq!(Command::from_fid(fid, Version::V2_0), Some(Command::VdevDmaDisable));
        assert_eq!(Command::from_fid(fid, Version::V1_0), None);
    }
}
