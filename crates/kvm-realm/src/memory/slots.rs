//! Slots of RAM, and the parts of a range that they have.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rmi_abi::rtt::Geometry;
use rmi_abi::{Ipa, IpaRange};
use thiserror::Error;

use super::PAGE;
use crate::calls::Calls;
use crate::error::{CallError, Operation};
use crate::host_memory::HostMemory;
use crate::kernel::{Kernel, MemoryRegion};
use crate::uapi::MEM_GUEST_MEMFD;

/// RAM of a Realm: one slot.
#[derive(Debug)]
pub struct Ram {
    /// Where it begins. A multiple of 4 KiB.
    pub base: Ipa,
    /// Its length in bytes, a multiple of 4 KiB.
    pub bytes: u64,
    /// The shared side, aligned to pages and at least as long. Where the memory model is in place
    /// ([`MemoryModel::is_in_place`](crate::generation::MemoryModel::is_in_place)), a mapping of
    /// the guest_memfd; otherwise other memory, which may be sparse. That is anonymous memory or a
    /// shared mapping of a file, and not locked: of a private mapping of a file, or after `mlock`,
    /// the kernel does not give pages back, and conversions fail.
    pub host: HostMemory,
    /// The private side: [`Calls::create_guest_memfd`]. When its last descriptor is closed, the
    /// Realm loses the pages, so the memory that it was added to is kept while vCPUs run.
    pub guest_memfd: OwnedFd,
    /// Where the slot begins in the guest_memfd, in bytes, a multiple of 4 KiB.
    pub offset: u64,
}

impl Ram {
    /// RAM at `base` with a new guest_memfd, and the shared side that the memory model wants: a
    /// mapping of the guest_memfd, or other memory. Neither takes memory before it is used. The
    /// shared side stays mapped until [`HostMemory::unmap`], which the VMM calls when the VM has
    /// ended ([threads and teardown](crate#threads-and-teardown)).
    ///
    /// # Errors
    ///
    /// [`CallError`] of KVM_CREATE_GUEST_MEMFD or `mmap`.
    pub fn allocate<K: Kernel>(
        calls: &Calls<'_, K>,
        vm: BorrowedFd<'_>,
        base: Ipa,
        bytes: u64,
    ) -> Result<Self, CallError> {
        let guest_memfd = calls.create_guest_memfd(vm, bytes)?;
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        let host = if calls.generation.facts().memory.is_in_place() {
            HostMemory::map_file(guest_memfd.as_fd(), 0, length)
        } else {
            HostMemory::map(length)
        };
        let host = calls.check(Operation::MapSharedSide, host)?;
        Ok(Self { base, bytes, host, guest_memfd, offset: 0 })
    }
}

/// What is wrong with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RamProblem {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// Its address, its length, its offset or the address of its shared side is not a multiple of
    /// 4 KiB.
    #[error("it is not aligned to pages")]
    Unaligned,
    /// It reaches outside the protected half of the IPA space.
    #[error("it reaches outside the protected half of the IPA space")]
    NotProtected,
    /// Its shared side is shorter than it is.
    #[error("its shared side has {bytes:#x} bytes")]
    HostTooShort {
        /// Length of the shared side in bytes.
        bytes: u64,
    },
    /// It overlaps another slot.
    #[error("it overlaps the slot at {at}")]
    Overlap {
        /// First address of the other.
        at: Ipa,
    },
    /// There are as many slots as slots have numbers.
    #[error("there are too many slots")]
    TooMany,
    /// The kernel refused it.
    #[error("{0}")]
    Call(#[source] CallError),
}

/// A slot was refused, and is given back.
#[derive(Debug, Error)]
#[error("RAM of {:#x} bytes at {}: {problem}", .ram.bytes, .ram.base)]
pub struct RamError {
    /// The slot.
    pub ram: Ram,
    /// What is wrong with it.
    #[source]
    pub problem: RamProblem,
}

