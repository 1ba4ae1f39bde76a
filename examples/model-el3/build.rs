//! Links each program at its addresses.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let directory = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    for (program, script) in [("model-el3", "image.ld"), ("el2-test", "el2_test.ld")] {
        println!("cargo::rerun-if-changed={script}");
        println!("cargo::rustc-link-arg-bin={program}=-T{directory}/{script}");
    }
}
