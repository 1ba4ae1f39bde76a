//! Calls for memory, as predicted and as counted.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use core::fmt;

use realm_sdk::abi::{IpaRange, PaRange};
use realm_sdk::builder::plan::Limits;
use realm_sdk::host::Undelegated;
use realm_sdk::sro::{HostMemory, Pool};
use spin::Mutex;

use crate::report::{Outcome, Stop};

/// Kinds of operations on the memory of a Realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Populating,
    Fault,
    RipasChange,
    ToShared,
    ToPrivate,
    Dismantling,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Populating,
        Self::Fault,
        Self::RipasChange,
        Self::ToShared,
        Self::ToPrivate,
        Self::Dismantling,
    ];

    /// What lines call several of them.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Populating => "populating",
            Self::Fault => "faults",
            Self::RipasChange => "RIPAS changes",
            Self::ToShared => "conversions to shared",
            Self::ToPrivate => "conversions to private",
            Self::Dismantling => "taking apart",
        }
    }
}

/// Operations of one kind.
#[derive(Clone, Debug, Default)]
struct Tally {
    operations: u64,
    /// Calls.
    counted: u64,
    /// The first operation that took other calls than predicted.
    difference: Option<String>,
}

/// What the operations of a run took, beside what was predicted for each of them.
///
/// All Realms of the run share it. Operations that are compared take place one after the other, on
/// whatever CPU: a lock is held from the prediction to the end. RECs run meanwhile.
pub(crate) struct Comparison<'c> {
    limits: Limits,
    /// Calls so far, but those that RECs make while they run: entries, and PSCI calls completed.
    calls: &'c (dyn Fn() -> u64 + Sync),
    is_on: bool,
    tallies: Mutex<[Tally; Kind::ALL.len()]>,
}

impl<'c> Comparison<'c> {
    /// Compares nothing.
    pub(crate) fn off() -> Self {
        Self::new(Limits::ONE_BY_ONE, &|| 0, false)
    }

    pub(crate) fn new(limits: Limits, calls: &'c (dyn Fn() -> u64 + Sync), is_on: bool) -> Self {
        Self { limits, calls, is_on, tallies: Mutex::default() }
    }

    /// Does an operation, which returns the calls that were predicted for it, at `at`.
    pub(crate) fn of<T>(
        &self,
        kind: Kind,
        at: impl fmt::Display,
        operation: impl FnOnce(Limits) -> (u64, T),
    ) -> T {
        if !self.is_on {
            return operation(self.limits).1;
        }
        let mut tallies = self.tallies.lock();
        let before = (self.calls)();
        let (predicted, result) = operation(self.limits);
        let counted = (self.calls)().saturating_sub(before);
        let [populating, fault, ripas_change, to_shared, to_private, dismantling] = &mut *tallies;
        let tally = match kind {
            Kind::Populating => populating,
            Kind::Fault => fault,
            Kind::RipasChange => ripas_change,
            Kind::ToShared => to_shared,
            Kind::ToPrivate => to_private,
            Kind::Dismantling => dismantling,
        };
        tally.operations += 1;
        tally.counted += counted;
        if counted != predicted && tally.difference.is_none() {
            tally.difference = Some(format!("{counted} SMCs at {at}, {predicted} predicted"));
        }
        result
    }

    /// What the operations of each kind took, for a line of each.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (Kind, Outcome)> + use<> {
        let is_on = self.is_on;
        Kind::ALL.into_iter().zip(self.tallies.lock().clone()).map(move |(kind, tally)| {
            let Tally { operations, counted, difference } = tally;
            let outcome = match difference {
                _ if !is_on => Err(Stop::skipped("`compare=0`")),
                Some(difference) => Err(Stop::failed(difference)),
                None => Ok(format!("{operations} with {counted} SMCs, each as predicted")),
            };
            (kind, outcome)
        })
    }
}

/// The memory of an operation whose calls are predicted: what the prediction was told of is
/// allocated then, and supplied in the same order.
pub(crate) struct Promised<'m> {
    memory: &'m mut dyn HostMemory,
    pieces: VecDeque<Option<Undelegated>>,
}

impl<'m> Promised<'m> {
    pub(crate) fn new(memory: &'m mut dyn HostMemory) -> Self {
        Self { memory, pieces: VecDeque::new() }
    }

    /// Predicts: `predict` has the memory, and what stands for its allocations.
    pub(crate) fn predict<T>(
        &mut self,
        predict: impl FnOnce(
            &mut dyn HostMemory,
            &mut dyn FnMut(&mut dyn HostMemory, IpaRange) -> Option<PaRange>,
        ) -> T,
    ) -> T {
        let Self { memory, pieces } = self;
        predict(*memory, &mut |memory, range| {
            let piece = memory.allocate(range);
            let promised = piece.as_ref().map(Undelegated::range);
            pieces.push_back(piece);
            promised
        })
    }

    /// Frees what was not asked for.
    pub(crate) fn end(self) {
        let Self { memory, pieces } = self;
        for piece in pieces.into_iter().flatten() {
            // What the allocator refuses is leaked, and counted.
            drop(memory.free(piece));
        }
    }
}

impl HostMemory for Promised<'_> {
    fn pool(&mut self) -> &mut Pool {
        self.memory.pool()
    }

    fn allocate(&mut self, range: IpaRange) -> Option<Undelegated> {
        match self.pieces.pop_front() {
            Some(promised) => promised,
            None => self.memory.allocate(range),
        }
    }

    fn free(&mut self, memory: Undelegated) -> Result<(), Undelegated> {
        self.memory.free(memory)
    }
}
