use super::*;

#[test]
fn bytes_survive_across_granules_and_refilling_forgets_them() {
    let dram = PaRange::with_size(Pa::new(0x8000_0000), 0x4000).unwrap();
    let mut memory = SparseMemory::new(dram);
    memory.write(Pa::new(0x8000_0ffe), &[1, 2, 3, 4]);
    let mut back = [0; 6];
    memory.read(Pa::new(0x8000_0ffd), &mut back);
    assert_eq!(back, [0, 1, 2, 3, 4, 0]);
    memory.fill(Pa::new(0x8000_1000), 0x1000, POISON);
    memory.read(Pa::new(0x8000_0ffd), &mut back);
    assert_eq!(back, [0, 1, 2, POISON, POISON, POISON]);
}

#[test]
fn filling_stops_at_both_ends() {
    let dram = PaRange::with_size(Pa::new(0x8000_0000), 0x4000).unwrap();
    let mut memory = SparseMemory::new(dram);
    memory.fill(Pa::new(0x8000_0fff), 0x2002, 7);
    let mut back = [9; 0x2004];
    memory.read(Pa::new(0x8000_0ffe), &mut back);
    assert_eq!((back[0], back[0x2003]), (0, 0));
    assert!(back[1..0x2003].iter().all(|byte| *byte == 7));
    assert_eq!(memory.written.len(), 2, "whole granules cost nothing");
    memory.fill(Pa::new(0), u64::MAX, 1);
    memory.read(Pa::new(0x8000_3fff), &mut back[..2]);
    assert_eq!(back[..2], [1, 0]);
}

#[test]
fn outside_dram_reads_are_zero_and_writes_are_dropped() {
    let dram = PaRange::with_size(Pa::new(0x8000_0000), 0x1000).unwrap();
    let mut memory = SparseMemory::new(dram);
    memory.write(Pa::new(0x8000_0fff), &[7, 7]);
    memory.write(Pa::new(u64::MAX), &[7, 7]);
    let mut back = [9; 2];
    memory.read(Pa::new(0x8000_0fff), &mut back);
    assert_eq!(back, [7, 0]);
}
