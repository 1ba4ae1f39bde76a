//! Files that are in memory beside the program: a cpio archive of the format `newc`, as
//! `cpio -o -H newc` makes it.
//!
//! It is not trusted to be well-formed: whatever is not ends it.
//!
//! Source: Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`.

/// The files of an archive.
#[derive(Clone, Copy, Debug)]
pub struct Archive<'a>(&'a [u8]);

/// A file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// Its path, without `./` in front.
    pub name: &'a str,
    /// Its content.
    pub content: &'a [u8],
}

/// What is in front of each entry: six digits of the magic, and 13 numbers of eight digits.
const HEADER: usize = 110;
const MAGIC: &[u8] = b"070701";
/// Which of the numbers are the size of the file, and of its name with the NUL at the end.
const FILE_SIZE: usize = 6;
const NAME_SIZE: usize = 11;
/// Headers and files begin at multiples of this.
const ALIGNMENT: usize = 4;
/// The name of the last entry.
const TRAILER: &str = "TRAILER!!!";

/// An entry, and the bytes that it takes.
struct Entry<'a> {
    file: File<'a>,
    bytes: usize,
}

/// A number of the header, which has hexadecimal digits.
fn number(header: &[u8], index: usize) -> Option<usize> {
    let at = MAGIC.len() + 8 * index;
    let digits = core::str::from_utf8(header.get(at..at + 8)?).ok()?;
    usize::try_from(u32::from_str_radix(digits, 16).ok()?).ok()
}

fn entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let header = bytes.get(..HEADER)?;
    if !header.starts_with(MAGIC) {
        return None;
    }
    let (size, name_size) = (number(header, FILE_SIZE)?, number(header, NAME_SIZE)?);
    let name_end = HEADER.checked_add(name_size)?;
    let (nul, name) = bytes.get(HEADER..name_end)?.split_last()?;
    let name = core::str::from_utf8(name).ok().filter(|_| *nul == 0)?;
    let begin = name_end.checked_next_multiple_of(ALIGNMENT)?;
    let end = begin.checked_add(size)?;
    let content = bytes.get(begin..end)?;
    let name = name.strip_prefix("./").unwrap_or(name);
    let bytes = end.checked_next_multiple_of(ALIGNMENT)?;
    Some(Entry { file: File { name, content }, bytes })
}

impl<'a> Archive<'a> {
    /// The archive at the start of these bytes, which may be longer. `None` if there is none, or if
    /// it has no end.
    #[must_use]
    pub fn find(bytes: &'a [u8]) -> Option<Self> {
        let mut at = 0_usize;
        loop {
            let Entry { file, bytes: length } = entry(bytes.get(at..)?)?;
            at = at.checked_add(length)?;
            if file.name == TRAILER {
                return bytes.get(..at.min(bytes.len())).map(Self);
            }
        }
    }

    /// The bytes that it takes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Its files, in their order; directories are files without content.
    pub fn files(&self) -> impl Iterator<Item = File<'a>> + use<'a> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let Entry { file, bytes } = entry(rest)?;
            rest = rest.get(bytes..).unwrap_or_default();
            (file.name != TRAILER).then_some(file)
        })
    }

    /// The content of the file with this name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&'a [u8]> {
        self.files().find(|file| file.name == name).map(|file| file.content)
    }
}
