//! Translation tables: create, destroy, fold, and reading one entry.

use rmi_abi::rtt::{Level, Ripas, RttEntryState};
use rmi_abi::{Ipa, Pa, Status};
use rmi_host::Registers;

use super::Monitor;
use crate::answer::{Answer, Answered, require};
use crate::granule::GranuleState;
use crate::realm::Realm;
use crate::rtt::{Entry, FoldError, Walk};

/// A table of a Realm that a command names by level and IPA.
struct Named {
    level: Level,
    /// Level of the entry that leads to the table.
    parent: Level,
    ipa: Ipa,
}

/// The table that a command names: its level must be below the start level, its IPA aligned to what it covers and in the IPA space.
fn named(realm: &Realm, ipa: u64, level: u64) -> Result<Named, Answer> {
    let ipa = Ipa::new(ipa);
    let level = Level::from_register(level).ok_or(Status::ErrorInput)?;
    let parent = level.parent().ok_or(Status::ErrorInput)?;
    let geometry = realm.tree.geometry();
    let valid = parent >= geometry.start_level()
        && ipa.is_aligned(parent.entry_bytes())
        && ipa < geometry.end();
    require(valid, Status::ErrorInput)?;
    Ok(Named { level, parent, ipa })
}

/// Walks to `level`, which must be one that the Realm has.
pub(super) fn walk(realm: &Realm, ipa: Ipa, level: Level) -> Result<Walk, Answer> {
    realm.tree.walk(ipa, level).ok_or(Answer::from(Status::ErrorInput))
}

impl Monitor {
    pub(super) fn rtt_create(&mut self, x: &Registers) -> Answered {
        let [_, rd, rtt, ipa, level, ..] = *x;
        let realm = self.realm(rd)?;
        let table = named(realm, ipa, level)?;
        let reached = realm.reaches(Pa::new(rtt));
        let rtt = self.fresh(rtt)?;
        require(reached, Status::ErrorInput)?;
        let realm = self.realm(rd)?;
        let parent = walk(realm, table.ipa, table.parent)?;
        let is_table = matches!(parent.entry, Entry::Table { .. });
        if parent.level != table.parent || is_table {
            return Err(Answer::rtt(parent.level));
        }
        realm.tree.graft(&parent, rtt);
        self.granules.set(rtt, GranuleState::Rtt);
        Ok(Answer::success())
    }

    pub(super) fn rtt_destroy(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, level, ..] = *x;
        let realm = self.realm(rd)?;
        let table = named(realm, ipa, level)?;
        let parent = walk(realm, table.ipa, table.parent)?;
        let rtt = match parent.entry {
            Entry::Table { pa } => pa,
            _ => return Err(Answer::rtt(parent.level).x2(realm.tree.next_live(&parent))),
        };
        if realm.tree.table_is_live(rtt) {
            return Err(Answer::rtt(table.level).x2(table.ipa.raw()));
        }
        // What the table held is lost to the Realm, and the Realm can tell.
        let remains = if realm.tree.geometry().is_protected(table.ipa) {
            Entry::Void { ripas: Ripas::Destroyed }
        } else {
            Entry::VoidNs
        };
        realm.tree.prune(&parent, remains);
        let top = realm.tree.next_live(&parent);
        self.hand_over(&[rtt], GranuleState::Delegated, 0);
        Ok(Answer::success().x1(rtt.raw()).x2(top))
    }

    pub(super) fn rtt_fold(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, level, ..] = *x;
        let realm = self.realm(rd)?;
        let table = named(realm, ipa, level)?;
        let parent = walk(realm, table.ipa, table.parent)?;
        let Entry::Table { pa: rtt } = parent.entry else {
            return Err(Answer::rtt(parent.level));
        };
        let entry = realm.tree.folded(&parent, rtt).map_err(|why| match why {
            FoldError::NotHomogeneous => Answer::rtt(table.level),
            FoldError::NoBlocks => Answer::rtt(table.parent),
        })?;
        realm.tree.prune(&parent, entry);
        self.hand_over(&[rtt], GranuleState::Delegated, 0);
        Ok(Answer::success().x1(rtt.raw()))
    }

    pub(super) fn rtt_read_entry(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, level, ..] = *x;
        let realm = self.realm(rd)?;
        let level = Level::from_register(level).ok_or(Status::ErrorInput)?;
        let ipa = Ipa::new(ipa);
        require(ipa.is_aligned(level.entry_bytes()), Status::ErrorInput)?;
        let found = walk(realm, ipa, level)?;
        let (state, desc, ripas) = match found.entry {
            Entry::Void { ripas } => (RttEntryState::Void, 0, ripas),
            Entry::Data { pa, ripas } => (RttEntryState::Data, pa.raw(), ripas),
            Entry::VoidNs => (RttEntryState::Void, 0, Ripas::Empty),
            Entry::MappedNs { pa, attributes } => {
                (RttEntryState::Data, pa.raw() | attributes, Ripas::Empty)
            }
            Entry::Table { pa } => (RttEntryState::Table, pa.raw(), Ripas::Empty),
        };
        Ok(Answer::success()
            .x1(found.level.to_register())
            .x2(u64::from(u8::from(state)))
            .x3(desc)
            .x4(u64::from(u8::from(ripas))))
    }
}
