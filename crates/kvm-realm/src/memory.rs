//! The RAM of a Realm: its slots, which of it is private, and conversions between private and
//! shared.
//!
//! A slot has two sides, the shared one (memory of the VMM) and the private one (a guest_memfd).
//! RAM can have any number of slots, with holes between them, and shared sides that are sparse.
//!
//! # Conversions
//!
//! A Realm that shares memory, or takes it back, makes KVM_RUN end with a memory fault, which
//! [`RealmMemory::convert`] answers. KVM has no way to tell what a fault is for: a request of the
//! Realm, an access to memory in the wrong state, or a page that cannot be had. So a ledger says
//! which RAM is private, and a fault that asks for what is the case already, or for a hole, is let
//! pass once, and refused when it comes again at once, or again and again in turn with others.
//!
//! | memory model | to private | to shared |
//! |---|---|---|
//! | attributes of the VM | set the attribute, discard the shared side | clear it, punch a hole |
//! | always private | discard the shared side | punch a hole |
//! | attributes of the guest_memfd | set the attribute | clear it |
//!
//! Holes are punched while the kernel has the pages as private, or knows that a hole is of private
//! pages: else it would free pages that the RMM has. What was changed before a call failed cannot
//! be taken back, so the memory refuses everything from then on ([`ConvertError::is_final`]). Pages
//! that are in use are another matter: the call changes nothing, and can be made again
//! ([`ConvertError::Busy`]).

mod convert;
mod ledger;
mod no_ops;
mod slots;
#[cfg(test)]
pub(crate) mod tests;

pub use convert::{ConvertError, Converted, MemoryFault};
pub use ledger::Sides;
pub use slots::{Ram, RamError, RamProblem};

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use rmi_abi::rtt::Geometry;
use rmi_abi::{Ipa, IpaRange};

use crate::calls::Calls;
use crate::error::CallError;
use crate::kernel::Kernel;
use ledger::Ledger;
use no_ops::NoOps;
use slots::Slots;

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 0x1000;
pub(crate) const PAGE: u64 = PAGE_BYTES as u64;

/// The RAM of a Realm.
///
/// It has no lock: where several threads run vCPUs, the VMM has one around it. It owns the
/// guest_memfds, which a Realm needs as long as it runs.
#[derive(Debug)]
pub struct RealmMemory {
    slots: Slots,
    ledger: Ledger,
    /// The last faults of each vCPU that asked for what was the case already.
    no_ops: BTreeMap<u64, NoOps>,
    /// A call failed after something was changed.
    is_lost: bool,
}

impl RealmMemory {
    /// No RAM, in an IPA space of this shape.
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        Self {
            slots: Slots::new(geometry),
            ledger: Ledger::default(),
            no_ops: BTreeMap::new(),
            is_lost: false,
        }
    }

    /// The shape of the IPA space.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.slots.geometry()
    }

    /// Adds a slot to a VM that has not run. All of it is shared until the Realm is created.
    ///
    /// Slots have the numbers from 0 on, in the order in which they are added: the predicted
    /// measurement depends on them. A VMM that makes slots of its own, without a guest_memfd, for
    /// instance for firmware, devices or persistent memory, gives them other numbers. A slot that
    /// the VMM has made cannot be adopted as RAM of the Realm.
    ///
    /// # Errors
    ///
    /// [`RamError`] gives the slot back; nothing is changed.
    pub fn add<K: Kernel>(
        &mut self,
        calls: &Calls<'_, K>,
        vm: BorrowedFd<'_>,
        ram: Ram,
    ) -> Result<(), RamError> {
        self.slots.add(calls, vm, ram)
    }

    /// The ranges of the slots, in the order of their numbers.
    pub fn ranges(&self) -> impl Iterator<Item = IpaRange> + Clone + '_ {
        self.slots.iter().map(|slot| slot.range)
    }

    /// Which side of the memory in a range the Realm uses; of what is no RAM, none.
    #[must_use]
    pub fn sides(&self, range: IpaRange) -> Sides {
        self.ledger.sides(range)
    }

    /// Whether a range is RAM in all of its length.
    #[must_use]
    pub fn is_ram(&self, range: IpaRange) -> bool {
        let found: u64 = self.slots.pieces(range).map(|piece| piece.range.bytes()).sum();
        !range.is_empty() && found == range.bytes()
    }

    /// Makes all RAM private, before it is populated.
    pub(crate) fn make_private<K: Kernel>(
        &mut self,
        calls: &Calls<'_, K>,
        vm: BorrowedFd<'_>,
    ) -> Result<(), CallError> {
        for slot in self.slots.iter() {
            let backing = (slot.memfd(), slot.offset());
            let set = convert::set_attributes(calls, vm, slot.range, backing, true);
            set.map_err(|error| error.call)?;
            self.ledger.set(slot.range, true);
        }
        Ok(())
    }

    /// Writes whole pages to the shared side. The error is the first page that is no RAM; what is
    /// before it is written.
    pub(crate) fn write(&self, at: Ipa, pages: &[u8]) -> Result<(), Ipa> {
        let range = IpaRange::with_size(at, pages.len() as u64).map_err(|_| at)?;
        let (mut pages, mut next) = (pages, at);
        for piece in self.slots.pieces(range) {
            if piece.range.base() != next {
                break;
            }
            let bytes = usize::try_from(piece.range.bytes()).unwrap_or(usize::MAX);
            let (now, rest) = pages.split_at_checked(bytes).unwrap_or((pages, &[]));
            piece.host.write(0, now).map_err(|_| next)?;
            (pages, next) = (rest, piece.range.top());
        }
        if pages.is_empty() { Ok(()) } else { Err(next) }
    }

    /// Gives the shared side of private RAM back.
    pub(crate) fn discard_shared<K: Kernel>(
        &self,
        calls: &Calls<'_, K>,
        range: IpaRange,
    ) -> Result<(), CallError> {
        for piece in self.slots.pieces(range) {
            calls.discard(piece.host)?;
        }
        Ok(())
    }

    /// The parts of a range that are in one slot each.
    pub(crate) fn parts(&self, range: IpaRange) -> impl Iterator<Item = IpaRange> + '_ {
        self.slots.pieces(range).map(|piece| piece.range)
    }
}
