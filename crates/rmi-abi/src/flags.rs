//! Flag words of commands.

use num_enum::{FromPrimitive, IntoPrimitive};

/// How a map or unmap command names output addresses.
///
/// Source: DEN0137 2.0-bet3, `RmiRttAddrType`; bits 1:0 of the flags, and for a list its length in bits 15:2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiRttAddrType")]
pub enum AddrSet {
    /// Not at all (unmap only).
    None,
    /// By one address range descriptor.
    Single,
    /// By a list of descriptors in a non-secure granule.
    List {
        /// Number of descriptors, at most 16383.
        count: u16,
    },
}

impl AddrSet {
    /// Bits 15:0 of `RmiRttProtMapFlags`, `RmiRttUnmapFlags` and `RmiRttUnprotMapFlags`.
    #[must_use]
    #[doc(alias = "RmiRttProtMapFlags")]
    #[doc(alias = "RmiRttUnmapFlags")]
    pub const fn encode(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Single => 1,
            Self::List { count } => 2 | (count as u64 & 0x3fff) << 2,
        }
    }

    /// Decodes bits 15:0; `None` for the reserved type 3.
    #[must_use]
    pub fn decode(word: u64) -> Option<Self> {
        match word & 0b11 {
            0 => Some(Self::None),
            1 => Some(Self::Single),
            2 => Some(Self::List { count: u16::try_from((word >> 2) & 0x3fff).unwrap_or(0) }),
            _ => None,
        }
    }
}

/// Stage 2 memory attributes of an unprotected mapping (FEAT_S2FWB encoding of MemAttr\[2:0\]).
///
/// Source: DEN0137 2.0-bet3, `RmiRttUnprotMapFlags.memattr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[non_exhaustive]
pub enum MemAttr {
    /// Device nGnRnE.
    DeviceNGnRnE = 0,
    /// Device nGnRE.
    DeviceNGnRE = 1,
    /// Device nGRE.
    DeviceNGRE = 2,
    /// Device GRE.
    DeviceGRE = 3,
    /// Normal, non-cacheable.
    NormalNonCacheable = 5,
    /// Normal, write-back.
    NormalWriteBack = 6,
    /// The Realm's stage 1 attributes decide.
    Stage1 = 7,
    /// The reserved encoding 4, or more than three bits.
    #[num_enum(catch_all)]
    Reserved(u8),
}

/// Stage 2 access permissions of an unprotected mapping.
///
/// Source: DEN0137 2.0-bet3, `RmiRttUnprotMapFlags.s2ap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct S2Access {
    /// The Realm may read.
    pub read: bool,
    /// The Realm may write.
    pub write: bool,
}

impl S2Access {
    /// Read and write.
    pub const READ_WRITE: Self = Self { read: true, write: true };
    /// Read only.
    pub const READ_ONLY: Self = Self { read: true, write: false };

    /// The field for the direct encoding: bit 0 write, bit 1 read.
    #[must_use]
    pub const fn encode_direct(self) -> u64 {
        self.write as u64 | (self.read as u64) << 1
    }

    /// The field for the indirect encoding: 0 none, 1 read, 2 write, 3 both.
    #[must_use]
    pub const fn encode_indirect(self) -> u64 {
        self.read as u64 | (self.write as u64) << 1
    }
}

/// `RmiRttUnprotMapFlags`: how to map host memory at unprotected IPAs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiRttUnprotMapFlags")]
pub struct UnprotMapFlags {
    /// How output addresses are named.
    pub addresses: AddrSet,
    /// Memory attributes.
    pub memattr: MemAttr,
    /// The four-bit permission field, encoded as the Realm's permission encoding demands.
    pub s2ap: u8,
}

impl UnprotMapFlags {
    /// The register value.
    #[must_use]
    pub fn encode(&self) -> u64 {
        self.addresses.encode()
            | u64::from(u8::from(self.memattr) & 0b111) << 16
            | u64::from(self.s2ap & 0xf) << 19
    }

    /// Decodes a register value; `None` for the reserved address type.
    #[must_use]
    pub fn decode(word: u64) -> Option<Self> {
        Some(Self {
            addresses: AddrSet::decode(word)?,
            memattr: MemAttr::from(((word >> 16) & 0b111).to_le_bytes()[0]),
            s2ap: ((word >> 19) & 0xf).to_le_bytes()[0],
        })
    }
}

bitflags::bitflags! {
    /// `RmiDataFlags`: how a page is populated.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiDataFlags")]
    pub struct DataFlags: u64 {
        /// The content is measured, not just address and flags.
        #[doc(alias = "MEASURE_CONTENT")]
        const MEASURE = 1 << 0;
        const _ = !0;
    }

    /// `RmiContinueFlags`: how an interrupted range command goes on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiContinueFlags")]
    pub struct ContinueFlags: u64 {
        /// Finish the object in hand and stop there.
        #[doc(alias = "RmiContinueBeyond")]
        const STOP = 1 << 0;
        const _ = !0;
    }
}
