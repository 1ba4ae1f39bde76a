//! Programs that chores need, from packages of Debian.

use std::process::{Command, Stdio};

use crate::Failure;
use crate::output::say;

/// Looks for a program, and installs its package if it is missing and that is allowed.
///
/// # Errors
///
/// [`Failure`] when the program is missing and is not or cannot be installed.
pub(crate) fn find(program: &str, package: &str, install: bool) -> Result<(), Failure> {
    if is_there(program) {
        return Ok(());
    }
    if !install {
        return Err(format!("{program} is missing: apt-get install {package}, or --install").into());
    }
    say!("{program} is missing: apt-get install {package}");
    let status = Command::new("apt-get")
        .args(["install", "--yes", "--quiet", "--no-install-recommends", package])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() && is_there(program) => return Ok(()),
        Ok(_) => {}
        Err(error) => say!("apt-get: {error}"),
    }
    Err(format!("{program} is missing, and {package} cannot be installed").into())
}

fn is_there(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let failure = find("a-missing-program", "its-package", false).unwrap_err().to_string();
        assert!(failure.starts_with("a-missing-program is missing"), "{failure}");
        assert!(failure.contains("its-package"), "{failure}");
        assert!(find("cargo", "its-package", false).is_ok());
    }
}
