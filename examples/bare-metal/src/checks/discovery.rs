//! What the RMM says of itself.

use alloc::format;
use core::ops::RangeInclusive;

use realm_sdk::abi::feature::Features;
use realm_sdk::abi::realm::HashAlgorithm;
use realm_sdk::host::{Discovered, Host, SessionOptions};

use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::report::{Outcome, Stop};

/// Widths of IPAs that the architecture has, in bits.
const IPA_WIDTHS: RangeInclusive<u8> = 32..=52;

pub(super) fn check<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let session = fixture.session;
    // The version and the features once more.
    let host = Host::new(fixture.conduit, fixture.machine.access()).with_relax(M::relax);
    let mut options = SessionOptions::default();
    options.dialect = Some(session.dialect());
    options.granule_size = session.granule_size();
    let again = Discovered::probe(host, options).map_err(|failed| Stop::failed(failed.error))?;
    let features = session.features();
    let registers = features.registers().into_iter().zip(again.features().registers());
    for (index, (before, now)) in registers.enumerate() {
        if before != now {
            let what = format!("feature register {index} has become {now:#x}, from {before:#x}");
            return Err(Stop::failed(what));
        }
    }
    plausible(features)?;
    Ok(format!(
        "{}-bit IPAs, {} RECs, {} auxiliary planes; {} CPUs",
        features.max_ipa_width(),
        features.max_recs(),
        features.max_aux_planes(),
        fixture.machine.cpus()
    ))
}

/// Checks that Realms can be made with these features.
fn plausible(features: &Features) -> Result<(), Stop> {
    let width = features.max_ipa_width();
    if !IPA_WIDTHS.contains(&width) {
        return Err(Stop::failed(format!("IPAs of {width} bits")));
    }
    if features.max_recs() == 0 {
        return Err(Stop::failed("Realms without RECs"));
    }
    let algorithms = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];
    if !algorithms.into_iter().any(|algorithm| features.supports_hash(algorithm)) {
        return Err(Stop::failed("no hash algorithm"));
    }
    Ok(())
}
