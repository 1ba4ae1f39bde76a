//! The last line of a program.

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

#[cfg(test)]
mod tests {
    use super::*;

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
