//! Fault status codes.

use num_enum::{FromPrimitive, IntoPrimitive};

use crate::rtt::Level;

/// What a synchronous external abort did to the state of the CPU (SET, bits 12:11 of the syndrome).
///
/// Source: Arm ARM, `ESR_EL2`, "ISS encoding for an exception from a Data Abort".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "SET")]
#[non_exhaustive]
pub enum AbortSeverity {
    /// Recoverable (UER): the state of the CPU is intact, the access did not happen.
    #[doc(alias = "UER")]
    Recoverable = 0,
    /// Uncontainable (UC): the error may have spread.
    #[doc(alias = "UC")]
    Uncontainable = 2,
    /// Restartable (UEO): the instruction can be executed again.
    #[doc(alias = "UEO")]
    Restartable = 3,
    /// A reserved code.
    #[num_enum(catch_all)]
    Unknown(u8),
}

/// Why an abort was taken, decoded from the fault status code (bits 5:0).
///
/// Source: Arm ARM, `ESR_EL2`, "ISS encoding for an exception from a Data Abort"; the levels of -1
/// come with FEAT_LPA2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "DFSC")]
#[doc(alias = "IFSC")]
#[non_exhaustive]
pub enum FaultStatus {
    /// An address was too wide, at this level.
    AddressSize(Level),
    /// Nothing is mapped, at this level.
    Translation(Level),
    /// The access flag is clear, at this level.
    AccessFlag(Level),
    /// The access is not permitted, at this level.
    Permission(Level),
    /// The memory returned an error.
    SynchronousExternal,
    /// The memory of a translation table returned an error, at this level.
    SynchronousExternalOnWalk(Level),
    /// The memory returned data with a parity or ECC error.
    Parity,
    /// The memory of a translation table returned data with a parity or ECC error, at this level.
    ParityOnWalk(Level),
    /// The granule belongs to another physical address space (granule protection fault).
    GranuleProtection,
    /// The granule of a translation table belongs to another physical address space (granule
    /// protection fault), at this level.
    GranuleProtectionOnWalk(Level),
    /// The address is not aligned.
    Alignment,
    /// TLB entries conflict.
    TlbConflict,
    /// A code this crate does not decode, or a level that does not exist.
    Unknown(u8),
}

impl FaultStatus {
    /// Decodes bits 5:0; higher bits are ignored.
    #[must_use]
    pub const fn decode(code: u8) -> Self {
        let code = code & 0x3f;
        let level = match code & 0b11 {
            0 => Level::L0,
            1 => Level::L1,
            2 => Level::L2,
            _ => Level::L3,
        };
        match code {
            0x00..=0x03 => Self::AddressSize(level),
            0x04..=0x07 => Self::Translation(level),
            0x08..=0x0b => Self::AccessFlag(level),
            0x0c..=0x0f => Self::Permission(level),
            0x10 => Self::SynchronousExternal,
            0x13 => Self::SynchronousExternalOnWalk(Level::MINUS_1),
            0x14..=0x17 => Self::SynchronousExternalOnWalk(level),
            0x18 => Self::Parity,
            0x1b => Self::ParityOnWalk(Level::MINUS_1),
            0x1c..=0x1f => Self::ParityOnWalk(level),
            0x21 => Self::Alignment,
            0x23 => Self::GranuleProtectionOnWalk(Level::MINUS_1),
            0x24..=0x27 => Self::GranuleProtectionOnWalk(level),
            0x28 => Self::GranuleProtection,
            0x29 => Self::AddressSize(Level::MINUS_1),
            0x2b => Self::Translation(Level::MINUS_1),
            0x30 => Self::TlbConflict,
            _ => Self::Unknown(code),
        }
    }

    /// The code, bits 5:0. The levels of access flag and permission faults are 0 to 3; -1 counts as
    /// 0 there.
    #[must_use]
    pub const fn encode(self) -> u8 {
        const fn at(base: u8, minus_1: u8, level: Level) -> u8 {
            match level.number() {
                0 => base,
                1 => base + 1,
                2 => base + 2,
                3 => base + 3,
                _ => minus_1,
            }
        }
        match self {
            Self::AddressSize(level) => at(0x00, 0x29, level),
            Self::Translation(level) => at(0x04, 0x2b, level),
            Self::AccessFlag(level) => at(0x08, 0x08, level),
            Self::Permission(level) => at(0x0c, 0x0c, level),
            Self::SynchronousExternal => 0x10,
            Self::SynchronousExternalOnWalk(level) => at(0x14, 0x13, level),
            Self::Parity => 0x18,
            Self::ParityOnWalk(level) => at(0x1c, 0x1b, level),
            Self::GranuleProtection => 0x28,
            Self::GranuleProtectionOnWalk(level) => at(0x24, 0x23, level),
            Self::Alignment => 0x21,
            Self::TlbConflict => 0x30,
            Self::Unknown(code) => code & 0x3f,
        }
    }

