//! PSCI on the side of the host: the functions that a Realm calls and the codes that it gets as
//! answers.
//!
//! Source: Arm DEN0022 (PSCI); DEN0137 2.0-bet3, `RMI_PSCI_COMPLETE`.

use num_enum::{FromPrimitive, IntoPrimitive};

use crate::commands::Fid;
use crate::dialect::Dialect;

/// A PSCI function identifier in a `PSCI` exit. The SMC32 forms that a Realm may use are distinct
/// from the SMC64 ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u32)]
#[non_exhaustive]
pub enum PsciFunction {
    /// `PSCI_VERSION`
    #[doc(alias = "PSCI_VERSION")]
    Version = 0x8400_0000,
    /// `PSCI_CPU_SUSPEND`, SMC32
    #[doc(alias = "PSCI_CPU_SUSPEND")]
    CpuSuspend32 = 0x8400_0001,
    /// `PSCI_CPU_SUSPEND`, SMC64
    #[doc(alias = "PSCI_CPU_SUSPEND")]
    CpuSuspend64 = 0xc400_0001,
    /// `PSCI_CPU_OFF`
    #[doc(alias = "PSCI_CPU_OFF")]
    CpuOff = 0x8400_0002,
    /// `PSCI_CPU_ON`, SMC32
    #[doc(alias = "PSCI_CPU_ON")]
    CpuOn32 = 0x8400_0003,
    /// `PSCI_CPU_ON`, SMC64
    #[doc(alias = "PSCI_CPU_ON")]
    CpuOn64 = 0xc400_0003,
    /// `PSCI_AFFINITY_INFO`, SMC32
    #[doc(alias = "PSCI_AFFINITY_INFO")]
    AffinityInfo32 = 0x8400_0004,
    /// `PSCI_AFFINITY_INFO`, SMC64
    #[doc(alias = "PSCI_AFFINITY_INFO")]
    AffinityInfo64 = 0xc400_0004,
    /// `PSCI_SYSTEM_OFF`
    #[doc(alias = "PSCI_SYSTEM_OFF")]
    SystemOff = 0x8400_0008,
    /// `PSCI_SYSTEM_RESET`
    #[doc(alias = "PSCI_SYSTEM_RESET")]
    SystemReset = 0x8400_0009,
    /// `PSCI_FEATURES`
    #[doc(alias = "PSCI_FEATURES")]
    Features = 0x8400_000a,
    /// A function this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u32),
}

impl PsciFunction {
    /// The functions that a Realm may call, by the forms the specification lists: SMC64 where an
    /// address is passed.
    pub const ALL: &'static [Self] = &[
        Self::Version,
        Self::CpuSuspend64,
        Self::CpuOff,
        Self::CpuOn64,
        Self::AffinityInfo64,
        Self::SystemOff,
        Self::SystemReset,
        Self::Features,
    ];

    /// The function that a Realm calls with this value in X0, or that a `PSCI` exit holds in
    /// `gprs[0]`: SMCCC function numbers are 32 bits, and an RMM forwards X0 unchanged.
    #[must_use]
    pub fn from_register(x0: u64) -> Self {
        Self::from(Fid::from_register(x0).0)
    }

    /// The specification's name, the same for both calling conventions; `None` for an unknown
    /// function.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Version => "PSCI_VERSION",
            Self::CpuSuspend32 | Self::CpuSuspend64 => "PSCI_CPU_SUSPEND",
            Self::CpuOff => "PSCI_CPU_OFF",
            Self::CpuOn32 | Self::CpuOn64 => "PSCI_CPU_ON",
            Self::AffinityInfo32 | Self::AffinityInfo64 => "PSCI_AFFINITY_INFO",
            Self::SystemOff => "PSCI_SYSTEM_OFF",
            Self::SystemReset => "PSCI_SYSTEM_RESET",
            Self::Features => "PSCI_FEATURES",
            Self::Unknown(_) => return None,
        })
    }

    /// Whether a call of this function causes a `PSCI` exit. The others are answered by the RMM.
    ///
    /// `PSCI_AFFINITY_INFO` does so before 2.0-bet3 only, and `PSCI_CPU_ON` and
    /// `PSCI_AFFINITY_INFO` only if the target is a REC of the Realm.
    #[must_use]
    pub const fn exits_to_host(self, dialect: Dialect) -> bool {
        match self {
            Self::AffinityInfo32 | Self::AffinityInfo64 => dialect.affinity_info_exits(),
            Self::Version | Self::Features | Self::Unknown(_) => false,
            _ => true,
        }
    }

    /// Whether the host must answer the exit with `RMI_PSCI_COMPLETE` before it enters the REC
    /// again.
    #[must_use]
    #[doc(alias = "RMI_PSCI_COMPLETE")]
    pub const fn needs_complete(self, dialect: Dialect) -> bool {
        match self {
            Self::CpuOn32 | Self::CpuOn64 => true,
            Self::AffinityInfo32 | Self::AffinityInfo64 => dialect.affinity_info_exits(),
            _ => false,
        }
    }
}

