//! The output at the end.

use std::fmt::Write as _;

use realm_sdk::abi::{Command, Dialect};
use realm_sdk::conduits::counting::Counts;

use crate::machine::TracedConduit;
use crate::output::say;

/// Prints the calls by command.
pub(crate) fn calls(conduit: &TracedConduit<'_>, dialect: Dialect) {
    let row = |name: &str, counts: Counts| {
        let Counts { issued, failed, incomplete, .. } = counts;
        let retried = counts.retried();
        say!("{name:<30} {issued:>9} {failed:>7} {retried:>8} {incomplete:>11}");
    };
    say!("{:<30} {:>9} {:>7} {:>8} {:>11}", "SMCs", "issued", "failed", "retried", "incomplete");
    for command in Command::ALL.iter().copied() {
        let counts = conduit.counts(command, dialect);
        if counts != Counts::default() {
            row(command.name(), counts);
        }
    }
    // Calls that the session makes to detect the dialect.
    let mut probes = Counts::default();
    probes.issued = conduit.probes();
    row("(probe for the dialect)", probes);
    row("total", conduit.total());
}

/// The digest part of a measurement as hex digits.
pub(crate) fn hex(measurement: &[u8]) -> String {
    measurement.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
