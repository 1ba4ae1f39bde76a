//! Several virtual CPUs on several physical ones, and several Realms.

use alloc::format;

use realm_guest::Program;
use realm_guest::host_call::values;
use realm_guest::layout::RAM;
use realm_sdk::abi::realm::OptionalParameter;
use realm_sdk::rec::set::ExitKind;

use super::{expect, words};
use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::realm::{self, Ended, Plan};
use crate::report::{Outcome, Stop};

const PAGE: u64 = 0x1000;
const BYTES: u64 = 4 << 20;

/// Virtual CPUs that touch the pages of the same tables in turn.
pub(super) fn one_realm<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let vcpus = fixture.machine.cpus().clamp(2, 8);
    let mut plan = Plan::new(Program::Touch, &[RAM, BYTES, PAGE, vcpus.into()]);
    (plan.vcpus, plan.all_on) = (vcpus, true);
    plan.cpus = fixture.machine.cpus().min(vcpus);
    // One page for each fault.
    plan.fault_window = PAGE;
    plan.largest_piece = PAGE;
    let ended = realm::run(fixture, &plan)?;
    check_words(&ended, vcpus)?;
    let faults = ended.exits(ExitKind::Fault);
    if faults < BYTES / PAGE {
        return Err(Stop::failed(format!("{faults} faults for {} pages", BYTES / PAGE)));
    }
    Ok(format!("{vcpus} virtual CPUs on {} physical ones, {faults} faults", plan.cpus))
}

/// The words that all virtual CPUs have touched, of those that did before the Realm was off.
fn check_words(ended: &Ended, vcpus: u16) -> Result<(), Stop> {
    ended.check(vcpus)?;
    let words = ended.record.values.iter().filter(|told| told.what == values::COUNT);
    let sum = words.map(|told| told.values.get(1).copied().unwrap_or(0)).sum();
    expect("words", BYTES / PAGE, sum)
}

/// Realms one after the other.
pub(super) fn in_sequence<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let mut first = None;
    for number in 0..fixture.options.realms {
        let plan = Plan { salt: number.into(), ..Plan::new(Program::Identify, &[]) };
        let calls = fixture.calls();
        let ended = realm::run(fixture, &plan)?;
        ended.check(plan.vcpus)?;
        let calls = fixture.calls() - calls;
        let read = ended.record.values_of(values::INITIAL_MEASUREMENT)?;
        if read.first_chunk::<8>() != Some(&words(&ended.rim)) {
            return Err(Stop::failed(format!("Realm {number} has another RIM")));
        }
        expect("SMCs of a Realm", *first.get_or_insert(calls), calls)?;
    }
    let calls = first.unwrap_or_default();
    Ok(format!("{} Realms, {calls} SMCs each", fixture.options.realms))
}

/// Two Realms that run at the same time.
pub(super) fn at_once<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let arguments = [RAM, BYTES, PAGE, 1];
    let mut one = Plan::new(Program::Touch, &arguments);
    let mut two = Plan::new(Program::Touch, &arguments);
    for (plan, number) in [(&mut one, 1), (&mut two, 2)] {
        (plan.salt, plan.largest_piece, plan.fault_window) = (number.into(), PAGE, PAGE);
        if OptionalParameter::Vmid.exists_in(fixture.session.dialect()) {
            plan.config.vmid = number;
        }
    }
    two.first_cpu = fixture.machine.cpus().min(2) - 1;
    let ended = realm::run_both(fixture, [&one, &two])?;
    for ended in &ended {
        check_words(ended, 1)?;
    }
    let [one, two] = &ended;
    expect("the RIM of the second", 0, u64::from(one.rim != two.rim))?;
    let cpus = fixture.machine.cpus().min(2);
    Ok(format!("2 Realms on {cpus} physical CPUs"))
}
