//! What is done to a Realm that runs.

use proptest::prelude::*;
use realm_builder::{Active, BuildError, FoldPolicy, Realm};
use rmi_abi::address::MIN_GRANULE;
use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange, Pa, PaRange};
use rmi_host::command::SharedAccess;
use rmi_host::ledger::OwnershipMap;
use rmi_host::{Error, FixedQuarantine, Host, Undelegated};
use rmm_model::Model;
use sro::{FineRegion, FineRegions, Pool};

use crate::conduit::{WrongAnswers, random};
use crate::heap::{Heap, OddMemory};
use crate::machine::{BLOCKS, Machine};

/// Where memory is shared with the Realm.
const SHARED: u64 = 1 << 39;

/// An operation.
#[derive(Clone, Copy, Debug)]
enum Act {
    Map,
    MapScattered,
    Share,
    Reshare,
    Unshare,
    Reclaim,
    Fold(FoldPolicy),
    ToShared,
    ToPrivate,
    Fault,
    Evacuate,
    MakeTables,
    MakeSharedTables,
    MakeFine,
    MakeCoarse,
    RetryQuarantined,
}

#[derive(Clone, Copy, Debug)]
enum Length {
    Units(u64),
    /// From the base of the block.
    Block,
}

#[derive(Clone, Copy, Debug)]
enum Alignment {
    Block,
    Granule,
    Smallest,
}

/// An operation, and the addresses it is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    act: Act,
    /// One of two blocks.
    block: u64,
    /// In the block.
    unit: u64,
    length: Length,
    /// Whether a unit is 4 KiB, whatever the size of granules.
    is_odd: bool,
    /// Of the memory that is mapped or shared.
    alignment: Alignment,
    /// Chooses what the allocator supplies.
    seed: u64,
    /// How often the allocator does not accept what is freed.
    refuses: u32,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Map),
        1 => Just(Act::MapScattered),
        4 => Just(Act::Share),
        1 => Just(Act::Reshare),
        2 => Just(Act::Unshare),
        2 => Just(Act::Reclaim),
        1 => Just(Act::Fold(FoldPolicy::Blocks)),
        1 => Just(Act::Fold(FoldPolicy::BlocksAndVoid)),
        2 => Just(Act::ToShared),
        2 => Just(Act::ToPrivate),
        2 => Just(Act::Fault),
        2 => Just(Act::Evacuate),
        1 => Just(Act::MakeTables),
        1 => Just(Act::MakeSharedTables),
        1 => Just(Act::MakeFine),
        1 => Just(Act::MakeCoarse),
        1 => Just(Act::RetryQuarantined),
    ]
}

fn lengths() -> impl Strategy<Value = Length> {
    prop_oneof![
        4 => (1..=8u64).prop_map(Length::Units),
        1 => (1..=600u64).prop_map(Length::Units),
        3 => Just(Length::Block),
    ]
}

fn alignments() -> impl Strategy<Value = Alignment> {
    prop_oneof![
        2 => Just(Alignment::Block),
        3 => Just(Alignment::Granule),
        1 => Just(Alignment::Smallest),
    ]
}

pub(crate) fn steps() -> impl Strategy<Value = Step> {
    // Around the ends of tables, of every size.
    let units = prop_oneof![0..8u64, 508..516u64, 0..8192u64];
    let addresses = (0..2u64, units, lengths(), prop::bool::weighted(0.125));
    (acts(), addresses, alignments(), any::<u64>(), prop_oneof![3 => Just(0), 1 => 1..3u32])
        .prop_map(|(act, (block, unit, length, is_odd), alignment, seed, refuses)| Step {
            act,
            block,
            unit,
            length,
            is_odd,
            alignment,
            seed,
            refuses,
        })
}

pub(crate) type Platform<'p> =
    Host<&'p WrongAnswers<'p>, &'p Model, &'p OwnershipMap, &'p FixedQuarantine<SLOTS>>;
/// Few, so that the quarantine is full now and then.
pub(crate) const SLOTS: usize = 24;
pub(crate) type Fine = FineRegions<Vec<FineRegion>>;

