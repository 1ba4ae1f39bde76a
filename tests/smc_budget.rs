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

#[test]
fn no_budget_is_missed() {
    let mut example = example();
    if cfg!(debug_assertions) {
        example.arg("--quick");
    }
    let output = example.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
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
}
