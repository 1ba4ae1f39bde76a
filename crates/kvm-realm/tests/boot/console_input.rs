//! The console's input: from a pipe or a terminal to the guest.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bare_metal::linux::layout::UART_INTID;

use super::*;
use crate::input::{InputEnd, Space, copy};

/// Registers of the PL011, and bits in them.
const DATA: u64 = UART;
const FLAGS: u64 = UART + 0x18;
const LINE_CONTROL: u64 = UART + 0x2c;
const CONTROL: u64 = UART + 0x30;
const MASK: u64 = UART + 0x38;
const EMPTY: u64 = 1 << 4;
const FIFO: u64 = 1 << 4;
const ENABLE: u64 = 1 | 1 << 9;
const RECEIVE: u64 = 1 << 4 | 1 << 6;

/// What the guest is to read. It is longer than the UART's FIFO.
const TEXT: &str = "echo a line that is longer than the receive FIFO of the UART; poweroff\n";

/// A pipe with bytes that ends after them.
fn input(bytes: &[u8]) -> PipeReader {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(bytes).unwrap();
    reader
}

/// A guest that enables the UART and its receive interrupt, and echoes what it reads while the
/// interrupt is asserted, until the end of a line.
fn echo(kernel: FakeKernel, at: u64) -> impl FnMut(Outcome) -> Action + Send {
    let mut letter = None;
    let mut set_up = [(LINE_CONTROL, FIFO), (MASK, RECEIVE), (CONTROL, ENABLE)].into_iter();
    let mut has_asked = false;
    move |outcome| {
        if let Some((register, value)) = set_up.next() {
            return Action::MmioStore(at + register, value, 4);
        }
        match (outcome, letter) {
            (Outcome::Value(flags), None) if !has_asked => {
                if flags & EMPTY != 0 {
                    return Action::MmioLoad(at + FLAGS, 4);
                }
                has_asked = true;
                Action::MmioLoad(at + DATA, 4)
            }
            (Outcome::Value(value), None) => {
                letter = Some(value);
                Action::MmioStore(at + DATA, value, 1)
            }
            (Outcome::Done, Some(value)) if value == u64::from(b'\n') => {
                // Everything is read.
                assert!(!kernel.is_asserted(0, UART_INTID));
                Action::SystemOff
            }
            (Outcome::Done, Some(_)) => {
                (letter, has_asked) = (None, false);
                Action::MmioLoad(at + FLAGS, 4)
            }
            _ => Action::MmioLoad(at + FLAGS, 4),
        }
    }
}

#[test]
fn a_guest_reads_what_is_typed_on_every_generation() {
    for (generation, kernel) in kernels() {
        for is_plain in [false, true] {
            // The program is made once the descriptors of a fresh kernel are numbered from 0.
            let kernel = if is_plain { kernels_of(generation) } else { kernel.clone() };
            let own = kernel.clone();
            let shared = if is_plain { 0 } else { SHARED };
            kernel.set_guest(move |_| echo(own.clone(), shared));
            let options = Options { is_plain, ..options(generation, 1) };
            let input = input(TEXT.as_bytes());
            let (report, text) = boot_with(&kernel, &options, Some(input.as_fd()));
            assert_eq!((report.unwrap().end, text.as_str()), (End::Off, TEXT), "{generation}");
            assert_eq!(kernel.open_descriptors(), 0);
        }
    }
}

/// Another kernel of a generation.
fn kernels_of(generation: Generation) -> FakeKernel {
    kernels().find(|(of, _)| *of == generation).unwrap().1
}

