//! All RECs of a Realm: their power, the threads that run them, and how these are reached.
//!
//! A [`RecSet`] has the RECs of a Realm by index, in the order in which they were created, and by
//! MPIDR. A thread [claims](RecSet::claim) a REC and [runs](Runner::run) it; only so can it be
//! entered, from [`RecSet::add`] to [`RecSet::drain`]. All methods take `&self`, so threads and
//! interrupt handlers share the set.
//!
//! | To | Use |
//! |---|---|
//! | run a REC until something has to be decided | [`Runner::run`], [`Runner::run_until`], [`Outcome`] |
//! | end a run from elsewhere | [`RecSet::kick`], [`RecSet::kick_all`] |
//! | deliver an interrupt | [`RecSet::notify`] |
//! | stop all of them for a while | [`RecSet::pause`], [`RecSet::is_paused`], [`RecSet::resume`] |
//! | decide who is turned on | [`Handler::cpu_on`](crate::Handler::cpu_on), [`RecSet::set_limit`] |
//! | wait in a thread of `std` | `Runner::wait`, `RecSet::wait_paused`, feature `std` |
//! | report | [`RecSet::statistics`], `Display` |
//!
#![cfg_attr(
    feature = "std",
    doc = r##"# Four virtual CPUs on four threads

```
use std::cell::Cell;
use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use rec_runtime::set::{Outcome, PhysicalCpus, RecSet, RecSlot};
use rec_runtime::{Handler, Rec};
# use realm_builder::{Realm, RealmConfig, RealmStorage, RecStart};
# use rmi_abi::{Dialect, Ipa};
# use rmi_host::SessionOptions;
# use rmm_model::{Action, Model, Options, Script};
# use sro::{FixedPool, Pool, open};

// Each thread is on a physical CPU of its own.
thread_local! { static CPU: Cell<u16> = const { Cell::new(0) } }

struct Cpus<'m>(&'m Model);

impl PhysicalCpus for Cpus<'_> {
    fn current(&self) -> u16 {
        CPU.get()
    }

    fn interrupt(&self, cpu: u16) {
        self.0.cpu(cpu.into()).interrupt(); // on hardware, an SGI
    }
}

/// The counter's frequency; on hardware, `CNTFRQ_EL0`.
const FREQUENCY: NonZeroU32 = NonZeroU32::new(1_000_000_000).unwrap();
/// The longest wait of a REC that may have a deadline that the host is not told (WFIT on TF-RMM).
const LONGEST_WAIT: Duration = Duration::from_millis(10);

/// A board without devices.
struct Board;

impl Handler for Board {}

# fn main() -> Result<(), Box<dyn std::error::Error>> {
let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
let conduit = model.calling_cpu(|| CPU.get().into());
# let mut memory = model.take_memory();
# let mut pool = FixedPool::<8>::new();
# pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
# pool.add(memory.take_front(128 << 12).unwrap()).unwrap();
# let rmm = open(conduit.host(), SessionOptions::default(), &mut pool)?;
# let mut storage = RealmStorage::<8, 8>::new();
# let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool)?;
# let on = |index| Action::psci_cpu_on(index, 0, 0);
# let mut objects = Vec::new();
# for index in 0..4 {
#     let start = RecStart { runnable: index == 0, pc: Ipa::new(0), gprs: [0; 8] };
#     objects.push(realm.create_rec(&mut pool, &start)?);
#     let program = match index {
#         0 => vec![on(1), on(2), on(3), Action::psci_cpu_off()],
#         3 => vec![Action::Wfi, Action::psci_system_off()],
#         _ => vec![Action::Wfi, Action::psci_cpu_off()],
#     };
#     model.set_guest(realm.rd().pa(), index, Box::new(Script::new(program)));
# }
# let realm = realm.activate()?;
// There are an active Realm with four RECs, of which the first is runnable, and host memory.
let cpus = Cpus(&model);
let mut slots = [const { RecSlot::new() }; 4];
let mut set = RecSet::new(&mut slots, &cpus);
for (index, object) in objects.into_iter().enumerate() {
    let page = memory.take_front(0x1000).unwrap();
    set.add(Rec::new(object, page, realm.geometry()), index == 0).unwrap();
}

thread::scope(|scope| {
    for index in 0..4 {
        let (mut runner, rmm, model) = (set.claim(index).unwrap(), &rmm, &model);
        scope.spawn(move || {
            CPU.set(index as u16);
            loop {
                match runner.run(rmm, &mut Board) {
                    // Nobody has to turn it on by hand: the set completes `CPU_ON`.
                    Ok(Outcome::Off { .. } | Outcome::Paused) => {
                        runner.wait(None);
                    }
                    Ok(Outcome::Waiting(sleep)) => {
                        let timeout = sleep.timeout(model.now(), FREQUENCY, LONGEST_WAIT);
                        runner.wait(timeout);
                        // With a GIC: `gic.set_timers(index, sleep.timers.at(model.now()))`.
                    }
                    Ok(Outcome::RealmOff(_)) => break,
                    other => panic!("{other:?}"),
                }
            }
        });
    }
});
assert!(set.system_end().is_some());

let objects: Vec<_> = set.drain().map(|rec| rec.into_parts().0).collect();
# drop(set);
assert!(realm.tear_down(&mut pool, objects).error.is_none());
# pool.drain(&rmm, &mut |_| {});
# Ok(())
# }
```
"##
)]
//! # Power
//!
//! The set completes PSCI calls about other RECs, before it enters the calling REC again, and
//! before the target can be entered; so it does not matter whether the dialect names the target in
//! `RMI_PSCI_COMPLETE`. What it does not see, the RMM answers by itself: a `CPU_ON` of the calling
//! REC (`ALREADY_ON`), of one that was never created (`INVALID_PARAMETERS`), or at an unprotected
//! address (`INVALID_ADDRESS`); in some dialects `AFFINITY_INFO`.
//!
//! | The Realm calls | What the set does | Outcome of the caller's loop |
//! |---|---|---|
//! | `CPU_ON` | asks the limit and the handler, completes, notes the target as on pending, wakes its thread | goes on |
//! | `AFFINITY_INFO`, where it exits | completes | goes on |
//! | `CPU_OFF` | tells the handler ([`Handler::cpu_off`](crate::Handler::cpu_off)), notes the REC as off | [`Outcome::Off`] |
//! | `CPU_SUSPEND` | passes it to the handler, by default as a wait | [`Outcome::Waiting`] |
//! | `SYSTEM_OFF`, `SYSTEM_RESET` | notes the end, ends the loops of all others | [`Outcome::RealmOff`] |
//! | another function | passes it to the handler | by default [`Outcome::Left`] |
//!
//! Success of `RMI_PSCI_COMPLETE` does not mean that a REC was off and is on now. TF-RMM (July
//! 2026) returns it for a REC that is on or running (the Realm gets `ALREADY_ON`), and when it
//! recognises no function because the Realm set bits of the upper half of X0 (the Realm gets
//! `NOT_SUPPORTED`; builds with assertions stop). And a REC may be turned on before the host has
//! handled the exit with which it turned itself off. So the set counts the accepted calls of each
//! REC: an exit by `CPU_OFF`, or an entry that is refused because the REC is off, turns the REC off
//! only if none was accepted since that entry began. Otherwise the REC is entered once more, and
//! the RMM says whether it is on.
//!
//! After `SYSTEM_OFF`, the RMM refuses entries with `ERROR_REALM`, possibly before the host has
//! handled that exit. Such a refusal is [`Outcome::RealmOff`], not an error; also if the Realm is
//! not active yet.
//!
//! # Ending a run from elsewhere
//!
//! What concerns the thread that runs a REC and others is one atomic word for each REC: whether the
//! thread is in its loop and on which CPU, requests, power. So all changes have one order.
//!
//! 1. The thread notes that it is in the loop, and its CPU. If there is a request, it does not
//!    begin.
//! 2. [`Handler::before_entry`](crate::Handler::before_entry) masks interrupts, then loads the
//!    REC's interrupts. From here to the exit the thread stays on its CPU.
//! 3. The thread looks at the word: if there is a request, it leaves the loop; if it has moved to
//!    another CPU since it noted one, it notes that, and if there was a notification meanwhile,
//!    begins with 2 again.
//! 4. It enters. A physical interrupt ends the run although it is masked. After the exit the
//!    handler unmasks interrupts, in [`Handler::after_exit`](crate::Handler::after_exit) or
//!    [`Handler::entry_cancelled`](crate::Handler::entry_cancelled); the next entry begins with 2.
//!
//! Who makes a request puts it into the word, and finds there whether the thread is in the loop. If
//! so, it interrupts the CPU, **after** the request: then the thread either sees the request in 3,
//! or has masked the interrupt before it arrived, and exits immediately. If the thread is not in
//! the loop, it sees the request in 1; if it went to sleep, it is woken ([`PhysicalCpus::wake`], or
//! with `std` the thread in `Runner::wait`). A notification is sent after the interrupt was
//! recorded where 2 loads it from; then it is loaded, or the run ends.
//!
//! A thread goes to sleep by a change of the same word, which is refused when there is a
//! notification that it has not seen. So no wake-up is lost.
//!
//! The tests of this module try all orders of these steps, for a thread that may see old values of
//! the word in 3.
//!
//! # Contexts
//!
//! Nothing here waits for a lock without the feature `std`. [`RecSet::kick`], [`RecSet::notify`],
//! [`RecSet::pause`] and [`RecSet::resume`] may be called from interrupt handlers, also from one
//! that interrupted the loop itself. With the feature `std` they take the mutex of a thread that
//! sleeps in `Runner::wait` or `RecSet::wait_paused`, so signal handlers do not call them.
//!
//! Source: DEN0137 2.0-bet3, RMI_REC_ENTER, RMI_PSCI_COMPLETE; DEN0022 for PSCI; TF-RMM of July
//! 2026, `runtime/rsi/psci.c` and `runtime/rmi/run.c`.

