//! What the registers of a call show about memory that changed its owner.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rmi_abi::commands::fid;
use rmi_abi::{Fid, GranuleSize, ResultWord, Status};
use rmi_host::conduit::Registers;

use super::Counts;

/// The number of unfinished range operations that are tracked at a time. The granules of one more
/// are not counted.
const PLACES: usize = 32;

const EMPTY: u8 = 0;
const CLAIMED: u8 = 1;
const DELEGATES: u8 = 2;
const UNDELEGATES: u8 = 3;

/// One operation. The flag says who may write the other fields: only the claimer while it is
/// `CLAIMED`.
#[derive(Debug)]
struct Place {
    flag: AtomicU8,
    handle: AtomicU64,
    base: AtomicU64,
}

/// Delegations and undelegations that answered `RMI_INCOMPLETE`: their progress is in the answer to
/// an `RMI_OP_CONTINUE`, which does not contain where they began.
#[derive(Debug)]
pub(super) struct OpenRanges {
    places: [Place; PLACES],
}

impl OpenRanges {
    pub(super) const fn new() -> Self {
        Self {
            places: [const {
                Place {
                    flag: AtomicU8::new(EMPTY),
                    handle: AtomicU64::new(0),
                    base: AtomicU64::new(0),
                }
            }; PLACES],
        }
    }

    /// The memory that one call moved, in granules; the fields that count outcomes stay zero.
    ///
    /// A command keeps its number in all dialects and no other command has one of these, so the
    /// dialect is not needed.
    pub(super) fn moved(
        &self,
        call: &Registers,
        answer: &Registers,
        granule: GranuleSize,
    ) -> Counts {
        let ([x0, x1, ..], [result, out1, ..]) = (*call, *answer);
        let mut moved = Counts::default();
        let status = ResultWord(result).status();
        match Fid::from_register(x0).without_sve_hint() {
            fid::GRANULE_DELEGATE if status == Status::Success => moved.delegated = 1,
            fid::GRANULE_UNDELEGATE if status == Status::Success => moved.undelegated = 1,
            fid::GRANULE_RANGE_DELEGATE => match status {
                Status::Success => moved.delegated = granules(x1, out1, granule),
                Status::Incomplete => self.put(DELEGATES, out1, x1),
                _ => {}
            },
            fid::GRANULE_RANGE_UNDELEGATE => match status {
                Status::Success => moved.undelegated = granules(x1, out1, granule),
                Status::Incomplete => self.put(UNDELEGATES, out1, x1),
                _ => {}
            },
            fid::OP_MEM_DONATE if status == Status::Incomplete => moved.donated = out1,
            fid::OP_MEM_RECLAIM if status == Status::Incomplete => moved.reclaimed_runs = out1,
            fid::OP_CONTINUE => {
                moved.continued = 1;
                if !goes_on(status)
                    && let Some((kind, base)) = self.take(x1)
                    && status == Status::Success
                {
                    let granules = granules(base, out1, granule);
                    match kind {
                        DELEGATES => moved.delegated = granules,
                        _ => moved.undelegated = granules,
                    }
                }
            }
            fid::OP_CANCEL if !goes_on(status) => {
                let _ = self.take(x1);
            }
            _ => {}
        }
        moved
    }

    fn put(&self, kind: u8, handle: u64, base: u64) {
        for place in &self.places {
            if place.claim(EMPTY) {
                place.handle.store(handle, Ordering::Relaxed);
                place.base.store(base, Ordering::Relaxed);
                place.flag.store(kind, Ordering::Release);
                return;
            }
        }
    }

    fn take(&self, handle: u64) -> Option<(u8, u64)> {
        for place in &self.places {
            let kind = place.flag.load(Ordering::Acquire);
            // Only slots with this handle are claimed: one CPU drives an operation, so no other CPU
            // claims the slot.
            if kind > CLAIMED && place.handle.load(Ordering::Relaxed) == handle && place.claim(kind)
            {
                let base = place.base.load(Ordering::Relaxed);
                // The slot may have been emptied and filled again before it was claimed.
                let same = place.handle.load(Ordering::Relaxed) == handle;
                place.flag.store(if same { EMPTY } else { kind }, Ordering::Release);
                if same {
                    return Some((kind, base));
                }
            }
        }
        None
    }
}

impl Place {
    fn claim(&self, from: u8) -> bool {
        self.flag.compare_exchange(from, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

/// Whether an operation still exists after an answer with this status.
fn goes_on(status: Status) -> bool {
    matches!(status, Status::Incomplete | Status::Busy | Status::Blocked)
}

/// Granules from `base` up to `top`; 0 if the RMM returns an address below `base`.
fn granules(base: u64, top: u64, granule: GranuleSize) -> u64 {
    top.saturating_sub(base) >> granule.shift()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANULE: GranuleSize = GranuleSize::Size4KiB;
    const INCOMPLETE: u64 = 13;

    fn call(fid: Fid, x1: u64) -> Registers {
        [fid.0.into(), x1, 0, 0, 0, 0, 0, 0]
    }

    fn answer(x0: u64, x1: u64) -> Registers {
        [x0, x1, 0, 0, 0, 0, 0, 0]
    }

    #[test]
    fn an_operation_that_goes_on_is_counted_when_it_ends() {
        let open = OpenRanges::new();
        let moved = |x, y| open.moved(&x, &y, GRANULE);
        let start = call(fid::GRANULE_RANGE_DELEGATE, 0x8000);
        assert_eq!(moved(start, answer(INCOMPLETE, 7)).delegated, 0);
        let start = call(fid::GRANULE_RANGE_UNDELEGATE, 0x4000);
        assert_eq!(moved(start, answer(INCOMPLETE, 0)).undelegated, 0);

        let go_on = call(fid::OP_CONTINUE, 7);
        assert_eq!(moved(go_on, answer(INCOMPLETE, 0)).delegated, 0);
        assert_eq!(moved(go_on, answer(10, 0)).delegated, 0);
        assert_eq!(moved(go_on, answer(0, 0x2_8000)).delegated, 32);
        assert_eq!(moved(go_on, answer(0, 0x2_8000)).delegated, 0);
        assert_eq!(moved(call(fid::OP_CONTINUE, 0), answer(0, 0x5000)).undelegated, 1);
    }

    #[test]
    fn no_answer_makes_the_numbers_decrease() {
        let open = OpenRanges::new();
        let start = call(fid::GRANULE_RANGE_DELEGATE, 0x8000);
        assert_eq!(open.moved(&start, &answer(0, 0x1000), GRANULE), Counts::default());
        for handle in 0..100 {
            assert_eq!(open.moved(&start, &answer(INCOMPLETE, handle), GRANULE), Counts::default());
        }
        let cancel = call(fid::OP_CANCEL, 3);
        assert_eq!(open.moved(&cancel, &answer(0, 0), GRANULE), Counts::default());
        let go_on = call(fid::OP_CONTINUE, 3);
        assert_eq!(open.moved(&go_on, &answer(0, u64::MAX), GRANULE).delegated, 0);
    }
}
