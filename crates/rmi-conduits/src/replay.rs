//! Replays a recorded session, without an RMM.
//!
//! ```
//! use core::cell::RefCell;
//! use rmi_abi::Dialect;
//! use rmi_conduits::recording::Recording;
//! use rmi_conduits::replay::{Replay, Transcript};
//! use rmi_conduits::tracing::WriteSink;
//! use rmi_host::{Conduit, Discovered, Host, HostAccess, SessionOptions, Undelegated};
//! use rmm_model::{Model, Options};
//!
//! /// What is to be found out about: it runs on an RMM, on a model, and on a recording.
//! fn session(
//!     conduit: &(impl Conduit + HostAccess),
//!     page: &mut Undelegated,
//! ) -> Result<u32, Box<dyn std::error::Error>> {
//!     let platform = Host::new(conduit, conduit);
//!     let found = Discovered::probe(platform, SessionOptions::default())?;
//!     let configured = found.configure(page)?;
//!     Ok(configured.features().max_recs())
//! }
//!
//! let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! let mut memory = model.take_memory();
//! let sink = WriteSink::new(RefCell::new(String::new()));
//! let recording = Recording::new(&model, &model, sink, Dialect::TfRmm2026_07);
//! let all = memory.range();
//! let recorded = session(&recording, &mut memory)?;
//! let text = recording.into_sink().into_inner().into_inner();
//!
//! // On another machine, from the text alone:
//! let replay = Replay::new(text.parse::<Transcript>()?);
//! assert_eq!(session(&replay, &mut replay.take_memory(all))?, recorded);
//! assert_eq!((replay.divergence(), replay.remaining()), (None, 0));
//!
//! // For a host that does something else, the first difference is reported.
//! let text = text.replace("c4000165 2", "c4000165 9");
//! let replay = Replay::new(text.parse::<Transcript>()?);
//! assert!(session(&replay, &mut replay.take_memory(all)).is_err());
//! assert_eq!(
//!     replay.divergence().map(|divergence| divergence.to_string()).as_deref(),
//!     Some("call 6 is RMI_FEATURES(index=2), the recording has RMI_FEATURES(index=9)")
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![expect(
    unsafe_code,
    reason = "`Conduit` and `HostAccess` are unsafe traits; the one token of its memory"
)]

mod divergence;
mod memory;
mod parse;
mod transcript;

pub use divergence::Divergence;
pub use parse::{TranscriptError, TranscriptErrorKind, parse};
pub use transcript::{PageImage, RecordedCall, Transcript};

use core::sync::atomic::{AtomicBool, Ordering};

use rmi_abi::{Pa, PaRange};
use rmi_host::OpenSessions;
use rmi_host::access::{AccessFault, HostAccess};
use rmi_host::conduit::{Conduit, NOT_SENT, Registers, Simulated};
use rmi_host::granules::{Machine, Undelegated};
use spin::Mutex;

use memory::Memory;

/// A recording as an RMM: it answers the recorded calls in their order, and host memory contains
/// what the host and the recorded RMM wrote there, and zeros before that.
///
/// The first call that differs from the recorded one, in its registers or in the memory that it
/// passes to the RMM, ends the replay: it and all calls after it are answered with [`NOT_SENT`],
/// and [`Replay::divergence`] returns the difference.
///
/// A host whose calls come from several CPUs makes them in another order next time; such recordings
/// are for reading, not for replaying. Memory that the RMM wiped when it returned it is not wiped
/// here.
#[derive(Debug)]
pub struct Replay {
    transcript: Transcript,
    state: Mutex<State>,
    sessions: OpenSessions,
    memory_taken: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    next: usize,
    memory: Memory,
    divergence: Option<Divergence>,
}

impl Replay {
    /// Replays a transcript from its beginning.
    #[must_use]
    pub fn new(transcript: Transcript) -> Self {
        Self {
            transcript,
            state: Mutex::default(),
            sessions: OpenSessions::new(Machine::simulated()),
            memory_taken: AtomicBool::new(false),
        }
    }

    /// The machine of the recording, which nothing else simulates.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        self.sessions.machine()
    }

    /// Memory that the recorded host had, as one token of host memory, at the first call. After
    /// that the token is empty.
    pub fn take_memory(&self, range: PaRange) -> Undelegated {
        if self.memory_taken.swap(true, Ordering::AcqRel) {
            return Undelegated::empty();
        }
        // SAFETY: the memory exists only in this replay, no reference can point into it, and this
        // is the only token ever made for it.
        unsafe { Undelegated::of_machine(self.machine(), range) }
    }

    /// The transcript that is replayed.
    pub const fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Where the host diverged from the recording; `None` while it has not.
    #[must_use]
    pub fn divergence(&self) -> Option<Divergence> {
        self.state.lock().divergence
    }

    /// Calls answered so far.
    #[must_use]
    pub fn played(&self) -> usize {
        self.state.lock().next
    }

    /// Recorded calls that the host has not made yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.transcript.calls().len().saturating_sub(self.played())
    }

    /// The answer to a call, or the difference between the call and the recorded one.
    fn answer(&self, state: &mut State, got: &Registers) -> Result<Registers, Divergence> {
        let dialect = self.transcript.dialect();
        let Some(recorded) = self.transcript.calls().get(state.next) else {
            return Err(Divergence::End { dialect, got: *got });
        };
        let call = recorded.number();
        if recorded.registers() != got {
            return Err(Divergence::Call {
                dialect,
                call,
                expected: *recorded.registers(),
                got: *got,
            });
        }
        for page in recorded.reads() {
            for (at, expected) in page.words() {
                let got = state.memory.word(at);
                if expected.is_some_and(|expected| expected != got) {
                    let expected = expected.unwrap_or(got);
                    return Err(Divergence::Memory { call, at, expected, got });
                }
            }
        }
        for page in recorded.writes() {
            for (at, word) in page.words() {
                state.memory.write(at, &word.unwrap_or(0).to_le_bytes());
            }
        }
        state.next += 1;
        Ok(*recorded.answer())
    }
}

// SAFETY: a replay takes no memory away, whatever it answers; see `Simulated` below.
unsafe impl Conduit for Replay {
    fn open_sessions(&self) -> &OpenSessions {
        &self.sessions
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        let mut state = self.state.lock();
        if state.divergence.is_none() {
            match self.answer(&mut state, &registers) {
                Ok(answer) => return answer,
                Err(divergence) => state.divergence = Some(divergence),
            }
        }
        NOT_SENT
    }
}

// SAFETY: only the replay's own memory is accessed.
unsafe impl HostAccess for Replay {
    fn machine(&self) -> Machine {
        self.sessions.machine()
    }

    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        self.state.lock().memory.read(at, into);
        Ok(())
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        self.state.lock().memory.write(at, from);
        Ok(())
    }
}

// SAFETY: nothing is called; answers come from a text.
unsafe impl Simulated for Replay {}
