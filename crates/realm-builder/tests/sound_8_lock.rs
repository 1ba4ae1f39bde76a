//! The lock of a Realm is the platform's, and is held for records only.
#![expect(unsafe_code, reason = "a lock of the embedder")]

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use realm_builder::{Realm, RealmConfig, RealmStorage, RecStart, Reclaimed};
use rmi_abi::{Dialect, Ipa, IpaRange, Status};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::lock_api::{GuardNoSend, RawMutex};
use rmi_host::{Host, Registers};
use rmm_model::{Model, Options};
use sro::{FixedPool, Pool};

const D: Dialect = Dialect::TfRmm2026_07;
const PAGE: u64 = 0x1000;

thread_local! {
    /// Whether this thread, "this CPU", has interrupts masked.
    static MASKED: Cell<bool> = const { Cell::new(false) };
    /// How often the lock was taken.
    static TAKEN: Cell<u32> = const { Cell::new(0) };
    /// Calls to the RMM.
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

/// A lock that masks interrupts while it is held.
struct Masking(AtomicBool);

// SAFETY: only the caller that changes the value from false to true holds the lock.
unsafe impl RawMutex for Masking {
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = GuardNoSend;

    fn lock(&self) {
        assert!(self.try_lock(), "taken twice by one thread");
    }

    fn try_lock(&self) -> bool {
        let free = !self.0.swap(true, Ordering::Acquire);
        if free {
            MASKED.set(true);
            TAKEN.set(TAKEN.get() + 1);
        }
        free
    }

    unsafe fn unlock(&self) {
        MASKED.set(false);
        self.0.store(false, Ordering::Release);
    }
}

/// What happens at each call to the RMM.
fn at_a_call(_: &Registers) -> bool {
    assert!(!MASKED.get(), "a call with interrupts masked");
    CALLS.set(CALLS.get() + 1);
    false
}

#[test]
fn sound_8_the_lock_is_the_platforms_and_free_at_each_call() {
    let model = Model::new(Options::new(D).range_capable()).unwrap();
    let at_each_call: fn(&Registers) -> bool = at_a_call;
    let conduit = Injecting::by_rule(
        &model,
        Rule::any().when(at_each_call),
        Fault::status(Status::ErrorInput),
    );
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<16>::new();
    pool.add(memory.take_front(Pool::PAGES + 64 * PAGE).unwrap()).unwrap();
    let platform = Host::new(&conduit, &model).with_lock::<Masking>();
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<16, 4>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let mut realm = realm.populated();
    let start = RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] };
    let rec = realm.create_rec(&mut pool, &start).unwrap();
    let realm = realm.activate().unwrap();

    TAKEN.set(0);
    CALLS.set(0);
    let ram = IpaRange::with_size(Ipa::new(0x4000), 4 * PAGE).unwrap();
    realm.map(&mut pool, ram.base(), memory.take_front(4 * PAGE).unwrap()).unwrap();
    let (taken, calls) = (TAKEN.get(), CALLS.get());
    assert!(taken > 0 && calls > 0, "locked {taken} times, {calls} calls");
    assert!(matches!(realm.reclaim(&mut pool, ram), Ok(Reclaimed::Whole)));
    assert!(TAKEN.get() > taken && CALLS.get() > calls);

    let torn = realm.tear_down(&mut pool, [rec]);
    assert!(torn.error.is_none());
    assert!(!MASKED.get());
}
