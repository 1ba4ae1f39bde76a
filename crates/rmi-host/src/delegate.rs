//! Delegating memory to the RMM and undelegating it.
//!
//! An RMM may stop in the middle of a range. Then both parts are returned, each with a token for
//! its owner:
//!
//! ```
//! use rmi_abi::{Dialect, Pa, PaRange, Status};
//! use rmm_model::{Model, Options};
//!
//! // Of these eight granules, the RMM does not track the last four.
//! let mut machine = Options::new(Dialect::V2_0Bet3);
//! machine.untracked = vec![PaRange::with_size(Pa::new(0x8000_4000), 0x4000)?];
//! # let model = Model::new(machine)?;
//! # let mut memory = model.take_memory();
//! # let rmm = rmm_model::open(model.host(), &mut memory)?;
//!
//! let failed = rmm.delegate(memory.take_front(0x8000).expect("1 GiB")).unwrap_err();
//! assert_eq!(failed.error.status(), Some(Status::ErrorTracking));
//! assert_eq!(failed.host.range(), PaRange::with_size(Pa::new(0x8000_4000), 0x4000)?);
//!
//! // What was delegated can be used, or undelegated; then the memory is one range again.
//! let mut back = rmm.undelegate(failed.delegated)?;
//! back.append(failed.host).expect("the two touch");
//! assert_eq!(back.bytes(), 0x8000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Delegation consumes the token. So the memory cannot be delegated twice, and the host cannot
//! write to it:
//!
//! ```compile_fail,E0382
//! # use rmi_host::{Platform, Rmm, Undelegated};
//! fn twice<P: Platform>(rmm: &Rmm<P>, memory: Undelegated) {
//!     let first = rmm.delegate(memory);
//!     let second = rmm.delegate(memory); // error: use of moved value
//! }
//! ```
//!
//! ```compile_fail,E0382
//! # use rmi_host::{Platform, Rmm, Undelegated};
//! fn write<P: Platform>(rmm: &Rmm<P>, mut memory: Undelegated) {
//!     let delegated = rmm.delegate(memory);
//!     let _ = rmm.write_host(&mut memory, 0, b"too late"); // error: borrow of moved value
//! }
//! ```
//!
//! Memory that an object is made of cannot be undelegated:
//!
//! ```compile_fail,E0308
//! # use rmi_host::{InUse, Platform, Rmm};
//! fn pull<P: Platform>(rmm: &Rmm<P>, memory: InUse) {
//!     let _ = rmm.undelegate(memory); // error: expected `Delegated`
//! }
//! ```

mod retry;

use rmi_abi::granule::TrackingRegionState;
use rmi_abi::{Command, PaRange, Status};

use crate::channel::{Call, Reply};
use crate::command::{DelegateFailed, UndelegateFailed, delegate_range};
use crate::error::{Error, Subject, Violation};
use crate::granules::{Delegated, Granules, Owner, Undelegated};
use crate::ledger::{Ledger, LedgerEvent, QuarantineReason};
use crate::platform::Platform;
use crate::quarantine::{Quarantine, Quarantined};
use crate::session::Rmm;

