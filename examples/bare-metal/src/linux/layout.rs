//! Where RAM, files and devices of the guest are in its IPA space.

use core::fmt;

use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::measurement::{Image, ImageError};

/// Bits of an IPA.
pub const IPA_WIDTH: u8 = 40;
/// Where RAM begins.
pub const RAM: Ipa = Ipa::new(0x4000_0000);
/// Bytes that the device tree may have, and the alignment of files in RAM: a block.
pub const BLOCK: u64 = 2 << 20;
const GRANULE: u64 = 0x1000;

/// The distributor of the GIC, from the first unprotected IPA on; the device tree has these
/// addresses, and the guest adds the bit that makes them unprotected.
pub const DISTRIBUTOR: u64 = 0x0800_0000;
/// The redistributors, one after the other.
pub const REDISTRIBUTORS: u64 = 0x080a_0000;
/// The PL011.
pub const UART: u64 = 0x0900_0000;
/// The first SPI's INTID.
pub const FIRST_SPI: u32 = 32;
/// The INTID of the PL011's interrupt.
pub const UART_INTID: u32 = 33;

/// Where the files are.
///
/// | From | What |
/// |---|---|
/// | [`RAM`] + the kernel's offset | kernel, with its BSS |
/// | the next block | device tree |
/// | the block after that | initial RAM file system |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// All of RAM.
    pub ram: IpaRange,
    /// Where the kernel starts.
    pub entry: Ipa,
    /// The kernel and its BSS, in granules.
    pub kernel: IpaRange,
    /// The bytes that the device tree may have.
    pub tree: IpaRange,
    /// The granules of the initial RAM file system …
    pub initramfs: IpaRange,
    /// … and its size in bytes.
    pub initramfs_bytes: u64,
}

/// Why the files have no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// The kernel is not an arm64 `Image`.
    Kernel(ImageError),
    /// RAM is not a multiple of 2 MiB, or is not within the protected half.
    Ram(u64),
    /// RAM does not contain the files.
    TooSmall {
        /// Bytes of RAM that would do for the files alone.
        needed: u64,
        /// Bytes of RAM.
        ram: u64,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(error) => write!(f, "the kernel cannot be loaded: {error}"),
            Self::Ram(bytes) => {
                write!(f, "{bytes:#x} bytes of RAM are not whole blocks of the protected half")
            }
            Self::TooSmall { needed, ram } => {
                write!(f, "the files need {needed:#x} bytes of RAM, and there are {ram:#x}")
            }
        }
    }
}

impl core::error::Error for LayoutError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Kernel(error) => Some(error),
            Self::Ram(_) | Self::TooSmall { .. } => None,
        }
    }
}

impl Layout {
    /// Places a kernel, and `initramfs_bytes` bytes of an initial RAM file system, in `ram` bytes
    /// of RAM.
    ///
    /// # Errors
    ///
    /// [`LayoutError`].
    pub fn new(kernel: &[u8], initramfs_bytes: u64, ram: u64) -> Result<Self, LayoutError> {
        let image = Image::arm64(kernel, RAM).map_err(LayoutError::Kernel)?;
        let end = 1 << (IPA_WIDTH - 1);
        if !ram.is_multiple_of(BLOCK) || ram == 0 || ram > end - RAM.raw() {
            return Err(LayoutError::Ram(ram));
        }
        let kernel = image.range();
        let placed = |from: Ipa, bytes: u64| {
            let base = from.raw().checked_next_multiple_of(BLOCK)?;
            IpaRange::with_size(Ipa::new(base), bytes).ok()
        };
        let tree = placed(kernel.top(), BLOCK);
        let granules = initramfs_bytes.checked_next_multiple_of(GRANULE);
        let files = tree.and_then(|tree| Some((tree, placed(tree.top(), granules?)?)));
        let Some((tree, initramfs)) = files else {
            return Err(LayoutError::TooSmall { needed: u64::MAX, ram });
        };
        let needed = initramfs.top().raw() - RAM.raw();
        if needed > ram {
            return Err(LayoutError::TooSmall { needed, ram });
        }
        let ram = IpaRange::with_size_or_empty(RAM, ram);
        Ok(Self { ram, entry: image.entry(), kernel, tree, initramfs, initramfs_bytes })
    }
}
