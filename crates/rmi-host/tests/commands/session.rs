//! What a session needs in order to open, and in which order it asks for it.

use rmi_abi::realm::HashAlgorithm;
use rmi_abi::{Command, Dialect, GranuleSize, ResultWord, Status};
use rmi_host::session::is_probe;
use rmi_host::{
    Conduit, DialectSource, Discovered, Host, Registers, Rmm, ServedDialect, SessionError,
    SessionOptions, TrackingRegion, Undelegated,
};
use rmm_model::{Model, Options};

use crate::fixture::{Fake, PAGE, Platform, host};

/// An RMM with all features that answers every call with success.
pub(crate) fn willing() -> Fake {
    let fake = Fake::default();
    fake.always([0, u64::MAX, 0, 0, 0, 0, 0, 0]);
    fake
}

#[test]
fn a_session_opens_in_every_dialect_that_is_set() {
    for dialect in Dialect::ALL {
        let fake = willing();
        let mut options = SessionOptions::default();
        options.dialect = Some(dialect);
        let found = Discovered::probe(Host::new(&fake, &fake), options).unwrap();
        assert_eq!((found.dialect(), found.dialect_source()), (dialect, DialectSource::Options));
    }
}

#[test]
fn an_rmm_of_1_0_is_found_by_its_version() {
    let fake = Fake::default();
    // It implements 1.0 only, and says so.
    fake.next([1, 0x1_0000, 0x1_0000, 0, 0, 0, 0, 0]);
    fake.always([0, u64::MAX, 0, 0, 0, 0, 0, 0]);
    let found = Discovered::probe(Host::new(&fake, &fake), SessionOptions::default()).unwrap();
    assert_eq!((found.dialect(), found.dialect_source()), (Dialect::V1_0, DialectSource::Version));
}

/// TF-RMM v0.8.0 implements 1.0 and a draft of 1.1. When it does not implement what was asked for,
/// it reports 1.1 as the lower version, too.
#[test]
fn an_rmm_of_1_0_and_1_1_is_asked_for_1_0() {
    let fake = Fake::default();
    fake.next([1, 0x1_0001, 0x1_0001, 0, 0, 0, 0, 0]);
    fake.next([0, 0x1_0000, 0x1_0001, 0, 0, 0, 0, 0]);
    // What it reports as a program.
    fake.next([0, 0x283_fc10_4130, 0, 0, 0, 0, 0, 0]);
    let options = SessionOptions::default();
    let found = Discovered::probe(Host::new(&fake, &fake), options).unwrap();
    assert_eq!((found.dialect(), found.dialect_source()), (Dialect::V1_0, DialectSource::Version));
    let calls = fake.calls();
    assert_eq!((calls[0][1], calls[1][1]), (0x2_0000, 0x1_0000));

    let features = found.features();
    assert_eq!((features.max_ipa_width(), features.lpa2(), features.sve_vl()), (48, true, None));
    assert_eq!((features.num_bps(), features.num_wps()), (1, 1));
    assert_eq!(features.pmu_num_ctrs(), Some(31));
    let hashes = [HashAlgorithm::Sha256, HashAlgorithm::Sha512, HashAlgorithm::Sha384];
    assert_eq!(hashes.map(|hash| features.supports_hash(hash)), [true, true, false]);
    assert_eq!((features.gic_num_lrs(), features.max_recs()), (Some(1), 1023));
    assert_eq!((features.rtt_plane(), features.device_assignment()), (None, false));

    // One that has no 1.0 any more is refused. So is one of other versions, and one that lacks the
    // version of the dialect that was set; these are asked for nothing else.
    let mut forced = options;
    forced.dialect = Some(Dialect::V2_0Bet3);
    for (options, version, calls) in
        [(options, 0x1_0001, 2), (options, 0x3_0000, 1), (forced, 0x1_0000, 1)]
    {
        let fake = Fake::default();
        fake.always([1, version, version, 0, 0, 0, 0, 0]);
        let failed = Discovered::probe(Host::new(&fake, &fake), options).unwrap_err();
        assert!(matches!(failed.error, SessionError::Version { .. }), "{}", failed.error);
        assert_eq!(fake.calls().len(), calls);
    }
}

