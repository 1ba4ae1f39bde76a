//! An RMM in another process, over the line protocol.
//!
//! `docs/model-protocol.md` of the project describes the lines. The model implements the protocol
//! (`cargo run -p rmm-model --example rmm_server`), and so can firmware that was built as a
//! program: a host for the model then drives that, too.
//!
//! ```no_run
//! use std::process::Command;
//!
//! use rmi_conduits::lines::Lines;
//! use rmi_host::{Discovered, SessionOptions};
//!
//! let lines = Lines::spawn(&mut Command::new("rmm_server"))?;
//! let memory = lines.take_memory()?;
//! let found = Discovered::probe(lines.host(), SessionOptions::default());
//! # let _ = (memory, found);
//! # Ok::<(), rmi_conduits::lines::LinesError>(())
//! ```
#![expect(
    unsafe_code,
    reason = "`Conduit` is an unsafe trait; the one token of the memory at the other end"
)]

use std::boxed::Box;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::string::{String, ToString};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;
use std::{fmt, format};

use rmi_abi::{Pa, PaRange};
use rmi_host::OpenSessions;
use rmi_host::access::{AccessFault, HostAccess};
use rmi_host::conduit::{Conduit, NO_ANSWER, NOT_SENT, Registers, Simulated};
use rmi_host::granules::{Machine, Undelegated};
use rmi_host::platform::Host;

/// The most memory in one line, in bytes.
const CHUNK: usize = 1 << 10;
/// The longest line that is read, in bytes: far more than any answer has.
const LONGEST: u64 = 1 << 20;
/// The most lines of one answer, and the most bytes.
const MOST: usize = 1 << 16;
const LARGEST: u64 = 16 << 20;

/// The conduit to an RMM over the line protocol, and the access to the host memory there. Any
/// number of threads may share one; one line is in progress at a time.
///
/// Each is a separate machine to this program. So an RMM has one: a second connection to it has
/// another token of the same memory, and its sessions are not counted with those of the first.
///
/// A call whose line was sent, even if only in part, and that has no valid answer returns
/// [`NO_ANSWER`]: the RMM may have carried it out. From then on, and after a panic of the reader or
/// the writer, calls return [`NOT_SENT`], memory cannot be reached, and [`Lines::say`] returns the
/// reason. There is no limit to how long an answer is waited for.
pub struct Lines {
    ends: Mutex<Ends>,
    banner: String,
    sessions: OpenSessions,
}

struct Ends {
    lines: Box<dyn Write + Send>,
    answers: Box<dyn BufRead + Send>,
    process: Option<Child>,
    /// Why there are no answers any more.
    gone: Option<String>,
    memory_taken: bool,
}

/// The answer to a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineAnswer {
    /// The lines that begin with `- `, without that.
    pub rows: Vec<String>,
    /// The text after `ok` in the last line.
    pub words: String,
}

impl Lines {
    /// Connects to the process that reads `lines` and writes `answers`, once that is ready.
    ///
    /// # Errors
    ///
    /// [`LinesError`] when the first line is not `ok ready`.
    pub fn new(
        answers: impl BufRead + Send + 'static,
        lines: impl Write + Send + 'static,
    ) -> Result<Self, LinesError> {
        Self::with(Box::new(answers), Box::new(lines), None)
    }

