//! One register, printed by its type.

use core::fmt;

use crate::address::GranuleSize;
use crate::commands::ParamType;
use crate::desc::{AddrRangeDesc, BlockSize, DonateRequest, OpMemState};
use crate::describe::{Enumeration, Register};
use crate::dialect::{Dialect, InterfaceVersion};
use crate::flags::AddrSet;
use crate::psci::PsciReturnCode;
use crate::rtt::Level;

/// A register value, printed by its type: an address, a level, the name of a code, named fields.
///
/// Bits and codes that the dialect does not define are printed as numbers.
#[derive(Clone, Copy, Debug)]
pub struct ValueDisplay {
    kind: ParamType,
    value: u64,
    dialect: Dialect,
    granule: GranuleSize,
    set: Option<AddrSet>,
    feature_register: Option<u64>,
}

impl ValueDisplay {
    /// Prints `value` as a `kind` of `dialect`.
    #[must_use]
    pub const fn new(kind: ParamType, value: u64, dialect: Dialect) -> Self {
        let granule = GranuleSize::Size4KiB;
        Self { kind, value, dialect, granule, set: None, feature_register: None }
    }

    /// Sets the granule size that address range descriptors are decoded for; 4 KiB unless set.
    #[must_use]
    pub const fn granule(self, granule: GranuleSize) -> Self {
        Self { granule, ..self }
    }

    /// Sets how an [`ParamType::AddrSetDesc`] passes its addresses; it is printed as a plain number
    /// unless set.
    #[must_use]
    pub const fn address_set(self, set: Option<AddrSet>) -> Self {
        Self { set, ..self }
    }

    /// Sets that the value is the feature register with that index.
    #[must_use]
    pub const fn feature_register(self, index: u64) -> Self {
        Self { feature_register: Some(index), ..self }
    }

    fn range(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let desc = AddrRangeDesc::decode(self.value, self.dialect, self.granule);
        let blocks = BlockDisplay { count: desc.count, size: desc.size, granule: self.granule };
        write!(f, "{{{}, {blocks}", desc.base)?;
        match state_name(desc.state) {
            Some(state) => write!(f, ", {state}}}"),
            None => f.write_str("}"),
        }
    }

    fn fields(&self, f: &mut fmt::Formatter<'_>, register: &Register) -> fmt::Result {
        f.write_str("{")?;
        let mut separator = "";
        for field in register.fields(self.dialect) {
            let value = field.get(self.value);
            let kind = field.kind.and_then(Enumeration::find);
            match kind.and_then(|kind| kind.name_of(value.cast_signed(), self.dialect)) {
                Some(name) => write!(f, "{separator}{}={name}", field.name)?,
                None if value == 0 => continue,
                None if field.width() == 1 => write!(f, "{separator}{}", field.name)?,
                None => write!(f, "{separator}{}={value}", field.name)?,
            }
            separator = ", ";
        }
        let rest = self.value & !register.known(self.dialect);
        if rest != 0 {
            write!(f, "{separator}{rest:#x}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for ValueDisplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value;
        match (self.kind, self.set) {
            (ParamType::Level, _) => match Level::from_register(value) {
                Some(level) => return fmt::Display::fmt(&level, f),
                None => return write!(f, "{}", value.cast_signed()),
            },
            (ParamType::UInt, _) => return write!(f, "{value}"),
            (ParamType::InterfaceVersion, _) if value >> 31 == 0 => {
                return fmt::Display::fmt(&InterfaceVersion(value), f);
            }
            // An unmap call passes an empty descriptor.
            (ParamType::AddrRangeDesc, _) | (ParamType::AddrSetDesc, Some(AddrSet::Single))
                if value != 0 =>
            {
                return self.range(f);
            }
            (ParamType::OpMemDonateReq, _) if value != 0 => {
                let request = DonateRequest::decode(value, self.dialect);
                let blocks = BlockDisplay {
                    count: request.count,
                    size: request.size,
                    granule: self.granule,
                };
                write!(f, "{{{blocks}")?;
                f.write_str(if request.contiguous { ", contiguous}" } else { "}" })?;
                return Ok(());
            }
            _ => {}
        }
        if self.kind == ParamType::PsciReturnCode {
            let code = PsciReturnCode::from_register(value);
            return match code.name() {
                Some(name) => f.write_str(name),
                None => write!(f, "{}", value.cast_signed()),
            };
        }
        let name = self.kind.spec_name();
        if let Some(enumeration) = Enumeration::find(name)
            && let Some(name) = enumeration.name_of(value.cast_signed(), self.dialect)
        {
            return f.write_str(name);
        }
        let register = match self.feature_register {
            None => Register::find(name),
            Some(0) => Register::find("RmiFeatureRegister0"),
            Some(1) => Register::find("RmiFeatureRegister1"),
            Some(2) => Register::find("RmiFeatureRegister2"),
            Some(3) => Register::find("RmiFeatureRegister3"),
            Some(4) => Register::find("RmiFeatureRegister4"),
            Some(_) => None,
        };
        if self.feature_register.is_some() || register.is_none() || value == 0 {
            write!(f, "{value:#x}")?;
        }
        match register {
            Some(register) if value != 0 => self.fields(f, register),
            _ => Ok(()),
        }
    }
}

/// A number of blocks, for example `16 x 4 KiB`.
#[derive(Clone, Copy)]
pub(super) struct BlockDisplay {
    pub(super) count: u16,
    pub(super) size: BlockSize,
    pub(super) granule: GranuleSize,
}

impl fmt::Display for BlockDisplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.size.bytes(self.granule);
        let (unit, shift) = match bytes.trailing_zeros() {
            0..=19 => ("KiB", 10),
            20..=29 => ("MiB", 20),
            30..=39 => ("GiB", 30),
            _ => ("TiB", 40),
        };
        write!(f, "{} x {} {unit}", self.count, bytes >> shift)
    }
}

/// The specification's name of a memory state; `None` for the reserved code.
pub(super) const fn state_name(state: OpMemState) -> Option<&'static str> {
    match state {
        OpMemState::Delegated => Some("DELEGATED"),
        OpMemState::Undelegated => Some("UNDELEGATED"),
        OpMemState::Conditional => Some("CONDITIONAL"),
        OpMemState::Reserved => None,
    }
}
