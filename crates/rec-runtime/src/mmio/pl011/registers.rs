//! The registers of a PL011.
//!
//! Source: Arm DDI 0183, chapter "Programmers Model".

// Offsets.
const DR: u16 = 0x000;
const RSR_ECR: u16 = 0x004;
const FR: u16 = 0x018;
const ILPR: u16 = 0x020;
const IBRD: u16 = 0x024;
const FBRD: u16 = 0x028;
const LCR_H: u16 = 0x02c;
const CR: u16 = 0x030;
const IFLS: u16 = 0x034;
const IMSC: u16 = 0x038;
const RIS: u16 = 0x03c;
const MIS: u16 = 0x040;
const ICR: u16 = 0x044;
const DMACR: u16 = 0x048;
/// The first of the identification registers, which go on to the end.
const PERIPH_ID0: u16 = 0xfe0;

/// `UARTPeriphID0` to 3 and `UARTPCellID0` to 3: part 0x011, designer 0x41, revision 3.
const IDENTIFICATION: [u16; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

// Bits of UARTDR above the data.
const DR_BREAK: u16 = 1 << 10;
const DR_OVERRUN: u16 = 1 << 11;
/// FE, PE and BE, which UARTRSR has in bits 2:0.
const DR_ERRORS: u16 = 0b111 << 8;
/// OE of UARTRSR.
const RSR_OVERRUN: u16 = 1 << 3;
/// A break as an entry of the FIFO: a zero byte with BE.
pub(super) const BREAK: u16 = DR_BREAK;

// Bits of UARTFR.
const FR_CTS: u16 = 1;
const FR_DSR: u16 = 1 << 1;
const FR_DCD: u16 = 1 << 2;
const FR_RXFE: u16 = 1 << 4;
const FR_RXFF: u16 = 1 << 6;
const FR_TXFE: u16 = 1 << 7;
const FR_RI: u16 = 1 << 8;

/// FEN of UARTLCR_H.
const LCR_FEN: u16 = 1 << 4;

// Bits of UARTCR.
const CR_UARTEN: u16 = 1;
const CR_LBE: u16 = 1 << 7;
const CR_TXE: u16 = 1 << 8;
const CR_RXE: u16 = 1 << 9;
const CR_DTR: u16 = 1 << 10;
const CR_RTS: u16 = 1 << 11;
const CR_OUT1: u16 = 1 << 12;
const CR_OUT2: u16 = 1 << 13;
/// All but the reserved bits 6:3.
const CR_BITS: u16 = !0x78;

// Interrupts, as bits of UARTIMSC, UARTRIS, UARTMIS and UARTICR.
const INT_RI: u16 = 1;
const INT_CTS: u16 = 1 << 1;
const INT_DCD: u16 = 1 << 2;
const INT_DSR: u16 = 1 << 3;
const INT_RX: u16 = 1 << 4;
const INT_TX: u16 = 1 << 5;
const INT_RT: u16 = 1 << 6;
const INT_BREAK: u16 = 1 << 9;
const INT_OVERRUN: u16 = 1 << 10;
const INTERRUPTS: u16 = 0x7ff;

/// Entries of the receive FIFO.
const FIFO_DEPTH: usize = 32;

/// What a line of the modem is in UARTFR, which output drives it in loopback, and the interrupt
/// that its change raises.
const MODEM: [(u16, u16, u16); 4] = [
    (FR_CTS, CR_RTS, INT_CTS),
    (FR_DSR, CR_DTR, INT_DSR),
    (FR_DCD, CR_OUT1, INT_DCD),
    (FR_RI, CR_OUT2, INT_RI),
];

/// The registers, and the receive FIFO.
pub(super) struct Registers {
    rsr: u16,
    ilpr: u16,
    ibrd: u16,
    fbrd: u16,
    lcr_h: u16,
    cr: u16,
    ifls: u16,
    imsc: u16,
    ris: u16,
    dmacr: u16,
    fifo: Fifo,
    /// Whether a byte was lost since the last read of UARTDR.
    has_overrun: bool,
}

impl Registers {
    /// The values after reset.
    pub(super) const fn new() -> Self {
        Self {
            rsr: 0,
            ilpr: 0,
            ibrd: 0,
            fbrd: 0,
            lcr_h: 0,
            cr: CR_TXE | CR_RXE,
            ifls: 0b010_010,
            imsc: 0,
            ris: 0,
            dmacr: 0,
            fifo: Fifo::new(),
            has_overrun: false,
        }
    }

    /// Whether the interrupt line is asserted: UARTINTR.
    pub(super) const fn is_interrupting(&self) -> bool {
        self.ris & self.imsc != 0
    }

    /// Whether the receiver takes input from outside, and its FIFO is empty.
    pub(super) const fn can_receive(&self) -> bool {
        self.is_receiving() && self.fifo.is_empty()
    }

    /// Whether the receiver takes input from outside.
    const fn is_receiving(&self) -> bool {
        self.cr & (CR_UARTEN | CR_RXE | CR_LBE) == CR_UARTEN | CR_RXE
    }

    const fn has_fifo(&self) -> bool {
        self.lcr_h & LCR_FEN != 0
    }

    /// Entries that the FIFO has now.
    const fn depth(&self) -> usize {
        if self.has_fifo() { FIFO_DEPTH } else { 1 }
    }

    /// How many entries raise the receive interrupt: RXIFLSEL of UARTIFLS. Reserved values are
    /// taken for the highest level.
    const fn trigger(&self) -> usize {
        match (self.has_fifo(), self.ifls >> 3) {
            (false, _) => 1,
            (true, 0b000) => FIFO_DEPTH / 8,
            (true, 0b001) => FIFO_DEPTH / 4,
            (true, 0b010) => FIFO_DEPTH / 2,
            (true, 0b011) => FIFO_DEPTH / 4 * 3,
            (true, _) => FIFO_DEPTH / 8 * 7,
        }
    }

    /// Receives entries as long as there is space; returns how many.
    pub(super) fn receive(&mut self, entries: impl Iterator<Item = u16>) -> usize {
        if !self.is_receiving() {
            return 0;
        }
        let depth = self.depth();
        let mut taken = 0;
        for entry in entries {
            if !self.fifo.push(entry, depth) {
                break;
            }
            if entry & DR_BREAK != 0 {
                self.ris |= INT_BREAK;
            }
            taken += 1;
        }
        if taken > 0 {
            self.has_received();
        }
        taken
    }

    /// Raises the interrupts of the receiver after something has arrived.
    fn has_received(&mut self) {
        if self.fifo.len() >= self.trigger() {
            self.ris |= INT_RX;
        }
        if self.has_fifo() {
            self.ris |= INT_RT;
        }
    }

    /// A byte that was transmitted in loopback.
    fn receive_own(&mut self, byte: u8) {
        if self.cr & (CR_UARTEN | CR_RXE) != CR_UARTEN | CR_RXE {
            return;
        }
        if self.fifo.push(byte.into(), self.depth()) {
            self.has_received();
        } else {
            self.has_overrun = true;
            self.rsr |= RSR_OVERRUN;
            self.ris |= INT_OVERRUN;
        }
    }

    /// The lines of the modem as bits of UARTFR.
    fn modem(&self) -> u16 {
        if self.cr & CR_LBE == 0 {
            return FR_CTS | FR_DSR | FR_DCD;
        }
        let driven = MODEM.iter().filter(|(_, output, _)| self.cr & output != 0);
        driven.fold(0, |lines, (line, ..)| lines | line)
    }

    fn flags(&self) -> u16 {
        let mut flags = FR_TXFE | self.modem();
        if self.fifo.is_empty() {
            flags |= FR_RXFE;
        }
        if self.fifo.len() >= self.depth() {
            flags |= FR_RXFF;
        }
        flags
    }

    /// Reads a register.
    pub(super) fn read(&mut self, offset: u16) -> u16 {
        match offset {
            DR => self.read_data(),
            RSR_ECR => self.rsr,
            FR => self.flags(),
            ILPR => self.ilpr,
            IBRD => self.ibrd,
            FBRD => self.fbrd,
            LCR_H => self.lcr_h,
            CR => self.cr,
            IFLS => self.ifls,
            IMSC => self.imsc,
            RIS => self.ris,
            MIS => self.ris & self.imsc,
            DMACR => self.dmacr,
            PERIPH_ID0.. => {
                let index = usize::from((offset - PERIPH_ID0) / 4);
                IDENTIFICATION.get(index).copied().unwrap_or(0)
            }
            _ => 0,
        }
    }

    fn read_data(&mut self) -> u16 {
        let Some(entry) = self.fifo.pop() else { return 0 };
        self.rsr = self.rsr & RSR_OVERRUN | (entry & DR_ERRORS) >> 8;
        if self.fifo.len() < self.trigger() {
            self.ris &= !INT_RX;
        }
        if self.fifo.is_empty() {
            self.ris &= !INT_RT;
        }
        let has_overrun = core::mem::take(&mut self.has_overrun);
        if has_overrun { entry | DR_OVERRUN } else { entry }
    }

    /// Writes a register. Returns a byte that leaves the UART.
    pub(super) fn write(&mut self, offset: u16, value: u16) -> Option<u8> {
        match offset {
            DR => return self.transmit(value),
            RSR_ECR => self.rsr = 0,
            ILPR => self.ilpr = value & 0xff,
            IBRD => self.ibrd = value,
            FBRD => self.fbrd = value & 0x3f,
            LCR_H => self.write_line_control(value & 0xff),
            CR => self.write_control(value & CR_BITS),
            IFLS => {
                self.ifls = value & 0x3f;
                self.set_receive_interrupt();
            }
            IMSC => self.imsc = value & INTERRUPTS,
            ICR => self.ris &= !value,
            DMACR => self.dmacr = value & 0b111,
            _ => {}
        }
        None
    }

    /// Transmits a byte. The FIFO is empty again at once.
    fn transmit(&mut self, value: u16) -> Option<u8> {
        self.ris |= INT_TX;
        let [byte, _] = value.to_le_bytes();
        if self.cr & CR_LBE == 0 {
            return Some(byte);
        }
        self.receive_own(byte);
        None
    }

    /// Turning FIFOs on or off discards what was received.
    fn write_line_control(&mut self, value: u16) {
        let had_fifo = self.has_fifo();
        self.lcr_h = value;
        if had_fifo != self.has_fifo() {
            self.fifo = Fifo::new();
            self.ris &= !(INT_RX | INT_RT);
        }
    }

    fn write_control(&mut self, value: u16) {
        let before = self.modem();
        self.cr = value;
        let changed = before ^ self.modem();
        for (line, _, interrupt) in MODEM {
            if changed & line != 0 {
                self.ris |= interrupt;
            }
        }
    }

    /// The receive interrupt after a change of the trigger level.
    fn set_receive_interrupt(&mut self) {
        if self.fifo.len() >= self.trigger() {
            self.ris |= INT_RX;
        } else {
            self.ris &= !INT_RX;
        }
    }
}

/// The receive FIFO: entries as UARTDR shows them.
struct Fifo {
    entries: [u16; FIFO_DEPTH],
    first: usize,
    len: usize,
}

impl Fifo {
    const fn new() -> Self {
        Self { entries: [0; FIFO_DEPTH], first: 0, len: 0 }
    }

    const fn len(&self) -> usize {
        self.len
    }

    const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends an entry unless there are `depth` ones.
    fn push(&mut self, entry: u16, depth: usize) -> bool {
        let at = (self.first + self.len) % FIFO_DEPTH;
        match self.entries.get_mut(at) {
            Some(free) if self.len < depth => {
                *free = entry;
                self.len += 1;
                true
            }
            _ => false,
        }
    }

    fn pop(&mut self) -> Option<u16> {
        if self.is_empty() {
            return None;
        }
        let entry = self.entries.get(self.first).copied();
        self.first = (self.first + 1) % FIFO_DEPTH;
        self.len -= 1;
        entry
    }
}
