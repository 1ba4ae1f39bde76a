//! A host that runs a small Realm, on any conduit that answers.

use realm_builder::{Active, Content, New, Realm, RealmConfig, RealmStorage, RecStart, Region};
use rec_runtime::exit::PsciNotice;
use rec_runtime::{Answer, Exit, Rec};
use rmi_abi::{Ipa, Pa};
use rmi_host::granules::{AnyGranules, HostOwned};
use rmi_host::{Platform, RetryBudget, Rmm, SessionOptions, Undelegated};
use rmm_model::{Action, Model, Script};
use sro::{CallbackMemory, FixedPool, GranuleSet, Pool, RecObject, open};

const RAM: u64 = 0x4000_0000;

pub(crate) type Image = [u8; 0x2800];
type Heap = GranuleSet<HostOwned, Vec<AnyGranules>>;

/// What the host observed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Whether the Realm turned itself off.
    pub(crate) ended: bool,
    /// The values that the Realm stored to a device.
    pub(crate) stored: Vec<u64>,
    /// Every exit.
    pub(crate) exits: Vec<String>,
    /// The memory that the host had at the end.
    pub(crate) returned: Vec<(u64, u64)>,
}

/// Sets what the Realm does, on a model that has it.
pub(crate) fn set_guest(model: &Model, rd: Pa) {
    let uart = Ipa::new(1 << 35);
    let actions = vec![
        Action::Store { ipa: uart, bytes: 4, value: 0x1234_5678 },
        Action::Load { ipa: uart, bytes: 1 },
        Action::Store { ipa: Ipa::new(RAM + 0x2000), bytes: 2, value: 7 },
        Action::host_call(Ipa::new(RAM + 0x2000)),
        Action::psci_system_off(),
    ];
    model.set_guest(rd, 0, Box::new(Script::new(actions)));
}

/// Runs the host. `created` is called with the address of the Realm's descriptor before its REC
/// runs.
pub(crate) fn run_host<P: Platform>(
    platform: P,
    memory: Undelegated,
    image: &Image,
    created: impl FnOnce(Pa),
) -> Observed {
    let mut heap = Heap::new((0..64).map(|_| AnyGranules::empty()).collect());
    heap.insert(memory).unwrap();
    let mut observed = Observed::default();
    session(platform, &mut heap, image, &mut observed, created);
    observed.returned = heap.iter().map(|range| (range.base().raw(), range.top().raw())).collect();
    observed
}

fn session<P: Platform>(
    platform: P,
    heap: &mut Heap,
    image: &Image,
    observed: &mut Observed,
    created: impl FnOnce(Pa),
) {
    let mut pool = FixedPool::<32>::new();
    pool.add(heap.take(Pool::PAGES, 0x1000).unwrap()).unwrap();
    pool.add(heap.take(64 * 0x1000, 0x10000).unwrap()).unwrap();
    let mut options = SessionOptions::default();
    // Small budgets for an RMM that is always busy.
    options.retry_budget = RetryBudget { busy: 3, blocked: 3, steps: 50, ..RetryBudget::default() };
    let Ok(rmm) = open(platform, options, &mut pool) else {
        return pool.drain_host(&mut |memory| heap.insert(memory).unwrap());
    };
    realm(&rmm, &mut pool, heap, image, observed, created);
    pool.drain(&rmm, &mut |memory| heap.insert(memory).unwrap());
}

fn realm<P: Platform>(
    rmm: &Rmm<P>,
    pool: &mut FixedPool<32>,
    heap: &mut Heap,
    image: &Image,
    observed: &mut Observed,
    created: impl FnOnce(Pa),
) {
    let mut storage = RealmStorage::<16, 16>::new();
    let Ok(mut realm) = Realm::create(rmm, &RealmConfig::new(36), &mut storage, pool) else {
        return;
    };
    created(realm.rd().pa());
    let mut recs = Vec::new();
    if !build(&mut realm, pool, heap, image, &mut recs) {
        tear_down(realm, recs, pool, heap);
        return;
    }
    match realm.activate() {
        Ok(active) => {
            observed.ended = run(&active, heap, &mut recs, observed);
            tear_down(active, recs, pool, heap);
        }
        Err(failed) => {
            tear_down(failed.kept, recs, pool, heap);
        }
    }
}

/// Tears the Realm down, in any state.
fn tear_down<P: Platform, S>(
    realm: Realm<'_, P, S>,
    recs: Vec<RecObject>,
    pool: &mut FixedPool<32>,
    heap: &mut Heap,
) {
    let mut memory = CallbackMemory::freeing(pool, |memory| heap.insert(memory).unwrap());
    let _ = realm.tear_down(&mut memory, recs);
}

fn build<P: Platform>(
    realm: &mut Realm<'_, P, New>,
    pool: &mut FixedPool<32>,
    heap: &mut Heap,
    image: &Image,
    recs: &mut Vec<RecObject>,
) -> bool {
    let memory = heap.take(0x3000, 0x1000).unwrap();
    let mut regions = [Region::new(Ipa::new(RAM), memory, Content::Measured(image))];
    let populated = realm.populate(pool, &mut regions);
    for region in regions {
        heap.insert(region.into_memory()).unwrap();
    }
    if populated.is_err() || pool.prefill(realm.rmm(), 17 * 0x1000, 0x1000).is_err() {
        return false;
    }
    let start = RecStart { runnable: true, pc: Ipa::new(RAM), gprs: [3; 8] };
    realm.create_rec(pool, &start).map(|rec| recs.push(rec)).is_ok()
}

/// Runs the REC; says whether the Realm turned itself off.
fn run<P: Platform>(
    realm: &Realm<'_, P, Active>,
    heap: &mut Heap,
    recs: &mut Vec<RecObject>,
    observed: &mut Observed,
) -> bool {
    let Some(object) = recs.pop() else { return false };
    let page = heap.take(0x1000, 0x1000).unwrap();
    let mut rec = Rec::new(object, page, realm.geometry());
    let ended = exits(realm.rmm(), &mut rec, observed);
    let (object, page) = rec.into_parts();
    heap.insert(page).unwrap();
    recs.push(object);
    ended
}

fn exits<P: Platform>(rmm: &Rmm<P>, rec: &mut Rec, observed: &mut Observed) -> bool {
    let mut answer = Answer::resume();
    for _ in 0..40 {
        let Ok(event) = rec.enter(rmm, answer) else { return false };
        // The name of the exit, without the values that the Realm chose.
        let name = format!("{:?}", event.exit);
        observed.exits.push(name.split([' ', '(', '{']).next().unwrap_or_default().into());
        answer = match event.exit {
            Exit::MmioStore(store) => {
                observed.stored.push(store.value());
                store.complete()
            }
            Exit::MmioLoad(load) => load.complete(0x55),
            Exit::HostCall(call) => call.not_supported(),
            Exit::PsciNotice(notice) => return notice == PsciNotice::SystemOff,
            Exit::Irq | Exit::Fiq => Answer::resume(),
            _ => return false,
        };
    }
    false
}
