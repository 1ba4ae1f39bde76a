//! Programs that are functions on threads of their own.

use std::any::Any;
use std::boxed::Box;
use std::fmt;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use rmi_abi::Ipa;
use rmi_abi::psci::PsciReturnCode;
use rmi_abi::run::RUN_GPRS;

use super::vcpu::{self, Exception, vcpu_methods};
use super::{Action, Guest, GuestCpu, Outcome, SysReg, TimerKind};

/// A program that is a function on a thread of its own, which the first entry of the REC starts.
///
/// Each method of [`ThreadVcpu`] is one action; what is between them takes no time. The thread and
/// the one that called `RMI_REC_ENTER` run in turn, never at the same time: the thread runs between
/// two of its actions, while the caller waits for the next one.
///
/// * When the function returns, the CPU spins: every entry ends with a fast interrupt.
/// * When it panics, the caller of `RMI_REC_ENTER` panics with the same payload; the REC has left
///   then, and has no program any more.
/// * When the program is dropped (with its Realm or REC, when another takes its place, or with the
///   model), the action that the thread waits for never completes: the thread unwinds there, runs
///   the destructors of the function, and has ended when the drop returns. In them, accesses abort,
///   and there is nothing to wait for. A function that catches that unwinding must return.
///   In a binary that is built with `panic = "abort"`, the thread waits for ever instead.
///
/// ```
/// use rmi_abi::{Ipa, Pa};
/// use rmm_model::{ThreadGuest, ThreadVcpu};
///
/// fn program(cpu: &mut ThreadVcpu) {
///     let uart = Ipa::new(1 << 39);
///     for byte in *b"hello" {
///         cpu.store(uart, 1, byte.into()).expect("a device is there");
///     }
///     cpu.system_off()
/// }
///
/// # let model = rmm_model::Model::new(rmm_model::Options::new(rmi_abi::Dialect::V2_0Bet3))?;
/// # let rd = Pa::new(0);
/// model.set_guest(rd, 0, Box::new(ThreadGuest::new(program)));
/// # Ok::<(), rmm_model::OptionsError>(())
/// ```
pub struct ThreadGuest(Program);

enum Program {
    /// It starts at the first entry.
    New(Box<dyn FnOnce(&mut ThreadVcpu) + Send>),
    Running(Running),
    Over,
}

/// The thread, and this side of the exchange with it.
struct Running {
    /// `None` while it is dropped, which tells the thread to end.
    views: Option<Sender<GuestCpu>>,
    messages: Receiver<Message>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread says.
enum Message {
    Act(Action),
    Returned,
    Panicked(Box<dyn Any + Send>),
}

/// With what a thread unwinds whose program is dropped.
struct Stopped;

impl ThreadGuest {
    /// The program that runs `program` once, from the first entry of the REC on.
    pub fn new(program: impl FnOnce(&mut ThreadVcpu) + Send + 'static) -> Self {
        Self(Program::New(Box::new(program)))
    }
}

impl fmt::Debug for ThreadGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThreadGuest")
            .field(match self.0 {
                Program::New(_) => &"new",
                Program::Running(_) => &"running",
                Program::Over => &"over",
            })
            .finish()
    }
}

impl Guest for ThreadGuest {
    /// # Panics
    ///
    /// With what the function panics; if the system has no thread.
    fn next(&mut self, cpu: &GuestCpu) -> Action {
        let running = match mem::replace(&mut self.0, Program::Over) {
            Program::Over => return Action::Spin,
            Program::New(program) => Running::start(program, *cpu),
            Program::Running(running) => running.answered(*cpu),
        };
        match running.messages.recv() {
            Ok(Message::Act(action)) => {
                self.0 = Program::Running(running);
                action
            }
            Ok(Message::Panicked(payload)) => {
                drop(running);
                panic::resume_unwind(payload)
            }
            Ok(Message::Returned) | Err(_) => Action::Spin,
        }
    }
}

impl Running {
    #[expect(clippy::expect_used, reason = "a program that cannot run is a failure of the test")]
    fn start(program: Box<dyn FnOnce(&mut ThreadVcpu) + Send>, view: GuestCpu) -> Self {
        let (to_program, views) = mpsc::channel();
        let (to_model, messages) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("guest".into())
            .spawn(move || {
                let mut vcpu = ThreadVcpu { view, messages: to_model.clone(), views };
                let run = AssertUnwindSafe(|| program(&mut vcpu));
                let last = match panic::catch_unwind(run) {
                    Ok(()) => Message::Returned,
                    Err(payload) if payload.is::<Stopped>() => return,
                    Err(payload) => Message::Panicked(payload),
                };
                // Nobody listens when the program is dropped; a panic has been printed then.
                let _ = to_model.send(last);
            })
            .expect("a thread for a guest");
        Self { views: Some(to_program), messages, thread: Some(thread) }
    }

    /// Gives the thread the outcome of its action.
    fn answered(self, view: GuestCpu) -> Self {
        if let Some(views) = &self.views {
            // If the thread has gone, its last message says how.
            let _ = views.send(view);
        }
        self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.views = None;
        let Some(thread) = self.thread.take() else { return };
        if cfg!(panic = "unwind") {
            // A panic of the thread after its last action has been printed; it cannot go on here.
            let _ = thread.join();
        }
    }
}

/// The CPU of a [`ThreadGuest`].
pub struct ThreadVcpu {
    view: GuestCpu,
    messages: Sender<Message>,
    views: Receiver<GuestCpu>,
}

impl fmt::Debug for ThreadVcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadVcpu").field("view", &self.view).finish_non_exhaustive()
    }
}

impl ThreadVcpu {
    /// Does any action; gives the CPU after it.
    pub fn act(&mut self, action: Action) -> GuestCpu {
        let answer =
            self.messages.send(Message::Act(action)).ok().and_then(|()| self.views.recv().ok());
        match answer {
            Some(view) => self.view = view,
            // A destructor, which must not unwind again.
            None if thread::panicking() => self.view.last = Outcome::Aborted,
            None => stop(),
        }
        self.view
    }

    /// Makes `PSCI_SYSTEM_OFF`, which does not return: the Realm is never entered again.
    pub fn system_off(&mut self) -> ! {
        loop {
            self.act(Action::psci_system_off());
        }
    }
}

vcpu_methods!(ThreadVcpu, [], []);

/// Ends the thread of a program that is dropped.
fn stop() -> ! {
    if cfg!(panic = "unwind") {
        // Without the message of a panic.
        panic::resume_unwind(Box::new(Stopped));
    }
    loop {
        thread::park();
    }
}
