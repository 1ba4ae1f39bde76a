//! The commands that move memory into and out of a stateful operation.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::desc::{AddrRangeDesc, BlockSize, OpMemState};
use rmi_abi::{Command, GranuleSize, PaRange, ResultWord, Status};
use zerocopy::IntoBytes;

use crate::channel::{Call, Channel, Pending, Reply, Step, Want};
use crate::command::list::LIST_ENTRIES;
use crate::command::offer::{Offer, expose, record, settle};
use crate::error::{Error, Failed, Violation};
use crate::granules::{Delegated, InUse, Undelegated};
use crate::ledger::{Ledger, LedgerEvent};
use crate::platform::Platform;

/// The result of a donation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Donation {
    /// The RMM took this many bytes, counted from the front of the list; the operation has a new
    /// request for memory.
    Taken(u64),
    /// The RMM is busy; it took nothing.
    Busy,
    /// The RMM refused the list; it took nothing and requests the same as before.
    Refused(ResultWord),
}

/// The result of a reclaim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Reclaim {
    /// The RMM returned this many bytes; the operation has a new request for memory.
    Given(u64),
    /// The RMM is busy; it returned nothing.
    Busy,
    /// The RMM refused; nothing was lost.
    Refused(ResultWord),
}

/// Memory that came out of a stateful operation.
#[derive(Debug)]
#[must_use = "dropping it leaks the memory"]
pub enum Returned {
    /// As delegated memory that the RMM does not use.
    Delegated(Delegated),
    /// As host memory.
    Undelegated(Undelegated),
    /// As host memory by the RMM's unproved statement, although it was donated delegated: an RMM
    /// may return it so where it requested memory in either state. It has to be recovered, see
    /// [`Rmm::recover`](crate::Rmm::recover).
    Claimed(Delegated),
}

impl<P: Platform> Channel<P> {
    /// `RMI_OP_MEM_DONATE`: offers memory to an operation that requests it. Each offer becomes one
    /// descriptor of blocks of `size`. `list` is host memory for the descriptors, at most 512.
    ///
    /// Whatever the RMM takes, it takes from the front; it is in [`Offer::taken`] afterwards.
    /// Before the call all offers become the RMM's, and the ledger records each when its outcome is
    /// known: after a panic of a conduit or a ledger no token of host memory exists for what the
    /// RMM has.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_OP_MEM_DONATE.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when an offer is not a whole number of blocks or was taken already, or
    /// there are too many. [`Error::Violation`] when the RMM reports to have taken more than was
    /// offered, and [`Error::Unclear`] when it answers with an unknown status; all of the offers
    /// then count as taken, because it is unknown which were.
    pub fn op_mem_donate(
        &self,
        pending: &mut Pending,
        list: &mut Undelegated,
        offers: &mut [Offer],
        size: BlockSize,
    ) -> Result<Donation, Error> {
        let blocks = (size, self.granule_size());
        let (size, granule) = blocks;
        let subject = pending.subject;
        let argument = |what| Error::argument(Command::OpMemDonate, what, subject);
        if offers.len() > LIST_ENTRIES {
            return Err(argument("too many ranges for one list"));
        }
        let at = self.page_for(Command::OpMemDonate, list, LIST_ENTRIES * 8)?.raw();
        let mut offered = 0u64;
        // Written to the page word by word: a list on the stack would take another 4 KiB.
        for (offset, offer) in (0..).step_by(8).zip(offers.iter()) {
            if !offer.taken().is_empty() {
                return Err(argument("an offer was taken already"));
            }
            let memory = offer.memory();
            self.own(Command::OpMemDonate, memory)?;
            let range = memory.range();
            let state = match memory.was_host() {
                true => OpMemState::Undelegated,
                false => OpMemState::Delegated,
            };
            let desc = AddrRangeDesc::from_range(&range, size, state, granule)
                .ok_or(argument("the memory is no whole number of blocks"))?;
            let word = desc
                .encode(self.dialect(), granule)
                .map_err(|_| argument("the memory has no descriptor in this dialect"))?;
            self.write_host(list, offset, word.as_bytes())?;
            offered = offered.saturating_add(range.bytes());
        }
        // Dialects before bet3 have no fourth argument and ignore the register.
        let args = [pending.handle, at, offers.len() as u64, 0];
        let call = Call::new(Command::OpMemDonate, pending.subject, args);
        expose(offers);
        let mut reply = Reply::EMPTY;
        // SAFETY: the RMM reads a page that this function borrows exclusively. The memory that it
        // is offered belongs to tokens that are the RMM's already.
        let answer = unsafe { self.advance(pending, &call, &mut reply) };
        let (bytes, outcome) = match answer {
            Ok(None) => (0, Ok(Donation::Busy)),
            Ok(Some(Step::Again)) => match reply.x1().checked_mul(granule.bytes()) {
                Some(bytes) if bytes <= offered => (bytes, Ok(Donation::Taken(bytes))),
                _ => (offered, Err(self.violation(pending, Violation::Count, reply.x1()))),
            },
            Ok(Some(Step::Final(result))) => match self.no_donation(pending, &call, result) {
                Ok(refused) => (0, Ok(refused)),
                Err(error) => (offered, Err(error)),
            },
            Err(error) if error.is_clean() => (0, Err(error)),
            Err(error) => (offered, Err(error)),
        };
        settle(offers, bytes);
        record(self.platform().ledger(), pending.command, offers);
        outcome
    }

