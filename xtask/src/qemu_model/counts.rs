//! The last line of a program, and the lines of skipped checks.

use std::fmt;

/// How many checks there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u32,
    pub(super) failed: u32,
    pub(super) skipped: u32,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

impl Counts {
    /// The counts of a line that has nothing else.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split(", ");
        let mut number = |what| {
            let (number, found) = parts.next()?.split_once(' ')?;
            number.parse().ok().filter(|_| found == what)
        };
        let (passed, failed, skipped) = (number("passed")?, number("failed")?, number("skipped")?);
        parts.next().is_none().then_some(Self { passed, failed, skipped })
    }
}

/// What a program has printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// In the last line.
    pub(super) counts: Counts,
    /// The names of the checks that were skipped, in order.
    pub(super) skipped: Vec<String>,
}

impl Found {
    /// Checks what there is, with no check that failed.
    pub(super) fn expect(&self, passed: u32, skipped: &[&str]) -> Result<(), String> {
        let Self { counts, skipped: names } = self;
        let count = u32::try_from(skipped.len()).unwrap_or(u32::MAX);
        let expected = Counts { passed, failed: 0, skipped: count };
        if *counts != expected {
            return Err(format!("{counts}, but expected {expected}"));
        }
        if names != skipped {
            return Err(format!("skipped {names:?}, but expected {skipped:?}"));
        }
        Ok(())
    }
}

/// The name in the line of a check that was skipped.
pub(super) fn skipped(line: &str) -> Option<&str> {
    let (name, _reason) = line.strip_prefix("skip  ")?.split_once(": ")?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_checks_have_names() {
        assert_eq!(skipped("skip  planes: the RMM has none: none"), Some("planes"));
        assert_eq!(skipped("pass  planes: 3"), None);
        assert_eq!(skipped("skip  planes"), None);
        assert_eq!(skipped(" skip  planes: none"), None);
    }

    #[test]
    fn other_checks_that_are_skipped_are_a_failure() {
        let counts = Counts { passed: 2, failed: 0, skipped: 1 };
        let found = Found { counts, skipped: vec!["planes".into()] };
        assert_eq!(found.expect(2, &["planes"]), Ok(()));
        assert_eq!(
            found.expect(2, &["kick"]),
            Err(r#"skipped ["planes"], but expected ["kick"]"#.into())
        );
        let other = |passed, skipped| format!("{counts}, but expected {passed} passed, {skipped}");
        assert_eq!(found.expect(3, &["planes"]), Err(other(3, "0 failed, 1 skipped")));
        assert_eq!(found.expect(2, &[]), Err(other(2, "0 failed, 0 skipped")));
        let failed = Counts { failed: 1, ..counts };
        let failed = Found { counts: failed, ..found };
        assert!(failed.expect(2, &["planes"]).is_err());
    }

    #[test]
    fn a_line_of_counts_has_nothing_else() {
        let counts = Counts { passed: 12, failed: 3, skipped: 4 };
        assert_eq!(Counts::parse("12 passed, 3 failed, 4 skipped"), Some(counts));
        assert_eq!(Counts::parse(&counts.to_string()), Some(counts));
        for line in [
            "",
            "12 passed, 3 failed",
            "12 passed, 3 failed, 4 skipped, 5 more",
            "12 passed, 3 failed, 4 skipped.",
            "12 passed, 3 skipped, 4 failed",
            "all: 12 passed, 3 failed, 4 skipped",
            "-1 passed, 3 failed, 4 skipped",
        ] {
            assert_eq!(Counts::parse(line), None, "{line}");
        }
    }
}
