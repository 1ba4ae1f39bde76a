//! The machine's memory, handed to whoever plays the host.
#![expect(unsafe_code, reason = "making the one token of memory that exists only in the model")]

use core::sync::atomic::Ordering;

use rmi_host::Undelegated;

use super::Model;

impl Model {
    /// All memory of the machine as one token of host memory; the first time. After that there is none left and the token is empty.
    pub fn take_memory(&self) -> Undelegated {
        if self.memory_taken.swap(true, Ordering::AcqRel) {
            return Undelegated::empty();
        }
        // SAFETY: the memory exists only behind this model, which nothing can refer into, and this is the only token ever made of it here.
        unsafe { Undelegated::of_machine(self.machine, self.options().dram) }
    }
}
