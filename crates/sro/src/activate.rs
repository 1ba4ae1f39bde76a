//! Activating the RMM, which may take memory.
//!
//! ```
//! # use rmi_abi::Dialect;
//! use rmi_host::{Discovered, Error, Host, SessionOptions};
//! # use rmm_model::{Model, Options};
//! use sro::{Pool, PoolStorage, activate, deactivate};
//!
//! # let mut options = Options::new(Dialect::V2_0Bet3);
//! # options.rmm_activate_donates = 4;
//! # options.can_cancel = true;
//! // An RMM that wants four granules before it becomes active, and lets an activation be cancelled.
//! let model = Model::new(options)?;
//! # let mut memory = model.take_memory();
//! let mut places = PoolStorage::<4>::new();
//! let mut pool = Pool::new(&mut places, memory.take_front(Pool::PAGES).expect("1 GiB")).expect("two pages");
//! let platform = Host::new(&model, &model);
//!
//! // The pool is empty: the activation is undone, and the platform comes back.
//! let found = Discovered::probe(platform, SessionOptions::default()).map_err(|failed| failed.error)?;
//! let failed = activate(found, &mut pool).unwrap_err();
//! let Error::NeedMemory { bytes, .. } = failed.error else { panic!("it wants memory") };
//! let (platform, donated) = failed.kept;
//! assert!(donated.is_empty());
//!
//! pool.add(memory.take_front(bytes).expect("1 GiB")).expect("four places");
//! let found = Discovered::probe(platform, SessionOptions::default()).map_err(|failed| failed.error)?;
//! let activated = activate(found, &mut pool).map_err(|failed| failed.error)?;
//! assert!(!activated.was_active);
//! assert_eq!((activated.donated.bytes(), pool.bytes().0), (0x4000, 0));
//!
//! // Deactivation brings it back.
//! deactivate(activated, &mut pool).map_err(|failed| failed.error)?;
//! assert_eq!(pool.bytes().0, 0x4000);
//! pool.drain_host(&mut |memory| println!("{memory:?} is the host's"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use rmi_abi::rmm::RmmState;
use rmi_abi::{Command, Status};
use rmi_host::{Discovered, Error, Failed, Platform, Rmm, Subject, Violation};

use crate::donated::Donated;
use crate::drive::drive;
use crate::pool::Pool;

/// A session with an active RMM.
#[derive(Debug)]
#[must_use = "it owns memory that the RMM was given"]
pub struct Activated<P> {
    /// The session.
    pub rmm: Rmm<P>,
    /// What the RMM was given to become active. It keeps it until it is deactivated.
    pub donated: Donated,
    /// Whether another agent had activated it before; then nothing was given.
    pub was_active: bool,
}

/// Activates the RMM, with host memory from the pool if it wants some.
///
/// An RMM that another agent has activated is taken as it is.
///
/// Fill the pool with all that the RMM may want. An activation that runs short is cancelled; on an RMM that does not let it be cancelled it can be neither finished nor ended, the ledger
/// records a dropped operation, and the RMM stays between its states. A later activation is refused; before 2.0-bet3, which has no RMI_RMM_STATE_GET, it looks like one of an RMM that
/// is active already.
///
/// ```
/// use rmi_abi::Dialect;
/// use rmi_host::{Discovered, Host, SessionOptions};
/// use rmm_model::{Model, Options};
/// # use sro::{Pool, PoolStorage};
/// use sro::activate;
///
/// # let mut options = Options::new(Dialect::TfRmm2026_07);
/// # options.already_active = true;
/// # let model = Model::new(options)?;
/// # let mut memory = model.take_memory();
/// # let mut places = PoolStorage::<4>::new();
/// # let mut pool = Pool::new(&mut places, memory.take_front(Pool::PAGES).unwrap()).unwrap();
/// # let platform = Host::new(&model, &model);
/// // The firmware has activated this RMM.
/// let found = Discovered::probe(platform, SessionOptions::default()).map_err(|failed| failed.error)?;
/// let activated = activate(found, &mut pool).map_err(|failed| failed.error)?;
/// assert!(activated.was_active && activated.donated.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Source: DEN0137 2.0-bet3, RMI_RMM_ACTIVATE.
///
/// # Errors
///
/// The platform comes back, with the error and what the RMM was given and keeps: [`Status::ErrorGlobal`] when the activation of another agent is under way.
pub fn activate<P: Platform>(
    discovered: Discovered<P>,
    pool: &mut Pool<'_>,
) -> Result<Activated<P>, Failed<(P, Donated)>> {
    if Command::RmmActivate.form(discovered.channel().dialect()).is_none() {
        // An RMM of 1.0 is active from the start.
        return Ok(Activated {
            rmm: discovered.into_active(),
            donated: Donated::default(),
            was_active: true,
        });
    }
    let start = discovered.start_activation();
    // The driver works on a session; its commands other than those of the operation are refused until the RMM is active.
    let rmm = discovered.into_active();
    let mut donated = Donated::default();
    match start {
        Ok(progress) => match drive(&rmm, pool, &mut donated, progress) {
            Ok(_) => Ok(Activated { rmm, donated, was_active: false }),
            Err(error) => Err(Failed::new((rmm.into_platform(), donated), error)),
        },
        Err(Error::Refused(refusal)) if refusal.status() == Status::ErrorGlobal => {
            match is_active(&rmm) {
                Ok(true) => Ok(Activated { rmm, donated, was_active: true }),
                Ok(false) => {
                    Err(Failed::new((rmm.into_platform(), donated), Error::Refused(refusal)))
                }
                Err(error) => Err(Failed::new((rmm.into_platform(), donated), error)),
            }
        }
        Err(error) => Err(Failed::new((rmm.into_platform(), donated), error)),
    }
}

/// Whether an RMM that refuses to be activated is so because it is active. Where it cannot be asked, nothing else is known to refuse it.
fn is_active<P: Platform>(rmm: &Rmm<P>) -> Result<bool, Error> {
    if Command::RmmStateGet.form(rmm.dialect()).is_none() {
        return Ok(true);
    }
    Ok(rmm.rmm_state_get()? == RmmState::Active)
}

/// Deactivates the RMM, which gives back what activation took: host memory goes to the pool. Nothing of the session may be left, no Realm and no delegated memory; so the pool is
/// emptied of delegated memory first.
///
/// [The module](self) has an example.
///
/// Source: DEN0137 2.0-bet3, RMI_RMM_DEACTIVATE.
///
/// # Errors
///
/// The session comes back, with what the RMM keeps: [`Status::ErrorGlobal`] while something is left, [`Error::Unsupported`] before 2.0-bet3.
pub fn deactivate<P: Platform>(
    activated: Activated<P>,
    pool: &mut Pool<'_>,
) -> Result<Discovered<P>, Failed<Activated<P>>> {
    let Activated { rmm, mut donated, was_active } = activated;
    pool.undelegate(&rmm);
    let result =
        rmm.start_deactivation().and_then(|progress| drive(&rmm, pool, &mut donated, progress));
    match result {
        // An RMM that is not active any more undelegates nothing: what it kept, it kept for good.
        Ok(_) if donated.is_empty() => Ok(rmm.into_inactive()),
        Ok(_) => {
            let kept = donated.bytes();
            let error =
                Error::violation(Command::RmmDeactivate, Violation::Count, kept, Subject::Rmm);
            Err(Failed::new(Activated { rmm, donated, was_active }, error))
        }
        Err(error) => Err(Failed::new(Activated { rmm, donated, was_active }, error)),
    }
}