/// An RMM of 1.0 is active from the start: opening a session only reads.
#[test]
fn a_session_of_1_0_opens_without_a_call_that_changes_anything() {
    let fake = Fake::default();
    fake.next([1, 0x1_0000, 0x1_0000, 0, 0, 0, 0, 0]);
    fake.next([0, 0x1_0000, 0x1_0000, 0, 0, 0, 0, 0]);
    fake.always([0, 48, 0, 0, 0, 0, 0, 0]);
    let found = Discovered::probe(Host::new(&fake, &fake), SessionOptions::default()).unwrap();
    let rmm = found.configure(&mut host(0x7000_0000, PAGE)).unwrap().into_active();
    let fid = |command: Command| u64::from(command.fid(Dialect::V1_0).unwrap().0);
    let reads = [fid(Command::Version), fid(Command::Features)];
    assert!(fake.calls().iter().all(|call| reads.contains(&call[0])), "{:x?}", fake.calls());
    let calls = fake.calls().len();
    let memory = rmi_abi::PaRange::with_size(rmi_abi::Pa::new(0x8000_0000), 0x10_0000).unwrap();
    // All memory is tracked by granule, and there is nothing to ask.
    rmm.check_memory(memory).unwrap();
    assert_eq!(fake.calls().len(), calls);
    let _ = rmm.into_platform();
    assert_eq!((fake.calls().len(), fake.open_sessions().count()), (calls, 0));
}

/// What an RMM whose probes are answered like this is taken for, and how many probes there were.
fn taken_for(answers: &[u64]) -> (Dialect, DialectSource, usize) {
    let fake = Fake::default();
    fake.next([0, 0x2_0000, 0x2_0000, 0, 0, 0, 0, 0]);
    for x0 in answers {
        fake.next([*x0, 0, 0, 0, 0, 0, 0, 0]);
    }
    fake.always([0, u64::MAX, 0, 0, 0, 0, 0, 0]);
    let found = Discovered::probe(Host::new(&fake, &fake), SessionOptions::default()).unwrap();
    let calls = fake.calls();
    let probes: Vec<Registers> = calls.iter().copied().filter(is_probe).collect();
    // They come after the version, and in this order.
    let expected: [Registers; 3] = [
        [0xc400_0211, 0, 0, 0, 0, 0, 0, 0],
        [0xc400_01e1, 0, 0, 0, 0, 0, 0, 0],
        [0xc400_01ee, 1, 1, 1, 0, 0, 0, 0],
    ];
    assert_eq!(Some(&probes[..]), expected.get(..probes.len()));
    assert_eq!(Some(&probes[..]), calls.get(1..1 + probes.len()));
    // The five feature registers are read after them.
    assert_eq!(calls.len(), 1 + probes.len() + 5);
    (found.dialect(), found.dialect_source(), probes.len())
}

#[test]
fn the_answers_to_probes_decide() {
    use DialectSource::{Answers, Assumed};
    const UNKNOWN: u64 = u64::MAX;
    let word = |status| ResultWord::from_status(status).0;
    let [success, input, global, not_supported, tracking] = [
        Status::Success,
        Status::ErrorInput,
        Status::ErrorGlobal,
        Status::ErrorNotSupported,
        Status::ErrorTracking,
    ]
    .map(word);
    let bet0 = (Dialect::V2_0Bet0, Answers, 2);
    let tf_rmm = Dialect::TfRmm2026_07;
    for (answers, expected) in [
        (&[input][..], (Dialect::V2_0Bet3, Answers, 1)),
        (&[success], (Dialect::V2_0Bet3, Answers, 1)),
        // Active, and not active.
        (&[UNKNOWN, success], bet0),
        (&[not_supported, global], bet0),
        (&[UNKNOWN, input, success], (Dialect::V2_0Bet1, Answers, 3)),
        (&[UNKNOWN, input, UNKNOWN], (tf_rmm, Answers, 3)),
        // No known dialect gives these answers.
        (&[UNKNOWN, UNKNOWN], (tf_rmm, Assumed, 2)),
        (&[UNKNOWN, tracking], (tf_rmm, Assumed, 2)),
        (&[UNKNOWN, input, input], (tf_rmm, Assumed, 3)),
    ] {
        assert_eq!(taken_for(answers), expected, "{answers:x?}");
    }
}

