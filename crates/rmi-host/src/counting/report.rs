//! The table that a counter prints.

use core::fmt;

use rmi_abi::{Command, Dialect};

use super::{Counting, Counts};

/// Everything that a [`Counting`] has counted, as a table: one line for each command that was called, one for calls that are no commands of the dialect, the
/// total, and the memory moved.
///
/// The numbers are read while it is printed.
#[derive(Clone, Copy, Debug)]
pub struct Report<'c, C> {
    counting: &'c Counting<C>,
    dialect: Dialect,
}

impl<'c, C> Report<'c, C> {
    pub(super) const fn new(counting: &'c Counting<C>, dialect: Dialect) -> Self {
        Self { counting, dialect }
    }

    /// The lines of the table but the total: a command, or `None` for all that are none, with its counts. Commands that were not called are left out.
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
        let total = self.counting.total();
        row(f, "total", &total)?;
        writeln!(
            f,
            "granules delegated {}, undelegated {}, donated {}; runs reclaimed {}; operations continued {}",
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
