//! Codecs and planning: the work of a host for every exit and every map.
#![expect(clippy::unwrap_used, reason = "a bench may fail loudly")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use realm_builder::plan::{self, Limits};
use rmi_abi::commands::Fid;
use rmi_abi::desc::AddrRangeDesc;
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Command, Dialect, GranuleSize, Ipa, IpaRange, Pa, PaRange, ResultWord};

fn codecs(c: &mut Criterion) {
    c.bench_function("result word: status and level", |b| {
        b.iter(|| {
            let word = ResultWord(black_box(0x304));
            (word.status(), word.level())
        });
    });
    c.bench_function("address range descriptor: decode", |b| {
        b.iter(|| {
            AddrRangeDesc::decode(black_box(0x8000_0805), Dialect::V2_0Bet3, GranuleSize::Size4KiB)
        });
    });
    c.bench_function("command: function identifier of a command", |b| {
        b.iter(|| black_box(Command::RttDataMap).fid(black_box(Dialect::TfRmm2026_07)));
    });
    c.bench_function("command: command of a function identifier", |b| {
        b.iter(|| Command::from_fid(Fid(black_box(0xc400_01f5)), Dialect::TfRmm2026_07));
    });
}

fn planning(c: &mut Criterion) {
    let geometry = Geometry::new(40).unwrap();
    let memory = PaRange::with_size(Pa::new(0x1000), 1 << 30).unwrap();
    let range = IpaRange::with_size(Ipa::new(0), 1 << 30).unwrap();
    c.bench_function("plan: runs and tables of 1 GiB of 4 KiB pages", |b| {
        b.iter(|| {
            let runs = plan::runs(geometry, Ipa::new(0), black_box(memory), Level::L1).count();
            runs + plan::tables(geometry, black_box(range), Level::L3).count()
        });
    });
    // No two pages are adjacent: each has its own descriptor.
    let pages: Vec<_> = (0..1u64 << 18)
        .map(|n| PaRange::with_size(Pa::new(0x1000 + n * 0x2000), 0x1000).unwrap())
        .collect();
    c.bench_function("plan: 1 GiB of scattered 4 KiB pages, to the last call", |b| {
        b.iter(|| {
            let pages = black_box(&pages).iter().copied();
            plan::map_cost(geometry, Ipa::new(0), pages, &|_, _| false, Limits::ONE_BY_ONE)
        });
    });
}

criterion_group!(benches, codecs, planning);
criterion_main!(benches);
