//! Faults of RECs, served by mapping memory.

use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::Platform;
use sro::{HostMemory, free_or_quarantine};

use crate::error::{BuildError, RegionProblem};
use crate::memory::map::{Mapping, Supply};
use crate::memory::realm_core::RealmCore;
use crate::plan::leaf;
use crate::shadow::tag;

/// How a fault was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// This range was mapped, which contains the address, and possibly more around it; enter the
    /// REC again.
    Mapped(IpaRange),
    /// Nothing was done: memory is mapped there already, because another REC faulted there first.
    /// Enter the REC again.
    Present,
    /// Nothing was done: the RIPAS of this entry is DESTROYED, because the host has unmapped memory
    /// there ([`Realm::reclaim`](crate::Realm::reclaim),
    /// [`Realm::evacuate`](crate::Realm::evacuate)) that the Realm had not given up. No memory was
    /// asked for. The Realm cannot continue at this address: a REC that is entered again faults
    /// again, until another REC of the Realm asks for a change of the RIPAS. A host that gives such
    /// a Realm no more time stops it.
    Destroyed(IpaRange),
    /// Nothing was done: in this range, which contains the address, memory is shared at the
    /// unprotected alias, and none was asked for. A Realm that asked for EMPTY there does not fault
    /// at such an address; it has asked for RAM since, or the host has shared the memory without
    /// being asked. A REC that is entered again faults again, until the host makes the range
    /// private ([`Realm::convert_to_private`](crate::Realm::convert_to_private), which maps the
    /// memory that is shared) or unshares it.
    Shared(IpaRange),
    /// Nothing was done yet: another thread works on the Realm's memory in this range, for longer
    /// than the retry budget ([`RetryBudget`](rmi_host::RetryBudget)) allows to wait. Enter the REC
    /// again: it faults again if the memory is still missing.
    Contended(IpaRange),
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::serve_fault`](crate::Realm::serve_fault).
    pub(crate) fn serve_fault(
        &self,
        memory: &mut dyn HostMemory,
        ipa: Ipa,
        window: IpaRange,
    ) -> Result<Served, BuildError> {
        let page = ipa.align_down(self.granule_bytes());
        let refuse = |problem| Err(BuildError::Region { range: window, problem });
        self.check_protected(window, window.bytes())?;
        if !window.contains(ipa) {
            return refuse(RegionProblem::Elsewhere { ipa });
        }
        let around = leaf(self.geometry(), page).intersection(&window).unwrap_or(window);
        let mut held = match self.lock_range(around) {
            Err(BuildError::Contended { range }) => return Ok(Served::Contended(range)),
            held => held?,
        };
        // A REC would otherwise fault forever at an entry of uncertain state.
        if let Some(destroyed) = self.settle_entry(memory, page)? {
            return Ok(Served::Destroyed(destroyed));
        }
        let void = match self.void_around(page, around) {
            Ok(void) => void,
            Err(served) => return Ok(served),
        };
        let no_memory =
            || BuildError::Region { range: window, problem: RegionProblem::NoMemory { ipa: page } };
        memory.pool().set_granule_size(self.rmm.granule_size());
        let first = memory.allocate(void).filter(|granules| !granules.is_empty());
        let mut first = first.ok_or(no_memory())?;
        // The address itself is mapped first: the memory may not suffice for the rest.
        let reaches = void.base().checked_add(first.bytes()).is_some_and(|top| top > page);
        let start = if reaches { void.base() } else { page };
        let [front, rest] = [(void.base(), start), (start, void.top())]
            .map(|(base, top)| IpaRange::new_or_empty(base, top));
        if first.bytes() > rest.bytes() {
            let fits = first.take_front(rest.bytes()).unwrap_or_default();
            free_or_quarantine(self.rmm, memory, core::mem::replace(&mut first, fits));
        }
        let mut first = Some(first);
        let mut supply = Supply {
            next: &mut |memory, left| first.take().or_else(|| memory.allocate(left)),
            back: &mut |memory, host| free_or_quarantine(self.rmm, memory, host),
        };
        let (mut staged, mut result) = self.stage_supply(&mut held, memory, rest, &mut supply);
        let mut before = IpaRange::empty(front.base());
        if result.is_ok() && staged == rest {
            (before, result) = self.stage_supply(&mut held, memory, front, &mut supply);
        }
        // Memory on both sides of the address without a gap: one call for both.
        if before == front {
            staged = IpaRange::new(front.base(), staged.top()).unwrap_or(staged);
            before = IpaRange::empty(front.base());
        }
        let mapping = self.map_all(&held, memory, staged, &mut supply);
        let mapped = IpaRange::with_size(staged.base(), mapping.taken).unwrap_or(staged);
        let beside = self.map_all(&held, memory, before, &mut supply);
        if !mapped.contains(page) || !self.is_mapped(page) {
            return Err(mapping.result.and(result).err().unwrap_or(no_memory()));
        }
        // The fault is served. What fails from here on is detected again by another fault.
        let whole = mapping.result.is_ok() && beside.result.is_ok() && result.is_ok();
        let mut more = whole && mapping.taken + beside.taken == void.bytes();
        let mut from = around.base();
        while more
            && let Some(void) = {
                let shadow = self.shadow.lock();
                shadow.next_void(from, around.top())
            }
        {
            from = void.top();
            let Mapping { taken, result } = self.map_supply(&mut held, memory, void, &mut supply);
            more = result.is_ok() && taken == void.bytes();
        }
        Ok(Served::Mapped(mapped))
    }

    /// Whether it is certain that a page is mapped.
    fn is_mapped(&self, page: Ipa) -> bool {
        let shadow = self.shadow.lock();
        let at = shadow.walk(page, Level::L3);
        at.is_some_and(|at| shadow.memory(at).is_some() && shadow.look(at).tag() == tag::SURE)
    }

    /// The run around a page, inside a claimed range, where nothing is mapped, nothing was
    /// unmapped, and nothing is shared at the alias; if the page is in no such run, how its fault
    /// is served.
    ///
    /// Conversions claim both halves, so what this finds does not change before it is mapped.
    fn void_around(&self, page: Ipa, around: IpaRange) -> Result<IpaRange, Served> {
        let shadow = self.shadow.lock();
        let mut from = around.base();
        while let Some(void) = shadow.next_void(from, around.top()) {
            if void.contains(page) {
                return Ok(void);
            }
            from = void.top();
        }
        let granule = IpaRange::with_size_or_empty(page, self.granule_bytes());
        let is_free = shadow.next_free(granule.base(), granule.top()).is_some();
        let shared = shadow.shared_alias(&granule).filter(|_| is_free);
        Err(shared.map_or(Served::Present, Served::Shared))
    }
}
