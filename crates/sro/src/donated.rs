//! What a stateful operation was given, so that nothing else is ever taken back.

use rmi_abi::{Command, PaRange};
use rmi_host::command::Claim;
use rmi_host::granules::{Busy, Donatable, Granules, InUse};
use rmi_host::{Platform, QuarantineReason, Rmm};

use crate::pool::Pool;
use crate::set::GranuleSet;

/// The memory inside one RMM object: what was donated to it and has not come back.
///
/// Holds up to [`Donated::RANGES`] separate ranges of memory that was delegated when it was donated, and as many of memory that was the host's. An operation is given no more than that, so a scattered pool may have to be
/// filled with longer runs.
#[derive(Debug, Default)]
#[must_use = "dropping it leaks the memory"]
pub struct Donated {
    delegated: GranuleSet<Busy, [InUse; Self::RANGES]>,
    host: GranuleSet<Busy, [InUse; Self::RANGES]>,
}

impl Donated {
    /// Separate ranges of memory of one kind that an object may be made of.
    pub const RANGES: usize = 16;

    /// Bytes inside the object.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.delegated.bytes() + self.host.bytes()
    }

    /// Whether nothing is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.delegated.is_empty() && self.host.is_empty()
    }

    /// The ranges inside.
    pub fn iter(&self) -> impl Iterator<Item = PaRange> + '_ {
        self.delegated.iter().chain(self.host.iter())
    }

    /// How many more separate ranges fit for sure.
    pub(crate) fn spare<H: Donatable>(&self) -> usize {
        if Granules::<H>::is_donated_undelegated() {
            self.host.spare()
        } else {
            self.delegated.spare()
        }
    }

    pub(crate) fn insert<H: Donatable>(&mut self, memory: InUse) -> Result<(), InUse> {
        if Granules::<H>::is_donated_undelegated() {
            self.host.insert(memory)
        } else {
            self.delegated.insert(memory)
        }
    }

    /// The token of a range that the RMM returns; `None` when it was not given all of it.
    pub(crate) fn claim(&mut self, range: PaRange) -> Option<Claim> {
        let delegated =
            self.delegated.take_range(range).map(|token| Claim { token, was_host: false });
        delegated.or_else(|| Some(Claim { token: self.host.take_range(range)?, was_host: true }))
    }

    /// Tries to take back by force what an operation kept: what the RMM releases goes to the pool, the rest to quarantine.
    pub fn recover<P: Platform>(mut self, rmm: &Rmm<P>, pool: &mut Pool<'_>, command: Command) {
        while let Some(memory) = self.delegated.pop().or_else(|| self.host.pop()) {
            let reason = QuarantineReason::NotReclaimed { command };
            pool.recover(rmm, memory.into_released(), reason);
        }
    }
}
