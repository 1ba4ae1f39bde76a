//! The Realm Host Interface (RHI): functions of the host, by host calls with the immediate 0.
//!
//! The host is not trusted: what it says is checked where a program would rely on it, and secrets
//! have to be protected by the program, as on any network. Buffers are shared memory
//! ([`SharedMemory`](crate::SharedMemory)), named by their shared addresses.
//!
//! Source: Realm Host Interface 1.0 beta1.

use core::fmt;

use rmi_abi::Ipa;
use rmi_abi::address::MIN_GRANULE;
use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::rhi::{
    DaStatus, HOST_CALL_IMMEDIATE, NOT_SUPPORTED, RhiFunction, SessionMode, SessionState,
    SessionStatus,
};
use rmi_abi::rsi::HostCallBlock;

use crate::conduit::Conduit;
use crate::error::Error;
use crate::interface::Rsi;

/// X0 to X5 after a function.
pub type Answer = [u64; 6];

/// The functions of the host, by way of a block for host calls, whose content is lost.
#[derive(Debug)]
pub struct Rhi<'a, C> {
    rsi: &'a Rsi<C>,
    block: &'a mut HostCallBlock,
}

/// Why a function of the host failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RhiError {
    /// The host call did not reach the host.
    Call(Error),
    /// The host does not have the function.
    #[non_exhaustive]
    NotSupported {
        /// The function.
        function: RhiFunction,
    },
    /// The host refused.
    #[non_exhaustive]
    Refused {
        /// The function.
        function: RhiFunction,
        /// X0: a [`SessionStatus`], a [`DaStatus`], or 1 from the firmware activity log.
        status: u64,
    },
    /// The host answered with a value that cannot be.
    #[non_exhaustive]
    BadReply {
        /// The function.
        function: RhiFunction,
        /// The value.
        value: u64,
    },
}

impl fmt::Display for RhiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = match self {
            Self::Call(error) => return error.fmt(f),
            Self::NotSupported { function }
            | Self::Refused { function, .. }
            | Self::BadReply { function, .. } => function,
        };
        match function.name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "RHI function {:#x}", u32::from(*function))?,
        }
        match self {
            Self::Refused { status, .. } => write!(f, ": status {status}"),
            Self::BadReply { value, .. } => {
                write!(f, ": the host answered with the impossible value {value:#x}")
            }
            _ => f.write_str(": the host does not have it"),
        }
    }
}

impl core::error::Error for RhiError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Call(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Error> for RhiError {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

/// A connection to a peer, as the host describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its identifier.
    pub id: u64,
    /// Its state.
    pub state: SessionState,
}

/// How far a transfer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The state of the session.
    pub state: SessionState,
    /// Bytes that are done; the size of what is to be received in
    /// [`SessionState::BufferSizeDetermined`].
    pub bytes: u64,
}

/// A buffer in shared memory, and where in the transfer it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedBuffer {
    /// Its shared address.
    pub ipa: Ipa,
    /// Its size in bytes.
    pub bytes: u64,
    /// Offset of the first byte to be transferred.
    pub offset: u64,
}

/// Bits of an answer to `RHI_SESSION_FEATURES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionFeatures {
    /// Bit 0 opening, bit 1 closing, bit 2 sending, bit 3 receiving.
    pub functions: u64,
    /// Bit 0 blocking, bit 1 non-blocking.
    pub modes: u64,
}

/// What was read of the firmware activity log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPart {
    /// Bytes in the buffer.
    pub copied: u64,
    /// Bytes of the log that are not in it.
    pub remaining: u64,
}

impl<'a, C: Conduit> Rhi<'a, C> {
    /// Functions that are called by way of this block.
    pub const fn new(rsi: &'a Rsi<C>, block: &'a mut HostCallBlock) -> Self {
        Self { rsi, block }
    }

