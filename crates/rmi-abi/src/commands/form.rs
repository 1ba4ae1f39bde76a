//! The types of a row of the command tables.

use core::fmt;

use crate::dialect::DialectSet;
use crate::result::Status;

/// A function identifier of a fast SMC64 call.
///
/// Bits 31:24 are 0xc4 (fast, 64-bit, standard secure service), bits 15:0 the function number; bit
/// 16 is the hint that the caller's SVE state need not be preserved. Source: SMCCC; DEN0137.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Fid(pub u32);

impl Fid {
    /// Hint of SMCCC 1.3: the caller has no live SVE state.
    pub const SVE_HINT: u32 = 1 << 16;

    /// The identifier of a function number of the standard secure service.
    #[must_use]
    pub const fn from_function_number(number: u16) -> Self {
        Self(0xc400_0000 | number as u32)
    }

    /// The identifier of a call with this value in X0: bits 31:0, as SMCCC defines it; the upper
    /// half is ignored.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the identifier is W0")]
    pub const fn from_register(x0: u64) -> Self {
        Self(x0 as u32)
    }

    /// The identifier with the SVE hint cleared.
    #[must_use]
    pub const fn without_sve_hint(self) -> Self {
        Self(self.0 & !Self::SVE_HINT)
    }
}

impl fmt::Debug for Fid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fid({:#010x})", self.0)
    }
}

impl fmt::Display for Fid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// Whether a command may become a stateful operation, and whether that operation moves memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The command is complete when the call returns.
    Immediate,
    /// The command may answer `RMI_INCOMPLETE`; it requests no memory and returns none.
    Stateful,
    /// The command may answer `RMI_INCOMPLETE`, request memory and return memory.
    Transfer,
}

impl Effect {
    /// Whether the command may answer `RMI_INCOMPLETE`.
    #[must_use]
    pub const fn is_stateful(self) -> bool {
        matches!(self, Self::Stateful | Self::Transfer)
    }

    /// Whether it may then request memory or return memory.
    #[must_use]
    pub const fn moves_memory(self) -> bool {
        matches!(self, Self::Transfer)
    }
}

/// The type of the value in a register of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParamType {
    /// A physical address.
    Pa,
    /// An intermediate physical address.
    Ipa,
    /// An address of which the specification does not define the address space.
    Address,
    /// A signed translation table level.
    Level,
    /// An unsigned number.
    UInt,
    /// Bits without further structure.
    Bits,
    /// `RmiAddrRangeDesc`.
    #[doc(alias = "RmiAddrRangeDesc")]
    AddrRangeDesc,
    /// `RmiAddrSetDesc`.
    #[doc(alias = "RmiAddrSetDesc")]
    AddrSetDesc,
    /// `RmiContinueFlags`.
    #[doc(alias = "RmiContinueFlags")]
    ContinueFlags,
    /// `RmiDataFlags`.
    #[doc(alias = "RmiDataFlags")]
    DataFlags,
    /// `RmiGptParState`.
    #[doc(alias = "RmiGptParState")]
    GptParState,
    /// `RmiInterfaceVersion`.
    #[doc(alias = "RmiInterfaceVersion")]
    InterfaceVersion,
    /// `RmiMemCategory`.
    #[doc(alias = "RmiMemCategory")]
    MemCategory,
    /// `RmiOpMemDonateReq`.
    #[doc(alias = "RmiOpMemDonateReq")]
    OpMemDonateReq,
    /// `RmiPdevState`.
    #[doc(alias = "RmiPdevState")]
    PdevState,
    /// `RmiPdevStreamState`.
    #[doc(alias = "RmiPdevStreamState")]
    PdevStreamState,
    /// `RmiPdevStreamType`.
    #[doc(alias = "RmiPdevStreamType")]
    PdevStreamType,
    /// `PsciReturnCode`.
    PsciReturnCode,
    /// `RmiPsmmuIrq`.
    #[doc(alias = "RmiPsmmuIrq")]
    PsmmuIrq,
    /// `RmiPsmmuIrqResult`.
    #[doc(alias = "RmiPsmmuIrqResult")]
    PsmmuIrqResult,
    /// `RmiPsmmuIrqSet`.
    #[doc(alias = "RmiPsmmuIrqSet")]
    PsmmuIrqSet,
    /// `RmiRipas`.
    #[doc(alias = "RmiRipas")]
    Ripas,
    /// `RmiRmmState`.
    #[doc(alias = "RmiRmmState")]
    RmmState,
    /// `RmiRttAuxMapFlags`.
    #[doc(alias = "RmiRttAuxMapFlags")]
    RttAuxMapFlags,
    /// `RmiRttAuxUnmapFlags`.
    #[doc(alias = "RmiRttAuxUnmapFlags")]
    RttAuxUnmapFlags,
    /// `RmiRttEntryDesc`.
    #[doc(alias = "RmiRttEntryDesc")]
    RttEntryDesc,
    /// `RmiRttEntryState`.
    #[doc(alias = "RmiRttEntryState")]
    RttEntryState,
    /// `RmiRttProtMapFlags`.
    #[doc(alias = "RmiRttProtMapFlags")]
    RttProtMapFlags,
    /// `RmiRttUnmapFlags`.
    #[doc(alias = "RmiRttUnmapFlags")]
    RttUnmapFlags,
    /// `RmiRttUnprotMapFlags`.
    #[doc(alias = "RmiRttUnprotMapFlags")]
    RttUnprotMapFlags,
    /// `RmiTrackingRegionState`.
    #[doc(alias = "RmiTrackingRegionState")]
    TrackingRegionState,
    /// `RmiVdevState`.
    #[doc(alias = "RmiVdevState")]
    VdevState,
    /// `RmiVsmmuCmdFlags`.
    #[doc(alias = "RmiVsmmuCmdFlags")]
    VsmmuCmdFlags,
    /// `RmiVsmmuEventFlags`.
    #[doc(alias = "RmiVsmmuEventFlags")]
    VsmmuEventFlags,
}

