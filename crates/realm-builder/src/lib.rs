//! A Realm from creation to destruction: configure, create, populate, activate, tear down.
//!
//! A Realm with measured and unmeasured memory, on the model RMM:
//!
//! ```
//! use realm_builder::{Content, Realm, RealmConfig, RealmStorage, RecStart, Region};
//! use rmi_abi::{Dialect, Ipa};
//! use rmi_host::{CountingLedger, SessionOptions};
//! use rmm_model::{Model, Options};
//! use sro::{FixedPool, Pool, open};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! # let mut memory = model.take_memory();
//! # let mut pool = FixedPool::<8>::new();
//! # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
//! # pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
//! # let ledger = CountingLedger::new();
//! # let platform = model.host().with_ledger(&ledger);
//! # let rmm = sro::open(platform, SessionOptions::default(), &mut pool)?;
//! // There are a session, a pool of granules for tables, and memory for the Realm. Host
//! // memory that a Realm returns also goes to the pool, unless the embedder implements
//! // `HostMemory`.
//! let mut config = RealmConfig::new(40);
//! config.personalization[..5].copy_from_slice(b"hello");
//! let mut storage = RealmStorage::<16, 16>::new();
//! let mut realm = Realm::create(&rmm, &config, &mut storage, &mut pool)?;
//!
//! let kernel = vec![0xd5; 0x5000];
//! let mut take = |bytes| memory.take_front(bytes).expect("1 GiB");
//! let mut regions = [
//!     Region::new(Ipa::new(0x8000_0000), take(0x5000), Content::Measured(&kernel)),
//!     Region::new(Ipa::new(0x8000_5000), take(0x3000), Content::Unspecified),
//! ];
//! realm.populate(&mut pool, &mut regions)?;
//! assert_eq!(realm.memory_bytes(), 0x8000);
//! assert!(model.measurement(realm.rd().pa(), 0).is_some());
//!
//! let start = RecStart { runnable: true, pc: Ipa::new(0x8000_0000), gprs: [0; 8] };
//! let mut realm = realm.populated();
//! let rec = realm.create_rec(&mut pool, &start)?;
//! let realm = realm.activate()?;
//! // … the `rec-runtime` crate runs it …
//! assert!(realm.tear_down(&mut pool, [rec]).error.is_none());
//! pool.drain(&rmm, &mut |memory| println!("{memory:?} is back"));
//! assert_eq!(ledger.balance().outstanding(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Region::without_memory`] is RAM that gets memory at the Realm's first access: it is RAM at
//! boot, measured and predicted as other regions are, and [`Realm::serve_fault`] maps it.
//!
//! Changes to the memory of a live Realm, from as many threads as it has virtual CPUs: every
//! operation takes `&self` and a memory object of the thread's own.
//!
//! ```
//! # use realm_builder::{Realm, RealmConfig, RealmStorage, Reclaimed, Served};
//! # use realm_builder::plan::Limits;
//! # use rmi_abi::{Dialect, Ipa, IpaRange};
//! # use rmi_host::command::SharedAccess;
//! # use rmi_host::{CountingLedger, SessionOptions};
//! # use rmm_model::{Model, Options};
//! # use sro::{FixedPool, Pool, open};
//! use sro::CallbackMemory;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! # let mut ram = model.take_memory();
//! # let mut pool = FixedPool::<8>::new();
//! # pool.add(ram.take_front(Pool::PAGES).unwrap()).unwrap();
//! # pool.add(ram.take_front(64 << 12).unwrap()).unwrap();
//! # let ledger = CountingLedger::new();
//! # let platform = model.host().with_ledger(&ledger);
//! # let rmm = sro::open(platform, SessionOptions::default(), &mut pool)?;
//! # let mut storage = RealmStorage::<16, 16>::new();
//! # let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool)?;
//! let realm = realm.activate()?;
//! // The host gives 64 KiB at a time, and keeps a list of what it gets back.
//! let mut freed = Vec::new();
//! let mut memory = CallbackMemory::new(
//!     &mut pool,
//!     |range| ram.take_front(range.bytes().min(64 << 10)),
//!     |granules| Ok(freed.push(granules)),
//! );
//!
//! // A virtual CPU faults in RAM from 2 GiB on. Up to 2 MiB around it are mapped in one
//! // call.
//! let window = IpaRange::with_size(Ipa::new(0x8000_0000), 1 << 30)?;
//! let served = realm.serve_fault(&mut memory, Ipa::new(0x8012_3456), window)?;
//! assert_eq!(
//!     served,
//!     Served::Mapped(IpaRange::with_size(Ipa::new(0x8000_0000), 2 << 20)?)
//! );
//!
//! // The Realm converts a part of it to shared memory.
//! let buffer = IpaRange::with_size(Ipa::new(0x8010_0000), 0x4000)?;
//! let converted = realm.convert_to_shared(&mut memory, buffer, SharedAccess::MEMORY)?;
//! assert_eq!((converted.bytes, converted.without_memory), (0x4000, 0));
//! let alias = realm.geometry().unprotected_alias(buffer.base()).expect("it is private");
//! assert_eq!(realm.shared_at(alias).map(|piece| piece.bytes()), Some(0x4000));
//!
//! // A balloon: memory is reclaimed. The cost of dismantling the rest is known.
//! let balloon = IpaRange::with_size(Ipa::new(0x8000_0000), 0x8000)?;
//! let reclaimed = realm.reclaim(&mut memory, balloon)?;
//! // Or another thread works there: repeat it later.
//! assert_eq!(reclaimed, Reclaimed::Whole);
//! assert_eq!(realm.memory_bytes(), (2 << 20) - 0x4000 - 0x8000);
//! println!("{} calls", realm.dismantle_cost(Limits::ONE_BY_ONE).calls());
//! assert!(realm.tear_down(&mut memory, []).error.is_none());
//! pool.drain(&rmm, &mut |granules| freed.push(granules));
//! assert_eq!(ledger.balance().outstanding(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! A Realm that was declared populated, or is active, cannot get measured content, and one that is
//! not active cannot change its RIPAS; neither compiles:
//!
//! ```compile_fail,E0599
//! # use realm_builder::{Populated, Realm};
//! # use rmi_host::Platform;
//! # fn late<P: Platform>(mut realm: Realm<'_, P, Populated>, memory: &mut dyn sro::HostMemory) {
//! realm.populate(memory, &mut []);
//! # }
//! ```
//!
//! ```compile_fail,E0599
//! # use realm_builder::{New, Realm};
//! # use rmi_host::{Platform, RecName};
//! # fn early<P: Platform>(
//! #     realm: &Realm<'_, P, New>,
//! #     memory: &mut dyn sro::HostMemory,
//! #     rec: RecName<'_>,
//! #     range: rmi_abi::IpaRange,
//! # ) {
//! realm.set_ripas(memory, rec, range, 100);
//! # }
//! ```
//!
//! A terminated Realm gets no memory and shares none; it can be dismantled, and a Realm that may
//! still run cannot:
//!
//! ```compile_fail,E0599
//! # use realm_builder::{Realm, Terminated};
//! # use rmi_host::{Platform, Undelegated};
//! # fn late<P: Platform>(
//! #     realm: &Realm<'_, P, Terminated>,
//! #     memory: &mut dyn sro::HostMemory,
//! #     granules: Undelegated,
//! # ) {
//! realm.map(memory, rmi_abi::Ipa::new(0), granules);
//! # }
//! ```
//!
//! ```compile_fail,E0599
//! # use realm_builder::{Realm, Terminated};
//! # use rmi_host::Platform;
//! # fn late<P: Platform>(
//! #     realm: &Realm<'_, P, Terminated>,
//! #     memory: &mut dyn sro::HostMemory,
//! #     range: rmi_abi::IpaRange,
//! # ) {
//! realm.unshare(memory, range);
//! # }
//! ```
//!
//! ```compile_fail,E0599
//! # use realm_builder::{Active, Realm};
//! # use rmi_host::Platform;
//! # fn early<P: Platform>(mut realm: Realm<'_, P, Active>, memory: &mut dyn sro::HostMemory) {
//! realm.dismantle(memory, 1);
//! # }
//! ```
//!
//! No thread can still work on the memory of a Realm that is torn down:
//!
//! ```compile_fail,E0505
//! # use realm_builder::{Active, Realm};
//! # use rmi_host::Platform;
//! # fn torn<P: Platform>(
//! #     realm: Realm<'_, P, Active>,
//! #     pools: [&mut dyn sro::HostMemory; 2],
//! #     range: rmi_abi::IpaRange,
//! # ) {
//! # let [memory, other] = pools;
//! let mut work = || realm.reclaim(memory, range);
//! realm.tear_down(other, []);
//! work();
//! # }
//! ```
//!
//! | Module, item | Contents |
//! |---|---|
//! | [`config`] | the configuration of a Realm, checked against the RMM |
//! | [`lifecycle`] | [`Realm`] and its states: creation, content, virtual CPUs, teardown |
//! | [`memory`] | mapping, sharing, converting and reclaiming memory; translation tables, RIPAS |
//! | [`planes`] | planes with their own translation tables |
//! | [`plan`] | which blocks, tables and calls, and their cost, as pure functions |
//! | [`image`] | guest images: flat, arm64 `Image`, ELF |
//! | `rim`, [`measurement_log`] | the initial measurement, predicted and logged |
//! | [`BuildError`] | the errors of this crate |
//!
//! Imports run one way: `planes` → `lifecycle` → `memory` → `shadow` → `plan`, `error`.
//!
//! [`config`], [`image`], `rim` and [`measurement_log`] are modules of [`realm_measurement`], which
//! needs no host code.
//!
//! # Features
//!
//! All are off by default and additive: `alloc` (storage of a Realm on the heap, which grows, see
//! [`Records`]), `elf` (ELF images, through the `elf` crate), `rim` (the initial measurement on the
//! host, through the `sha2` crate), `serde` (configurations in files).
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;

