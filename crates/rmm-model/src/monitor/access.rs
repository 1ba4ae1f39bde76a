//! The Realm's accesses to memory, through its stage 2.

use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::{Ipa, Pa};

use super::Monitor;
use super::map::permissions;
use crate::granule::GranuleState;
pub(super) use crate::rec::AccessKind as Kind;
use crate::rtt::{Entry, Walk};

/// The outcome of an access at stage 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Translation {
    /// It is an access to memory.
    Memory(Pa),
    /// The Realm takes an external abort; the host is not told.
    Abort,
    /// Plane 0 handles it: the plane that made the access exits.
    ToPlane0 {
        level: Level,
        /// Whether it is a permission fault, not a translation fault.
        permission: bool,
    },
    /// The REC exits, and the host handles it.
    Fault {
        level: Level,
        /// Whether it is a permission fault, not a translation fault.
        permission: bool,
    },
}

impl Monitor {
    /// Translates one address for a plane of a Realm, by the tree of that plane.
    ///
    /// Source: DEN0137 1.0, "RIPAS and HIPAS"; 2.0, "RTT entry states" and "Auxiliary RTT".
    pub(super) fn translate(&self, rd: Pa, plane: usize, ipa: Ipa, kind: Kind) -> Translation {
        let Some(realm) = self.realms.get(&rd) else { return Translation::Abort };
        let aux = realm.planes.tree(realm.planes.tree_of(plane));
        let found = match aux {
            None => realm.tree.walk(ipa, Level::L3),
            Some(aux) if realm.is_protected(ipa, 1) => match realm.tree.walk(ipa, Level::L3) {
                // What is EMPTY is EMPTY in all trees; the primary one records it.
                Some(
                    empty @ Walk {
                        entry:
                            Entry::Void { ripas: Ripas::Empty, .. }
                            | Entry::Data { ripas: Ripas::Empty, .. },
                        ..
                    },
                ) => Some(empty),
                Some(_) => aux.walk(ipa, Level::L3).map(Walk::without_ripas),
                None => None,
            },
            // Below the root table, unprotected addresses have the tables of the primary tree.
            Some(aux) => match aux.walk(ipa, aux.geometry().start_level()) {
                Some(Walk { entry: Entry::Table { .. }, .. }) => realm.tree.walk(ipa, Level::L3),
                root => root,
            },
        };
        let translation = self.translate_entry(found, ipa, kind);
        let Some(found) = found.filter(|_| plane != 0) else { return translation };
        let (level, is_protected) = (found.level, realm.is_protected(ipa, 1));
        match (translation, found.entry) {
            // What is EMPTY is not what the host can change, nor are instructions outside the
            // protected half.
            (Translation::Abort, _) if is_protected || kind == Kind::Fetch => {
                Translation::ToPlane0 { level, permission: false }
            }
            (Translation::Memory(_), Entry::Data { perm, .. })
                if !realm.planes.allows(plane, perm, kind) =>
            {
                Translation::ToPlane0 { level, permission: true }
            }
            _ => translation,
        }
    }

    /// Translates the address of a structure that the Realm passes to the RMM, by the primary tree.
    pub(super) fn translate_structure(&self, rd: Pa, ipa: Ipa) -> Translation {
        let realm = self.realms.get(&rd);
        let found = realm.and_then(|realm| realm.tree.walk(ipa, Level::L3));
        self.translate_entry(found, ipa, Kind::Write)
    }

    fn translate_entry(&self, found: Option<Walk>, ipa: Ipa, kind: Kind) -> Translation {
        let Some(found) = found else { return Translation::Abort };
        let fault = Translation::Fault { level: found.level, permission: false };
        let offset = ipa.raw() - found.base.raw();
        match found.entry {
            Entry::Void { ripas: Ripas::Empty, .. } | Entry::Data { ripas: Ripas::Empty, .. } => {
                Translation::Abort
            }
            Entry::Data { pa, ripas: Ripas::Ram, .. } => {
                Translation::Memory(Pa::new(pa.raw() + offset))
            }
            Entry::Void { .. } | Entry::Data { .. } | Entry::Table { .. } => fault,
            // Host memory is never executable.
            Entry::VoidNs | Entry::MappedNs { .. } if kind == Kind::Fetch => Translation::Abort,
            Entry::VoidNs => fault,
            Entry::MappedNs { pa, attributes } => {
                let (read, write) = permissions(attributes);
                let allowed = if kind == Kind::Write { write } else { read };
                let pa = Pa::new(pa.raw().saturating_add(offset));
                if !allowed {
                    Translation::Fault { level: found.level, permission: true }
                } else if self.granules.state(pa) == Some(GranuleState::Undelegated) {
                    Translation::Memory(pa)
                } else {
                    // The granule protection check fails, or there is no memory.
                    Translation::Abort
                }
            }
        }
    }

    /// Whether a REC's Realm has `ipa` in the protected half.
    pub(super) fn is_protected(&self, rd: Pa, ipa: Ipa) -> bool {
        self.realms.get(&rd).is_some_and(|realm| realm.is_protected(ipa, 1))
    }
}
