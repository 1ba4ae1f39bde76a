//! What a Realm starts with, and how an RMM measures it, without host code.
//!
//! A verifier of attestation tokens, or a front end of another hypervisor, computes here which
//! Realm Initial Measurement (RIM) an image and a configuration give, before there is a Realm:
//!
//! ```
//! use realm_measurement::{Image, RealmConfig, Rim};
//! use rmi_abi::feature::Features;
//! use rmi_abi::rec::{Mpidr, RecParams};
//! use rmi_abi::{Dialect, Ipa};
//!
//! # let mut file = vec![0xd5; 0x1800];
//! # file[8..16].fill(0);
//! # file[16..24].copy_from_slice(&0x5000_u64.to_le_bytes());
//! # file[24..32].fill(0);
//! # file[56..60].copy_from_slice(b"ARM\x64");
//! // The platform: the dialect of its RMM, and what the RMM answers to `RMI_FEATURES`.
//! // Here it offers 48 bits of IPA space, 2 breakpoints, 2 watchpoints, and every hash.
//! let dialect = Dialect::TfRmm2026_07;
//! let features = Features::new(dialect, [1 << 20 | 1 << 14 | 48, 0b111 << 3, 0, 0, 0]);
//!
//! // The Realm: its configuration, a kernel (`file` has the content of an arm64 `Image`),
//! // and a virtual CPU that starts it.
//! let params = RealmConfig::new(40).validate(&features, dialect)?;
//! let image = Image::arm64(&file, Ipa::new(0x8000_0000))?;
//! let mut regions: Vec<_> =
//!     image.segments().flat_map(|segment| segment.regions()).collect();
//! let boot = RecParams {
//!     runnable: true,
//!     mpidr: Mpidr::from_index(0),
//!     pc: image.entry().raw(),
//!     gprs: [0; 8],
//! };
//!
//! let mut rim = Rim::new(&params, dialect, &mut |_| {})?;
//! rim.add_regions(&mut regions, params.geometry, &mut |_| {})?;
//! rim.add_rec(&boot, &mut |_| {})?;
//!
//! // What a Realm reads with `RSI_MEASUREMENT_READ`, or its token has, is compared with
//! // it.
//! let mut registers = [0; 8];
//! for (register, bytes) in registers.iter_mut().zip(rim.digest().as_bytes().chunks(8)) {
//!     *register = u64::from_le_bytes(bytes.try_into()?);
//! }
//! assert!(rim.is_read_as(&registers));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `realm-builder` builds Realms with the same functions, so a Realm is measured as predicted.
//!
//! | Module | Contents |
//! |---|---|
//! | [`config`] | the configuration of a Realm, checked against the RMM's features |
//! | [`image`] | guest images: flat, arm64 `Image`, ELF |
//! | [`region`], [`blocks`] | regions, their order and checks; the blocks that map them |
//! | `rim`, [`measurement_log`] | the initial measurement, predicted and logged |
//!
//! # Features
//!
//! All are off by default and additive: `elf` (ELF images, through the `elf` crate), `rim` (the
//! initial measurement, through the `sha2` crate), `serde` (configurations in files).
#![no_std]
#![forbid(unsafe_code)]

pub mod blocks;
pub mod config;
pub mod image;
pub mod measurement_log;
pub mod region;
#[cfg(feature = "rim")]
pub mod rim;

pub use config::{ConfigError, PlaneTables, RealmConfig};
pub use image::{Image, ImageError, Segment};
pub use measurement_log::MeasurementEvent;
pub use region::{Content, RegionLayout};
#[cfg(feature = "rim")]
pub use rim::Rim;
