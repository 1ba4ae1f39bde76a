//! Opening a session: find the RMM, negotiate a dialect, configure, activate.
//!
//! `sro::open` does all of it in one call, because activation may take memory, and
//! `sro::Session::close` ends the session. This module has the states in between:
//!
//! | State | What is known | What can be done |
//! |---|---|---|
//! | [`Discovered`] | dialect, features | read them, configure |
//! | [`Configured`] | also the granule size | activate |
//! | [`Rmm`] | | everything |
//!
//! Step by step, on an RMM that takes no memory:
//!
//! ```
//! use rmi_abi::Dialect;
//! use rmi_host::{Discovered, Progress, SessionOptions};
//! use rmm_model::{Model, Options};
//!
//! let model = Model::new(Options::new(Dialect::V2_0Bet3))?;
//! let mut page = model.take_memory();
//! let found = Discovered::probe(model.host(), SessionOptions::default())?;
//! assert_eq!(found.dialect(), Dialect::V2_0Bet3);
//! assert_eq!(found.features().max_ipa_width(), 48);
//! let configured = found.configure(&mut page)?;
//! let Progress::Done(_) = configured.start_activation()? else { panic!("wants memory") };
//! let rmm = configured.into_active();
//! // …
//! let Progress::Done(_) = rmm.start_deactivation()? else { panic!("gives memory back") };
//! let _platform = rmm.into_platform();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The granule size is part of every descriptor of memory, so an RMM that was not configured cannot
//! be used:
//!
//! ```compile_fail,E0599
//! # use rmi_host::{Discovered, Platform, Rmm};
//! fn early<P: Platform>(found: Discovered<P>) -> Rmm<P> {
//!     found.into_active() // error: no method `into_active`
//! }
//! ```
//!
//! An RMM that the firmware or another agent has activated is used with its configuration:
//!
//! ```
//! use rmi_abi::{Dialect, Status};
//! # use rmi_host::{Discovered, Error, SessionOptions};
//! # use rmm_model::{Model, Options};
//! # let mut machine = Options::new(Dialect::TfRmm2026_07);
//! # machine.already_active = true;
//! # let model = Model::new(machine)?;
//! # let mut memory = model.take_memory();
//! # let mut page = memory.take_front(0x1000).unwrap();
//! # let found = Discovered::probe(model.host(), SessionOptions::default())?;
//! let configured = found.configure(&mut page)?;
//! let error = configured.start_activation().unwrap_err();
//! assert_eq!(error.status(), Some(Status::ErrorGlobal));
//! let rmm = configured.into_active();
//! let delegated = rmm.delegate(page)?;
//! # rmm.undelegate(delegated)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod hotplug;
mod limits;
mod probing;
mod region_size;
mod tracked;

use core::fmt;

use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::feature::Features;
use rmi_abi::granule::TrackingRegionSize;
use rmi_abi::{Command, Dialect, GranuleSize, Status};

use crate::access::AccessFault;
use crate::channel::{Attempts, Call, Channel, Progress, RetryBudget};
use crate::command::SharedMemory;
use crate::command::rmm::ConfigCodes;
use crate::conduit::Conduit;
use crate::error::{Error, Failed, Subject};
use crate::granules::{Machine, Undelegated};
use crate::open_sessions::Configuring;
use crate::platform::Platform;

pub use limits::CallLimits;
pub use probing::{DialectSource, is_probe};
pub use region_size::TrackingRegion;
pub use tracked::TrackingError;

