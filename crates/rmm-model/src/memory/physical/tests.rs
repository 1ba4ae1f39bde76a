use alloc::boxed::Box;
use alloc::vec::Vec;
use core::pin::Pin;
use std::vec;

use super::*;
use crate::memory::SparseMemory;

const BASE: u64 = 0x8000_0000;
const BYTES: u64 = 0x1000;
const LENGTH: usize = 0x1000;
/// What surrounds the memory and must not change.
const CANARY: u8 = 0xcc;
/// Bytes of it on each side.
const MARGIN: usize = 16;

fn range() -> PaRange {
    PaRange::with_size(Pa::new(BASE), BYTES).unwrap()
}

/// Runs `check` on memory whose first byte is `skew` bytes after an aligned word; returns its
/// content afterwards.
fn on_memory(
    access: MemoryAccess,
    skew: usize,
    check: impl FnOnce(&mut PhysicalMemory),
) -> Vec<u8> {
    let mut words = vec![u64::from_ne_bytes([CANARY; 8]); (LENGTH + 2 * MARGIN) / 8 + 1];
    let all = words.as_mut_ptr().cast::<u8>();
    // SAFETY: the vector is longer than the margin, the skew, and the memory.
    let base = unsafe { all.add(MARGIN + skew) };
    // SAFETY: the same; no reference is to the vector while the memory is used.
    let mut memory = unsafe {
        base.write_bytes(0, LENGTH);
        PhysicalMemory::new(range(), base, access)
    };
    check(&mut memory);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let (before, rest) = bytes.split_at(MARGIN + skew);
    let (content, after) = rest.split_at(LENGTH);
    assert!(before.iter().chain(after).all(|byte| *byte == CANARY), "{access:?} {skew}");
    content.to_vec()
}

const ACCESSES: [MemoryAccess; 2] = [MemoryAccess::Plain, MemoryAccess::Volatile];

fn skews() -> impl Iterator<Item = usize> {
    (0..8).step_by(if cfg!(miri) { 5 } else { 1 })
}

/// Addresses near both ends, and outside.
fn addresses() -> Vec<u64> {
    let near = |at: u64| (at - 20..at + 20).step_by(if cfg!(miri) { 7 } else { 1 });
    let far = [0, BASE - BYTES, BASE + 0x7fd, BASE + 2 * BYTES, u64::MAX - 3, u64::MAX];
    near(BASE).chain(near(BASE + BYTES)).chain(far).collect()
}

fn lengths() -> impl Iterator<Item = usize> {
    (0..=40).step_by(if cfg!(miri) { 13 } else { 1 })
}

#[test]
fn accesses_are_those_of_memory_on_the_heap() {
    for access in ACCESSES {
        for skew in skews() {
            let mut reference = SparseMemory::new(range());
            let content = on_memory(access, skew, |memory| {
                for at in addresses().into_iter().map(Pa::new) {
                    for (n, length) in lengths().enumerate() {
                        let seed = u8::try_from(n).unwrap();
                        let bytes: Vec<u8> =
                            (1..).map(|n: u8| n.wrapping_mul(7) ^ seed).take(length).collect();
                        memory.write(at, &bytes);
                        reference.write(at, &bytes);
                        let (mut found, mut expected) = (vec![9; length + 3], vec![8; length + 3]);
                        memory.read(at, &mut found);
                        reference.read(at, &mut expected);
                        assert_eq!(found, expected, "{access:?} {skew} {at} {length}");
                        let part = Pa::new(at.raw().saturating_add(2));
                        memory.fill(part, length as u64 / 2, seed);
                        reference.fill(part, length as u64 / 2, seed);
                    }
                }
            });
            let mut expected = vec![0; LENGTH];
            reference.read(Pa::new(BASE), &mut expected);
            assert_eq!(content, expected, "{access:?} {skew}");
        }
    }
}

#[test]
fn long_accesses_reach_both_ends() {
    for access in ACCESSES {
        for skew in skews() {
            let content = on_memory(access, skew, |memory| {
                memory.fill(Pa::new(0), u64::MAX, 0x77);
                memory.fill(Pa::new(BASE), 0, 0x11);
                memory.fill(Pa::new(BASE + 1), 64 + 5, 0x22);
                let mut all = vec![1; LENGTH + 2];
                memory.read(Pa::new(BASE - 1), &mut all);
                assert_eq!((all[0], all[1], all[LENGTH + 1]), (0, 0x77, 0));
                assert!(all[2..71].iter().all(|byte| *byte == 0x22));
                assert!(all[71..=LENGTH].iter().all(|byte| *byte == 0x77));
                all.reverse();
                memory.write(Pa::new(BASE - 1), &all);
            });
            assert!(content[..LENGTH - 70].iter().all(|byte| *byte == 0x77));
            assert!(content[LENGTH - 70..LENGTH - 1].iter().all(|byte| *byte == 0x22));
            assert_eq!(content[LENGTH - 1], 0x77);
        }
    }
}

#[test]
fn a_word_is_reached_after_as_many_bytes_as_are_missing() {
    let distances: Vec<usize> = (0x1000..0x1009).map(to_word).collect();
    assert_eq!(distances, [0, 7, 6, 5, 4, 3, 2, 1, 0]);
}

#[test]
fn ranges_are_there_or_not() {
    let of = |base: u64, bytes: u64| PaRange::with_size(Pa::new(base), bytes).unwrap();
    let check = |memory: &dyn Memory| {
        for (base, bytes, expected) in [
            (BASE, BYTES, true),
            (BASE, 2 * BYTES, false),
            (BASE - BYTES, 2 * BYTES, false),
            (BASE - BYTES, BYTES, false),
            (BASE + BYTES, BYTES, false),
        ] {
            assert_eq!(memory.contains(of(base, bytes)), expected);
        }
    };
    check(&SparseMemory::new(range()));
    on_memory(MemoryAccess::Plain, 0, |memory| check(memory));
}

#[repr(align(4096))]
struct Page([u8; LENGTH]);

#[test]
fn physical_addresses_are_addresses_of_the_program() {
    let mut page: Pin<Box<Page>> = Box::pin(Page([0; LENGTH]));
    let base = page.0.as_mut_ptr();
    let at = Pa::new(base.expose_provenance() as u64);
    let range = PaRange::with_size(at, BYTES).unwrap();
    // SAFETY: the page is there until the end, and not used while the memory is.
    let mut memory = unsafe { PhysicalMemory::identity(range, MemoryAccess::Volatile) };
    memory.write(Pa::new(at.raw() + 0xffe), &[1, 2, 3]);
    let mut back = [9; 3];
    memory.read(Pa::new(at.raw() + 0xffd), &mut back);
    assert_eq!(back, [0, 1, 2]);
    assert_eq!(page.0[0xffc..], [0, 0, 1, 2]);
}
