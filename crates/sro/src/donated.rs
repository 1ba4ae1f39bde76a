//! What a stateful operation was given, so that nothing else is ever taken back.
//!
//! ```
//! # use rmi_abi::Dialect;
//! # use rmi_host::{Discovered, Host, SessionOptions};
//! # use rmm_model::{Model, Options};
//! # use sro::{Donated, Pool, PoolStorage, drive};
//! # let mut options = Options::new(Dialect::V2_0Bet3);
//! # options.rmm_activate_donates = 4;
//! # let model = Model::new(options)?;
//! # let mut memory = model.take_memory();
//! # let mut places = PoolStorage::<8>::new();
//! # let mut pool = Pool::new(&mut places, memory.take_front(Pool::PAGES).unwrap()).unwrap();
//! # pool.add(memory.take_front(0x20_000).unwrap()).unwrap();
//! # let found = Discovered::probe(Host::new(&model, &model), SessionOptions::default()).map_err(|failed| failed.error)?;
//! let started = found.start_activation()?;
//! let rmm = found.into_active();
//! let mut donated = Donated::default();
//! drive(&rmm, &mut pool, &mut donated, started)?;
//!
//! // Four granules are inside the RMM now, as one range.
//! assert_eq!(donated.bytes(), 0x4000);
//! assert_eq!(donated.iter().count(), 1);
//!
//! // The operation that ends the object brings back exactly these.
//! let started = rmm.start_deactivation()?;
//! drive(&rmm, &mut pool, &mut donated, started)?;
//! assert!(donated.is_empty());
//! # pool.drain(&rmm, &mut |_| ());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The record cannot be copied, so nothing is taken back twice; and nobody but the operations takes anything out of it:
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
