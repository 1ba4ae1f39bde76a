//! Links the payload for its address, as a flat image.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=payload.ld");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let directory = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    println!("cargo::rustc-link-arg-bins=-T{}", directory.join("payload.ld").display());
    // What the host gives to the Realm is what is in memory, without headers.
    println!("cargo::rustc-link-arg-bins=--oformat=binary");
}
