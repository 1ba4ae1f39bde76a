//! What the RMM says of itself.

use alloc::format;

use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::report::Outcome;

pub(super) fn check<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let features = fixture.session.features();
    Ok(format!(
        "{}-bit IPAs, {} RECs, {} auxiliary planes; {} CPUs",
        features.max_ipa_width(),
        features.max_recs(),
        features.max_aux_planes(),
        fixture.machine.cpus()
    ))
}
