//! Code of the embedder that panics in the middle of a command: no token of host memory is left for
//! memory that the RMM or a Realm has.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rmi_abi::desc::BlockSize;
use rmi_abi::realm::RealmParams;
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Dialect, Ipa, PaRange};
use rmi_host::command::{Offer, ShareAt, Shared, SharedAccess};
use rmi_host::{
    Conduit, Configured, Discovered, Host, Ledger, LedgerEvent, Progress, Rd, Registers, Rmm,
    SessionOptions, Undelegated, leaked,
};
use rmm_model::{GranuleState, Model, Options};

const PAGE: u64 = 0x1000;
const PAGES: BlockSize = BlockSize::Page;
const DIALECT: Dialect = Dialect::V2_0Bet3;
const SHARED: Ipa = Ipa::new(1 << 39);

/// All threads share the count of leaked granules, so the tests run one at a time.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Panics at the event of the number that it is given, counted from 1; never at 0.
#[derive(Debug, Default)]
struct Fuse(AtomicU64);

impl Fuse {
    fn burn(&self) {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        assert_ne!(left, 1, "a panic on purpose");
    }
}

impl Ledger for Fuse {
    fn record(&self, _: LedgerEvent, _: PaRange) {
        self.burn();
    }
}

/// Panics after the call is made and answered.
#[derive(Debug)]
struct Layer<'m> {
    model: &'m Model,
    fuse: Fuse,
}

#[expect(unsafe_code, reason = "a conduit passes the caller's promise on")]
mod conduit {
    use super::*;

    // SAFETY: the answers are the model's.
    unsafe impl Conduit for Layer<'_> {
        fn open_sessions(&self) -> &rmi_host::OpenSessions {
            self.model.open_sessions()
        }

        unsafe fn call(&self, registers: Registers) -> Registers {
            // SAFETY: the caller's promise is passed on unchanged.
            let answer = unsafe { self.model.call(registers) };
            self.fuse.burn();
            answer
        }
    }
}

fn model() -> Model {
    let mut options = Options::new(DIALECT);
    // It wants host memory.
    options.rmm_activate_donates = 4;
    Model::new(options).unwrap()
}

fn layer(model: &Model) -> Layer<'_> {
    Layer { model, fuse: Fuse::default() }
}

type Platform<'m> = Host<&'m Layer<'m>, &'m Model, &'m Fuse>;

fn found<'m>(
    layer: &'m Layer<'m>,
    ledger: &'m Fuse,
    page: &mut Undelegated,
) -> Configured<Platform<'m>> {
    let platform = Host::new(layer, layer.model).with_ledger(ledger);
    let found = Discovered::probe(platform, SessionOptions::default()).unwrap();
    found.configure(page).unwrap()
}

/// The session of an RMM that was given its four granules.
fn active<'m>(
    layer: &'m Layer<'m>,
    ledger: &'m Fuse,
    memory: &mut Undelegated,
) -> Rmm<Platform<'m>> {
    let found = found(layer, ledger, memory);
    let Progress::Pending(mut pending) = found.start_activation().unwrap() else { panic!() };
    let rmm = found.into_active();
    let mut list = memory.take_front(PAGE).unwrap();
    let mut offers = [Offer::new(memory.take_front(4 * PAGE).unwrap())];
    let _ = rmm.commands().op_mem_donate(&mut pending, &mut list, &mut offers, PAGES).unwrap();
    let Ok(Progress::Done(_)) = rmm.commands().op_continue(pending) else {
        panic!("it has all it wants")
    };
    rmm
}

/// Runs something that panics on purpose.
fn caught<T>(run: impl FnOnce() -> T) {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let outcome = catch_unwind(AssertUnwindSafe(run));
    std::panic::set_hook(quiet);
    let Err(panic) = outcome else { panic!("it went on") };
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(said.contains("a panic on purpose"), "{said}");
}

fn all_are(model: &Model, range: PaRange, wanted: GranuleState) -> bool {
    (0..range.bytes() / PAGE)
        .all(|n| model.granule_state(range.base().checked_add(n * PAGE).unwrap()) == Some(wanted))
}

