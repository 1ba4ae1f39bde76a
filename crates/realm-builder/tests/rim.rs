//! The Realm Initial Measurement as the host predicts it, compared with Realms on the model RMM.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use realm_builder::measurement_log::{Digest, MeasurementEvent};
use realm_builder::rim::RimError;
use realm_builder::{
    BuildError, Content, Realm, RealmConfig, RealmStorage, RecStart, Region, RegionProblem, Rim,
};
use realm_measurement::RegionLayout;
use realm_measurement::region::{check, sort};
use rmi_abi::realm::{HashAlgorithm, RealmParams};
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rsi::{Command as Rsi, Version};
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::run::EntryRecord;
use rmi_abi::{Dialect, Ipa, IpaRange, Pa};
use rmi_host::{CountingLedger, Undelegated};
use rmm_model::{Action, GuestCpu, Model, Options};
use sro::CallbackMemory;

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
    let mut pool = test_support::pool::<8>(&mut memory, 80 << 12);
    let ledger = CountingLedger::new();
    let host = model.host().with_ledger(&ledger);
    let rmm = test_support::open(host, &mut pool);
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
    while realm.populate_some(&mut pool, &mut regions, at_once).unwrap() > 0 {}
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
    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), recs).error, None);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
    (measured, rim.value())
}

#[test]
fn the_model_measures_the_same() {
    for dialect in Dialect::ALL {
        let is_2_0 = dialect.is_2_0();
        let mut seen = Vec::new();
        let hashes = [HashAlgorithm::Sha256, HashAlgorithm::Sha512, HashAlgorithm::Sha384];
        for hash in hashes.into_iter().take(if is_2_0 { 3 } else { 2 }) {
            for (width, num_bps, sve_vl, private_mec, at_once) in [
                (40, 1, None, false, u64::MAX),
                (36, 5, Some(3), false, 0x2800),
                (40, 1, None, true, 2 << 20),
            ] {
                let mut config = RealmConfig::new(width);
                config.hash = hash;
                config.num_bps = num_bps;
                config.sve_vl = sve_vl;
                config.private_mec = private_mec && is_2_0;
                config.personalization = [width; 64];
                let (measured, predicted) = on_the_model(dialect, &config, at_once);
                assert_eq!(measured, Some(predicted), "{dialect} {hash} {width}");
                seen.push(predicted);
            }
        }
        seen.sort_unstable();
        seen.dedup();
        // Where the parameters are not measured, only the algorithm makes a difference.
        let expected = match dialect {
            Dialect::TfRmm2026_07 => 9,
            Dialect::V1_0 => 4,
            _ => 3,
        };
        assert_eq!(seen.len(), expected, "{dialect}");
    }
}

/// A Realm reads as many registers as the digest has. As with TF-RMM, X5 to X7 above it keep their
/// values, and X8 is 0.
#[test]
fn a_realm_reads_no_more_than_the_digest() {
    const BEFORE: u64 = 0x5555_aaaa_5555_aaaa;
    for (hash, words) in [(HashAlgorithm::Sha256, 4), (HashAlgorithm::Sha512, 8)] {
        let model = test_support::model(Dialect::TfRmm2026_07);
        let mut memory = model.take_memory();
        let mut pool = test_support::pool::<8>(&mut memory, 80 << 12);
        let host = model.host();
        let rmm = test_support::open(host, &mut pool);
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
        object.enter(&rmm, &mut page, &EntryRecord::default(), None, |_, _| ((), false)).unwrap();

        let mut read = *read.lock().unwrap();
        let above = [BEFORE, BEFORE, BEFORE, BEFORE, BEFORE, BEFORE, BEFORE, 0];
        assert_eq!(read[words..], above[words..]);
        assert!(rim.is_read_as(&read), "{read:x?} of {}", rim.digest());
        assert_eq!(Digest::from_registers(hash, &read), Ok(rim.digest()));
        read[words - 1] ^= 1 << 63;
        assert!(!rim.is_read_as(&read));
        assert_eq!(
            realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), [object]).error,
            None
        );
        pool.drain(&rmm, &mut |_| {});
        let _ = page.into_raw();
    }
}

/// Regions that no RMM could map are refused, with and without content.
#[test]
fn regions_that_are_not_aligned_are_not_measured() {
    let model = test_support::model(Dialect::TfRmm2026_07);
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

/// The regions of a Realm as their descriptions say.
fn with_memory<'c>(layouts: &[RegionLayout<'c>], memory: &mut Undelegated) -> Vec<Region<'c>> {
    let region = |layout: &RegionLayout<'c>| match layout.memory {
        None => Region::without_memory(layout.ipa, layout.bytes),
        Some(_) => {
            let memory = memory.take_front(layout.bytes).unwrap();
            Region::new(layout.ipa, memory, layout.content)
        }
    };
    layouts.iter().map(region).collect()
}

