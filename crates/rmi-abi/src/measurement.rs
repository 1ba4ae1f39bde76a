//! The descriptors from which the Realm Initial Measurement (RIM) is computed.
//!
//! The RMM extends the RIM with 256-byte descriptors: the new value is the hash of the descriptor,
//! which contains the old one. Source: DEN0137 1.0-rel0 and 2.0-bet3,
//! `RmmMeasurementDescriptorData`, `RmmMeasurementDescriptorRec`; 1.0-rel0,
//! `RmmMeasurementDescriptorRipas`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::IpaRange;
use crate::dialect::DialectSet;
use crate::layout::layout;

use DialectSet as D;

/// Bytes of a measurement as the RMM stores it and in descriptors; shorter digests occupy the low
/// bytes, the rest is zero. A Realm reads the digest only.
pub const MEASUREMENT_BYTES: usize = 64;

layout! {
    /// A measurement descriptor of a DATA granule (type 0), 256 bytes.
    ///
    table
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmmMeasurementDescriptorData`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmmMeasurementDescriptorData")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct DataDescriptor {
        pub desc_type: u8,
        _sbz0: [u8; 7],
        pub len: u64,
        pub rim: [u8; MEASUREMENT_BYTES],
        pub ipa: u64,
        pub flags: u64,
        pub content: [u8; MEASUREMENT_BYTES],
        _sbz1: [u8; 0x100 - 0xa0],
    }

    DialectSet = "RmmMeasurementDescriptorData", 0x100 bytes, aligned to 8,
    in D::EVERY, unsure in D::NONE;
    0x000, 1, desc_type, D::EVERY, "0";
    0x008, 8, len, D::EVERY, "bytes of the descriptor, 0x100";
    0x010, 64, rim, D::EVERY, "the measurement so far";
    0x050, 8, ipa, D::EVERY, "IPA where the page is mapped";
    0x058, 8, flags, D::EVERY, "[`DataFlags`](crate::flags::DataFlags) of the command";
    0x060, 64, content, D::EVERY, "hash of the page if its content is measured, else zero";
}

layout! {
    /// A measurement descriptor of a REC (type 1), 256 bytes.
    ///
    table
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmmMeasurementDescriptorRec`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmmMeasurementDescriptorRec")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct RecDescriptor {
        pub desc_type: u8,
        _sbz0: [u8; 7],
        pub len: u64,
        pub rim: [u8; MEASUREMENT_BYTES],
        pub content: [u8; MEASUREMENT_BYTES],
        _sbz1: [u8; 0x100 - 0x90],
    }

    DialectSet = "RmmMeasurementDescriptorRec", 0x100 bytes, aligned to 8,
    in D::EVERY, unsure in D::NONE;
    0x000, 1, desc_type, D::EVERY, "1";
    0x008, 8, len, D::EVERY, "bytes of the descriptor, 0x100";
    0x010, 64, rim, D::EVERY, "the measurement so far";
    0x050, 64, content, D::EVERY,
        "hash of [`RecParamsPage::measured`](crate::rec::RecParamsPage::measured)";
}

layout! {
    /// A measurement descriptor of a RIPAS change before activation (type 2), 256 bytes; 1.0 only.
    ///
    table
    ///
    /// Source: DEN0137 1.0-rel0, `RmmMeasurementDescriptorRipas`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmmMeasurementDescriptorRipas")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct RipasDescriptor {
        pub desc_type: u8,
        _sbz0: [u8; 7],
        pub len: u64,
        pub rim: [u8; MEASUREMENT_BYTES],
        pub base: u64,
        pub top: u64,
        _sbz1: [u8; 0x100 - 0x60],
    }

    DialectSet = "RmmMeasurementDescriptorRipas", 0x100 bytes, aligned to 8,
    in D::V1_0, unsure in D::NONE;
    0x000, 1, desc_type, D::V1_0, "2";
    0x008, 8, len, D::V1_0, "bytes of the descriptor, 0x100";
    0x010, 64, rim, D::V1_0, "the measurement so far";
    0x050, 8, base, D::V1_0, "IPA, first of the range";
    0x058, 8, top, D::V1_0, "IPA, end of the range";
}

impl DataDescriptor {
    /// The descriptor of a page at `ipa`, on top of the measurement `rim`.
    #[must_use]
    pub const fn new(
        rim: [u8; MEASUREMENT_BYTES],
        ipa: u64,
        flags: u64,
        content: [u8; MEASUREMENT_BYTES],
    ) -> Self {
        Self { desc_type: 0, _sbz0: [0; 7], len: 0x100, rim, ipa, flags, content, _sbz1: [0; 0x60] }
    }
}

impl RecDescriptor {
    /// The descriptor of a runnable REC, on top of the measurement `rim`.
    #[must_use]
    pub const fn new(rim: [u8; MEASUREMENT_BYTES], content: [u8; MEASUREMENT_BYTES]) -> Self {
        Self { desc_type: 1, _sbz0: [0; 7], len: 0x100, rim, content, _sbz1: [0; 0x70] }
    }
}

impl RipasDescriptor {
    /// The descriptor of one translation table entry's range that `RMI_RTT_INIT_RIPAS` set to RAM,
    /// on top of the measurement `rim`.
    #[must_use]
    pub fn new(rim: [u8; MEASUREMENT_BYTES], range: &IpaRange) -> Self {
        let (base, top) = (range.base().raw(), range.top().raw());
        Self { desc_type: 2, _sbz0: [0; 7], len: 0x100, rim, base, top, _sbz1: [0; 0xa0] }
    }
}
