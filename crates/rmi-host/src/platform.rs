//! What an embedder provides: a conduit, access to host memory, a ledger, and a quarantine.
//!
//! A platform type of the embedder owns its parts, and defines what happens while the RMM is busy:
//!
//! ```
//! # use core::cell::Cell;
//! # use core::num::NonZeroU32;
//! use rmi_abi::Dialect;
//! use rmi_host::{CountingLedger, DefaultLock, Platform, FixedQuarantine};
//! use rmm_model::{Model, Options};
//!
//! struct Machine {
//!     model: Model,
//!     ledger: CountingLedger,
//!     quarantine: FixedQuarantine<16>,
//!     naps: Cell<u32>,
//! }
//!
//! // SAFETY: the parts never change.
//! unsafe impl Platform for Machine {
//!     type Conduit = Model;
//!     type Access = Model;
//!     type Ledger = CountingLedger;
//!     type Quarantine = FixedQuarantine<16>;
//!     type Lock = DefaultLock;
//!
//!     fn conduit(&self) -> &Model { &self.model }
//!     fn access(&self) -> &Model { &self.model }
//!     fn ledger(&self) -> &CountingLedger { &self.ledger }
//!     fn quarantine(&self) -> &FixedQuarantine<16> { &self.quarantine }
//!     fn relax(&self) { self.naps.set(self.naps.get() + 1) } // or yield to the scheduler
//! }
//!
//! # let mut options = Options::new(Dialect::TfRmm2026_07);
//! # options.busy_every = NonZeroU32::new(3);
//! # let model = Model::new(options)?;
//! # let machine = Machine {
//! #     model,
//! #     ledger: CountingLedger::new(),
//! #     quarantine: FixedQuarantine::new(),
//! #     naps: Cell::new(0),
//! # };
//! let mut memory = machine.model.take_memory();
//! let rmm = rmm_model::open(machine, &mut memory)?;
//! let memory = memory.take_front(0x8000).expect("1 GiB");
//! let memory = rmm.delegate(memory)?;
//! assert_eq!(rmm.platform().ledger.balance().delegated, 8);
//! assert!(rmm.platform().naps.get() > 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![expect(unsafe_code, reason = "a platform is an unsafe trait")]

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

use lock_api::RawMutex;
use rmi_abi::{Dialect, GranuleSize};

use crate::access::HostAccess;
use crate::conduit::Conduit;
use crate::ledger::{Ledger, NullLedger};
use crate::quarantine::{NoQuarantine, Quarantine};

/// The lock of a platform that defines none: a spin lock, which does not mask interrupts.
pub type DefaultLock = spin::Mutex<()>;

/// Everything a session needs from its embedder. [`Host`] is an implementation made of parts.
///
/// [The module](self) has an example of one.
///
/// # Safety
///
/// `conduit` and `access` always return the same parts. That both are parts of one machine is
/// checked when a session is opened.
pub unsafe trait Platform {
    /// The conduit to the RMM.
    type Conduit: Conduit + ?Sized;
    /// The host's view of its memory.
    type Access: HostAccess + ?Sized;
    /// The ledger.
    type Ledger: Ledger + ?Sized;
    /// The storage for memory that cannot be returned.
    type Quarantine: Quarantine + ?Sized;
    /// The lock of the records that threads share, such as those of a Realm: [`DefaultLock`], or
    /// the embedder's own.
    ///
    /// It is held for bounded work on records in memory only: never during a call to the RMM, and
    /// never while code of the embedder runs. A lock that masks interrupts while it is held makes
    /// every function that takes it callable from an interrupt handler; with any other lock, such a
    /// function must not be called from a handler that may interrupt its holder on the same CPU.
    type Lock: RawMutex;

    /// The only dialect that this platform is built for; `None` for whatever an RMM speaks.
    ///
    /// With a dialect the compiler removes what belongs to others. A session is not opened on an
    /// RMM for which probing finds another, nor with
    /// [`SessionOptions::dialect`](crate::SessionOptions::dialect) set to another
    /// ([`SessionError::OtherDialect`](crate::SessionError::OtherDialect)). Probing is
    /// described at [`Discovered::probe`](crate::Discovered::probe).
    const DIALECT: Option<Dialect> = None;

    /// Whether Realms may have auxiliary trees: planes with translation tables of their own. If it
    /// is false, the compiler removes what is only needed for them, and such a Realm is refused
    /// before any call.
    const AUX_TREES: bool = true;