#[test]
fn input_asserts_the_interrupt_until_it_is_read() {
    let kernel = FakeKernel::new("rmi-v14").unwrap();
    let (reader, mut writer) = pipe().unwrap();
    let own = kernel.clone();
    // Types one letter, waits for the interrupt, and reads.
    kernel.set_guest(move |_| {
        let (kernel, mut writer) = (own.clone(), writer_of(&mut writer));
        let mut step = 0;
        move |outcome: Outcome| {
            step += 1;
            match step {
                1 => Action::MmioStore(SHARED + LINE_CONTROL, 0, 4),
                2 => Action::MmioStore(SHARED + MASK, RECEIVE, 4),
                3 => Action::MmioStore(SHARED + CONTROL, ENABLE, 4),
                4 => {
                    assert!(!kernel.is_asserted(0, UART_INTID));
                    writer.write_all(b"q").unwrap();
                    let start = Instant::now();
                    while !kernel.is_asserted(0, UART_INTID) {
                        assert!(start.elapsed() < Duration::from_secs(60));
                        std::thread::yield_now();
                    }
                    Action::MmioLoad(SHARED + DATA, 4)
                }
                _ => {
                    assert_eq!(outcome, Outcome::Value(u64::from(b'q')));
                    assert!(!kernel.is_asserted(0, UART_INTID));
                    Action::SystemOff
                }
            }
        }
    });
    let options = options(Generation::V14, 1);
    let (report, _) = boot_with(&kernel, &options, Some(reader.as_fd()));
    assert!(report.unwrap().is_orderly());
}

/// Another descriptor of the same end of a pipe.
fn writer_of(writer: &mut PipeWriter) -> PipeWriter {
    writer.try_clone().unwrap()
}

#[test]
fn a_guest_that_does_not_read_ends_although_there_is_input() {
    // The UART is not enabled, so it takes nothing; and a pipe that stays open never ends.
    for bytes in [&[][..], b"input"] {
        let kernel = FakeKernel::new("rmi-v15").unwrap();
        kernel.set_guest(|_| |_: Outcome| Action::SystemOff);
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(bytes).unwrap();
        let options = options(Generation::V15, 1);
        let (report, _) = boot_with(&kernel, &options, Some(reader.as_fd()));
        assert!(report.unwrap().is_orderly());
        drop(writer);
    }
}

/// What a UART gets that takes so many bytes at once, and has space again at once.
fn copied(bytes: &[u8], is_interactive: bool, at_once: usize) -> (InputEnd, Vec<u8>) {
    let (space, got) = (Space::new().unwrap(), Mutex::new(Vec::new()));
    let push = |bytes: &[u8]| {
        let taken = bytes.len().min(at_once);
        got.lock().unwrap().extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() {
            space.has_come();
        }
        taken
    };
    let end = copy(input(bytes).as_fd(), is_interactive, &space, push);
    (end, got.into_inner().unwrap())
}

#[test]
fn all_input_reaches_the_uart_in_its_order() {
    let long: Vec<u8> = (0..=255).cycle().take(1000).collect();
    for at_once in [1, 7, 32, 1000] {
        assert_eq!(copied(&long, false, at_once), (InputEnd::NoMore, long.clone()));
    }
    assert_eq!(copied(b"", false, 1), (InputEnd::NoMore, Vec::new()));
    // A descriptor that cannot be read is as one without input.
    let space = Space::new().unwrap();
    let directory = std::fs::File::open("/").unwrap();
    let end = copy(directory.as_fd(), false, &space, |_| panic!("no input"));
    assert_eq!(end, InputEnd::NoMore);
}

#[test]
fn ctrl_a_is_the_prefix_of_commands_on_a_terminal() {
    for (typed, end, guest) in [
        (&b"ab\x01xcd"[..], InputEnd::Quit, &b""[..]),
        (b"\x01X", InputEnd::Quit, b""),
        (b"a\x01\x01x", InputEnd::NoMore, b"a\x01x"),
        (b"a\x01bx", InputEnd::NoMore, b"ax"),
        (b"\x03", InputEnd::NoMore, b"\x03"),
    ] {
        assert_eq!(copied(typed, true, 100), (end, guest.to_vec()), "{typed:?}");
        assert_eq!(copied(typed, false, 100), (InputEnd::NoMore, typed.to_vec()), "{typed:?}");
    }
    // What is typed in two parts is one command.
    let (space, (reader, mut writer)) = (Space::new().unwrap(), pipe().unwrap());
    writer.write_all(b"a\x01").unwrap();
    let end = copy(reader.as_fd(), true, &space, |bytes| {
        writer.try_clone().unwrap().write_all(b"x").unwrap();
        bytes.len()
    });
    assert_eq!(end, InputEnd::Quit);
}

