//! The Realm parameter page.
//!
//! [`RealmParams`] is the logical content; [`RealmParams::encode`] lays it out for a dialect and
//! refuses what the dialect cannot express. The wire structs are public for users who need the
//! bytes.

mod optional;
mod page;

use core::fmt;

use num_enum::{FromPrimitive, IntoPrimitive};

pub use optional::OptionalParameter;
pub use page::RealmParamsPage;

use crate::address::Pa;
use crate::dialect::Dialect;
use crate::rtt::Geometry;

#[doc(no_inline)]
pub use crate::rmm::RmmConfigPage;

/// The algorithm that measures a Realm. The order of the codes is not by size.
///
/// Source: DEN0137 2.0-bet3, `RmiHashAlgorithm`. 1.0 has SHA-256 and SHA-512.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiHashAlgorithm")]
#[doc(alias = "RsiHashAlgorithm")]
pub enum HashAlgorithm {
    /// SHA-256.
    #[doc(alias = "RMI_HASH_SHA_256")]
    #[doc(alias = "RSI_HASH_SHA_256")]
    #[doc(alias = "SHA_256")]
    Sha256 = 0,
    /// SHA-512.
    #[doc(alias = "RMI_HASH_SHA_512")]
    #[doc(alias = "RSI_HASH_SHA_512")]
    #[doc(alias = "SHA_512")]
    Sha512 = 1,
    /// SHA-384.
    #[doc(alias = "RMI_HASH_SHA_384")]
    #[doc(alias = "RSI_HASH_SHA_384")]
    #[doc(alias = "SHA_384")]
    Sha384 = 2,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

impl HashAlgorithm {
    /// Length of the digest in bytes; `None` for an unknown algorithm.
    #[must_use]
    pub const fn digest_bytes(self) -> Option<usize> {
        match self {
            Self::Sha256 => Some(32),
            Self::Sha384 => Some(48),
            Self::Sha512 => Some(64),
            Self::Unknown(_) => None,
        }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256 => f.pad("sha-256"),
            Self::Sha512 => f.pad("sha-512"),
            Self::Sha384 => f.pad("sha-384"),
            Self::Unknown(code) => write!(f, "hash algorithm {code}"),
        }
    }
}

