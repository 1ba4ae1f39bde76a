//! Translation tables: create, destroy, fold, in the primary tree and in auxiliary ones; and
//! reading one entry.

use rmi_abi::rtt::{Level, Ripas, RttEntryState};
use rmi_abi::{Ipa, Pa, Status};
use rmi_host::Registers;

use super::Monitor;
use crate::answer::{Answer, Answered, require};
use crate::granule::GranuleState;
use crate::realm::Realm;
use crate::rtt::{Entry, FoldError, Walk};

/// Bits 49:0 of an address.
const LPA2_LOW: u64 = (1 << 50) - 1;

/// A table of a Realm that a command names by level and IPA.
struct Named {
    level: Level,
    /// Level of the entry that leads to the table.
    parent: Level,
    ipa: Ipa,
}

/// The table that a command names: its level must be below the start level, its IPA aligned to what
/// it covers and in the IPA space.
fn named(realm: &Realm, ipa: u64, level: u64) -> Result<Named, Answer> {
    let ipa = Ipa::new(ipa);
    let level = Level::from_register(level).ok_or(Status::ErrorInput)?;
    let parent = level.parent().ok_or(Status::ErrorInput)?;
    let geometry = realm.tree.geometry();
    let valid = parent >= geometry.start_level()
        && ipa.is_aligned(geometry.entry_bytes(parent))
        && ipa < geometry.end();
    require(valid, Status::ErrorInput)?;
    Ok(Named { level, parent, ipa })
}

/// Walks to `level`, which must be one that the Realm has.
pub(super) fn walk(realm: &Realm, ipa: Ipa, level: Level) -> Result<Walk, Answer> {
    walk_tree(realm, 0, ipa, level)
}

/// The index of the tree that a command is about: the primary one, or the auxiliary one that a
/// register names. Auxiliary trees have tables in the protected half only.
fn target(realm: &Realm, index: Option<u64>, ipa: Ipa) -> Result<usize, Answer> {
    let Some(register) = index else { return Ok(0) };
    require(realm.is_protected(ipa, 1), Status::ErrorInput)?;
    aux_tree(realm, register)
}

/// The index of the auxiliary tree that a register names.
pub(super) fn aux_tree(realm: &Realm, register: u64) -> Result<usize, Answer> {
    realm.planes.aux_index(register).ok_or(Answer::from(Status::ErrorInput))
}

/// Walks a tree to `level`, which must be one that the Realm has.
pub(super) fn walk_tree(
    realm: &Realm,
    tree: usize,
    ipa: Ipa,
    level: Level,
) -> Result<Walk, Answer> {
    let found = realm.tree(tree).and_then(|tree| tree.walk(ipa, level));
    found.ok_or(Answer::from(Status::ErrorInput))
}

/// The page of the protected half that a command names.
pub(super) fn protected_page(realm: &Realm, ipa: u64) -> Result<Ipa, Answer> {
    let ipa = Ipa::new(ipa);
    require(realm.is_protected(ipa, realm.tree.geometry().granule().bytes()), Status::ErrorInput)?;
    Ok(ipa)
}

/// The walk to the entry of a protected page, which must map nothing, for memory at `data`: with
/// the RIPAS and the permissions of the entry.
pub(super) fn vacant(realm: &Realm, ipa: u64, data: Pa) -> Result<(Walk, Ripas, u8), Answer> {
    let ipa = protected_page(realm, ipa)?;
    require(realm.reaches(data), Status::ErrorInput)?;
    let found = walk(realm, ipa, Level::L3)?;
    match found.entry {
        Entry::Void { ripas, perm } if found.level == Level::L3 => Ok((found, ripas, perm)),
        _ => Err(Answer::rtt(found.level)),
    }
}

/// Whether a table of the primary tree must stay because an auxiliary tree shows it. As in TF-RMM,
/// all tables below the root entry must.
fn is_referred_to(realm: &Realm, tree: usize, ipa: Ipa) -> bool {
    tree == 0 && !realm.is_protected(ipa, 1) && realm.planes.refers(ipa)
}

impl Monitor {
    pub(super) fn rtt_create(&mut self, x: &Registers) -> Answered {
        let [_, rd, rtt, ipa, level, ..] = *x;
        self.create_table(rd, rtt, ipa, level, None)
    }

    pub(super) fn rtt_aux_create(&mut self, x: &Registers) -> Answered {
        let [_, rd, rtt, ipa, level, index, ..] = *x;
        self.create_table(rd, rtt, ipa, level, Some(index))
    }

