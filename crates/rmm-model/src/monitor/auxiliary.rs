//! Mappings in auxiliary trees. They show what the primary tree maps: Realm memory entry by entry,
//! host memory by root entries, which refer to the tables of the primary tree.
//!
//! TF-RMM maps by entry, 2.0-bet3 by range. Source: DEN0137 2.0, "Auxiliary RTT" and
//! `RMI_RTT_AUX_*`; what the text leaves open is as in TF-RMM.

use rmi_abi::flags::{AuxMapFlags, AuxUnmapFlags};
use rmi_abi::rtt::{Level, Ripas, RttEntryState};
use rmi_abi::{Ipa, IpaRange, Pa, Status};
use rmi_host::Registers;

use super::table::{aux_tree, protected_page, walk, walk_tree};
use super::{Monitor, ipa_range, require_state};
use crate::answer::{Answer, Answered, require};
use crate::options::TablesPerCall;
use crate::realm::{Realm, RealmState};
use crate::rtt::{Entry, Walk};
use crate::unsupported::AUX_DESTROYED;

/// Why an auxiliary tree cannot show what the primary one has.
enum Obstacle {
    /// The primary tree maps no RAM there.
    Primary(Walk),
    /// The auxiliary tree ends above the level at which the primary one maps.
    Shallow { primary: Walk, aux: Walk },
    /// The auxiliary tree lost a table there.
    Destroyed { primary: Walk, aux: Walk },
}

/// The entry of an auxiliary tree that shows what the primary one maps at `ipa`.
fn shown(realm: &Realm, tree: usize, ipa: Ipa) -> Result<Result<(Walk, Entry), Obstacle>, Answer> {
    let primary = walk(realm, ipa, Level::L3)?;
    let Entry::Data { pa, ripas: Ripas::Ram, .. } = primary.entry else {
        return Ok(Err(Obstacle::Primary(primary)));
    };
    let aux = walk_tree(realm, tree, ipa, Level::L3)?;
    Ok(if aux.level < primary.level {
        Err(Obstacle::Shallow { primary, aux })
    } else {
        match aux.entry {
            Entry::Void { ripas: Ripas::Destroyed, .. } => {
                Err(Obstacle::Destroyed { primary, aux })
            }
            Entry::Void { perm, .. } => {
                let pa = Pa::new(pa.raw() + (aux.base.raw() - primary.base.raw()));
                Ok((aux, Entry::Data { pa, ripas: Ripas::Ram, perm }))
            }
            entry => Ok((aux, entry)),
        }
    })
}

/// The state and the RIPAS of an entry without a table, as outputs.
fn state(entry: Entry) -> (u64, u64) {
    let (state, ripas) = match entry {
        Entry::Void { ripas, .. } => (RttEntryState::Void, ripas),
        Entry::Data { ripas, .. } => (RttEntryState::Data, ripas),
        Entry::MappedNs { .. } => (RttEntryState::Data, Ripas::Empty),
        Entry::VoidNs | Entry::Table { .. } => (RttEntryState::Void, Ripas::Empty),
    };
    (u8::from(state).into(), u8::from(ripas).into())
}

fn set(realm: &mut Realm, tree: usize, walk: &Walk, entry: Entry) {
    if let Some(tree) = realm.tree_mut(tree) {
        tree.set(walk, entry);
    }
}

/// The void entry that a mapping of Realm memory leaves behind in an auxiliary tree: as in TF-RMM,
/// an EMPTY one with the same permissions.
fn unmapped(entry: Entry) -> Option<Entry> {
    match entry {
        Entry::Data { perm, .. } => Some(Entry::Void { ripas: Ripas::Empty, perm }),
        _ => None,
    }
}

/// An unprotected root entry that an entry command names.
fn root(realm: &Realm, ipa: u64) -> Result<Ipa, Answer> {
    let ipa = Ipa::new(ipa);
    let geometry = realm.tree.geometry();
    let fits = geometry.is_unprotected(ipa)
        && ipa.is_aligned(geometry.entry_bytes(geometry.start_level()));
    require(fits, Status::ErrorInput)?;
    Ok(ipa)
}

const MAPPABLE: [RealmState; 2] = [RealmState::New, RealmState::Active];

