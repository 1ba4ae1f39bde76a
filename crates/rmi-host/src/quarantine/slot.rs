//! One slot of a quarantine of a fixed size: a range and its reason, changed without a lock.
//!
//! A slot is three words. The word of the top contains the state:
//!
//! ```text
//! EMPTY ──fill──► FILLING ──► FULL ──reserve──► RESERVED ──► FULL or EMPTY
//!                              └─┘ join: top or base moves, by one exchange
//! ```
//!
//! Both ends contain the machine, so an end that is exchanged for a farther one is known to be that
//! of adjacent memory of the same machine, whatever happened to the slot since it was read. The
//! base is invalid unless the slot is full, or about to be; what was joined to the base before it
//! is made invalid goes with the range.

use core::sync::atomic::{AtomicU64, Ordering};

use rmi_abi::{Command, Pa, PaRange, Status};

use super::Quarantined;
use crate::granules::{Delegated, Machine};
use crate::ledger::QuarantineReason;

const EMPTY: u64 = 0;
const FILLING: u64 = 1;
const FULL: u64 = 2;
const RESERVED: u64 = 3;
const STATE: u64 = 0b11;
/// The machine: its low bits below the address, the others above it.
const LOW_SHIFT: u32 = 2;
const LOW_BITS: u32 = 10;
/// One more bit than an address has: the top of a range may be 2^52.
const HIGH_SHIFT: u32 = 53;
const LIMIT: u64 = 1 << 52;
const ADDRESS: u64 = (1 << HIGH_SHIFT) - 0x1000;
/// A reason.
const REASON: u64 = 0xffff;
const _: () = assert!(LOW_SHIFT + LOW_BITS == 12 && LOW_BITS + (64 - HIGH_SHIFT) >= Machine::BITS);

/// One end of a range, with its machine.
fn end(address: u64, machine: Machine, state: u64) -> u64 {
    let code = u64::from(machine.code());
    let low = code & ((1 << LOW_BITS) - 1);
    address & ADDRESS | low << LOW_SHIFT | code >> LOW_BITS << HIGH_SHIFT | state
}

fn address(end: u64) -> Pa {
    Pa::new(end & ADDRESS)
}

fn machine(end: u64) -> Machine {
    let low = end >> LOW_SHIFT & ((1 << LOW_BITS) - 1);
    Machine::from_code(u32::try_from(end >> HIGH_SHIFT << LOW_BITS | low).unwrap_or(0))
}

/// See [the module](self).
#[derive(Debug)]
pub(super) struct Slot {
    /// Top, machine, and state of the slot.
    top: AtomicU64,
    /// Base and machine, and [`FULL`] if they are valid.
    base: AtomicU64,
    /// The reason in the bits of [`REASON`], and above them how often the slot was filled: so a
    /// reader notices that it was filled again meanwhile, even with the same top.
    reason: AtomicU64,
}

/// What happened to memory that was to join a slot.
pub(super) enum Joined {
    /// It was joined.
    Yes,
    /// It is not adjacent to the range there, or the reasons differ.
    No(Delegated),
    /// The slot is being filled: the memory may be adjacent to what it will contain.
    NotNow(Delegated),
}

