extern crate std;

mod model;
mod refusals;
mod rules;
#[cfg(feature = "serde")]
mod serial;

use proptest::prelude::*;
use rmi_abi::Dialect;
use rmi_abi::feature::Features;
use rmi_abi::realm::{HashAlgorithm, RPV_BYTES, S2apEncoding};
use rmi_abi::rtt::Level;

use super::{PlaneTables, RealmConfig};

/// An RMM that supports everything: 52 bits, SVE to 512 bits, 6 and 4 debug registers, 8 counters,
/// devices, planes in both ways, 1 private context.
fn everything(dialect: Dialect) -> Features {
    let hashes = if dialect == Dialect::V1_0 { 0b11 << 32 } else { 0 };
    let zero = 52 | 1 << 8 | 1 << 9 | 3 << 10 | 5 << 14 | 3 << 20 | 1 << 26 | 8 << 27 | hashes;
    Features::new(dialect, [zero, 0b111 << 3, 1 | 1 << 3 | 2 << 10, 3 | 1 << 4 | 1 << 6, 1])
}

/// The same, with some registers changed.
fn with(dialect: Dialect, change: impl FnOnce(&mut [u64; Features::COUNT])) -> Features {
    let mut registers = everything(dialect).registers();
    change(&mut registers);
    Features::new(dialect, registers)
}

prop_compose! {
    /// Configurations in which every value has a name, so that a file can contain them.
    fn nameable()(
        first in (
                28_u8..=56,
                any::<Option<bool>>(),
                prop::option::of(-1_i8..=3),
                prop::option::of(0_u8..=17),
            ),
        hash in prop::sample::select(
                &[HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512][..]
            ),
        personalization in prop::collection::vec(any::<u8>(), 0..=RPV_BYTES),
        cpu in (0_u8..12, 0_u8..12, prop::option::of(0_u8..12), prop::option::of(0_u8..12)),
        flags in any::<[bool; 4]>(),
        devices in (0_u64..4, 0_u8..4),
        planes in (
            0_u8..5,
            prop::option::of(prop::sample::select(
                    &[PlaneTables::Shared, PlaneTables::PerPlane][..]
                )),
            prop::option::of(prop::sample::select(
                    &[S2apEncoding::Direct, S2apEncoding::Indirect][..]
                )),
        ),
        vmid in 0_u16..3,
    ) -> RealmConfig {
        let mut config = RealmConfig::new(first.0);
        config.lpa2 = first.1;
        config.start_level = first.2.and_then(Level::new);
        config.root_tables = first.3;
        config.hash = hash;
        config.personalization[..personalization.len()].copy_from_slice(&personalization);
        (config.num_bps, config.num_wps, config.sve_vl, config.pmu_num_ctrs) = cpu;
        [config.private_mec, config.live_activation, config.device_assignment, config.ats] = flags;
        (config.max_num_vdevs, config.ats_plane) = devices;
        (config.num_aux_planes, config.plane_tables, config.s2ap) = planes;
        config.vmid = vmid;
        config
    }
}

/// Plain configurations with a few parameters from [`nameable`], and sometimes an extreme or
/// unknown value: few enough that many are accepted.
fn any_config() -> impl Strategy<Value = RealmConfig> {
    (nameable(), any::<[u8; 9]>(), any::<[u8; 2]>(), any::<u64>()).prop_map(
        |(other, dice, bytes, number)| {
            let mut config = RealmConfig::new(32 + dice[0] % 20);
            let [a, b] = bytes;
            for (group, die) in dice.into_iter().enumerate() {
                match (die % 32, group) {
                    (0..8, 0) => config.ipa_width = other.ipa_width,
                    (0, 1) => (config.num_bps, config.num_wps) = bytes.into(),
                    (0..8, 1) => (config.num_bps, config.num_wps) = (other.num_bps, other.num_wps),
                    (0, 2) => (config.sve_vl, config.pmu_num_ctrs) = (Some(a), Some(b)),
                    (0..8, 2) => {
                        (config.sve_vl, config.pmu_num_ctrs) = (other.sve_vl, other.pmu_num_ctrs)
                    }
                    (0, 3) => config.max_num_vdevs = number,
                    (0..8, 3) => {
                        config.device_assignment = true;
                        (config.max_num_vdevs, config.ats) = (other.max_num_vdevs, other.ats);
                    }
                    (0, 4) => (config.num_aux_planes, config.ats_plane) = bytes.into(),
                    (1, 4) => (config.num_aux_planes, config.s2ap) = (a % 2, Some(b.into())),
                    (2..16, 4) => {
                        (config.num_aux_planes, config.ats_plane) =
                            (other.num_aux_planes, other.ats_plane % 2);
                        (config.plane_tables, config.s2ap) = (other.plane_tables, other.s2ap);
                    }
                    (0, 5) => config.hash = a.into(),
                    (0..8, 5) => (config.hash, config.vmid) = (other.hash, other.vmid),
                    (0..4, 6) => config.lpa2 = other.lpa2,
                    (0..4, 7) => config.start_level = other.start_level,
                    (0..4, 8) => config.root_tables = other.root_tables,
                    (8, _) => config.private_mec = other.private_mec,
                    (9, _) => config.live_activation = other.live_activation,
                    _ => config.personalization = other.personalization,
                }
            }
            config
        },
    )
}
