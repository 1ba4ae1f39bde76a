//! Pools of memory: where they get their pages, what they report as missing, and that they can be
//! used again.
// Uses machines of 1 GiB, which are too large for Miri.
#![cfg(not(miri))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::{Command, Dialect, Ipa, IpaRange};
use rmi_host::{
    CountingLedger, Error, FixedQuarantine, Platform, Rd, Rmm, SessionError, SessionOptions,
    Undelegated,
};
use rmm_model::Model;
use sro::{
    CallbackMemory, FixedPool, FixedSlots, GrowingPool, HostMemory, Pool, RecObject,
    free_or_quarantine, open,
};

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;

fn realm<P: Platform>(rmm: &Rmm<P>, memory: &mut Undelegated) -> Rd {
    let mut take = || memory.take_front(PAGE).unwrap();
    let (rd, root, mut page) = (take(), take(), take());
    let rd = rmm.delegate(rd).unwrap();
    let root = rmm.delegate(root).unwrap();
    let geometry = rmi_abi::rtt::Geometry::new(40).unwrap();
    let params = rmi_abi::realm::RealmParams::new(geometry, root.base());
    let params = params.encode(rmm.dialect()).unwrap();
    let _ = rmm.commands().realm_create(&rd, &mut page, &params).unwrap();
    let _ = root.into_use();
    Rd::new(rd)
}

