//! The predicted number of calls equals the counted one on an RMM of 1.0, for any layout.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "cost/layout.rs"]
mod layout;

use proptest::prelude::*;
use realm_builder::plan::Limits;
use rmi_abi::{Dialect, GranuleSize, Pa, PaRange};
use rmm_model::Options;
use test_support::Scale;

use layout::{GIB, Machine, Mapping, piece};

/// It takes one entry in each call.
fn machine() -> Machine {
    let mut options = Options::new(Dialect::V1_0);
    options.dram = PaRange::with_size(Pa::new(GIB), 8 * GIB).unwrap();
    let scale = Scale::new(GranuleSize::Size4KiB);
    Machine { options, scale, limits: Limits::ENTRY_BY_ENTRY }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn mapping_and_dismantling_take_the_predicted_calls(
        pieces in proptest::collection::vec(piece(), 1..10),
        at in layout::page(),
        start in 0u8..2,
        tables_first in proptest::collection::vec((0u64..1 << 20, 2i8..4), 0..4),
        stocked in any::<bool>(),
        folds in any::<bool>(),
    ) {
        let mapping = Mapping { pieces, at, start, tables_first, stocked, folds };
        layout::map_and_dismantle(machine(), mapping)?;
    }

    #[test]
    fn populating_takes_the_predicted_calls(
        layout in proptest::collection::vec((piece(), 0u64..5, 0u8..4), 1..6),
        stocked in any::<bool>(),
    ) {
        layout::populate(machine(), layout, stocked)?;
    }
}
