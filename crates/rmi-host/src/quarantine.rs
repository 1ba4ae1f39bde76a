//! Quarantine: storage for memory that the RMM does not return now.
//!
//! Delegated memory is never freed on an assumption. Memory whose undelegation is refused, or whose
//! owner is not certain after an unclear answer, goes to a [`Quarantine`] with the reason, and can
//! be tried again later.
//!
//! | Quarantine | Keeps memory |
//! |---|---|
//! | [`NoQuarantine`] | not at all: it is leaked, and counted |
//! | [`FixedQuarantine`] | in a fixed number of slots, without heap or locks |
//! | [`CallbackQuarantine`] | where a function of the embedder stores it |
//! | `GrowingQuarantine`, feature `alloc` | on the heap |
//!
//! ```
//! use rmi_abi::{Command, Dialect};
//! use rmi_host::{QuarantineReason, FixedQuarantine};
//! use rmm_model::{Model, Options};
//!
//! let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! let quarantine = FixedQuarantine::<8>::new();
//! let platform = model.host().with_quarantine(&quarantine);
//! let mut memory = model.take_memory();
//! let rmm = rmm_model::open(platform, &mut memory)?;
//!
//! let memory = memory.take_front(0x4000).unwrap();
//! let memory = rmm.delegate(memory)?;
//! rmm.quarantine(memory, QuarantineReason::NotDestroyed { command: Command::RecDestroy });
//! assert_eq!(quarantine.len(), 1);
//!
//! // The object does not exist any more: the RMM returns the memory.
//! let mut bytes = 0;
//! assert_eq!(quarantine.retry(&rmm, |memory| bytes += memory.bytes()), 0);
//! assert_eq!(bytes, 0x4000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod callback;
mod fixed;
#[cfg(feature = "alloc")]
mod growing;
mod slot;

pub use callback::CallbackQuarantine;
pub use fixed::FixedQuarantine;
#[cfg(feature = "alloc")]
pub use growing::GrowingQuarantine;
pub(crate) use slot::Reserved;

use crate::granules::Delegated;
use crate::ledger::QuarantineReason;

/// Memory in quarantine.
#[derive(Debug)]
#[must_use = "dropping this leaks the memory"]
pub struct Quarantined {
    /// The memory.
    pub memory: Delegated,
    /// The reason.
    pub reason: QuarantineReason,
}

/// Storage for memory that cannot be returned now. Called on any CPU.
///
/// A quarantine of the embedder with a list behind its own lock:
///
/// ```
/// use std::sync::Mutex;
/// use rmi_host::{Quarantine, Quarantined};
/// # use rmi_abi::{Command, Dialect};
/// # use rmi_host::QuarantineReason;
/// # use rmm_model::{Model, Options};
///
/// #[derive(Default)]
/// struct Drawer(Mutex<Vec<Quarantined>>);
///
/// impl Quarantine for Drawer {
///     fn put(&self, memory: Quarantined) -> Result<(), Quarantined> {
///         match self.0.lock() {
///             Ok(mut drawer) => Ok(drawer.push(memory)),
///             Err(_) => Err(memory), // counted as leaked
///         }
///     }
/// }
///
/// let drawer = Drawer::default();
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host().with_quarantine(&drawer), &mut memory)?;
/// let memory = rmm.delegate(memory.take_front(0x1000).expect("1 GiB"))?;
/// rmm.quarantine(memory, QuarantineReason::PoolFull);
/// assert_eq!(drawer.0.lock().unwrap().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Quarantine {
    /// Stores memory.
    ///
    /// # Errors
    ///
    /// Returns it when the quarantine is full; the SDK then counts it as leaked.
    fn put(&self, quarantined: Quarantined) -> Result<(), Quarantined>;
}

impl<Q: Quarantine + ?Sized> Quarantine for &Q {
    fn put(&self, quarantined: Quarantined) -> Result<(), Quarantined> {
        (**self).put(quarantined)
    }
}

/// Stores nothing: what cannot be returned is leaked, and counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoQuarantine;

impl Quarantine for NoQuarantine {
    fn put(&self, quarantined: Quarantined) -> Result<(), Quarantined> {
        Err(quarantined)
    }
}
