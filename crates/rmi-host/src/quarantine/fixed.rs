//! A quarantine of a fixed size.

use rmi_abi::PaRange;

use super::slot::{Joined, Reserved, Slot};
use super::{Quarantine, Quarantined};
use crate::granules::Machine;
use crate::ledger::QuarantineReason;

/// How often a full quarantine is searched again for memory while another thread fills a slot:
/// enough for the few instructions that filling takes, and a bound for a handler that has
/// interrupted these.
const LOOKS: u32 = 10_000;

/// A quarantine of `N` ranges without heap or locks, in `N` times 24 bytes.
///
/// No call waits for another, except for the few instructions in which one fills a slot, and that
/// wait is bounded: so it may be used with interrupts off and from interrupt handlers. The ranges
/// lie below 2^52.
///
/// It may be a static:
///
/// ```
/// use rmi_host::FixedQuarantine;
///
/// static QUARANTINE: FixedQuarantine<64> = FixedQuarantine::new();
///
/// // A platform has it by reference: `host.with_quarantine(&QUARANTINE)`.
/// assert!(QUARANTINE.is_empty());
/// ```
///
/// A full quarantine accepts only memory that is adjacent to a range that it has for the same
/// reason, and the ledger records what is leaked:
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmi_host::{CountingLedger, QuarantineReason, FixedQuarantine};
/// # use rmm_model::{Model, Options};
/// let (quarantine, ledger) = (FixedQuarantine::<1>::new(), CountingLedger::new());
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(
/// #     model.host().with_quarantine(&quarantine).with_ledger(&ledger),
/// #     &mut memory,
/// # )?;
/// let mut take = || memory.take_front(0x1000).expect("1 GiB");
/// let [first, second, _, third] = [take(), take(), take(), take()];
/// for memory in [first, second, third] {
///     let memory = rmm.delegate(memory)?;
///     rmm.quarantine(memory, QuarantineReason::PoolFull);
/// }
/// assert_eq!(
///     (quarantine.len(), ledger.balance().quarantined, ledger.balance().leaked),
///     (1, 2, 1)
/// );
/// quarantine.for_each(|range, reason| println!("{range}: {reason}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FixedQuarantine<const N: usize> {
    slots: [Slot; N],
}

// The size that the documentation states.
const _: () = assert!(size_of::<FixedQuarantine<10>>() == 10 * 24);

impl<const N: usize> FixedQuarantine<N> {
    /// An empty quarantine.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: [const { Slot::new() }; N] }
    }

    /// Number of ranges in quarantine, without those that are being tried again at this moment.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_full()).count()
    }

    /// Whether nothing is in quarantine.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` for each range with its reason.
    pub fn for_each(&self, mut visit: impl FnMut(PaRange, QuarantineReason)) {
        for (range, reason) in self.slots.iter().filter_map(Slot::read) {
            visit(range, reason);
        }
    }

    /// Takes out the ranges of a machine one after the other, each with a claim on its slot.
    pub(crate) fn reserve_each(&self, of: Machine) -> impl Iterator<Item = Reserved<'_>> {
        self.slots.iter().filter_map(move |slot| Reserved::take(slot, of))
    }
}

impl<const N: usize> Default for FixedQuarantine<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Drop for FixedQuarantine<N> {
    /// Counts the memory that is lost with the quarantine, as dropped tokens do.
    fn drop(&mut self) {
        for slot in &self.slots {
            drop(slot.empty());
        }
    }
}

impl<const N: usize> Quarantine for FixedQuarantine<N> {
    fn put(&self, quarantined: Quarantined) -> Result<(), Quarantined> {
        self.put_while(quarantined, core::hint::spin_loop)
    }
}

impl<const N: usize> FixedQuarantine<N> {
    /// Stores memory, and calls `pause` as often as another thread is found filling a slot.
    fn put_while(
        &self,
        quarantined: Quarantined,
        mut pause: impl FnMut(),
    ) -> Result<(), Quarantined> {
        let Quarantined { mut memory, reason } = quarantined;
        for _ in 0..LOOKS {
            let mut filling = false;
            // Adjacent memory with the same reason shares a slot: memory refused granule by granule
            // would exhaust the quarantine with single-granule entries.
            for slot in &self.slots {
                memory = match slot.join(memory, reason) {
                    Joined::Yes => return Ok(()),
                    Joined::No(memory) => memory,
                    Joined::NotNow(memory) => {
                        filling = true;
                        memory
                    }
                };
            }
            for slot in &self.slots {
                memory = match slot.fill(memory, reason) {
                    Ok(()) => return Ok(()),
                    Err(memory) => memory,
                };
            }
            if !filling {
                break;
            }
            pause();
        }
        Err(Quarantined { memory, reason })
    }
}

