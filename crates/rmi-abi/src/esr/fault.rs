//! Fault status codes.

use crate::rtt::Level;

/// Why an abort was taken, decoded from the fault status code (bits 5:0).
///
/// Source: Arm ARM, `ESR_EL2`, "ISS encoding for an exception from a Data Abort"; the levels of -1 come with FEAT_LPA2.
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
    /// The memory answered with an error.
    SynchronousExternal,
    /// The memory of a translation table answered with an error, at this level.
    SynchronousExternalOnWalk(Level),
    /// The granule belongs to another world.
    GranuleProtection,
    /// The granule of a translation table belongs to another world, at this level.
    GranuleProtectionOnWalk(Level),
    /// The address is not aligned.
    Alignment,
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
            0x21 => Self::Alignment,
            0x23 => Self::GranuleProtectionOnWalk(Level::MINUS_1),
            0x24..=0x27 => Self::GranuleProtectionOnWalk(level),
            0x28 => Self::GranuleProtection,
            0x29 => Self::AddressSize(Level::MINUS_1),
            0x2b => Self::Translation(Level::MINUS_1),
            _ => Self::Unknown(code),
        }
    }

    /// The code, bits 5:0. The levels of access flag and permission faults are 0 to 3; -1 counts as 0 there.
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
            Self::GranuleProtection => 0x28,
            Self::GranuleProtectionOnWalk(level) => at(0x24, 0x23, level),
            Self::Alignment => 0x21,
            Self::Unknown(code) => code & 0x3f,
        }
    }

    /// Whether nothing was mapped: what a host answers by mapping memory, by emulating, or not at all.
    #[must_use]
    pub const fn is_translation(self) -> bool {
        matches!(self, Self::Translation(_))
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
    fn every_code_survives() {
        for code in 0..=0x3f {
            assert_eq!(FaultStatus::decode(code).encode(), code);
        }
        assert_eq!(FaultStatus::decode(0x2b), FaultStatus::Translation(Level::MINUS_1));
        assert_eq!(FaultStatus::decode(0xc7), FaultStatus::Translation(Level::L3));
    }
}
