//! The Realm Host Interface (RHI): the requests of a Realm to its host by `RSI_HOST_CALL`.
//!
//! A host gets a host call with the immediate 0, the function in X0 and arguments from X1; it
//! answers in X0 and up, and with all ones in X0 when it does not know the function. Source: Realm
//! Host Interface 1.0 beta1, as the CCA compliance suite uses it.

use num_enum::{FromPrimitive, IntoPrimitive};

use crate::commands::Fid;

/// The immediate of `RSI_HOST_CALL` for calls of this interface.
pub const HOST_CALL_IMMEDIATE: u16 = 0;

/// The answer to an unknown function, in X0.
pub const NOT_SUPPORTED: u64 = u64::MAX;

/// A function of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u32)]
#[non_exhaustive]
pub enum RhiFunction {
    /// Reads the version of the session functions.
    #[doc(alias = "RHI_SESSION_VERSION")]
    SessionVersion = 0xc500_0040,
    /// Reads which session functions and modes exist.
    #[doc(alias = "RHI_SESSION_FEATURES")]
    SessionFeatures = 0xc500_0041,
    /// Opens a session with a peer.
    #[doc(alias = "RHI_SESSION_OPEN")]
    SessionOpen = 0xc500_0042,
    /// Closes a session.
    #[doc(alias = "RHI_SESSION_CLOSE")]
    SessionClose = 0xc500_0043,
    /// Sends a buffer.
    #[doc(alias = "RHI_SESSION_SEND")]
    SessionSend = 0xc500_0044,
    /// Receives into a buffer.
    #[doc(alias = "RHI_SESSION_RECEIVE")]
    SessionReceive = 0xc500_0045,
    /// Reads the version of the firmware activity log functions.
    #[doc(alias = "RHI_FAL_VERSION")]
    FalVersion = 0xc500_0046,
    /// Reads which of them exist.
    #[doc(alias = "RHI_FAL_FEATURES")]
    FalFeatures = 0xc500_0047,
    /// Reads the size of the firmware activity log.
    #[doc(alias = "RHI_FAL_GET_SIZE")]
    FalGetSize = 0xc500_0048,
    /// Reads the firmware activity log.
    #[doc(alias = "RHI_FAL_READ")]
    FalRead = 0xc500_0049,
    /// Reads the version of the device assignment functions.
    #[doc(alias = "RHI_DA_VERSION")]
    DaVersion = 0xc500_004a,
    /// Reads which of them exist.
    #[doc(alias = "RHI_DA_FEATURES")]
    DaFeatures = 0xc500_004b,
    /// Reads the size of a cached device object.
    #[doc(alias = "RHI_DA_OBJECT_SIZE")]
    DaObjectSize = 0xc500_004c,
    /// Reads a cached device object.
    #[doc(alias = "RHI_DA_OBJECT_READ")]
    DaObjectRead = 0xc500_004d,
    /// Reads the version of the host configuration functions.
    #[doc(alias = "RHI_HOSTCONF_VERSION")]
    HostconfVersion = 0xc500_004e,
    /// Reads which of them exist.
    #[doc(alias = "RHI_HOSTCONF_FEATURES")]
    HostconfFeatures = 0xc500_004f,
    /// Reads the alignment that RIPAS changes should have.
    #[doc(alias = "RHI_HOSTCONF_GET_IPA_CHANGE_ALIGNMENT")]
    HostconfGetIpaChangeAlignment = 0xc500_0050,
    /// Continues a device operation.
    #[doc(alias = "RHI_DA_VDEV_CONTINUE")]
    DaVdevContinue = 0xc500_0051,
    /// Asks the host to fetch the measurements of a device.
    #[doc(alias = "RHI_DA_VDEV_GET_MEASUREMENTS")]
    DaVdevGetMeasurements = 0xc500_0052,
    /// Asks the host to fetch the interface report of a device.
    #[doc(alias = "RHI_DA_VDEV_GET_INTERFACE_REPORT")]
    DaVdevGetInterfaceReport = 0xc500_0053,
    /// Asks the host to lock, start or unlock a device.
    #[doc(alias = "RHI_DA_VDEV_SET_TDI_STATE")]
    DaVdevSetTdiState = 0xc500_0054,
    /// Asks the host to undo a peer to peer binding.
    #[doc(alias = "RHI_DA_VDEV_P2P_UNBIND")]
    DaVdevP2pUnbind = 0xc500_0055,
    /// Aborts a device operation.
    #[doc(alias = "RHI_DA_VDEV_ABORT")]
    DaVdevAbort = 0xc500_0056,
    /// A function this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u32),
}

