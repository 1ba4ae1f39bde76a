//! Why bytes are not an image.

use core::fmt;

use rmi_abi::Ipa;

/// Why bytes are not an image that can be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// There are no bytes.
    Empty,
    /// The bytes do not begin with the magic of this format.
    Magic {
        /// The format.
        format: &'static str,
    },
    /// The file ends before the content that it declares.
    #[non_exhaustive]
    Truncated {
        /// Bytes needed.
        needed: u64,
        /// Bytes present.
        bytes: u64,
    },
    /// The image is for a big endian CPU; a Realm starts as little endian.
    BigEndian,
    /// An address or offset that determines where content is placed is not aligned; a segment of an
    /// ELF file is aligned neither in memory nor as in the file.
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
    #[non_exhaustive]
    Overflow {
        /// Where it begins.
        base: Ipa,
        /// Its length in bytes.
        bytes: u64,
    },
    /// Two segments share a granule.
    #[non_exhaustive]
    Overlap {
        /// Where one begins.
        ipa: Ipa,
        /// Where the other begins.
        other: Ipa,
    },
    /// A segment has more content than memory.
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
    TooManySegments {
        /// Maximum: [`MAX_SEGMENTS`](super::MAX_SEGMENTS).
        max: usize,
    },
    /// Nothing is to be loaded.
    NoSegments,
    /// The image starts where it has no content.
    #[non_exhaustive]
    Entry {
        /// Its entry point, as the file has it.
        entry: u64,
    },
    /// The ELF class, `EI_CLASS`, is not that of 64 bits, 2.
    Class(u8),
    /// The byte order, `EI_DATA`, is not defined.
    ByteOrder(u8),
    /// The version of ELF is not 1.
    Version(u32),
    /// The machine, `e_machine`, is not AArch64, 183.
    Machine(u16),
    /// The kind of file, `e_type`, is neither an executable, 2, nor a shared object, 3.
    Type(u16),
    /// The program headers, `e_phentsize`, do not have 56 bytes each.
    HeaderSize(u16),
    /// The program needs an interpreter (a dynamic loader), and a Realm has none.
    Interpreter,
}

impl ImageError {
    pub(super) const fn unaligned(what: &'static str, address: u64, to: u64) -> Self {
        Self::Unaligned { what, address, to }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::Magic { format } => write!(f, "is not an {format}"),
            Self::Truncated { needed, bytes } => {
                write!(f, "truncated: it has {bytes} of {needed} bytes")
            }
            Self::BigEndian => f.write_str("is for a big endian CPU"),
            Self::Unaligned { what, address, to } => {
                write!(f, "unaligned: its {what} {address:#x} is no multiple of {to:#x}")
            }
            Self::Overflow { base, bytes } => {
                write!(f, "{bytes:#x} bytes from IPA {base} on leave the address space")
            }
            Self::Overlap { ipa, other } => {
                write!(f, "the segments at IPA {ipa} and {other} share a granule")
            }
            Self::MoreContent { ipa, file, memory } => write!(
                f,
                "the segment at IPA {ipa} has {file:#x} bytes of content for {memory:#x} bytes of memory"
            ),
            Self::TooManySegments { max } => write!(f, "has more than {max} segments"),
            Self::NoSegments => f.write_str("has nothing to load"),
            Self::Entry { entry } => write!(f, "has no content at its entry point {entry:#x}"),
            Self::Class(class) => write!(f, "is not 64-bit ELF, but of class {class}"),
            Self::ByteOrder(order) => write!(f, "has the unknown byte order {order}"),
            Self::Version(version) => write!(f, "has the unknown ELF version {version}"),
            Self::Machine(machine) => write!(f, "is not for AArch64, but for machine {machine}"),
            Self::Type(kind) => write!(f, "is no executable, but an ELF file of type {kind}"),
            Self::HeaderSize(bytes) => write!(f, "has program headers of {bytes} bytes, not 56"),
            Self::Interpreter => f.write_str("needs a dynamic loader"),
        }
    }
}

impl core::error::Error for ImageError {}
