//! A host that runs Realms and checks what they and the RMM do: the portable half.
//!
//! [`run`] does everything that needs no knowledge of the machine, on a [`Machine`]: the bare metal
//! at EL2, or threads with the model RMM. It prints one line for each check, the table of the calls
//! to the RMM, and the balance of memory.
//!
//! | Module | Contents |
//! |---|---|
//! | [`machine`] | what the checks need of the machine below |
//! | [`frames`] | its free memory |
//! | [`report`] | results and how they are printed |
//! | [`checks`] | the checks |
//! | [`linux`] | an unmodified Linux in a Realm |
//! | [`tf_a_tests`] | Arm's Realm payload of TF-A-Tests |
//! | [`archive`] | files in memory |
//! | [`board`], [`transfer_list`] | what firmware tells of the machine |
//! | [`startup`] | starting other CPUs |
//! | [`diagnosis`] | firmware that cannot run Realms |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod archive;
mod balanced;
pub mod board;
pub mod checks;
pub mod diagnosis;
pub mod fixture;
pub mod frames;
mod limits;
pub mod linux;
pub mod machine;
mod realm;
mod recs;
pub mod report;
pub mod startup;
pub mod tf_a_tests;
pub mod transfer_list;

pub use fixture::{Options, run};
pub use frames::Frames;
pub use machine::Machine;
pub use report::Summary;