    /// The only granule size that this platform is built for; `None` for whatever an RMM has.
    ///
    /// With a size, the compiler computes with constants. A session is not opened with
    /// [`SessionOptions::granule_size`](crate::SessionOptions::granule_size) set to another, and
    /// not configured on an RMM that keeps another
    /// ([`SessionError::OtherGranuleSize`](crate::SessionError::OtherGranuleSize)).
    const GRANULE_SIZE: Option<GranuleSize> = None;

    /// Whether memory may be in tracking regions that the RMM tracks as a whole (COARSE). If it is
    /// false, the compiler removes what is only needed for it, a session that asks for a size of
    /// regions is refused before any call
    /// ([`SessionError::NoCoarseTracking`](crate::SessionError::NoCoarseTracking)), and
    /// `sro::FineRegions` changes none.
    ///
    /// Such a platform uses only memory that [`Rmm::check_memory`](crate::Rmm::check_memory)
    /// accepts. What a Realm has of other memory may end in quarantine, because a part of a region
    /// cannot be unmapped or undelegated.
    const COARSE_TRACKING: bool = true;

    /// The conduit to the RMM from the CPU that the caller runs on. Threads that share a session
    /// share the conduit, so a REC runs on the CPU of the thread that enters it only if each call
    /// of the conduit is made on the CPU of its caller: see [`Conduit::call`].
    fn conduit(&self) -> &Self::Conduit;
    /// The host's view of its memory.
    fn access(&self) -> &Self::Access;
    /// The ledger.
    fn ledger(&self) -> &Self::Ledger;
    /// The storage for memory that cannot be returned.
    fn quarantine(&self) -> &Self::Quarantine;

    /// Called between two calls to a busy RMM, and while another thread works on the same part of a
    /// Realm's memory. No lock is held then. A host that has a scheduler yields to it.
    fn relax(&self) {
        core::hint::spin_loop();
    }

    /// The time since some fixed moment, by a monotonic clock; `None` without a clock. With a
    /// clock, [`RetryBudget::time`](crate::RetryBudget::time) limits waits. It may be read with
    /// interrupts off.
    fn now(&self) -> Option<Duration> {
        None
    }
}

/// The dialects that a [`Host`] is built for, see [`Platform::DIALECT`].
pub trait ServedDialect {
    /// The only one; `None` for all.
    const DIALECT: Option<Dialect>;

    /// See [`Platform::AUX_TREES`].
    const AUX_TREES: bool = true;

    /// See [`Platform::GRANULE_SIZE`].
    const GRANULE_SIZE: Option<GranuleSize> = None;

    /// See [`Platform::COARSE_TRACKING`].
    const COARSE_TRACKING: bool = true;
}

/// Whatever dialect an RMM speaks.
#[derive(Debug)]
pub enum AnyDialect {}

impl ServedDialect for AnyDialect {
    const DIALECT: Option<Dialect> = None;
}

/// Only [`Dialect::V1_0`].
#[derive(Debug)]
pub enum OnlyV1_0 {}

impl ServedDialect for OnlyV1_0 {
    const DIALECT: Option<Dialect> = Some(Dialect::V1_0);

    // It has neither, and one size.
    const AUX_TREES: bool = false;
    const COARSE_TRACKING: bool = false;
    const GRANULE_SIZE: Option<GranuleSize> = Some(GranuleSize::Size4KiB);
}

/// Only [`Dialect::TfRmm2026_07`].
#[derive(Debug)]
pub enum OnlyTfRmm2026_07 {}

impl ServedDialect for OnlyTfRmm2026_07 {
    const DIALECT: Option<Dialect> = Some(Dialect::TfRmm2026_07);
}

/// Only [`Dialect::V2_0Bet0`].
#[derive(Debug)]
pub enum OnlyV2_0Bet0 {}

impl ServedDialect for OnlyV2_0Bet0 {
    const DIALECT: Option<Dialect> = Some(Dialect::V2_0Bet0);
}

/// Only [`Dialect::V2_0Bet1`].
#[derive(Debug)]
pub enum OnlyV2_0Bet1 {}

impl ServedDialect for OnlyV2_0Bet1 {
    const DIALECT: Option<Dialect> = Some(Dialect::V2_0Bet1);
}

/// Only [`Dialect::V2_0Bet3`].
#[derive(Debug)]
pub enum OnlyV2_0Bet3 {}

impl ServedDialect for OnlyV2_0Bet3 {
    const DIALECT: Option<Dialect> = Some(Dialect::V2_0Bet3);
}

