//! An RMM that answers without doing anything, always in the same way: no operation runs without
//! end, and all memory is accounted for.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::time::Duration;

use realm_builder::{
    Active, BuildError, DismantleProgress, Realm, RealmConfig, RealmStorage, Terminated,
};
use rmi_abi::{Command, Ipa, IpaRange, PaRange};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::command::SharedAccess;
use rmi_host::{
    CountingLedger, Error, FixedQuarantine, Host, RetryBudget, SessionOptions, Subject, Undelegated,
};
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool, Pool, open};

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;
/// Pages that are mapped in descending order.
const PAGES: u64 = BLOCK;
const SHARED: u64 = 1 << 39;

type Platform<'a> =
    Host<&'a Injecting<&'a Model>, &'a Model, &'a CountingLedger, &'a FixedQuarantine<64>>;
type ActiveRealm<'r, 'a> = Realm<'r, Platform<'a>, Active>;
type TerminatedRealm<'r, 'a> = Realm<'r, Platform<'a>, Terminated>;

thread_local! {
    /// Time by a clock that advances by a millisecond at each reading.
    static TIME: Cell<u64> = const { Cell::new(0) };
}

fn clock() -> Duration {
    TIME.set(TIME.get() + 1);
    Duration::from_millis(TIME.get())
}

/// What is done to a Realm that has a block at 0, pages after it and a shared page.
enum Act {
    Active(fn(&ActiveRealm<'_, '_>, &mut Pool, &mut dyn FnMut(Undelegated))),
    Terminated(fn(&mut TerminatedRealm<'_, '_>, &mut Pool, &mut dyn FnMut(Undelegated))),
}

/// Calls `act` while one command does nothing and is answered with success and the address
/// `reached`; then tears the Realm down.
fn with_false_answer(command: Command, reached: u64, act: &Act) {
    let budget = RetryBudget { busy: 10, blocked: 10, steps: 50, ..RetryBudget::default() };
    with_budget(budget, command, reached, act);
}

/// As [`with_false_answer`], with this budget.
fn with_budget(retry_budget: RetryBudget, command: Command, reached: u64, act: &Act) {
    for dialect in Options::DIALECTS {
        let mut options = Options::new(dialect).range_capable();
        options.dram = PaRange::with_size(options.dram.base(), 8 * BLOCK).unwrap();
        let model = Model::new(options).unwrap();
        let answer = Fault::Instead([0, reached, 0, 0, 0, 0, 0, 0]);
        let conduit = Injecting::by_rule(&model, Rule::command(command, dialect), answer);
        let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<64>::new());
        let platform =
            Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
        let platform = platform.with_clock(clock);
        let mut memory = model.take_memory();
        let whole = memory.bytes();
        let mut first = memory.take_front(BLOCK).unwrap();
        let block = memory.take_front(BLOCK).unwrap();
        let mut take = |bytes| first.take_front(bytes).unwrap();
        let mut pool = FixedPool::<32>::new();
        pool.add(take(Pool::PAGES)).unwrap();
        pool.add(take(64 * PAGE)).unwrap();
        let mut session = SessionOptions::default();
        session.retry_budget = retry_budget;
        let rmm = open(platform, session, &mut pool).unwrap();
        let mut storage = RealmStorage::<16, 16>::new();
        let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
        realm.map(&mut pool, Ipa::new(0), block).unwrap();
        let mut pages = [take(PAGE), take(PAGE), take(PAGE)];
        pages.reverse();
        realm.map_scattered(&mut pool, Ipa::new(PAGES), &mut pages).unwrap();
        let shared = realm.share(&mut pool, Ipa::new(SHARED), take(PAGE), SharedAccess::MEMORY);
        shared.unwrap();
        let realm = realm.activate().unwrap();

        let mut bytes = first.bytes() + memory.bytes();
        let mut give_back = |memory: Undelegated| bytes += memory.bytes();
        let left = match act {
            Act::Active(act) => {
                act(&realm, &mut pool, &mut give_back);
                realm.tear_down(&mut CallbackMemory::freeing(&mut pool, &mut give_back), []).error
            }
            Act::Terminated(act) => {
                let mut realm = realm.terminate().unwrap();
                act(&mut realm, &mut pool, &mut give_back);
                realm.tear_down(&mut CallbackMemory::freeing(&mut pool, &mut give_back), []).error
            }
        };
        assert!(left.is_some());
        pool.drain(&rmm, &mut give_back);
        let balance = ledger.balance();
        assert_eq!((balance.outstanding(), balance.leaked), (0, 0), "{balance}");
        assert_eq!(
            bytes + (balance.quarantined + balance.untracked + balance.exposed) * PAGE,
            whole
        );
    }
}

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

