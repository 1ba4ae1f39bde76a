//! Which RECs are kicked for pending SPIs.

use lock_api::RawMutex;

use super::Gic;
use super::registers::Route;
use super::storage::{Phase, RecSlot};
use crate::kicks::Kicks;

/// The pending SPIs of a group that may go to any REC.
#[derive(Clone, Copy, Debug)]
struct Pending {
    count: usize,
    /// The INTID of one of them.
    intid: u32,
    /// The smallest and the greatest priority.
    most_urgent: u8,
    least_urgent: u8,
}

impl Pending {
    const NONE: Self = Self { count: 0, intid: 0, most_urgent: u8::MAX, least_urgent: 0 };

    fn add(&mut self, intid: u32, priority: u8) {
        if self.count == 0 {
            self.intid = intid;
        }
        self.count += 1;
        self.most_urgent = self.most_urgent.min(priority);
        self.least_urgent = self.least_urgent.max(priority);
    }
}

impl<L: RawMutex> Gic<'_, L> {
    /// Adds RECs for the pending SPIs that may go to any, after one of them stopped accepting them.
    ///
    /// Walks the pending SPIs once, with their lock, and then the RECs twice for each group.
    pub(super) fn kick_for_any_route(&self, kicks: &mut Kicks) {
        self.kick_for_pending_spis(false, kicks);
    }

    /// The same; also for those that go to a specific REC, if `with_specific`.
    pub(super) fn kick_for_pending_spis(&self, with_specific: bool, kicks: &mut Kicks) {
        let Some(spis) = self.lock_if_live() else { return };
        let (mut group0, mut group1) = (Pending::NONE, Pending::NONE);
        for (intid, spi) in spis.live().filter(|(_, spi)| self.forwards(spi.interrupt)) {
            let interrupt = spi.interrupt;
            if spi.route == Route::Any {
                let group = if interrupt.is_group1() { &mut group1 } else { &mut group0 };
                group.add(intid, interrupt.priority());
            } else if with_specific && let Some(target) = spi.target() {
                self.kick_for(target, interrupt, kicks);
            }
        }
        drop(spis);
        self.kick_takers(group0, false, kicks);
        self.kick_takers(group1, true, kicks);
    }

    /// Adds at most as many RECs as SPIs are pending, of those that run or wait and take the most
    /// urgent one. The one that masks the least is among them: it takes whatever another takes. If
    /// it does not take all, or if there is none, all that run are added, as what they take may
    /// have changed since their last exits.
    fn kick_takers(&self, pending: Pending, is_group1: bool, kicks: &mut Kicks) {
        let Some(others) = pending.count.checked_sub(1) else { return };
        let takers = self
            .recs_from(pending.intid)
            .filter(|(_, slot)| slot.takes(is_group1))
            .map(|(rec, slot)| (rec, slot.mask()))
            .filter(|(_, mask)| pending.most_urgent < *mask);
        // Of equal ones, the first.
        let least = takers.clone().reduce(|one, next| if next.1 > one.1 { next } else { one });
        if least.is_none_or(|(_, mask)| pending.least_urgent >= mask) {
            self.kick_all_loaded(kicks);
        }
        let Some((least, _)) = least else { return };
        kicks.add(least);
        takers.filter(|(rec, _)| *rec != least).take(others).for_each(|(rec, _)| kicks.add(rec));
    }

    /// All RECs, starting at one that depends on an INTID, so that different SPIs go to different
    /// ones.
    pub(super) fn recs_from(
        &self,
        intid: u32,
    ) -> impl Iterator<Item = (usize, &RecSlot<L>)> + Clone {
        let recs = self.recs.iter().enumerate();
        let first = (intid as usize).checked_rem(self.recs.len()).unwrap_or(0);
        recs.clone().skip(first).chain(recs.take(first))
    }

    pub(super) fn kick_all_loaded(&self, kicks: &mut Kicks) {
        for (rec, slot) in self.recs.iter().enumerate() {
            if slot.phase() == Phase::Loaded {
                kicks.add(rec);
            }
        }
    }

    /// Whether a private interrupt of a REC would be signalled to it.
    pub(super) fn finds_private(&self, rec: usize) -> bool {
        let Some(slot) = self.recs.get(rec).filter(|slot| slot.is_awake()) else { return false };
        let private = slot.private.lock();
        private.live().any(|(_, interrupt)| {
            self.forwards(*interrupt) && slot.signals(interrupt.priority(), interrupt.is_group1())
        })
    }
}
