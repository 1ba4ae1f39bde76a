//! Where interrupts come from: lines, pulses, and SGIs of other RECs.

use lock_api::RawMutex;

use super::Gic;
use super::interrupt::Interrupt;
use super::registers::Route;
use super::spi_table::{SpiState, SpiTable};
use super::storage::{Private, RecSlot};
use crate::intid::{PpiIntid, SpiIntid};
use crate::kicks::Kicks;
use crate::sgi::{SgiRegister, SgiRequest};

/// # Sources of interrupts
impl<L: RawMutex> Gic<'_, L> {
    /// The line of an SPI goes up or down. A level-sensitive interrupt is pending as long as its
    /// line is up; an edge-triggered one becomes pending when it goes up.
    ///
    /// Takes the lock of the SPIs. An SPI that the GIC does not have is ignored.
    pub fn set_spi(&self, spi: SpiIntid, is_up: bool) -> Kicks {
        let mut kicks = Kicks::NONE;
        let mut spis = self.spis.lock();
        self.change_spi(&mut spis, spi.number(), &mut kicks, |spi| {
            Self::line(&mut spi.interrupt, is_up)
        });
        kicks
    }

    /// The line of an SPI goes up and down again: an edge-triggered interrupt becomes pending. A
    /// level-sensitive one does not stay pending, so nothing happens.
    ///
    /// Takes the lock of the SPIs. An SPI that the GIC does not have is ignored.
    pub fn pulse_spi(&self, spi: SpiIntid) -> Kicks {
        let mut kicks = Kicks::NONE;
        let mut spis = self.spis.lock();
        self.change_spi(&mut spis, spi.number(), &mut kicks, |spi| {
            let before = spi.interrupt;
            spi.interrupt.set_line(true);
            spi.interrupt.set_line(false);
            spi.interrupt != before
        });
        kicks
    }

    /// The line of a PPI of a REC goes up or down, as that of an SPI: a timer, the PMU.
    ///
    /// Takes the REC's lock. A REC that does not exist is ignored.
    pub fn set_ppi(&self, rec: usize, ppi: PpiIntid, is_up: bool) -> Kicks {
        self.set_ppis(rec, [(ppi, is_up)])
    }

    /// Sets the lines of several PPIs of a REC, as [`Gic::set_ppi`] does with one: those that every
    /// exit reports. Lines that are as before cost next to nothing.
    ///
    /// Takes the REC's lock once. A REC that does not exist is ignored.
    pub fn set_ppis<const PPIS: usize>(
        &self,
        rec: usize,
        lines: [(PpiIntid, bool); PPIS],
    ) -> Kicks {
        let mut kicks = Kicks::NONE;
        let Some(slot) = self.recs.get(rec) else { return kicks };
        let mut private = slot.private.lock();
        for (ppi, is_up) in lines {
            let intid = ppi.number();
            if private.get(intid).is_some_and(|ppi| ppi.line_is_up() != is_up) {
                self.change_locked(rec, &mut private, intid, &mut kicks, |ppi| {
                    Self::line(ppi, is_up)
                });
            }
        }
        kicks
    }

    /// The REC with the index `from` sends an SGI, by a write to one of the registers for that.
    ///
    /// The SGI becomes pending at each REC that the request names: by affinity, or at all but
    /// `from`. One that already is pending there stays so. Which groups reach their target depends
    /// on the [register](SgiRegister::sends_group_1).
    ///
    /// Takes the locks of the targets, one after the other.
    pub fn send_sgi(&self, from: usize, register: SgiRegister, request: SgiRequest) -> Kicks {
        let mut kicks = Kicks::NONE;
        for (rec, slot) in self.recs.iter().enumerate() {
            let is_named = if request.is_to_all_others() {
                rec != from
            } else {
                request.lists(slot.affinity().packed())
            };
            if is_named {
                self.change_private(rec, request.intid(), &mut kicks, |sgi| {
                    let reaches = register.sends_group_1() || !sgi.is_group1();
                    reaches && sgi.set_field(super::Field::Pending, true)
                });
            }
        }
        kicks
    }
}

