//! The Realm Initial Measurement as the host predicts it, compared with published vectors and with
//! Realms on the model RMM.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use realm_builder::measurement_log::{Digest, DigestError, MeasurementEvent};
use realm_builder::rim::RimError;
use realm_builder::{Content, Realm, RealmConfig, RealmStorage, RecStart, Region, Rim};
use rmi_abi::realm::{HashAlgorithm, RealmParams};
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rsi::{Command as Rsi, Version};
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::run::RecEnter;
use rmi_abi::{Dialect, Ipa, IpaRange, Pa};
use rmi_host::{CountingLedger, SessionOptions};
use rmm_model::{Action, GuestCpu, Model, Options};
use sro::{Pool, PoolStorage, open};
use zerocopy::FromZeros;

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

/// A Realm with content of all kinds on the model, populated in parts, and its prediction.
fn on_the_model(
    dialect: Dialect,
    config: &RealmConfig,
    at_once: u64,
) -> (Option<[u8; 64]>, [u8; 64]) {
    let mut options = Options::new(dialect);
    // TF-RMM accepts SHA-384 without advertising it; here it is advertised.
    options.features[1] |= 1 << 4;
    let model = Model::new(options).unwrap();
    let mut memory = model.take_memory();
    let mut places = PoolStorage::<8>::new();
    let mut pool = Pool::new(&mut places, memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(80 << 12).unwrap()).unwrap();
    let ledger = CountingLedger::new();
    let host = model.host().with_ledger(&ledger);
    let rmm = open(host, SessionOptions::default(), &mut pool).unwrap();
    assert_eq!(rmm.dialect(), dialect);

    let kernel: Vec<u8> = (0..=250).cycle().take(0x5123).collect();
    let (at, data, free) = (Ipa::new(0x8000_0000), Ipa::new(0x8040_0000), Ipa::new(0x8060_0000));
    let mut storage = RealmStorage::<16, 16>::new();
    let mut realm = Realm::create(&rmm, config, &mut storage, &mut pool).unwrap();
    let mut regions = [
        Region::new(free, memory.take_front(2 << 20).unwrap(), Content::Unspecified),
        Region::new(data, memory.take_front(0x3000).unwrap(), Content::Unmeasured(&[7; 0x2801])),
        Region::new(at, memory.take_front(0x6000).unwrap(), Content::Measured(&kernel)),
    ];
    let [_, data_pages, kernel_pages] = regions.each_ref().map(Region::memory);
    while realm.populate_some(&mut pool, &mut regions, at_once, &mut |_| {}).unwrap() > 0 {}
    for (pages, content) in [(data_pages, [7; 0x2801].as_slice()), (kernel_pages, &kernel)] {
        let mut there = vec![1; usize::try_from(pages.bytes()).unwrap()];
        model.peek(pages.base(), &mut there);
        let (filled, zeros) = there.split_at(content.len());
        assert!(filled == content && zeros.iter().all(|byte| *byte == 0));
    }
    let mut recs = Vec::new();
    for runnable in [true, false, true] {
        let start = RecStart { runnable, pc: at, gprs: [recs.len() as u64 + 1; 8] };
        recs.push(realm.create_rec(&mut pool, &start).unwrap());
    }
    let measured = model.measurement(realm.rd().pa(), 0);

    let ignore = &mut |_: &MeasurementEvent| {};
    let params = config.validate(rmm.features(), dialect).unwrap();
    let mut rim = Rim::new(&params, dialect, ignore).unwrap();
    rim.add_measured(at, &kernel, ignore).unwrap();
    rim.add_unmeasured(range(data.raw(), data.raw() + 0x3000), ignore).unwrap();
    rim.add_ripas(range(free.raw(), free.raw() + (2 << 20)), Level::L2, ignore).unwrap();
    for (index, runnable) in (0..).zip([true, false, true]) {
        let gprs = [u64::from(index) + 1; 8];
        let mpidr = Mpidr::from_index(index);
        let rec = RecParams { runnable, mpidr, pc: at.raw(), gprs };
        rim.add_rec(&rec, ignore).unwrap();
    }
    assert_eq!(realm.tear_down(recs, &mut pool, &mut |_| {}), None);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
    (measured, rim.value())
}