/// # Memory, delegated and undelegated
impl<P: Platform> Rmm<P> {
    /// `RMI_GRANULE_RANGE_DELEGATE`: gives host memory to the RMM, in as few calls as the RMM
    /// allows. In 1.0 that is one `RMI_GRANULE_DELEGATE` for each granule.
    ///
    /// The content of the memory is lost to the host.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_GRANULE_RANGE_DELEGATE; 1.0-rel0, RMI_GRANULE_DELEGATE.
    ///
    /// # Errors
    ///
    /// [`DelegateFailed`]: [`Status::ErrorInput`] when the range is not aligned to granules or a
    /// granule is not ordinary memory or not the host's, [`Status::ErrorTracking`] when it is not
    /// tracked, or is a part of a region that is tracked as a whole.
    ///
    /// A region that is tracked as a whole is delegated as a whole or not at all: if the RMM began
    /// and cannot finish, it undoes that, and this ends with [`Status::ErrorTracking`]. The memory
    /// is the host's then; its content is lost. After as many attempts as the session's
    /// [`RetryBudget`](crate::RetryBudget) allows it ends with [`Status::Blocked`]; then it is not
    /// certain whether the memory is the host's ([`DelegateFailed::doubt`]).
    ///
    /// An RMM may count granules that are delegated already as progress, so success does not mean
    /// that each was the host's. The token does.
    pub fn delegate(&self, memory: Undelegated) -> Result<Delegated, DelegateFailed> {
        let command = Command::GranuleRangeDelegate;
        let mut delegated = Delegated::empty();
        if let Err(error) = self.check_whole(command, &memory) {
            return Err(DelegateFailed { error, delegated, host: memory });
        }
        // Before the first call: code of the embedder that panics meanwhile leaves no token of host
        // memory for what the RMM may have.
        let mut memory = memory.into_delegated();
        while !memory.is_empty() {
            let (part, error) = match self.range_step(command, memory.range()) {
                // `range_step` has checked that the progress lies inside the range, on a granule
                // boundary.
                Ok(bytes) => (memory.take_front(bytes).unwrap_or_default(), None),
                Err(error) if error.is_clean() => (Delegated::empty(), Some(error)),
                Err(error) => {
                    let named = self.named(memory.range()).bytes();
                    (memory.take_front(named).unwrap_or_default(), Some(error))
                }
            };
            let range = part.range();
            // Parts are taken from the front in order, so each follows the last.
            let Ok(()) = delegated.append(part) else { break };
            if !range.is_empty() {
                self.platform().ledger().record(LedgerEvent::Delegated, range);
            }
            if let Some(error) = error {
                // The rest was certainly refused or not named, so it is still the host's.
                let host = memory.into_undelegated();
                return Err(DelegateFailed { error, delegated, host });
            }
        }
        Ok(delegated)
    }

    /// `RMI_GRANULE_RANGE_UNDELEGATE`: takes memory back from the RMM, in as few calls as the RMM
    /// allows. In 1.0 that is one `RMI_GRANULE_UNDELEGATE` for each granule. The RMM wipes it.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_GRANULE_RANGE_UNDELEGATE; 1.0-rel0, RMI_GRANULE_UNDELEGATE.
    ///
    /// # Errors
    ///
    /// [`UndelegateFailed`]: [`Status::ErrorInput`] when a granule is still part of an object.
    pub fn undelegate(&self, mut memory: Delegated) -> Result<Undelegated, UndelegateFailed> {
        let mut host = Undelegated::empty();
        match self.undelegate_into(&mut host, &mut memory) {
            Ok(()) => Ok(host),
            Err(error) => Err(UndelegateFailed { error, host, kept: memory }),
        }
    }

    /// As [`Rmm::undelegate`], in place: what the RMM returns moves from `memory` to `host`.
    fn undelegate_into(&self, host: &mut Undelegated, memory: &mut Delegated) -> Result<(), Error> {
        while !memory.is_empty() {
            let part = self.undelegate_some(memory)?;
            let Ok(()) = host.append(part) else { break };
        }
        Ok(())
    }

    /// `RMI_GRANULE_RANGE_UNDELEGATE`, once: as [`Rmm::undelegate`], for callers with a bound on
    /// their run time. What the RMM returned is removed from the front of `memory`; in 1.0 that is
    /// one granule.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_GRANULE_RANGE_UNDELEGATE; 1.0-rel0, RMI_GRANULE_UNDELEGATE.
    ///
    /// # Errors
    ///
    /// As [`Rmm::undelegate`], for the first granule; `memory` is unchanged.
    pub fn undelegate_some(&self, memory: &mut Delegated) -> Result<Undelegated, Error> {
        let command = Command::GranuleRangeUndelegate;
        self.check_whole(command, memory)?;
        if memory.is_empty() {
            return Ok(Undelegated::empty());
        }
        let bytes = self.range_step(command, memory.range())?;
        let part = memory.take_front(bytes).unwrap_or_default().into_undelegated();
        self.platform().ledger().record(LedgerEvent::Returned, part.range());
        Ok(part)
    }

