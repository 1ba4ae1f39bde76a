//! Stage 2 permissions of planes: the Realm sets values, asks for indices, and the host carries out
//! what it asks for.

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::rtt::Level;
use rmi_abi::run::{ExitReason, RecEnterFlags};
use rmi_abi::{Ipa, Pa, Status};
use rmi_host::Registers;

use super::enter::exit;
use super::realm_call::{Reply, status};
use super::table::walk_tree;
use super::{Monitor, ipa_range};
use crate::answer::{Answer, Answered, refuse, require};
use crate::options::TablesPerCall;
use crate::planes::OVERLAYS;
use crate::realm::Realm;
use crate::rec::{LastExit, S2apChange};
use crate::rsi;
use crate::rtt::Entry;
use crate::unsupported::rejects_what_is_done;

/// The part of a handle (TF-RMM's cookie) that is the index of a tree; the rest is an address.
const TREE: u64 = MIN_GRANULE - 1;

impl Monitor {
    /// Whether this RMM supports planes or their permissions.
    pub(super) fn has_planes(&self) -> bool {
        self.features.max_aux_planes() != 0 || self.features.s2ap_indirect()
    }

    pub(super) fn mem_get_perm_value(&mut self, rd: Pa, plane: u64, index: u64) -> Option<Reply> {
        let value = self.realms.get(&rd)?.planes.value(plane, index);
        Some(match value {
            Some(value) => Reply::Values([rsi::SUCCESS, value.into(), 0, 0]),
            None => status(rsi::ERROR_INPUT),
        })
    }

    pub(super) fn mem_set_perm_value(&mut self, rd: Pa, arguments: [u64; 3]) -> Option<Reply> {
        let [plane, index, value] = arguments;
        let is_set = self.realms.get_mut(&rd)?.planes.set_value(plane, index, value);
        Some(status(if is_set { rsi::SUCCESS } else { rsi::ERROR_INPUT }))
    }

    /// With a tree for each plane, the Realm asks for one tree after the other; the handle says
    /// which.
    pub(super) fn mem_set_perm_index(
        &mut self,
        address: Pa,
        rd: Pa,
        arguments: [u64; 4],
    ) -> Option<Reply> {
        let [base, top, index, handle] = arguments;
        let range = self.protected_range(rd, base, top);
        let planes = &self.realms.get(&rd)?.planes;
        let index = u8::try_from(index).ok().filter(|index| usize::from(*index) < OVERLAYS);
        let handle = match handle {
            0 if planes.tree_per_plane() => Some(base),
            0 => Some(0),
            _ => {
                let has_tree = usize::try_from(handle & TREE).is_ok_and(|n| n < planes.number());
                let fits = planes.tree_per_plane() && handle & !TREE == base && has_tree;
                fits.then_some(handle)
            }
        };
        let (Some(range), Some(index), Some(handle)) = (range, index, handle) else {
            return Some(status(rsi::ERROR_INPUT));
        };
        let mut left = exit(ExitReason::S2apChange, self.options.dialect);
        left.s2ap_base = base;
        left.s2ap_top = top;
        let request = S2apChange { next: range.base(), top: range.top(), index, handle };
        self.recs.get_mut(&address)?.last_exit = LastExit::S2apChange(request);
        Some(Reply::Exit(left))
    }

    pub(super) fn rtt_set_s2ap(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let [_, rd, rec, base, top, ..] = *x;
        let granule = self.granules.size();
        let one_table = self.options.tables_per_call == TablesPerCall::One;
        require(base < top && Ipa::new(top).is_aligned(granule.bytes()), Status::ErrorInput)?;
        self.realm(rd)?;
        let asking = self.rec(rec)?;
        require(asking.rd == Pa::new(rd) && !asking.running, Status::ErrorRec)?;
        let LastExit::S2apChange(mut request) = asking.last_exit else {
            return refuse(Status::ErrorInput);
        };
        let range = ipa_range(granule, base, top)?;
        let fits = range.base() == request.next && range.top() <= request.top;
        require(fits, Status::ErrorInput)?;

        let realm = self.realm(rd)?;
        let tree = match realm.planes.tree_per_plane() {
            true => usize::try_from(request.handle & TREE).unwrap_or(0),
            false => 0,
        };
        let answer = change(realm, tree, request.index, &range, one_table, limit);
        // As in TF-RMM, what was done is not undone, even if the answer is an error.
        let (Ok(done) | Err(done)) = answer;
        request.next = Ipa::new(done.x1);
        self.rec(rec)?.last_exit = LastExit::S2apChange(request);
        answer
    }

    /// The answer to the Realm's request at the next entry.
    pub(super) fn answer_s2ap_change(&mut self, rec: Pa, request: S2apChange) {
        let dialect = self.options.dialect;
        let Some(asking) = self.recs.get_mut(&rec) else { return };
        let is_done = request.next == request.top;
        let flag = asking.flags.contains(RecEnterFlags::S2AP_REJECT);
        let rejected = flag && (!is_done || rejects_what_is_done(dialect));
        let Some(realm) = self.realms.get_mut(&asking.rd) else { return };
        if !(flag && rejects_what_is_done(dialect)) {
            realm.planes.lock(request.index);
        }
        let (next, handle) = proceed(realm, &request, is_done);
        asking.answer([rsi::SUCCESS, next, u64::from(rejected), handle]);
    }
}

/// Where the Realm has to continue: after what was done, or at the base again in the next tree.
fn proceed(realm: &Realm, request: &S2apChange, is_done: bool) -> (u64, u64) {
    let next = request.next.raw();
    let tree = request.handle & TREE;
    if !realm.planes.tree_per_plane() {
        (next, 0)
    } else if !is_done {
        (next, next | tree)
    } else if usize::try_from(tree + 1).is_ok_and(|tree| tree < realm.planes.number()) {
        // As TF-RMM, the base is that of the latest call, not that of the first one.
        let base = request.handle & !TREE;
        (base, base | (tree + 1))
    } else {
        (next, 0)
    }
}

/// Changes the permissions of the entries of a protected range in one tree.
fn change(
    realm: &mut Realm,
    tree: usize,
    index: u8,
    range: &rmi_abi::IpaRange,
    one_table: bool,
    limit: Option<u64>,
) -> Answered {
    let perm = realm.planes.perm(tree, index);
    let stop = |level, ipa: Ipa| Answer::walk(tree, level).x1(ipa.raw()).x2(tree as u64);
    let mut ipa = range.base();
    let first = walk_tree(realm, tree, ipa, Level::L3).map_err(|refused| refused.x1(ipa.raw()))?;
    let mut changed = 0;
    while ipa < range.top() && limit.is_none_or(|limit| changed < limit) {
        let found =
            walk_tree(realm, tree, ipa, Level::L3).map_err(|refused| refused.x1(ipa.raw()))?;
        if one_table && found.table != first.table {
            break;
        }
        if found.base != ipa || found.top() > range.top().raw() {
            return Err(stop(found.level, ipa));
        }
        let entry = match found.entry {
            Entry::Void { ripas, .. } => Entry::Void { ripas, perm },
            Entry::Data { pa, ripas, .. } => Entry::Data { pa, ripas, perm },
            other => other,
        };
        if let Some(tree) = realm.tree_mut(tree) {
            tree.set(&found, entry);
        }
        changed += 1;
        ipa = Ipa::new(found.top());
    }
    Ok(Answer::success().x1(ipa.raw()))
}
