//! Programs that chores need, from packages of Debian.

mod backports;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::output::say;

/// Looks for a program, and installs its package if it is missing and that is allowed: that of the
/// distribution's release, or, where it does not fit what is installed, that of its backports.
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
    if apt_get(&["install", package]) && is_there(program) {
        return Ok(());
    }
    say!("again, from the backports of this release");
    match backports::install(Path::new("/etc"), package) {
        Ok(()) if is_there(program) => Ok(()),
        Ok(()) => Err(format!("{program} is missing, and not in {package}").into()),
        Err(why) => {
            Err(format!("{program} is missing, and {package} cannot be installed: {why}").into())
        }
    }
}

fn is_there(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

/// Whether it succeeded. What it prints about an error is shown.
fn apt_get<A: AsRef<OsStr>>(arguments: &[A]) -> bool {
    let status = Command::new("apt-get")
        .args(["--yes", "--quiet", "--no-install-recommends"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status();
    match status {
        Ok(status) => status.success(),
        Err(error) => {
            say!("apt-get: {error}");
            false
        }
    }
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
