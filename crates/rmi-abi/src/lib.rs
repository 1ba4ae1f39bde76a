//! The words of the Arm CCA Realm Management Interface (RMI).
//!
//! This crate says what the bits mean and nothing else: it issues no call, owns no memory and holds no policy. Every
//! difference between the dialects of the interface lives here, so that no other crate of the family branches on one.
//!
//! | Module | What it holds |
//! |---|---|
//! | [`address`] | physical and intermediate physical addresses, granules, ranges |
//! | [`dialect`] | the dialects and everything in which they differ |
//! | [`command`] | every command: function identifier, registers, effects, per dialect |
//! | [`result`](mod@result) | the result word (X0) and the status codes |
//! | [`describe`] | the layouts, enumerations and bit fields as data |
//! | [`trace`] | calls and results, printed decoded |
//! | [`feature`] | feature registers |
//! | [`desc`] | address range descriptors and donation requests |
//! | [`flags`] | flag words of commands |
//! | [`rmm`], [`granule`] | configuration of the RMM, tracking of physical memory |
//! | [`realm`], [`rec`], [`run`] | parameter pages and the run page |
//! | [`device`] | device assignment: parameter pages, states, communication |
//! | [`rtt`] | translation table geometry: levels, alignment, start levels |
//! | [`esr`] | exception syndromes as a host sees them |
//! | [`measurement`] | what the Realm Initial Measurement is computed from |
//! | [`psci`] | PSCI function identifiers and return codes |
//! | [`rsi`], [`rhi`] | what a Realm asks of the RMM, and of its host |
#![no_std]
#![forbid(unsafe_code)]

pub mod address;
#[cfg(feature = "arbitrary")]
mod arbitrary;
pub mod command;
pub mod desc;
pub mod describe;
pub mod device;
pub mod dialect;
pub mod esr;
pub mod feature;
pub mod flags;
pub mod granule;
mod layout;
pub mod measurement;
pub mod psci;
pub mod realm;
pub mod rec;
pub mod result;
pub mod rhi;
pub mod rmm;
pub mod rsi;
pub mod rtt;
pub mod run;
pub mod trace;

pub use address::{GranuleSize, Ipa, IpaRange, Pa, PaRange};
pub use command::{Command, Fid};
pub use dialect::Dialect;
pub use result::{ResultWord, Status};
