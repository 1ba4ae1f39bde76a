//! A Realm from its creation to its end.

// The blocks of methods of `Realm` are documented in the order of these modules.
pub mod create;

pub mod region;

pub mod populate;

pub mod recs;

mod activate;

mod mapping;

mod sharing;

mod requests;

mod tables;

pub mod teardown;

mod cost;

mod conversion_cost;
pub mod running_cost;

pub mod realm;

pub mod any;
