//! Streams: protected links between physical devices.

use num_enum::{FromPrimitive, IntoPrimitive};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::AddrRange;
use crate::dialect::DialectSet;
use crate::layout::layout;

use DialectSet as D;

/// The traffic of a stream.
///
/// Source: DEN0137 2.0-bet3, `RmiPdevStreamType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiPdevStreamType")]
#[non_exhaustive]
pub enum PdevStreamType {
    /// Traffic outside of Realms.
    #[doc(alias = "NON_TEE")]
    NonTee = 0,
    /// Not coherent, endpoint to root port.
    #[doc(alias = "NCOH")]
    Ncoh = 1,
    /// Coherent, endpoint to root port.
    #[doc(alias = "COH")]
    Coh = 2,
    /// Not coherent, protected by the system.
    #[doc(alias = "NCOH_SYS")]
    NcohSys = 3,
    /// Coherent, protected by the system.
    #[doc(alias = "COH_SYS")]
    CohSys = 4,
    /// Not coherent, peer to peer (2.0-bet0).
    #[doc(alias = "NCOH_P2P")]
    #[doc(alias = "NCOH_P2P_bet0")]
    NcohP2p = 5,
    /// Coherent memory (2.0-bet0).
    #[doc(alias = "COH_CMEM")]
    #[doc(alias = "COH_CMEM_bet0")]
    CohCmem = 6,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

layout! {
    /// The parameter page of `RMI_PDEV_STREAM_CONNECT`, 4 KiB, host to RMM. Bytes between fields
    /// are reserved and zero.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet3, `RmiPdevStreamParams`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiPdevStreamParams")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct PdevStreamParamsPage {
        pub flags: u64,
        pub stream_type: u8,
        _sbz0: [u8; 7],
        pub pdev_1: u64,
        pub pdev_2: u64,
        pub ide_sid: u64,
        pub num_addr_range: u64,
        _sbz1: [u8; 0x100 - 0x030],
        pub addr_range: [AddrRange; 16],
        _sbz2: [u8; 0x1000 - 0x200],
    }

    DialectSet = "RmiPdevStreamParams", 0x1000 bytes, aligned to 0x1000,
    in D::EVERY_2_0, unsure in D::NONE;
    0x000, 8, flags, D::EVERY_2_0, "all bits reserved";
    0x008, 1, stream_type, D::EVERY_2_0, "[`PdevStreamType`]";
    0x010, 8, pdev_1, D::EVERY_2_0, "PA of the first PDEV";
    0x018, 8, pdev_2, D::EVERY_2_0, "PA of the second PDEV";
    0x020, 8, ide_sid, D::EVERY_2_0, "IDE stream identifier";
    0x028, 8, num_addr_range, D::EVERY_2_0, "ranges, at most 16";
    0x100, 256, addr_range, D::EVERY_2_0, "[`AddrRange`] each, PAs that the stream covers";
}
