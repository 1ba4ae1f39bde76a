//! Which blocks memory without content is mapped by.
//!
//! Where the dialect measures RIPAS changes (1.0), the measurement depends on them.

use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Ipa, IpaRange, Pa, PaRange};

/// A run of equal blocks: `bytes` of memory mapped by entries of `level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where it is mapped.
    pub ipa: Ipa,
    /// Where the memory begins.
    pub pa: Pa,
    /// Level of the entries.
    pub level: Level,
    /// Length in bytes.
    pub bytes: u64,
}

impl Run {
    /// The IPA range of the run.
    #[must_use]
    pub fn range(&self) -> IpaRange {
        IpaRange::with_size_or_empty(self.ipa, self.bytes)
    }

    /// The first of the [`runs`] that map memory; `None` for no memory.
    #[doc(hidden)]
    #[must_use]
    pub fn first(geometry: Geometry, ipa: Ipa, memory: PaRange, top_level: Level) -> Option<Self> {
        let (pa, left) = (memory.base(), Some(memory.bytes()).filter(|left| *left > 0)?);
        let entry_bytes = |level| geometry.entry_bytes(level);
        if left < entry_bytes(Level::L2) && left.is_multiple_of(entry_bytes(Level::L3)) {
            return Some(Self { ipa, pa, level: Level::L3, bytes: left });
        }
        let level = geometry.largest_block(ipa, pa, left)?.max(top_level);
        let block = entry_bytes(level);
        // A run of blocks ends where a larger block becomes possible: both addresses have its
        // alignment, and it fits.
        let parent = level.parent().filter(|parent| parent.may_map() && *parent >= top_level);
        let bytes = match parent.map(entry_bytes) {
            Some(parent) if pa.raw() % parent == ipa.raw() % parent => {
                let until = ipa.align_up(parent)?.checked_offset_from(ipa)?;
                let larger_fits = until > 0 && left >= until + parent;
                if larger_fits { until } else { left - left % block }
            }
            _ => left - left % block,
        };
        Some(Self { ipa, pa, level, bytes })
    }
}

/// The runs that map `memory`, contiguous and aligned to granules, at `ipa`, with the largest
/// blocks that alignment allows at or below `top_level`.
pub fn runs(
    geometry: Geometry,
    ipa: Ipa,
    memory: PaRange,
    top_level: Level,
) -> impl Iterator<Item = Run> + Clone {
    let (mut ipa, mut left) = (Some(ipa), memory);
    core::iter::from_fn(move || {
        let run = Run::first(geometry, ipa?, left, top_level)?;
        (ipa, left) = (run.ipa.checked_add(run.bytes), left.split_at(run.bytes)?.1);
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;
    use rmi_abi::GranuleSize;

    use super::*;

    const MIB: u64 = 1 << 20;
    const SIZES: [GranuleSize; 3] =
        [GranuleSize::Size4KiB, GranuleSize::Size16KiB, GranuleSize::Size64KiB];

    fn plan(granule: GranuleSize, ipa: u64, pa: u64, bytes: u64) -> Vec<(u64, i8, u64)> {
        let memory = PaRange::with_size(Pa::new(pa), bytes).unwrap();
        let geometry = Geometry::with_granule(granule, 48).unwrap();
        runs(geometry, Ipa::new(ipa), memory, Level::L1)
            .map(|run| (run.ipa.raw(), run.level.number(), run.bytes))
            .collect()
    }

    #[test]
    fn a_run_is_as_large_as_it_can_be() {
        let plan = |ipa, pa, bytes| plan(GranuleSize::Size4KiB, ipa, pa, bytes);
        assert_eq!(plan(0, 0, 2 * MIB), [(0, 2, 2 * MIB)]);
        assert_eq!(plan(0, 0x1000, 4 * MIB), [(0, 3, 4 * MIB)]);
        assert_eq!(
            plan(0x1000, 0x1000, 4 * MIB),
            [(0x1000, 3, 2 * MIB - 0x1000), (2 * MIB, 2, 2 * MIB), (4 * MIB, 3, 0x1000)]
        );
        assert_eq!(plan(0, 1 << 30, (1 << 30) + 2 * MIB), [(0, 1, 1 << 30), (1 << 30, 2, 2 * MIB)]);
    }

    #[test]
    fn a_run_of_larger_granules_is_as_large_as_it_can_be() {
        for (granule, page, block, large) in [
            (GranuleSize::Size16KiB, 0x4000, 32 * MIB, 64 << 30),
            (GranuleSize::Size64KiB, 0x1_0000, 512 * MIB, 4 << 40),
        ] {
            let plan = |ipa, pa, bytes| plan(granule, ipa, pa, bytes);
            assert_eq!(plan(0, 0, block - page), [(0, 3, block - page)]);
            assert_eq!(plan(0, 0, block), [(0, 2, block)]);
            assert_eq!(plan(0, page, 2 * block), [(0, 3, 2 * block)]);
            assert_eq!(
                plan(page, page, 2 * block),
                [(page, 3, block - page), (block, 2, block), (2 * block, 3, page)]
            );
            assert_eq!(plan(0, large, large + block), [(0, 1, large), (large, 2, block)]);
            // Less than a granule is not mapped.
            assert_eq!(plan(0, 0, page / 2), []);
            assert_eq!(plan(0, 0, page + page / 2), [(0, 3, page)]);
        }
    }

    proptest! {
        #[test]
        fn runs_cover_the_memory_once_and_are_aligned(
            granule in proptest::sample::select(&SIZES[..]),
            ipa in 0u64..1 << 20, pa in 0u64..1 << 20, pages in 1u64..1 << 19,
        ) {
            let shift = granule.shift();
            let memory = PaRange::with_size(Pa::new(pa << shift), pages << shift).unwrap();
            let geometry = Geometry::with_granule(granule, 48).unwrap();
            let mut at = ipa << shift;
            for run in runs(geometry, Ipa::new(ipa << shift), memory, Level::L1) {
                prop_assert_eq!(run.ipa.raw(), at);
                let block = geometry.entry_bytes(run.level);
                prop_assert!(run.bytes > 0 && run.bytes % block == 0);
                prop_assert_eq!(run.ipa.raw() % block, 0);
                prop_assert_eq!((memory.base().raw() + at - (ipa << shift)) % block, 0);
                at += run.bytes;
            }
            prop_assert_eq!(at, (ipa << shift) + memory.bytes());
        }
    }
}