    /// Calls any function; arguments from X1 on.
    ///
    /// # Errors
    ///
    /// [`RhiError::Call`], [`RhiError::NotSupported`].
    pub fn call(&mut self, function: RhiFunction, arguments: &[u64]) -> Result<Answer, RhiError> {
        *self.block = HostCallBlock::zeroed();
        self.block.imm = HOST_CALL_IMMEDIATE;
        let [x0, rest @ ..] = &mut self.block.gprs;
        *x0 = u32::from(function).into();
        for (to, from) in rest.iter_mut().zip(arguments) {
            *to = *from;
        }
        self.rsi.host_call(self.block)?;
        let [x0, x1, x2, x3, x4, x5, ..] = self.block.gprs;
        match x0 {
            NOT_SUPPORTED => Err(RhiError::NotSupported { function }),
            _ => Ok([x0, x1, x2, x3, x4, x5]),
        }
    }

    /// Calls a function that has a status; 0 is success.
    fn done(&mut self, function: RhiFunction, arguments: &[u64]) -> Result<Answer, RhiError> {
        match self.call(function, arguments)? {
            answer @ [0, ..] => Ok(answer),
            [status, ..] => Err(RhiError::Refused { function, status }),
        }
    }

    /// The version of one of the groups of functions, by the function that tells it:
    /// [`RhiFunction::SessionVersion`], [`RhiFunction::FalVersion`], [`RhiFunction::DaVersion`] or
    /// [`RhiFunction::HostconfVersion`].
    ///
    /// # Errors
    ///
    /// [`RhiError`].
    pub fn version(&mut self, function: RhiFunction) -> Result<InterfaceVersion, RhiError> {
        let [version, ..] = self.call(function, &[])?;
        Ok(InterfaceVersion(version))
    }

    /// The bits of one of the groups of functions, by the function that tells them:
    /// [`RhiFunction::FalFeatures`], [`RhiFunction::DaFeatures`] or
    /// [`RhiFunction::HostconfFeatures`].
    ///
    /// # Errors
    ///
    /// [`RhiError`].
    pub fn features(&mut self, function: RhiFunction) -> Result<u64, RhiError> {
        let [features, ..] = self.call(function, &[])?;
        Ok(features)
    }

    /// Which session functions and modes the host has.
    ///
    /// # Errors
    ///
    /// [`RhiError`].
    #[doc(alias = "RHI_SESSION_FEATURES")]
    pub fn session_features(&mut self) -> Result<SessionFeatures, RhiError> {
        let [functions, modes, ..] = self.call(RhiFunction::SessionFeatures, &[])?;
        Ok(SessionFeatures { functions, modes })
    }

    /// Opens a session, or goes on with it: the first call has the identifier 0.
    ///
    /// # Errors
    ///
    /// [`RhiError`]; the status is a [`SessionStatus`].
    #[doc(alias = "RHI_SESSION_OPEN")]
    pub fn open_session(&mut self, id: u64, mode: SessionMode) -> Result<Session, RhiError> {
        let [_, id, state, ..] = self.done(RhiFunction::SessionOpen, &[id, mode.code()])?;
        Ok(Session { id, state: state.into() })
    }

    /// Closes a session, or goes on with that.
    ///
    /// # Errors
    ///
    /// [`RhiError`]; the status is a [`SessionStatus`].
    #[doc(alias = "RHI_SESSION_CLOSE")]
    pub fn close_session(&mut self, id: u64) -> Result<Session, RhiError> {
        let [_, id, state, ..] = self.done(RhiFunction::SessionClose, &[id])?;
        Ok(Session { id, state: state.into() })
    }

    /// Sends what is in a buffer, or goes on with that.
    ///
    /// # Errors
    ///
    /// [`RhiError`]; the status is a [`SessionStatus`].
    #[doc(alias = "RHI_SESSION_SEND")]
    pub fn send(&mut self, id: u64, buffer: SharedBuffer) -> Result<Transfer, RhiError> {
        self.transfer(RhiFunction::SessionSend, id, buffer)
    }

    /// Receives into a buffer, or goes on with that. With no buffer (address and size 0) it finds
    /// out the size.
    ///
    /// # Errors
    ///
    /// [`RhiError`]; the status is a [`SessionStatus`].
    #[doc(alias = "RHI_SESSION_RECEIVE")]
    pub fn receive(&mut self, id: u64, buffer: SharedBuffer) -> Result<Transfer, RhiError> {
        self.transfer(RhiFunction::SessionReceive, id, buffer)
    }