/// A piece of a Realm's memory: pages before it, its pages, its kind, and what is wrong with it.
type Piece = (u64, u64, u8, usize);

/// Describes the pieces and populates a Realm with them: both refuse the same region for the same
/// reason, or the measurement is the predicted one.
fn predict(pieces: &[Piece], order: u64, faulty: bool, at_once: u64) -> Result<(), TestCaseError> {
    const CONTENT: [u8; 0x4000] = [0x5a; 0x4000];
    let (mut layouts, mut next) = (Vec::new(), 0x8000_0000_u64);
    for (gap, pages, kind, off) in pieces.iter().copied() {
        let pages = if faulty { pages } else { pages.max(1) };
        let len = usize::try_from(pages << 12).unwrap();
        // Not always whole granules; a length that does not match is refused.
        let missing = if faulty { off * 0xb00 } else { off * 0x700 };
        let content = CONTENT.get(..len.saturating_sub(missing)).unwrap();
        let content = match kind {
            0 => Content::Measured(content),
            1 => Content::Unmeasured(content),
            _ => Content::Unspecified,
        };
        let memory = (kind != 4).then_some(Pa::new(0));
        let ipa = Ipa::new(next + (gap << 12) - if faulty && off == 1 { 0x1000 } else { 0 });
        layouts.push(RegionLayout { ipa, bytes: pages << 12, content, memory });
        next += (gap + pages) << 12;
    }
    let turn = usize::try_from(order % layouts.len() as u64).unwrap();
    layouts.rotate_left(turn);

    let model = test_support::model(Dialect::TfRmm2026_07);
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<8>(&mut memory, 80 << 12);
    let rmm = test_support::open(model.host(), &mut pool);
    let config = RealmConfig::new(40);
    let params = config.validate(rmm.features(), rmm.dialect()).unwrap();
    let mut storage = RealmStorage::<16, 16>::new();
    let mut realm = Realm::create(&rmm, &config, &mut storage, &mut pool).unwrap();
    let mut regions = with_memory(&layouts, &mut memory);
    let mut result = Ok(1);
    while let Ok(1..) = result {
        result = realm.populate_some(&mut pool, &mut regions, at_once);
    }

    sort(&mut layouts);
    let checked = check(&layouts, params.geometry, rmm.granule_size());
    match (checked, result) {
        (Err(refused), Err(BuildError::Region { range, problem, .. })) => {
            prop_assert_eq!(
                (refused.ipa, RegionProblem::from(refused.problem)),
                (range.base(), problem)
            );
            // The predicted Realm would be another one.
            prop_assert_eq!(realm.memory_bytes(), 0);
        }
        (checked, result) => {
            prop_assert_eq!((checked, result), (Ok(()), Ok(0)));
            let mut rim = Rim::new(&params, rmm.dialect(), &mut |_| {}).unwrap();
            rim.add_regions(&mut layouts, params.geometry, &mut |_| {}).unwrap();
            prop_assert_eq!(model.measurement(realm.rd().pa(), 0), Some(rim.value()));
        }
    }
    prop_assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error, None);
    pool.drain(&rmm, &mut |_| {});
    for region in regions {
        let _ = region.into_memory().into_raw();
    }
    Ok(())
}

/// Which of two regions at one address is refused does not depend on how they are described.
#[test]
fn regions_at_one_address_are_refused_in_one_order() {
    predict(&[(0, 0, 0, 0), (0, 1, 0, 2), (0, 0, 0, 2)], 9_755_693_450_056_861_978, true, 0x1000)
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Descriptions, in any order and with holes, overlaps and wrong lengths, and the Realm that
    /// they describe: the same regions are refused for the same reason, and the measurement of the
    /// others is the one predicted.
    #[test]
    fn descriptions_predict_what_populating_does(
        pieces in prop::collection::vec((0_u64..4, 0_u64..5, 0_u8..5, 0_usize..3), 1..6),
        order in any::<u64>(),
        faulty in any::<bool>(),
        at_once in prop::sample::select(vec![0x1000_u64, 0x3000, u64::MAX]),
    ) {
        predict(&pieces, order, faulty, at_once)?;
    }
}
