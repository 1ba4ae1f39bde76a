//! Each parameter that is not available is refused by name, with what was wanted and what is
//! offered.

extern crate std;

use std::string::{String, ToString};

use rmi_abi::Dialect::{self, TfRmm2026_07, V1_0, V2_0Bet0, V2_0Bet3};
use rmi_abi::feature::Features;
use rmi_abi::realm::{HashAlgorithm, S2apEncoding};
use rmi_abi::rtt::Level;

use super::{everything, with};
use crate::config::{PlaneTables, RealmConfig};

/// A change for which a configuration is refused.
type Change = fn(&mut RealmConfig);

/// The error of validating a 40-bit Realm with this change.
fn refusal(features: &Features, dialect: Dialect, change: Change) -> String {
    let mut config = RealmConfig::new(40);
    change(&mut config);
    config.validate(features, dialect).unwrap_err().to_string()
}

fn accepted(features: &Features, dialect: Dialect, change: Change) -> bool {
    let mut config = RealmConfig::new(40);
    change(&mut config);
    config.validate(features, dialect).is_ok()
}

#[test]
fn what_the_dialect_lacks() {
    let cases: [(Dialect, Change, &str); 13] = [
        (V1_0, |c| c.private_mec = true, "private_mec"),
        (V1_0, |c| c.live_activation = true, "live_activation"),
        (V1_0, |c| c.device_assignment = true, "device_assignment"),
        (V1_0, |c| c.num_aux_planes = 1, "num_aux_planes"),
        (V1_0, |c| c.ats_plane = 1, "ats_plane"),
        (V1_0, |c| c.s2ap = Some(S2apEncoding::Indirect), "s2ap"),
        (V1_0, |c| c.max_num_vdevs = 1, "max_num_vdevs"),
        (TfRmm2026_07, |c| c.max_num_vdevs = 1, "max_num_vdevs"),
        (TfRmm2026_07, |c| c.ats = true, "ats"),
        (V2_0Bet3, |c| c.ats = true, "ats"),
        (TfRmm2026_07, |c| c.vmid = 1, "vmid"),
        (V2_0Bet3, |c| c.vmid = 1, "vmid"),
        (V2_0Bet3, |c| c.lpa2 = Some(true), "lpa2"),
    ];
    for (dialect, change, name) in cases {
        let text = refusal(&everything(dialect), dialect, change);
        assert_eq!(text, std::format!("dialect {dialect} does not have `{name}`"));
    }
}

#[test]
fn what_the_rmm_lacks() {
    let nothing = Features::new(TfRmm2026_07, [48 | 1 << 14 | 1 << 20, 1 << 3, 0, 1 | 1 << 4, 0]);
    let cases: [(Change, &str); 6] = [
        (|c| c.lpa2 = Some(true), "lpa2"),
        (|c| c.sve_vl = Some(0), "sve_vl"),
        (|c| c.pmu_num_ctrs = Some(0), "pmu_num_ctrs"),
        (|c| c.device_assignment = true, "device_assignment"),
        (|c| c.s2ap = Some(S2apEncoding::Indirect), "s2ap"),
        (|c| (c.num_aux_planes, c.plane_tables) = (1, Some(PlaneTables::Shared)), "s2ap"),
    ];
    for (change, name) in cases {
        let text = refusal(&nothing, TfRmm2026_07, change);
        assert_eq!(text, std::format!("the RMM does not offer what `{name}` asks for"));
    }
    let text = refusal(&nothing, TfRmm2026_07, |c| c.private_mec = true);
    assert_eq!(text, "the RMM has no private memory encryption context left");
    let no_ats = with(V2_0Bet0, |r| r[2] = 1);
    let text = refusal(&no_ats, V2_0Bet0, |c| (c.ats, c.device_assignment) = (true, true));
    assert_eq!(text, "the RMM does not offer what `ats` asks for");
}

