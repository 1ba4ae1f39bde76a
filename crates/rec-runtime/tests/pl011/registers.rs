//! Register by register: values after reset, bits that can be written, interrupts, FIFOs.

use rec_runtime::mmio::{AccessSize, ExternalAbort, MmioDevice, PL011_SIZE, Pl011};

use crate::uart::*;

const LBE: u64 = 1 << 7;
const OVERRUN: u64 = 1 << 10;
const BREAK: u64 = 1 << 9;

/// CTS, DSR and DCD, and an empty transmitter.
const IDLE: u64 = 0x87;
const RECEIVER_EMPTY: u64 = 1 << 4;
const RECEIVER_FULL: u64 = 1 << 6;

#[test]
fn registers_after_reset() {
    let uart = Uart::new();
    let identification = [
        (0xfe0, 0x11),
        (0xfe4, 0x10),
        (0xfe8, 0x34),
        (0xfec, 0),
        (0xff0, 0x0d),
        (0xff4, 0xf0),
        (0xff8, 0x05),
        (0xffc, 0xb1),
    ];
    for offset in (0..PL011_SIZE).step_by(4) {
        let value = match offset {
            FR => IDLE | RECEIVER_EMPTY,
            CR => 0x300,
            IFLS => 0x12,
            _ => identification.iter().find(|row| row.0 == offset).map_or(0, |row| row.1),
        };
        assert_eq!(uart.read(offset), value, "{offset:#x}");
    }
    assert!(!uart.device.interrupt());
    assert_eq!(uart.told(), Told::default());
}

#[test]
fn bits_that_exist_can_be_written() {
    let uart = Uart::new();
    for (offset, bits) in [
        (ILPR, 0xff),
        (IBRD, 0xffff),
        (FBRD, 0x3f),
        (LCR_H, 0xff),
        (CR, 0xff87),
        (IFLS, 0x3f),
        (IMSC, 0x7ff),
        (DMACR, 0x7),
        // Read-only, write-only, reserved.
        (RSR, 0),
        (RIS, 0),
        (MIS, 0),
        (ICR, 0),
        (0x008, 0),
        (0x04c, 0),
        (0x080, 0),
    ] {
        uart.write(offset, u64::MAX);
        assert_eq!(uart.read(offset), bits, "{offset:#x}");
        uart.write(offset, 0);
        assert_eq!(uart.read(offset), 0, "{offset:#x}");
        // Loopback changes the lines of the modem, which raises interrupts.
        uart.write(ICR, 0x7ff);
    }
    uart.write(FR, 0);
    uart.write(0xfe0, 0);
    assert_eq!((uart.read(FR), uart.read(0xfe0)), (IDLE | RECEIVER_EMPTY, 0x11));
}

#[test]
fn sizes_and_offsets() {
    use AccessSize::{Byte, Doubleword, Halfword, Word};
    let uart = Uart::new();
    uart.write(IBRD, 0x1234);
    for (size, value) in [(Byte, 0x34), (Halfword, 0x1234), (Word, 0x1234)] {
        assert_eq!(uart.device.read(IBRD, size), Ok(value));
        assert_eq!(uart.device.read(PL011_SIZE - 4, size), Ok(0xb1));
        assert_eq!(uart.device.read(PL011_SIZE, size), Err(ExternalAbort));
        assert_eq!(uart.device.write(PL011_SIZE, size, 0), Err(ExternalAbort));
        assert_eq!(uart.device.read(1 << 16, size), Err(ExternalAbort));
        assert_eq!(uart.device.write(1 << 16, size, 0), Err(ExternalAbort));
    }
    for (offset, size) in [(1, Byte), (2, Byte), (3, Byte), (2, Halfword)] {
        assert_eq!(uart.device.read(IBRD + offset, size), Ok(0));
        assert_eq!(uart.device.write(IBRD + offset, size, u64::MAX), Ok(()));
        assert_eq!(uart.read(IBRD), 0x1234);
    }
    assert_eq!(uart.device.read(IBRD & !7, Doubleword), Err(ExternalAbort));
    assert_eq!(uart.device.write(IBRD & !7, Doubleword, 0), Err(ExternalAbort));
    // A narrow write is zero-extended, and only the size counts.
    assert_eq!(uart.device.write(IBRD, Byte, 0xabcd), Ok(()));
    assert_eq!(uart.read(IBRD), 0xcd);
    assert_eq!(uart.device.write(IBRD, Halfword, 0xabcd), Ok(()));
    assert_eq!(uart.read(IBRD), 0xabcd);
}

