//! A conduit that prints one line for each call, as strace does.
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
//! use rmi_conduits::tracing::{Tracing, WriteSink};
//! use rmi_host::{Discovered, Host, SessionOptions};
//! use rmm_model::{Model, Options};
//!
//! let dialect = Dialect::TfRmm2026_07;
//! let model = Model::new(Options::new(dialect))?;
//! let conduit =
//!     Tracing::new(&model, WriteSink::new(RefCell::new(String::new())), dialect);
//! assert!(
//!     Discovered::probe(Host::new(&conduit, &model), SessionOptions::default()).is_ok()
//! );
//!
//! let text = conduit.into_sink().into_inner().into_inner();
//! let mut lines = text.lines();
//! assert_eq!(
//!     lines.next(),
//!     Some("RMI_VERSION(req=2.0) = RMI_SUCCESS lower=2.0 higher=2.0")
//! );
//! // A function that the dialect does not have: the session determines the dialect by it.
//! assert_eq!(lines.next(), Some("0xc4000211() = NOT_SUPPORTED (no such function)"));
//! # Ok::<(), rmm_model::OptionsError>(())
//! ```
//!
//! With access to memory ([`Tracing::with_exits`]) the line of each `RMI_REC_ENTER` contains the
//! exit of the REC:
//!
//! ```text
//! RMI_REC_ENTER(rec=0x80015000, run_ptr=0x80041000) = RMI_SUCCESS exit=HOST_CALL{imm=0x5d0}
//! ```
#![expect(unsafe_code, reason = "`Conduit` is an unsafe trait")]

mod sinks;

#[cfg(feature = "log")]
pub use sinks::LogSink;
pub use sinks::WriteSink;

use core::fmt;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rmi_abi::run::{RecExit, RecRun};
use rmi_abi::trace::{CallDisplay, ExitDisplay, ResultDisplay};
use rmi_abi::{Command, Dialect, GranuleSize, Pa, ResultWord, Status};
use rmi_host::OpenSessions;
use rmi_host::access::{AccessFault, HostAccess};
use rmi_host::conduit::{Conduit, NO_ANSWER, NOT_SENT, Registers, Simulated};
use rmi_host::granules::Machine;
use zerocopy::{FromZeros, IntoBytes};

use crate::atomic_dialect::AtomicDialect;

/// The sink of the lines of a trace. Called on any CPU, after each call.
pub trait TraceSink {
    /// Takes one line, without a line end.
    fn line(&self, line: fmt::Arguments<'_>);
}

impl<F: Fn(fmt::Arguments<'_>)> TraceSink for F {
    fn line(&self, line: fmt::Arguments<'_>) {
        self(line);
    }
}

/// No memory to read exits from: what [`Tracing::new`] traces with.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoExits;

// SAFETY: no memory is accessed.
unsafe impl HostAccess for NoExits {
    fn machine(&self) -> Machine {
        Machine::REAL
    }

    unsafe fn read(&self, at: Pa, _: &mut [u8]) -> Result<(), AccessFault> {
        Err(AccessFault { at })
    }

    unsafe fn write(&self, at: Pa, _: &[u8]) -> Result<(), AccessFault> {
        Err(AccessFault { at })
    }
}

/// Prints calls and answers, decoded, and forwards the calls to another conduit.
///
/// A line costs time, and contains what a Realm passes to its host; it is for diagnosis, not for
/// permanent use.
#[derive(Debug)]
pub struct Tracing<C, S, A = NoExits> {
    inner: C,
    sink: S,
    access: A,
    dialect: AtomicDialect,
    /// The code of the size of the RMM's granules.
    granule: AtomicU8,
    silent: AtomicBool,
}

impl<C, S: TraceSink> Tracing<C, S> {
    /// Prints the calls to `inner`, decoded in `dialect`.
    pub const fn new(inner: C, sink: S, dialect: Dialect) -> Self {
        Self::with(inner, NoExits, sink, dialect)
    }
}

impl<C, S: TraceSink, A: HostAccess> Tracing<C, S, A> {
    /// As [`Tracing::new`]; also prints the exit of a REC after each entry, which it reads from the
    /// run page. That takes 2 KiB of stack after the call.
    ///
    /// If `access` is for the memory of another machine than `inner` calls, no exit is printed.
    pub const fn with_exits(inner: C, access: A, sink: S, dialect: Dialect) -> Self {
        Self::with(inner, access, sink, dialect)
    }
}

impl<C, S, A> Tracing<C, S, A> {
    const fn with(inner: C, access: A, sink: S, dialect: Dialect) -> Self {
        let dialect = AtomicDialect::new(dialect);
        let granule = AtomicU8::new(0);
        Self { inner, sink, access, dialect, granule, silent: AtomicBool::new(false) }
    }