#[test]
fn an_rmm_that_stays_busy_is_taken_for_nothing() {
    for (before, status) in
        [(0, Status::Busy), (0, Status::Blocked), (1, Status::Busy), (2, Status::Busy)]
    {
        let fake = Fake::default();
        fake.next([0, 0x2_0000, 0x2_0000, 0, 0, 0, 0, 0]);
        for x0 in [u64::MAX, ResultWord::from_status(Status::ErrorInput).0].iter().take(before) {
            fake.next([*x0, 0, 0, 0, 0, 0, 0, 0]);
        }
        fake.always([ResultWord::from_status(status).0, 0, 0, 0, 0, 0, 0, 0]);
        let mut options = SessionOptions::default();
        options.retry_budget = rmi_host::RetryBudget::NONE;
        let failed = Discovered::probe(Host::new(&fake, &fake), options).unwrap_err();
        let SessionError::Call(error) = failed.error else { panic!("{}", failed.error) };
        assert_eq!(error.status(), Some(status), "{before}");
        assert_eq!(fake.calls().len(), 2 + before);
    }
}

#[test]
fn a_call_with_other_arguments_is_no_probe() {
    for registers in [
        [0xc400_0211, 0x1000, 0, 0, 0, 0, 0, 0],
        [0xc400_0211, 0, 0x1000, 0, 0, 0, 0, 0],
        [0xc400_01e1, 0, 0x1000, 0, 0, 0, 0, 0],
        [0xc400_01ee, 0, 0, 0, 0, 0, 0, 0],
        [0xc400_01ee, 1, 1, 0, 0, 0, 0, 0],
        [0xc400_0165, 0, 0, 0, 0, 0, 0, 0],
        [0xc400_0165, 1, 1, 1, 0, 0, 0, 0],
    ] {
        assert!(!is_probe(&registers), "{registers:x?}");
    }
}

#[test]
fn how_a_dialect_was_found_is_said() {
    for (source, said) in [
        (DialectSource::Options, "not confirmed"),
        (DialectSource::Version, "version"),
        (DialectSource::Answers, "2.0-bet2"),
        (DialectSource::Assumed, "no known dialect"),
    ] {
        assert!(source.to_string().contains(said), "{source}");
    }
}

#[test]
fn sound_4_a_dialect_without_configuration_has_granules_of_4_kib() {
    let without = |dialect: &Dialect| Command::RmmConfigGet.form(*dialect).is_none();
    let dialects: Vec<_> = Dialect::ALL.into_iter().filter(without).collect();
    assert!(dialects.contains(&Dialect::V1_0));
    for dialect in dialects {
        let fake = willing();
        let mut options = SessionOptions::default();
        options.dialect = Some(dialect);
        options.granule_size = GranuleSize::Size64KiB;
        let found = Discovered::probe(Host::new(&fake, &fake), options);
        let error = match found {
            Ok(found) => found.configure(&mut host(0x7000_0000, PAGE)).unwrap_err().error,
            Err(failed) => failed.error,
        };
        assert_eq!(error, SessionError::GranuleSize(GranuleSize::Size64KiB), "{dialect}");
    }
}

/// Opens a session that requests granules of a size, on an RMM that accepts every configuration.
/// Its configuration page is zero: it has granules of 4 KiB.
pub(crate) fn open(fake: &Fake, granule_size: GranuleSize) -> Rmm<Platform<'_>> {
    let found = find(fake, granule_size);
    found.configure(&mut host(0x7000_0000, PAGE)).unwrap().into_active()
}

fn find(fake: &Fake, granule_size: GranuleSize) -> Discovered<Platform<'_>> {
    let mut options = SessionOptions::default();
    options.dialect = Some(Dialect::V2_0Bet3);
    options.granule_size = granule_size;
    Discovered::probe(Host::new(fake, fake), options).unwrap()
}

/// How often the configuration was changed.
fn changes(fake: &Fake) -> usize {
    let fid = Command::RmmConfigSet.fid(Dialect::V2_0Bet3).unwrap();
    fake.calls().iter().filter(|call| call[0] == u64::from(fid.0)).count()
}

#[test]
fn sound_4_two_sessions_have_one_granule_size() {
    let fake = willing();
    let first = open(&fake, GranuleSize::Size4KiB);
    let second = open(&fake, GranuleSize::Size4KiB);
    // The session that activated the RMM ends. A third one must not change the configuration under
    // the second, which would offer 16 times the memory of its tokens.
    let _ = first.into_platform();
    let third = open(&fake, GranuleSize::Size64KiB);
    assert_eq!(third.granule_size(), second.granule_size());
    assert_eq!(changes(&fake), 0);

    let _ = (second.into_platform(), third.into_platform());
    assert_eq!(open(&fake, GranuleSize::Size64KiB).granule_size(), GranuleSize::Size64KiB);
    assert_eq!(changes(&fake), 1);
}

