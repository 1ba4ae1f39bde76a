//! The example `vmm` as a user runs it: what the Realm prints, the measurement before and after a
//! reset, and the balance.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

use realm_sdk::abi::Dialect;

/// Runs the example, which cargo builds before it runs the tests, and returns what it prints.
fn run(dialect: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let example = profile.join("examples").join(format!("vmm{}", std::env::consts::EXE_SUFFIX));
    let output = Command::new(example).arg(dialect).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn two_realms_run_to_their_end_and_all_memory_is_back() {
    for dialect in Dialect::ALL {
        two_realms(dialect);
    }
}

fn two_realms(dialect: Dialect) {
    let out = run(dialect.name());
    let found = format!("vmm  | the RMM has dialect {dialect}");
    assert!(out.lines().any(|line| line == found), "{out}");
    // Once before the reset, and once after it.
    for line in [
        "vmm  | shared: 16 KiB at 0x40200000",
        "uart | cpu 0: interrupt 34",
        "uart | cpu 0: read sector 7",
        "vmm  | unplugged: 2048 KiB at 0x40400000",
        "uart | cpu 1: has memory of its own",
        "uart | cpu 2: has memory of its own",
        "uart | cpu 3: has memory of its own",
        "uart | cpu 0: all others are off",
    ] {
        assert_eq!(out.lines().filter(|other| *other == line).count(), 2, "{line}: {out}");
    }
    // Each of them was paused.
    assert_eq!(out.matches("\nvmm  | paused after ").count(), 2, "{out}");
    let reset = out.lines().filter(|line| line.contains("reset")).count();
    let rims: Vec<_> = out.lines().filter_map(|line| line.strip_prefix("vmm  | RIM ")).collect();
    let [first, second] = rims.as_slice() else { unreachable!("{out}") };
    assert_eq!((reset, first, first.len()), (1, second, 64), "{out}");

    let lines: Vec<_> = out.lines().collect();
    let [.., free, balance] = lines.as_slice() else { unreachable!("{out}") };
    assert_eq!(*free, "vmm  | 65536 of 65536 KiB are free");
    let counts = balance.strip_prefix("balance: delegated ").unwrap();
    let (delegated, rest) = counts.split_once(", returned ").unwrap();
    assert!(delegated.parse::<u64>().unwrap() > 2 * 512, "{balance}");
    assert_eq!(rest, format!("{delegated}, quarantined 0, leaked 0"));
}
