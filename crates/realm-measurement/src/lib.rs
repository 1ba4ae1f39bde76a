//! What a Realm starts with, and how it is measured, without host code.
//!
//! | Module | Contents |
//! |---|---|
//! | [`config`] | the configuration of a Realm, checked against the RMM's features |
//! | [`image`] | guests as data: flat, arm64 `Image`, ELF |
//! | [`measurement_log`] | digests, and the events of which a measurement consists |
//!
//! # Features
//!
//! All are off by default and additive: `elf` (ELF images, through the `elf` crate), `serde`
//! (configurations in files).
#![no_std]
#![forbid(unsafe_code)]

pub mod config;
pub mod image;
pub mod measurement_log;

pub use config::{ConfigError, PlaneTables, RealmConfig};
pub use image::{Image, ImageError, Segment};
pub use measurement_log::MeasurementEvent;
