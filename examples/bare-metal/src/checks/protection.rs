//! Memory that the RMM has is out of the host's reach.

use realm_sdk::sro::HostAllocator;

use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::report::{Outcome, Stop};

const PAGE: u64 = 0x1000;

pub(super) fn check<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let frames = fixture.machine.memory();
    let page = frames.allocate(PAGE, PAGE).ok_or_else(|| Stop::failed("no memory"))?;
    let at = page.base();
    let before = fixture.machine.can_read(at);
    let delegated = fixture.session.delegate(page)?;
    let meanwhile = fixture.machine.can_read(at);
    let page = fixture.session.undelegate(delegated)?;
    let after = fixture.machine.can_read(at);
    frames.free(page).map_err(|_| Stop::failed("no space for free memory"))?;
    match (before, meanwhile, after) {
        (Some(true), Some(false), Some(true)) => Ok("a read of a delegated granule faults".into()),
        (Some(true), Some(true), Some(true)) => {
            Err(Stop::skipped("the machine does not check the granules that the host reads"))
        }
        (None, None, None) => Err(Stop::skipped("the machine does not tell what can be read")),
        (Some(_), Some(_), Some(_)) => Err(Stop::failed("host memory cannot be read")),
        _ => Err(Stop::failed("the machine tells at times what can be read")),
    }
}
