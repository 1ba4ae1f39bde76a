//! Flat images: bytes that are placed unchanged.

use rmi_abi::Ipa;
use rmi_abi::address::MIN_GRANULE;

use super::{Image, ImageError, Segment};

impl<'b> Image<'b> {
    /// Any bytes, to be placed at `at` in one piece, starting with the first.
    ///
    /// # Errors
    ///
    /// [`ImageError::Empty`]; [`ImageError::Unaligned`] when `at` is not aligned to granules;
    /// [`ImageError::Overflow`].
    pub fn flat(bytes: &'b [u8], at: Ipa) -> Result<Self, ImageError> {
        if bytes.is_empty() {
            return Err(ImageError::Empty);
        }
        if !at.is_aligned(MIN_GRANULE) {
            return Err(ImageError::unaligned("place", at.raw(), MIN_GRANULE));
        }
        let mut image = Self::new(at);
        image.add(Segment { ipa: at, content: bytes, bytes: bytes.len() as u64 })?;
        Ok(image)
    }
}
