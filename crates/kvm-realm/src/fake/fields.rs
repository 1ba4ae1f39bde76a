//! Fields of structures, as bytes.

/// The word at an offset; zero where the structure has ended.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u64::from_le_bytes(*field))
}

/// The half of a word at an offset; zero where the structure has ended.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u32::from_le_bytes(*field))
}

/// The lower half of a word.
#[expect(clippy::cast_possible_truncation, reason = "the rest is not asked for")]
pub(super) const fn low(word: u64) -> u32 {
    word as u32
}

/// Whether all bytes from an offset on are zero.
pub(super) fn is_zero(bytes: &[u8], from: usize) -> bool {
    bytes.get(from..).is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_end_with_the_structure() {
        let bytes = [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0];
        assert_eq!((u64_at(&bytes, 0), u64_at(&bytes, 4)), (0x2_0000_0001, 0x3_0000_0002));
        assert_eq!((u64_at(&bytes, 5), u32_at(&bytes, 8), u32_at(&bytes, 9)), (0, 3, 0));
        assert!(is_zero(&bytes, 9) && is_zero(&bytes, 12));
        assert!(!is_zero(&bytes, 8) && !is_zero(&bytes, 13));
    }
}
