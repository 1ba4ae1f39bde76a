//! The measurement log: written as text, read back, and replayed.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use realm_measurement::Rim;
use realm_measurement::measurement_log::{
    Digest, DigestError, MeasurementEvent, ParseEventError, ParseEventErrorKind,
};
use rmi_abi::realm::{HashAlgorithm, RealmParams};
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Dialect, GranuleSize, Ipa, IpaRange, Pa};

fn algorithm() -> impl Strategy<Value = HashAlgorithm> {
    prop::sample::select(vec![HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512])
}

fn digest() -> impl Strategy<Value = Digest> {
    (algorithm(), any::<[u64; 8]>()).prop_map(|(algorithm, words)| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Digest::new(algorithm, &bytes[..algorithm.digest_bytes().unwrap()]).unwrap()
    })
}

fn level() -> impl Strategy<Value = Level> {
    (-1..=3_i8).prop_map(|number| Level::new(number).unwrap())
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(Dialect::ALL.to_vec())
}

fn granule() -> impl Strategy<Value = GranuleSize> {
    prop_oneof![
        Just(GranuleSize::Size4KiB),
        Just(GranuleSize::Size16KiB),
        Just(GranuleSize::Size64KiB)
    ]
}

fn mpidr() -> impl Strategy<Value = Mpidr> {
    (0_u32..1 << 28).prop_map(Mpidr::from_index)
}

fn event() -> impl Strategy<Value = MeasurementEvent> {
    let ripas = (any::<u64>(), any::<u64>(), level()).prop_map(|(one, other, level)| {
        let [base, top] = [one.min(other), one.max(other)].map(|end| Ipa::new(end & !0xfff));
        MeasurementEvent::Ripas { range: IpaRange::new(base, top).unwrap(), level }
    });
    prop_oneof![
        (dialect(), granule(), digest()).prop_map(|(dialect, granule, rim)| {
            MeasurementEvent::Create { dialect, granule, rim }
        }),
        (any::<u64>(), prop::option::of(digest()))
            .prop_map(|(ipa, content)| MeasurementEvent::Data { ipa: Ipa::new(ipa), content }),
        ripas,
        (mpidr(), digest()).prop_map(|(mpidr, content)| MeasurementEvent::Rec { mpidr, content }),
    ]
}

/// One operation on a Realm before it is activated.
#[derive(Clone, Debug)]
enum Step {
    Measured(u64, Vec<u8>),
    Unmeasured(u64, u64),
    Ripas(u64, u64, Level),
    Rec(RecParams),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..1 << 30, prop::collection::vec(any::<u8>(), 0..0x2800))
            .prop_map(|(page, content)| Step::Measured(page << 12, content)),
        (0_u64..1 << 30, 0_u64..4)
            .prop_map(|(page, pages)| Step::Unmeasured(page << 12, pages << 12)),
        (0_u64..1 << 12, 1_u64..600, level()).prop_filter_map(
            "an address",
            |(at, entries, level)| {
                let bytes = level.entry_bytes();
                Some(Step::Ripas(at.checked_mul(bytes)?, (at + entries).checked_mul(bytes)?, level))
            }
        ),
        (any::<bool>(), mpidr(), any::<u64>(), any::<[u64; 8]>()).prop_map(
            |(runnable, mpidr, pc, gprs)| Step::Rec(RecParams { runnable, mpidr, pc, gprs })
        ),
    ]
}

proptest! {
    #[test]
    fn an_event_is_one_line_that_reads_back(event in event()) {
        let line = event.to_string();
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(line.parse::<MeasurementEvent>(), Ok(event));
    }

    #[test]
    fn a_line_with_a_character_changed_is_another_event_or_none(
        event in event(),
        at in any::<prop::sample::Index>(),
        to in any::<char>(),
    ) {
        let line = event.to_string();
        let mut other: Vec<char> = line.chars().collect();
        let at = at.index(other.len());
        other[at] = to;
        let other: String = other.into_iter().collect();
        if let Ok(parsed) = other.parse::<MeasurementEvent>() {
            prop_assert_eq!(parsed.to_string(), other);
        }
    }

    #[test]
    fn any_text_is_an_event_or_an_error_within_it(text in any::<String>()) {
        match text.parse::<MeasurementEvent>() {
            Ok(event) => prop_assert_eq!(event.to_string(), text),
            Err(error) => prop_assert!(error.at <= text.len()),
        }
    }
}

