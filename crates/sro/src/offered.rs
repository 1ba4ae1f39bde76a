//! Memory that is being offered to an operation: no longer in its token, not yet in the record of
//! what the operation has.

use rmi_host::command::Offer;
use rmi_host::granules::Granules;

use crate::donated::{Donated, Recorded};

/// The offers of one donation. When it is dropped, also because a conduit or a ledger panicked,
/// what the RMM has, or may have, enters the record, and the rest goes back to the tokens that it
/// came from.
pub(crate) struct Offered<'d, H: Recorded> {
    offers: [Offer<H>; Donated::RANGES],
    memory: &'d mut [Granules<H>],
    donated: &'d mut Donated,
}

impl<'d, H: Recorded> Offered<'d, H> {
    /// Offers tokens: no more than the record has free slots for.
    pub(crate) fn new(memory: &'d mut [Granules<H>], donated: &'d mut Donated) -> Self {
        let mut offers = core::array::from_fn(|_| Offer::default());
        for (offer, token) in offers.iter_mut().zip(memory.iter_mut()) {
            *offer = Offer::new(token.take());
        }
        Self { offers, memory, donated }
    }

    /// One offer for each token.
    pub(crate) fn offers(&mut self) -> &mut [Offer<H>] {
        self.offers.get_mut(..self.memory.len()).unwrap_or_default()
    }
}

impl<H: Recorded> Drop for Offered<'_, H> {
    fn drop(&mut self) {
        for (offer, token) in self.offers.iter_mut().zip(self.memory.iter_mut()) {
            *token = offer.rest.take();
            // There is a free slot for each token offered.
            drop(H::record(self.donated, offer.taken.take()));
        }
    }
}
