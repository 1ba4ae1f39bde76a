//! The virtual GIC of a Realm: what is delivered to which REC, and when.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod active;
mod any_route;
mod cpu;
mod delivery;
mod edges;
mod ended;
mod reference;
mod sequences;
mod threads;
