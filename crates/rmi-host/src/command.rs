//! Typed commands: one method for each, on [`Channel`](crate::Channel) and therefore on [`Rmm`](crate::Rmm).
//!
//! A method is safe because a token proves what the command demands: a [`Delegated`](crate::Delegated) that the granule is the RMM's, an
//! [`Undelegated`](crate::Undelegated) that a page is the host's to share. The only thing an RMI command can do to a host's memory is to take granules away
//! or to write to pages that it is shown; neither happens here without the token.

mod op;
mod realm;
mod rec;
mod rmm;
mod rtt;

pub use op::{Donation, Reclaim, Returned};
pub use realm::Rd;
pub use rec::{RecGranule, RecName};
pub(crate) use rmm::delegate_range;
pub use rtt::{Mapped, RttDestroyed, RttEntry, Unmapped};
