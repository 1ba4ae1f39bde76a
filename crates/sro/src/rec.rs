//! Creating and destroying RECs: the operations that move memory in every dialect of 2.0. A REC of
//! 1.0 gets its memory, the auxiliary granules, with the command that creates it.

use rmi_abi::Command;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_host::{
    Delegated, Error, Failed, Platform, Progress, QuarantineReason, Rd, RealmNumber, RecGranule,
    RecName, Rmm,
};

use crate::auxiliary;
use crate::donated::Donated;
use crate::drive::drive;
use crate::entry::EntryState;
use crate::pool::Pool;

/// A REC with all the memory that it consists of.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmi_abi::realm::RealmParams;
/// # use rmi_abi::rtt::Geometry;
/// use rmi_abi::rec::{Mpidr, RecParams};
/// # use rmi_host::{CountingLedger, Rd, Undelegated};
/// # use rmm_model::{Model, Options};
/// # use sro::{FixedPool, Pool};
/// use sro::RecObject;
/// # let ledger = CountingLedger::new();
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host().with_ledger(&ledger), &mut memory)?;
/// # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
/// # let (rd, root, mut page) =
/// #     (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
/// # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
/// # rmm.commands().realm_create(&rd, &mut page, &params)?;
/// # let rd = Rd::new(rd);
/// # let mut pool = FixedPool::<8>::new();
/// # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
/// # pool.add(memory.take_front(0x20_000).unwrap()).unwrap();
/// let params =
///     RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
/// let rec = RecObject::create(&rmm, &rd, &mut pool, &params)?;
/// assert_eq!(rec.donated_bytes(), 0x10_000);
/// rmm.commands().realm_activate(&rd)?;
/// // `rec.enter` runs it, and `rec.name()` names it to other commands.
///
/// let memory = pool.bytes().0 + pool.bytes().1 + 0x11_000;
/// rec.destroy(&rmm, &mut pool)?;
/// assert_eq!(pool.bytes().0 + pool.bytes().1, memory);
/// assert_eq!((ledger.balance().donated, ledger.balance().reclaimed), (16, 16));
/// # pool.drain(&rmm, &mut |_| ());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A REC can be destroyed only once:
///
/// ```compile_fail,E0382
/// # use rmi_host::{Platform, Rmm};
/// # use sro::{Pool, RecObject};
/// fn twice<P: Platform>(rmm: &Rmm<P>, pool: &mut Pool, rec: RecObject) {
///     let _ = rec.destroy(rmm, pool);
///     let _ = rec.destroy(rmm, pool); // error: use of moved value
/// }
/// ```
///
/// A failed creation leaves nothing behind:
///
/// ```
/// # use rmi_abi::{Dialect, Status};
/// # use rmi_abi::rec::{Mpidr, RecParams};
/// # use rmi_abi::realm::RealmParams;
/// # use rmi_abi::rtt::Geometry;
/// # use rmi_host::{CountingLedger, Rd, Undelegated};
/// # use rmm_model::{Model, Options};
/// # use sro::{FixedPool, Pool, RecObject};
/// # let ledger = CountingLedger::new();
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host().with_ledger(&ledger), &mut memory)?;
/// # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
/// # let (rd, root, mut page) =
/// #     (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
/// # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
/// # rmm.commands().realm_create(&rd, &mut page, &params)?;
/// # let rd = Rd::new(rd);
/// # let mut pool = FixedPool::<8>::new();
/// # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
/// # pool.add(memory.take_front(0x20_000).unwrap()).unwrap();
/// let before = pool.bytes();
/// // The first REC of a Realm has index 0. The RMM checks that only after it has taken the
/// // memory, and returns it.
/// let params =
///     RecParams { runnable: true, mpidr: Mpidr::from_index(7), pc: 0, gprs: [0; 8] };
/// let error = RecObject::create(&rmm, &rd, &mut pool, &params).unwrap_err();
/// assert_eq!(error.status(), Some(Status::ErrorInput));
/// assert_eq!((ledger.balance().donated, ledger.balance().reclaimed), (16, 16));
///
/// // All of it is in the pool, some of it still delegated.
/// pool.undelegate(&rmm);
/// assert_eq!(pool.bytes(), before);
/// # pool.drain(&rmm, &mut |_| ());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it leaks its memory; destroy it"]
pub struct RecObject {
    pub(crate) granule: RecGranule,
    donated: Donated,
    mpidr: Mpidr,
    /// The Realm that it belongs to.
    realm: RealmNumber,
    /// What it waits for before it can be entered.
    pub(crate) entry: EntryState,
}

