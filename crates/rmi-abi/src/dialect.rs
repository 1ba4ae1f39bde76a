//! The dialects of the interface, with a table of all their differences.
//!
//! All 2.0 betas answer `RMI_VERSION` with 2.0, yet they differ in function identifiers, bit
//! positions, exit reasons and argument counts. A session therefore uses one [`Dialect`]; whatever
//! depends on it is implemented here or in the tables of [`crate::commands`], and nowhere else.
//!
//! | | 1.0 | 2.0-bet0 | 2.0-bet1 | tf-rmm-2026-07 | 2.0-bet3 |
//! |---|---|---|---|---|---|
//! | **Commands** | | | | | |
//! | commands | 23 | 99 | 88 | 70 | 91 |
//! | memory is delegated by | granule | range | range | range | range |
//! | stateful operations | no | yes | yes | yes | yes |
//! | number 0x153 | `DATA_CREATE` | `RTT_DATA_MAP_INIT` | `RTT_DATA_MAP_INIT` | `RTT_DATA_MAP_INIT` | `RTT_DATA_MAP_INIT` |
//! | number 0x180 | - | - | - | `RTT_AUX_MAP_PROTECTED` | - |
//! | number 0x18e | - | `VDEV_COMPLETE` | `VDEV_COMPLETE` | `VDEV_COMPLETE` | - |
//! | number 0x1d6 | - | `VSMMU_EVENT_NOTIFY` | `VSMMU_EVENT_NOTIFY` | - | `VSMMU_EVENT_HANDLE` |
//! | number 0x1ed | - | `PDEV_MEC_UPDATE` | - | - | - |
//! | number 0x1ee | - | `VSMMU_EVENT_COMPLETE` | `RMM_STATE_GET` | - | `RMM_STATE_GET` |
//! | number 0x1f0 | - | `PSMMU_EVENT_DISCARD` | `PSMMU_EVENT_CONSUME` | - | `PSMMU_EVENT_CONSUME` |
//! | number 0x1fd | - | `RTT_AUX_PROT_MAP` | `RTT_AUX_PROT_MAP` | - | `RTT_AUX_PROT_MAP` |
//! | number 0x20b | - | `PDEV_SET_PROT` | `VSMMU_FEATURES` | - | `VSMMU_FEATURES` |
//! | number 0x211 | - | - | - | - | `GPT_INFO` |
//! | inputs of `PSCI_COMPLETE` | 3 | 3 | 3 | 3 | 2 |
//! | inputs of `RTT_DEV_VALIDATE` | - | 6 | 4 | 4 | 4 |
//! | inputs of `GRANULE_TRACKING_GET` | - | 1 | 2 | 2 | 2 |
//! | inputs of `OP_MEM_DONATE` | - | 3 | 3 | 3 | 4 |
//! | outputs of `PSMMU_IRQ_NOTIFY` | - | 7 | 6 | - | 6 |
//! | **Words** | | | | | |
//! | state of an address range descriptor | - | bit 63 | bit 63 | bit 63 | bits 63:62 |
//! | state of a donation request | - | bit 17 | bit 17 | bit 17 | bits 18:17 |
//! | memory state `CONDITIONAL` | - | - | - | - | 2 |
//! | level and address with `ERROR_TRACKING` | - | no | no | no | yes |
//! | hash bits of the features | register 0 | register 1 | register 1 | register 1 | register 1 |
//! | feature fields `S2OASZ`, `L0GPT_BLOCK_DELEGATE` | - | - | - | - | register 0 |
//! | feature field `REALM_MAX_VDEVS_ORDER` | - | - | - | - | register 2 |
//! | Realm flag `lpa2` | bit 0 | bit 0 | bit 0 | bit 0 | - |
//! | Realm flag `ats` | - | bit 2 | - | - | - |
//! | PDEV flag `p2p` | - | bit 3 | - | - | - |
//! | tracking state `INTERMEDIATE` | - | - | - | - | 4 |
//! | memory category `NONE` | - | - | - | - | 3 |
//! | entry state `AUX_DESTROYED` | - | 4 | - | 5 | - |
//! | entry state `ARCH_DEV` | - | 5 | - | - | - |
//! | **Pages** | | | | | |
//! | Realm parameter `vmid` | yes | no | no | no | no |
//! | Realm parameter `max_num_vdevs` | no | no | no | no | yes |
//! | REC parameters `num_aux`, `aux` | yes | no | no | no | no |
//! | PDEV parameters | - | with `max_vdevs_order` | with `hb_base` | with `hb_base` | with `hb_base` |
//! | `gicv3_*` of the run page | yes | no | no | no | no |
//! | `rtt_level` of the run page | no | no | no | yes | no |
//! | `vsmmu` of the run page | no | yes | yes | no | yes |
//! | **Exits** | | | | | |
//! | exit reason 7 | - | `S2apChange` | `S2apChange` | `S2apChange` | `S2apChange` |
//! | exit reason 8 | - | `VdevRequest` | `VdevRequest` | `VdevRequest` | `VdevValidateMapping` |
//! | exit reason 9 | - | `VdevValidateMapping` | `VdevValidateMapping` | `VdevValidateMapping` | - |
//! | exit reason 10 | - | `VsmmuCommand` | `VsmmuCommand` | `VdevP2pBinding` | `VsmmuCommand` |
//! | exit reason 11 | - | `VdevP2pBinding` | - | - | - |
//! | deadline of WFIT and WFET | yes | no | no | no | yes |
//! | a wait without a deadline may hide one | yes | yes | yes | yes | no |
//! | `PSCI_AFFINITY_INFO` reaches the host | yes | yes | yes | yes | no |
//! | **Measurement** | | | | | |
//! | initial measurement | parameter page | zero | zero | parameter page | zero |
//! | `INIT_RIPAS` is measured | yes | no | no | no | no |
//! | SHA-384 | no | yes | yes | yes | yes |
//!
//! `-` means that the dialect does not have it. A test compares the table with the code.

