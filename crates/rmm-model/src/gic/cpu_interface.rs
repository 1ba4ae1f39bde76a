//! The Realm's side: which interrupt is signalled, and the `ICC_*` registers, which are `ICV_*` in
//! a Realm.
//!
//! Source: Arm IHI 0069 (GICv3), "Virtual interrupt handling and prioritization".

use rmi_abi::esr::SysReg;

use super::{
    Group, HCR_EN, HCR_EOICOUNT, HCR_EOICOUNT_SHIFT, HCR_TALL0, HCR_TALL1, HCR_TC, HCR_TDIR,
    ListRegister, STATE_ACTIVE, STATE_PENDING, VMCR_BPR0_SHIFT, VMCR_BPR1_SHIFT, VMCR_CBPR,
    VMCR_ENG0, VMCR_ENG1, VMCR_EOIM, VMCR_PMR_SHIFT, VirtualInterface, byte,
};

/// The value of IAR and HPPIR when there is no interrupt to report.
const NONE: u32 = 1023;
/// The running priority while nothing is active.
const IDLE: u8 = 0xff;
/// Interrupts from here on have no active state.
const FIRST_LPI: u32 = 8192;
/// `ICC_CTLR_EL1` as far as it is fixed: affinity 3, and the extended ranges of interrupts.
const CTLR_FIXED: u64 = 1 << 15 | 1 << 19;

/// What handles an access to a register of the CPU interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The CPU does; a read gives this value.
    Done(u64),
    /// It traps to the RMM, which leaves it to the host.
    Trapped,
    /// It is not a register of the CPU interface.
    Unknown,
}

impl VirtualInterface {
    fn pmr(&self) -> u8 {
        byte(self.vmcr >> VMCR_PMR_SHIFT)
    }

    fn is_enabled(&self, group: Group) -> bool {
        let bit = if group == Group::Zero { VMCR_ENG0 } else { VMCR_ENG1 };
        self.vmcr & bit != 0
    }

    fn binary_point(&self, group: Group) -> u64 {
        let point_0 = self.vmcr >> VMCR_BPR0_SHIFT & 0b111;
        match group {
            Group::Zero => point_0,
            Group::One if self.vmcr & VMCR_CBPR != 0 => (point_0 + 1).min(7),
            Group::One => self.vmcr >> VMCR_BPR1_SHIFT & 0b111,
        }
    }

    /// The bits of a priority that decide on preemption.
    fn group_priority(&self, group: Group) -> u8 {
        let common = self.vmcr & VMCR_CBPR != 0;
        let point = match group {
            Group::One if !common => self.binary_point(Group::One).saturating_sub(1),
            _ => self.binary_point(Group::Zero),
        };
        byte(0xff << (point + 1))
    }

    /// How far a priority is shifted to give its bit in the active priority registers.
    fn priority_shift(&self) -> u8 {
        8 - self.vtr.preemption_bits()
    }

    /// The register and the bit of the most urgent active priority.
    fn running(&self) -> Option<(usize, u32)> {
        (0..self.vtr.active_registers()).find_map(|n| {
            let both = self.active(Group::Zero, n) | self.active(Group::One, n);
            (both != 0).then(|| (n, both.trailing_zeros()))
        })
    }

    /// The running priority; [`IDLE`] while nothing is active.
    fn running_priority(&self) -> u8 {
        self.running().map_or(IDLE, |(n, bit)| {
            byte((n as u64 * 32 + u64::from(bit)) << self.priority_shift())
        })
    }

    /// The list register of the most urgent pending interrupt of the groups that are enabled.
    fn highest_pending(&self) -> Option<usize> {
        let candidates = self.lists().iter().enumerate();
        candidates
            .filter(|(_, list)| list.is_pending() && self.is_enabled(list.group()))
            .min_by_key(|(_, list)| list.priority())
            .map(|(n, _)| n)
    }

    /// Whether an interrupt is urgent enough: for the mask, and for what is active.
    fn can_preempt(&self, list: ListRegister) -> bool {
        let groups = self.group_priority(list.group());
        let running = self.running_priority();
        self.hcr & HCR_EN != 0
            && list.priority() < self.pmr()
            && (running == IDLE || list.priority() & groups < running & groups)
    }

    /// The list register of the interrupt that a group signals now.
    fn signalled_list(&self, group: Group) -> Option<(usize, ListRegister)> {
        let n = self.highest_pending()?;
        let list = *self.lists().get(n)?;
        (list.group() == group && self.can_preempt(list)).then_some((n, list))
    }

