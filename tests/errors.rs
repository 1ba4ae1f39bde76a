//! `realm_sdk::Error`: `?` takes every error of the crates, and every result that carries an object
//! or progress beside its error; what is in it is its source.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::error::Error as StdError;

use realm_sdk::Error;
use realm_sdk::abi::desc::DescError;
use realm_sdk::abi::rtt::Geometry;
use realm_sdk::abi::{Command, Dialect, Ipa, IpaRange, Pa, PaRange};
use realm_sdk::builder::{BuildError, FoldPolicy, Realm, RealmConfig, RealmStorage, RecStart};
use realm_sdk::conduits::replay;
use realm_sdk::host::command::{Halted, SharedAccess};
use realm_sdk::host::{self, AccessFault, Failed, Subject, TrackingError};
use realm_sdk::host::{SessionError, SessionOptions};
use realm_sdk::measurement::measurement_log::{Digest, MeasurementEvent};
use realm_sdk::measurement::{ConfigError, Image};
use realm_sdk::rec::gic::GicMismatch;
use realm_sdk::rec::mmio::MmioBusError;
use realm_sdk::rec::set::{AddError, ClaimError};
use realm_sdk::rec::{Answer, Rec};
use realm_sdk::sro::{self, CallbackMemory, EnterError, FixedPool};
use realm_sdk::vgic::{self, Intid, ListRegisters};
use rmm_model::{Model, Options};

/// The number of sources below an error; the text of each is in that of the error.
fn depth(error: &dyn StdError) -> usize {
    let Some(source) = error.source() else { return 0 };
    let (text, inner) = (error.to_string(), source.to_string());
    assert!(text.contains(&inner), "{text}: {inner}");
    1 + depth(source)
}

/// The error that a closure ends with, by `?`.
fn error<T>(work: impl FnOnce() -> Result<T, Error>) -> Error {
    let error = work().err().unwrap();
    assert!(depth(&error) >= 1, "{error:?} has no source");
    error
}

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

#[test]
fn a_failed_call_is_the_same_error_whatever_failed() {
    let call = host::Error::no_progress(Command::RttFold, Subject::Rmm);
    let all: [Error; 7] = [
        call.into(),
        SessionError::Call(call).into(),
        BuildError::Call(call).into(),
        EnterError::Call(call).into(),
        TrackingError::Call(call).into(),
        host::Failure::Ended(call).into(),
        Halted { error: call, reached: Some(1_u64) }.into(),
    ];
    for error in all {
        assert!(matches!(error, Error::Call(inner) if inner == call), "{error:?}");
        assert_eq!((depth(&error), error.to_string()), (1, call.to_string()));
    }
    let fault = error(|| -> Result<(), _> { Err(AccessFault { at: Pa::new(0) })? });
    assert!(matches!(fault, Error::Call(host::Error::Access(_))));
    assert_eq!(depth(&fault), 2);
}

#[test]
fn data_that_is_not_valid() {
    assert!(matches!(error(|| Ok(Geometry::new(99)?)), Error::Geometry(_)));
    assert!(matches!(error(|| Ok(IpaRange::new(Ipa::new(1), Ipa::new(0))?)), Error::Range(_)));
    assert!(matches!(error(|| Ok("3.0".parse::<Dialect>()?)), Error::UnknownDialect(_)));
    assert!(matches!(error(|| -> Result<(), _> { Err(DescError::Count)? }), Error::Desc(_)));
    assert!(matches!(error(|| Ok(Image::flat(&[], Ipa::new(0))?)), Error::Image(_)));
    assert!(matches!(error(|| Ok("sha-256:0".parse::<Digest>()?)), Error::Digest(_)));
    let event = error(|| Ok("data ipa=0x1000 content=sha-256:0".parse::<MeasurementEvent>()?));
    assert!(matches!(event, Error::MeasurementEvent(_)));
    assert_eq!(depth(&event), 3);
    let transcript = error(|| Ok(replay::parse("no recording")?));
    assert!(matches!(transcript, Error::Transcript(_)));
    let full = error(|| {
        let mut registers = ListRegisters::new(2);
        for number in 32..64 {
            registers.set_pending(Intid::new(number).unwrap(), 0)?;
        }
        Ok(())
    });
    assert!(matches!(full, Error::ListRegisters(_)));
    let full = Err::<(), _>(Failed::new(1_u64, AddError::Full));
    assert!(matches!(error(|| Ok(full?)), Error::AddRec(AddError::Full)));
    let no_rec = Err::<(), _>(ClaimError::NoSuchRec { index: 3 });
    assert!(matches!(error(|| Ok(no_rec?)), Error::ClaimRec(ClaimError::NoSuchRec { index: 3 })));
    let empty = Err::<(), _>(MmioBusError::Empty);
    assert!(matches!(error(|| Ok(empty?)), Error::MmioBus(MmioBusError::Empty)));
    let mismatch = Err::<(), _>(GicMismatch::Count { gic: 1, set: 2 });
    assert!(matches!(error(|| Ok(mismatch?)), Error::GicMismatch(_)));
    let no_recs = Err::<(), _>(vgic::GicConfigError::NoRecs);
    assert!(matches!(error(|| Ok(no_recs?)), Error::Gic(vgic::GicConfigError::NoRecs)));
}

