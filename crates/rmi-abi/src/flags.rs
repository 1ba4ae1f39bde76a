//! Flag words of commands.

use num_enum::{FromPrimitive, IntoPrimitive};

use crate::address::Pa;

/// How a map or unmap command passes output addresses.
///
/// Source: DEN0137 2.0-bet3, `RmiRttAddrType`; bits 1:0 of the flags, and for a list its length in
/// bits 15:2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiRttAddrType")]
#[doc(alias = "oaddr_type")]
pub enum AddrSet {
    /// Not at all (unmap only).
    None,
    /// By one address range descriptor.
    Single,
    /// By a list of descriptors in a non-secure granule.
    List {
        /// Number of descriptors, at most 16383.
        #[doc(alias = "list_count")]
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
    /// The Realm's stage 1 attributes apply.
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

    /// Decodes the direct encoding; `None` when a higher bit is set.
    #[must_use]
    pub const fn decode_direct(field: u64) -> Option<Self> {
        match field {
            0..=3 => Some(Self { read: field & 2 != 0, write: field & 1 != 0 }),
            _ => None,
        }
    }

    /// Decodes the indirect encoding; `None` for a value above 3.
    #[must_use]
    pub const fn decode_indirect(field: u64) -> Option<Self> {
        match field {
            0..=3 => Some(Self { read: field & 1 != 0, write: field & 2 != 0 }),
            _ => None,
        }
    }

    /// The field for the indirect encoding: 0 none, 1 read, 2 write, 3 both.
    #[must_use]
    pub const fn encode_indirect(self) -> u64 {
        self.read as u64 | (self.write as u64) << 1
    }
}

/// `RmiRttUnprotMapFlags`: how to map host memory at unprotected IPAs.
///
/// Attributes are in bits 18:16, permissions in 22:19; bits outside the fields are ignored when
/// decoding. Source: DEN0137 2.0-bet3, `RmiRttUnprotMapFlags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiRttUnprotMapFlags")]
pub struct UnprotMapFlags {
    /// How output addresses are passed.
    pub addresses: AddrSet,
    /// Memory attributes.
    pub memattr: MemAttr,
    /// The four-bit permission field, in the permission encoding of the Realm.
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

/// `RmiRttAuxMapFlags`: how to map in an auxiliary tree.
///
/// Source: DEN0137 2.0-bet3, `RmiRttAuxMapFlags`. Bits outside the fields are ignored when
/// decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiRttAuxMapFlags")]
pub struct AuxMapFlags {
    /// Index of the tree, bits 1:0: 1 to 3.
    pub tree_index: u8,
    /// Map a block where the primary tree has one, bit 2.
    pub block: bool,
    /// The bit `invalid_pri`, bit 3; its meaning is not public.
    pub invalid_pri: bool,
}

impl AuxMapFlags {
    /// The register value; an index above 3 loses its top bits.
    #[must_use]
    pub const fn encode(self) -> u64 {
        self.tree_index as u64 & 0b11 | (self.block as u64) << 2 | (self.invalid_pri as u64) << 3
    }

    /// Decodes a register value. Every value decodes.
    #[must_use]
    pub const fn decode(word: u64) -> Self {
        let [tree_index, ..] = (word & 0b11).to_le_bytes();
        Self { tree_index, block: word & (1 << 2) != 0, invalid_pri: word & (1 << 3) != 0 }
    }
}

/// `RmiRttAuxUnmapFlags`: how to unmap in an auxiliary tree.
///
/// Source: DEN0137 2.0-bet3, `RmiRttAuxUnmapFlags`. Bits outside the field are ignored when
/// decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiRttAuxUnmapFlags")]
pub struct AuxUnmapFlags {
    /// Index of the tree, bits 1:0: 1 to 3.
    pub tree_index: u8,
}

impl AuxUnmapFlags {
    /// The register value; an index above 3 loses its top bits.
    #[must_use]
    pub const fn encode(self) -> u64 {
        self.tree_index as u64 & 0b11
    }

    /// Decodes a register value. Every value decodes.
    #[must_use]
    pub const fn decode(word: u64) -> Self {
        let [tree_index, ..] = (word & 0b11).to_le_bytes();
        Self { tree_index }
    }
}

/// What `RMI_RTT_MAP_UNPROTECTED` of 1.0 maps: address, attributes and permissions in one word.
///
/// Memory attributes are in bits 4:2, permissions in 7:6 (as [`S2Access::encode_indirect`] encodes
/// them), the address in 47:12. A Realm with LPA2 has address bits 49:48 in place and 51:50 in bits
/// 9:8. Source: DEN0137 1.0-rel0, `RMI_RTT_MAP_UNPROTECTED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "UnprotectedDescriptor")]
pub struct UnprotectedDesc {
    /// Where the memory is.
    #[doc(alias = "OA_47_12")]
    #[doc(alias = "OA_49_48_LPA2")]
    #[doc(alias = "OA_51_50_LPA2")]
    pub address: Pa,
    /// Memory attributes.
    pub memattr: MemAttr,
    /// Access permissions.
    pub s2ap: S2Access,
}

impl UnprotectedDesc {
    const LOW: u64 = (1 << 50) - (1 << 12);

    /// The word; `None` when the address is not 4 KiB aligned or too wide (48 bits, or 52 with
    /// LPA2).
    #[must_use]
    pub fn encode(&self, lpa2: bool) -> Option<u64> {
        let address = self.address.raw();
        let width = if lpa2 { 52 } else { 48 };
        if address >> width != 0 || !self.address.is_aligned(0x1000) {
            return None;
        }
        Some(
            address & Self::LOW
                | (address >> 50) << 8
                | u64::from(u8::from(self.memattr) & 0b111) << 2
                | self.s2ap.encode_indirect() << 6,
        )
    }

    /// Decodes a word; `None` when a bit outside the fields is set.
    #[must_use]
    pub fn decode(word: u64, lpa2: bool) -> Option<Self> {
        let mask = if lpa2 { Self::LOW | 0b11 << 8 } else { (1 << 48) - (1 << 12) };
        if word & !(mask | 0b111 << 2 | 0b11 << 6) != 0 {
            return None;
        }
        let [memattr, ..] = ((word >> 2) & 0b111).to_le_bytes();
        Some(Self {
            address: Pa::new(word & Self::LOW | ((word >> 8) & 0b11) << 50),
            memattr: memattr.into(),
            s2ap: S2Access { read: word & (1 << 6) != 0, write: word & (1 << 7) != 0 },
        })
    }
}

bitflags::bitflags! {
    /// `RmiDataFlags`: how a page is populated.
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiDataFlags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiDataFlags")]
    pub struct DataFlags: u64 {
        /// The content is measured, in addition to the address and the flags.
        #[doc(alias = "RmiDataMeasureContent")]
        #[doc(alias = "RMI_MEASURE_CONTENT")]
        #[doc(alias = "RMI_NO_MEASURE_CONTENT")]
        #[doc(alias = "NO_MEASURE")]
        const MEASURE = 1 << 0;
        const _ = !0;
    }

    /// `RmiContinueFlags`: how an interrupted range command continues.
    ///
    /// Source: DEN0137 2.0-bet3, `RmiContinueFlags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiContinueFlags")]
    pub struct ContinueFlags: u64 {
        /// Finish the current object and stop there.
        #[doc(alias = "RmiContinueBeyond")]
        #[doc(alias = "KEEP_GOING")]
        #[doc(alias = "beyond")]
        const STOP = 1 << 0;
        const _ = !0;
    }
}
