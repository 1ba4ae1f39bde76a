//! Trying again what is in quarantine.

use crate::granules::Undelegated;
use crate::ledger::{Ledger, LedgerEvent};
use crate::platform::Platform;
use crate::quarantine::{FixedQuarantine, Reserved};
#[cfg(feature = "alloc")]
use crate::quarantine::{GrowingQuarantine, Quarantine, Quarantined};
use crate::session::Rmm;

impl<const N: usize> FixedQuarantine<N> {
    /// Tries to undelegate everything once more, each range from both of its ends. What the RMM
    /// returns goes to `give_back`. The rest stays: that is everything between two granules that
    /// the RMM does not return. A range keeps its slot meanwhile, so what `give_back` itself puts
    /// into quarantine does not take that; it can take the slot of a range that was returned
    /// completely.
    ///
    /// Returns how many ranges are still in quarantine.
    pub fn retry<P: Platform>(
        &self,
        rmm: &Rmm<P>,
        mut give_back: impl FnMut(Undelegated),
    ) -> usize {
        // Memory of another machine stays for a session there.
        for reserved in self.reserve_each(rmm.machine()) {
            retry(reserved, rmm, &mut give_back);
        }
        self.len()
    }
}

/// Passes what the RMM returns from the front and from the back of the memory to `give_back`.
fn retry<P: Platform>(
    mut reserved: Reserved,
    rmm: &Rmm<P>,
    give_back: &mut dyn FnMut(Undelegated),
) {
    rmm.platform().ledger().record(LedgerEvent::Retried, reserved.memory.range());
    let mut host = Undelegated::empty();
    while let Some(part) = from_the_front(&mut reserved, rmm) {
        if let Err(apart) = host.append(part) {
            give_back(core::mem::replace(&mut host, apart));
        }
    }
    reserved.release_if_empty();
    if !host.is_empty() {
        give_back(host);
    }
    let granule = rmm.granule_size().bytes();
    // The first granule was refused; from the back it continues to the last granule that is
    // refused.
    while reserved.memory.bytes() > granule {
        let Some(last) = reserved.memory.take_back(granule) else { break };
        reserved.last = last;
        let Ok(part) = rmm.undelegate_some(&mut reserved.last) else { break };
        give_back(part);
    }
    reserved.settle();
    if !reserved.memory.is_empty() {
        let (range, reason) = (reserved.memory.range(), reserved.reason());
        drop(reserved);
        rmm.platform().ledger().record(LedgerEvent::Quarantined { reason }, range);
    }
}

/// What the RMM returns from the front of the memory; `None` when there is no more.
fn from_the_front<P: Platform>(reserved: &mut Reserved, rmm: &Rmm<P>) -> Option<Undelegated> {
    rmm.undelegate_some(&mut reserved.memory).ok().filter(|part| !part.is_empty())
}

#[cfg(feature = "alloc")]
impl GrowingQuarantine {
    /// Tries to undelegate once more everything that was in quarantine at the start. What the RMM
    /// returns goes to `give_back`, the rest to the session's quarantine.
    ///
    /// Returns how many ranges are still, or again, in this one.
    pub fn retry<P: Platform>(
        &self,
        rmm: &Rmm<P>,
        mut give_back: impl FnMut(Undelegated),
    ) -> usize {
        let mut waiting = self.take_all();
        while let Some(next) = waiting.peek() {
            let is_own = next.memory.machine() == rmm.machine();
            if is_own {
                // Before it is taken out: if the ledger panics, it is still there.
                rmm.platform().ledger().record(LedgerEvent::Retried, next.memory.range());
            }
            let Some(Quarantined { memory, reason }) = waiting.next() else { break };
            if is_own {
                rmm.return_or_quarantine(memory, &mut give_back);
            } else if let Err(lost) = self.put(Quarantined { memory, reason }) {
                // It stays for a session there; the vector still has the capacity for it.
                drop(lost);
            }
        }
        self.len()
    }
}
