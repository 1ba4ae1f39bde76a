//! The loop that drives an operation to its end, whatever it asks for.
//!
//! ```
//! # use rmi_abi::{Command, Dialect};
//! # use rmi_abi::realm::RealmParams;
//! # use rmi_abi::rec::{Mpidr, RecParams};
//! # use rmi_abi::rtt::Geometry;
//! # use rmi_host::{Error, Rd, Undelegated};
//! # use rmm_model::{Model, Options};
//! # use sro::{Donated, FixedPool, Pool};
//! use sro::drive;
//! # let mut options = Options::new(Dialect::TfRmm2026_07);
//! # options.can_cancel = true;
//! # let model = Model::new(options)?;
//! # let mut memory = model.take_memory();
//! # let rmm = rmm_model::open(model.host(), &mut memory)?;
//! # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
//! # let (rd, root, mut page) =
//! #     (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
//! # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
//! # rmm.commands().realm_create(&rd, &mut page, &params)?;
//! # let rd = Rd::new(rd);
//! # let mut pool = FixedPool::<8>::new();
//! # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
//! # pool.add(memory.take_front(0x8000).unwrap()).unwrap();
//! # let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
//! let rec = pool.take(&rmm, Command::RecCreate, 0x1000, 0x1000)?;
//! let mut donated = Donated::default();
//!
//! // Seven granules are left, and the REC needs sixteen. The operation is cancelled and
//! // leaves nothing behind.
//! let started = rmm.commands().rec_create(&rd, &rec, &mut page, &params.encode())?;
//! let error = drive(&rmm, &mut pool, &mut donated, started).unwrap_err();
//! assert!(matches!(error, Error::NeedMemory { bytes: 0x9000, .. }));
//! assert!(donated.is_empty());
//!
//! // With more memory the same operation succeeds.
//! pool.add(memory.take_front(0x9000).expect("1 GiB")).expect("eight slots");
//! let started = rmm.commands().rec_create(&rd, &rec, &mut page, &params.encode())?;
//! drive(&rmm, &mut pool, &mut donated, started)?;
//! assert_eq!(donated.bytes(), 0x10_000);
//! # pool.drain(&rmm, &mut |_| ());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use rmi_abi::desc::{AddrRangeDesc, OpMemState};
use rmi_abi::{Command, PaRange, Status};
use rmi_host::command::{Donation, Offer, Reclaim, Returned};
use rmi_host::{
    Attempts, Error, Platform, Progress, QuarantineReason, Reply, Rmm, Subject, Violation,
};

use crate::donated::Donated;
use crate::operation::{Advance, Need, Next, Operation};
use crate::pool::Pool;

/// The state of the loop that drives an operation.
struct Driver<'d, P: Platform> {
    rmm: &'d Rmm<P>,
    pool: &'d mut Pool,
    donated: &'d mut Donated,
    /// Why the operation is being undone, if it is.
    undoing: Option<Error>,
    /// Memory was returned that was never donated, or in wrong amounts: reported at the end, so
    /// that the rest is returned first.
    violation: Option<Error>,
    /// What the command has used of its retry budget.
    attempts: &'d mut Attempts,
    /// The budget is used up.
    is_over: bool,
}

/// Drives the operation that a command started to its end: continues it, donates memory from the
/// pool, and takes back what it returns.
///
/// Memory that was donated and not returned is in `donated` afterwards, also on error: on success
/// it is part of the object that was created; on failure the caller recovers it. When the pool is
/// short, or the RMM refuses what it is offered, the operation is cancelled if possible, and
/// otherwise ended by an offer that the RMM must refuse.
///
/// See the example in [the module](self).
///
/// # Errors
///
/// The final status of the command; [`Error::NeedMemory`] when the pool is short, after the
/// operation was undone; [`Error::Violation`] when the RMM violated the protocol or did not finish
/// within the session's retry budget.
///
/// An operation that does not finish, or that is short of memory and cannot be ended (it cannot be
/// cancelled, and requests host memory or one contiguous run), stays in the RMM; the ledger records
/// it.
pub fn drive<P: Platform>(
    rmm: &Rmm<P>,
    pool: &mut Pool,
    donated: &mut Donated,
    progress: Progress,
) -> Result<Reply, Error> {
    let mut attempts = match &progress {
        Progress::Pending(pending) => pending.attempts(),
        Progress::Done(_) => Attempts::default(),
    };
    drive_within(rmm, pool, donated, progress, &mut attempts)
}

