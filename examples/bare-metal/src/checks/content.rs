//! Memory with content that is measured, and with content that is not.

use alloc::format;
use alloc::vec::Vec;

use realm_guest::Program;
use realm_guest::host_call::values;
use realm_guest::layout::{EXTRA, word_at};
use realm_sdk::abi::Ipa;
use realm_sdk::builder::Content;

use super::words;
use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::realm::{self, Plan};
use crate::report::{Outcome, Stop};

/// Bytes of each.
const BYTES: u64 = 32 << 10;
const MEASURED: u64 = EXTRA;
/// In the next table.
const UNMEASURED: u64 = EXTRA + (2 << 20) + 0x3000;
/// The words that the Realm compares.
const STRIDE: u64 = 0x100;

pub(super) fn check<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let (measured, unmeasured) = (pattern(MEASURED), pattern(UNMEASURED));
    let arguments = [MEASURED, BYTES, UNMEASURED, BYTES, STRIDE];
    let mut plan = Plan::new(Program::Content, &arguments);
    plan.extra.push((Ipa::new(MEASURED), Content::Measured(&measured)));
    plan.extra.push((Ipa::new(UNMEASURED), Content::Unmeasured(&unmeasured)));
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    let read = ended.record.values_of(values::INITIAL_MEASUREMENT)?;
    let (read, predicted) = (read.first_chunk::<8>(), words(&ended.rim));
    if read != Some(&predicted) {
        return Err(Stop::failed(format!("the RIM is {read:x?}, not {predicted:x?}")));
    }
    Ok(format!("{} KiB each, the RIM is as predicted", BYTES >> 10))
}

/// Content for an address.
fn pattern(base: u64) -> Vec<u8> {
    (base..base + BYTES).step_by(8).flat_map(|ipa| word_at(ipa).to_le_bytes()).collect()
}
