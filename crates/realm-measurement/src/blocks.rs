//! Which blocks memory without content is mapped by.
//!
//! Where the dialect measures RIPAS changes (1.0), the measurement depends on them.

use rmi_abi::rtt::{Level, largest_block};
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
    pub fn first(ipa: Ipa, memory: PaRange, top_level: Level) -> Option<Self> {
        let (pa, left) = (memory.base(), Some(memory.bytes()).filter(|left| *left > 0)?);
        if left < Level::L2.entry_bytes() && left.is_multiple_of(Level::L3.entry_bytes()) {
            return Some(Self { ipa, pa, level: Level::L3, bytes: left });
        }
        let level = largest_block(ipa, pa, left)?.max(top_level);
        let block = level.entry_bytes();
        // A run of blocks ends where a larger block becomes possible: both addresses have its
        // alignment, and it fits.
        let bytes = match level.parent().filter(|parent| parent.may_map() && *parent >= top_level) {
            Some(parent) if pa.raw() % parent.entry_bytes() == ipa.raw() % parent.entry_bytes() => {
                let until = ipa.align_up(parent.entry_bytes())?.checked_offset_from(ipa)?;
                let larger_fits = until > 0 && left >= until + parent.entry_bytes();
                if larger_fits { until } else { left - left % block }
            }
            _ => left - left % block,
        };
        Some(Self { ipa, pa, level, bytes })
    }
}

/// The runs that map `memory`, contiguous and 4 KiB aligned, at `ipa`, with the largest blocks that
/// alignment allows at or below `top_level`.
pub fn runs(ipa: Ipa, memory: PaRange, top_level: Level) -> impl Iterator<Item = Run> + Clone {
    let (mut ipa, mut left) = (Some(ipa), memory);
    core::iter::from_fn(move || {
        let run = Run::first(ipa?, left, top_level)?;
        (ipa, left) = (run.ipa.checked_add(run.bytes), left.split_at(run.bytes)?.1);
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn plan(ipa: u64, pa: u64, bytes: u64) -> Vec<(u64, i8, u64)> {
        let memory = PaRange::with_size(Pa::new(pa), bytes).unwrap();
        runs(Ipa::new(ipa), memory, Level::L1)
            .map(|run| (run.ipa.raw(), run.level.number(), run.bytes))
            .collect()
    }

    #[test]
    fn a_run_is_as_large_as_it_can_be() {
        assert_eq!(plan(0, 0, 2 * MIB), [(0, 2, 2 * MIB)]);
        assert_eq!(plan(0, 0x1000, 4 * MIB), [(0, 3, 4 * MIB)]);
        assert_eq!(
            plan(0x1000, 0x1000, 4 * MIB),
            [(0x1000, 3, 2 * MIB - 0x1000), (2 * MIB, 2, 2 * MIB), (4 * MIB, 3, 0x1000)]
        );
        assert_eq!(plan(0, 1 << 30, (1 << 30) + 2 * MIB), [(0, 1, 1 << 30), (1 << 30, 2, 2 * MIB)]);
    }

    proptest! {
        #[test]
        fn runs_cover_the_memory_once_and_are_aligned(
            ipa in 0u64..1 << 20, pa in 0u64..1 << 20, pages in 1u64..1 << 19,
        ) {
            let memory = PaRange::with_size(Pa::new(pa << 12), pages << 12).unwrap();
            let mut at = ipa << 12;
            for run in runs(Ipa::new(ipa << 12), memory, Level::L1) {
                prop_assert_eq!(run.ipa.raw(), at);
                let block = run.level.entry_bytes();
                prop_assert!(run.bytes > 0 && run.bytes % block == 0);
                prop_assert_eq!(run.ipa.raw() % block, 0);
                prop_assert_eq!((memory.base().raw() + at - (ipa << 12)) % block, 0);
                at += run.bytes;
            }
            prop_assert_eq!(at, (ipa << 12) + memory.bytes());
        }
    }
}
