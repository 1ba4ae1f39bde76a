//! The registers of the CPU that runs this code, on aarch64.

use core::marker::PhantomData;

use aarch64_cpu::registers::{
    CurrentEL, ICC_SRE_EL2, ICH_AP0R0_EL2, ICH_AP0R1_EL2, ICH_AP0R2_EL2, ICH_AP0R3_EL2,
    ICH_AP1R0_EL2, ICH_AP1R1_EL2, ICH_AP1R2_EL2, ICH_AP1R3_EL2, ICH_HCR_EL2, ICH_LR0_EL2,
    ICH_LR1_EL2, ICH_LR2_EL2, ICH_LR3_EL2, ICH_LR4_EL2, ICH_LR5_EL2, ICH_LR6_EL2, ICH_LR7_EL2,
    ICH_LR8_EL2, ICH_LR9_EL2, ICH_LR10_EL2, ICH_LR11_EL2, ICH_LR12_EL2, ICH_LR13_EL2, ICH_LR14_EL2,
    ICH_LR15_EL2, ICH_MISR_EL2, ICH_VMCR_EL2, ICH_VTR_EL2, ID_AA64PFR0_EL1, Readable, Writeable,
};

use crate::hardware_error::HardwareError;
use crate::interface::{VirtualInterface, Vtr};

/// `ICH_*_EL2` of the CPU that runs this code, through the crate `aarch64-cpu`.
///
/// A value holds only `ICH_VTR_EL2`, so a thread may keep it as long as all CPUs of the machine
/// have the same. Load, enter and save with interrupts masked, on one CPU. It is neither `Send` nor
/// `Sync`. Making one reads four registers.
///
/// # What the host has set up
///
/// - It runs at EL2, with `HCR_EL2.E2H` = 1 or 0. At EL1 there are no such registers: a Linux
///   kernel in nVHE mode, which calls its own hypervisor stub at EL2, cannot run Realms of RMI 2.0.
///   [`HardwareInterface::new`] refuses any other level. [`HardwareInterface::of_monitor`] is for
///   the other side of the call.
/// - `ICC_SRE_EL2.SRE` is 1, on each CPU.
/// - At its own GIC the *maintenance interrupt* is enabled, for each CPU: the PPI that the device
///   tree or the ACPI tables name (25 on QEMU's machine `virt`). It is level-sensitive and goes
///   down when the interface is off, that is at every exit. Without it a Realm waits for interrupts
///   that do not fit into the list registers until it exits for another reason. The PPIs of the EL2
///   physical timer (26, the host's own), the EL1 virtual timer (27) and the EL1 physical timer
///   (30) are enabled likewise; if the latter two are not, a Realm's timers do not end its run.
/// - `ICC_PMR_EL1` and the group enables let these interrupts through.
///
/// # Physical interrupts that end a run
///
/// The run ends with the interrupt still pending at the GIC, as PSTATE.I and .F are masked. When
/// the host unmasks them, after [`save`](crate::Gic::save), it takes the interrupt as any other:
/// acknowledges it, handles it, ends it. There may be none left: the line of a maintenance
/// interrupt or of a Realm's timer goes down with the exit, as the RMM switches the interface off
/// and the timer away. Then nothing is signalled, or `ICC_IAR1_EL1` reads as 1023, which is no
/// interrupt: it is not ended, and nothing is to be done. What the Realm's timers want is in the
/// exit record (`rec_runtime::Timers`), not in the physical interrupt.
///
/// Source: Arm IHI 0069 (GICv3), "GIC virtualization"; DEN0137 2.0-bet3, `RMI_REC_ENTER`.
#[derive(Debug)]
#[must_use = "it is for loading and saving the state of a REC"]
pub struct HardwareInterface {
    vtr: Vtr,
    /// Neither `Send` nor `Sync`.
    here: PhantomData<*mut ()>,
}

impl HardwareInterface {
    /// The registers of this CPU. Not for programs at EL0, where reading `CurrentEL` is an
    /// undefined instruction.
    ///
    /// # Errors
    ///
    /// [`HardwareError`]; no register was written.
    pub fn new() -> Result<Self, HardwareError> {
        let read_sre = || ICC_SRE_EL2.get();
        HardwareError::check(CurrentEL.get(), ID_AA64PFR0_EL1.get(), read_sre)?;
        Ok(Self::here())
    }

