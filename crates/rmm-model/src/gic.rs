//! The virtual CPU interface of the GIC, as the registers of one physical CPU.
//!
//! In 2.0 the host programs these registers itself before it enters a REC and reads them afterwards; the RMM checks the list
//! registers and turns the interface off on exit.

/// List registers of a physical CPU.
pub(crate) const LIST_REGISTERS: usize = 16;

/// `ICH_VTR_EL2`, low word: five bits of priority and of preemption, 16-bit interrupt identifiers, 16 list registers.
pub(crate) const VTR: u32 = 4 << 29 | 4 << 26 | 15;

/// `ICH_LR<n>_EL2.State`, bits 63:62: pending is the lower bit, active the higher.
const STATE_PENDING: u64 = 1 << 62;
const STATE_ACTIVE: u64 = 1 << 63;
/// `ICH_LR<n>_EL2.HW`.
const HW: u64 = 1 << 61;
/// `ICH_LR<n>_EL2.pINTID`, bits 44:32; without HW only its EOI bit (41) may be set.
const PINTID_BESIDE_EOI: u64 = 0x1fff << 32 & !(1 << 41);
/// `ICH_HCR_EL2.En`.
const HCR_EN: u64 = 1;

/// One list register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ListRegister(u64);

impl ListRegister {
    fn is_valid(self) -> bool {
        self.0 & (STATE_PENDING | STATE_ACTIVE) != 0
    }

    /// The virtual interrupt, bits 31:0.
    fn interrupt(self) -> u32 {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Whether an RMM lets a Realm see this interrupt: not one of the hardware's, and with an identifier that exists.
    fn is_acceptable(self) -> bool {
        let exists =
            matches!(self.interrupt(), 0..=1019 | 1056..=1119 | 4096..=5119 | 8192..=0xff_ffff);
        self.0 & HW == 0 && self.0 & PINTID_BESIDE_EOI == 0 && exists
    }
}

/// `ICH_LR<n>_EL2`, `ICH_HCR_EL2` and `ICH_VMCR_EL2` of one physical CPU.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct VirtualInterface {
    lists: [ListRegister; LIST_REGISTERS],
    pub(crate) hcr: u64,
    pub(crate) vmcr: u64,
}

impl VirtualInterface {
    pub(crate) fn list(&self, n: usize) -> u64 {
        self.lists.get(n).map_or(0, |list| list.0)
    }

    pub(crate) fn set_list(&mut self, n: usize, value: u64) {
        if let Some(list) = self.lists.get_mut(n) {
            list.0 = value;
        }
    }

    /// Whether a REC may be entered with these list registers.
    pub(crate) fn may_enter(&self) -> bool {
        let mut valid = self.lists.iter().filter(|list| list.is_valid()).copied();
        let mut seen = [None; LIST_REGISTERS];
        let mut free = seen.iter_mut();
        valid.all(|list| {
            if let Some(slot) = free.next() {
                *slot = Some(list.interrupt());
            }
            list.is_acceptable()
        }) && is_distinct(&seen)
    }

    /// What an exit does: the interface is off.
    pub(crate) fn leave(&mut self) {
        self.hcr &= !HCR_EN;
    }

    /// The interrupts that the Realm sees pending, one per list register.
    pub(crate) fn pending(&self) -> [Option<u32>; LIST_REGISTERS] {
        let is_on = self.hcr & HCR_EN != 0;
        self.lists.map(|list| (is_on && list.0 & STATE_PENDING != 0).then(|| list.interrupt()))
    }

    /// The Realm acknowledges an interrupt: pending becomes active.
    pub(crate) fn acknowledge(&mut self, interrupt: u32) {
        for list in self.lists.iter_mut().filter(|list| list.interrupt() == interrupt) {
            if list.0 & STATE_PENDING != 0 {
                list.0 = list.0 & !STATE_PENDING | STATE_ACTIVE;
            }
        }
    }

    /// The Realm ends an interrupt: active becomes inactive.
    pub(crate) fn end(&mut self, interrupt: u32) {
        for list in self.lists.iter_mut().filter(|list| list.interrupt() == interrupt) {
            list.0 &= !STATE_ACTIVE;
        }
    }
}

/// Whether no interrupt occurs twice.
fn is_distinct(seen: &[Option<u32>]) -> bool {
    seen.iter().enumerate().all(|(n, interrupt)| {
        interrupt.is_none() || !seen.iter().skip(n + 1).any(|other| other == interrupt)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_software_interrupts_and_each_but_once() {
        let mut cpu = VirtualInterface::default();
        assert!(cpu.may_enter());
        cpu.set_list(0, STATE_PENDING | 27);
        cpu.set_list(15, STATE_ACTIVE | 30);
        assert!(cpu.may_enter());
        cpu.set_list(3, STATE_PENDING | 27);
        assert!(!cpu.may_enter());
        cpu.set_list(3, 27);
        assert!(cpu.may_enter(), "an invalid list register does not count");
        cpu.set_list(3, STATE_PENDING | HW | 40);
        assert!(!cpu.may_enter());
        cpu.set_list(3, STATE_PENDING | 1020);
        assert!(!cpu.may_enter());
        cpu.set_list(3, STATE_PENDING | 1 << 41 | 40);
        assert!(cpu.may_enter());
    }

    #[test]
    fn an_interrupt_from_pending_to_gone() {
        let mut cpu = VirtualInterface::default();
        cpu.set_list(2, STATE_PENDING | 27);
        assert_eq!(cpu.pending(), [None; LIST_REGISTERS], "the interface is off");
        cpu.hcr = HCR_EN;
        assert_eq!(cpu.pending()[2], Some(27));
        cpu.acknowledge(27);
        assert_eq!((cpu.pending()[2], cpu.list(2)), (None, STATE_ACTIVE | 27));
        cpu.end(27);
        assert_eq!(cpu.list(2), 27);
        cpu.leave();
        assert_eq!(cpu.hcr, 0);
    }
}