impl Slot {
    pub(super) const fn new() -> Self {
        Self { top: AtomicU64::new(EMPTY), base: AtomicU64::new(EMPTY), reason: AtomicU64::new(0) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.top.load(Ordering::SeqCst) & STATE == FULL
    }

    /// The range and the reason, without a claim on the slot.
    pub(super) fn read(&self) -> Option<(PaRange, QuarantineReason)> {
        self.read_while(core::hint::spin_loop)
    }

    /// As [`Slot::read`]; calls `pause` before and after it reads the base.
    fn read_while(&self, mut pause: impl FnMut()) -> Option<(PaRange, QuarantineReason)> {
        loop {
            let reason = self.reason.load(Ordering::SeqCst);
            let top = self.top.load(Ordering::SeqCst);
            if top & STATE != FULL {
                return None;
            }
            pause();
            let base = self.base.load(Ordering::SeqCst);
            pause();
            // A thread that changed it meanwhile made progress, so this does not repeat for ever
            // without any. A top that is there again without a new filling was there all the time,
            // and so was the base.
            let same = self.top.load(Ordering::SeqCst) == top;
            if same && self.reason.load(Ordering::SeqCst) == reason {
                let range = PaRange::new(address(base), address(top)).ok()?;
                return Some((range, decode(reason)));
            }
        }
    }

    /// Adds memory to the range that is here, if it is adjacent.
    pub(super) fn join(&self, memory: Delegated, reason: QuarantineReason) -> Joined {
        let (range, of) = (memory.range(), memory.machine());
        if range.top().raw() > LIMIT || range.is_empty() {
            return Joined::No(memory);
        }
        let ends = |from: Pa, to: Pa, state| (end(from.raw(), of, state), end(to.raw(), of, state));
        loop {
            let top = self.top.load(Ordering::SeqCst);
            match top & STATE {
                FULL => {}
                FILLING => return Joined::NotNow(memory),
                _ => return Joined::No(memory),
            }
            if self.reason.load(Ordering::SeqCst) & REASON != encode(reason) {
                return Joined::No(memory);
            }
            let base = self.base.load(Ordering::SeqCst);
            let (word, (from, to)) = if top == end(range.base().raw(), of, FULL) {
                (&self.top, ends(range.base(), range.top(), FULL))
            } else if base == end(range.top().raw(), of, FULL) {
                (&self.base, ends(range.top(), range.base(), FULL))
            } else if self.top.load(Ordering::SeqCst) == top {
                return Joined::No(memory);
            } else {
                continue;
            };
            if word.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                let _ = memory.into_record();
                return Joined::Yes;
            }
        }
    }

    /// Puts memory here, if the slot is empty.
    pub(super) fn fill(
        &self,
        memory: Delegated,
        reason: QuarantineReason,
    ) -> Result<(), Delegated> {
        let fits = memory.range().top().raw() <= LIMIT && !memory.is_empty();
        if fits && self.claim() {
            self.set(memory, reason);
            return Ok(());
        }
        Err(memory)
    }

    /// Claims the slot for a caller that fills it, if it is empty.
    pub(super) fn claim(&self) -> bool {
        self.exchange(EMPTY, FILLING)
    }

    fn exchange(&self, from: u64, to: u64) -> bool {
        self.top.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Fills a slot that the caller has claimed.
    pub(super) fn set(&self, memory: Delegated, reason: QuarantineReason) {
        let (of, range) = memory.into_record();
        let fillings = (self.reason.load(Ordering::SeqCst) | REASON).wrapping_add(1);
        self.reason.store(fillings | encode(reason), Ordering::SeqCst);
        self.base.store(end(range.base().raw(), of, FULL), Ordering::SeqCst);
        self.top.store(end(range.top().raw(), of, FULL), Ordering::SeqCst);
    }

    /// Takes out what is here, if it is of that machine (of any for `None`), and keeps the slot
    /// reserved.
    fn reserve(&self, of: Option<Machine>) -> Option<Quarantined> {
        loop {
            let top = self.top.load(Ordering::SeqCst);
            if top & STATE != FULL || of.is_some_and(|of| of != machine(top)) {
                return None;
            }
            if self.exchange(top, RESERVED) {
                let base = self.base.swap(EMPTY, Ordering::SeqCst);
                let reason = decode(self.reason.load(Ordering::SeqCst));
                let range = PaRange::new(address(base), address(top)).ok()?;
                return Some(Quarantined {
                    memory: Delegated::from_record(machine(top), range),
                    reason,
                });
            }
        }
    }

    /// Makes a reserved slot empty.
    fn release(&self) {
        self.top.store(EMPTY, Ordering::SeqCst);
    }

    /// Takes out what is here.
    pub(super) fn empty(&self) -> Option<Quarantined> {
        let quarantined = self.reserve(None);
        if quarantined.is_some() {
            self.release();
        }
        quarantined
    }
}

/// Memory that is tried again, and the slot that is reserved for it. When this is dropped, also
/// because code of the embedder panicked, what is left of the memory is put into its slot again.
pub(crate) struct Reserved<'p> {
    /// `None` when all of the memory was returned.
    slot: Option<&'p Slot>,
    /// Parts are taken from the front.
    pub(crate) memory: Delegated,
    /// A granule from the back of the memory.
    pub(crate) last: Delegated,
    reason: QuarantineReason,
}

