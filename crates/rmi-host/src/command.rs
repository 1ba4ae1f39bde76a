//! Typed commands: one method for each, on [`Channel`](crate::Channel) and therefore on [`Rmm`](crate::Rmm).
//!
//! A method is safe because a token proves what the command demands: a [`Delegated`](crate::Delegated) that the granule is the RMM's, an
//! [`Undelegated`](crate::Undelegated) that a page is the host's to share.

mod cmem;
mod device;
mod dpt;
mod halted;
mod list;
mod object;
mod op;
mod pdev;
mod plane;
mod psmmu;
mod realm;
mod rec;
mod rmm;
mod rtt;
mod tracking;
mod unprot;
mod v1;
mod vdev;
mod vsmmu;

pub use halted::Halted;
pub use list::UnmappedList;
pub use object::{
    CmemGranule, CmemName, PdevGranule, PdevName, VdevGranule, VdevName, VsmmuGranule, VsmmuName,
};
pub use op::{Donation, Reclaim, Returned};
pub use pdev::{DevCommBuffers, Stream, StreamInfo};
pub use plane::{AuxObstacle, AuxTree, AuxUnmapped, S2apProgress};
pub use psmmu::{PsmmuEvent, PsmmuName};
pub use realm::Rd;
pub use rec::{RecGranule, RecName};
pub use rmm::Versions;
pub(crate) use rmm::delegate_range;
pub use rtt::{Mapped, RttDestroyed, RttEntry, Unmapped};
pub use tracking::{GptPart, RegionTracking};
pub use unprot::{ShareAt, ShareFailed, Shared, SharedAccess, SharedMemory, Unshared};
pub use v1::{DataDestroyed, UnshareFailed};
pub use vdev::Peers;
pub use vsmmu::{VsmmuCmd, VsmmuEvent, VsmmuMessage};
