//! Teardown of a Realm, from any state.

use alloc::format;

use realm_guest::Program;
use realm_guest::layout::{RAM, unprotected};
use realm_sdk::abi::Ipa;
use realm_sdk::builder::{Active, Realm};
use realm_sdk::host::Platform;
use realm_sdk::host::command::SharedAccess;
use realm_sdk::sro::HostAllocator;

use super::expect;
use crate::fixture::Fixture;
use crate::frames::{CpuMemory, Frames};
use crate::machine::Machine;
use crate::realm::{self, Plan};
use crate::recs;
use crate::report::{Outcome, Stop};

/// Bytes of private memory and of shared memory that the Realm has.
const BYTES: u64 = 64 << 10;

/// The states of a Realm.
#[derive(Clone, Copy, Debug)]
enum State {
    New,
    Populated,
    Active,
    Terminated,
}

pub(super) fn check<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let states = [State::New, State::Populated, State::Active, State::Terminated];
    let free = fixture.machine.memory().bytes();
    for state in states {
        let mut memory = fixture.cpu_memory();
        let result = tear_down(fixture, state, &mut memory);
        memory.drain(fixture.session);
        result.map_err(|stop| match stop {
            Stop::Failed(what) => Stop::failed(format!("{state:?}: {what}")),
            skipped @ Stop::Skipped(_) => skipped,
        })?;
        expect("bytes that are free", free, fixture.machine.memory().bytes())?;
    }
    Ok(format!("from {} states, with shared memory where it can be", states.len()))
}

/// Brings a Realm into a state, and tears it down.
fn tear_down<M: Machine>(
    fixture: &Fixture<'_, M>,
    state: State,
    memory: &mut CpuMemory<'_>,
) -> Result<(), Stop> {
    let plan = Plan { vcpus: 2, ..Plan::new(Program::Touch, &[]) };
    let built = realm::build(fixture, &plan, memory)?;
    match state {
        State::New => {
            let (realm, recs) = built.into_parts();
            return recs::tear_down(realm, recs, memory);
        }
        State::Populated => {
            let (realm, recs) = built.into_parts();
            return recs::tear_down(realm.populated(), recs, memory);
        }
        State::Active | State::Terminated => {}
    }
    let (realm, recs) = built.activate(memory)?;
    let frames = fixture.machine.memory();
    let given = give_memory(frames, &realm, memory);
    let is_ended = matches!(state, State::Terminated) && given.is_ok();
    let torn_down = if is_ended {
        match realm.terminate() {
            Ok(realm) => recs::tear_down(realm, recs, memory),
            Err(failed) => {
                let _ = recs::tear_down(failed.kept, recs, memory);
                Err(failed.error.into())
            }
        }
    } else {
        recs::tear_down(realm, recs, memory)
    };
    given.and(torn_down)
}

/// Gives a Realm memory, and shares some with it.
fn give_memory<P: Platform>(
    frames: &Frames,
    realm: &Realm<'_, P, Active>,
    memory: &mut CpuMemory<'_>,
) -> Result<(), Stop> {
    let allocate = || frames.allocate(BYTES, BYTES).ok_or_else(|| Stop::failed("no memory"));
    if let Err(failed) = realm.map(memory, Ipa::new(RAM), allocate()?) {
        let _ = frames.free(failed.kept);
        return Err(failed.error.into());
    }
    let alias = unprotected(RAM + BYTES);
    if let Err(failed) = realm.share(memory, alias, allocate()?, SharedAccess::MEMORY) {
        let _ = frames.free(failed.host);
        return Err(failed.error.into());
    }
    expect("bytes that are shared", BYTES, realm.shared_bytes())
}
