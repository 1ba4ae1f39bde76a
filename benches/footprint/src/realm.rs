//! A Realm from its creation to its destruction.
#![expect(unsafe_code, reason = "exported names")]

use realm_sdk::builder::{
    Active, BuildError, New, PopulateProgress, Realm, RealmConfig, RealmStorage, RecStart, Region,
};
use realm_sdk::host::{Error, Failed, Undelegated};
use realm_sdk::sro::{Pool, RecObject};

use crate::bare_metal::{BareMetalRealm, Session};

#[unsafe(no_mangle)]
fn footprint_create<'r>(
    session: &'r Session,
    config: &RealmConfig,
    storage: &'r mut RealmStorage<64, 16>,
    pool: &mut Pool,
) -> Result<BareMetalRealm<'r, New>, BuildError> {
    Realm::create(session, config, storage, pool)
}

#[unsafe(no_mangle)]
fn footprint_populate(
    realm: &mut BareMetalRealm<'_, New>,
    pool: &mut Pool,
    regions: &mut [Region<'_>],
    progress: &mut dyn FnMut(PopulateProgress),
) -> Result<(), BuildError> {
    realm.populate(pool, regions, progress)
}

#[unsafe(no_mangle)]
fn footprint_create_rec(
    realm: &mut BareMetalRealm<'_, New>,
    pool: &mut Pool,
    start: &RecStart,
) -> Result<RecObject, Error> {
    realm.create_rec(pool, start)
}

#[unsafe(no_mangle)]
fn footprint_activate<'r>(
    realm: BareMetalRealm<'r, New>,
) -> Result<BareMetalRealm<'r, Active>, Failed<BareMetalRealm<'r, New>>> {
    realm.activate()
}

#[unsafe(no_mangle)]
fn footprint_tear_down(
    realm: BareMetalRealm<'_, Active>,
    recs: [RecObject; 1],
    pool: &mut Pool,
    give_back: &mut dyn FnMut(Undelegated),
) -> Option<Error> {
    realm.tear_down(recs, pool, give_back)
}
