//! The guest's input: from a descriptor into the UART.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::poll::wait;

/// Ctrl-A: the prefix of commands on a terminal.
const PREFIX: u8 = 1;
/// Bytes that are read at once.
const BYTES: usize = 256;

/// Whether the UART has space, and whether there is anything to wait for.
#[derive(Debug)]
pub(crate) struct Space {
    state: Mutex<State>,
    changed: Condvar,
    /// Ends once the guest has ended.
    ended: PipeReader,
}

#[derive(Debug)]
struct State {
    has_space: bool,
    /// Until the guest has ended: the other end of the pipe.
    runs: Option<PipeWriter>,
}

impl Space {
    pub(crate) fn new() -> io::Result<Self> {
        let (ended, runs) = io::pipe()?;
        let state = Mutex::new(State { has_space: false, runs: Some(runs) });
        Ok(Self { state, changed: Condvar::new(), ended })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The UART, which has refused input, can take some.
    pub(crate) fn has_come(&self) {
        self.lock().has_space = true;
        self.changed.notify_one();
    }

    /// The guest has ended: nothing is read any more.
    pub(crate) fn end(&self) {
        self.lock().runs = None;
        self.changed.notify_one();
    }

    /// Waits for space; `false` if the guest has ended.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        while !state.has_space && state.runs.is_some() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.has_space = false;
        state.runs.is_some()
    }
}

/// Why no more input is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputEnd {
    /// There is none, or it cannot be read. The guest runs on.
    NoMore,
    /// The guest has ended.
    Guest,
    /// The user has typed Ctrl-A and x.
    Quit,
}

/// Reads input until it ends, the guest ends, or the user wants to leave. `push` gives bytes to the
/// UART, and returns how many it has taken.
pub(crate) fn copy(
    input: BorrowedFd<'_>,
    is_interactive: bool,
    space: &Space,
    push: impl Fn(&[u8]) -> usize,
) -> InputEnd {
    let Ok(mut file) = input.try_clone_to_owned().map(File::from) else { return InputEnd::NoMore };
    let (mut bytes, mut has_prefix) = ([0; BYTES], false);
    loop {
        match wait([input, space.ended.as_fd()]) {
            Ok([_, true]) => return InputEnd::Guest,
            Ok([true, _]) => {}
            Ok(_) => continue,
            Err(_) => return InputEnd::NoMore,
        }
        let read = match file.read(&mut bytes) {
            Ok(0) => return InputEnd::NoMore,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return InputEnd::NoMore,
        };
        let mut letters: VecDeque<u8> = VecDeque::new();
        for byte in bytes.iter().take(read).copied() {
            match (is_interactive, has_prefix, byte) {
                (true, true, b'x' | b'X') => return InputEnd::Quit,
                (true, false, PREFIX) => has_prefix = true,
                // Twice, it is for the guest; anything else after it is not.
                (true, true, byte) => {
                    has_prefix = false;
                    letters.extend((byte == PREFIX).then_some(PREFIX));
                }
                _ => letters.push_back(byte),
            }
        }
        while !letters.is_empty() {
            let taken = push(letters.make_contiguous());
            letters.drain(..taken.min(letters.len()));
            if !letters.is_empty() && !space.wait() {
                return InputEnd::Guest;
            }
        }
    }
}