/// A PSCI return code, sign-extended to 64 bits in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(i64)]
#[non_exhaustive]
pub enum PsciReturnCode {
    /// The entry point is not usable.
    #[doc(alias = "PSCI_INVALID_ADDRESS")]
    InvalidAddress = -9,
    /// The CPU is disabled.
    #[doc(alias = "PSCI_DISABLED")]
    Disabled = -8,
    /// The CPU does not exist.
    #[doc(alias = "PSCI_NOT_PRESENT")]
    NotPresent = -7,
    /// Internal error.
    #[doc(alias = "PSCI_INTERNAL_FAILURE")]
    InternalFailure = -6,
    /// The CPU is being turned on.
    #[doc(alias = "PSCI_ON_PENDING")]
    OnPending = -5,
    /// The CPU is on.
    #[doc(alias = "PSCI_ALREADY_ON")]
    AlreadyOn = -4,
    /// Refused.
    #[doc(alias = "PSCI_DENIED")]
    Denied = -3,
    /// An argument is wrong.
    #[doc(alias = "PSCI_INVALID_PARAMETERS")]
    InvalidParameters = -2,
    /// The function does not exist.
    #[doc(alias = "PSCI_NOT_SUPPORTED")]
    NotSupported = -1,
    /// Done; as an answer to `PSCI_AFFINITY_INFO`: the CPU is on.
    #[doc(alias = "PSCI_SUCCESS")]
    Success = 0,
    /// An answer to `PSCI_AFFINITY_INFO`: the CPU is off.
    #[doc(alias = "PSCI_OFF")]
    Off = 1,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(i64),
}

impl PsciReturnCode {
    /// The specification's spelling; `None` for an unknown code.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::InvalidAddress => "PSCI_INVALID_ADDRESS",
            Self::Disabled => "PSCI_DISABLED",
            Self::NotPresent => "PSCI_NOT_PRESENT",
            Self::InternalFailure => "PSCI_INTERNAL_FAILURE",
            Self::OnPending => "PSCI_ON_PENDING",
            Self::AlreadyOn => "PSCI_ALREADY_ON",
            Self::Denied => "PSCI_DENIED",
            Self::InvalidParameters => "PSCI_INVALID_PARAMETERS",
            Self::NotSupported => "PSCI_NOT_SUPPORTED",
            Self::Success => "PSCI_SUCCESS",
            Self::Off => "PSCI_OFF",
            Self::Unknown(_) => return None,
        })
    }

    /// The register value.
    #[must_use]
    pub fn to_register(self) -> u64 {
        i64::from(self).cast_unsigned()
    }

    /// The code of a register value.
    #[must_use]
    pub fn from_register(value: u64) -> Self {
        Self::from(value.cast_signed())
    }
}
