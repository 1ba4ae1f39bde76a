//! The configuration of a Realm: plain data, checked against the RMM before the first call.
//!
//! A [`RealmConfig`] has every parameter that any dialect has. What neither the RMM's features nor
//! the dialect can do is refused by [`RealmConfig::validate`], each parameter by its name
//! ([`Parameter`]). With the feature `serde`, it is read from and written to configuration files
//! (see [`RealmConfig`]).

mod error;
#[cfg(feature = "serde")]
mod serial;
#[cfg(test)]
mod tests;
mod validate;

pub use error::{ConfigError, HashOffer, Parameter};

use rmi_abi::realm::{HashAlgorithm, RPV_BYTES, S2apEncoding};
use rmi_abi::rtt::Level;

/// How the planes of a Realm are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum PlaneTables {
    /// All planes share one tree; needs indirect permissions.
    #[doc(alias = "SINGLE")]
    Shared,
    /// Every plane has its own tree; needs direct permissions.
    #[doc(alias = "AUX")]
    #[doc(alias = "rtt_tree_per_plane")]
    PerPlane,
}

/// The configuration of a Realm.
///
/// | Field | Unit, meaning | Without it | Dialects | Must be within |
/// |---|---|---|---|---|
/// | `ipa_width` | bits, 32 to 52 | (required) | all | `S2SZ`; above 48: `LPA2` |
/// | `lpa2` | 52-bit addresses | as the width needs | a flag before 2.0-bet3 | `LPA2` |
/// | `start_level` | -1 to 2 | fewest root tables | all | the width |
/// | `root_tables` | granules: 1, 2, 4, 8, 16 | as width and level need | all | exactly those |
/// | `hash` | `sha-256`, `sha-384`, `sha-512` | `sha-256` | all | `HASH_*` |
/// | `personalization` | 64 bytes, in a file up to 128 hexadecimal digits | zeros | all | - |
/// | `num_bps`, `num_wps` | number minus one, at least 1 | 1 | all | `NUM_BPS`, `NUM_WPS` |
/// | `sve_vl` | 128 bits, minus one | no SVE | all | `SVE`, `SVE_VL` |
/// | `pmu_num_ctrs` | number | no PMU | all | `PMU`, `PMU_NUM_CTRS` |
/// | `private_mec` | | `false` | 2.0 | `MEC_COUNT` |
/// | `live_activation` | | `false` | 2.0 | - |
/// | `device_assignment` | | `false` | 2.0 | `DA` |
/// | `max_num_vdevs` | number; needs `device_assignment` | 0 | 2.0-bet3 | `REALM_MAX_VDEVS_ORDER` |
/// | `ats` | needs `device_assignment` | `false` | 2.0-bet0 | `ATS` |
/// | `ats_plane` | index of a plane | 0 | 2.0 | `num_aux_planes` |
/// | `num_aux_planes` | number | 0 | 2.0 | `MAX_NUM_AUX_PLANES`; 3 with a tree per plane |
/// | `plane_tables` | `shared`, `per-plane` | `shared` where the RMM can | 2.0 | `RTT_PLANE` |
/// | `s2ap` | `direct`, `indirect` | as `plane_tables` needs | 2.0 | `RTT_S2AP_INDIRECT` |
/// | `vmid` | virtual machine identifier | 0 | 1.0 | - |
///
/// # Configuration files
///
/// With the feature `serde`, the names and units in a file are those of the table. Everything but
/// `ipa_width` may be left out; a name that is not in the table is refused. The personalization
/// value is a string of hexadecimal digits, two for a byte and at most 64 bytes; zeros follow.
/// Algorithms without a name (unknown codes) cannot be written.
///
/// ```
/// # #[cfg(feature = "serde")] {
/// let file = r#"{ "ipa_width": 40, "hash": "sha-512", "personalization": "c0ffee",
///                "num_aux_planes": 1 }"#;
/// let config: realm_measurement::RealmConfig = serde_json::from_str(file).unwrap();
/// assert_eq!(config.personalization[..4], [0xc0, 0xff, 0xee, 0]);
/// # }
/// ```
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRealmParams`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RealmConfig {
    /// Width of the IPA space in bits. The lower half is private to the Realm, the upper half
    /// shared with the host.
    #[doc(alias = "s2sz")]
    pub ipa_width: u8,
    /// Whether the Realm's memory may have 52-bit addresses; `None` if the IPA width needs it.
    /// 2.0-bet3 has no such flag: there it follows from the width.
    pub lpa2: Option<bool>,
    /// Level of the root tables; `None` for the one with the fewest root tables that certainly
    /// exists: level 0 needs 44-bit physical addresses, which no feature reports, but an IPA space
    /// is never wider than they are.
    #[doc(alias = "rtt_level_start")]
    pub start_level: Option<Level>,
    /// Number of root tables; `None` for what the width and the start level need. Any other number
    /// is refused.
    #[doc(alias = "rtt_num_start")]
    pub root_tables: Option<u8>,
    /// The algorithm that measures the Realm.
    #[doc(alias = "hash_algo")]
    pub hash: HashAlgorithm,
    /// The Realm Personalization Value: part of the attestation token, not of the measurement.
    #[doc(alias = "rpv")]
    pub personalization: [u8; RPV_BYTES],
    /// Number of breakpoints minus one, at least 1.
    pub num_bps: u8,
    /// Number of watchpoints minus one, at least 1.
    pub num_wps: u8,
    /// SVE vector length in units of 128 bits, minus one; `None` without SVE.
    pub sve_vl: Option<u8>,
    /// Number of PMU counters; `None` without a PMU. Zero counters need `FEAT_HPMN0`, which no
    /// feature reports.
    pub pmu_num_ctrs: Option<u8>,
    /// Whether the Realm has its own memory encryption context.
    #[doc(alias = "mec_policy")]
    pub private_mec: bool,
    /// Whether live firmware activation is allowed.
    #[doc(alias = "lfa_policy")]
    pub live_activation: bool,
    /// Whether devices may be assigned to the Realm.
    #[doc(alias = "da")]
    pub device_assignment: bool,
    /// Maximum number of virtual devices of the Realm (2.0-bet3).
    pub max_num_vdevs: u64,
    /// Whether devices use address translation services (2.0-bet0).
    pub ats: bool,
    /// The plane that translates for devices.
    pub ats_plane: u8,
    /// Number of auxiliary planes.
    pub num_aux_planes: u8,
    /// How the planes are translated; `None` for what the RMM offers, preferably one tree for all.
    /// Without auxiliary planes it has no effect.
    #[doc(alias = "rtt_tree_per_plane")]
    pub plane_tables: Option<PlaneTables>,
    /// How stage 2 permissions are encoded; `None` for what the planes' tables need, and
    /// [`S2apEncoding::Direct`] without auxiliary planes.
    #[doc(alias = "rtt_s2ap_encoding")]
    pub s2ap: Option<S2apEncoding>,
    /// The virtual machine identifier (1.0); an RMM of 2.0 chooses it itself.
    ///
    /// No two Realms of an RMM may have the same one: to create the second is
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput). So it is for one that has more bits than the
    /// CPU: eight without `FEAT_VMID16`. `OptionalParameter::Vmid.exists_in` tells whether a
    /// dialect has it. It is not measured.
    pub vmid: u16,
}

impl RealmConfig {
    /// A plain Realm: SHA-256, an all-zero personalization value, two breakpoints and watchpoints,
    /// no SVE, no PMU, no devices, one plane.
    #[must_use]
    pub const fn new(ipa_width: u8) -> Self {
        Self {
            ipa_width,
            lpa2: None,
            start_level: None,
            root_tables: None,
            hash: HashAlgorithm::Sha256,
            personalization: [0; RPV_BYTES],
            num_bps: 1,
            num_wps: 1,
            sve_vl: None,
            pmu_num_ctrs: None,
            private_mec: false,
            live_activation: false,
            device_assignment: false,
            max_num_vdevs: 0,
            ats: false,
            ats_plane: 0,
            num_aux_planes: 0,
            plane_tables: None,
            s2ap: None,
            vmid: 0,
        }
    }
}
