//! `cargo xtask lines`: finds lines of source files and scripts that are longer than 100 columns.
//!
//! rustfmt leaves comments, strings and the arguments of macros as they are.

use std::path::Path;

use crate::Failure;
use crate::output::say;
use crate::words::files;

/// The columns of a line.
const COLUMNS: usize = 100;

/// Prints each line that is too long, except those that [may be](may_be_long).
///
/// # Errors
///
/// [`Failure`] when there are any, or the files cannot be read.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let mut count = 0;
    let is_code = |name: &&String| [".rs", ".sh", "run"].iter().any(|end| name.ends_with(end));
    for name in files(root)?.iter().filter(is_code) {
        let text =
            std::fs::read_to_string(root.join(name)).map_err(|error| format!("{name}: {error}"))?;
        for (number, line) in (1..).zip(text.lines()) {
            let columns = line.chars().count();
            if columns > COLUMNS && !may_be_long(line) {
                say!("{name}:{number}: {columns} columns");
                count += 1;
            }
        }
    }
    match count {
        0 => Ok(()),
        count => Err(format!("{count} lines of more than {COLUMNS} columns").into()),
    }
}

/// Whether a line cannot be broken: a row of a table in documentation, an address, or one word such
/// as a digest.
fn may_be_long(line: &str) -> bool {
    let text = line.trim();
    let comment =
        ["//!", "///", "//", "doc = \""].iter().find_map(|begin| text.strip_prefix(begin));
    let is_row = comment.is_some_and(|comment| comment.trim_start().starts_with('|'));
    is_row || text.contains("://") || !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_addresses_and_single_words_may_be_long() {
        for line in [
            "//! | Module | Contents |",
            "    /// | a | b |",
            r#"    doc = "| a | b |""#,
            "// see https://example.org/page",
            r#"    "1cda1fc639e5604da537","#,
        ] {
            assert!(may_be_long(line), "{line}");
        }
    }

    #[test]
    fn comments_code_and_strings_end_in_time() {
        for line in
            ["/// Text that is long.", "let a = b | c;", r#""a text of words","#, "// a | b"]
        {
            assert!(!may_be_long(line), "{line}");
        }
    }
}
