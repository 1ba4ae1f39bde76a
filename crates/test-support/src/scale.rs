//! Lengths on RMMs with granules of different sizes.

use rmi_abi::GranuleSize;
use rmi_abi::desc::BlockSize;

/// The size of granules of an RMM, by which lengths change.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The size.
    pub granule: GranuleSize,
    /// Bytes of a page.
    pub page: u64,
    /// Bytes of a block of level 2.
    pub block: u64,
}

impl Scale {
    /// Lengths on an RMM with granules of this size.
    #[must_use]
    pub fn new(granule: GranuleSize) -> Self {
        let [page, block] = [BlockSize::Page, BlockSize::Level2].map(|size| size.bytes(granule));
        Self { granule, page, block }
    }

    /// The same address, or length: as many blocks and pages as `bytes` has of 2 MiB and 4 KiB.
    #[must_use]
    pub fn of(self, bytes: u64) -> u64 {
        let [page, block] = [BlockSize::Page, BlockSize::Level2].map(|size| size.bytes(SMALLEST));
        bytes / block * self.block + bytes % block / page * self.page
    }

    /// How many shadow tables a host has for so many tables: one for each 512 entries.
    #[must_use]
    pub fn shadow_tables(self, tables: usize) -> usize {
        tables << (self.granule.shift() - SMALLEST.shift())
    }
}

const SMALLEST: GranuleSize = GranuleSize::Size4KiB;
