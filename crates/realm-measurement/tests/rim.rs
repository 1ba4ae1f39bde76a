//! The Realm Initial Measurement, compared with published vectors.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use realm_measurement::Rim;
use realm_measurement::measurement_log::{Digest, DigestError, MeasurementEvent};
use realm_measurement::rim::RimError;
use rmi_abi::realm::{HashAlgorithm, RealmParams};
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Dialect, GranuleSize, Ipa, IpaRange, Pa};

/// The digests after each step of the published vectors: creation, one level 2 entry set to RAM, a
/// measured page, an unmeasured one, a REC.
const SHA_256: [&str; 5] = [
    "f33498f22eed8d51fb28b95769b27275a8c69a469e26b0050f1e809c4e0146b4",
    "f1716fdda6e64db71c74619256e348fab4818fd547d9abc6b8cab34ab5a8001c",
    "74ce397e9857648778773ddbb4a33a6059c5b7a935a78a705d328bfda27e570a",
    "fe5b0fee29f53091aef1130ed8d94e3b1a33d8af37c9dcebbc956a8e115839bc",
    "4cbc9849ebc9079c0c8422a9a64ba436cf78e586ba1da5ff90aceefe56fd35da",
];
const SHA_512: [&str; 5] = [
    "1cda1fc639e5604da537f04e7f2d6f8e18894c86f4b64f3397783b090053ba0d81dd585810b5aad1e5c2ac5c65fa0c8ad8b125031ae2d3a987f0d84dd775c4c6",
    "32a6b1c70fbe3244066bcbddac340775fbc989549b8458cda14abb837c02ffe1abd813273b5eeb5b582aaa5204732a6e56358b09d2137860e8f20d0b9c661d35",
    "9287b520dfe7dbb64965cffa78fa0f910e2b29f3792e6536857dd6fd39260a456f8fe61c769e3ed6159d28ac9481ee215f36fc6fae0a3c6d218851cd546b4165",
    "42abcf9373d98eec4ee563e6ea2994d2a6509239f424c37b3ef48d97f361d53ac48c91e61bf3c5edf09442db368538e9083838a306445a93b2248967778979f7",
    "87b8aa088e8fb672d02cbdf2b5a04ef6a8ee3e337ceb600a6d13f97c1c31a8966890561b686d0eea64367106b97269f6e98567d4ab3b61a0f1ccb288e36ca01c",
];

/// The parameters of the vectors; those that are not measured are set as well.
fn params(hash: HashAlgorithm) -> RealmParams {
    let mut params = RealmParams::new(Geometry::new(40).unwrap(), Pa::new(0x8800_0000));
    (params.num_bps, params.num_wps) = (5, 3);
    params.hash = hash;
    params.rpv = [9; 64];
    params
}

fn range(base: u64, top: u64) -> IpaRange {
    IpaRange::new(Ipa::new(base), Ipa::new(top)).unwrap()
}

fn rec(pc: u64, x0: u64) -> RecParams {
    let mut gprs = [0; 8];
    gprs[0] = x0;
    RecParams { runnable: true, mpidr: Mpidr::from_index(7), pc, gprs }
}

