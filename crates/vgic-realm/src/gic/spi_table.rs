//! The SPIs.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::SeqCst;

use super::interrupt::Interrupt;
use super::registers::Route;
use super::storage::bits;
use crate::affinity::Affinity;
use crate::intid::{MAX_SPIS, PRIVATE};

/// One SPI.
#[derive(Clone, Copy)]
pub(super) struct SpiState {
    pub(super) interrupt: Interrupt,
    pub(super) route: Route,
    /// The REC of the route; `None` for an affinity that no REC has.
    target: Option<u16>,
    /// The REC in whose list registers it is, or that took it and has not deactivated it yet.
    owner: Option<u16>,
}

impl SpiState {
    pub(super) const fn new(target: Option<u16>) -> Self {
        let route = Route::Specific(Affinity::from_packed(0));
        Self { interrupt: Interrupt::new(true), route, target, owner: None }
    }

    pub(super) fn owner(&self) -> Option<usize> {
        self.owner.map(usize::from)
    }

    pub(super) fn set_owner(&mut self, rec: Option<usize>) {
        self.owner = rec.and_then(|rec| u16::try_from(rec).ok());
    }

    /// The only REC that may take it; `None` if any may, or if none has the affinity.
    pub(super) fn target(&self) -> Option<usize> {
        self.target.map(usize::from)
    }

    /// Whether its route leads to a REC, which accepts those for any.
    pub(super) fn leads_to(&self, rec: usize, accepts: impl FnOnce() -> bool) -> bool {
        match self.route {
            Route::Specific(_) => self.target() == Some(rec),
            Route::Any => accepts(),
        }
    }

    pub(super) fn set_route(&mut self, route: Route, target: Option<usize>) {
        self.route = route;
        self.target = target.and_then(|rec| u16::try_from(rec).ok());
    }
}

/// Words with one bit for each SPI.
pub(super) const LIVE_WORDS: usize = MAX_SPIS.div_ceil(u32::BITS as usize);

/// The SPIs, and which of them are not idle.
pub(super) struct SpiTable<T: ?Sized = [SpiState]> {
    count: usize,
    live: [u32; LIVE_WORDS],
    /// The words of `live` that are not zero.
    live_words: u32,
    spis: T,
}

impl<T> SpiTable<T> {
    pub(super) const fn new(spis: T) -> Self {
        Self { count: 0, live: [0; LIVE_WORDS], live_words: 0, spis }
    }
}

impl SpiTable {
    /// How many the storage is for.
    pub(super) fn capacity(&self) -> usize {
        self.spis.len()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn reset(&mut self, count: usize, target: Option<usize>) {
        let target = target.and_then(|rec| u16::try_from(rec).ok());
        self.count = count;
        self.live = [0; LIVE_WORDS];
        self.live_words = 0;
        self.spis.fill(SpiState::new(target));
    }

    pub(super) fn get(&self, intid: u32) -> Option<&SpiState> {
        let index = intid.checked_sub(PRIVATE)? as usize;
        self.spis.get(..self.count)?.get(index)
    }

    /// An SPI that is not idle, and stays so. Others are changed with [`SpiTable::change`].
    pub(super) fn live_mut(&mut self, intid: u32) -> Option<&mut SpiState> {
        let index = intid.checked_sub(PRIVATE)? as usize;
        self.spis.get_mut(..self.count)?.get_mut(index)
    }

    /// Changes an SPI; `None` if it does not exist. `live_spis` is the number of SPIs that are not
    /// idle.
    pub(super) fn change<R>(
        &mut self,
        live_spis: &AtomicUsize,
        intid: u32,
        change: impl FnOnce(&mut SpiState) -> R,
    ) -> Option<R> {
        let index = intid.checked_sub(PRIVATE)? as usize;
        let spi = self.spis.get_mut(..self.count)?.get_mut(index)?;
        let result = change(spi);
        match (spi.interrupt.is_active() || spi.interrupt.is_resident(), spi.owner) {
            (false, _) => spi.owner = None,
            // Made active by a write: the REC of its route has it.
            (true, None) => spi.owner = spi.target,
            (true, Some(_)) => {}
        }
        let is_live = spi.interrupt.is_live();
        let at = index / u32::BITS as usize;
        let word = self.live.get_mut(at)?;
        let bit = 1 << (index % u32::BITS as usize);
        if is_live != (*word & bit != 0) {
            *word ^= bit;
            let words = self.live_words & !(1 << at);
            self.live_words = if *word == 0 { words } else { words | 1 << at };
            if is_live {
                live_spis.fetch_add(1, SeqCst);
            } else {
                live_spis.fetch_sub(1, SeqCst);
            }
        }
        Some(result)
    }

    /// The SPIs that are not idle, with their INTIDs.
    pub(super) fn live(&self) -> impl Iterator<Item = (u32, &SpiState)> {
        bits(self.live_words)
            .filter_map(|word| Some((word, *self.live.get(word as usize)?)))
            .flat_map(|(word, live)| bits(live).map(move |bit| PRIVATE + word * u32::BITS + bit))
            .filter_map(|intid| Some((intid, self.get(intid)?)))
    }
}