/// As [`drive`], of a command that has used a part of its budget.
pub(crate) fn drive_within<P: Platform>(
    rmm: &Rmm<P>,
    pool: &mut Pool,
    donated: &mut Donated,
    progress: Progress,
    attempts: &mut Attempts,
) -> Result<Reply, Error> {
    let mut operation = match Operation::take_up(rmm, progress) {
        Advance::Done(reply) => return Ok(reply),
        Advance::Failed(error) => return Err(error),
        Advance::Again(operation) => operation,
    };
    // It may be missing because an offer of it was interrupted.
    pool.fit(rmm);
    let mut driver =
        Driver { rmm, pool, donated, undoing: None, violation: None, attempts, is_over: false };
    let mut reply = Reply::EMPTY;
    while !driver.is_over && rmm.commands().may_step(driver.attempts) {
        let step = match operation.next() {
            Ok(Next::Continue) => match operation.step(&mut reply) {
                Ok(None) => {
                    if let Some(why) = operation.waits() {
                        driver.wait(why);
                    }
                    Ok(())
                }
                Ok(Some(result)) => return driver.end(result).map(|()| reply),
                Err(error) => Err(error),
            },
            Ok(Next::Need(need)) => driver.need(&mut operation, need),
            Ok(Next::Take) => driver.take(&mut operation),
            // A request that no memory can meet: undo the operation, if the RMM permits it.
            Err(error) if driver.undoing.is_none() => driver.undo(&mut operation, error),
            Err(error) => Err(error),
        };
        if let Err(error) = step {
            return Err(driver.strand(operation, error));
        }
    }
    let unfinished =
        Error::unfinished(operation.command(), operation.handle(), operation.subject());
    Err(driver.strand(operation, unfinished))
}