    /// The sink of the lines.
    pub const fn sink(&self) -> &S {
        &self.sink
    }

    /// Ends the tracing and returns the sink.
    pub fn into_sink(self) -> S {
        self.sink
    }

    /// Decodes calls in another dialect from now on: for use when probing has determined it.
    pub fn set_dialect(&self, dialect: Dialect) {
        self.dialect.set(dialect);
    }

    /// Prints the addresses of accesses on an RMM with granules of this size from now on, which is
    /// 4 KiB at first: for use when the RMM is configured.
    pub fn set_granule_size(&self, granule: GranuleSize) {
        self.granule.store(granule.code(), Ordering::Relaxed);
    }

    /// The size of granules by which addresses are printed.
    pub fn granule_size(&self) -> GranuleSize {
        let code = self.granule.load(Ordering::Relaxed);
        GranuleSize::from_code(code).unwrap_or(GranuleSize::Size4KiB)
    }

    /// Stops or resumes printing; while it is stopped, the conduit only forwards calls.
    pub fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// The dialect in which calls are decoded.
    pub fn dialect(&self) -> Dialect {
        self.dialect.get()
    }
}

impl<C: Conduit, S: TraceSink, A: HostAccess> Tracing<C, S, A> {
    /// Prints a call that was made.
    ///
    /// # Safety
    ///
    /// The caller that made it has kept the promise of [`Conduit::call`].
    unsafe fn print(&self, call: &Registers, answer: &Registers) {
        let dialect = self.dialect();
        let shown = CallDisplay::new(dialect, call);
        let ([x0, ..], [no_answer, ..], [not_sent, ..]) = (*answer, NO_ANSWER, NOT_SENT);
        if x0 == no_answer {
            return self.sink.line(format_args!("{shown} = no answer"));
        }
        if x0 == not_sent {
            return self.sink.line(format_args!("{shown} = not sent"));
        }
        let Some(command) = shown.command() else {
            return match ResultWord(x0).is_not_supported() {
                true => self.sink.line(format_args!("{shown} = NOT_SUPPORTED (no such function)")),
                false => self.sink.line(format_args!("{shown} = {x0:#x}")),
            };
        };
        let result = ResultDisplay::new(dialect, command, answer).of_call(call);
        if command == Command::RecEnter && result.word().status() == Status::Success {
            // SAFETY: the caller's promise is passed on unchanged.
            unsafe { self.print_exit(&shown, &result, call) };
        } else {
            self.sink.line(format_args!("{shown} = {result}"));
        }
    }

    /// Prints the line of an entry, with the exit if it can be read.
    ///
    /// # Safety
    ///
    /// As [`Tracing::print`].
    // The record is on the stack only in this function.
    #[inline(never)]
    unsafe fn print_exit(
        &self,
        shown: &CallDisplay<'_>,
        result: &ResultDisplay<'_>,
        call: &Registers,
    ) {
        // In every dialect the run page is the second argument.
        let [_, _, run, ..] = *call;
        let mut exit = RecExit::new_zeroed();
        let at = run.checked_add(offset_of!(RecRun, exit) as u64);
        let read = self.access.machine() == self.inner.open_sessions().machine()
            && at.is_some_and(|at| {
                // SAFETY: the page was named as the host's by a call, so the caller that made it
                // owns the page and has no reference to it; and the memory is that of the machine
                // which was called.
                unsafe { self.access.read(Pa::new(at), exit.as_mut_bytes()) }.is_ok()
            });
        if read {
            let exit = ExitDisplay::new(self.dialect(), &exit).with_granule(self.granule_size());
            self.sink.line(format_args!("{shown} = {result} exit={exit}"));
        } else {
            self.sink.line(format_args!("{shown} = {result}"));
        }
    }
}

// SAFETY: the answers are those of the inner conduit.
unsafe impl<C: Conduit, S: TraceSink, A: HostAccess> Conduit for Tracing<C, S, A> {
    fn open_sessions(&self) -> &OpenSessions {
        self.inner.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        // SAFETY: the caller's promise is passed on unchanged.
        let answer = unsafe { self.inner.call(registers) };
        if !self.silent.load(Ordering::Relaxed) {
            // SAFETY: the caller has promised what a call needs.
            unsafe { self.print(&registers, &answer) };
        }
        answer
    }
}

// SAFETY: the calls are those of the inner conduit.
unsafe impl<C: Simulated, S: TraceSink, A: HostAccess> Simulated for Tracing<C, S, A> {}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use core::cell::RefCell;
    use std::string::String;

    use super::*;

