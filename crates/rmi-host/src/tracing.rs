//! A conduit that tells, one line a call, as strace does.
//!
//! | Sink | For |
//! |---|---|
//! | any `Fn(fmt::Arguments)` | everything else |
//! | [`WriteSink`] over a [`RefCell`](core::cell::RefCell) | a [`core::fmt::Write`], one thread |
//! | [`WriteSink`] over a `std::sync::Mutex`, feature `std` | a [`core::fmt::Write`], any number of threads |
//! | `LogSink`, feature `log` | the `log` crate |
//!
//! ```
//! use core::cell::RefCell;
//! use rmi_abi::Dialect;
//! use rmi_host::tracing::{Tracing, WriteSink};
//! use rmi_host::{Discovered, Host, SessionOptions};
//! use rmm_model::{Model, Options};
//!
//! let dialect = Dialect::TfRmm2026_07;
//! let model = Model::new(Options::new(dialect))?;
//! let door = Tracing::new(&model, WriteSink::new(RefCell::new(String::new())), dialect);
//! assert!(Discovered::probe(Host::new(&door, &model), SessionOptions::default()).is_ok());
//!
//! let text = door.into_sink().into_inner().into_inner();
//! let mut lines = text.lines();
//! assert_eq!(lines.next(), Some("RMI_VERSION(req=2.0) = RMI_SUCCESS lower=2.0 higher=2.0"));
//! assert_eq!(lines.next(), Some("0xc4000211() = 0xffffffffffffffff"));
//! # Ok::<(), rmm_model::OptionsError>(())
//! ```
#![expect(unsafe_code, reason = "the one door is an unsafe trait")]

mod sinks;

#[cfg(feature = "log")]
pub use sinks::LogSink;
pub use sinks::WriteSink;

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rmi_abi::Dialect;
use rmi_abi::trace::{CallDisplay, ResultDisplay};

use crate::conduit::{Conduit, NO_ANSWER, NOT_SENT, Registers, Simulated};
use crate::granules::Machine;

/// Where the lines of a trace go. Called on any CPU, after each call.
pub trait TraceSink {
    /// Takes one line, without its end.
    fn line(&self, line: fmt::Arguments<'_>);
}

impl<F: Fn(fmt::Arguments<'_>)> TraceSink for F {
    fn line(&self, line: fmt::Arguments<'_>) {
        self(line);
    }
}

/// Prints calls and answers, decoded, on their way to another conduit.
///
/// A line costs time, and what a Realm says to its host is in it; trace to find out, not to keep.
#[derive(Debug)]
pub struct Tracing<C, S> {
    inner: C,
    sink: S,
    dialect: AtomicU8,
    silent: AtomicBool,
}

impl<C, S: TraceSink> Tracing<C, S> {
    /// Prints what goes to `inner`, as `dialect` reads it.
    pub const fn new(inner: C, sink: S, dialect: Dialect) -> Self {
        Self { inner, sink, dialect: AtomicU8::new(dialect as u8), silent: AtomicBool::new(false) }
    }

    /// Where the lines go.
    pub const fn sink(&self) -> &S {
        &self.sink
    }

    /// Ends the tracing and gives the sink back.
    pub fn into_sink(self) -> S {
        self.sink
    }

    /// Reads calls in another dialect from now on: for when probing has found it.
    pub fn set_dialect(&self, dialect: Dialect) {
        self.dialect.store(dialect as u8, Ordering::Relaxed);
    }

    /// Stops or resumes printing; a silent conduit only passes calls on.
    pub fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// The dialect that calls are read in.
    pub fn dialect(&self) -> Dialect {
        let code = self.dialect.load(Ordering::Relaxed);
        Dialect::ALL.into_iter().find(|dialect| *dialect as u8 == code).unwrap_or(Dialect::V2_0Bet3)
    }
}

// SAFETY: the answers are those of the conduit inside.
unsafe impl<C: Conduit, S: TraceSink> Conduit for Tracing<C, S> {
    fn machine(&self) -> Machine {
        self.inner.machine()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        // SAFETY: the caller's promise is passed on unchanged.
        let answer = unsafe { self.inner.call(registers) };
        if self.silent.load(Ordering::Relaxed) {
            return answer;
        }
        let call = CallDisplay::new(self.dialect(), &registers);
        let ([x0, ..], [no_answer, ..], [not_sent, ..]) = (answer, NO_ANSWER, NOT_SENT);
        match call.command() {
            _ if x0 == no_answer => self.sink.line(format_args!("{call} = no answer")),
            _ if x0 == not_sent => self.sink.line(format_args!("{call} = not sent")),
            Some(command) => {
                let result =
                    ResultDisplay::new(self.dialect(), command, &answer).of_call(&registers);
                self.sink.line(format_args!("{call} = {result}"));
            }
            None => self.sink.line(format_args!("{call} = {x0:#x}")),
        }
        answer
    }
}

// SAFETY: the calls are those of the conduit inside.
unsafe impl<C: Simulated, S: TraceSink> Simulated for Tracing<C, S> {}
