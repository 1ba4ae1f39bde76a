//! What the RMM reports to a Realm about its devices.
//!
//! Source: RSI 1.1 and 2.0 drafts, as TF-RMM implements them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::VersionSet;
use crate::layout::layout;

use VersionSet as V;

layout! {
    /// The output of `RSI_RDEV_GET_INFO` in the 1.1 draft, 512 bytes, RMM to Realm.
    ///
    table
    ///
    /// Source: RSI 1.1 draft, `RsiDevInfo`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C, align(512))]
    #[doc(alias = "RsiDevInfo")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct DevInfoBlock {
        pub flags: u64,
        pub attest_type: u64,
        pub cert_id: u64,
        pub hash_algo: u8,
        _unread0: [u8; 0x040 - 0x019],
        pub cert_digest: [u8; 64],
        pub meas_digest: [u8; 64],
        pub report_digest: [u8; 64],
        _unread1: [u8; 0x200 - 0x100],
    }

    VersionSet = "RsiDevInfo", 0x200 bytes, aligned to 0x200, in V::V1_1, unsure in V::NONE;
    0x000, 8, flags, V::V1_1, "bits without public meaning";
    0x008, 8, attest_type, V::V1_1, "how the device attests";
    0x010, 8, cert_id, V::V1_1, "certificate slot";
    0x018, 1, hash_algo, V::V1_1, "[`HashAlgorithm`](crate::realm::HashAlgorithm)";
    0x040, 64, cert_digest, V::V1_1, "hash of the certificate chain";
    0x080, 64, meas_digest, V::V1_1, "hash of the measurements";
    0x0c0, 64, report_digest, V::V1_1, "hash of the interface report";
}

layout! {
    /// The parameters of `RSI_RDEV_GET_MEASUREMENTS` as TF-RMM 0.8 compiles them. The 1.1 draft
    /// intends `indices` at 0x100, `nonce` at 0x200 and a size of 0x1000 bytes; an error in a macro
    /// moved them.
    ///
    table
    ///
    /// Source: RSI 1.1 draft, `RsiDevMeasureParams`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RsiDevMeasureParams")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct DevMeasureParamsBlock {
        pub flags: u64,
        pub indices: [u8; 32],
        _sbz0: [u8; 0x108 - 0x028],
        pub nonce: [u8; 32],
        _sbz1: [u8; 0xf08 - 0x128],
    }

    VersionSet = "RsiDevMeasureParams", 0xf08 bytes, aligned to 8, in V::V1_1, unsure in V::NONE;
    0x000, 8, flags, V::V1_1, "bits without public meaning";
    0x008, 32, indices, V::V1_1, "which measurements, a bitmap";
    0x108, 32, nonce, V::V1_1, "freshness of the measurement";
}

layout! {
    /// The output of `RSI_VDEV_GET_INFO` in the 2.0 draft, 512 bytes, RMM to Realm.
    ///
    table
    ///
    /// Source: RSI 2.0 draft, `RsiVdevInfo`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C, align(512))]
    #[doc(alias = "RsiVdevInfo")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct VdevInfoBlock {
        pub flags: u64,
        pub cert_id: u64,
        pub hash_algo: u8,
        _unread0: [u8; 7],
        pub lock_nonce: u64,
        pub meas_nonce: u64,
        pub report_nonce: u64,
        pub format_type: u8,
        _unread1: [u8; 7],
        pub format_version: u64,
        pub state: u8,
        _unread2: [u8; 0x080 - 0x041],
        pub vca_digest: [u8; 64],
        pub cert_digest: [u8; 64],
        pub pubkey_digest: [u8; 64],
        pub meas_digest: [u8; 64],
        pub report_digest: [u8; 64],
        pub vsmmu_addr: u64,
        pub vsmmu_vsid: u64,
        _unread3: [u8; 0x200 - 0x1d0],
    }

    VersionSet = "RsiVdevInfo", 0x200 bytes, aligned to 0x200, in V::V2_0, unsure in V::NONE;
    0x000, 8, flags, V::V2_0, "bit 0: behind a virtual SMMU";
    0x008, 8, cert_id, V::V2_0, "certificate slot";
    0x010, 1, hash_algo, V::V2_0, "[`HashAlgorithm`](crate::realm::HashAlgorithm)";
    0x018, 8, lock_nonce, V::V2_0, "changes with each lock";
    0x020, 8, meas_nonce, V::V2_0, "changes with each measurement";
    0x028, 8, report_nonce, V::V2_0, "changes with each report";
    0x030, 1, format_type, V::V2_0, "format of the report: 0 implementation defined, 1 TDISP";
    0x038, 8, format_version, V::V2_0, "version of the format: major in bits 31:16, minor in 15:0";
    0x040, 1, state, V::V2_0, "state of the device; sources disagree on the numbers";
    0x080, 64, vca_digest, V::V2_0, "hash of version, capabilities and algorithms";
    0x0c0, 64, cert_digest, V::V2_0, "hash of the certificate chain";
    0x100, 64, pubkey_digest, V::V2_0, "hash of the public key";
    0x140, 64, meas_digest, V::V2_0, "hash of the measurements";
    0x180, 64, report_digest, V::V2_0, "hash of the interface report";
    0x1c0, 8, vsmmu_addr, V::V2_0, "IPA of the virtual SMMU";
    0x1c8, 8, vsmmu_vsid, V::V2_0, "virtual stream identifier";
}