/// A slot that the VM has.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) range: IpaRange,
    ram: Ram,
}

impl Slot {
    pub(super) fn memfd(&self) -> BorrowedFd<'_> {
        self.ram.guest_memfd.as_fd()
    }

    /// Where it begins in its guest_memfd.
    pub(super) fn offset(&self) -> u64 {
        self.ram.offset
    }
}

/// A part of a range, with both sides.
#[derive(Debug)]
pub(super) struct Piece<'s> {
    pub(super) range: IpaRange,
    pub(super) host: HostMemory,
    pub(super) memfd: BorrowedFd<'s>,
    pub(super) offset: u64,
}

/// The slots of a VM; the number of each is its index.
#[derive(Debug)]
pub(super) struct Slots {
    geometry: Geometry,
    slots: Vec<Slot>,
}

impl Slots {
    pub(super) const fn new(geometry: Geometry) -> Self {
        Self { geometry, slots: Vec::new() }
    }

    pub(super) const fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> + Clone {
        self.slots.iter()
    }

    fn check(&self, ram: &Ram) -> Result<IpaRange, RamProblem> {
        if ram.bytes == 0 {
            return Err(RamProblem::Empty);
        }
        let host = ram.host.base().addr().get() as u64;
        if !(ram.base.raw() | ram.bytes | ram.offset | host).is_multiple_of(PAGE) {
            return Err(RamProblem::Unaligned);
        }
        let range = IpaRange::with_size(ram.base, ram.bytes);
        let Some(range) = range.ok().filter(|range| self.geometry.range_is_protected(range)) else {
            return Err(RamProblem::NotProtected);
        };
        let host = ram.host.bytes() as u64;
        if host < ram.bytes {
            return Err(RamProblem::HostTooShort { bytes: host });
        }
        match self.slots.iter().find(|slot| slot.range.overlaps(&range)) {
            Some(slot) => Err(RamProblem::Overlap { at: slot.range.base() }),
            None => Ok(range),
        }
    }

    pub(super) fn add<K: Kernel>(
        &mut self,
        calls: &Calls<'_, K>,
        vm: BorrowedFd<'_>,
        ram: Ram,
    ) -> Result<(), RamError> {
        let added = self.check(&ram).and_then(|range| {
            let slot = u16::try_from(self.slots.len()).map_err(|_| RamProblem::TooMany)?;
            let region = MemoryRegion {
                slot: slot.into(),
                flags: MEM_GUEST_MEMFD,
                guest_phys_addr: ram.base.raw(),
                bytes: ram.bytes,
                host: ram.host,
                guest_memfd: Some((ram.guest_memfd.as_fd(), ram.offset)),
            };
            calls.set_memory_region(vm, &region).map_err(RamProblem::Call)?;
            Ok(range)
        });
        match added {
            Ok(range) => {
                self.slots.push(Slot { range, ram });
                Ok(())
            }
            Err(problem) => Err(RamError { ram, problem }),
        }
    }

    /// The parts of a range that slots have, in the order of their addresses.
    pub(super) fn pieces(&self, range: IpaRange) -> impl Iterator<Item = Piece<'_>> {
        let mut pieces: Vec<_> = self.slots.iter().filter_map(|slot| piece(slot, range)).collect();
        pieces.sort_by_key(|piece| piece.range.base());
        pieces.into_iter()
    }
}

/// The part of a range that a slot has.
fn piece(slot: &Slot, range: IpaRange) -> Option<Piece<'_>> {
    let range = slot.range.intersection(&range).filter(|range| !range.is_empty())?;
    let from = range.base().checked_offset_from(slot.range.base())?;
    let (at, bytes) = (usize::try_from(from).ok()?, usize::try_from(range.bytes()).ok()?);
    let host = slot.ram.host.part(at, bytes).ok()?;
    Some(Piece { range, host, memfd: slot.memfd(), offset: slot.offset().checked_add(from)? })
}
