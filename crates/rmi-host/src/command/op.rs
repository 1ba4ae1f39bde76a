//! The commands that move memory into and out of a stateful operation.
#![expect(unsafe_code, reason = "calls go through the one door")]

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::desc::{AddrRangeDesc, BlockSize, OpMemState};
use rmi_abi::{Command, GranuleSize, PaRange, ResultWord, Status};
use zerocopy::IntoBytes;

use crate::channel::{Call, Channel, Pending, Step};
use crate::error::{Error, Refusal, Subject, Violation};
use crate::granules::{Delegated, Donatable, Granules, InUse, Undelegated, donation_state};
use crate::ledger::{Ledger, LedgerEvent};
use crate::platform::Platform;

/// What a donation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Donation {
    /// The RMM took this many bytes, counted from the front of the list; the operation has a new want.
    Taken(u64),
    /// The RMM is busy; it took nothing.
    Busy,
    /// The RMM refused the list; it took nothing and wants the same as before.
    Refused(ResultWord),
}

/// What a reclaim came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Reclaim {
    /// The RMM gave this many bytes back; the operation has a new want.
    Given(u64),
    /// The RMM is busy; it gave nothing.
    Busy,
    /// The RMM refused; nothing was lost.
    Refused(ResultWord),
}

/// Memory that came out of a stateful operation.
#[derive(Debug)]
#[must_use = "dropping it leaks the memory"]
pub enum Returned {
    /// As the RMM's, free.
    Delegated(Delegated),
    /// As the host's.
    Undelegated(Undelegated),
    /// Allegedly as the host's, although it was donated delegated: an RMM may do that where it asked for memory in either state, and nothing has proved it. To be
    /// recovered, see [`Rmm::recover`](crate::Rmm::recover).
    Claimed(Delegated),
}

/// The token of memory that an RMM returns.
#[derive(Debug)]
#[must_use = "dropping it leaks the memory"]
pub struct Claim {
    /// The memory.
    pub token: InUse,
    /// Whether it was the host's until it was donated.
    pub was_host: bool,
}

/// Entries of an address list: it may not leave the granule that holds it.
const LIST_ENTRIES: usize = (MIN_GRANULE / 8) as usize;

impl<P: Platform> Channel<P> {
    /// `RMI_OP_MEM_DONATE`: offers memory to an operation that wants it. Each token becomes one descriptor of blocks of `size`. `list` is host memory that carries
    /// the descriptors, at most 512.
    ///
    /// Whatever the RMM takes, it takes from the front; those parts leave `memory` and go to `taken`.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_OP_MEM_DONATE.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when a token is no whole number of blocks or there are too many. [`Error::Violation`] when the RMM claims to have taken more than was
    /// offered; all of `memory` has then gone to `taken`, because nobody knows.
    pub fn op_mem_donate<H: Donatable>(
        &self,
        pending: &mut Pending,
        list: &mut Undelegated,
        memory: &mut [Granules<H>],
        blocks: (BlockSize, GranuleSize),
        taken: &mut dyn FnMut(InUse),
    ) -> Result<Donation, Error> {
        let (size, granule) = blocks;
        let argument = |what| Error::Argument {
            command: Command::OpMemDonate,
            what,
            subject: pending.subject,
        };
        let mut words = [0u64; LIST_ENTRIES];
        let mut offered = 0u64;
        for (slot, token) in words.iter_mut().zip(memory.iter()) {
            let desc =
                AddrRangeDesc::from_range(&token.range(), size, donation_state::<H>(), granule)
                    .ok_or(argument("the memory is no whole number of blocks"))?;
            *slot = desc
                .encode(self.dialect(), granule)
                .map_err(|_| argument("the memory has no descriptor in this dialect"))?;
            offered = offered.saturating_add(token.bytes());
        }
        let words = words.get(..memory.len()).ok_or(argument("too many ranges for one list"))?;
        let at = self.list_page(list, Command::OpMemDonate)?;
        self.write_host(list, 0, words.as_bytes())?;
        // Dialects before bet3 have no fourth argument and ignore the register.
        let args = [pending.handle, at, words.len() as u64, 0];
        let call = Call::new(Command::OpMemDonate, pending.subject, args);
        // SAFETY: the RMM reads a page that this function borrows exclusively. The memory it is offered belongs to the tokens, of which it gets what it takes.
        let answer = unsafe { self.advance(pending, &call) };
        let (bytes, outcome) = match answer {
            Ok(None) => return Ok(Donation::Busy),
            Ok(Some(Step::Final(result, _))) if result.status() != Status::Success => {
                return Ok(Donation::Refused(result));
            }
            Ok(Some(Step::Again(reply))) => match reply.x1().checked_mul(granule.bytes()) {
                Some(bytes) if bytes <= offered => (bytes, Ok(Donation::Taken(bytes))),
                _ => (offered, Err(self.violation(pending, Violation::Count, reply.x1()))),
            },
            // The operation must go on after a donation; one that has "succeeded" may have taken anything.
            Ok(Some(Step::Final(result, _))) => {
                (offered, Err(self.violation(pending, Violation::Status, result.0)))
            }
            Err(error) => (offered, Err(error)),
        };
        self.hand_over(pending, memory, bytes, taken);
        outcome
    }

