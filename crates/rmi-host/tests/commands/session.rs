//! What a session needs in order to open, and in which order it asks for it.

use rmi_abi::{Command, Dialect, GranuleSize};
use rmi_host::{Conduit, Discovered, Host, Rmm, SessionError, SessionOptions, Undelegated};

use crate::fixture::{Fake, PAGE, Platform, host};

/// An RMM with all features that answers every call with success.
pub(crate) fn willing() -> Fake {
    let fake = Fake::default();
    fake.always([0, u64::MAX, 0, 0, 0, 0, 0, 0]);
    fake
}

#[test]
fn a_dialect_without_full_support_is_refused_before_anything_changes() {
    for (dialect, whole) in [
        (Dialect::V1_0, false),
        (Dialect::V2_0Bet0, false),
        (Dialect::V2_0Bet1, false),
        (Dialect::TfRmm2026_07, true),
        (Dialect::V2_0Bet3, true),
    ] {
        let fake = willing();
        let mut options = SessionOptions::default();
        options.dialect = Some(dialect);
        let found = Discovered::probe(Host::new(&fake, &fake), options);
        if whole {
            assert_eq!(found.unwrap().dialect(), dialect);
            continue;
        }
        let failed = found.unwrap_err();
        assert_eq!(failed.error, SessionError::PartialDialect(dialect));
        assert!(failed.error.to_string().contains(dialect.name()), "{}", failed.error);
        // It was only asked for its version.
        assert_eq!(fake.calls().len(), 1);

        // An embedder that wants it nevertheless sets this option.
        options.allow_partial_dialect = true;
        let found = Discovered::probe(failed.kept, options).unwrap();
        let configured = found.configure(&mut host(0x7000_0000, PAGE)).unwrap();
        assert_eq!(configured.into_active().dialect(), dialect);
    }
}

#[test]
fn an_rmm_of_1_0_that_is_found_by_probing_is_refused_by_name() {
    let fake = Fake::default();
    // It implements 1.0 only, and says so.
    fake.next([1, 0x1_0000, 0x1_0000, 0, 0, 0, 0, 0]);
    fake.always([0, 0x1_0000, 0x1_0000, 0, 0, 0, 0, 0]);
    let failed = Discovered::probe(Host::new(&fake, &fake), SessionOptions::default()).unwrap_err();
    assert_eq!(failed.error, SessionError::PartialDialect(Dialect::V1_0));
    assert_eq!(fake.calls().len(), 2);
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
        options.allow_partial_dialect = true;
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
