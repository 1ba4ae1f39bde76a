//! A Realm with planes from creation to destruction, with every operation that concerns its trees.

use std::sync::{Arc, Mutex};

use realm_builder::{
    Active, Content, FixedRecords, FoldPolicy, New, Realm, RealmConfig, RecStart, Records, Region,
    ShadowTable,
};
use rmi_abi::esr::fault_page;
use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::run::{EntryRecord, ExitReason, ExitRecord};
use rmi_abi::{Ipa, IpaRange, Pa};
use rmi_host::command::{AuxTree, SharedAccess};
use rmm_model::{Action, GuestCpu, Script};
use sro::{CallbackMemory, RecObject};

use crate::fixture::{Fixture, MIB2, PAGE, Platform, RAM, range};
use crate::step::show_shared;

/// Two blocks.
pub(crate) const BLOCKS: u64 = RAM + 2 * MIB2;
/// The size of the window around a fault in which memory is mapped.
const WINDOW: u64 = 4 * PAGE;

pub(crate) fn tree(index: u8) -> AuxTree {
    AuxTree::new(index).unwrap()
}

/// Creates a Realm, populates it, runs it, and tears it down; says whether all of that succeeded.
pub(crate) fn whole(b: &mut Fixture<'_, '_>, config: &RealmConfig) -> bool {
    let mut tables: Vec<ShadowTable> = std::iter::repeat_with(ShadowTable::new).take(48).collect();
    let mut shared = [const { None }; 4];
    let mut fixed = FixedRecords::new();
    let records = Records::new(&mut fixed, &mut tables, &mut shared);
    let Ok(mut realm) = Realm::create(b.rmm, config, records, b.pool) else { return false };
    let mut recs = Vec::new();
    let built = build(&mut realm, b, &mut recs).is_some();
    let Fixture { pool, heap, .. } = b;
    let mut give_back = |memory| heap.insert(memory).unwrap();
    if !built {
        let _ = realm.tear_down(&mut CallbackMemory::freeing(pool, &mut give_back), recs).error;
        return false;
    }
    match realm.activate() {
        Ok(active) => {
            let succeeded = run(&active, b, &recs).is_some();
            let Fixture { pool, heap, .. } = b;
            let give_back = &mut |memory| heap.insert(memory).unwrap();
            active
                .tear_down(&mut CallbackMemory::freeing(pool, &mut *give_back), recs)
                .error
                .is_none()
                && succeeded
        }
        Err(failed) => {
            let _ = failed
                .kept
                .tear_down(&mut CallbackMemory::freeing(pool, &mut give_back), recs)
                .error;
            false
        }
    }
}

fn build(
    realm: &mut Realm<'_, Platform<'_>, New>,
    b: &mut Fixture<'_, '_>,
    recs: &mut Vec<RecObject>,
) -> Option<()> {
    let mut regions = [
        Region::new(Ipa::new(RAM), b.heap.take(3 * PAGE, PAGE)?, Content::Measured(&[7; 0x2800])),
        Region::new(Ipa::new(BLOCKS), b.heap.take(2 * MIB2, MIB2)?, Content::Unspecified),
    ];
    let populated = realm.populate(b.pool, &mut regions);
    for region in regions {
        b.heap.insert(region.into_memory()).unwrap();
    }
    populated.ok()?;
    b.pool.prefill(b.rmm, 17 * PAGE, PAGE).ok()?;
    let start = RecStart { runnable: true, pc: Ipa::new(RAM), gprs: [0; 8] };
    recs.push(realm.create_rec(b.pool, &start).ok()?);
    if realm.aux_trees() >= 2 {
        // The fewest calls where the RMM takes ranges; and a block that extends beyond the range.
        realm.map_plane(b.pool, tree(2), range(RAM, 2 * PAGE)).ok()?;
        realm.map_plane(b.pool, tree(2), range(BLOCKS, PAGE)).ok()?;
    }
    let store = |ipa| Action::Store { ipa: Ipa::new(ipa), bytes: 4, value: 1 };
    let permit =
        |handle| Action::mem_set_perm_index(Ipa::new(RAM), Ipa::new(RAM + 2 * PAGE), 1, handle);
    let empty = (Ipa::new(RAM + PAGE), Ipa::new(RAM + 2 * PAGE));
    let script = vec![
        store(RAM),
        store(BLOCKS),
        store(BLOCKS + MIB2),
        Action::Spin,
        store(BLOCKS),
        Action::ipa_state_set(empty.0, empty.1, Ripas::Empty, 0),
        Action::ipa_state_set(empty.0, empty.1, Ripas::Ram, 0),
        Action::mem_set_perm_value(1, 1, 8),
        permit(0),
        permit(RAM | 1),
        permit(RAM | 2),
        Action::Spin,
        store(BLOCKS + MIB2),
        store(RAM + 8 * MIB2),
        Action::psci_system_off(),
    ];
    b.model.set_guest(realm.rd().pa(), 0, Box::new(Script::new(script)));
    Some(())
}

/// Makes these actions the guest of a Realm's first REC; keeps what `result` returns after each of
/// them.
pub(crate) fn recorded<T: Send + 'static>(
    b: &Fixture<'_, '_>,
    rd: Pa,
    actions: &[Action],
    result: fn(&GuestCpu) -> T,
) -> Arc<Mutex<Vec<T>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, mut actions) = (Arc::clone(&seen), Vec::from(actions).into_iter());
    let mut first = true;
    let guest = move |cpu: &GuestCpu| {
        if !std::mem::take(&mut first) {
            log.lock().unwrap().push(result(cpu));
        }
        actions.next().unwrap_or(Action::Spin)
    };
    b.model.set_guest(rd, 0, Box::new(guest));
    seen
}