use core::fmt;
use core::str::FromStr;

use crate::commands::Command;
use crate::rsi;

/// One dialect of the Realm Management Interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// DEN0137 1.0-rel0.
    V1_0,
    /// DEN0137 2.0-bet0.
    V2_0Bet0,
    /// DEN0137 2.0-bet1.
    V2_0Bet1,
    /// TF-RMM as of July 2026: 2.0-bet1 with parts of bet2.
    TfRmm2026_07,
    /// DEN0137 2.0-bet3.
    V2_0Bet3,
}

impl Dialect {
    /// Every dialect, oldest first.
    pub const ALL: [Self; 5] =
        [Self::V1_0, Self::V2_0Bet0, Self::V2_0Bet1, Self::TfRmm2026_07, Self::V2_0Bet3];

    /// Position in [`Dialect::ALL`]. It may change with the version of this crate.
    #[must_use]
    pub const fn index(self) -> u8 {
        self as u8
    }

    /// The dialect at a position of [`Dialect::ALL`].
    #[must_use]
    pub fn from_index(index: u8) -> Option<Self> {
        Self::ALL.get(usize::from(index)).copied()
    }

    /// The name, as on a command line: `1.0`, `2.0-bet0`, `2.0-bet1`, `tf-rmm-2026-07`, `2.0-bet3`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V2_0Bet0 => "2.0-bet0",
            Self::V2_0Bet1 => "2.0-bet1",
            Self::TfRmm2026_07 => "tf-rmm-2026-07",
            Self::V2_0Bet3 => "2.0-bet3",
        }
    }

    /// The interface version to request with `RMI_VERSION`.
    #[must_use]
    pub const fn version(self) -> InterfaceVersion {
        match self {
            Self::V1_0 => InterfaceVersion::new(1, 0),
            _ => InterfaceVersion::new(2, 0),
        }
    }

    /// The version of the RSI that an RMM of this dialect offers its Realms.
    #[must_use]
    pub const fn rsi_version(self) -> rsi::Version {
        match self {
            Self::V1_0 => rsi::Version::V1_0,
            _ => rsi::Version::V2_0,
        }
    }

    /// Whether memory is delegated, mapped and unmapped by range, and long commands are stateful
    /// operations.
    #[must_use]
    pub const fn is_2_0(self) -> bool {
        !matches!(self, Self::V1_0)
    }

    /// Whether a host unmaps what is shared by destroying the tables that map it, as 1.0 specifies.
    /// The commands of 2.0 unmap ranges, with fewer calls than there are tables.
    #[must_use]
    #[doc(alias = "RMI_RTT_DESTROY")]
    pub const fn destroying_table_unshares(self) -> bool {
        matches!(self, Self::V1_0)
    }

    /// The commands of the dialect, ordered by function identifier.
    pub fn commands(self) -> impl Iterator<Item = Command> + use<> {
        Command::ALL.iter().copied().filter(move |command| command.form(self).is_some())
    }

    /// Position of the least significant bit of the state field of an address range descriptor, and
    /// its width.
    #[must_use]
    #[doc(alias = "RmiAddrRangeDesc4KB")]
    pub const fn range_state_field(self) -> (u32, u32) {
        match self {
            Self::V2_0Bet3 => (62, 2),
            _ => (63, 1),
        }
    }

    /// Width in bits of the state field of a donation request; it starts at bit 17.
    #[must_use]
    #[doc(alias = "RmiOpMemDonateReq")]
    pub const fn donate_state_width(self) -> u32 {
        match self {
            Self::V2_0Bet3 => 2,
            _ => 1,
        }
    }

    /// Whether `RMI_PSCI_COMPLETE` takes the target REC as its second argument.
    #[must_use]
    #[doc(alias = "RMI_PSCI_COMPLETE")]
    pub const fn psci_complete_names_target(self) -> bool {
        !matches!(self, Self::V2_0Bet3)
    }

    /// Whether `RMI_RTT_DEV_VALIDATE` takes the physical and the virtual device before the range.
    #[must_use]
    #[doc(alias = "RMI_RTT_DEV_VALIDATE")]
    pub const fn dev_validate_names_devices(self) -> bool {
        matches!(self, Self::V2_0Bet0)
    }

    /// Whether `RMI_GRANULE_TRACKING_GET` takes a range and returns how far it came, or takes one
    /// address.
    #[must_use]
    #[doc(alias = "RMI_GRANULE_TRACKING_GET")]
    pub const fn tracking_get_takes_range(self) -> bool {
        matches!(self, Self::V2_0Bet1 | Self::TfRmm2026_07 | Self::V2_0Bet3)
    }

    /// Whether `RMI_OP_MEM_DONATE` has a fourth argument, flags that are all reserved. A host may
    /// always pass 0 in X4.
    #[must_use]
    #[doc(alias = "RMI_OP_MEM_DONATE")]
    pub const fn donate_has_flags(self) -> bool {
        matches!(self, Self::V2_0Bet3)
    }

    /// Whether auxiliary trees are mapped by range (`RMI_RTT_AUX_PROT_MAP`), or by the calls of
    /// the 1.1 draft.
    #[must_use]
    #[doc(alias = "RMI_RTT_AUX_PROT_MAP")]
    pub const fn aux_maps_by_range(self) -> bool {
        matches!(self, Self::V2_0Bet0 | Self::V2_0Bet1 | Self::V2_0Bet3)
    }

    /// Whether `RMI_GRANULE_TRACKING_GET` returns the end of the range that its answer applies to.
    /// TF-RMM (July 2026) always returns the end of the requested range, so there the answer
    /// applies to the first granule only.
    #[must_use]
    #[doc(alias = "RMI_GRANULE_TRACKING_GET")]
    pub const fn tracking_get_tells_extent(self) -> bool {
        !matches!(self, Self::V1_0 | Self::V2_0Bet0 | Self::TfRmm2026_07)
    }

    /// Whether the exit of a trapped WFIT or WFET distinguishes it from WFI and WFE, and has the
    /// deadline in `gprs[0]`. The betas omit the deadline; TF-RMM (July 2026) reports bit 0 of TI
    /// only.
    #[must_use]
    pub const fn tells_wait_deadline(self) -> bool {
        matches!(self, Self::V1_0 | Self::V2_0Bet3)
    }

    /// Whether the exit of a trapped wait that shows no deadline may have been a WFIT or WFET. That
    /// is so where the dialect does not tell the deadline, and in 1.0, whose text does: TF-RMM
    /// v0.8.0 reports bit 0 of TI only.
    #[must_use]
    pub const fn may_hide_wait_deadline(self) -> bool {
        !matches!(self, Self::V2_0Bet3)
    }

    /// Whether a `PSCI_AFFINITY_INFO` of a Realm reaches the host.
    #[must_use]
    #[doc(alias = "PSCI_AFFINITY_INFO")]
    pub const fn affinity_info_exits(self) -> bool {
        !matches!(self, Self::V2_0Bet3)
    }

    /// Whether the Realm flags have a bit for LPA2 (in 2.0-bet3 it follows from the IPA width).
    #[must_use]
    #[doc(alias = "RmiRealmFlags0")]
    pub const fn has_lpa2_flag(self) -> bool {
        !matches!(self, Self::V2_0Bet3)
    }

    /// Whether the list registers of the virtual GIC are passed in the run page (1.0) or in the
    /// CPU's registers (2.0).
    #[must_use]
    pub const fn gic_in_run_page(self) -> bool {
        matches!(self, Self::V1_0)
    }

    /// What `RMI_REALM_CREATE` initialises the Realm Initial Measurement with.
    ///
    /// The 2.0 texts specify zero; 1.0 and TF-RMM (July 2026) hash the measured part of the
    /// parameter page.
    #[must_use]
    pub const fn initial_measurement(self) -> InitialMeasurement {
        match self {
            Self::V1_0 | Self::TfRmm2026_07 => InitialMeasurement::Parameters,
            _ => InitialMeasurement::Zero,
        }
    }

    /// Whether `RMI_RTT_INIT_RIPAS` extends the Realm Initial Measurement.
    #[must_use]
    pub const fn init_ripas_is_measured(self) -> bool {
        matches!(self, Self::V1_0)
    }
}

