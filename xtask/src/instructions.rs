//! `cargo xtask instructions`: what the SDK executes for a round trip of a REC, and for a call.
//!
//! The program in `benches/instructions` does each thing some number of times, on a machine whose
//! RMM only replays an exit. Valgrind's callgrind counts the instructions of the function
//! `counted`, without those of that machine. Two counts with different numbers of rounds give what
//! one more round costs, so starting and ending are not included.

use std::path::Path;
use std::process::Command;

use crate::Failure;
use crate::output::say;

const PACKAGE: &str = "realm-sdk-instructions";
/// The profile, and the directory of its results.
const PROFILE: &str = "instructions";
/// Counting begins and ends with each call of this function.
const COUNTED: &str = "--toggle-collect=counted";
/// What this function and its callees execute does not count: it takes the RMM's place.
const NOT_COUNTED: &str = "test_support::crafted::Crafted::answer";
/// Rounds of the first count, and as many more of the second.
const ROUNDS: u64 = 10;

/// Builds the program, prints the instructions of each round, and compares them with the ceilings.
///
/// # Errors
///
/// [`Failure`] when the program cannot be built, valgrind is missing, rounds differ, or one is
/// above its ceiling.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let file = root.join("benches/instructions/ceilings.txt");
    let text =
        std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let ceilings = parse(&text)?;
    find_valgrind()?;
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--package", PACKAGE, "--profile", PROFILE])
        .current_dir(root)
        .status()?;
    if !status.success() {
        return Err(format!("{PACKAGE} cannot be built").into());
    }
    let mut above = Vec::new();
    for (name, ceiling) in ceilings {
        let [first, second] = [ROUNDS, 2 * ROUNDS].map(|rounds| count(root, &name, rounds));
        let figure = each(first?, second?).map_err(|error| format!("{name}: {error}"))?;
        say!("{name}: {figure} instructions (ceiling {ceiling})");
        if figure > ceiling {
            above.push(format!("{name}: {figure} > {ceiling}"));
        }
    }
    if above.is_empty() { Ok(()) } else { Err(above.join("; ").into()) }
}

/// Lines of a name and a number; `#` begins a comment.
fn parse(text: &str) -> Result<Vec<(String, u64)>, Failure> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next().map(Into::into);
            let number = words.next().and_then(|word| word.replace(',', "").parse().ok());
            let none_left = words.next().is_none().then_some(());
            let pair = name.zip(number).zip(none_left).map(|(pair, ())| pair);
            pair.ok_or_else(|| format!("not a name and a number: {line}").into())
        })
        .collect()
}

fn find_valgrind() -> Result<(), Failure> {
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("valgrind is missing, which counts instructions: apt-get install valgrind".into()),
    }
}

/// The instructions of so many rounds.
fn count(root: &Path, name: &str, rounds: u64) -> Result<u64, Failure> {
    let directory = root.join("target").join(PROFILE);
    let results = directory.join(format!("callgrind.{name}"));
    let output = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", COUNTED])
        .arg(format!("--callgrind-out-file={}", results.display()))
        .arg(directory.join(PROFILE))
        .args([name, &rounds.to_string()])
        .output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name}: {}", message.trim_end()).into());
    }
    let figure = without(&std::fs::read_to_string(results)?, NOT_COUNTED);
    figure.ok_or_else(|| format!("{name}: no total without {NOT_COUNTED}").into())
}

/// The total of a callgrind file without the calls of a function, of which there is at least one.
///
/// A function is named once, as `fn=(1) name` or `cfn=(1) name`, and later has its number only. A
/// call is `cfn=(1)`, a line `calls=`, and one with the position of the call and its cost.
fn without(text: &str, function: &str) -> Option<u64> {
    let (mut number, mut calls) = (None, Vec::new());
    let mut callee = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(named) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            let (of, name) = named.split_once(' ').unwrap_or((named, ""));
            callee = Some(of);
            if name == function {
                number = Some(of);
            }
        } else if line.starts_with("calls=") {
            let cost = lines.next()?.split_whitespace().last()?.parse::<u64>().ok()?;
            calls.push((callee?, cost));
        }
    }
    let number = number?;
    let costs: u64 = calls.iter().filter(|(of, _)| *of == number).map(|(_, cost)| cost).sum();
    let total = text.lines().find_map(|line| line.strip_prefix("totals:"))?;
    total.trim().parse::<u64>().ok()?.checked_sub(costs).filter(|_| costs > 0)
}

/// What each round costs, if all cost the same.
fn each(first: u64, second: u64) -> Result<u64, Failure> {
    match second.checked_sub(first) {
        Some(all) if all > 0 && all % ROUNDS == 0 => Ok(all / ROUNDS),
        _ => Err(format!("rounds differ: {first} instructions, then {second}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_are_a_name_and_a_number() {
        let ceilings = parse("# what\n\nirq 2,000 # at most\ndelegate 400\n").unwrap();
        assert_eq!(ceilings, [("irq".into(), 2000), ("delegate".into(), 400)]);
        for text in ["irq", "irq x", "irq 1 2", "irq -1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    const FILE: &str = "\
version: 1
fn=(1) host
0 20
cfn=(2) rmm
calls=3 0
0 30
fn=(2)
0 25
cfn=(3) other
calls=1 0
0 5
fn=(1)
0 2
cfn=(2)
calls=1 0
* 10
cfn=(3)
calls=1 0
0 8
totals: 100
";

    #[test]
    fn the_calls_of_one_function_do_not_count() {
        assert_eq!(without(FILE, "rmm"), Some(60));
        assert_eq!(without(FILE, "other"), Some(87));
    }

    #[test]
    fn a_file_without_that_function_or_a_total_has_no_figure() {
        assert_eq!(without(FILE, "rm"), None);
        // It is never called.
        assert_eq!(without(FILE, "host"), None);
        assert_eq!(without(&FILE.replace("totals:", "summary:"), "rmm"), None);
        assert_eq!(without(&FILE.replace("totals: 100", "totals: 39"), "rmm"), None);
        assert_eq!(without(&FILE.replace("* 10", "* x"), "rmm"), None);
    }

    #[test]
    fn every_round_costs_the_same() {
        assert_eq!(each(1_000, 1_000 + 7 * ROUNDS).unwrap(), 7);
        for (first, second) in [(5, 5), (5, 4), (5, 5 + ROUNDS + 1), (0, 1)] {
            assert!(each(first, second).is_err(), "{first} {second}");
        }
    }
}
