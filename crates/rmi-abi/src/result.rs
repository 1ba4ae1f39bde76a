//! The result word (X0) and the status codes.

use num_enum::{FromPrimitive, IntoPrimitive};

use crate::rtt::Level;

/// The status of a command, bits 7:0 of X0.
///
/// Source: DEN0137 2.0-bet3, `RmiStatusCode`. 1.0 uses 0 to 4. A code that this crate does not know
/// is kept as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiStatusCode")]
#[non_exhaustive]
pub enum Status {
    /// Done; for range commands: progress was made.
    #[doc(alias = "RMI_SUCCESS")]
    Success = 0,
    /// An argument is wrong, or is the address of a granule in the wrong state.
    #[doc(alias = "RMI_ERROR_INPUT")]
    ErrorInput = 1,
    /// The Realm is in the wrong state.
    #[doc(alias = "RMI_ERROR_REALM")]
    ErrorRealm = 2,
    /// The REC is in the wrong state.
    #[doc(alias = "RMI_ERROR_REC")]
    ErrorRec = 3,
    /// A translation table walk ended early or at an entry in the wrong state; the level tells
    /// where.
    #[doc(alias = "RMI_ERROR_RTT")]
    ErrorRtt = 4,
    /// The RMM does not have this feature.
    #[doc(alias = "RMI_ERROR_NOT_SUPPORTED")]
    ErrorNotSupported = 5,
    /// A device object is in the wrong state.
    #[doc(alias = "RMI_ERROR_DEVICE")]
    ErrorDevice = 6,
    /// As [`Status::ErrorRtt`], in an auxiliary tree.
    #[doc(alias = "RMI_ERROR_RTT_AUX")]
    ErrorRttAux = 7,
    /// A stream table walk ended early; the level tells where.
    #[doc(alias = "RMI_ERROR_PSMMU_ST")]
    ErrorPsmmuSt = 8,
    /// A device permission table walk ended early.
    #[doc(alias = "RMI_ERROR_DPT")]
    ErrorDpt = 9,
    /// Nothing changed; the same call may succeed later.
    #[doc(alias = "RMI_BUSY")]
    Busy = 10,
    /// The RMM as a whole is in the wrong state, or out of a global resource.
    #[doc(alias = "RMI_ERROR_GLOBAL")]
    ErrorGlobal = 11,
    /// The memory is not tracked, or tracked too coarsely.
    #[doc(alias = "RMI_ERROR_TRACKING")]
    ErrorTracking = 12,
    /// A stateful operation was started or is still going on.
    #[doc(alias = "RMI_INCOMPLETE")]
    Incomplete = 13,
    /// Nothing changed; an object is inside another incomplete operation.
    #[doc(alias = "RMI_BLOCKED")]
    Blocked = 14,
    /// The granule protection tables are in the wrong state.
    #[doc(alias = "RMI_ERROR_GPT")]
    ErrorGpt = 15,
    /// A granule is in the wrong state; its address is in X1.
    #[doc(alias = "RMI_ERROR_GRANULE")]
    ErrorGranule = 16,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

impl Status {
    /// The specification's spelling, or `UNKNOWN`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "RMI_SUCCESS",
            Self::ErrorInput => "RMI_ERROR_INPUT",
            Self::ErrorRealm => "RMI_ERROR_REALM",
            Self::ErrorRec => "RMI_ERROR_REC",
            Self::ErrorRtt => "RMI_ERROR_RTT",
            Self::ErrorNotSupported => "RMI_ERROR_NOT_SUPPORTED",
            Self::ErrorDevice => "RMI_ERROR_DEVICE",
            Self::ErrorRttAux => "RMI_ERROR_RTT_AUX",
            Self::ErrorPsmmuSt => "RMI_ERROR_PSMMU_ST",
            Self::ErrorDpt => "RMI_ERROR_DPT",
            Self::Busy => "RMI_BUSY",
            Self::ErrorGlobal => "RMI_ERROR_GLOBAL",
            Self::ErrorTracking => "RMI_ERROR_TRACKING",
            Self::Incomplete => "RMI_INCOMPLETE",
            Self::Blocked => "RMI_BLOCKED",
            Self::ErrorGpt => "RMI_ERROR_GPT",
            Self::ErrorGranule => "RMI_ERROR_GRANULE",
            Self::Unknown(_) => "UNKNOWN",
        }
    }

    /// Whether bits 15:8 of the result word hold a level for this status.
    ///
    /// `RMI_ERROR_TRACKING` and `RMI_ERROR_DPT` have one in late revisions only, together with an
    /// address in higher bits; earlier ones leave [`ResultWord::data`] zero.
    #[must_use]
    pub const fn carries_level(self) -> bool {
        matches!(
            self,
            Self::ErrorRtt
                | Self::ErrorRttAux
                | Self::ErrorPsmmuSt
                | Self::ErrorDpt
                | Self::ErrorTracking
        )
    }
}

