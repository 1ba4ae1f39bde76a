//! RIPAS, the state of memory that the Realm sees: set by the host before activation and on the
//! Realm's request after it.

use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::{Ipa, IpaRange, Pa, Status};
use rmi_host::Registers;

use super::table::walk;
use super::{Monitor, ipa_range, require_state};
use crate::answer::{Answer, Answered, refuse, require};
use crate::options::TablesPerCall;
use crate::realm::{Realm, RealmState};
use crate::rec::LastExit;
use crate::rtt::Entry;

impl Monitor {
    /// How many tables a call may cover. In 1.0 the walk to the base determines one.
    fn tables_of_ripas(&self) -> TablesPerCall {
        if self.options.dialect.is_2_0() {
            self.options.tables_per_call
        } else {
            TablesPerCall::One
        }
    }

    pub(super) fn rtt_init_ripas(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let [_, rd, base, top, ..] = *x;
        let granule = self.granules.size();
        let tables = self.tables_of_ripas();
        let is_measured = self.options.dialect.init_ripas_is_measured();
        let realm = self.realm(rd)?;
        let range = ipa_range(granule, base, top)?;
        require(realm.tree.geometry().range_is_protected(&range), Status::ErrorInput)?;
        require_state(realm, &[RealmState::New])?;
        if is_measured {
            return init_measured(realm, &range, limit);
        }
        let reached = change(realm, &range, tables, limit, |old| match old {
            Ripas::Empty | Ripas::Ram => Some(Ripas::Ram),
            _ => None,
        })?;
        Ok(Answer::success().x1(reached))
    }

    pub(super) fn rtt_set_ripas(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let [_, rd, rec, base, top, ..] = *x;
        let granule = self.granules.size();
        let tables = self.tables_of_ripas();
        require(base < top && Ipa::new(top).is_aligned(granule.bytes()), Status::ErrorInput)?;
        self.realm(rd)?;
        let asking = self.rec(rec)?;
        require(asking.rd == Pa::new(rd) && !asking.running, Status::ErrorRec)?;
        let LastExit::RipasChange(mut request) = asking.last_exit else {
            return refuse(Status::ErrorInput);
        };
        let range = ipa_range(granule, base, top)?;
        let fits = range.base() == request.next && range.top() <= request.top;
        require(fits, Status::ErrorInput)?;
        let reached = change(self.realm(rd)?, &range, tables, limit, |old| match old {
            Ripas::Destroyed if request.value == Ripas::Ram && !request.change_destroyed => None,
            _ => Some(request.value),
        })?;
        request.next = Ipa::new(reached);
        self.rec(rec)?.last_exit = LastExit::RipasChange(request);
        Ok(Answer::success().x1(reached))
    }
}

/// `RMI_RTT_INIT_RIPAS` of 1.0: entries of one table become RAM, and each of them is measured, also
/// one that is RAM already, as in TF-RMM. Entries that map memory end the call.
fn init_measured(realm: &mut Realm, range: &IpaRange, limit: Option<u64>) -> Answered {
    let first = walk(realm, range.base(), Level::L3)?;
    let mut ipa = range.base();
    let mut changed = 0;
    while ipa < range.top() && limit.is_none_or(|limit| changed < limit) {
        let found = walk(realm, ipa, Level::L3)?;
        let fits =
            found.table == first.table && found.base == ipa && found.top() <= range.top().raw();
        let perm = match found.entry {
            Entry::Void { ripas: Ripas::Empty | Ripas::Ram, perm } if fits => perm,
            _ => break,
        };
        realm.tree.set(&found, Entry::Void { ripas: Ripas::Ram, perm });
        let entry = IpaRange::new(ipa, Ipa::new(found.top())).map_err(|_| Status::ErrorInput)?;
        realm.measurements.add_ripas(&entry);
        changed += 1;
        ipa = entry.top();
    }
    if changed == 0 {
        return Err(Answer::rtt(first.level));
    }
    Ok(Answer::success().x1(ipa.raw()))
}

/// Changes the RIPAS of the entries of a protected range, as far as `to` returns a new one; returns
/// the IPA reached.
///
/// Entries keep what they map. A first entry that cannot be changed is an error, a later one ends
/// the call.
fn change(
    realm: &mut Realm,
    range: &IpaRange,
    tables: TablesPerCall,
    limit: Option<u64>,
    to: impl Fn(Ripas) -> Option<Ripas>,
) -> Result<u64, Answer> {
    let first = walk(realm, range.base(), Level::L3)?;
    let mut ipa = range.base();
    let mut changed = 0;
    while ipa < range.top() && limit.is_none_or(|limit| changed < limit) {
        let found = walk(realm, ipa, Level::L3)?;
        let stops = tables == TablesPerCall::One && found.table != first.table;
        let fits = found.base == ipa && found.top() <= range.top().raw();
        let entry = match found.entry {
            Entry::Void { ripas, perm } => to(ripas).map(|ripas| Entry::Void { ripas, perm }),
            Entry::Data { pa, ripas, perm } => {
                to(ripas).map(|ripas| Entry::Data { pa, ripas, perm })
            }
            _ => None,
        };
        let entry = entry.filter(|_| fits && !stops);
        let was_ram = matches!(found.entry, Entry::Data { ripas: Ripas::Ram, .. });
        if was_ram && matches!(entry, Some(Entry::Data { ripas: Ripas::Empty, .. })) {
            // What an auxiliary tree shows stays RAM. As TF-RMM, this is the answer even if
            // preceding entries were changed.
            if let Some(at) = realm.planes.first_mapped(ipa, found.top()) {
                return Err(Answer::from(Status::ErrorRttAux).x1(at.raw()));
            }
        }
        match entry {
            Some(entry) => realm.tree.set(&found, entry),
            None if changed == 0 => return Err(Answer::rtt(found.level)),
            None => break,
        }
        changed += 1;
        ipa = Ipa::new(found.top());
    }
    Ok(ipa.raw())
}
