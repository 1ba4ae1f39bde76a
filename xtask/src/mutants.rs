//! `cargo xtask mutants`: mutation tests of what changed since the last release, with
//! `cargo-mutants`.
//!
//! Which files are mutated is in `.cargo/mutants.toml`; which mutants may survive, and why, in
//! `xtask/mutants.txt`. A mutant is named there without line and column, so that a change
//! elsewhere in the file does not hide it; two mutants of one function that differ in their place
//! only have one name, and one entry. A name that no mutant has is an error.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;
use crate::output::say;
use crate::packages::last_release;

/// The mutants that may survive.
const LIST: &str = "xtask/mutants.txt";

/// What a run is to do.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Compares with this revision instead of the last release.
    pub(crate) base: Option<String>,
    /// Tests at most about this many mutants, and draws them by `seed`.
    pub(crate) limit: Option<usize>,
    /// Which of them: any number.
    pub(crate) seed: u64,
    /// Judges the results of a run of `cargo mutants` in this directory, instead of a new one.
    pub(crate) results: Option<PathBuf>,
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Failure> {
    let list = fs::read_to_string(root.join(LIST))?;
    let accepted = parse(&list)?;
    let mut command = Command::new("cargo");
    let every = output(root, command.args(["mutants", "--workspace", "--list"]))?;
    check_names(&accepted, &every)?;
    if let Some(results) = &options.results {
        let tally = Tally::read(results)?;
        return tally.judge(&accepted, tally.tested());
    }
    let base = match &options.base {
        Some(base) => base.clone(),
        None => match last_release(root)? {
            Some(tag) => tag,
            None => {
                say!("no release to compare with: tested 0 of 0");
                return Ok(());
            }
        },
    };
    let target = root.join("target/mutants");
    fs::create_dir_all(&target)?;
    let diff = target.join("changes.diff");
    let changes = output(root, Command::new("git").args(["diff", &base, "--", "*.rs"]))?;
    fs::write(&diff, changes)?;

    let mut command = Command::new("cargo");
    command.args(["mutants", "--workspace", "--list", "--in-diff"]).arg(&diff);
    let mutants = output(root, &mut command)?.lines().count();
    say!("{mutants} mutants in what changed since {base}");
    if mutants == 0 {
        say!("tested 0 of 0");
        return Ok(());
    }
    let shards = mutants.div_ceil(options.limit.unwrap_or(mutants).max(1));
    let shard = usize::try_from(options.seed % shards as u64)?;
    let shard = format!("{shard}/{shards}");
    let test = |more: &[&str]| -> Result<Tally, Failure> {
        let mut command = Command::new("cargo");
        command.args(["mutants", "--workspace", "--all-features", "--colors", "never"]);
        command.arg("--in-diff").arg(&diff).args(["--shard", &shard, "--output"]).arg(&target);
        // Its status says whether a mutant was missed; that is judged below.
        let status = command.args(more).current_dir(root).status()?;
        let tally = Tally::read(&target.join("mutants.out"));
        tally.map_err(|error| format!("cargo mutants ended with {status}: {error}").into())
    };
    let mut tally = test(&[])?;
    if tally.tested() == 0 {
        return Err(format!("tested 0 of {mutants}").into());
    }
    if tally.judge(&accepted, mutants).is_err() {
        // What the tests of its own package miss, those of another one may notice.
        say!("once more, with the tests of all packages:");
        let again = test(&["--iterate", "--test-workspace=true"])?;
        tally.caught.extend(again.caught);
        tally.missed = again.missed;
    }
    tally.judge(&accepted, mutants)
}

/// The standard output of a command that has to succeed.
fn output(root: &Path, command: &mut Command) -> Result<String, Failure> {
    let done = command.current_dir(root).stderr(Stdio::inherit()).output()?;
    if !done.status.success() {
        return Err(format!("{command:?} ended with {}", done.status).into());
    }
    Ok(String::from_utf8(done.stdout)?)
}

/// What `cargo mutants` found out: one name a line, as it writes them.
#[derive(Debug, Default)]
struct Tally {
    caught: Vec<String>,
    missed: Vec<String>,
    /// Not compilable.
    unviable: Vec<String>,
}

impl Tally {
    fn read(directory: &Path) -> Result<Self, Failure> {
        let read = |name: &str| -> Result<Vec<String>, Failure> {
            let path = directory.join(name);
            let text = fs::read_to_string(&path);
            let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(text.lines().map(str::to_owned).collect())
        };
        let mut caught = read("caught.txt")?;
        // A test that no longer ends has noticed.
        caught.extend(read("timeout.txt")?);
        Ok(Self { caught, missed: read("missed.txt")?, unviable: read("unviable.txt")? })
    }

    /// How many were built and tested, or could not be built.
    fn tested(&self) -> usize {
        self.caught.len() + self.missed.len() + self.unviable.len()
    }