impl ParamType {
    /// Every type.
    pub const ALL: [Self; 34] = [
        Self::Pa,
        Self::Ipa,
        Self::Address,
        Self::Level,
        Self::UInt,
        Self::Bits,
        Self::AddrRangeDesc,
        Self::AddrSetDesc,
        Self::ContinueFlags,
        Self::DataFlags,
        Self::GptParState,
        Self::InterfaceVersion,
        Self::MemCategory,
        Self::OpMemDonateReq,
        Self::PdevState,
        Self::PdevStreamState,
        Self::PdevStreamType,
        Self::PsciReturnCode,
        Self::PsmmuIrq,
        Self::PsmmuIrqResult,
        Self::PsmmuIrqSet,
        Self::Ripas,
        Self::RmmState,
        Self::RttAuxMapFlags,
        Self::RttAuxUnmapFlags,
        Self::RttEntryDesc,
        Self::RttEntryState,
        Self::RttProtMapFlags,
        Self::RttUnmapFlags,
        Self::RttUnprotMapFlags,
        Self::TrackingRegionState,
        Self::VdevState,
        Self::VsmmuCmdFlags,
        Self::VsmmuEventFlags,
    ];

    /// Name of the type, spelled as the specification does; the address types are `PA`, `IPA` and
    /// `Address`.
    #[must_use]
    pub const fn spec_name(self) -> &'static str {
        match self {
            Self::Pa => "PA",
            Self::Ipa => "IPA",
            Self::Address => "Address",
            Self::Level => "Int64",
            Self::UInt => "UInt64",
            Self::Bits => "Bits64",
            Self::AddrRangeDesc => "RmiAddrRangeDesc",
            Self::AddrSetDesc => "RmiAddrSetDesc",
            Self::ContinueFlags => "RmiContinueFlags",
            Self::DataFlags => "RmiDataFlags",
            Self::GptParState => "RmiGptParState",
            Self::InterfaceVersion => "RmiInterfaceVersion",
            Self::MemCategory => "RmiMemCategory",
            Self::OpMemDonateReq => "RmiOpMemDonateReq",
            Self::PdevState => "RmiPdevState",
            Self::PdevStreamState => "RmiPdevStreamState",
            Self::PdevStreamType => "RmiPdevStreamType",
            Self::PsciReturnCode => "PsciReturnCode",
            Self::PsmmuIrq => "RmiPsmmuIrq",
            Self::PsmmuIrqResult => "RmiPsmmuIrqResult",
            Self::PsmmuIrqSet => "RmiPsmmuIrqSet",
            Self::Ripas => "RmiRipas",
            Self::RmmState => "RmiRmmState",
            Self::RttAuxMapFlags => "RmiRttAuxMapFlags",
            Self::RttAuxUnmapFlags => "RmiRttAuxUnmapFlags",
            Self::RttEntryDesc => "RmiRttEntryDesc",
            Self::RttEntryState => "RmiRttEntryState",
            Self::RttProtMapFlags => "RmiRttProtMapFlags",
            Self::RttUnmapFlags => "RmiRttUnmapFlags",
            Self::RttUnprotMapFlags => "RmiRttUnprotMapFlags",
            Self::TrackingRegionState => "RmiTrackingRegionState",
            Self::VdevState => "RmiVdevState",
            Self::VsmmuCmdFlags => "RmiVsmmuCmdFlags",
            Self::VsmmuEventFlags => "RmiVsmmuEventFlags",
        }
    }
}

