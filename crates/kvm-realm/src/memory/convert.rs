//! Conversions between private and shared.

use std::os::fd::BorrowedFd;

use rmi_abi::{Ipa, IpaRange};
use thiserror::Error;

use super::slots::Piece;
use super::{PAGE, RealmMemory, Sides};
use crate::calls::{AttributesError, Calls};
use crate::errno::Errno;
use crate::error::CallError;
use crate::generation::MemoryModel;
use crate::kernel::Kernel;
use crate::uapi::MEMORY_FAULT_PRIVATE;

/// A memory fault, as KVM_RUN reports it: exit 39, with `EFAULT` or without an error.
///
/// From v14 on, a private page that the kernel cannot get is reported as a fault that asks for
/// shared memory. A broken page has an error number of its own, `EHWPOISON`; with `EFAULT`, which
/// comes when the guest_memfd is closed, nothing tells it from what the Realm asks for. What v12
/// and v13 report is not known; up to v10, KVM_RUN fails without an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryFault {
    /// Whether private memory is asked for.
    pub to_private: bool,
    /// First address. Its shared alias means the same.
    pub gpa: u64,
    /// Length in bytes. v5 reports none when it had no memory to change anything.
    pub bytes: u64,
    /// Whether the vCPU has left KVM_RUN for another reason since its last memory fault, so that
    /// this is not the same one again. [`RealmVcpu::run`](crate::vcpu::RealmVcpu::run) knows; a VMM
    /// that decodes exits itself calls [`RealmMemory::has_progressed`] instead.
    pub after_other_exit: bool,
}

impl MemoryFault {
    /// The fault with the flags, address and length that are in the run page; `None` for flags that
    /// are not known.
    #[must_use]
    pub const fn new(flags: u64, gpa: u64, bytes: u64) -> Option<Self> {
        if flags & !MEMORY_FAULT_PRIVATE != 0 {
            return None;
        }
        let to_private = flags & MEMORY_FAULT_PRIVATE != 0;
        Some(Self { to_private, gpa, bytes, after_other_exit: false })
    }
}

/// What was done about a memory fault. In each case, KVM_RUN is called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Converted {
    /// The memory was converted.
    Done {
        /// How much, in bytes.
        bytes: u64,
    },
    /// It was in that state already, or is no RAM, and nothing was done.
    AsItWas,
}

/// A memory fault that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConvertError {
    /// It is not one of whole pages in the IPA space. Nothing is changed.
    #[error("a memory fault of {bytes:#x} bytes at {gpa:#x} is not of pages in the IPA space")]
    OutOfRange {
        /// Its address.
        gpa: u64,
        /// Its length.
        bytes: u64,
    },
    /// Nothing of it is RAM, and it came again: the Realm accesses a hole. Nothing is changed. The
    /// VMM ends the VM: it has no way to give the Realm an exception.
    #[error("there is no RAM at {0}")]
    NoRam(IpaRange),
    /// It came again although the memory is as it asks for: the page cannot be had, and answering
    /// would not end. Nothing is changed.
    #[error("{range} is {} already, and the kernel asks again", side(*.to_private))]
    Repeated {
        /// The range.
        range: IpaRange,
        /// Whether private memory is asked for.
        to_private: bool,
    },
    /// Pages are in use by devices or by the kernel (`EAGAIN`). That passes: the VMM ends what uses
    /// the shared pages, or waits, and converts the same fault again, which goes on where it
    /// stopped. How often it tries is up to the VMM.
    #[error("{call}; {done:#x} bytes were converted before, and {at} is as it was")]
    Busy {
        /// The call.
        #[source]
        call: CallError,
        /// From the first page that is in use on, if the kernel tells it.
        at: IpaRange,
        /// How much was converted before, in bytes.
        done: u64,
    },
    /// A call failed, perhaps after something was changed.
    #[error("{call}; {done:#x} bytes were converted before, from {at} on it is not known")]
    Failed {
        /// The call.
        #[source]
        call: CallError,
        /// The part of the range in which it failed.
        at: IpaRange,
        /// How much was converted before, in bytes.
        done: u64,
    },
    /// A conversion failed before.
    #[error("a conversion failed before, so the state of the memory is not known")]
    Lost,
}

const fn side(is_private: bool) -> &'static str {
    if is_private { "private" } else { "shared" }
}

impl ConvertError {
    /// Whether the VM cannot go on: all vCPUs are stopped, and it is closed.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Lost)
    }
}

