//! A Realm from its creation to its end.

pub mod any;
mod cost;
pub mod create;
pub mod populate;
pub mod realm;
pub mod recs;
pub mod region;
pub mod teardown;
