//! The second scenario: everything that can be done to a Realm's memory while it runs. After a
//! failure the scenario continues, so that the operations that follow work on the state that it
//! left.

use realm_sdk::abi::rtt::{Level, Ripas};
use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::{
    Active, Content, DismantleProgress, FoldPolicy, New, Realm, RealmConfig, RealmStorage,
    RecStart, Reclaimed, Region, Terminated,
};
use realm_sdk::host::command::SharedAccess;
use realm_sdk::host::{Platform, Rmm, Undelegated};
use realm_sdk::rec::exit::{PsciNotice, RipasChange};
use realm_sdk::rec::{Answer, Exit, Rec};
use realm_sdk::sro::{CallbackMemory, FixedPool, RecObject};
use rmm_model::{Action, Model, Script};

use crate::scenario::{Heap, RAM, tear_down};

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;
/// A block with content, which is split by a RIPAS change and by reclaiming pages from its middle.
const BUILT: u64 = RAM;
/// Where the Realm faults.
const FAULTS: u64 = RAM + BLOCK;
/// Single pages that are not contiguous.
const CRUMBS: u64 = RAM + 2 * BLOCK;
/// A block that is split and folded again.
const FOLDED: u64 = RAM + 3 * BLOCK;
/// Host memory, a block and pages.
const SHARED: u64 = (1 << 35) + BLOCK;
const SHARED_BYTES: u64 = BLOCK + 3 * PAGE;
/// A page in the middle of the shared block, where the Realm writes.
const MAILBOX: u64 = SHARED + 5 * PAGE;

/// Addresses at which something begins, ends, or is in the middle of something.
pub(crate) const PLACES: [u64; 11] = [
    0,
    BUILT,
    BUILT + PAGE,
    BUILT + 3 * PAGE,
    FAULTS,
    FAULTS + PAGE,
    CRUMBS + PAGE,
    FOLDED + BLOCK / 2,
    SHARED,
    SHARED + PAGE,
    SHARED + BLOCK,
];

/// Where a scenario ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Before the Realm has any memory.
    Bare,
    /// When it is populated.
    Populated,
    /// When it has run.
    Active,
    /// Partly dismantled.
    HalfDismantled,
    /// Dismantled call by call.
    Dismantled,
}

impl Stop {
    pub(crate) const ALL: [Self; 5] =
        [Self::Bare, Self::Populated, Self::Active, Self::HalfDismantled, Self::Dismantled];
}

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

/// What a scenario has to work with.
struct Fixture<'l> {
    pool: &'l mut FixedPool<32>,
    heap: &'l mut Heap,
    /// Whether all operations succeeded so far.
    ok: bool,
    /// The answer with which the REC is entered next.
    answer: Answer,
}

impl Fixture<'_> {
    fn note<E>(&mut self, result: Result<(), E>) {
        self.ok &= result.is_ok();
    }

    fn expect(&mut self, so: bool) {
        self.ok &= so;
    }
}

pub(crate) fn realm<P: Platform>(
    rmm: &Rmm<P>,
    model: &Model,
    pool: &mut FixedPool<32>,
    heap: &mut Heap,
    stop: Stop,
) -> bool {
    let mut storage = RealmStorage::<24, 16>::new();
    let Ok(mut realm) = Realm::create(rmm, &RealmConfig::new(36), &mut storage, pool) else {
        return false;
    };
    let mut fixture = Fixture { pool, heap, ok: true, answer: Answer::resume() };
    let mut recs = Vec::new();
    if stop != Stop::Bare {
        populate(&mut realm, model, &mut fixture, &mut recs);
    }
    if matches!(stop, Stop::Bare | Stop::Populated) {
        return end(realm, recs, fixture);
    }
    let realm = match realm.activate() {
        Ok(realm) => realm,
        Err(failed) => {
            fixture.ok = false;
            return end(failed.kept, recs, fixture);
        }
    };
    let mut vcpu = recs.pop().and_then(|object| {
        let page = fixture.heap.take(PAGE, PAGE)?;
        Some(Rec::new(object, page, realm.geometry()))
    });
    run(&realm, &mut fixture, vcpu.as_mut());
    if let Some((object, page)) = vcpu.map(Rec::into_parts) {
        recs.push(object);
        fixture.heap.insert(page).unwrap();
    }
    if stop == Stop::Active {
        return end(realm, recs, fixture);
    }
    match realm.terminate() {
        Ok(realm) => dismantle(realm, recs, fixture, stop),
        Err(failed) => {
            fixture.ok = false;
            end(failed.kept, recs, fixture)
        }
    }
}