mod claim;
mod cpus;
mod dump;
mod pause;
mod power;
mod runner;
mod slot;
mod statistics;
#[cfg(feature = "std")]
mod wait;
pub(crate) mod word;

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicUsize};

use rmi_abi::rec::Mpidr;
use rmi_host::Failed;

pub use claim::ClaimError;
pub use cpus::PhysicalCpus;
pub use pause::Inside;
pub use power::{CpuOnDecision, SystemEnd};
pub use runner::{Outcome, Runner, Sleep};
pub use slot::RecSlot;
use slot::Slots;
pub use statistics::{ExitKind, Statistics};
pub use word::Power;
use word::{Effect, Word};

use crate::rec::Rec;

/// All RECs of a Realm, see [the module](self).
///
/// Its storage is lent: an array of [`RecSlot`]s, which may be in a `static`, or any slice; with
/// the feature `alloc` it may be on the heap. When the set is dropped, the RECs in it are dropped,
/// and their memory is leaked and counted; [`RecSet::drain`] takes them out.
///
/// ```
/// use rec_runtime::set::{PhysicalCpus, RecSet, RecSlot};
/// use spin::{Mutex, MutexGuard};
/// use std::sync::OnceLock;
///
/// /// One CPU, which never has to be interrupted.
/// struct OneCpu;
///
/// impl PhysicalCpus for OneCpu {
///     fn current(&self) -> u16 {
///         0
///     }
///
///     fn interrupt(&self, _: u16) {}
/// }
///
/// static SLOTS: Mutex<[RecSlot; 32]> = Mutex::new([const { RecSlot::new() }; 32]);
/// static SET: OnceLock<RecSet<'static>> = OnceLock::new();
///
/// let set = RecSet::new(&mut MutexGuard::leak(SLOTS.lock())[..], &OneCpu);
/// // Add the RECs, then share the set.
/// assert!(SET.get_or_init(|| set).is_empty());
/// ```
pub struct RecSet<'s> {
    slots: Slots<'s>,
    /// RECs so far.
    len: usize,
    cpus: &'s dyn PhysicalCpus,
    clock: Option<&'s (dyn Fn() -> u64 + Sync)>,
    /// Most RECs that are on at a time.
    limit: AtomicUsize,
    /// Calls of `CPU_ON` that are decided but not completed.
    turning_on: AtomicUsize,
    /// Pauses that have reached all RECs and have not ended.
    pauses: AtomicU32,
    /// Pauses that have begun and whose end has not reached all RECs.
    begun_pauses: AtomicU32,
    /// A code of [`SystemEnd`], or 0.
    end: AtomicU32,
    #[cfg(feature = "std")]
    paused: wait::Park,
}