/// Two separate offers of host memory; the ledger or the conduit panics at its event number `at`.
fn donate(in_ledger: bool, at: u64) {
    let _turn = one_at_a_time();
    let model = model();
    let (layer, ledger) = (layer(&model), Fuse::default());
    let mut memory = model.take_memory();
    let mut list = memory.take_front(PAGE).unwrap();
    let found = found(&layer, &ledger, &mut list);
    let Progress::Pending(mut pending) = found.start_activation().unwrap() else { panic!() };
    let mut pair = [0; 2].map(|_| {
        let _ = memory.take_front(PAGE).unwrap().into_raw();
        Offer::new(memory.take_front(2 * PAGE).unwrap())
    });
    let ranges = [0, 1].map(|n: usize| pair[n].rest());
    let before = leaked();
    if in_ledger { &ledger } else { &layer.fuse }.0.store(at, Ordering::Relaxed);
    let rmm = found.into_active();
    caught(|| rmm.commands().op_mem_donate(&mut pending, &mut list, &mut pair, PAGES));
    for (offer, range) in pair.iter().zip(ranges) {
        assert!(all_are(&model, range, GranuleState::Internal));
        assert!(offer.rest().is_empty(), "a token of host memory for what the RMM has");
        assert_eq!(offer.taken(), range);
    }
    drop(pair);
    assert_eq!(leaked() - before, 4);
}

#[test]
fn sound_1_donated_memory_is_the_rmms_before_the_ledger_or_a_layer_panics() {
    // Each offer is delegated and donated in the ledger. Miri is slow.
    for at in if cfg!(miri) { 2..=2 } else { 1..=4 } {
        donate(true, at);
    }
    donate(false, 1);
}

/// A Realm with tables for shared memory.
fn realm(rmm: &Rmm<Platform<'_>>, memory: &mut Undelegated) -> Rd {
    let mut page = memory.take_front(PAGE).unwrap();
    let mut granule = || rmm.delegate(memory.take_front(PAGE).unwrap()).unwrap();
    let (rd, root) = (granule(), granule());
    let params = RealmParams::new(Geometry::new(40).unwrap(), root.base());
    let params = params.encode(rmm.dialect()).unwrap();
    let Progress::Done(_) = rmm.commands().realm_create(&rd, &mut page, &params).unwrap() else {
        panic!()
    };
    let rd = Rd::new(rd);
    for level in [Level::L1, Level::L2, Level::L3] {
        drop(rmm.commands().rtt_create(&rd, granule(), SHARED, level).unwrap());
    }
    drop(root);
    rd
}

#[test]
#[cfg_attr(miri, ignore = "slow")]
fn sound_1_shared_memory_is_the_realms_before_a_layer_panics() {
    let _turn = one_at_a_time();
    let model = model();
    let (layer, ledger) = (layer(&model), Fuse::default());
    let mut memory = model.take_memory();
    let rmm = active(&layer, &ledger, &mut memory);
    let rd = realm(&rmm, &mut memory);
    let at = ShareAt { rd: &rd, ipa: SHARED, access: SharedAccess::MEMORY };
    let mut list = memory.take_front(PAGE).unwrap();

    let mut parts = [0; 2].map(|_| {
        let _ = memory.take_front(PAGE).unwrap().into_raw();
        Shared::new(memory.take_front(2 * PAGE).unwrap())
    });
    let ranges = [0, 1].map(|n: usize| parts[n].rest.range());
    layer.fuse.0.store(1, Ordering::Relaxed);
    caught(|| rmm.commands().rtt_unprot_map_list(at, &mut list, &mut parts, PAGES));
    for (n, (part, range)) in (0..).zip(parts.iter().zip(ranges)) {
        assert!(part.rest.is_empty(), "a token of host memory for what a Realm reaches");
        assert_eq!(part.shared.range(), range);
        assert_eq!(part.shared.ipa().raw(), SHARED.raw() + n * 2 * PAGE);
    }
    // It is unmapped by the tokens that are left.
    let mut bytes = 0;
    let mut shared = parts.map(|part| part.shared);
    let top = rmm.commands().rtt_unprot_unmap_list(&rd, &mut shared, &mut list, &mut |host| {
        bytes += host.bytes();
    });
    assert_eq!((top.unwrap().raw(), bytes), (SHARED.raw() + 4 * PAGE, 4 * PAGE));

    // What a function owns when it panics is leaked, and counted.
    let before = leaked();
    let one = memory.take_front(PAGE).unwrap();
    layer.fuse.0.store(1, Ordering::Relaxed);
    caught(|| rmm.commands().rtt_unprot_map(at, one, PAGES));
    assert_eq!(leaked() - before, 1);
}