/// The options for opening a session.
///
/// The known dialects are told apart by probing ([`Discovered::probe`]). An RMM that is none of
/// them may be taken for one of them, so an embedder that knows the RMM sets the dialect:
///
/// ```
/// use rmi_abi::{Dialect, GranuleSize};
/// use rmi_host::{Discovered, SessionError, SessionOptions};
/// use rmm_model::{Model, Options};
///
/// let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// let mut options = SessionOptions::default();
/// options.dialect = Some(Dialect::TfRmm2026_07);
/// let found = Discovered::probe(model.host(), options)?;
/// assert_eq!(found.dialect(), Dialect::TfRmm2026_07);
///
/// // What the RMM does not support is refused before anything is changed.
/// options.granule_size = GranuleSize::Size64KiB;
/// let failed = Discovered::probe(found.into_platform(), options).unwrap_err();
/// assert_eq!(failed.error, SessionError::GranuleSize(GranuleSize::Size64KiB));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SessionOptions {
    /// The dialect to use; `None` to probe for it.
    ///
    /// To set it is a promise that the RMM has this dialect: the same function identifier and
    /// the same bits have other meanings in others, so an RMM of another dialect may take memory
    /// that it was not given. Probing does not confirm a dialect that is set.
    pub dialect: Option<Dialect>,
    /// The requested granule size. An RMM that another agent has activated keeps its own, and so
    /// does one on which this program has another session open.
    pub granule_size: GranuleSize,
    /// The requested size of tracking regions; `None` to leave it unchanged. It has no effect where
    /// the dialect has none to be set (1.0), and on an RMM that keeps its granule size:
    /// [`Rmm::tracking_region_size`] tells what there is.
    pub tracking_region: Option<TrackingRegion>,
    /// How long commands wait for a busy RMM.
    pub retry_budget: RetryBudget,
    /// The exception levels at which the host runs.
    pub host_mode: HostMode,
}

/// The exception levels at which the host runs.
///
/// ```
/// use rmi_abi::Dialect;
/// use rmi_host::{Discovered, HostMode, SessionError, SessionOptions};
/// use rmm_model::{Model, Options};
///
/// let model = Model::new(Options::new(Dialect::V2_0Bet3))?;
/// let mut options = SessionOptions::default();
/// options.host_mode = HostMode::SplitEl1El2;
/// let failed = Discovered::probe(model.host(), options).unwrap_err();
/// assert_eq!(failed.error, SessionError::ListRegistersLost);
/// # Ok::<(), rmm_model::OptionsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum HostMode {
    /// All at EL2: a type 1 hypervisor, or a kernel with VHE.
    #[default]
    El2,
    /// A kernel at EL1 with a small part at EL2 (nVHE). What that part does between loading the
    /// list registers and the SMC is not under the kernel's control, so such a host cannot run
    /// Realms of 2.0, whose virtual GIC is in those registers.
    SplitEl1El2,
}

/// Why a session cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// There is no RMM, or it failed to start: `RMI_VERSION` does not exist.
    NoRmm,
    /// The RMM supports other versions only.
    #[non_exhaustive]
    Version {
        /// The lowest version of the answer.
        lower: InterfaceVersion,
        /// The highest version of the answer.
        higher: InterfaceVersion,
    },
    /// The conduit and the access of the platform are of two machines; nothing was called.
    OtherMachine,
    /// The RMM, or [`SessionOptions::dialect`], has another dialect than the only one that the
    /// platform is built for ([`Platform::DIALECT`]); nothing was changed.
    #[non_exhaustive]
    OtherDialect {
        /// The dialect of the RMM, or of the options.
        found: Dialect,
        /// The dialect of the platform.
        served: Dialect,
    },
    /// The host would lose the list registers of the virtual GIC, see [`HostMode::SplitEl1El2`].
    ListRegistersLost,
    /// The RMM does not have the requested granule size.
    GranuleSize(GranuleSize),
    /// [`SessionOptions::granule_size`], or the RMM that keeps its configuration, has another
    /// granule size than the only one that the platform is built for ([`Platform::GRANULE_SIZE`]);
    /// nothing was changed.
    #[non_exhaustive]
    OtherGranuleSize {
        /// The size of the options, or of the RMM.
        found: GranuleSize,
        /// The size of the platform.
        served: GranuleSize,
    },
    /// The RMM is configured for a granule size that it does not declare or this SDK does not know:
    /// the code.
    GranuleCode(u8),
    /// The requested size of tracking regions is none of the granule size, or its code is not
    /// known; nothing was called. See [`TrackingRegion`].
    TrackingRegion(TrackingRegion),
    /// [`SessionOptions::tracking_region`] is set, and the platform is built without regions that
    /// are tracked as a whole ([`Platform::COARSE_TRACKING`]); nothing was called.
    NoCoarseTracking,
    /// Another session is being configured: try again. Nothing was called.
    Configuring,
    /// A call failed.
    Call(Error),
}

