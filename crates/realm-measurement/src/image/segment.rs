//! One piece of an image.

use core::fmt;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{GranuleSize, Ipa, IpaRange};

use super::error::ImageError;
use crate::region::RegionLayout;

/// A piece of an image: content from the file, and memory beyond it.
///
/// Segments of an [`Image`](super::Image) begin at a granule, have at least one byte, and as much
/// memory as content.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "PT_LOAD")]
pub struct Segment<'b> {
    /// Where it begins.
    #[doc(alias = "p_paddr")]
    pub ipa: Ipa,
    /// The content that the file has for it, from its beginning on.
    #[doc(alias = "p_filesz")]
    pub content: &'b [u8],
    /// How much memory it takes in bytes, content included.
    #[doc(alias = "p_memsz")]
    pub bytes: u64,
}

impl Segment<'_> {
    pub(super) const EMPTY: Self = Self { ipa: Ipa::new(0), content: &[], bytes: 0 };

    /// The granules of a segment of an image, which has to begin at a granule.
    pub(super) fn check(&self) -> Result<IpaRange, ImageError> {
        if !self.ipa.is_aligned(MIN_GRANULE) {
            return Err(ImageError::unaligned("segment", self.ipa.raw(), MIN_GRANULE));
        }
        let (base, bytes) = (self.ipa, self.bytes);
        self.first(bytes).ok_or(ImageError::Overflow { base, bytes })
    }

    /// The granules of the first `bytes` bytes.
    fn first(&self, bytes: u64) -> Option<IpaRange> {
        IpaRange::with_size(self.ipa, bytes.checked_next_multiple_of(MIN_GRANULE)?).ok()
    }

    /// The 4 KiB granules that it occupies; the last one may be partly used.
    #[must_use]
    pub fn granules(&self) -> IpaRange {
        self.first(self.bytes).unwrap_or(IpaRange::empty(self.ipa))
    }

    /// The granules that hold content; what follows the content in the last one is to be zero.
    #[must_use]
    pub fn content_granules(&self) -> IpaRange {
        self.first(self.content.len() as u64).unwrap_or(IpaRange::empty(self.ipa))
    }

    /// The granules after those with content: the rest of its BSS. Often there are none.
    #[must_use]
    #[doc(alias = "bss")]
    pub fn vacant_granules(&self) -> IpaRange {
        let (content, all) = (self.content_granules().top(), self.granules().top());
        IpaRange::new_or_empty(content, all)
    }
}

impl<'b> Segment<'b> {
    /// The regions of a Realm that starts with it: content that is measured, then RAM without
    /// content for the rest of its BSS. The RAM has no memory.
    pub fn regions(&self) -> impl Iterator<Item = RegionLayout<'b>> + use<'b> {
        self.regions_for(GranuleSize::Size4KiB)
    }

    /// As [`Segment::regions`], for an RMM with granules of this size. A Realm cannot start with a
    /// segment that does not begin with one, or that shares one with another segment.
    pub fn regions_for(
        &self,
        granule: GranuleSize,
    ) -> impl Iterator<Item = RegionLayout<'b>> + use<'b> {
        let filled = |bytes: u64| bytes.checked_next_multiple_of(granule.bytes());
        // A segment of an image ends within the address space; one that does not is no region.
        let content = filled(self.content.len() as u64).unwrap_or(u64::MAX);
        let vacant = filled(self.bytes).unwrap_or(u64::MAX).saturating_sub(content);
        let content =
            RegionLayout { bytes: content, ..RegionLayout::measured(self.ipa, self.content) };
        let after = Ipa::new(self.ipa.raw().saturating_add(content.bytes));
        let vacant = RegionLayout::unspecified(after, vacant);
        [content, vacant].into_iter().filter(|region| region.bytes > 0)
    }
}

impl fmt::Debug for Segment<'_> {
    /// The content is not printed: it may have gigabytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("ipa", &self.ipa)
            .field("content", &format_args!("[{} bytes]", self.content.len()))
            .field("bytes", &self.bytes)
            .finish()
    }
}
