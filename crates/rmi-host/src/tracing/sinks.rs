//! Ready-made places for the lines of a trace.

use core::cell::RefCell;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

use super::TraceSink;

/// Writes lines to a [`core::fmt::Write`] in a cell of the caller's choice.
///
/// The cell decides who may share the sink: with a [`RefCell`] it is for one thread, and the compiler sees to that; with a `std::sync::Mutex` (feature `std`) it
/// is for all. A sink for other locks is a closure.
///
/// A line that cannot be written is left out and counted: because the writer fails, or because it is called from inside a line, by a writer that itself calls the
/// RMM.
#[derive(Debug)]
pub struct WriteSink<L> {
    cell: L,
    lost: AtomicU64,
}

impl<L> WriteSink<L> {
    /// Writes to what is in `cell`.
    pub const fn new(cell: L) -> Self {
        Self { cell, lost: AtomicU64::new(0) }
    }

    /// The cell.
    pub const fn get(&self) -> &L {
        &self.cell
    }

    /// Gives the cell back.
    pub fn into_inner(self) -> L {
        self.cell
    }

    /// Lines that could not be written, or not to their end.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn write(&self, writer: Option<impl core::ops::DerefMut<Target: Write>>, line: fmt::Arguments) {
        let written = writer.is_some_and(|mut writer| writeln!(writer, "{line}").is_ok());
        if !written {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<W: Write> TraceSink for WriteSink<RefCell<W>> {
    fn line(&self, line: fmt::Arguments<'_>) {
        self.write(self.cell.try_borrow_mut().ok(), line);
    }
}

#[cfg(feature = "std")]
impl<W: Write> TraceSink for WriteSink<std::sync::Mutex<W>> {
    fn line(&self, line: fmt::Arguments<'_>) {
        // A writer that panicked has lost at most its own line.
        let writer = self.cell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.write(Some(writer), line);
    }
}

/// Sends lines to the `log` crate, as records of one level and target.
///
/// A line is formatted only if the logger wants that level and target.
///
/// ```
/// use log::Level;
/// use rmi_abi::Dialect;
/// use rmi_host::tracing::{LogSink, Tracing};
/// use rmm_model::{Model, Options};
///
/// let dialect = Dialect::TfRmm2026_07;
/// let model = Model::new(Options::new(dialect))?;
/// let door = Tracing::new(&model, LogSink::new(Level::Trace, "rmi"), dialect);
/// # let _ = door;
/// # Ok::<(), rmm_model::OptionsError>(())
/// ```
#[cfg(feature = "log")]
#[derive(Clone, Copy, Debug)]
pub struct LogSink {
    level: log::Level,
    target: &'static str,
}

#[cfg(feature = "log")]
impl LogSink {
    /// Logs with `level`, for `target`.
    #[must_use]
    pub const fn new(level: log::Level, target: &'static str) -> Self {
        Self { level, target }
    }
}

#[cfg(feature = "log")]
impl TraceSink for LogSink {
    fn line(&self, line: fmt::Arguments<'_>) {
        log::log!(target: self.target, self.level, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    #[test]
    fn a_line_inside_a_line_is_lost_and_counted() {
        let sink = WriteSink::new(RefCell::new(String::new()));
        sink.line(format_args!("one"));
        let held = sink.get().borrow_mut();
        sink.line(format_args!("two"));
        drop(held);
        sink.line(format_args!("three"));
        assert_eq!(sink.lost(), 1);
        assert_eq!(sink.into_inner().into_inner(), "one\nthree\n");
    }

    #[test]
    fn a_full_writer_loses_lines_and_nothing_else() {
        struct Full;
        impl Write for Full {
            fn write_str(&mut self, _: &str) -> fmt::Result {
                Err(fmt::Error)
            }
        }
        let sink = WriteSink::new(RefCell::new(Full));
        sink.line(format_args!("one"));
        assert_eq!(sink.lost(), 1);
    }

    #[cfg(feature = "std")]
    #[test]
    fn threads_share_a_mutex() {
        let sink = WriteSink::new(std::sync::Mutex::new(String::new()));
        std::thread::scope(|scope| {
            for n in 0..4 {
                let sink = &sink;
                scope.spawn(move || sink.line(format_args!("{n}")));
            }
        });
        assert_eq!(sink.lost(), 0);
        let mut lines: std::vec::Vec<_> =
            sink.get().lock().unwrap().lines().map(String::from).collect();
        lines.sort();
        assert_eq!(lines, ["0", "1", "2", "3"]);
    }

    #[cfg(feature = "log")]
    #[test]
    fn the_log_crate_gets_lines_with_level_and_target() {
        use std::sync::Mutex;

        static SEEN: Mutex<String> = Mutex::new(String::new());
        struct Keeper;
        impl log::Log for Keeper {
            fn enabled(&self, _: &log::Metadata<'_>) -> bool {
                true
            }
            fn log(&self, record: &log::Record<'_>) {
                let (level, target) = (record.level(), record.target());
                let _ = write!(SEEN.lock().unwrap(), "{level} {target} {}", record.args());
            }
            fn flush(&self) {}
        }
        log::set_logger(&Keeper).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
        LogSink::new(log::Level::Trace, "rmi").line(format_args!("unwanted"));
        LogSink::new(log::Level::Debug, "rmi").line(format_args!("wanted"));
        assert_eq!(*SEEN.lock().unwrap(), "DEBUG rmi wanted");
    }
}
