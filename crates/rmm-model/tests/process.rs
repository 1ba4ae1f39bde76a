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
    let output = run(&["--dialect", "1.1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert_eq!(
        String::from_utf8(output.stderr).expect("text"),
        "rmm_server: \"1.1\" is not a dialect of the model; it has tf-rmm-2026-07, 2.0-bet3, \
         2.0-bet1, 2.0-bet0 and 1.0\n"
    );
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).expect("text");
    // The page has the same options.
    let page = include_str!("../../../docs/model-protocol.md");
    let options = help.lines().filter_map(|line| line.strip_prefix("  --"));
    let options: Vec<_> = options.filter_map(|line| line.split([' ', '[']).next()).collect();
    assert_eq!(options.len(), 13);
    for option in options {
        assert!(page.contains(&format!("\n| `--{option}")), "{option}");
    }
    let regions = run(&["--coarse-steps", "2"]);
    assert_eq!(regions.status.code(), Some(2));
    let err = String::from_utf8(regions.stderr).expect("text");
    assert_eq!(err, "rmm_server: --coarse-steps needs --regions\n");
}

#[test]
fn a_line_without_an_end_is_not_read_without_limit() {
    let mut child = server()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // More than is read: the model ends before all of it is written.
    let written = input.write_all(&[b' '; 2 << 20]);
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(written.is_err());
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8(output.stderr).expect("text");
    assert_eq!(err, "rmm_server: a line of the input is longer than 1048576 bytes\n");
}

#[test]
fn answers_that_no_one_reads_end_it_without_a_message() {
    for arguments in [&[][..], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut model = server();
        let output = model.args(arguments).stdin(Stdio::null()).stdout(writer);
        let output = output.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).expect("text"), "");
        assert_eq!(output.status.code(), Some(141), "{arguments:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn answers_that_cannot_be_written_are_one_line_and_status_4() {
    for arguments in [&[][..], &["--help"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut model = server();
        let output = model.args(arguments).stdin(Stdio::null()).stdout(full);
        let output = output.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {err}");
        assert!(err.starts_with("rmm_server: ") && err.lines().count() == 1, "{err}");
    }
}