/// Starts to create a REC. Not inlined, so that the parameter page is on the stack only while it is
/// needed.
#[inline(never)]
fn start<P: Platform>(
    rmm: &Rmm<P>,
    rd: &Rd,
    rec: &Delegated,
    (aux, pool): (&Donated, &mut Pool),
    params: &RecParams,
) -> Result<Progress, Error> {
    let mut page = params.encode();
    if rmm.has_auxiliary_granules() {
        auxiliary::list(aux, &mut page);
    }
    rmm.commands().rec_create(rd, rec, pool.pages_for(rmm).page, &page)
}

impl RecObject {
    /// Names the REC to commands for as long as it is borrowed. It is entered by
    /// [`RecObject::enter`], and destroyed by [`RecObject::destroy`] only.
    ///
    /// ```compile_fail,E0505
    /// # use rmi_host::{Platform, Rd, Rmm};
    /// # use sro::{Pool, RecObject};
    /// fn stale<P: Platform>(rmm: &Rmm<P>, rd: &Rd, pool: &mut Pool, rec: RecObject) {
    ///     let name = rec.name();
    ///     let _ = rec.destroy(rmm, pool); // error: `rec` is borrowed by its name
    ///     let _ = rmm.commands().rtt_set_ripas(
    ///         rd,
    ///         name,
    ///         rmi_abi::IpaRange::empty(rmi_abi::Ipa::new(0)),
    ///     );
    /// }
    /// ```
    #[must_use]
    pub fn name(&self) -> RecName<'_> {
        self.granule.name()
    }

    /// Its MPIDR.
    #[must_use]
    pub const fn mpidr(&self) -> Mpidr {
        self.mpidr
    }

    /// The Realm that it belongs to.
    #[must_use]
    pub const fn realm(&self) -> RealmNumber {
        self.realm
    }

    /// Memory that it consists of beyond its granule, in bytes: what was donated to it, or its
    /// auxiliary granules.
    #[must_use]
    pub fn donated_bytes(&self) -> u64 {
        self.donated.bytes()
    }

    /// Creates a REC of a new Realm with memory from the pool. This takes three calls if the pool
    /// has all of it in one contiguous, delegated run.
    ///
    /// Not every RMM lets REC_CREATE be cancelled. So a pool that does not have what such an
    /// operation took before (TF-RMM: 16 granules) is refused before the first call.
    ///
    /// A REC of 1.0 is created by one call, with the auxiliary granules that the RMM wants for each
    /// REC of this Realm. It is asked for their number once for each Realm, and nothing else is
    /// called if the pool does not have them.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REC_CREATE; 1.0-rel0, RMI_REC_AUX_COUNT, RMI_REC_CREATE.
    ///
    /// # Errors
    ///
    /// [`Error::NeedMemory`] when the pool is short; otherwise as [`drive`]. All memory is back in
    /// the pool or in quarantine.
    pub fn create<P: Platform>(
        rmm: &Rmm<P>,
        rd: &Rd,
        pool: &mut Pool,
        params: &RecParams,
    ) -> Result<Self, Error> {
        let command = Command::RecCreate;
        let granule = rmm.granule_size().bytes();
        pool.set_granule_size(rmm.granule_size());
        let aux = match rmm.has_auxiliary_granules() {
            true => auxiliary::check(rmm, rd, pool)?,
            false => pool.check_reserve(command, granule).map(|()| 0)?,
        };
        let rec = pool.take(rmm, command, granule, granule)?;
        let mut made = Self {
            granule: RecGranule::new(Delegated::empty()),
            donated: Donated::default(),
            mpidr: params.mpidr,
            realm: rd.number(),
            entry: EntryState::new(),
        };
        if rmm.has_auxiliary_granules()
            && let Err(error) = auxiliary::take(rmm, pool, aux, &mut made.donated)
        {
            made.donated.put_back(rmm, pool);
            pool.put_back(rmm, rec);
            return Err(error);
        }
        let progress = start(rmm, rd, &rec, (&made.donated, pool), params);
        made.granule = RecGranule::new(rec);
        let done = progress.and_then(|progress| drive(rmm, pool, &mut made.donated, progress));
        match done {
            Ok(_) => Ok(made),
            Err(error) => {
                made.entry = EntryState::unknown();
                made.undo(rmm, pool, &error);
                Err(error)
            }
        }
    }

    /// Takes back the memory of a REC whose creation ended with `error`.
    fn undo<P: Platform>(&mut self, rmm: &Rmm<P>, pool: &mut Pool, error: &Error) {
        if rmm.has_auxiliary_granules() && error.is_clean() {
            // One call was to create it, and was refused.
            self.donated.put_back(rmm, pool);
        }
        // After an unclear end the REC may exist nevertheless; then it has to be destroyed first.
        let exists = error.is_clean()
            || matches!(self.destroy_in_place(rmm, pool), Err(Failed { kept: true, .. }));
        if exists {
            self.force_in_place(rmm, pool);
        }
    }

    /// Destroys a REC; all its memory goes back to the pool, still delegated.
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, RMI_REC_DESTROY.
    ///
    /// # Errors
    ///
    /// The REC is returned if nothing has happened to it: [`ErrorRec`](rmi_abi::Status::ErrorRec)
    /// while it is running. After an unclear end it is consumed: its memory is in the pool or in
    /// quarantine, and `kept` is `None`.
    pub fn destroy<P: Platform>(
        mut self,
        rmm: &Rmm<P>,
        pool: &mut Pool,
    ) -> Result<(), Failed<Option<Self>>> {
        match self.destroy_in_place(rmm, pool) {
            Ok(()) => Ok(()),
            Err(Failed { kept, error }) => Err(Failed::new(kept.then_some(self), error)),
        }
    }

    /// As [`RecObject::destroy`], without moving the object: on failure `kept` is whether the REC
    /// is still there. If it is not, nothing is left in the object.
    #[doc(hidden)]
    #[inline(never)]
    pub fn destroy_in_place<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        pool: &mut Pool,
    ) -> Result<(), Failed<bool>> {
        let command = Command::RecDestroy;
        let progress = match rmm.commands().rec_destroy(&self.granule) {
            Ok(progress) => progress,
            Err(error) if error.is_clean() => return Err(Failed::new(true, error)),
            Err(error) => {
                self.force_in_place(rmm, pool);
                return Err(Failed::new(false, error));
            }
        };
        let done = drive(rmm, pool, &mut self.donated, progress);
        if rmm.has_auxiliary_granules() && done.is_ok() {
            self.donated.put_back(rmm, pool);
        }
        let missing = self.donated.bytes();
        self.donated.recover(rmm, pool, command);
        let granule = self.take_granule();
        let error = match done {
            Err(error) => {
                pool.recover(rmm, granule, QuarantineReason::NotDestroyed { command });
                error
            }
            Ok(_) => {
                pool.put_back(rmm, granule);
                if missing == 0 {
                    return Ok(());
                }
                // The RMM reports the REC destroyed but kept some of its memory: donated must equal
                // reclaimed.
                let subject = rmi_host::Subject::Rmm;
                Error::violation(command, rmi_host::Violation::Count, missing, subject)
            }
        };
        Err(Failed::new(false, error))
    }

    fn take_granule(&mut self) -> Delegated {
        let nothing = RecGranule::new(Delegated::empty());
        core::mem::replace(&mut self.granule, nothing).into_released()
    }

    /// Abandons the REC: takes back what the RMM returns, and quarantines the rest.
    pub fn force<P: Platform>(mut self, rmm: &Rmm<P>, pool: &mut Pool) {
        self.force_in_place(rmm, pool);
    }

    /// As [`RecObject::force`]; nothing is left in the object.
    #[doc(hidden)]
    pub fn force_in_place<P: Platform>(&mut self, rmm: &Rmm<P>, pool: &mut Pool) {
        let command = Command::RecDestroy;
        self.donated.recover(rmm, pool, command);
        let reason = QuarantineReason::NotDestroyed { command };
        pool.recover(rmm, self.take_granule(), reason);
    }
}
