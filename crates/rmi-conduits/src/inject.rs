//! A conduit that injects faults, for tests of the code above it.
//!
//! A [`Fault`] says what happens to a call, a [`Rule`] says to which calls.
//!
//! ```
//! use rmi_abi::{Command, Dialect, Status};
//! use rmi_host::{Discovered, Host, SessionOptions};
//! use rmi_conduits::inject::{Fault, Injecting, Rule};
//! use rmm_model::{Model, Options};
//!
//! let dialect = Dialect::TfRmm2026_07;
//! let model = Model::new(Options::new(dialect))?;
//!
//! // The RMM is busy twice at each read of a feature register; the session still opens.
//! let rule = Rule::command(Command::Features, dialect);
//! let conduit =
//!     Injecting::by_rule(&model, rule, Fault::Delay { status: Status::Busy, times: 2 });
//! let found = Discovered::probe(Host::new(&conduit, &model), SessionOptions::default());
//! assert!(found.is_ok());
//! assert_eq!((conduit.injections(), conduit.calls()), (10, 19));
//! # Ok::<(), rmm_model::OptionsError>(())
//! ```
#![expect(unsafe_code, reason = "`Conduit` is an unsafe trait")]

mod fault;
mod rule;

pub use fault::Fault;
pub use rule::Rule;

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rmi_abi::ResultWord;
use rmi_host::OpenSessions;
use rmi_host::conduit::{Conduit, Registers, Simulated};

/// The calls to which a [`Rule`] applies by default.
pub type Predicate = fn(&Registers) -> bool;

/// Injects a fault into the calls that a rule selects, and forwards the others to another conduit.
pub struct Injecting<C, P = Predicate> {
    inner: C,
    rule: Rule<P>,
    fault: Fault,
    calls: AtomicU64,
    matches: AtomicU64,
    injections: AtomicU64,
    /// The rest of a delay: the calls still to be delayed, and the one that is then forwarded.
    delayed: AtomicU32,
}

impl<C> Injecting<C> {
    /// Forwards calls to `inner`, except that call number `at` (from 0) gets `fault`.
    pub const fn once(inner: C, at: u64, fault: Fault) -> Self {
        Self::by_rule(inner, Rule::span(at, at), fault)
    }

    /// As [`Injecting::once`], for all calls from number `first` on.
    pub const fn from(inner: C, first: u64, fault: Fault) -> Self {
        Self::by_rule(inner, Rule::span(first, u64::MAX), fault)
    }
}

impl<C, P> Injecting<C, P> {
    /// Forwards calls to `inner`, except that the calls that `rule` selects get `fault`.
    pub const fn by_rule(inner: C, rule: Rule<P>, fault: Fault) -> Self {
        Self {
            inner,
            rule,
            fault,
            calls: AtomicU64::new(0),
            matches: AtomicU64::new(0),
            injections: AtomicU64::new(0),
            delayed: AtomicU32::new(0),
        }
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Calls that got the fault so far; a delay counts once for each call that it delayed.
    #[must_use]
    pub fn injections(&self) -> u64 {
        self.injections.load(Ordering::Relaxed)
    }

    /// Whether the fault was injected at least once.
    #[must_use]
    pub fn has_injected(&self) -> bool {
        self.injections() > 0
    }

    /// Whether a matching call is to be delayed; `Some(false)` for the one that is forwarded after
    /// a delay.
    fn delay(&self) -> Option<bool> {
        self.delayed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .ok()
            .map(|left| left > 1)
    }
}

impl<C: fmt::Debug, P> fmt::Debug for Injecting<C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Injecting")
            .field("inner", &self.inner)
            .field("rule", &self.rule)
            .field("fault", &self.fault)
            .field("calls", &self.calls)
            .field("injections", &self.injections)
            .finish_non_exhaustive()
    }
}

/// What happens to one call.
#[derive(Clone, Copy)]
enum Decision {
    Forward,
    Inject,
    Delay,
}

impl<C, P: Fn(&Registers) -> bool> Injecting<C, P> {
    fn decide(&self, registers: &Registers) -> Decision {
        if !self.rule.concerns(registers) {
            return Decision::Forward;
        }
        match self.delay() {
            Some(true) => return Decision::Delay,
            Some(false) => return Decision::Forward,
            None => {}
        }
        let number = self.matches.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            _ if !self.rule.chooses(number) => Decision::Forward,
            Fault::Delay { times: 0, .. } => Decision::Forward,
            Fault::Delay { times, .. } => {
                // This call, the rest of the delay, and the call that is forwarded: `times` after
                // this one.
                self.delayed.store(times, Ordering::Relaxed);
                Decision::Delay
            }
            _ => Decision::Inject,
        }
    }
}

// SAFETY: the inner conduit takes no memory away, so no answer, true or false, can do harm.
unsafe impl<C: Simulated, P: Fn(&Registers) -> bool> Conduit for Injecting<C, P> {
    fn open_sessions(&self) -> &OpenSessions {
        self.inner.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let decision = self.decide(&registers);
        if !matches!(decision, Decision::Forward) {
            self.injections.fetch_add(1, Ordering::Relaxed);
        }
        match (decision, self.fault) {
            (Decision::Inject, Fault::Instead(answer)) => return answer,
            (Decision::Inject, Fault::Garbage { seed }) => return fault::garbage(seed, number),
            (Decision::Delay, Fault::Delay { status, .. }) => {
                return fault::answer(ResultWord::from_status(status));
            }
            _ => {}
        }
        // SAFETY: the caller's promise is passed on unchanged.
        let answer = unsafe { self.inner.call(registers) };
        match (decision, self.fault) {
            (Decision::Inject, Fault::Afterwards(instead)) => instead,
            (Decision::Inject, Fault::Scribble { seed }) => {
                let ([x0, ..], [_, outputs @ ..]) = (answer, fault::garbage(seed, number));
                let [x1, x2, x3, x4, x5, x6, x7] = outputs;
                [x0, x1, x2, x3, x4, x5, x6, x7]
            }
            _ => answer,
        }
    }
}

// SAFETY: the calls that are forwarded are those of the inner conduit.
unsafe impl<C: Simulated, P: Fn(&Registers) -> bool> Simulated for Injecting<C, P> {}