    /// Answers every call with X0, and has a run page with a `FIQ` exit.
    struct Fake {
        sessions: OpenSessions,
        x0: u64,
    }

    // SAFETY: nothing is done.
    unsafe impl Conduit for Fake {
        fn open_sessions(&self) -> &OpenSessions {
            &self.sessions
        }

        unsafe fn call(&self, _: Registers) -> Registers {
            [self.x0, 0, 0, 0, 0, 0, 0, 0]
        }
    }

    // SAFETY: no memory is accessed.
    unsafe impl HostAccess for Fake {
        fn machine(&self) -> Machine {
            self.sessions.machine()
        }

        unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
            if at != Pa::new(0x2800) {
                return Err(AccessFault { at });
            }
            into.fill(0);
            if let [reason, ..] = into {
                *reason = 2;
            }
            Ok(())
        }

        unsafe fn write(&self, at: Pa, _: &[u8]) -> Result<(), AccessFault> {
            Err(AccessFault { at })
        }
    }

    fn entry(x0: u64, run: u64, conduit: Machine, memory: Machine) -> String {
        let sink = WriteSink::new(RefCell::new(String::new()));
        let conduit = Fake { sessions: OpenSessions::new(conduit), x0 };
        let memory = Fake { sessions: OpenSessions::new(memory), x0 };
        let tracing = Tracing::with_exits(conduit, memory, sink, Dialect::TfRmm2026_07);
        // SAFETY: nothing is done.
        let _ = unsafe { tracing.call([0xc400_015c, 0x1000, run, 0, 0, 0, 0, 0]) };
        tracing.into_sink().into_inner().into_inner()
    }

    #[test]
    fn the_exit_is_read_where_there_is_one_to_read() {
        let (real, other) = (Machine::REAL, Machine::simulated());
        let call = "RMI_REC_ENTER(rec=0x1000, run_ptr=0x2000) = ";
        assert_eq!(entry(0, 0x2000, real, real), [call, "RMI_SUCCESS exit=FIQ\n"].concat());
        // Memory of another machine, an entry that was refused, no answer.
        assert_eq!(entry(0, 0x2000, real, other), [call, "RMI_SUCCESS\n"].concat());
        assert_eq!(entry(1, 0x2000, real, real), [call, "RMI_ERROR_INPUT\n"].concat());
        assert_eq!(entry(NO_ANSWER[0], 0x2000, real, real), [call, "no answer\n"].concat());
        // An address that cannot be accessed, or is beyond all addresses.
        for run in [0x3000, u64::MAX] {
            assert!(entry(0, run, real, real).ends_with(" = RMI_SUCCESS\n"));
        }
    }

    /// The run page of an emulated store, by a granule of 64 KiB.
    struct Store(OpenSessions);

    // SAFETY: no memory is accessed.
    unsafe impl HostAccess for Store {
        fn machine(&self) -> Machine {
            self.0.machine()
        }

        unsafe fn read(&self, _: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
            let mut exit = RecExit::new_zeroed();
            (exit.esr, exit.hpfar, exit.far) = (0x9380_8047, 0x80_0900_0000 >> 8, 0xbcd8);
            into.copy_from_slice(exit.as_bytes());
            Ok(())
        }

        unsafe fn write(&self, at: Pa, _: &[u8]) -> Result<(), AccessFault> {
            Err(AccessFault { at })
        }
    }

    #[test]
    fn an_access_is_printed_by_the_size_of_granules_that_was_set() {
        let sink = WriteSink::new(RefCell::new(String::new()));
        let conduit = Fake { sessions: OpenSessions::new(Machine::REAL), x0: 0 };
        let memory = Store(OpenSessions::new(Machine::REAL));
        let tracing = Tracing::with_exits(conduit, memory, sink, Dialect::V2_0Bet3);
        let enter = u64::from(Command::RecEnter.fid(Dialect::V2_0Bet3).unwrap().0);
        assert_eq!(tracing.granule_size(), GranuleSize::Size4KiB);
        for (granule, ipa) in [
            (None, "ipa=0x8009000cd8}\n"),
            (Some(GranuleSize::Size64KiB), "ipa=0x800900bcd8}\n"),
            (Some(GranuleSize::Size16KiB), "ipa=0x8009003cd8}\n"),
        ] {
            if let Some(granule) = granule {
                tracing.set_granule_size(granule);
                assert_eq!(tracing.granule_size(), granule);
            }
            // SAFETY: nothing is done.
            let _ = unsafe { tracing.call([enter, 0x1000, 0x2000, 0, 0, 0, 0, 0]) };
            let text = tracing.sink().get().take();
            assert!(text.ends_with(ipa), "{text}");
        }
    }
}
