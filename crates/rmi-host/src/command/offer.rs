//! Memory that is offered to a stateful operation.

use rmi_abi::desc::OpMemState;

use crate::granules::{Donatable, Granules, donation_state};
use crate::ledger::{Ledger, LedgerEvent};
use rmi_abi::Command;

/// Memory that is offered to a stateful operation, and how much of it the operation has.
///
/// While `RMI_OP_MEM_DONATE` runs, all of it is in `taken`: if code of the embedder panics
/// meanwhile (a conduit, a ledger), no token of host memory exists for what the RMM may have. When
/// the command returns, what the RMM did not take is in `rest` again.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmm_model::{Model, Options};
/// use rmi_host::command::Offer;
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// let offer = Offer::new(memory.take_front(0x2000).expect("1 GiB"));
/// assert_eq!((offer.rest.bytes(), offer.taken.bytes()), (0x2000, 0));
/// # Ok::<(), rmm_model::OptionsError>(())
/// ```
#[derive(Debug)]
#[must_use = "it owns memory"]
pub struct Offer<H: Donatable> {
    /// What the RMM does not have.
    pub rest: Granules<H>,
    /// What the RMM has, or may have.
    pub taken: Granules<H::Donated>,
}

impl<H: Donatable> Offer<H> {
    /// An offer of which the RMM has nothing.
    pub fn new(memory: Granules<H>) -> Self {
        Self { rest: memory, taken: Granules::empty() }
    }

    /// The RMM may take any of it from now on.
    pub(super) fn expose(&mut self) {
        self.taken = self.rest.take().into_donated();
    }

    /// The RMM has taken the first `bytes` of it and nothing else.
    pub(super) fn settle(&mut self, bytes: u64) {
        let kept = self.taken.bytes().saturating_sub(bytes);
        if let Some(rest) = self.taken.take_back(kept) {
            self.rest = Granules::from_refused(rest);
        }
    }
}

impl<H: Donatable> Default for Offer<H> {
    fn default() -> Self {
        Self::new(Granules::empty())
    }
}

/// Makes all offers the RMM's.
pub(super) fn expose<H: Donatable>(offers: &mut [Offer<H>]) {
    for offer in offers {
        offer.expose();
    }
}

/// Takes back what the RMM did not take of the offers: it has the first `bytes` of all of them
/// together.
pub(super) fn settle<H: Donatable>(offers: &mut [Offer<H>], mut bytes: u64) {
    for offer in offers {
        let part = bytes.min(offer.taken.bytes());
        bytes -= part;
        offer.settle(part);
    }
}

/// Records in the ledger what an operation has taken of the offers.
pub(super) fn record<H: Donatable>(
    ledger: &(impl Ledger + ?Sized),
    command: Command,
    offers: &[Offer<H>],
) {
    for offer in offers.iter().filter(|offer| !offer.taken.is_empty()) {
        let range = offer.taken.range();
        if donation_state::<H>() == OpMemState::Undelegated {
            ledger.record(LedgerEvent::Delegated, range);
        }
        ledger.record(LedgerEvent::Donated { command }, range);
    }
}
