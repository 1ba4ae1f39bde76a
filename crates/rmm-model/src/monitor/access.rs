//! The Realm's accesses to memory, through its stage 2.

use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::{Ipa, Pa};

use super::Monitor;
use super::map::permissions;
use crate::granule::GranuleState;
use crate::rtt::Entry;

/// What kind of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Fetch,
}

/// What stage 2 makes of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Translation {
    /// It reaches memory.
    Memory(Pa),
    /// The Realm takes an external abort; the host does not notice.
    Abort,
    /// The host has to deal with it.
    Fault {
        level: Level,
        /// A permission fault, not a translation fault.
        permission: bool,
    },
}

impl Monitor {
    /// Translates one address of a Realm.
    ///
    /// Source: DEN0137 1.0, "RIPAS and HIPAS"; 2.0, "RTT entry states".
    pub(super) fn translate(&self, rd: Pa, ipa: Ipa, kind: Kind) -> Translation {
        let Some(found) = self.realms.get(&rd).and_then(|realm| realm.tree.walk(ipa, Level::L3))
        else {
            return Translation::Abort;
        };
        let fault = Translation::Fault { level: found.level, permission: false };
        let offset = ipa.raw() - found.base.raw();
        match found.entry {
            Entry::Void { ripas: Ripas::Empty } | Entry::Data { ripas: Ripas::Empty, .. } => {
                Translation::Abort
            }
            Entry::Data { pa, ripas: Ripas::Ram } => {
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
                    // The granule protection check, or no memory at all.
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
