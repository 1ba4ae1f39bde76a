//! Sinks for the lines of a trace.

use core::cell::RefCell;
use core::fmt::{self, Write};
#[cfg(feature = "std")]
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::{AtomicU64, Ordering};

use super::TraceSink;

/// Writes lines to a [`core::fmt::Write`] in a cell of the caller's choice.
///
/// The cell determines which threads can share the sink: with a [`RefCell`] it is for one thread,
/// which the compiler enforces; with a `std::sync::Mutex` (feature `std`) it is for all. For other
/// locks, use a closure as the sink.
///
/// A line that cannot be written is omitted and counted: because the writer fails, or because it is
/// called from inside a line, by a writer that itself calls the RMM. A thread that holds the mutex
/// from [`WriteSink::get`] must make no calls: writing their lines would deadlock.
#[derive(Debug)]
pub struct WriteSink<L> {
    cell: L,
    lost: AtomicU64,
    /// The thread that is writing a line, by the number of [`this_thread`]; 0 for none.
    #[cfg(feature = "std")]
    writing: AtomicUsize,
}

impl<L> WriteSink<L> {
    /// Writes to the writer in `cell`.
    pub const fn new(cell: L) -> Self {
        Self {
            cell,
            lost: AtomicU64::new(0),
            #[cfg(feature = "std")]
            writing: AtomicUsize::new(0),
        }
    }

    /// The cell.
    pub const fn get(&self) -> &L {
        &self.cell
    }

    /// Returns the cell.
    pub fn into_inner(self) -> L {
        self.cell
    }

    /// The number of lines that could not be written, or not completely.
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
        /// Records that no thread is writing, also when the writer panicked.
        struct Done<'s>(&'s AtomicUsize);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(0, Ordering::Relaxed);
            }
        }

        let this = this_thread();
        // Only this thread stores its own number, so the comparison with it is reliable. Waiting
        // for the lock here would never end.
        if self.writing.load(Ordering::Relaxed) == this {
            return self.write(None::<&mut W>, line);
        }
        // A writer that panicked has lost at most its own line.
        let mut writer = self.cell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.writing.store(this, Ordering::Relaxed);
        // Dropped before the guard of the lock: afterwards the next thread may have stored its
        // number.
        let _done = Done(&self.writing);
        self.write(Some(&mut *writer), line);
    }
}

/// A number that no other thread has while this one exists, and that is never 0.
#[cfg(feature = "std")]
fn this_thread() -> usize {
    std::thread_local! {
        static NUMBER: u8 = const { 0 };
    }
    NUMBER.with(|number| core::ptr::from_ref(number).addr())
}

/// Sends lines to the `log` crate, as records of one level and target.
///
/// A line is formatted only if the logger has that level and target enabled.
///
/// ```
/// use log::Level;
/// use rmi_abi::Dialect;
/// use rmi_conduits::tracing::{LogSink, Tracing};
/// use rmm_model::{Model, Options};
///
/// let dialect = Dialect::TfRmm2026_07;
/// let model = Model::new(Options::new(dialect))?;
/// let conduit = Tracing::new(&model, LogSink::new(Level::Trace, "rmi"), dialect);
/// # let _ = conduit;
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

    #[cfg(feature = "std")]
    #[test]
    fn sound_9_a_line_inside_a_line_of_a_mutex_is_lost_and_counted() {
        use std::sync::{Arc, Mutex, OnceLock, Weak};

        #[derive(Default)]
        struct Caller {
            sink: Weak<OnceLock<WriteSink<Mutex<Caller>>>>,
            text: String,
            panics: bool,
        }
        impl Write for Caller {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                if let Some(sink) = self.sink.upgrade().as_ref().and_then(|sink| sink.get()) {
                    sink.line(format_args!("inner"));
                }
                assert!(!core::mem::take(&mut self.panics), "a panic on purpose");
                self.text.push_str(text);
                Ok(())
            }
        }
        let place = Arc::new(OnceLock::new());
        let caller = Caller { sink: Arc::downgrade(&place), panics: true, ..Caller::default() };
        let sink = place.get_or_init(|| WriteSink::new(Mutex::new(caller)));
        let line = std::panic::AssertUnwindSafe(|| sink.line(format_args!("zero")));
        assert!(std::panic::catch_unwind(line).is_err());
        let before = sink.lost();
        assert!(before > 0);
        // A writer that panicked does not block other threads.
        sink.line(format_args!("one"));
        std::thread::scope(|scope| scope.spawn(|| sink.line(format_args!("two"))).join()).unwrap();
        assert!(sink.lost() >= before + 2);
        assert_eq!(sink.get().lock().unwrap_or_else(|lock| lock.into_inner()).text, "one\ntwo\n");
    }

    #[cfg(feature = "log")]
    #[test]
    fn the_log_crate_gets_lines_with_level_and_target() {
        use std::sync::Mutex;

        static SEEN: Mutex<String> = Mutex::new(String::new());
        struct Collector;
        impl log::Log for Collector {
            fn enabled(&self, _: &log::Metadata<'_>) -> bool {
                true
            }
            fn log(&self, record: &log::Record<'_>) {
                let (level, target) = (record.level(), record.target());
                let _ = write!(SEEN.lock().unwrap(), "{level} {target} {}", record.args());
            }
            fn flush(&self) {}
        }
        log::set_logger(&Collector).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
        LogSink::new(log::Level::Trace, "rmi").line(format_args!("unwanted"));
        LogSink::new(log::Level::Debug, "rmi").line(format_args!("wanted"));
        assert_eq!(*SEEN.lock().unwrap(), "DEBUG rmi wanted");
    }
}
