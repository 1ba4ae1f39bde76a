//! Physical devices.

use core::fmt;

use num_enum::{FromPrimitive, IntoPrimitive};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::dialect::{Dialect, DialectSet};
use crate::layout::layout;
use crate::realm::HashAlgorithm;

use DialectSet as D;

/// The state of a PDEV object.
///
/// Source: DEN0137 2.0-bet3, `RmiPdevState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiPdevState")]
#[non_exhaustive]
pub enum PdevState {
    /// Created.
    #[doc(alias = "NEW")]
    New = 0,
    /// Waits for the public key of the device.
    #[doc(alias = "NEEDS_KEY")]
    NeedsKey = 1,
    /// Has the public key.
    #[doc(alias = "HAS_KEY")]
    HasKey = 2,
    /// Usable.
    #[doc(alias = "READY")]
    Ready = 3,
    /// Stopped; may be destroyed.
    #[doc(alias = "STOPPED")]
    Stopped = 4,
    /// Broken; may be stopped.
    #[doc(alias = "ERROR")]
    Error = 5,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

/// What kind of device a PDEV is, bits 2:1 of [`PdevFlags`].
///
/// Source: DEN0137 2.0-bet3, `RmiPdevCategory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiPdevCategory")]
#[non_exhaustive]
pub enum PdevCategory {
    /// A root port.
    #[doc(alias = "ROOTPORT")]
    RootPort = 0,
    /// An accelerator behind a root port.
    #[doc(alias = "ENDPOINT_ACCEL_OFF_CHIP")]
    EndpointAccelOffChip = 1,
    /// An accelerator on the chip.
    #[doc(alias = "ENDPOINT_ACCEL_ON_CHIP")]
    EndpointAccelOnChip = 2,
    /// Coherent memory (2.0-bet0).
    #[doc(alias = "CMEM")]
    #[doc(alias = "CMEM_bet0")]
    Cmem = 3,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

bitflags::bitflags! {
    /// The properties of a PDEV. [`PdevCategory`] is a field, bits 2:1.
    ///
    /// Source: DEN0137 2.0-bet3, `RmiPdevFlags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiPdevFlags")]
    pub struct PdevFlags: u64 {
        /// The device supports SPDM.
        #[doc(alias = "spdm")]
        const SPDM = 1 << 0;
        /// The low bit of the category.
        #[doc(alias = "category")]
        const CATEGORY_LSB = 1 << 1;
        /// The high bit of the category.
        #[doc(alias = "category")]
        const CATEGORY_MSB = 1 << 2;
        /// Peer to peer traffic (2.0-bet0).
        #[doc(alias = "p2p")]
        const P2P = 1 << 3;
        const _ = !0;
    }
}

layout! {
    /// The PDEV parameter page since 2.0-bet1, 4 KiB. Bytes between fields are reserved and zero.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet3, `RmiPdevParams`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiPdevParams")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct PdevParamsPage {
        pub flags: u64,
        pub hb_base: u64,
        pub pdev_id: u64,
        pub routing_id: u64,
        pub id_index: u64,
        pub rid_base: u32,
        _sbz0: [u8; 4],
        pub rid_top: u32,
        _sbz1: [u8; 4],
        pub hash_algo: u8,
        _sbz2: [u8; 0x1000 - 0x039],
    }

    DialectSet = "RmiPdevParams", 0x1000 bytes, aligned to 0x1000,
    in D::SINCE_BET1, unsure in D::NONE;
    0x000, 8, flags, D::SINCE_BET1, "[`PdevFlags`]";
    0x008, 8, hb_base, D::SINCE_BET1, "base of the host bridge (ECAM)";
    0x010, 8, pdev_id, D::SINCE_BET1, "the host's name of the device";
    0x018, 8, routing_id, D::SINCE_BET1, "routing identifier";
    0x020, 8, id_index, D::SINCE_BET1, "certificate slot";
    0x028, 4, rid_base, D::SINCE_BET1, "routing identifiers of the device, first";
    0x030, 4, rid_top, D::SINCE_BET1, "routing identifiers of the device, end";
    0x038, 1, hash_algo, D::SINCE_BET1, "[`HashAlgorithm`]";
}

layout! {
    /// The PDEV parameter page of 2.0-bet0, 4 KiB; known from its text only. Bytes between fields
    /// are reserved and zero.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet0, `RmiPdevParams`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiPdevParams")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct PdevParamsPageBet0 {
        pub flags: u64,
        pub pdev_id: u64,
        pub routing_id: u64,
        pub id_index: u64,
        pub rid_base: u16,
        _sbz0: [u8; 6],
        pub rid_top: u16,
        _sbz1: [u8; 6],
        pub hash_algo: u8,
        _sbz2: [u8; 7],
        pub max_vdevs_order: u64,
        _sbz3: [u8; 0x1000 - 0x040],
    }

    DialectSet = "RmiPdevParams", 0x1000 bytes, aligned to 0x1000, in D::BET0, unsure in D::BET0;
    0x000, 8, flags, D::BET0, "[`PdevFlags`]";
    0x008, 8, pdev_id, D::BET0, "the host's name of the device";
    0x010, 8, routing_id, D::BET0, "routing identifier";
    0x018, 8, id_index, D::BET0, "certificate slot";
    0x020, 2, rid_base, D::BET0, "routing identifiers of the device, first";
    0x028, 2, rid_top, D::BET0, "routing identifiers of the device, end";
    0x030, 1, hash_algo, D::BET0, "[`HashAlgorithm`]";
    0x038, 8, max_vdevs_order, D::BET0, "binary logarithm of the most virtual devices";
}