/// Adds exactly what is missing until nothing is; returns how often, and how much in total.
fn meet<R>(
    pool: &mut Pool,
    memory: &mut Undelegated,
    mut attempt: impl FnMut(&mut Pool) -> Result<R, Error>,
) -> (R, u32, u64) {
    let (mut times, mut total) = (0, 0);
    loop {
        match attempt(pool) {
            Ok(result) => return (result, times, total),
            Err(Error::NeedMemory { bytes, alignment, .. }) => {
                while !memory.base().is_aligned(alignment) {
                    drop(memory.take_front(PAGE));
                }
                pool.add(memory.take_front(bytes).unwrap()).unwrap();
                (times, total) = (times + 1, total + bytes);
                assert!(times < 8, "asked again and again");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The pool's own pages are part of what is missing: one report is enough.
#[test]
fn what_is_missing_includes_the_pages() {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(model.host(), &mut memory).unwrap();
    let rd = realm(&rmm, &mut memory);
    let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
    let mut pool = FixedPool::<4>::new();
    let create = |pool: &mut Pool| RecObject::create(&rmm, &rd, pool, &params);
    let (rec, times, total) = meet(&mut pool, &mut memory, create);
    assert_eq!((times, total, pool.bytes()), (1, 17 * PAGE + Pool::PAGES, (0, 0)));
    rec.destroy(&rmm, &mut pool).unwrap();

    let mut pool = FixedPool::<4>::new();
    let take = |pool: &mut Pool| pool.take(&rmm, Command::RttCreate, BLOCK, BLOCK);
    let (block, times, total) = meet(&mut pool, &mut memory, take);
    assert_eq!((times, total), (1, BLOCK + Pool::PAGES));
    pool.give_back(&rmm, block);

    let mut pool = FixedPool::<4>::new();
    let stock = |pool: &mut Pool| pool.stock(&rmm, Command::RttCreate, 3 * PAGE);
    let ((), times, total) = meet(&mut pool, &mut memory, stock);
    assert_eq!((times, total, pool.bytes().1), (1, 3 * PAGE + Pool::PAGES, 3 * PAGE));
}

/// Opening a session with an empty pool is refused before any call, and reports the pages.
#[test]
fn an_empty_pool_opens_no_session() {
    let model = test_support::model(Dialect::V2_0Bet3);
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<4>::new();
    let failed = open(model.host(), SessionOptions::default(), &mut pool).unwrap_err();
    let SessionError::Call(Error::NeedMemory { bytes, alignment, .. }) = failed.error else {
        panic!("{}", failed.error)
    };
    assert_eq!((bytes, alignment, model.calls()), (Pool::PAGES, PAGE, 0));
    pool.add(memory.take_front(bytes).unwrap()).unwrap();
    assert_eq!(pool.bytes(), (0, 0));
    let session = test_support::open(failed.kept, &mut pool);
    assert!(session.close(&mut pool).unwrap().deactivated);
}

/// A command that needs a page says that it needs memory, not that its argument is wrong.
#[test]
fn a_command_without_a_page_needs_memory() {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(model.host(), &mut memory).unwrap();
    let rd = realm(&rmm, &mut memory);
    let rec = rmm.delegate(memory.take_front(PAGE).unwrap()).unwrap();
    let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
    let calls = model.calls();
    let mut pool = FixedPool::<4>::new();
    let page = pool.pages().page;
    let error = rmm.commands().rec_create(&rd, &rec, page, &params.encode()).unwrap_err();
    assert_eq!(error, Error::need_memory(Command::RecCreate, PAGE, PAGE));
    assert_eq!(model.calls(), calls);
}

/// The pages come from the back, so that a block at the front stays one.
#[test]
fn the_pages_come_from_the_back() {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let mut memory = model.take_memory();
    let mut pool = GrowingPool::new();
    pool.add(memory.take_front(PAGE).unwrap()).unwrap();
    assert_eq!(
        (pool.bytes(), pool.pages().page.bytes(), pool.pages().list.bytes()),
        ((0, 0), PAGE, 0)
    );
    while !memory.base().is_aligned(BLOCK) {
        drop(memory.take_front(PAGE));
    }
    let base = memory.base();
    pool.add(memory.take_front(BLOCK + PAGE).unwrap()).unwrap();
    assert_eq!(pool.pages().list.base(), base.checked_add(BLOCK).unwrap());
    assert_eq!(pool.take_host(BLOCK, BLOCK).map(Undelegated::into_raw).unwrap().base(), base);
}

/// A pool in a static is emptied and used again, also for memory of another machine.
#[test]
fn a_static_pool_is_used_again() {
    static POOL: spin::Mutex<Pool<FixedSlots<4>>> = spin::Mutex::new(Pool::new());
    for _ in 0..2 {
        let (ledger, model) = (CountingLedger::new(), test_support::model(Dialect::TfRmm2026_07));
        let mut memory = model.take_memory();
        let mut pool = POOL.lock();
        pool.add(memory.take_front(16 * PAGE).unwrap()).unwrap();
        let foreign = test_support::model(Dialect::TfRmm2026_07).take_memory();
        let foreign = pool.add(foreign).unwrap_err();
        let host = model.host().with_ledger(&ledger);
        let session = test_support::open(host, &mut pool);
        pool.prefill(&session, 4 * PAGE, PAGE).unwrap();
        let mut bytes = 0;
        pool.drain(&session, &mut |memory| bytes += memory.into_raw().bytes());
        assert_eq!((bytes, pool.bytes()), (16 * PAGE, (0, 0)));
        assert_eq!((pool.pages().list.bytes(), ledger.balance().outstanding()), (0, 0));
        let _ = foreign.into_raw();
    }
}

/// A pool that `free` is called on without a slot keeps nothing and loses nothing.
#[test]
fn memory_that_no_one_accepts_is_quarantined() {
    struct Refusing<'p>(&'p mut Pool);
    impl HostMemory for Refusing<'_> {
        fn pool(&mut self) -> &mut Pool {
            self.0
        }
        fn free(&mut self, memory: Undelegated) -> Result<(), Undelegated> {
            Err(memory)
        }
    }
    let model = test_support::model(Dialect::TfRmm2026_07);
    let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<4>::new());
    let host = model.host().with_ledger(&ledger).with_quarantine(&quarantine);
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(host, &mut memory).unwrap();
    let mut pool = FixedPool::<1>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    let mut pieces = [(); 2].map(|()| {
        let piece = memory.take_front(PAGE).unwrap();
        drop(memory.take_front(PAGE));
        piece
    });
    for piece in &mut pieces {
        free_or_quarantine(&rmm, &mut Refusing(&mut pool), piece.take());
    }
    free_or_quarantine(&rmm, &mut Refusing(&mut pool), Undelegated::empty());
    assert_eq!((pool.bytes().0, quarantine.len()), (PAGE, 1));
    assert_eq!((ledger.balance().quarantined, ledger.balance().leaked), (1, 0));
}

/// Memory for an IPA range: blocks where the range begins at one, and otherwise granules.
#[test]
fn a_pool_allocates_for_the_front_of_a_range() {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let mut memory = model.take_memory();
    while !memory.base().is_aligned(BLOCK) {
        drop(memory.take_front(PAGE));
    }
    let mut pool = FixedPool::<8>::new();
    let mut pool: &mut Pool = &mut pool;
    pool.add(memory.take_front(3 * BLOCK).unwrap()).unwrap();
    // As a function of the SDK sees it.
    let memory: &mut dyn HostMemory = &mut pool;
    let mut ask = |base: u64, bytes: u64| {
        let range = IpaRange::with_size(Ipa::new(base), bytes).unwrap();
        memory
            .allocate(range)
            .map(|memory| (memory.base().raw() % BLOCK, memory.into_raw().bytes()))
    };
    assert_eq!(ask(0x4000_0000, BLOCK + PAGE), Some((0, BLOCK)));
    assert_eq!(ask(0x4000_1000, 3 * PAGE).map(|(_, bytes)| bytes), Some(3 * PAGE));
    // Not aligned to a block, so it is asked for in granules; all that there is.
    let rest = 2 * BLOCK - Pool::PAGES - 3 * PAGE;
    let all = core::iter::from_fn(|| ask(0x4000_1000, 4 * BLOCK)).map(|(_, bytes)| bytes);
    assert_eq!(all.sum::<u64>(), rest);
    assert_eq!(ask(0x4000_0000, 0), None);
}

fn machine() -> (Model, Undelegated) {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let memory = model.take_memory();
    (model, memory)
}

/// The front of `memory`, which does not touch what was taken before.
fn apart(memory: &mut Undelegated, granules: u64) -> Undelegated {
    drop(memory.take_front(PAGE));
    memory.take_front(granules * PAGE).unwrap()
}

/// All memory in a pool is of one machine, whichever kind it is.
#[test]
fn sound_3_a_pool_refuses_memory_of_another_machine() {
    let ((own, mut memory), (other, mut foreign)) = (machine(), machine());
    let rmm = rmm_model::open(own.host(), &mut memory).unwrap();
    let other = rmm_model::open(other.host(), &mut foreign).unwrap();
    let mut pool = FixedPool::<4>::new();
    // First it has nothing but its pages, then only delegated memory, then only host memory.
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    for step in 0..3 {
        let before = pool.bytes();
        let host = pool.add(apart(&mut foreign, 1)).unwrap_err();
        assert_eq!(host.bytes(), PAGE, "{step}");
        let delegated = pool.add_delegated(other.delegate(host).unwrap()).unwrap_err();
        assert_eq!((delegated.bytes(), pool.bytes()), (PAGE, before), "{step}");
        let _ = other.undelegate(delegated).unwrap().into_raw();
        assert!(pool.add(Undelegated::empty()).is_ok(), "nothing is of any machine");
        match step {
            0 => pool.add_delegated(rmm.delegate(apart(&mut memory, 2)).unwrap()).unwrap(),
            _ => pool.undelegate(&rmm),
        }
    }
    assert_eq!(pool.bytes(), (2 * PAGE, 0));
}

#[test]
fn a_full_pool_returns_delegated_memory() {
    let (model, mut memory) = machine();
    let rmm = rmm_model::open(model.host(), &mut memory).unwrap();
    let mut pool = FixedPool::<1>::new();
    let mut delegated = || rmm.delegate(apart(&mut memory, 1)).unwrap();
    let (first, second) = (delegated(), delegated());
    let place = second.range();
    pool.add_delegated(first).unwrap();
    assert_eq!(pool.add_delegated(second).unwrap_err().range(), place);
    assert_eq!(pool.bytes(), (0, PAGE));
}

/// Stocking what the pool does not have is refused before any call.
#[test]
fn stocking_more_than_there_is_makes_no_call() {
    let (model, mut memory) = machine();
    let rmm = rmm_model::open(model.host(), &mut memory).unwrap();
    let mut pool = FixedPool::<4>::new();
    pool.add(memory.take_front(Pool::PAGES + 4 * PAGE).unwrap()).unwrap();
    let calls = model.calls();
    let error = pool.stock(&rmm, Command::RttCreate, 7 * PAGE).unwrap_err();
    assert_eq!(error, Error::need_memory(Command::RttCreate, 3 * PAGE, PAGE));
    assert_eq!((pool.bytes(), model.calls()), ((4 * PAGE, 0), calls));
}

/// What has no slot would go to quarantine, so it stays host memory.
#[test]
fn stocking_stops_when_no_slot_is_free() {
    let (model, mut memory) = machine();
    let quarantine = FixedQuarantine::<4>::new();
    let host = model.host().with_quarantine(&quarantine);
    let rmm = rmm_model::open(host, &mut memory).unwrap();
    let mut pool = FixedPool::<1>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add_delegated(rmm.delegate(apart(&mut memory, 1)).unwrap()).unwrap();
    pool.add(apart(&mut memory, 4)).unwrap();
    pool.stock(&rmm, Command::RttCreate, 3 * PAGE).unwrap();
    assert_eq!((pool.bytes(), quarantine.is_empty()), ((4 * PAGE, PAGE), true));
}

/// A pool without its pages is short of them, whatever the command itself takes.
#[test]
fn a_reserve_includes_the_pages() {
    let (_model, mut memory) = machine();
    let mut pool = FixedPool::<4>::new();
    let error = pool.check_reserve(Command::RealmCreate, 0).unwrap_err();
    assert_eq!(error, Error::need_memory(Command::RealmCreate, Pool::PAGES, PAGE));
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    assert_eq!(pool.check_reserve(Command::RealmCreate, 0), Ok(()));
}

/// Delegated memory that is too short for a REC is used first, and the rest delegated.
#[test]
fn a_rec_takes_delegated_and_host_memory() {
    let (model, mut memory) = machine();
    let rmm = rmm_model::open(model.host(), &mut memory).unwrap();
    let rd = realm(&rmm, &mut memory);
    let mut pool = FixedPool::<4>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(apart(&mut memory, 6)).unwrap();
    pool.add(apart(&mut memory, 11)).unwrap();
    pool.prefill(&rmm, 6 * PAGE, PAGE).unwrap();
    let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
    let rec = RecObject::create(&rmm, &rd, &mut pool, &params).unwrap();
    assert_eq!((rec.donated_bytes(), pool.bytes()), (16 * PAGE, (0, 0)));
    rec.destroy(&rmm, &mut pool).map_err(|failed| failed.error).unwrap();
}

/// A run that is longer than what is missing is split.
#[test]
fn a_rec_takes_no_more_than_it_needs() {
    let (model, mut memory) = machine();
    let rmm = rmm_model::open(model.host(), &mut memory).unwrap();
    let rd = realm(&rmm, &mut memory);
    let mut pool = FixedPool::<4>::new();
    pool.add(memory.take_front(Pool::PAGES + 20 * PAGE).unwrap()).unwrap();
    pool.prefill(&rmm, 20 * PAGE, PAGE).unwrap();
    let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
    let rec = RecObject::create(&rmm, &rd, &mut pool, &params).unwrap();
    assert_eq!((rec.donated_bytes(), pool.bytes()), (16 * PAGE, (0, 3 * PAGE)));
    rec.destroy(&rmm, &mut pool).map_err(|failed| failed.error).unwrap();
}

/// By default memory comes from the pool and goes back to it, also through a reference.
#[test]
fn memory_of_a_pool_alone() {
    struct Alone(FixedPool<4>);
    impl HostMemory for Alone {
        fn pool(&mut self) -> &mut Pool {
            &mut self.0
        }
    }
    fn pass<M: HostMemory>(mut memory: M, range: IpaRange) {
        let front = memory.allocate(range).unwrap();
        assert_eq!((front.bytes(), memory.pool().bytes().0), (2 * PAGE, 0));
        memory.free(front).unwrap();
        assert_eq!(memory.pool().bytes().0, 2 * PAGE);
    }
    let (_model, mut memory) = machine();
    let mut alone = Alone(FixedPool::new());
    alone.0.add(memory.take_front(Pool::PAGES + 2 * PAGE).unwrap()).unwrap();
    let range = IpaRange::with_size(Ipa::new(PAGE), 2 * PAGE).unwrap();
    pass(&mut alone, range);
    pass(alone, range);
}

/// Memory of two functions: neither is replaced by the pool.
#[test]
fn memory_of_two_functions() {
    let (_model, mut memory) = machine();
    let mut pool = FixedPool::<4>::new();
    pool.add(memory.take_front(Pool::PAGES + 2 * PAGE).unwrap()).unwrap();
    let mut freed = 0;
    let mut callbacks = CallbackMemory::new(
        &mut pool,
        |range| memory.take_front(range.bytes()),
        |memory| {
            freed += memory.bytes();
            Err(memory)
        },
    );
    let range = IpaRange::with_size(Ipa::new(PAGE), 3 * PAGE).unwrap();
    // As a function of the SDK that has a reference to a value calls it.
    let mut passed = &mut callbacks;
    let front = HostMemory::allocate(&mut passed, range).unwrap();
    assert_eq!(front.bytes(), 3 * PAGE);
    let refused = HostMemory::free(&mut passed, front).unwrap_err();
    assert_eq!((refused.bytes(), callbacks.pool().bytes().0), (3 * PAGE, 2 * PAGE));
    let text = format!("{callbacks:?}");
    assert!(text.starts_with("CallbackMemory") && text.contains("Pool"), "{text}");
    assert_eq!(freed, 3 * PAGE);
}
