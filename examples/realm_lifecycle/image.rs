//! Guest images: flat files, and the arm64 `Image` format of Linux.

use std::path::Path;

/// Bytes of a granule.
const GRANULE: u64 = 0x1000;

/// Longest file that is read at all.
const MAX_FILE: u64 = 4 << 30;

/// An image and where it goes.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// What to call it.
    pub(crate) name: String,
    /// What kind it is.
    pub(crate) kind: &'static str,
    /// Its content.
    pub(crate) content: Vec<u8>,
    /// Where it goes, in bytes from the start of RAM.
    pub(crate) offset: u64,
    /// RAM that it needs from there on, in bytes: more than its content when it has a BSS.
    pub(crate) footprint: u64,
}

/// The image that comes with the example: a loop of WFI instructions, and a name. The model does not execute instructions, so any would do.
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
    /// Reads an image from a file, or takes the built-in one.
    pub(crate) fn load(path: Option<&Path>, pad: bool) -> Result<Self, String> {
        let Some(path) = path else {
            return Self::from_bytes("(built in)".into(), built_in(), false);
        };
        let name = path.display().to_string();
        let describe = |error: std::io::Error| format!("image {name}: {error}");
        let size = std::fs::metadata(path).map_err(describe)?;
        if size.is_dir() {
            return Err(format!("image {name}: is a directory"));
        }
        if !size.is_file() {
            return Err(format!("image {name}: is not a regular file"));
        }
        if size.len() > MAX_FILE {
            return Err(format!(
                "image {name}: {} bytes are too large; 4 GiB is the limit",
                size.len()
            ));
        }
        let content = std::fs::read(path).map_err(describe)?;
        Self::from_bytes(name, content, pad)
    }

    fn from_bytes(name: String, content: Vec<u8>, pad: bool) -> Result<Self, String> {
        let len = content.len() as u64;
        if len == 0 {
            return Err(format!("image {name}: is empty"));
        }
        match Header::parse(&content) {
            Some(header) => {
                if !header.text_offset.is_multiple_of(GRANULE) {
                    let offset = header.text_offset;
                    return Err(format!(
                        "image {name}: unaligned: its text offset {offset:#x} is no multiple of 4 KiB"
                    ));
                }
                let footprint = header.image_size.max(len);
                Ok(Self {
                    name,
                    kind: "arm64 Image",
                    content,
                    offset: header.text_offset,
                    footprint,
                })
            }
            None if !pad && !len.is_multiple_of(GRANULE) => Err(format!(
                "image {name}: unaligned: its {len} bytes are no whole number of 4 KiB granules (--pad fills it up)"
            )),
            None => Ok(Self { name, kind: "flat", content, offset: 0, footprint: len }),
        }
    }

    /// RAM that the content takes, in whole granules.
    pub(crate) fn granule_bytes(&self) -> u64 {
        (self.content.len() as u64).next_multiple_of(GRANULE)
    }
}

/// What matters of the header of an arm64 `Image`. Source: Linux, "Booting AArch64 Linux".
struct Header {
    /// Distance of the image from a 2 MiB boundary.
    text_offset: u64,
    /// Memory that it needs, BSS included; 0 in images older than Linux 3.17.
    image_size: u64,
}

impl Header {
    const MAGIC_AT: usize = 56;
    const MAGIC: [u8; 4] = *b"ARM\x64";

    fn parse(content: &[u8]) -> Option<Self> {
        let magic = content.get(Self::MAGIC_AT..Self::MAGIC_AT + 4)?;
        let word = |at: usize| Some(u64::from_le_bytes(content.get(at..at + 8)?.try_into().ok()?));
        let (text_offset, image_size) = (word(8)?, word(16)?);
        (magic == Self::MAGIC).then_some(Self { text_offset, image_size })
    }
}
