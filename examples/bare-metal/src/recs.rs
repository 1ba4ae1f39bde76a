//! The RECs of a Realm with their run pages: made, and given back with the Realm.

use alloc::vec::Vec;

use realm_sdk::builder::{New, Realm, RecStart};
use realm_sdk::host::{Platform, Undelegated};
use realm_sdk::rec::Rec;
use realm_sdk::sro::HostAllocator;

use crate::frames::CpuMemory;
use crate::report::Stop;

/// Makes a REC and its run page.
pub(crate) fn create_rec<P: Platform>(
    realm: &mut Realm<'_, P, New>,
    memory: &mut CpuMemory<'_>,
    start: &RecStart,
) -> Result<Rec, Stop> {
    let page = memory.allocator().allocate(0x1000, 0x1000);
    let page = page.ok_or_else(|| Stop::failed("no memory for a run page"))?;
    match realm.create_rec(memory, start) {
        Ok(object) => Ok(Rec::new(object, page, realm.geometry())),
        Err(error) => {
            give_back(memory, page);
            Err(error.into())
        }
    }
}

/// Tears a Realm down, and frees the run pages of its RECs.
pub(crate) fn tear_down<P: Platform, S>(
    realm: Realm<'_, P, S>,
    recs: impl IntoIterator<Item = Rec>,
    memory: &mut CpuMemory<'_>,
) -> Result<(), Stop> {
    let (objects, pages): (Vec<_>, Vec<_>) = recs.into_iter().map(Rec::into_parts).unzip();
    let ended = realm.tear_down(memory, objects);
    for page in pages {
        give_back(memory, page);
    }
    ended.error.map_or(Ok(()), |error| Err(error.into()))
}

/// What the allocator refuses is leaked, and counted.
pub(crate) fn give_back(memory: &CpuMemory<'_>, granules: Undelegated) {
    drop(memory.allocator().free(granules));
}
