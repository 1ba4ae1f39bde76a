//! Configurations in files.

extern crate std;

use std::string::{String, ToString};

use proptest::prelude::*;
use rmi_abi::realm::{HashAlgorithm, S2apEncoding};
use rmi_abi::rtt::Level;

use super::nameable;
use crate::config::{PlaneTables, RealmConfig};

fn read(file: &str) -> Result<RealmConfig, String> {
    serde_json::from_str(file).map_err(|error| error.to_string())
}

#[test]
fn all_but_the_width_may_be_left_out() {
    assert_eq!(read(r#"{ "ipa_width": 36 }"#), Ok(RealmConfig::new(36)));
    assert!(read("{}").unwrap_err().starts_with("missing field `ipa_width`"));
}

#[test]
fn a_file_says_everything() {
    let file = r#"{
        "ipa_width": 50, "lpa2": true, "start_level": -1, "root_tables": 1,
        "hash": "sha-384", "personalization": "00FFee",
        "num_bps": 5, "num_wps": 3, "sve_vl": 0, "pmu_num_ctrs": 8,
        "private_mec": true, "live_activation": true,
        "device_assignment": true, "max_num_vdevs": 4, "ats": true, "ats_plane": 1,
        "num_aux_planes": 2, "plane_tables": "per-plane", "s2ap": "direct", "vmid": 9
    }"#;
    let mut config = RealmConfig::new(50);
    config.lpa2 = Some(true);
    (config.start_level, config.root_tables) = (Some(Level::MINUS_1), Some(1));
    config.hash = HashAlgorithm::Sha384;
    config.personalization[..3].copy_from_slice(&[0, 0xff, 0xee]);
    (config.num_bps, config.num_wps) = (5, 3);
    (config.sve_vl, config.pmu_num_ctrs) = (Some(0), Some(8));
    (config.private_mec, config.live_activation) = (true, true);
    (config.device_assignment, config.max_num_vdevs) = (true, 4);
    (config.ats, config.ats_plane) = (true, 1);
    (config.num_aux_planes, config.plane_tables) = (2, Some(PlaneTables::PerPlane));
    (config.s2ap, config.vmid) = (Some(S2apEncoding::Direct), 9);
    assert_eq!(read(file), Ok(config));
}

#[test]
fn a_file_is_written_with_every_name() {
    let mut config = RealmConfig::new(40);
    config.personalization[1] = 0xab;
    assert_eq!(
        serde_json::to_string(&config).unwrap(),
        concat!(
            r#"{"ipa_width":40,"lpa2":null,"start_level":null,"root_tables":null,"#,
            r#""hash":"sha-256","personalization":"00ab","#,
            r#""num_bps":1,"num_wps":1,"sve_vl":null,"pmu_num_ctrs":null,"#,
            r#""private_mec":false,"live_activation":false,"#,
            r#""device_assignment":false,"max_num_vdevs":0,"ats":false,"ats_plane":0,"#,
            r#""num_aux_planes":0,"plane_tables":null,"s2ap":null,"vmid":0}"#,
        )
    );
}

#[test]
fn bad_values_are_refused_with_what_would_be_right() {
    let long = std::format!(r#""personalization": "{}""#, "0".repeat(130));
    let digits = "expected an even number of hexadecimal digits, at most 128";
    for (entry, text) in [
        (r#""ipa_with": 40"#, "unknown field `ipa_with`"),
        (
            r#""start_level": 4"#,
            "invalid value: integer `4`, expected a translation table level, -1 to 3",
        ),
        (r#""start_level": -2"#, "integer `-2`, expected a translation table level, -1 to 3"),
        (
            r#""hash": "md5""#,
            "unknown variant `md5`, expected one of `sha-256`, `sha-384`, `sha-512`",
        ),
        (r#""hash": 0"#, "expected value"),
        (r#""plane_tables": "own""#, "unknown variant `own`, expected `shared` or `per-plane`"),
        (r#""s2ap": "both""#, "unknown variant `both`, expected `direct` or `indirect`"),
        (r#""personalization": "abc""#, digits),
        (r#""personalization": "zz""#, digits),
        (r#""personalization": "+1""#, digits),
        (r#""personalization": "é""#, digits),
        (r#""personalization": [1]"#, digits),
        (&long, digits),
        (r#""num_bps": 256"#, "invalid value: integer `256`, expected u8"),
        (r#""num_bps": -1"#, "invalid value: integer `-1`, expected u8"),
        (r#""vmid": 65536"#, "invalid value: integer `65536`, expected u16"),
        (r#""ipa_width": 40"#, "duplicate field `ipa_width`"),
    ] {
        let error = read(&std::format!(r#"{{ "ipa_width": 40, {entry} }}"#)).unwrap_err();
        assert!(error.contains(text), "{entry}: {error}");
    }
}

#[test]
fn what_has_no_name_is_not_written() {
    let mut config = RealmConfig::new(40);
    config.hash = HashAlgorithm::Unknown(7);
    let error = serde_json::to_string(&config).unwrap_err().to_string();
    assert_eq!(error, "hash algorithm 7 has no name");
    config = RealmConfig::new(40);
    config.s2ap = Some(S2apEncoding::Unknown(2));
    let error = serde_json::to_string(&config).unwrap_err().to_string();
    assert_eq!(error, "Unknown(2) has no name");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(config in nameable()) {
        let file = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(read(&file), Ok(config));
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = read(&std::format!(
            r#"{{ "ipa_width": 40, "personalization": {} }}"#,
            serde_json::Value::from(text)
        ));
    }
}
