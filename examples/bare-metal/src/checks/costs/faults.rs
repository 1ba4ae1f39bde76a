//! The number of calls to serve faults of a Realm, beside what is predicted.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;

use realm_guest::Program;
use realm_guest::layout::RAM;
use realm_sdk::abi::rtt::Level;
use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::Served;
use realm_sdk::builder::plan::Limits;
use realm_sdk::host::Undelegated;
use realm_sdk::sro::{CallbackMemory, HostAllocator, HostMemory};

use super::{MIB, limits};
use crate::checks::expect;
use crate::fixture::Fixture;
use crate::frames::{CpuMemory, Frames};
use crate::machine::Machine;
use crate::realm::{self, ActiveRealm, Plan};
use crate::recs;
use crate::report::{Outcome, Stop};

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 * MIB;

/// Faults of a Realm that does not run, as the calls are those of the host alone.
pub(in crate::checks) fn check<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let limits = limits(fixture)?;
    let mut memory = fixture.cpu_memory();
    let plan = Plan::new(Program::Touch, &[]);
    let built = realm::build(fixture, &plan, &mut memory)?;
    let (realm, recs) = built.activate(&mut memory)?;
    let counted = serve_all(fixture, limits, &realm, &mut memory);
    let torn_down = recs::tear_down(realm, recs, &mut memory);
    memory.drain(fixture.session);
    let [page, around, block] = counted?;
    torn_down?;
    Ok(format!("{page} for a page, {around} for 2 MiB of pages, {block} for a block; as predicted"))
}

/// The calls for a page with its tables, for 2 MiB of scattered pages, and for a block of 2 MiB.
fn serve_all<M: Machine>(
    fixture: &Fixture<'_, M>,
    limits: Limits,
    realm: &ActiveRealm<'_, '_, M>,
    memory: &mut CpuMemory<'_>,
) -> Result<[u64; 3], Stop> {
    let frames = fixture.machine.memory();
    let window =
        |number, bytes| IpaRange::with_size_or_empty(Ipa::new(RAM + number * BLOCK), bytes);
    realm.make_tables(memory, window(0, PAGE), Level::L3)?;
    let one = |bytes: u64| {
        let piece = frames.allocate(bytes, bytes).map(|piece| VecDeque::from([piece]));
        piece.ok_or_else(|| Stop::failed(format_args!("no {bytes:#x} bytes are free")))
    };
    let page = serve(fixture, limits, realm, memory, window(0, PAGE), one(PAGE)?)?;
    let around = serve(fixture, limits, realm, memory, window(1, BLOCK), scattered(frames)?)?;
    let block = serve(fixture, limits, realm, memory, window(2, BLOCK), one(BLOCK)?)?;
    Ok([page, around, block])
}

/// 2 MiB of pages, none of which is next to another.
fn scattered(frames: &Frames) -> Result<VecDeque<Undelegated>, Stop> {
    let mut memory = frames.allocate(2 * BLOCK, PAGE);
    let memory = memory.as_mut().ok_or_else(|| Stop::failed("no 4 MiB are free"))?;
    let mut pages = VecDeque::new();
    while let Some(page) = memory.take_front(PAGE).filter(|page| !page.is_empty()) {
        pages.push_back(page);
        drop(memory.take_front(PAGE).map(|between| frames.free(between)));
    }
    Ok(pages)
}

/// Serves a fault, with all of these pieces; what a failure leaves of them is freed.
fn serve<M: Machine>(
    fixture: &Fixture<'_, M>,
    limits: Limits,
    realm: &ActiveRealm<'_, '_, M>,
    memory: &mut CpuMemory<'_>,
    window: IpaRange,
    mut pieces: VecDeque<Undelegated>,
) -> Result<u64, Stop> {
    let served = serve_with(fixture, limits, realm, memory, window, &mut pieces);
    for piece in pieces {
        let _ = fixture.machine.memory().free(piece);
    }
    served
}

fn serve_with<M: Machine>(
    fixture: &Fixture<'_, M>,
    limits: Limits,
    realm: &ActiveRealm<'_, '_, M>,
    memory: &mut CpuMemory<'_>,
    window: IpaRange,
    pieces: &mut VecDeque<Undelegated>,
) -> Result<u64, Stop> {
    let ranges: Vec<_> = pieces.iter().map(Undelegated::range).collect();
    // What the pool has delegated before would serve the fault for less.
    memory.pool().undelegate(fixture.session);
    let predicted = realm.map_cost(memory, window.base(), &ranges, limits).calls();
    let before = (fixture.calls(), fixture.conduit.total().failed);
    let allocate = |_| pieces.pop_front();
    let served = realm.serve_fault(
        &mut CallbackMemory::new(memory.pool(), allocate, |memory| {
            fixture.machine.memory().free(memory)
        }),
        window.base(),
        window,
    )?;
    let calls = fixture.calls() - before.0;
    if served != Served::Mapped(window) {
        return Err(Stop::failed(format!("a fault at {window}: {served:?}")));
    }
    expect("pieces that are left", 0, pieces.len() as u64)?;
    expect("SMCs to serve a fault", predicted, calls)?;
    expect("SMCs that failed", 0, fixture.conduit.total().failed - before.1)?;
    Ok(calls)
}
