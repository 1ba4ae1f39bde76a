//! Stateful RMI operations (SRO) that never allocate and never lose a granule.
#![no_std]
#![cfg_attr(not(test), forbid(unsafe_code))]

pub mod activate;
pub mod donated;
pub mod drive;
pub mod operation;
pub mod pool;
pub mod rec;
pub mod set;

pub use activate::{Activated, activate};
pub use donated::Donated;
pub use drive::drive;
pub use operation::{Advance, Need, Next, Operation, Parked};
pub use pool::{Pages, Pool, PoolStorage};
pub use rec::RecObject;
pub use set::GranuleSet;
