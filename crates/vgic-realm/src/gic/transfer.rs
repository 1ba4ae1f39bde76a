//! Moving interrupts into list registers before an entry, and back after it.

use lock_api::RawMutex;

use super::ended::EndedInterrupts;
use super::interrupt::{Field, Folded, Interrupt};
use super::registers::{Bank, Route};
use super::select::{Candidate, Outside, Selection};
use super::spi_table::SpiTable;
use super::storage::{Private, RecSlot};
use super::{Gic, Groups};
use crate::interface::{VirtualInterface, Vtr};
use crate::intid::PRIVATE;
use crate::kicks::Kicks;
use crate::list_register::{Intid, ListRegister};
use crate::set::ListRegisters;
use crate::state::{InterfaceState, Saved};

/// `ICH_VMCR_EL2.VEOIM`: `ICC_EOIR<n>_EL1` does not deactivate.
const VMCR_EOIM: u64 = 1 << 9;
/// `ICH_HCR_EL2`: maintenance interrupts for an end without a list register, for no pending list
/// register, and for enabling and disabling groups; the trap of `ICC_DIR_EL1`.
const HCR_LRENPIE: u64 = 1 << 2;
const HCR_NPIE: u64 = 1 << 3;
const HCR_VGRP0_EIE: u64 = 1 << 4;
const HCR_VGRP0_DIE: u64 = 1 << 5;
const HCR_VGRP1_EIE: u64 = 1 << 6;
const HCR_VGRP1_DIE: u64 = 1 << 7;
const HCR_TDIR: u64 = 1 << 14;

/// What a run did to the interrupts of a REC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "other RECs may have to be kicked"]
pub struct SaveReport {
    /// Whether the REC ran on the registers that were loaded.
    pub saved: Saved,
    /// The RECs that have to be kicked, without the one that was saved: an SPI goes to another REC
    /// now.
    pub kicks: Kicks,
    /// The level-sensitive interrupts that the Realm ended in this run, and those that ended
    /// [before](Gic::take_ended) and were not taken. If its line is still up, an interrupt is
    /// pending again, and nothing has to be done; a host that lowers a line only when it is asked
    /// to (because it forwards a physical interrupt, or to `irqfd` users) asks its device now.
    pub ended: EndedInterrupts,
}

