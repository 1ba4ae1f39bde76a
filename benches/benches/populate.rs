//! Populating a Realm on the model RMM: 8 MiB measured, where the time is spent in the model's
//! hashing, and 64 MiB unmeasured, where it is spent in calls.
#![expect(clippy::unwrap_used, reason = "a bench may fail loudly")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use realm_builder::{
    Content, FixedRecords, Realm, RealmConfig, RealmStorage, Records, Region, ShadowTable,
};
use rmi_abi::{Dialect, Ipa, IpaRange};
use rmi_host::SessionOptions;
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool, Pool, open};

/// Builds a Realm with one region and tears it down.
fn build_and_tear_down(options: Options, bytes: u64, content: Content<'_>) {
    let model = Model::new(options).unwrap();
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<32>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
    let platform = model.host();
    let rmm = open(platform, SessionOptions::default(), &mut pool).unwrap();
    let mut storage = RealmStorage::<64, 8>::new();
    let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let ram = memory.take_back(bytes).unwrap();
    let mut regions = [Region::new(Ipa::new(0x8000_0000), ram, content)];
    realm.populate(&mut pool, &mut regions).unwrap();
    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error, None);
    pool.drain(&rmm, &mut |_| {});
}

fn populate(c: &mut Criterion) {
    const MIB: usize = 1 << 20;
    let image = vec![0xa5; 8 * MIB];
    let mut group = c.benchmark_group("build and tear down");
    group.sample_size(10);
    for (name, options) in [
        ("one granule per call", Options::new(Dialect::TfRmm2026_07)),
        ("ranges", Options::new(Dialect::TfRmm2026_07).range_capable()),
    ] {
        group.throughput(Throughput::Bytes(8 << 20));
        group.bench_function(format!("8 MiB measured, {name}"), |b| {
            b.iter(|| build_and_tear_down(options.clone(), 8 << 20, Content::Measured(&image)));
        });
        group.throughput(Throughput::Bytes(64 << 20));
        group.bench_function(format!("64 MiB unmeasured, {name}"), |b| {
            b.iter(|| build_and_tear_down(options.clone(), 64 << 20, Content::Unspecified));
        });
    }
    group.finish();
}

/// Maps 128 MiB of scattered pages into a Realm and reclaims them, leaf table by leaf table: the
/// cost of the library in addition to the calls.
fn scattered(c: &mut Criterion) {
    let mut group = c.benchmark_group("map and reclaim");
    group.sample_size(10);
    group.throughput(Throughput::Elements(1 << 15));
    group.bench_function("128 MiB of scattered 4 KiB pages, ranges", |b| {
        b.iter(|| {
            let model = Model::new(Options::new(Dialect::TfRmm2026_07).range_capable()).unwrap();
            let mut memory = model.take_memory();
            let mut pool = FixedPool::<32>::new();
            pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
            pool.add(memory.take_front(128 << 12).unwrap()).unwrap();
            let rmm = open(model.host(), SessionOptions::default(), &mut pool).unwrap();
            let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(80).collect();
            let mut fixed = FixedRecords::new();
            let records = Records::new(&mut fixed, &mut tables, &mut []);
            let realm = Realm::create(&rmm, &RealmConfig::new(39), records, &mut pool).unwrap();
            let mut pages: Vec<_> = (0..1 << 15)
                .map(|_| {
                    let page = memory.take_front(1 << 12).unwrap();
                    let _ = memory.take_front(1 << 12).unwrap().into_raw();
                    page
                })
                .collect();
            let ipa = Ipa::new(0x8000_0000);
            realm.map_scattered(&mut pool, ipa, &mut pages).unwrap();
            let range = IpaRange::with_size(ipa, 128 << 20).unwrap();
            let done = realm.reclaim(&mut CallbackMemory::freeing(&mut pool, drop), range).unwrap();
            assert_eq!(done, realm_builder::Reclaimed::Whole);
            assert_eq!(
                realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error,
                None
            );
            pool.drain(&rmm, &mut |_| {});
        });
    });
    group.finish();
}

criterion_group!(benches, populate, scattered);
criterion_main!(benches);
