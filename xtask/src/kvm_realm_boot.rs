//! `cargo xtask kvm-realm-boot`: the example VMM of `kvm-realm` for arm64, linked statically.

use std::path::Path;

use crate::Failure;
use crate::aarch64::{TARGET, cargo};
use crate::output::say;

const EXAMPLE: &str = "kvm_realm_boot";

/// Builds the program, and says where it is.
///
/// # Errors
///
/// [`Failure`] when it cannot be built, for instance without the target's standard library.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let status = cargo(root)
        .args(["build", "--quiet", "--release", "--package", "kvm-realm"])
        .args(["--example", EXAMPLE, "--target", TARGET])
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err(format!("{EXAMPLE} is not built (rustup target add {TARGET}?)").into());
    }
    let path = root.join("target").join(TARGET).join("release/examples").join(EXAMPLE);
    let bytes = std::fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?.len();
    say!("{}: {bytes} bytes", path.display());
    Ok(())
}