/// A platform made of its parts; each may be owned or a reference.
///
/// ```
/// use rmi_abi::Dialect;
/// use rmi_host::{CountingLedger, Platform, FixedQuarantine};
/// use rmm_model::{Model, Options};
///
/// let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// let ledger = CountingLedger::new();
/// // The ledger is also read elsewhere, so the platform borrows it; it owns the
/// // quarantine.
/// let host =
///     model.host().with_ledger(&ledger).with_quarantine(FixedQuarantine::<8>::new());
/// assert!(host.quarantine().is_empty());
/// # Ok::<(), rmm_model::OptionsError>(())
/// ```
pub struct Host<C, A, L = NullLedger, Q = NoQuarantine, K = DefaultLock, D = AnyDialect> {
    conduit: C,
    access: A,
    ledger: L,
    quarantine: Q,
    relax: fn(),
    now: Option<fn() -> Duration>,
    types: PhantomData<fn() -> (K, D)>,
}

// Derived implementations would require the same of the lock and of the dialect.
impl<C: Clone, A: Clone, L: Clone, Q: Clone, K, D> Clone for Host<C, A, L, Q, K, D> {
    fn clone(&self) -> Self {
        Self {
            conduit: self.conduit.clone(),
            access: self.access.clone(),
            ledger: self.ledger.clone(),
            quarantine: self.quarantine.clone(),
            relax: self.relax,
            now: self.now,
            types: PhantomData,
        }
    }
}

impl<C: Copy, A: Copy, L: Copy, Q: Copy, K, D> Copy for Host<C, A, L, Q, K, D> {}

impl<C, A, L, Q, K, D> fmt::Debug for Host<C, A, L, Q, K, D>
where
    C: fmt::Debug,
    A: fmt::Debug,
    L: fmt::Debug,
    Q: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("conduit", &self.conduit)
            .field("access", &self.access)
            .field("ledger", &self.ledger)
            .field("quarantine", &self.quarantine)
            .finish_non_exhaustive()
    }
}

impl<C: Conduit, A: HostAccess> Host<C, A> {
    /// A platform that keeps no ledger and has no quarantine.
    ///
    /// A session is not opened on parts of two machines
    /// ([`SessionError::OtherMachine`](crate::SessionError::OtherMachine)). The model and the line
    /// protocol return a platform of their own parts: `Model::host`, `Lines::host`.
    pub const fn new(conduit: C, access: A) -> Self {
        Self {
            conduit,
            access,
            ledger: NullLedger,
            quarantine: NoQuarantine,
            relax: core::hint::spin_loop,
            now: None,
            types: PhantomData,
        }
    }
}

impl<C, A, L, Q, K, D> Host<C, A, L, Q, K, D> {
    /// The same platform with this ledger.
    pub fn with_ledger<M: Ledger>(self, ledger: M) -> Host<C, A, M, Q, K, D> {
        let Self { conduit, access, quarantine, relax, now, types, .. } = self;
        Host { conduit, access, ledger, quarantine, relax, now, types }
    }

    /// The same platform with this quarantine.
    pub fn with_quarantine<R: Quarantine>(self, quarantine: R) -> Host<C, A, L, R, K, D> {
        let Self { conduit, access, ledger, relax, now, types, .. } = self;
        Host { conduit, access, ledger, quarantine, relax, now, types }
    }

    /// The same platform with this kind of lock, see [`Platform::Lock`].
    ///
    /// ```
    /// # use rmi_abi::Dialect;
    /// # use rmm_model::{Model, Options};
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// use rmi_host::lock_api::{GuardNoSend, RawMutex};
    ///
    /// /// A lock that masks interrupts on the CPU that holds it.
    /// struct Masking { held: AtomicBool, were_masked: AtomicBool }
    /// # fn mask_interrupts() -> bool { false }
    /// # fn restore_interrupts(_were_masked: bool) {}
    ///
    /// // SAFETY: only the caller that changes `held` from false to true holds the lock.
    /// unsafe impl RawMutex for Masking {
    ///     const INIT: Self =
    ///         Self { held: AtomicBool::new(false), were_masked: AtomicBool::new(false) };
    ///     type GuardMarker = GuardNoSend; // released on the CPU that took it
    ///
    ///     fn lock(&self) {
    ///         while !self.try_lock() {
    ///             core::hint::spin_loop();
    ///         }
    ///     }
    ///     fn try_lock(&self) -> bool {
    ///         let were_masked = mask_interrupts();
    ///         let free = !self.held.swap(true, Ordering::Acquire);
    ///         match free {
    ///             true => self.were_masked.store(were_masked, Ordering::Relaxed),
    ///             false => restore_interrupts(were_masked),
    ///         }
    ///         free
    ///     }
    ///     unsafe fn unlock(&self) {
    ///         let were_masked = self.were_masked.load(Ordering::Relaxed);
    ///         self.held.store(false, Ordering::Release);
    ///         restore_interrupts(were_masked);
    ///     }
    /// }
    ///
    /// let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
    /// let host = model.host().with_lock::<Masking>();
    /// # let _ = host;
    /// # Ok::<(), rmm_model::OptionsError>(())
    /// ```
    pub fn with_lock<M: RawMutex>(self) -> Host<C, A, L, Q, M, D> {
        let Self { conduit, access, ledger, quarantine, relax, now, .. } = self;
        Host { conduit, access, ledger, quarantine, relax, now, types: PhantomData }
    }