    /// What a final status says about a donation: that nothing was taken, if it is certainly a
    /// refusal.
    fn no_donation(
        &self,
        pending: &Pending,
        call: &Call,
        result: ResultWord,
    ) -> Result<Donation, Error> {
        if result.status() == Status::Success {
            // The operation must continue after a donation; one that has "succeeded" may have taken
            // anything.
            return Err(self.violation(pending, Violation::Status, result.0));
        }
        let error = self.failure(call, result);
        if error.is_clean() { Ok(Donation::Refused(result)) } else { Err(error) }
    }

    /// Offers one granule in the wrong state to an operation that requests memory, so that the RMM
    /// refuses it and ends the operation: the only way to end an operation that requests memory
    /// which the host does not have and that cannot be cancelled. If it requests delegated memory,
    /// the page of the list itself is offered, which is not delegated. If it requests host memory,
    /// or one whole block, it cannot be ended in this way, and nothing is offered.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_OP_MEM_DONATE; TF-RMM (July 2026) starts to return memory when
    /// it refuses the first granule.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when there is nothing that the RMM must refuse; [`Error::Violation`]
    /// when the RMM takes the granule nevertheless. After that, and after any other unclear answer,
    /// the page is no longer part of `list` and is in [`Failed::kept`], which is empty otherwise:
    /// it may be the RMM's, and is not used any more.
    pub fn op_mem_donate_nothing(
        &self,
        pending: &mut Pending,
        list: &mut Undelegated,
    ) -> Result<Donation, Failed<InUse>> {
        let granule = self.granule_size();
        let word = self.nothing(pending, list, granule);
        let (at, word) = word.map_err(|error| Failed::new(InUse::empty(), error))?;
        if let Err(fault) = self.write_host(list, 0, word.as_bytes()) {
            return Err(Failed::new(InUse::empty(), fault.into()));
        }
        let call = Call::new(Command::OpMemDonate, pending.subject, [pending.handle, at, 1, 0]);
        let mut page = list.take_front(granule.bytes()).unwrap_or_default().into_delegated();
        let mut reply = Reply::EMPTY;
        // SAFETY: the RMM reads a page that no other token represents. The granule offered is that
        // page, and its token is the RMM's until the RMM has refused it.
        let outcome = match unsafe { self.advance(pending, &call, &mut reply) } {
            Ok(None) => Ok(Donation::Busy),
            Ok(Some(Step::Final(result))) => self.no_donation(pending, &call, result),
            Ok(Some(Step::Again)) if reply.x1() == 0 => Ok(Donation::Taken(0)),
            Ok(Some(Step::Again)) => Err(self.violation(pending, Violation::Count, reply.x1())),
            Err(error) => Err(error),
        };
        if !outcome.as_ref().is_err_and(|error| !error.is_clean()) {
            // Refused, so it is the host's as before. It is put back at the front of the list's
            // memory.
            let mut front = page.take().into_undelegated();
            if front.append(list.take()).is_ok() {
                *list = front;
            }
        }
        let page = page.into_use();
        if !page.is_empty() {
            let ledger = self.platform().ledger();
            ledger.record(LedgerEvent::Delegated, page.range());
            ledger.record(LedgerEvent::Donated { command: pending.command }, page.range());
        }
        outcome.map_err(|error| Failed::new(page, error))
    }