#[test]
fn a_block_that_is_always_unmapped_in_part() {
    for reached in [PAGE, BLOCK / 2, BLOCK - PAGE, BLOCK + PAGE] {
        let act = Act::Active(|realm, pool, give_back| {
            let _ = realm
                .reclaim(&mut CallbackMemory::freeing(pool, &mut *give_back), range(0, 2 * BLOCK));
        });
        with_false_answer(Command::RttDataUnmap, reached, &act);
    }
}

#[test]
fn reclaiming_that_makes_no_progress() {
    for reached in [0, PAGES, PAGES + PAGE] {
        let act = Act::Active(|realm, pool, give_back| {
            assert!(
                realm
                    .reclaim(
                        &mut CallbackMemory::freeing(pool, &mut *give_back),
                        range(PAGES, BLOCK)
                    )
                    .is_err()
            );
        });
        with_false_answer(Command::RttDataUnmap, reached, &act);
    }
    // An RMM is allowed to stop where it began.
    let act = Act::Active(|realm, pool, give_back| {
        let error = realm
            .reclaim(&mut CallbackMemory::freeing(pool, &mut *give_back), range(PAGES, BLOCK))
            .unwrap_err();
        assert_eq!(
            (error.error, error.reached),
            (no_progress(Command::RttDataUnmap, PAGES), Ipa::new(PAGES))
        );
    });
    with_false_answer(Command::RttDataUnmap, PAGES, &act);
}

/// The error for an RMM that makes no progress: the command that was issued, and no violation.
fn no_progress(command: Command, ipa: u64) -> BuildError {
    let error = Error::no_progress(command, Subject::Ipa(Ipa::new(ipa)));
    assert!(error.is_clean() && error.command() == Some(command));
    BuildError::Call(error)
}

#[test]
fn unsharing_that_makes_no_progress() {
    let act = Act::Active(|realm, pool, give_back| {
        let error = realm
            .unshare(&mut CallbackMemory::freeing(pool, &mut *give_back), range(SHARED, BLOCK))
            .unwrap_err();
        assert_eq!(
            (error.error, error.reached),
            (no_progress(Command::RttUnprotUnmap, SHARED), Ipa::new(SHARED))
        );
        assert_eq!(
            error.error.to_string(),
            "RMI_RTT_UNPROT_UNMAP for IPA 0x8000000000 made no progress within the retry budget; \
             try again later"
        );
    });
    with_false_answer(Command::RttUnprotUnmap, SHARED, &act);
}

/// A host that dismantles a Realm call by call also gets the error for no progress.
#[test]
fn dismantling_that_makes_no_progress() {
    let act = Act::Terminated(|realm, pool, give_back| {
        let ended = (0..1000).any(|_| {
            realm.dismantle(&mut CallbackMemory::freeing(pool, &mut *give_back), 1)
                != Ok(DismantleProgress::More)
        });
        assert!(ended);
    });
    with_false_answer(Command::RttUnprotUnmap, SHARED, &act);
    let shared = Act::Terminated(|realm, pool, give_back| {
        let error =
            realm.dismantle(&mut CallbackMemory::freeing(pool, &mut *give_back), 1000).unwrap_err();
        assert_eq!(BuildError::Call(error), no_progress(Command::RttUnprotUnmap, SHARED));
    });
    with_false_answer(Command::RttUnprotUnmap, SHARED, &shared);
    with_false_answer(Command::RttDataUnmap, 0, &act);
}

/// However often it may be repeated, it ends with its time.
#[test]
fn no_progress_ends_when_time_is_over() {
    let time = Some(Duration::from_millis(20));
    let budget = RetryBudget { busy: u32::MAX, time, ..RetryBudget::default() };
    let act = Act::Active(|realm, pool, give_back| {
        let before = TIME.get();
        let error = realm
            .reclaim(&mut CallbackMemory::freeing(pool, &mut *give_back), range(PAGES, BLOCK))
            .unwrap_err();
        assert_eq!(error.error, no_progress(Command::RttDataUnmap, PAGES));
        assert_eq!(TIME.get() - before, 21);
    });
    with_budget(budget, Command::RttDataUnmap, PAGES, &act);
    let act = Act::Terminated(|realm, pool, give_back| {
        let mut host = CallbackMemory::freeing(pool, &mut *give_back);
        // Two repetitions each; the time between them is not waited.
        for _ in 0..30 {
            assert_eq!(realm.dismantle(&mut host, 2), Ok(DismantleProgress::More));
        }
        let before = TIME.get();
        let error = realm.dismantle(&mut host, 1000).unwrap_err();
        assert_eq!(BuildError::Call(error), no_progress(Command::RttUnprotUnmap, SHARED));
        assert_eq!(TIME.get() - before, 21);
    });
    with_budget(budget, Command::RttUnprotUnmap, SHARED, &act);
}