#[test]
fn numbers_outside_of_what_is_offered() {
    let bet3 = everything(V2_0Bet3);
    let cases: [(Change, &str); 11] = [
        (|c| c.num_bps = 0, "`num_bps` is 0: not supported by this RMM (minimum 1, maximum 5)"),
        (|c| c.num_bps = 6, "`num_bps` is 6: not supported by this RMM (minimum 1, maximum 5)"),
        (|c| c.num_wps = 0, "`num_wps` is 0: not supported by this RMM (minimum 1, maximum 3)"),
        (|c| c.num_wps = 4, "`num_wps` is 4: not supported by this RMM (minimum 1, maximum 3)"),
        (|c| c.sve_vl = Some(4), "`sve_vl` is 4: not supported by this RMM (maximum 3)"),
        (
            |c| c.pmu_num_ctrs = Some(9),
            "`pmu_num_ctrs` is 9: not supported by this RMM (maximum 8)",
        ),
        (|c| c.num_aux_planes = 4, "`num_aux_planes` is 4: not supported by this RMM (maximum 3)"),
        (|c| c.ats_plane = 1, "`ats_plane` is 1: the realm has 0 auxiliary planes"),
        (
            |c| (c.num_aux_planes, c.ats_plane) = (2, 3),
            "`ats_plane` is 3: the realm has 2 auxiliary planes",
        ),
        (
            |c| (c.device_assignment, c.max_num_vdevs) = (true, 5),
            "`max_num_vdevs` is 5: not supported by this RMM (maximum 4)",
        ),
        (|c| c.max_num_vdevs = 1, "`max_num_vdevs` needs `device_assignment`"),
    ];
    for (change, text) in cases {
        assert_eq!(refusal(&bet3, V2_0Bet3, change), text);
    }
    for dialect in Dialect::ALL {
        let none = with(dialect, |registers| registers[0] &= !(0x3f << 14));
        let text = refusal(&none, dialect, |_| {});
        assert_eq!(text, "`num_bps` is 1: not supported by this RMM");
    }
    // The parameter page has space for three auxiliary trees, whatever the feature says.
    let many = with(V2_0Bet3, |registers| registers[3] |= 0xf);
    assert!(accepted(&many, V2_0Bet3, |c| c.num_aux_planes = 15));
    let text = refusal(&many, V2_0Bet3, |c| {
        (c.num_aux_planes, c.plane_tables) = (4, Some(PlaneTables::PerPlane));
    });
    assert_eq!(text, "`num_aux_planes` is 4: not supported by this RMM (maximum 3)");
}

#[test]
fn the_largest_numbers_are_accepted() {
    for dialect in Dialect::ALL {
        assert!(accepted(&everything(dialect), dialect, |c| {
            (c.num_bps, c.num_wps, c.sve_vl, c.pmu_num_ctrs) = (5, 3, Some(3), Some(8));
        }));
    }
    assert!(accepted(&everything(V2_0Bet3), V2_0Bet3, |c| {
        (c.device_assignment, c.max_num_vdevs) = (true, 4);
        (c.num_aux_planes, c.ats_plane) = (3, 3);
        (c.private_mec, c.live_activation) = (true, true);
    }));
    assert!(accepted(&everything(V2_0Bet0), V2_0Bet0, |c| {
        (c.device_assignment, c.ats) = (true, true);
    }));
    assert!(accepted(&everything(V1_0), V1_0, |c| c.vmid = 7));
}

#[test]
fn algorithms_are_named_with_what_there_is_instead() {
    let text = refusal(&everything(V1_0), V1_0, |c| c.hash = HashAlgorithm::Sha384);
    assert_eq!(text, "the RMM does not measure with sha-384; it offers: sha-256, sha-512");
    let none = with(TfRmm2026_07, |registers| registers[1] = 0);
    let text = refusal(&none, TfRmm2026_07, |_| {});
    assert_eq!(text, "the RMM does not measure with sha-256; it offers: none");
    let text = refusal(&everything(V2_0Bet3), V2_0Bet3, |c| c.hash = HashAlgorithm::Unknown(9));
    assert_eq!(
        text,
        "the RMM does not measure with hash algorithm 9; it offers: sha-256, sha-384, sha-512"
    );
}