impl From<Error> for SessionError {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRmm => f.write_str("no RMM: the firmware has none, or it failed to start"),
            Self::Version { lower, higher } => {
                write!(
                    f,
                    "the RMM supports interface versions {lower} to {higher}, not the one asked for"
                )
            }
            Self::OtherMachine => {
                f.write_str("the platform's conduit and memory access are of different machines")
            }
            Self::OtherDialect { found, served } => {
                write!(f, "the dialect is {found}, and the platform is built for {served} only")
            }
            Self::ListRegistersLost => f.write_str(
                "a host split between EL1 and EL2 loses the list registers; run it with VHE",
            ),
            Self::GranuleSize(size) => {
                write!(f, "the RMM has no granules of {} KiB", size.bytes() >> 10)
            }
            Self::OtherGranuleSize { found, served } => {
                let (found, served) = (found.bytes() >> 10, served.bytes() >> 10);
                write!(f, "granules have {found} KiB, and the platform is built for {served} only")
            }
            Self::GranuleCode(code) => {
                write!(f, "the RMM is configured for an unknown granule size (code {code})")
            }
            Self::TrackingRegion(region) => {
                write!(
                    f,
                    "the code of tracking regions of {} MiB is not known",
                    region.bytes() >> 20
                )
            }
            Self::NoCoarseTracking => f.write_str(
                "a size of tracking regions is set, and the platform is built without COARSE ones",
            ),
            Self::Configuring => {
                f.write_str("another session is configuring the RMM at this moment; try again")
            }
            Self::Call(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SessionError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Call(error) => Some(error),
            _ => None,
        }
    }
}

/// Drops what was kept: see [`Failed`].
impl<T> From<Failed<T, Self>> for SessionError {
    fn from(failed: Failed<T, Self>) -> Self {
        failed.error
    }
}

/// An RMM that was found, with its features. Nothing about it has changed.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmi_host::{Discovered, SessionOptions};
/// # use rmm_model::{Model, Options};
/// # let model = Model::new(Options::new(Dialect::V2_0Bet3))?;
/// let found = Discovered::probe(model.host(), SessionOptions::default())?;
/// assert!(!found.features().lpa2());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "configure it to use it"]
pub struct Discovered<P> {
    channel: Channel<P>,
    features: Features,
    source: DialectSource,
    granule_size: GranuleSize,
    tracking_region: Option<TrackingRegion>,
}

impl<P: Platform> Discovered<P> {
    /// Looks for an RMM: negotiates a version, determines the dialect unless it is given, and reads
    /// the feature registers.
    ///
    /// No command with a side effect is issued. 2.0 is requested first, then 1.0. The dialects of
    /// 2.0 have the same version, and are told apart by at most three commands that only read:
    ///
    /// 1. `RMI_GPT_INFO`, whose number only 2.0-bet3 uses.
    /// 2. `RMI_GRANULE_TRACKING_GET` for the addresses 0 and 0, which are no range; 2.0-bet0 takes
    ///    the first of them only.
    /// 3. `RMI_RMM_STATE_GET`, which 2.0-bet1 has and TF-RMM (July 2026) has not.
    ///
    /// 2.0-bet2 and TF-RMM of other months are not told from the dialects that answer alike.
    /// [`Discovered::dialect_source`] says how far the result can be trusted.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VERSION, RMI_FEATURES, RMI_GPT_INFO,
    /// RMI_GRANULE_TRACKING_GET, RMI_RMM_STATE_GET.
    ///
    /// # Errors
    ///
    /// [`SessionError`]; the platform is returned.
    pub fn probe(platform: P, options: SessionOptions) -> Result<Self, Failed<P, SessionError>> {
        let dialect = options.dialect.unwrap_or(Dialect::V2_0Bet3);
        let mut channel =
            match Channel::join(platform, dialect, options.granule_size, options.retry_budget) {
                Ok(channel) => channel,
                Err(platform) => return Err(Failed::new(platform, SessionError::OtherMachine)),
            };
        match Self::look(&mut channel, options) {
            Ok((features, source)) => {
                let SessionOptions { granule_size, tracking_region, .. } = options;
                Ok(Self { channel, features, source, granule_size, tracking_region })
            }
            Err(error) => Err(Failed::new(channel.into_platform(), error)),
        }
    }

