//! The Realm parameter page.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::RPV_BYTES;
use crate::dialect::DialectSet;
use crate::layout::layout;
use crate::rtt::Level;

use DialectSet as D;

layout! {
    /// The Realm parameter page, 4 KiB, host to RMM. Bytes between fields are reserved and zero.
    ///
    table
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRealmParams`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiRealmParams")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct RealmParamsPage {
        pub flags0: u64,
        pub s2sz: u8,
        _sbz0: [u8; 7],
        pub sve_vl: u8,
        _sbz1: [u8; 7],
        pub num_bps: u8,
        _sbz2: [u8; 7],
        pub num_wps: u8,
        _sbz3: [u8; 7],
        pub pmu_num_ctrs: u8,
        _sbz4: [u8; 7],
        pub hash_algo: u8,
        _sbz5: [u8; 7],
        pub num_aux_planes: u64,
        _sbz6: [u8; 0x400 - 0x040],
        pub rpv: [u8; RPV_BYTES],
        pub ats_plane: u64,
        _sbz7: [u8; 0x800 - 0x448],
        pub vmid: u16,
        _sbz8: [u8; 6],
        pub rtt_base: u64,
        pub rtt_level_start: i64,
        pub rtt_num_start: u32,
        _sbz9: [u8; 4],
        pub flags1: u64,
        pub max_num_vdevs: u64,
        _sbz10: [u8; 0xf80 - 0x830],
        pub aux_rtt_base: [u64; 3],
        _sbz11: [u8; 0x1000 - 0xf98],
    }

    DialectSet = "RmiRealmParams", 0x1000 bytes, aligned to 0x1000, in D::EVERY, unsure in D::NONE;
    0x000, 8, flags0 as "flags", D::V1_0, "[`RealmFlags0`](super::RealmFlags0)";
    0x000, 8, flags0, D::EVERY_2_0, "[`RealmFlags0`](super::RealmFlags0)";
    0x008, 1, s2sz, D::EVERY, "IPA width in bits";
    0x010, 1, sve_vl, D::EVERY, "vector length in units of 128 bits, minus one";
    0x018, 1, num_bps, D::EVERY, "breakpoints minus one; 0 is reserved";
    0x020, 1, num_wps, D::EVERY, "watchpoints minus one; 0 is reserved";
    0x028, 1, pmu_num_ctrs, D::EVERY, "PMU counters";
    0x030, 1, hash_algo, D::EVERY, "[`HashAlgorithm`](super::HashAlgorithm)";
    0x038, 8, num_aux_planes, D::EVERY_2_0, "planes beside plane 0";
    0x400, 64, rpv, D::EVERY, "Realm Personalization Value";
    0x440, 8, ats_plane, D::EVERY_2_0, "plane that translates for devices";
    0x800, 2, vmid, D::V1_0, "virtual machine identifier";
    0x808, 8, rtt_base, D::EVERY, "PA of the first root table";
    0x810, 8, rtt_level_start, D::EVERY, "signed level";
    0x818, 4, rtt_num_start, D::EVERY, "root tables, in granules";
    0x820, 8, flags1, D::EVERY_2_0, "[`RealmFlags1`](super::RealmFlags1)";
    0x828, 8, max_num_vdevs, D::BET3, "virtual devices";
    0xf80, 24, aux_rtt_base, D::EVERY_2_0,
        "PA of the first root table of each auxiliary tree, three";
}

impl RealmParamsPage {
    /// A page that is all zeros.
    #[must_use]
    pub fn zeros() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }

    /// The start level, if it is one that exists.
    #[must_use]
    #[doc(alias = "rtt_level_start")]
    pub fn start_level(&self) -> Option<Level> {
        i8::try_from(self.rtt_level_start).ok().and_then(Level::new)
    }

    /// The page whose hash is the initial measurement: only `flags0`, `s2sz`, `sve_vl`, `num_bps`,
    /// `num_wps`, `pmu_num_ctrs` and `hash_algo` are kept, the rest is zero.
    ///
    /// Source: DEN0137 1.0-rel0, "Realm Initial Measurement"; TF-RMM (July 2026) does the same.
    #[must_use]
    pub fn measured(&self) -> Self {
        let mut page = Self::new_zeroed();
        page.flags0 = self.flags0;
        page.s2sz = self.s2sz;
        page.sve_vl = self.sve_vl;
        page.num_bps = self.num_bps;
        page.num_wps = self.num_wps;
        page.pmu_num_ctrs = self.pmu_num_ctrs;
        page.hash_algo = self.hash_algo;
        page
    }
}
