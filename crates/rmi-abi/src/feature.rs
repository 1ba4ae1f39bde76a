//! Feature registers, kept whole.
//!
//! A [`Features`] holds what `RMI_FEATURES` returned for every index, so that bits newer than this crate survive. The getters hide where a
//! dialect keeps a field: 1.0 has one register, 2.0 has five.

use crate::address::GranuleSize;
use crate::dialect::Dialect;
use crate::realm::HashAlgorithm;

/// The feature registers of an RMM.
///
/// Source: DEN0137 1.0-rel0, `RmiFeatureRegister0`; 2.0-bet3, `RmiFeatureRegister0` to `RmiFeatureRegister4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiFeatureRegister0")]
#[doc(alias = "RmiFeatureRegister1")]
#[doc(alias = "RmiFeatureRegister2")]
#[doc(alias = "RmiFeatureRegister3")]
#[doc(alias = "RmiFeatureRegister4")]
pub struct Features {
    dialect: Dialect,
    registers: [u64; Self::COUNT],
}

const fn field(register: u64, lsb: u32, width: u32) -> u64 {
    (register >> lsb) & (u64::MAX >> (64 - width))
}

#[expect(clippy::cast_possible_truncation, reason = "fields are at most 8 bits wide")]
const fn small(register: u64, lsb: u32, width: u32) -> u8 {
    field(register, lsb, width) as u8
}

impl Features {
    /// Number of feature registers.
    pub const COUNT: usize = 5;

    /// Wraps the registers as `RMI_FEATURES` returned them for the indices 0 to 4. 1.0 defines index 0 only; the others are 0 there.
    #[must_use]
    pub const fn new(dialect: Dialect, registers: [u64; Self::COUNT]) -> Self {
        Self { dialect, registers }
    }

    /// The registers as the RMM returned them.
    #[must_use]
    pub const fn registers(&self) -> [u64; Self::COUNT] {
        self.registers
    }

    const fn register0(&self) -> u64 {
        let [register, ..] = self.registers;
        register
    }

    const fn register1(&self) -> u64 {
        let [_, register, ..] = self.registers;
        register
    }

    const fn register2(&self) -> u64 {
        let [_, _, register, ..] = self.registers;
        register
    }

    const fn register3(&self) -> u64 {
        let [_, _, _, register, _] = self.registers;
        register
    }

    /// Widest IPA space of a Realm, in bits.
    #[must_use]
    #[doc(alias = "S2SZ")]
    pub const fn max_ipa_width(&self) -> u8 {
        small(self.register0(), 0, 8)
    }

    /// Whether Realms may have 52-bit addresses.
    #[must_use]
    #[doc(alias = "LPA2")]
    pub const fn lpa2(&self) -> bool {
        field(self.register0(), 8, 1) != 0
    }

    /// Largest SVE vector length of a Realm in units of 128 bits, minus one; `None` without SVE.
    #[must_use]
    #[doc(alias = "SVE")]
    #[doc(alias = "SVE_VL")]
    pub const fn sve_vl(&self) -> Option<u8> {
        if field(self.register0(), 9, 1) != 0 { Some(small(self.register0(), 10, 4)) } else { None }
    }

    /// Most breakpoints of a Realm, minus one; 0 is reserved.
    #[must_use]
    #[doc(alias = "NUM_BPS")]
    pub const fn num_bps(&self) -> u8 {
        small(self.register0(), 14, 6)
    }

    /// Most watchpoints of a Realm, minus one; 0 is reserved.
    #[must_use]
    #[doc(alias = "NUM_WPS")]
    pub const fn num_wps(&self) -> u8 {
        small(self.register0(), 20, 6)
    }

    /// Most PMU counters of a Realm; `None` without a PMU.
    #[must_use]
    #[doc(alias = "PMU")]
    #[doc(alias = "PMU_NUM_CTRS")]
    pub const fn pmu_num_ctrs(&self) -> Option<u8> {
        if field(self.register0(), 26, 1) != 0 {
            Some(small(self.register0(), 27, 5))
        } else {
            None
        }
    }

    /// Whether the RMM measures with this algorithm.
    #[must_use]
    #[doc(alias = "HASH_SHA_256")]
    #[doc(alias = "HASH_SHA_384")]
    #[doc(alias = "HASH_SHA_512")]
    pub const fn supports_hash(&self, algorithm: HashAlgorithm) -> bool {
        let (register, bit) = match (self.dialect, algorithm) {
            (Dialect::V1_0, HashAlgorithm::Sha256) => (self.register0(), 32),
            (Dialect::V1_0, HashAlgorithm::Sha512) => (self.register0(), 33),
            (Dialect::V1_0, _) | (_, HashAlgorithm::Unknown(_)) => return false,
            (_, HashAlgorithm::Sha256) => (self.register1(), 3),
            (_, HashAlgorithm::Sha384) => (self.register1(), 4),
            (_, HashAlgorithm::Sha512) => (self.register1(), 5),
        };
        field(register, bit, 1) != 0
    }

    /// Whether the RMM can be configured for this granule size. 1.0 has 4 KiB only.
    #[must_use]
    #[doc(alias = "GRAN_SZ_4KB")]
    #[doc(alias = "GRAN_SZ_16KB")]
    #[doc(alias = "GRAN_SZ_64KB")]
    pub const fn supports_granule(&self, size: GranuleSize) -> bool {
        match (self.dialect, size) {
            (Dialect::V1_0, GranuleSize::Size4KiB) => true,
            (Dialect::V1_0, _) => false,
            (_, GranuleSize::Size4KiB) => field(self.register1(), 0, 1) != 0,
            (_, GranuleSize::Size16KiB) => field(self.register1(), 1, 1) != 0,
            (_, GranuleSize::Size64KiB) => field(self.register1(), 2, 1) != 0,
        }
    }

    /// Most RECs of a Realm: 2 to the power of `MAX_RECS_ORDER`, minus one.
    #[must_use]
    #[doc(alias = "MAX_RECS_ORDER")]
    pub const fn max_recs(&self) -> u32 {
        let order = match self.dialect {
            Dialect::V1_0 => small(self.register0(), 38, 4),
            _ => small(self.register1(), 6, 4),
        };
        (1 << order) - 1
    }

    /// Number of list registers of the virtual GIC that the run page carries (1.0 only).
    #[must_use]
    #[doc(alias = "GICV3_NUM_LRS")]
    pub const fn gic_num_lrs(&self) -> Option<u8> {
        match self.dialect {
            Dialect::V1_0 => Some(small(self.register0(), 34, 4) + 1),
            _ => None,
        }
    }

    /// Whether devices can be assigned to Realms (2.0).
    #[must_use]
    #[doc(alias = "DA")]
    pub const fn device_assignment(&self) -> bool {
        self.dialect.is_2_0() && field(self.register2(), 0, 1) != 0
    }

    /// Most auxiliary planes of a Realm (2.0).
    #[must_use]
    #[doc(alias = "MAX_NUM_AUX_PLANES")]
    pub const fn max_aux_planes(&self) -> u8 {
        if self.dialect.is_2_0() { small(self.register3(), 0, 4) } else { 0 }
    }

    /// Number of private memory encryption contexts available (2.0).
    #[must_use]
    #[doc(alias = "MEC_COUNT")]
    pub const fn mec_count(&self) -> u64 {
        let [.., register] = self.registers;
        if self.dialect.is_2_0() { register } else { 0 }
    }
}
