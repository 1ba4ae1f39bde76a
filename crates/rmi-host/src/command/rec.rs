//! Commands about RECs.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use core::marker::PhantomData;
use core::mem::offset_of;

use rmi_abi::psci::PsciReturnCode;
use rmi_abi::rec::RecParamsPage;
use rmi_abi::run::{EntryRecord, ExitRecord, RecEnter, RecExit, RecRun};
use rmi_abi::{Command, Pa};
use zerocopy::IntoBytes;

use crate::access::{AccessFault, HostAccess};
use crate::channel::{Call, Channel, Progress};
use crate::command::Rd;
use crate::command::named::Named;
use crate::command::object::objects;
use crate::error::{Error, Subject};
use crate::granules::{Delegated, InUse, Machine, Undelegated};
use crate::platform::Platform;

objects! {
    /// A REC, represented by its granule.
    ///
    /// ```
    /// # use rmi_abi::{Command, Dialect};
    /// # use rmi_abi::realm::RealmParams;
    /// # use rmi_abi::rtt::Geometry;
    /// # use rmi_abi::rec::{Mpidr, RecParams};
    /// # use rmi_abi::run::{EntryRecord, ExitReason};
    /// # use rmi_host::{Rd, RecGranule, Undelegated};
    /// # use rmm_model::{Model, Options};
    /// # use sro::{Donated, FixedPool, Pool, drive};
    /// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
    /// # let mut memory = model.take_memory();
    /// # let rmm = rmm_model::open(model.host(), &mut memory)?;
    /// # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
    /// # let (rd, root, mut page) =
    /// #     (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
    /// # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
    /// # rmm.commands().realm_create(&rd, &mut page, &params)?;
    /// # let rd = Rd::new(rd);
    /// # let mut pool = FixedPool::<4>::new();
    /// # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    /// # pool.add(memory.take_front(0x20_000).unwrap()).unwrap();
    /// # let params =
    /// #     RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
    /// // `sro::RecObject` does all of this.
    /// let granule = pool.take(&rmm, Command::RecCreate, 0x1000, 0x1000)?;
    /// let started = rmm.commands().rec_create(&rd, &granule, &mut page, &params.encode())?;
    /// let mut donated = Donated::default();
    /// drive(&rmm, &mut pool, &mut donated, started)?;
    /// let rec = RecGranule::new(granule);
    ///
    /// rmm.commands().realm_activate(&rd)?;
    /// rmm.commands().clear_run_page(&mut page)?;
    /// let entry = EntryRecord::default();
    /// let reason = rmm.commands().rec_enter(&rec, &mut page, &entry, |exit| exit.exit_reason)?;
    /// assert_eq!(ExitReason::decode(reason, rmm.dialect()), ExitReason::Fiq);
    ///
    /// let started = rmm.commands().rec_destroy(&rec)?;
    /// drive(&rmm, &mut pool, &mut donated, started)?;
    /// assert!(donated.is_empty());
    /// pool.put_back(&rmm, rec.into_released());
    /// # pool.drain(&rmm, &mut |_| ());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "REC")]
    RecGranule, "RMI_REC_CREATE", "RMI_REC_DESTROY";
}

/// A REC, for the commands that concern it but neither enter nor destroy it. It owns nothing, and
/// cannot outlive the REC: the granule of a REC that is gone may be any other object, or the
/// host's.
///
/// ```compile_fail,E0505
/// # use rmi_host::{Delegated, RecGranule};
/// # fn complete(calling: rmi_host::RecName<'_>) {}
/// fn stale(rec: RecGranule) {
///     let name = rec.name();
///     let granule: Delegated = rec.into_released(); // error: `rec` is borrowed by its name
///     complete(name);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecName<'r> {
    pa: Pa,
    machine: Option<Machine>,
    rec: PhantomData<&'r RecGranule>,
}

impl Named for RecName<'_> {
    fn place(&self) -> (Option<Machine>, Pa) {
        (self.machine, self.pa)
    }
}

impl RecName<'_> {
    /// Address of the REC's granule.
    #[must_use]
    pub const fn pa(self) -> Pa {
        self.pa
    }
}

