//! What a device on the bus is.

/// The size of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessSize {
    /// 1 byte.
    Byte,
    /// 2 bytes.
    Halfword,
    /// 4 bytes.
    Word,
    /// 8 bytes.
    Doubleword,
}

impl AccessSize {
    /// The size of an access of 1, 2, 4 or 8 bytes; `None` for another number.
    #[must_use]
    pub const fn from_bytes(bytes: u8) -> Option<Self> {
        match bytes {
            1 => Some(Self::Byte),
            2 => Some(Self::Halfword),
            4 => Some(Self::Word),
            8 => Some(Self::Doubleword),
            _ => None,
        }
    }

    /// In bytes: 1, 2, 4 or 8.
    #[must_use]
    pub const fn bytes(self) -> u8 {
        match self {
            Self::Byte => 1,
            Self::Halfword => 2,
            Self::Word => 4,
            Self::Doubleword => 8,
        }
    }

    /// The bits of a register that an access of this size transfers.
    #[must_use]
    pub const fn mask(self) -> u64 {
        match self {
            Self::Byte => 0xff,
            Self::Halfword => 0xffff,
            Self::Word => 0xffff_ffff,
            Self::Doubleword => u64::MAX,
        }
    }
}

/// A device does not accept an access: the Realm takes a synchronous external abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExternalAbort;

/// A device whose registers are at unprotected IPAs.
///
/// Several virtual CPUs may access it at the same time, so it locks its own state. It sees only
/// accesses that are aligned to their size and lie within its range.
pub trait MmioDevice: Sync {
    /// Reads a register. Bits of the value beyond the size are ignored.
    ///
    /// # Errors
    ///
    /// [`ExternalAbort`] where the device accepts no such read.
    fn read(&self, offset: u64, size: AccessSize) -> Result<u64, ExternalAbort>;

    /// Writes a register. Bits of the value beyond the size are zero.
    ///
    /// # Errors
    ///
    /// [`ExternalAbort`] where the device accepts no such write.
    fn write(&self, offset: u64, size: AccessSize, value: u64) -> Result<(), ExternalAbort>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_1_2_4_or_8_bytes() {
        use AccessSize::{Byte, Doubleword, Halfword, Word};
        let mut sizes = [None; 256];
        (sizes[1], sizes[2], sizes[4], sizes[8]) =
            (Some(Byte), Some(Halfword), Some(Word), Some(Doubleword));
        for (bytes, size) in (0..=u8::MAX).zip(sizes) {
            assert_eq!(AccessSize::from_bytes(bytes), size, "{bytes}");
            if let Some(size) = size {
                assert_eq!(size.bytes(), bytes);
                assert_eq!(size.mask(), u64::MAX >> (64 - 8 * u32::from(bytes)));
            }
        }
    }
}
