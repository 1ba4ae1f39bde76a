//! What a stateful operation was given, so that nothing else is ever taken back.

use rmi_abi::{Command, PaRange};
use rmi_host::granules::{Busy, InUse};
use rmi_host::{Platform, QuarantineReason, Rmm};

use crate::pool::Pool;
use crate::set::GranuleSet;

/// The memory inside one RMM object: what was donated to it and has not come back.
///
/// Holds up to [`Donated::RANGES`] separate ranges. An operation is given no more than that, so a scattered pool may have to be filled with longer runs.
#[derive(Debug, Default)]
#[must_use = "dropping it leaks the memory"]
pub struct Donated {
    set: GranuleSet<Busy, [InUse; Self::RANGES]>,
    /// Whether some of it was host memory until it was donated.
    pub(crate) host_memory: bool,
}

impl Donated {
    /// Separate ranges of memory that an object may be made of.
    pub const RANGES: usize = 16;

    /// Bytes inside the object.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.set.bytes()
    }

    /// Whether nothing is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The ranges inside.
    pub fn iter(&self) -> impl Iterator<Item = PaRange> + '_ {
        self.set.iter()
    }

    /// How many more separate ranges fit for sure.
    pub(crate) fn spare(&self) -> usize {
        self.set.spare()
    }

    pub(crate) fn insert(&mut self, memory: InUse) -> Result<(), InUse> {
        self.set.insert(memory)
    }

    /// The token of a range that the RMM returns; `None` when it was not given all of it.
    pub(crate) fn claim(&mut self, range: PaRange) -> Option<InUse> {
        self.set.take_range(range)
    }

    /// Tries to take back by force what an operation kept: what the RMM releases goes to the pool, the rest to quarantine.
    pub fn recover<P: Platform>(mut self, rmm: &Rmm<P>, pool: &mut Pool<'_>, command: Command) {
        while let Some(memory) = self.set.pop() {
            let reason = QuarantineReason::NotReclaimed { command };
            pool.recover(rmm, memory.into_released(), reason);
        }
    }
}
