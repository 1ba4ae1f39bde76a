//! The number of calls, beside what is predicted and what is allowed.

pub(super) mod faults;

use alloc::format;
use alloc::vec::Vec;

use realm_guest::Program;
use realm_guest::layout::{EXTRA, RAM};
use realm_sdk::abi::{Command, Ipa};
use realm_sdk::builder::plan::{Cost, Limits};
use realm_sdk::builder::{Content, DismantleProgress};
use realm_sdk::sro::{HostAllocator, HostMemory};

use super::expect;
use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::realm::{self, Plan};
use crate::recs;
use crate::report::{Outcome, Stop};

const MIB: u64 = 1 << 20;

fn limits<M: Machine>(fixture: &Fixture<'_, M>) -> Result<Limits, Stop> {
    let dialect = fixture.session.dialect();
    let delegations = || fixture.conduit.counts(Command::GranuleRangeDelegate, dialect).issued;
    crate::limits::shown(fixture.session, fixture.machine.memory(), &delegations)
}

/// Populates a Realm, maps 64 MiB into it, and takes it apart.
pub(super) fn check<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let limits = limits(fixture)?;
    let mut memory = fixture.cpu_memory();
    let result = measure(fixture, limits, &mut memory);
    memory.drain(fixture.session);
    result
}

fn measure<M: Machine>(
    fixture: &Fixture<'_, M>,
    limits: Limits,
    memory: &mut crate::frames::CpuMemory<'_>,
) -> Outcome {
    const BYTES: u64 = 64 * MIB;
    let (machine, frames) = (fixture.machine, fixture.machine.memory());
    let content = [0x5a; 0x5000];
    let mut plan = Plan::new(Program::Touch, &[]);
    plan.limits = Some(limits);
    plan.extra.push((Ipa::new(EXTRA), Content::Measured(&content)));
    plan.extra.push((Ipa::new(EXTRA + 2 * MIB), Content::Unmeasured(&content)));
    let built = realm::build(fixture, &plan, memory)?;
    let populating = built.populating();
    let (realm, recs) = built.activate(memory)?;
    memory.pool().undelegate(fixture.session);
    let Some(block) = frames.allocate(BYTES, 2 * MIB) else {
        recs::tear_down(realm, recs, memory)?;
        return Err(Stop::failed("no 64 MiB are free"));
    };
    let bytes = realm.memory_bytes();
    let predicted = realm.map_cost(memory, Ipa::new(RAM), &[block.range()], limits);
    let (before, began) = (fixture.calls(), machine.ticks());
    let mapped = realm.map(memory, Ipa::new(RAM), block);
    let (mapping, map_ticks) = (fixture.calls() - before, machine.ticks() - began);
    if let Err(failed) = mapped {
        let _ = frames.free(failed.kept);
        recs::tear_down(realm, recs, memory)?;
        return Err(failed.error.into());
    }
    let mapped_bytes = realm.memory_bytes() - bytes;
    // Without its RECs, as they are not part of what is predicted.
    let (objects, pages): (Vec<_>, Vec<_>) =
        recs.into_iter().map(realm_sdk::rec::Rec::into_parts).unzip();
    pages.into_iter().for_each(|page| drop(frames.free(page)));
    let mut realm = realm.terminate()?;
    for object in objects {
        if let Err(failed) = realm.destroy_rec(memory, object) {
            return Err(failed.error.into());
        }
    }
    memory.pool().undelegate(fixture.session);
    let cost: Cost = realm.dismantle_cost(limits);
    let granule = fixture.session.granule_size();
    let tables_back = limits.delegation(cost.destroy * granule.bytes(), granule);
    let (before, began) = (fixture.calls(), machine.ticks());
    while realm.dismantle(memory, u32::MAX)? == DismantleProgress::More {}
    memory.pool().undelegate(fixture.session);
    let (dismantling, ticks) = (fixture.calls() - before, machine.ticks() - began);
    let ended = realm.tear_down(memory, []);
    if let Some(error) = ended.error {
        return Err(error.into());
    }
    expect("SMCs to map 64 MiB", predicted.calls(), mapping)?;
    expect("bytes mapped", BYTES, mapped_bytes)?;
    expect("SMCs to take it apart", cost.calls() + tables_back, dismantling)?;
    Ok(format!(
        "populate: {populating} SMCs; map 64 MiB: {mapping} SMCs, {}; take it apart: \
         {dismantling} SMCs, {}; all as predicted",
        fixture.milliseconds(map_ticks),
        fixture.milliseconds(ticks)
    ))
}
