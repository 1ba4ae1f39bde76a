//! Transfer lists as firmware makes them, and damaged ones.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use bare_metal::transfer_list::{address, device_tree, used_size};

const SIGNATURE: u32 = 0x4a0f_b10b;

/// A list with these entries: a tag, and what follows the header of the entry.
fn list(entries: &[(u32, &[u8])], has_checksum: bool) -> Vec<u8> {
    let mut list = vec![0; 24];
    for (tag, content) in entries {
        let header = tag | 8 << 24;
        list.extend(header.to_le_bytes());
        list.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        list.extend(*content);
        list.resize(list.len().next_multiple_of(8), 0);
    }
    let size = u32::try_from(list.len()).unwrap();
    list[0..4].copy_from_slice(&SIGNATURE.to_le_bytes());
    list[5..8].copy_from_slice(&[1, 24, 3]);
    list[8..12].copy_from_slice(&size.to_le_bytes());
    list[12..16].copy_from_slice(&(size + 0x100).to_le_bytes());
    list[16..20].copy_from_slice(&u32::from(has_checksum).to_le_bytes());
    if has_checksum {
        let sum = list.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        list[4] = sum.wrapping_neg();
    }
    list
}

#[test]
fn registers_at_entry() {
    let x1 = u64::from(SIGNATURE) | 1 << 32;
    assert_eq!(address(x1, 0x4200_0000), Some(0x4200_0000));
    // Bits 63:40 are not defined.
    assert_eq!(address(x1 | 1 << 40, 8), Some(8));
    assert_eq!(address(x1, 0), None);
    assert_eq!(address(x1, 0x4200_0004), None);
    assert_eq!(address(u64::from(SIGNATURE), 8), None);
    assert_eq!(address(u64::from(SIGNATURE) | 2 << 32, 8), None);
    assert_eq!(address(x1 ^ 1, 8), None);
    assert_eq!(address(x1 ^ 1 << 31, 8), None);
}

#[test]
fn finds_the_tree() {
    let tree = &[1, 2, 3, 4, 5][..];
    for has_checksum in [false, true] {
        // Empty entries, and one whose length is no multiple of the alignment, come before it.
        let before: &[(u32, &[u8])] = &[(0, &[]), (0x10_0001, &[9; 3]), (2, &[7; 16])];
        let found = list(&[before, &[(1, tree), (1, &[8])]].concat(), has_checksum);
        assert_eq!(device_tree(&found), Some(tree));
        assert_eq!(used_size(&found), Some(found.len()));
        // More memory than is used.
        assert_eq!(device_tree(&[&found[..], &[1; 64]].concat()), Some(tree));
        assert_eq!(device_tree(&list(before, has_checksum)), None);
    }
    assert_eq!(device_tree(&list(&[], true)), None);
}

#[test]
fn headers_may_be_longer() {
    let mut longer = list(&[(0, &[0; 8]), (1, &[1, 2, 3, 4, 5, 6, 7, 8, 9])], false);
    // The header of the list has the first entry in it; that of the second, 8 bytes more.
    longer[6] = 40;
    longer[43] = 16;
    longer[44] = 1;
    assert_eq!(device_tree(&longer), Some(&[9][..]));
    // A shorter one than there is does not move the entries.
    longer[6] = 8;
    longer[43] = 4;
    longer[44] = 9;
    assert_eq!(device_tree(&longer), Some(&[1, 2, 3, 4, 5, 6, 7, 8, 9][..]));
}

#[test]
fn damaged_lists() {
    let intact = list(&[(7, &[0; 9]), (1, b"a device tree")], true);
    assert_eq!(device_tree(&intact), Some(&b"a device tree"[..]));
    for end in 0..intact.len() {
        assert_eq!(device_tree(&intact[..end]), None, "{end}");
    }
    for at in 0..intact.len() {
        for bit in 0..8 {
            let mut damaged = intact.clone();
            damaged[at] ^= 1 << bit;
            // Without the flag the checksum is not looked at.
            let unchecked = at == 16 && bit == 0;
            let found = device_tree(&damaged);
            assert_eq!(found, unchecked.then_some(&b"a device tree"[..]), "{at} {bit}");
        }
    }
    // Without a checksum too, reading ends.
    let intact = list(&[(7, &[0; 9]), (1, b"a device tree")], false);
    for at in 0..intact.len() {
        for value in 0..=u8::MAX {
            let mut damaged = intact.clone();
            damaged[at] = value;
            let _ = device_tree(&damaged);
        }
    }
    let mut short = list(&[], false);
    short[8] = 23;
    assert_eq!(used_size(&short), None);
    short[8] = 24;
    assert_eq!(used_size(&short), Some(24));
}