    fn look(
        channel: &mut Channel<P>,
        options: SessionOptions,
    ) -> Result<(Features, DialectSource), SessionError> {
        let mut source = DialectSource::Options;
        Self::require_granule_size(options.granule_size)?;
        if let Some(region) = options.tracking_region {
            if !P::COARSE_TRACKING {
                return Err(SessionError::NoCoarseTracking);
            }
            if region.code(options.granule_size).is_none() {
                return Err(SessionError::TrackingRegion(region));
            }
        }
        if let Some(dialect) = options.dialect {
            // Before any call: its numbers may have other meanings.
            Self::require(dialect)?;
        }
        match channel.version(channel.dialect().version()) {
            Ok(()) if options.dialect.is_some() => {}
            // The platform is built for 1.0 only.
            Ok(()) if channel.dialect() == Dialect::V1_0 => source = DialectSource::Version,
            Ok(()) => {
                let (found, how) = channel.find_dialect()?;
                Self::require(found)?;
                channel.set_dialect(found);
                source = how;
            }
            // TF-RMM v0.8.0 implements 1.0 and a draft of 1.1, and reports 1.1 twice.
            Err(SessionError::Version { lower, .. })
                if options.dialect.is_none()
                    && lower.major() == Dialect::V1_0.version().major() =>
            {
                Self::require(Dialect::V1_0)?;
                channel.set_dialect(Dialect::V1_0);
                channel.version(Dialect::V1_0.version())?;
                source = DialectSource::Version;
            }
            Err(error) => return Err(error),
        }
        if options.host_mode == HostMode::SplitEl1El2 && !channel.dialect().gic_in_run_page() {
            return Err(SessionError::ListRegistersLost);
        }
        // 1.0 defines the first register only, and answers 0 for the others.
        let mut registers = [0; Features::COUNT];
        for (index, register) in (0..).zip(&mut registers) {
            *register = channel.feature(index)?;
        }
        let features = Features::new(channel.dialect(), registers);
        if !features.supports_granule(options.granule_size) {
            return Err(SessionError::GranuleSize(options.granule_size));
        }
        Ok((features, source))
    }

    /// Refuses a dialect that the platform is not built for.
    fn require(found: Dialect) -> Result<(), SessionError> {
        match P::DIALECT {
            Some(served) if served != found => Err(SessionError::OtherDialect { found, served }),
            _ => Ok(()),
        }
    }

    /// The same for a granule size.
    fn require_granule_size(found: GranuleSize) -> Result<(), SessionError> {
        match P::GRANULE_SIZE {
            Some(served) if served != found => {
                Err(SessionError::OtherGranuleSize { found, served })
            }
            _ => Ok(()),
        }
    }

    /// The feature registers.
    #[must_use]
    pub const fn features(&self) -> &Features {
        &self.features
    }

