//! What a Realm starts with: regions of memory, their order, and what is wrong with them.
//!
//! Regions are populated in the order of their IPAs, whatever order they are listed in, so the same
//! regions give the same measurement. [`LayoutCheck`] refuses regions that a Realm cannot start
//! with, and [`joined`] names them as they are populated. `realm-builder` populates Realms with the
//! same functions, and `Rim::add_regions` (feature `rim`) measures with them.
//!
//! ```
//! use realm_measurement::RegionLayout;
//! use realm_measurement::region::{LayoutProblem, check, sort};
//! use rmi_abi::address::GranuleSize;
//! use rmi_abi::rtt::Geometry;
//! use rmi_abi::Ipa;
//!
//! let kernel = [0xd5; 0x1800];
//! let mut regions = [
//!     RegionLayout::unspecified(Ipa::new(0x8000_2000), 1 << 30),
//!     RegionLayout::measured(Ipa::new(0x8000_0000), &kernel),
//! ];
//! let (geometry, granule) = (Geometry::new(40)?, GranuleSize::Size4KiB);
//! sort(&mut regions);
//! check(&regions, geometry, granule)?;
//!
//! regions[1].ipa = Ipa::new(0x8000_1000);
//! let refused = check(&regions, geometry, granule).map_err(|error| error.problem);
//! assert_eq!(refused, Err(LayoutProblem::Overlap { at: Ipa::new(0x8000_0000) }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;

pub use check::{LayoutCheck, LayoutError, LayoutProblem, check};

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::sort::sort_by_key;
use rmi_abi::{Ipa, IpaRange, Pa, PaRange};

use crate::blocks::{Run, runs};

/// Content of a region when the Realm starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'c> {
    /// These bytes, measured. The last granule is filled up with zeros.
    Measured(&'c [u8]),
    /// These bytes, of which only the IPA is measured. The last granule is filled up with zeros.
    Unmeasured(&'c [u8]),
    /// No content that the Realm may rely on; not measured at all.
    Unspecified,
}

/// The description of a region: where it is, how long, and with what content.
///
/// | Field | Unit, meaning |
/// |---|---|
/// | `ipa` | its first address, aligned to granules |
/// | `bytes` | its length, whole granules |
/// | `content` | fills the region up to its last granule |
/// | `memory` | where the memory begins; `None` for RAM without memory |
///
/// The alignment of the memory decides which blocks a region without content is mapped by. The
/// measurement does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table above documents every field")]
pub struct RegionLayout<'c> {
    pub ipa: Ipa,
    pub bytes: u64,
    pub content: Content<'c>,
    pub memory: Option<Pa>,
}

impl<'c> RegionLayout<'c> {
    /// Content at `ipa` that is measured, in as many 4 KiB granules as it needs.
    #[must_use]
    pub const fn measured(ipa: Ipa, content: &'c [u8]) -> Self {
        Self { ipa, bytes: filled(content), content: Content::Measured(content), memory: None }
    }

    /// Content at `ipa` of which only the IPA is measured, in as many 4 KiB granules as it needs.
    #[must_use]
    pub const fn unmeasured(ipa: Ipa, content: &'c [u8]) -> Self {
        Self { ipa, bytes: filled(content), content: Content::Unmeasured(content), memory: None }
    }

    /// `bytes` of RAM at `ipa` without content and without memory.
    #[must_use]
    pub const fn unspecified(ipa: Ipa, bytes: u64) -> Self {
        Self { ipa, bytes, content: Content::Unspecified, memory: None }
    }

    /// The same region with memory that begins at `base`.
    #[must_use]
    pub const fn with_memory(self, base: Pa) -> Self {
        Self { memory: Some(base), ..self }
    }

    /// Its IPA range; empty where it is not aligned or leaves the address space.
    #[must_use]
    pub fn range(&self) -> IpaRange {
        IpaRange::with_size_or_empty(self.ipa, self.bytes)
    }

