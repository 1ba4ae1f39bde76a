//! Opens and closes a session. Activating the RMM may take memory, which the session then owns.

use core::ops::Deref;

use rmi_abi::rmm::RmmState;
use rmi_abi::{Command, Status};
use rmi_host::{Discovered, Error, Failed, Platform, Rmm, SessionError, SessionOptions};

use crate::donated::Donated;
use crate::drive::drive;
use crate::pool::Pool;

/// A session with an active RMM, and the memory that was donated to activate it. It derefs to the
/// [`Rmm`].
///
/// ```
/// # use rmi_abi::Dialect;
/// use rmi_host::{Error, SessionError, SessionOptions};
/// # use rmm_model::{Model, Options};
/// use sro::{FixedPool, Pool, open};
///
/// # let mut options = Options::new(Dialect::V2_0Bet3);
/// # options.rmm_activate_donates = 4;
/// # options.can_cancel = true;
/// // An RMM that needs four granules before it becomes active, and lets an activation be
/// // cancelled.
/// let model = Model::new(options)?;
/// # let mut memory = model.take_memory();
/// let mut pool = FixedPool::<4>::new();
/// pool.add(memory.take_front(Pool::PAGES).expect("1 GiB"))
///     .expect("the pages need no slot");
///
/// // The pool has only its own pages: the activation is undone, and the platform is
/// // returned.
/// let failed = open(model.host(), SessionOptions::default(), &mut pool).unwrap_err();
/// let SessionError::Call(Error::NeedMemory { bytes, .. }) = failed.error else {
///     panic!("it wants memory")
/// };
///
/// pool.add(memory.take_front(bytes).expect("1 GiB")).expect("four slots");
/// let session = open(failed.kept, SessionOptions::default(), &mut pool)?;
/// assert!(!session.was_active());
/// assert_eq!((session.donated().bytes(), pool.bytes().0), (0x4000, 0));
/// // A session can do everything that an `Rmm` can.
/// assert!(session.features().max_recs() > 0);
///
/// // Closing it deactivates the RMM, which returns the memory.
/// let closed = session.close(&mut pool)?;
/// assert!(closed.deactivated && closed.kept.is_empty());
/// assert_eq!(pool.bytes().0, 0x4000);
/// pool.drain_host(&mut |memory| println!("{memory:?} is the host's"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A session that is dropped rather than [closed](Session::close) leaves the RMM active, and the
/// memory that was donated to it is leaked and counted.
#[derive(Debug)]
#[must_use = "close it; the RMM may have memory of this session"]
pub struct Session<P> {
    rmm: Rmm<P>,
    donated: Donated,
    was_active: bool,
}

/// What is left of a session that was closed.
#[derive(Debug)]
#[must_use = "it owns the platform, and what the RMM has kept"]
pub struct Closed<P> {
    /// What the embedder supplied.
    pub platform: P,
    /// Whether the RMM was deactivated. It is not deactivated where the dialect has no command for
    /// that, or where another agent had activated it.
    pub deactivated: bool,
    /// Memory that the RMM was given and has kept: nothing, unless it stays active, or violated the
    /// protocol.
    pub kept: Donated,
}

impl<P> Deref for Session<P> {
    type Target = Rmm<P>;

    fn deref(&self) -> &Rmm<P> {
        &self.rmm
    }
}

impl<P> Session<P> {
    /// The active RMM.
    #[must_use]
    pub const fn rmm(&self) -> &Rmm<P> {
        &self.rmm
    }

    /// Memory that was donated to activate the RMM.
    pub const fn donated(&self) -> &Donated {
        &self.donated
    }

    /// Whether another agent had activated the RMM before; then nothing was donated.
    #[must_use]
    pub const fn was_active(&self) -> bool {
        self.was_active
    }
}

impl<P: Platform> Session<P> {
    /// Ends the session: undelegates what the pool has delegated, and deactivates the RMM, unless
    /// another agent activated it or the dialect has no command for it. The memory that activation
    /// took is returned to the pool.
    ///
    /// Nothing of the session may be left: no Realm and no delegated memory. The call may take
    /// long, and takes no lock.
    ///
    /// See the example of [`Session`].
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RMM_DEACTIVATE.
    ///
    /// # Errors
    ///
    /// The session is returned, with what the RMM has not returned yet: [`Status::ErrorGlobal`]
    /// while something is left. Closing can be tried again.
    pub fn close(mut self, pool: &mut Pool) -> Result<Closed<P>, Failed<Self>> {
        match self.end(pool) {
            Ok(deactivated) => {
                let Self { rmm, donated, .. } = self;
                Ok(Closed { platform: rmm.into_platform(), deactivated, kept: donated })
            }
            Err(error) => Err(Failed::new(self, error)),
        }
    }

    /// Returns what the pool has delegated, and deactivates the RMM if that is to be done; whether
    /// it was. Not inlined: a session is large, and this works on it in place.
    #[inline(never)]
    fn end(&mut self, pool: &mut Pool) -> Result<bool, Error> {
        pool.undelegate(&self.rmm);
        if self.was_active || Command::RmmDeactivate.form(self.rmm.dialect()).is_none() {
            return Ok(false);
        }
        let progress = self.rmm.start_deactivation()?;
        drive(&self.rmm, pool, &mut self.donated, progress)?;
        Ok(true)
    }
}