/// Whether the firmware below a running Realm may be replaced, bits 6:5 of `RmiRealmFlags0`.
///
/// Source: DEN0137 2.0-bet3, `RmiLfaPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiLfaPolicy")]
#[non_exhaustive]
pub enum LfaPolicy {
    /// It may not be replaced.
    #[doc(alias = "DISALLOW")]
    Disallow = 0,
    /// It may be replaced.
    #[doc(alias = "ALLOW")]
    Allow = 1,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

/// Whose memory encryption context a Realm uses, bits 8:7 of `RmiRealmFlags0`.
///
/// Source: DEN0137 2.0-bet3, `RmiMecPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiMecPolicy")]
#[non_exhaustive]
pub enum MecPolicy {
    /// The one that all such Realms share.
    #[doc(alias = "SHARED")]
    Shared = 0,
    /// One of its own.
    #[doc(alias = "PRIVATE")]
    Private = 1,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

/// How stage 2 permissions are encoded, bit 1 of `RmiRealmFlags1`.
///
/// Source: DEN0137 2.0-bet3, `RmiRttS2APEncoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiRttS2APEncoding")]
#[non_exhaustive]
pub enum S2apEncoding {
    /// In the entry itself.
    #[doc(alias = "DIRECT")]
    Direct = 0,
    /// By an index into a table of permissions.
    #[doc(alias = "INDIRECT")]
    Indirect = 1,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

bitflags::bitflags! {
    /// `RmiRealmFlags0` (1.0: `RmiRealmFlags`): the features of a Realm. The policies are two-bit
    /// fields, [`LfaPolicy`] in bits 6:5 and [`MecPolicy`] in bits 8:7.
    ///
    /// Source: DEN0137 1.0-rel0, `RmiRealmFlags`; 2.0-bet3, `RmiRealmFlags0`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiRealmFlags")]
    #[doc(alias = "RmiRealmFlags0")]
    pub struct RealmFlags0: u64 {
        /// 52-bit addresses; not in 2.0-bet3.
        const LPA2 = 1 << 0;
        /// SVE.
        const SVE = 1 << 1;
        /// PMU.
        const PMU = 1 << 2;
        /// Devices may be assigned (2.0).
        const DA = 1 << 3;
        /// Live firmware activation is allowed (2.0), the low bit of `lfa_policy`.
        const LFA_ALLOW = 1 << 5;
        /// A private memory encryption context (2.0), the low bit of `mec_policy`.
        const MEC_PRIVATE = 1 << 7;
        const _ = !0;
    }

    /// `RmiRealmFlags1` (2.0): how planes are translated.
    ///
    /// Source: DEN0137 2.0-bet3, `RmiRealmFlags1`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiRealmFlags1")]
    pub struct RealmFlags1: u64 {
        /// Every plane has its own translation tree.
        const RTT_TREE_PER_PLANE = 1 << 0;
        /// Stage 2 permissions are encoded indirectly.
        #[doc(alias = "rtt_s2ap_encoding")]
        const RTT_S2AP_INDIRECT = 1 << 1;
        /// Address translation service (2.0-bet0 text).
        const ATS = 1 << 2;
        const _ = !0;
    }
}

/// Bytes of the Realm Personalization Value.
pub const RPV_BYTES: usize = 64;

/// The parameters of a new Realm for `RMI_REALM_CREATE`.
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRealmParams`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "RmiRealmParams")]
pub struct RealmParams {
    /// Whether the Realm has 52-bit addresses.
    pub lpa2: bool,
    /// SVE vector length in units of 128 bits, minus one; `None` without SVE.
    pub sve_vl: Option<u8>,
    /// Number of PMU counters; `None` without a PMU.
    pub pmu_num_ctrs: Option<u8>,
    /// Whether devices may be assigned (2.0).
    pub device_assignment: bool,
    /// Whether live firmware activation is allowed (2.0).
    pub live_activation: bool,
    /// Whether the Realm has its own memory encryption context (2.0).
    pub private_mec: bool,
    /// Number of breakpoints minus one; 0 is reserved.
    pub num_bps: u8,
    /// Number of watchpoints minus one; 0 is reserved.
    pub num_wps: u8,
    /// The measuring algorithm.
    pub hash: HashAlgorithm,
    /// Number of auxiliary planes (2.0).
    pub num_aux_planes: u8,
    /// Whether every plane has its own translation tree (2.0).
    pub tree_per_plane: bool,
    /// Whether stage 2 permissions are encoded indirectly (2.0).
    pub s2ap_indirect: bool,
    /// Whether devices use address translation services (2.0-bet0).
    pub ats: bool,
    /// The plane that translates for devices (2.0).
    pub ats_plane: u64,
    /// The Realm Personalization Value; in the attestation token, not in the measurement.
    pub rpv: [u8; RPV_BYTES],
    /// The virtual machine identifier (1.0); 2.0 chooses it itself.
    pub vmid: u16,
    /// IPA width, start level and number of root tables.
    pub geometry: Geometry,
    /// First root table.
    pub rtt_base: Pa,
    /// First root table of each auxiliary tree (2.0).
    pub aux_rtt_base: [Pa; 3],
    /// Most virtual devices (2.0-bet3).
    pub max_num_vdevs: u64,
}

impl RealmParams {
    /// Parameters of a plain Realm: no SVE, no PMU, no devices, SHA-256, an all-zero
    /// personalization value.
    #[must_use]
    pub const fn new(geometry: Geometry, rtt_base: Pa) -> Self {
        Self {
            lpa2: geometry.ipa_width() > 48,
            sve_vl: None,
            pmu_num_ctrs: None,
            device_assignment: false,
            live_activation: false,
            private_mec: false,
            num_bps: 1,
            num_wps: 1,
            hash: HashAlgorithm::Sha256,
            num_aux_planes: 0,
            tree_per_plane: false,
            s2ap_indirect: false,
            ats: false,
            ats_plane: 0,
            rpv: [0; RPV_BYTES],
            vmid: 0,
            geometry,
            rtt_base,
            aux_rtt_base: [Pa::new(0); 3],
            max_num_vdevs: 0,
        }
    }

    /// The flags word of a dialect.
    ///
    /// # Errors
    ///
    /// [`ParamsError`] for what the dialect cannot express.
    pub fn flags0(&self, dialect: Dialect) -> Result<RealmFlags0, ParamsError> {
        let mut flags = RealmFlags0::empty();
        flags.set(RealmFlags0::LPA2, self.lpa2 && dialect.has_lpa2_flag());
        flags.set(RealmFlags0::SVE, self.sve_vl.is_some());
        flags.set(RealmFlags0::PMU, self.pmu_num_ctrs.is_some());
        for (flag, parameter) in [
            (RealmFlags0::DA, OptionalParameter::DeviceAssignment),
            (RealmFlags0::LFA_ALLOW, OptionalParameter::LiveActivation),
            (RealmFlags0::MEC_PRIVATE, OptionalParameter::PrivateMec),
        ] {
            let wanted = parameter.is_set(self);
            if wanted && !parameter.exists_in(dialect) {
                return Err(ParamsError { field: parameter.name(), dialect });
            }
            flags.set(flag, wanted);
        }
        Ok(flags)
    }

    fn flags1(&self) -> RealmFlags1 {
        let mut flags = RealmFlags1::empty();
        flags.set(RealmFlags1::RTT_TREE_PER_PLANE, self.tree_per_plane);
        flags.set(RealmFlags1::RTT_S2AP_INDIRECT, self.s2ap_indirect);
        flags.set(RealmFlags1::ATS, self.ats);
        flags
    }

    /// The first parameter that is set but does not exist in `dialect`.
    fn foreign(&self, dialect: Dialect) -> Option<&'static str> {
        let is_foreign = |parameter: &&OptionalParameter| {
            parameter.is_set(self) && !parameter.exists_in(dialect)
        };
        OptionalParameter::ALL.iter().find(is_foreign).map(|parameter| parameter.name())
    }

    /// Checks that `dialect` can express the parameters, as [`RealmParams::encode`] does, without a
    /// page.
    ///
    /// # Errors
    ///
    /// [`ParamsError`] identifies the first field that the dialect cannot express.
    pub fn check(&self, dialect: Dialect) -> Result<(), ParamsError> {
        match self.foreign(dialect) {
            Some(field) => Err(ParamsError { field, dialect }),
            None => Ok(()),
        }
    }

    /// Lays the parameters out for `dialect`.
    ///
    /// # Errors
    ///
    /// [`ParamsError`] identifies the first field that the dialect cannot express.
    pub fn encode(&self, dialect: Dialect) -> Result<RealmParamsPage, ParamsError> {
        let mut page = RealmParamsPage::zeros();
        self.encode_into(&mut page, dialect)?;
        Ok(page)
    }

    /// As [`RealmParams::encode`], into a page that is all zeros: for callers with a small stack.
    ///
    /// # Errors
    ///
    /// As [`RealmParams::encode`]; the page is then unchanged.
    pub fn encode_into(
        &self,
        page: &mut RealmParamsPage,
        dialect: Dialect,
    ) -> Result<(), ParamsError> {
        self.check(dialect)?;
        page.flags0 = self.flags0(dialect)?.bits();
        page.s2sz = self.geometry.ipa_width();
        page.sve_vl = self.sve_vl.unwrap_or(0);
        page.num_bps = self.num_bps;
        page.num_wps = self.num_wps;
        page.pmu_num_ctrs = self.pmu_num_ctrs.unwrap_or(0);
        page.hash_algo = self.hash.into();
        page.num_aux_planes = u64::from(self.num_aux_planes);
        page.rpv = self.rpv;
        page.ats_plane = self.ats_plane;
        page.vmid = self.vmid;
        page.rtt_base = self.rtt_base.raw();
        page.rtt_level_start = i64::from(self.geometry.start_level().number());
        page.rtt_num_start = u32::from(self.geometry.root_tables());
        page.flags1 = self.flags1().bits();
        page.max_num_vdevs = self.max_num_vdevs;
        page.aux_rtt_base = self.aux_rtt_base.map(Pa::raw);
        Ok(())
    }

    /// Reads a page in the layout of `dialect`; what the dialect does not define must be zero.
    ///
    /// # Errors
    ///
    /// [`ParamsError`] identifies the first field with a value that the dialect does not define.
    pub fn decode(page: &RealmParamsPage, dialect: Dialect) -> Result<Self, ParamsError> {
        let refuse = |field| ParamsError { field, dialect };
        let flags0 = RealmFlags0::from_bits_retain(page.flags0);
        let flags1 = RealmFlags1::from_bits_retain(page.flags1);
        let level = page.start_level().ok_or(refuse("rtt_level_start"))?;
        let geometry =
            Geometry::with_start_level(page.s2sz, level).map_err(|_| refuse("geometry"))?;
        if page.rtt_num_start != u32::from(geometry.root_tables()) {
            return Err(refuse("rtt_num_start"));
        }
        let present = |flag, value| flags0.contains(flag).then_some(value);
        let params = Self {
            lpa2: if dialect.has_lpa2_flag() {
                flags0.contains(RealmFlags0::LPA2)
            } else {
                geometry.ipa_width() > 48
            },
            sve_vl: present(RealmFlags0::SVE, page.sve_vl),
            pmu_num_ctrs: present(RealmFlags0::PMU, page.pmu_num_ctrs),
            device_assignment: flags0.contains(RealmFlags0::DA),
            live_activation: flags0.contains(RealmFlags0::LFA_ALLOW),
            private_mec: flags0.contains(RealmFlags0::MEC_PRIVATE),
            num_bps: page.num_bps,
            num_wps: page.num_wps,
            hash: page.hash_algo.into(),
            num_aux_planes: u8::try_from(page.num_aux_planes)
                .map_err(|_| refuse("num_aux_planes"))?,
            tree_per_plane: flags1.contains(RealmFlags1::RTT_TREE_PER_PLANE),
            s2ap_indirect: flags1.contains(RealmFlags1::RTT_S2AP_INDIRECT),
            ats: flags1.contains(RealmFlags1::ATS),
            ats_plane: page.ats_plane,
            rpv: page.rpv,
            vmid: page.vmid,
            geometry,
            rtt_base: Pa::new(page.rtt_base),
            aux_rtt_base: page.aux_rtt_base.map(Pa::new),
            max_num_vdevs: page.max_num_vdevs,
        };
        if let Some(field) = params.foreign(dialect) {
            return Err(refuse(field));
        }
        if params.flags0(dialect)? != flags0 {
            return Err(refuse("flags0"));
        }
        if params.flags1() != flags1 {
            return Err(refuse("flags1"));
        }
        Ok(params)
    }
}

/// A Realm parameter that a dialect cannot express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParamsError {
    /// Name of the field of [`RealmParams`].
    pub field: &'static str,
    /// The dialect.
    pub dialect: Dialect,
}

impl fmt::Display for ParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "realm parameter `{}` cannot be expressed in dialect {}",
            self.field, self.dialect
        )
    }
}

impl core::error::Error for ParamsError {}
