//! Feature registers, stored completely.
//!
//! A [`Features`] holds what `RMI_FEATURES` returned for every index, so that bits newer than this
//! crate are kept. The getters know where a dialect has a field: 1.0 has one register, 2.0 has
//! five.

mod fields;

pub use fields::{L0Gptsz, Pps, RttPlaneFeature};

use crate::address::GranuleSize;
use crate::describe::Register;
use crate::dialect::Dialect;
use crate::realm::HashAlgorithm;

/// The feature registers of an RMM.
///
/// Source: DEN0137 1.0-rel0, `RmiFeatureRegister0`; 2.0-bet3, `RmiFeatureRegister0` to
/// `RmiFeatureRegister4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiFeatureRegister0")]
#[doc(alias = "RmiFeatureRegister1")]
#[doc(alias = "RmiFeatureRegister2")]
#[doc(alias = "RmiFeatureRegister3")]
#[doc(alias = "RmiFeatureRegister4")]
#[doc(alias = "RmiFeature")]
#[doc(alias = "RMI_FEATURE_FALSE")]
#[doc(alias = "RMI_FEATURE_TRUE")]
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

    /// Wraps the registers as `RMI_FEATURES` returned them for the indices 0 to 4. 1.0 defines
    /// index 0 only; the others are 0 there.
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

    /// The bits of a register that the dialect does not define; for an index above 4, which no
    /// dialect has, none are set.
    #[must_use]
    pub fn unknown(&self, index: usize) -> u64 {
        const NAMES: [&str; Features::COUNT] = [
            "RmiFeatureRegister0",
            "RmiFeatureRegister1",
            "RmiFeatureRegister2",
            "RmiFeatureRegister3",
            "RmiFeatureRegister4",
        ];
        let (Some(name), Some(register)) = (NAMES.get(index), self.registers.get(index)) else {
            return 0;
        };
        let known = Register::find(name).map_or(0, |register| register.known(self.dialect));
        register & !known
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
    #[doc(alias = "SVE_EN")]
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
    #[doc(alias = "PMU_EN")]
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

    /// What one entry of the level 0 granule protection table covers (2.0).
    #[must_use]
    #[doc(alias = "L0GPTSZ")]
    pub fn l0gptsz(&self) -> Option<L0Gptsz> {
        self.dialect.is_2_0().then(|| small(self.register1(), 10, 4).into())
    }

    /// The size of the protected physical address space (2.0).
    #[must_use]
    #[doc(alias = "PPS")]
    pub fn pps(&self) -> Option<Pps> {
        self.dialect.is_2_0().then(|| small(self.register1(), 14, 3).into())
    }

    /// Whether a whole block of the level 0 granule protection table may be delegated at once
    /// (2.0-bet3).
    #[must_use]
    #[doc(alias = "L0GPT_BLOCK_DELEGATE")]
    pub const fn l0gpt_block_delegate(&self) -> bool {
        self.is_bet3() && field(self.register0(), 32, 1) != 0
    }

    /// Widest output address of a Realm's stage 2, in bits (2.0-bet3).
    #[must_use]
    #[doc(alias = "S2OASZ")]
    pub const fn max_output_width(&self) -> Option<u8> {
        if self.is_bet3() { Some(small(self.register0(), 33, 8)) } else { None }
    }

    const fn is_bet3(&self) -> bool {
        matches!(self.dialect, Dialect::V2_0Bet3)
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

    /// Number of list registers of the virtual GIC in the run page (1.0 only).
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

    /// Whether coherent devices can be assigned to Realms (2.0).
    #[must_use]
    #[doc(alias = "DA_COH")]
    pub const fn coherent_device_assignment(&self) -> bool {
        self.dialect.is_2_0() && field(self.register2(), 1, 1) != 0
    }

    /// Whether the RMM has virtual SMMUs (2.0).
    #[must_use]
    #[doc(alias = "VSMMU")]
    pub const fn vsmmu(&self) -> bool {
        self.dialect.is_2_0() && field(self.register2(), 2, 1) != 0
    }

    /// Whether devices may use address translation services (2.0).
    #[must_use]
    #[doc(alias = "ATS")]
    pub const fn ats(&self) -> bool {
        self.dialect.is_2_0() && field(self.register2(), 3, 1) != 0
    }

    /// Binary logarithm of the most virtual devices of a physical device (2.0).
    #[must_use]
    #[doc(alias = "MAX_VDEVS_ORDER")]
    #[doc(alias = "PDEV_MAX_VDEVS_ORDER")]
    pub const fn pdev_max_vdevs_order(&self) -> u8 {
        if self.dialect.is_2_0() { small(self.register2(), 4, 4) } else { 0 }
    }

    /// The feature bit `VDEV_KROU` (2.0); its meaning is not public.
    #[must_use]
    #[doc(alias = "VDEV_KROU")]
    pub const fn vdev_krou(&self) -> bool {
        self.dialect.is_2_0() && field(self.register2(), 8, 1) != 0
    }

    /// Whether streams may transport traffic outside of Realms (2.0).
    #[must_use]
    #[doc(alias = "NON_TEE_STREAM")]
    pub const fn non_tee_stream(&self) -> bool {
        self.dialect.is_2_0() && field(self.register2(), 9, 1) != 0
    }

    /// Binary logarithm of the most virtual devices of a Realm (2.0-bet3).
    #[must_use]
    #[doc(alias = "REALM_MAX_VDEVS_ORDER")]
    pub const fn realm_max_vdevs_order(&self) -> Option<u8> {
        if self.is_bet3() { Some(small(self.register2(), 10, 5)) } else { None }
    }

    /// How planes may be translated (2.0).
    #[must_use]
    #[doc(alias = "RTT_PLANE")]
    pub fn rtt_plane(&self) -> Option<RttPlaneFeature> {
        self.dialect.is_2_0().then(|| small(self.register3(), 4, 2).into())
    }

    /// Whether stage 2 permissions may be encoded indirectly (2.0).
    #[must_use]
    #[doc(alias = "RTT_S2AP_INDIRECT")]
    pub const fn s2ap_indirect(&self) -> bool {
        self.dialect.is_2_0() && field(self.register3(), 6, 1) != 0
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

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::String;
    use std::{format, vec::Vec};

    use super::*;
    use crate::describe::Bits;

    /// Every field, by its name in the specification and as its getter reads it.
    fn all(f: &Features) -> Vec<(&'static str, String)> {
        let mut all = std::vec![
            ("S2SZ", format!("{}", f.max_ipa_width())),
            ("LPA2", format!("{}", f.lpa2())),
            ("SVE", format!("{}", f.sve_vl().is_some())),
            ("SVE_VL", format!("{:?}", f.sve_vl().unwrap_or(0))),
            ("NUM_BPS", format!("{}", f.num_bps())),
            ("NUM_WPS", format!("{}", f.num_wps())),
            ("PMU", format!("{}", f.pmu_num_ctrs().is_some())),
            ("PMU_NUM_CTRS", format!("{:?}", f.pmu_num_ctrs().unwrap_or(0))),
            ("HASH_SHA_256", format!("{}", f.supports_hash(HashAlgorithm::Sha256))),
            ("HASH_SHA_384", format!("{}", f.supports_hash(HashAlgorithm::Sha384))),
            ("HASH_SHA_512", format!("{}", f.supports_hash(HashAlgorithm::Sha512))),
            ("MAX_RECS_ORDER", format!("{}", f.max_recs())),
            ("GICV3_NUM_LRS", format!("{:?}", f.gic_num_lrs())),
            ("L0GPT_BLOCK_DELEGATE", format!("{}", f.l0gpt_block_delegate())),
            ("S2OASZ", format!("{:?}", f.max_output_width())),
            ("L0GPTSZ", format!("{:?}", f.l0gptsz())),
            ("PPS", format!("{:?}", f.pps())),
            ("DA", format!("{}", f.device_assignment())),
            ("DA_COH", format!("{}", f.coherent_device_assignment())),
            ("VSMMU", format!("{}", f.vsmmu())),
            ("ATS", format!("{}", f.ats())),
            ("MAX_VDEVS_ORDER", format!("{}", f.pdev_max_vdevs_order())),
            ("VDEV_KROU", format!("{}", f.vdev_krou())),
            ("NON_TEE_STREAM", format!("{}", f.non_tee_stream())),
            ("REALM_MAX_VDEVS_ORDER", format!("{:?}", f.realm_max_vdevs_order())),
            ("MAX_NUM_AUX_PLANES", format!("{}", f.max_aux_planes())),
            ("RTT_PLANE", format!("{:?}", f.rtt_plane())),
            ("RTT_S2AP_INDIRECT", format!("{}", f.s2ap_indirect())),
            ("MEC_COUNT", format!("{}", f.mec_count())),
        ];
        for (name, size) in [
            ("GRAN_SZ_4KB", GranuleSize::Size4KiB),
            ("GRAN_SZ_16KB", GranuleSize::Size16KiB),
            ("GRAN_SZ_64KB", GranuleSize::Size64KiB),
        ] {
            all.push((name, format!("{}", f.supports_granule(size))));
        }
        all
    }

    /// The spelling of a field that [`all`] uses.
    fn spelling(field: &Bits) -> &'static str {
        match field.name {
            "SVE_EN" => "SVE",
            "PMU_EN" => "PMU",
            "PDEV_MAX_VDEVS_ORDER" => "MAX_VDEVS_ORDER",
            name => name,
        }
    }

    /// A getter of each field reads exactly the bits that the table lists for it, in every dialect.
    #[test]
    fn each_field_has_a_getter_that_reads_its_bits_and_no_others() {
        for dialect in Dialect::ALL {
            // All ones except one field, so that fields that depend on another one (SVE_VL on SVE)
            // are read too.
            let ones = Features::new(dialect, [u64::MAX; Features::COUNT]);
            let mut seen = Vec::new();
            for index in 0..Features::COUNT {
                let register = Register::find(&format!("RmiFeatureRegister{index}")).unwrap();
                for field in register.fields(dialect) {
                    let mut registers = ones.registers();
                    registers[index] &= !field.mask();
                    let cleared = Features::new(dialect, registers);
                    let changed: Vec<_> = all(&ones)
                        .into_iter()
                        .zip(all(&cleared))
                        .filter_map(|(a, b)| (a != b).then_some(a.0))
                        .collect();
                    let name = spelling(field);
                    assert!(changed.contains(&name), "{dialect} {name}: {changed:?}");
                    assert!(changed.len() == 1 || ["SVE", "PMU"].contains(&name), "{changed:?}");
                    seen.push(name);
                }
                assert_eq!(ones.unknown(index), !register.known(dialect));
            }
            // The other getters return the same value for any bits.
            let zeros = Features::new(dialect, [0; Features::COUNT]);
            for (a, b) in all(&ones).into_iter().zip(all(&zeros)) {
                assert_eq!(seen.contains(&a.0), a.1 != b.1, "{dialect} {}", a.0);
            }
            assert_eq!(ones.unknown(5), 0);
        }
    }
}
