//! A CPU that takes virtual interrupts, written from the architecture's text.
//!
//! Source: Arm IHI 0069 (GICv3), "Virtual interrupt handling and prioritization", `ICV_IAR1_EL1`,
//! `ICV_EOIR1_EL1`, `ICV_DIR_EL1`, `ICH_MISR_EL2`.

use vgic_realm::{VirtualInterface, Vtr};

const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 1 << 63;
const STATE: u64 = PENDING | ACTIVE;

/// The virtual CPU interface of one CPU.
#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    vtr: Vtr,
    pub(crate) lists: [u64; 16],
    pub(crate) hcr: u64,
    pub(crate) vmcr: u64,
    /// One bit per priority, by group.
    active: [u128; 2],
}

impl Cpu {
    pub(crate) fn new(vtr: Vtr) -> Self {
        Self { vtr, lists: [0; 16], hcr: 0, vmcr: 0, active: [0; 2] }
    }

    fn lists(&self) -> &[u64] {
        &self.lists[..self.vtr.list_registers()]
    }

    fn preempts(&self, priority: u8) -> u32 {
        u32::from(priority) >> (8 - self.vtr.preemption_bits())
    }

    /// The group priority of the running interrupt; 256 if there is none.
    fn running(&self) -> u32 {
        let both = self.active[0] | self.active[1];
        if both == 0 { 256 } else { both.trailing_zeros() << (8 - self.vtr.preemption_bits()) }
    }

    fn group_enabled(&self, list: u64) -> bool {
        self.vmcr >> (list >> 60 & 1) & 1 != 0
    }

    fn priority(list: u64) -> u8 {
        (list >> 48).to_le_bytes()[0]
    }

    /// The list register of the interrupt that is signalled.
    fn signalled(&self) -> Option<usize> {
        let pending = (0..self.lists().len()).filter(|n| {
            let list = self.lists[*n];
            list & STATE == PENDING && self.group_enabled(list)
        });
        let n = pending.min_by_key(|n| Self::priority(self.lists[*n]))?;
        let priority = u32::from(Self::priority(self.lists[n]));
        let masked = priority >= (self.vmcr >> 24) as u32;
        (self.hcr & 1 != 0 && !masked && priority < self.running()).then_some(n)
    }

    /// Whether an interrupt is signalled to the guest.
    pub(crate) fn is_signalled(&self) -> bool {
        self.signalled().is_some()
    }

    /// IAR: the INTID of the interrupt that is taken, if one is signalled, and its priority.
    pub(crate) fn acknowledge(&mut self) -> Option<(u32, u8)> {
        let n = self.signalled()?;
        let list = self.lists[n];
        self.lists[n] = list & !PENDING | ACTIVE;
        let priority = Self::priority(list);
        self.active[(list >> 60 & 1) as usize] |= 1 << self.preempts(priority);
        Some((list as u32, priority))
    }

    fn drop_priority(&mut self) {
        let lowest = (self.active[0] | self.active[1]).trailing_zeros();
        let group = usize::from(self.active[0] >> lowest & 1 == 0);
        self.active[group] &= !(1 << lowest);
    }

    fn deactivate(&mut self, intid: u32) {
        let count = self.lists().len();
        match self.lists[..count].iter_mut().find(|l| **l & ACTIVE != 0 && **l as u32 == intid) {
            Some(list) => *list &= !ACTIVE,
            None => self.hcr = self.hcr & !(0x1f << 27) | (self.hcr + (1 << 27)) & 0x1f << 27,
        }
    }

    /// EOIR.
    pub(crate) fn end(&mut self, intid: u32) {
        if self.active != [0; 2] {
            self.drop_priority();
            if self.vmcr & 1 << 9 == 0 {
                self.deactivate(intid);
            }
        }
    }

    /// DIR; whether it traps.
    pub(crate) fn dir_traps(&mut self, intid: u32) -> bool {
        let traps = self.hcr & 1 << 14 != 0;
        if !traps && self.vmcr & 1 << 9 != 0 {
            self.deactivate(intid);
        }
        traps
    }

    /// The RMM leaves the interface off.
    pub(crate) fn exit(&mut self) {
        self.hcr &= !1;
    }
}

impl VirtualInterface for Cpu {
    fn vtr(&self) -> Vtr {
        self.vtr
    }
    fn list_register(&self, n: usize) -> u64 {
        assert!(n < self.vtr.list_registers());
        self.lists[n]
    }
    fn set_list_register(&mut self, n: usize, value: u64) {
        assert!(n < self.vtr.list_registers());
        self.lists[n] = value;
    }
    fn hcr(&self) -> u64 {
        self.hcr
    }
    fn set_hcr(&mut self, value: u64) {
        self.hcr = value;
        if value & 1 != 0 {
            self.check_entry();
        }
    }
    fn vmcr(&self) -> u64 {
        self.vmcr
    }
    fn set_vmcr(&mut self, value: u64) {
        self.vmcr = value;
    }
    fn ap0r(&self, n: usize) -> u64 {
        u64::from((self.active[0] >> (n * 32)) as u32)
    }
    fn set_ap0r(&mut self, n: usize, value: u64) {
        self.active[0] =
            self.active[0] & !(0xffff_ffff << (n * 32)) | u128::from(value) << (n * 32);
    }
    fn ap1r(&self, n: usize) -> u64 {
        u64::from((self.active[1] >> (n * 32)) as u32)
    }
    fn set_ap1r(&mut self, n: usize, value: u64) {
        self.active[1] =
            self.active[1] & !(0xffff_ffff << (n * 32)) | u128::from(value) << (n * 32);
    }
    fn misr(&self) -> u64 {
        let lists = self.lists();
        let valid = lists.iter().filter(|list| **list & STATE != 0).count();
        let ended = lists.iter().any(|list| list & (STATE | 1 << 61 | 1 << 41) == 1 << 41);
        let pending = lists.iter().any(|list| list & STATE == PENDING);
        let group = |n: u64, on: u64| u64::from(self.vmcr >> n & 1 == on);
        u64::from(ended)
            | self.hcr & (u64::from(valid < 2) << 1)
            | self.hcr & (u64::from(self.hcr >> 27 & 0x1f != 0) << 2)
            | self.hcr & (u64::from(!pending) << 3)
            | self.hcr & (group(0, 1) << 4 | group(0, 0) << 5 | group(1, 1) << 6 | group(1, 0) << 7)
    }
}

impl Cpu {
    /// What an RMM checks before an entry, and which bits a host may set.
    fn check_entry(&self) {
        assert_eq!(self.hcr & !(0x40fe | 1), 0, "{:x}", self.hcr);
        assert_eq!(self.misr(), 0, "the run would end at once");
        let valid: Vec<u64> = self.lists().iter().copied().filter(|l| l & STATE != 0).collect();
        for (n, list) in valid.iter().enumerate() {
            assert_eq!(list & (1 << 61), 0, "HW");
            assert_eq!(list & (0x1fff << 32 & !(1 << 41)), 0, "pINTID");
            assert_eq!(Self::priority(*list) & !self.priorities(), 0, "priority bits");
            assert!(!valid[..n].iter().any(|other| *other as u32 == *list as u32), "twice");
        }
    }

    fn priorities(&self) -> u8 {
        (0xff00_u16 >> self.vtr.priority_bits()).to_le_bytes()[0]
    }
}