    /// The dialect of the RMM.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.channel.dialect()
    }

    /// How the dialect was determined.
    ///
    /// ```
    /// use rmi_abi::Dialect;
    /// use rmi_host::{DialectSource, Discovered, SessionOptions};
    /// use rmm_model::{Model, Options};
    ///
    /// for dialect in Options::DIALECTS {
    ///     let model = Model::new(Options::new(dialect))?;
    ///     let found = Discovered::probe(model.host(), SessionOptions::default())?;
    ///     assert_eq!(found.dialect(), dialect);
    ///     assert_eq!(found.dialect_source(), DialectSource::Answers);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn dialect_source(&self) -> DialectSource {
        self.source
    }

    /// The platform.
    #[must_use]
    pub const fn platform(&self) -> &P {
        self.channel.platform()
    }

    /// Sets the RMM's granule size to the requested one, unless the RMM has it already or the
    /// dialect has no other. `page` is host memory of at least 4 KiB that the RMM reads and writes.
    ///
    /// When another agent has activated the RMM its configuration cannot change any more, and while
    /// this program has another session open, it is not changed
    /// ([`OpenSessions`](crate::OpenSessions)): the session then uses the granule size that the RMM
    /// has, which [`Configured::granule_size`] returns.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RMM_CONFIG_GET, RMI_RMM_CONFIG_SET.
    ///
    /// # Errors
    ///
    /// [`SessionError`]; the `Discovered` is returned, and can be configured again.
    /// [`SessionError::Configuring`] while another thread is in this function.
    pub fn configure(
        mut self,
        page: &mut Undelegated,
    ) -> Result<Configured<P>, Failed<Self, SessionError>> {
        match self.agree(page) {
            Ok((granule_size, code)) => {
                self.channel.set_configured(granule_size);
                let Self { channel, features, source, tracking_region, .. } = self;
                let code = code.filter(|_| P::COARSE_TRACKING);
                let tracking_region =
                    code.and_then(|code| region_size::bytes(tracking_region, code, granule_size));
                Ok(Configured { channel, features, source, tracking_region })
            }
            Err(error) => Err(Failed::new(self, error)),
        }
    }

    /// The granule size that the RMM has for as long as this session is open, and the code of the
    /// size of its tracking regions.
    fn agree(&self, page: &mut Undelegated) -> Result<Agreed, SessionError> {
        let sessions = self.channel.platform().conduit().open_sessions();
        let opening = sessions.begin().map_err(|Configuring| SessionError::Configuring)?;
        let agreed = self.negotiate(page, opening.is_alone())?;
        Self::require_granule_size(agreed.0)?;
        opening.keep();
        Ok(agreed)
    }

    /// The granule size that the RMM has, after it was changed to the requested one, if it may be.
    fn negotiate(&self, page: &mut Undelegated, may_change: bool) -> Result<Agreed, SessionError> {
        if Command::RmmConfigGet.form(self.channel.dialect()).is_none() {
            // Such a dialect has no other granule size.
            return match self.granule_size {
                GranuleSize::Size4KiB => Ok((GranuleSize::Size4KiB, None)),
                other => Err(SessionError::GranuleSize(other)),
            };
        }
        let found = self.channel.config(page)?;
        let mut wanted =
            ConfigCodes { rmi_granule_size: self.granule_size.code(), tracking_region_size: 0 };
        // Region sizes are coded relative to the granule size; 0 is the one that every granule size
        // has.
        let same_size = found.rmi_granule_size == wanted.rmi_granule_size;
        let asked = self.tracking_region.filter(|_| P::COARSE_TRACKING);
        let asked = asked.and_then(|region| region.code(self.granule_size));
        wanted.tracking_region_size = match asked {
            Some(TrackingRegionSize(code)) => code,
            None if same_size => found.tracking_region_size,
            None => 0,
        };
        let code = |codes: &ConfigCodes| Some(TrackingRegionSize(codes.tracking_region_size));
        if same_size && found.tracking_region_size == wanted.tracking_region_size {
            return Ok((self.granule_size, code(&found)));
        }
        let as_it_is = || {
            GranuleSize::from_code(found.rmi_granule_size)
                .map(|granule_size| (granule_size, code(&found)))
                .ok_or(SessionError::GranuleCode(found.rmi_granule_size))
        };
        if !may_change {
            return as_it_is();
        }
        match self.channel.set_config(page, &wanted) {
            Ok(()) => Ok((self.granule_size, code(&wanted))),
            // Another agent has activated the RMM: its configuration does not change.
            Err(Error::Refused(refusal)) if refusal.status() == Status::ErrorGlobal => as_it_is(),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the platform.
    pub fn into_platform(self) -> P {
        self.channel.into_platform()
    }
}

/// A granule size, and the code of the size of tracking regions, where the dialect has those.
type Agreed = (GranuleSize, Option<TrackingRegionSize>);

/// An RMM that is configured, but which this session has not activated yet.
///
/// A session that is not active yet delegates nothing; the methods for that belong to [`Rmm`]:
///
/// ```compile_fail,E0599
/// # use rmi_host::{Configured, Platform, Undelegated};
/// fn early<P: Platform>(configured: &Configured<P>, memory: Undelegated) {
///     let _ = configured.delegate(memory); // error: no method `delegate`
/// }
/// ```
#[derive(Debug)]
#[must_use = "activate it to use it"]
pub struct Configured<P> {
    channel: Channel<P>,
    features: Features,
    source: DialectSource,
    tracking_region: Option<u64>,
}

impl<P: Platform> Configured<P> {
    /// The feature registers.
    #[must_use]
    pub const fn features(&self) -> &Features {
        &self.features
    }

    /// The size of a granule.
    #[must_use]
    pub const fn granule_size(&self) -> GranuleSize {
        self.channel.granule_size()
    }

    /// The dialect of the RMM.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.channel.dialect()
    }

    /// The platform.
    #[must_use]
    pub const fn platform(&self) -> &P {
        self.channel.platform()
    }

    /// `RMI_RMM_ACTIVATE`: starts to activate the RMM.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RMM_ACTIVATE.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Status::ErrorGlobal`] when the RMM is active already.
    pub fn start_activation(&self) -> Result<Progress, Error> {
        self.channel.activate()
    }

    /// The session, once the RMM is active: because the activation that was started has ended, or
    /// because another agent activated it. It can also be used to drive an activation that has not
    /// ended.
    ///
    /// If the RMM is not active, every command is refused with [`Status::ErrorGlobal`].
    pub fn into_active(self) -> Rmm<P> {
        let Self { channel, features, source, tracking_region } = self;
        Rmm { channel, features, source, tracking_region }
    }

    /// Returns the platform. The RMM keeps its configuration.
    pub fn into_platform(self) -> P {
        self.channel.into_platform()
    }
}

