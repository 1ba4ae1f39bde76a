//! The example `abi_json` as a process: what it does when its output cannot be written.
#![cfg(not(miri))] // Miri starts no processes.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The example, which `cargo test` builds next to this test.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    profile.join("examples").join(format!("abi_json{}", std::env::consts::EXE_SUFFIX))
}

fn run(arguments: &[&str], stdout: Stdio) -> Output {
    let mut command = Command::new(example());
    command.args(arguments).stdout(stdout).stderr(Stdio::piped());
    command.spawn().expect("cargo builds it").wait_with_output().unwrap()
}

const RUNS: [&[&str]; 3] = [&["--dialect", "2.0-bet3"], &["--interface", "rsi"], &["--help"]];

#[test]
fn a_closed_pipe_ends_it_without_a_message() {
    for arguments in RUNS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(arguments, writer.into());
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(141), "{arguments:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_gives_one_line_and_its_own_status() {
    for arguments in RUNS {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = run(arguments, full.into());
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{arguments:?}: {err}");
    }
}

#[test]
fn wrong_arguments_give_one_line_and_status_2() {
    for arguments in [&["--dialect", "foo"][..], &["--what"], &["--dialect"], &[]] {
        let output = run(arguments, Stdio::piped());
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert_eq!(err.lines().count(), 1, "{arguments:?}: {err}");
    }
}