    /// The interrupt that is signalled now: as FIQ for group 0, as IRQ for group 1.
    pub(crate) fn signalled(&self, group: Group) -> Option<u32> {
        self.signalled_list(group).map(|(_, list)| list.interrupt())
    }

    /// IAR: pending becomes active, and its priority the running one.
    fn acknowledge(&mut self, group: Group) -> u32 {
        let Some((n, list)) = self.signalled_list(group) else { return NONE };
        let priority = list.priority() & self.group_priority(group);
        let is_lpi = list.interrupt() >= FIRST_LPI;
        if let Some(slot) = self.lists_mut().get_mut(n) {
            slot.0 = slot.0 & !STATE_PENDING | if is_lpi { 0 } else { STATE_ACTIVE };
        }
        let at = usize::from(priority >> self.priority_shift());
        let active = self.active(group, at / 32) | 1 << (at % 32);
        self.set_active(group, at / 32, active);
        list.interrupt()
    }

    /// HPPIR.
    fn pending(&self, group: Group) -> u32 {
        let list = self.highest_pending().and_then(|n| self.lists().get(n));
        list.filter(|list| list.group() == group).map_or(NONE, |list| list.interrupt())
    }

    /// Drops the running priority and returns it; [`IDLE`] if nothing was active.
    fn drop_priority(&mut self) -> u8 {
        let dropped = self.running_priority();
        if let Some((n, bit)) = self.running() {
            let is_zero = self.active(Group::Zero, n) & 1 << bit != 0;
            let group = if is_zero { Group::Zero } else { Group::One };
            self.set_active(group, n, self.active(group, n) & !(1 << bit));
        }
        dropped
    }

    /// EOIR: drops the running priority and, unless `EOImode` is set, deactivates the interrupt.
    fn end(&mut self, group: Group, interrupt: u32) {
        if matches!(interrupt, 1020..=1023) {
            return;
        }
        let dropped = self.drop_priority();
        if dropped == IDLE || interrupt >= FIRST_LPI || self.vmcr & VMCR_EOIM != 0 {
            return;
        }
        match self.active_list(interrupt) {
            None => self.count_eoi(),
            Some(n) => {
                let list = self.lists().get(n).copied().unwrap_or_default();
                let priority = list.priority() & self.group_priority(group);
                // A program that ends another interrupt than the running one deactivates nothing.
                if list.group() == group && priority == dropped {
                    self.deactivate_list(n);
                }
            }
        }
    }

    /// DIR: deactivates an interrupt, if `EOImode` is set.
    fn deactivate(&mut self, interrupt: u32) {
        if matches!(interrupt, 1020..=1023) || interrupt >= FIRST_LPI || self.vmcr & VMCR_EOIM == 0
        {
            return;
        }
        match self.active_list(interrupt) {
            None => self.count_eoi(),
            Some(n) => self.deactivate_list(n),
        }
    }

    fn active_list(&self, interrupt: u32) -> Option<usize> {
        self.lists().iter().position(|list| list.is_active() && list.interrupt() == interrupt)
    }

    fn deactivate_list(&mut self, n: usize) {
        if let Some(list) = self.lists_mut().get_mut(n) {
            list.0 &= !STATE_ACTIVE;
        }
    }

    /// `ICH_HCR_EL2.EOIcount`: an interrupt was ended that no list register holds.
    fn count_eoi(&mut self) {
        let count = (self.hcr & HCR_EOICOUNT).wrapping_add(1 << HCR_EOICOUNT_SHIFT);
        self.hcr = self.hcr & !HCR_EOICOUNT | count & HCR_EOICOUNT;
    }

    /// Whether accesses to a register trap, by `ICH_HCR_EL2`. SGIs always do.
    fn traps(&self, register: SysReg) -> bool {
        let by = match register {
            SysReg::ICC_SGI0R_EL1 | SysReg::ICC_SGI1R_EL1 | SysReg::ICC_ASGI1R_EL1 => return true,
            SysReg::ICC_DIR_EL1 => HCR_TDIR | HCR_TC,
            SysReg::ICC_CTLR_EL1 | SysReg::ICC_PMR_EL1 | SysReg::ICC_RPR_EL1 => HCR_TC,
            SysReg { op0: 3, op1: 0, crn: 12, crm: 8, .. } | SysReg::ICC_IGRPEN0_EL1 => HCR_TALL0,
            SysReg { op0: 3, op1: 0, crn: 12, crm: 9, op2: 0..=3 }
            | SysReg::ICC_IAR1_EL1
            | SysReg::ICC_EOIR1_EL1
            | SysReg::ICC_HPPIR1_EL1
            | SysReg::ICC_BPR1_EL1
            | SysReg::ICC_IGRPEN1_EL1 => HCR_TALL1,
            _ => return false,
        };
        self.hcr & by != 0
    }

