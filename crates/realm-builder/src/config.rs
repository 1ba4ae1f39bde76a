//! What a Realm is to be: plain data, checked against the RMM before the first call.

use core::fmt;

use rmi_abi::feature::Features;
use rmi_abi::realm::{HashAlgorithm, ParamsError, RPV_BYTES, RealmParams};
use rmi_abi::rtt::{Geometry, GeometryError, Level};
use rmi_abi::{Dialect, Pa};

/// What a Realm is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RealmConfig {
    /// Width of the IPA space in bits. The lower half is private to the Realm, the upper half shared with the host.
    #[doc(alias = "s2sz")]
    pub ipa_width: u8,
    /// Level of the root tables; `None` for the one with the fewest root tables.
    #[doc(alias = "rtt_level_start")]
    pub start_level: Option<Level>,
    /// The algorithm that measures the Realm.
    #[doc(alias = "hash_algo")]
    pub hash: HashAlgorithm,
    /// The Realm Personalization Value: in the attestation token, not in the measurement.
    #[doc(alias = "rpv")]
    pub personalization: [u8; RPV_BYTES],
    /// Number of breakpoints minus one, at least 1.
    pub num_bps: u8,
    /// Number of watchpoints minus one, at least 1.
    pub num_wps: u8,
    /// SVE vector length in units of 128 bits, minus one; `None` without SVE.
    pub sve_vl: Option<u8>,
    /// Number of PMU counters; `None` without a PMU.
    pub pmu_num_ctrs: Option<u8>,
    /// Whether the Realm has a memory encryption context of its own.
    #[doc(alias = "mec_policy")]
    pub private_mec: bool,
    /// Whether live firmware activation is allowed.
    #[doc(alias = "lfa_policy")]
    pub live_activation: bool,
}

impl RealmConfig {
    /// A plain Realm: SHA-256, an all-zero personalization value, two breakpoints and watchpoints, no SVE, no PMU.
    #[must_use]
    pub const fn new(ipa_width: u8) -> Self {
        Self {
            ipa_width,
            start_level: None,
            hash: HashAlgorithm::Sha256,
            personalization: [0; RPV_BYTES],
            num_bps: 1,
            num_wps: 1,
            sve_vl: None,
            pmu_num_ctrs: None,
            private_mec: false,
            live_activation: false,
        }
    }

    /// The parameters of `RMI_REALM_CREATE` for an RMM with these features, except for the root tables' address.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first thing that the RMM does not offer.
    pub fn validate(
        &self,
        features: &Features,
        dialect: Dialect,
    ) -> Result<RealmParams, ConfigError> {
        let max = features.max_ipa_width();
        if self.ipa_width > max {
            return Err(ConfigError::IpaWidth { wanted: self.ipa_width, max });
        }
        if self.ipa_width > 48 && !features.lpa2() {
            return Err(ConfigError::IpaWidth { wanted: self.ipa_width, max: max.min(48) });
        }
        let geometry = match self.start_level {
            None => Geometry::new(self.ipa_width)?,
            Some(level) => Geometry::with_start_level(self.ipa_width, level)?,
        };
        if !features.supports_hash(self.hash) {
            return Err(ConfigError::Hash(self.hash));
        }
        for (what, wanted, max) in [
            ("breakpoints", self.num_bps, features.num_bps()),
            ("watchpoints", self.num_wps, features.num_wps()),
        ] {
            if wanted == 0 || wanted > max {
                return Err(ConfigError::Count { what, wanted, max });
            }
        }
        for (what, wanted, have) in [
            ("SVE vector length", self.sve_vl, features.sve_vl()),
            ("PMU counters", self.pmu_num_ctrs, features.pmu_num_ctrs()),
        ] {
            match (wanted, have) {
                (None, _) => {}
                (Some(wanted), Some(max)) if wanted <= max => {}
                (Some(wanted), max) => {
                    return Err(ConfigError::Count { what, wanted, max: max.unwrap_or(0) });
                }
            }
        }
        if self.private_mec && features.mec_count() == 0 {
            return Err(ConfigError::PrivateMec);
        }
        let mut params = RealmParams::new(geometry, Pa::new(0));
        params.hash = self.hash;
        params.rpv = self.personalization;
        params.num_bps = self.num_bps;
        params.num_wps = self.num_wps;
        params.sve_vl = self.sve_vl;
        params.pmu_num_ctrs = self.pmu_num_ctrs;
        params.private_mec = self.private_mec;
        params.live_activation = self.live_activation;
        params.encode(dialect)?;
        Ok(params)
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
        /// Widest supported.
        max: u8,
    },
    /// No translation tables cover that width from that level.
    Geometry(GeometryError),
    /// The RMM does not measure with this algorithm.
    Hash(HashAlgorithm),
    /// A number is out of range.
    #[non_exhaustive]
    Count {
        /// Of what.
        what: &'static str,
        /// Number wanted.
        wanted: u8,
        /// Most that the RMM offers.
        max: u8,
    },
    /// The RMM has no private memory encryption context to give.
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

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IpaWidth { wanted, max } => {
                write!(
                    f,
                    "an IPA width of {wanted} bits is more than the {max} bits that the RMM supports"
                )
            }
            Self::Geometry(error) => error.fmt(f),
            Self::Hash(hash) => write!(f, "the RMM does not measure with {hash}"),
            Self::Count { what, wanted, max } => {
                write!(f, "{what}: {wanted} is not within the 1 to {max} that the RMM offers")
            }
            Self::PrivateMec => {
                f.write_str("the RMM has no private memory encryption context left")
            }
            Self::Params(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConfigError {}
