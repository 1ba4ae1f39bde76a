//! What a Realm cannot start with.

use rmi_abi::address::GranuleSize;
use rmi_abi::rtt::Geometry;
use rmi_abi::{Ipa, IpaRange};
use thiserror::Error;

use super::{Content, HasLayout, RegionLayout};

/// Checks regions one after the other, in the order of their IPAs.
///
/// A region is checked for itself first: that it is not empty, that IPA, length and memory are
/// aligned to granules, that its content fills it up to the last granule, and that it lies in the
/// protected half of the IPA space. Then it must not overlap the region before it.
#[derive(Clone, Copy, Debug)]
pub struct LayoutCheck {
    geometry: Geometry,
    granule: GranuleSize,
    /// The region before.
    last: Option<IpaRange>,
}

impl LayoutCheck {
    /// A check for a Realm with this IPA space, on an RMM with this granule size.
    #[must_use]
    pub const fn new(geometry: Geometry, granule: GranuleSize) -> Self {
        Self { geometry, granule, last: None }
    }

    /// Checks the next region. One that is refused is not compared with those that follow.
    ///
    /// # Errors
    ///
    /// [`LayoutProblem`] says what is wrong with it.
    pub fn next(&mut self, region: &RegionLayout<'_>) -> Result<(), LayoutProblem> {
        let range = self.check(region)?;
        if let Some(other) = self.last.filter(|last| last.overlaps(&range)) {
            return Err(LayoutProblem::Overlap { at: other.base() });
        }
        self.last = Some(range);
        Ok(())
    }

    /// Checks a region for itself.
    fn check(&self, region: &RegionLayout<'_>) -> Result<IpaRange, LayoutProblem> {
        let granule = self.granule.bytes();
        if region.bytes == 0 {
            return Err(LayoutProblem::Empty);
        }
        // Checked before a range is made: an address that is not aligned cannot begin one.
        let is_backed = region.memory.is_none_or(|memory| memory.is_aligned(granule));
        let is_whole = region.bytes.is_multiple_of(granule);
        if !(is_backed && is_whole && region.ipa.is_aligned(granule)) {
            return Err(LayoutProblem::Unaligned);
        }
        let Ok(range) = IpaRange::with_size(region.ipa, region.bytes) else {
            return Err(LayoutProblem::NotProtected);
        };
        if let Content::Measured(content) | Content::Unmeasured(content) = region.content {
            let bytes = content.len() as u64;
            if bytes.checked_next_multiple_of(granule) != Some(region.bytes) {
                return Err(LayoutProblem::Content { bytes });
            }
        }
        if self.geometry.range_is_protected(&range) {
            Ok(range)
        } else {
            Err(LayoutProblem::NotProtected)
        }
    }
}

/// Checks sorted regions, each with [`LayoutCheck`].
///
/// # Errors
///
/// [`LayoutError`] identifies the first region that is refused.
pub fn check<R: HasLayout>(
    regions: &[R],
    geometry: Geometry,
    granule: GranuleSize,
) -> Result<(), LayoutError> {
    let mut check = LayoutCheck::new(geometry, granule);
    regions.iter().try_for_each(|region| {
        let region = region.layout();
        check.next(&region).map_err(|problem| LayoutError::new(&region, problem))
    })
}

/// What is wrong with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LayoutProblem {
    /// It is empty.
    #[error("is empty")]
    Empty,
    /// Its IPA, its length or its memory is not aligned to the RMM's granule size.
    #[error("is not aligned to granules")]
    Unaligned,
    /// It reaches outside the protected half of the IPA space.
    #[error("reaches outside the protected half of the IPA space")]
    NotProtected,
    /// It overlaps another region.
    #[error("overlaps the memory at IPA {at}")]
    Overlap {
        /// First address of the other.
        at: Ipa,
    },
    /// Its content does not fill it up to the last granule, or is longer.
    #[error("does not match its content of {bytes:#x} bytes")]
    Content {
        /// Length of the content in bytes.
        bytes: u64,
    },
}

/// The error for a region that a Realm cannot start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the region of {bytes:#x} bytes at IPA {ipa} {problem}")]
#[non_exhaustive]
pub struct LayoutError {
    /// First address of the region.
    pub ipa: Ipa,
    /// Its length in bytes.
    pub bytes: u64,
    /// What is wrong with it.
    #[source]
    pub problem: LayoutProblem,
}

impl LayoutError {
    pub(crate) const fn new(region: &RegionLayout<'_>, problem: LayoutProblem) -> Self {
        Self { ipa: region.ipa, bytes: region.bytes, problem }
    }
}