#[test]
fn a_byte_leaves_at_once_also_from_a_uart_that_is_off() {
    let uart = Uart::new();
    uart.write(CR, 0);
    uart.write(DR, 0x1_5f41);
    assert_eq!(uart.told().bytes, [0x41]);
    assert_eq!((uart.read(FR), uart.read(RIS)), (IDLE | RECEIVER_EMPTY, TX));
    uart.write(ICR, !TX);
    assert_eq!(uart.read(RIS), TX);
    uart.write(ICR, TX);
    assert_eq!(uart.read(RIS), 0);
}

#[test]
fn the_line_is_told_when_it_changes() {
    let uart = Uart::enabled(FIFOS);
    uart.write(DR, 0x41);
    uart.write(IMSC, RX);
    assert_eq!((uart.told().levels, uart.device.interrupt()), (vec![], false));
    uart.write(IMSC, TX);
    uart.write(DR, 0x41);
    assert_eq!((uart.read(MIS), uart.device.interrupt()), (TX, true));
    assert_eq!(uart.told().levels, [true]);
    uart.write(ICR, TX);
    assert_eq!((uart.told().levels, uart.device.interrupt()), (vec![false], false));
    assert_eq!(uart.read(MIS), 0);
    assert_eq!(uart.device.push(b"x"), 1);
    assert_eq!((uart.read(RIS), uart.read(MIS)), (RT, 0));
    uart.write(IMSC, TX | RT);
    assert_eq!(uart.told().levels, [true]);
    assert_eq!(uart.read(DR), 0x78);
    assert_eq!(uart.told().levels, [false]);
}

#[test]
fn input_is_refused_until_the_uart_is_enabled() {
    let uart = Uart::new();
    for control in [0x300, 0x001, 0x101, 0x200, ENABLED | LBE] {
        uart.write(CR, control);
        assert_eq!(uart.device.push(b"a"), 0, "{control:#x}");
        assert!(!uart.device.push_break());
    }
    assert_eq!(uart.told().can_receive, 0);
    uart.write(CR, 0x201);
    assert_eq!(uart.told().can_receive, 1);
    assert_eq!(uart.device.push(b"a"), 1);
    assert_eq!(uart.read(DR), 0x61);
    assert_eq!(uart.told().can_receive, 0);
    // Nothing is refused of nothing. (Loopback raised interrupts of the modem.)
    uart.write(ICR, 0x7ff);
    assert_eq!(uart.device.push(b""), 0);
    assert_eq!((uart.read(RIS), uart.told().can_receive), (0, 0));
}

#[test]
fn a_refused_break_is_told_as_refused_input() {
    let uart = Uart::new();
    assert!(!uart.device.push_break());
    uart.write(CR, ENABLED);
    assert_eq!(uart.told().can_receive, 1);
    assert!(uart.device.push_break());
    assert_eq!(uart.told().can_receive, 0);
    uart.read(DR);
    assert_eq!(uart.told().can_receive, 0);
}

#[test]
fn fifo_has_32_entries() {
    let uart = Uart::enabled(FIFOS);
    let input: Vec<u8> = (0..40).collect();
    // The ring is used from another place each time.
    for round in 0..5 {
        assert_eq!(uart.device.push(&input), 32, "{round}");
        assert_eq!(uart.device.push(b"x"), 0);
        assert_eq!(uart.read(FR), IDLE | RECEIVER_FULL);
        for byte in 0..32 {
            assert_eq!(uart.told().can_receive, 0);
            assert_eq!(uart.read(DR), byte);
            let flags = if byte == 31 { RECEIVER_EMPTY } else { 0 };
            assert_eq!(uart.read(FR), IDLE | flags);
        }
        assert_eq!(uart.told().can_receive, 1);
        assert_eq!(uart.read(DR), 0);
        assert_eq!(uart.device.push(&input[..7]), 7);
        (0..7).for_each(|byte| assert_eq!(uart.read(DR), byte));
        assert_eq!(uart.told().can_receive, 0);
    }
}

