//! The virtual CPU interface of the GIC, as the registers of one physical CPU.
//!
//! In 2.0 the host programs these registers itself before it enters a REC and reads them
//! afterwards; the RMM checks the list registers, and turns the interface off on exit. All else
//! stays as the Realm left it, also for the next user of the CPU: if a host does not save and
//! restore it for each REC, one Realm sees the state of another.
//!
//! Source: Arm IHI 0069 (GICv3), "GIC virtualization"; TF-RMM of July 2026, `lib/gic/src/gic.c`.

mod check;
mod cpu_interface;
#[cfg(test)]
mod tests;

use rmi_abi::run::{RecEnter, RecExit};

use crate::options::Options;
use check::RUN_PAGE_HCR;
pub(crate) use check::accepts;
pub(crate) use check::accepts_registers;
pub use check::accepts_run_page;
pub(crate) use cpu_interface::Access;

/// Most list registers that a physical CPU can have.
pub(crate) const LIST_REGISTERS: usize = 16;
/// Most active priority registers of a group.
const ACTIVE_REGISTERS: usize = 4;

/// `ICH_LR<n>_EL2.State`, bits 63:62: pending is the lower bit, active the higher.
const STATE_PENDING: u64 = 1 << 62;
const STATE_ACTIVE: u64 = 1 << 63;
const STATE: u64 = STATE_PENDING | STATE_ACTIVE;
/// `ICH_LR<n>_EL2.HW`.
const HW: u64 = 1 << 61;
/// `ICH_LR<n>_EL2.Group`.
const GROUP: u64 = 1 << 60;
/// `ICH_LR<n>_EL2.Priority`, bits 55:48.
const PRIORITY_SHIFT: u32 = 48;
/// `ICH_LR<n>_EL2.EOI`: without HW, a maintenance interrupt when the interrupt has ended.
const EOI: u64 = 1 << 41;

/// Fields of `ICH_HCR_EL2`.
const HCR_EN: u64 = 1 << 0;
const HCR_UIE: u64 = 1 << 1;
const HCR_LRENPIE: u64 = 1 << 2;
const HCR_NPIE: u64 = 1 << 3;
const HCR_VGRP_E: u64 = 0xf << 4;
const HCR_TC: u64 = 1 << 10;
const HCR_TALL0: u64 = 1 << 11;
const HCR_TALL1: u64 = 1 << 12;
const HCR_TDIR: u64 = 1 << 14;
const HCR_EOICOUNT_SHIFT: u32 = 27;
const HCR_EOICOUNT: u64 = 0x1f << HCR_EOICOUNT_SHIFT;
const HCR_WRITABLE: u64 = 0xff | HCR_TC | HCR_TALL0 | HCR_TALL1 | HCR_TDIR | HCR_EOICOUNT;

/// Fields of `ICH_VMCR_EL2`.
const VMCR_ENG0: u64 = 1 << 0;
const VMCR_ENG1: u64 = 1 << 1;
/// With system registers, group 0 interrupts are always FIQs.
const VMCR_FIQEN: u64 = 1 << 3;
const VMCR_CBPR: u64 = 1 << 4;
const VMCR_EOIM: u64 = 1 << 9;
const VMCR_BPR1_SHIFT: u32 = 18;
const VMCR_BPR0_SHIFT: u32 = 21;
const VMCR_PMR_SHIFT: u32 = 24;

/// The lowest byte.
fn byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// What the CPUs of the machine implement: `ICH_VTR_EL2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vtr {
    list_registers: u8,
    priority_bits: u8,
}

impl Vtr {
    pub(crate) fn new(options: &Options) -> Self {
        Self { list_registers: options.list_registers, priority_bits: options.priority_bits }
    }

    pub(crate) fn list_registers(self) -> usize {
        usize::from(self.list_registers)
    }

    /// Bits of a priority that decide on preemption.
    fn preemption_bits(self) -> u8 {
        self.priority_bits.min(7)
    }

    /// Active priority registers of each group: a bit for each priority that preempts.
    pub(crate) fn active_registers(self) -> usize {
        1 << self.preemption_bits().saturating_sub(5)
    }

