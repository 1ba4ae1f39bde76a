//! The memory of an active Realm.
#![expect(unsafe_code, reason = "exported names")]

use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::{
    Active, BuildError, ConvertStopped, Converted, NotShared, Reclaimed, Served, Stopped,
};
use realm_sdk::host::Undelegated;
use realm_sdk::host::command::SharedAccess;
use realm_sdk::sro::HostMemory;

use crate::bare_metal::BareMetalRealm;

type ActiveRealm<'r> = BareMetalRealm<'r, Active>;

#[unsafe(no_mangle)]
fn footprint_map(
    realm: &ActiveRealm<'_>,
    memory: &mut dyn HostMemory,
    ipa: Ipa,
    pieces: &mut [Undelegated],
) -> Result<(), BuildError> {
    realm.map_scattered(memory, ipa, pieces)
}

#[unsafe(no_mangle)]
fn footprint_fault(
    realm: &ActiveRealm<'_>,
    memory: &mut dyn HostMemory,
    ipa: Ipa,
    window: IpaRange,
) -> Result<Served, BuildError> {
    realm.serve_fault(memory, ipa, window)
}

#[unsafe(no_mangle)]
fn footprint_reclaim(
    realm: &ActiveRealm<'_>,
    memory: &mut dyn HostMemory,
    range: IpaRange,
) -> Result<Reclaimed, Stopped> {
    realm.reclaim(memory, range)
}

#[unsafe(no_mangle)]
fn footprint_share(
    realm: &ActiveRealm<'_>,
    memory: &mut dyn HostMemory,
    ipa: Ipa,
    granules: Undelegated,
) -> Result<(), NotShared> {
    realm.share(memory, ipa, granules, SharedAccess::MEMORY)
}

#[unsafe(no_mangle)]
fn footprint_unshare(
    realm: &ActiveRealm<'_>,
    memory: &mut dyn HostMemory,
    range: IpaRange,
) -> Result<(), Stopped> {
    realm.unshare(memory, range)
}

#[unsafe(no_mangle)]
fn footprint_to_shared(
    realm: &ActiveRealm<'_>,
    memory: &mut dyn HostMemory,
    range: IpaRange,
) -> Result<Converted, ConvertStopped> {
    realm.convert_to_shared(memory, range, SharedAccess::MEMORY)
}

#[unsafe(no_mangle)]
fn footprint_to_private(
    realm: &ActiveRealm<'_>,
    memory: &mut dyn HostMemory,
    range: IpaRange,
) -> Result<Converted, ConvertStopped> {
    realm.convert_to_private(memory, range)
}

#[cfg(feature = "virtual-cpus")]
#[unsafe(no_mangle)]
fn footprint_set_ripas(
    realm: &ActiveRealm<'_>,
    memory: &mut dyn HostMemory,
    rec: realm_sdk::host::RecName<'_>,
    range: IpaRange,
) -> Result<Ipa, Stopped> {
    realm.set_ripas(memory, rec, range, 4096)
}
