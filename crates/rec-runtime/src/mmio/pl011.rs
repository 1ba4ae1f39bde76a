//! A PL011 UART.

mod registers;

use core::fmt;

use rmi_host::DefaultLock;
use rmi_host::lock_api::{Mutex, RawMutex};

use self::registers::Registers;
use super::device::{AccessSize, ExternalAbort, MmioDevice};

/// The bytes that the registers of a [`Pl011`] take: 4 KiB.
pub const PL011_SIZE: u64 = 0x1000;

/// The host's side of a [`Pl011`].
///
/// A pair of closures is one: the first is [`Pl011Backend::transmit`], the second is
/// [`Pl011Backend::set_interrupt`].
///
/// All methods are called with the UART's lock held, so calls come one at a time and in order; they
/// must not use the UART.
pub trait Pl011Backend: Send {
    /// The Realm transmits a byte. It is transmitted at once: the Realm waits while this runs.
    fn transmit(&mut self, byte: u8);

    /// The interrupt line changes to this level; true is asserted. Called for changes only, and the
    /// line starts deasserted. As the UART's lock is held, levels arrive in their order: pass each
    /// one to the interrupt controller here.
    fn set_interrupt(&mut self, level: bool);

    /// The Realm has read all input, or enabled the receiver, after [`Pl011::push`] had refused
    /// some. By default nothing happens.
    fn can_receive(&mut self) {}
}

impl<T: FnMut(u8) + Send, I: FnMut(bool) + Send> Pl011Backend for (T, I) {
    fn transmit(&mut self, byte: u8) {
        (self.0)(byte);
    }

    fn set_interrupt(&mut self, level: bool) {
        (self.1)(level);
    }
}

/// A PL011 UART (revision r1p5, FIFOs of 32 entries) for the consoles of Linux, EDK2 and TF-A.
///
/// What a Realm transmits reaches the [`Pl011Backend`] immediately, also while the UART is not
/// enabled, because an early console relies on a boot loader that enables it. So the transmitter is
/// always empty and never busy, and `UARTTXINTR` is raised by each byte until it is cleared. Input
/// ([`Pl011::push`]) is taken as far as the receive FIFO has space; data that has arrived raises
/// `UARTRXINTR` at the trigger level and `UARTRTINTR` at once, as if 32 bit periods had passed.
/// Clear to send, data set ready and carrier detect are asserted. There is no baud rate, no
/// transmitted break, no DMA, no SIR and no test mode: their registers can be written and read.
///
/// | Access | What happens |
/// |---|---|
/// | 1, 2 or 4 bytes at a register | the low bytes of the register; a write is zero-extended |
/// | 1 or 2 bytes elsewhere in a word | reads as zero, writes are ignored |
/// | reserved and read-only registers | reserved ones read as zero, writes are ignored |
/// | 8 bytes, and beyond [`PL011_SIZE`] | abort |
///
/// Virtual CPUs on several threads share it. It locks its state for an access, with the same kind
/// of lock as a session's records ([`DefaultLock`] spins; a host that pushes input in an interrupt
/// handler brings a lock that masks interrupts).
///
/// Source: Arm DDI 0183, "Programmers Model".
#[doc(alias = "UART")]
pub struct Pl011<B, L: RawMutex = DefaultLock>(Mutex<L, State<B>>);

struct State<B> {
    registers: Registers,
    backend: B,
    /// The level that the backend was told last.
    line: bool,
    /// Whether input was refused since the backend was told that there is space.
    has_refused: bool,
}

impl<B: Pl011Backend, L: RawMutex> Pl011<B, L> {
    /// A UART after reset.
    #[must_use]
    pub const fn new(backend: B) -> Self {
        let registers = Registers::new();
        Self(Mutex::new(State { registers, backend, line: false, has_refused: false }))
    }

    /// Gives input to the Realm. Returns how many bytes were taken: as many as the receive FIFO has
    /// space for (32, or 1 while the Realm has disabled FIFOs), and none while the Realm has not
    /// enabled the UART or has it in loopback.
    #[must_use = "bytes that were not taken have to be given again"]
    pub fn push(&self, bytes: &[u8]) -> usize {
        let mut state = self.0.lock();
        let taken = state.registers.receive(bytes.iter().map(|byte| u16::from(*byte)));
        state.has_refused |= taken < bytes.len();
        state.update();
        taken
    }

    /// Gives a break to the Realm. Returns whether it was taken, as [`Pl011::push`] takes a byte.
    #[must_use = "a break that was not taken has to be given again"]
    pub fn push_break(&self) -> bool {
        let mut state = self.0.lock();
        let is_taken = state.registers.receive([registers::BREAK].into_iter()) == 1;
        state.has_refused |= !is_taken;
        state.update();
        is_taken
    }

    /// The level of the interrupt line.
    #[must_use]
    pub fn interrupt(&self) -> bool {
        self.0.lock().line
    }

    /// Resets the UART, as for a Realm that starts anew. Input that the Realm has not read is
    /// discarded. If input was refused before, [`Pl011Backend::can_receive`] is called when the
    /// Realm has enabled the receiver again.
    pub fn reset(&self) {
        let mut state = self.0.lock();
        state.registers = Registers::new();
        state.update();
    }

    /// Returns the backend.
    pub fn into_backend(self) -> B {
        self.0.into_inner().backend
    }
}

impl<B: Pl011Backend> State<B> {
    /// Tells the backend what has changed.
    fn update(&mut self) {
        let line = self.registers.is_interrupting();
        if line != self.line {
            self.line = line;
            self.backend.set_interrupt(line);
        }
        if self.has_refused && self.registers.can_receive() {
            self.has_refused = false;
            self.backend.can_receive();
        }
    }
}

/// The register of an access, if it is in the low bytes of a word.
fn register(offset: u64, size: AccessSize) -> Result<Option<u16>, ExternalAbort> {
    match u16::try_from(offset) {
        Ok(offset @ ..0x1000) if size <= AccessSize::Word => {
            Ok(offset.is_multiple_of(4).then_some(offset))
        }
        _ => Err(ExternalAbort),
    }
}

impl<B: Pl011Backend, L: RawMutex + Send + Sync> MmioDevice for Pl011<B, L> {
    fn read(&self, offset: u64, size: AccessSize) -> Result<u64, ExternalAbort> {
        let Some(register) = register(offset, size)? else { return Ok(0) };
        let mut state = self.0.lock();
        let value = state.registers.read(register);
        state.update();
        Ok(u64::from(value) & size.mask())
    }

    fn write(&self, offset: u64, size: AccessSize, value: u64) -> Result<(), ExternalAbort> {
        let Some(register) = register(offset, size)? else { return Ok(()) };
        // No register has more than 16 bits.
        let [low, high, ..] = (value & size.mask()).to_le_bytes();
        let mut state = self.0.lock();
        if let Some(byte) = state.registers.write(register, u16::from_le_bytes([low, high])) {
            state.backend.transmit(byte);
        }
        state.update();
        Ok(())
    }
}

impl<B, L: RawMutex> fmt::Debug for Pl011<B, L> {
    /// Omits what the Realm and the host have written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pl011").finish_non_exhaustive()
    }
}
