//! Memory that is being offered to an operation: no longer in its token, not yet in the record of
//! what the operation has.

use rmi_host::command::Offer;
use rmi_host::granules::{Donatable, Granules};

use crate::donated::Donated;

/// The offers of one donation. When it is dropped, also because a conduit or a ledger panicked,
/// what the RMM has, or may have, enters the record.
pub(crate) struct Offered<'d> {
    pub(crate) offers: &'d mut [Offer],
    /// It has a free slot for each offer.
    donated: &'d mut Donated,
}

impl<'d> Offered<'d> {
    /// Offers no more than the record has free slots for.
    pub(crate) fn new(offers: &'d mut [Offer], donated: &'d mut Donated) -> Self {
        Self { offers, donated }
    }
}

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        for offer in self.offers.iter_mut() {
            drop(self.donated.record(offer.take_taken()));
        }
    }
}

/// Offers made from tokens. When it is dropped, what is left goes back to these.
pub(crate) struct FromTokens<'d, H: Donatable> {
    offers: [Offer; Donated::RANGES],
    memory: &'d mut [Granules<H>],
}

impl<'d, H: Donatable> FromTokens<'d, H> {
    pub(crate) fn new(memory: &'d mut [Granules<H>]) -> Self {
        let mut offers = core::array::from_fn(|_| Offer::empty());
        for (offer, token) in offers.iter_mut().zip(memory.iter_mut()) {
            *offer = Offer::new(token.take());
        }
        Self { offers, memory }
    }

    /// One offer for each token.
    pub(crate) fn offers(&mut self) -> &mut [Offer] {
        self.offers.get_mut(..self.memory.len()).unwrap_or_default()
    }
}

impl<H: Donatable> Drop for FromTokens<'_, H> {
    fn drop(&mut self) {
        for (offer, token) in self.offers.iter_mut().zip(self.memory.iter_mut()) {
            *token = offer.take_rest();
        }
    }
}
