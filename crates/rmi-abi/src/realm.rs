//! The Realm parameter page.
//!
//! [`RealmParams`] is the logical content; [`RealmParams::encode`] lays it out for a dialect and refuses what the dialect cannot express.
//! The wire structs are public for those who want the bytes.

use core::fmt;
use core::mem::offset_of;

use num_enum::{FromPrimitive, IntoPrimitive};
use static_assertions::{const_assert, const_assert_eq};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::address::Pa;
use crate::dialect::Dialect;
use crate::rtt::{Geometry, Level};

/// The algorithm that measures a Realm. The order of the codes is not by size.
///
/// Source: DEN0137 2.0-bet3, `RmiHashAlgorithm`. 1.0 knows SHA-256 and SHA-512.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiHashAlgorithm")]
pub enum HashAlgorithm {
    /// SHA-256.
    #[doc(alias = "RMI_HASH_SHA_256")]
    Sha256 = 0,
    /// SHA-512.
    #[doc(alias = "RMI_HASH_SHA_512")]
    Sha512 = 1,
    /// SHA-384.
    #[doc(alias = "RMI_HASH_SHA_384")]
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

bitflags::bitflags! {
    /// `RmiRealmFlags0` (1.0: `RmiRealmFlags`): what a Realm is given. The two policies are fields, see [`RealmParams`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiRealmFlags")]
    #[doc(alias = "RmiRealmFlags0")]
    pub struct RealmFlags0: u64 {
        /// 52-bit addresses; gone in 2.0-bet3.
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

    /// `RmiRealmFlags1` (2.0).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiRealmFlags1")]
    pub struct RealmFlags1: u64 {
        /// Every plane has its own translation tree.
        const RTT_TREE_PER_PLANE = 1 << 0;
        /// Stage 2 permissions are encoded indirectly.
        const RTT_S2AP_INDIRECT = 1 << 1;
        /// Address translation service (2.0-bet0 text).
        const ATS = 1 << 2;
        const _ = !0;
    }
}

/// Bytes of the Realm Personalization Value.
pub const RPV_BYTES: usize = 64;

/// What `RMI_REALM_CREATE` is told about a new Realm.
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
    /// Whether the Realm has a memory encryption context of its own (2.0).
    pub private_mec: bool,
    /// Number of breakpoints minus one; 0 is reserved.
    pub num_bps: u8,
    /// Number of watchpoints minus one; 0 is reserved.
    pub num_wps: u8,
    /// The measuring algorithm.
    pub hash: HashAlgorithm,
    /// Number of auxiliary planes (2.0).
    pub num_aux_planes: u8,
    /// Whether every plane has a translation tree of its own (2.0).
    pub tree_per_plane: bool,
    /// Whether stage 2 permissions are encoded indirectly (2.0).
    pub s2ap_indirect: bool,
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
    /// Parameters of a plain Realm: no SVE, no PMU, no devices, SHA-256, an all-zero personalization value.
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
        for (wanted, flag, field) in [
            (self.device_assignment, RealmFlags0::DA, "device_assignment"),
            (self.live_activation, RealmFlags0::LFA_ALLOW, "live_activation"),
            (self.private_mec, RealmFlags0::MEC_PRIVATE, "private_mec"),
        ] {
            if wanted && !dialect.is_2_0() {
                return Err(ParamsError { field, dialect });
            }
            flags.set(flag, wanted);
        }
        Ok(flags)
    }

    fn flags1(&self) -> RealmFlags1 {
        let mut flags = RealmFlags1::empty();
        flags.set(RealmFlags1::RTT_TREE_PER_PLANE, self.tree_per_plane);
        flags.set(RealmFlags1::RTT_S2AP_INDIRECT, self.s2ap_indirect);
        flags
    }

    /// Lays the parameters out as `dialect` has them.
    ///
    /// # Errors
    ///
    /// [`ParamsError`] names the first field that the dialect cannot express.
    pub fn encode(&self, dialect: Dialect) -> Result<RealmParamsPage, ParamsError> {
        let refuse = |field| Err(ParamsError { field, dialect });
        let mut page = RealmParamsPage::new_zeroed();
        page.flags0 = self.flags0(dialect)?.bits();
        page.s2sz = self.geometry.ipa_width();
        page.sve_vl = self.sve_vl.unwrap_or(0);
        page.num_bps = self.num_bps;
        page.num_wps = self.num_wps;
        page.pmu_num_ctrs = self.pmu_num_ctrs.unwrap_or(0);
        page.hash_algo = self.hash.into();
        page.rpv = self.rpv;
        page.rtt_base = self.rtt_base.raw();
        page.rtt_level_start = i64::from(self.geometry.start_level().number());
        page.rtt_num_start = u32::from(self.geometry.root_tables());
        if dialect.is_2_0() {
            if self.vmid != 0 {
                return refuse("vmid");
            }
            page.num_aux_planes = u64::from(self.num_aux_planes);
            page.flags1 = self.flags1().bits();
            page.aux_rtt_base = self.aux_rtt_base.map(Pa::raw);
            if self.max_num_vdevs != 0 && dialect != Dialect::V2_0Bet3 {
                return refuse("max_num_vdevs");
            }
            page.max_num_vdevs = self.max_num_vdevs;
        } else {
            if self.num_aux_planes != 0 {
                return refuse("num_aux_planes");
            }
            if self.tree_per_plane {
                return refuse("tree_per_plane");
            }
            if self.s2ap_indirect {
                return refuse("s2ap_indirect");
            }
            if self.max_num_vdevs != 0 {
                return refuse("max_num_vdevs");
            }
            page.vmid = self.vmid;
        }
        Ok(page)
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
        write!(f, "realm parameter `{}` does not exist in dialect {}", self.field, self.dialect)
    }
}

