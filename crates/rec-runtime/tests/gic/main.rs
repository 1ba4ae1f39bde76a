//! The virtual GIC at the exits of RECs: who is notified, what is answered, which lines are set.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod devices;
#[path = "../set/fixture.rs"]
#[allow(dead_code, reason = "for tests of sets")]
mod fixture;
mod lines;
mod matches;
mod run_page;
mod runs;

use rec_runtime::RecSet;
use rec_runtime::gic::RealmGic;
use rmm_model::Model;
use vgic_realm::{Gic, GicConfig, GicStorage, SpiIntid};

pub(crate) type Storage = GicStorage<2, 32>;

pub(crate) const SPI: u32 = 40;

pub(crate) fn spi() -> SpiIntid {
    SpiIntid::new(SPI).unwrap()
}

/// Calls `test` with a GIC for the RECs of a set.
pub(crate) fn with_gic(model: &Model, set: &RecSet<'_>, test: impl FnOnce(RealmGic<'_>)) {
    let storage = Storage::new();
    let affinities: Vec<_> = set.affinities().collect();
    let config = GicConfig { affinities: &affinities, spis: 32, vtr: model.cpu(0).vtr() };
    let gic = Gic::new(&storage, &config).unwrap();
    test(RealmGic::new(&gic, set).unwrap());
}