/// Tears the Realm down, in any state.
fn end<P: Platform, S>(realm: Realm<'_, P, S>, recs: Vec<RecObject>, fixture: Fixture<'_>) -> bool {
    let Fixture { pool, heap, ok, .. } = fixture;
    tear_down(realm, recs, pool, heap) && ok
}

fn dismantle<P: Platform>(
    mut realm: Realm<'_, P, Terminated>,
    mut recs: Vec<RecObject>,
    mut fixture: Fixture<'_>,
    stop: Stop,
) -> bool {
    for rec in core::mem::take(&mut recs) {
        if let Err(failed) = realm.destroy_rec(fixture.pool, rec) {
            fixture.ok = false;
            recs.extend(failed.kept);
        }
    }
    let mut errors = 0;
    // An RMM without faults needs a tenth of these, or in 1.0, where each page has its calls, half.
    let most = if realm.rmm().dialect().is_2_0() { 2000 } else { 12_000 };
    for calls in 0..most {
        if stop == Stop::HalfDismantled && calls == 9 || errors > 3 {
            return end(realm, recs, fixture);
        }
        let heap = &mut *fixture.heap;
        let mut free = |memory| heap.insert(memory).unwrap();
        let progress = realm.dismantle(&mut CallbackMemory::freeing(fixture.pool, &mut free), 1);
        match progress {
            Ok(DismantleProgress::More) => {}
            Ok(DismantleProgress::Empty) => {
                if !recs.is_empty() {
                    return end(realm, recs, fixture);
                }
                assert_eq!((realm.memory_bytes(), realm.shared_bytes()), (0, 0));
                let destroyed =
                    realm.destroy(&mut CallbackMemory::freeing(fixture.pool, &mut free));
                return match destroyed {
                    Ok(_) => fixture.ok,
                    Err(failed) => {
                        fixture.ok = false;
                        end(failed.kept, recs, fixture)
                    }
                };
            }
            Err(_) => {
                errors += 1;
                fixture.ok = false;
            }
        }
    }
    unreachable!("taking the Realm apart has no end");
}

fn populate<P: Platform>(
    realm: &mut Realm<'_, P, New>,
    model: &Model,
    fixture: &mut Fixture<'_>,
    recs: &mut Vec<RecObject>,
) {
    let Some(built) = fixture.heap.take(BLOCK, BLOCK) else { return };
    let mut regions = [Region::new(Ipa::new(BUILT), built, Content::Unspecified)];
    let populated = realm.populate(fixture.pool, &mut regions);
    fixture.note(populated);
    for region in regions {
        fixture.heap.insert(region.into_memory()).unwrap();
    }
    // Memory and shared memory can be mapped before the Realm runs.
    map(realm, fixture, FOLDED, BLOCK);
    share(realm, fixture);
    let start = RecStart { runnable: true, pc: Ipa::new(RAM), gprs: [0; 8] };
    let ready = fixture.pool.prefill(realm.rmm(), 17 * PAGE, PAGE);
    fixture.note(ready);
    match realm.create_rec(fixture.pool, &start) {
        Ok(rec) => recs.push(rec),
        Err(_) => fixture.ok = false,
    }
    let page = Ipa::new(RAM + 0x10_0000);
    let ripas = |base, bytes, ripas| {
        Action::ipa_state_set(Ipa::new(base), Ipa::new(base + bytes), ripas, 0)
    };
    let script = vec![
        ripas(FAULTS, BLOCK, Ripas::Ram),
        Action::Load { ipa: Ipa::new(FAULTS + 0x5000), bytes: 8 },
        Action::Load { ipa: Ipa::new(FAULTS + 0x10_0000), bytes: 8 },
        Action::Store { ipa: Ipa::new(MAILBOX), bytes: 8, value: 0x6c65_7474_6572 },
        Action::host_call(page),
        Action::Load { ipa: Ipa::new(MAILBOX), bytes: 8 },
        ripas(BUILT + PAGE, 2 * PAGE, Ripas::Empty),
        Action::host_call(page),
        Action::psci_system_off(),
    ];
    model.set_guest(realm.rd().pa(), 0, Box::new(Script::new(script)));
}

