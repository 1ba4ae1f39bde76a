//! The machine: QEMU.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::counts::{Counts, Found, skipped};
use crate::Failure;
use crate::output::say;

/// QEMU, as distributions install it, and the package of Debian that it is in.
pub(super) const QEMU: &str = "qemu-system-aarch64";
pub(super) const PACKAGE: &str = "qemu-system-arm";
/// The machine: CPUs have EL2 and EL3.
const MACHINE: &str = "virt,secure=on,virtualization=on,gic-version=3";
/// A program that prints more lines than this is stopped.
const MOST_LINES: u64 = 1 << 20;
/// Longest line, in bytes.
const LONGEST_LINE: u64 = 1 << 16;

/// A machine with the model in its flash, and a host in its memory.
pub(super) struct Machine<'m> {
    pub(super) qemu: &'m str,
    pub(super) flash: &'m Path,
    pub(super) host: &'m Path,
    pub(super) dialect: &'m str,
    pub(super) cpus: u32,
}

impl Machine<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(self.qemu);
        command
            .args(["-machine", MACHINE, "-cpu", "max", "-m", "1G", "-smp"])
            .arg(self.cpus.to_string())
            .args(["-nodefaults", "-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-no-reboot", "-fw_cfg"])
            .arg(format!("name=opt/rmm-model/dialect,string={}", self.dialect))
            .arg("-bios")
            .arg(self.flash)
            .arg("-device")
            .arg(format!("loader,file={}", self.host.display()));
        command
    }

    /// Runs it until it turns itself off; prints what it prints, and returns the counts in the last
    /// line of that, with the names of the checks that it skipped.
    ///
    /// # Errors
    ///
    /// [`Failure`] when QEMU cannot be started or fails, does not end within `limit`, or the last
    /// line has no counts.
    pub(super) fn run(&self, limit: Duration) -> Result<Found, Failure> {
        watch(self.command(), limit, |line| say!("{line}"))
    }
}

/// See [`Machine::run`].
fn watch(
    mut command: Command,
    limit: Duration,
    mut print: impl FnMut(&str),
) -> Result<Found, Failure> {
    let end = Instant::now() + limit;
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = Stopped(child.map_err(|error| format!("QEMU: {error}"))?);
    let output = child.0.stdout.take().ok_or("QEMU has no output")?;
    let (send, lines) = mpsc::channel();
    // It ends with QEMU, or when the lines are no longer wanted.
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while let Ok(1..) = output.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if send.send(text).is_err() {
                break;
            }
        }
    });
    let (mut last, mut names) = (String::new(), Vec::new());
    for _ in 0..MOST_LINES {
        let left = end.saturating_duration_since(Instant::now());
        let received = match left {
            Duration::ZERO => Err(RecvTimeoutError::Timeout),
            left => lines.recv_timeout(left),
        };
        match received {
            Ok(line) => {
                print(&line);
                names.extend(skipped(&line).map(str::to_owned));
                if !line.is_empty() {
                    last = line;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("not over after {} seconds", limit.as_secs()).into());
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = child.0.wait()?;
                if !status.success() {
                    return Err(format!("QEMU: {status}").into());
                }
                let counts = Counts::parse(&last).ok_or("the last line has no counts")?;
                return Ok(Found { counts, skipped: names });
            }
        }
    }
    Err(format!("more than {MOST_LINES} lines").into())
}

/// A program that is stopped when it is no longer watched.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to stop.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn failure(script: &str, limit: Duration) -> String {
        watch(shell(script), limit, |_| {}).unwrap_err().to_string()
    }

    #[test]
    fn the_last_line_has_the_counts() {
        let script = "printf 'skip  a: b\\r\\n2 passed, 0 failed, 1 skipped\\r\\n\\n'";
        let mut printed = Vec::new();
        let found = watch(shell(script), LONG, |line| printed.push(line.to_owned())).unwrap();
        assert_eq!(found.counts, Counts { passed: 2, failed: 0, skipped: 1 });
        assert_eq!(found.skipped, ["a"]);
        assert_eq!(printed, ["skip  a: b", "2 passed, 0 failed, 1 skipped", ""]);
        for after in ["echo more", "printf 'failed: a panic'"] {
            let script = format!("echo 2 passed, 0 failed, 1 skipped; {after}");
            assert_eq!(failure(&script, LONG), "the last line has no counts");
        }
        assert_eq!(failure(":", LONG), "the last line has no counts");
    }

    #[test]
    fn a_machine_that_fails_or_does_not_end_is_a_failure() {
        let script = "echo 2 passed, 0 failed, 1 skipped";
        assert!(failure(&format!("{script}; exit 3"), LONG).starts_with("QEMU: "));
        let endless = format!("{script}; exec sleep 1000");
        assert_eq!(failure(&endless, Duration::from_secs(1)), "not over after 1 seconds");
        assert_eq!(failure("exec yes", LONG), "more than 1048576 lines");
    }
}
