//! RSI commands: function identifier and registers, in the structure of [`crate::commands`].

use core::fmt;

use super::{ReturnCode, Version, VersionSet, table};
use crate::commands::{self, Fid};

/// The type of the value in a register of an RSI command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParamType {
    /// An IPA, or a PA where the name of the parameter says so.
    Address,
    /// An unsigned number.
    UInt,
    /// Bits without further structure.
    Bits,
    /// `RsiInterfaceVersion`.
    #[doc(alias = "RsiInterfaceVersion")]
    InterfaceVersion,
    /// `RsiRipas`, bits 7:0.
    #[doc(alias = "RsiRipas")]
    Ripas,
    /// `RsiRipasChangeFlags`.
    #[doc(alias = "RsiRipasChangeFlags")]
    RipasChangeFlags,
    /// `RsiResponse`, bit 0.
    #[doc(alias = "RsiResponse")]
    Response,
}

impl ParamType {
    /// Name of the type, spelled as the specification does.
    #[must_use]
    pub const fn spec_name(self) -> &'static str {
        match self {
            Self::Address => "Address",
            Self::UInt => "UInt64",
            Self::Bits => "Bits64",
            Self::InterfaceVersion => "RsiInterfaceVersion",
            Self::Ripas => "RsiRipas",
            Self::RipasChangeFlags => "RsiRipasChangeFlags",
            Self::Response => "RsiResponse",
        }
    }

    /// Number of low bits of the register that the value takes.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Ripas => 8,
            Self::Response => 1,
            _ => 64,
        }
    }
}

/// One register of an RSI command: 1 for X1, up to 10 for X10.
pub type Param = commands::Param<ParamType>;

/// Number and registers of an RSI command; they are the same in every version that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    versions: VersionSet,
    fid: Fid,
    inputs: &'static [Param],
    outputs: &'static [Param],
    statuses: &'static [ReturnCode],
}

impl Form {
    pub(super) const fn new(
        versions: VersionSet,
        function_number: u16,
        inputs: &'static [Param],
        outputs: &'static [Param],
        statuses: &'static [ReturnCode],
    ) -> Self {
        let fid = Fid::from_function_number(function_number);
        Self { versions, fid, inputs, outputs, statuses }
    }

    /// The versions that have the command.
    #[must_use]
    pub const fn versions(&self) -> VersionSet {
        self.versions
    }

    /// The function identifier.
    #[must_use]
    pub const fn fid(&self) -> Fid {
        self.fid
    }

    /// The input registers in order, from X1.
    #[must_use]
    pub const fn inputs(&self) -> &'static [Param] {
        self.inputs
    }

    /// The output registers in order, from X1; X0 is always the return code.
    #[must_use]
    pub const fn outputs(&self) -> &'static [Param] {
        self.outputs
    }

    /// The return codes that are documented for the command, in numeric order.
    #[must_use]
    pub const fn statuses(&self) -> &'static [ReturnCode] {
        self.statuses
    }
}

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $form:ident;)*) => {
        /// A command of the Realm Services Interface.
        ///
        /// The enum contains the commands of all versions; [`Form::versions`] tells which versions
        /// have one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Command {
            $($(#[$doc])* #[doc(alias = $name)] $variant,)*
        }

        impl Command {
            /// Every command, ordered by function identifier.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The specification's name, for example `RSI_HOST_CALL`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Number and registers of the command.
            #[must_use]
            pub const fn form(self) -> &'static Form {
                match self {
                    $(Self::$variant => &table::$form,)*
                }
            }
        }

        /// The function identifiers as constants.
        ///
        /// A number may belong to different commands in different versions.
        pub mod fid {
            use super::{Fid, table};

            $(
                $(#[$doc])*
                #[doc(alias = $name)]
                pub const $form: Fid = table::$form.fid();
            )*
        }
    };
}

