//! The Realm's configuration and its calls to the host.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::VersionSet;
use crate::layout::{hides_registers, layout};

use VersionSet as V;

layout! {
    /// The output of `RSI_REALM_CONFIG`, 4 KiB, RMM to Realm. Bytes between fields are zero.
    ///
    table
    ///
    /// Source: DEN0137 1.0-rel0, `RsiRealmConfig`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C, align(4096))]
    #[doc(alias = "RsiRealmConfig")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct RealmConfigPage {
        pub ipa_width: u64,
        pub hash_algo: u8,
        _sbz0: [u8; 7],
        pub num_aux_planes: u64,
        pub gicv3_vtr: u32,
        _sbz1: [u8; 4],
        pub ats_plane: u64,
        _sbz2: [u8; 0x200 - 0x028],
        pub rpv: [u8; 64],
        _sbz3: [u8; 0x1000 - 0x240],
    }

    VersionSet = "RsiRealmConfig", 0x1000 bytes, aligned to 0x1000, in V::EVERY, unsure in V::NONE;
    0x000, 8, ipa_width, V::EVERY, "bits";
    0x008, 1, hash_algo, V::EVERY, "[`HashAlgorithm`](crate::realm::HashAlgorithm)";
    0x010, 8, num_aux_planes, V::SINCE_1_1, "planes beside plane 0";
    0x018, 4, gicv3_vtr, V::SINCE_1_1, "`ICH_VTR_EL2`";
    0x020, 8, ats_plane, V::SINCE_1_1, "plane that translates for devices";
    0x200, 64, rpv, V::EVERY, "Realm Personalization Value";
}

layout! {
    /// What `RSI_HOST_CALL` passes to the host and back, 256 bytes, Realm to RMM and back.
    ///
    table
    ///
    /// Source: DEN0137 1.0-rel0, `RsiHostCall`.
    #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C, align(256))]
    #[doc(alias = "RsiHostCall")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct HostCallBlock {
        pub imm: u16,
        _sbz0: [u8; 6],
        pub gprs: [u64; 31],
    }

    VersionSet = "RsiHostCall", 0x100 bytes, aligned to 0x100, in V::EVERY, unsure in V::NONE;
    0x000, 2, imm, V::EVERY,
        "which protocol is spoken; 0 is the Realm Host Interface, see [`crate::rhi`]";
    0x008, 248, gprs, V::EVERY, "X0 to X30";
}

hides_registers!(HostCallBlock);