impl Monitor {
    pub(super) fn rtt_aux_map_protected(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, index, ..] = *x;
        let realm = self.realm(rd)?;
        require_state(realm, &MAPPABLE)?;
        let ipa = protected_page(realm, ipa)?;
        let tree = aux_tree(realm, index)?;
        let (answer, primary, x1, state_of) = match shown(realm, tree, ipa)? {
            Ok((aux, entry)) => {
                set(realm, tree, &aux, entry);
                return Ok(Answer::success().x4(0));
            }
            Err(Obstacle::Primary(primary)) => {
                (Answer::rtt(primary.level), primary, 0, state(primary.entry).0)
            }
            Err(Obstacle::Shallow { primary, aux }) => {
                (Answer::walk(tree, aux.level), primary, index, state(aux.entry).0)
            }
            // As TF-RMM, X1 is the index of the entry here, not that of the tree.
            Err(Obstacle::Destroyed { primary, aux }) => {
                (Answer::walk(tree, aux.level), primary, aux.index as u64, AUX_DESTROYED)
            }
        };
        let level = primary.level.to_register();
        Err(answer.x1(x1).x2(level).x3(state_of).x4(state(primary.entry).1))
    }

    pub(super) fn rtt_aux_map_unprotected(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, index, ..] = *x;
        let realm = self.realm(rd)?;
        require_state(realm, &MAPPABLE)?;
        let ipa = root(realm, ipa)?;
        let tree = aux_tree(realm, index)?;
        let start = realm.tree.geometry().start_level();
        let primary = walk(realm, ipa, start)?;
        if primary.entry == Entry::VoidNs {
            return Err(Answer::rtt(primary.level));
        }
        if matches!(walk_tree(realm, tree, ipa, start)?.entry, Entry::Table { .. }) {
            // As TF-RMM, in which Realms with such a root table can never be destroyed.
            realm.planes.counted_twice += 1;
        }
        copy_root(realm, tree, ipa)?;
        Ok(Answer::success())
    }

    pub(super) fn rtt_aux_unmap_protected(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, index, ..] = *x;
        let realm = self.realm(rd)?;
        let ipa = protected_page(realm, ipa)?;
        let index = aux_tree(realm, index)?;
        let found = walk_tree(realm, index, ipa, Level::L3)?;
        let tree = realm.tree_mut(index).ok_or(Status::ErrorInput)?;
        let Some(entry) = unmapped(found.entry) else {
            return Err(Answer::walk(index, found.level).x1(tree.next_live(&found, ipa)));
        };
        tree.set(&found, entry);
        Ok(Answer::success().x1(tree.next_live(&found, ipa)))
    }

    /// X2 has a name in the interface, but TF-RMM gives it no value.
    pub(super) fn rtt_aux_unmap_unprotected(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, index, ..] = *x;
        let realm = self.realm(rd)?;
        let index = aux_tree(realm, index)?;
        let ipa = root(realm, ipa)?;
        let found = walk_tree(realm, index, ipa, realm.tree.geometry().start_level())?;
        let tree = realm.tree_mut(index).ok_or(Status::ErrorInput)?;
        tree.set(&found, Entry::VoidNs);
        Ok(Answer::success().x1(tree.next_live(&found, ipa)))
    }

    pub(super) fn rtt_aux_prot_map(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let [_, rd, base, top, flags, ..] = *x;
        let one_table = self.options.tables_per_call == TablesPerCall::One;
        let realm = self.realm(rd)?;
        require_state(realm, &MAPPABLE)?;
        let range = protected(realm, base, top)?;
        let flags = AuxMapFlags::decode(flags);
        let tree = aux_tree(realm, flags.tree_index.into())?;
        let primary = walk(realm, range.base(), Level::L3)?;
        require(primary.base == range.base(), Status::ErrorInput)?;
        let first = walk_tree(realm, tree, range.base(), Level::L3)?;
        require(flags.block || first.base == range.base(), Status::ErrorInput)?;

        let (mut ipa, mut steps) = (range.base(), 0_u64);
        while ipa < range.top() && limit.is_none_or(|limit| steps < limit) {
            let aux = walk_tree(realm, tree, ipa, Level::L3)?;
            if one_table && aux.table != first.table {
                break;
            }
            match propagate(realm, tree, ipa, &range, flags) {
                Ok(next) => ipa = next,
                Err(refused) if steps == 0 => return Err(refused),
                Err(_) => break,
            }
            steps += 1;
        }
        Ok(Answer::success().x1(ipa.raw()))
    }

    pub(super) fn rtt_aux_prot_unmap(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let [_, rd, base, top, flags, ..] = *x;
        let one_table = self.options.tables_per_call == TablesPerCall::One;
        let realm = self.realm(rd)?;
        let range = protected(realm, base, top)?;
        let tree = aux_tree(realm, AuxUnmapFlags::decode(flags).tree_index.into())?;
        let primary = walk(realm, range.base(), Level::L3)?;
        require(primary.base == range.base(), Status::ErrorInput)?;
        let first = walk_tree(realm, tree, range.base(), Level::L3)?;

        let (mut ipa, mut steps) = (range.base(), 0_u64);
        while ipa < range.top() && limit.is_none_or(|limit| steps < limit) {
            let found = walk_tree(realm, tree, ipa, Level::L3)?;
            let fits = found.base == ipa && found.top() <= range.top().raw();
            let stops = one_table && found.table != first.table;
            match unmapped(found.entry).filter(|_| fits && !stops) {
                Some(entry) => set(realm, tree, &found, entry),
                None if steps == 0 => return Err(Answer::walk(tree, found.level)),
                None => break,
            }
            ipa = Ipa::new(found.top());
            steps += 1;
        }
        Ok(Answer::success().x1(ipa.raw()))
    }

    pub(super) fn rtt_aux_unprot_map(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let [_, rd, base, top, flags, ..] = *x;
        let realm = self.realm(rd)?;
        require_state(realm, &MAPPABLE)?;
        let range = unprotected(realm, base, top)?;
        let tree = aux_tree(realm, AuxMapFlags::decode(flags).tree_index.into())?;
        let primary = walk(realm, range.base(), Level::L3)?;
        require(primary.base == range.base(), Status::ErrorInput)?;
        if !matches!(primary.entry, Entry::MappedNs { .. }) {
            return Err(Answer::rtt(primary.level));
        }
        // What is processed is mapped by both, without a gap. That a VOID entry may be too large
        // for the range does not matter: there is none in this half.
        let (mut ipa, mut steps) = (range.base(), 0_u64);
        while ipa < range.top() && limit.is_none_or(|limit| steps < limit) {
            let primary = walk(realm, ipa, Level::L3)?;
            if !matches!(primary.entry, Entry::MappedNs { .. }) {
                break;
            }
            copy_root(realm, tree, ipa)?;
            ipa = Ipa::new(primary.top()).min(range.top());
            steps += 1;
        }
        Ok(Answer::success().x1(ipa.raw()))
    }

    pub(super) fn rtt_aux_unprot_unmap(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let [_, rd, base, top, flags, ..] = *x;
        let realm = self.realm(rd)?;
        let range = unprotected(realm, base, top)?;
        let tree = aux_tree(realm, AuxUnmapFlags::decode(flags).tree_index.into())?;
        let primary = walk(realm, range.base(), Level::L3)?;
        require(primary.base == range.base(), Status::ErrorInput)?;
        let start = realm.tree.geometry().start_level();
        let (mut ipa, mut steps) = (range.base(), 0_u64);
        while ipa < range.top() && limit.is_none_or(|limit| steps < limit) {
            let found = walk_tree(realm, tree, ipa, start)?;
            // Below its root table the tree has the tables of the primary one.
            let below = match found.entry {
                Entry::Table { .. } => walk(realm, ipa, Level::L3)?,
                _ => found,
            };
            match below.entry {
                Entry::MappedNs { .. } => set(realm, tree, &found, Entry::VoidNs),
                _ if steps == 0 => return Err(Answer::walk(tree, below.level)),
                _ => break,
            }
            ipa = Ipa::new(found.top()).min(range.top());
            steps += 1;
        }
        Ok(Answer::success().x1(ipa.raw()))
    }
}

