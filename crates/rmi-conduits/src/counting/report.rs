//! The table that a counter prints.

use core::fmt;

use rmi_abi::{Command, Dialect};

use super::{Counting, Counts};

/// Everything that a [`Counting`] has counted, as a table: one line for each command that was
/// called, one for calls that are not commands of the dialect, one for probes, the total, and the
/// memory moved.
///
/// The counts are read while the table is printed.
#[derive(Clone, Copy, Debug)]
pub struct Report<'c, C> {
    counting: &'c Counting<C>,
    dialect: Dialect,
}

impl<'c, C> Report<'c, C> {
    pub(super) const fn new(counting: &'c Counting<C>, dialect: Dialect) -> Self {
        Self { counting, dialect }
    }

    /// The lines of the table without probes and the total: a command, or `None` for all calls that
    /// are not commands, with its counts. Commands that were not called are left out.
    pub fn rows(&self) -> impl Iterator<Item = (Option<Command>, Counts)> {
        let commands = self
            .dialect
            .commands()
            .map(|command| (Some(command), self.counting.counts(command, self.dialect)));
        let others = core::iter::once_with(|| (None, self.counting.others(self.dialect)));
        commands.chain(others).filter(|(_, counts)| counts.issued != 0)
    }
}

impl<C> fmt::Display for Report<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<32} {:>8} {:>8} {:>8} {:>8} {:>11}",
            "command", "issued", "failed", "busy", "blocked", "incomplete"
        )?;
        for (command, counts) in self.rows() {
            row(f, command.map_or("(not of this dialect)", Command::name), &counts)?;
        }
        let probes = Counts { issued: self.counting.probes(), ..Counts::default() };
        if probes.issued != 0 {
            row(f, "(probe for the dialect)", &probes)?;
        }
        let total = self.counting.total();
        row(f, "total", &total)?;
        writeln!(
            f,
            "granules delegated {}, undelegated {}, donated {}; runs reclaimed {}; operations \
             continued {}",
            total.delegated,
            total.undelegated,
            total.donated,
            total.reclaimed_runs,
            total.continued
        )
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, counts: &Counts) -> fmt::Result {
    let Counts { issued, failed, busy, blocked, incomplete, .. } = counts;
    writeln!(f, "{name:<32} {issued:>8} {failed:>8} {busy:>8} {blocked:>8} {incomplete:>11}")
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use rmi_host::OpenSessions;
    use rmi_host::conduit::{Conduit, Registers};

    struct NotSupported;

    // SAFETY: no call does anything, and no answer says that one did.
    unsafe impl Conduit for NotSupported {
        fn open_sessions(&self) -> &OpenSessions {
            OpenSessions::of_this_machine()
        }

        unsafe fn call(&self, _: Registers) -> Registers {
            [u64::MAX, 0, 0, 0, 0, 0, 0, 0]
        }
    }

    #[test]
    fn a_probe_is_named_and_no_failure() {
        let counting = Counting::new(NotSupported);
        for registers in [
            [0xc400_0211, 0, 0, 0, 0, 0, 0, 0],
            // Not a probe: it has a range.
            [0xc400_0211, 0, 0x4000_0000, 0, 0, 0, 0, 0],
        ] {
            // SAFETY: the call does nothing.
            let _ = unsafe { counting.call(registers) };
        }
        for dialect in [Dialect::TfRmm2026_07, Dialect::V2_0Bet3] {
            let report = counting.report(dialect).to_string();
            let row = |name: &str| {
                let row = report.lines().find(|row| row.starts_with(name)).unwrap();
                let counts = row[name.len()..].split_whitespace().take(2);
                counts.map(|count| count.parse().unwrap()).collect::<std::vec::Vec<u64>>()
            };
            assert_eq!(row("(probe for the dialect)"), [1, 0], "{report}");
            assert_eq!(row("total"), [2, 1], "{report}");
        }
    }
}