    /// The same platform, built for one dialect only, see [`Platform::DIALECT`].
    ///
    /// ```
    /// # use rmi_abi::Dialect;
    /// # use rmm_model::{Model, Options};
    /// use rmi_host::{Discovered, OnlyTfRmm2026_07, OnlyV2_0Bet3, SessionError, SessionOptions};
    ///
    /// let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
    /// let host = model.host().with_dialect::<OnlyTfRmm2026_07>();
    /// let found = Discovered::probe(host, SessionOptions::default())?;
    /// assert_eq!(found.dialect(), Dialect::TfRmm2026_07);
    ///
    /// let host = model.host().with_dialect::<OnlyV2_0Bet3>();
    /// let failed = Discovered::probe(host, SessionOptions::default()).unwrap_err();
    /// assert!(matches!(failed.error, SessionError::OtherDialect { .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_dialect<E: ServedDialect>(self) -> Host<C, A, L, Q, K, E> {
        let Self { conduit, access, ledger, quarantine, relax, now, .. } = self;
        Host { conduit, access, ledger, quarantine, relax, now, types: PhantomData }
    }

    /// The same platform that calls this function while it waits, see [`Platform::relax`].
    #[must_use]
    pub fn with_relax(self, relax: fn()) -> Self {
        Self { relax, ..self }
    }

    /// The same platform with this clock, see [`Platform::now`].
    ///
    /// ```
    /// # use std::sync::OnceLock;
    /// # use std::time::{Duration, Instant};
    /// # use rmi_abi::Dialect;
    /// # use rmi_host::{Discovered, SessionOptions};
    /// # use rmm_model::{Model, Options};
    /// fn uptime() -> Duration {
    ///     static START: OnceLock<Instant> = OnceLock::new();
    ///     START.get_or_init(Instant::now).elapsed()
    /// }
    ///
    /// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
    /// let host = model.host().with_relax(std::thread::yield_now).with_clock(uptime);
    /// let mut options = SessionOptions::default();
    /// // No wait is longer than 20 ms, whatever the number of attempts.
    /// options.retry_budget.time = Some(Duration::from_millis(20));
    /// options.retry_budget.busy = u32::MAX;
    /// options.retry_budget.contended = u32::MAX;
    /// let found = Discovered::probe(host, options);
    /// # assert!(found.is_ok());
    /// # Ok::<(), rmm_model::OptionsError>(())
    /// ```
    #[must_use]
    pub fn with_clock(self, now: fn() -> Duration) -> Self {
        Self { now: Some(now), ..self }
    }
}

// SAFETY: the parts never change.
unsafe impl<C, A, L, Q, K, D> Platform for Host<C, A, L, Q, K, D>
where
    C: Conduit,
    A: HostAccess,
    L: Ledger,
    Q: Quarantine,
    K: RawMutex,
    D: ServedDialect,
{
    type Conduit = C;
    type Access = A;
    type Ledger = L;
    type Quarantine = Q;
    type Lock = K;

    const DIALECT: Option<Dialect> = D::DIALECT;
    const AUX_TREES: bool = D::AUX_TREES;
    const GRANULE_SIZE: Option<GranuleSize> = D::GRANULE_SIZE;
    const COARSE_TRACKING: bool = D::COARSE_TRACKING;

    fn conduit(&self) -> &C {
        &self.conduit
    }
    fn access(&self) -> &A {
        &self.access
    }
    fn ledger(&self) -> &L {
        &self.ledger
    }
    fn quarantine(&self) -> &Q {
        &self.quarantine
    }
    fn relax(&self) {
        (self.relax)();
    }
    fn now(&self) -> Option<Duration> {
        self.now.map(|now| now())
    }
}