/// # Around an entry
impl<L: RawMutex> Gic<'_, L> {
    /// Moves the most urgent interrupts of a REC into list registers, and loads its virtual CPU
    /// interface into the CPU. To be called before each entry, on the CPU that enters, with
    /// interrupts masked; [`Gic::save`] follows, also if the entry was refused.
    ///
    /// As many list registers are used as the CPU has. What does not fit stays pending, and the
    /// Realm exits with a maintenance interrupt when the rest is needed: when it has taken all
    /// pending interrupts (NPIE), ends an interrupt without a list register (LRENPIE), ends one
    /// that is level-sensitive or pending again (EOI in the list register), or enables or disables
    /// a group. The underflow interrupt (UIE) is not needed. Writes of `ICC_DIR_EL1` trap where the
    /// CPU has that trap ([`Vtr::traps_dir`]), as an interrupt without a list register, or in one
    /// of another REC, may be deactivated by them: [`Gic::deactivate`].
    ///
    /// Takes the REC's lock and, if an SPI is not idle, that of the SPIs. For a REC that does not
    /// exist, an interface without interrupts is loaded.
    pub fn load(&self, rec: usize, interface: &mut impl VirtualInterface) {
        let vtr = interface.vtr();
        let Some(slot) = self.recs.get(rec) else {
            InterfaceState::new(vtr).load(interface);
            return;
        };
        slot.set_loaded();
        let mut private = slot.private.lock();
        let private = &mut *private;
        let mut spis = self.lock_if_live();
        // An entry whose registers were not saved did not happen.
        if private.loaded != 0 {
            let left = *private.interface.list_registers();
            let mut ended = EndedInterrupts::NONE;
            for register in left.iter().take(private.loaded) {
                self.fold(private, spis.as_deref_mut(), register, register, &mut ended);
            }
            // By writes since.
            self.keep_ended(slot, &ended);
        }
        *private.interface.list_registers_mut() = ListRegisters::new(vtr.list_registers());
        private.loaded = 0;
        let is_idle = private.live == 0 && spis.is_none();
        let outside = if is_idle {
            Outside::NONE
        } else {
            self.take_most_urgent(rec, slot, private, spis.as_deref_mut(), vtr.list_registers())
        };
        drop(spis);
        let controls = controls(vtr, outside, slot.enables(false), slot.enables(true));
        private.interface.set_controls(controls);
        private.interface.load(interface);
    }

    /// Takes the interrupts of a REC back from its list registers, and saves its virtual CPU
    /// interface, which is off afterwards. To be called after each entry, on the same CPU, with
    /// interrupts still masked.
    ///
    /// An interrupt that the REC did not take is pending as before, for it or, if it is an SPI
    /// whose route has changed, for another. Of interrupts that the REC ended without a list
    /// register, the CPU has only the number (`ICH_HCR_EL2.EOIcount`): as a program ends the most
    /// urgent of its interrupts first, the most urgent ones that are active without a list register
    /// are deactivated.
    ///
    /// Takes the REC's lock and, if an SPI is not idle, that of the SPIs. For a REC that does not
    /// exist, the interface is turned off.
    pub fn save(&self, rec: usize, interface: &mut impl VirtualInterface) -> SaveReport {
        let ended = EndedInterrupts::NONE;
        let mut report = SaveReport { saved: Saved::Unused, kicks: Kicks::NONE, ended };
        let Some(slot) = self.recs.get(rec) else {
            interface.set_hcr(0);
            return report;
        };
        slot.set_idle();
        let mut private = slot.private.lock();
        let private = &mut *private;
        let count = core::mem::take(&mut private.loaded);
        report.saved = private.interface.save_others(interface);
        let [b0, b1, b2, b3, ..] = private.interface.vmcr().to_le_bytes();
        let vmcr = u32::from_le_bytes([b0, b1, b2, b3]);
        let takes_less = slot.set_vmcr(vmcr, private.interface.running_priority());
        let mut spis = self.lock_if_live();
        for _ in 0..private.interface.take_eoi_count() {
            self.end_outside(rec, private, spis.as_deref_mut(), &mut report);
        }
        for n in 0..count {
            let loaded = private.interface.list_registers().at(n);
            let left = loaded.left_as(interface.list_register(n));
            let spi = self.fold(private, spis.as_deref_mut(), loaded, left, &mut report.ended);
            if let (Some(intid), Some(spis)) = (spi, spis.as_deref()) {
                self.kick_after_fold(rec, intid, spis, &mut report.kicks);
            }
        }
        drop(spis);
        if takes_less {
            self.kick_for_any_route(&mut report.kicks);
        }
        self.add_kept(slot, &mut report.ended);
        report
    }

    /// Whether a REC has an interrupt that it neither masks nor disables, and that is more urgent
    /// than its running priority, which is that of the most urgent interrupt that it has taken and
    /// not ended: whether WFI ends. If not, its thread may wait, and later changes
    /// [name it](Kicks) as a REC to kick, until it is loaded or [leaves](Gic::leave).
    ///
    /// In the run page of RMI 1.0 active priorities are not known: there, less urgent interrupts
    /// than the running priority count too, and a REC that executes WFI in an interrupt handler
    /// with only such ones pending is entered again and again.
    ///
    /// A thread that calls this before it waits misses no interrupt: either the result is true, or
    /// the kick comes after this call. Takes the REC's lock and that of the SPIs.
    #[must_use]
    pub fn has_pending(&self, rec: usize) -> bool {
        let Some(slot) = self.recs.get(rec) else { return false };
        slot.start_waiting();
        let is_pending = self.finds_pending(rec);
        if is_pending {
            slot.stop_waiting();
        }
        is_pending
    }

    /// The thread of a REC does not run it for a while: its run loop ended for another reason than
    /// a wait, or it waited, was woken, and does not go on. The REC is no longer chosen for SPIs
    /// [for any](Route::Any) REC, and those that are pending go to others. Its own interrupts stay
    /// pending until it is loaded, and it is not kicked for them.
    ///
    /// To be called after [`Gic::save`]; a REC that is loaded stays so. Without this call an SPI
    /// that was offered to this REC waits for its next entry. Takes the lock of the SPIs. A REC
    /// that does not exist is ignored.
    pub fn leave(&self, rec: usize) -> Kicks {
        let mut kicks = Kicks::NONE;
        if let Some(slot) = self.recs.get(rec) {
            slot.stop_waiting();
            self.kick_for_any_route(&mut kicks);
        }
        kicks
    }

    /// A REC writes the INTID to `ICC_DIR_EL1`, and the write trapped: deactivates that interrupt
    /// of the REC, or that SPI, whichever REC took it. Ignored while the REC does not separate
    /// priority drop and deactivation (EOImode), as the CPU does.
    ///
    /// If that ends a level-sensitive interrupt, [`Gic::take_ended`] has it. Takes the REC's lock,
    /// and that of the SPIs for an SPI.
    #[doc(alias = "ICC_DIR_EL1")]
    pub fn deactivate(&self, rec: usize, intid: u32) -> Kicks {
        let Some(slot) = self.recs.get(rec) else { return Kicks::NONE };
        if slot.private.lock().interface.vmcr() & VMCR_EOIM == 0 {
            return Kicks::NONE;
        }
        let (bank, bit) = if intid < PRIVATE {
            (Bank::Private(rec), 1 << intid)
        } else {
            (Bank::Shared, 1 << (intid % u32::BITS))
        };
        self.set_bits(bank, (intid / u32::BITS) as usize, Field::Active, bit, false)
    }

    /// A REC was turned off (`CPU_OFF`): its virtual CPU interface is reset, and it gets no
    /// interrupts for any REC until it is loaded again. The state of its private interrupts is
    /// kept.
    ///
    /// To be called when it exits, not when another REC turns it on: the target of `CPU_ON` may be
    /// on already. With a set of RECs, call it when the exit for `CPU_OFF` is handled, after
    /// [`Gic::save`] and before the set takes the REC as off: from then on another thread may run
    /// it. Takes the REC's lock, and that of the SPIs.
    pub fn turn_off(&self, rec: usize) -> Kicks {
        let mut kicks = Kicks::NONE;
        let Some(slot) = self.recs.get(rec) else { return kicks };
        slot.private.lock().interface.reset();
        slot.set_vmcr(0, None);
        self.kick_for_any_route(&mut kicks);
        kicks
    }
}

