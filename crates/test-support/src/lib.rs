//! What tests of several crates share: sessions on the model, lengths, and conduits.
//!
//! A dev-dependency by path only, so a published crate does not depend on it. A failure
//! here panics, and so fails the test. The bare-metal host counts instructions with it.
#![no_std]
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

extern crate alloc;

mod altered;
mod crafted;
mod equivalent;
mod scale;

pub use altered::Altered;
pub use crafted::{Crafted, CraftedHost, CraftedMemory};
pub use equivalent::equivalent;
pub use scale::Scale;

use rmi_abi::{Dialect, GranuleSize};
use rmi_host::{Platform, SessionOptions, Undelegated};
use rmm_model::{Model, Options};
use sro::{FixedPool, Pool, Session};

/// A model RMM with the default options of a dialect.
#[must_use]
pub fn model(dialect: Dialect) -> Model {
    Model::new(Options::new(dialect)).unwrap()
}

/// A pool with its pages, and so many bytes beside them, from the front of the memory.
pub fn pool<const N: usize>(memory: &mut Undelegated, bytes: u64) -> FixedPool<N> {
    let mut pool = FixedPool::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(bytes).unwrap()).unwrap();
    pool
}

/// A session with the default options.
pub fn open<P: Platform>(platform: P, pool: &mut Pool) -> Session<P> {
    open_with(platform, GranuleSize::Size4KiB, pool)
}

/// As [`open`], with granules of this size.
pub fn open_with<P: Platform>(platform: P, granule: GranuleSize, pool: &mut Pool) -> Session<P> {
    let mut options = SessionOptions::default();
    options.granule_size = granule;
    sro::open(platform, options, pool).unwrap()
}

/// So much memory, at the next address that is aligned; what is before it is used no more.
pub fn take_aligned(memory: &mut Undelegated, bytes: u64, alignment: u64) -> Undelegated {
    let base = memory.base().align_up(alignment).unwrap();
    let before = base.checked_offset_from(memory.base()).unwrap();
    let _ = memory.take_front(before).map(Undelegated::into_raw);
    memory.take_front(bytes).unwrap()
}
