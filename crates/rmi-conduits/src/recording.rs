//! A conduit that records every call and the memory that it reads or writes, so that the session
//! can be replayed without an RMM.
//!
//! **A recording holds registers of Realms.** The run page of each `RMI_REC_ENTER` is in it: what a
//! Realm stores to devices, writes to system registers and passes in host calls, and what the host
//! answers. A recording that is passed on discloses these. Memory of Realms is not in it.
//!
//! The text itself says so, before the first of these pages, in a line that begins with
//! [`REGISTERS_FOLLOW`].
//!
//! A user attaches the text to a report; a developer runs the same host code on a `Replay` (feature
//! `alloc`).
//!
//! ```
//! use core::cell::RefCell;
//! use rmi_abi::Dialect;
//! use rmi_conduits::recording::Recording;
//! use rmi_conduits::tracing::WriteSink;
//! use rmi_host::{Discovered, Host, SessionOptions};
//! use rmm_model::{Model, Options};
//!
//! let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! let sink = WriteSink::new(RefCell::new(String::new()));
//! let recording = Recording::new(&model, &model, sink, Dialect::TfRmm2026_07);
//!
//! let platform = Host::new(&recording, &recording);
//! let found = Discovered::probe(platform, SessionOptions::default())?;
//! let configured = found.configure(&mut model.take_memory())?;
//! # let _ = configured;
//!
//! let text = recording.into_sink().into_inner().into_inner();
//! assert_eq!(
//!     text,
//!     "\
//! rmi-recording 1 tf-rmm-2026-07
//! call 0 c4000150 20000 = 0 20000 20000
//! call 1 c4000211 = ffffffffffffffff
//! call 2 c40001e1 = 1
//! call 3 c40001ee 1 1 1 = ffffffffffffffff
//! call 4 c4000165 = 0 314e30
//! call 5 c4000165 1 = 0 142a9
//! call 6 c4000165 2 = 0
//! call 7 c4000165 3 = 0
//! call 8 c4000165 4 = 0 fffe
//! call 9 c40001ec 80000000 = 0
//! out 9 80000000 1000
//! "
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The format
//!
//! ASCII text, one record in each line, words separated by single spaces, numbers in hexadecimal
//! without prefix (except the numbers of calls, which are decimal). Empty lines and lines that
//! begin with `#` are ignored.
//!
//! | Line | Meaning |
//! |---|---|
//! | `rmi-recording 1 DIALECT` | the first line: format, its version, the dialect by its [`Dialect::name`] |
//! | `dialect DIALECT` | calls are decoded in another dialect from here on |
//! | `call N X0 X1 … = X0 X1 …` | call number N, its registers and those of the answer; zeros at the end are left out, X0 never |
//! | `in N PA LEN [WORDS]…` | call N made the RMM read LEN bytes of host memory at PA |
//! | `out N PA LEN [WORDS]…` | the content of host memory after call N, where the RMM may have written |
//!
//! LEN is a multiple of 8 and at most 1000; the memory lies within one granule of 4 KiB. WORDS is
//! an offset from PA in bytes, a colon, and the 64-bit little-endian words from there on, with
//! commas between them: `200:2a,0,7`. Words that no WORDS name are 0. A word written `*` was
//! omitted on purpose.
//!
//! The lines of one call are in any order, and may be between those of others: calls from several
//! CPUs overlap. Numbers are assigned when calls begin. An `in` without a `call` belongs to a call
//! that had not returned when the recording ended.
//!
//! A change to the meaning of a line changes the version.
//!
//! # What is in it
//!
//! All registers of all calls. Of host memory: the parameter pages of Realms, RECs, devices and the
//! RMM's configuration, address lists, communication data, and run pages. Not the memory that a
//! Realm is populated with, nor buffers that communication data point to. Of a list in a granule of
//! 16 or 64 KiB, the first 512 entries: a session that uses longer ones is not replayed.
//!
//! # Privacy
//!
//! Run pages contain X0 to X30 of a Realm whenever it calls its host or is emulated: what it stores
//! to a device, and its arguments. [`Recording::redacted`] omits these words, in both halves of the
//! page. A replay then has zeros in their place, and so diverges where the host depends on them.
//! What is in any recording: physical and intermediate addresses, exit syndromes, fault addresses,
//! immediates of host calls, and what the host itself put into parameter pages, such as a
//! personalization value.
#![expect(unsafe_code, reason = "`Conduit` is an unsafe trait")]

