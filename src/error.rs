//! One error for all of the SDK.

use realm_builder::{BuildError, ConvertStopped, FoldStopped, NotShared, S2apStopped, Stopped};
use realm_measurement::{ConfigError, ImageError, measurement_log};
use rmi_host::access::AccessFault;
use rmi_host::command::{Halted, ShareFailed, UnshareFailed};
use rmi_host::{DelegateFailed, Failed, Failure, SessionError, TrackingError, UndelegateFailed};
use sro::EnterError;

/// Any error of the SDK, for programs that use several of its crates.
///
/// Every error type of the crates converts into it, and so does every result that carries an object
/// or progress beside its error: `?` works on all of them.
///
/// ```
/// use realm_sdk::host::{Platform, SessionOptions};
/// use realm_sdk::sro::{self, HostMemory};
/// use realm_sdk::{abi, builder};
///
/// fn run<P: Platform>(
///     platform: P,
///     memory: &mut dyn HostMemory,
/// ) -> Result<(), realm_sdk::Error> {
///     let width = abi::rtt::Geometry::new(40)?.ipa_width();
///     let rmm = sro::open(platform, SessionOptions::default(), memory.pool())?;
///     let mut storage = builder::RealmStorage::<8, 0>::new();
///     let config = builder::RealmConfig::new(width);
///     let realm = builder::Realm::create(&rmm, &config, &mut storage, memory)?;
///     // … see the README.
///     assert!(realm.tear_down(memory, []).error.is_none());
///     rmm.close(memory.pool())?;
///     Ok(())
/// }
/// # let model =
/// #     rmm_model::Model::new(rmm_model::Options::new(abi::Dialect::TfRmm2026_07)).unwrap();
/// # let mut memory = model.take_memory();
/// # let mut pool = sro::FixedPool::<8>::new();
/// # pool.add(memory.take_front(66 << 12).unwrap()).unwrap();
/// # run(model.host(), &mut pool).unwrap();
/// ```
///
/// Whichever operation it was, a failed call to the RMM is [`Error::Call`] and a refused
/// configuration is [`Error::Config`]:
///
/// ```
/// use realm_sdk::Error;
/// use realm_sdk::builder::BuildError;
/// use realm_sdk::host;
///
/// fn can_be_repeated(error: &Error) -> bool {
///     match error {
///         Error::Call(host::Error::Exhausted { .. } | host::Error::NoProgress { .. }) => true,
///         Error::Build(BuildError::Contended { .. }) => true,
///         _ => false,
///     }
/// }
/// # assert!(!can_be_repeated(&Error::Session(host::SessionError::NoRmm)));
/// ```
///
/// Where an operation returns an object beside its error, `?` drops that object: see
/// [`Failed`](rmi_host::Failed). That is right for a program that ends with the error; it loses
/// memory in one that goes on.
///
/// Its text is that of the error in it, which is its [`source`](core::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call to the RMM failed.
    #[error("{0}")]
    Call(#[source] rmi_host::Error),
    /// No session could be opened.
    #[error("{0}")]
    Session(#[source] SessionError),
    /// An operation on a Realm failed.
    #[error("{0}")]
    Build(#[source] BuildError),
    /// A REC was not entered.
    #[error("{0}")]
    Enter(#[source] EnterError),
    /// The RMM does not offer what a configuration asks for.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Bytes are not an image.
    #[error("{0}")]
    Image(#[from] ImageError),
    /// Bytes or a text are not a digest.
    #[error("{0}")]
    Digest(#[from] measurement_log::DigestError),
    /// The line of a measurement log is not an event.
    #[error("{0}")]
    MeasurementEvent(#[from] measurement_log::ParseEventError),
    /// A Realm cannot start with a region.
    #[error("{0}")]
    Layout(#[from] realm_measurement::region::LayoutError),
    /// A measurement cannot be computed.
    #[cfg(feature = "rim")]
    #[error("{0}")]
    Rim(#[from] realm_measurement::rim::RimError),
    /// Memory cannot be delegated granule by granule.
    #[error("{0}")]
    Tracking(#[source] TrackingError),
    /// The records of a ledger do not balance.
    #[cfg(feature = "alloc")]
    #[error("{0}")]
    Imbalance(#[from] rmi_host::ledger::Imbalance),
    /// A text is not an ownership map.
    #[cfg(feature = "alloc")]
    #[error("{0}")]
    OwnershipMap(#[from] rmi_host::ledger::OwnershipError),
    /// A text is not a recording.
    #[cfg(feature = "alloc")]
    #[error("{0}")]
    Transcript(#[from] rmi_conduits::replay::TranscriptError),
    /// A host diverges from a recording.
    #[cfg(feature = "alloc")]
    #[error("{0}")]
    Divergence(#[from] rmi_conduits::replay::Divergence),
    /// A server of another thread is not for this machine.
    #[cfg(feature = "std")]
    #[error("{0}")]
    OtherMachine(#[from] rmi_conduits::remote::OtherMachine),
    /// A line to another process has no answer.
    #[cfg(feature = "std")]
    #[error("{0}")]
    Lines(#[from] rmi_conduits::lines::LinesError),
    /// A REC is not added to a set.
    #[error("{0}")]
    AddRec(#[from] rec_runtime::set::AddError),
    /// A REC has a runner, or is not in a set.
    #[error("{0}")]
    ClaimRec(#[from] rec_runtime::set::ClaimError),
    /// A device cannot be on the bus.
    #[error("{0}")]
    MmioBus(#[from] rec_runtime::mmio::MmioBusError),
    /// A virtual GIC cannot be made.
    #[error("{0}")]
    Gic(#[from] vgic_realm::GicConfigError),
    /// A virtual GIC is not that of the RECs.
    #[error("{0}")]
    GicMismatch(#[from] rec_runtime::gic::GicMismatch),
    /// No list register is free.
    #[error("{0}")]
    ListRegisters(#[from] vgic_realm::Full),
    /// An address range is not valid.
    #[error("{0}")]
    Range(#[from] rmi_abi::address::RangeError),
    /// No translation tables have this geometry.
    #[error("{0}")]
    Geometry(#[from] rmi_abi::rtt::GeometryError),
    /// A Realm parameter cannot be expressed in a dialect.
    #[error("{0}")]
    RealmParams(#[from] rmi_abi::realm::ParamsError),
    /// A REC parameter is not valid.
    #[error("{0}")]
    RecParams(#[from] rmi_abi::rec::RecParamsError),
    /// A parameter of a physical device cannot be expressed in a dialect.
    #[error("{0}")]
    PdevParams(#[from] rmi_abi::device::PdevParamsError),
    /// A public key is not valid.
    #[error("{0}")]
    Key(#[from] rmi_abi::device::KeyError),
    /// An address range descriptor is not valid.
    #[error("{0}")]
    Desc(#[from] rmi_abi::desc::DescError),
    /// A dialect does not have a command.
    #[error("{0}")]
    Unsupported(#[from] rmi_abi::commands::Unsupported),
    /// No dialect has this name.
    #[error("{0}")]
    UnknownDialect(#[from] rmi_abi::dialect::UnknownDialect),
}

impl From<rmi_host::Error> for Error {
    fn from(error: rmi_host::Error) -> Self {
        Self::Call(error)
    }
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Call(error) => Self::Call(error),
            error => Self::Session(error),
        }
    }
}

impl From<BuildError> for Error {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Call(error) => Self::Call(error),
            BuildError::Config(error) => Self::Config(error),
            error => Self::Build(error),
        }
    }
}

impl From<EnterError> for Error {
    fn from(error: EnterError) -> Self {
        match error {
            EnterError::Call(error) => Self::Call(error),
            error => Self::Enter(error),
        }
    }
}

impl From<TrackingError> for Error {
    fn from(error: TrackingError) -> Self {
        match error {
            TrackingError::Call(error) => Self::Call(error),
            error => Self::Tracking(error),
        }
    }
}

impl From<AccessFault> for Error {
    fn from(fault: AccessFault) -> Self {
        Self::Call(fault.into())
    }
}

/// Drops what was kept.
impl<T, X> From<Failed<T, X>> for Error
where
    Self: From<X>,
{
    fn from(failed: Failed<T, X>) -> Self {
        failed.error.into()
    }
}

impl<T> From<Halted<T>> for Error {
    fn from(halted: Halted<T>) -> Self {
        Self::Call(halted.error)
    }
}

/// Conversions by way of another error. What is carried beside it is dropped.
macro_rules! through {
    ($error:ty: $($from:ty),+) => {$(
        impl From<$from> for Error {
            fn from(from: $from) -> Self {
                <$error>::from(from).into()
            }
        }
    )+};
}

through!(rmi_host::Error: DelegateFailed, UndelegateFailed, ShareFailed, UnshareFailed, Failure);
through!(BuildError: Stopped, ConvertStopped, FoldStopped, S2apStopped, NotShared);
