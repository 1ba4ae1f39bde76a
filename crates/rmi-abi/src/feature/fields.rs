//! The values of fields of the feature registers.

use num_enum::{FromPrimitive, IntoPrimitive};

/// How planes may be translated, bits 5:4 of feature register 3.
///
/// Source: DEN0137 2.0-bet3, `RmiRttPlaneFeature`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiRttPlaneFeature")]
#[non_exhaustive]
pub enum RttPlaneFeature {
    /// Each plane has its own tree.
    #[doc(alias = "AUX")]
    Aux = 0,
    /// Either, chosen when the Realm is created.
    #[doc(alias = "AUX_SINGLE")]
    AuxSingle = 1,
    /// All planes share one tree.
    #[doc(alias = "SINGLE")]
    Single = 2,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

/// Size of the memory that one entry of the level 0 granule protection table covers, bits 13:10 of
/// feature register 1; the encoding of `GPCCR_EL3.L0GPTSZ`.
///
/// Source: DEN0137 2.0-bet3, `RmiL0Gptsz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiL0Gptsz")]
#[non_exhaustive]
pub enum L0Gptsz {
    /// 1 GiB.
    #[doc(alias = "30_BITS")]
    Bits30 = 0,
    /// 16 GiB.
    #[doc(alias = "34_BITS")]
    Bits34 = 4,
    /// 64 GiB.
    #[doc(alias = "36_BITS")]
    Bits36 = 6,
    /// 512 GiB.
    #[doc(alias = "39_BITS")]
    Bits39 = 9,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

impl L0Gptsz {
    /// Size in bytes; `None` for an unknown code.
    #[must_use]
    pub const fn bytes(self) -> Option<u64> {
        match self {
            Self::Bits30 => Some(1 << 30),
            Self::Bits34 => Some(1 << 34),
            Self::Bits36 => Some(1 << 36),
            Self::Bits39 => Some(1 << 39),
            Self::Unknown(_) => None,
        }
    }
}

/// Size of the protected physical address space, bits 16:14 of feature register 1; the encoding of
/// `GPCCR_EL3.PPS`.
///
/// Source: DEN0137 2.0-bet3, `RmiPps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiPps")]
#[non_exhaustive]
pub enum Pps {
    /// 48 bits.
    #[doc(alias = "48_BITS")]
    Bits48 = 5,
    /// 52 bits.
    #[doc(alias = "52_BITS")]
    Bits52 = 6,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

impl Pps {
    /// Width in bits; `None` for an unknown code. The codes 0 to 4, which only the architecture
    /// lists, are supported here too.
    #[must_use]
    pub const fn bits(self) -> Option<u8> {
        match self {
            Self::Bits48 => Some(48),
            Self::Bits52 => Some(52),
            Self::Unknown(0) => Some(32),
            Self::Unknown(1) => Some(36),
            Self::Unknown(2) => Some(40),
            Self::Unknown(3) => Some(42),
            Self::Unknown(4) => Some(44),
            Self::Unknown(_) => None,
        }
    }
}
