//! Memory that is returned to the host, undelegated in runs.

use rmi_abi::{Command, PaRange, Status};
use rmi_host::{Delegated, Platform, QuarantineReason, Rmm, Undelegated};

/// Memory that is being returned to the host: one run, which grows as long as contiguous memory is
/// added, so that it is undelegated together.
#[derive(Debug, Default)]
pub(crate) struct ReturnedRanges {
    pub(crate) run: Delegated,
    /// Whether its state is uncertain: it may still be mapped, or be the host's already.
    pub(crate) doubt: bool,
    /// Nothing can be added to the run any more: it has to be sent first.
    pub(crate) sending: bool,
}

/// The reason for quarantining memory of which the RMM did not say clearly that it was unmapped.
const UNCLEAR: QuarantineReason = QuarantineReason::Unclear { command: Command::RttDataUnmap };

impl ReturnedRanges {
    /// Whether memory can be added to the run.
    pub(crate) fn takes(&self, memory: PaRange, doubt: bool) -> bool {
        let run = self.run.range();
        let touches = run.top() == memory.base() || memory.top() == run.base();
        run.is_empty() || (touches && doubt == self.doubt)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.run.is_empty()
    }

    /// Undelegates the run.
    pub(crate) fn send<P: Platform>(&mut self, rmm: &Rmm<P>, free: &mut dyn FnMut(Undelegated)) {
        if self.doubt {
            rmm.recover(self.run.take(), UNCLEAR, free);
        } else {
            rmm.return_or_quarantine(self.run.take(), free);
        }
        (self.doubt, self.sending) = (false, false);
    }

    /// Undelegates what one call returns of the run. For a granule that is refused, or a region
    /// that is tracked as a whole, a few calls are made.
    pub(crate) fn send_some<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        free: &mut dyn FnMut(Undelegated),
    ) {
        match rmm.undelegate_some(&mut self.run) {
            Ok(host) if !host.is_empty() => free(host),
            Ok(_) => {}
            Err(error) => {
                // All of it may be the host's already.
                self.doubt |= !error.is_clean();
                let refused = rmm.refused_bytes(&error, self.run.range());
                let refused = self.run.take_front(refused).unwrap_or_else(|| self.run.take());
                if self.doubt {
                    rmm.recover(refused, UNCLEAR, free);
                } else {
                    let status = error.status().unwrap_or(Status::ErrorInput);
                    rmm.quarantine(refused, QuarantineReason::UndelegateRefused { status });
                }
            }
        }
        if self.run.is_empty() {
            (self.doubt, self.sending) = (false, false);
        }
    }
}
