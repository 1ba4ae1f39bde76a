//! Programs that are async functions.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use rmi_abi::Ipa;
use rmi_abi::psci::PsciReturnCode;
use rmi_abi::run::RUN_GPRS;
use spin::Mutex;

use super::vcpu::{self, Exception, vcpu_methods};
use super::{Action, Guest, GuestCpu, SysReg, TimerKind};

/// A program that is an async function. It needs no thread and no `std`: the model polls it when
/// the REC runs.
///
/// Each method of [`AsyncVcpu`] is one action; what is between them takes no time. When the
/// function returns, the CPU spins: every entry ends with a fast interrupt. Where it waits for
/// something else than its CPU, the CPU spins as well, and the function is polled again at the next
/// entry. What it panics with, the caller of `RMI_REC_ENTER` gets; the REC has left then, and has
/// no program any more.
///
/// ```
/// use rmi_abi::{Ipa, Pa};
/// use rmm_model::{AsyncGuest, AsyncVcpu};
///
/// async fn program(mut cpu: AsyncVcpu) {
///     let uart = Ipa::new(1 << 39);
///     for byte in *b"hello" {
///         cpu.store(uart, 1, byte.into()).await.expect("a device is there");
///     }
///     cpu.system_off().await
/// }
///
/// # let model = rmm_model::Model::new(rmm_model::Options::new(rmi_abi::Dialect::V2_0Bet3))?;
/// # let rd = Pa::new(0);
/// model.set_guest(rd, 0, Box::new(AsyncGuest::new(program)));
/// # Ok::<(), rmm_model::OptionsError>(())
/// ```
pub struct AsyncGuest {
    program: Program,
    exchange: Arc<Mutex<Exchange>>,
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

enum Program {
    /// It starts at the first entry.
    New(Box<dyn FnOnce(AsyncVcpu) -> Running + Send>),
    Running(Running),
    Over,
}

/// What a program and the model pass to each other. Never contended: one waits while the other
/// runs.
#[derive(Default)]
struct Exchange {
    /// The action that the program asks for.
    action: Option<Action>,
    /// The CPU after the action.
    done: Option<GuestCpu>,
}

impl AsyncGuest {
    /// The program that runs `program` once, from the first entry of the REC on.
    pub fn new<F, P>(program: F) -> Self
    where
        F: FnOnce(AsyncVcpu) -> P + Send + 'static,
        P: Future<Output = ()> + Send + 'static,
    {
        let program = Program::New(Box::new(|cpu| Box::pin(program(cpu))));
        Self { program, exchange: Arc::default() }
    }
}

impl fmt::Debug for AsyncGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.program {
            Program::New(_) => "new",
            Program::Running(_) => "running",
            Program::Over => "over",
        };
        f.debug_struct("AsyncGuest").field("program", &state).finish_non_exhaustive()
    }
}

impl Guest for AsyncGuest {
    fn next(&mut self, cpu: &GuestCpu) -> Action {
        // A program that panics is over.
        let mut program = match mem::replace(&mut self.program, Program::Over) {
            Program::Over => return Action::Spin,
            Program::Running(program) => {
                self.exchange.lock().done = Some(*cpu);
                program
            }
            Program::New(start) => {
                start(AsyncVcpu { view: *cpu, exchange: Arc::clone(&self.exchange) })
            }
        };
        let mut context = Context::from_waker(Waker::noop());
        if program.as_mut().poll(&mut context).is_pending() {
            self.program = Program::Running(program);
        }
        self.exchange.lock().action.take().unwrap_or(Action::Spin)
    }
}

/// The CPU of an [`AsyncGuest`].
pub struct AsyncVcpu {
    view: GuestCpu,
    exchange: Arc<Mutex<Exchange>>,
}

impl fmt::Debug for AsyncVcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncVcpu").field("view", &self.view).finish_non_exhaustive()
    }
}

impl AsyncVcpu {
    /// Does any action; gives the CPU after it.
    pub async fn act(&mut self, action: Action) -> GuestCpu {
        self.view = Act { exchange: &self.exchange, action: Some(action) }.await;
        self.view
    }

    /// Makes `PSCI_SYSTEM_OFF`, which does not return: the Realm is never entered again.
    pub async fn system_off(&mut self) -> ! {
        loop {
            self.act(Action::psci_system_off()).await;
        }
    }
}

vcpu_methods!(AsyncVcpu, [async], [.await]);

/// One action, which is done when the model polls for the next one.
struct Act<'e> {
    exchange: &'e Mutex<Exchange>,
    action: Option<Action>,
}

impl Future for Act<'_> {
    type Output = GuestCpu;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<GuestCpu> {
        let mut exchange = self.exchange.lock();
        let action = self.action.take();
        if action.is_some() {
            // What the last poll left is not the state after this action.
            *exchange = Exchange { action, done: None };
        }
        exchange.done.take().map_or(Poll::Pending, Poll::Ready)
    }
}
