//! The memory of a Realm: mapped, served where it faults, reclaimed, shared, converted; from any
//! number of threads.
//!
//! Operations on a live Realm take it by `&self`, and a pool of the thread's own. Two threads never
//! work on the same part of the IPA space: the second waits, and then continues with the result of
//! the first.

mod bounded;
mod check;
pub mod convert;
pub mod fault;
pub mod fold;
mod hide;
mod leaving;
pub(crate) mod lent_shadow;
pub(crate) mod map;
mod map_list;
pub(crate) mod range_hint;
pub(crate) mod range_lock;
mod read_entry;
pub(crate) mod realm_core;
pub mod reclaim;
mod references;
mod reserve;
pub(crate) mod returned;
pub mod ripas;
pub mod s2ap;
pub mod share;
pub mod shared_access;
mod split;
pub mod stopped;
pub mod tables;
pub(crate) mod unmap;
