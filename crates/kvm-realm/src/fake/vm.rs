//! A VM: its memory, its devices and its vCPUs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::guest::{Action, Guest, Outcome};
use super::ranges::Ranges;
use super::realm::{PAGE, Realm};
use super::vgic::Vgic;
use crate::{Errno, HostMemory};

/// A slot of RAM.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) base: u64,
    pub(super) bytes: u64,
    pub(super) host: HostMemory,
    /// The guest_memfd, and the offset in it.
    pub(super) gmem: Option<(usize, u64)>,
}

impl Slot {
    /// Whether an address is in it.
    fn has(&self, address: u64) -> bool {
        address.checked_sub(self.base).is_some_and(|offset| offset < self.bytes)
    }
}

/// A guest_memfd.
#[derive(Debug)]
pub(super) struct Gmem {
    pub(super) bytes: u64,
    pub(super) flags: u64,
    /// Its private pages, where attributes are those of guest_memfds.
    pub(super) private: Ranges,
    /// Whether its last descriptor and mapping have gone, and its pages with them.
    pub(super) is_closed: bool,
    /// Where one of them was found.
    pub(super) holder: Option<PathBuf>,
    /// What is bound to slots.
    pub(super) bound: Ranges,
}

/// Why a vCPU left the guest, and what its next `KVM_RUN` has to complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// Nothing: the program starts.
    Start,
    /// Nothing: the program goes on with this outcome.
    Outcome(Outcome),
    /// The same action again.
    Action(Action),
    /// A read from a device of so many bytes.
    MmioLoad(u32),
    /// The change of a RIPAS.
    Ripas { base: u64, top: u64, ram: bool },
    /// A hypercall.
    Hypercall,
    /// A mapping of a device, whose answer is in the run page.
    Mapping,
    /// A PSCI call that the VMM carries out: the result is in X0.
    Psci,
}

/// A PSCI call that the RMM waits for to be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PsciRequest {
    /// MPIDR of the other vCPU.
    pub(super) target: u64,
    /// Whether success turns it on; where, and with which X0.
    pub(super) start: Option<(u64, u64)>,
}

/// The vector lengths of the machine: 1, 2, 4, 8 and 16 quadwords.
pub(super) const VECTORS: u16 = 0x808b;

/// A vCPU.
pub(super) struct VcpuState {
    pub(super) id: u64,
    pub(super) features: Option<u32>,
    pub(super) is_sve_finalised: bool,
    /// Its vector lengths: a bit for each, in quadwords.
    pub(super) vectors: u16,
    pub(super) is_rec: bool,
    pub(super) registers: [u64; 31],
    pub(super) pc: u64,
    /// Whether KVM runs it, and whether the RMM does.
    pub(super) is_stopped: bool,
    pub(super) is_rec_on: bool,
    pub(super) has_run: bool,
    pub(super) psci: Option<PsciRequest>,
    pub(super) pending: Pending,
    /// Whether it has seen that the system is off.
    pub(super) has_seen_off: bool,
    /// Its program; none while it runs.
    pub(super) guest: Option<Box<dyn Guest>>,
    /// The interrupt of its PMU, and whether the PMU is initialised.
    pub(super) pmu_interrupt: Option<u32>,
    pub(super) has_pmu: bool,
}

impl VcpuState {
    pub(super) fn new(id: u64, guest: Box<dyn Guest>) -> Self {
        Self {
            id,
            features: None,
            is_sve_finalised: false,
            vectors: VECTORS,
            is_rec: false,
            registers: [0; 31],
            pc: 0,
            is_stopped: false,
            is_rec_on: false,
            has_run: false,
            psci: None,
            pending: Pending::Start,
            has_seen_off: false,
            guest: Some(guest),
            pmu_interrupt: None,
            has_pmu: false,
        }
    }

    /// Whether it has a feature.
    pub(super) fn has_feature(&self, feature: u64) -> bool {
        self.features.is_some_and(|features| features >> feature & 1 == 1)
    }
}

/// A VM.
pub(super) struct Vm {
    pub(super) is_realm: bool,
    pub(super) ipa_bits: u32,
    pub(super) slots: BTreeMap<u32, Slot>,
    /// Private pages, where attributes are those of VMs.
    pub(super) private: Ranges,
    pub(super) gmems: Vec<Gmem>,
    pub(super) vcpus: Vec<VcpuState>,
    /// The features that all vCPUs have.
    pub(super) features: Option<u32>,
    pub(super) vgic: Option<Vgic>,
    /// PPIs of the virtual and the physical timer.
    pub(super) timers: BTreeMap<u64, u32>,
    /// Ranges of functions whose calls reach the VMM.
    pub(super) forwarded: Vec<(u32, u32)>,
    pub(super) realm: Realm,
    pub(super) has_run: bool,
    pub(super) is_off: bool,
    pub(super) is_dead: bool,
}

impl Vm {
    pub(super) fn new(is_realm: bool, ipa_bits: u32) -> Self {
        Self {
            is_realm,
            ipa_bits,
            slots: BTreeMap::new(),
            private: Ranges::default(),
            gmems: Vec::new(),
            vcpus: Vec::new(),
            features: None,
            vgic: None,
            timers: BTreeMap::from([(0, 27), (1, 30)]),
            forwarded: Vec::new(),
            realm: Realm { ipa_bits, ..Realm::default() },
            has_run: false,
            is_off: false,
            is_dead: false,
        }
    }

    /// The number of its vCPUs.
    pub(super) fn vcpu_count(&self) -> u64 {
        self.vcpus.len() as u64
    }

    /// A vCPU.
    ///
    /// # Errors
    ///
    /// `ENOTTY` if there is none with this index.
    pub(super) fn vcpu(&mut self, index: usize) -> Result<&mut VcpuState, Errno> {
        self.vcpus.get_mut(index).ok_or(Errno::ENOTTY)
    }

    /// The bit that tells shared from protected addresses; of an ordinary VM, none.
    pub(super) fn shared_bit(&self) -> u64 {
        if self.is_realm { 1 << (self.ipa_bits - 1) } else { 0 }
    }

    /// The slot of a guest physical address, which has no shared bit.
    pub(super) fn slot(&self, address: u64) -> Option<&Slot> {
        self.slots.values().find(|slot| slot.has(address))
    }

    /// Whether the page at an address is private, whoever keeps its attribute.
    pub(super) fn is_private(&self, address: u64) -> bool {
        if self.private.has(address / PAGE) {
            return true;
        }
        let Some(slot) = self.slot(address) else { return false };
        let Some((gmem, offset)) = slot.gmem else { return false };
        let at = address.saturating_sub(slot.base).saturating_add(offset);
        self.gmems.get(gmem).is_some_and(|gmem| gmem.private.has(at / PAGE))
    }

    /// Whether a slot's private side is private for good, beside a shared side: a guest_memfd that
    /// keeps the attributes itself and cannot be mapped.
    pub(super) fn has_two_backings(&self, slot: &Slot) -> bool {
        let gmem = slot.gmem.and_then(|(gmem, _)| self.gmems.get(gmem));
        gmem.is_some_and(|gmem| gmem.flags == 0 && gmem.private.has_all(0, gmem.bytes / PAGE))
    }

    /// Whether calls of a function reach the VMM.
    pub(super) fn is_forwarded(&self, function: u32) -> bool {
        self.forwarded
            .iter()
            .any(|(base, count)| function.checked_sub(*base).is_some_and(|at| at < *count))
    }
}
