//! The machine's CPUs, each with one thread.

use std::cell::Cell;

use realm_sdk::rec::set::PhysicalCpus;
use rmm_model::Model;

thread_local! {
    /// The physical CPU that this thread is on. The first thread is on one that runs no REC.
    pub(crate) static CPU: Cell<u16> = const { Cell::new(u16::MAX) };
}

/// How a set of virtual CPUs reaches the machine's CPUs.
pub(crate) struct Cpus<'m>(pub(crate) &'m Model);

impl PhysicalCpus for Cpus<'_> {
    fn current(&self) -> u16 {
        CPU.get()
    }

    fn interrupt(&self, cpu: u16) {
        self.0.cpu(cpu.into()).interrupt();
    }
}
