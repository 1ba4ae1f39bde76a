//! The planes of a Realm: how many, which trees translate for them, and what they may access.
//!
//! Permissions of protected memory have an overlay index, which plane 0 chooses for each address,
//! and a value for each plane and index. With indirect encoding an entry holds the index. With
//! direct encoding it holds the permissions of the plane of its tree; it is written when the index
//! is set.
//!
//! Source: DEN0137 2.0, "Planes memory management", as in TF-RMM.

use alloc::vec;
use alloc::vec::Vec;

use rmi_abi::feature::{Features, RttPlaneFeature};
use rmi_abi::realm::{RealmFlags1, RealmParamsPage};
use rmi_abi::rtt::Geometry;
use rmi_abi::{Ipa, Pa};

use crate::rec::AccessKind as Kind;
use crate::rtt::{Entry, Tree};

/// Overlay indices that memory may have; the next one is used by the RMM.
pub(crate) const OVERLAYS: usize = 15;
/// Read, write and execute at any privilege: the permissions of plane 0 everywhere.
const RW_UPX: u8 = 15;
/// Permission values have four bits.
const VALUES: u64 = 16;
/// Most auxiliary planes: as many as the parameter page has places for.
pub(crate) const MOST: u8 = 3;

/// How a Realm's planes are translated, and their permissions.
pub(crate) struct Planes {
    /// Auxiliary planes.
    count: u8,
    /// The plane that translates for devices.
    pub(crate) ats_plane: u64,
    /// Whether entries hold the overlay index.
    indirect: bool,
    /// The auxiliary trees, one a plane; none if the planes share the primary one.
    trees: Vec<Tree>,
    /// Permission values of each plane, by overlay index.
    overlays: Vec<[u8; OVERLAYS]>,
    /// Overlay indices whose values cannot be changed any more, a bit each.
    locked: u16,
    /// References to tables of the primary tree that were counted a second time, as TF-RMM does;
    /// nothing takes them back.
    pub(crate) counted_twice: u64,
}

impl Planes {
    /// What a Realm's parameters say about planes, without the auxiliary trees; `None` where they
    /// contradict each other or the features.
    ///
    /// As TF-RMM, only 32 bits of the number of planes are used, and what matters with auxiliary
    /// planes only is not checked without them.
    pub(crate) fn of(page: &RealmParamsPage, features: &Features) -> Option<Self> {
        let flags = RealmFlags1::from_bits_retain(page.flags1);
        let per_plane = flags.contains(RealmFlags1::RTT_TREE_PER_PLANE);
        let indirect = flags.contains(RealmFlags1::RTT_S2AP_INDIRECT);
        let count = u8::try_from(page.num_aux_planes & 0xffff_ffff).ok()?;
        let tables_fit = match features.rtt_plane() {
            Some(RttPlaneFeature::Aux) => per_plane,
            Some(RttPlaneFeature::Single) => !per_plane,
            _ => true,
        };
        let fits = count <= features.max_aux_planes()
            && page.ats_plane <= u64::from(count)
            && (count == 0 || (tables_fit && per_plane != indirect))
            && (!indirect || features.s2ap_indirect());
        let mut overlays = vec![[RW_UPX; OVERLAYS]];
        overlays.resize(usize::from(count) + 1, [0; OVERLAYS]);
        fits.then_some(Self {
            count,
            ats_plane: page.ats_plane,
            indirect,
            trees: Vec::new(),
            overlays,
            // Index 0 is what memory has at first, so its values are fixed.
            locked: 1,
            counted_twice: 0,
        })
    }

    /// How many auxiliary trees the parameters ask for.
    pub(crate) fn trees_wanted(&self, page: &RealmParamsPage) -> usize {
        let flags = RealmFlags1::from_bits_retain(page.flags1);
        match flags.contains(RealmFlags1::RTT_TREE_PER_PLANE) {
            true => usize::from(self.count),
            false => 0,
        }
    }

    /// Gives the Realm its auxiliary trees.
    pub(crate) fn set_trees(&mut self, geometry: Geometry, roots: &[Pa]) {
        self.trees = (1..)
            .zip(roots)
            .map(|(tree, root)| Tree::new(geometry, *root, self.perm(tree, 0)))
            .collect();
    }

    /// Number of planes, with plane 0.
    pub(crate) fn number(&self) -> usize {
        usize::from(self.count) + 1
    }

    /// Number of auxiliary planes.
    pub(crate) fn auxiliary(&self) -> u8 {
        self.count
    }

    /// Whether every plane has its own tree.
    pub(crate) fn tree_per_plane(&self) -> bool {
        !self.trees.is_empty()
    }

    /// The auxiliary trees.
    pub(crate) fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// An auxiliary tree by its index, from 1 on.
    pub(crate) fn tree(&self, index: usize) -> Option<&Tree> {
        self.trees.get(index.checked_sub(1)?)
    }

    /// The same.
    pub(crate) fn tree_mut(&mut self, index: usize) -> Option<&mut Tree> {
        self.trees.get_mut(index.checked_sub(1)?)
    }

    /// The index of an auxiliary tree, as a register names it; `None` if there is no such tree.
    pub(crate) fn aux_index(&self, register: u64) -> Option<usize> {
        usize::try_from(register).ok().filter(|index| self.tree(*index).is_some())
    }

