//! The model behind a line protocol, so that hosts in any language, scripts and recorded traces can
//! drive it.
//!
//! `docs/model-protocol.md` describes the lines.
//! `cargo run --release -p rmm-model --example rmm_server` reads and writes them on its standard
//! input and output; a [`Session`] is the same without a process.
//!
//! # Example
//!
//! ```
//! use rmi_abi::Dialect;
//! use rmm_model::Options;
//! use rmm_model::protocol::Session;
//!
//! let mut session = Session::new(Options::new(Dialect::TfRmm2026_07))?;
//! // RMI_VERSION, before anything else.
//! assert_eq!(session.line("smc c4000150 20000").text, "ok 0 20000 20000 0 0 0 0 0\n");
//! assert_eq!(session.line("hw 80000000 0102").text, "ok\n");
//! assert_eq!(session.line("hr 80000000 4").text, "ok 01020000\n");
//! assert!(session.line("quit").ends);
//! # Ok::<(), rmm_model::OptionsError>(())
//! ```

mod actions;
mod arguments;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use rmi_abi::Pa;
use spin::Mutex;

use crate::memory::GRANULE;
use crate::model::Model;
use crate::options::{Options, OptionsError};
use actions::{Actions, QueuedGuest};
pub use arguments::{ArgumentError, Start, USAGE};

/// The answer to a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Whole lines, the last of which starts with `ok` or `err`; nothing for an empty line and for
    /// a comment (`#`).
    pub text: String,
    /// Whether it was the last line of the session.
    pub ends: bool,
}

/// A machine with an RMM in it, and the state of the connection that sends it lines.
pub struct Session {
    options: Options,
    model: Model,
    actions: Arc<Mutex<Actions>>,
    cpu: u32,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("model", &self.model).finish_non_exhaustive()
    }
}

/// Why a line is not carried out: the words after `err`.
type Refusal = &'static str;

const BAD_NUMBER: Refusal = "number";
const BAD_RANGE: Refusal = "range";
const BAD_BYTES: Refusal = "hex";
const UNKNOWN: Refusal = "unknown";
/// The granule protection check stopped an access of the host.
const PROTECTED: Refusal = "gpf";