/// The initial value of a new Realm's measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InitialMeasurement {
    /// All zeros.
    Zero,
    /// The hash of the measured part of the parameter page.
    Parameters,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no dialect with that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownDialect;

impl fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown dialect; the dialects are")?;
        for (i, dialect) in Dialect::ALL.iter().enumerate() {
            write!(f, "{} {dialect}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownDialect {}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, UnknownDialect> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name).ok_or(UnknownDialect)
    }
}

/// A set of dialects, as the command tables use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DialectSet(u8);

impl DialectSet {
    /// Only 1.0.
    pub const V1_0: Self = Self::of(Dialect::V1_0);
    /// Only 2.0-bet0.
    pub const BET0: Self = Self::of(Dialect::V2_0Bet0);
    /// Only 2.0-bet1.
    pub const BET1: Self = Self::of(Dialect::V2_0Bet1);
    /// Only TF-RMM of July 2026.
    pub const TF_RMM: Self = Self::of(Dialect::TfRmm2026_07);
    /// Only 2.0-bet3.
    pub const BET3: Self = Self::of(Dialect::V2_0Bet3);
    /// No dialect.
    pub const NONE: Self = Self(0);
    /// Every dialect.
    pub const EVERY: Self = Self::V1_0.and(Self::EVERY_2_0);
    /// Every dialect of 2.0.
    pub const EVERY_2_0: Self = Self::BET0.and(Self::BET1).and(Self::TF_RMM).and(Self::BET3);
    /// The dialects of 2.0 whose text is a beta: all but TF-RMM.
    pub const BETAS: Self = Self::BET0.and(Self::BET1).and(Self::BET3);
    /// The dialects of 2.0 before 2.0-bet3.
    pub const BEFORE_BET3: Self = Self::BET0.and(Self::BET1).and(Self::TF_RMM);
    /// The dialects from 2.0-bet1 on.
    pub const SINCE_BET1: Self = Self::BET1.and(Self::TF_RMM).and(Self::BET3);

