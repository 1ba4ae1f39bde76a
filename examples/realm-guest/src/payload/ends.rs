//! How a CPU ends that cannot go on.

use core::panic::PanicInfo;

use realm_guest::host_call::VERDICT;
use rmi_abi::rsi::HostCallBlock;
use rsi::smc::SmcConduit;
use rsi::{Psci, Rsi};

use super::registers;
use crate::{EXCEPTION, PANIC};

/// Tells the host, and turns the Realm off.
fn end(conduit: SmcConduit, verdict: [u64; 4]) -> ! {
    if let Ok(rsi) = Rsi::open(conduit) {
        let mut block = HostCallBlock::zeroed();
        block.imm = VERDICT;
        for (to, from) in block.gprs.iter_mut().zip(verdict) {
            *to = from;
        }
        // If it cannot be told, it sees a Realm that ends without a verdict.
        let _ = rsi.host_call(&mut block);
    }
    without_rsi(conduit)
}

/// An exception that nothing expects.
pub(super) fn exception(conduit: SmcConduit, esr: u64, elr: u64) -> ! {
    end(conduit, [EXCEPTION, esr, elr, registers::index()])
}

/// The RMM has no interface that the payload knows; the host sees a Realm without a verdict.
pub(super) fn without_rsi(conduit: SmcConduit) -> ! {
    let _ = Psci::new(conduit).system_off();
    halt()
}

/// Waits for ever.
pub(super) fn halt() -> ! {
    loop {
        registers::wait_for_interrupt();
    }
}

#[panic_handler]
#[expect(unsafe_code, reason = "a panic has no conduit")]
fn panicked(info: &PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, core::panic::Location::line);
    // SAFETY: the program runs at EL1 of a Realm, and its memory is mapped at its IPAs.
    let conduit = unsafe { SmcConduit::identity() };
    end(conduit, [PANIC, line.into(), 0, registers::index()])
}
