#!/bin/sh
# Runs every target for a number of seconds (60 unless told), from fresh seeds, two at a time.
#
# With cargo-fuzz installed, `cargo +nightly fuzz run <target>` does the same for one. This needs a
# nightly compiler only; NIGHTLY names another one than `nightly`.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
nightly=${NIGHTLY:-nightly}
host=$(rustc -vV | sed -n 's/^host: //p')
cargo "+$nightly" run --quiet --release --bin seeds
# What cargo-fuzz passes: coverage counters for libFuzzer, and the address sanitizer.
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
cargo "+$nightly" build --quiet --release --target "$host" --bins
targets=$(for source in fuzz_targets/*.rs; do basename "$source" .rs; done)
for target in $targets; do
    mkdir -p "artifacts/$target" "corpus/$target"
done
# shellcheck disable=SC2016
echo "$targets" | xargs -P 2 -I '{}' sh -c '
    log="artifacts/{}.log"
    if "target/'"$host"'/release/{}" -max_total_time='"$seconds"' -max_len=8192 \
        -artifact_prefix="artifacts/{}/" "corpus/{}" >"$log" 2>&1; then
        echo "{}: $(grep -c . "$log") lines, $(sed -n "s/^Done \([0-9]* runs.*\)/\1/p" "$log")"
    else
        tail -n 40 "$log"
        echo "{}: failed"
        exit 255
    fi'