    /// Starts a program and connects to it through its standard input and output. The program is
    /// ended when this value is dropped.
    ///
    /// # Errors
    ///
    /// [`LinesError::Io`] when it cannot be started, and as [`Lines::new`].
    pub fn spawn(command: &mut Command) -> Result<Self, LinesError> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        match (process.stdin.take(), process.stdout.take()) {
            (Some(lines), Some(answers)) => {
                Self::with(Box::new(BufReader::new(answers)), Box::new(lines), Some(process))
            }
            // Both pipes were requested.
            _ => Err(LinesError::Gone { why: String::from("it cannot be talked to") }),
        }
    }

    fn with(
        answers: Box<dyn BufRead + Send>,
        lines: Box<dyn Write + Send>,
        process: Option<Child>,
    ) -> Result<Self, LinesError> {
        let mut ends = Ends { lines, answers, process, gone: None, memory_taken: false };
        let ready = ends.read()?;
        let banner = match ready.words.strip_prefix("ready") {
            Some(banner) => banner.trim().to_string(),
            None => return Err(LinesError::Nonsense { answer: ready.words }),
        };
        Ok(Self {
            ends: Mutex::new(ends),
            banner,
            sessions: OpenSessions::new(Machine::simulated()),
        })
    }

    /// The machine at the other end.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        self.sessions.machine()
    }

    /// A platform on this machine: calls and memory accesses are sent as lines.
    #[must_use]
    pub const fn host(&self) -> Host<&Self, &Self> {
        Host::new(self, self)
    }

    /// The name that the RMM reports.
    #[must_use]
    pub fn banner(&self) -> &str {
        &self.banner
    }

    /// Sends one line, for requests that are not calls of the host: `guest`, `glog`, `cpu`, and
    /// direct access to memory.
    ///
    /// `reset` and `quit` end the session of a host that has one.
    ///
    /// # Errors
    ///
    /// [`LinesError`].
    pub fn say(&self, line: &str) -> Result<LineAnswer, LinesError> {
        self.ends().say(line)
    }

    /// The range of memory at the other end.
    ///
    /// # Errors
    ///
    /// As [`Lines::say`].
    pub fn memory(&self) -> Result<PaRange, LinesError> {
        let answer = self.say("mem")?;
        let mut words = answer.words.split_whitespace();
        let range = match (words.next(), number(words.next()), number(words.next())) {
            (Some("dram"), Some(base), Some(size)) => PaRange::with_size(Pa::new(base), size).ok(),
            _ => None,
        };
        range.ok_or(LinesError::Nonsense { answer: answer.words })
    }

    /// All memory as one token of host memory, at the first call. After that the token is empty.
    ///
    /// # Errors
    ///
    /// As [`Lines::memory`].
    pub fn take_memory(&self) -> Result<Undelegated, LinesError> {
        let range = self.memory()?;
        if core::mem::replace(&mut self.ends().memory_taken, true) {
            return Ok(Undelegated::empty());
        }
        // SAFETY: the memory exists only at the other end, no reference can point into it, and this
        // is the only token ever made for it here.
        Ok(unsafe { Undelegated::of_machine(self.machine(), range) })
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        // A thread that panicked between a line and its answer has left `gone` set.
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("banner", &self.banner).finish_non_exhaustive()
    }
}

impl Ends {
    fn say(&mut self, line: &str) -> Result<LineAnswer, LinesError> {
        let words = line.trim();
        if words.is_empty() || words.starts_with('#') || words.contains(['\n', '\r']) {
            return Err(LinesError::NotALine);
        }
        if let Some(why) = &self.gone {
            return Err(LinesError::Gone { why: why.clone() });
        }
        // After anything but an answer it is not known which answer belongs to which line: also
        // when the reader or the writer, which may be the embedder's, panics meanwhile.
        self.gone = Some(String::from("a line was interrupted"));
        let written =
            self.lines.write_all(format!("{words}\n").as_bytes()).and_then(|()| self.lines.flush());
        let answer = written.map_err(LinesError::from).and_then(|()| self.read());
        self.gone = match &answer {
            Ok(_) | Err(LinesError::Refused { .. }) => None,
            Err(error) => Some(error.why()),
        };
        answer
    }

    fn read(&mut self) -> Result<LineAnswer, LinesError> {
        let (mut rows, mut left) = (Vec::new(), LARGEST);
        while rows.len() < MOST {
            let line = self.read_line(&mut left)?;
            if let Some(row) = line.strip_prefix("- ") {
                rows.push(row.to_string());
                continue;
            }
            let (first, words) = line.split_once(' ').unwrap_or((&line, ""));
            return match first {
                "ok" => Ok(LineAnswer { rows, words: words.to_string() }),
                "err" => Err(LinesError::Refused { why: words.to_string() }),
                "!" => Err(LinesError::Dead { why: words.to_string() }),
                _ => Err(LinesError::Nonsense { answer: line }),
            };
        }
        Err(LinesError::Nonsense { answer: format!("{MOST} lines") })
    }

