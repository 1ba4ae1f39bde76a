//! Memory that is offered to a stateful operation.

use rmi_abi::{Command, PaRange};

use crate::granules::{Donatable, Granules, HostOwned, InUse};
use crate::ledger::{Ledger, LedgerEvent};

/// Memory that is offered to a stateful operation, and how much of it the operation has.
///
/// While `RMI_OP_MEM_DONATE` runs, all of it counts as taken: if code of the embedder panics
/// meanwhile (a conduit, a ledger), no token of host memory exists for what the RMM may have. When
/// the command returns, what the RMM did not take is the rest again.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmm_model::{Model, Options};
/// use rmi_host::command::Offer;
/// use rmi_host::granules::HostOwned;
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// let mut offer = Offer::new(memory.take_front(0x2000).expect("1 GiB"));
/// assert_eq!((offer.rest().bytes(), offer.taken().bytes()), (0x2000, 0));
/// assert_eq!(offer.take_rest::<HostOwned>().bytes(), 0x2000);
/// # Ok::<(), rmm_model::OptionsError>(())
/// ```
#[derive(Debug)]
#[must_use = "it owns memory"]
pub struct Offer {
    /// All of it. That it is the RMM's is true only of what the RMM has.
    memory: InUse,
    /// Bytes at the front that the RMM has, or may have.
    taken: u64,
}

impl Offer {
    /// An offer of which the RMM has nothing.
    pub fn new<H: Donatable>(memory: Granules<H>) -> Self {
        Self { memory: memory.into_donated(), taken: 0 }
    }

    /// An offer of no memory.
    pub const fn empty() -> Self {
        Self { memory: InUse::empty(), taken: 0 }
    }

    fn split(&self) -> (PaRange, PaRange) {
        let range = self.memory.range();
        range.split_at(self.taken).unwrap_or((range, PaRange::empty(range.top())))
    }

    /// What the RMM has, or may have.
    #[must_use]
    pub fn taken(&self) -> PaRange {
        self.split().0
    }

    /// What the RMM does not have.
    #[must_use]
    pub fn rest(&self) -> PaRange {
        self.split().1
    }

    /// Takes out what the RMM has, or may have.
    pub fn take_taken(&mut self) -> InUse {
        let taken = core::mem::take(&mut self.taken);
        self.memory.take_front(taken).unwrap_or_default()
    }

    /// Takes out what the RMM does not have, if its owner is `H`; otherwise returns no memory.
    pub fn take_rest<H: Donatable>(&mut self) -> Granules<H> {
        let rest = self.memory.take_back(self.rest().bytes()).unwrap_or_default();
        match rest.into_refused() {
            Ok(rest) => rest,
            Err(other) => {
                // It follows what is in the token.
                if let Err(apart) = self.memory.append(other) {
                    drop(apart);
                }
                Granules::empty()
            }
        }
    }

    /// All of the memory.
    pub(super) const fn memory(&self) -> &InUse {
        &self.memory
    }
}

impl Default for Offer {
    fn default() -> Self {
        Self::empty()
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // Counted as host memory if that is what it is.
        drop(self.take_rest::<HostOwned>());
    }
}

/// Makes all offers the RMM's: it may take any of them from now on.
pub(super) fn expose(offers: &mut [Offer]) {
    settle(offers, u64::MAX);
}

/// Takes back what the RMM did not take of the offers: it has the first `bytes` of all of them
/// together.
pub(super) fn settle(offers: &mut [Offer], mut bytes: u64) {
    for offer in offers {
        offer.taken = bytes.min(offer.memory.bytes());
        bytes -= offer.taken;
    }
}

/// Records in the ledger what an operation has taken of the offers.
pub(super) fn record(ledger: &(impl Ledger + ?Sized), command: Command, offers: &[Offer]) {
    for offer in offers.iter().filter(|offer| offer.taken > 0) {
        let range = offer.taken();
        if offer.memory.was_host() {
            ledger.record(LedgerEvent::Delegated, range);
        }
        ledger.record(LedgerEvent::Donated { command }, range);
    }
}
