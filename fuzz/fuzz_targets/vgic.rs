//! Any sequence of accesses to the registers of distributor and redistributors, of lines, SGIs and
//! entries of virtual CPUs, in lockstep with a plain model of the architecture's text: no panic, no
//! lost interrupt, none that is taken twice or by no right, no run that ends at once for ever.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/vgic-realm/tests/distributor/cpu.rs"]
mod cpu;
#[path = "../../crates/vgic-realm/tests/distributor/machine.rs"]
mod machine;
#[path = "../../crates/vgic-realm/tests/distributor/reference.rs"]
mod reference;

use machine::{Machine, Storage};

/// The size of an operation: what, which REC, where (4 bytes), and a value (8 bytes).
const OPERATION: usize = 14;

fuzz_target!(|input: &[u8]| {
    let Some((options, operations)) = input.split_first() else { return };
    let list_registers = [1, 2, 4, 16][usize::from(options & 3)];
    let (splits_eoi, entries) = (options & 4 != 0, options & 8 == 0);
    let storage = Storage::new();
    let mut machine = Machine::new(&storage, list_registers, splits_eoi);
    for operation in operations.chunks_exact(OPERATION) {
        let [what, rec, place @ .., _, _, _, _, _, _, _, _] = operation else { return };
        let place = place.try_into().map_or(0, u32::from_le_bytes);
        let value = operation[6..].try_into().map_or(0, u64::from_le_bytes);
        machine.apply((*what, *rec, place, value), entries);
    }
    if entries {
        machine.finish();
    } else {
        machine.compare();
    }
});