impl RecGranule {
    /// Names the REC for as long as it is borrowed.
    #[must_use]
    pub fn name(&self) -> RecName<'_> {
        let (machine, pa) = self.place();
        RecName { pa, machine, rec: PhantomData }
    }
}

impl<P: Platform> Channel<P> {
    /// `RMI_REC_CREATE`: starts to create a REC of a new Realm.
    ///
    /// The operation requests the memory that the REC consists of besides its granule. In 1.0 the
    /// parameters name that, delegated granules ([`RecParamsPage::aux`]) whose tokens stay with the
    /// caller until the REC is destroyed, and the command is done when the call returns.
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, RMI_REC_CREATE.
    ///
    /// # Errors
    ///
    /// [`Error`]. TF-RMM checks most of the arguments only at the end of the operation.
    pub fn rec_create(
        &self,
        rd: &Rd,
        rec: &Delegated,
        page: &mut Undelegated,
        params: &RecParamsPage,
    ) -> Result<Progress, Error> {
        self.own(Command::RecCreate, rd)?;
        self.own(Command::RecCreate, rec)?;
        let at = self.put(Command::RecCreate, page, params)?;
        let args = [rd.pa().raw(), rec.base().raw(), at.raw()];
        let call = Call::new(Command::RecCreate, Subject::Pa(rec.base()), args);
        // SAFETY: the RMM reads a page that this function borrows exclusively; the other granules
        // are the RMM's already.
        unsafe { self.start(&call) }
    }

    /// `RMI_REC_DESTROY`: starts to destroy a REC. In 1.0 it is done when the call returns, and the
    /// auxiliary granules of the REC are then delegated, too.
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, RMI_REC_DESTROY.
    ///
    /// # Errors
    ///
    /// [`Error`]: [`ErrorRec`](rmi_abi::Status::ErrorRec) while it is running.
    pub fn rec_destroy(&self, rec: &RecGranule) -> Result<Progress, Error> {
        self.own(Command::RecDestroy, rec)?;
        let call = Call::new(Command::RecDestroy, Subject::Pa(rec.pa()), [rec.pa().raw()]);
        // SAFETY: the command accesses no memory except the REC's own.
        unsafe { self.start(&call) }
    }

    /// Zeroes the host's half of a run page. [`Channel::rec_enter`] writes only the fields that it
    /// uses; the reserved ones should be zero.
    ///
    /// # Errors
    ///
    /// [`Error`]: the page is no whole granule, or the host cannot write to it. No call is made.
    pub fn clear_run_page(&self, run: &mut Undelegated) -> Result<(), Error> {
        const WORDS: usize = 32;
        let page = self.run_page(run)?;
        (0..size_of::<RecEnter>())
            .step_by(WORDS * size_of::<u64>())
            // SAFETY: this function borrows the page exclusively.
            .try_for_each(|offset| unsafe { self.write_words(page, offset, &[0; WORDS]) })
            .map_err(not_written)
    }

    /// `RMI_REC_ENTER`: writes `entry` to the run page, runs the REC, and reads what the exit
    /// reports, each only as far as the dialect defines it. Any other content of the page is left
    /// as it is, see [`Channel::clear_run_page`]. The result is that of `decode`.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REC_ENTER.
    ///
    /// # Errors
    ///
    /// [`Error`]: [`ErrorRealm`](rmi_abi::Status::ErrorRealm) unless the Realm is active,
    /// [`ErrorRec`](rmi_abi::Status::ErrorRec) when the REC is running, not runnable, waits for a
    /// PSCI completion, or the entry does not fit the last exit.
    pub fn rec_enter<T>(
        &self,
        rec: &RecGranule,
        run: &mut Undelegated,
        entry: &EntryRecord<'_>,
        decode: impl FnOnce(&ExitRecord) -> T,
    ) -> Result<T, Error> {
        self.own(Command::RecEnter, rec)?;
        let page = self.run_page(run)?;
        entry
            // SAFETY: this function borrows the page exclusively.
            .write(self.dialect(), |offset, words| unsafe { self.write_words(page, offset, words) })
            .map_err(not_written)?;
        let args = [rec.pa().raw(), page.raw()];
        let call = Call::new(Command::RecEnter, Subject::Pa(rec.pa()), args);
        // SAFETY: the RMM reads and writes a page that this function borrows exclusively. The Realm
        // accesses its own memory and what was mapped for it, whose tokens were given up.
        unsafe { self.complete(&call)? };
        // It is not returned, as it is large.
        let mut exit = ExitRecord::ZERO;
        // SAFETY: as above.
        exit.read(self.dialect(), |offset, words| unsafe { self.read_words(page, offset, words) })?;
        Ok(decode(&exit))
    }