/// A Realm, and what its host has.
#[derive(Clone, Copy)]
pub(crate) struct Running<'r, 'p> {
    pub(crate) machine: Machine,
    pub(crate) realm: &'r Realm<'r, Platform<'p>, Active>,
    pub(crate) heap: &'r Heap,
    pub(crate) fine: &'r spin::Mutex<Fine>,
    pub(crate) quarantine: &'p FixedQuarantine<SLOTS>,
}

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

impl Running<'_, '_> {
    /// Performs a step. All memory that it does not use is in the heap again.
    pub(crate) fn perform(&self, step: Step, pool: &mut Pool) -> Result<(), BuildError> {
        let Self { machine, realm, heap, .. } = *self;
        let (granule, block) = (machine.granule.bytes(), machine.block());
        let unit = if step.is_odd { MIN_GRANULE } else { granule };
        let (base, bytes) = match step.length {
            Length::Block => (0, block),
            Length::Units(units) => (step.unit * unit % block, units * unit),
        };
        let base = step.block * block + base;
        let bytes = bytes.min(2 * block - base);
        let (private, shared) = (range(base, bytes), range(SHARED + base, bytes));
        let alignment = match step.alignment {
            Alignment::Block => block,
            Alignment::Granule => granule,
            Alignment::Smallest => MIN_GRANULE,
        };
        let all = range(0, 2 * block);
        // The same part of any block of the machine.
        let of_machine = machine.dram().base().raw() + step.seed % BLOCKS * block + base % block;
        let of_machine = PaRange::with_size(Pa::new(of_machine), bytes.min(block - base % block));
        let of_machine = of_machine.unwrap();
        let access = SharedAccess::MEMORY;
        let refuses = if machine.region.is_none() { step.refuses } else { 0 };
        let random = random(step.seed);
        let memory = &mut OddMemory { pool, heap, machine, random, refuses };
        match step.act {
            Act::Map => {
                let Some(host) = heap.take(bytes, alignment) else { return Ok(()) };
                realm.map(memory, private.base(), host).map_err(|failed| {
                    heap.give(failed.kept);
                    failed.error
                })
            }
            Act::MapScattered => {
                let pieces = (0..bytes.min(4 * unit) / unit).map(|_| heap.take(unit, alignment));
                let mut pieces: Vec<Undelegated> = pieces.flatten().collect();
                let mapped = realm.map_scattered(memory, private.base(), &mut pieces);
                pieces.into_iter().for_each(|piece| heap.give(piece));
                mapped
            }
            Act::Share => {
                let Some(host) = heap.take(bytes, alignment) else { return Ok(()) };
                realm.share(memory, shared.base(), host, access).map_err(|failed| {
                    heap.give(failed.host);
                    failed.error
                })
            }
            Act::Reshare => realm.reshare(memory, shared, access).map_err(BuildError::from),
            Act::Unshare => realm.unshare(memory, shared).map_err(BuildError::from),
            Act::Reclaim => realm.reclaim(memory, private).map(drop).map_err(BuildError::from),
            Act::Fold(policy) => {
                realm.fold(memory, all, policy).map(drop).map_err(BuildError::from)
            }
            Act::ToShared => {
                let converted = realm.convert_to_shared(memory, private, access);
                converted.map(drop).map_err(BuildError::from)
            }
            Act::ToPrivate => {
                let converted = realm.convert_to_private(memory, private);
                converted.map(drop).map_err(BuildError::from)
            }
            Act::Fault => realm.serve_fault(memory, private.base(), all).map(drop),
            Act::Evacuate => realm.evacuate(memory, of_machine).map_err(BuildError::from),
            Act::MakeTables => realm.make_tables(memory, private, Level::L3),
            Act::MakeSharedTables => realm.make_tables(memory, shared, Level::L3),
            Act::MakeFine => {
                let made = self.fine.lock().make_fine(realm.rmm(), memory.pool, of_machine);
                made.map_err(|stopped| Error::from(stopped).into())
            }
            Act::MakeCoarse => {
                let made = self.fine.lock().make_coarse(realm.rmm(), memory.pool, of_machine);
                made.map_err(|stopped| Error::from(stopped).into())
            }
            Act::RetryQuarantined => {
                self.quarantine.retry(realm.rmm(), |memory| heap.give(memory));
                Ok(())
            }
        }
    }
}