impl core::error::Error for ParamsError {}

/// The Realm parameter page, 4 KiB, host to RMM. Bytes between fields are reserved and zero.
///
/// | Offset | Bytes | Field | Dialects |
/// |---|---|---|---|
/// | 0x000 | 8 | `flags0` | all |
/// | 0x008 | 1 | `s2sz`, bits | all |
/// | 0x010 | 1 | `sve_vl`, 128-bit units minus one | all |
/// | 0x018 | 1 | `num_bps`, minus one | all |
/// | 0x020 | 1 | `num_wps`, minus one | all |
/// | 0x028 | 1 | `pmu_num_ctrs` | all |
/// | 0x030 | 1 | `hash_algo` | all |
/// | 0x038 | 8 | `num_aux_planes` | 2.0 |
/// | 0x400 | 64 | `rpv` | all |
/// | 0x440 | 8 | `ats_plane` | 2.0 |
/// | 0x800 | 2 | `vmid` | 1.0 |
/// | 0x808 | 8 | `rtt_base`, PA | all |
/// | 0x810 | 8 | `rtt_level_start`, signed level | all |
/// | 0x818 | 4 | `rtt_num_start`, granules | all |
/// | 0x820 | 8 | `flags1` | 2.0 |
/// | 0x828 | 8 | `max_num_vdevs` | 2.0-bet3 |
/// | 0xf80 | 24 | `aux_rtt_base`, three PAs | 2.0 |
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
#[doc(alias = "RmiRealmParams")]
#[expect(missing_docs, reason = "the table above documents every field")]
pub struct RealmParamsPage {
    pub flags0: u64,
    pub s2sz: u8,
    _sbz0: [u8; 7],
    pub sve_vl: u8,
    _sbz1: [u8; 7],
    pub num_bps: u8,
    _sbz2: [u8; 7],
    pub num_wps: u8,
    _sbz3: [u8; 7],
    pub pmu_num_ctrs: u8,
    _sbz4: [u8; 7],
    pub hash_algo: u8,
    _sbz5: [u8; 7],
    pub num_aux_planes: u64,
    _sbz6: [u8; 0x400 - 0x040],
    pub rpv: [u8; RPV_BYTES],
    pub ats_plane: u64,
    _sbz7: [u8; 0x800 - 0x448],
    pub vmid: u16,
    _sbz8: [u8; 6],
    pub rtt_base: u64,
    pub rtt_level_start: i64,
    pub rtt_num_start: u32,
    _sbz9: [u8; 4],
    pub flags1: u64,
    pub max_num_vdevs: u64,
    _sbz10: [u8; 0xf80 - 0x830],
    pub aux_rtt_base: [u64; 3],
    _sbz11: [u8; 0x1000 - 0xf98],
}

const_assert_eq!(size_of::<RealmParamsPage>(), 0x1000);
const_assert_eq!(offset_of!(RealmParamsPage, hash_algo), 0x030);
const_assert_eq!(offset_of!(RealmParamsPage, num_aux_planes), 0x038);
const_assert_eq!(offset_of!(RealmParamsPage, rpv), 0x400);
const_assert_eq!(offset_of!(RealmParamsPage, vmid), 0x800);
const_assert_eq!(offset_of!(RealmParamsPage, rtt_base), 0x808);
const_assert_eq!(offset_of!(RealmParamsPage, rtt_level_start), 0x810);
const_assert_eq!(offset_of!(RealmParamsPage, rtt_num_start), 0x818);
const_assert_eq!(offset_of!(RealmParamsPage, flags1), 0x820);
const_assert_eq!(offset_of!(RealmParamsPage, max_num_vdevs), 0x828);
const_assert_eq!(offset_of!(RealmParamsPage, aux_rtt_base), 0xf80);
const_assert!(align_of::<RealmParamsPage>() == 0x1000);

impl RealmParamsPage {
    /// The start level, if it is one that exists.
    #[must_use]
    pub fn start_level(&self) -> Option<Level> {
        i8::try_from(self.rtt_level_start).ok().and_then(Level::new)
    }

    /// The page whose hash is the initial measurement: only `flags0`, `s2sz`, `sve_vl`, `num_bps`, `num_wps`, `pmu_num_ctrs` and `hash_algo` are
    /// kept, the rest is zero.
    ///
    /// Source: DEN0137 1.0-rel0, "Realm Initial Measurement"; TF-RMM (July 2026) does the same.
    #[must_use]
    pub fn measured(&self) -> Self {
        let mut page = Self::new_zeroed();
        page.flags0 = self.flags0;
        page.s2sz = self.s2sz;
        page.sve_vl = self.sve_vl;
        page.num_bps = self.num_bps;
        page.num_wps = self.num_wps;
        page.pmu_num_ctrs = self.pmu_num_ctrs;
        page.hash_algo = self.hash_algo;
        page
    }
}

/// The RMM configuration page, 4 KiB.
///
/// | Offset | Bytes | Field |
/// |---|---|---|
/// | 0x000 | 1 | `tracking_region_size`, a code whose meaning depends on the granule size |
/// | 0x008 | 1 | `rmi_granule_size`, `RmiGranuleSize` |
///
/// Source: DEN0137 2.0-bet3, `RmiRmmConfig`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
#[doc(alias = "RmiRmmConfig")]
#[expect(missing_docs, reason = "the table above documents every field")]
pub struct RmmConfigPage {
    pub tracking_region_size: u8,
    _sbz0: [u8; 7],
    pub rmi_granule_size: u8,
    _sbz1: [u8; 0x1000 - 9],
}

const_assert_eq!(size_of::<RmmConfigPage>(), 0x1000);
const_assert_eq!(offset_of!(RmmConfigPage, rmi_granule_size), 8);
