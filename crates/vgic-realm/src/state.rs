//! The virtual CPU interface of one REC, as the host keeps it between runs.

use crate::interface::{VirtualInterface, Vtr};
use crate::set::ListRegisters;

/// The bits of `ICH_HCR_EL2` that an RMM leaves to the host: UIE, LRENPIE, NPIE, `VGrp0EIE`,
/// `VGrp0DIE`, `VGrp1EIE`, `VGrp1DIE` (bits 7:1) and TDIR (bit 14). En is set by
/// [`InterfaceState::load`].
///
/// Source: DEN0137 1.0-rel0, `RmiRecEnter.gicv3_hcr`.
pub const HCR_CONTROLS: u64 = 0x40fe;

/// `ICH_HCR_EL2.En`: the virtual CPU interface is on.
const HCR_EN: u64 = 1;
/// `ICH_HCR_EL2.EOIcount`, bits 31:27.
const HCR_EOI_COUNT_SHIFT: u32 = 27;
const HCR_EOI_COUNT: u64 = 0x1f << HCR_EOI_COUNT_SHIFT;

/// Whether the RMM ran the REC on the registers that were loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "if the registers were not used, the REC did not get the interrupts in them"]
pub enum Saved {
    /// It did: the interface is off, as an RMM turns it off at every exit.
    Used,
    /// It did not: `ICH_HCR_EL2.En` is as it was loaded.
    ///
    /// This is the case when there was no entry, or a refused one. After an entry that succeeded,
    /// it means that the registers were not those of the CPU on which the call was made (a conduit
    /// of another CPU, a thread that migrated), or that firmware switched them: then no interrupt
    /// reaches a Realm. There is one exception: the entry that answers a host call whose structure
    /// is no longer mapped exits as for a data abort there, before the REC runs.
    Unused,
}

/// The virtual CPU interface of one REC: list registers, `ICH_HCR_EL2`, `ICH_VMCR_EL2`, and the
/// active priorities (`ICH_AP0R<n>_EL2`, `ICH_AP1R<n>_EL2`).
///
/// No 2.0 RMM saves these registers: the host owns them, and what one Realm leaves in them is
/// visible to the next one on that CPU (its priority mask, its group enables, an active priority
/// that blocks all less urgent interrupts). So each REC has its own state, which is loaded into the
/// CPU before [each entry](https://docs.rs/rec-runtime) and saved after it, also if the entry was
/// refused; in between the registers are in use, and nothing else may use them. In 1.0 the same
/// calls fill and read the run page.
///
/// See the example in [the crate](crate). No call locks or waits; all may be made with interrupts
/// masked. Loading, entering and saving must be done with interrupts masked, on one CPU.
///
/// Source: DEN0137 2.0-bet3, `RMI_REC_ENTER`; TF-RMM of July 2026, `lib/gic/src/gic.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceState {
    vtr: Vtr,
    list_registers: ListRegisters,
    controls: u64,
    eoi_count: u64,
    vmcr: u64,
    ap0r: [u64; Vtr::MAX_ACTIVE_PRIORITY_REGISTERS],
    ap1r: [u64; Vtr::MAX_ACTIVE_PRIORITY_REGISTERS],
    misr: u64,
}

impl InterfaceState {
    /// The state of a REC that never ran: no interrupt, priority mask 0, both groups disabled,
    /// nothing active, no maintenance interrupts. `vtr` is the value of the machine's CPUs.
    #[must_use]
    pub const fn new(vtr: Vtr) -> Self {
        Self {
            vtr,
            list_registers: ListRegisters::new(vtr.list_registers()),
            controls: 0,
            eoi_count: 0,
            vmcr: 0,
            ap0r: [0; Vtr::MAX_ACTIVE_PRIORITY_REGISTERS],
            ap1r: [0; Vtr::MAX_ACTIVE_PRIORITY_REGISTERS],
            misr: 0,
        }
    }

    /// Resets the state to that of a CPU that is powered on: for a REC that turned itself off
    /// (`CPU_OFF`), before it is entered again. What the host set with
    /// [`InterfaceState::set_controls`] is kept.
    ///
    /// Do not call it for each `CPU_ON` that the host completes: the target may already have been
    /// on, and would lose its interrupts.
    pub const fn reset(&mut self) {
        *self = Self { controls: self.controls, ..Self::new(self.vtr) };
    }

    /// What the CPUs implement.
    #[must_use]
    pub const fn vtr(&self) -> Vtr {
        self.vtr
    }

    /// The REC's virtual interrupts.
    #[must_use]
    pub const fn list_registers(&self) -> &ListRegisters {
        &self.list_registers
    }

    /// The REC's virtual interrupts, to be changed between runs.
    pub const fn list_registers_mut(&mut self) -> &mut ListRegisters {
        &mut self.list_registers
    }

    /// The bits of [`HCR_CONTROLS`] that are set while the REC runs.
    #[must_use]
    pub const fn controls(&self) -> u64 {
        self.controls
    }

    /// Sets bits of `ICH_HCR_EL2` for subsequent runs; those outside [`HCR_CONTROLS`] are ignored.
    pub const fn set_controls(&mut self, bits: u64) {
        self.controls = bits & HCR_CONTROLS;
    }

    /// `ICH_VMCR_EL2`, as the REC left it.
    #[must_use]
    pub const fn vmcr(&self) -> u64 {
        self.vmcr
    }