    /// Fails if a mutant was missed that is not listed.
    fn judge(&self, accepted: &[Accepted<'_>], all: usize) -> Result<(), Failure> {
        let is_listed = |mutant: &str| accepted.iter().any(|known| known.mutant == mutant);
        let missed: Vec<String> = self.missed.iter().map(|line| without_place(line)).collect();
        let (listed, unlisted): (Vec<_>, Vec<_>) =
            missed.iter().partition(|mutant| is_listed(mutant));
        for mutant in self.caught.iter().map(|line| without_place(line)) {
            // Of several mutants with one name, one may be caught and another not.
            if is_listed(&mutant) && !missed.contains(&mutant) {
                say!("listed, but caught: {mutant}");
            }
        }
        for mutant in &unlisted {
            say!("missed: {mutant}");
        }
        say!(
            "{} caught, {} missed, {} of them listed in {LIST}, {} do not compile",
            self.caught.len(),
            missed.len(),
            listed.len(),
            self.unviable.len(),
        );
        say!("tested {} of {all}", self.tested());
        match unlisted.len() {
            0 => Ok(()),
            count => Err(format!("{count} missed mutants are not listed in {LIST}").into()),
        }
    }
}

/// A mutant that may survive.
#[derive(Debug)]
struct Accepted<'l> {
    /// `file: what it changes`.
    mutant: &'l str,
}

/// Reads the list: a reason in lines with `#`, then the mutants that it is the reason for, then an
/// empty line. A mutant without a reason is an error.
fn parse(list: &str) -> Result<Vec<Accepted<'_>>, Failure> {
    let mut accepted = Vec::new();
    let mut has_reason = false;
    for line in list.lines() {
        if line.is_empty() {
            has_reason = false;
        } else if line.starts_with('#') {
            has_reason = true;
        } else if has_reason {
            accepted.push(Accepted { mutant: line });
        } else {
            return Err(format!("{LIST}: no reason for: {line}").into());
        }
    }
    Ok(accepted)
}

/// Fails if a listed mutant is not one of `every`, which are named with line and column: the code
/// that it changed has changed or moved.
fn check_names(accepted: &[Accepted<'_>], every: &str) -> Result<(), Failure> {
    let every: HashSet<String> = every.lines().map(without_place).collect();
    let gone: Vec<_> = accepted.iter().filter(|known| !every.contains(known.mutant)).collect();
    for known in &gone {
        say!("listed, but there is no such mutant: {}", known.mutant);
    }
    match gone.len() {
        0 => Ok(()),
        count => Err(format!("{count} mutants in {LIST} do not exist").into()),
    }
}

/// The name of a mutant without its line and column: `src/a.rs:12:5: delete !` is
/// `src/a.rs: delete !`.
fn without_place(line: &str) -> String {
    let mut parts = line.splitn(4, ':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(file), Some(row), Some(column), Some(what))
            if row.parse::<u32>().is_ok() && column.parse::<u32>().is_ok() =>
        {
            format!("{file}:{what}")
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(caught: &[&str], missed: &[&str]) -> Tally {
        let own = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect();
        Tally { caught: own(caught), missed: own(missed), unviable: Vec::new() }
    }

    #[test]
    fn a_missed_mutant_passes_only_with_a_reason() {
        let list = "# It changes nothing.\nsrc/a.rs: replace < with <= in f\n";
        let accepted = parse(list).unwrap();
        let known = "src/a.rs:3:7: replace < with <= in f";
        assert!(tally(&[], &[known]).judge(&accepted, 1).is_ok());
        assert!(tally(&["src/b.rs:1:1: delete ! in g"], &[known]).judge(&accepted, 2).is_ok());
        let other = "src/a.rs:3:7: replace < with > in f";
        assert!(tally(&[], &[known, other]).judge(&accepted, 2).is_err());
    }

    #[test]
    fn a_reason_ends_at_an_empty_line() {
        assert!(parse("# Why.\na\nb\n\n# And why.\nc\n").is_ok());
        assert!(parse("# Why.\na\n\nb\n").is_err());
        assert!(parse("a\n").is_err());
    }

    #[test]
    fn a_listed_mutant_exists() {
        let list = "# It changes nothing.\nsrc/a.rs: replace < with <= in f\n";
        let accepted = parse(list).unwrap();
        let other = "src/b.rs:3:7: replace < with <= in f\n";
        let known = "src/a.rs:3:7: replace < with <= in f\n";
        assert!(check_names(&accepted, &format!("{other}{known}")).is_ok());
        assert!(check_names(&accepted, other).is_err());
    }

    #[test]
    fn names_have_no_place() {
        assert_eq!(
            without_place("src/a.rs:12:5: replace X::f -> u64 with 0"),
            "src/a.rs: replace X::f -> u64 with 0"
        );
        assert_eq!(without_place("src/a.rs: delete !"), "src/a.rs: delete !");
    }
}
