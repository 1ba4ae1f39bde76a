//! The budgets of `cargo run --release --example smc_budget`: none is missed, every prediction is right, no call fails, all memory comes back. In a build without optimisation, those that take
//! less than a minute.

use std::path::Path;
use std::process::Command;

#[test]
fn no_budget_is_missed() {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let name = format!("smc_budget{}", std::env::consts::EXE_SUFFIX);
    let mut example = Command::new(profile.join("examples").join(name));
    if cfg!(debug_assertions) {
        example.arg("--quick");
    }
    let output = example.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let mut rows = 0;
    for row in text.lines().filter(|line| line.matches('|').count() == 4).skip(1) {
        let columns: Vec<_> = row.split('|').map(str::trim).collect();
        let number = |column: usize| columns.get(column).unwrap().parse::<u64>().unwrap();
        assert!(number(2) <= number(3), "{row}");
        rows += 1;
    }
    assert_eq!(rows, if cfg!(debug_assertions) { 10 } else { 18 }, "{text}");
}