/// An active RMM. `Sync` if the platform is; all its methods take `&self`, so all CPUs can use one
/// handle.
///
/// [`Rmm::delegate`] makes host memory the RMM's, [`Rmm::undelegate`] makes it the host's again.
/// What a Realm needs is in crates above this one; [`Rmm::commands`] has the single commands.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmi_host::CountingLedger;
/// # use rmm_model::{Model, Options};
/// # let ledger = CountingLedger::new();
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host().with_ledger(&ledger), &mut memory)?;
/// // Four CPUs at the same time, each with its own memory.
/// std::thread::scope(|cpus| {
///     for _ in 0..4 {
///         let (rmm, part) = (&rmm, memory.take_front(0x8000).expect("1 GiB"));
///         cpus.spawn(move || {
///             let delegated = rmm.delegate(part).unwrap();
///             let _ = rmm.undelegate(delegated).unwrap();
///         });
///     }
/// });
/// assert_eq!((ledger.balance().delegated, ledger.balance().outstanding()), (32, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Rmm<P> {
    channel: Channel<P>,
    features: Features,
    source: DialectSource,
    tracking_region: Option<u64>,
}

/// # What the session is
impl<P> Rmm<P> {
    /// The feature registers.
    #[must_use]
    pub const fn features(&self) -> &Features {
        &self.features
    }

    /// How the dialect was determined.
    #[must_use]
    pub const fn dialect_source(&self) -> DialectSource {
        self.source
    }

    /// The size of tracking regions in bytes; `None` where the dialect has none (1.0) or the RMM is
    /// configured for a size whose code is not known.
    #[must_use]
    pub const fn tracking_region_size(&self) -> Option<u64> {
        self.tracking_region
    }
}

impl<P: Platform> Rmm<P> {
    /// The dialect of the RMM.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.channel.dialect()
    }

    /// Whether the memory that a REC consists of is given when it is created, as auxiliary granules
    /// (1.0). Otherwise an operation asks for it.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_REC_AUX_COUNT.
    #[inline]
    #[must_use]
    pub const fn has_auxiliary_granules(&self) -> bool {
        !self.channel.dialect().is_2_0()
    }

    /// The size of a granule, which is part of every descriptor of memory.
    #[must_use]
    pub const fn granule_size(&self) -> GranuleSize {
        self.channel.granule_size()
    }

    /// The machine whose RMM this reaches.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        self.channel.machine()
    }

    /// The platform.
    #[must_use]
    pub const fn platform(&self) -> &P {
        self.channel.platform()
    }

    /// How long commands wait for the RMM.
    #[must_use]
    pub const fn retry_budget(&self) -> RetryBudget {
        self.channel.retry_budget()
    }

    /// As [`Channel::pause`].
    #[must_use]
    pub fn pause(&self, attempts: &mut Attempts, why: Status) -> bool {
        self.channel.pause(attempts, why)
    }

    /// As [`Channel::is_over`].
    #[must_use]
    pub fn is_over(&self, attempts: &mut Attempts) -> bool {
        self.channel.is_over(attempts)
    }
}

/// # Host memory, read and written
impl<P: Platform> Rmm<P> {
    /// Copies host memory, `offset` bytes after its base, into `into`.
    ///
    /// # Errors
    ///
    /// [`AccessFault`] when it is not all there, is memory of another machine, or the host cannot
    /// read it.
    pub fn read_host(
        &self,
        memory: &Undelegated,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), AccessFault> {
        self.channel.read_host(memory, offset, into)
    }

    /// Copies `from` into host memory, `offset` bytes after its base.
    ///
    /// # Errors
    ///
    /// [`AccessFault`] when it does not fit, is memory of another machine, or the host cannot write
    /// there.
    pub fn write_host(
        &self,
        memory: &mut Undelegated,
        offset: u64,
        from: &[u8],
    ) -> Result<(), AccessFault> {
        self.channel.write_host(memory, offset, from)
    }