    /// Moves the first `bytes` of some tokens to `taken`, and says so in the books.
    fn hand_over<H: Donatable>(
        &self,
        pending: &Pending,
        memory: &mut [Granules<H>],
        mut bytes: u64,
        taken: &mut dyn FnMut(InUse),
    ) {
        let ledger = self.platform().ledger();
        for token in memory {
            let part = bytes.min(token.bytes());
            let Some(front) = token.take_front(part).filter(|front| !front.is_empty()) else {
                break;
            };
            bytes -= part;
            if donation_state::<H>() == OpMemState::Undelegated {
                ledger.record(LedgerEvent::Delegated, front.range());
            }
            ledger.record(LedgerEvent::Donated { command: pending.command }, front.range());
            taken(front.into_donated());
        }
    }

    /// Offers one granule that is *not* delegated to an operation that wants memory, so that the RMM refuses it and ends the operation: the only way out of an
    /// operation that wants memory which the host does not have and that cannot be cancelled.
    ///
    /// `list` is both the granule offered and the page that carries the list; it stays the host's, because the RMM accepts no granule in the wrong state.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_OP_MEM_DONATE; TF-RMM (July 2026) turns to reclaiming when the first granule is refused.
    ///
    /// # Errors
    ///
    /// [`Error::Violation`] when the RMM takes the granule all the same.
    pub fn op_mem_donate_nothing(
        &self,
        pending: &mut Pending,
        list: &mut Undelegated,
        granule: GranuleSize,
    ) -> Result<Donation, Error> {
        let argument = |what| Error::Argument {
            command: Command::OpMemDonate,
            what,
            subject: pending.subject,
        };
        let at = self.list_page(list, Command::OpMemDonate)?;
        let desc = AddrRangeDesc {
            base: list.base(),
            size: BlockSize::Page,
            count: 1,
            state: OpMemState::Delegated,
        };
        let word = desc
            .encode(self.dialect(), granule)
            .map_err(|_| argument("the page has no descriptor in this dialect"))?;
        self.write_host(list, 0, word.as_bytes())?;
        let call = Call::new(Command::OpMemDonate, pending.subject, [pending.handle, at, 1, 0]);
        // SAFETY: the granule offered is host memory that the descriptor declares delegated, which a sound RMM refuses; it is borrowed exclusively, and should
        // an unsound one take it, the violation below tells the caller never to use it again.
        match unsafe { self.advance(pending, &call)? } {
            None => Ok(Donation::Busy),
            Some(Step::Final(result, _)) => Ok(Donation::Refused(result)),
            Some(Step::Again(reply)) if reply.x1() == 0 => Ok(Donation::Taken(0)),
            Some(Step::Again(reply)) => Err(self.violation(pending, Violation::Count, reply.x1())),
        }
    }

