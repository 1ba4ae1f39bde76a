//! The memory of an active Realm.
#![expect(unsafe_code, reason = "exported names")]

use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::{
    Active, BuildError, ConvertStopped, Converted, NotShared, Reclaimed, Served, Stopped,
};
use realm_sdk::host::Undelegated;
use realm_sdk::host::command::SharedAccess;
use realm_sdk::sro::Pool;

use crate::bare_metal::BareMetalRealm;

type ActiveRealm<'r> = BareMetalRealm<'r, Active>;

#[unsafe(no_mangle)]
fn footprint_map(
    realm: &ActiveRealm<'_>,
    pool: &mut Pool,
    ipa: Ipa,
    memory: &mut [Undelegated],
) -> Result<(), BuildError> {
    realm.map_scattered(pool, ipa, memory)
}

#[unsafe(no_mangle)]
fn footprint_fault(
    realm: &ActiveRealm<'_>,
    pool: &mut Pool,
    ipa: Ipa,
    window: IpaRange,
    supply: &mut dyn FnMut(IpaRange) -> Option<Undelegated>,
    give_back: &mut dyn FnMut(Undelegated),
) -> Result<Served, BuildError> {
    realm.serve_fault(pool, ipa, window, supply, give_back)
}

#[unsafe(no_mangle)]
fn footprint_reclaim(
    realm: &ActiveRealm<'_>,
    pool: &mut Pool,
    range: IpaRange,
    give_back: &mut dyn FnMut(Undelegated),
) -> Result<Reclaimed, Stopped> {
    realm.reclaim(pool, range, give_back)
}

#[unsafe(no_mangle)]
fn footprint_share(
    realm: &ActiveRealm<'_>,
    pool: &mut Pool,
    ipa: Ipa,
    memory: Undelegated,
) -> Result<(), NotShared> {
    realm.share(pool, ipa, memory, SharedAccess::MEMORY)
}

#[unsafe(no_mangle)]
fn footprint_unshare(
    realm: &ActiveRealm<'_>,
    pool: &mut Pool,
    range: IpaRange,
    give_back: &mut dyn FnMut(Undelegated),
) -> Result<(), Stopped> {
    realm.unshare(pool, range, give_back)
}

#[unsafe(no_mangle)]
fn footprint_to_shared(
    realm: &ActiveRealm<'_>,
    pool: &mut Pool,
    range: IpaRange,
    give_back: &mut dyn FnMut(Undelegated),
) -> Result<Converted, ConvertStopped> {
    realm.convert_to_shared(pool, range, SharedAccess::MEMORY, &mut |_| None, give_back)
}

#[unsafe(no_mangle)]
fn footprint_to_private(
    realm: &ActiveRealm<'_>,
    pool: &mut Pool,
    range: IpaRange,
    give_back: &mut dyn FnMut(Undelegated),
) -> Result<Converted, ConvertStopped> {
    realm.convert_to_private(pool, range, give_back)
}
