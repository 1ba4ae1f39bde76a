//! The budgets of `cargo run --release --example smc_budget`: none is exceeded, every prediction is
//! correct, no call fails, all memory comes back. In a build without optimisation, only those that
//! take less than a minute.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

fn example() -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let name = format!("smc_budget{}", std::env::consts::EXE_SUFFIX);
    Command::new(profile.join("examples").join(name))
}

/// In a dialect of 2.0, and in 1.0.
fn no_budget_is_missed_in(dialect: &str) {
    let mut example = example();
    if cfg!(debug_assertions) {
        example.arg("--quick");
    }
    let output = example.args(["--dialect", dialect]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&format!("both of them are of {dialect}\n")), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let mut rows = 0;
    for row in text.lines().filter(|line| line.matches('|').count() == 4).skip(1) {
        let columns: Vec<_> = row.split('|').map(str::trim).collect();
        let number = |column: usize| columns.get(column).unwrap().parse::<u64>().unwrap();
        assert!(number(2) <= number(3), "{row}");
        rows += 1;
    }
    assert_eq!(rows, if cfg!(debug_assertions) { 15 } else { 27 }, "{text}");
}

#[test]
fn no_budget_is_missed() {
    for dialect in ["tf-rmm-2026-07", "2.0-bet3", "2.0-bet1", "2.0-bet0"] {
        no_budget_is_missed_in(dialect);
    }
}

#[test]
fn the_columns_are_explained() {
    let output = example().arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for column in ["operation", "RMM", "SMCs", "budget", "best other host", "A  ", "B  ", "C  "] {
        assert!(text.contains(column), "{column}: {text}");
    }
}

#[test]
fn unknown_arguments_are_refused() {
    for argument in ["--qiuck", "quick", "--"] {
        let output = example().args(["--quick", argument]).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{argument}");
        assert!(output.stdout.is_empty(), "{argument}");
        assert!(err.contains(argument) && err.lines().count() == 1, "{err}");
    }
    for dialect in [&["1.0"][..], &["2.0"], &[]] {
        let output = example().arg("--dialect").args(dialect).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{dialect:?}");
        assert!(err.contains("is no dialect of RMI 2.0") && err.lines().count() == 1, "{err}");
    }
}