    /// The bits of a priority that exist.
    fn priorities(self) -> u8 {
        byte(0xff << (8 - self.priority_bits.min(8)))
    }

    /// The register: 16-bit interrupt identifiers, no GICv4, TDIR, all of affinity 3.
    pub(crate) fn value(self) -> u32 {
        u32::from(self.priority_bits - 1) << 29
            | u32::from(self.preemption_bits() - 1) << 26
            | 0b111 << 19
            | u32::from(self.list_registers - 1)
    }
}

/// A group of interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Signalled as FIQ.
    Zero,
    /// Signalled as IRQ.
    One,
}

/// One list register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ListRegister(u64);

impl ListRegister {
    fn is_valid(self) -> bool {
        self.0 & STATE != 0
    }

    fn is_active(self) -> bool {
        self.0 & STATE_ACTIVE != 0
    }

    /// Pending, and not active: it can be signalled.
    fn is_pending(self) -> bool {
        self.0 & STATE == STATE_PENDING
    }

    /// The virtual interrupt, bits 31:0.
    fn interrupt(self) -> u32 {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    fn group(self) -> Group {
        if self.0 & GROUP == 0 { Group::Zero } else { Group::One }
    }

    fn priority(self) -> u8 {
        byte(self.0 >> PRIORITY_SHIFT)
    }

    /// Whether the host is told that it has ended.
    fn is_over(self) -> bool {
        self.0 & (STATE | HW | EOI) == EOI
    }
}

/// `ICH_LR<n>_EL2`, `ICH_HCR_EL2`, `ICH_VMCR_EL2`, `ICH_AP0R<n>_EL2` and `ICH_AP1R<n>_EL2` of one
/// physical CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VirtualInterface {
    vtr: Vtr,
    lists: [ListRegister; LIST_REGISTERS],
    hcr: u64,
    vmcr: u64,
    /// By group.
    active: [[u32; ACTIVE_REGISTERS]; 2],
}

impl VirtualInterface {
    /// The interface of a CPU that was reset.
    pub(crate) fn new(vtr: Vtr) -> Self {
        let mut interface = Self {
            vtr,
            lists: [ListRegister(0); LIST_REGISTERS],
            hcr: 0,
            vmcr: 0,
            active: [[0; ACTIVE_REGISTERS]; 2],
        };
        interface.set_vmcr(0);
        interface
    }

    pub(crate) fn vtr(&self) -> Vtr {
        self.vtr
    }

    fn lists(&self) -> &[ListRegister] {
        self.lists.get(..self.vtr.list_registers()).unwrap_or_default()
    }

    fn lists_mut(&mut self) -> &mut [ListRegister] {
        self.lists.get_mut(..self.vtr.list_registers()).unwrap_or_default()
    }

    pub(crate) fn list(&self, n: usize) -> u64 {
        self.lists().get(n).map_or(0, |list| list.0)
    }

    pub(crate) fn set_list(&mut self, n: usize, value: u64) {
        let priority = u64::from(byte(value >> PRIORITY_SHIFT) & self.vtr.priorities());
        if let Some(list) = self.lists_mut().get_mut(n) {
            list.0 = value & !(0xff << PRIORITY_SHIFT) | priority << PRIORITY_SHIFT;
        }
    }

    pub(crate) fn hcr(&self) -> u64 {
        self.hcr
    }

    pub(crate) fn set_hcr(&mut self, value: u64) {
        self.hcr = value & HCR_WRITABLE;
    }

    pub(crate) fn vmcr(&self) -> u64 {
        self.vmcr
    }

    /// Binary points below the lowest become the lowest, bits that do not exist stay zero.
    pub(crate) fn set_vmcr(&mut self, value: u64) {
        let lowest = u64::from(7 - self.vtr.preemption_bits());
        let point_0 = (value >> VMCR_BPR0_SHIFT & 0b111).max(lowest);
        let point_1 = (value >> VMCR_BPR1_SHIFT & 0b111).max(lowest + 1);
        let mask = u64::from(byte(value >> VMCR_PMR_SHIFT) & self.vtr.priorities());
        self.vmcr = value & (VMCR_ENG0 | VMCR_ENG1 | VMCR_CBPR | VMCR_EOIM)
            | VMCR_FIQEN
            | point_0 << VMCR_BPR0_SHIFT
            | point_1 << VMCR_BPR1_SHIFT
            | mask << VMCR_PMR_SHIFT;
    }

