//! A Realm as the RMM keeps it.

use alloc::vec::Vec;

use rmi_abi::realm::{HashAlgorithm, RPV_BYTES};
use rmi_abi::{Ipa, Pa};

use crate::measurement::Measurements;
use crate::planes::Planes;
use crate::rtt::Tree;

/// The state of a Realm.
///
/// Source: DEN0137 2.0, Realm states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RealmState {
    New,
    Active,
    SystemOff,
    Zombie,
}

/// A Realm.
pub(crate) struct Realm {
    pub(crate) state: RealmState,
    /// The primary tree.
    pub(crate) tree: Tree,
    pub(crate) planes: Planes,
    pub(crate) measurements: Measurements,
    pub(crate) hash: HashAlgorithm,
    pub(crate) rpv: [u8; RPV_BYTES],
    /// The number of Realms that were created on the machine before.
    pub(crate) number: u64,
    /// Whether output addresses may need more than 48 bits.
    pub(crate) lpa2: bool,
    /// Whether it has SVE.
    pub(crate) sve: bool,
    /// The virtual machine identifier that it holds (1.0).
    pub(crate) vmid: Option<u16>,
    /// Whether it holds a private memory encryption context.
    pub(crate) private_mec: bool,
    /// RECs ever created: the index that the next one must have.
    pub(crate) recs_created: u32,
    /// RECs that exist.
    pub(crate) recs: u32,
    /// Granules donated to it.
    pub(crate) donated: Vec<Pa>,
}

impl Realm {
    /// Whether memory at `pa` can be mapped or used as a table. As TF-RMM, the width is checked
    /// only without LPA2: with it, memory that the machine does not have is found by the check of
    /// its granule.
    pub(crate) fn reaches(&self, pa: Pa) -> bool {
        self.lpa2 || pa.raw() < 1 << 48
    }

    /// A tree by its index; 0 is the primary one.
    pub(crate) fn tree(&self, index: usize) -> Option<&Tree> {
        if index == 0 { Some(&self.tree) } else { self.planes.tree(index) }
    }

    /// The same.
    pub(crate) fn tree_mut(&mut self, index: usize) -> Option<&mut Tree> {
        if index == 0 { Some(&mut self.tree) } else { self.planes.tree_mut(index) }
    }

    /// Whether a root table of any tree is in use.
    pub(crate) fn is_live(&self) -> bool {
        self.tree.is_live()
            || self.planes.trees().iter().any(Tree::shows_anything)
            || self.planes.counted_twice > 0
    }

    /// Whether `ipa` is a protected IPA, aligned to `bytes`.
    pub(crate) fn is_protected(&self, ipa: Ipa, bytes: u64) -> bool {
        ipa.is_aligned(bytes) && self.tree.geometry().is_protected(ipa)
    }
}