#[test]
fn operations_that_return_an_object_or_progress() {
    let mut options = Options::new(Dialect::V2_0Bet3);
    options.untracked = vec![PaRange::with_size(Pa::new(0x8000_0000), 0x1000).unwrap()];
    let model = Model::new(options).unwrap();
    let mut memory = model.take_memory();
    let untracked = memory.take_front(0x1000).unwrap();
    let mut take = |bytes| memory.take_front(bytes).unwrap();
    let mut pool = FixedPool::<32>::new();
    pool.add(take(130 << 12)).unwrap();

    // The platform borrows.
    let session = error(|| {
        let mut options = SessionOptions::default();
        options.dialect = Some(Dialect::V1_0);
        let _ = sro::open(model.host(), options, &mut pool)?;
        Ok(())
    });
    assert!(matches!(session, Error::Session(SessionError::Version { .. })), "{session:?}");

    let rmm = test_support::open(model.host(), &mut pool);
    let delegation = error(|| Ok(rmm.delegate(untracked)?));
    assert!(matches!(delegation, Error::Call(host::Error::Refused(_))), "{delegation:?}");
    assert_eq!(depth(&delegation), 2);
    let config = error(|| {
        let (config, mut storage) = (RealmConfig::new(52), RealmStorage::<8, 0>::new());
        let _ = Realm::create(&rmm, &config, &mut storage, &mut pool)?;
        Ok(())
    });
    assert!(matches!(config, Error::Config(ConfigError::IpaWidth { .. })), "{config:?}");

    let (config, mut storage) = (RealmConfig::new(40), RealmStorage::<32, 4>::new());
    let mut realm = Realm::create(&rmm, &config, &mut storage, &mut pool).unwrap();
    let start = RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] };
    let rec =
        Rec::new(realm.create_rec(&mut pool, &start).unwrap(), take(0x1000), realm.geometry());
    let entered = error(|| {
        // The Realm is not active; the answer is kept.
        Ok(rec.enter(&rmm, Answer::resume())?)
    });
    assert!(matches!(entered, Error::Call(host::Error::Refused(_))), "{entered:?}");

    let (alias, access) = (range(1 << 39, 0x1000), SharedAccess::MEMORY);
    let realm = realm.activate().unwrap();
    let page = take(0x1000);
    let all = [
        error(|| Ok(realm.share(&mut pool, Ipa::new(0), page, access)?)),
        error(|| {
            Ok(realm.unshare(&mut CallbackMemory::freeing(&mut pool, drop), range(0, 0x1000))?)
        }),
        error(|| Ok(realm.fold(&mut pool, alias, FoldPolicy::Blocks)?)),
        error(|| Ok(realm.set_ripas(&mut pool, rec.name(), alias, 1)?)),
        error(|| Ok(realm.set_s2ap(&mut pool, rec.name(), alias, 1)?)),
        error(|| {
            let _ = realm.convert_to_shared(
                &mut CallbackMemory::freeing(&mut pool, drop),
                alias,
                access,
            )?;
            Ok(())
        }),
        error(|| Ok(realm.map(&mut pool, Ipa::new(1), take(0x1000))?)),
    ];
    for error in all {
        assert!(matches!(error, Error::Build(BuildError::Region { .. })), "{error:?}");
        assert_eq!(depth(&error), 2);
    }
    let _ = realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), [rec.into_parts().0]);
    assert!(rmm.close(&mut pool).unwrap().kept.is_empty());
    assert_eq!(model.open_operations(), 0);
}
