//! Commands about a Realm.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use core::fmt;
use core::num::NonZeroU64;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rmi_abi::realm::RealmParamsPage;
use rmi_abi::{Command, Pa};

use crate::channel::{Call, Channel, Progress};
use crate::command::named::Named;
use crate::error::{Error, Subject};
use crate::granules::{Delegated, InUse, Machine, Undelegated};
use crate::platform::Platform;

/// The number of one Realm of the host. No two Realms have the same number, on any machine and at
/// any time, while their descriptors may have the same address.
///
/// What belongs to a Realm is compared by it: a REC, and memory that is shared with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RealmNumber(NonZeroU64);

/// How many numbers were given out.
static REALMS: AtomicU64 = AtomicU64::new(0);

impl RealmNumber {
    fn next() -> Self {
        // 2^64 Realms are never reached.
        let before = REALMS.fetch_add(1, Ordering::Relaxed);
        Self(NonZeroU64::MIN.saturating_add(before))
    }
}

impl fmt::Display for RealmNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A Realm, represented by its Realm Descriptor granule.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmi_abi::realm::RealmParams;
/// # use rmi_abi::rtt::Geometry;
/// # use rmi_host::{Rd, Undelegated};
/// # use rmm_model::{Model, Options};
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut memory)?;
/// # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
/// # let (rd, root, mut page) =
/// #     (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
/// # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
/// # rmm.commands().realm_create(&rd, &mut page, &params)?;
///
/// // `rd` is the granule that `realm_create` has made the Realm's descriptor.
/// let address = rd.base();
/// let rd = Rd::new(rd);
/// assert_eq!(rd.pa(), address);
/// rmm.commands().realm_activate(&rd)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// While the granule is a descriptor, it can be neither returned to the host nor made another
/// descriptor:
///
/// ```compile_fail,E0382
/// # use rmi_host::{Delegated, Platform, Rd, Rmm};
/// fn pull<P: Platform>(rmm: &Rmm<P>, granule: Delegated) {
///     let rd = Rd::new(granule);
///     let _ = rmm.undelegate(granule); // error: use of moved value
/// }
/// ```
#[derive(Debug)]
#[doc(alias = "RD")]
#[must_use = "dropping it leaks the granule"]
pub struct Rd {
    granule: InUse,
    number: RealmNumber,
    /// How many auxiliary granules a REC needs, plus one; 0 while that is not known.
    pub(super) aux_granules: AtomicU8,
}

impl Named for Rd {
    fn place(&self) -> (Option<Machine>, Pa) {
        self.granule.place()
    }
}

impl Rd {
    /// Names a Realm by the granule that `RMI_REALM_CREATE` made its descriptor. It is a new Realm:
    /// what belonged to one that had this descriptor before is refused.
    pub fn new(granule: Delegated) -> Self {
        let aux_granules = AtomicU8::new(0);
        Self { granule: granule.into_use(), number: RealmNumber::next(), aux_granules }
    }

    /// The number of the Realm.
    #[must_use]
    pub const fn number(&self) -> RealmNumber {
        self.number
    }

    /// Address of the granule.
    #[must_use]
    pub fn pa(&self) -> Pa {
        self.granule.base()
    }

    /// The granule, once `RMI_REALM_DESTROY` has released it.
    pub fn into_released(self) -> Delegated {
        self.granule.into_released()
    }
}

impl<P: Platform> Channel<P> {
    /// `RMI_REALM_CREATE`: starts to create a Realm from a delegated granule and delegated root
    /// tables. `page` is host memory for the parameters; it may be reused at once.
    ///
    /// In 1.0 it is done when the call returns, and the parameters have a VMID that no other Realm
    /// has.
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, RMI_REALM_CREATE.
    ///
    /// # Errors
    ///
    /// [`Error`]: [`ErrorInput`](rmi_abi::Status::ErrorInput) for parameters or granules that the
    /// RMM does not accept, [`ErrorGlobal`](rmi_abi::Status::ErrorGlobal) when no VMID or
    /// encryption context is free.
    pub fn realm_create(
        &self,
        rd: &Delegated,
        page: &mut Undelegated,
        params: &RealmParamsPage,
    ) -> Result<Progress, Error> {
        self.own(Command::RealmCreate, rd)?;
        self.put_realm_params(page, params)?;
        self.realm_create_by(rd, page)
    }

    /// Writes the parameters of a Realm into `page`.
    #[doc(hidden)]
    pub fn put_realm_params(
        &self,
        page: &mut Undelegated,
        params: &RealmParamsPage,
    ) -> Result<(), Error> {
        self.put(Command::RealmCreate, page, params).map(|_| ())
    }

    /// As [`Channel::realm_create`], by parameters that are in `page`.
    #[doc(hidden)]
    pub fn realm_create_by(
        &self,
        rd: &Delegated,
        page: &mut Undelegated,
    ) -> Result<Progress, Error> {
        self.own(Command::RealmCreate, rd)?;
        let at = self.page_for(Command::RealmCreate, page, size_of::<RealmParamsPage>())?;
        let call =
            Call::new(Command::RealmCreate, Subject::Pa(rd.base()), [rd.base().raw(), at.raw()]);
        // SAFETY: the RMM reads a page that this function borrows exclusively; the other granules
        // are the RMM's already.
        unsafe { self.start(&call) }
    }

    /// `RMI_REALM_ACTIVATE`: makes a new Realm runnable.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REALM_ACTIVATE.
    ///
    /// # Errors
    ///
    /// [`Error`]: [`ErrorRealm`](rmi_abi::Status::ErrorRealm) unless the Realm is new.
    pub fn realm_activate(&self, rd: &Rd) -> Result<(), Error> {
        self.own(Command::RealmActivate, rd)?;
        self.realm_command(Command::RealmActivate, rd)
    }

    /// `RMI_REALM_TERMINATE`: stops a Realm permanently.
    ///
    /// 1.0 has no such command. A Realm of 1.0 can be destroyed in every state, and this does
    /// nothing: no call is made.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REALM_TERMINATE; 1.0-rel0, RMI_REALM_DESTROY.
    ///
    /// # Errors
    ///
    /// [`Error`]: [`ErrorRealm`](rmi_abi::Status::ErrorRealm) while a REC is running.
    pub fn realm_terminate(&self, rd: &Rd) -> Result<(), Error> {
        self.own(Command::RealmTerminate, rd)?;
        if !self.dialect().is_2_0() {
            return Ok(());
        }
        self.realm_command(Command::RealmTerminate, rd)
    }

    fn realm_command(&self, command: Command, rd: &Rd) -> Result<(), Error> {
        let call = Call::new(command, Subject::Pa(rd.pa()), [rd.pa().raw()]);
        // SAFETY: the command accesses no memory except the Realm's own.
        unsafe { self.complete(&call) }.map(|_| ())
    }

    /// `RMI_REALM_DESTROY`: starts to destroy a terminated Realm that owns nothing any more. In 1.0
    /// it is done when the call returns, and the Realm may be in any state.
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, RMI_REALM_DESTROY.
    ///
    /// # Errors
    ///
    /// [`Error`]: [`ErrorRealm`](rmi_abi::Status::ErrorRealm) while it is not terminated, or owns a
    /// REC, a table or memory.
    pub fn realm_destroy(&self, rd: &Rd) -> Result<Progress, Error> {
        self.own(Command::RealmDestroy, rd)?;
        let call = Call::new(Command::RealmDestroy, Subject::Pa(rd.pa()), [rd.pa().raw()]);
        // SAFETY: the command accesses no memory except the Realm's own.
        unsafe { self.start(&call) }
    }
}