/// # Making it
impl<'s> RecSet<'s> {
    /// An empty set with room for as many RECs as there are slots.
    ///
    /// RECs that a set left in the slots are dropped.
    pub fn new(slots: &'s mut [RecSlot], cpus: &'s dyn PhysicalCpus) -> Self {
        Self::in_slots(Slots::Lent(slots), cpus)
    }

    /// An empty set with room for `capacity` RECs, on the heap.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn with_capacity(capacity: usize, cpus: &'s dyn PhysicalCpus) -> Self {
        let slots = core::iter::repeat_with(RecSlot::new).take(capacity).collect();
        Self::in_slots(Slots::Owned(slots), cpus)
    }

    fn in_slots(mut slots: Slots<'s>, cpus: &'s dyn PhysicalCpus) -> Self {
        for slot in slots.all_mut() {
            *slot = RecSlot::new();
        }
        Self {
            slots,
            len: 0,
            cpus,
            clock: None,
            limit: AtomicUsize::new(usize::MAX),
            turning_on: AtomicUsize::new(0),
            pauses: AtomicU32::new(0),
            begun_pauses: AtomicU32::new(0),
            end: AtomicU32::new(0),
            #[cfg(feature = "std")]
            paused: wait::Park::new(),
        }
    }

    /// Sets the clock that [`Statistics`] measure time with: any counter that only increases.
    pub const fn set_clock(&mut self, clock: &'s (dyn Fn() -> u64 + Sync)) {
        self.clock = Some(clock);
    }

    /// Adds the next REC of the Realm and returns its index. `is_on` is whether it was created
    /// runnable. If the set is paused, so is the REC.
    ///
    /// # Errors
    ///
    /// The REC is returned with an [`AddError`].
    pub fn add(&mut self, rec: Rec, is_on: bool) -> Result<usize, Failed<Rec, AddError>> {
        let index = self.len;
        let found = rec.mpidr();
        if let Some(first) = self.rec(0)
            && first.realm() != rec.realm()
        {
            return Err(Failed::new(rec, AddError::OtherRealm));
        }
        if usize::try_from(found.index()) != Ok(index) {
            return Err(Failed::new(rec, AddError::OutOfOrder { found, index }));
        }
        let Some(slot) = self.slots.all_mut().get_mut(index) else {
            return Err(Failed::new(rec, AddError::Full));
        };
        *slot = RecSlot::of(rec, is_on);
        for _ in 0..*self.pauses.get_mut() {
            let _ = slot.word.update(Word::pause);
        }
        self.len = index.saturating_add(1);
        Ok(index)
    }

    /// Takes all RECs out, in the order of their indices, for the Realm to be torn down. The set is
    /// empty then, and not paused.
    pub fn drain(&mut self) -> impl Iterator<Item = Rec> {
        self.len = 0;
        *self.end.get_mut() = 0;
        *self.pauses.get_mut() = 0;
        *self.begun_pauses.get_mut() = 0;
        self.slots.all_mut().iter_mut().filter_map(|slot| core::mem::take(slot).into_rec())
    }
}

