//! An error that wraps another has it as its source, and its text contains that of the source.

use std::error::Error;

use realm_measurement::MeasurementEvent;
use realm_measurement::config::ConfigError;
use realm_measurement::measurement_log::{DigestError, ParseEventError, ParseEventErrorKind};
use rmi_abi::realm::RealmParams;
use rmi_abi::rtt::Geometry;
use rmi_abi::{Dialect, Ipa, IpaRange, Pa};

/// The number of sources below an error; the text of each is in that of the error.
fn depth(error: &dyn Error) -> usize {
    let Some(source) = error.source() else { return 0 };
    let (text, inner) = (error.to_string(), source.to_string());
    assert!(text.contains(&inner), "{text}: {inner}");
    1 + depth(source)
}

#[test]
fn configurations() {
    let geometry = Geometry::new(99).unwrap_err();
    assert_eq!(depth(&ConfigError::from(geometry)), 1);
    let mut params = RealmParams::new(Geometry::new(40).unwrap(), Pa::new(0x1000));
    params.vmid = 7;
    let params = params.encode(Dialect::TfRmm2026_07).unwrap_err();
    assert_eq!(depth(&ConfigError::from(params)), 1);
    assert_eq!(depth(&ConfigError::PrivateMec), 0);
}

#[test]
fn events() {
    let refused = |line: &str| line.parse::<MeasurementEvent>().unwrap_err();
    let digest = refused("data ipa=0x80201000 content=sha-256:0");
    assert!(matches!(digest.kind, ParseEventErrorKind::Digest(DigestError::Length { .. })));
    assert_eq!(depth(&digest), 2);
    let kind =
        ParseEventErrorKind::Range(IpaRange::new(Ipa::new(1), Ipa::new(0x1000)).unwrap_err());
    assert_eq!(depth(&kind), 1);
    let keyword: ParseEventError = refused("destroy");
    assert_eq!(keyword.kind, ParseEventErrorKind::Keyword);
    assert_eq!(depth(&keyword), 1);
}