#[test]
fn receive_interrupt_has_a_trigger_level() {
    for (level, entries) in [(0, 4), (1, 8), (2, 16), (3, 24), (4, 28), (5, 28), (7, 28)] {
        let uart = Uart::enabled(FIFOS);
        uart.write(IFLS, level << 3);
        assert_eq!(uart.device.push(&[0; 32][..entries - 1]), entries - 1);
        assert_eq!(uart.read(RIS), RT, "{level}");
        assert_eq!(uart.device.push(&[0]), 1);
        assert_eq!(uart.read(RIS), RX | RT, "{level}");
        // One above the level.
        assert_eq!(uart.device.push(&[0]), 1);
        uart.read(DR);
        assert_eq!(uart.read(RIS), RX | RT, "{level}");
        uart.read(DR);
        assert_eq!(uart.read(RIS), RT, "{level}");
        // Another level applies to what is there.
        uart.write(IFLS, 0);
        assert_eq!(uart.read(RIS), if entries > 4 { RX | RT } else { RT });
        uart.write(IFLS, 0b111 << 3);
        assert_eq!(uart.read(RIS), RT);
        for _ in 1..entries - 1 {
            uart.read(DR);
            assert_eq!(uart.read(RIS), RT);
        }
        uart.read(DR);
        assert_eq!((uart.read(RIS), uart.read(FR)), (0, IDLE | RECEIVER_EMPTY));
    }
}

#[test]
fn cleared_receive_interrupts_come_back_with_the_next_byte() {
    let uart = Uart::enabled(FIFOS);
    assert_eq!(uart.device.push(&[1; 20]), 20);
    uart.write(ICR, RX | RT);
    assert_eq!(uart.read(RIS), 0);
    uart.read(DR);
    assert_eq!(uart.read(RIS), 0);
    assert_eq!(uart.device.push(&[1]), 1);
    assert_eq!(uart.read(RIS), RX | RT);
    assert_eq!(uart.device.push(&[1]), 1);
    assert_eq!(uart.read(RIS), RX | RT);
    uart.write(IFLS, 0);
    assert_eq!(uart.read(RIS), RX | RT);
    // Nothing arrives in a FIFO that is full, and nothing is nothing.
    assert_eq!(uart.device.push(&[1; 32]), 11);
    uart.write(ICR, RX | RT);
    assert_eq!((uart.device.push(&[1]), uart.read(RIS)), (0, 0));
    (0..32).for_each(|_| assert_eq!(uart.read(DR), 1));
    assert_eq!((uart.device.push(&[]), uart.read(RIS)), (0, 0));
}

#[test]
fn without_fifos_one_byte_is_received() {
    let uart = Uart::enabled(0x60);
    assert_eq!(uart.device.push(b"ab"), 1);
    assert_eq!((uart.read(FR), uart.read(RIS)), (IDLE | RECEIVER_FULL, RX));
    assert_eq!(uart.read(DR), 0x61);
    assert_eq!((uart.read(FR), uart.read(RIS)), (IDLE | RECEIVER_EMPTY, 0));
    assert_eq!(uart.told().can_receive, 1);
    // Any trigger level is one byte.
    uart.write(IFLS, 0b100 << 3);
    assert_eq!(uart.device.push(b"b"), 1);
    assert_eq!(uart.read(RIS), RX);
    // Turning FIFOs on discards it; other bits of the register do not.
    uart.write(LCR_H, 0x6e);
    assert_eq!((uart.read(FR), uart.read(RIS)), (IDLE | RECEIVER_FULL, RX));
    uart.write(LCR_H, FIFOS);
    assert_eq!((uart.read(FR), uart.read(RIS)), (IDLE | RECEIVER_EMPTY, 0));
    assert_eq!(uart.device.push(b"abc"), 3);
    uart.write(LCR_H, FIFOS | 1);
    assert_eq!((uart.read(FR), uart.read(RIS)), (IDLE, RT));
    uart.write(LCR_H, 0);
    assert_eq!((uart.read(FR), uart.read(RIS)), (IDLE | RECEIVER_EMPTY, 0));
}

#[test]
fn a_break_is_an_entry_with_an_error() {
    let uart = Uart::enabled(FIFOS);
    assert!(uart.device.push_break());
    assert_eq!(uart.device.push(b"a"), 1);
    assert_eq!(uart.read(RIS), BREAK | RT);
    assert_eq!((uart.read(DR), uart.read(RSR)), (1 << 10, 1 << 2));
    assert_eq!((uart.read(DR), uart.read(RSR)), (0x61, 0));
    assert_eq!(uart.read(RIS), BREAK);
    assert!(uart.device.push_break());
    assert_eq!(uart.read(RIS), BREAK | RT);
    assert_eq!(uart.read(DR), 1 << 10);
    uart.write(ICR, BREAK);
    assert_eq!(uart.read(RIS), 0);
}

