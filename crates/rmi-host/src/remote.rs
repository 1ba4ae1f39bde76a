//! An RMM, a model of one or a replay that lives in another thread.
//!
//! For hosts with many threads and something at the end of the door that must stay in one, or must not be shared: a model behind a pipe, a replay, a debugger's
//! stub. A [`Model`](https://docs.rs/rmm-model) itself can be shared without this.
//!
//! ```
//! use rmi_abi::Dialect;
//! use rmi_host::{Discovered, Host, SessionOptions, remote};
//! use rmm_model::{Model, Options};
//!
//! let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! let (remote, server) = remote::pair();
//! std::thread::scope(|scope| {
//!     scope.spawn(|| server.serve(&model));
//!
//!     let platform = Host::new(remote.clone(), remote); // the last one to go ends the server
//!     let found = Discovered::probe(platform, SessionOptions::default());
//!     assert!(found.is_ok_and(|found| found.features().max_recs() > 0));
//! });
//! # Ok::<(), rmm_model::OptionsError>(())
//! ```
#![expect(unsafe_code, reason = "the one door is an unsafe trait")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

use rmi_abi::{Pa, ResultWord};

use crate::access::{AccessFault, HostAccess};
use crate::conduit::{Conduit, Registers};

/// What a host thread wants, and where it waits.
#[derive(Debug)]
enum Request {
    Call { registers: Registers, answer: Sender<Registers> },
    Read { at: Pa, length: usize, answer: Sender<Result<Vec<u8>, AccessFault>> },
    Write { at: Pa, bytes: Vec<u8>, answer: Sender<Result<(), AccessFault>> },
}

/// Makes both ends: a door for the host's threads, and what serves it.
#[must_use]
pub fn pair() -> (Remote, Server) {
    let (sender, receiver) = channel();
    (Remote { requests: sender }, Server { requests: Mutex::new(receiver) })
}

/// The door to an RMM in another thread, and to the host memory behind it. Every clone is as good as the first; any number of threads may share one.
///
/// Calls wait until the server has answered. When there is none any more, calls are answered with `NOT_SUPPORTED` (all ones), as by firmware without an RMM, and memory
/// cannot be reached.
#[derive(Clone, Debug)]
pub struct Remote {
    requests: Sender<Request>,
}

impl Remote {
    /// Asks, and waits for the answer; `None` when nobody serves.
    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> Option<T> {
        let (sender, receiver) = channel();
        self.requests.send(request(sender)).ok()?;
        receiver.recv().ok()
    }
}

// SAFETY: the answers are those of the conduit that the other thread serves.
unsafe impl Conduit for Remote {
    unsafe fn call(&self, registers: Registers) -> Registers {
        // The promise goes along: the caller waits here until the server has made the call.
        self.ask(|answer| Request::Call { registers, answer }).unwrap_or([
            ResultWord::NOT_SUPPORTED.0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ])
    }
}

impl HostAccess for Remote {
    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        let length = into.len();
        let bytes =
            self.ask(|answer| Request::Read { at, length, answer }).ok_or(AccessFault { at })??;
        if bytes.len() != length {
            return Err(AccessFault { at });
        }
        into.copy_from_slice(&bytes);
        Ok(())
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        let bytes = from.to_vec();
        self.ask(|answer| Request::Write { at, bytes, answer }).ok_or(AccessFault { at })?
    }
}

/// The other end of a [`Remote`].
#[derive(Debug)]
pub struct Server {
    requests: Mutex<Receiver<Request>>,
}

impl Server {
    /// Serves until the last [`Remote`] is gone, one request at a time and in the order of arrival.
    ///
    /// A REC runs inside its call, so nothing else is served meanwhile. Where that matters, several threads serve the same server, each with a door of its own: one for
    /// each physical CPU.
    pub fn serve<D: Conduit + HostAccess + ?Sized>(&self, door: &D) {
        while let Some(request) = self.next() {
            // Whoever asked may be gone; then nobody misses the answer.
            let _ = match request {
                Request::Call { registers, answer } => answer.send(call(door, registers)).is_ok(),
                Request::Read { at, length, answer } => {
                    let mut bytes = std::vec![0; length];
                    answer.send(read(door, at, &mut bytes).map(|()| bytes)).is_ok()
                }
                Request::Write { at, bytes, answer } => {
                    answer.send(write(door, at, &bytes)).is_ok()
                }
            };
        }
    }

    fn next(&self) -> Option<Request> {
        // Nothing can be half done when a thread panics here.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}

fn call(door: &(impl Conduit + ?Sized), registers: Registers) -> Registers {
    // SAFETY: only `Remote::call` makes this request, and its caller, who waits for the answer, has made the promise.
    unsafe { door.call(registers) }
}

fn read(door: &(impl HostAccess + ?Sized), at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
    // SAFETY: only `Remote::read` makes this request, and its caller, who waits for the answer, has made the promise.
    unsafe { door.read(at, into) }
}

fn write(door: &(impl HostAccess + ?Sized), at: Pa, from: &[u8]) -> Result<(), AccessFault> {
    // SAFETY: only `Remote::write` makes this request, and its caller, who waits for the answer, has made the promise.
    unsafe { door.write(at, from) }
}
