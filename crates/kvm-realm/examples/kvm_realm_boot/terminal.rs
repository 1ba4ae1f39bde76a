//! The terminal, raw while the guest runs: each key reaches the guest at once, and nothing is
//! echoed but by the guest.
#![expect(unsafe_code, reason = "settings of a terminal, signals")]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// What ends the program from outside, and must not leave the terminal raw.
const SIGNALS: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT];

/// The descriptor of the terminal that is raw; -1 if none is.
static RAW: AtomicI32 = AtomicI32::new(-1);
/// Its settings before.
static BEFORE: Before = Before(UnsafeCell::new(MaybeUninit::zeroed()));

struct Before(UnsafeCell<MaybeUninit<libc::termios>>);

// SAFETY: it is written while `RAW` is claimed by one thread and no handler reads it, and only read
// afterwards.
unsafe impl Sync for Before {}

/// A terminal that is raw until this is dropped, or one of the signals comes.
#[derive(Debug)]
pub(crate) struct RawTerminal(());

/// The value of [`RAW`] while the settings are written.
const CLAIMED: RawFd = -2;

impl RawTerminal {
    /// Makes a terminal raw; `None` if the descriptor is no terminal, belongs to another job of its
    /// shell, or another one is raw.
    ///
    /// Output is left as it is, so that lines end as the terminal wants them.
    pub(crate) fn new(fd: BorrowedFd<'_>) -> Option<Self> {
        let fd = fd.as_raw_fd();
        let mut settings = MaybeUninit::<libc::termios>::zeroed();
        // SAFETY: the first call writes to the structure alone; if it succeeds, all of it is
        // written. The others only return numbers.
        let settings = unsafe {
            if libc::tcgetattr(fd, settings.as_mut_ptr()) != 0 {
                return None;
            }
            // The terminal stops a process that is in its background; without a job, there is none.
            let foreground = libc::tcgetpgrp(fd);
            if foreground >= 0 && foreground != libc::getpgrp() {
                return None;
            }
            settings.assume_init()
        };
        RAW.compare_exchange(-1, CLAIMED, Ordering::SeqCst, Ordering::SeqCst).ok()?;
        // SAFETY: this thread has claimed it, and handlers read it only when `RAW` is a descriptor.
        unsafe { *BEFORE.0.get() = MaybeUninit::new(settings) };
        RAW.store(fd, Ordering::SeqCst);
        let this = Self(());
        for signal in SIGNALS {
            set_handler(signal, restore_and_end as extern "C" fn(libc::c_int) as usize);
        }
        let mut raw = settings;
        raw.c_iflag &= !(libc::BRKINT | libc::ICRNL | libc::INLCR | libc::IGNCR | libc::ISTRIP);
        raw.c_iflag &= !(libc::IXON | libc::INPCK | libc::PARMRK);
        raw.c_lflag &= !(libc::ICANON | libc::ECHO | libc::ECHONL | libc::ISIG | libc::IEXTEN);
        raw.c_cc[libc::VMIN] = 1;
        raw.c_cc[libc::VTIME] = 0;
        // SAFETY: the call only reads the structure.
        let done = unsafe { libc::tcsetattr(fd, libc::TCSANOW, &raw const raw) };
        (done == 0).then_some(this)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
        SIGNALS.into_iter().for_each(|signal| set_handler(signal, libc::SIG_DFL));
        RAW.store(-1, Ordering::SeqCst);
    }
}

/// Gives the terminal its settings back. It may be called in a signal handler.
fn restore() {
    let fd = RAW.load(Ordering::SeqCst);
    if fd >= 0 {
        // SAFETY: `RAW` is a descriptor, so the settings are written, and do not change. The call
        // only reads them, and is allowed in handlers.
        unsafe { libc::tcsetattr(fd, libc::TCSANOW, (*BEFORE.0.get()).as_ptr()) };
    }
}

/// Restores the terminal, and ends the program with the signal as if there were no handler.
extern "C" fn restore_and_end(signal: libc::c_int) {
    restore();
    set_handler(signal, libc::SIG_DFL);
    // SAFETY: the call is allowed in handlers. The signal is delivered when this one returns.
    unsafe { libc::raise(signal) };
}

/// Sets what happens at a signal.
fn set_handler(signal: libc::c_int, handler: libc::sighandler_t) {
    // SAFETY: the structure is one of integers and sets of them, for which zeros are valid. The
    // handler is the default one, or `restore_and_end`, whose calls are allowed in one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}