    fn transfer(
        &mut self,
        function: RhiFunction,
        id: u64,
        buffer: SharedBuffer,
    ) -> Result<Transfer, RhiError> {
        let SharedBuffer { ipa, bytes: size, offset } = buffer;
        let [_, _, state, bytes, ..] = self.done(function, &[id, ipa.raw(), size, offset])?;
        let state = SessionState::from(state);
        if bytes > size && state != SessionState::BufferSizeDetermined {
            return Err(RhiError::BadReply { function, value: bytes });
        }
        Ok(Transfer { state, bytes })
    }

    /// The size of the firmware activity log, in bytes.
    ///
    /// # Errors
    ///
    /// [`RhiError`].
    #[doc(alias = "RHI_FAL_GET_SIZE")]
    pub fn activity_log_size(&mut self) -> Result<u64, RhiError> {
        let [size, ..] = self.call(RhiFunction::FalGetSize, &[])?;
        Ok(size)
    }

    /// Reads the firmware activity log into a buffer, whose offset is not used.
    ///
    /// # Errors
    ///
    /// [`RhiError`].
    #[doc(alias = "RHI_FAL_READ")]
    pub fn read_activity_log(&mut self, buffer: SharedBuffer) -> Result<LogPart, RhiError> {
        let function = RhiFunction::FalRead;
        let [_, copied, remaining, ..] = self.done(function, &[buffer.ipa.raw(), buffer.bytes])?;
        if copied > buffer.bytes {
            return Err(RhiError::BadReply { function, value: copied });
        }
        Ok(LogPart { copied, remaining })
    }

    /// The alignment that changes of the state of memory should have, in bytes: a power of two, and
    /// at least 4 KiB.
    ///
    /// # Errors
    ///
    /// [`RhiError`].
    #[doc(alias = "RHI_HOSTCONF_GET_IPA_CHANGE_ALIGNMENT")]
    pub fn ipa_change_alignment(&mut self) -> Result<u64, RhiError> {
        let function = RhiFunction::HostconfGetIpaChangeAlignment;
        let [alignment, ..] = self.call(function, &[])?;
        if alignment >= MIN_GRANULE && alignment.is_power_of_two() {
            Ok(alignment)
        } else {
            Err(RhiError::BadReply { function, value: alignment })
        }
    }

    /// The size of an object of a device that the host keeps, in bytes. Hosts number the types of
    /// objects differently; see the specification of the host.
    ///
    /// # Errors
    ///
    /// [`RhiError`]; the status is a [`DaStatus`].
    #[doc(alias = "RHI_DA_OBJECT_SIZE")]
    pub fn device_object_size(&mut self, vdev: u64, kind: u64) -> Result<u64, RhiError> {
        let [_, size, ..] = self.done(RhiFunction::DaObjectSize, &[vdev, kind])?;
        Ok(size)
    }

    /// Reads an object of a device from the offset of a buffer on, and returns the number of bytes.
    ///
    /// # Errors
    ///
    /// [`RhiError`]; the status is a [`DaStatus`].
    #[doc(alias = "RHI_DA_OBJECT_READ")]
    pub fn read_device_object(
        &mut self,
        vdev: u64,
        kind: u64,
        buffer: SharedBuffer,
    ) -> Result<u64, RhiError> {
        let function = RhiFunction::DaObjectRead;
        let SharedBuffer { ipa, bytes: size, offset } = buffer;
        let [_, bytes, ..] = self.done(function, &[vdev, kind, ipa.raw(), size, offset])?;
        if bytes > size {
            return Err(RhiError::BadReply { function, value: bytes });
        }
        Ok(bytes)
    }
}

impl RhiError {
    /// The status of a session function; `None` if the host refused nothing.
    #[must_use]
    pub fn session_status(&self) -> Option<SessionStatus> {
        match self {
            Self::Refused { status, .. } => Some((*status).into()),
            _ => None,
        }
    }

    /// The status of a device assignment function; `None` if the host refused nothing.
    #[must_use]
    pub fn da_status(&self) -> Option<DaStatus> {
        match self {
            Self::Refused { status, .. } => Some((*status).into()),
            _ => None,
        }
    }
}
