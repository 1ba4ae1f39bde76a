//! Granule states: the table that every command looks at first.

use core::ops::Range;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{GranuleSize, Pa, PaRange, Status};

use crate::answer::{Answer, refuse};
use crate::per_granule::PerGranule;

/// What a granule of DRAM is used for.
///
/// Source: DEN0137 2.0, granule states; `Partial` and the granularity of `Internal` are TF-RMM's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GranuleState {
    /// Host memory.
    Undelegated,
    /// Given to the RMM, unused.
    Delegated,
    /// A Realm descriptor.
    Rd,
    /// A REC.
    Rec,
    /// Donated to an object (a REC's auxiliary memory, for example).
    Internal,
    /// A translation table.
    Rtt,
    /// Memory of a Realm.
    Data,
    /// The future or former granule of an object whose operation is incomplete.
    Partial,
}

/// Granules counted by state, in granules of 4 KiB. The counts of the states add up to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Census {
    /// Host memory.
    pub undelegated: u64,
    /// Given to the RMM, unused.
    pub delegated: u64,
    /// Realm descriptors.
    pub rd: u64,
    /// RECs.
    pub rec: u64,
    /// Donated to objects; the specification's INTERNAL, which TF-RMM calls `REC_AUX` where a REC
    /// has it.
    pub rec_aux: u64,
    /// Translation tables.
    pub rtt: u64,
    /// Memory of Realms.
    pub data: u64,
    /// Objects inside an incomplete operation.
    pub partial: u64,
    /// All of DRAM.
    pub total: u64,
}

impl Census {
    /// The count of one state, in granules.
    #[must_use]
    pub const fn of(&self, state: GranuleState) -> u64 {
        match state {
            GranuleState::Undelegated => self.undelegated,
            GranuleState::Delegated => self.delegated,
            GranuleState::Rd => self.rd,
            GranuleState::Rec => self.rec,
            GranuleState::Internal => self.rec_aux,
            GranuleState::Rtt => self.rtt,
            GranuleState::Data => self.data,
            GranuleState::Partial => self.partial,
        }
    }

    fn of_mut(&mut self, state: GranuleState) -> &mut u64 {
        match state {
            GranuleState::Undelegated => &mut self.undelegated,
            GranuleState::Delegated => &mut self.delegated,
            GranuleState::Rd => &mut self.rd,
            GranuleState::Rec => &mut self.rec,
            GranuleState::Internal => &mut self.rec_aux,
            GranuleState::Rtt => &mut self.rtt,
            GranuleState::Data => &mut self.data,
            GranuleState::Partial => &mut self.partial,
        }
    }
}

/// The state of every granule of DRAM.
///
/// The size of granules is configured; there is one state for each 4 KiB, whatever the size.
pub(crate) struct Granules {
    dram: PaRange,
    size: GranuleSize,
    states: PerGranule<GranuleState>,
    census: Census,
}

impl Granules {
    /// A table in which the host owns all of DRAM.
    pub(crate) fn new(dram: PaRange) -> Self {
        let total = dram.bytes() / MIN_GRANULE;
        let granules = usize::try_from(total).unwrap_or(0);
        let states = PerGranule::new(granules, GranuleState::Undelegated);
        let census = Census { undelegated: total, total, ..Census::default() };
        Self { dram, size: GranuleSize::Size4KiB, states, census }
    }

    /// The size of granules.
    pub(crate) fn size(&self) -> GranuleSize {
        self.size
    }

    /// Bytes of a granule.
    pub(crate) fn bytes(&self) -> u64 {
        self.size.bytes()
    }

    /// Changes the size of granules, while the host owns all of them.
    pub(crate) fn set_size(&mut self, size: GranuleSize) {
        self.size = size;
    }

    /// The granules of a range, in order.
    pub(crate) fn each(&self, range: &PaRange) -> impl Iterator<Item = Pa> + use<> {
        let (base, bytes) = (range.base().raw(), self.bytes());
        (0..range.bytes() / bytes).map(move |n| Pa::new(base + n * bytes))
    }

    pub(crate) fn census(&self) -> Census {
        self.census
    }

    /// Number of the 4 KiB that hold `pa`; `None` outside DRAM.
    fn number(&self, pa: Pa) -> Option<usize> {
        usize::try_from(pa.checked_offset_from(self.dram.base())? / MIN_GRANULE).ok()
    }

    /// The state of the granule that holds `pa`; `None` outside DRAM.
    pub(crate) fn state(&self, pa: Pa) -> Option<GranuleState> {
        self.states.get(self.number(pa)?)
    }

    /// Whether `pa` is the address of a granule, and that granule is in `state`.
    pub(crate) fn is(&self, pa: Pa, state: GranuleState) -> bool {
        pa.is_aligned(self.bytes()) && self.state(pa) == Some(state)
    }

    /// Refuses a command that names `pa` as something it is not: with `RMI_BLOCKED` if it is inside
    /// an operation and `blocks` is set.
    pub(crate) fn missing<T>(&self, pa: Pa, blocks: bool) -> Result<T, Answer> {
        refuse(if blocks && self.is(pa, GranuleState::Partial) {
            Status::Blocked
        } else {
            Status::ErrorInput
        })
    }

    /// The numbers of the 4 KiB in a range; `None` if it begins outside DRAM.
    fn numbers(&self, range: &PaRange) -> Option<Range<usize>> {
        let first = self.number(range.base())?;
        Some(first..self.number(range.top())?)
    }

    /// Whether all of `range` is in `state`.
    pub(crate) fn are(&self, range: &PaRange, state: GranuleState) -> bool {
        self.dram.contains_range(range) && self.run(range, state) == range.top()
    }

    /// The end of the granules that are in `state` from the base of `range` on.
    pub(crate) fn run(&self, range: &PaRange, state: GranuleState) -> Pa {
        let granules = self.numbers(range).map_or(0, |range| self.states.run(range, state));
        Pa::new(range.base().raw() + granules as u64 * MIN_GRANULE)
    }

    /// Puts the granule at `pa` into `state`; outside DRAM nothing happens.
    pub(crate) fn set(&mut self, pa: Pa, state: GranuleState) {
        self.set_all(&PaRange::with_size_or_empty(pa, self.bytes()), state);
    }

    /// Puts the granules of a range into `state`.
    pub(crate) fn set_all(&mut self, range: &PaRange, state: GranuleState) {
        let Some(range) = self.numbers(range) else { return };
        let census = &mut self.census;
        self.states.set(range, state, |old, count| {
            *census.of_mut(old) -= count as u64;
            *census.of_mut(state) += count as u64;
        });
    }
}