/// # The RECs
impl RecSet<'_> {
    /// RECs in the set.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no REC.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The REC with this index, in the order of creation: to name it and to look at it. Whatever
    /// enters it or changes its next entry is refused; the [`Runner`] does that.
    #[must_use]
    pub fn rec(&self, index: usize) -> Option<&Rec> {
        self.slot(index)?.rec()
    }

    /// The index of the REC with this MPIDR.
    #[must_use]
    pub fn index_of(&self, mpidr: Mpidr) -> Option<usize> {
        let index = usize::try_from(mpidr.index()).ok()?;
        (index < self.len).then_some(index)
    }

    /// The index of the REC with an MPIDR as PSCI and `MPIDR_EL1` have it: aff3 in bits 39:32. Bits
    /// that are no affinities are ignored, and of aff0 the upper four ([`Mpidr::from_psci`]).
    #[must_use]
    pub fn index_of_psci(&self, mpidr: u64) -> Option<usize> {
        self.index_of(Mpidr::from_psci(mpidr))
    }

    /// Whether the REC with this index is on, as far as the host knows.
    #[must_use]
    pub fn power(&self, index: usize) -> Option<Power> {
        Some(self.slot(index)?.word.load().power())
    }

    /// What the REC with this index did so far.
    #[must_use]
    pub fn statistics(&self, index: usize) -> Option<Statistics> {
        Some(self.slot(index)?.counters.read())
    }

    fn slot(&self, index: usize) -> Option<&RecSlot> {
        self.slots().get(index)
    }

    /// The slots that have a REC.
    fn slots(&self) -> &[RecSlot] {
        self.slots.all().get(..self.len).unwrap_or_default()
    }
}