    /// Whether nothing was mapped: a host maps memory, emulates the access, or does neither.
    #[must_use]
    pub const fn is_translation(self) -> bool {
        matches!(self, Self::Translation(_))
    }

    /// Whether memory returned an error, that of the access or that of a translation table. No
    /// mapping is missing then, and no address is reported.
    #[must_use]
    pub const fn is_memory_error(self) -> bool {
        matches!(
            self,
            Self::SynchronousExternal
                | Self::SynchronousExternalOnWalk(_)
                | Self::Parity
                | Self::ParityOnWalk(_)
        )
    }

    /// Whether memory returned a synchronous external abort: the syndrome has a severity then, see
    /// [`AbortSeverity`].
    #[must_use]
    pub const fn is_external(self) -> bool {
        matches!(self, Self::SynchronousExternal | Self::SynchronousExternalOnWalk(_))
    }

    /// Whether `HPFAR_EL2` holds the IPA of such an abort. Otherwise the value of the register is
    /// arbitrary, and TF-RMM reports 0 for an external abort.
    #[must_use]
    pub const fn has_ipa(self) -> bool {
        matches!(
            self,
            Self::AddressSize(_)
                | Self::Translation(_)
                | Self::AccessFlag(_)
                | Self::Permission(_)
                | Self::GranuleProtection
                | Self::GranuleProtectionOnWalk(_)
        )
    }

    /// The level of the table entry that caused the fault, where the code has one.
    #[must_use]
    pub const fn level(self) -> Option<Level> {
        match self {
            Self::AddressSize(level)
            | Self::Translation(level)
            | Self::AccessFlag(level)
            | Self::Permission(level)
            | Self::SynchronousExternalOnWalk(level)
            | Self::ParityOnWalk(level)
            | Self::GranuleProtectionOnWalk(level) => Some(level),
            _ => None,
        }
    }

    /// Whether a mapping was there that does not permit the access.
    #[must_use]
    pub const fn is_permission(self) -> bool {
        matches!(self, Self::Permission(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_of_a_granule_are_in_the_second_register() {
        use crate::address::{GranuleSize, Ipa};
        use crate::esr::{fault_address, fault_address_in};

        let (hpfar, far) = (0x80_0012 << 20 >> 8, 0xffff_ffff_ffff_f9a8);
        for (granule, bits) in [
            (GranuleSize::Size4KiB, 0x9a8),
            (GranuleSize::Size16KiB, 0x39a8),
            (GranuleSize::Size64KiB, 0xf9a8),
        ] {
            let ipa = Ipa::new((0x80_0012 << 20) + bits);
            assert_eq!(fault_address_in(granule, hpfar, far), ipa);
        }
        assert_eq!(fault_address(hpfar, far), Ipa::new((0x80_0012 << 20) + 0x9a8));
    }

    #[test]
    fn every_code_survives() {
        for code in 0..=0x3f {
            assert_eq!(FaultStatus::decode(code).encode(), code);
        }
        assert_eq!(FaultStatus::decode(0x2b), FaultStatus::Translation(Level::MINUS_1));
        assert_eq!(FaultStatus::decode(0xc7), FaultStatus::Translation(Level::L3));
    }

    #[test]
    fn memory_errors_are_told_from_missing_mappings() {
        let errors: [u8; 11] = [0x10, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x1b, 0x1c, 0x1d, 0x1f];
        for code in errors {
            let status = FaultStatus::decode(code);
            assert!(status.is_memory_error() && !status.has_ipa(), "{code:#x}");
            assert!(!status.is_translation() && !status.is_permission(), "{code:#x}");
            assert_eq!(status.is_external(), code < 0x18, "{code:#x}");
        }
        for code in [0x00, 0x07, 0x0b, 0x0f, 0x21, 0x28, 0x2b, 0x30, 0x3f, 0x12, 0x2a] {
            assert!(!FaultStatus::decode(code).is_memory_error(), "{code:#x}");
        }
        assert_eq!(FaultStatus::decode(0x13).level(), Some(Level::MINUS_1));
        assert_eq!(FaultStatus::decode(0x06).level(), Some(Level::L2));
        assert_eq!(FaultStatus::decode(0x30), FaultStatus::TlbConflict);
        assert_eq!(FaultStatus::decode(0x30).level(), None);
        // Level -2 exists with 128-bit descriptors only, which no Realm has.
        assert_eq!(FaultStatus::decode(0x2a), FaultStatus::Unknown(0x2a));
        assert!(!FaultStatus::decode(0x30).has_ipa() && !FaultStatus::decode(0x21).has_ipa());
    }
}