/// The parameters of a physical device for `RMI_PDEV_CREATE`, in any dialect of 2.0.
///
/// Source: DEN0137 2.0-bet0 and 2.0-bet3, `RmiPdevParams`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "RmiPdevParams")]
pub struct PdevParams {
    /// Whether the device supports SPDM.
    pub spdm: bool,
    /// The kind of device.
    pub category: PdevCategory,
    /// Whether it takes part in peer to peer traffic (2.0-bet0).
    pub p2p: bool,
    /// Base of the host bridge (since 2.0-bet1).
    pub hb_base: u64,
    /// The host's identifier of the device.
    pub pdev_id: u64,
    /// Its routing identifier.
    pub routing_id: u64,
    /// The certificate slot.
    pub id_index: u64,
    /// First of its routing identifiers; 16 bits in 2.0-bet0.
    pub rid_base: u32,
    /// End of its routing identifiers; 16 bits in 2.0-bet0.
    pub rid_top: u32,
    /// The algorithm that measures it.
    pub hash: HashAlgorithm,
    /// Binary logarithm of the most virtual devices (2.0-bet0).
    pub max_vdevs_order: u64,
}

/// A PDEV parameter page in the layout of some dialect.
#[derive(Clone, Copy, Debug)]
pub enum PdevParamsEncoded {
    /// The layout of 2.0-bet0.
    Bet0(PdevParamsPageBet0),
    /// The layout of all later dialects.
    SinceBet1(PdevParamsPage),
}

impl PdevParamsEncoded {
    /// The 4096 bytes of the page.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bet0(page) => page.as_bytes(),
            Self::SinceBet1(page) => page.as_bytes(),
        }
    }

    /// Reads the parameters; `None` when a flag is set that no dialect defines.
    #[must_use]
    pub fn decode(&self) -> Option<PdevParams> {
        match self {
            Self::Bet0(page) => PdevParams {
                p2p: page.flags & PdevFlags::P2P.bits() != 0,
                hb_base: 0,
                pdev_id: page.pdev_id,
                routing_id: page.routing_id,
                id_index: page.id_index,
                rid_base: page.rid_base.into(),
                rid_top: page.rid_top.into(),
                hash: page.hash_algo.into(),
                max_vdevs_order: page.max_vdevs_order,
                ..PdevParams::from_flags(page.flags & !PdevFlags::P2P.bits())?
            },
            Self::SinceBet1(page) => PdevParams {
                hb_base: page.hb_base,
                pdev_id: page.pdev_id,
                routing_id: page.routing_id,
                id_index: page.id_index,
                rid_base: page.rid_base,
                rid_top: page.rid_top,
                hash: page.hash_algo.into(),
                ..PdevParams::from_flags(page.flags)?
            },
        }
        .into()
    }
}

impl PdevParams {
    fn from_flags(flags: u64) -> Option<Self> {
        let [category, ..] = ((flags >> 1) & 0b11).to_le_bytes();
        (flags >> 3 == 0).then_some(Self {
            spdm: flags & PdevFlags::SPDM.bits() != 0,
            category: category.into(),
            p2p: false,
            hb_base: 0,
            pdev_id: 0,
            routing_id: 0,
            id_index: 0,
            rid_base: 0,
            rid_top: 0,
            hash: HashAlgorithm::Sha256,
            max_vdevs_order: 0,
        })
    }

    fn flags(&self) -> u64 {
        let mut flags = PdevFlags::from_bits_retain(u64::from(u8::from(self.category)) << 1);
        flags.set(PdevFlags::SPDM, self.spdm);
        flags.set(PdevFlags::P2P, self.p2p);
        flags.bits()
    }

    /// Lays the parameters out for `dialect`.
    ///
    /// # Errors
    ///
    /// [`PdevParamsError`] identifies the first field that the dialect cannot express.
    pub fn encode(&self, dialect: Dialect) -> Result<PdevParamsEncoded, PdevParamsError> {
        let refuse = |field| PdevParamsError { field, dialect };
        if u8::from(self.category) > 0b11 {
            return Err(refuse("category"));
        }
        match dialect {
            Dialect::V1_0 => Err(refuse("pdev")),
            Dialect::V2_0Bet0 => {
                if self.hb_base != 0 {
                    return Err(refuse("hb_base"));
                }
                let mut page = PdevParamsPageBet0::new_zeroed();
                page.flags = self.flags();
                page.pdev_id = self.pdev_id;
                page.routing_id = self.routing_id;
                page.id_index = self.id_index;
                page.rid_base = u16::try_from(self.rid_base).map_err(|_| refuse("rid_base"))?;
                page.rid_top = u16::try_from(self.rid_top).map_err(|_| refuse("rid_top"))?;
                page.hash_algo = self.hash.into();
                page.max_vdevs_order = self.max_vdevs_order;
                Ok(PdevParamsEncoded::Bet0(page))
            }
            _ => {
                if self.p2p {
                    return Err(refuse("p2p"));
                }
                if self.max_vdevs_order != 0 {
                    return Err(refuse("max_vdevs_order"));
                }
                let mut page = PdevParamsPage::new_zeroed();
                page.flags = self.flags();
                page.hb_base = self.hb_base;
                page.pdev_id = self.pdev_id;
                page.routing_id = self.routing_id;
                page.id_index = self.id_index;
                page.rid_base = self.rid_base;
                page.rid_top = self.rid_top;
                page.hash_algo = self.hash.into();
                Ok(PdevParamsEncoded::SinceBet1(page))
            }
        }
    }
}

/// A device parameter that a dialect cannot express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PdevParamsError {
    /// Name of the field of [`PdevParams`].
    pub field: &'static str,
    /// The dialect.
    pub dialect: Dialect,
}

impl fmt::Display for PdevParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "device parameter `{}` cannot be expressed in dialect {}",
            self.field, self.dialect
        )
    }
}

impl core::error::Error for PdevParamsError {}