#[test]
fn sound_1_delegated_memory_is_counted_when_a_layer_or_the_ledger_panics() {
    let _turn = one_at_a_time();
    let model = model();
    let (layer, ledger) = (layer(&model), Fuse::default());
    let mut memory = model.take_memory();
    let rmm = active(&layer, &ledger, &mut memory);
    for fuse in [&layer.fuse, &ledger] {
        let mine = memory.take_front(4 * PAGE).unwrap();
        let (range, before) = (mine.range(), leaked());
        fuse.0.store(1, Ordering::Relaxed);
        caught(|| rmm.delegate(mine));
        // The first call may end before the whole range is done.
        assert_eq!(model.granule_state(range.base()), Some(GranuleState::Delegated));
        assert_eq!(leaked() - before, 4);
    }
}

/// A call of 1.0 names one granule or one entry. The memory that it does not name stays the host's.
#[test]
#[cfg_attr(miri, ignore = "slow")]
fn sound_1_what_a_call_of_1_0_names_changes_its_owner_before_a_layer_panics() {
    let _turn = one_at_a_time();
    let model = Model::new(Options::new(Dialect::V1_0)).unwrap();
    let (layer, ledger) = (layer(&model), Fuse::default());
    let mut memory = model.take_memory();
    let mut list = memory.take_front(PAGE).unwrap();
    let rmm = found(&layer, &ledger, &mut list).into_active();
    let rd = realm(&rmm, &mut memory);
    let at = ShareAt { rd: &rd, ipa: SHARED, access: SharedAccess::MEMORY };

    let mut parts = [0; 2].map(|_| Shared::new(memory.take_front(2 * PAGE).unwrap()));
    let range = parts[0].rest.range();
    layer.fuse.0.store(1, Ordering::Relaxed);
    caught(|| rmm.commands().rtt_unprot_map_list(at, &mut list, &mut parts, PAGES));
    let (first, second) = range.split_at(PAGE).unwrap();
    assert_eq!((parts[0].shared.range(), parts[0].rest.range()), (first, second));
    assert_eq!((parts[1].shared.bytes(), parts[1].rest.bytes()), (0, 2 * PAGE));
    // It is mapped, and unmapped by the token that is left.
    let mut shared = parts.map(|part| part.shared).into_iter().next().unwrap();
    layer.fuse.0.store(1, Ordering::Relaxed);
    caught(|| rmm.commands().rtt_unprot_unmap_some(&rd, &mut shared));
    assert_eq!(shared.range(), first);
    let host = rmm.commands().rtt_unprot_unmap_some(&rd, &mut shared).unwrap();
    assert_eq!((host.range(), shared.bytes()), (first, 0));

    // What a function owns when it panics is leaked, and counted: the page that the Realm reaches.
    let before = leaked();
    let two = memory.take_front(2 * PAGE).unwrap();
    layer.fuse.0.store(1, Ordering::Relaxed);
    caught(|| rmm.commands().rtt_unprot_map(at, two, PAGES));
    assert_eq!(leaked() - before, 1);
    // The second of four granules; the RMM may have any of them as far as the token shows.
    let four = memory.take_front(4 * PAGE).unwrap();
    let (range, before) = (four.range(), leaked());
    layer.fuse.0.store(2, Ordering::Relaxed);
    caught(|| rmm.delegate(four));
    assert!(all_are(&model, range.split_at(2 * PAGE).unwrap().0, GranuleState::Delegated));
    assert_eq!(leaked() - before, 4);
}

/// The RMM may give the handle of an operation that has ended to another one.
#[test]
fn sound_5_an_operation_that_has_ended_is_not_continued_again() {
    let _turn = one_at_a_time();
    let model = model();
    let (layer, ledger) = (layer(&model), Fuse::default());
    let mut memory = model.take_memory();
    let found = found(&layer, &ledger, &mut memory);
    let Progress::Pending(mut pending) = found.start_activation().unwrap() else { panic!() };
    let (rmm, dropped) = (found.into_active(), rmi_host::dropped_operations());
    let mut list = memory.take_front(PAGE).unwrap();
    let mut offers = [Offer::new(memory.take_front(4 * PAGE).unwrap())];
    let _ = rmm.commands().op_mem_donate(&mut pending, &mut list, &mut offers, PAGES).unwrap();
    let (mut place, mut reply) = (Some(pending), rmi_host::Reply::EMPTY);
    assert_eq!(rmm.commands().continue_in_place(&mut place, &mut reply), Ok(Some(Ok(()))));
    assert!(place.is_none());
    let calls = model.calls();
    assert_eq!(rmm.commands().continue_in_place(&mut place, &mut reply), Ok(None));
    assert_eq!((model.calls(), rmi_host::dropped_operations()), (calls, dropped));
}
