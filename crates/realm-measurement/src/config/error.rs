//! What an RMM does not offer to a Realm.

use core::fmt;

use rmi_abi::Dialect;
use rmi_abi::feature::{Features, RttPlaneFeature};
use rmi_abi::realm::{HashAlgorithm, ParamsError, S2apEncoding};
use rmi_abi::rtt::GeometryError;
use thiserror::Error;

use super::PlaneTables;

macro_rules! parameters {
    ($($variant:ident = $name:ident,)+) => {
        /// A parameter of a Realm, displayed as the name of its field in
        /// [`RealmConfig`](super::RealmConfig).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Parameter {
            $(
                #[doc = concat!(
                    "[`RealmConfig::",
                    stringify!($name),
                    "`](super::RealmConfig::",
                    stringify!($name),
                    ")."
                )]
                $variant,
            )+
        }

        impl Parameter {
            /// The field's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)+
                }
            }
        }
    };
}

parameters! {
    Lpa2 = lpa2,
    NumBps = num_bps,
    NumWps = num_wps,
    SveVl = sve_vl,
    PmuNumCtrs = pmu_num_ctrs,
    PrivateMec = private_mec,
    LiveActivation = live_activation,
    DeviceAssignment = device_assignment,
    MaxNumVdevs = max_num_vdevs,
    Ats = ats,
    AtsPlane = ats_plane,
    NumAuxPlanes = num_aux_planes,
    S2ap = s2ap,
    Vmid = vmid,
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The algorithms that an RMM measures with, displayed as a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HashOffer([bool; HashOffer::KNOWN.len()]);

impl HashOffer {
    const KNOWN: [HashAlgorithm; 3] =
        [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];

    pub(super) fn of(features: &Features) -> Self {
        Self(Self::KNOWN.map(|algorithm| features.supports_hash(algorithm)))
    }

    /// The algorithms, by length of their digests.
    pub fn iter(&self) -> impl Iterator<Item = HashAlgorithm> + use<> {
        Self::KNOWN.into_iter().zip(self.0).filter_map(|(algorithm, has)| has.then_some(algorithm))
    }
}

impl fmt::Display for HashOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, algorithm) in self.iter().enumerate() {
            write!(f, "{}{algorithm}", if i == 0 { "" } else { ", " })?;
        }
        if self.iter().next().is_none() { f.write_str("none") } else { Ok(()) }
    }
}

/// What an RMM does not offer to a Realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The IPA space is wider than the RMM supports.
    #[error("an IPA width of {wanted} bits is more than the {max} bits that the RMM supports")]
    #[non_exhaustive]
    IpaWidth {
        /// Width wanted, in bits.
        wanted: u8,
        /// Largest width supported.
        max: u8,
    },
    /// The IPA space is wider than 48 bits, and the configuration excludes 52-bit addresses.
    #[error("an IPA width of {ipa_width} bits needs 52-bit addresses, but `lpa2` is false")]
    #[non_exhaustive]
    Lpa2Declined {
        /// Width wanted, in bits.
        ipa_width: u8,
    },
    /// No translation tables cover that width from that level.
    #[error("{0}")]
    Geometry(#[from] GeometryError),
    /// The width and the start level need another number of root tables.
    #[error("`root_tables` is {wanted}, but width and start level need {needed}")]
    #[non_exhaustive]
    RootTables {
        /// Number wanted.
        wanted: u8,
        /// Number needed.
        needed: u8,
    },
    /// The RMM does not measure with this algorithm.
    #[error("the RMM does not measure with {wanted}; it offers: {offered}")]
    #[non_exhaustive]
    Hash {
        /// Algorithm wanted.
        wanted: HashAlgorithm,
        /// Algorithms that it supports.
        offered: HashOffer,
    },
    /// The dialect has no such parameter, or not this value of it.
    #[error("dialect {dialect} does not have `{parameter}`")]
    #[non_exhaustive]
    Foreign {
        /// The parameter.
        parameter: Parameter,
        /// The dialect.
        dialect: Dialect,
    },
    /// The RMM lacks the feature that the parameter asks for.
    #[error("the RMM does not offer what `{parameter}` asks for")]
    #[non_exhaustive]
    Unavailable {
        /// The parameter.
        parameter: Parameter,
    },
    /// A number is outside what the RMM, or another parameter, allows.
    #[error("{}", OutOfRange { parameter: *.parameter, wanted: *.wanted, min: *.min, max: *.max })]
    #[non_exhaustive]
    Range {
        /// The parameter.
        parameter: Parameter,
        /// Number wanted.
        wanted: u64,
        /// Minimum.
        min: u64,
        /// Maximum; less than `min` when nothing is allowed.
        max: u64,
    },
    /// A parameter has no meaning without another one.
    #[error("`{parameter}` needs `{needs}`")]
    #[non_exhaustive]
    Needs {
        /// The parameter.
        parameter: Parameter,
        /// The parameter that it needs.
        needs: Parameter,
    },
    /// The RMM does not translate planes in this way.
    #[error("the RMM does not offer {wanted}; it offers: {}", Offered(*.offered))]
    #[non_exhaustive]
    PlaneTables {
        /// The way wanted.
        wanted: PlaneTables,
        /// The ways that it supports.
        offered: RttPlaneFeature,
    },
    /// These tables need the other encoding of permissions.
    #[error(
        "`s2ap` is {wanted:?}: not possible with {}",
        .tables.map_or("any tables", PlaneTables::name)
    )]
    #[non_exhaustive]
    S2ap {
        /// Encoding wanted.
        wanted: S2apEncoding,
        /// The planes' tables; `None` without auxiliary planes, when only an unknown encoding is
        /// refused.
        tables: Option<PlaneTables>,
    },
    /// The RMM has no private memory encryption context to offer.
    #[error("the RMM has no private memory encryption context left")]
    PrivateMec,
    /// The dialect cannot express a parameter.
    #[error("{0}")]
    Params(#[from] ParamsError),
}

impl PlaneTables {
    const fn name(self) -> &'static str {
        match self {
            Self::Shared => "one tree for all planes",
            Self::PerPlane => "a tree per plane",
        }
    }
}

impl fmt::Display for PlaneTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text of [`ConfigError::Range`].
struct OutOfRange {
    parameter: Parameter,
    wanted: u64,
    min: u64,
    max: u64,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { parameter, wanted, min, max } = self;
        write!(f, "`{parameter}` is {wanted}: ")?;
        match (parameter, min) {
            // Another parameter limits it, not the RMM.
            (Parameter::AtsPlane, _) => write!(f, "the realm has {max} auxiliary planes"),
            _ if max < min => f.write_str("not supported by this RMM"),
            (_, 0) => write!(f, "not supported by this RMM (maximum {max})"),
            _ => write!(f, "not supported by this RMM (minimum {min}, maximum {max})"),
        }
    }
}

/// The ways to translate planes that an RMM supports.
struct Offered(RttPlaneFeature);

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            RttPlaneFeature::Aux => PlaneTables::PerPlane.fmt(f),
            RttPlaneFeature::Single => PlaneTables::Shared.fmt(f),
            RttPlaneFeature::AuxSingle => f.write_str("either"),
            other => write!(f, "{other:?}"),
        }
    }
}
