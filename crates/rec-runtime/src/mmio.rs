//! Devices at unprotected IPAs: a bus that finds them, and a UART.
//!
//! An access to an unprotected IPA at which nothing is mapped is an [`MmioLoad`] or an
//! [`MmioStore`]. An [`MmioBus`] finds the device at that address and makes the answer:
//!
//! ```
//! use rec_runtime::exit::{MmioLoad, MmioStore};
//! use rec_runtime::mmio::{MmioBus, PL011_SIZE, Pl011};
//! use rec_runtime::{Flow, Handler};
//! use rmi_abi::rtt::Geometry;
//! use rmi_abi::{Ipa, IpaRange};
//!
//! struct Vcpu<'b> {
//!     bus: &'b MmioBus<'b, 4>,
//! }
//!
//! impl Handler for Vcpu<'_> {
//!     fn mmio_load(&mut self, load: MmioLoad) -> Flow {
//!         Flow::Enter(self.bus.load(load))
//!     }
//!
//!     fn mmio_store(&mut self, store: MmioStore) -> Flow {
//!         Flow::Enter(self.bus.store(store))
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let geometry = Geometry::new(40)?; // that of the Realm
//! let uart: Pl011<_> = Pl011::new((
//!     |byte: u8| print!("{}", byte.escape_ascii()),
//!     |level: bool| println!("the interrupt line is {level}"),
//! ));
//! let mut bus = MmioBus::new(geometry);
//! let base = Ipa::new(geometry.unprotected_base().raw() + 0x900_0000);
//! bus.add(IpaRange::with_size(base, PL011_SIZE)?, &uart)?;
//! // One handler for each virtual CPU, on its own thread.
//! let vcpus = [Vcpu { bus: &bus }, Vcpu { bus: &bus }];
//! # let _ = vcpus;
//! # Ok(())
//! # }
//! ```
//!
//! # Who extends the value of a load
//!
//! The RMM does, in every dialect: it takes the low bytes of the host's value, as many as the
//! access has, and extends them as the instruction says (LDR, LDRSB, LDRSH, LDRSW; into a W or an X
//! register; a load into XZR has no effect). The host does not see which of these it is, nor the
//! register. Of a store the host sees the low bytes of the register, zero-extended; of XZR a zero.
//!
//! Source: DEN0137 1.0-rel0 and 2.0-bet3, "Emulated MMIO"; TF-RMM (July 2026),
//! `complete_mmio_emulation`.

mod bus;
mod device;
mod pl011;
#[cfg(feature = "vm-superio")]
mod superio;

pub use bus::{MmioBus, MmioBusError, MmioDispatch};
pub use device::{AccessSize, ExternalAbort, MmioDevice};
pub use pl011::{PL011_SIZE, Pl011, Pl011Backend};

#[cfg(doc)]
use crate::exit::{MmioLoad, MmioStore};