    fn read_line(&mut self, left: &mut u64) -> Result<String, LinesError> {
        let (mut line, most) = (Vec::new(), LONGEST.min(*left));
        let read = (&mut self.answers).take(most).read_until(b'\n', &mut line)?;
        *left = left.saturating_sub(read as u64);
        match line.split_last() {
            Some((b'\n', line)) => Ok(String::from_utf8_lossy(line).trim_end().to_string()),
            _ if read == 0 && most > 0 => {
                Err(LinesError::Gone { why: String::from("the other end closed") })
            }
            _ => Err(LinesError::Nonsense { answer: format!("{read} bytes without an end") }),
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Whether the program ended by itself or not, it has ended then.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Why a line has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinesError {
    /// It is no line that gets an answer: it is empty, a comment, or more than one line.
    #[error("not exactly one command")]
    NotALine,
    /// The other end refused it: `err`, and the reason in a word.
    #[error("refused: {why}")]
    #[non_exhaustive]
    Refused {
        /// The text after `err`.
        why: String,
    },
    /// The RMM crashed: `!`.
    #[error("the RMM crashed: {why}")]
    #[non_exhaustive]
    Dead {
        /// The text after `!`.
        why: String,
    },
    /// What was received is not an answer.
    #[error("not an answer: {answer}")]
    #[non_exhaustive]
    Nonsense {
        /// What was received.
        answer: String,
    },
    /// The connection is closed, or what was last received was not an answer.
    #[error("no answer: {why}")]
    #[non_exhaustive]
    Gone {
        /// The first error.
        why: String,
    },
    /// The line could not be sent, or the answer could not be read.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

impl LinesError {
    /// The error to return from then on.
    fn why(&self) -> String {
        match self {
            Self::Gone { why } => why.clone(),
            _ => self.to_string(),
        }
    }
}

fn number(word: Option<&str>) -> Option<u64> {
    let digits = word.filter(|word| word.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    u64::from_str_radix(digits, 16).ok()
}

fn registers(words: &str) -> Option<Registers> {
    let mut registers = Registers::default();
    let mut words = words.split_whitespace();
    for register in &mut registers {
        *register = number(words.next())?;
    }
    words.next().is_none().then_some(registers)
}

fn hex(digits: &str, into: &mut [u8]) -> Option<()> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != into.len() {
        return None;
    }
    for (byte, pair) in into.iter_mut().zip(pairs) {
        let digits = core::str::from_utf8(pair).ok();
        *byte = number(digits)?.try_into().ok()?;
    }
    Some(())
}

/// The address of the `n`-th chunk.
fn chunk_at(at: Pa, n: usize) -> Result<Pa, AccessFault> {
    at.checked_add((n * CHUNK) as u64).ok_or(AccessFault { at })
}

// SAFETY: `Simulated`, see below; what the other end reports of its memory concerns no memory of
// this program.
unsafe impl Conduit for Lines {
    fn open_sessions(&self) -> &OpenSessions {
        &self.sessions
    }

    unsafe fn call(&self, call: Registers) -> Registers {
        let mut line = String::from("smc");
        for register in call {
            // Writing to a string does not fail.
            let _ = write!(line, " {register:x}");
        }
        let mut ends = self.ends();
        if ends.gone.is_some() {
            return NOT_SENT;
        }
        let answer = ends.say(&line).and_then(|answer| match registers(&answer.words) {
            Some(registers) => Ok(registers),
            None => Err(LinesError::Nonsense { answer: answer.words }),
        });
        answer.unwrap_or_else(|error| {
            ends.gone.get_or_insert(error.why());
            NO_ANSWER
        })
    }
}

// SAFETY: the memory is at the other end of a pipe; nothing there accesses memory of this program.
unsafe impl Simulated for Lines {}

// SAFETY: only memory at the other end is accessed.
unsafe impl HostAccess for Lines {
    fn machine(&self) -> Machine {
        self.sessions.machine()
    }

    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        for (n, chunk) in into.chunks_mut(CHUNK).enumerate() {
            let at = chunk_at(at, n)?;
            let line = format!("hr {:x} {:x}", at.raw(), chunk.len());
            let answer = self.say(&line).map_err(|_| AccessFault { at })?;
            hex(&answer.words, chunk).ok_or(AccessFault { at })?;
        }
        Ok(())
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        for (n, chunk) in from.chunks(CHUNK).enumerate() {
            let at = chunk_at(at, n)?;
            let mut line = format!("hw {:x} ", at.raw());
            for byte in chunk {
                let _ = write!(line, "{byte:02x}");
            }
            self.say(&line).map_err(|_| AccessFault { at })?;
        }
        Ok(())
    }
}