impl RhiFunction {
    /// Every known function, ordered by number.
    pub const ALL: &'static [Self] = &[
        Self::SessionVersion,
        Self::SessionFeatures,
        Self::SessionOpen,
        Self::SessionClose,
        Self::SessionSend,
        Self::SessionReceive,
        Self::FalVersion,
        Self::FalFeatures,
        Self::FalGetSize,
        Self::FalRead,
        Self::DaVersion,
        Self::DaFeatures,
        Self::DaObjectSize,
        Self::DaObjectRead,
        Self::HostconfVersion,
        Self::HostconfFeatures,
        Self::HostconfGetIpaChangeAlignment,
        Self::DaVdevContinue,
        Self::DaVdevGetMeasurements,
        Self::DaVdevGetInterfaceReport,
        Self::DaVdevSetTdiState,
        Self::DaVdevP2pUnbind,
        Self::DaVdevAbort,
    ];

    /// The function of a host call with this value in X0: SMCCC function numbers are 32 bits.
    #[must_use]
    pub fn from_register(x0: u64) -> Self {
        Self::from(Fid::from_register(x0).0)
    }

    /// The specification's name; `None` for an unknown function.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::SessionVersion => "RHI_SESSION_VERSION",
            Self::SessionFeatures => "RHI_SESSION_FEATURES",
            Self::SessionOpen => "RHI_SESSION_OPEN",
            Self::SessionClose => "RHI_SESSION_CLOSE",
            Self::SessionSend => "RHI_SESSION_SEND",
            Self::SessionReceive => "RHI_SESSION_RECEIVE",
            Self::FalVersion => "RHI_FAL_VERSION",
            Self::FalFeatures => "RHI_FAL_FEATURES",
            Self::FalGetSize => "RHI_FAL_GET_SIZE",
            Self::FalRead => "RHI_FAL_READ",
            Self::DaVersion => "RHI_DA_VERSION",
            Self::DaFeatures => "RHI_DA_FEATURES",
            Self::DaObjectSize => "RHI_DA_OBJECT_SIZE",
            Self::DaObjectRead => "RHI_DA_OBJECT_READ",
            Self::HostconfVersion => "RHI_HOSTCONF_VERSION",
            Self::HostconfFeatures => "RHI_HOSTCONF_FEATURES",
            Self::HostconfGetIpaChangeAlignment => "RHI_HOSTCONF_GET_IPA_CHANGE_ALIGNMENT",
            Self::DaVdevContinue => "RHI_DA_VDEV_CONTINUE",
            Self::DaVdevGetMeasurements => "RHI_DA_VDEV_GET_MEASUREMENTS",
            Self::DaVdevGetInterfaceReport => "RHI_DA_VDEV_GET_INTERFACE_REPORT",
            Self::DaVdevSetTdiState => "RHI_DA_VDEV_SET_TDI_STATE",
            Self::DaVdevP2pUnbind => "RHI_DA_VDEV_P2P_UNBIND",
            Self::DaVdevAbort => "RHI_DA_VDEV_ABORT",
            Self::Unknown(_) => return None,
        })
    }
}

/// What a session function answers in X0.
///
/// Source: Realm Host Interface 1.0 beta1. In beta0 the codes 4 and 5 are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u64)]
#[non_exhaustive]
pub enum SessionStatus {
    /// Done.
    Success = 0,
    /// The peer does not answer.
    PeerNotAvailable = 1,
    /// The session is in a state that does not allow it.
    InvalidState = 2,
    /// There is no such session.
    InvalidId = 3,
    /// The host cannot access the buffer.
    AccessFailed = 4,
    /// The host does not have the mode.
    ConnectionTypeNotSupported = 5,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u64),
}

/// The state of a session.
///
/// Source: Realm Host Interface 1.0 beta1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u64)]
#[non_exhaustive]
pub enum SessionState {
    /// Not connected.
    Unconnected = 0,
    /// Being connected.
    ConnectInProgress = 1,
    /// Connected.
    Established = 2,
    /// A transfer is not complete.
    IoInProgress = 3,
    /// A transfer is complete.
    IoComplete = 4,
    /// The size of what is to be received is known.
    BufferSizeDetermined = 5,
    /// Being closed.
    CloseInProgress = 6,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u64),
}

/// How the functions of a session wait.
///
/// Source: Realm Host Interface 1.0 beta1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionMode {
    /// A call returns when it is done.
    Blocking,
    /// A call returns at once, and is repeated.
    NonBlocking,
}

impl SessionMode {
    /// Its code: 1 or 2, in X2 of `RHI_SESSION_OPEN`.
    #[must_use]
    pub const fn code(self) -> u64 {
        match self {
            Self::Blocking => 1,
            Self::NonBlocking => 2,
        }
    }
}

/// What a device assignment function answers in X0.
///
/// Source: Realm Host Interface 1.0 beta1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u64)]
#[non_exhaustive]
pub enum DaStatus {
    /// Done.
    Success = 0,
    /// Not complete; call again.
    Incomplete = 1,
    /// The host does not have the object.
    DataNotAvailable = 2,
    /// There is no such device.
    InvalidVdevId = 3,
    /// There is no such object.
    InvalidObject = 4,
    /// An argument is wrong.
    Input = 5,
    /// The device failed.
    Device = 6,
    /// The offset is behind the end of the object.
    InvalidOffset = 7,
    /// The host cannot access the buffer.
    AccessFailed = 8,
    /// Another operation of the device is not complete.
    Busy = 9,
    /// The operation was complete before it was aborted.
    AbortedOperationHadCompleted = 10,
    /// The host does not have objects of this type.
    ObjectUnsupported = 11,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_the_codes_of_the_interface() {
        assert_eq!(
            [SessionMode::Blocking, SessionMode::NonBlocking].map(SessionMode::code),
            [1, 2]
        );
    }
}