    /// Takes memory back from the RMM and passes what it returns to `give_back`. What the RMM does
    /// not return goes to quarantine; adjacent granules go together, with the reason of the first.
    ///
    /// ```
    /// # use rmi_abi::Dialect;
    /// # use rmi_host::FixedQuarantine;
    /// # use rmm_model::{Model, Options};
    /// # let quarantine = FixedQuarantine::<4>::new();
    /// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
    /// # let mut memory = model.take_memory();
    /// # let rmm = rmm_model::open(model.host().with_quarantine(&quarantine), &mut memory)?;
    /// let memory = rmm.delegate(memory.take_front(0x4000).expect("1 GiB"))?;
    /// let mut bytes = 0;
    /// rmm.return_or_quarantine(memory, &mut |host| bytes += host.bytes());
    /// assert_eq!((bytes, quarantine.len()), (0x4000, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn return_or_quarantine(&self, memory: Delegated, give_back: &mut dyn FnMut(Undelegated)) {
        self.undelegate_or_quarantine(memory, None, give_back);
    }

    /// As [`Rmm::return_or_quarantine`], for memory whose state is not certain. A granule that the
    /// RMM refuses to undelegate may be the host's; if the RMM then delegates it and undelegates it
    /// again, it was. Everything else is quarantined for `reason`.
    pub fn recover(
        &self,
        memory: Delegated,
        reason: QuarantineReason,
        give_back: &mut dyn FnMut(Undelegated),
    ) {
        self.undelegate_or_quarantine(memory, Some(reason), give_back);
    }

    fn undelegate_or_quarantine(
        &self,
        mut memory: Delegated,
        reason: Option<QuarantineReason>,
        give_back: &mut dyn FnMut(Undelegated),
    ) {
        let mut refused = Delegated::empty();
        let mut refused_for = QuarantineReason::PoolFull;
        while !memory.is_empty() {
            let mut host = Undelegated::empty();
            let result = self.undelegate_into(&mut host, &mut memory);
            if !host.is_empty() {
                give_back(host);
            }
            let Err(error) = result else { break };
            let why = reason.unwrap_or_else(|| quarantine_reason(&error));
            // A refusal concerns the first granule; an RMM that does not answer at all is not
            // called again for each of the others.
            let part = match error {
                Error::Refused(refusal) if refusal.result().is_not_supported() => None,
                Error::Refused(_) | Error::Violation { .. } | Error::Unclear(_) => {
                    memory.take_front(self.refused_bytes(&error, memory.range()))
                }
                _ => None,
            };
            let may_be_proved = part.is_some() && reason.is_some();
            let mut part = part.unwrap_or_else(|| memory.take());
            if may_be_proved {
                match self.prove(part, give_back) {
                    Some(kept) => part = kept,
                    None => continue,
                }
            }
            // Adjacent granules stay together, with the reason of the first: a refusal with a
            // different reason for each granule would exhaust the quarantine with single-granule
            // entries.
            if refused.is_empty() {
                refused_for = why;
            }
            if let Err(part) = refused.append(part) {
                self.quarantine(core::mem::replace(&mut refused, part), refused_for);
                refused_for = why;
            }
        }
        self.quarantine(refused, refused_for);
    }

    /// How many bytes at the front of a range a refusal to undelegate it concerns: a granule, or
    /// as much of it as is in a region that is tracked as a whole. That may take a call.
    #[doc(hidden)]
    pub fn refused_bytes(&self, error: &Error, range: PaRange) -> u64 {
        let granule = self.granule_size().bytes();
        if !P::COARSE_TRACKING {
            return granule;
        }
        let Some(region) = self.tracking_region_size() else { return granule };
        let is_part = error.status() == Some(Status::ErrorTracking);
        // A whole region is refused for another reason.
        let is_whole = range.base().is_aligned(region) && range.bytes() >= region;
        if !is_part && !is_whole {
            return granule;
        }
        match self.commands().granule_tracking_get(range) {
            Ok(tracked) if tracked.state == TrackingRegionState::Coarse => {
                let end = range.base().align_down(region).checked_add(region);
                let end = end.unwrap_or(range.top()).min(range.top());
                end.checked_offset_from(range.base()).unwrap_or(granule)
            }
            _ => granule,
        }
    }

    /// Proves that a granule, or a whole region, which the RMM does not undelegate is the host's,
    /// because the RMM delegates nothing else that it then undelegates, and passes it to
    /// `give_back`; otherwise returns it.
    fn prove(
        &self,
        mut granule: Delegated,
        give_back: &mut dyn FnMut(Undelegated),
    ) -> Option<Delegated> {
        // The ledger has it as delegated all the time, so the delegation is not recorded.
        match self.range_step(Command::GranuleRangeDelegate, granule.range()) {
            Ok(_) => {}
            Err(error) if P::COARSE_TRACKING && error.status() == Some(Status::ErrorTracking) => {
                return self.prove_part(granule, give_back);
            }
            Err(_) => return Some(granule),
        }
        let mut host = Undelegated::empty();
        // What is left says whether it failed.
        let _ = self.undelegate_into(&mut host, &mut granule);
        if !host.is_empty() {
            give_back(host);
        }
        (!granule.is_empty()).then_some(granule)
    }

    /// The same of a part of a region that is tracked as a whole: the region is undelegated. Memory
    /// of it that has a token as delegated memory stays that until it is undelegated, too.
    fn prove_part(
        &self,
        part: Delegated,
        give_back: &mut dyn FnMut(Undelegated),
    ) -> Option<Delegated> {
        let Some(size) = self.tracking_region_size() else { return Some(part) };
        let region = PaRange::with_size_or_empty(part.base().align_down(size), size);
        if !region.contains_range(&part.range()) {
            return Some(part);
        }
        match self.range_step(Command::GranuleRangeUndelegate, region) {
            Ok(bytes) if bytes == size => {
                self.platform().ledger().record(LedgerEvent::Returned, part.range());
                give_back(part.into_undelegated());
                None
            }
            _ => Some(part),
        }
    }

    /// Puts memory into quarantine; when the quarantine is full it is leaked, and counted.
    ///
    /// Memory of another machine goes there as well, for a session there, but the ledger of this
    /// machine is not told about it.
    pub fn quarantine(&self, memory: Delegated, reason: QuarantineReason) {
        if memory.is_empty() {
            return;
        }
        let (range, is_own) = (memory.range(), memory.machine() == self.machine());
        let event = match self.platform().quarantine().put(Quarantined { memory, reason }) {
            Ok(()) => LedgerEvent::Quarantined { reason },
            Err(refused) => {
                drop(refused);
                LedgerEvent::Leaked
            }
        };
        if is_own {
            self.platform().ledger().record(event, range);
        }
    }

    fn check_whole<H: Owner>(&self, command: Command, memory: &Granules<H>) -> Result<(), Error> {
        if !memory.is_empty() {
            self.commands().own(command, memory)?;
        }
        let range = memory.range();
        if range.is_aligned(self.granule_size().bytes()) {
            Ok(())
        } else {
            let subject = Subject::Pa(range.base());
            Err(Error::argument(command, "the range is not aligned to granules", subject))
        }
    }

    /// The part of a range that one call names: all of it, or its first granule.
    fn named(&self, range: PaRange) -> PaRange {
        if self.dialect().is_2_0() {
            return range;
        }
        range.split_at(self.granule_size().bytes()).map_or(range, |(first, _)| first)
    }

    /// One call for the front of a range; returns the bytes it processed, a whole number of
    /// granules.
    fn range_step(&self, command: Command, range: PaRange) -> Result<u64, Error> {
        if !self.dialect().is_2_0() {
            return self.granule_step(command, range);
        }
        let call =
            Call::new(command, Subject::Pa(range.base()), [range.base().raw(), range.top().raw()]);
        let mut reply = Reply::EMPTY;
        delegate_range(self.commands(), &call, &mut reply)?;
        let top = self.commands().progress(&call, range, reply.x1())?;
        match top.checked_offset_from(range.base()) {
            Some(bytes) if bytes.is_multiple_of(self.granule_size().bytes()) => Ok(bytes),
            _ => Err(Error::violation(command, Violation::Progress, reply.x1(), call.subject)),
        }
    }

    /// The equivalent of a range command in a dialect that has none: one granule.
    fn granule_step(&self, command: Command, range: PaRange) -> Result<u64, Error> {
        let command = match command {
            Command::GranuleRangeDelegate => Command::GranuleDelegate,
            _ => Command::GranuleUndelegate,
        };
        let base = range.base();
        let call = Call::new(command, Subject::Pa(base), [base.raw()]);
        delegate_range(self.commands(), &call, &mut { Reply::EMPTY })?;
        Ok(self.granule_size().bytes())
    }
}

/// The reason for the quarantine of memory whose undelegation ended with this error.
fn quarantine_reason(error: &Error) -> QuarantineReason {
    let command = error.command().unwrap_or(Command::GranuleRangeUndelegate);
    match error {
        Error::Refused(_) | Error::Exhausted { .. } => QuarantineReason::UndelegateRefused {
            status: error.status().unwrap_or(Status::ErrorInput),
        },
        _ => QuarantineReason::Unclear { command },
    }
}