/// # Kicks and interrupts
impl RecSet<'_> {
    /// Ends the run loop of a REC with [`Outcome::Kicked`]: the current one, also while the REC
    /// runs, or otherwise the next one. A thread that waits for the REC wakes.
    ///
    /// Returns whether there is a REC with this index.
    pub fn kick(&self, index: usize) -> bool {
        self.change(index, Word::kick)
    }

    /// Kicks all RECs.
    pub fn kick_all(&self) {
        for index in 0..self.len {
            self.kick(index);
        }
    }

    /// Tells that there is an interrupt or event for a REC, after it was recorded where
    /// [`Handler::before_entry`](crate::Handler::before_entry) finds it. If the REC runs, it exits
    /// and is entered again by the same loop; if it waits, a thread that waits for it wakes; if it
    /// is about to wait, it does not.
    ///
    /// Returns whether there is a REC with this index.
    pub fn notify(&self, index: usize) -> bool {
        self.change(index, Word::notify)
    }

    fn change(&self, index: usize, change: impl Fn(Word) -> (Word, Effect)) -> bool {
        let Some(slot) = self.slot(index) else { return false };
        let effect = slot.word.update(change);
        self.carry_out(index, slot, effect);
        true
    }

    fn carry_out(&self, index: usize, slot: &RecSlot, effect: Effect) {
        if let Some(cpu) = effect.interrupt {
            self.cpus.interrupt(cpu);
        }
        if effect.wake {
            #[cfg(feature = "std")]
            slot.park.wake();
            self.cpus.wake(index);
        }
        let _ = slot;
    }
}

impl fmt::Debug for RecSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Drop for RecSet<'_> {
    /// Drops the RECs; their memory is leaked and counted.
    fn drop(&mut self) {
        self.drain().for_each(drop);
    }
}

/// Why a REC is not added to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// There is no slot left.
    #[error("the set has no slot left")]
    Full,
    /// It belongs to another Realm than those in the set.
    #[error("the REC belongs to another Realm")]
    OtherRealm,
    /// It is not the next one by its MPIDR.
    #[error("the REC with MPIDR {:#x} is not number {index}", found.raw())]
    OutOfOrder {
        /// Its MPIDR.
        found: Mpidr,
        /// The index that it would get.
        index: usize,
    },
}
