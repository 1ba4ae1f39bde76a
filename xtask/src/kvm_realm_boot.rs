//! `cargo xtask kvm-realm-boot`: the example VMM of `kvm-realm` and its probe for arm64, linked
//! statically.

use std::path::Path;

use crate::Failure;
use crate::aarch64::{TARGET, cargo};
use crate::output::say;

const EXAMPLES: [&str; 2] = ["kvm_realm_boot", "kvm_realm_probe"];

/// Builds the programs, and says where they are.
///
/// # Errors
///
/// [`Failure`] when one cannot be built, for instance without the target's standard library.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let status = cargo(root)
        .args(["build", "--quiet", "--release", "--package", "kvm-realm", "--target", TARGET])
        .args(EXAMPLES.iter().flat_map(|example| ["--example", example]))
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err(format!("kvm-realm is not built (rustup target add {TARGET}?)").into());
    }
    for example in EXAMPLES {
        let path = root.join("target").join(TARGET).join("release/examples").join(example);
        let bytes = std::fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?.len();
        say!("{}: {bytes} bytes", path.display());
    }
    Ok(())
}