#[test]
fn the_published_vectors() {
    for (hash, name, expected) in
        [(HashAlgorithm::Sha256, "sha-256", SHA_256), (HashAlgorithm::Sha512, "sha-512", SHA_512)]
    {
        let mut params = params(hash);
        params.vmid = 3;
        let ignore = &mut |_: &MeasurementEvent| {};
        let mut rim = Rim::new(&params, Dialect::V1_0, ignore).unwrap();
        let mut got = vec![rim.digest().to_string()];
        rim.add_ripas(range(0x8000_0000, 0x8020_0000), Level::L2, ignore).unwrap();
        got.push(rim.digest().to_string());
        rim.add_measured(Ipa::new(0x8020_0000), &[0xa5; 0x1000], ignore).unwrap();
        got.push(rim.digest().to_string());
        rim.add_unmeasured(range(0x8020_1000, 0x8020_2000), ignore).unwrap();
        got.push(rim.digest().to_string());
        rim.add_rec(&rec(0x8020_0000, 0x8400_0000), ignore).unwrap();
        got.push(rim.digest().to_string());
        assert_eq!(got, expected.map(|hex| format!("{name}:{hex}")));
        assert_eq!(rim.value()[..rim.digest().as_bytes().len()], *rim.digest().as_bytes());
        assert!(rim.value()[rim.digest().as_bytes().len()..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn tf_rmm_begins_like_1_0_and_the_betas_with_zero() {
    for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
        let new = |dialect| Rim::new(&params(hash), dialect, &mut |_| {}).unwrap().digest();
        assert_eq!(new(Dialect::TfRmm2026_07), new(Dialect::V1_0));
        for dialect in [Dialect::V2_0Bet0, Dialect::V2_0Bet1, Dialect::V2_0Bet3] {
            assert_eq!(new(dialect), Digest::zero(hash).unwrap());
        }
    }
}

#[test]
fn ripas_changes_are_measured_entry_by_entry_and_depend_on_the_tables() {
    let ripas = |ranges: &[(u64, u64)], level| {
        let mut events = Vec::new();
        let mut log = |event: &MeasurementEvent| events.push(*event);
        let mut rim = Rim::new(&params(HashAlgorithm::Sha256), Dialect::V1_0, &mut log).unwrap();
        for &(base, top) in ranges {
            rim.add_ripas(range(base, top), level, &mut log).unwrap();
        }
        assert_eq!(Rim::replay(&events), Ok(rim));
        (rim.digest(), events.len() - 1)
    };
    const MIB: u64 = 1 << 20;
    let (fine, calls) = ripas(&[(MIB, 5 * MIB)], Level::L3);
    // The calls end at the ends of their tables, at 2 and 4 MiB.
    assert_eq!(calls, 3);
    // The number of calls makes no difference; the size of the entries does.
    assert_eq!(ripas(&[(MIB, 3 * MIB / 2), (3 * MIB / 2, 5 * MIB)], Level::L3), (fine, 4));
    let (coarse, calls) = ripas(&[(2 * MIB, 6 * MIB)], Level::L2);
    assert_eq!(calls, 1);
    assert_ne!(ripas(&[(2 * MIB, 6 * MIB)], Level::L3).0, coarse);
    // Measured again although it was RAM.
    assert_ne!(ripas(&[(2 * MIB, 6 * MIB), (2 * MIB, 4 * MIB)], Level::L2).0, coarse);
}

#[test]
fn in_2_0_ripas_changes_are_not_measured() {
    for dialect in Dialect::ALL.into_iter().filter(|dialect| dialect.is_2_0()) {
        let log = &mut |event: &MeasurementEvent| {
            assert!(matches!(event, MeasurementEvent::Create { .. }));
        };
        let mut rim = Rim::new(&params(HashAlgorithm::Sha512), dialect, log).unwrap();
        let before = rim;
        rim.add_ripas(range(0, 2 << 20), Level::L2, log).unwrap();
        assert_eq!(rim, before);
        let event = MeasurementEvent::Ripas { range: range(0, 2 << 20), level: Level::L2 };
        assert_eq!(rim.apply(&event), Err(RimError::RipasNotMeasured(dialect)));
    }
}

#[test]
fn what_cannot_be_measured_does_not_change_the_measurement() {
    let ignore = &mut |_: &MeasurementEvent| {};
    let unknown = HashAlgorithm::Unknown(9);
    let refused = Rim::new(&params(unknown), Dialect::V2_0Bet3, ignore);
    assert_eq!(refused, Err(RimError::Digest(DigestError::Algorithm(unknown))));
    let mut vmid = params(HashAlgorithm::Sha256);
    vmid.vmid = 1;
    assert!(matches!(Rim::new(&vmid, Dialect::V2_0Bet3, ignore), Err(RimError::Params(_))));

    let mut create = None;
    let mut rim = Rim::new(&params(HashAlgorithm::Sha256), Dialect::V1_0, &mut |event| {
        create = Some(*event);
    })
    .unwrap();
    let before = rim;
    let silent = &mut |event: &MeasurementEvent| panic!("{event}");
    let unaligned = rim.add_measured(Ipa::new(0x800), &[1; 0x1000], silent);
    assert!(matches!(unaligned, Err(RimError::Range(_))));
    let wraps = rim.add_measured(Ipa::new(0xffff_ffff_ffff_e000), &[1; 0x3000], silent);
    assert!(matches!(wraps, Err(RimError::Range(_))));
    let half = rim.add_ripas(range(0, 3 << 20), Level::L2, silent);
    assert!(matches!(half, Err(RimError::Entries { level: Level::L2, .. })));
    let two_tables = MeasurementEvent::Ripas { range: range(0, 2 << 30), level: Level::L2 };
    assert!(matches!(rim.apply(&two_tables), Err(RimError::Entries { .. })));
    let nothing = MeasurementEvent::Ripas { range: range(0, 0), level: Level::L3 };
    assert!(matches!(rim.apply(&nothing), Err(RimError::Entries { .. })));
    let other = Digest::zero(HashAlgorithm::Sha384).unwrap();
    for event in [
        MeasurementEvent::Data { ipa: Ipa::new(0), content: Some(other) },
        MeasurementEvent::Rec { mpidr: Mpidr::from_index(0), content: other },
    ] {
        let (realm, found) = (HashAlgorithm::Sha256, HashAlgorithm::Sha384);
        assert!(matches!(
            rim.apply(&event),
            Err(RimError::Algorithm { realm: r, event: e, .. }) if (r, e) == (realm, found)
        ));
    }
    assert_eq!(rim.apply(&create.unwrap()), Err(RimError::CreatedAgain));
    assert_eq!(rim, before);

    assert_eq!(Rim::replay(&[]), Err(RimError::NotCreated));
    assert_eq!(Rim::replay(&[two_tables]), Err(RimError::NotCreated));
    let dialect = Dialect::V2_0Bet3;
    let granule = GranuleSize::Size4KiB;
    let begun = MeasurementEvent::Create { dialect, granule, rim: before.digest() };
    assert_eq!(Rim::start(&begun), Err(RimError::NotZero(dialect)));
}

/// The log of the vectors, as the documentation of the log shows it.
#[test]
fn the_log_of_the_vectors() {
    let mut text = String::new();
    let mut log = |event: &MeasurementEvent| text += &format!("{event}\n");
    let mut rim = Rim::new(&params(HashAlgorithm::Sha256), Dialect::V1_0, &mut log).unwrap();
    rim.add_ripas(range(0x8000_0000, 0x8020_0000), Level::L2, &mut log).unwrap();
    rim.add_measured(Ipa::new(0x8020_0000), &[0xa5; 0x1000], &mut log).unwrap();
    rim.add_unmeasured(range(0x8020_1000, 0x8020_2000), &mut log).unwrap();
    rim.add_rec(&rec(0x8020_0000, 0x8400_0000), &mut log).unwrap();
    let expected = format!(
        "create dialect=1.0 rim=sha-256:{}\n\
         ripas base=0x80000000 top=0x80200000 level=2\n\
         data ipa=0x80200000 content=\
         sha-256:f600eca824e84a43f0691b267bd620e462c50da165c5b80e17aecb7a924f1fa8\n\
         data ipa=0x80201000 content=unmeasured\n\
         rec mpidr=0x7 content=\
         sha-256:5e558ecc93e2c098a4c2b6e9420bd08b368ecf52b7f33c4bd073f9daba7ab50e\n",
        SHA_256[0]
    );
    assert_eq!(text, expected);
}
