//! How much the RMM does in one call.

use realm_sdk::builder::plan::Limits;
use realm_sdk::host::{Platform, Rmm};
use realm_sdk::sro::HostAllocator;

use crate::frames::Frames;
use crate::report::Stop;

/// How much this RMM does in one call: of what the planner knows, what it shows. `delegations`
/// counts the calls that delegate ranges.
pub(crate) fn shown<P: Platform>(
    rmm: &Rmm<P>,
    frames: &Frames,
    delegations: &dyn Fn() -> u64,
) -> Result<Limits, Stop> {
    if rmm.call_limits().entries.is_some() {
        return Ok(Limits::ENTRY_BY_ENTRY);
    }
    let bytes = 2 * rmm.granule_size().bytes();
    let two = frames.allocate(bytes, rmm.granule_size().bytes());
    let two = two.ok_or_else(|| Stop::failed("no memory"))?;
    let before = delegations();
    let delegated = rmm.delegate(two)?;
    let calls = delegations() - before;
    let host = rmm.undelegate(delegated)?;
    let _ = frames.free(host);
    Ok(if calls > 1 { Limits::ONE_BY_ONE } else { Limits::RANGES })
}
