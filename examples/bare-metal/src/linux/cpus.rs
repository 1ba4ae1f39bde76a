//! Which physical CPU runs which virtual one.

use realm_sdk::rec::set::PhysicalCpus;

use crate::machine::Machine;

/// How the virtual CPUs of one Realm reach the physical ones: each is always on the same.
#[derive(Debug)]
pub(crate) struct Placement<'m, M> {
    pub(crate) machine: &'m M,
    /// Physical CPUs in use.
    pub(crate) cpus: u16,
    /// Virtual CPUs of the Realms before this one.
    pub(crate) before: usize,
}

impl<M> Placement<'_, M> {
    /// The physical CPU of a virtual one.
    pub(crate) fn cpu_of(&self, index: usize) -> u16 {
        let number = self.before.saturating_add(index);
        let cpu = number.checked_rem(usize::from(self.cpus)).unwrap_or(0);
        u16::try_from(cpu).unwrap_or(0)
    }
}

impl<M: Machine> PhysicalCpus for Placement<'_, M> {
    fn current(&self) -> u16 {
        self.machine.current_cpu()
    }

    fn interrupt(&self, cpu: u16) {
        self.machine.interrupt(cpu);
    }

    /// The interrupt ends the wait of the CPU.
    fn wake(&self, index: usize) {
        self.machine.interrupt(self.cpu_of(index));
    }
}
