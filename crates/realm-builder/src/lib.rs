//! A Realm's life: configure, create, populate, activate, tear down.
//!
//! A Realm with measured and unmeasured memory, on the model RMM:
//!
//! ```
//! use realm_builder::{Content, Realm, RealmConfig, RealmStorage, RecStart, Region};
//! use rmi_abi::{Dialect, Ipa};
//! use rmi_host::{CountingLedger, Discovered, Host, SessionOptions};
//! use rmm_model::{Model, Options};
//! use sro::{Pool, PoolStorage, activate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! # let mut memory = model.take_memory();
//! # let mut places = PoolStorage::<8>::new();
//! # let mut pool = Pool::new(&mut places, memory.take_front(Pool::PAGES).unwrap()).unwrap();
//! # pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
//! # let ledger = CountingLedger::new();
//! # let platform = Host::new(&model, &model).with_ledger(&ledger);
//! # let found = Discovered::probe(platform, SessionOptions::default()).map_err(|failed| failed.error)?;
//! # let rmm = activate(found, &mut pool).map_err(|failed| failed.error)?.rmm;
//! // A session, a pool of granules for tables, and memory for the Realm are there.
//! let mut config = RealmConfig::new(40);
//! config.personalization[..5].copy_from_slice(b"hello");
//! let mut storage = RealmStorage::<16, 16>::new();
//! let mut realm = Realm::create(&rmm, &config, &mut storage, &mut pool)?;
//!
//! let kernel = vec![0xd5; 0x5000];
//! let mut regions = [
//!     Region::new(Ipa::new(0x8000_0000), memory.take_front(0x5000).expect("1 GiB"), Content::Measured(&kernel)),
//!     Region::new(Ipa::new(0x8000_5000), memory.take_front(0x3000).expect("1 GiB"), Content::Unspecified),
//! ];
//! realm.populate(&mut pool, &mut regions, &mut |so_far| println!("{} of {}", so_far.bytes, so_far.total))?;
//! assert_eq!(realm.memory_bytes(), 0x8000);
//! assert!(model.measurement(realm.rd().pa(), 0).is_some());
//!
//! let start = RecStart { runnable: true, pc: Ipa::new(0x8000_0000), gprs: [0; 8] };
//! let rec = realm.create_rec(&mut pool, &start)?;
//! let realm = realm.activate().map_err(|failed| failed.error)?;
//! // … the `rec-runtime` crate runs it …
//! assert_eq!(realm.tear_down([rec], &mut pool, &mut |memory| println!("{memory:?} is back")), None);
//! pool.drain(&rmm, &mut |memory| println!("{memory:?} is back"));
//! assert_eq!(ledger.balance().outstanding(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! A Realm that is not new can get no measured content, and one that is not active cannot change its RIPAS; neither compiles:
//!
//! ```compile_fail,E0599
//! # use realm_builder::{Active, Realm};
//! # use rmi_host::Platform;
//! # fn late<P: Platform>(mut realm: Realm<'_, '_, P, Active>, pool: &mut sro::Pool<'_>) {
//! realm.populate(pool, &mut [], &mut |_| {});
//! # }
//! ```
//!
//! | Module | What it holds |
//! |---|---|
//! | [`config`] | what a Realm is to be, checked against the RMM |
//! | [`realm`], [`create`] | [`Realm`] and its states |
//! | [`populate`] | memory and content, in canonical order; memory for a running Realm |
//! | [`plan`], [`table`] | which blocks and tables; pure, and carried out |
//! | [`planes`] | planes with trees of their own |
//! | [`recs`] | virtual CPUs |
//! | [`ripas`], [`s2ap`] | RIPAS changes and permissions that the Realm asks for |
//! | [`teardown`] | the way down |
//! | [`image`] | guest images: what goes where |
//! | [`measurement_log`] | what changed the initial measurement, as data and as text |
#![cfg_attr(feature = "rim", doc = "| [`rim`] | the initial measurement, computed on the host |")]
//! | [`storage`], [`error`] | records, and what can go wrong |
//!
//! # Features
//!
//! All are off by default and only add: `elf` (ELF images, through the `elf` crate), `rim` (the initial measurement on the host, through the `sha2` crate), `serde` (configurations in files).
#![no_std]
#![forbid(unsafe_code)]

mod claims;
pub mod config;
mod cost;
pub mod create;
pub mod error;
pub mod fold;
mod hold;
pub mod image;
mod map;
pub mod measurement_log;
pub mod plan;
pub mod planes;
pub mod populate;
pub mod realm;
pub mod recs;
#[cfg(feature = "rim")]
pub mod rim;
pub mod ripas;
pub mod runtime;
pub mod s2ap;
mod shadow;
pub mod share;
mod shelf;
pub mod storage;
pub mod table;
pub mod teardown;
mod unmap;

pub use config::{ConfigError, PlaneTables, RealmConfig};
pub use error::{BuildError, RegionProblem};
pub use fold::{FoldPolicy, Folded};
pub use image::{Image, ImageError, Segment};
pub use measurement_log::MeasurementEvent;
pub use planes::PlaneMapped;
pub use populate::{Content, Populated, Region};
pub use realm::{Active, Alive, New, Realm, Terminated};
pub use recs::RecStart;
#[cfg(feature = "rim")]
pub use rim::Rim;
pub use ripas::RipasStopped;
pub use runtime::Served;
pub use s2ap::S2apStopped;
pub use share::NotShared;
pub use storage::{RealmStorage, Records, SharedRoom, TableRoom};
pub use teardown::Progress;