commands! {
    /// Negotiates an interface version; returns the range of versions that the RMM supports, also
    /// on failure.
    Version = "RSI_VERSION", VERSION;
    /// Reads a feature register.
    Features = "RSI_FEATURES", FEATURES;
    /// Reads a measurement: 0 is the initial one, 1 to 4 the extensible ones.
    MeasurementRead = "RSI_MEASUREMENT_READ", MEASUREMENT_READ;
    /// Extends an extensible measurement, 1 to 4.
    MeasurementExtend = "RSI_MEASUREMENT_EXTEND", MEASUREMENT_EXTEND;
    /// Starts an attestation token for a challenge of 64 bytes.
    AttestationTokenInit = "RSI_ATTESTATION_TOKEN_INIT", ATTESTATION_TOKEN_INIT;
    /// Reads the next part of the attestation token.
    AttestationTokenContinue = "RSI_ATTESTATION_TOKEN_CONTINUE", ATTESTATION_TOKEN_CONTINUE;
    /// Reads the Realm's configuration.
    RealmConfig = "RSI_REALM_CONFIG", REALM_CONFIG;
    /// Requests a RIPAS change.
    IpaStateSet = "RSI_IPA_STATE_SET", IPA_STATE_SET;
    /// Reads the RIPAS of a range.
    IpaStateGet = "RSI_IPA_STATE_GET", IPA_STATE_GET;
    /// Calls the host.
    HostCall = "RSI_HOST_CALL", HOST_CALL;
    /// Reads the instance identifier of a device (1.1 draft).
    RdevGetInstanceId = "RSI_RDEV_GET_INSTANCE_ID", RDEV_GET_INSTANCE_ID;
    /// Lets a device access the Realm's memory.
    VdevDmaEnable = "RSI_VDEV_DMA_ENABLE", VDEV_DMA_ENABLE;
    /// Reads what the RMM knows about a device.
    VdevGetInfo = "RSI_VDEV_GET_INFO", VDEV_GET_INFO;
    /// Checks and accepts a mapping of device memory.
    VdevValidateMapping = "RSI_VDEV_VALIDATE_MAPPING", VDEV_VALIDATE_MAPPING;
    /// Reads the value of a permission index of a plane.
    MemGetPermValue = "RSI_MEM_GET_PERM_VALUE", MEM_GET_PERM_VALUE;
    /// Attaches a permission index to a range.
    MemSetPermIndex = "RSI_MEM_SET_PERM_INDEX", MEM_SET_PERM_INDEX;
    /// Sets the value of a permission index of a plane.
    MemSetPermValue = "RSI_MEM_SET_PERM_VALUE", MEM_SET_PERM_VALUE;
    /// Runs a plane until its next exit.
    PlaneEnter = "RSI_PLANE_ENTER", PLANE_ENTER;
    /// Continues a device operation (1.1 draft).
    RdevContinue = "RSI_RDEV_CONTINUE", RDEV_CONTINUE;
    /// Stops a device from accessing the Realm's memory.
    VdevDmaDisable = "RSI_VDEV_DMA_DISABLE", VDEV_DMA_DISABLE;
    /// Reads what the RMM knows about a device (1.1 draft).
    RdevGetInfo = "RSI_RDEV_GET_INFO", RDEV_GET_INFO;
    /// Fetches the interface report of a device (1.1 draft).
    RdevGetInterfaceReport = "RSI_RDEV_GET_INTERFACE_REPORT", RDEV_GET_INTERFACE_REPORT;
    /// Fetches the measurements of a device (1.1 draft).
    RdevGetMeasurements = "RSI_RDEV_GET_MEASUREMENTS", RDEV_GET_MEASUREMENTS;
    /// Reads the state of a device (1.1 draft).
    RdevGetState = "RSI_RDEV_GET_STATE", RDEV_GET_STATE;
    /// Locks a device (1.1 draft).
    RdevLock = "RSI_RDEV_LOCK", RDEV_LOCK;
    /// Starts a device (1.1 draft).
    RdevStart = "RSI_RDEV_START", RDEV_START;
    /// Stops a device (1.1 draft).
    RdevStop = "RSI_RDEV_STOP", RDEV_STOP;
    /// Checks and accepts a mapping of device memory (1.1 draft).
    RdevValidateMapping = "RSI_RDEV_VALIDATE_MAPPING", RDEV_VALIDATE_MAPPING;
    /// Reads a system register of a plane.
    PlaneSysregRead = "RSI_PLANE_SYSREG_READ", PLANE_SYSREG_READ;
    /// Writes a system register of a plane.
    PlaneSysregWrite = "RSI_PLANE_SYSREG_WRITE", PLANE_SYSREG_WRITE;
}

impl Command {
    /// The function identifier in `version`; `None` when it lacks the command.
    #[must_use]
    pub const fn fid(self, version: Version) -> Option<Fid> {
        if self.form().versions().contains(version) { Some(self.form().fid()) } else { None }
    }

    /// The command that has this function identifier in `version`. The SVE hint (bit 16) is
    /// ignored.
    #[must_use]
    pub fn from_fid(fid: Fid, version: Version) -> Option<Self> {
        let fid = fid.without_sve_hint();
        Self::ALL.iter().copied().find(|command| command.fid(version) == Some(fid))
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
