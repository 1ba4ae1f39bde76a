//! The register file, the lines and the entries of a GIC, held against a plain model of the
//! architecture's text.
#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests"
)]

mod cpu;
mod machine;
mod reference;
mod values;

use machine::{Machine, Raw, Storage};
use proptest::collection::vec;
use proptest::prelude::*;

fn operations(count: usize) -> impl Strategy<Value = Vec<Raw>> {
    let value = prop_oneof![any::<u64>(), (0..64_u32).prop_map(|bit| 1 << bit), Just(u64::MAX)];
    vec((any::<u8>(), any::<u8>(), any::<u32>(), value), 1..count)
}

/// A few of each, so that nothing reads as it does after reset.
#[test]
fn every_offset_and_width_reads_as_in_the_reference() {
    let storage = Storage::new();
    let mut machine = Machine::new(&storage, 4, false);
    let mut random = 1_u64;
    for n in 0..400_u32 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        machine.apply((n as u8, (random >> 33) as u8, (random >> 20) as u32, random), false);
    }
    machine.compare_all();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Any accesses, of any width and at any offset, and lines.
    #[test]
    fn registers_are_those_of_the_reference(operations in operations(60)) {
        let storage = Storage::new();
        let mut machine = Machine::new(&storage, 4, false);
        machine.compare();
        for operation in operations {
            machine.apply(operation, false);
        }
        machine.compare();
    }

    /// The same while virtual CPUs run, take and end interrupts.
    #[test]
    fn interrupts_are_taken_as_from_the_reference(
        operations in operations(200),
        list_registers in prop_oneof![Just(1_usize), Just(2), Just(4), Just(16)],
        splits_eoi: bool,
    ) {
        let storage = Storage::new();
        let mut machine = Machine::new(&storage, list_registers, splits_eoi);
        for operation in operations {
            machine.apply(operation, true);
        }
        let _ = machine.finish();
    }
}
