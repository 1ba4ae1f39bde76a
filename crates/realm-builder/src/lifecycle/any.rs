//! Realms whose state is known only at run time, for tables of Realms; and the shutdown of all of
//! them.

use core::fmt;

use rmi_abi::{Command, IpaRange, Pa};
use rmi_host::{Error, Failed, Platform, Rd, RealmNumber, Subject, Undelegated};
use sro::{HostMemory, Pool, RecObject};

use crate::lifecycle::realm::{Active, New, Populated, Realm, Terminated};
use crate::lifecycle::teardown::TornDown;

/// The state of a Realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RealmState {
    /// See [`New`].
    New,
    /// See [`Populated`].
    Populated,
    /// See [`Active`].
    Active,
    /// See [`Terminated`].
    Terminated,
}

impl fmt::Display for RealmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Populated => "populated",
            Self::Active => "active",
            Self::Terminated => "terminated",
        })
    }
}

/// A Realm in any state.
#[derive(Debug)]
#[must_use = "a Realm that is dropped leaks all its memory, which is counted; tear it down"]
pub enum AnyRealm<'a, P: Platform> {
    /// It is being built.
    New(Realm<'a, P, New>),
    /// It has its content.
    Populated(Realm<'a, P, Populated>),
    /// It may run.
    Active(Realm<'a, P, Active>),
    /// It will never run again.
    Terminated(Realm<'a, P, Terminated>),
}

impl<'a, P: Platform> From<Realm<'a, P, New>> for AnyRealm<'a, P> {
    fn from(realm: Realm<'a, P, New>) -> Self {
        Self::New(realm)
    }
}

impl<'a, P: Platform> From<Realm<'a, P, Populated>> for AnyRealm<'a, P> {
    fn from(realm: Realm<'a, P, Populated>) -> Self {
        Self::Populated(realm)
    }
}

impl<'a, P: Platform> From<Realm<'a, P, Active>> for AnyRealm<'a, P> {
    fn from(realm: Realm<'a, P, Active>) -> Self {
        Self::Active(realm)
    }
}

impl<'a, P: Platform> From<Realm<'a, P, Terminated>> for AnyRealm<'a, P> {
    fn from(realm: Realm<'a, P, Terminated>) -> Self {
        Self::Terminated(realm)
    }
}

/// Evaluates the same expression for a Realm in any state.
macro_rules! each {
    ($any:expr, $realm:ident => $do:expr) => {
        match $any {
            AnyRealm::New($realm) => $do,
            AnyRealm::Populated($realm) => $do,
            AnyRealm::Active($realm) => $do,
            AnyRealm::Terminated($realm) => $do,
        }
    };
}

impl<'a, P: Platform> AnyRealm<'a, P> {
    /// Its state.
    #[must_use]
    pub const fn state(&self) -> RealmState {
        match self {
            Self::New(_) => RealmState::New,
            Self::Populated(_) => RealmState::Populated,
            Self::Active(_) => RealmState::Active,
            Self::Terminated(_) => RealmState::Terminated,
        }
    }

    /// The Realm, for the commands that name it.
    pub const fn rd(&self) -> &Rd {
        each!(self, realm => realm.rd())
    }

    /// Bytes of private memory, see [`Realm::memory_bytes`].
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        each!(self, realm => realm.memory_bytes())
    }

    /// The Realm, if it is new.
    pub const fn as_new(&mut self) -> Option<&mut Realm<'a, P, New>> {
        match self {
            Self::New(realm) => Some(realm),
            _ => None,
        }
    }

    /// The Realm, if it is active: what a thread that serves its exits needs.
    pub const fn as_active(&self) -> Option<&Realm<'a, P, Active>> {
        match self {
            Self::Active(realm) => Some(realm),
            _ => None,
        }
    }

    fn wrong(&self, command: Command) -> Error {
        Error::argument(command, "the Realm is in another state", Subject::Pa(self.rd().pa()))
    }

    /// [`Realm::activate`].
    ///
    /// # Errors
    ///
    /// The Realm is returned in its old state; with [`Error::Argument`], and without a call, unless
    /// it is new or populated.
    pub fn activate(self) -> Result<Self, Failed<Self>> {
        match self {
            Self::New(realm) => match realm.activate() {
                Ok(realm) => Ok(Self::Active(realm)),
                Err(failed) => Err(failed.map(Self::New)),
            },
            Self::Populated(realm) => match realm.activate() {
                Ok(realm) => Ok(Self::Active(realm)),
                Err(failed) => Err(failed.map(Self::Populated)),
            },
            other => {
                let error = other.wrong(Command::RealmActivate);
                Err(Failed::new(other, error))
            }
        }
    }

    /// [`Realm::terminate`]; a terminated Realm stays one, without a call.
    ///
    /// # Errors
    ///
    /// The Realm is returned in its old state.
    pub fn terminate(self) -> Result<Self, Failed<Self>> {
        match self {
            Self::New(realm) => {
                realm.terminate().map(Self::Terminated).map_err(|failed| failed.map(Self::New))
            }
            Self::Populated(realm) => {
                let terminated = realm.terminate().map(Self::Terminated);
                terminated.map_err(|failed| failed.map(Self::Populated))
            }
            Self::Active(realm) => {
                realm.terminate().map(Self::Terminated).map_err(|failed| failed.map(Self::Active))
            }
            Self::Terminated(realm) => Ok(Self::Terminated(realm)),
        }
    }

    /// [`Realm::tear_down`].
    pub fn tear_down(
        self,
        memory: &mut dyn HostMemory,
        recs: impl IntoIterator<Item = RecObject>,
    ) -> TornDown<'a> {
        each!(self, realm => realm.tear_down(memory, recs))
    }
}

