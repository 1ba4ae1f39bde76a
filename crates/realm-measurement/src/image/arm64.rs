//! The arm64 `Image` of Linux: a flat image with a header in front that says where it is placed and
//! how much memory it needs.

use rmi_abi::Ipa;
use rmi_abi::address::MIN_GRANULE;

use super::{Image, ImageError, Segment};

/// An image of this format is placed `text_offset` bytes after a multiple of this, in bytes.
pub const PLACE_ALIGNMENT: u64 = 2 << 20;

/// The header of an arm64 `Image`, 64 bytes, little endian.
///
/// | Offset | Bytes | Field | Unit, meaning |
/// |---|---|---|---|
/// | 0 | 8 | | two instructions; the image starts here |
/// | 8 | 8 | `text_offset` | bytes from a 2 MiB boundary |
/// | 16 | 8 | `image_size` | bytes of memory, BSS included; 0 before Linux 3.17 |
/// | 24 | 8 | `flags` | bit 0: big endian; bits 2:1: page size of the kernel; bit 3: placed anywhere in RAM |
/// | 32 | 24 | | reserved |
/// | 56 | 4 | | magic, `ARM\x64` |
/// | 60 | 4 | | offset of the PE header |
///
/// Source: Linux, "Booting AArch64 Linux" (Documentation/arch/arm64/booting.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the table above documents every field")]
pub struct Arm64Header {
    pub text_offset: u64,
    pub image_size: u64,
    pub flags: u64,
}

impl Arm64Header {
    /// Bytes of the header.
    pub const BYTES: usize = 64;

    const MAGIC_AT: usize = 56;
    const MAGIC: [u8; 4] = *b"ARM\x64";
    /// Where kernels before Linux 3.17 are placed, whose `text_offset` has the byte order of the
    /// kernel.
    const OLD_TEXT_OFFSET: u64 = 0x8_0000;

    /// Whether bytes have the magic of the format.
    #[must_use]
    pub fn is_there(bytes: &[u8]) -> bool {
        bytes.get(Self::MAGIC_AT..).is_some_and(|rest| rest.starts_with(&Self::MAGIC))
    }

    /// Reads the header in front of an image.
    ///
    /// # Errors
    ///
    /// [`ImageError::Empty`], [`ImageError::Truncated`], [`ImageError::Magic`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let Some(header) = bytes.first_chunk::<{ Self::BYTES }>() else {
            let (needed, bytes) = (Self::BYTES as u64, bytes.len() as u64);
            return Err(match bytes {
                0 => ImageError::Empty,
                _ => ImageError::Truncated { needed, bytes },
            });
        };
        if !Self::is_there(header) {
            return Err(ImageError::Magic { format: "arm64 Image" });
        }
        let (words, _) = header.as_chunks::<8>();
        let &[_, text_offset, image_size, flags, ..] = words else {
            return Err(ImageError::Magic { format: "arm64 Image" });
        };
        Ok(Self {
            text_offset: u64::from_le_bytes(text_offset),
            image_size: u64::from_le_bytes(image_size),
            flags: u64::from_le_bytes(flags),
        })
    }

    /// Whether the kernel is big endian.
    #[must_use]
    pub const fn is_big_endian(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Page size of the kernel in bytes: 4, 16 or 64 KiB; `None` when it does not say.
    #[must_use]
    pub const fn page_size(&self) -> Option<u64> {
        match (self.flags >> 1) & 0b11 {
            1 => Some(4 << 10),
            2 => Some(16 << 10),
            3 => Some(64 << 10),
            _ => None,
        }
    }

    /// Whether the 2 MiB boundary may be anywhere in RAM; otherwise it has to be as close to the
    /// beginning of RAM as possible, because the kernel does not use what lies before it.
    #[must_use]
    pub const fn goes_anywhere(&self) -> bool {
        self.flags & 1 << 3 != 0
    }

    /// How far after the 2 MiB boundary the image is placed, in bytes.
    #[must_use]
    #[doc(alias = "text_offset")]
    pub const fn offset(&self) -> u64 {
        match self.image_size {
            0 => Self::OLD_TEXT_OFFSET,
            _ => self.text_offset,
        }
    }
}

impl<'b> Image<'b> {
    /// An arm64 `Image` of Linux, for RAM that begins at the 2 MiB boundary `ram_base` or has it
    /// inside.
    ///
    /// It takes as much memory as `image_size` says, and never less than the size of the file. A
    /// compressed image (`Image.gz`) has to be unpacked first.
    ///
    /// # Errors
    ///
    /// As [`Arm64Header::parse`]; [`ImageError::BigEndian`]; [`ImageError::Unaligned`] when
    /// `ram_base` is not aligned to 2 MiB or the offset not to granules; [`ImageError::Overflow`].
    pub fn arm64(bytes: &'b [u8], ram_base: Ipa) -> Result<Self, ImageError> {
        let header = Arm64Header::parse(bytes)?;
        if header.is_big_endian() {
            return Err(ImageError::BigEndian);
        }
        if !ram_base.is_aligned(PLACE_ALIGNMENT) {
            return Err(ImageError::unaligned("RAM", ram_base.raw(), PLACE_ALIGNMENT));
        }
        let offset = header.offset();
        if !offset.is_multiple_of(MIN_GRANULE) {
            return Err(ImageError::unaligned("text offset", offset, MIN_GRANULE));
        }
        let overflow = ImageError::Overflow { base: ram_base, bytes: offset };
        let at = ram_base.checked_add(offset).ok_or(overflow)?;
        let memory = header.image_size.max(bytes.len() as u64);
        let mut image = Self::new(at);
        image.add(Segment { ipa: at, content: bytes, bytes: memory })?;
        Ok(image)
    }
}