impl RealmMemory {
    /// Answers a memory fault of the vCPU with this number. Its KVM_RUN is called again afterwards.
    ///
    /// Parts of the range that are no RAM are left out. A fault that asks for what is the case
    /// already, or for no RAM, is let pass; when the next fault of that vCPU is the same, or the
    /// same ones of up to eight come 16 times in turn, it is refused, unless the vCPU has left
    /// KVM_RUN for another reason in between ([`MemoryFault::after_other_exit`]). One of no bytes
    /// is let pass 16 times.
    ///
    /// # Errors
    ///
    /// [`ConvertError`].
    pub fn convert<K: Kernel>(
        &mut self,
        calls: &Calls<'_, K>,
        vm: BorrowedFd<'_>,
        vcpu: u64,
        fault: MemoryFault,
    ) -> Result<Converted, ConvertError> {
        if self.is_lost {
            return Err(ConvertError::Lost);
        }
        if fault.after_other_exit {
            self.has_progressed(vcpu);
        }
        let range = self.range_of(fault)?;
        let wanted = if fault.to_private { Sides::Private } else { Sides::Shared };
        let pieces: Vec<_> = self.slots.pieces(range).collect();
        let is_ram = !pieces.is_empty() || range.is_empty();
        let (mut done, mut failed) = (0, None);
        for piece in &pieces {
            if self.ledger.sides(piece.range) == wanted {
                continue;
            }
            if let Err(error) = convert(calls, vm, piece, fault.to_private) {
                failed = Some(error.of(piece, done));
                break;
            }
            self.ledger.set(piece.range, fault.to_private);
            done += piece.range.bytes();
        }
        if let Some(error) = failed {
            self.is_lost = error.is_final();
            return Err(error);
        }
        if done > 0 {
            self.no_ops.remove(&vcpu);
            return Ok(Converted::Done { bytes: done });
        }
        // It may be a fresh request for what is so, or another vCPU may have been first.
        if self.no_ops.entry(vcpu).or_default().is_repeated(fault) {
            let repeated = ConvertError::Repeated { range, to_private: fault.to_private };
            return Err(if is_ram { repeated } else { ConvertError::NoRam(range) });
        }
        Ok(Converted::AsItWas)
    }

    /// Notes that a vCPU left KVM_RUN for another reason than a memory fault.
    pub fn has_progressed(&mut self, vcpu: u64) {
        self.no_ops.remove(&vcpu);
    }

    /// The pages of a fault, in the protected half.
    fn range_of(&self, fault: MemoryFault) -> Result<IpaRange, ConvertError> {
        let refused = ConvertError::OutOfRange { gpa: fault.gpa, bytes: fault.bytes };
        let half = self.geometry().unprotected_base().raw();
        // The shared bit says nothing that the flag does not say.
        let base = if (half..self.geometry().end().raw()).contains(&fault.gpa) {
            fault.gpa - half
        } else {
            fault.gpa
        };
        let top = base.checked_add(fault.bytes).filter(|top| *top <= half && base < half);
        let top = top.and_then(|top| top.checked_next_multiple_of(PAGE)).ok_or(refused)?;
        let base = Ipa::new(base).align_down(PAGE);
        if fault.bytes == 0 {
            return Ok(IpaRange::empty(base));
        }
        IpaRange::new(base, Ipa::new(top)).map_err(|_| refused)
    }
}

/// Makes a part of a slot private or shared where that is an attribute. The pair is its
/// guest_memfd, and where it begins there.
pub(super) fn set_attributes<K: Kernel>(
    calls: &Calls<'_, K>,
    vm: BorrowedFd<'_>,
    range: IpaRange,
    (memfd, offset): (BorrowedFd<'_>, u64),
    is_private: bool,
) -> Result<(), AttributesError> {
    match calls.generation.facts().memory {
        MemoryModel::VmAttributes => {
            let done = calls.set_private(vm, range.base().raw(), range.bytes(), is_private);
            done.map_err(|call| AttributesError { call, offset: 0 })
        }
        MemoryModel::AlwaysPrivate => Ok(()),
        MemoryModel::GuestMemfdAttributes(request) => {
            calls.set_memfd_private(memfd, request, offset, range.bytes(), is_private)
        }
    }
}

/// Why a part was not converted.
enum Failure {
    /// Nothing was changed, because of the page at this offset in the guest_memfd.
    Busy(CallError, u64),
    Call(CallError),
}

impl Failure {
    fn of(self, piece: &Piece<'_>, done: u64) -> ConvertError {
        match self {
            Self::Call(call) => ConvertError::Failed { call, at: piece.range, done },
            Self::Busy(call, offset) => {
                let page = offset.checked_sub(piece.offset).map(|from| from - from % PAGE);
                let left = page.and_then(|from| piece.range.split_at(from)).map(|(_, left)| left);
                let at = left.filter(|left| !left.is_empty()).unwrap_or(piece.range);
                ConvertError::Busy { call, at, done }
            }
        }
    }
}

/// The calls of one conversion, of a range in one slot.
fn convert<K: Kernel>(
    calls: &Calls<'_, K>,
    vm: BorrowedFd<'_>,
    piece: &Piece<'_>,
    to_private: bool,
) -> Result<(), Failure> {
    let is_in_place = calls.generation.facts().memory.is_in_place();
    set_attributes(calls, vm, piece.range, (piece.memfd, piece.offset), to_private).map_err(
        |AttributesError { call, offset }| match call.errno {
            Errno::EAGAIN if is_in_place => Failure::Busy(call, offset),
            _ => Failure::Call(call),
        },
    )?;
    if is_in_place {
        // The pages are the same on both sides, so none is given back.
        Ok(())
    } else if to_private {
        calls.discard(piece.host).map_err(Failure::Call)
    } else {
        let punched = calls.punch_hole(piece.memfd, piece.offset, piece.range.bytes());
        punched.map_err(Failure::Call)
    }
}
