//! What tests of several crates share: sessions on the model, and conduits.
//!
//! A dev-dependency by path only, so a published crate does not depend on it. A failure
//! here panics, and so fails the test. The bare-metal host counts instructions with it.
#![no_std]
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

extern crate alloc;

mod altered;
mod crafted;

pub use altered::Altered;
pub use crafted::{Crafted, CraftedHost, CraftedMemory};

use rmi_abi::Dialect;
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
    sro::open(platform, SessionOptions::default(), pool).unwrap()
}
