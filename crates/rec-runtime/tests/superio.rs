//! Devices of `vm-superio` on the bus.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use rec_runtime::mmio::{ExternalAbort, MmioBus};
use rmi_abi::rtt::Geometry;
use rmi_abi::{Ipa, IpaRange};
use vm_superio::{I8042Device, Rtc, Serial, Trigger};

/// Counts, or fails.
struct Line<'c> {
    count: &'c AtomicU32,
    works: bool,
}

impl Trigger for Line<'_> {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.works { Ok(()) } else { Err(io::Error::other("no line")) }
    }
}

const BASE: u64 = 1 << 39;

fn bus<const N: usize>() -> MmioBus<'static, N> {
    MmioBus::new(Geometry::new(40).unwrap())
}

fn range(bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(BASE), bytes).unwrap()
}

fn at(offset: u64) -> Ipa {
    Ipa::new(BASE + offset)
}

#[test]
fn a_16550a_has_registers_of_a_byte() {
    let interrupts = AtomicU32::new(0);
    let serial = Mutex::new(Serial::new(Line { count: &interrupts, works: true }, Vec::new()));
    let mut bus: MmioBus<'_, 1> = bus();
    bus.add(range(0x1000), &serial).unwrap();
    // The transmitter's interrupt is enabled: it is raised by that, and no second time.
    bus.write(at(1), 1, 0b10).unwrap();
    bus.write(at(0), 1, 0x141).unwrap();
    assert_eq!(serial.lock().unwrap().writer(), b"A");
    assert_eq!((interrupts.load(Ordering::Relaxed), bus.read(at(1), 1)), (1, Ok(0b10)));
    // The scratch register is the last one.
    bus.write(at(7), 1, 0x5a).unwrap();
    assert_eq!(bus.read(at(7), 1), Ok(0x5a));
    assert_eq!(bus.read(at(8), 1), Err(ExternalAbort));
    assert_eq!(bus.write(at(8), 1, 0), Err(ExternalAbort));
    assert_eq!(bus.read(at(0x100), 1), Err(ExternalAbort));
    for bytes in [2, 4, 8] {
        assert_eq!(bus.read(at(0), bytes), Err(ExternalAbort));
        assert_eq!(bus.write(at(0), bytes, 0), Err(ExternalAbort));
    }
    assert_eq!(serial.lock().unwrap().writer(), b"A");
    serial.lock().unwrap().enqueue_raw_bytes(b"z").unwrap();
    assert_eq!((bus.read(at(5), 1).unwrap() & 1, bus.read(at(0), 1)), (1, Ok(0x7a)));
}

#[test]
fn an_error_of_the_host_aborts_nothing() {
    let interrupts = AtomicU32::new(0);
    let line = Line { count: &interrupts, works: false };
    let serial = Mutex::new(Serial::new(line, Vec::new()));
    let mut bus: MmioBus<'_, 1> = bus();
    bus.add(range(0x1000), &serial).unwrap();
    assert_eq!(bus.write(at(1), 1, 0b10), Ok(()));
    assert_eq!(interrupts.load(Ordering::Relaxed), 1);
}

#[test]
fn an_i8042_resets_the_machine() {
    let resets = AtomicU32::new(0);
    let line = || Line { count: &resets, works: true };
    let i8042 = Mutex::new(I8042Device::new(line()));
    let mut bus: MmioBus<'_, 1> = bus();
    bus.add(range(0x1000), &i8042).unwrap();
    assert_eq!(bus.read(at(4), 1), Ok(0));
    bus.write(at(4), 1, 0xfd).unwrap();
    bus.write(at(0), 1, 0xfe).unwrap();
    assert_eq!(resets.load(Ordering::Relaxed), 0);
    bus.write(at(4), 1, 0xfe).unwrap();
    assert_eq!(resets.load(Ordering::Relaxed), 1);
    assert_eq!(bus.read(at(5), 1), Err(ExternalAbort));
    assert_eq!(bus.write(at(4), 2, 0xfe), Err(ExternalAbort));
    let broken = Mutex::new(I8042Device::new(Line { count: &resets, works: false }));
    let mut bus: MmioBus<'_, 1> = self::bus();
    bus.add(range(0x1000), &broken).unwrap();
    assert_eq!(bus.write(at(4), 1, 0xfe), Ok(()));
}

#[test]
fn a_pl031_has_registers_of_a_word() {
    let rtc = Mutex::new(Rtc::new());
    let mut bus: MmioBus<'_, 1> = bus();
    bus.add(range(0x2000), &rtc).unwrap();
    // RTCPeriphID0 and 1, as a driver of AMBA devices and as EDK2 reads them.
    assert_eq!((bus.read(at(0xfe0), 4), bus.read(at(0xfe4), 1)), (Ok(0x31), Ok(0x10)));
    // RTCMR holds what is written to it.
    bus.write(at(4), 4, 0x8765_4321).unwrap();
    for (bytes, value) in [(1, 0x21), (2, 0x4321), (4, 0x8765_4321)] {
        assert_eq!(bus.read(at(4), bytes), Ok(value));
    }
    bus.write(at(4), 2, 0x1_ffff).unwrap();
    assert_eq!(bus.read(at(4), 4), Ok(0xffff));
    // RTCLR sets the time.
    bus.write(at(8), 4, 1_000_000).unwrap();
    let time = bus.read(at(0), 4).unwrap();
    assert!((1_000_000..1_000_060).contains(&time), "{time}");
    for offset in [1, 2, 3] {
        assert_eq!(bus.read(at(4 + offset), 1), Err(ExternalAbort));
        assert_eq!(bus.write(at(4 + offset), 1, 0), Err(ExternalAbort));
    }
    assert_eq!(bus.read(at(0), 8), Err(ExternalAbort));
    assert_eq!(bus.read(at(0xffc), 4), Ok(0xb1));
    assert_eq!(bus.read(at(0x1000), 4), Err(ExternalAbort));
    assert_eq!(bus.write(at(0x1000), 4, 0), Err(ExternalAbort));
}

#[test]
fn a_device_works_on_after_a_panic_while_it_was_locked() {
    let rtc = Mutex::new(Rtc::new());
    let panicked = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let _guard = rtc.lock().unwrap();
                panic!("on purpose");
            })
            .join()
    });
    assert!(panicked.is_err() && rtc.is_poisoned());
    let mut bus: MmioBus<'_, 1> = bus();
    bus.add(range(0x1000), &rtc).unwrap();
    assert_eq!(bus.read(at(0xfe0), 4), Ok(0x31));
}