    /// The Realm reads a register.
    pub(crate) fn realm_reads(&mut self, register: SysReg) -> Access {
        if self.traps(register) {
            return Access::Trapped;
        }
        Access::Done(match register {
            SysReg::ICC_PMR_EL1 => self.pmr().into(),
            SysReg::ICC_IAR0_EL1 => self.acknowledge(Group::Zero).into(),
            SysReg::ICC_IAR1_EL1 => self.acknowledge(Group::One).into(),
            SysReg::ICC_HPPIR0_EL1 => self.pending(Group::Zero).into(),
            SysReg::ICC_HPPIR1_EL1 => self.pending(Group::One).into(),
            SysReg::ICC_BPR0_EL1 => self.binary_point(Group::Zero),
            SysReg::ICC_BPR1_EL1 => self.binary_point(Group::One),
            SysReg::ICC_RPR_EL1 => self.running_priority().into(),
            SysReg::ICC_IGRPEN0_EL1 => self.is_enabled(Group::Zero).into(),
            SysReg::ICC_IGRPEN1_EL1 => self.is_enabled(Group::One).into(),
            SysReg::ICC_SRE_EL1 => 0b111,
            SysReg::ICC_CTLR_EL1 => {
                CTLR_FIXED
                    | u64::from(self.vtr.priority_bits - 1) << 8
                    | u64::from(self.vmcr & VMCR_EOIM != 0) << 1
                    | u64::from(self.vmcr & VMCR_CBPR != 0)
            }
            _ => match active_register(register) {
                Some((group, n)) => self.active(group, n).into(),
                None => return Access::Unknown,
            },
        })
    }

    /// The Realm writes a register.
    pub(crate) fn realm_writes(&mut self, register: SysReg, value: u64) -> Access {
        if self.traps(register) {
            return Access::Trapped;
        }
        let [a, b, c, ..] = value.to_le_bytes();
        let interrupt = u32::from_le_bytes([a, b, c, 0]);
        let field = |vmcr: u64, mask: u64, at: u32| vmcr & !(mask << at) | (value & mask) << at;
        match register {
            SysReg::ICC_PMR_EL1 => self.set_vmcr(field(self.vmcr, 0xff, VMCR_PMR_SHIFT)),
            SysReg::ICC_BPR0_EL1 => self.set_vmcr(field(self.vmcr, 0b111, VMCR_BPR0_SHIFT)),
            // With a common binary point, this one is only read.
            SysReg::ICC_BPR1_EL1 if self.vmcr & VMCR_CBPR != 0 => {}
            SysReg::ICC_BPR1_EL1 => self.set_vmcr(field(self.vmcr, 0b111, VMCR_BPR1_SHIFT)),
            SysReg::ICC_IGRPEN0_EL1 => self.set_vmcr(field(self.vmcr, 1, 0)),
            SysReg::ICC_IGRPEN1_EL1 => self.set_vmcr(field(self.vmcr, 1, 1)),
            SysReg::ICC_CTLR_EL1 => {
                let rest = self.vmcr & !(VMCR_CBPR | VMCR_EOIM);
                self.set_vmcr(rest | (value & 1) << 4 | (value >> 1 & 1) << 9);
            }
            SysReg::ICC_EOIR0_EL1 => self.end(Group::Zero, interrupt),
            SysReg::ICC_EOIR1_EL1 => self.end(Group::One, interrupt),
            SysReg::ICC_DIR_EL1 => self.deactivate(interrupt),
            SysReg::ICC_SRE_EL1 => {}
            _ => match active_register(register) {
                Some((group, n)) => self.set_active(group, n, u32_of(value)),
                None => return Access::Unknown,
            },
        }
        Access::Done(0)
    }
}

/// `ICC_AP0R<n>_EL1` and `ICC_AP1R<n>_EL1`.
fn active_register(register: SysReg) -> Option<(Group, usize)> {
    match register {
        SysReg { op0: 3, op1: 0, crn: 12, crm: 8, op2: n @ 4..=7 } => {
            Some((Group::Zero, usize::from(n - 4)))
        }
        SysReg { op0: 3, op1: 0, crn: 12, crm: 9, op2: n @ 0..=3 } => {
            Some((Group::One, usize::from(n)))
        }
        _ => None,
    }
}

/// The lower half.
fn u32_of(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
