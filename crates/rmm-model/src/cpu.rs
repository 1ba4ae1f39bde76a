//! One physical CPU, as far as a Realm on it can observe it.

use rmi_abi::esr::SysReg;

use crate::gic::{Access, Group, VirtualInterface, Vtr};

/// A physical CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PhysicalCpu {
    /// Its virtual CPU interface.
    pub(crate) interface: VirtualInterface,
    /// Whether the host ever wrote to that interface.
    pub(crate) host_programs_it: bool,
    /// Whether a Realm ever accessed it.
    pub(crate) realms_use_it: bool,
    /// RECs that run on it. More than one means that the host names a wrong CPU.
    pub(crate) running: u32,
    /// A physical interrupt waits for the host.
    pub(crate) interrupted: bool,
}

impl PhysicalCpu {
    pub(crate) fn new(vtr: Vtr) -> Self {
        Self {
            interface: VirtualInterface::new(vtr),
            host_programs_it: false,
            realms_use_it: false,
            running: 0,
            interrupted: false,
        }
    }

    /// The virtual CPU interface, for the host to write.
    pub(crate) fn program(&mut self) -> &mut VirtualInterface {
        self.host_programs_it = true;
        &mut self.interface
    }

    /// Takes over the registers of a real CPU.
    pub(crate) fn load(&mut self, real: &dyn vgic_realm::VirtualInterface) {
        let interface = &mut self.interface;
        for n in 0..interface.vtr().list_registers() {
            interface.set_list(n, real.list_register(n));
        }
        for n in 0..interface.vtr().active_registers() {
            interface.set_active(Group::Zero, n, low_half(real.ap0r(n)));
            interface.set_active(Group::One, n, low_half(real.ap1r(n)));
        }
        interface.set_hcr(real.hcr());
        interface.set_vmcr(real.vmcr());
    }

    /// Writes the registers of a real CPU.
    pub(crate) fn save(&self, real: &mut dyn vgic_realm::VirtualInterface) {
        let interface = &self.interface;
        for n in 0..interface.vtr().list_registers() {
            real.set_list_register(n, interface.list(n));
        }
        for n in 0..interface.vtr().active_registers() {
            real.set_ap0r(n, interface.active(Group::Zero, n).into());
            real.set_ap1r(n, interface.active(Group::One, n).into());
        }
        real.set_hcr(interface.hcr());
        real.set_vmcr(interface.vmcr());
    }

    /// A Realm reads or writes a system register.
    pub(crate) fn realm_accesses(&mut self, register: SysReg, write: Option<u64>) -> Access {
        let access = match write {
            Some(value) => self.interface.realm_writes(register, value),
            None => self.interface.realm_reads(register),
        };
        self.realms_use_it |= matches!(access, Access::Done(_));
        access
    }

    /// Whether a second REC on this CPU would have to share its only virtual CPU interface.
    pub(crate) fn is_taken(&self) -> bool {
        self.running > 0 && (self.host_programs_it || self.realms_use_it)
    }

    /// Whether a physical interrupt ends a run on this CPU: one that was sent, or the maintenance
    /// interrupt of the GIC.
    pub(crate) fn ends_run(&self) -> bool {
        self.interrupted || self.interface.wants_maintenance()
    }
}

/// The lower half of a register.
pub(crate) fn low_half(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
