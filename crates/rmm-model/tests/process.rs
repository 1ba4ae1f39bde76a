//! The model as a process.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The example `rmm_server`, which `cargo test` builds next to this test.
fn server() -> Command {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.extend(["examples", "rmm_server"]);
    path.set_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "cargo build --example rmm_server comes first");
    Command::new(path)
}

fn run(arguments: &[&str]) -> Output {
    server().args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn every_line_is_answered_at_once() {
    let mut child = server()
        .args(["--dram", "80000000", "100000", "--granules-per-call", "all"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut answer = || {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line
    };
    assert!(answer().starts_with("ok ready rmm-model "));
    for (line, expected) in [
        ("mem", "ok dram 80000000 100000\n"),
        ("smc c4000202", "ok 0 0 0 0 0 0 0 0\n"),
        ("# nothing\n\nsmc c40001f1 80000000 80010000", "ok 0 80010000 0 0 0 0 0 0\n"),
        ("hr 8000f000 1", "err gpf\n"),
        ("\u{fffd}", "err unknown\n"),
        ("quit", "ok\n"),
    ] {
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
        input.flush().unwrap();
        assert_eq!(answer(), expected, "{line}");
    }
    assert_eq!(answer(), "");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_end_of_the_input_is_the_end() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.starts_with("ok ready ") && text.lines().count() == 1);
}

#[test]
fn bad_options_are_one_line_and_status_2() {
    let output = run(&["--dialect", "1.0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert_eq!(output.stderr, b"rmm_server: dialect 1.0 is not modelled\n");
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).expect("text").contains("--granules-per-call"));
}
