//! What was donated to a stateful operation, so that nothing else is ever taken back.
//!
//! ```
//! # use rmi_abi::Dialect;
//! # use rmi_host::{Discovered, SessionOptions};
//! # use rmm_model::{Model, Options};
//! # use sro::{Donated, FixedPool, Pool, drive};
//! # let mut options = Options::new(Dialect::V2_0Bet3);
//! # options.rmm_activate_donates = 4;
//! # let model = Model::new(options)?;
//! # let mut memory = model.take_memory();
//! # let mut pool = FixedPool::<8>::new();
//! # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
//! # pool.add(memory.take_front(0x20_000).unwrap()).unwrap();
//! # let found = Discovered::probe(model.host(), SessionOptions::default())?;
//! # let configured = found.configure(pool.pages().page)?;
//! let started = configured.start_activation()?;
//! let rmm = configured.into_active();
//! let mut donated = Donated::default();
//! drive(&rmm, &mut pool, &mut donated, started)?;
//!
//! // Four granules are inside the RMM now, as one range.
//! assert_eq!(donated.bytes(), 0x4000);
//! assert_eq!(donated.iter().count(), 1);
//!
//! // The operation that ends the object returns exactly these.
//! let started = rmm.start_deactivation()?;
//! drive(&rmm, &mut pool, &mut donated, started)?;
//! assert!(donated.is_empty());
//! # pool.drain(&rmm, &mut |_| ());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The record cannot be copied, so nothing is taken back twice; and only operations take anything
//! out of it:
//!
//! ```compile_fail,E0308
//! # use sro::Donated;
//! fn copy(donated: &Donated) -> Donated {
//!     donated.clone() // error: not `Clone`, so this is a second reference
//! }
//! ```
//!
//! ```compile_fail,E0624
//! # use rmi_abi::PaRange;
//! # use rmi_host::InUse;
//! # use sro::Donated;
//! fn pull(donated: &mut Donated, range: PaRange) -> Option<InUse> {
//!     donated.claim(range) // error: method `claim` is private
//! }
//! ```

use rmi_abi::{Command, PaRange};
use rmi_host::granules::{AnyGranules, Busy, InUse, Machine};
use rmi_host::{Platform, QuarantineReason, Rmm};

use crate::pool::Pool;
use crate::set::GranuleSet;

/// The memory inside one RMM object: what was donated to it and has not been returned.
///
/// Holds up to [`Donated::RANGES`] separate ranges, in 280 bytes. No more than that is donated to
/// an operation, so a fragmented pool may have to be filled with longer runs.
#[derive(Debug, Default)]
#[must_use = "dropping it leaks the memory"]
pub struct Donated {
    ranges: GranuleSet<Busy, [AnyGranules; Self::SLOTS]>,
}

// The size that the documentation states.
const _: () = assert!(size_of::<Donated>() == 280);

impl Donated {
    /// Nothing.
    pub const fn new() -> Self {
        Self { ranges: GranuleSet::empty() }
    }

    /// How many separate ranges an object may consist of.
    pub const RANGES: usize = 16;

    /// One more, for the remainder when the RMM returns the middle of a range.
    const SLOTS: usize = Self::RANGES + 1;

    /// Bytes inside the object.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges.bytes()
    }

    /// Whether nothing is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges inside.
    pub fn iter(&self) -> impl Iterator<Item = PaRange> + '_ {
        self.ranges.iter()
    }

    /// Whether all of it was donated to the RMM of this machine.
    pub(crate) fn is_of(&self, machine: Machine) -> bool {
        self.ranges.ranges().are_of(machine)
    }

    /// How many more separate ranges fit in any case.
    pub(crate) fn spare(&self) -> usize {
        self.ranges.spare().saturating_sub(1)
    }

    /// Records memory; it is returned when no slot is free.
    pub(crate) fn record(&mut self, memory: InUse) -> Result<(), InUse> {
        self.ranges.insert(memory)
    }

    /// The token of a range that the RMM returns; `None` when not all of it was donated.
    pub(crate) fn claim(&mut self, range: PaRange) -> Option<InUse> {
        self.ranges.take_range(range)
    }

    /// Puts memory into the pool that the RMM has released, still delegated.
    pub(crate) fn put_back<P: Platform>(&mut self, rmm: &Rmm<P>, pool: &mut Pool) {
        while let Some(memory) = self.ranges.pop() {
            pool.put_back(rmm, memory.into_released());
        }
    }

    /// Tries to undelegate what an operation kept: what the RMM releases goes to the pool, the rest
    /// to quarantine.
    pub fn recover<P: Platform>(&mut self, rmm: &Rmm<P>, pool: &mut Pool, command: Command) {
        let reason = QuarantineReason::NotReclaimed { command };
        while let Some(memory) = self.ranges.pop() {
            pool.recover(rmm, memory.into_released(), reason);
        }
    }
}