impl<L: RawMutex> Gic<'_, L> {
    /// Moves a line; whether someone has to know. The list register of a level-sensitive interrupt
    /// causes an exit at its end, so that a line that goes up meanwhile is seen then.
    fn line(interrupt: &mut Interrupt, is_up: bool) -> bool {
        let is_seen_at_end = is_up && interrupt.is_level() && interrupt.is_resident();
        interrupt.set_line(is_up) && !is_seen_at_end
    }

    /// Changes a private interrupt. The closure returns whether someone has to know.
    pub(super) fn change_private(
        &self,
        rec: usize,
        intid: u32,
        kicks: &mut Kicks,
        change: impl FnOnce(&mut Interrupt) -> bool,
    ) {
        let Some(slot) = self.recs.get(rec) else { return };
        self.change_locked(rec, &mut slot.private.lock(), intid, kicks, change);
    }

    /// The same for a REC that is locked.
    pub(super) fn change_locked(
        &self,
        rec: usize,
        private: &mut Private,
        intid: u32,
        kicks: &mut Kicks,
        change: impl FnOnce(&mut Interrupt) -> bool,
    ) {
        let changed = private.change(intid, |interrupt| (change(interrupt), *interrupt));
        if let Some((true, interrupt)) = changed {
            if interrupt.is_resident() {
                self.kick_loaded(rec, kicks);
            } else if self.forwards(interrupt) {
                self.kick_for(rec, interrupt, kicks);
            }
        }
    }

    /// Changes an SPI. The closure returns whether someone has to know.
    pub(super) fn change_spi(
        &self,
        spis: &mut SpiTable,
        intid: u32,
        kicks: &mut Kicks,
        change: impl FnOnce(&mut SpiState) -> bool,
    ) {
        let changed = spis.change(&self.shared.live_spis, intid, |spi| (change(spi), *spi));
        if let Some((true, spi)) = changed {
            self.kick_for_spi(intid, &spi, kicks);
        }
    }

    /// Whether the distributor forwards an interrupt.
    pub(super) fn forwards(&self, interrupt: Interrupt) -> bool {
        interrupt.is_forwarded() && self.groups().has(interrupt.is_group1())
    }

    /// Adds the RECs that have to see that an SPI has changed.
    pub(super) fn kick_for_spi(&self, intid: u32, spi: &SpiState, kicks: &mut Kicks) {
        let interrupt = spi.interrupt;
        if interrupt.is_resident() {
            if let Some(owner) = spi.owner() {
                self.kick_loaded(owner, kicks);
            }
        } else if self.forwards(interrupt) {
            match (spi.route, spi.target()) {
                (Route::Specific(_), Some(target)) => self.kick_for(target, interrupt, kicks),
                (Route::Specific(_), None) => {}
                (Route::Any, _) => self.kick_any(intid, interrupt, kicks),
            }
        }
    }

    /// Adds one REC that takes an SPI for any. What a REC that runs takes may have changed since
    /// its last exit: if there is none, all that run are added.
    fn kick_any(&self, intid: u32, interrupt: Interrupt, kicks: &mut Kicks) {
        match self.taker(intid, interrupt) {
            Some(rec) => kicks.add(rec),
            None => self.kick_all_loaded(kicks),
        }
    }

    /// A REC that runs or waits and takes an SPI for any, starting at one that depends on the
    /// INTID.
    pub(super) fn taker(&self, intid: u32, interrupt: Interrupt) -> Option<usize> {
        let (priority, is_group1) = (interrupt.priority(), interrupt.is_group1());
        let takes = |slot: &RecSlot<L>| slot.takes(is_group1) && slot.signals(priority, is_group1);
        self.recs_from(intid).find(|(_, slot)| takes(slot)).map(|(rec, _)| rec)
    }
}