    /// The address of a run page. Refuses one that is no whole granule, and memory of another
    /// machine.
    fn run_page(&self, run: &Undelegated) -> Result<Pa, Error> {
        self.page_for(Command::RecEnter, run, size_of::<RecRun>())
    }

    /// Writes words of the host's half of a run page. Not inlined: all of them are written alike.
    ///
    /// # Safety
    ///
    /// [`Channel::run_page`] has returned the address for a token that is borrowed exclusively.
    #[inline(never)]
    unsafe fn write_words(
        &self,
        page: Pa,
        offset: usize,
        words: &[u64],
    ) -> Result<(), AccessFault> {
        let at = within::<RecEnter>(page, offset, words)?;
        // SAFETY: the words are in the page, which the caller's token owns; it never lends a
        // reference to it.
        unsafe { self.platform().access().write(at, words.as_bytes()) }
    }

    /// Reads words of the RMM's half of a run page. Not inlined: all of them are read alike.
    ///
    /// # Safety
    ///
    /// As [`Channel::write_words`].
    #[inline(never)]
    unsafe fn read_words(
        &self,
        page: Pa,
        offset: usize,
        words: &mut [u64],
    ) -> Result<(), AccessFault> {
        let at = within::<RecExit>(page, offset, words)?;
        let at = Pa::new(at.raw().wrapping_add(offset_of!(RecRun, exit) as u64));
        // SAFETY: as in `write_words`.
        unsafe { self.platform().access().read(at, words.as_mut_bytes()) }
    }

    /// `RMI_PSCI_COMPLETE`: completes the PSCI request of `calling` that targets `target`. Dialects
    /// before 2.0-bet3 pass the target to the RMM; 2.0-bet3 knows it, and `None` is allowed, for a
    /// REC that was destroyed.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PSCI_COMPLETE.
    ///
    /// # Errors
    ///
    /// [`Error`]: [`ErrorInput`](rmi_abi::Status::ErrorInput) when no request is pending, the
    /// target is another than asked for, or the status is not allowed. [`Error::Argument`], before
    /// the call, where a target is needed and none given.
    pub fn psci_complete(
        &self,
        calling: RecName<'_>,
        target: Option<RecName<'_>>,
        status: PsciReturnCode,
    ) -> Result<(), Error> {
        self.own(Command::PsciComplete, &calling)?;
        if let Some(target) = &target {
            self.own(Command::PsciComplete, target)?;
        }
        let subject = Subject::Pa(calling.pa());
        let call = if self.dialect().psci_complete_names_target() {
            let what = "the dialect names the target of the request";
            let target = target.ok_or(Error::argument(Command::PsciComplete, what, subject))?;
            let args = [calling.pa().raw(), target.pa().raw(), status.to_register()];
            Call::new(Command::PsciComplete, subject, args)
        } else {
            Call::new(Command::PsciComplete, subject, [calling.pa().raw(), status.to_register()])
        };
        // SAFETY: the command accesses no memory except the two RECs'.
        unsafe { self.complete(&call) }.map(|_| ())
    }
}

/// The address of words in a half `H` of a run page that begins at `page`.
fn within<H>(page: Pa, offset: usize, words: &[u64]) -> Result<Pa, AccessFault> {
    let end = offset.checked_add(size_of_val(words));
    match end.is_some_and(|end| end <= size_of::<H>()) {
        // The page is memory, so its addresses do not wrap.
        true => Ok(Pa::new(page.raw().wrapping_add(offset as u64))),
        false => Err(AccessFault { at: page }),
    }
}

/// The run page is written before the call, so the error is clean.
#[cold]
fn not_written(AccessFault { at }: AccessFault) -> Error {
    let what = "the host cannot write to the run page";
    Error::argument(Command::RecEnter, what, Subject::Pa(at))
}
