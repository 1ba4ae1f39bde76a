//! An RMM, a model of one or a replay in another thread.
//!
//! For hosts with many threads whose RMM must stay in one thread, or must not be shared: a model
//! behind a pipe, a replay, a debugger's stub. A [`Model`](https://docs.rs/rmm-model) itself can be
//! shared without this.
//!
//! ```
//! use rmi_abi::Dialect;
//! use rmi_conduits::remote;
//! use rmi_host::{Conduit, Discovered, SessionOptions};
//! use rmm_model::{Model, Options};
//!
//! let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! let (remote, server) = remote::pair(model.open_sessions());
//! std::thread::scope(|scope| {
//!     scope.spawn(|| server.serve(&model));
//!
//!     // The server ends when the last one is dropped.
//!     let found = Discovered::probe(remote.into_host(), SessionOptions::default());
//!     assert!(found.is_ok_and(|found| found.features().max_recs() > 0));
//! });
//! # Ok::<(), rmm_model::OptionsError>(())
//! ```
#![expect(unsafe_code, reason = "`Conduit` is an unsafe trait")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

use rmi_abi::Pa;
use rmi_host::OpenSessions;
use rmi_host::access::{AccessFault, HostAccess};
use rmi_host::conduit::{Conduit, NO_ANSWER, NOT_SENT, Registers};
use rmi_host::granules::Machine;
use rmi_host::platform::Host;

/// The request of a host thread, and where it waits for the answer.
#[derive(Debug)]
enum Request {
    Call { registers: Registers, answer: Sender<Registers> },
    Read { at: Pa, length: usize, answer: Sender<Result<Vec<u8>, AccessFault>> },
    Write { at: Pa, bytes: Vec<u8>, answer: Sender<Result<(), AccessFault>> },
}

/// Why a request has no answer.
enum Unanswered {
    /// There is no server, so nothing has received the request.
    NotSent,
    /// The server that had the request has ended.
    Lost,
}

/// Makes both ends: a conduit for the host's threads, and the server for it. The machine served is
/// the one whose sessions these are: `sessions` is what [`Conduit::open_sessions`] of the conduit
/// returns that will be served. So the sessions that are opened through this pair, through other
/// pairs and without one are counted together, and none changes the configuration of the RMM under
/// another.
///
/// ```
/// use rmi_conduits::remote;
/// use rmi_host::OpenSessions;
///
/// // For the RMM of this machine, both ends may be moved to any thread.
/// let (remote, server) = remote::pair(OpenSessions::of_this_machine());
/// # fn is_static<T: Send + 'static>(_: T) {}
/// # is_static((remote, server));
/// ```
#[must_use]
pub fn pair(sessions: &OpenSessions) -> (Remote<'_>, Server<'_>) {
    let (sender, receiver) = channel();
    let server = Server { requests: Mutex::new(receiver), sessions };
    (Remote { requests: sender, sessions }, server)
}

/// The conduit to an RMM in another thread, and the access to the host memory there. All clones are
/// equivalent; any number of threads may share one.
///
/// Calls are made on the CPU of the conduit that is served, whichever thread makes them: a REC gets
/// the virtual interrupts that are in the list registers of that CPU.
///
/// Calls wait until the server has answered. When it ends before it has answered, also because its
/// thread panics, a call returns [`NO_ANSWER`]: the RMM may have carried it out. When there is no
/// server any more, calls return [`NOT_SENT`]. In both cases memory cannot be accessed.
#[derive(Clone, Debug)]
pub struct Remote<'s> {
    requests: Sender<Request>,
    sessions: &'s OpenSessions,
}

impl Remote<'_> {
    /// A platform on the machine that is served.
    #[must_use]
    pub fn into_host(self) -> Host<Self, Self> {
        Host::new(self.clone(), self)
    }

    /// Sends a request and waits for the answer.
    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> Result<T, Unanswered> {
        let (sender, receiver) = channel();
        self.requests.send(request(sender)).map_err(|_| Unanswered::NotSent)?;
        receiver.recv().map_err(|_| Unanswered::Lost)
    }
}