    fn create_table(
        &mut self,
        rd: u64,
        rtt: u64,
        ipa: u64,
        level: u64,
        index: Option<u64>,
    ) -> Answered {
        let realm = self.realm(rd)?;
        let table = named(realm, ipa, level)?;
        let tree = target(realm, index, table.ipa)?;
        let reached = realm.reaches(Pa::new(rtt));
        let rtt = self.fresh(rtt)?;
        require(reached, Status::ErrorInput)?;
        let realm = self.realm(rd)?;
        let parent = walk_tree(realm, tree, table.ipa, table.parent)?;
        let is_table = matches!(parent.entry, Entry::Table { .. });
        if parent.level != table.parent || is_table {
            return Err(Answer::walk(tree, parent.level));
        }
        if let Some(tree) = realm.tree_mut(tree) {
            tree.graft(&parent, rtt);
        }
        self.granules.set(rtt, GranuleState::Rtt);
        Ok(Answer::success())
    }

    pub(super) fn rtt_destroy(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, level, ..] = *x;
        self.destroy_table(rd, ipa, level, None)
    }

    pub(super) fn rtt_aux_destroy(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, level, index, ..] = *x;
        self.destroy_table(rd, ipa, level, Some(index))
    }

    fn destroy_table(&mut self, rd: u64, ipa: u64, level: u64, index: Option<u64>) -> Answered {
        let realm = self.realm(rd)?;
        let table = named(realm, ipa, level)?;
        let index = target(realm, index, table.ipa)?;
        let parent = walk_tree(realm, index, table.ipa, table.parent)?;
        let is_protected = realm.is_protected(table.ipa, 1);
        let is_referred_to = is_referred_to(realm, index, table.ipa);
        let perm = realm.planes.perm(index, 0);
        let tree = realm.tree_mut(index).ok_or(Status::ErrorInput)?;
        let rtt = match parent.entry {
            Entry::Table { pa } => pa,
            _ => {
                return Err(
                    Answer::walk(index, parent.level).x2(tree.next_live(&parent, table.ipa))
                );
            }
        };
        if tree.table_is_live(rtt) {
            return Err(Answer::walk(index, table.level).x2(table.ipa.raw()));
        }
        if is_referred_to {
            return Err(Answer::walk(index, parent.level).x2(table.ipa.raw()));
        }
        // What the table held is lost to the Realm, which can observe that.
        let remains = if is_protected {
            Entry::Void { ripas: Ripas::Destroyed, perm }
        } else {
            Entry::VoidNs
        };
        tree.prune(&parent, remains);
        let top = tree.next_live(&parent, table.ipa);
        self.set_granules(&[rtt], GranuleState::Delegated, 0);
        Ok(Answer::success().x1(rtt.raw()).x2(top))
    }

    pub(super) fn rtt_fold(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, level, ..] = *x;
        self.fold_table(rd, ipa, level, None)
    }

    pub(super) fn rtt_aux_fold(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, level, index, ..] = *x;
        self.fold_table(rd, ipa, level, Some(index))
    }

    fn fold_table(&mut self, rd: u64, ipa: u64, level: u64, index: Option<u64>) -> Answered {
        let realm = self.realm(rd)?;
        let table = named(realm, ipa, level)?;
        let index = target(realm, index, table.ipa)?;
        let parent = walk_tree(realm, index, table.ipa, table.parent)?;
        let Entry::Table { pa: rtt } = parent.entry else {
            return Err(Answer::walk(index, parent.level));
        };
        if is_referred_to(realm, index, table.ipa) {
            return Err(Answer::walk(index, parent.level));
        }
        let tree = realm.tree_mut(index).ok_or(Status::ErrorInput)?;
        let entry = tree.folded(&parent, rtt).map_err(|why| match why {
            FoldError::NotHomogeneous => Answer::walk(index, table.level),
            // As TF-RMM, with this status of auxiliary trees, too.
            FoldError::NoBlocks => Answer::rtt(table.parent),
        })?;
        tree.prune(&parent, entry);
        self.set_granules(&[rtt], GranuleState::Delegated, 0);
        Ok(Answer::success().x1(rtt.raw()))
    }

    pub(super) fn rtt_read_entry(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, level, ..] = *x;
        let names_wide_addresses = !self.options.dialect.is_2_0();
        let realm = self.realm(rd)?;
        let level = Level::from_register(level).ok_or(Status::ErrorInput)?;
        let ipa = Ipa::new(ipa);
        require(ipa.is_aligned(realm.tree.geometry().entry_bytes(level)), Status::ErrorInput)?;
        let found = walk(realm, ipa, level)?;
        let (state, desc, ripas) = match found.entry {
            Entry::Void { ripas, .. } => (RttEntryState::Void, 0, ripas),
            Entry::Data { pa, ripas, .. } => (RttEntryState::Data, pa.raw(), ripas),
            Entry::VoidNs => (RttEntryState::Void, 0, Ripas::Empty),
            Entry::MappedNs { pa, attributes } => {
                // Wide addresses of 1.0 have their top bits where a table entry has them.
                let address = if names_wide_addresses && realm.lpa2 {
                    pa.raw() & LPA2_LOW | pa.raw() >> 50 << 8
                } else {
                    pa.raw()
                };
                (RttEntryState::Data, address | attributes, Ripas::Empty)
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
