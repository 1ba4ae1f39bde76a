//! Eight threads, one session: each builds, runs and tears down Realms of its own, and delegates
//! and undelegates between them. All memory comes back to the host.
//!
//! `REALM_SDK_SOAK_REALMS` sets how many Realms each thread builds and tears down (6 by default).
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::thread;

use realm_sdk::abi::realm::OptionalParameter;
use realm_sdk::abi::{Dialect, Ipa};
use realm_sdk::builder::{Content, Realm, RealmConfig, RealmStorage, RecStart, Region};
use realm_sdk::conduits::counting::Counting;
use realm_sdk::host::{
    CountingLedger, FixedQuarantine, Host, Platform, RetryBudget, Rmm, SessionOptions, Undelegated,
};
use realm_sdk::rec::{Answer, Exit, Rec};
use realm_sdk::sro::{CallbackMemory, FixedPool, Pool, open};
use rmm_model::{Action, Model, Options, Script};

const MIB: u64 = 1 << 20;

/// Builds, runs and tears down one Realm with two RECs, which run at the same time.
///
/// In 1.0 the host chooses VMIDs, which no two Realms may share.
fn run_realm<P: Platform + Sync>(
    rmm: &Rmm<P>,
    model: &Model,
    memory: Undelegated,
    vmid: u16,
) -> Undelegated
where
    P::Conduit: Sync,
{
    let mut config = RealmConfig::new(40);
    if OptionalParameter::Vmid.exists_in(rmm.dialect()) {
        config.vmid = vmid;
    }
    let mut memory = memory;
    let whole = memory.range();
    let mut returned = Vec::new();
    let mut take = |bytes| memory.take_front(bytes).unwrap();
    let mut pool = FixedPool::<16>::new();
    pool.add(take(Pool::PAGES)).unwrap();
    pool.add(take(64 << 12)).unwrap();
    let run_pages = [take(0x1000), take(0x1000)];
    let mut storage = RealmStorage::<16, 8>::new();
    let mut realm = Realm::create(rmm, &config, &mut storage, &mut pool).unwrap();
    let image = [0x5a; 0x3000];
    let mut regions = [
        Region::new(Ipa::new(0x4000_0000), take(0x3000), Content::Measured(&image)),
        Region::new(Ipa::new(0x4020_0000), memory.take(), Content::Unspecified),
    ];
    realm.populate(&mut pool, &mut regions).unwrap();
    let objects = [true, false].map(|runnable| {
        let start = RecStart { runnable, pc: Ipa::new(0x4000_0000), gprs: [0; 8] };
        realm.create_rec(&mut pool, &start).unwrap()
    });
    let uart = Ipa::new(0x80_0900_0000);
    let rd = realm.rd().pa();
    let hello = |n| Action::Store { ipa: uart, bytes: 1, value: n };
    let mut first: Vec<_> = (0..20).map(hello).collect();
    first.insert(0, Action::psci_cpu_on(1, 0x4000_0000, 0));
    first.push(Action::psci_cpu_off());
    let mut second: Vec<_> = (20..40).map(hello).collect();
    second.push(Action::psci_cpu_off());
    model.set_guest(rd, 0, Box::new(Script::new(first)));
    model.set_guest(rd, 1, Box::new(Script::new(second)));

    let realm = realm.activate().unwrap();
    let geometry = realm.geometry();
    let [one, two] = {
        let mut pages = run_pages.into_iter();
        objects.map(|object| Rec::new(object, pages.next().unwrap(), geometry))
    };
    // It is named while it runs.
    let mut waiting = Some(&two);
    thread::scope(|scope| {
        let mut answer = Answer::resume();
        let mut running = None;
        loop {
            let event = one.enter(rmm, answer).unwrap();
            answer = match event.exit {
                Exit::MmioStore(store) => store.complete(),
                Exit::PsciRequest(request) => {
                    let answer = request.accept(rmm, &one, &two).unwrap();
                    let two = waiting.take().unwrap();
                    running = Some(scope.spawn(move || run_to_its_end(rmm, two)));
                    answer
                }
                Exit::PsciNotice(_) => break,
                other => panic!("{other:?}"),
            };
        }
        running.unwrap().join().unwrap();
    });
    let recs = [one, two].map(|rec| {
        let (object, page) = rec.into_parts();
        returned.push(page);
        object
    });
    assert_eq!(
        realm
            .tear_down(
                &mut CallbackMemory::freeing(&mut pool, |memory| returned.push(memory)),
                recs
            )
            .error,
        None
    );
    pool.drain(rmm, &mut |memory| returned.push(memory));
    returned.sort_by_key(|memory| memory.base());
    let mut all = Undelegated::empty();
    for part in returned {
        all.append(part).unwrap();
    }
    assert_eq!(all.range(), whole);
    all
}

fn run_to_its_end<P: Platform>(rmm: &Rmm<P>, rec: &Rec) {
    let mut answer = Answer::resume();
    loop {
        let event = rec.enter(rmm, answer).unwrap();
        answer = match event.exit {
            Exit::MmioStore(store) => store.complete(),
            Exit::PsciNotice(_) => return,
            other => panic!("{other:?}"),
        };
    }
}

#[test]
fn eight_threads_share_a_session() {
    let realms = std::env::var("REALM_SDK_SOAK_REALMS")
        .ok()
        .and_then(|realms| realms.parse().ok())
        .unwrap_or(6);
    for (dialect, ranges) in [
        (Dialect::TfRmm2026_07, false),
        (Dialect::V2_0Bet3, true),
        (Dialect::V2_0Bet1, false),
        (Dialect::V2_0Bet0, true),
        (Dialect::V1_0, false),
    ] {
        let mut options = Options::new(dialect);
        if dialect.is_2_0() {
            options.yield_every = std::num::NonZeroU32::new(7);
            options.busy_every = std::num::NonZeroU32::new(5);
        }
        let model = Model::new(if ranges { options.range_capable() } else { options }).unwrap();
        let conduit = Counting::new(&model);
        let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<8>::new());
        let mut memory = model.take_memory();
        let pages = memory.take_front(Pool::PAGES).unwrap();
        let mut pool = FixedPool::<2>::new();
        pool.add(pages).unwrap();
        let mut session = SessionOptions::default();
        session.retry_budget = RetryBudget { busy: 100_000, ..RetryBudget::default() };
        let platform =
            Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
        let rmm = open(platform, session, &mut pool).unwrap();
        let shares: Vec<_> = (0..8).map(|_| memory.take_back(4 * MIB).unwrap()).collect();
        thread::scope(|scope| {
            for (vmid, mut share) in (1..).zip(shares) {
                let (rmm, model) = (&rmm, &model);
                scope.spawn(move || {
                    for _ in 0..realms {
                        share = run_realm(rmm, model, share, vmid);
                        let delegated = rmm.delegate(share).unwrap();
                        share = rmm.undelegate(delegated).unwrap();
                    }
                });
            }
        });
        let balance = ledger.balance();
        assert_eq!(balance.outstanding(), 0, "{balance}");
        assert_eq!((balance.quarantined, balance.dropped_operations), (0, 0));
        assert_eq!(balance.donated, balance.reclaimed);
        let census = model.census();
        assert_eq!((census.undelegated, model.open_operations()), (census.total, 0));
        pool.drain(&rmm, &mut |_| {});
    }
}