/// What an incomplete operation requests from the host, bits 9:8 of its result word.
///
/// Source: DEN0137 2.0-bet3, `RmiOpMemReq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiOpMemReq")]
pub enum OpMemReq {
    /// Nothing: call `RMI_OP_CONTINUE`.
    None,
    /// Memory: call `RMI_OP_MEM_DONATE`.
    Donate,
    /// To take memory back: call `RMI_OP_MEM_RECLAIM`.
    Reclaim,
    /// The reserved code 3.
    Reserved,
}

/// X0 as the RMM returned it.
///
/// Bits 7:0 are the status, bits 63:8 data whose meaning depends on the status. All of it is kept.
/// Source: DEN0137 2.0-bet3, `RmiResult`; 1.0, `RmiCommandReturnCode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
#[must_use]
#[doc(alias = "RmiResult")]
#[doc(alias = "RmiCommandReturnCode")]
pub struct ResultWord(pub u64);

impl ResultWord {
    /// The answer to an unknown function identifier: SMCCC `NOT_SUPPORTED`, all ones.
    pub const NOT_SUPPORTED: Self = Self(u64::MAX);

    /// Makes a result word with only a status.
    pub fn from_status(status: Status) -> Self {
        Self(u64::from(u8::from(status)))
    }

    /// Makes a result word with a status and a level, as for `RMI_ERROR_RTT`.
    pub fn with_level(status: Status, level: Level) -> Self {
        Self(u64::from(u8::from(status)) | u64::from(level.number().cast_unsigned()) << 8)
    }

    /// Makes the result word of an incomplete operation.
    pub fn incomplete(mem: OpMemReq, can_cancel: bool) -> Self {
        let mem = match mem {
            OpMemReq::None => 0,
            OpMemReq::Donate => 1,
            OpMemReq::Reclaim => 2,
            OpMemReq::Reserved => 3,
        };
        Self(u64::from(u8::from(Status::Incomplete)) | mem << 8 | u64::from(can_cancel) << 10)
    }

    /// The status, bits 7:0.
    #[must_use]
    pub fn status(self) -> Status {
        let [status, ..] = self.0.to_le_bytes();
        Status::from(status)
    }

    /// Whether the answer is the SMCCC code for "no such function".
    #[must_use]
    pub const fn is_not_supported(self) -> bool {
        self.0 == u64::MAX
    }

    /// Bits 15:8 unchanged; the level is signed, so 0xff means -1.
    #[must_use]
    pub const fn index(self) -> u8 {
        self.0.to_le_bytes()[1]
    }

    /// Bits 63:8 unchanged: the data that belongs to the status.
    ///
    /// Late revisions put a granule number above the level of `RMI_ERROR_TRACKING` and
    /// `RMI_ERROR_DPT`; its exact position is not public, so these bits are neither interpreted nor
    /// required to be zero.
    #[must_use]
    pub const fn data(self) -> u64 {
        self.0 >> 8
    }

    /// Bits 15:8 as a signed level, when the status has one and that level exists (-1 to 3).
    #[must_use]
    pub fn level(self) -> Option<Level> {
        if self.status().carries_level() { Level::new(self.index().cast_signed()) } else { None }
    }

    /// What an `RMI_INCOMPLETE` requests, bits 9:8.
    #[must_use]
    pub const fn op_mem_req(self) -> OpMemReq {
        match (self.0 >> 8) & 0b11 {
            0 => OpMemReq::None,
            1 => OpMemReq::Donate,
            2 => OpMemReq::Reclaim,
            _ => OpMemReq::Reserved,
        }
    }

    /// Whether an `RMI_INCOMPLETE` operation may be cancelled, bit 10.
    #[must_use]
    #[doc(alias = "RmiOpCanCancel")]
    #[doc(alias = "CAN_CANCEL")]
    #[doc(alias = "CANNOT_CANCEL")]
    pub const fn can_cancel(self) -> bool {
        self.0 & (1 << 10) != 0
    }
}