    /// The set that contains one dialect.
    #[must_use]
    pub const fn of(dialect: Dialect) -> Self {
        Self(match dialect {
            Dialect::V1_0 => 1 << 0,
            Dialect::V2_0Bet0 => 1 << 1,
            Dialect::V2_0Bet1 => 1 << 2,
            Dialect::TfRmm2026_07 => 1 << 3,
            Dialect::V2_0Bet3 => 1 << 4,
        })
    }

    /// The dialects of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set contains `dialect`.
    #[must_use]
    pub const fn contains(self, dialect: Dialect) -> bool {
        self.0 & Self::of(dialect).0 != 0
    }

    /// The dialects of the set, oldest first.
    pub fn iter(self) -> impl Iterator<Item = Dialect> + use<> {
        Dialect::ALL.into_iter().filter(move |&dialect| self.contains(dialect))
    }
}

/// A version of the interface: minor in bits 15:0, major in bits 30:16.
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiInterfaceVersion`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
#[doc(alias = "RmiInterfaceVersion")]
#[doc(alias = "RsiInterfaceVersion")]
pub struct InterfaceVersion(pub u64);

impl InterfaceVersion {
    /// Makes a version; `major` above 0x7fff loses its top bit.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self(((major as u64 & 0x7fff) << 16) | minor as u64)
    }

    /// Major version, bits 30:16.
    #[must_use]
    pub const fn major(self) -> u16 {
        ((self.0 >> 16) & 0x7fff) as u16
    }

    /// Minor version, bits 15:0.
    #[must_use]
    pub const fn minor(self) -> u16 {
        (self.0 & 0xffff) as u16
    }
}

impl fmt::Debug for InterfaceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InterfaceVersion({self})")
    }
}

impl fmt::Display for InterfaceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}
