//! Why bytes are not an image.

use rmi_abi::Ipa;
use thiserror::Error;

/// Why bytes are not an image that can be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// There are no bytes.
    #[error("is empty")]
    Empty,
    /// The bytes do not begin with the magic of this format.
    #[error("is not an {format}")]
    Magic {
        /// The format.
        format: &'static str,
    },
    /// The file ends before the content that it declares.
    #[error("truncated: it has {bytes} of {needed} bytes")]
    #[non_exhaustive]
    Truncated {
        /// Bytes needed.
        needed: u64,
        /// Bytes present.
        bytes: u64,
    },
    /// The image is for a big endian CPU; a Realm starts as little endian.
    #[error("is for a big endian CPU")]
    BigEndian,
    /// An address or offset that determines where content is placed is not aligned; a segment of an
    /// ELF file is aligned neither in memory nor as in the file.
    #[error("unaligned: its {what} {address:#x} is no multiple of {to:#x}")]
    #[non_exhaustive]
    Unaligned {
        /// What is not aligned: `place`, `RAM`, `text offset`, `segment` or `entry`.
        what: &'static str,
        /// Its address or offset.
        address: u64,
        /// The alignment needed, in bytes.
        to: u64,
    },
    /// Content would extend beyond the last address.
    #[error("{bytes:#x} bytes from IPA {base} on leave the address space")]
    #[non_exhaustive]
    Overflow {
        /// Where it begins.
        base: Ipa,
        /// Its length in bytes.
        bytes: u64,
    },
    /// Two segments share a granule.
    #[error("the segments at IPA {ipa} and {other} share a granule")]
    #[non_exhaustive]
    Overlap {
        /// Where one begins.
        ipa: Ipa,
        /// Where the other begins.
        other: Ipa,
    },
    /// A segment has more content than memory.
    #[error(
        "the segment at IPA {ipa} has {file:#x} bytes of content for {memory:#x} bytes of memory"
    )]
    #[non_exhaustive]
    MoreContent {
        /// Where it begins.
        ipa: Ipa,
        /// Bytes of content.
        file: u64,
        /// Bytes of memory.
        memory: u64,
    },
    /// There are more segments than an image may have.
    #[error("has more than {max} segments")]
    TooManySegments {
        /// Maximum: [`MAX_SEGMENTS`](super::MAX_SEGMENTS).
        max: usize,
    },
    /// Nothing is to be loaded.
    #[error("has nothing to load")]
    NoSegments,
    /// The image starts where it has no content.
    #[error("has no content at its entry point {entry:#x}")]
    #[non_exhaustive]
    Entry {
        /// Its entry point, as the file has it.
        entry: u64,
    },
    /// The ELF class, `EI_CLASS`, is not that of 64 bits, 2.
    #[error("is not 64-bit ELF, but of class {0}")]
    Class(u8),
    /// The byte order, `EI_DATA`, is not defined.
    #[error("has the unknown byte order {0}")]
    ByteOrder(u8),
    /// The version of ELF is not 1.
    #[error("has the unknown ELF version {0}")]
    Version(u32),
    /// The machine, `e_machine`, is not AArch64, 183.
    #[error("is not for AArch64, but for machine {0}")]
    Machine(u16),
    /// The kind of file, `e_type`, is neither an executable, 2, nor a shared object, 3.
    #[error("is no executable, but an ELF file of type {0}")]
    Type(u16),
    /// The program headers, `e_phentsize`, do not have 56 bytes each.
    #[error("has program headers of {0} bytes, not 56")]
    HeaderSize(u16),
    /// The program needs an interpreter (a dynamic loader), and a Realm has none.
    #[error("needs a dynamic loader")]
    Interpreter,
}

impl ImageError {
    pub(super) const fn unaligned(what: &'static str, address: u64, to: u64) -> Self {
        Self::Unaligned { what, address, to }
    }
}
