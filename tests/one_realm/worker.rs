//! One of the threads: what it owns, and the operations that it does.

use std::cell::RefCell;
use std::thread;

use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::{
    Active, BuildError, ConvertStopped, FoldPolicy, Realm, Reclaimed, RegionProblem, Served,
};
use realm_sdk::host::command::SharedAccess;
use realm_sdk::host::granules::{AnyGranules, HostOwned};
use realm_sdk::host::{Platform, Undelegated};
use realm_sdk::sro::{CallbackMemory, GranuleSet, GrowingPool};

use test_support::Scale;

use crate::{PROTECTED, UNPROTECTED, marks};

pub(crate) type Heap = GranuleSet<HostOwned, Vec<AnyGranules>>;

pub(crate) fn heap() -> Heap {
    Heap::new((0..8192).map(|_| AnyGranules::empty()).collect())
}

/// Random numbers: xorshift64.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        let at = self.roll(of.len() as u64);
        *of.get(usize::try_from(at).unwrap()).unwrap()
    }

    /// Pages, in most cases few of them, or whole blocks; somewhere in the area at `base`.
    fn range(&mut self, base: u64, scale: Scale) -> IpaRange {
        let unit = if self.roll(6) == 0 { scale.block } else { scale.page };
        let most = if unit == scale.block { 2 } else { self.pick(&[4, 64, 600]) };
        let bytes = unit * (1 + self.roll(most));
        let at = unit * self.roll((crate::area(scale) - bytes) / unit + 1);
        IpaRange::with_size(Ipa::new(base + at), bytes).unwrap()
    }
}

/// What one thread owns.
pub(crate) struct Worker<'w, 'r, P: Platform> {
    pub(crate) realm: &'w Realm<'r, P, Active>,
    pub(crate) pool: GrowingPool,
    pub(crate) heap: Heap,
    pub(crate) dice: Dice,
    pub(crate) scale: Scale,
    pub(crate) done: u32,
}

/// Memory of at most `bytes` bytes, as contiguous as available.
fn take_up_to(heap: &mut Heap, bytes: u64, scale: Scale) -> Option<Undelegated> {
    let Scale { page, block, .. } = scale;
    let (_, run) = heap.longest_run(page)?;
    let alignment = if bytes >= block && run >= 2 * block { block } else { page };
    heap.take(bytes.min(run), alignment).or_else(|| heap.take(bytes.min(run), page))
}

/// The outcome of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Another thread has claimed the range.
    Contended,
    /// Another thread has changed the range before, or there is not enough memory.
    Taken,
}

fn settle(result: Result<(), impl Into<BuildError>>) -> Outcome {
    match result.map_err(Into::into) {
        Ok(()) => Outcome::Done,
        Err(BuildError::Contended { .. }) => Outcome::Contended,
        Err(BuildError::Region {
            problem: RegionProblem::Overlap { .. } | RegionProblem::NoMemory { .. },
            ..
        }) => Outcome::Taken,
        Err(error) => panic!("{error:?}"),
    }
}

impl<P: Platform> Worker<'_, '_, P> {
    pub(crate) fn work(&mut self, rounds: u64) {
        for _ in 0..rounds {
            let (kind, range) = (self.dice.roll(16), self.dice.range(PROTECTED, self.scale));
            let shared = self.dice.range(UNPROTECTED, self.scale);
            let mut operate = || match kind {
                0..=2 => self.serve(range),
                3 => self.map(range),
                4 => self.map_scattered(range),
                5 | 6 => self.reclaim(range),
                7 => self.fold(range),
                8 | 9 => self.share(shared),
                10 => self.unshare(shared),
                11 => self.reshare(shared),
                12 | 13 => self.convert_to_shared(range),
                14 => self.convert_to_private(range),
                _ => self.look(shared),
            };
            let mut outcome = operate();
            while outcome == Outcome::Contended {
                thread::yield_now();
                outcome = operate();
            }
            self.done += u32::from(outcome == Outcome::Done);
        }
    }

    fn serve(&mut self, window: IpaRange) -> Outcome {
        let Self { realm, pool, heap, dice, .. } = self;
        let scale = self.scale;
        let at = window.base().raw() + dice.roll(window.bytes());
        let (mut back, mut allowance) = (Vec::new(), dice.roll(6));
        let supply = |void: IpaRange| {
            allowance = allowance.checked_sub(1)?;
            let bytes = if dice.roll(2) == 0 { scale.page } else { void.bytes() };
            take_up_to(heap, bytes, scale)
        };
        let served = realm.serve_fault(
            &mut CallbackMemory::new(pool, supply, |memory| {
                back.push(memory);
                Ok(())
            }),
            Ipa::new(at),
            window,
        );
        for memory in back {
            self.heap.insert(memory).unwrap();
        }
        match served {
            Ok(Served::Contended(_)) => Outcome::Contended,
            served => settle(served.map(|_| ())),
        }
    }

    fn map(&mut self, range: IpaRange) -> Outcome {
        let Some(memory) = take_up_to(&mut self.heap, range.bytes(), self.scale) else {
            return Outcome::Taken;
        };
        match self.realm.map(&mut self.pool, range.base(), memory) {
            Ok(()) => Outcome::Done,
            Err(failed) => {
                self.heap.insert(failed.kept).unwrap();
                settle(Err(failed.error))
            }
        }
    }

