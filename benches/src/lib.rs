//! An empty library; the benchmarks are in `benches/`.
#![no_std]