impl<'p> Reserved<'p> {
    pub(super) fn take(slot: &'p Slot, of: Machine) -> Option<Self> {
        let Quarantined { memory, reason } = slot.reserve(Some(of))?;
        Some(Self { slot: Some(slot), memory, last: Delegated::empty(), reason })
    }

    /// Why the memory is in quarantine.
    pub(crate) const fn reason(&self) -> QuarantineReason {
        self.reason
    }

    /// Makes the slot empty if nothing is left of the memory.
    pub(crate) fn release_if_empty(&mut self) {
        if self.memory.is_empty()
            && let Some(slot) = self.slot.take()
        {
            slot.release();
        }
    }

    /// Puts the granule from the back where it was.
    pub(crate) fn settle(&mut self) {
        // The two are adjacent: nothing else has been taken from the back.
        if let Err(apart) = self.memory.append(self.last.take()) {
            drop(apart);
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.settle();
        self.release_if_empty();
        if let Some(slot) = self.slot.take() {
            slot.set(self.memory.take(), self.reason);
        }
    }
}

/// A reason as one word: its kind in bits 7:0, its detail in bits 15:8.
fn encode(reason: QuarantineReason) -> u64 {
    let (kind, detail) = match reason {
        QuarantineReason::UndelegateRefused { status } => (0, u8::from(status)),
        QuarantineReason::Unclear { command } => (1, command as u8),
        QuarantineReason::NotReclaimed { command } => (2, command as u8),
        QuarantineReason::NotDestroyed { command } => (3, command as u8),
        QuarantineReason::PoolFull => (4, 0),
    };
    u64::from_le_bytes([kind, detail, 0, 0, 0, 0, 0, 0])
}

fn decode(word: u64) -> QuarantineReason {
    let [kind, detail, ..] = word.to_le_bytes();
    let command =
        Command::ALL.get(usize::from(detail)).copied().unwrap_or(Command::GranuleRangeUndelegate);
    match kind {
        0 => QuarantineReason::UndelegateRefused { status: Status::from(detail) },
        1 => QuarantineReason::Unclear { command },
        2 => QuarantineReason::NotReclaimed { command },
        3 => QuarantineReason::NotDestroyed { command },
        _ => QuarantineReason::PoolFull,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_and_every_end_comes_back() {
        for command in Command::ALL.iter().copied() {
            for reason in [
                QuarantineReason::Unclear { command },
                QuarantineReason::NotReclaimed { command },
                QuarantineReason::NotDestroyed { command },
            ] {
                assert_eq!(decode(encode(reason)), reason);
            }
        }
        assert_eq!(decode(encode(QuarantineReason::PoolFull)), QuarantineReason::PoolFull);
        for status in 0..=u8::MAX {
            let reason = QuarantineReason::UndelegateRefused { status: Status::from(status) };
            assert_eq!(decode(encode(reason)), reason);
        }
        for code in [0, 1, 0x3ff, 0x400, (1 << Machine::BITS) - 1] {
            for at in [0, 0x1000, LIMIT - 0x1000, LIMIT] {
                let (of, word) =
                    (Machine::from_code(code), end(at, Machine::from_code(code), FULL));
                assert_eq!((address(word).raw(), machine(word), word & STATE), (at, of, FULL));
            }
        }
    }

    const FULL_POOL: QuarantineReason = QuarantineReason::PoolFull;
    const OTHER: QuarantineReason = QuarantineReason::Unclear { command: Command::RecDestroy };

    fn range(base: u64, top: u64) -> PaRange {
        PaRange::new(Pa::new(base), Pa::new(top)).unwrap()
    }

    fn memory(base: u64, top: u64) -> Delegated {
        Delegated::from_record(Machine::REAL, range(base, top))
    }

    fn fill(slot: &Slot, base: u64, top: u64, reason: QuarantineReason) {
        slot.fill(memory(base, top), reason).unwrap();
    }

    /// Empties a slot without counting its memory as lost.
    fn clear(slot: &Slot) {
        let Quarantined { memory, .. } = slot.empty().unwrap();
        let _ = memory.into_record();
    }

    #[test]
    fn what_is_too_high_has_no_slot() {
        let slot = Slot::new();
        let far = memory(LIMIT, LIMIT + 0x1000);
        let far = slot.fill(far, FULL_POOL).unwrap_err();
        let Joined::No(far) = slot.join(far, FULL_POOL) else { panic!("there is nothing") };
        // What ends at the limit has one, and what begins there does not join it.
        fill(&slot, LIMIT - 0x2000, LIMIT - 0x1000, FULL_POOL);
        let last = memory(LIMIT - 0x1000, LIMIT);
        assert!(matches!(slot.join(last, FULL_POOL), Joined::Yes));
        let Joined::No(far) = slot.join(far, FULL_POOL) else { panic!("above the limit") };
        let _ = far.into_record();
        assert_eq!(slot.read(), Some((range(LIMIT - 0x2000, LIMIT), FULL_POOL)));
        clear(&slot);
    }

    #[test]
    fn nothing_takes_no_place() {
        let slot = Slot::new();
        assert!(slot.fill(memory(0x2000, 0x2000), FULL_POOL).is_err());
        fill(&slot, 0x1000, 0x2000, FULL_POOL);
        assert!(matches!(slot.join(memory(0x2000, 0x2000), FULL_POOL), Joined::No(_)));
        clear(&slot);
    }

    #[test]
    fn merging_with_a_slot_that_is_being_filled_is_retried() {
        let slot = Slot::new();
        assert!(slot.claim() && !slot.claim());
        let Joined::NotNow(next) = slot.join(memory(0x2000, 0x3000), FULL_POOL) else {
            panic!("the range is not known yet")
        };
        assert_eq!((slot.read(), slot.empty().is_none()), (None, true));
        slot.set(memory(0x1000, 0x2000), FULL_POOL);
        assert!(matches!(slot.join(next, FULL_POOL), Joined::Yes));
        assert_eq!(slot.read(), Some((range(0x1000, 0x3000), FULL_POOL)));
        clear(&slot);
        assert_eq!(slot.read(), None);
    }

    /// What a reader returns was there, whatever happens before and after it reads the base.
    #[test]
    fn sound_7_a_range_is_read_whole() {
        let slot = Slot::new();
        fill(&slot, 0x1000, 0x4000, FULL_POOL);
        let read_between = |before: &dyn Fn(), after: &dyn Fn()| {
            let mut changes = [before, after].into_iter();
            slot.read_while(|| changes.next().into_iter().for_each(|change| change()))
        };
        let seen = read_between(
            &|| assert!(matches!(slot.join(memory(0, 0x1000), FULL_POOL), Joined::Yes)),
            &|| assert!(matches!(slot.join(memory(0x4000, 0x5000), FULL_POOL), Joined::Yes)),
        );
        assert_eq!(seen, Some((range(0, 0x5000), FULL_POOL)));
        let again = |base, top| {
            clear(&slot);
            fill(&slot, base, top, OTHER);
        };
        // The slot is filled again: with another top, and with the same one.
        for base in [0x7000, 0x8000] {
            let seen = read_between(&|| again(base, 0x9000), &|| {});
            assert_eq!(seen, Some((range(base, 0x9000), OTHER)));
        }
        // It is filled twice, and in the end has the same top again, for the same reason.
        for (base, top) in [(0xa000, 0xc000), (0x4000, 0x6000)] {
            let seen = read_between(&|| again(base, top), &|| again(0x8000, 0x9000));
            assert_eq!(seen, Some((range(0x8000, 0x9000), OTHER)));
        }
        assert_eq!(read_between(&|| clear(&slot), &|| {}), None);
    }
}
