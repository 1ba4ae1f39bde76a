//! Where the RIPAS may be DESTROYED: the entries that the host unmapped, and those that replaced
//! them.
//!
//! The host does not keep the RIPAS. It becomes DESTROYED where the host unmaps what was RAM, and
//! stays so until the Realm asks for a change. So entries that were unmapped are flagged, until the
//! RMM has reported their RIPAS or changed it.

use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange};

use super::{At, Shadow, planes};
use crate::shadow::shape::Shape;

impl<S: Shape> Shadow<'_, S> {
    /// Flags an entry that the host has unmapped, or clears the flag.
    pub(crate) fn flag_unmapped(&mut self, at: At, flag: bool) {
        if let Some(entry) = self.entry_mut(at) {
            entry.set_flag(flag);
        }
    }

    /// Whether an entry was unmapped and its RIPAS may be DESTROYED since, whatever it maps now.
    pub(crate) fn may_be_destroyed(&self, at: At) -> bool {
        self.look(at).flag()
    }

    /// Clears the flags of the entries from `from` on, up to the end of a table or to the next one;
    /// returns the address up to which. At most 512 entries.
    pub(crate) fn trust_ripas(&mut self, from: Ipa, top: Ipa) -> Ipa {
        let Some(at) = self.walk(from, Level::L3) else { return top };
        if at.base < from {
            return at.top();
        }
        let bytes = at.bytes();
        let Some(table) = self.slot_mut(at.table) else { return top };
        let mut reached = at.base;
        for entry in table.entries.get_mut(at.index..).unwrap_or_default() {
            let Some(end) = reached.checked_add(bytes).filter(|end| *end <= top) else {
                return top;
            };
            if entry.as_number().is_some_and(planes::is_table) {
                break;
            }
            entry.set_flag(false);
            reached = end;
        }
        reached
    }

    /// The first run of a range where nothing is mapped and no RIPAS is uncertain. For ranges of
    /// one leaf table.
    pub(crate) fn next_free(&self, from: Ipa, top: Ipa) -> Option<IpaRange> {
        let mut run = IpaRange::empty(from);
        let mut next = from;
        while next < top {
            let Some(at) = self.walk(next, Level::L3) else { break };
            let is_free = self.is_void(at) && !self.may_be_destroyed(at);
            match (is_free, run.is_empty()) {
                (true, true) => run = IpaRange::new(next, at.top().min(top)).ok()?,
                (true, false) => run = IpaRange::new(run.base(), at.top().min(top)).ok()?,
                (false, true) => {}
                (false, false) => break,
            }
            next = at.top();
        }
        Some(run).filter(|run| !run.is_empty())
    }
    /// As [`Shadow::next_free`], without the parts of which the unprotected alias is shared.
    pub(crate) fn next_void(&self, from: Ipa, top: Ipa) -> Option<IpaRange> {
        let mut from = from;
        while let Some(free) = self.next_free(from, top) {
            match self.shared_alias(&free) {
                None => return Some(free),
                Some(shared) if shared.base() > free.base() => {
                    return Some(free.before(shared.base()));
                }
                Some(shared) => from = shared.top(),
            }
        }
        None
    }
}