    /// The address of the list's page and the descriptor that offers it, if an operation must
    /// refuse that.
    fn nothing(
        &self,
        pending: &Pending,
        list: &Undelegated,
        granule: GranuleSize,
    ) -> Result<(u64, u64), Error> {
        let subject = pending.subject;
        let argument = |what| Error::argument(Command::OpMemDonate, what, subject);
        match pending.want {
            Want::Donate(request)
                if !request.contiguous
                    && matches!(request.state, OpMemState::Delegated | OpMemState::Conditional) => {
            }
            _ => {
                return Err(argument(
                    "the operation wants nothing that the host could offer wrongly",
                ));
            }
        }
        let at = self.page_for(Command::OpMemDonate, list, LIST_ENTRIES * 8)?.raw();
        if list.bytes() < granule.bytes() {
            return Err(argument("the page for the address list is less than a granule"));
        }
        let desc = AddrRangeDesc {
            base: list.base(),
            size: BlockSize::Page,
            count: 1,
            state: OpMemState::Delegated,
        };
        let word = desc
            .encode(self.dialect(), granule)
            .map_err(|_| argument("the page has no descriptor in this dialect"))?;
        Ok((at, word))
    }

    /// `RMI_OP_MEM_RECLAIM`: takes memory back from an operation that has some to return. The RMM
    /// writes its descriptors to `list`, host memory: as many as a granule holds (TF-RMM: at most
    /// as many as describe that many granules).
    ///
    /// Memory that was donated as host memory may be returned as such. The RMM may also report
    /// memory that was donated delegated as host memory, but nothing proves it: that is
    /// [`Returned::Claimed`].
    ///
    /// `claim` is called for the token of each run. The tokens that it returns are passed to
    /// `give_back`; an address that it does not know is not memory of this operation and is
    /// ignored, whatever the RMM reports.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_OP_MEM_RECLAIM.
    ///
    /// # Errors
    ///
    /// [`Error::Violation`] when the RMM reports to have written more than it was allowed, or
    /// returned memory that `claim` does not know; the runs that it does know have been passed to
    /// `give_back` nevertheless.
    pub fn op_mem_reclaim(
        &self,
        pending: &mut Pending,
        list: &mut Undelegated,
        claim: &mut dyn FnMut(PaRange) -> Option<InUse>,
        give_back: &mut dyn FnMut(Returned),
    ) -> Result<Reclaim, Error> {
        let granule = self.granule_size();
        let room = LIST_ENTRIES;
        let at = self.clear_list(Command::OpMemReclaim, list, room)?.raw();
        let call =
            Call::new(Command::OpMemReclaim, pending.subject, [pending.handle, at, room as u64]);
        let mut reply = Reply::EMPTY;
        // SAFETY: the RMM writes to a page that this function borrows exclusively.
        match unsafe { self.advance(pending, &call, &mut reply)? } {
            None => return Ok(Reclaim::Busy),
            Some(Step::Final(result)) => return Ok(Reclaim::Refused(result)),
            Some(Step::Again) => {}
        }
        let Some(filled) = usize::try_from(reply.x1()).ok().filter(|filled| *filled <= room) else {
            return Err(self.violation(pending, Violation::Count, reply.x1()));
        };
        let (mut given, mut foreign) = (0, None);
        let ledger = self.platform().ledger();
        for offset in (0..).step_by(8).take(filled) {
            let word: u64 = self.get::<_, Error>(list, offset)?;
            let desc = AddrRangeDesc::decode(word, self.dialect(), granule);
            let range = desc.range(granule).filter(|range| !range.is_empty());
            let claimed = range.and_then(|range| claim(range).map(|claimed| (range, claimed)));
            let Some((range, claimed)) = claimed else {
                foreign = foreign.or(Some(word));
                continue;
            };
            if claimed.range() != range || claimed.machine() != self.machine() {
                // Not what was requested, or memory that another RMM has: it stays the RMM's until
                // an undelegation succeeds.
                foreign = foreign.or(Some(word));
                give_back(Returned::Claimed(claimed.into_released()));
                continue;
            }
            given += range.bytes();
            ledger.record(LedgerEvent::Reclaimed { command: pending.command }, range);
            if desc.state != OpMemState::Undelegated {
                give_back(Returned::Delegated(claimed.into_released()));
                continue;
            }
            give_back(match claimed.into_undelegated() {
                Ok(memory) => {
                    ledger.record(LedgerEvent::Returned, range);
                    Returned::Undelegated(memory)
                }
                Err(claimed) => Returned::Claimed(claimed.into_released()),
            });
        }
        match foreign {
            None => Ok(Reclaim::Given(given)),
            Some(word) => Err(self.violation(pending, Violation::ForeignMemory, word)),
        }
    }
}