/// The bits of `ICH_HCR_EL2` that make the Realm exit when what is outside is needed.
const fn controls(vtr: Vtr, outside: Outside, enables0: bool, enables1: bool) -> u64 {
    let mut controls = if vtr.traps_dir() { HCR_TDIR } else { 0 };
    if outside.active {
        controls |= HCR_LRENPIE;
    }
    if outside.enabled {
        controls |= HCR_NPIE;
        controls |= if enables0 { HCR_VGRP0_DIE } else { 0 };
        controls |= if enables1 { HCR_VGRP1_DIE } else { 0 };
    }
    if outside.disabled {
        controls |= if enables0 { 0 } else { HCR_VGRP0_EIE };
        controls |= if enables1 { 0 } else { HCR_VGRP1_EIE };
    }
    controls
}

type SpisGuard<'g, L> = lock_api::MutexGuard<'g, L, SpiTable>;

impl<L: RawMutex> Gic<'_, L> {
    pub(super) fn lock_if_live(&self) -> Option<SpisGuard<'_, L>> {
        self.shared.any_live_spi().then(|| self.spis.lock())
    }

    /// Moves the most urgent interrupts of a REC into `count` list registers; returns what is left.
    fn take_most_urgent(
        &self,
        rec: usize,
        slot: &RecSlot<L>,
        private: &mut Private,
        mut spis: Option<&mut SpiTable>,
        count: usize,
    ) -> Outside {
        let forwarded = if slot.is_awake() { self.groups() } else { Groups(0) };
        let mut selection = Selection::new();
        private.live().for_each(|(intid, interrupt)| {
            let is_group1 = interrupt.is_group1();
            if interrupt.is_active() {
                selection.active.add(Candidate::new(intid, interrupt.active_priority(), true));
            } else if interrupt.is_forwarded() && forwarded.has(is_group1) {
                let is_enabled = slot.enables(is_group1);
                selection.pending.add(Candidate::new(intid, interrupt.priority(), is_enabled));
            }
        });
        let mut awaits_enable = false;
        if let Some(spis) = &spis {
            spis.live().for_each(|(intid, spi)| {
                let (interrupt, is_group1) = (spi.interrupt, spi.interrupt.is_group1());
                if interrupt.is_active() {
                    if spi.owner() == Some(rec) {
                        let candidate = Candidate::new(intid, interrupt.active_priority(), true);
                        selection.active.add(candidate);
                    }
                } else if interrupt.is_forwarded() && forwarded.has(is_group1) {
                    let is_enabled = slot.enables(is_group1);
                    if spi.leads_to(rec, || slot.accepts(is_group1)) {
                        let candidate = Candidate::new(intid, interrupt.priority(), is_enabled);
                        selection.pending.add(candidate);
                    } else if spi.route == Route::Any && !is_enabled {
                        awaits_enable = true;
                    }
                }
            });
        }
        let (pending, active, mut outside) = selection.choose(count);
        outside.disabled |= awaits_enable;
        for candidate in selection.pending.first(pending) {
            let (number, intid) = (candidate.intid(), Intid::from_valid(candidate.intid()));
            let register = match &mut spis {
                _ if number < PRIVATE => {
                    private.live_mut(number).map(|interrupt| interrupt.take_pending(intid))
                }
                Some(spis) => spis.live_mut(number).map(|spi| {
                    spi.set_owner(Some(rec));
                    spi.interrupt.take_pending(intid)
                }),
                None => None,
            };
            private.load(register.unwrap_or(ListRegister::FREE));
        }
        // One that is active and pending again is pending in its list register after its end, and
        // keeps NPIE from being asserted for more urgent ones outside: its end has to be an exit.
        let may_be_pending = |is_group1| forwarded.has(is_group1) && !outside.enabled;
        for candidate in selection.active.first(active) {
            let (number, intid) = (candidate.intid(), Intid::from_valid(candidate.intid()));
            let register = match &mut spis {
                _ if number < PRIVATE => private.live_mut(number).map(|interrupt| {
                    interrupt.take_active(intid, may_be_pending(interrupt.is_group1()))
                }),
                Some(spis) => spis.live_mut(number).map(|spi| {
                    let is_group1 = spi.interrupt.is_group1();
                    let may_be_pending =
                        may_be_pending(is_group1) && spi.leads_to(rec, || slot.accepts(is_group1));
                    spi.interrupt.take_active(intid, may_be_pending)
                }),
                None => None,
            };
            private.load(register.unwrap_or(ListRegister::FREE));
        }
        outside
    }

    /// Takes an interrupt back; returns its INTID if it is an SPI.
    fn fold(
        &self,
        private: &mut Private,
        spis: Option<&mut SpiTable>,
        loaded: ListRegister,
        left: ListRegister,
        ended: &mut EndedInterrupts,
    ) -> Option<u32> {
        let intid = loaded.valid_number()?;
        let is_spi = intid >= PRIVATE;
        let folded = if is_spi {
            spis?.change(&self.shared.live_spis, intid, |spi| {
                (spi.interrupt.fold(left), spi.interrupt.is_level())
            })
        } else {
            private.change(intid, |interrupt| (interrupt.fold(left), interrupt.is_level()))
        };
        if folded == Some((Folded::Ended, true)) {
            ended.add(intid);
        }
        is_spi.then_some(intid)
    }

    /// The REC ended an interrupt that has no list register.
    fn end_outside(
        &self,
        rec: usize,
        private: &mut Private,
        spis: Option<&mut SpiTable>,
        report: &mut SaveReport,
    ) {
        let outside = private.live().filter(|(_, interrupt)| interrupt.is_active_outside());
        let of_private = outside.map(|(n, i)| Candidate::new(n, i.active_priority(), true)).min();
        let outside = spis
            .iter()
            .flat_map(|spis| spis.live())
            .filter(|(_, spi)| spi.owner() == Some(rec) && spi.interrupt.is_active_outside());
        let of_spis =
            outside.map(|(n, spi)| Candidate::new(n, spi.interrupt.active_priority(), true)).min();
        let Some(intid) = of_private.into_iter().chain(of_spis).min().map(Candidate::intid) else {
            return;
        };
        let is_level = if intid < PRIVATE {
            private.change(intid, |interrupt| {
                interrupt.set_field(Field::Active, false);
                interrupt.is_level()
            })
        } else {
            spis.and_then(|spis| {
                let is_level = spis.change(&self.shared.live_spis, intid, |spi| {
                    spi.interrupt.set_field(Field::Active, false);
                    spi.interrupt.is_level()
                });
                self.kick_after_fold(rec, intid, spis, &mut report.kicks);
                is_level
            })
        };
        if is_level == Some(true) {
            report.ended.add(intid);
        }
    }

    /// Adds the REC to which an SPI goes that `rec` had; if that is `rec`, it sees it at its next
    /// entry. One for any REC that `rec` masks now also goes to another that takes it, if there is
    /// one: not to all that run, which would kick each other for ever.
    fn kick_after_fold(&self, rec: usize, intid: u32, spis: &SpiTable, kicks: &mut Kicks) {
        let (Some(slot), Some(spi)) = (self.recs.get(rec), spis.get(intid)) else { return };
        let interrupt = spi.interrupt;
        if !spi.leads_to(rec, || slot.accepts(interrupt.is_group1())) {
            self.kick_for_spi(intid, spi, kicks);
        } else if spi.route == Route::Any
            && interrupt.priority() >= slot.mask()
            && self.forwards(interrupt)
            && let Some(taker) = self.taker(intid, interrupt)
        {
            kicks.add(taker);
        }
    }

    /// Whether an interrupt of a REC would be signalled to it.
    pub(super) fn finds_pending(&self, rec: usize) -> bool {
        let Some(slot) = self.recs.get(rec).filter(|slot| slot.is_awake()) else { return false };
        let private = slot.private.lock();
        let signals = |interrupt: Interrupt| {
            self.forwards(interrupt) && slot.signals(interrupt.priority(), interrupt.is_group1())
        };
        private.live().any(|(_, interrupt)| signals(*interrupt))
            || self.lock_if_live().is_some_and(|spis| {
                spis.live().any(|(_, spi)| {
                    let is_group1 = spi.interrupt.is_group1();
                    signals(spi.interrupt) && spi.leads_to(rec, || slot.accepts(is_group1))
                })
            })
    }
}