#[test]
fn the_model_measures_the_same() {
    for dialect in [Dialect::TfRmm2026_07, Dialect::V2_0Bet3] {
        let mut seen = Vec::new();
        for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
            for (width, num_bps, sve_vl, private_mec, at_once) in [
                (40, 1, None, false, u64::MAX),
                (36, 5, Some(3), false, 0x2800),
                (40, 1, None, true, 2 << 20),
            ] {
                let mut config = RealmConfig::new(width);
                config.hash = hash;
                config.num_bps = num_bps;
                config.sve_vl = sve_vl;
                config.private_mec = private_mec;
                config.personalization = [width; 64];
                let (measured, predicted) = on_the_model(dialect, &config, at_once);
                assert_eq!(measured, Some(predicted), "{dialect} {hash} {width}");
                seen.push(predicted);
            }
        }
        seen.sort_unstable();
        seen.dedup();
        // Where the parameters are not measured, only the algorithm makes a difference.
        assert_eq!(seen.len(), if dialect == Dialect::V2_0Bet3 { 3 } else { 9 });
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
fn what_cannot_be_measured_leaves_the_measurement_alone() {
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
        assert!(
            matches!(rim.apply(&event), Err(RimError::Algorithm { realm: r, event: e, .. }) if (r, e) == (realm, found))
        );
    }
    assert_eq!(rim.apply(&create.unwrap()), Err(RimError::CreatedAgain));
    assert_eq!(rim, before);

    assert_eq!(Rim::replay(&[]), Err(RimError::NotCreated));
    assert_eq!(Rim::replay(&[two_tables]), Err(RimError::NotCreated));
    let dialect = Dialect::V2_0Bet3;
    let begun = MeasurementEvent::Create { dialect, rim: before.digest() };
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
         data ipa=0x80200000 content=sha-256:f600eca824e84a43f0691b267bd620e462c50da165c5b80e17aecb7a924f1fa8\n\
         data ipa=0x80201000 content=unmeasured\n\
         rec mpidr=0x7 content=sha-256:5e558ecc93e2c098a4c2b6e9420bd08b368ecf52b7f33c4bd073f9daba7ab50e\n",
        SHA_256[0]
    );
    assert_eq!(text, expected);
}

/// A Realm reads as many registers as the digest has; the others keep their values.
#[test]
fn a_realm_reads_no_more_than_the_digest() {
    const BEFORE: u64 = 0x5555_aaaa_5555_aaaa;
    for (hash, words) in [(HashAlgorithm::Sha256, 4), (HashAlgorithm::Sha512, 8)] {
        let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
        let mut memory = model.take_memory();
        let mut places = PoolStorage::<8>::new();
        let mut pool = Pool::new(&mut places, memory.take_front(Pool::PAGES).unwrap()).unwrap();
        pool.add(memory.take_front(80 << 12).unwrap()).unwrap();
        let host = model.host();
        let rmm = open(host, SessionOptions::default(), &mut pool).unwrap();
        let mut config = RealmConfig::new(40);
        config.hash = hash;
        let params = config.validate(rmm.features(), rmm.dialect()).unwrap();
        let mut rim = Rim::new(&params, rmm.dialect(), &mut |_| {}).unwrap();
        rim.add_rec(&rec(0x8000_0000, 0), &mut |_| {}).unwrap();
        let mut storage = RealmStorage::<16, 16>::new();
        let mut realm = Realm::create(&rmm, &config, &mut storage, &mut pool).unwrap();
        let start = RecStart { runnable: true, pc: Ipa::new(0x8000_0000), gprs: [0; 8] };
        let object = realm.create_rec(&mut pool, &start).unwrap();

        let read = Arc::new(Mutex::new([0; 8]));
        let (told, mut asked) = (Arc::clone(&read), false);
        let call = Rsi::MeasurementRead.fid(Version::V1_1).unwrap();
        let guest = move |cpu: &GuestCpu| {
            if std::mem::replace(&mut asked, true) {
                told.lock().unwrap().copy_from_slice(&cpu.x[1..9]);
                return Action::psci_system_off();
            }
            let mut arguments = [BEFORE; 17];
            arguments[0] = 0;
            Action::smc(u64::from(call.0), &arguments)
        };
        model.set_guest(realm.rd().pa(), 0, Box::new(guest));
        let realm = realm.activate().unwrap();
        let mut page = memory.take_front(0x1000).unwrap();
        rmm.commands().rec_enter(object.granule(), &mut page, &RecEnter::new_zeroed()).unwrap();

        let mut read = *read.lock().unwrap();
        assert_eq!(read[words..], [BEFORE; 8][words..]);
        assert!(rim.is_read_as(&read), "{read:x?} of {}", rim.digest());
        assert_eq!(Digest::from_registers(hash, &read), Ok(rim.digest()));
        read[words - 1] ^= 1 << 63;
        assert!(!rim.is_read_as(&read));
        assert_eq!(realm.tear_down([object], &mut pool, &mut |_| {}), None);
        pool.drain(&rmm, &mut |_| {});
        let _ = page.into_raw();
    }
}

/// Regions that no RMM could map are refused, with and without content.
#[test]
fn regions_that_are_not_aligned_are_not_measured() {
    let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
    let mut memory = model.take_memory();
    let params = params(HashAlgorithm::Sha256);
    for content in
        [Content::Unspecified, Content::Measured(&[1; 0x1000]), Content::Unmeasured(&[1; 0x1000])]
    {
        let page = memory.take_front(0x1000).unwrap();
        let first = memory.take_front(0x1000).unwrap();
        let mut regions = [
            Region::new(Ipa::new(0x8000_0800), page, content),
            Region::new(Ipa::new(0x4000_0000), first, Content::Measured(&[1; 0x1000])),
        ];
        let mut rim = Rim::new(&params, Dialect::TfRmm2026_07, &mut |_| {}).unwrap();
        let (before, mut events) = (rim, 0);
        let refused = rim.add_regions(&mut regions, params.geometry, &mut |_| events += 1);
        assert!(matches!(refused, Err(RimError::Range(_))), "{refused:?}");
        // The region before it is not measured either.
        assert_eq!((rim, events), (before, 0));
        for region in regions {
            let _ = region.into_memory().into_raw();
        }
    }
}
