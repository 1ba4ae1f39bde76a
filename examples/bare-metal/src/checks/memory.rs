//! The memory of a Realm that runs.

use alloc::format;

use realm_guest::Program;
use realm_guest::host_call::values;
use realm_guest::layout::RAM;
use realm_sdk::abi::rtt::Level;
use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::{FoldPolicy, Folded};
use realm_sdk::rec::set::ExitKind;
use realm_sdk::sro::HostAllocator;

use super::{expect, share_step};
use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::realm::{self, Plan, Running};
use crate::recs;
use crate::report::{Outcome, Stop};

const BLOCK: u64 = 2 << 20;
const PAGE: u64 = 0x1000;

/// RAM that is given by blocks of 2 MiB.
pub(super) fn blocks<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    const BLOCKS: u64 = 4;
    let plan = Plan::new(Program::Touch, &[RAM, BLOCKS * BLOCK, PAGE, 1]);
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    let (_, faults) = ended.record.mapped;
    expect("faults in RAM", BLOCKS, faults)?;
    let [_, words, ..] = *ended.record.values_of(values::COUNT)?;
    expect("words", BLOCKS * BLOCK / PAGE, words)?;
    Ok(format!("{BLOCKS} faults for {} MiB", (BLOCKS * BLOCK) >> 20))
}

/// RAM where no block is free: one fault for 2 MiB nevertheless.
pub(super) fn fault_around<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    const BYTES: u64 = 2 * BLOCK;
    let mut plan = Plan::new(Program::Touch, &[RAM, BYTES, PAGE, 1]);
    plan.largest_piece = 64 << 10;
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    let (bytes, faults) = ended.record.mapped;
    expect("bytes mapped in RAM", BYTES, bytes)?;
    expect("faults in RAM", BYTES / BLOCK, faults)?;
    Ok(format!("{faults} faults for {} pieces of 64 KiB", BYTES >> 16))
}

/// Changes of the RIPAS, in both directions, in parts, across tables, refused by the host.
pub(super) fn ripas<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    // On both sides of the end of a table.
    const BYTES: u64 = 64 << 10;
    let mut plan = Plan::new(Program::Ripas, &[RAM + BLOCK - BYTES / 2, BYTES]);
    plan.ripas_calls = 1;
    plan.on_step = &|running, [step, ..]| {
        running.reject_ram(step == 1);
        0
    };
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    let [empty, ram, ..] = *ended.record.values_of(values::COUNT)?;
    let exits = ended.exits(ExitKind::RipasChange);
    // One was refused, and two more changed a page and changed it back.
    expect("exits for changes", empty + ram + 3, exits)?;
    Ok(format!("to EMPTY in {empty} calls of the Realm, to RAM in {ram}, one refused"))
}

/// Memory that both sides read and write.
pub(super) fn shared<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    const BYTES: u64 = 64 << 10;
    let step = |running: &Running<'_, '_, M>, arguments| share_step(running, arguments);
    let mut plan = Plan::new(Program::Share, &[RAM + BLOCK - BYTES / 2, BYTES, 1]);
    plan.shares = true;
    plan.on_step = &step;
    realm::run(fixture, &plan)?.check(plan.vcpus)?;
    Ok(format!("{} KiB written and read by both", BYTES >> 10))
}

/// Blocks that are shared and made private, again and again.
pub(super) fn conversions<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    const ROUNDS: u64 = 3;
    let step = |running: &Running<'_, '_, M>, arguments| share_step(running, arguments);
    let mut plan = Plan::new(Program::Share, &[RAM, BLOCK, ROUNDS]);
    plan.shares = true;
    plan.on_step = &step;
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    Ok(format!("{ROUNDS} rounds of {} MiB", BLOCK >> 20))
}

/// Tables that become blocks, and blocks that become tables.
pub(super) fn folding<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let mut memory = fixture.cpu_memory();
    let frames = fixture.machine.memory();
    let plan = Plan::new(Program::Touch, &[]);
    let built = realm::build(fixture, &plan, &mut memory)?;
    let (realm, recs) = built.activate(&mut memory)?;
    let range = IpaRange::with_size_or_empty(Ipa::new(RAM), BLOCK);
    let before = realm.memory_bytes();
    let mut fold = || {
        let tables = realm.tables();
        realm.make_tables(&mut memory, range, Level::L3)?;
        let block = frames.allocate(BLOCK, BLOCK);
        let block = block.ok_or_else(|| Stop::failed("no block of 2 MiB is free"))?;
        if let Err(failed) = realm.map(&mut memory, range.base(), block) {
            let _ = frames.free(failed.kept);
            return Err(failed.error.into());
        }
        expect("tables", tables as u64 + 1, realm.tables() as u64)?;
        let folded = realm.fold(&mut memory, range, FoldPolicy::BlocksAndVoid)?;
        let Folded { blocks, void, auxiliary, kept, .. } = folded;
        expect("blocks", 1, blocks)?;
        expect("other tables", 0, void + auxiliary + kept)?;
        expect("tables after that", tables as u64, realm.tables() as u64)?;
        // A part of the block is taken back, so it is a table again.
        let part = IpaRange::with_size_or_empty(Ipa::new(RAM + 3 * PAGE), 5 * PAGE);
        let _ = realm.reclaim(&mut memory, part)?;
        expect("tables after the split", tables as u64 + 1, realm.tables() as u64)?;
        let mapped = realm.memory_at(range.base()).map_or(0, |range| range.bytes());
        expect("bytes at its start", PAGE, mapped)?;
        let mapped = realm.memory_bytes() - before;
        expect("bytes that are left", BLOCK - 5 * PAGE, mapped)
    };
    let result = fold();
    let torn_down = recs::tear_down(realm, recs, &mut memory);
    memory.drain(fixture.session);
    result?;
    torn_down?;
    Ok("a table became a block, and a table again".into())
}