    /// `ICH_AP0R<n>_EL2` or `ICH_AP1R<n>_EL2`; 0 where no such register exists.
    pub(crate) fn active(&self, group: Group, n: usize) -> u32 {
        let [zero, one] = &self.active;
        let registers = if group == Group::Zero { zero } else { one };
        registers
            .get(..self.vtr.active_registers())
            .and_then(|all| all.get(n))
            .copied()
            .unwrap_or(0)
    }

    pub(crate) fn set_active(&mut self, group: Group, n: usize, value: u32) {
        let registers = self.vtr.active_registers();
        if let Some(register) =
            self.active_mut(group).get_mut(..registers).and_then(|all| all.get_mut(n))
        {
            *register = value;
        }
    }

    fn active_mut(&mut self, group: Group) -> &mut [u32; ACTIVE_REGISTERS] {
        let [zero, one] = &mut self.active;
        if group == Group::Zero { zero } else { one }
    }

    /// `ICH_MISR_EL2`: the reasons for a maintenance interrupt that hold, of those that
    /// `ICH_HCR_EL2` and the EOI bits of list registers enable.
    pub(crate) fn misr(&self) -> u64 {
        let has = |bit| self.hcr & bit != 0;
        let valid = self.lists().iter().filter(|list| list.is_valid()).count();
        let mut misr = u64::from(self.lists().iter().any(|list| list.is_over()));
        misr |= u64::from(has(HCR_UIE) && valid < 2) << 1;
        misr |= u64::from(has(HCR_LRENPIE) && has(HCR_EOICOUNT)) << 2;
        misr |= u64::from(has(HCR_NPIE) && !self.lists().iter().any(|l| l.is_pending())) << 3;
        // Group 0 enabled, disabled; group 1 enabled, disabled.
        let (zero, one) = (self.vmcr & VMCR_ENG0, (self.vmcr & VMCR_ENG1) >> 1);
        misr | self.hcr & HCR_VGRP_E & (zero << 4 | (zero ^ 1) << 5 | one << 6 | (one ^ 1) << 7)
    }

    /// Whether the maintenance interrupt is signalled to the host.
    pub(crate) fn wants_maintenance(&self) -> bool {
        self.hcr & HCR_EN != 0 && self.misr() != 0
    }

    /// Whether a REC may be entered with these list registers.
    pub(crate) fn may_enter(&self) -> bool {
        accepts(self.lists().iter().map(|list| list.0))
    }

    /// Whether a list register is not 0, or the maintenance interrupt has a reason: what makes
    /// TF-RMM return to plane 0.
    pub(crate) fn holds_anything(&self) -> bool {
        self.misr() != 0 || self.lists().iter().any(|list| list.0 != 0)
    }

    /// Takes over what the host controls of a run of 1.0, and turns the interface on.
    pub(crate) fn load_run_page(&mut self, enter: &RecEnter) {
        for (n, list) in enter.gicv3_lrs.iter().enumerate() {
            self.set_list(n, *list);
        }
        let own = self.hcr & !RUN_PAGE_HCR;
        self.set_hcr(own | enter.gicv3_hcr & RUN_PAGE_HCR | HCR_EN);
    }

    /// Writes what the host sees of it after a run of 1.0.
    pub(crate) fn save_run_page(&self, exit: &mut RecExit) {
        for (to, list) in exit.gicv3_lrs.iter_mut().zip(self.lists()) {
            *to = list.0;
        }
        exit.gicv3_hcr = self.hcr & (RUN_PAGE_HCR | HCR_EOICOUNT);
        exit.gicv3_misr = self.misr();
        exit.gicv3_vmcr = self.vmcr;
    }

    /// The effect of an exit: the interface is off.
    pub(crate) fn leave(&mut self) {
        self.hcr &= !HCR_EN;
    }
}