/// Enters a REC; returns its exit.
pub(crate) fn enter(b: &mut Fixture<'_, '_>, rec: &RecObject) -> Option<(ExitReason, ExitRecord)> {
    let mut page = b.heap.take(PAGE, PAGE)?;
    let exit = rec.enter(b.rmm, &mut page, &EntryRecord::default(), None, |exit, _| (*exit, false));
    b.heap.insert(page).unwrap();
    let exit = exit.ok()?;
    Some((ExitReason::decode(exit.exit_reason, b.rmm.dialect()), exit))
}

/// Runs the Realm until it turns itself off.
fn run(
    realm: &Realm<'_, Platform<'_>, Active>,
    b: &mut Fixture<'_, '_>,
    recs: &[RecObject],
) -> Option<()> {
    let [rec] = recs else { return None };
    let mut pauses = 0;
    for _ in 0..60 {
        let (reason, exit) = enter(b, rec)?;
        match reason {
            ExitReason::Sync => fault(realm, b, &exit)?,
            ExitReason::RipasChange => {
                let range = IpaRange::new(Ipa::new(exit.ripas_base), Ipa::new(exit.ripas_top));
                let (name, ripas) = (rec.name(), Ripas::from(exit.ripas_value));
                realm.set_ripas_to(b.pool, name, range.ok()?, ripas, u32::MAX).ok()?;
            }
            ExitReason::S2apChange => {
                let range = IpaRange::new(Ipa::new(exit.s2ap_base), Ipa::new(exit.s2ap_top));
                let progress = realm.set_s2ap(b.pool, rec.name(), range.ok()?, u32::MAX).ok()?;
                assert!(progress.top.raw() == exit.s2ap_top || b.conduit.has_injected());
            }
            ExitReason::Fiq if pauses == 0 => {
                pauses += 1;
                // The middle of a block that two auxiliary trees map.
                let give_back = &mut |memory| b.heap.insert(memory).unwrap();
                let done = realm
                    .reclaim(
                        &mut CallbackMemory::freeing(b.pool, &mut *give_back),
                        range(BLOCKS + PAGE, PAGE),
                    )
                    .ok()?;
                assert_eq!(done, realm_builder::Reclaimed::Whole);
            }
            ExitReason::Fiq if pauses == 1 => {
                pauses += 1;
                second(realm, b)?;
                shares(realm, b)?;
            }
            ExitReason::Psci => return Some(()),
            _ => return None,
        }
    }
    None
}

/// Serves a fault in any tree.
fn fault(
    realm: &Realm<'_, Platform<'_>, Active>,
    b: &mut Fixture<'_, '_>,
    exit: &ExitRecord,
) -> Option<()> {
    let ipa = Ipa::new(fault_page(exit.hpfar).raw());
    let window = range(ipa.align_down(WINDOW).raw(), WINDOW);
    // Both callbacks use the heap, never at the same time.
    let heap = core::cell::RefCell::new(&mut *b.heap);
    let supply = &mut |_: IpaRange| heap.borrow_mut().take(PAGE, PAGE);
    let give_back = &mut |memory| heap.borrow_mut().insert(memory).unwrap();
    realm
        .serve_plane_fault(
            &mut CallbackMemory::new(b.pool, supply, |host| {
                give_back(host);
                Ok(())
            }),
            exit.rtt_tree,
            ipa,
            window,
        )
        .ok()?;
    Some(())
}

/// One more table, of which an auxiliary tree maps a page; then the table is folded into a block
/// again.
fn second(realm: &Realm<'_, Platform<'_>, Active>, b: &mut Fixture<'_, '_>) -> Option<()> {
    let block = range(BLOCKS + MIB2, MIB2);
    realm.make_tables(b.pool, range(BLOCKS + MIB2, PAGE), Level::L3).ok()?;
    if realm.aux_trees() > 0 {
        realm.map_plane(b.pool, tree(1), range(BLOCKS + MIB2 + PAGE, 2 * PAGE)).ok()?;
        realm.unmap_plane(tree(1), range(BLOCKS + MIB2 + PAGE, PAGE)).ok()?;
    }
    let folded = realm.fold(b.pool, block, FoldPolicy::Blocks).ok()?;
    let aux = u64::from(realm.aux_trees() > 0);
    assert!(
        folded.auxiliary == aux && folded.blocks == 1 || b.conduit.has_injected(),
        "{folded:?}"
    );
    Some(())
}

/// Memory that host and Realm share, mapped in an auxiliary tree; some of it, with its mapping, is
/// left for teardown.
fn shares(realm: &Realm<'_, Platform<'_>, Active>, b: &mut Fixture<'_, '_>) -> Option<()> {
    let half = realm.geometry().unprotected_base().raw();
    let share = |b: &mut Fixture<'_, '_>, at| {
        let memory = b.heap.take(2 * PAGE, PAGE)?;
        let shared = realm.share(b.pool, Ipa::new(at), memory, SharedAccess::MEMORY);
        shared.map_err(|failed| b.heap.insert(failed.host).unwrap()).ok()
    };
    share(b, half)?;
    if realm.aux_trees() > 0 {
        show_shared(realm, b.pool, tree(1), range(half, PAGE)).ok()?;
        realm.unmap_plane_shared(tree(1), range(half, PAGE)).ok()?;
        for index in 1..=u8::try_from(realm.aux_trees()).unwrap() {
            show_shared(realm, b.pool, tree(index), range(half + PAGE, PAGE)).ok()?;
        }
    }
    share(b, half + 4 * MIB2)?;
    for at in [half, half + 4 * MIB2] {
        let give_back = &mut |memory| b.heap.insert(memory).unwrap();
        realm
            .unshare(&mut CallbackMemory::freeing(b.pool, &mut *give_back), range(at, PAGE))
            .ok()?;
    }
    Some(())
}
