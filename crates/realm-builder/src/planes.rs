//! Planes with their own translation tables: what the primary tree maps is shown (mapped) in
//! auxiliary trees, and hidden (unmapped) there before it changes.
//!
//! Where every plane has a tree, plane 0 is translated by tree 1, plane 1 by tree 2 and so on, and
//! the last plane by the primary tree. A Realm's memory is mapped in the primary tree, by all the
//! operations that are not about planes; an auxiliary tree shows it after [`Realm::map_plane`] or
//! [`Realm::serve_plane_fault`], and until its mapping changes: reclaiming memory, splitting or
//! folding a block and changing the RIPAS to EMPTY hide it first in all trees. A plane that needs
//! it faults and is served again.
//!
//! What is shared with the Realm, the unprotected half, is shown by [`Realm::map_plane_shared`]: in
//! that half an auxiliary tree refers to the primary tree's own tables, one for each root entry
//! (1 GiB, where walks start at level 1), and from then on maps all that is shared there. That is
//! `unsafe`, because the effect of unsharing memory depends on the RMM: TF-RMM of July 2026
//! invalidates the translations of one plane only.
//!
//! ```
//! # use realm_builder::{Content, Realm, RealmConfig, RealmStorage, Region};
//! # use rmi_abi::{Dialect, Ipa, IpaRange};
//! # use rmi_host::SessionOptions;
//! # use rmm_model::{Model, Options};
//! # use sro::{FixedPool, Pool, open};
//! use realm_builder::PlaneTables;
//! use rmi_host::command::AuxTree;
//! # let mut options = Options::new(Dialect::TfRmm2026_07);
//! # options.features[3] = 3;
//! # let model = Model::new(options)?;
//! # let mut memory = model.take_memory();
//! # let mut pool = FixedPool::<8>::new();
//! # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
//! # pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
//! # let rmm = sro::open(model.host(), SessionOptions::default(), &mut pool)?;
//!
//! let mut config = RealmConfig::new(40);
//! config.num_aux_planes = 1;
//! config.plane_tables = Some(PlaneTables::PerPlane);
//! let mut storage = RealmStorage::<16, 16>::new();
//! let mut realm = Realm::create(&rmm, &config, &mut storage, &mut pool)?;
//! let pages = memory.take_front(0x3000).expect("1 GiB");
//! let region = Region::new(Ipa::new(0x8000_0000), pages, Content::Unspecified);
//! realm.populate(&mut pool, &mut [region])?;
//!
//! // The auxiliary plane is the last one and has the primary tree; plane 0 has tree 1.
//! let tree = AuxTree::new(1).expect("1 to 3");
//! let all = IpaRange::with_size(Ipa::new(0x8000_0000), 2 << 20)?;
//! assert_eq!(realm.map_plane(&mut pool, tree, all)?.bytes, 0x3000);
//! # assert!(realm.tear_down(&mut pool, []).error.is_none());
//! # pool.drain(&rmm, &mut drop);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Realm::map_plane`]: crate::Realm::map_plane
//! [`Realm::map_plane_shared`]: crate::Realm::map_plane_shared
//! [`Realm::serve_plane_fault`]: crate::Realm::serve_plane_fault

// The blocks of methods of `Realm` are documented in the order of these modules.
mod methods;
mod shared;
mod show;

use rmi_abi::{Ipa, IpaRange};
use rmi_host::Platform;
use rmi_host::command::AuxTree;
use sro::HostMemory;

use crate::error::BuildError;
use crate::memory::fault::Served;
use crate::memory::realm_core::RealmCore;
use crate::plan::leaf;

/// Result of showing memory in an auxiliary tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlaneMapped {
    /// Bytes that are shown now and were not before.
    pub bytes: u64,
    /// Bytes of memory that cannot be shown: their RIPAS is not RAM.
    pub not_ram: u64,
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::map_plane`](crate::Realm::map_plane).
    pub(crate) fn map_plane(
        &self,
        memory: &mut dyn HostMemory,
        tree: AuxTree,
        range: IpaRange,
    ) -> Result<PlaneMapped, BuildError> {
        self.check_plane(tree, range)?;
        let trees = core::iter::once(tree);
        let mut held = self.lock_range_in(trees.clone(), range)?;
        if self.make_for(&mut held, memory.pool(), tree, range)? {
            // For the tables, whole entries had to be claimed that cover more than the range. From
            // here on other threads may work there.
            drop(held);
            held = self.lock_range_in(trees, range)?;
            self.make_for(&mut held, memory.pool(), tree, range)?;
        }
        self.show(tree, range)
    }

    /// See [`Realm::unmap_plane`](crate::Realm::unmap_plane).
    pub(crate) fn unmap_plane(&self, tree: AuxTree, range: IpaRange) -> Result<(), BuildError> {
        self.check_plane(tree, range)?;
        let _held = self.lock_range(range)?;
        Ok(self.hide(tree, range)?)
    }

    /// See [`Realm::serve_plane_fault`](crate::Realm::serve_plane_fault).
    pub(crate) fn serve_plane_fault(
        &self,
        memory: &mut dyn HostMemory,
        tree: u64,
        ipa: Ipa,
        window: IpaRange,
    ) -> Result<Served, BuildError> {
        let aux_trees = self.aux_trees();
        let aux = match tree {
            0 => None,
            _ if aux_trees == 0 => None,
            tree => {
                let aux = u8::try_from(tree).ok().and_then(AuxTree::new);
                let aux = aux.filter(|aux| usize::from(aux.index()) <= aux_trees);
                Some(aux.ok_or(BuildError::NoTree { tree, trees: aux_trees })?)
            }
        };
        let served = self.serve_fault(memory, ipa, window)?;
        let is_served = matches!(served, Served::Mapped(_) | Served::Present);
        let Some(aux) = aux.filter(|_| is_served) else {
            return Ok(served);
        };
        let page = self.page_at(ipa).unwrap_or(window);
        let around = leaf(self.geometry(), ipa).intersection(&window).unwrap_or(window);
        let shown = match self.map_plane(memory, aux, around) {
            // What fails around the address is no reason to refuse the plane that waits.
            Err(_) if around != page => self.map_plane(memory, aux, page),
            shown => shown,
        };
        let shown = match shown {
            Err(BuildError::Contended { range }) => return Ok(Served::Contended(range)),
            shown => shown?,
        };
        match (served, self.memory_at(ipa)) {
            (Served::Present, Some(memory)) if shown.bytes > 0 => Ok(Served::Mapped(memory)),
            _ => Ok(served),
        }
    }

    fn check_tree(&self, tree: AuxTree) -> Result<(), BuildError> {
        let trees = self.aux_trees();
        if usize::from(tree.index()) > trees {
            return Err(BuildError::NoTree { tree: tree.index().into(), trees });
        }
        Ok(())
    }

    fn check_plane(&self, tree: AuxTree, range: IpaRange) -> Result<(), BuildError> {
        self.check_tree(tree)?;
        self.check_protected(range, range.bytes())
    }
}
