//! What the RMM says of itself.

use alloc::format;

use crate::bench::Bench;
use crate::machine::Machine;
use crate::report::Outcome;

pub(super) fn check<M: Machine>(bench: &Bench<'_, M>) -> Outcome {
    let features = bench.session.features();
    Ok(format!(
        "{}-bit IPAs, {} RECs, {} auxiliary planes; {} CPUs",
        features.max_ipa_width(),
        features.max_recs(),
        features.max_aux_planes(),
        bench.machine.cpus()
    ))
}
