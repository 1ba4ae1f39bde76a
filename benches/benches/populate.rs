//! Populating a Realm on the model RMM: 8 MiB measured, which is the model's hashing, and 64 MiB unmeasured, which is calls.
#![expect(clippy::unwrap_used, reason = "a bench may fail loudly")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use realm_builder::{Content, Realm, RealmConfig, RealmStorage, Region};
use rmi_abi::{Dialect, Ipa};
use rmi_host::{Discovered, Host, SessionOptions};
use rmm_model::{Model, Options};
use sro::{Pool, PoolStorage, activate};

/// Builds a Realm with one region and takes it apart.
fn life(options: Options, bytes: u64, content: Content<'_>) {
    let model = Model::new(options).unwrap();
    let mut memory = model.take_memory();
    let mut places = PoolStorage::<32>::new();
    let mut pool = Pool::new(&mut places, memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
    let platform = Host::new(&model, &model);
    let found = Discovered::probe(platform, SessionOptions::default())
        .map_err(|failed| failed.error)
        .unwrap();
    let rmm = activate(found, &mut pool).map_err(|failed| failed.error).unwrap().rmm;
    let mut storage = RealmStorage::<64, 8>::new();
    let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let ram = memory.take_back(bytes).unwrap();
    let mut regions = [Region::new(Ipa::new(0x8000_0000), ram, content)];
    realm.populate(&mut pool, &mut regions, &mut |_| {}).unwrap();
    assert_eq!(realm.tear_down([], &mut pool, &mut |_| {}), None);
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
            b.iter(|| life(options.clone(), 8 << 20, Content::Measured(&image)));
        });
        group.throughput(Throughput::Bytes(64 << 20));
        group.bench_function(format!("64 MiB unmeasured, {name}"), |b| {
            b.iter(|| life(options.clone(), 64 << 20, Content::Unspecified));
        });
    }
    group.finish();
}

criterion_group!(benches, populate);
criterion_main!(benches);
