//! A Realm's life: configure, create, populate, activate, tear down.
#![no_std]
#![forbid(unsafe_code)]

pub mod config;
pub mod create;
pub mod error;
pub mod plan;
pub mod populate;
pub mod realm;
pub mod recs;
pub mod ripas;
mod shelf;
pub mod storage;
pub mod table;
pub mod teardown;

pub use config::{ConfigError, RealmConfig};
pub use error::{BuildError, RegionProblem};
pub use populate::{Content, Populated, Region};
pub use realm::{Active, New, Realm, Terminated};
pub use recs::RecStart;
pub use ripas::RipasStopped;
pub use storage::RealmStorage;
