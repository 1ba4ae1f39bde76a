//! Coherent memory devices (2.0-bet0 only).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::AddrRange;
use crate::dialect::DialectSet;
use crate::layout::layout;

use DialectSet as D;

layout! {
    /// The parameter page of `RMI_CMEM_CREATE`, 4 KiB; known from the 2.0-bet0 text only. Bytes
    /// between fields are reserved and zero.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet0, `RmiCmemParams`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiCmemParams")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct CmemParamsPage {
        pub flags: u64,
        pub chbcr_addr: u64,
        pub hb_hdm_id: u8,
        _sbz0: [u8; 7],
        pub addr_range: AddrRange,
        pub ilv_gran: u64,
        pub ilv_ways: u64,
        _sbz1: [u8; 0x1000 - 0x038],
    }

    DialectSet = "RmiCmemParams", 0x1000 bytes, aligned to 0x1000, in D::BET0, unsure in D::BET0;
    0x000, 8, flags, D::BET0, "all bits reserved";
    0x008, 8, chbcr_addr, D::BET0, "PA of the host bridge's component registers";
    0x010, 1, hb_hdm_id, D::BET0, "decoder of the host bridge";
    0x018, 16, addr_range, D::BET0, "[`AddrRange`], PAs of the memory, aligned to 256 MiB";
    0x028, 8, ilv_gran, D::BET0, "interleave granularity, as the decoder encodes it";
    0x030, 8, ilv_ways, D::BET0, "interleave ways, as the decoder encodes them";
}

layout! {
    /// The parameter page of `RMI_CMEM_ADD_PDEV`, 4 KiB; known from the 2.0-bet0 text only. Bytes
    /// between fields are reserved and zero.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet0, `RmiCmemPdevParams`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiCmemPdevParams")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct CmemPdevParamsPage {
        pub dev_hdm_id: u8,
        _sbz0: [u8; 7],
        pub dpa_skip_range: u64,
        _sbz1: [u8; 0x1000 - 0x010],
    }

    DialectSet = "RmiCmemPdevParams", 0x1000 bytes, aligned to 0x1000,
    in D::BET0, unsure in D::BET0;
    0x000, 1, dev_hdm_id, D::BET0, "decoder of the device";
    0x008, 8, dpa_skip_range, D::BET0, "device addresses to skip";
}
