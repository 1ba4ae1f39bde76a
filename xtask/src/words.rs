//! `cargo xtask words`: finds words that the project has replaced by plainer ones.

use std::path::Path;
use std::process::Command;

use crate::Failure;
use crate::output::say;

/// The list of words.
const LIST: &str = "xtask/words.txt";
/// The files that are searched, by the end of their name.
const ENDS: [&str; 5] = [".rs", ".md", ".toml", ".sh", "run"];
/// Files that may contain old words: the change log, and the files of this chore.
const EXEMPT: [&str; 3] = ["CHANGELOG.md", LIST, "xtask/src/words.rs"];

/// An old word.
#[derive(Debug)]
struct Word<'l> {
    old: &'l str,
    instead: &'l str,
    /// Lines that contain one of these are ignored.
    unless: Vec<&'l str>,
}

impl<'l> Word<'l> {
    fn parse(line: &'l str) -> Result<Self, Failure> {
        let mut columns = line.split('|').map(str::trim);
        match (columns.next(), columns.next()) {
            (Some(old), Some(instead)) if !old.is_empty() && !instead.is_empty() => {
                Ok(Self { old, instead, unless: columns.collect() })
            }
            _ => Err(format!("{LIST}: not an old word and what to say instead: {line}").into()),
        }
    }

    /// How often the word occurs in a line.
    fn count(&self, line: &str) -> usize {
        if self.unless.iter().any(|exception| line.contains(exception)) {
            return 0;
        }
        let mut capital = self.old.to_owned();
        if let Some(first) = capital.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let as_it_is = occurrences(line, self.old);
        if capital == self.old { as_it_is } else { as_it_is + occurrences(line, &capital) }
    }
}

/// How often `word` occurs in `line` without being part of a longer word.
fn occurrences(line: &str, word: &str) -> usize {
    let is_part = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    let starts_inside = is_part(word.chars().next());
    let ends_inside = is_part(word.chars().next_back());
    line.match_indices(word)
        .filter(|(at, _)| {
            let before = line.get(..*at).and_then(|before| before.chars().next_back());
            let after = line.get(at + word.len()..).and_then(|after| after.chars().next());
            !(starts_inside && is_part(before) || ends_inside && is_part(after))
        })
        .count()
}

/// Searches the files of the repository, and their names, for old words.
///
/// # Errors
///
/// [`Failure`] when there are any, or the files cannot be read.
pub(crate) fn run(root: &Path, with_places: bool) -> Result<(), Failure> {
    let list = read(root, LIST)?;
    let words = parse(&list)?;
    let mut counts = vec![0; words.len()];
    for name in files(root)? {
        let text = read(root, &name)?;
        // Line 0 is the name of the file.
        for (number, line) in (0..).zip([name.as_str()].into_iter().chain(text.lines())) {
            for (word, count) in words.iter().zip(&mut counts) {
                let found = word.count(line);
                *count += found;
                if with_places && found > 0 {
                    say!("{name}:{number}: `{}`, say: {}", word.old, word.instead);
                }
            }
        }
    }
    let sum: usize = counts.iter().sum();
    for (word, count) in words.iter().zip(counts).filter(|(_, count)| *count > 0) {
        say!("{count:>5} {} (say: {})", word.old, word.instead);
    }
    if sum == 0 { Ok(()) } else { Err(format!("{sum} old words, see {LIST}").into()) }
}

fn parse(list: &str) -> Result<Vec<Word<'_>>, Failure> {
    let lines = list.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(Word::parse).collect()
}

fn read(root: &Path, name: &str) -> Result<String, Failure> {
    std::fs::read_to_string(root.join(name)).map_err(|error| format!("{name}: {error}").into())
}

/// The files of the repository that are searched.
pub(crate) fn files(root: &Path) -> Result<Vec<String>, Failure> {
    let output = Command::new("git").args(["ls-files"]).current_dir(root).output();
    let output = output.map_err(|error| format!("git: {error}"))?;
    if !output.status.success() {
        return Err("git does not list the files".into());
    }
    let names = String::from_utf8(output.stdout)?;
    let wanted = names
        .lines()
        .filter(|name| ENDS.iter().any(|end| name.ends_with(end)) && !EXEMPT.contains(name));
    // Git lists deleted files until the deletion is committed.
    Ok(wanted.filter(|name| root.join(name).exists()).map(Into::into).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(entry: &str, line: &str) -> usize {
        Word::parse(entry).unwrap().count(line)
    }

    #[test]
    fn a_word_is_not_part_of_a_longer_one() {
        assert_eq!(count("shelf | slots", "the shelf of QuarantineShelf, itself"), 1);
        assert_eq!(count("shelf | slots", "Shelf: quarantine_shelf"), 2);
        assert_eq!(count("Hand | Owner", "fn handle(&self, hand: H) where H: Hand {"), 1);
    }

    #[test]
    fn what_is_meant_otherwise_is_left_alone() {
        let cell = "Cell | PackedBlock | cell::Cell | Cell< | Cell::new";
        for line in ["use core::cell::Cell;", "naps: Cell<u32>,", "let naps = Cell::new(0);"] {
            assert_eq!(count(cell, line), 0, "{line}");
        }
        assert_eq!(count(cell, "let mut cell = Cell::memory(page, 2);"), 1);
        let hold = "hold( | range lock";
        assert_eq!(count(hold, "tables that hold it (for ever)"), 0);
        assert_eq!(count(hold, "let held = self.hold(range)?;"), 1);
        let host = "granules::Host | HostOwned | granules::HostOwned";
        assert_eq!(count(host, "use rmi_host::{Host, granules::HostOwned};"), 0);
        assert_eq!(count(host, "use rmi_host::granules::Host;"), 1);
    }

    #[test]
    fn a_line_without_what_to_say_is_refused() {
        assert!(parse("# a comment\n\nshelf | slots\n").is_ok());
        assert!(parse("shelf\n").is_err());
        assert!(parse("shelf |\n").is_err());
    }

    #[test]
    fn the_list_is_one() {
        let list = include_str!("../words.txt");
        assert!(parse(list).unwrap().iter().any(|word| word.old == "TableRoom"));
    }
}
