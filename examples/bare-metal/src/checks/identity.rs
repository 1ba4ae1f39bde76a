//! What a Realm reads of itself.

use alloc::format;
use core::fmt;

use realm_guest::Program;
use realm_guest::host_call::values;
use realm_guest::layout::IPA_WIDTH;

use super::words;
use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::realm::{self, Plan};
use crate::report::{Outcome, Stop};

/// The number in the personalization value.
const SALT: u64 = 0x0123_4567_89ab_cdef;

pub(super) fn check<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let plan = Plan { salt: SALT, ..Plan::new(Program::Identify, &[]) };
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    let record = &ended.record;

    let read = record.values_of(values::INITIAL_MEASUREMENT)?;
    let read = read.first_chunk::<8>().unwrap_or(&[0; 8]);
    let predicted = words(&ended.rim);
    if *read != predicted {
        return Err(Stop::failed(format!("the RIM is {read:x?}, not {predicted:x?}")));
    }
    let [width, hash, personalization @ .., _, _, _, _, _, _, _, _, _, _] =
        *record.values_of(values::CONFIGURATION)?;
    let expected = words(&Program::Identify.personalization(SALT));
    let config = (width, hash, personalization);
    let algorithm = u64::from(u8::from(plan.config.hash));
    if config != (IPA_WIDTH.into(), algorithm, expected) {
        return Err(Stop::failed(format!("the configuration is {config:x?}")));
    }
    let [before_0, before_1, .., _, _, _, _] = *record.values_of(values::EXTENDED)?;
    let [_, _, _, _, _, _, _, _, after_0, after_1, ..] = *record.values_of(values::EXTENDED)?;
    if (before_0, before_1) != (0, 0) || (after_0, after_1) == (0, 0) {
        return Err(Stop::failed("the extended measurement did not change from zero"));
    }
    fixture.machine.print(format_args!("      predicted RIM {}", Digest(&predicted)));
    fixture.machine.print(format_args!("      read RIM      {}", Digest(read)));
    Ok(format!("{}", ended.phases))
}

/// The words of a measurement, as its digits.
struct Digest<'d>(&'d [u64; 8]);

impl fmt::Display for Digest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in self.0 {
            write!(f, "{:016x}", word.swap_bytes())?;
        }
        Ok(())
    }
}
