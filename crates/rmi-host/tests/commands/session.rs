//! What a session needs in order to open, and in which order it asks for it.

use rmi_abi::{Command, Dialect, GranuleSize};
use rmi_host::{Discovered, Host, SessionError, SessionOptions};

use crate::bench::{Fake, PAGE, host};

/// An RMM with all features that answers every call with success.
fn willing() -> Fake {
    let fake = Fake::default();
    fake.always([0, u64::MAX, 0, 0, 0, 0, 0, 0]);
    fake
}

#[test]
fn a_dialect_that_is_not_driven_whole_is_refused_before_anything_is_changed() {
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