mod error;
pub mod lifecycle;
pub mod memory;
pub mod plan;
pub mod planes;
mod shadow;

#[cfg(feature = "rim")]
#[doc(no_inline)]
pub use realm_measurement::{Rim, rim};
#[doc(no_inline)]
pub use realm_measurement::{config, image, measurement_log};

pub use config::{ConfigError, PlaneTables, RealmConfig};
pub use error::{BuildError, RegionProblem};
pub use image::{Image, ImageError, Segment};
pub use lifecycle::any::{AnyRealm, RealmState, Shutdown, shutdown};
pub use lifecycle::realm::{Active, Building, New, NotTerminated, Populated, Realm, Terminated};
pub use lifecycle::recs::RecStart;
pub use lifecycle::region::Region;
pub use lifecycle::running_cost::Supplied;
pub use lifecycle::teardown::{DismantleProgress, TornDown};
pub use measurement_log::MeasurementEvent;
pub use memory::convert::{ConvertStopped, Converted};
pub use memory::fault::Served;
pub use memory::fold::{FoldPolicy, FoldStopped, Folded};
pub use memory::realm_core::ENTRIES_PER_HOLD;
pub use memory::reclaim::Reclaimed;
pub use memory::s2ap::S2apStopped;
pub use memory::share::NotShared;
pub use memory::stopped::Stopped;
pub use planes::PlaneMapped;
pub use realm_measurement::Content;
pub use shadow::storage::{
    FixedRecords, RealmStorage, Records, ShadowTable, SharedPiece, SharedRecord,
};