/// One register of a command, with the type of its value: a [`ParamType`], or for an RSI command an
/// [`rsi::ParamType`](crate::rsi::ParamType).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Param<K = ParamType> {
    register: u8,
    name: &'static str,
    kind: K,
}

impl<K: Copy> Param<K> {
    /// Number of the register: 1 for X1, up to 7 for X7; for an RSI command, up to 10 for X10.
    #[must_use]
    pub const fn register(&self) -> u8 {
        self.register
    }

    /// Name of the parameter in the specification.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The type of the register's value.
    #[must_use]
    pub const fn kind(&self) -> K {
        self.kind
    }
}

/// Shorthand of the tables: register, name, type.
pub(crate) const fn p<K: Copy>(register: u8, name: &'static str, kind: K) -> Param<K> {
    Param { register, name, kind }
}

/// The function identifier and the registers of a command in one or more dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    dialects: DialectSet,
    unsure: DialectSet,
    fid: Fid,
    effect: Effect,
    inputs: Option<&'static [Param]>,
    outputs: Option<&'static [Param]>,
    statuses: &'static [Status],
}

impl Form {
    pub(super) const fn new(
        dialects: DialectSet,
        function_number: u16,
        effect: Effect,
        inputs: &'static [Param],
        outputs: &'static [Param],
    ) -> Self {
        Self {
            dialects,
            unsure: DialectSet::NONE,
            fid: Fid::from_function_number(function_number),
            effect,
            inputs: Some(inputs),
            outputs: Some(outputs),
            statuses: &[],
        }
    }

    /// A command whose registers are not public.
    pub(super) const fn unknown(
        dialects: DialectSet,
        function_number: u16,
        effect: Effect,
    ) -> Self {
        let form = Self::new(dialects, function_number, effect, &[], &[]);
        Self { inputs: None, outputs: None, ..form }
    }

    /// A command without outputs whose inputs are not public.
    pub(super) const fn unknown_inputs(
        dialects: DialectSet,
        function_number: u16,
        effect: Effect,
    ) -> Self {
        let form = Self::new(dialects, function_number, effect, &[], &[]);
        Self { inputs: None, ..form }
    }

    /// Sets the statuses that are documented for the command.
    pub(super) const fn answers(self, statuses: &'static [Status]) -> Self {
        Self { statuses, ..self }
    }

    /// Marks the dialects for which only number and name are certain.
    pub(super) const fn unsure(self, unsure: DialectSet) -> Self {
        Self { unsure, ..self }
    }

    /// The dialects that have this form.
    #[must_use]
    pub const fn dialects(&self) -> DialectSet {
        self.dialects
    }

    /// The dialects for which only function identifier and name are certain: the registers are
    /// known from one weak source only.
    #[must_use]
    pub const fn unsure_in(&self) -> DialectSet {
        self.unsure
    }

    /// The function identifier.
    #[must_use]
    pub const fn fid(&self) -> Fid {
        self.fid
    }

    /// Whether the command may become a stateful operation.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        self.effect
    }

    /// The input registers in order; `None` when they are not public.
    #[must_use]
    pub const fn inputs(&self) -> Option<&'static [Param]> {
        self.inputs
    }

    /// The statuses that are documented for the command, in numeric order; empty when none are
    /// public.
    ///
    /// In addition to these, any command of 2.0 may answer `RMI_BUSY`, `RMI_BLOCKED`,
    /// `RMI_ERROR_NOT_SUPPORTED`, and while the RMM is not active `RMI_ERROR_GLOBAL`;
    /// `RMI_OP_CONTINUE` answers with any status of the command that it completes.
    #[must_use]
    pub const fn statuses(&self) -> &'static [Status] {
        self.statuses
    }

    /// The output registers in order (X0 is always the result word); `None` when they are not
    /// public.
    #[must_use]
    pub const fn outputs(&self) -> Option<&'static [Param]> {
        self.outputs
    }
}
