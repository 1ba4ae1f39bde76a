//! The list in which firmware hands over to the next stage, and the device tree in it.
//!
//! Source: Firmware Handoff specification 0.9, "Transfer list".

/// What X1 has at entry when X3 has the address of a list: the signature in bits 31:0, the version
/// of the register convention in bits 39:32.
const REGISTER_SIGNATURE: u64 = 0x4a0f_b10b;
const REGISTER_CONVENTION: u64 = 1;

/// The first word of a list.
const SIGNATURE: u32 = 0x4a0f_b10b;
/// Bytes of the header of a list that every version has.
const HEADER_BYTES: usize = 24;
/// What entries are aligned to.
const GRANULE: usize = 8;
/// Bytes of the header of an entry.
const ENTRY_BYTES: usize = 8;
/// The tag of an entry that has a flattened device tree.
const FDT: u32 = 1;

/// Where the list is, by X1 and X3 at entry; `None` if they do not follow the convention.
#[must_use]
pub fn address(x1: u64, x3: u64) -> Option<u64> {
    let follows = x1 & 0xffff_ffff == REGISTER_SIGNATURE
        && x1 >> 32 & 0xff == REGISTER_CONVENTION
        && x3 != 0
        && x3.is_multiple_of(8);
    follows.then_some(x3)
}

/// `used_size` of the header, if the bytes begin with one: how many bytes the list has.
#[must_use]
pub fn used_size(list: &[u8]) -> Option<usize> {
    let signature = word(list, 0)?;
    let size = usize::try_from(word(list, 8)?).ok()?;
    (signature == SIGNATURE && size >= HEADER_BYTES).then_some(size)
}

/// The device tree in a list, or `None`: the list is damaged, or has none.
///
/// The checksum is checked if the list has one.
#[must_use]
pub fn device_tree(list: &[u8]) -> Option<&[u8]> {
    const HAS_CHECKSUM: u32 = 1;
    let list = list.get(..used_size(list)?)?;
    let sum = list.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if word(list, 16)? & HAS_CHECKSUM != 0 && sum != 0 {
        return None;
    }
    let mut at = usize::from(*list.get(6)?).max(HEADER_BYTES);
    loop {
        at = at.checked_next_multiple_of(GRANULE)?;
        let entry = list.get(at..)?;
        // 24 bits of tag, 8 of the size of the header.
        let [header, tag @ ..] = word(entry, 0)?.to_be_bytes();
        let [a, b, c] = tag;
        let data = usize::from(header).max(ENTRY_BYTES);
        let size = usize::try_from(word(entry, 4)?).ok()?;
        let end = data.checked_add(size)?;
        let content = entry.get(data..end)?;
        if u32::from_be_bytes([0, a, b, c]) == FDT {
            return Some(content);
        }
        at = at.checked_add(end)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}
