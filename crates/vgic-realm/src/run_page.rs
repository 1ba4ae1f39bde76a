//! The virtual CPU interface in the run page of RMI 1.0.

use crate::interface::{VirtualInterface, Vtr};
use crate::state::HCR_CONTROLS;

/// `ICH_HCR_EL2.En`.
const HCR_EN: u64 = 1;

/// The registers of the virtual CPU interface that the run page of RMI 1.0 has, in the form of a
/// CPU's registers.
///
/// 1. The state of a REC is loaded into it.
/// 2. [`RunPage::enter`] gives the fields for the entry.
/// 3. [`RunPage::exit`] takes those of the exit, from which the state is saved. Without it, the
///    registers count as not used.
///
/// In 1.0 the RMM keeps the active priorities and `ICH_VMCR_EL2` in the REC: the Realm does not see
/// writes of them, active priorities read as zero, and `ICH_VMCR_EL2` as at the exit, or as it was
/// loaded if there was none.
///
/// ```
/// use vgic_realm::{InterfaceState, Intid, RunPage, Saved, Vtr};
///
/// let mut page = RunPage::new(Vtr::of_run_page(3));
/// let mut state = InterfaceState::new(page.vtr());
/// state.list_registers_mut().set_pending(Intid::VIRTUAL_TIMER, 0x80).unwrap();
/// state.load(&mut page);
/// let (hcr, lists) = page.enter();
/// // They are `gicv3_hcr` and `gicv3_lrs` of `RmiRecEnter`, and these are of `RmiRecExit`:
/// # let (misr, vmcr) = (0, 0xff00_0002);
/// page.exit(hcr, lists, misr, vmcr);
/// assert_eq!(state.save(&mut page), Saved::Used);
/// assert_eq!(state.priority_mask(), 0xff);
/// ```
///
/// Source: DEN0137 1.0-rel0, `RmiRecEnter`, `RmiRecExit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunPage {
    vtr: Vtr,
    lists: [u64; Vtr::MAX_LIST_REGISTERS],
    hcr: u64,
    misr: u64,
    vmcr: u64,
}

impl RunPage {
    /// Registers that are zero. `vtr` says how many there are: [`Vtr::of_run_page`].
    #[must_use]
    pub const fn new(vtr: Vtr) -> Self {
        Self { vtr, lists: [0; Vtr::MAX_LIST_REGISTERS], hcr: 0, misr: 0, vmcr: 0 }
    }

    /// What the CPU implements.
    #[must_use]
    pub const fn vtr(&self) -> Vtr {
        self.vtr
    }

    /// `gicv3_hcr` and `gicv3_lrs` of `RmiRecEnter`. The list registers that do not exist are zero.
    #[must_use]
    pub const fn enter(&self) -> (u64, [u64; Vtr::MAX_LIST_REGISTERS]) {
        (self.hcr & HCR_CONTROLS, self.lists)
    }

    /// Takes `gicv3_hcr`, `gicv3_lrs`, `gicv3_misr` and `gicv3_vmcr` of `RmiRecExit`.
    ///
    /// An exit before the REC ran, because the structure of a host call is no longer mapped, has
    /// none of them: do not call it then. (TF-RMM leaves zeros.)
    pub const fn exit(
        &mut self,
        hcr: u64,
        lists: [u64; Vtr::MAX_LIST_REGISTERS],
        misr: u64,
        vmcr: u64,
    ) {
        *self = Self { vtr: self.vtr, lists, hcr: hcr & !HCR_EN, misr, vmcr };
    }
}

impl VirtualInterface for RunPage {
    fn vtr(&self) -> Vtr {
        self.vtr
    }
    fn list_register(&self, n: usize) -> u64 {
        self.lists.get(..self.vtr.list_registers()).and_then(|l| l.get(n)).copied().unwrap_or(0)
    }
    fn set_list_register(&mut self, n: usize, value: u64) {
        let count = self.vtr.list_registers();
        if let Some(list) = self.lists.get_mut(..count).and_then(|lists| lists.get_mut(n)) {
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
    fn ap0r(&self, _: usize) -> u64 {
        0
    }
    fn set_ap0r(&mut self, _: usize, _: u64) {}
    fn ap1r(&self, _: usize) -> u64 {
        0
    }
    fn set_ap1r(&mut self, _: usize, _: u64) {}
    fn misr(&self) -> u64 {
        self.misr
    }
    fn run_page(&mut self) -> Option<&mut Self> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list_register::Intid;
    use crate::state::{InterfaceState, Saved};

    #[test]
    fn the_fields_of_entry_and_exit_are_the_registers() {
        let mut page = RunPage::new(Vtr::of_run_page(1));
        assert_eq!(page.vtr().list_registers(), 2);
        let mut state = InterfaceState::new(page.vtr());
        state.list_registers_mut().set_pending(Intid::PMU, 0x80).unwrap();
        state.set_controls(1 << 3);
        state.load(&mut page);
        let pending = 0x5080_0000_0000_0017;
        let mut lists = [0; 16];
        lists[0] = pending;
        assert_eq!(page.enter(), (1 << 3, lists), "En is the RMM's");
        // The entry was refused.
        assert_eq!(state.save(&mut page), Saved::Unused);
        state.load(&mut page);
        lists[0] = pending ^ 0b11 << 62;
        page.exit(5 << 27 | 1 << 3, lists, 0x8, 0xf000_0002);
        assert_eq!(state.save(&mut page), Saved::Used);
        assert_eq!((state.vmcr(), state.misr(), state.take_eoi_count()), (0xf000_0002, 0x8, 5));
        let register = state.list_registers().get(Intid::PMU).unwrap();
        assert_eq!(register.raw(), lists[0]);
        assert_eq!((state.ap0r(0), state.ap1r(0)), (0, 0));
        state.load(&mut page);
        assert_eq!(page.vmcr(), 0xf000_0002);
    }

    #[test]
    fn list_registers_that_do_not_exist_stay_zero() {
        let mut page = RunPage::new(Vtr::of_run_page(1));
        for n in 0..20 {
            page.set_list_register(n, 7);
        }
        let mut lists = [0; 16];
        (lists[0], lists[1]) = (7, 7);
        assert_eq!(page.enter(), (0, lists));
        page.exit(1, [9; 16], 0, 0);
        assert_eq!([0, 1, 2, 16].map(|n| page.list_register(n)), [9, 9, 0, 0]);
        assert_eq!(page.hcr(), 0, "the interface was used");
        page.set_ap0r(0, 1);
        page.set_ap1r(0, 1);
        assert_eq!((page.ap0r(0), page.ap1r(0)), (0, 0));
    }

    #[test]
    fn an_entry_that_was_refused_leaves_the_mask_as_it_was_loaded() {
        let mut state = InterfaceState::new(Vtr::of_run_page(1));
        let mut page = RunPage::new(state.vtr());
        state.load(&mut page);
        page.exit(1, [0; 16], 0, 0xf000_0002);
        assert_eq!(state.save(&mut page), Saved::Used);
        // Another one, on a thread that runs the REC from now on.
        let mut page = RunPage::new(state.vtr());
        state.load(&mut page);
        assert_eq!(page.enter(), (0, [0; 16]), "the RMM has the mask");
        assert_eq!((state.save(&mut page), state.vmcr()), (Saved::Unused, 0xf000_0002));
    }

    #[test]
    fn it_is_the_run_page() {
        let mut page = RunPage::new(Vtr::of_run_page(1));
        page.exit(0, [0; 16], 3, 0);
        assert_eq!(page.run_page().map(|page| page.misr()), Some(3));
    }
}
