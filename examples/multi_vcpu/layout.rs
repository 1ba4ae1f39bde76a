//! Where things are in the IPA space of the Realm, as a device tree would say.

use realm_sdk::abi::rtt::Geometry;
use realm_sdk::abi::{Ipa, IpaRange};

/// Virtual CPUs.
pub(crate) const VCPUS: usize = 8;
/// Bits of an IPA.
pub(crate) const IPA_WIDTH: u8 = 40;

/// Where the image is, and where virtual CPUs start.
pub(crate) const IMAGE: Ipa = Ipa::new(0x4000_0000);
/// RAM that gets memory where the Realm touches it: 2 MiB for each virtual CPU.
const RAM: u64 = 0x4020_0000;
const AREA: u64 = 2 << 20;

// Devices, from the start of the unprotected half.
pub(crate) const DISTRIBUTOR: u64 = 0x0800_0000;
pub(crate) const REDISTRIBUTORS: u64 = 0x080a_0000;
pub(crate) const UART: u64 = 0x0900_0000;
pub(crate) const DEVICE: u64 = 0x0a00_0000;

/// The SPI of the UART, which goes to any CPU, and that of the device, which goes to CPU 0.
pub(crate) const UART_SPI: u32 = 33;
pub(crate) const DEVICE_SPI: u32 = 34;

/// An unprotected IPA.
pub(crate) fn unprotected(geometry: Geometry, offset: u64) -> Ipa {
    Ipa::new(geometry.unprotected_base().raw() | offset)
}

pub(crate) fn ram() -> IpaRange {
    IpaRange::with_size_or_empty(Ipa::new(RAM), VCPUS as u64 * AREA)
}

/// The part of RAM that one virtual CPU uses.
pub(crate) fn area(cpu: usize) -> IpaRange {
    IpaRange::with_size_or_empty(Ipa::new(RAM + cpu as u64 * AREA), AREA)
}

fn part(cpu: usize, offset: u64, bytes: u64) -> IpaRange {
    let base = area(cpu).base().raw() + offset;
    IpaRange::with_size_or_empty(Ipa::new(base), bytes)
}

/// The word by which `from` calls a CPU.
pub(crate) fn mailbox(cpu: usize, from: usize) -> Ipa {
    Ipa::new(area(cpu).base().raw() + 8 * from as u64)
}

/// The word that says whether a CPU takes calls.
pub(crate) fn online(cpu: usize) -> Ipa {
    Ipa::new(area(0).base().raw() + 0x1000 + 8 * cpu as u64)
}

/// Memory that a virtual CPU gives up and takes back.
pub(crate) fn balloon(cpu: usize) -> IpaRange {
    part(cpu, 0x1_0000, 0x8000)
}

/// Memory that a virtual CPU shares with the host from time to time.
pub(crate) fn buffer(cpu: usize) -> IpaRange {
    part(cpu, 0x4_0000, 0x4000)
}

/// Whether the host shares a range that becomes EMPTY.
pub(crate) fn is_buffer(range: IpaRange) -> bool {
    (0..VCPUS).any(|cpu| buffer(cpu).contains_range(&range))
}