    fn map_scattered(&mut self, range: IpaRange) -> Outcome {
        let page = self.scale.page;
        let pages = (range.bytes() / page).min(24);
        let mut memory: Vec<_> = (0..pages).map_while(|_| self.heap.take(page, page)).collect();
        if self.dice.roll(2) == 0 {
            memory.reverse();
        }
        if memory.is_empty() {
            return Outcome::Taken;
        }
        let result = self.realm.map_scattered(&mut self.pool, range.base(), &mut memory);
        for memory in memory {
            assert!(result.is_err() || memory.is_empty());
            self.heap.insert(memory).unwrap();
        }
        settle(result)
    }

    fn reclaim(&mut self, range: IpaRange) -> Outcome {
        let heap = &mut self.heap;
        let reclaimed = self.realm.reclaim(
            &mut CallbackMemory::freeing(&mut self.pool, |memory| heap.insert(memory).unwrap()),
            range,
        );
        match reclaimed {
            Ok(Reclaimed::Contended(_)) => Outcome::Contended,
            done => settle(done.map(|_| ())),
        }
    }

    fn fold(&mut self, range: IpaRange) -> Outcome {
        let policy = self.dice.pick(&[FoldPolicy::Blocks, FoldPolicy::BlocksAndVoid]);
        let folded = self.realm.fold(&mut self.pool, range, policy);
        settle(folded.map(|_| ()))
    }

    /// Shares memory in which every page that is [marked](marks) contains the address where it is
    /// to be mapped.
    pub(crate) fn share(&mut self, range: IpaRange) -> Outcome {
        let Some(mut memory) = take_up_to(&mut self.heap, range.bytes(), self.scale) else {
            return Outcome::Taken;
        };
        let base = range.base().raw();
        for place in marks(self.scale, base, base + memory.bytes()) {
            let word = place.to_le_bytes();
            self.realm.rmm().write_host(&mut memory, place - base, &word).unwrap();
        }
        let access = SharedAccess::MEMORY;
        match self.realm.share(&mut self.pool, range.base(), memory, access) {
            Ok(()) => Outcome::Done,
            Err(failed) => {
                self.heap.insert(failed.host).unwrap();
                settle(Err(failed.error))
            }
        }
    }

    /// Shares the memory that a range has, and maps memory for some of what it does not have. The
    /// pages contain their addresses, as in `share`.
    fn convert_to_shared(&mut self, range: IpaRange) -> Outcome {
        let Self { realm, pool, heap, dice, .. } = self;
        let scale = self.scale;
        let heap = RefCell::new(heap);
        let mut allowance = dice.roll(3);
        let supply = |void: IpaRange| {
            allowance = allowance.checked_sub(1)?;
            take_up_to(&mut heap.borrow_mut(), void.bytes(), scale)
        };
        let give_back = &mut |memory| heap.borrow_mut().insert(memory).unwrap();
        let access = SharedAccess::MEMORY;
        let converted = realm.convert_to_shared(
            &mut CallbackMemory::new(pool, supply, |host| {
                give_back(host);
                Ok(())
            }),
            range,
            access,
        );
        let (top, bytes) = match converted {
            Ok(converted) => (range.top(), converted.bytes + converted.without_memory),
            Err(stopped) => {
                let ConvertStopped { reached, converted, .. } = stopped;
                (reached, converted.bytes + converted.without_memory)
            }
        };
        assert_eq!(top.checked_offset_from(range.base()), Some(bytes));
        let base = range.base().raw() - PROTECTED + UNPROTECTED;
        for place in marks(scale, base, base + bytes) {
            while let Err(error) = realm.write_shared(Ipa::new(place), &place.to_le_bytes()) {
                match error {
                    BuildError::Contended { .. } => thread::yield_now(),
                    BuildError::Region { problem: RegionProblem::NotShared { .. }, .. } => break,
                    error => panic!("{error}"),
                }
            }
        }
        settle(converted.map(|_| ()).map_err(BuildError::from))
    }

    fn convert_to_private(&mut self, range: IpaRange) -> Outcome {
        let heap = &mut self.heap;
        let give_back = &mut |memory| heap.insert(memory).unwrap();
        let converted = self.realm.convert_to_private(
            &mut CallbackMemory::freeing(&mut self.pool, &mut *give_back),
            range,
        );
        settle(converted.map(|_| ()).map_err(BuildError::from))
    }

    /// Lists the pieces of a range, and reads from each of them.
    fn look(&mut self, range: IpaRange) -> Outcome {
        let (mut sum, mut last) = (0, range.base());
        let told = self.realm.shared_pieces(range, &mut |piece, memory| {
            assert!(piece.base() >= last && piece.bytes() == memory.bytes());
            (sum, last) = (sum + piece.bytes(), piece.top());
            self.realm.read_shared(piece.base(), &mut [0; 8]).unwrap();
        });
        assert!(!told.is_ok_and(|bytes| bytes != sum));
        settle(told.map(|_| ()))
    }

    pub(crate) fn unshare(&mut self, range: IpaRange) -> Outcome {
        let heap = &mut self.heap;
        settle(self.realm.unshare(
            &mut CallbackMemory::freeing(&mut self.pool, |memory| heap.insert(memory).unwrap()),
            range,
        ))
    }

    pub(crate) fn reshare(&mut self, range: IpaRange) -> Outcome {
        let (heap, mut access) = (&mut self.heap, SharedAccess::MEMORY);
        access.permissions.write = self.dice.roll(2) == 0;
        settle(self.realm.reshare(
            &mut CallbackMemory::freeing(&mut self.pool, |memory| heap.insert(memory).unwrap()),
            range,
            access,
        ))
    }
}
