#!/bin/sh
# Runs every target for a number of seconds (60 unless told), from fresh seeds.
#
# With cargo-fuzz installed, `cargo +nightly fuzz run <target>` does the same for one. This needs a nightly compiler only.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
host=$(rustc -vV | sed -n 's/^host: //p')
cargo +nightly run --quiet --release --bin seeds
# What cargo-fuzz passes: coverage counters for libFuzzer, and the address sanitizer.
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
for source in fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    mkdir -p "artifacts/$target"
    cargo +nightly run --quiet --release --target "$host" --bin "$target" -- \
        -max_total_time="$seconds" -max_len=8192 -artifact_prefix="artifacts/$target/" "corpus/$target"
done