mod line;
mod pages;

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Dialect, Pa};
use rmi_host::OpenSessions;
use rmi_host::access::{AccessFault, HostAccess};
use rmi_host::conduit::{Conduit, Registers, Simulated};
use rmi_host::granules::Machine;

use crate::atomic_dialect::AtomicDialect;
use crate::tracing::TraceSink;

#[cfg(feature = "alloc")]
pub(crate) use line::FORMAT;
pub(crate) use line::{CallLine, DialectLine, Direction, PageLine};
use pages::{Pages, Region};

/// The line before the first page in a recording that has registers of a Realm.
pub const REGISTERS_FOLLOW: &str = "# registers of Realms follow: what they store and send";

/// The most memory of one call, in bytes.
const PAGE: usize = 0x1000;
const _: () = assert!(PAGE as u64 == MIN_GRANULE);

/// Writes calls and their memory to a sink, and forwards the calls to another conduit.
///
/// It reads host memory before and after each call, needs 4 KiB of stack for that, and takes no
/// lock; it is for diagnosis, not for permanent use. It is also the [`HostAccess`] that it reads
/// through.
///
/// Which memory a call reads or writes follows from its registers and the dialect. In a wrong
/// dialect it is memory of another owner, so recording calls to anything but a [`Simulated`]
/// machine is unsafe:
///
/// ```compile_fail,E0277
/// # use rmi_abi::Dialect;
/// # use rmi_conduits::recording::Recording;
/// # use rmi_host::{Conduit, HostAccess};
/// # use rmi_conduits::tracing::TraceSink;
/// fn record<C: Conduit, A: HostAccess, S: TraceSink>(conduit: C, access: A, sink: S) {
///     Recording::new(conduit, access, sink, Dialect::V2_0Bet3); // error: not `Simulated`
/// }
/// ```
#[derive(Debug)]
pub struct Recording<C, A, S> {
    inner: C,
    access: A,
    sink: S,
    dialect: AtomicDialect,
    redacts: bool,
    /// Whether the recording has said that it holds registers of Realms.
    warned: AtomicBool,
    /// Whether the caller has promised that the dialect is right.
    promised: bool,
    calls: AtomicU64,
}

impl<C: Simulated, A, S: TraceSink> Recording<C, A, S> {
    /// Records all calls to `inner`, and what `access` reads of the memory that they read or write.
    /// Writes the first line at once.
    ///
    /// `dialect` is that of the session: in another, arguments are decoded wrongly, and other
    /// memory may be read.
    pub fn new(inner: C, access: A, sink: S, dialect: Dialect) -> Self {
        Self::with(inner, access, sink, dialect)
    }

    /// As [`Recording::new`], without the registers of Realms.
    pub fn redacted(inner: C, access: A, sink: S, dialect: Dialect) -> Self {
        Self::with(inner, access, sink, dialect).without_registers()
    }

    /// Decodes calls in another dialect from now on: for use when probing has determined it.
    pub fn set_dialect(&self, dialect: Dialect) {
        self.dialect.set(dialect);
        self.sink.line(format_args!("{}", DialectLine { first: false, dialect }));
    }
}

impl<C, A, S: TraceSink> Recording<C, A, S> {
    /// As [`Recording::new`], for a conduit to a real RMM.
    ///
    /// # Safety
    ///
    /// All calls are made in `dialect`: every session over this conduit is opened with that dialect
    /// forced
    /// ([`SessionOptions::dialect`](rmi_host::SessionOptions::dialect)).
    pub unsafe fn of_real(inner: C, access: A, sink: S, dialect: Dialect) -> Self {
        Self { promised: true, ..Self::with(inner, access, sink, dialect) }
    }