proptest! {
    // Each case takes thousands of hashes.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_replayed_log_gives_the_same_measurement(
        dialect in dialect(),
        hash in algorithm(),
        steps in prop::collection::vec(step(), 0..8),
    ) {
        let mut params = RealmParams::new(Geometry::new(40).unwrap(), Pa::new(0));
        params.hash = hash;
        let mut text = String::new();
        let mut log = |event: &MeasurementEvent| text += &format!("{event}\n");
        let mut rim = Rim::new(&params, dialect, &mut log).unwrap();
        for step in steps {
            match step {
                Step::Measured(ipa, content) => rim.add_measured(Ipa::new(ipa), &content, &mut log),
                Step::Unmeasured(ipa, bytes) => {
                    rim.add_unmeasured(IpaRange::with_size(Ipa::new(ipa), bytes).unwrap(), &mut log)
                }
                Step::Ripas(base, top, level) => {
                    let range = IpaRange::new(Ipa::new(base), Ipa::new(top)).unwrap();
                    rim.add_ripas(range, level, &mut log)
                }
                Step::Rec(params) => rim.add_rec(&params, &mut log),
            }
            .unwrap();
        }
        let events: Vec<MeasurementEvent> =
            text.lines().map(|line| line.parse().unwrap()).collect();
        prop_assert_eq!(Rim::replay(&events), Ok(rim));
    }
}

#[test]
fn an_error_in_a_line_is_reported_with_its_place() {
    let hex = "0".repeat(64);
    for (line, at, kind) in [
        (String::new(), 0, ParseEventErrorKind::Keyword),
        ("create".into(), 6, ParseEventErrorKind::Missing("dialect")),
        ("create  dialect=1.0".into(), 6, ParseEventErrorKind::Missing("dialect")),
        ("create dialect=3.0 rim=".into(), 15, ParseEventErrorKind::Dialect),
        // The usual size has no text.
        ("create dialect=1.0 granule=0x1000 rim=".into(), 27, ParseEventErrorKind::Granule),
        ("create dialect=1.0 granule=16k rim=".into(), 27, ParseEventErrorKind::Granule),
        ("create dialect=1.0 granule=0x10000".into(), 34, ParseEventErrorKind::Missing("rim")),
        (
            "create dialect=1.0 rim=md5:00".into(),
            23,
            ParseEventErrorKind::Digest(DigestError::Name),
        ),
        ("data ipa=1000".into(), 9, ParseEventErrorKind::Number),
        ("data ipa=0x01000".into(), 9, ParseEventErrorKind::Number),
        ("data ipa=0x".into(), 9, ParseEventErrorKind::Number),
        ("data ipa=0x+1".into(), 9, ParseEventErrorKind::Number),
        ("data ipa=0x10000000000000000".into(), 9, ParseEventErrorKind::Number),
        (
            format!("data ipa=0x0 content=sha-256:{}G", &hex[1..]),
            21,
            ParseEventErrorKind::Digest(DigestError::Digit),
        ),
        ("data ipa=0x0 content=unmeasured ".into(), 31, ParseEventErrorKind::Trailing),
        ("ripas base=0x0 top=0x1000 level=4".into(), 32, ParseEventErrorKind::Level),
        (format!("rec mpidr=0x10 content=sha-256:{hex}"), 10, ParseEventErrorKind::Mpidr),
    ] {
        let error = line.parse::<MeasurementEvent>().unwrap_err();
        assert_eq!((error.at, error.kind), (at, kind), "{line}");
        assert!(!error.to_string().is_empty());
    }
    let ParseEventError { at, kind, .. } =
        "ripas base=0x2000 top=0x1000 level=3".parse::<MeasurementEvent>().unwrap_err();
    assert!(at == 11 && matches!(kind, ParseEventErrorKind::Range(_)));
    let short = "sha-512:00".parse::<Digest>();
    assert!(matches!(short, Err(DigestError::Length { expected: 64, bytes: 1, .. })));
}