// SAFETY: the answers are those of the conduit that the other thread serves, and a server serves
// conduits only that return this very object.
unsafe impl Conduit for Remote<'_> {
    fn open_sessions(&self) -> &OpenSessions {
        self.sessions
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        // The caller's promise is passed on: the caller waits here until the server has made the
        // call.
        match self.ask(|answer| Request::Call { registers, answer }) {
            Ok(answer) => answer,
            Err(Unanswered::Lost) => NO_ANSWER,
            Err(Unanswered::NotSent) => NOT_SENT,
        }
    }
}

// SAFETY: the memory is that of the machine that the other thread serves, and a server serves this
// machine only.
unsafe impl HostAccess for Remote<'_> {
    fn machine(&self) -> Machine {
        self.sessions.machine()
    }

    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        let length = into.len();
        let bytes = self
            .ask(|answer| Request::Read { at, length, answer })
            .map_err(|_| AccessFault { at })??;
        if bytes.len() != length {
            return Err(AccessFault { at });
        }
        into.copy_from_slice(&bytes);
        Ok(())
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        let bytes = from.to_vec();
        self.ask(|answer| Request::Write { at, bytes, answer }).map_err(|_| AccessFault { at })?
    }
}

/// The machine to be served is another one than the server was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server belongs to another machine")]
pub struct OtherMachine {
    served: Machine,
}

impl OtherMachine {
    /// The machine that the server serves.
    #[must_use]
    pub const fn served(&self) -> Machine {
        self.served
    }
}

/// The other end of a [`Remote`].
#[derive(Debug)]
pub struct Server<'s> {
    requests: Mutex<Receiver<Request>>,
    sessions: &'s OpenSessions,
}

impl Server<'_> {
    /// Serves until the last [`Remote`] is dropped, one request at a time and in the order of
    /// arrival.
    ///
    /// A REC runs inside its call, so nothing else is served meanwhile. Where that matters, several
    /// threads serve the same server, each with its own conduit: one for each physical CPU.
    ///
    /// # Errors
    ///
    /// [`OtherMachine`], at once and without serving anything, when `served` is another machine
    /// than the one that this server was made for: its sessions are not counted by the same object,
    /// or its memory is that of another machine.
    pub fn serve<D: Conduit + HostAccess + ?Sized>(&self, served: &D) -> Result<(), OtherMachine> {
        // The same number is not enough: what it is to be counted with must be the same, and
        // numbers of simulated machines are used again.
        let machine = self.sessions.machine();
        if !core::ptr::eq(served.open_sessions(), self.sessions) || served.machine() != machine {
            return Err(OtherMachine { served: machine });
        }
        while let Some(request) = self.next() {
            // The thread that sent the request may have ended; then the answer is not needed.
            let _ = match request {
                Request::Call { registers, answer } => answer.send(call(served, registers)).is_ok(),
                Request::Read { at, length, answer } => {
                    let mut bytes = std::vec![0; length];
                    answer.send(read(served, at, &mut bytes).map(|()| bytes)).is_ok()
                }
                Request::Write { at, bytes, answer } => {
                    answer.send(write(served, at, &bytes)).is_ok()
                }
            };
        }
        Ok(())
    }

    fn next(&self) -> Option<Request> {
        // Nothing is left incomplete when a thread panics here.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}

fn call(end: &(impl Conduit + ?Sized), registers: Registers) -> Registers {
    // SAFETY: only `Remote::call` makes this request, and its caller, who waits for the answer, has
    // made the promise.
    unsafe { end.call(registers) }
}

fn read(end: &(impl HostAccess + ?Sized), at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
    // SAFETY: only `Remote::read` makes this request, and its caller, who waits for the answer, has
    // made the promise.
    unsafe { end.read(at, into) }
}

fn write(end: &(impl HostAccess + ?Sized), at: Pa, from: &[u8]) -> Result<(), AccessFault> {
    // SAFETY: only `Remote::write` makes this request, and its caller, who waits for the answer,
    // has made the promise.
    unsafe { end.write(at, from) }
}