#[test]
fn sound_4_two_sessions_of_which_one_was_dropped_have_one_granule_size() {
    let fake = willing();
    let _ = open(&fake, GranuleSize::Size4KiB);
    assert_eq!(open(&fake, GranuleSize::Size64KiB).granule_size(), GranuleSize::Size4KiB);

    // A channel without a session counts as well.
    let fake = willing();
    let _ = fake.channel(Dialect::V2_0Bet3);
    assert_eq!(open(&fake, GranuleSize::Size64KiB).granule_size(), GranuleSize::Size4KiB);
    assert_eq!(changes(&fake), 0);
}

#[test]
fn sound_4_an_opening_that_fails_is_no_session() {
    let fake = willing();
    let nothing = &mut Undelegated::empty();
    let failed = find(&fake, GranuleSize::Size64KiB).configure(nothing).unwrap_err();
    assert_eq!(fake.open_sessions().count(), 0);
    let configured = failed.kept.configure(&mut host(0x7000_0000, PAGE)).unwrap();
    assert_eq!(configured.granule_size(), GranuleSize::Size64KiB);
    assert_eq!(fake.open_sessions().count(), 1);
    let _ = configured.into_platform();
    assert_eq!(fake.open_sessions().count(), 0);
}

/// A platform for granules of 4 KiB that the RMM tracks one by one.
enum Only4KiB {}

impl ServedDialect for Only4KiB {
    const DIALECT: Option<Dialect> = None;
    const GRANULE_SIZE: Option<GranuleSize> = Some(GranuleSize::Size4KiB);
    const COARSE_TRACKING: bool = false;
}

#[test]
fn what_the_platform_is_not_built_for_is_refused_before_any_call() {
    let fake = willing();
    let host = || Host::new(&fake, &fake).with_dialect::<Only4KiB>();
    let (served, found) = (GranuleSize::Size4KiB, GranuleSize::Size64KiB);
    let mut large = SessionOptions::default();
    large.granule_size = found;
    let mut regions = SessionOptions::default();
    regions.tracking_region = Some(TrackingRegion::new(1 << 30));
    let failed = Discovered::probe(host(), large).unwrap_err().error;
    assert!(
        matches!(failed, SessionError::OtherGranuleSize { found: f, served: s, .. }
            if (f, s) == (found, served)),
        "{failed}"
    );
    assert_eq!(failed.to_string(), "granules have 64 KiB, and the platform is built for 4 only");
    let failed = Discovered::probe(host(), regions).unwrap_err().error;
    assert_eq!(failed, SessionError::NoCoarseTracking);
    assert_eq!(
        failed.to_string(),
        "a size of tracking regions is set, and the platform is built without COARSE ones"
    );
    assert_eq!(fake.calls().len(), 0);
    // What it is built for opens, and so does either on a platform for everything.
    assert!(Discovered::probe(host(), SessionOptions::default()).is_ok());
    for options in [large, regions] {
        assert!(Discovered::probe(Host::new(&fake, &fake), options).is_ok());
    }
}

#[test]
fn an_rmm_that_keeps_another_granule_size_is_refused() {
    let model = Model::new(Options::new(Dialect::V2_0Bet3).with_all_granules()).unwrap();
    let mut pages = model.take_memory();
    let mut page = pages.take_front(0x1_0000).unwrap();
    let mut options = SessionOptions::default();
    options.granule_size = GranuleSize::Size64KiB;
    let first = Discovered::probe(model.host(), options).unwrap();
    let first = first.configure(&mut page).unwrap();
    assert_eq!(first.granule_size(), GranuleSize::Size64KiB);

    // The configuration does not change while a session is open.
    let second = model.host().with_dialect::<Only4KiB>();
    let second = Discovered::probe(second, SessionOptions::default()).unwrap();
    let failed = second.configure(&mut page).unwrap_err();
    let SessionError::OtherGranuleSize { found, served, .. } = failed.error else {
        panic!("{}", failed.error);
    };
    assert_eq!((found, served), (GranuleSize::Size64KiB, GranuleSize::Size4KiB));
    assert_eq!(model.open_sessions().count(), 1);
    let _ = first.into_platform();
    assert_eq!(model.open_sessions().count(), 0);

    // Then it does, and the sizes of the regions are no concern of the platform.
    let second = failed.kept.configure(&mut page).unwrap();
    assert_eq!(second.granule_size(), GranuleSize::Size4KiB);
    let _ = second.start_activation().unwrap();
    let rmm = second.into_active();
    assert_eq!((rmm.granule_size(), rmm.tracking_region_size()), (GranuleSize::Size4KiB, None));
}