fn map<P: Platform, S: realm_sdk::builder::NotTerminated>(
    realm: &Realm<'_, P, S>,
    fixture: &mut Fixture<'_>,
    ipa: u64,
    bytes: u64,
) {
    let Some(memory) = fixture.heap.take(bytes, bytes) else { return fixture.expect(false) };
    if let Err(failed) = realm.map(fixture.pool, Ipa::new(ipa), memory) {
        fixture.heap.insert(failed.kept).unwrap();
        fixture.ok = false;
    }
}

/// Shares a block and the pages after it, with a word in them.
fn share<P: Platform, S: realm_sdk::builder::NotTerminated>(
    realm: &Realm<'_, P, S>,
    fixture: &mut Fixture<'_>,
) {
    let Some(mut memory) = fixture.heap.take(SHARED_BYTES, BLOCK) else {
        return fixture.expect(false);
    };
    let written = realm.rmm().write_host(&mut memory, MAILBOX - SHARED, &[7; 16]);
    fixture.note(written);
    if let Err(failed) = realm.share(fixture.pool, Ipa::new(SHARED), memory, SharedAccess::MEMORY) {
        fixture.heap.insert(failed.host).unwrap();
        fixture.ok = false;
    }
}

/// The operations of the scenario.
fn run<P: Platform>(
    realm: &Realm<'_, P, Active>,
    fixture: &mut Fixture<'_>,
    mut vcpu: Option<&mut Rec>,
) {
    // Faults, and a message in shared memory.
    enter(realm, fixture, vcpu.as_deref_mut());
    scatter(realm, fixture);
    read_message(realm, fixture);
    // What was unshared is shared again, read-only now, and all of it is mapped anew.
    let mut access = SharedAccess::MEMORY;
    access.permissions.write = false;
    let heap = &mut *fixture.heap;
    let give_back = &mut |memory: Undelegated| heap.insert(memory).unwrap();
    let reshared = realm.reshare(
        &mut CallbackMemory::freeing(fixture.pool, &mut *give_back),
        range(SHARED + PAGE, 8 * PAGE),
        access,
    );
    fixture.note(reshared);
    // A RIPAS change in the middle of a block.
    enter(realm, fixture, vcpu.as_deref_mut());
    // From the middle of what is left of the block, across its end, and where nothing is mapped.
    for (base, bytes) in [(BUILT + 0x1_0000, 0x3000), (BUILT + BLOCK - PAGE, 3 * PAGE)] {
        reclaim(realm, fixture, range(base, bytes));
    }
    fold(realm, fixture);
    // The last request of the Realm.
    enter(realm, fixture, vcpu);
    reclaim(realm, fixture, range(CRUMBS, BLOCK));
}

fn reclaim<P: Platform>(realm: &Realm<'_, P, Active>, fixture: &mut Fixture<'_>, range: IpaRange) {
    let heap = &mut *fixture.heap;
    let result = realm.reclaim(
        &mut CallbackMemory::freeing(fixture.pool, |memory| heap.insert(memory).unwrap()),
        range,
    );
    fixture.note(result.map(|done| assert_eq!(done, Reclaimed::Whole)));
}

/// Maps single pages, and reclaims some of them.
fn scatter<P: Platform>(realm: &Realm<'_, P, Active>, fixture: &mut Fixture<'_>) {
    // Every other page of a run, so that no two touch.
    let mut pages = Vec::new();
    if let Some(mut run) = fixture.heap.take(12 * PAGE, PAGE) {
        while let Some(page) = run.take_back(PAGE).filter(|page| !page.is_empty()) {
            pages.push(page);
        }
    }
    let mut kept: Vec<_> = pages.iter_mut().step_by(2).map(Undelegated::take).collect();
    let result = realm.map_scattered(fixture.pool, Ipa::new(CRUMBS), &mut kept);
    fixture.note(result);
    for memory in pages.into_iter().chain(kept) {
        fixture.heap.insert(memory).unwrap();
    }
    reclaim(realm, fixture, range(CRUMBS + PAGE, 2 * PAGE));
}

