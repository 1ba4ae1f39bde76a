//! Eight threads, one session: each builds, runs and tears down Realms of its own, and delegates
//! and undelegates between them. All memory comes back to the host. In every dialect, and where an
//! RMM has granules of 16 KiB and 64 KiB, with these.
//!
//! `REALM_SDK_SOAK_REALMS` sets how many Realms each thread builds and tears down (6 by default).
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::thread;

use realm_sdk::abi::realm::OptionalParameter;
use realm_sdk::abi::{Dialect, GranuleSize, Ipa};
use realm_sdk::builder::{
    Content, FixedRecords, Realm, RealmConfig, RecStart, Records, Region, ShadowTable,
};
use realm_sdk::conduits::counting::Counting;
use realm_sdk::host::{
    CountingLedger, FixedQuarantine, Host, Platform, RetryBudget, Rmm, SessionOptions, Undelegated,
};
use realm_sdk::rec::{Answer, Exit, Rec};
use realm_sdk::sro::{CallbackMemory, FixedPool, Pool, open};
use rmm_model::{Action, Model, Options, Script};
use test_support::Scale;

/// Where each Realm has its image; the rest of its memory is a block behind.
const RAM: u64 = 0x4000_0000;

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
    let scale = Scale::new(rmm.granule_size());
    let page = scale.page;
    let mut config = RealmConfig::new(40);
    if OptionalParameter::Vmid.exists_in(rmm.dialect()) {
        config.vmid = vmid;
    }
    let mut memory = memory;
    let whole = memory.range();
    let mut returned = Vec::new();
    let mut take = |bytes| memory.take_front(bytes).unwrap();
    let mut pool = FixedPool::<16>::new();
    pool.set_granule_size(scale.granule);
    pool.add(take(Pool::pages_bytes(scale.granule))).unwrap();
    pool.add(take(64 * page)).unwrap();
    let run_pages = [take(page), take(page)];
    let parts = scale.shadow_tables(16);
    let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(parts).collect();
    let mut fixed = FixedRecords::new();
    let records = Records::new(&mut fixed, &mut tables, &mut []);
    let mut realm = Realm::create(rmm, &config, records, &mut pool).unwrap();
    let image = vec![0x5a; usize::try_from(3 * page).unwrap()];
    let mut regions = [
        Region::new(Ipa::new(RAM), take(3 * page), Content::Measured(&image)),
        Region::new(Ipa::new(RAM + scale.block), memory.take(), Content::Unspecified),
    ];
    realm.populate(&mut pool, &mut regions).unwrap();
    let objects = [true, false].map(|runnable| {
        let start = RecStart { runnable, pc: Ipa::new(RAM), gprs: [0; 8] };
        realm.create_rec(&mut pool, &start).unwrap()
    });
    let uart = Ipa::new(0x80_0900_0000);
    let rd = realm.rd().pa();
    let hello = |n| Action::Store { ipa: uart, bytes: 1, value: n };
    let mut first: Vec<_> = (0..20).map(hello).collect();
    first.insert(0, Action::psci_cpu_on(1, RAM, 0));
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
    let mut ranges = [false, true].into_iter().cycle();
    for dialect in Dialect::ALL {
        share_a_session(dialect, GranuleSize::Size4KiB, ranges.next().unwrap(), realms);
    }
    // On an RMM that takes ranges, and on one that does not.
    for granule in [GranuleSize::Size16KiB, GranuleSize::Size64KiB] {
        for dialect in Options::DIALECTS {
            share_a_session(dialect, granule, ranges.next().unwrap(), realms.div_ceil(6));
        }
        ranges.next();
    }
}

fn share_a_session(dialect: Dialect, granule: GranuleSize, ranges: bool, realms: u32) {
    let page = granule.bytes();
    let mut options = Options::new(dialect);
    if granule != GranuleSize::Size4KiB {
        options = options.with_all_granules();
    }
    if dialect.is_2_0() {
        options.yield_every = std::num::NonZeroU32::new(7);
        options.busy_every = std::num::NonZeroU32::new(5);
    }
    let model = Model::new(if ranges { options.range_capable() } else { options }).unwrap();
    let conduit = Counting::new(&model);
    let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<8>::new());
    let mut memory = model.take_memory();
    let pages = memory.take_front(Pool::pages_bytes(granule)).unwrap();
    let mut pool = FixedPool::<2>::new();
    pool.set_granule_size(granule);
    pool.add(pages).unwrap();
    let mut session = SessionOptions::default();
    session.granule_size = granule;
    session.retry_budget = RetryBudget { busy: 100_000, ..RetryBudget::default() };
    let platform = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let rmm = open(platform, session, &mut pool).unwrap();
    // Large enough for the pool, the image and more than 100 pages behind it.
    let bytes = if granule == GranuleSize::Size4KiB { 1024 * page } else { 256 * page };
    let shares: Vec<_> = (0..8).map(|_| memory.take_back(bytes).unwrap()).collect();
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