    /// The index of the tree that translates for a plane: each has the tree after its number, and
    /// the last plane the primary one.
    ///
    /// As TF-RMM, exits report it even where all planes share one tree.
    pub(crate) fn tree_of(&self, plane: usize) -> usize {
        let next = plane + 1;
        if next >= self.number() { 0 } else { next }
    }

    /// Whether a plane may access protected memory whose entry says this about permissions.
    pub(crate) fn allows(&self, plane: usize, perm: u8, kind: Kind) -> bool {
        let value = if self.indirect {
            let values = self.overlays.get(plane);
            values.and_then(|values| values.get(usize::from(perm))).copied().unwrap_or(0)
        } else {
            perm
        };
        match kind {
            // Mostly read-only memory can be read.
            Kind::Read => matches!(value, 2 | 3 | 6 | 7 | 8..),
            Kind::Write => matches!(value, 4 | 12..),
            // By EL1.
            Kind::Fetch => matches!(value, 10 | 11 | 14 | 15),
        }
    }

    /// What an entry of a tree says about permissions where memory has this overlay index.
    pub(crate) fn perm(&self, tree: usize, overlay: u8) -> u8 {
        if self.indirect {
            return overlay;
        }
        let plane = (tree + self.number() - 1) % self.number();
        let values = self.overlays.get(plane);
        let value = values.and_then(|values| values.get(usize::from(overlay))).copied();
        // Direct encoding has no "mostly read-only", and the reserved values grant nothing.
        value.filter(|value| matches!(value, 4 | 8..)).unwrap_or(0)
    }

    /// The value of a plane for an overlay index.
    pub(crate) fn value(&self, plane: u64, overlay: u64) -> Option<u8> {
        let values = self.overlays.get(usize::try_from(plane).ok()?)?;
        values.get(usize::try_from(overlay).ok()?).copied()
    }

    /// Sets it; false for plane 0, a locked index, or what does not exist.
    pub(crate) fn set_value(&mut self, plane: u64, overlay: u64, value: u64) -> bool {
        let is_locked = u32::try_from(overlay)
            .is_ok_and(|bit| self.locked.checked_shr(bit).is_some_and(|bits| bits & 1 != 0));
        let slot = usize::try_from(plane)
            .ok()
            .filter(|plane| *plane != 0 && !is_locked)
            .and_then(|plane| self.overlays.get_mut(plane))
            .and_then(|values| values.get_mut(usize::try_from(overlay).ok()?));
        match (slot, u8::try_from(value)) {
            (Some(slot), Ok(new)) if value < VALUES => {
                *slot = new;
                true
            }
            _ => false,
        }
    }

    /// From now on the values of an index cannot be changed.
    pub(crate) fn lock(&mut self, overlay: u8) {
        self.locked |= 1_u16.checked_shl(overlay.into()).unwrap_or(0);
    }

    /// First IPA from `base` on and below `top` that an auxiliary tree maps Realm memory at.
    pub(crate) fn first_mapped(&self, base: Ipa, top: u64) -> Option<Ipa> {
        self.trees.iter().filter_map(|tree| tree.first_data(base, top)).min()
    }

    /// Whether an auxiliary tree shows what the root entry of the primary one shows at an
    /// unprotected IPA.
    pub(crate) fn refers(&self, ipa: Ipa) -> bool {
        self.trees.iter().any(|tree| {
            let root = tree.walk(ipa, tree.geometry().start_level());
            root.is_some_and(|root| root.entry != Entry::VoidNs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planes(indirect: bool, values: Vec<[u8; OVERLAYS]>) -> Planes {
        Planes {
            count: 2,
            ats_plane: 0,
            indirect,
            trees: Vec::new(),
            overlays: values,
            locked: 1,
            counted_twice: 0,
        }
    }

    #[test]
    fn what_each_value_permits() {
        // None, reserved, MRO, MRO-TL1, WO, reserved, MRO-TL0, MRO-TL01, then RO and RW, each with
        // no, unprivileged, privileged and any execution.
        let permitted = ["", "", "r", "r", "w", "", "r", "r", "r", "r", "rx", "rx", "rw", "rw"];
        let permitted = permitted.into_iter().chain(["rwx", "rwx"]);
        let direct = planes(false, Vec::new());
        for (value, permitted) in (0..).zip(permitted) {
            let mut values = vec![[0; OVERLAYS]; 3];
            if let [_, one, _] = &mut values[..] {
                one[3] = value;
            }
            let indirect = planes(true, values);
            for (letter, kind) in [('r', Kind::Read), ('w', Kind::Write), ('x', Kind::Fetch)] {
                let expected = permitted.contains(letter);
                assert_eq!(direct.allows(1, value, kind), expected, "{value} {letter}");
                assert_eq!(indirect.allows(1, 3, kind), expected, "{value} {letter}");
                assert!(!indirect.allows(2, 3, kind) && !indirect.allows(1, 4, kind));
                assert!(!indirect.allows(3, 3, kind) && !indirect.allows(1, 15, kind));
            }
        }
    }

    #[test]
    fn each_plane_has_the_tree_after_its_number() {
        let mut planes = planes(true, Vec::new());
        assert_eq!([0, 1, 2].map(|plane| planes.tree_of(plane)), [1, 2, 0]);
        planes.count = 0;
        assert_eq!(planes.tree_of(0), 0);
    }
}
