//! Random operations, random pools, and an RMM that answers arbitrarily: wrong counts, addresses
//! that were never donated, operations that never end. The host always terminates, and no memory is
//! lost.
#![expect(clippy::unwrap_used, reason = "tests")]

mod attack;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 2000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_is_lost_to_an_adversary(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        attack::attack(&bytes);
    }
}