    /// The same registers for a program at EL3 in place of an RMM, for tests of hosts, as the
    /// host's call left them. `SCR_EL3.NS` is 1.
    ///
    /// # Errors
    ///
    /// [`HardwareError`]; no register was written.
    pub fn of_monitor() -> Result<Self, HardwareError> {
        let read_sre = || ICC_SRE_EL2.get();
        HardwareError::check_monitor(CurrentEL.get(), ID_AA64PFR0_EL1.get(), read_sre)?;
        Ok(Self::here())
    }

    fn here() -> Self {
        Self { vtr: Vtr::from_raw(ICH_VTR_EL2.get()), here: PhantomData }
    }
}

impl VirtualInterface for HardwareInterface {
    fn vtr(&self) -> Vtr {
        self.vtr
    }

    fn list_register(&self, n: usize) -> u64 {
        if n >= self.vtr.list_registers() {
            return 0;
        }
        match n {
            0 => ICH_LR0_EL2.get(),
            1 => ICH_LR1_EL2.get(),
            2 => ICH_LR2_EL2.get(),
            3 => ICH_LR3_EL2.get(),
            4 => ICH_LR4_EL2.get(),
            5 => ICH_LR5_EL2.get(),
            6 => ICH_LR6_EL2.get(),
            7 => ICH_LR7_EL2.get(),
            8 => ICH_LR8_EL2.get(),
            9 => ICH_LR9_EL2.get(),
            10 => ICH_LR10_EL2.get(),
            11 => ICH_LR11_EL2.get(),
            12 => ICH_LR12_EL2.get(),
            13 => ICH_LR13_EL2.get(),
            14 => ICH_LR14_EL2.get(),
            _ => ICH_LR15_EL2.get(),
        }
    }

    fn set_list_register(&mut self, n: usize, value: u64) {
        if n >= self.vtr.list_registers() {
            return;
        }
        match n {
            0 => ICH_LR0_EL2.set(value),
            1 => ICH_LR1_EL2.set(value),
            2 => ICH_LR2_EL2.set(value),
            3 => ICH_LR3_EL2.set(value),
            4 => ICH_LR4_EL2.set(value),
            5 => ICH_LR5_EL2.set(value),
            6 => ICH_LR6_EL2.set(value),
            7 => ICH_LR7_EL2.set(value),
            8 => ICH_LR8_EL2.set(value),
            9 => ICH_LR9_EL2.set(value),
            10 => ICH_LR10_EL2.set(value),
            11 => ICH_LR11_EL2.set(value),
            12 => ICH_LR12_EL2.set(value),
            13 => ICH_LR13_EL2.set(value),
            14 => ICH_LR14_EL2.set(value),
            _ => ICH_LR15_EL2.set(value),
        }
    }

    fn hcr(&self) -> u64 {
        ICH_HCR_EL2.get()
    }

    fn set_hcr(&mut self, value: u64) {
        ICH_HCR_EL2.set(value);
    }

    fn vmcr(&self) -> u64 {
        ICH_VMCR_EL2.get()
    }

    fn set_vmcr(&mut self, value: u64) {
        ICH_VMCR_EL2.set(value);
    }

    fn ap0r(&self, n: usize) -> u64 {
        match n {
            n if n >= self.vtr.active_priority_registers() => 0,
            0 => ICH_AP0R0_EL2.get(),
            1 => ICH_AP0R1_EL2.get(),
            2 => ICH_AP0R2_EL2.get(),
            _ => ICH_AP0R3_EL2.get(),
        }
    }

    fn set_ap0r(&mut self, n: usize, value: u64) {
        match n {
            n if n >= self.vtr.active_priority_registers() => {}
            0 => ICH_AP0R0_EL2.set(value),
            1 => ICH_AP0R1_EL2.set(value),
            2 => ICH_AP0R2_EL2.set(value),
            _ => ICH_AP0R3_EL2.set(value),
        }
    }

    fn ap1r(&self, n: usize) -> u64 {
        match n {
            n if n >= self.vtr.active_priority_registers() => 0,
            0 => ICH_AP1R0_EL2.get(),
            1 => ICH_AP1R1_EL2.get(),
            2 => ICH_AP1R2_EL2.get(),
            _ => ICH_AP1R3_EL2.get(),
        }
    }

    fn set_ap1r(&mut self, n: usize, value: u64) {
        match n {
            n if n >= self.vtr.active_priority_registers() => {}
            0 => ICH_AP1R0_EL2.set(value),
            1 => ICH_AP1R1_EL2.set(value),
            2 => ICH_AP1R2_EL2.set(value),
            _ => ICH_AP1R3_EL2.set(value),
        }
    }

    fn misr(&self) -> u64 {
        ICH_MISR_EL2.get()
    }
}
