//! What an RMM does not offer to a Realm.

use core::fmt;

use rmi_abi::Dialect;
use rmi_abi::feature::{Features, RttPlaneFeature};
use rmi_abi::realm::{HashAlgorithm, ParamsError, S2apEncoding};
use rmi_abi::rtt::GeometryError;

use super::PlaneTables;

macro_rules! parameters {
    ($($variant:ident = $name:ident,)+) => {
        /// A parameter of a Realm, displayed as the name of its field in
        /// [`RealmConfig`](super::RealmConfig).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Parameter {
            $(
                #[doc = concat!("[`RealmConfig::", stringify!($name), "`](super::RealmConfig::", stringify!($name), ").")]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The IPA space is wider than the RMM supports.
    #[non_exhaustive]
    IpaWidth {
        /// Width wanted, in bits.
        wanted: u8,
        /// Largest width supported.
        max: u8,
    },
    /// The IPA space is wider than 48 bits, and the configuration excludes 52-bit addresses.
    #[non_exhaustive]
    Lpa2Declined {
        /// Width wanted, in bits.
        ipa_width: u8,
    },
    /// No translation tables cover that width from that level.
    Geometry(GeometryError),
    /// The width and the start level need another number of root tables.
    #[non_exhaustive]
    RootTables {
        /// Number wanted.
        wanted: u8,
        /// Number needed.
        needed: u8,
    },
    /// The RMM does not measure with this algorithm.
    #[non_exhaustive]
    Hash {
        /// Algorithm wanted.
        wanted: HashAlgorithm,
        /// Algorithms that it supports.
        offered: HashOffer,
    },
    /// The dialect has no such parameter, or not this value of it.
    #[non_exhaustive]
    Foreign {
        /// The parameter.
        parameter: Parameter,
        /// The dialect.
        dialect: Dialect,
    },
    /// The RMM lacks the feature that the parameter asks for.
    #[non_exhaustive]
    Unavailable {
        /// The parameter.
        parameter: Parameter,
    },
    /// A number is outside what the RMM, or another parameter, allows.
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
    #[non_exhaustive]
    Needs {
        /// The parameter.
        parameter: Parameter,
        /// The parameter that it needs.
        needs: Parameter,
    },
    /// The RMM does not translate planes in this way.
    #[non_exhaustive]
    PlaneTables {
        /// The way wanted.
        wanted: PlaneTables,
        /// The ways that it supports.
        offered: RttPlaneFeature,
    },
    /// These tables need the other encoding of permissions.
    #[non_exhaustive]
    S2ap {
        /// Encoding wanted.
        wanted: S2apEncoding,
        /// The planes' tables; `None` without auxiliary planes, when only an unknown encoding is
        /// refused.
        tables: Option<PlaneTables>,
    },
    /// The RMM has no private memory encryption context to offer.
    PrivateMec,
    /// The dialect cannot express a parameter.
    Params(ParamsError),
}

impl From<GeometryError> for ConfigError {
    fn from(error: GeometryError) -> Self {
        Self::Geometry(error)
    }
}

impl From<ParamsError> for ConfigError {
    fn from(error: ParamsError) -> Self {
        Self::Params(error)
    }
}

impl fmt::Display for PlaneTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Shared => "one tree for all planes",
            Self::PerPlane => "a tree per plane",
        })
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IpaWidth { wanted, max } => {
                write!(
                    f,
                    "an IPA width of {wanted} bits is more than the {max} bits that the RMM supports"
                )
            }
            Self::Lpa2Declined { ipa_width } => {
                write!(
                    f,
                    "an IPA width of {ipa_width} bits needs 52-bit addresses, but `lpa2` is false"
                )
            }
            Self::Geometry(error) => error.fmt(f),
            Self::RootTables { wanted, needed } => {
                write!(f, "`root_tables` is {wanted}, but width and start level need {needed}")
            }
            Self::Hash { wanted, offered } => {
                write!(f, "the RMM does not measure with {wanted}; it offers: {offered}")
            }
            Self::Foreign { parameter, dialect } => {
                write!(f, "dialect {dialect} does not have `{parameter}`")
            }
            Self::Unavailable { parameter } => {
                write!(f, "the RMM does not offer what `{parameter}` asks for")
            }
            Self::Range { parameter, wanted, min, max } if max < min => {
                write!(f, "`{parameter}` is {wanted}, but the RMM offers none")
            }
            Self::Range { parameter, wanted, min, max } => {
                write!(f, "`{parameter}` is {wanted}, which is not within {min} to {max}")
            }
            Self::Needs { parameter, needs } => write!(f, "`{parameter}` needs `{needs}`"),
            Self::PlaneTables { wanted, offered } => {
                write!(f, "the RMM does not offer {wanted}; it offers: ")?;
                match offered {
                    RttPlaneFeature::Aux => PlaneTables::PerPlane.fmt(f),
                    RttPlaneFeature::Single => PlaneTables::Shared.fmt(f),
                    RttPlaneFeature::AuxSingle => f.write_str("either"),
                    other => write!(f, "{other:?}"),
                }
            }
            Self::S2ap { wanted, tables } => {
                write!(f, "`s2ap` is {wanted:?}, which does not go with ")?;
                match tables {
                    Some(tables) => tables.fmt(f),
                    None => f.write_str("any tables"),
                }
            }
            Self::PrivateMec => {
                f.write_str("the RMM has no private memory encryption context left")
            }
            Self::Params(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConfigError {}
