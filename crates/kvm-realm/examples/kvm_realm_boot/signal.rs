//! The signal that makes KVM_RUN of another thread return.
#![expect(unsafe_code, reason = "sends signals to threads")]

use std::sync::{Mutex, PoisonError};

use kvm_realm::kick::Kick;

/// The threads that run vCPUs, and what makes them return.
#[derive(Debug, Default)]
pub(crate) struct Threads(Mutex<Vec<(libc::pid_t, Kick)>>);

extern "C" fn ignore(_: libc::c_int) {}

/// The signal: the first that no library uses.
fn number() -> libc::c_int {
    libc::SIGRTMIN()
}

impl Threads {
    /// No threads; from here on, the signal does nothing but interrupt system calls.
    pub(crate) fn new() -> Self {
        let handler = ignore as extern "C" fn(libc::c_int);
        // SAFETY: the structure is one of integers and sets of them, for which zeros are valid;
        // the handler does nothing, which is allowed in one.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as libc::sighandler_t;
            libc::sigaction(number(), &raw const action, std::ptr::null_mut());
        }
        Self::default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(libc::pid_t, Kick)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a function of this thread, which [`Threads::stop`] can interrupt.
    pub(crate) fn during<T>(&self, kick: Kick, run: impl FnOnce() -> T) -> T {
        // SAFETY: it only returns the thread's number in the kernel.
        let this = unsafe { libc::gettid() };
        self.lock().push((this, kick));
        let result = run();
        // The thread exists until it has left the list.
        self.lock().retain(|(thread, _)| *thread != this);
        result
    }

    /// Makes all threads return from KVM_RUN, and not enter it again.
    pub(crate) fn stop(&self) {
        for (thread, kick) in self.lock().iter() {
            kick.set();
            // SAFETY: the call has no effect on memory. The thread is in the list, so it exists.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), *thread, number()) };
        }
    }
}