impl<P: Platform> Driver<'_, P> {
    /// The end of the operation. A failure that the host caused by undoing it is reported as the
    /// reason for undoing it.
    fn end(self, result: Result<(), Error>) -> Result<(), Error> {
        match (result, self.violation) {
            (Ok(()), Some(violation)) => Err(violation),
            (Ok(()), None) => Ok(()),
            // Only a clear end may be replaced by the reason for undoing the operation.
            (Err(error), _) if error.is_clean() => Err(self.undoing.unwrap_or(error)),
            (Err(error), _) => Err(error),
        }
    }

    /// Abandons an operation that can be neither finished nor undone. The error must not claim that
    /// nothing changed.
    fn strand(&self, operation: Operation<'_, P>, error: Error) -> Error {
        let missing = match self.undoing {
            Some(Error::NeedMemory { bytes, .. }) => bytes,
            _ => 0,
        };
        let stranded =
            Error::abandoned(operation.command(), operation.handle(), missing, operation.subject());
        operation.abandon();
        if error.is_clean() { stranded } else { error }
    }

    /// Waits before a step is repeated, if the budget allows that.
    fn wait(&mut self, why: Status) {
        self.is_over = !self.rmm.pause(self.attempts, why);
    }

    /// As [`Driver::wait`], after a step that the RMM was too busy for, or that did nothing.
    fn wait_for(&mut self, operation: &Operation<'_, P>) {
        self.wait(operation.waits().unwrap_or(Status::Busy));
    }

    /// Meets a request for memory, or starts to undo the operation.
    fn need(&mut self, operation: &mut Operation<'_, P>, need: Need) -> Result<(), Error> {
        if let Some(error) = self.undoing {
            // It was cancelled or refused, and asks again: the RMM accepts no way of ending it.
            return Err(error);
        }
        self.pool.learn(operation.command(), self.donated.bytes() + need.bytes, need);
        match self.meet(operation, need) {
            Ok(Donation::Taken(0) | Donation::Busy) => {
                self.wait_for(operation);
                Ok(())
            }
            Ok(Donation::Taken(_)) => Ok(()),
            Ok(Donation::Refused(result)) => {
                let error = Error::violation(
                    operation.command(),
                    Violation::Request,
                    result.0,
                    operation.subject(),
                );
                self.undo(operation, error)
            }
            Err(error) if error.is_clean() => self.undo(operation, error),
            Err(error) => Err(error),
        }
    }

    /// One donation from the pool: everything that is requested, in as few runs as the pool
    /// permits, and in no more than the object's record can take.
    ///
    /// Not inlined, so that the offers are on the stack only while they are needed.
    #[inline(never)]
    fn meet(&mut self, operation: &mut Operation<'_, P>, need: Need) -> Result<Donation, Error> {
        let command = operation.command();
        let block = if need.contiguous { need.bytes } else { need.block_bytes };
        let from_host = match need.state {
            OpMemState::Delegated | OpMemState::Conditional => false,
            OpMemState::Undelegated => true,
            OpMemState::Reserved => {
                let subject = operation.subject();
                return Err(Error::violation(command, Violation::Request, 3, subject));
            }
        };
        let missing = match from_host {
            true => self.pool.missing_host(need.bytes, block),
            false => self.pool.missing(need.bytes, block),
        };
        if missing > 0 {
            return Err(self.pool.need(command, missing, block));
        }
        // What tracks a region may be part of it, in the state that is requested.
        let region = if need.contiguous { None } else { self.target(operation) };
        let mut batch = [const { Offer::empty() }; Donated::RANGES];
        // A run is one descriptor, which cannot count more blocks than this.
        let most = need
            .block_bytes
            .saturating_mul(u64::from(AddrRangeDesc::max_count(self.rmm.granule_size())));
        let most = if need.contiguous { need.bytes } else { most };
        let (mut gathered, mut runs, mut refused) = (0, 0, None);
        for slot in batch.iter_mut().take(self.donated.spare()) {
            let bytes = (need.bytes - gathered).min(most);
            let inside =
                region.and_then(|region| self.pool.take_in(region, bytes, block, need.state));
            let run = match from_host {
                _ if inside.is_some() => inside,
                true => self.pool.take_host_run(bytes, block).map(Offer::new),
                false => match self.pool.take_run(self.rmm, command, bytes, block) {
                    Ok(run) => Some(Offer::new(run)),
                    Err(error) => {
                        refused = Some(error);
                        break;
                    }
                },
            };
            let Some(run) = run else {
                refused = Some(self.pool.need(command, bytes, block));
                break;
            };
            gathered += run.rest().bytes();
            *slot = run;
            runs += 1;
            if gathered == need.bytes {
                break;
            }
        }
        let offers = batch.get_mut(..runs).unwrap_or_default();
        let donation = match refused {
            Some(error) => Err(error),
            None if runs == 0 => Err(self.pool.need(command, need.bytes, need.bytes)),
            None => {
                let Pool { list, .. } = &mut *self.pool;
                operation.donate_offers(list, offers, need.block, self.donated)
            }
        };
        // One of the two is empty.
        for rest in &mut batch {
            self.pool.put_back(self.rmm, rest.take_rest());
            self.pool.restore(self.rmm, rest.take_rest());
        }
        donation
    }

    /// The tracking region that the operation changes, while it takes memory in any state.
    fn target(&self, operation: &Operation<'_, P>) -> Option<PaRange> {
        if !P::COARSE_TRACKING {
            return None;
        }
        let Subject::Pa(base) = operation.subject() else { return None };
        let size = self.rmm.tracking_region_size()?;
        let is_tracking = operation.command() == Command::GranuleTrackingSet;
        PaRange::with_size(base, size).ok().filter(|_| is_tracking)
    }

    /// Starts to undo the operation because of `error`.
    fn undo(&mut self, operation: &mut Operation<'_, P>, error: Error) -> Result<(), Error> {
        self.undoing = Some(error);
        let can_cancel = operation.can_cancel();
        while !self.is_over {
            if can_cancel {
                operation.cancel()?;
            } else {
                let donation = operation.donate_nothing(&mut self.pool.list, self.donated);
                self.pool.renew_pages();
                if matches!(donation?, Donation::Refused(_)) {
                    return Err(error);
                }
            }
            match operation.waits() {
                None => return Ok(()),
                Some(why) => self.wait(why),
            }
        }
        Err(error)
    }

    /// Takes returned memory into the pool.
    fn take(&mut self, operation: &mut Operation<'_, P>) -> Result<(), Error> {
        // What the RMM says it undelegated is recovered after the operation if it may be in the
        // region that the operation keeps blocked.
        let keeps = self.target(operation).is_some();
        let Pool { list, contents, .. } = &mut *self.pool;
        let (rmm, command) = (self.rmm, operation.command());
        let outcome =
            operation.reclaim_some(list, self.donated, keeps, &mut |returned| match returned {
                Returned::Delegated(memory) => contents.put_back(rmm, memory),
                Returned::Undelegated(memory) => contents.restore(rmm, memory),
                Returned::Claimed(memory) => {
                    contents.recover(rmm, memory, QuarantineReason::NotReclaimed { command });
                }
            });
        match outcome {
            // Of a refusal nothing was lost; the same call may be repeated.
            Ok(Reclaim::Given(0) | Reclaim::Busy | Reclaim::Refused(_)) => {
                self.wait_for(operation);
            }
            Ok(Reclaim::Given(_)) => {}
            Err(error @ Error::Violation { violation: Violation::ForeignMemory, .. }) => {
                self.violation.get_or_insert(error);
                self.wait_for(operation);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