#[test]
fn input_that_waits_for_space_ends_with_the_guest() {
    let (space, (reader, mut writer)) = (Space::new().unwrap(), pipe().unwrap());
    writer.write_all(b"abc").unwrap();
    let calls = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (space, calls) = (&space, &calls);
        let copied = scope.spawn(move || {
            copy(reader.as_fd(), false, space, |_| {
                calls.fetch_add(1, Ordering::SeqCst);
                0
            })
        });
        while calls.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        space.end();
        assert_eq!(copied.join().unwrap(), InputEnd::Guest);
    });
    assert_eq!(calls.into_inner(), 1);
    // And so does input that is not there yet.
    let (reader, _writer) = pipe().unwrap();
    let end = copy(reader.as_fd(), false, &space, |_| panic!("no input"));
    assert_eq!(end, InputEnd::Guest);
}

#[test]
fn ctrl_a_and_x_end_a_vm() {
    let kernel = FakeKernel::new("rmi-v14").unwrap();
    kernel.set_guest(|_| |_: Outcome| Action::Interrupted);
    let input = input(b"\x01x");
    let text = |_: &str| {};
    let terminal = Terminal { text: &text, input: Some(input.as_fd()), is_interactive: true };
    let report = machine::boot(&kernel, &options(Generation::V14, 2), &files(), terminal).unwrap();
    assert_eq!(report.end, End::Quit);
    assert!(!report.is_orderly());
    assert_eq!(report.lines().last().unwrap(), "the user has ended the VM");
    assert_eq!(kernel.open_descriptors(), 0);
}

#[test]
fn a_terminal_gets_no_control_sequences() {
    let written = b"a\x1b[2J\x07b\r\n\t\x08c\x7f\xc3";
    for (is_interactive, expected) in [(false, "a[2Jb\nc"), (true, "a[2Jb\r\n\t\x08c")] {
        let kernel = FakeKernel::new("rmi-v14").unwrap();
        kernel.set_guest(move |_| {
            let mut letters = written.iter();
            move |_: Outcome| match letters.next() {
                Some(letter) => Action::MmioStore(SHARED + DATA, (*letter).into(), 1),
                None => Action::SystemOff,
            }
        });
        let output = Mutex::new(String::new());
        let text = |letters: &str| output.lock().unwrap().push_str(letters);
        let terminal = Terminal { text: &text, input: None, is_interactive };
        let options = options(Generation::V14, 1);
        assert!(machine::boot(&kernel, &options, &files(), terminal).unwrap().is_orderly());
        assert_eq!(output.into_inner().unwrap(), expected);
    }
}

#[test]
fn a_vcpu_that_panics_stops_the_others_and_the_input() {
    let kernel = FakeKernel::new("rmi-v14").unwrap();
    kernel.set_guest(|_| |_: Outcome| -> Action { panic!("a wrong test") });
    let (reader, _writer) = pipe().unwrap();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        boot_with(&kernel, &options(Generation::V14, 4), Some(reader.as_fd()))
    }));
    assert!(ended.is_err());
}

/// A pseudoterminal, and what its settings are.
mod pty {
    #![expect(unsafe_code, reason = "pseudoterminals")]

    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

    /// Both ends: that of a person, and that of a program.
    pub(super) fn open() -> (OwnedFd, OwnedFd) {
        let (mut person, mut program) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: the call writes to the two numbers, and ignores what is null.
        let done = unsafe {
            libc::openpty(&raw mut person, &raw mut program, none, none.cast(), none.cast())
        };
        assert_eq!(done, 0);
        // SAFETY: the call has made both descriptors.
        unsafe { (OwnedFd::from_raw_fd(person), OwnedFd::from_raw_fd(program)) }
    }

