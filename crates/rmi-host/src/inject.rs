//! A conduit that breaks things, for tests of whatever stands on it.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::conduit::{Conduit, Registers};

/// What happens to the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The RMM never sees the call; X0 to X7 are these.
    Instead(Registers),
    /// The RMM runs the call, and its answer is replaced by these X0 to X7.
    Afterwards(Registers),
}

/// Injects a fault into the n-th call on its way to another conduit.
#[derive(Debug)]
pub struct Injecting<C> {
    inner: C,
    fault: Fault,
    first: u64,
    last: u64,
    calls: AtomicU64,
}

impl<C> Injecting<C> {
    /// Lets `inner` do its work, except that call number `at` (from 0) meets `fault`.
    pub const fn once(inner: C, at: u64, fault: Fault) -> Self {
        Self { inner, fault, first: at, last: at, calls: AtomicU64::new(0) }
    }

    /// As [`Injecting::once`], for all calls from number `first` on.
    pub const fn from(inner: C, first: u64, fault: Fault) -> Self {
        Self { inner, fault, first, last: u64::MAX, calls: AtomicU64::new(0) }
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Whether the fault has struck.
    #[must_use]
    pub fn has_struck(&self) -> bool {
        self.calls() > self.first
    }
}

impl<C: Conduit> Conduit for Injecting<C> {
    #[expect(unsafe_code, reason = "the one door is an unsafe method")]
    unsafe fn call(&self, registers: Registers) -> Registers {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let struck = (self.first..=self.last).contains(&number);
        if let (true, Fault::Instead(answer)) = (struck, self.fault) {
            return answer;
        }
        // SAFETY: the caller's promise is passed on unchanged.
        let answer = unsafe { self.inner.call(registers) };
        match self.fault {
            Fault::Afterwards(instead) if struck => instead,
            _ => answer,
        }
    }
}