    /// `RMI_OP_MEM_RECLAIM`: takes memory back from an operation that wants to give some. The RMM writes its
    /// descriptors to `list`, host memory: as many as a granule holds (TF-RMM: at most as many as describe that many granules).
    ///
    /// Memory that was donated as the host's may come back as that. Of memory that was donated delegated the RMM may say the same, but nothing proves it: that is [`Returned::Claimed`].
    ///
    /// For each run `claim` is asked for its token. What it has goes to `home`; an address that it does not know is no memory of this operation and is
    /// ignored, whatever the RMM says.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_OP_MEM_RECLAIM.
    ///
    /// # Errors
    ///
    /// [`Error::Violation`] when the RMM claims to have written more than it was allowed, or returned memory that `claim` does not know; the runs that it
    /// does know have gone to `home` all the same.
    pub fn op_mem_reclaim(
        &self,
        pending: &mut Pending,
        list: &mut Undelegated,
        granule: GranuleSize,
        claim: &mut dyn FnMut(PaRange) -> Option<Claim>,
        home: &mut dyn FnMut(Returned),
    ) -> Result<Reclaim, Error> {
        let room = LIST_ENTRIES;
        let at = self.list_page(list, Command::OpMemReclaim)?;
        // What the RMM does not write must not be mistaken for something it wrote.
        self.write_host(list, 0, &[0; LIST_ENTRIES * 8])?;
        let call =
            Call::new(Command::OpMemReclaim, pending.subject, [pending.handle, at, room as u64]);
        // SAFETY: the RMM writes to a page that this function borrows exclusively.
        let reply = match unsafe { self.advance(pending, &call)? } {
            None => return Ok(Reclaim::Busy),
            Some(Step::Final(result, _)) => return Ok(Reclaim::Refused(result)),
            Some(Step::Again(reply)) => reply,
        };
        let Some(filled) = usize::try_from(reply.x1()).ok().filter(|filled| *filled <= room) else {
            return Err(self.violation(pending, Violation::Count, reply.x1()));
        };
        let mut words = [0u64; LIST_ENTRIES];
        self.read_host(list, 0, words.as_mut_bytes())?;
        let (mut given, mut foreign) = (0, None);
        for word in words.iter().take(filled) {
            let desc = AddrRangeDesc::decode(*word, self.dialect(), granule);
            let token = desc.range(granule).filter(|range| !range.is_empty()).and_then(&mut *claim);
            let Some(Claim { token, was_host }) = token else {
                foreign = foreign.or(Some(*word));
                continue;
            };
            given += token.bytes();
            self.platform()
                .ledger()
                .record(LedgerEvent::Reclaimed { command: pending.command }, token.range());
            home(match desc.state {
                OpMemState::Undelegated if was_host => {
                    self.platform().ledger().record(LedgerEvent::Returned, token.range());
                    Returned::Undelegated(token.into_undelegated())
                }
                OpMemState::Undelegated => Returned::Claimed(token.into_released()),
                _ => Returned::Delegated(token.into_released()),
            });
        }
        match foreign {
            None => Ok(Reclaim::Given(given)),
            Some(word) => Err(self.violation(pending, Violation::ForeignMemory, word)),
        }
    }

    fn list_page(&self, list: &Undelegated, command: Command) -> Result<u64, Error> {
        if list.bytes() < MIN_GRANULE {
            let subject = Subject::Pa(list.base());
            return Err(Error::Argument {
                command,
                what: "the page for the address list is too small",
                subject,
            });
        }
        Ok(list.base().raw())
    }

    /// The error that a refused donation or reclaim stands for.
    #[must_use]
    pub fn op_refusal(&self, pending: &Pending, command: Command, result: ResultWord) -> Error {
        Error::Refused(Refusal {
            command,
            dialect: self.dialect(),
            result,
            subject: pending.subject,
        })
    }
}