    /// Runs a function in a child, which ends by itself; the signal that ended it.
    ///
    /// The function must not allocate: other threads may hold the allocator's lock.
    pub(super) fn in_child(run: impl FnOnce()) -> i32 {
        // SAFETY: the child calls the function and ends, without the code of this process.
        match unsafe { libc::fork() } {
            0 => {
                run();
                // SAFETY: as above.
                unsafe { libc::_exit(0) }
            }
            child => {
                let mut status = 0;
                // SAFETY: the call writes to the number.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                libc::WTERMSIG(status)
            }
        }
    }

    /// Sends a signal to this process.
    pub(super) fn raise(signal: i32) {
        // SAFETY: the call has no effect on memory.
        unsafe { libc::raise(signal) };
    }

    /// The flags for input, output and control.
    pub(super) fn flags(fd: BorrowedFd<'_>) -> (u32, u32, u32) {
        // SAFETY: the structure is one of integers; the call writes to it alone.
        let settings = unsafe {
            let mut settings: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(fd.as_raw_fd(), &raw mut settings), 0);
            settings
        };
        (settings.c_iflag, settings.c_oflag, settings.c_lflag)
    }
}

/// One test has a raw terminal at a time.
static RAW: Mutex<()> = Mutex::new(());

#[test]
fn a_terminal_is_raw_until_the_end() {
    use crate::terminal::RawTerminal;
    let _alone = RAW.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (person, program) = pty::open();
    let before = pty::flags(program.as_fd());
    assert!(before.2 & libc::ICANON != 0 && before.2 & libc::ECHO != 0);
    let raw = RawTerminal::new(program.as_fd()).unwrap();
    let (input, output, local) = pty::flags(program.as_fd());
    assert_eq!(local & (libc::ICANON | libc::ECHO | libc::ISIG), 0);
    assert_eq!(input & (libc::ICRNL | libc::IXON), 0);
    assert_eq!(output, before.1);
    // One terminal is raw at a time.
    let (_other_person, other) = pty::open();
    assert!(RawTerminal::new(other.as_fd()).is_none());

    // Each key reaches the guest as it is, without the end of a line.
    let mut keys = std::fs::File::from(person);
    keys.write_all(b"a\r\x03").unwrap();
    let mut bytes = [0; 3];
    let mut reader = std::fs::File::from(program.try_clone().unwrap());
    reader.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"a\r\x03");

    drop(raw);
    assert_eq!(pty::flags(program.as_fd()), before);
    // And again.
    assert!(RawTerminal::new(other.as_fd()).is_some());
    assert!(RawTerminal::new(input_of_nothing().as_fd()).is_none());
}

#[test]
fn a_signal_that_ends_the_program_restores_the_terminal() {
    use crate::terminal::RawTerminal;
    let _alone = RAW.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (_person, program) = pty::open();
    let before = pty::flags(program.as_fd());
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
        let ended = pty::in_child(|| {
            let raw = RawTerminal::new(program.as_fd());
            if raw.is_some() && pty::flags(program.as_fd()) != before {
                pty::raise(signal);
            }
        });
        assert_eq!((ended, pty::flags(program.as_fd())), (signal, before));
    }
}

/// A descriptor that is no terminal.
fn input_of_nothing() -> PipeReader {
    input(b"")
}

#[test]
fn many_threads_wait_for_space_without_losing_it() {
    // A UART that takes one byte, and says a little later that it has space.
    let (space, got) = (Arc::new(Space::new().unwrap()), Mutex::new(Vec::new()));
    let end = copy(input(TEXT.as_bytes()).as_fd(), false, &space, |bytes| {
        got.lock().unwrap().push(bytes[0]);
        let space = Arc::clone(&space);
        std::thread::spawn(move || space.has_come());
        1
    });
    assert_eq!((end, got.into_inner().unwrap()), (InputEnd::NoMore, TEXT.as_bytes().to_vec()));
}