    /// Copies `from` into memory that a Realm can access, `offset` bytes after its base.
    ///
    /// # Errors
    ///
    /// [`AccessFault`] when it does not fit, is memory of another machine, or the host cannot write
    /// there.
    pub fn write_shared(
        &self,
        shared: &mut SharedMemory,
        offset: u64,
        from: &[u8],
    ) -> Result<(), AccessFault> {
        self.channel.write_shared(shared, offset, from)
    }
}

/// # Commands by hand
impl<P: Platform> Rmm<P> {
    /// The RMI commands one by one, for an embedder that drives an object itself.
    ///
    /// No safe command gives the host a token for memory that the RMM has. But the crates above do
    /// not know what a command changes. While a Realm of `realm-builder` exists, do not, with its
    /// RD, its RECs or its memory,
    ///
    /// - map or unmap memory, create, destroy or fold stage 2 tables, or change RIPAS or S2AP: the
    ///   Realm's record of its memory would differ from the RMM's, its later calls would fail or
    ///   report a violation, and memory would go to the quarantine;
    /// - activate, terminate or destroy the Realm, or create, enter or destroy its RECs;
    /// - continue, cancel or drop a stateful operation that another function started.
    ///
    /// Do not deactivate the RMM while the session has anything left in it. Commands that only read
    /// ([`feature`](Channel::feature), [`rtt_read_entry`](Channel::rtt_read_entry),
    /// [`gpt_info`](Channel::gpt_info), [`rmm_state_get`](Channel::rmm_state_get)) may be issued at
    /// any time.
    ///
    /// ```
    /// # use rmi_abi::Dialect;
    /// # use rmi_abi::rmm::RmmState;
    /// # use rmm_model::{Model, Options};
    /// # let model = Model::new(Options::new(Dialect::V2_0Bet3))?;
    /// # let rmm = rmm_model::open(model.host(), &mut model.take_memory())?;
    /// assert_eq!(rmm.commands().rmm_state_get()?, RmmState::Active);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A session itself has no commands:
    ///
    /// ```compile_fail,E0599
    /// # use rmi_abi::IpaRange;
    /// # use rmi_host::{Platform, Rd, Rmm};
    /// fn unmap<P: Platform>(rmm: &Rmm<P>, rd: &Rd, range: IpaRange) {
    ///     let _ = rmm.rtt_data_unmap(rd, range); // error: no method `rtt_data_unmap`
    /// }
    /// ```
    #[must_use]
    pub const fn commands(&self) -> &Channel<P> {
        &self.channel
    }
}

/// # The end
impl<P: Platform> Rmm<P> {
    /// `RMI_RMM_DEACTIVATE`: starts to return the RMM to the state in which it can be configured.
    /// The session must have nothing left in it: no Realm, no delegated memory.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RMM_DEACTIVATE.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Status::ErrorGlobal`] while something is left;
    /// [`Error::Unsupported`] before 2.0-bet3.
    pub fn start_deactivation(&self) -> Result<Progress, Error> {
        self.channel.rmm_deactivate()
    }

    /// Ends the session on the host's side; the RMM stays active.
    pub fn into_platform(self) -> P {
        self.channel.into_platform()
    }
}

impl<P: Platform> Channel<P> {
    fn version_call(&self, version: InterfaceVersion) -> Call {
        Call::new(Command::Version, Subject::Rmm, [version.0])
    }

    fn version(&self, wanted: InterfaceVersion) -> Result<(), SessionError> {
        let (result, reply) = self.ask(&self.version_call(wanted))?;
        if result.is_not_supported() {
            return Err(SessionError::NoRmm);
        }
        match result.status() {
            Status::Success => Ok(()),
            _ => Err(SessionError::Version {
                lower: InterfaceVersion(reply.x1()),
                higher: InterfaceVersion(reply.x2()),
            }),
        }
    }

    /// `RMI_FEATURES`: reads one feature register; 0 for one that the RMM does not have.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_FEATURES.
    ///
    /// # Errors
    ///
    /// [`Error`]; the command itself never fails.
    pub fn feature(&self, index: u64) -> Result<u64, Error> {
        Ok(self.ask_to_the_end(&Call::new(Command::Features, Subject::Rmm, [index]))?.x1())
    }
}
