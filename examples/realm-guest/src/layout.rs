//! Where memory and devices are in the IPA space of the Realms.
//!
//! | IPA | Bytes | Contents |
//! |---|---|---|
//! | [`IMAGE`] | [`IMAGE_BYTES`] | the payload, measured, at the start; the rest of it is RAM, which the payload uses for its data and stacks |
//! | [`CALLS`] | [`CALLS_BYTES`] | RAM: a page for each virtual CPU, for the structures of its calls |
//! | [`EXTRA`] | [`EXTRA_BYTES`] | as the check says: content that is measured or not, or RAM |
//! | [`RAM`] | [`RAM_BYTES`] | RAM for the programs, which has memory where they touch it |
//! | [`UNPROTECTED`] + offsets | | devices, and the shared aliases of RAM |

use rmi_abi::{Ipa, IpaRange};

/// Bits of an IPA.
pub const IPA_WIDTH: u8 = 40;
/// The first unprotected IPA: the upper half of the space.
pub const UNPROTECTED: u64 = 1 << (IPA_WIDTH - 1);

/// Where the payload is linked to run, and where virtual CPUs start.
pub const IMAGE: u64 = 0x4000_0000;
/// Bytes from [`IMAGE`] on that are the payload's: image, data, stacks.
pub const IMAGE_BYTES: u64 = 2 << 20;

/// A page for each virtual CPU, for the structures of its calls to RMM and host.
pub const CALLS: u64 = IMAGE + IMAGE_BYTES;
/// Bytes from [`CALLS`] on.
pub const CALLS_BYTES: u64 = 2 << 20;

/// Memory whose content is a matter of the check.
pub const EXTRA: u64 = CALLS + CALLS_BYTES;
/// Bytes from [`EXTRA`] on.
pub const EXTRA_BYTES: u64 = 4 << 20;

/// RAM for the programs.
pub const RAM: u64 = 0x4400_0000;
/// Bytes of [`RAM`].
pub const RAM_BYTES: u64 = 64 << 20;

/// The distributor of the GIC, from [`UNPROTECTED`] on.
pub const DISTRIBUTOR: u64 = 0x0800_0000;
/// Its redistributors.
pub const REDISTRIBUTORS: u64 = 0x080a_0000;
/// Bytes of the redistributor of one virtual CPU.
pub const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;
/// The UART, a PL011.
pub const UART: u64 = 0x0900_0000;
/// The device of [`device`].
pub const DEVICE: u64 = 0x0a00_0000;
/// An unprotected address where nothing is.
pub const NOTHING: u64 = 0x0b00_0000;

/// The SPI of the UART.
pub const UART_SPI: u32 = 33;
/// The SPI of the device.
pub const DEVICE_SPI: u32 = 34;

/// Most virtual CPUs of a Realm.
pub const MOST_VCPUS: usize = 16;

/// The registers of the device, from [`DEVICE`] on.
pub mod device {
    /// Raises the device's interrupt when it is written; reads as 1 while it is raised.
    pub const RAISE: u64 = 0x00;
    /// Lowers the interrupt when it is written.
    pub const LOWER: u64 = 0x08;
    /// Words of 8 bytes that any access reads and writes, of any size.
    pub const SCRATCH: u64 = 0x100;
    /// How many words there are at [`SCRATCH`].
    pub const SCRATCH_WORDS: usize = 8;
    /// Accesses here take an external abort.
    pub const ABORT: u64 = 0x200;
    /// Bytes of all registers.
    pub const BYTES: u64 = 0x1000;
}

/// The address of a device's register, or of another offset from [`UNPROTECTED`].
#[must_use]
pub const fn unprotected(offset: u64) -> Ipa {
    Ipa::new(UNPROTECTED + offset)
}

/// The shared alias of a protected address.
#[must_use]
pub const fn alias(ipa: Ipa) -> Ipa {
    Ipa::new(ipa.raw() | UNPROTECTED)
}

/// RAM for the programs.
#[must_use]
pub fn ram() -> IpaRange {
    IpaRange::with_size_or_empty(Ipa::new(RAM), RAM_BYTES)
}

/// All that a virtual CPU may touch and that has memory only then: from the end of the image to the
/// end of RAM, without [`EXTRA`].
#[must_use]
pub fn pages() -> [IpaRange; 2] {
    [IpaRange::with_size_or_empty(Ipa::new(IMAGE), IMAGE_BYTES + CALLS_BYTES), ram()]
}

/// The page for the structures of the calls of a virtual CPU.
#[must_use]
pub const fn call_page(index: usize) -> Ipa {
    Ipa::new(CALLS + 0x1000 * index as u64)
}

/// The eight bytes that content has at an address, so that it is different everywhere.
#[must_use]
pub const fn word_at(ipa: u64) -> u64 {
    ipa.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ ipa
}
