//! The commands of 1.0 that map and unmap one entry each.
//!
//! Source: DEN0137 1.0-rel0; the order of checks is that of TF-RMM v0.8.0.

use rmi_abi::flags::{DataFlags, MemAttr, UnprotectedDesc};
use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::{Ipa, Status};
use rmi_host::Registers;

use super::table::{protected_page, vacant, walk};
use super::{Monitor, require_state};
use crate::answer::{Answer, Answered, require};
use crate::granule::GranuleState;
use crate::memory::GRANULE;
use crate::realm::{Realm, RealmState};
use crate::rtt::{Entry, Walk};

/// What a mapping of host memory takes from a descriptor: MemAttr in bits 4:2, S2AP in bits 7:6.
const ATTRIBUTES: u64 = 0b111 << 2 | 0b11 << 6;

/// An entry of the unprotected half that may map memory: its IPA and level.
fn unprotected_entry(realm: &Realm, ipa: u64, level: u64) -> Result<(Ipa, Level), Answer> {
    let ipa = Ipa::new(ipa);
    let level = Level::from_register(level).filter(|level| level.may_map());
    let level = level.ok_or(Status::ErrorInput)?;
    let geometry = realm.tree.geometry();
    let fits = geometry.is_unprotected(ipa) && ipa.is_aligned(level.entry_bytes());
    require(fits, Status::ErrorInput)?;
    Ok((ipa, level))
}

/// Walks to `level`. As in TF-RMM, which does not compare it with the level at which the Realm's
/// tables start, a walk to a level above that ends there.
fn walk_to(realm: &Realm, ipa: Ipa, level: Level) -> Result<Walk, Answer> {
    walk(realm, ipa, level.max(realm.tree.geometry().start_level()))
}

impl Monitor {
    pub(super) fn data_create(&mut self, x: &Registers) -> Answered {
        let [_, rd, data, ipa, src, flags, ..] = *x;
        require(flags & !DataFlags::MEASURE.bits() == 0, Status::ErrorInput)?;
        let mut content = [0; GRANULE];
        self.read_host_page(src, &mut content)?;
        let data = self.fresh(data)?;
        let realm = self.realm(rd)?;
        // Before the IPA, whose check has another status.
        require_state(realm, &[RealmState::New])?;
        let (found, _, perm) = vacant(realm, ipa, data)?;
        self.populate(rd, &found, perm, data, flags, &content)
    }

    /// In any state of the Realm. Its RIPAS stays.
    pub(super) fn data_create_unknown(&mut self, x: &Registers) -> Answered {
        let [_, rd, data, ipa, ..] = *x;
        let data = self.fresh(data)?;
        let realm = self.realm(rd)?;
        let (found, ripas, perm) = vacant(realm, ipa, data)?;
        realm.tree.set(&found, Entry::Data { pa: data, ripas, perm });
        self.set_granules(&[data], GranuleState::Data, 0);
        Ok(Answer::success())
    }

    /// X2 is the next IPA that may be mapped, also where the entry maps nothing.
    pub(super) fn data_destroy(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, ..] = *x;
        let realm = self.realm(rd)?;
        let ipa = protected_page(realm, ipa)?;
        let found = walk(realm, ipa, Level::L3)?;
        let (pa, ripas, perm) = match found.entry {
            Entry::Data { pa, ripas, perm } if found.level == Level::L3 => (pa, ripas, perm),
            _ => {
                let top = realm.tree.next_live(&found, ipa);
                return Err(Answer::rtt(found.level).x2(top));
            }
        };
        // An entry whose content is lost loses its permissions, too.
        let (ripas, perm) = match ripas {
            Ripas::Ram => (Ripas::Destroyed, realm.planes.perm(0, 0)),
            _ => (ripas, perm),
        };
        realm.tree.set(&found, Entry::Void { ripas, perm });
        let top = realm.tree.next_live(&found, ipa);
        self.set_granules(&[pa], GranuleState::Delegated, 0);
        Ok(Answer::success().x1(pa.raw()).x2(top))
    }

    /// Which memory it is, and who owns it, is not checked: a Realm that accesses what it may not
    /// gets an abort.
    pub(super) fn rtt_map_unprotected(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, level, desc, ..] = *x;
        let realm = self.realm(rd)?;
        let (ipa, level) = unprotected_entry(realm, ipa, level)?;
        let mapping = UnprotectedDesc::decode(desc, realm.lpa2).ok_or(Status::ErrorInput)?;
        let is_known = !matches!(mapping.memattr, MemAttr::Reserved(_));
        let fits = mapping.address.is_aligned(level.entry_bytes());
        require(is_known && fits, Status::ErrorInput)?;
        let found = walk_to(realm, ipa, level)?;
        if found.level != level || found.entry != Entry::VoidNs {
            return Err(Answer::rtt(found.level));
        }
        let attributes = desc & ATTRIBUTES;
        realm.tree.set(&found, Entry::MappedNs { pa: mapping.address, attributes });
        Ok(Answer::success())
    }

    /// X1 is the next IPA that may be mapped, also where the entry maps nothing.
    pub(super) fn rtt_unmap_unprotected(&mut self, x: &Registers) -> Answered {
        let [_, rd, ipa, level, ..] = *x;
        let realm = self.realm(rd)?;
        let (ipa, level) = unprotected_entry(realm, ipa, level)?;
        let found = walk_to(realm, ipa, level)?;
        let is_mapped = found.level == level && matches!(found.entry, Entry::MappedNs { .. });
        if is_mapped {
            realm.tree.set(&found, Entry::VoidNs);
        }
        let top = realm.tree.next_live(&found, ipa);
        if is_mapped {
            Ok(Answer::success().x1(top))
        } else {
            Err(Answer::rtt(found.level).x1(top))
        }
    }
}