/// Unshares a part of the shared block and reads what the Realm wrote there; then shares it again.
fn read_message<P: Platform>(realm: &Realm<'_, P, Active>, fixture: &mut Fixture<'_>) {
    let part = range(MAILBOX, 2 * PAGE);
    let mut messages = Vec::new();
    let result = realm
        .unshare(&mut CallbackMemory::freeing(fixture.pool, |memory| messages.push(memory)), part);
    fixture.note(result);
    let (mut word, mut at) = ([0; 8], part.base());
    // In 1.0 it comes page by page.
    for message in messages {
        if at == part.base() {
            let read = realm.rmm().read_host(&message, 0, &mut word);
            fixture.note(read);
        }
        let place = at;
        at = at.checked_add(message.bytes()).unwrap();
        if let Err(failed) = realm.share(fixture.pool, place, message, SharedAccess::MEMORY) {
            fixture.heap.insert(failed.host).unwrap();
            fixture.ok = false;
        }
    }
    fixture.expect(u64::from_le_bytes(word) == 0x6c65_7474_6572);
}

/// Splits a block and folds it again; then folds a table that has become empty.
fn fold<P: Platform>(realm: &Realm<'_, P, Active>, fixture: &mut Fixture<'_>) {
    let page = range(FOLDED + 3 * PAGE, PAGE);
    let split = realm.make_tables(fixture.pool, page, Level::L3);
    fixture.note(split);
    let folded = realm.fold(fixture.pool, range(FOLDED, BLOCK), FoldPolicy::Blocks);
    fixture.expect(folded.is_ok_and(|folded| folded.blocks == 1));
    reclaim(realm, fixture, range(FOLDED, BLOCK / 2));
    reclaim(realm, fixture, range(FOLDED, BLOCK));
    let folded = realm.fold(fixture.pool, range(FOLDED, BLOCK), FoldPolicy::BlocksAndVoid);
    fixture.expect(folded.is_ok_and(|folded| folded.void == 1));
    map(realm, fixture, FOLDED, BLOCK);
}

/// Runs the REC until its next host call, or until its end.
fn enter<P: Platform>(
    realm: &Realm<'_, P, Active>,
    fixture: &mut Fixture<'_>,
    vcpu: Option<&mut Rec>,
) {
    let Some(rec) = vcpu else { return fixture.expect(false) };
    let mut faults = 0;
    for _ in 0..20 {
        let answer = core::mem::replace(&mut fixture.answer, Answer::resume());
        let Ok(event) = rec.enter(realm.rmm(), answer) else { return fixture.expect(false) };
        fixture.answer = match event.exit {
            Exit::RipasChange(change) => {
                let range = change.range();
                let changed = realm.set_ripas(fixture.pool, rec.name(), range, u32::MAX);
                let accepted = changed.is_ok();
                fixture.expect(accepted);
                if change.ripas() == Ripas::Empty {
                    reclaim(realm, fixture, range);
                }
                match accepted {
                    true => change.accept(),
                    // A change to EMPTY that was accepted is requested again.
                    false => change.reject().unwrap_or_else(RipasChange::accept),
                }
            }
            Exit::Fault(fault) => {
                faults += 1;
                if faults > 3 {
                    // The RMM's answer cannot be true.
                    return fixture.expect(false);
                }
                serve(realm, fixture, fault.page(), faults == 1);
                fault.retry()
            }
            // The address that the Realm accesses is not shared, because something failed before.
            Exit::MmioLoad(load) => load.complete(0),
            Exit::MmioStore(store) => store.complete(),
            Exit::HostCall(call) => {
                fixture.answer = call.not_supported();
                return;
            }
            Exit::PsciNotice(PsciNotice::SystemOff) => return,
            Exit::Irq | Exit::Fiq => Answer::resume(),
            _ => return fixture.expect(false),
        };
    }
    fixture.expect(false);
}

/// Serves a fault: with two pages too few to reach the address and one for the address itself, or
/// with runs for the whole window.
fn serve<P: Platform>(
    realm: &Realm<'_, P, Active>,
    fixture: &mut Fixture<'_>,
    page: Ipa,
    is_stingy: bool,
) {
    let (mut asked, mut back, heap) = (0, Vec::new(), &mut *fixture.heap);
    let supply = |void: IpaRange| {
        asked += 1;
        match (is_stingy, asked) {
            (true, 3) => None,
            (true, _) => heap.take(PAGE, PAGE),
            (false, _) => heap.take((48 * PAGE).min(void.bytes()), PAGE),
        }
    };
    let window = range(FAULTS, BLOCK);
    let served = realm.serve_fault(
        &mut CallbackMemory::new(fixture.pool, supply, |host| {
            back.push(host);
            Ok(())
        }),
        page,
        window,
    );
    fixture.expect(served.is_ok());
    for memory in back {
        fixture.heap.insert(memory).unwrap();
    }
}
