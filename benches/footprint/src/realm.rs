//! A Realm from its creation to its destruction.
#![expect(unsafe_code, reason = "exported names")]

use realm_sdk::builder::{
    Active, BuildError, New, Realm, RealmConfig, RealmStorage, RecStart, Region,
};
use realm_sdk::host::{Error, Failed};
use realm_sdk::sro::{HostMemory, RecObject};

use crate::bare_metal::{BareMetalRealm, Session};

#[unsafe(no_mangle)]
fn footprint_create<'r>(
    session: &'r Session,
    config: &RealmConfig,
    storage: &'r mut RealmStorage<64, 16>,
    memory: &mut dyn HostMemory,
) -> Result<BareMetalRealm<'r, New>, BuildError> {
    Ok(Realm::create(session, config, storage, memory)?)
}

#[unsafe(no_mangle)]
fn footprint_populate(
    realm: &mut BareMetalRealm<'_, New>,
    memory: &mut dyn HostMemory,
    regions: &mut [Region<'_>],
) -> Result<(), BuildError> {
    realm.populate(memory, regions)
}

#[unsafe(no_mangle)]
fn footprint_create_rec(
    realm: &mut BareMetalRealm<'_, New>,
    memory: &mut dyn HostMemory,
    start: &RecStart,
) -> Result<RecObject, Error> {
    realm.create_rec(memory, start)
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
    memory: &mut dyn HostMemory,
) -> Option<Error> {
    realm.tear_down(memory, recs).error
}
