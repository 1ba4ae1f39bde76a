//! The tables of a Realm, and the page through which its content is copied, are those of an RMM
//! with granules of 4 KiB: no Realm is created on another one.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::{BuildError, Content, Realm, RealmConfig, RealmStorage, Region};
use rmi_abi::{Command, Dialect, GranuleSize, Ipa};
use rmi_host::{Host, Registers, SessionOptions};
use rmm_model::{Model, Options};
use sro::FixedPool;
use test_support::Altered;

const D: Dialect = Dialect::V2_0Bet3;

/// Opens a session on an RMM that says that it has granules of a size, and tries to populate a
/// Realm with measured and unmeasured content.
fn populate(size: GranuleSize) -> Result<(), BuildError> {
    let mut options = Options::new(D);
    // All three sizes.
    options.features[1] |= 7;
    let model = Model::new(options).unwrap();
    let set = u64::from(Command::RmmConfigSet.fid(D).unwrap().0);
    // The model itself has 4 KiB only.
    let instead = |x: &Registers| (x[0] == set).then_some([0; 8]);
    let conduit = Altered { model: &model, instead };
    let mut all = model.take_memory();
    let mut pool = FixedPool::<16>::new();
    pool.add(all.take_front(0x40_0000).unwrap()).unwrap();
    let mut options = SessionOptions::default();
    options.granule_size = size;
    let rmm = sro::open(Host::new(&conduit, &model), options, &mut pool).unwrap();
    assert_eq!(rmm.granule_size(), size);

    let mut storage = RealmStorage::<8, 0>::new();
    let (calls, bytes) = (model.calls(), pool.bytes());
    let mut realm = match Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool) {
        Ok(realm) => realm,
        Err(failed) => {
            assert_eq!((model.calls(), pool.bytes()), (calls, bytes));
            return Err(failed.error);
        }
    };
    let content = [0x5a; 0x1_f123];
    let mut region = |ipa, content| {
        Region::new(Ipa::new(ipa), pool.take_host(0x2_0000, 0x1_0000).unwrap(), content)
    };
    let mut regions = [
        region(0x8000_0000, Content::Measured(&content)),
        region(0x8010_0000, Content::Unmeasured(&content)),
    ];
    let result = realm.populate(&mut pool, &mut regions);
    for region in regions {
        pool.add(region.into_memory()).unwrap();
    }
    assert_eq!(realm.tear_down(&mut pool, []).error, None);
    result
}

#[test]
fn sound_4_no_realm_is_made_of_other_granules_than_4_kib() {
    populate(GranuleSize::Size4KiB).unwrap();
    for size in [GranuleSize::Size16KiB, GranuleSize::Size64KiB] {
        let error = populate(size).unwrap_err();
        assert_eq!(error, BuildError::GranuleSize(size));
        let kib = size.bytes() / 1024;
        assert!(error.to_string().contains(&format!("{kib} KiB")), "{error}");
    }
}
