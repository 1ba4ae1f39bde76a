//! ELF executables.

use ::elf::abi;
use ::elf::endian::LittleEndian;
use ::elf::file::{Class, FileHeader, parse_ident};
use ::elf::parse::ParseError;
use ::elf::segment::{ProgramHeader, SegmentTable};
use rmi_abi::Ipa;
use rmi_abi::address::MIN_GRANULE;

use super::{Image, ImageError, MAX_SEGMENTS, Segment};

/// Bytes of the file header.
const HEADER: usize = 64;
/// Bytes of a program header.
const PROGRAM_HEADER: u16 = 56;
/// Bytes that an instruction is aligned to.
const INSTRUCTION: u64 = 4;

impl<'b> Image<'b> {
    /// A 64-bit little endian ELF file for AArch64, by its program headers; sections are ignored.
    ///
    /// Each `PT_LOAD` is placed at its **physical** address (`p_paddr`), because a Realm starts
    /// without stage 1 translation and its physical addresses are IPAs. The entry point of an ELF
    /// file is virtual: it is translated by the segment whose virtual addresses (`p_vaddr`) and
    /// content contain it. Linkers make the two addresses equal unless told otherwise.
    ///
    /// Nothing is relocated. A position independent executable is placed where it was linked to,
    /// and relocates itself if it has to; one that asks for a dynamic loader is refused.
    ///
    /// A segment that begins inside a granule gets the whole granule, and with it what precedes it
    /// in the file, as if the file were mapped into memory; in most files that is the end of
    /// another segment. These bytes are measured as well. Where the file has no such bytes, because
    /// offset and address differ within a granule, the segment is refused. Two segments in one
    /// granule are, too: then link with `-z separate-loadable-segments`, or align the sections in
    /// the linker script.
    ///
    /// # Errors
    ///
    /// [`ImageError`] says what is wrong. Any bytes give an image or an error, in time proportional
    /// to the number of program headers.
    pub fn elf(bytes: &'b [u8]) -> Result<Self, ImageError> {
        let header = header(bytes)?;
        let headers = program_headers(bytes, &header)?;
        if headers.iter().any(|header| header.p_type == abi::PT_INTERP) {
            return Err(ImageError::Interpreter);
        }
        let loaded =
            || headers.iter().filter(|header| header.p_type == abi::PT_LOAD && header.p_memsz > 0);
        let mut image = Self::new(Ipa::new(0));
        for header in loaded() {
            image.add(segment(bytes, &header)?)?;
        }
        if image.count == 0 {
            return Err(ImageError::NoSegments);
        }
        let entry = header.e_entry;
        let Some(ipa) = loaded().find_map(|header| translate(entry, &header)) else {
            return Err(ImageError::Entry { entry });
        };
        if !ipa.is_aligned(INSTRUCTION) {
            return Err(ImageError::unaligned("entry", ipa.raw(), INSTRUCTION));
        }
        image.entry = ipa;
        Ok(image)
    }
}

/// The file header of a file that can be loaded.
fn header(bytes: &[u8]) -> Result<FileHeader<LittleEndian>, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    if !bytes.starts_with(&abi::ELFMAGIC) {
        return Err(ImageError::Magic { format: "ELF file" });
    }
    // The parser of the identification does not check its length.
    let whole = slice(bytes, 0, HEADER as u64)?;
    let (_, tail) = whole.split_at_checked(abi::EI_NIDENT).unwrap_or_default();
    let refuse = |error| match error {
        ParseError::UnsupportedElfClass(class) => ImageError::Class(class),
        ParseError::UnsupportedElfEndianness(abi::ELFDATA2MSB) => ImageError::BigEndian,
        ParseError::UnsupportedElfEndianness(order) => ImageError::ByteOrder(order),
        ParseError::UnsupportedVersion((version, _)) => {
            ImageError::Version(u32::try_from(version).unwrap_or(u32::MAX))
        }
        _ => ImageError::Magic { format: "ELF file" },
    };
    let identification = parse_ident::<LittleEndian>(whole).map_err(refuse)?;
    if identification.1 != Class::ELF64 {
        return Err(ImageError::Class(abi::ELFCLASS32));
    }
    let header = FileHeader::parse_tail(identification, tail).map_err(refuse)?;
    if header.version != u32::from(abi::EV_CURRENT) {
        return Err(ImageError::Version(header.version));
    }
    if header.e_machine != abi::EM_AARCH64 {
        return Err(ImageError::Machine(header.e_machine));
    }
    match header.e_type {
        abi::ET_EXEC | abi::ET_DYN => Ok(header),
        other => Err(ImageError::Type(other)),
    }
}

/// The granules of a segment, with the content that the file has for them.
fn segment<'b>(bytes: &'b [u8], header: &ProgramHeader) -> Result<Segment<'b>, ImageError> {
    let address = Ipa::new(header.p_paddr);
    let ipa = address.align_down(MIN_GRANULE);
    let lead = address.raw() - ipa.raw();
    let (file, memory) = (header.p_filesz, header.p_memsz);
    if file > memory {
        return Err(ImageError::MoreContent { ipa: address, file, memory });
    }
    let content = match file {
        // The offset of a segment without content may lie beyond the file.
        0 => &[],
        _ => {
            slice(bytes, header.p_offset, file)?;
            let begin = header.p_offset.checked_sub(lead);
            let Some(begin) = begin.filter(|begin| begin.is_multiple_of(MIN_GRANULE)) else {
                return Err(ImageError::unaligned("segment", address.raw(), MIN_GRANULE));
            };
            slice(bytes, begin, file + lead)?
        }
    };
    // A segment outside the address space is detected when it is added.
    Ok(Segment { ipa, content, bytes: memory.saturating_add(lead) })
}

fn program_headers<'b>(
    bytes: &'b [u8],
    header: &FileHeader<LittleEndian>,
) -> Result<SegmentTable<'b, LittleEndian>, ImageError> {
    // With this number the real one is in a section header.
    if header.e_phnum == abi::PN_XNUM {
        return Err(ImageError::TooManySegments { max: MAX_SEGMENTS });
    }
    if header.e_phnum == 0 {
        return Err(ImageError::NoSegments);
    }
    if header.e_phentsize != PROGRAM_HEADER {
        return Err(ImageError::HeaderSize(header.e_phentsize));
    }
    let table = u64::from(PROGRAM_HEADER) * u64::from(header.e_phnum);
    let table = slice(bytes, header.e_phoff, table)?;
    Ok(SegmentTable::new(LittleEndian, Class::ELF64, table))
}

/// A part of the file, if the file is long enough.
fn slice(file: &[u8], at: u64, bytes: u64) -> Result<&[u8], ImageError> {
    let end = at.saturating_add(bytes);
    let range = usize::try_from(at).ok().zip(usize::try_from(end).ok());
    let part = range.and_then(|(at, end)| file.get(at..end));
    part.ok_or(ImageError::Truncated { needed: end, bytes: file.len() as u64 })
}

/// The IPA of a virtual address, if the content of the segment contains it.
fn translate(address: u64, header: &ProgramHeader) -> Option<Ipa> {
    let offset = address.checked_sub(header.p_vaddr).filter(|offset| *offset < header.p_filesz)?;
    Ipa::new(header.p_paddr).checked_add(offset)
}
