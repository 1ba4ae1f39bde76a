//! The state of interrupts as the registers of distributor and redistributors show it.

use lock_api::RawMutex;

use super::interrupt::{Field, Interrupt};
use super::storage::{Phase, bits};
use super::{Gic, Groups};
use crate::affinity::Affinity;
use crate::intid::{SGIS, SpiIntid};
use crate::kicks::Kicks;

/// Whose interrupts a register is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bank {
    /// The SGIs and PPIs of a REC, by its index: INTIDs 0 to 31.
    Private(usize),
    /// The SPIs: INTIDs from 32 on.
    Shared,
}

/// Where an SPI goes: `GICD_IROUTER<n>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "GICD_IROUTER")]
pub enum Route {
    /// To the REC with that affinity; nowhere if none has it.
    Specific(Affinity),
    /// To any REC that is on, awake, and enables the group of the interrupt (1 of N).
    ///
    /// One REC that runs or waits is kicked for it, one that takes its priority if there is such a
    /// one. While it is in the list registers of a REC that runs, it is offered to no other, even
    /// if that REC masks its priority, or disables its group meanwhile; it is again when that REC
    /// exits and disables the group, is asleep, is [turned off](Gic::turn_off) or
    /// [leaves](Gic::leave), and to a REC that is loaded for another reason.
    Any,
}

impl Route {
    const IRM: u64 = 1 << 31;

    /// Decodes `GICD_IROUTER<n>`.
    #[must_use]
    pub const fn from_irouter(value: u64) -> Self {
        if value & Self::IRM != 0 { Self::Any } else { Self::Specific(Affinity::from_mpidr(value)) }
    }

    /// The value of `GICD_IROUTER<n>`.
    #[must_use]
    pub const fn irouter(self) -> u64 {
        match self {
            Self::Specific(affinity) => affinity.mpidr(),
            Self::Any => Self::IRM,
        }
    }
}