/// Result of [`shutdown`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Number of Realms.
    pub realms: usize,
    /// Realms of which the RMM did not return everything: what it kept is in quarantine.
    pub stuck: usize,
    /// Bytes of memory that were returned to the host.
    pub returned: u64,
}

/// Tears down all Realms of a session, as before a kexec: first all of them are terminated, then
/// each is torn down, and its memory returned.
///
/// `recs` gives the RECs of a Realm, by its number ([`RecObject::realm`]), one after the other;
/// none of them may be running. `report` is called with the address of each Realm's descriptor and
/// its result: an error says that some of its memory is in quarantine. All slots are empty
/// afterwards, whatever happened. To end the use of the RMM as a whole, retry the quarantine,
/// [drain](Pool::drain) the pool, and deactivate the RMM
/// ([`start_deactivation`](rmi_host::Rmm::start_deactivation)) where it can be; what is then
/// outstanding in the ledger cannot be returned before the machine is reset.
///
/// ```
/// # use realm_builder::{AnyRealm, Realm, RealmConfig, RealmState, RealmStorage, shutdown};
/// # use rmi_abi::Dialect;
/// # use rmi_host::{CountingLedger, SessionOptions};
/// # use rmm_model::{Model, Options};
/// # use sro::{FixedPool, Pool, open};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let mut pool = FixedPool::<8>::new();
/// # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
/// # pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
/// # let ledger = CountingLedger::new();
/// # let platform = model.host().with_ledger(&ledger);
/// # let rmm = sro::open(platform, SessionOptions::default(), &mut pool)?;
/// # let (mut one, mut two) = (RealmStorage::<4, 4>::new(), RealmStorage::<4, 4>::new());
/// let config = RealmConfig::new(40);
/// let new = Realm::create(&rmm, &config, &mut one, &mut pool)?;
/// let other =
///     AnyRealm::from(Realm::create(&rmm, &config, &mut two, &mut pool)?.populated());
/// let other = other.activate()?;
/// // A Realm is activated only once; after the error it is returned.
/// let failed = other.activate().unwrap_err();
/// assert_eq!(failed.kept.state(), RealmState::Active);
/// assert!(failed.kept.as_active().is_some());
/// let mut realms = [Some(new.into()), Some(failed.kept), None];
///
/// let ended = shutdown(&mut realms, &mut |_| None, &mut pool, &mut |rd, error| {
///     println!("realm {rd}: {error:?}");
/// });
/// assert_eq!((ended.realms, ended.stuck), (2, 0));
/// pool.drain(&rmm, &mut |_| {});
/// assert_eq!(ledger.balance().outstanding(), 0);
/// # Ok(())
/// # }
/// ```
///
/// Source: DEN0137 2.0-bet3, RMI_REALM_TERMINATE, RMI_REC_DESTROY, RMI_REALM_DESTROY.
pub fn shutdown<P: Platform>(
    realms: &mut [Option<AnyRealm<'_, P>>],
    recs: &mut dyn FnMut(RealmNumber) -> Option<RecObject>,
    memory: &mut dyn HostMemory,
    report: &mut dyn FnMut(Pa, Option<Error>),
) -> Shutdown {
    for place in realms.iter_mut() {
        // A refusal recurs below, unless its cause is gone by then.
        *place = place.take().map(|realm| match realm.terminate() {
            Ok(realm) => realm,
            Err(failed) => failed.kept,
        });
    }
    let mut ended = Shutdown::default();
    for realm in realms.iter_mut().filter_map(Option::take) {
        let (rd, number) = (realm.rd().pa(), realm.rd().number());
        let mut counted = Counted { memory: &mut *memory, freed: 0 };
        let error = realm.tear_down(&mut counted, core::iter::from_fn(|| recs(number))).error;
        ended.returned += counted.freed;
        ended.realms += 1;
        ended.stuck += usize::from(error.is_some());
        report(rd, error);
    }
    ended
}

/// Counts the memory that is freed.
struct Counted<'m> {
    memory: &'m mut dyn HostMemory,
    freed: u64,
}

impl HostMemory for Counted<'_> {
    fn pool(&mut self) -> &mut Pool {
        self.memory.pool()
    }

    fn allocate(&mut self, range: IpaRange) -> Option<Undelegated> {
        self.memory.allocate(range)
    }

    fn free(&mut self, granules: Undelegated) -> Result<(), Undelegated> {
        let bytes = granules.bytes();
        self.memory.free(granules)?;
        self.freed += bytes;
        Ok(())
    }
}
