//! Guest images as data: which bytes are placed at which IPA, and where the guest starts.
//!
//! An [`Image`] is made from the bytes of a file that is in memory already, and borrows from them:
//! there is no heap and no I/O, and nothing is copied yet. Its [`Segment`]s are sorted by IPA,
//! begin at granules, and share none.
//!
//! | | Source | Where it is placed | Entry |
//! |---|---|---|---|
//! | [`Image::flat`] | any bytes | where the caller says | its first byte |
//! | [`Image::arm64`] | Linux `Image` | `text_offset` after a 2 MiB boundary that the caller says | its first byte |
#![cfg_attr(
    feature = "elf",
    doc = "| [`Image::elf`] | ELF, 64 bits, AArch64, little endian | `p_paddr` of each `PT_LOAD` | `e_entry` |"
)]
//!
//! What a segment has beyond its content (BSS) is memory that the guest relies on and that the file
//! does not contain. The part of it in the last granule of the content is filled with zeros when
//! the content is placed; the rest are [granules without content](Segment::vacant_granules).
//! Kernels clear their BSS, and memory without content is enough for them. For a program that does
//! not, zeros have to be given as content.
//!
//! A kernel of two pages with a BSS of three:
//!
//! ```
//! use realm_measurement::Image;
//! use rmi_abi::Ipa;
//!
//! # let mut kernel = vec![0xd5; 0x1800];
//! # kernel[8..16].fill(0);
//! # kernel[16..24].copy_from_slice(&0x5000_u64.to_le_bytes());
//! # kernel[24..32].fill(0);
//! # kernel[56..60].copy_from_slice(b"ARM\x64");
//! // `kernel` has the content of the file.
//! let image = Image::arm64(&kernel, Ipa::new(0x8000_0000))?;
//! assert_eq!(image.entry(), Ipa::new(0x8000_0000));
//! for segment in image.segments() {
//!     assert_eq!(segment.content, kernel);
//!     assert_eq!(segment.content_granules().bytes(), 0x2000);
//!     assert_eq!(segment.vacant_granules().bytes(), 0x3000);
//! }
//! # Ok::<(), realm_measurement::ImageError>(())
//! ```

pub mod arm64;
#[cfg(feature = "elf")]
mod elf;
mod error;
mod flat;
mod segment;

use core::fmt;

use rmi_abi::{Ipa, IpaRange};

pub use error::ImageError;
pub use segment::Segment;

/// Maximum number of segments of an image. Kernels and firmware have two to five; more are refused,
/// so that sorting them needs no heap.
pub const MAX_SEGMENTS: usize = 16;

/// An image: which content is placed where, and where the guest starts. It has at least one
/// segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Image<'b> {
    entry: Ipa,
    /// The first `count` are in use, sorted by IPA; the others are empty.
    segments: [Segment<'b>; MAX_SEGMENTS],
    count: usize,
}

impl<'b> Image<'b> {
    const fn new(entry: Ipa) -> Self {
        Self { entry, segments: [Segment::EMPTY; MAX_SEGMENTS], count: 0 }
    }

    /// Inserts a segment in the order of IPAs, if it shares no granule with the others.
    fn add(&mut self, segment: Segment<'b>) -> Result<(), ImageError> {
        let range = segment.check()?;
        for other in self.segments() {
            if other.granules().overlaps(&range) {
                return Err(ImageError::Overlap { ipa: segment.ipa, other: other.ipa });
            }
        }
        let at = self.segments().take_while(|other| other.ipa < segment.ipa).count();
        let Some(end) = self.segments.get_mut(at..=self.count) else {
            return Err(ImageError::TooManySegments { max: MAX_SEGMENTS });
        };
        end.rotate_right(1);
        if let Some(place) = end.first_mut() {
            *place = segment;
            self.count += 1;
        }
        Ok(())
    }

    /// Where the first REC starts.
    #[must_use]
    #[doc(alias = "e_entry")]
    pub const fn entry(&self) -> Ipa {
        self.entry
    }

    /// The segments, sorted by IPA.
    #[must_use]
    pub fn segments(
        &self,
    ) -> impl DoubleEndedIterator<Item = Segment<'b>> + ExactSizeIterator + use<'_, 'b> {
        self.segments.get(..self.count).unwrap_or_default().iter().copied()
    }

    /// From the first granule of the first segment to the last of the last; there may be gaps.
    #[must_use]
    pub fn range(&self) -> IpaRange {
        let mut segments = self.segments();
        let first = segments.next().unwrap_or(Segment::EMPTY).granules();
        let last = segments.next_back().map_or(first, |last| last.granules());
        IpaRange::new(first.base(), last.top()).unwrap_or(first)
    }
}

impl fmt::Debug for Image<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Segments<'i, 'b>(&'i Image<'b>);
        impl fmt::Debug for Segments<'_, '_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entries(self.0.segments()).finish()
            }
        }
        let segments = Segments(self);
        f.debug_struct("Image").field("entry", &self.entry).field("segments", &segments).finish()
    }
}
