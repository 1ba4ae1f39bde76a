//! RMI 1.0, in which commands concern one granule or one entry. The order of checks is that of
//! TF-RMM v0.8.0.

mod exits;
mod granules;
mod interrupts;
mod memory;
mod realms;
mod recs;
mod ripas;
mod statuses;
mod unprotected;