fn protected(realm: &Realm, base: u64, top: u64) -> Result<IpaRange, Answer> {
    let range = ipa_range(realm.tree.geometry().granule(), base, top)?;
    require(realm.tree.geometry().range_is_protected(&range), Status::ErrorInput)?;
    Ok(range)
}

fn unprotected(realm: &Realm, base: u64, top: u64) -> Result<IpaRange, Answer> {
    let range = ipa_range(realm.tree.geometry().granule(), base, top)?;
    require(realm.tree.geometry().range_is_unprotected(&range), Status::ErrorInput)?;
    Ok(range)
}

/// Copies a root entry of the primary tree, once; returns the end of what it covers.
fn copy_root(realm: &mut Realm, tree: usize, ipa: Ipa) -> Result<Ipa, Answer> {
    let start = realm.tree.geometry().start_level();
    let primary = walk(realm, ipa, start)?;
    let found = walk_tree(realm, tree, ipa, start)?;
    if !matches!(found.entry, Entry::MappedNs { .. }) {
        set(realm, tree, &found, primary.entry);
    }
    Ok(Ipa::new(found.top()))
}

/// Shows one entry of a range; returns how far that reaches, at most to the range's end.
///
/// `invalid_pri` skips what the primary tree does not map; `block` lets the last entry reach beyond
/// the range.
fn propagate(
    realm: &mut Realm,
    tree: usize,
    ipa: Ipa,
    range: &IpaRange,
    flags: AuxMapFlags,
) -> Result<Ipa, Answer> {
    match shown(realm, tree, ipa)? {
        Ok((aux, entry)) => {
            let is_new = matches!(aux.entry, Entry::Void { .. });
            if is_new && !flags.block && aux.top() > range.top().raw() {
                return Err(Answer::walk(tree, aux.level));
            }
            set(realm, tree, &aux, entry);
            Ok(Ipa::new(aux.top()).min(range.top()))
        }
        Err(Obstacle::Primary(primary)) => match primary.entry {
            Entry::Void { .. } if flags.invalid_pri => Ok(Ipa::new(primary.top()).min(range.top())),
            Entry::Void { .. } => Err(Answer::from(Status::ErrorInput)),
            _ => Err(Answer::rtt(primary.level)),
        },
        Err(Obstacle::Shallow { aux, .. } | Obstacle::Destroyed { aux, .. }) => {
            Err(Answer::walk(tree, aux.level))
        }
    }
}