    /// The memory that its blocks are planned with: RAM without memory is planned as if it had
    /// memory that is aligned as its IPAs are.
    #[must_use]
    pub fn planned(&self) -> PaRange {
        let base = self.memory.unwrap_or(Pa::new(self.ipa.raw()));
        PaRange::with_size_or_empty(base, self.bytes)
    }

    /// The blocks that it is mapped by if it has no content, in a Realm without further tables.
    pub fn blocks(&self, geometry: Geometry) -> impl Iterator<Item = Run> + Clone + use<> {
        runs(geometry, self.ipa, self.planned(), geometry.start_level().max(Level::L1))
    }

    /// The entries by which its RIPAS becomes RAM if it has no content, in a Realm without further
    /// tables: the largest possible ones, whatever its memory is.
    pub fn entries(&self, geometry: Geometry) -> impl Iterator<Item = Run> + Clone + use<> {
        Self { memory: None, ..*self }.blocks(geometry)
    }

    /// Both regions as one, if `next` is the neighbour of this one in both address spaces and
    /// neither has content: they are populated as one then, with larger blocks.
    #[must_use]
    pub fn join(&self, next: &Self) -> Option<Self> {
        let (Content::Unspecified, Content::Unspecified) = (self.content, next.content) else {
            return None;
        };
        let is_next = self.bytes > 0
            && next.bytes > 0
            && self.ipa.checked_add(self.bytes) == Some(next.ipa)
            && self.memory?.checked_add(self.bytes) == Some(next.memory?);
        let bytes = self.bytes.checked_add(next.bytes)?;
        is_next.then_some(Self { bytes, ..*self })
    }
}

/// Length of the 4 KiB granules that content fills, in bytes.
const fn filled(content: &[u8]) -> u64 {
    match (content.len() as u64).checked_next_multiple_of(MIN_GRANULE) {
        Some(bytes) => bytes,
        // No region has this length: it is not aligned.
        None => u64::MAX,
    }
}

/// A region, or what describes one.
pub trait HasLayout {
    /// What it is now: of a region that is populated in part, the part that is left.
    fn layout(&self) -> RegionLayout<'_>;
}

impl HasLayout for RegionLayout<'_> {
    fn layout(&self) -> RegionLayout<'_> {
        *self
    }
}

/// Sorts regions into the order in which they are populated and measured: that of their IPAs, and
/// of their lengths where IPAs are equal.
pub fn sort<R: HasLayout>(regions: &mut [R]) {
    sort_by_key(regions, |region| {
        let region = region.layout();
        (region.ipa, region.bytes)
    });
}

/// Sorted regions as they are measured: those without content are one where there is no gap between
/// them, and empty ones are left out.
pub fn without_gaps<R: HasLayout>(regions: &[R]) -> impl Iterator<Item = RegionLayout<'_>> + Clone {
    let regions = regions.iter().map(R::layout).filter(|region| region.bytes > 0);
    let regions = regions.map(|region| match region.content {
        // As if all memory were one piece.
        Content::Unspecified => region.with_memory(Pa::new(region.ipa.raw())),
        Content::Measured(_) | Content::Unmeasured(_) => region,
    });
    in_pieces(regions)
}

/// Sorted regions as they are populated: [joined](RegionLayout::join), and without empty ones.
pub fn joined<R: HasLayout>(regions: &[R]) -> impl Iterator<Item = RegionLayout<'_>> + Clone {
    in_pieces(regions.iter().map(R::layout).filter(|region| region.bytes > 0))
}

/// Joins what can be joined.
fn in_pieces<'c>(
    regions: impl Iterator<Item = RegionLayout<'c>> + Clone,
) -> impl Iterator<Item = RegionLayout<'c>> + Clone {
    let mut rest = regions.peekable();
    core::iter::from_fn(move || {
        let mut region = rest.next()?;
        while let Some(both) = rest.peek().and_then(|next| region.join(next)) {
            region = both;
            rest.next();
        }
        Some(region)
    })
}
