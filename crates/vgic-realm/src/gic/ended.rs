//! The level-sensitive interrupts that ended, of which the host is told.

use core::fmt;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;

use lock_api::RawMutex;

use super::Gic;
use super::storage::{RecSlot, bits};
use crate::interface::Vtr;
use crate::list_register::Intid;

/// The maximum number of interrupts that end in one run without an exit: one for each list
/// register, and as many as `ICH_HCR_EL2.EOIcount` counts. A write to `GICD_ICACTIVER<n>` ends
/// fewer.
const MAX_ENDED: usize = Vtr::MAX_LIST_REGISTERS + 31;

/// Level-sensitive interrupts that a Realm ended: those of a REC, and SPIs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EndedInterrupts {
    intids: [u16; MAX_ENDED],
    count: usize,
}

impl EndedInterrupts {
    pub(super) const NONE: Self = Self { intids: [0; MAX_ENDED], count: 0 };

    /// Adds one; whether there is room for it.
    pub(super) fn add(&mut self, intid: u32) -> bool {
        match (self.intids.get_mut(self.count), u16::try_from(intid)) {
            (Some(place), Ok(intid)) => {
                *place = intid;
                self.count += 1;
                true
            }
            _ => false,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their INTIDs, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Intid> + '_ {
        let intids = self.intids.iter().take(self.count);
        intids.map(|intid| Intid::from_valid(u32::from(*intid)))
    }
}

impl fmt::Debug for EndedInterrupts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Intid::number)).finish()
    }
}

/// Interrupts that ended outside of a run, until a host takes them: one bit for each INTID.
pub(super) struct EndedSet<const WORDS: usize> {
    words: [AtomicU32; WORDS],
    /// Which of the words are not zero. A bit is set after its word.
    used: AtomicU32,
}

impl<const WORDS: usize> EndedSet<WORDS> {
    pub(super) const fn new() -> Self {
        Self { words: [const { AtomicU32::new(0) }; WORDS], used: AtomicU32::new(0) }
    }

    pub(super) fn clear(&self) {
        self.used.store(0, SeqCst);
        self.words.iter().for_each(|word| word.store(0, SeqCst));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used.load(SeqCst) == 0
    }

    /// Adds the INTIDs 32 × `word` + the numbers of the bits.
    pub(super) fn add(&self, word: usize, intids: u32) {
        if intids != 0
            && let Some(of_word) = self.words.get(word)
        {
            of_word.fetch_or(intids, SeqCst);
            self.used.fetch_or(1 << word, SeqCst);
        }
    }

    /// Moves what there is room for.
    fn take(&self, ended: &mut EndedInterrupts) {
        for n in bits(self.used.swap(0, SeqCst)) {
            let Some(word) = self.words.get(n as usize) else { continue };
            let intids = word.swap(0, SeqCst);
            let left = bits(intids)
                .filter(|bit| !ended.add(n * u32::BITS + bit))
                .fold(0, |left, bit| left | 1 << bit);
            self.add(n as usize, left);
        }
    }
}

/// # Interrupts that ended
impl<L: RawMutex> Gic<'_, L> {
    /// Takes the level-sensitive interrupts that ended by other means than a run: they were
    /// deactivated, by a write of `ICC_DIR_EL1` that trapped ([`Gic::deactivate`]), or of
    /// `GICD_ICACTIVER<n>` or `GICR_ICACTIVER0`. These are the private interrupts of a REC, and the
    /// SPIs, whichever REC deactivated them.
    ///
    /// To be called after such a write is handled, before the REC is entered again: a device whose
    /// line the host lowers only now would interrupt the Realm once more otherwise. An interrupt
    /// that is in the list registers of a REC that runs ends when that REC is saved. What nobody
    /// takes is in the next [report](super::SaveReport::ended) of the REC, or, of an SPI, of any.
    ///
    /// `None` if there is none. Takes no lock. Each end is reported once; two of an interrupt
    /// without a call between them are one.
    #[must_use = "they are not reported again"]
    #[doc(alias = "GICD_ICACTIVER")]
    pub fn take_ended(&self, rec: usize) -> Option<EndedInterrupts> {
        let slot = self.recs.get(rec)?;
        if slot.ended.is_empty() && self.shared.ended.is_empty() {
            return None;
        }
        let mut ended = EndedInterrupts::NONE;
        self.add_kept(slot, &mut ended);
        (!ended.is_empty()).then_some(ended)
    }

    /// Adds those that ended outside of a run.
    pub(super) fn add_kept(&self, slot: &RecSlot<L>, ended: &mut EndedInterrupts) {
        if !slot.ended.is_empty() {
            slot.ended.take(ended);
        }
        if !self.shared.ended.is_empty() {
            self.shared.ended.take(ended);
        }
    }

    /// Keeps some until they are taken.
    pub(super) fn keep_ended(&self, slot: &RecSlot<L>, ended: &EndedInterrupts) {
        for intid in ended.iter().map(Intid::number) {
            let (word, bit) = ((intid / u32::BITS) as usize, 1 << (intid % u32::BITS));
            if word == 0 {
                slot.ended.add(word, bit);
            } else {
                self.shared.ended.add(word, bit);
            }
        }
    }
}
