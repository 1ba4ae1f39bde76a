//! What the Realm Initial Measurement (RIM) is computed from.
//!
//! The RMM extends the RIM with 256-byte descriptors: the new value is the hash of the descriptor, which holds the old one.
//! Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmmMeasurementDescriptorData`, `RmmMeasurementDescriptorRec`.

use core::mem::offset_of;

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a measurement; shorter digests occupy the low bytes, the rest is zero.
pub const MEASUREMENT_BYTES: usize = 64;

/// A measurement descriptor of a DATA granule (type 0).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[doc(alias = "RmmMeasurementDescriptorData")]
pub struct DataDescriptor {
    /// `0x00`: 0.
    pub desc_type: u8,
    _sbz0: [u8; 7],
    /// `0x08`: 0x100.
    pub len: u64,
    /// `0x10`: the measurement so far.
    pub rim: [u8; MEASUREMENT_BYTES],
    /// `0x50`: where the page is mapped.
    pub ipa: u64,
    /// `0x58`: `RmiDataFlags` of the command.
    pub flags: u64,
    /// `0x60`: hash of the page if its content is measured, else zero.
    pub content: [u8; MEASUREMENT_BYTES],
    _sbz1: [u8; 0x100 - 0xa0],
}

const_assert_eq!(size_of::<DataDescriptor>(), 0x100);
const_assert_eq!(offset_of!(DataDescriptor, ipa), 0x50);
const_assert_eq!(offset_of!(DataDescriptor, content), 0x60);

/// A measurement descriptor of a REC (type 1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[doc(alias = "RmmMeasurementDescriptorRec")]
pub struct RecDescriptor {
    /// `0x00`: 1.
    pub desc_type: u8,
    _sbz0: [u8; 7],
    /// `0x08`: 0x100.
    pub len: u64,
    /// `0x10`: the measurement so far.
    pub rim: [u8; MEASUREMENT_BYTES],
    /// `0x50`: hash of a REC parameter page with only flags, pc and gprs.
    pub content: [u8; MEASUREMENT_BYTES],
    _sbz1: [u8; 0x100 - 0x90],
}

const_assert_eq!(size_of::<RecDescriptor>(), 0x100);
const_assert_eq!(offset_of!(RecDescriptor, content), 0x50);

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