/// Opens a session: finds the RMM, configures it, and activates it, with host memory from the pool
/// if it requests any.
///
/// An RMM that another agent has activated is taken as it is:
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmi_host::SessionOptions;
/// # use rmm_model::{Model, Options};
/// # use sro::{FixedPool, Pool, open};
/// # let mut options = Options::new(Dialect::TfRmm2026_07);
/// # options.already_active = true;
/// # let model = Model::new(options)?;
/// # let mut memory = model.take_memory();
/// # let mut pool = FixedPool::<4>::new();
/// # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
/// // The firmware has activated this RMM.
/// let session = open(model.host(), SessionOptions::default(), &mut pool)?;
/// assert!(session.was_active() && session.donated().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Fill the pool with everything that the RMM may request. An activation that runs out of memory is
/// cancelled; on an RMM that does not permit that it can be neither finished nor ended, the ledger
/// records a dropped operation, and the RMM stays between its states. A later activation is
/// refused; where the dialect has no RMI_RMM_STATE_GET (2.0-bet0, TF-RMM) it looks like one of an
/// RMM that is active already.
///
/// Source: DEN0137 2.0-bet3, RMI_VERSION, RMI_FEATURES, RMI_RMM_CONFIG_GET, RMI_RMM_CONFIG_SET,
/// RMI_RMM_ACTIVATE.
///
/// # Errors
///
/// [`SessionError`]; the platform is returned, and the pool has what it had. What was given to an
/// RMM that violates the protocol and keeps it goes to quarantine. [`Status::ErrorGlobal`] is the
/// activation of another agent that is under way.
pub fn open<P: Platform>(
    platform: P,
    options: SessionOptions,
    pool: &mut Pool,
) -> Result<Session<P>, Failed<P, SessionError>> {
    // Each of the three steps works in place, on what is on the stack once.
    let found = configure(platform, options, pool);
    let mut donated = Donated::default();
    let was_active = match &found {
        Ok(rmm) => activate(rmm, &mut donated, pool),
        Err(_) => Ok(false),
    };
    session(found, donated, was_active)
}

/// Finds and configures the RMM. Not inlined, so that its states are not on the stack later.
#[inline(never)]
fn configure<P: Platform>(
    platform: P,
    options: SessionOptions,
    pool: &mut Pool,
) -> Result<Rmm<P>, Failed<P, SessionError>> {
    // The RMM reads and writes its configuration in a granule.
    pool.set_granule_size(options.granule_size);
    if let Err(error) = pool.check_pages(Command::RmmConfigSet) {
        return Err(Failed::new(platform, error.into()));
    }
    let found = Discovered::probe(platform, options)?;
    match found.configure(pool.pages().page) {
        // The driver works on a session; its commands other than those of the operation are refused
        // until the RMM is active.
        Ok(configured) => {
            pool.set_granule_size(configured.granule_size());
            Ok(configured.into_active())
        }
        Err(failed) => Err(Failed::new(failed.kept.into_platform(), failed.error)),
    }
}

/// Activates an RMM; returns whether another agent had done so before. On failure nothing is
/// donated.
#[inline(never)]
fn activate<P: Platform>(
    rmm: &Rmm<P>,
    donated: &mut Donated,
    pool: &mut Pool,
) -> Result<bool, Error> {
    // A 1.0 RMM is active from the start.
    if Command::RmmActivate.form(rmm.dialect()).is_none() {
        return Ok(true);
    }
    let done = match rmm.commands().rmm_activate() {
        Ok(progress) => drive(rmm, pool, donated, progress).map(|_| false),
        Err(error @ Error::Refused(refusal)) if refusal.status() == Status::ErrorGlobal => {
            is_active(rmm).and_then(|active| if active { Ok(true) } else { Err(error) })
        }
        Err(error) => Err(error),
    };
    if done.is_err() {
        donated.recover(rmm, pool, Command::RmmActivate);
    }
    done
}

/// What opening a session returns.
#[inline(never)]
fn session<P: Platform>(
    found: Result<Rmm<P>, Failed<P, SessionError>>,
    donated: Donated,
    was_active: Result<bool, Error>,
) -> Result<Session<P>, Failed<P, SessionError>> {
    match (found, was_active) {
        (Ok(rmm), Ok(was_active)) => Ok(Session { rmm, donated, was_active }),
        (Ok(rmm), Err(error)) => Err(Failed::new(rmm.into_platform(), error.into())),
        (Err(failed), _) => Err(failed),
    }
}

/// Whether an RMM refuses activation because it is already active. Where its state cannot be read,
/// no other reason for the refusal is known.
fn is_active<P: Platform>(rmm: &Rmm<P>) -> Result<bool, Error> {
    if Command::RmmStateGet.form(rmm.dialect()).is_none() {
        return Ok(true);
    }
    Ok(rmm.commands().rmm_state_get()? == RmmState::Active)
}
