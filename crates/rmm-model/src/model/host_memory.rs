//! The machine's memory, given to the host.
#![expect(unsafe_code, reason = "making the one token of memory that exists only in the model")]

use core::sync::atomic::Ordering;

use rmi_host::Undelegated;

use super::Model;

impl Model {
    /// All memory of the machine as one token of host memory, at the first call. After that there
    /// is none left and the token is empty.
    pub fn take_memory(&self) -> Undelegated {
        if self.memory_taken.swap(true, Ordering::AcqRel) {
            return Undelegated::empty();
        }
        // SAFETY: the memory exists only inside this model, nothing can refer into it, and this is
        // the only token that is ever made of it here.
        unsafe { Undelegated::of_machine(self.machine(), self.options().dram) }
    }
}
