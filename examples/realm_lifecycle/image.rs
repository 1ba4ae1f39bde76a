//! Guest images: flat files, and the arm64 `Image` format of Linux.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use realm_sdk::abi::{GranuleSize, Ipa};
use realm_sdk::measurement::image;
use realm_sdk::measurement::image::arm64::Arm64Header;

/// Bytes of a granule.
const GRANULE: u64 = 0x1000;

/// An image and its place in RAM.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Its name in messages.
    pub(crate) name: String,
    /// Its kind.
    pub(crate) kind: &'static str,
    /// Its content.
    pub(crate) content: Vec<u8>,
    /// Its offset, in bytes from the start of RAM.
    pub(crate) offset: u64,
    /// RAM that it needs from there on, in bytes: more than its content when it has a BSS.
    pub(crate) footprint: u64,
}

/// The image that comes with the example: a loop of WFI instructions, and a name. The model does
/// not execute instructions, so any would do.
fn built_in() -> Vec<u8> {
    const WFI: u32 = 0xd503_207f;
    const BRANCH_BACK: u32 = 0x17ff_ffff;
    let mut image: Vec<u8> =
        [WFI, BRANCH_BACK].iter().flat_map(|instruction| instruction.to_le_bytes()).collect();
    image.extend_from_slice(b"the small image of the realm lifecycle example");
    image.resize(4 * 0x1000, 0);
    image
}

impl Image {
    /// Reads an image of at most `most` bytes from a file, or takes the built-in one.
    ///
    /// The metadata of a file is checked before it is opened (opening a FIFO would wait for a
    /// writer), and no more of it is read than can be used, even if the file has changed since.
    pub(crate) fn load(path: Option<&Path>, pad: bool, most: u64) -> Result<Self, String> {
        let Some(path) = path else {
            return Self::from_bytes("(built in)".into(), built_in(), false);
        };
        let name = path.display().to_string();
        let describe = |error: std::io::Error| format!("image {name}: {error}");
        let too_large = |bytes: u64| {
            Err(format!(
                "image {name}: too large: {bytes} bytes, and the realm has RAM for {most} (--ram)"
            ))
        };
        let metadata = fs::metadata(path).map_err(describe)?;
        if metadata.is_dir() {
            return Err(format!("image {name}: is a directory"));
        }
        if !metadata.is_file() {
            return Err(format!("image {name}: is not a regular file"));
        }
        if metadata.len() > most {
            return too_large(metadata.len());
        }
        let mut content = Vec::new();
        let limit = most.saturating_add(1);
        File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut content))
            .map_err(describe)?;
        if content.len() as u64 > most {
            return too_large(content.len() as u64);
        }
        Self::from_bytes(name, content, pad)
    }

    fn from_bytes(name: String, content: Vec<u8>, pad: bool) -> Result<Self, String> {
        let len = content.len() as u64;
        let is_kernel = Arm64Header::is_there(&content);
        // Where RAM begins is decided later, on a 2 MiB boundary; until then it begins at 0.
        let start = Ipa::new(0);
        let image = match is_kernel {
            true => image::Image::arm64(&content, start),
            false => image::Image::flat(&content, start),
        };
        let image = image.map_err(|error| format!("image {name}: {error}"))?;
        if !is_kernel && !pad && !len.is_multiple_of(GRANULE) {
            return Err(format!(
                "image {name}: unaligned: its {len} bytes are no whole number of 4 KiB granules \
                 (--pad fills it up)"
            ));
        }
        let kind = if is_kernel { "arm64 Image" } else { "flat" };
        let offset = image.entry().raw();
        let footprint = image.segments().map(|segment| segment.bytes).sum();
        Ok(Self { name, kind, content, offset, footprint })
    }

    /// RAM that the content takes, in whole granules of this size.
    pub(crate) fn granule_bytes(&self, granule: GranuleSize) -> u64 {
        (self.content.len() as u64).next_multiple_of(granule.bytes())
    }
}