#[cfg(test)]
mod tests {
    use rmi_abi::{Pa, Status};

    use super::*;
    use crate::granules::{Delegated, leaked, tests::counting};

    const MACHINE: Machine = Machine::from_code((1 << Machine::BITS) - 1);

    #[test]
    fn a_full_quarantine_gives_the_memory_back() {
        let _alone = counting();
        let quarantine = FixedQuarantine::<1>::new();
        let entry = |base| Quarantined {
            memory: Delegated::from_record(
                MACHINE,
                PaRange::with_size(Pa::new(base), 0x1000).unwrap(),
            ),
            reason: QuarantineReason::UndelegateRefused { status: Status::ErrorInput },
        };
        quarantine.put(entry(0x1000)).unwrap();
        let back = quarantine.put(entry(0x4000)).unwrap_err();
        assert_eq!(back.memory.base(), Pa::new(0x4000));
        let mut other = entry(0x2000);
        other.reason = QuarantineReason::PoolFull;
        let _ = quarantine.put(other).unwrap_err().memory.into_record();
        let _ = back.memory.into_record();
        // Adjacent memory with the same reason shares a slot, but not memory of another machine.
        let range = PaRange::with_size(Pa::new(0x2000), 0x1000).unwrap();
        let reason = QuarantineReason::UndelegateRefused { status: Status::ErrorInput };
        let foreign = Quarantined { memory: Delegated::from_record(Machine::REAL, range), reason };
        let foreign = quarantine.put(foreign).unwrap_err().memory;
        assert_eq!(foreign.into_record(), (Machine::REAL, range));
        quarantine.put(entry(0x2000)).unwrap();
        quarantine.put(entry(0)).unwrap();
        assert_eq!(quarantine.len(), 1);
        let mut seen = 0;
        quarantine.for_each(|range, _| {
            assert_eq!(range, PaRange::with_size(Pa::new(0), 0x3000).unwrap());
            seen += 1;
        });
        assert_eq!((seen, quarantine.len()), (1, 1));
    }

    fn granule(base: u64) -> Quarantined {
        let range = PaRange::with_size(Pa::new(base), 0x1000).unwrap();
        let reason = QuarantineReason::PoolFull;
        Quarantined { memory: Delegated::from_record(MACHINE, range), reason }
    }

    #[test]
    fn sound_7_what_is_put_beside_a_slot_that_is_being_filled_joins_it() {
        let _alone = counting();
        let quarantine = FixedQuarantine::<1>::new();
        let [slot] = &quarantine.slots;
        assert!(slot.claim());
        let mut first = Some(granule(0x1000));
        let fill = || {
            let Quarantined { memory, reason } = first.take().unwrap();
            slot.set(memory, reason);
        };
        quarantine.put_while(granule(0x2000), fill).unwrap();
        let whole = PaRange::with_size(Pa::new(0x1000), 0x2000).unwrap();
        assert_eq!(slot.read(), Some((whole, QuarantineReason::PoolFull)));
        // A full slot is not looked at again.
        let back = quarantine.put_while(granule(0x8000), || panic!("it is full")).unwrap_err();
        let _ = back.memory.into_record();
    }

    #[test]
    fn sound_7_nobody_waits_for_ever_for_a_slot_to_be_filled() {
        let _alone = counting();
        let quarantine = FixedQuarantine::<1>::new();
        assert!(quarantine.slots.iter().all(Slot::claim));
        let mut pauses = 0;
        let back = quarantine.put_while(granule(0x1000), || pauses += 1).unwrap_err();
        assert_eq!((back.memory.into_record().1.bytes(), pauses), (0x1000, LOOKS));
    }

    #[test]
    fn what_is_in_a_dropped_quarantine_counts_as_leaked() {
        let _alone = counting();
        let before = leaked();
        let quarantine = FixedQuarantine::<2>::new();
        assert!(quarantine.is_empty());
        for base in [0x1000, 0x2000, 0x8000] {
            quarantine.put(granule(base)).unwrap();
        }
        assert_eq!((quarantine.len(), quarantine.is_empty(), leaked() - before), (2, false, 0));
        drop(quarantine);
        assert_eq!(leaked() - before, 3);
    }
}
