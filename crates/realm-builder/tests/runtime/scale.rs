//! Addresses and lengths on RMMs with granules of different sizes.

use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{GranuleSize, Ipa};

use crate::{AREA, BLOCK, GIB, PAGE};

/// What pages, blocks and the largest blocks of 4 KiB granules are on an RMM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) page: u64,
    pub(crate) block: u64,
    /// What a GiB is: a block of level 1 if the half of the IPA space has space for three.
    pub(crate) large: u64,
}

impl Scale {
    pub(crate) fn new(geometry: Geometry) -> Self {
        let [page, block, large] =
            [Level::L3, Level::L2, Level::L1].map(|level| geometry.entry_bytes(level));
        let most = geometry.unprotected_base().raw() / 4;
        Self { page, block, large: large.min(most) }
    }

    /// The same address, or length: as many of the largest blocks, blocks and pages.
    pub(crate) fn of(self, bytes: u64) -> u64 {
        bytes / GIB * self.large
            + bytes % GIB / BLOCK * self.block
            + bytes % BLOCK / PAGE * self.page
    }

    /// The part of each half of the IPA space that is used.
    pub(crate) fn area(self) -> u64 {
        self.of(AREA + 16 * BLOCK)
    }
}

#[test]
fn a_page_is_a_page_and_a_block_a_block() {
    for (granule, width, large) in [
        (GranuleSize::Size4KiB, 36, 1 << 30),
        (GranuleSize::Size16KiB, 36, 8 << 30),
        (GranuleSize::Size16KiB, 40, 64 << 30),
        (GranuleSize::Size64KiB, 42, 512 << 30),
        (GranuleSize::Size64KiB, 46, 4 << 40),
    ] {
        let geometry = Geometry::with_granule(granule, width).unwrap();
        let scale = Scale::new(geometry);
        assert_eq!((scale.of(PAGE), scale.large), (granule.bytes(), large));
        assert_eq!(scale.of(2 * BLOCK + 3 * PAGE), 2 * scale.block + 3 * granule.bytes());
        assert_eq!(scale.of(GIB - BLOCK), 511 * scale.block);
        let end = Ipa::new(scale.area());
        assert!(geometry.is_protected(end), "{granule:?} {width}");
    }
}
