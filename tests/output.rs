//! What the examples do when nothing reads their output, or when it cannot be written: they end,
//! without a panic, and report it by their exit status.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// An example, which cargo builds before it runs the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// All the ways in which the examples print.
const RUNS: [(&str, &[&str]); 5] = [
    ("realm_lifecycle", &["--ram", "8"]),
    ("realm_lifecycle", &["--help"]),
    ("realm_lifecycle", &["--version"]),
    ("smc_budget", &["--quick"]),
    ("smc_budget", &["--help"]),
];

fn run(name: &str, args: &[&str], stdout: Stdio, stderr: Stdio) -> Output {
    let mut command = Command::new(example(name));
    command.args(args).stdout(stdout).stderr(stderr);
    command.spawn().expect("`cargo test` builds it").wait_with_output().unwrap()
}

/// A pipe whose reading end is closed.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_closed_pipe_ends_it_without_a_message() {
    for (name, args) in RUNS {
        let output = run(name, args, closed(), Stdio::piped());
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{name} {args:?}");
        assert_eq!(output.status.code(), Some(141), "{name} {args:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_gives_one_line_and_its_own_status() {
    for (name, args) in RUNS {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = run(name, args, full.into(), Stdio::piped());
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{name} {args:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{name} {args:?}: {err}");
        assert!(err.starts_with(name) && err.contains("standard output"), "{err}");
    }
}

#[test]
fn a_trace_and_messages_that_no_one_reads_cause_no_panic() {
    let output = run("realm_lifecycle", &["--ram", "8", "--trace"], Stdio::piped(), closed());
    assert_eq!(output.status.code(), Some(141));
    for name in ["realm_lifecycle", "smc_budget"] {
        let output = run(name, &["--what"], Stdio::piped(), closed());
        assert_eq!(output.status.code(), Some(2), "{name}");
    }
}