impl Session {
    /// A session with a fresh machine.
    ///
    /// # Errors
    ///
    /// [`OptionsError`] when that RMM cannot be modelled.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        let actions = Arc::new(Mutex::new(Actions::default()));
        let model = Model::new(options.clone())?;
        let shared = Arc::clone(&actions);
        model.set_default_guest(Box::new(move |_| {
            Some(Box::new(QueuedGuest::new(Arc::clone(&shared))))
        }));
        Ok(Self { options, model, actions, cpu: 0 })
    }

    /// The first line, sent before any is received.
    #[must_use]
    pub fn greeting(&self) -> String {
        format!("ok ready rmm-model {} {}\n", env!("CARGO_PKG_VERSION"), self.options.dialect)
    }

    /// The machine.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The physical CPU that calls.
    #[must_use]
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    /// Carries out one line.
    pub fn line(&mut self, line: &str) -> Reply {
        let mut words = line.split_ascii_whitespace();
        let command = match words.next() {
            Some(word) if !word.starts_with('#') => word,
            _ => return Reply::default(),
        };
        let words: Vec<&str> = words.collect();
        let text = match self.command(command, &words) {
            Ok(text) => text,
            Err(why) => format!("err {why}\n"),
        };
        Reply { text, ends: command == "quit" && words.is_empty() }
    }

    fn command(&mut self, command: &str, words: &[&str]) -> Result<String, Refusal> {
        match (command, words) {
            ("mem", []) => {
                let dram = self.options.dram;
                Ok(format!("ok dram {:x} {:x}\n", dram.base().raw(), dram.bytes()))
            }
            ("w" | "hw", [at, hex]) => self.write(command == "hw", number(at)?, hex),
            ("r" | "hr", [at, length]) => self.read(command == "hr", number(at)?, number(length)?),
            ("fill" | "hfill", [at, length, byte]) => {
                let byte = u8::try_from(number(byte)?).map_err(|_| BAD_NUMBER)?;
                let (at, length) = (number(at)?, number(length)?);
                let at = self.reached(command == "hfill", at, length)?;
                self.model.fill(at, length, byte);
                done()
            }
            ("smc", words) => self.smc(words),
            ("guest", ["clear"]) => {
                self.actions.lock().clear();
                done()
            }
            ("guest", ["default", exit]) => {
                self.actions.lock().set_default(exit)?;
                done()
            }
            ("guest", [action, words @ ..]) => {
                self.actions.lock().queue(action, words)?;
                done()
            }
            ("glog", []) => {
                let mut text = self.actions.lock().take_log();
                text.push_str("ok\n");
                Ok(text)
            }
            ("cpu", []) => Ok(format!("ok {:x}\n", self.cpu)),
            ("cpu", [cpu]) => {
                self.cpu = u32::try_from(number(cpu)?).map_err(|_| "cpu")?;
                Ok(format!("ok {:x}\n", self.cpu))
            }
            ("reset", []) => {
                *self = Self::new(self.options.clone()).map_err(|_| "options")?;
                done()
            }
            ("quit", []) => done(),
            _ => Err(UNKNOWN),
        }
    }

    /// Checks that a range is in memory, and, for an access of the host, that the host can access
    /// it.
    fn reached(&self, as_host: bool, at: u64, bytes: u64) -> Result<Pa, Refusal> {
        let dram = self.options.dram;
        let top = at.checked_add(bytes).ok_or(BAD_RANGE)?;
        if at < dram.base().raw() || top > dram.top().raw() {
            return Err(BAD_RANGE);
        }
        let at = Pa::new(at);
        if as_host && self.model.host_fault(at, bytes).is_some() {
            return Err(PROTECTED);
        }
        Ok(at)
    }

    fn write(&mut self, as_host: bool, at: u64, hex: &str) -> Result<String, Refusal> {
        let mut bytes = Vec::with_capacity(hex.len() / 2);
        let (pairs, rest) = hex.as_bytes().as_chunks();
        for [high, low] in pairs {
            bytes.push(digit(*high)? << 4 | digit(*low)?);
        }
        if !rest.is_empty() {
            return Err(BAD_BYTES);
        }
        let at = self.reached(as_host, at, bytes.len() as u64)?;
        self.model.poke(at, &bytes);
        done()
    }

    fn read(&self, as_host: bool, at: u64, length: u64) -> Result<String, Refusal> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let at = self.reached(as_host, at, length)?;
        let mut left = usize::try_from(length).map_err(|_| BAD_RANGE)?;
        let mut text = String::with_capacity(2 * left + 4);
        text.push_str("ok ");
        let mut at = at.raw();
        let mut part = [0; GRANULE];
        while left > 0 {
            let part = part.get_mut(..left.min(GRANULE)).ok_or(BAD_RANGE)?;
            self.model.peek(Pa::new(at), part);
            for byte in &*part {
                for nibble in [byte >> 4, byte & 0xf] {
                    text.push(
                        DIGITS.get(usize::from(nibble)).map_or('0', |digit| char::from(*digit)),
                    );
                }
            }
            at += part.len() as u64;
            left -= part.len();
        }
        text.push('\n');
        Ok(text)
    }

    fn smc(&mut self, words: &[&str]) -> Result<String, Refusal> {
        let mut x = [0; 8];
        if words.is_empty() || words.len() > x.len() {
            return Err("registers");
        }
        for (to, word) in x.iter_mut().zip(words) {
            *to = number(word)?;
        }
        self.actions.lock().cpu = self.cpu;
        let mut text = String::from("ok");
        for x in self.model.call_from(self.cpu, x) {
            // Writing to a string does not fail.
            let _ = write!(text, " {x:x}");
        }
        text.push('\n');
        Ok(text)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the end of commands that may fail")]
fn done() -> Result<String, Refusal> {
    Ok(String::from("ok\n"))
}

/// A hexadecimal number without prefix.
fn number(word: &str) -> Result<u64, Refusal> {
    // The parser of the library would take a sign.
    if !word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(BAD_NUMBER);
    }
    u64::from_str_radix(word, 16).map_err(|_| BAD_NUMBER)
}

/// The value of one hexadecimal digit.
fn digit(byte: u8) -> Result<u8, Refusal> {
    let value = char::from(byte).to_digit(16).ok_or(BAD_BYTES)?;
    u8::try_from(value).map_err(|_| BAD_BYTES)
}
