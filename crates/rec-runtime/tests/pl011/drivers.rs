//! What drivers do, access by access: their order, sizes and conditions.

use rec_runtime::mmio::{AccessSize, MmioDevice};

use crate::uart::*;

const BUSY: u64 = 1 << 3;
const RXFE: u64 = 1 << 4;
const TXFF: u64 = 1 << 5;
const TXFE: u64 = 1 << 7;

/// The early console of Linux: no register is set up, a byte is written when there is space, and
/// the UART is not busy afterwards.
#[test]
fn linux_early_console() {
    let uart = Uart::new();
    for byte in *b"Booting Linux\r\n" {
        assert_eq!(uart.read(FR) & TXFF, 0);
        uart.device.write(DR, AccessSize::Byte, byte.into()).unwrap();
        assert_eq!(uart.read(FR) & BUSY, 0);
    }
    assert_eq!(uart.told(), Told { bytes: b"Booting Linux\r\n".into(), ..Told::default() });
}

/// Linux finds the driver by the identification that the AMBA bus reads, and the depth of the FIFO
/// by the revision.
#[test]
fn linux_identifies_it() {
    let uart = Uart::new();
    let word = |base| (0..4_u64).fold(0, |id, n| id | (uart.read(base + 4 * n) & 0xff) << (8 * n));
    assert_eq!(word(0xff0), 0xb105_f00d);
    let id = word(0xfe0);
    assert_eq!(id & 0x000f_ffff, 0x0004_1011);
    assert!((id >> 20) & 0xf >= 3, "FIFOs of 16 entries");
}

/// The driver after its probe: interrupts are cleared, the receiver is emptied, input arrives by
/// interrupts, output is written until the FIFO is full and goes on in interrupts.
#[test]
fn linux_driver() {
    let uart = Uart::new();
    let read = |offset| uart.device.read(offset, AccessSize::Halfword).unwrap();
    let write = |offset, value| uart.device.write(offset, AccessSize::Halfword, value).unwrap();
    // Start: errors and receive interrupts of earlier use are cleared.
    write(IMSC, 0);
    write(ICR, 0x7f0);
    write(IFLS, 0x12);
    write(FBRD, 3);
    write(IBRD, 26);
    write(LCR_H, FIFOS);
    write(CR, 0xb01);
    write(ICR, RT | RX);
    let mut emptied = 0;
    while read(FR) & RXFE == 0 {
        read(DR);
        emptied += 1;
    }
    assert_eq!(emptied, 0);
    write(IMSC, RT | RX);
    assert_eq!(uart.told(), Told::default());

    // A key is pressed.
    assert_eq!(uart.device.push(b"ls\r"), 3);
    assert_eq!(uart.told().levels, [true]);
    let status = read(RIS) & read(IMSC);
    assert_eq!(status, RT);
    write(ICR, status & !(TX | RT | RX));
    let mut typed = Vec::new();
    while read(FR) & RXFE == 0 {
        let data = read(DR);
        assert_eq!(data & 0xf00, 0);
        typed.push(data);
    }
    assert_eq!(typed, [0x6c, 0x73, 0x0d]);
    assert_eq!((read(RIS) & read(IMSC), uart.told().levels), (0, vec![false]));

    // Output: some bytes at once, then the transmit interrupt asks for more.
    let mut output = (0..100_u64).map(|n| n % 0x60 + 0x20);
    for byte in output.by_ref().take(16) {
        assert_eq!(read(FR) & TXFF, 0);
        write(DR, byte);
    }
    write(IMSC, RT | RX | TX);
    let mut interrupts = 0;
    while uart.device.interrupt() {
        interrupts += 1;
        assert_eq!(read(RIS) & read(IMSC), TX);
        let mut written = 0;
        for byte in output.by_ref().take(16) {
            write(DR, byte);
            written += 1;
        }
        if written == 0 {
            write(IMSC, RT | RX);
        }
    }
    assert_eq!(interrupts, 7);
    let told = uart.told();
    assert_eq!((told.bytes.len(), told.levels), (100, vec![true, false]));
    assert_eq!((told.bytes.first(), told.bytes.last()), (Some(&0x20), Some(&0x23)));
    assert_eq!(read(FR) & (BUSY | TXFE), TXFE);
}

/// EDK2: words for registers, bytes for data, no interrupts.
#[test]
fn edk2_serial_port() {
    let uart = Uart::new();
    assert_eq!((uart.read(0xfe8) >> 4) & 0xf, 3);
    uart.write(CR, 0);
    uart.write(LCR_H, FIFOS);
    uart.write(IBRD, 13);
    uart.write(FBRD, 1);
    uart.write(RSR, 0);
    uart.write(CR, 0xf01 | 1 << 14 | 1 << 15);
    for byte in *b"UEFI\n" {
        while uart.read(FR) & TXFF != 0 {}
        uart.device.write(DR, AccessSize::Byte, byte.into()).unwrap();
    }
    while uart.read(FR) & (TXFE | BUSY) != TXFE {}
    assert_eq!(uart.told().bytes, b"UEFI\n");
    assert_eq!(uart.device.push(b"\x1b"), 1);
    assert_eq!(uart.read(FR) & RXFE, 0);
    assert_eq!(uart.device.read(DR, AccessSize::Byte), Ok(0x1b));
    assert_eq!(uart.read(FR) & RXFE, RXFE);
}
