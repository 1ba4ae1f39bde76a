//! The SMC instruction as a conduit.
//!
//! What a hypervisor provides: the instruction, its linear map, and the promise that the map is
//! correct.
//!
#![cfg_attr(target_arch = "aarch64", doc = "```no_run")]
#![cfg_attr(not(target_arch = "aarch64"), doc = "```ignore")]
//! use rmi_abi::PaRange;
//! use rmi_host::linear_map::LinearMap;
//! use rmi_host::smc::SmcConduit;
//! use rmi_host::{Discovered, Host, SessionError, SessionOptions};
//!
//! fn find(window: PaRange, mapped_at: *mut u8) -> Result<(), SessionError> {
//!     // SAFETY: all of the window is mapped from there on, as normal memory, for as long as the
//!     // hypervisor runs.
//!     let map = unsafe { LinearMap::new(window, mapped_at) };
//!     // SAFETY: this is a hypervisor; maps and tokens are of the machine's memory.
//!     let platform = Host::new(unsafe { SmcConduit::new() }, map);
//!     let found = Discovered::probe(platform, SessionOptions::default())?;
//!     // … or `sro::open`, which also configures and activates
//!     let _ = found;
//!     Ok(())
//! }
//! ```
#![expect(unsafe_code, reason = "a conduit is an unsafe trait")]

use crate::conduit::{Conduit, Registers};
use crate::open_sessions::OpenSessions;

/// Reaches the RMM by the SMC instruction of the calling CPU, through the `smccc` crate.
///
/// The host runs at EL2 (or at EL1 where EL2 is absent) in Non-secure state.
#[derive(Clone, Copy, Debug)]
pub struct SmcConduit(());

impl SmcConduit {
    /// The conduit of this machine.
    ///
    /// # Safety
    ///
    /// Calls concern the memory of this machine: every [`LinearMap`](crate::linear_map::LinearMap)
    /// of the program maps its memory, and every token made by
    /// [`Undelegated::from_raw`](crate::Undelegated::from_raw) is of its memory. The program runs
    /// where an SMC reaches the RMM.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

// SAFETY: the answers are those of the RMM behind the SMC instruction.
unsafe impl Conduit for SmcConduit {
    fn open_sessions(&self) -> &OpenSessions {
        OpenSessions::of_this_machine()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        let [function, a1, a2, a3, a4, a5, a6, a7] = registers;
        let mut args = [0; 17];
        for (slot, arg) in args.iter_mut().zip([a1, a2, a3, a4, a5, a6, a7]) {
            *slot = arg;
        }
        // Bits 63:32 of X0 are zero for every function identifier.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "function identifiers are 32 bits wide"
        )]
        let [x0, x1, x2, x3, x4, x5, x6, x7, ..] = smccc::smc64(function as u32, args);
        [x0, x1, x2, x3, x4, x5, x6, x7]
    }
}