    fn with(inner: C, access: A, sink: S, dialect: Dialect) -> Self {
        sink.line(format_args!("{}", DialectLine { first: true, dialect }));
        let (dialect, calls) = (AtomicDialect::new(dialect), AtomicU64::new(0));
        Self {
            inner,
            access,
            sink,
            dialect,
            redacts: false,
            warned: AtomicBool::new(false),
            promised: false,
            calls,
        }
    }

    /// The same recording without the registers of Realms.
    #[must_use]
    pub fn without_registers(self) -> Self {
        Self { redacts: true, ..self }
    }

    /// The dialect in which calls are decoded.
    pub fn dialect(&self) -> Dialect {
        self.dialect.get()
    }

    /// Calls recorded so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The sink of the lines.
    pub const fn sink(&self) -> &S {
        &self.sink
    }

    /// Ends the recording and returns the sink.
    pub fn into_sink(self) -> S {
        self.sink
    }
}

impl<C, A: HostAccess, S: TraceSink> Recording<C, A, S> {
    /// Writes the content of `region`. Memory that the host cannot access is omitted.
    ///
    /// # Safety
    ///
    /// As [`HostAccess::read`], for `region`.
    // The page is on the stack only in this function: not while the call is made.
    #[inline(never)]
    unsafe fn page(&self, direction: Direction, number: u64, region: Region) {
        let mut page = [0; PAGE];
        let length = usize::try_from(region.bytes).unwrap_or(0);
        let Some(bytes) = page.get_mut(..length) else { return };
        // SAFETY: the caller's promise is passed on unchanged.
        if unsafe { self.access.read(region.at, bytes) }.is_err() {
            return;
        }
        if !self.redacts && region.is_run_page() && !self.warned.swap(true, Ordering::Relaxed) {
            self.sink.line(format_args!("{REGISTERS_FOLLOW}"));
        }
        let (words, _) = bytes.as_chunks();
        let words = words.iter().map(|word| u64::from_le_bytes(*word)).enumerate();
        let told = |(index, word)| {
            let secret = self.redacts && region.is_gpr(index);
            (index, if secret { None } else { Some(word) })
        };
        let line = PageLine {
            direction,
            number,
            at: region.at,
            bytes: region.bytes,
            words: Cell::new(Some(words.map(told).filter(|(_, word)| *word != Some(0)))),
        };
        self.sink.line(format_args!("{line}"));
    }
}

// SAFETY: the answers are those of the inner conduit.
unsafe impl<C: Conduit, A: HostAccess, S: TraceSink> Conduit for Recording<C, A, S> {
    fn open_sessions(&self) -> &OpenSessions {
        self.inner.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut pages = Pages::of(self.dialect(), &registers);
        // What the caller owns is memory of the conduit's machine. In a wrong dialect other memory
        // is read, which is safe unless it is memory of the program.
        let machine = self.access.machine();
        let harmless = self.promised || machine != Machine::REAL;
        if machine != self.inner.open_sessions().machine() || !harmless {
            pages = Pages::default();
        }
        if let Some(region) = pages.reads {
            // SAFETY: the caller owns what the registers name, holds no reference into it, and
            // passes it to the RMM as host memory; or no pointer of the program reaches it.
            unsafe { self.page(Direction::In, number, region) };
        }
        // SAFETY: the caller's promise is passed on unchanged.
        let answer = unsafe { self.inner.call(registers) };
        let line = CallLine { number, call: &registers, answer: &answer };
        self.sink.line(format_args!("{line}"));
        if let Some(region) = pages.writes {
            // SAFETY: as above; no command takes away a page to which it writes its results.
            unsafe { self.page(Direction::Out, number, region) };
        }
        answer
    }
}

// SAFETY: the memory is that of the inner access.
unsafe impl<C, A: HostAccess, S> HostAccess for Recording<C, A, S> {
    fn machine(&self) -> Machine {
        self.access.machine()
    }

    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { self.access.read(at, into) }
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { self.access.write(at, from) }
    }
}

// SAFETY: the calls are those of the inner conduit.
unsafe impl<C: Simulated, A: HostAccess, S: TraceSink> Simulated for Recording<C, A, S> {}
