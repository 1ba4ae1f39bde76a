//! A virtual CPU interface as a test drives it: registers that a host loads and saves, and what a
//! Realm does with them, with one priority for preemption (binary points at their lowest).
//!
//! Source: Arm IHI 0069, "Virtual interrupt handling and prioritization".

use vgic_realm::{VirtualInterface, Vtr};

const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 1 << 63;
const GROUP_1: u64 = 1 << 60;
const EOI: u64 = 1 << 41;
const HCR_EN: u64 = 1;
const EOI_COUNT: u64 = 1 << 27;

/// One physical CPU that runs Realms.
#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    vtr: Vtr,
    lists: [u64; 16],
    hcr: u64,
    vmcr: u64,
    ap0r: [u64; 4],
    ap1r: [u64; 4],
}

/// What an acknowledgement took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) intid: u32,
    pub(crate) priority: u8,
    pub(crate) group_1: bool,
    /// It was deactivated by a register.
    pub(crate) is_over: bool,
}

impl Cpu {
    /// With 5 bits of priority, all of them for preemption.
    pub(crate) fn new(list_registers: usize) -> Self {
        let vtr = Vtr::from_raw(4 << 29 | 4 << 26 | 1 << 19 | (list_registers as u64 - 1));
        let (lists, ap0r, ap1r) = ([0; 16], [0; 4], [0; 4]);
        Self { vtr, lists, hcr: 0, vmcr: 0, ap0r, ap1r }
    }

    /// What a virtual CPU does when it starts: all priorities, both groups, `EOImode` as told.
    pub(crate) fn start(&mut self, splits_eoi: bool) {
        self.vmcr = 0xff << 24 | u64::from(splits_eoi) << 9 | 0b11;
    }

    fn split_eoi(&self) -> bool {
        self.vmcr & 1 << 9 != 0
    }

    fn valid(&mut self) -> impl Iterator<Item = &mut u64> {
        self.lists.iter_mut().take(self.vtr.list_registers())
    }

    fn running(&self) -> u64 {
        let both = (self.ap0r[0] | self.ap1r[0]) & 0xffff_ffff;
        if both == 0 { 0xff } else { u64::from(both.trailing_zeros()) << 3 }
    }

    /// Only more urgent interrupts are signalled: by the mask, and by what is active.
    pub(crate) fn limit(&self) -> u8 {
        self.running().min(self.vmcr >> 24) as u8
    }

    /// The RMM turns the interface off at an exit.
    pub(crate) fn leave(&mut self) {
        self.hcr &= !HCR_EN;
    }

    /// The most urgent pending interrupt, if it is more urgent than what is active.
    pub(crate) fn acknowledge(&mut self) -> Option<Taken> {
        let (is_on, running) = (self.hcr & HCR_EN != 0, self.running());
        let vmcr = self.vmcr;
        let is_enabled = |list: u64| vmcr >> (list >> 60 & 1) & 1 == 1;
        let list = self
            .valid()
            .filter(|list| **list & (PENDING | ACTIVE) == PENDING && is_enabled(**list))
            .min_by_key(|list| **list >> 48 & 0xff)?;
        let priority = *list >> 48 & 0xff;
        if !is_on || priority >= running || priority >= vmcr >> 24 {
            return None;
        }
        *list = *list & !PENDING | ACTIVE;
        let taken = Taken {
            intid: (*list & 0xffff_ffff) as u32,
            priority: priority as u8,
            group_1: *list & GROUP_1 != 0,
            is_over: false,
        };
        let active = if taken.group_1 { &mut self.ap1r[0] } else { &mut self.ap0r[0] };
        *active |= 1 << (priority >> 3);
        Some(taken)
    }

    /// EOIR for the interrupt that was taken last. Returns whether that deactivates it.
    pub(crate) fn end(&mut self, taken: Taken) -> bool {
        self.drop_priority();
        if self.split_eoi() {
            return false;
        }
        // The end of one that is over counts as the end of any that has no list register.
        if !(taken.is_over && self.has_active_outside()) {
            self.deactivate(taken.intid);
        }
        true
    }

    fn drop_priority(&mut self) {
        let (in_0, in_1) = (self.ap0r[0], self.ap1r[0]);
        let bit = 1 << ((in_0 | in_1) & 0xffff_ffff).trailing_zeros();
        if in_0 & bit != 0 {
            self.ap0r[0] &= !bit;
        } else {
            self.ap1r[0] &= !bit;
        }
    }

    /// Whether an end without a list register is a maintenance interrupt (LRENPIE).
    pub(crate) fn has_active_outside(&self) -> bool {
        self.hcr & 1 << 2 != 0
    }

    /// Whether DIR is for the host.
    pub(crate) fn traps_deactivation(&self) -> bool {
        self.hcr & 1 << 14 != 0
    }

    /// What deactivation does to list registers.
    pub(crate) fn deactivate(&mut self, intid: u32) {
        let list = self
            .valid()
            .find(|list| **list & ACTIVE != 0 && **list & 0xffff_ffff == u64::from(intid));
        match list {
            Some(list) => *list &= !ACTIVE,
            None => self.hcr = self.hcr.wrapping_add(EOI_COUNT) & 0xffff_ffff,
        }
    }
}

impl VirtualInterface for Cpu {
    fn vtr(&self) -> Vtr {
        self.vtr
    }
    fn list_register(&self, n: usize) -> u64 {
        self.lists[..self.vtr.list_registers()].get(n).copied().unwrap_or(0)
    }
    fn set_list_register(&mut self, n: usize, value: u64) {
        if let Some(list) = self.valid().nth(n) {
            *list = value;
        }
    }
    fn hcr(&self) -> u64 {
        self.hcr
    }
    fn set_hcr(&mut self, value: u64) {
        self.hcr = value;
    }
    fn vmcr(&self) -> u64 {
        self.vmcr
    }
    fn set_vmcr(&mut self, value: u64) {
        self.vmcr = value;
    }
    fn ap0r(&self, n: usize) -> u64 {
        if n == 0 { self.ap0r[0] } else { 0 }
    }
    fn set_ap0r(&mut self, n: usize, value: u64) {
        if n == 0 {
            self.ap0r[0] = value;
        }
    }
    fn ap1r(&self, n: usize) -> u64 {
        if n == 0 { self.ap1r[0] } else { 0 }
    }
    fn set_ap1r(&mut self, n: usize, value: u64) {
        if n == 0 {
            self.ap1r[0] = value;
        }
    }
    fn misr(&self) -> u64 {
        let lists = || self.lists.iter().take(self.vtr.list_registers());
        let valid = lists().filter(|list| **list & (PENDING | ACTIVE) != 0).count();
        let is_over = |list: &&u64| **list & (PENDING | ACTIVE | EOI) == EOI;
        let is_pending = |list: &&u64| **list & (PENDING | ACTIVE) == PENDING;
        let has = |bit: u64| self.hcr >> bit & 1 == 1;
        // Of group 0 and group 1.
        let enables = self.vmcr & 0b11;
        u64::from(lists().any(|list| is_over(&list)))
            | u64::from(has(1) && valid < 2) << 1
            | u64::from(has(2) && self.hcr >> 27 & 0x1f != 0) << 2
            | u64::from(has(3) && !lists().any(|list| is_pending(&list))) << 3
            | self.hcr & (enables & 1) << 4
            | self.hcr & (!enables & 1) << 5
            | self.hcr & (enables >> 1 & 1) << 6
            | self.hcr & (!enables >> 1 & 1) << 7
    }
}