#[test]
fn widths_levels_and_root_tables() {
    let narrow = with(TfRmm2026_07, |registers| registers[0] -= 10);
    let no_lpa2 = with(TfRmm2026_07, |registers| registers[0] &= !(1 << 8));
    let all = everything(TfRmm2026_07);
    let cases: [(&Features, Change, &str); 9] = [
        (&narrow, |c| c.ipa_width = 43, "43 bits is more than the 42 bits that the RMM supports"),
        (&no_lpa2, |c| c.ipa_width = 49, "49 bits is more than the 48 bits that the RMM supports"),
        (&all, |c| c.ipa_width = 53, "53 bits is more than the 52 bits that the RMM supports"),
        (&all, |c| c.ipa_width = 31, "31 bits is not within 32 to 52"),
        (
            &all,
            |c| (c.ipa_width, c.lpa2) = (49, Some(false)),
            "49 bits needs 52-bit addresses, but `lpa2` is false",
        ),
        (&all, |c| c.start_level = Some(Level::MINUS_1), "cannot start at level -1"),
        (&all, |c| c.start_level = Some(Level::L2), "cannot start at level 2"),
        (&all, |c| c.start_level = Some(Level::L3), "cannot start at level 3"),
        (
            &all,
            |c| (c.start_level, c.root_tables) = (Some(Level::L1), Some(1)),
            "`root_tables` is 1, but width and start level need 2",
        ),
    ];
    for (features, change, text) in cases {
        let refused = refusal(features, TfRmm2026_07, change);
        assert!(refused.ends_with(text), "{refused}");
    }
}

#[test]
fn tables_and_permissions_of_planes() {
    use PlaneTables::{PerPlane, Shared};
    use S2apEncoding::{Direct, Indirect, Unknown};
    let trees = with(TfRmm2026_07, |registers| registers[3] = 3);
    let single = with(TfRmm2026_07, |registers| registers[3] = 3 | 2 << 4 | 1 << 6);
    let direct = with(TfRmm2026_07, |registers| registers[3] = 3 | 2 << 4);
    let both = everything(TfRmm2026_07);
    let strange = with(TfRmm2026_07, |registers| registers[3] = 3 | 3 << 4 | 1 << 6);
    let cases = [
        (
            &trees,
            Some(Shared),
            None,
            "the RMM does not offer one tree for all planes; it offers: a tree per plane",
        ),
        (
            &single,
            Some(PerPlane),
            None,
            "the RMM does not offer a tree per plane; it offers: one tree for all planes",
        ),
        (&strange, None, None, "the RMM does not offer a tree per plane; it offers: Unknown(3)"),
        (&direct, None, None, "the RMM does not offer what `s2ap` asks for"),
        (
            &both,
            Some(Shared),
            Some(Direct),
            "`s2ap` is Direct: not possible with one tree for all planes",
        ),
        (
            &both,
            Some(PerPlane),
            Some(Indirect),
            "`s2ap` is Indirect: not possible with a tree per plane",
        ),
        (
            &both,
            Some(PerPlane),
            Some(Unknown(2)),
            "`s2ap` is Unknown(2): not possible with a tree per plane",
        ),
    ];
    for (features, plane_tables, s2ap, text) in cases {
        let mut config = RealmConfig::new(40);
        (config.num_aux_planes, config.plane_tables, config.s2ap) = (1, plane_tables, s2ap);
        let refused = config.validate(features, TfRmm2026_07).unwrap_err();
        assert_eq!(refused.to_string(), text);
    }
    let refused = refusal(&both, TfRmm2026_07, |c| c.s2ap = Some(Unknown(2)));
    assert_eq!(refused, "`s2ap` is Unknown(2): not possible with any tables");
}