/// # State, as the register file shows it
///
/// Word `n` of a property is about INTIDs 32 × `n` to 32 × `n` + 31. What does not exist (a word,
/// an interrupt, a REC) reads as zero, and writes to it are ignored.
///
/// What a Realm has done with an interrupt in its list registers is known after its exit: until
/// then its pending and active states are those of the last exit, with what was written since.
///
/// Each function takes the lock of the bank.
impl<L: RawMutex> Gic<'_, L> {
    /// One property of 32 interrupts.
    #[must_use]
    pub fn bits(&self, bank: Bank, word: usize, field: Field) -> u32 {
        let mut value = 0;
        match bank {
            Bank::Private(rec) if word == 0 => {
                let Some(slot) = self.recs.get(rec) else { return 0 };
                let private = slot.private.lock();
                for (bit, interrupt) in private.interrupts.iter().enumerate() {
                    value |= u32::from(interrupt.field(field)) << bit;
                }
            }
            Bank::Private(_) => {}
            Bank::Shared => {
                let Some(first) = first_intid(word) else { return 0 };
                let spis = self.spis.lock();
                for bit in 0..u32::BITS {
                    let spi = spis.get(first + bit);
                    value |= u32::from(spi.is_some_and(|spi| spi.interrupt.field(field))) << bit;
                }
            }
        }
        value
    }

    /// Sets or clears one property of those of 32 interrupts that `mask` selects. SGIs are always
    /// edge-triggered.
    pub fn set_bits(
        &self,
        bank: Bank,
        word: usize,
        field: Field,
        mask: u32,
        is_set: bool,
    ) -> Kicks {
        let values = if is_set { mask } else { 0 };
        self.write_bits(bank, word, field, mask, values)
    }

    /// Writes one property of those of 32 interrupts that `mask` selects, to the bits of `values`.
    /// SGIs are always edge-triggered.
    pub fn write_bits(
        &self,
        bank: Bank,
        word: usize,
        field: Field,
        mask: u32,
        values: u32,
    ) -> Kicks {
        let mut kicks = Kicks::NONE;
        match bank {
            Bank::Private(rec) if word == 0 => {
                let mask = if field == Field::Level { mask & !((1 << SGIS) - 1) } else { mask };
                let Some(slot) = self.recs.get(rec) else { return kicks };
                let mut private = slot.private.lock();
                let mut ended = 0;
                for bit in bits(mask) {
                    let is_set = values >> bit & 1 != 0;
                    self.change_locked(rec, &mut private, bit, &mut kicks, |interrupt| {
                        ended |= u32::from(interrupt.is_ended_by(field, is_set)) << bit;
                        interrupt.set_field(field, is_set)
                    });
                }
                slot.ended.add(0, ended);
            }
            Bank::Private(_) => {}
            Bank::Shared => {
                let Some(first) = first_intid(word) else { return kicks };
                let mut spis = self.spis.lock();
                let mut ended = 0;
                for bit in bits(mask) {
                    let is_set = values >> bit & 1 != 0;
                    self.change_spi(&mut spis, first + bit, &mut kicks, |spi| {
                        ended |= u32::from(spi.interrupt.is_ended_by(field, is_set)) << bit;
                        spi.interrupt.set_field(field, is_set)
                    });
                }
                self.shared.ended.add(word, ended);
            }
        }
        kicks
    }

    /// The priority of an interrupt: `GICD_IPRIORITYR<n>`; smaller ones are more urgent.
    #[must_use]
    pub fn priority(&self, bank: Bank, intid: u32) -> u8 {
        let of = Interrupt::priority;
        match bank {
            Bank::Private(rec) => {
                let Some(slot) = self.recs.get(rec) else { return 0 };
                slot.private.lock().get(intid).copied().map_or(0, of)
            }
            Bank::Shared => self.spis.lock().get(intid).map_or(0, |spi| of(spi.interrupt)),
        }
    }

    /// Sets the priority of an interrupt; bits that are not implemented are ignored. An interrupt
    /// that is active keeps the old one until it is deactivated.
    pub fn set_priority(&self, bank: Bank, intid: u32, priority: u8) -> Kicks {
        let mut kicks = Kicks::NONE;
        let priority = self.implemented(priority);
        match bank {
            Bank::Private(rec) => self.change_private(rec, intid, &mut kicks, |interrupt| {
                interrupt.set_priority(priority)
            }),
            Bank::Shared => {
                let mut spis = self.spis.lock();
                self.change_spi(&mut spis, intid, &mut kicks, |spi| {
                    spi.interrupt.set_priority(priority)
                });
            }
        }
        kicks
    }

    /// The route of an SPI; `None` if the GIC does not have it.
    #[must_use]
    pub fn route(&self, spi: SpiIntid) -> Option<Route> {
        self.spis.lock().get(spi.number()).map(|spi| spi.route)
    }

    /// Sets the route of an SPI. If it is active, its route changes for the next time.
    pub fn set_route(&self, spi: SpiIntid, route: Route) -> Kicks {
        self.change_route(spi, |_| route)
    }

    /// Changes the route of an SPI, as another thread may change it as well.
    pub(crate) fn change_route(&self, spi: SpiIntid, change: impl FnOnce(Route) -> Route) -> Kicks {
        let mut kicks = Kicks::NONE;
        let mut spis = self.spis.lock();
        self.change_spi(&mut spis, spi.number(), &mut kicks, |spi| {
            let route = change(spi.route);
            let target = match route {
                Route::Specific(affinity) => self.index_of(affinity),
                Route::Any => None,
            };
            let changes = spi.route != route;
            spi.set_route(route, target);
            changes
        });
        kicks
    }

    /// Whether the distributor forwards group 0 and group 1: `GICD_CTLR.EnableGrp0`, `EnableGrp1`.
    #[must_use]
    pub fn group_enables(&self) -> (bool, bool) {
        let groups = self.groups();
        (groups.has(false), groups.has(true))
    }

    /// Sets whether the distributor forwards group 0 and group 1.
    ///
    /// Takes the lock of each REC that waits, one after the other, and then that of the SPIs.
    pub fn set_group_enables(&self, group0: bool, group1: bool) -> Kicks {
        let mut kicks = Kicks::NONE;
        let groups = Groups(u8::from(group0) | u8::from(group1) << 1);
        if self.swap_groups(groups) != groups {
            for (rec, slot) in self.recs.iter().enumerate() {
                match slot.phase() {
                    Phase::Loaded => kicks.add(rec),
                    Phase::Waiting if self.finds_private(rec) => kicks.add(rec),
                    _ => {}
                }
            }
            self.kick_for_pending_spis(true, &mut kicks);
        }
        kicks
    }

    /// Whether a REC's redistributor is asleep: `GICR_WAKER.ProcessorSleep`.
    #[must_use]
    pub fn is_asleep(&self, rec: usize) -> bool {
        self.recs.get(rec).is_some_and(|slot| !slot.is_awake())
    }

    /// Sets whether a REC's redistributor is asleep. While it is, it forwards no interrupt; they
    /// stay pending.
    ///
    /// Takes the REC's lock and that of the SPIs.
    pub fn set_asleep(&self, rec: usize, is_asleep: bool) -> Kicks {
        let mut kicks = Kicks::NONE;
        let Some(slot) = self.recs.get(rec) else { return kicks };
        if slot.set_asleep(is_asleep) != is_asleep {
            match slot.phase() {
                Phase::Loaded => kicks.add(rec),
                Phase::Waiting if self.finds_pending(rec) => kicks.add(rec),
                _ => {}
            }
            if is_asleep {
                self.kick_for_any_route(&mut kicks);
            }
        }
        kicks
    }
}

/// The INTID of bit 0 of a word; `None` if there is no such word.
fn first_intid(word: usize) -> Option<u32> {
    u32::try_from(word).ok()?.checked_mul(u32::BITS)
}
