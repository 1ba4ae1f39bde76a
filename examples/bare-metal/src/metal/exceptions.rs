//! What happens at an exception.
//!
//! Interrupts are masked except in [`cpu::take_interrupts`]. Nothing runs below EL2 that is not the
//! RMM's, so an exception from there is unexpected, and so are all others; only a fault of
//! [`cpu::probe`] continues.
#![expect(unsafe_code, reason = "changing where an exception returns to")]

use aarch64_cpu::registers::{ESR_EL2, FAR_EL2, Readable};
use aarch64_rt::{ExceptionHandlers, RegisterStateRef, exception_handlers};

use crate::metal::{cpu, gic, power};

exception_handlers!(Handlers);

struct Handlers;

impl ExceptionHandlers for Handlers {
    extern "C" fn sync_current(mut state: RegisterStateRef) {
        /// `ESR_EL2.EC`: a data abort at EL2.
        const DATA_ABORT: u64 = 0x25;
        let data_abort = ESR_EL2.get() >> 26 & 0x3f == DATA_ABORT;
        match cpu::after_fault(state.elr).filter(|_| data_abort) {
            // SAFETY: it is the place after the load that expects to be continued there, with the
            // same registers.
            Some(resume) => unsafe { state.get_mut().elr = resume },
            None => unexpected("synchronous exception", &state),
        }
    }

    extern "C" fn irq_current(_: RegisterStateRef) {
        gic::handle_interrupts();
    }

    extern "C" fn fiq_current(state: RegisterStateRef) {
        unexpected("FIQ", &state);
    }

    extern "C" fn serror_current(state: RegisterStateRef) {
        unexpected("SError", &state);
    }

    extern "C" fn sync_lower(state: RegisterStateRef) {
        unexpected("synchronous exception from a lower level", &state);
    }

    extern "C" fn irq_lower(state: RegisterStateRef) {
        unexpected("IRQ from a lower level", &state);
    }

    extern "C" fn fiq_lower(state: RegisterStateRef) {
        unexpected("FIQ from a lower level", &state);
    }

    extern "C" fn serror_lower(state: RegisterStateRef) {
        unexpected("SError from a lower level", &state);
    }
}

/// What the syndrome of an abort says, where it has to do with the RMM.
fn meaning(esr: u64) -> &'static str {
    // Aborts of instructions and of data, at this level; granule protection faults, of walks and of
    // accesses.
    match (esr >> 26 & 0x3f, esr & 0x3f) {
        (0x21 | 0x25, 0x23..=0x28) => ", a granule that is not the host's",
        _ => "",
    }
}

fn unexpected(what: &str, state: &RegisterStateRef) -> ! {
    let esr = ESR_EL2.get();
    power::stop(format_args!(
        "{what} on CPU {}{}: ESR {:#x}, FAR {:#x}, ELR {:#x}, SPSR {:#x}, LR {:#x}",
        cpu::index(),
        meaning(esr),
        esr,
        FAR_EL2.get(),
        state.elr,
        state.spsr,
        state.sp,
    ))
}