#[test]
fn loopback_receives_what_is_transmitted() {
    let uart = Uart::enabled(0x60);
    uart.write(CR, ENABLED | LBE);
    // The outputs are inputs: none is asserted. That is a change of three lines.
    assert_eq!((uart.read(FR), uart.read(RIS)), (0x80 | RECEIVER_EMPTY, 0b1110));
    uart.write(ICR, 0xf);
    uart.write(DR, 0x41);
    assert_eq!((uart.read(RIS), uart.read(FR)), (TX | RX, 0x80 | RECEIVER_FULL));
    uart.write(DR, 0x42);
    assert_eq!((uart.read(RIS), uart.read(RSR)), (TX | RX | OVERRUN, 1 << 3));
    uart.write(DR, 0x42);
    assert_eq!((uart.read(RIS), uart.read(RSR)), (TX | RX | OVERRUN, 1 << 3));
    assert_eq!(uart.read(DR), 1 << 11 | 0x41);
    assert_eq!(uart.read(RSR), 1 << 3);
    uart.write(RSR, 0xff);
    assert_eq!((uart.read(RSR), uart.read(DR)), (0, 0));
    uart.write(DR, 0x43);
    assert_eq!(uart.read(DR), 0x43);
    // A receiver that is off receives nothing.
    uart.write(CR, 0x101 | LBE);
    uart.write(DR, 0x44);
    assert_eq!(uart.read(FR), 0x80 | RECEIVER_EMPTY);
    uart.write(CR, 0x300 | LBE);
    uart.write(DR, 0x44);
    assert_eq!(uart.read(FR), 0x80 | RECEIVER_EMPTY);
    assert_eq!(uart.told(), Told::default());
}

#[test]
fn loopback_of_the_modem_lines() {
    let uart = Uart::new();
    uart.write(CR, LBE);
    uart.write(ICR, 0x7ff);
    for (output, line, interrupt) in [
        (1 << 11, 1, 1 << 1),
        (1 << 10, 1 << 1, 1 << 3),
        (1 << 12, 1 << 2, 1 << 2),
        (1 << 13, 1 << 8, 1),
    ] {
        uart.write(CR, LBE | output);
        assert_eq!((uart.read(FR), uart.read(RIS)), (0x80 | RECEIVER_EMPTY | line, interrupt));
        uart.write(ICR, interrupt);
        uart.write(CR, LBE | output);
        assert_eq!(uart.read(RIS), 0);
        uart.write(CR, LBE);
        assert_eq!(uart.read(RIS), interrupt);
        uart.write(CR, LBE | output);
        uart.write(CR, LBE);
        assert_eq!(uart.read(RIS), interrupt);
        uart.write(ICR, interrupt);
    }
    // All but RI are asserted outside.
    uart.write(CR, 0);
    assert_eq!((uart.read(FR), uart.read(RIS)), (IDLE | RECEIVER_EMPTY, 0b1110));
}

#[test]
fn reset_discards_input_and_lowers_the_line() {
    let uart = Uart::enabled(FIFOS);
    uart.write(IMSC, RT);
    assert_eq!(uart.device.push(&[0; 40]), 32);
    assert_eq!(uart.told().levels, [true]);
    uart.device.reset();
    assert_eq!(uart.told(), Told { levels: vec![false], ..Told::default() });
    assert_eq!((uart.read(FR), uart.read(CR)), (IDLE | RECEIVER_EMPTY, 0x300));
    // Input was refused before, and is taken now.
    uart.write(CR, ENABLED);
    assert_eq!(uart.told(), Told { can_receive: 1, ..Told::default() });
    // None was refused since.
    uart.device.reset();
    uart.write(CR, ENABLED);
    assert_eq!(uart.told(), Told::default());
}

#[test]
fn two_closures_are_a_backend() {
    let (mut bytes, mut levels) = (Vec::new(), Vec::new());
    let uart: Pl011<_> =
        Pl011::new((|byte: u8| bytes.push(byte), |level: bool| levels.push(level)));
    uart.write(IMSC, AccessSize::Word, TX).unwrap();
    uart.write(DR, AccessSize::Byte, 0x41).unwrap();
    assert_eq!(uart.push(b"x"), 0);
    uart.write(CR, AccessSize::Word, ENABLED).unwrap();
    assert_eq!(format!("{uart:?}"), "Pl011 { .. }");
    let (mut transmit, mut set_interrupt) = uart.into_backend();
    transmit(0x42);
    set_interrupt(false);
    assert_eq!((bytes, levels), (vec![0x41, 0x42], vec![true, false]));
}
