//! The content of the flash memory: what an ELF file loads, at its physical addresses from 0 on.

use object::LittleEndian;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::Failure;

/// Bytes of the flash.
const SIZE: usize = 64 << 20;

/// The content, up to the last byte that the file has.
pub(super) fn content(file: &[u8]) -> Result<Vec<u8>, Failure> {
    let parsed = FileHeader64::<LittleEndian>::parse(file)
        .and_then(|header| header.program_headers(LittleEndian, file));
    let mut content = Vec::new();
    for segment in parsed.map_err(|error| format!("no ELF file: {error}"))? {
        let bytes = segment.data(LittleEndian, file).map_err(|()| "a segment is cut off")?;
        if segment.p_type(LittleEndian) != PT_LOAD || bytes.is_empty() {
            continue;
        }
        let base = segment.p_paddr(LittleEndian);
        let base = usize::try_from(base).ok().filter(|base| *base < SIZE);
        let top = base.and_then(|base| base.checked_add(bytes.len())).filter(|top| *top <= SIZE);
        let (Some(base), Some(top)) = (base, top) else {
            return Err("a segment is not in the flash".into());
        };
        content.resize(content.len().max(top), 0);
        content.get_mut(base..top).ok_or("a segment is too long")?.copy_from_slice(bytes);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the ELF header, and of a program header.
    const HEADER: u64 = 64;
    const SEGMENT: u64 = 56;

    /// An ELF file with segments of these types, at these physical addresses, with these bytes.
    fn file(segments: &[(u32, u64, &[u8])]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        for half in [2_u16, 183] {
            file.extend(half.to_le_bytes());
        }
        file.extend(1_u32.to_le_bytes());
        for word in [0, HEADER, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend(0_u32.to_le_bytes());
        let count = u16::try_from(segments.len()).unwrap();
        for half in [64, 56, count, 0, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let mut offset = HEADER + SEGMENT * u64::from(count);
        for (kind, at, bytes) in segments {
            file.extend(kind.to_le_bytes());
            file.extend(5_u32.to_le_bytes());
            let size = bytes.len() as u64;
            for word in [offset, 0xe00_0000, *at, size, size + 100, 8] {
                file.extend(word.to_le_bytes());
            }
            offset += size;
        }
        segments.iter().for_each(|(_, _, bytes)| file.extend_from_slice(bytes));
        file
    }

    #[test]
    fn segments_are_at_their_physical_addresses() {
        let load = PT_LOAD;
        let file = file(&[(load, 4, b"later"), (load, 0, b"one"), (load, 99, b""), (7, 0, b"x")]);
        assert_eq!(content(&file).unwrap(), b"one\0later");
        assert_eq!(
            content(&file[..file.len() - 1]).unwrap_err().to_string(),
            "a segment is cut off"
        );
    }

    #[test]
    fn the_flash_has_an_end() {
        let top = SIZE as u64;
        assert_eq!(content(&file(&[(PT_LOAD, top - 2, b"ab")])).unwrap().len(), SIZE);
        for at in [top - 1, top, u64::MAX] {
            assert!(content(&file(&[(PT_LOAD, at, b"ab")])).is_err(), "{at:#x}");
        }
        assert!(content(b"no file").is_err());
    }
}