    /// The priority mask, `ICH_VMCR_EL2.VPMR`: only interrupts of smaller priorities are signalled
    /// to the REC.
    #[must_use]
    pub const fn priority_mask(&self) -> u8 {
        (self.vmcr >> 24).to_le_bytes()[0]
    }

    /// `ICH_AP0R<n>_EL2`, as the REC left it; 0 if it does not exist.
    #[must_use]
    pub fn ap0r(&self, n: usize) -> u64 {
        self.ap0r.get(n).copied().unwrap_or(0)
    }

    /// `ICH_AP1R<n>_EL2`, as the REC left it; 0 if it does not exist.
    #[must_use]
    pub fn ap1r(&self, n: usize) -> u64 {
        self.ap1r.get(n).copied().unwrap_or(0)
    }

    /// The running priority, with the preemption bits: the most urgent active priority of both
    /// groups. `None` if there is none, or if the interface does not tell.
    pub(crate) fn running_priority(&self) -> Option<u8> {
        let per_preemption = u8::BITS.saturating_sub(self.vtr.preemption_bits());
        let (n, active) = (0..u32::BITS * 4)
            .step_by(u32::BITS as usize)
            .zip(self.ap0r.iter().zip(&self.ap1r).map(|(ap0r, ap1r)| (ap0r | ap1r) & 0xffff_ffff))
            .find(|(_, active)| *active != 0)?;
        u8::try_from((n + active.trailing_zeros()) << per_preemption).ok()
    }

    /// `ICH_MISR_EL2` after the last run: which maintenance interrupts are asserted.
    #[must_use]
    pub const fn misr(&self) -> u64 {
        self.misr
    }

    /// Takes `ICH_HCR_EL2.EOIcount`: how many interrupts the REC ended that have no list register,
    /// modulo 32. It accumulates until it is taken.
    pub const fn take_eoi_count(&mut self) -> u8 {
        let [count, ..] = (self.eoi_count >> HCR_EOI_COUNT_SHIFT).to_le_bytes();
        self.eoi_count = 0;
        count
    }

    /// Loads the state into the CPU and turns its virtual CPU interface on. To be called before
    /// each entry, on the CPU that enters: the RMM leaves the interface off.
    ///
    /// All registers of the CPU are written, so no state of another guest stays in them.
    pub fn load(&self, interface: &mut impl VirtualInterface) {
        let vtr = interface.vtr();
        interface.set_hcr(0);
        for n in 0..vtr.list_registers() {
            interface.set_list_register(n, self.list_registers.at(n).raw());
        }
        for n in 0..vtr.active_priority_registers() {
            interface.set_ap0r(n, self.ap0r(n));
            interface.set_ap1r(n, self.ap1r(n));
        }
        interface.set_vmcr(self.vmcr);
        interface.set_hcr(self.controls | self.eoi_count | HCR_EN);
    }

    /// Reads the state back after an entry, and leaves the virtual CPU interface off. A list
    /// register that the RMM would not accept again (no interface should contain one) becomes free.
    ///
    /// [`Saved`] reports whether the REC ran on these registers at all.
    pub fn save(&mut self, interface: &mut impl VirtualInterface) -> Saved {
        let count = interface.vtr().list_registers();
        self.list_registers.take_back(count, |n| interface.list_register(n));
        self.save_others(interface)
    }

    /// The same without the list registers, which keep their contents while the interface is off.
    pub(crate) fn save_others(&mut self, interface: &mut impl VirtualInterface) -> Saved {
        let vtr = interface.vtr();
        let hcr = interface.hcr();
        self.misr = interface.misr();
        self.vmcr = interface.vmcr();
        let active = self.ap0r.iter_mut().zip(&mut self.ap1r).enumerate();
        for (n, (ap0r, ap1r)) in active.take(vtr.active_priority_registers()) {
            *ap0r = interface.ap0r(n);
            *ap1r = interface.ap1r(n);
        }
        self.eoi_count = hcr & HCR_EOI_COUNT;
        interface.set_hcr(0);
        if hcr & HCR_EN == 0 { Saved::Used } else { Saved::Unused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_priority_has_the_preemption_bits() {
        let of = |preemption_bits: u64, ap0r, ap1r| {
            let mut state = InterfaceState::new(Vtr::from_raw((preemption_bits - 1) << 26));
            (state.ap0r, state.ap1r) = (ap0r, ap1r);
            state.running_priority()
        };
        assert_eq!(of(5, [0; 4], [0; 4]), None);
        // Non-maskable interrupts have bit 63.
        assert_eq!(of(5, [1 << 63, 0, 0, 0], [1 << 32, 0, 0, 0]), None);
        assert_eq!(of(5, [1 << 16, 0, 0, 0], [0; 4]), Some(0x80));
        assert_eq!(of(5, [1 << 16, 0, 0, 0], [0x8001_0100, 0, 0, 0]), Some(0x40));
        assert_eq!(of(5, [1 << 31, 0, 0, 0], [1 << 31, 0, 0, 0]), Some(0xf8));
        assert_eq!(of(6, [0, 1, 0, 0], [0, 1 << 3, 0, 0]), Some(0x80));
        assert_eq!(of(7, [0, 0, 0, 1 << 31], [0; 4]), Some(0xfe));
        assert_eq!(of(7, [0, 0, 0, 1 << 31], [0, 0, 1, 0]), Some(0x80));
    }
}
