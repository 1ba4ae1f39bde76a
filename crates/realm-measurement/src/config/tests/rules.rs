//! Parameters that are left out follow from the rest, and what is accepted is within the features.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rmi_abi::feature::{Features, RttPlaneFeature};
use rmi_abi::realm::S2apEncoding;
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Dialect, Pa};

use super::{any_config, everything, with};
use crate::config::{PlaneTables, RealmConfig};

const TF_RMM: Dialect = Dialect::TfRmm2026_07;

#[test]
fn the_start_level_needs_the_fewest_tables_that_surely_exist() {
    // From level 0 wherever physical addresses certainly have 44 bits, else from level 1.
    for (max, width, level, tables) in [
        (48, 40, Level::L0, 1),
        (44, 43, Level::L0, 1),
        (43, 43, Level::L1, 16),
        (40, 40, Level::L1, 2),
        (40, 39, Level::L1, 1),
        (52, 52, Level::MINUS_1, 1),
    ] {
        let features = with(TF_RMM, |registers| registers[0] = registers[0] & !0xff | max);
        let params = RealmConfig::new(width).validate(&features, TF_RMM).unwrap();
        let geometry = params.geometry;
        assert_eq!((geometry.start_level(), geometry.root_tables()), (level, tables), "{width}");
    }
}

#[test]
fn root_tables_are_those_of_the_geometry() {
    for width in 32..=52 {
        for level in [-1, 0, 1, 2, 3].into_iter().filter_map(Level::new) {
            for tables in 0..=17 {
                let mut config = RealmConfig::new(width);
                (config.start_level, config.root_tables) = (Some(level), Some(tables));
                let needed = Geometry::with_start_level(width, level).map(|g| g.root_tables());
                let result = config.validate(&everything(TF_RMM), TF_RMM);
                assert_eq!(result.is_ok(), needed == Ok(tables), "{width} {level} {tables}");
            }
        }
    }
}

#[test]
fn lpa2_follows_the_width_unless_it_is_said() {
    for dialect in Dialect::ALL {
        for (width, said, lpa2) in [
            (48, None, false),
            (49, None, true),
            (49, Some(true), true),
            (48, Some(false), false),
            (48, Some(true), true),
        ] {
            if said == Some(true) && width == 48 && !dialect.has_lpa2_flag() {
                continue;
            }
            let mut config = RealmConfig::new(width);
            config.lpa2 = said;
            let params = config.validate(&everything(dialect), dialect).unwrap();
            assert_eq!(params.lpa2, lpa2);
            let flag = lpa2 && dialect.has_lpa2_flag();
            assert_eq!(params.encode(dialect).unwrap().flags0 & 1 != 0, flag);
        }
    }
}

#[test]
fn planes_get_what_the_rmm_has() {
    for (register, s2ap, per_plane) in [
        // Only a tree per plane is supported.
        (3, None, true),
        // Both are supported, and a common tree is preferred where permissions can be indirect.
        (3 | 1 << 4 | 1 << 6, None, false),
        (3 | 1 << 4, None, true),
        (3 | 1 << 4 | 1 << 6, Some(S2apEncoding::Direct), true),
        // Only a common tree is supported.
        (3 | 2 << 4 | 1 << 6, None, false),
    ] {
        let features = with(TF_RMM, |registers| registers[3] = register);
        let mut config = RealmConfig::new(40);
        (config.num_aux_planes, config.s2ap) = (3, s2ap);
        let params = config.validate(&features, TF_RMM).unwrap();
        assert_eq!((params.tree_per_plane, params.s2ap_indirect), (per_plane, !per_plane));
        assert_eq!((params.rtt_base, params.aux_rtt_base), (Pa::new(0), [Pa::new(0); 3]));
    }
    // The only plane may have indirect permissions, and the kind of its tables has no effect.
    let mut config = RealmConfig::new(40);
    (config.s2ap, config.plane_tables) =
        (Some(S2apEncoding::Indirect), Some(PlaneTables::PerPlane));
    let params = config.validate(&everything(TF_RMM), TF_RMM).unwrap();
    assert!(params.s2ap_indirect && !params.tree_per_plane);
}

fn any_features() -> impl Strategy<Value = Features> {
    let dialect = prop::sample::select(&Dialect::ALL[..]);
    (dialect, any::<[u64; 5]>(), any::<[bool; 5]>()).prop_map(|(dialect, noise, keep)| {
        let mut registers = everything(dialect).registers();
        for ((register, noise), keep) in registers.iter_mut().zip(noise).zip(keep) {
            *register = if keep { *register } else { noise };
        }
        Features::new(dialect, registers)
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(4096)
    })]

    /// Validation never panics, whatever configuration, features and dialect; and what it accepts
    /// is within the features and encodes.
    #[test]
    fn what_is_accepted_is_offered(
        config in any_config(),
        f in any_features(),
        dialect in prop::sample::select(&Dialect::ALL[..]),
    ) {
        let Ok(params) = config.validate(&f, dialect) else { return Ok(()) };
        prop_assert!(params.geometry.ipa_width() == config.ipa_width);
        prop_assert!(config.ipa_width <= f.max_ipa_width());
        prop_assert!(!params.lpa2 || f.lpa2());
        prop_assert!(params.lpa2 || config.ipa_width <= 48);
        prop_assert!(config.start_level.is_none_or(|level| params.geometry.start_level() == level));
        prop_assert!(config.root_tables.is_none_or(|n| params.geometry.root_tables() == n));
        prop_assert!(f.supports_hash(params.hash));
        prop_assert!((1..=f.num_bps()).contains(&params.num_bps));
        prop_assert!((1..=f.num_wps()).contains(&params.num_wps));
        prop_assert!(params.sve_vl.is_none_or(|vl| f.sve_vl().is_some_and(|max| vl <= max)));
        prop_assert!(
            params.pmu_num_ctrs.is_none_or(|n| f.pmu_num_ctrs().is_some_and(|max| n <= max))
        );
        prop_assert!(!params.private_mec || f.mec_count() > 0);
        prop_assert!(!params.device_assignment || f.device_assignment());
        prop_assert!(!params.ats || f.ats());
        let vdevs = f.realm_max_vdevs_order().map_or(0, |order| 1 << order);
        prop_assert!(params.max_num_vdevs <= vdevs);
        prop_assert!(params.num_aux_planes <= f.max_aux_planes());
        prop_assert!(params.ats_plane <= params.num_aux_planes.into());
        prop_assert!(!params.s2ap_indirect || f.s2ap_indirect());
        if params.num_aux_planes > 0 {
            prop_assert!(params.tree_per_plane != params.s2ap_indirect);
            let other =
                if params.tree_per_plane { RttPlaneFeature::Single } else { RttPlaneFeature::Aux };
            prop_assert!(f.rtt_plane() != Some(other));
        }
        prop_assert_eq!(params.rpv, config.personalization);
        prop_assert!(params.encode(dialect).is_ok());
    }
}

/// The property above does not hold vacuously.
#[test]
fn many_are_accepted() {
    let mut runner = TestRunner::deterministic();
    let mut accepted = [0; 2];
    for _ in 0..2000 {
        let config = any_config().new_tree(&mut runner).unwrap().current();
        let dialect = Dialect::V2_0Bet3;
        let Ok(params) = config.validate(&everything(dialect), dialect) else { continue };
        accepted[usize::from(params.num_aux_planes > 0)] += 1;
    }
    assert!(accepted.iter().all(|count| *count > 100), "{accepted:?}");
}
