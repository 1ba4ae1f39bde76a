//! A strict fake kernel, for tests that run anywhere.
//!
//! [`FakeKernel`] is a [`Kernel`](crate::Kernel) of one generation of the interface. It takes its
//! numbers from a description of all generations, and not from the tables of this crate, so a wrong
//! number in those is refused as a kernel refuses it. It keeps the state of VMs, vCPUs, slots,
//! guest_memfds, attributes and Realms, and what a kernel of that generation does not accept, or
//! not in this order, it refuses with the error that such a kernel gives. vCPUs do what programs
//! ([`Guest`]) say, which see the results of their accesses, as guests do.
//!
//! | For tests | How |
//! |---|---|
//! | another kernel | [`FakeKernel::generations`], [`FakeKernel::new`], [`FakeKernel::unnumbered`], [`FakeKernel::without_realms`] |
//! | another machine | [`FakeKernel::set_ipa_limits`], [`FakeKernel::set_max_vcpus`], [`FakeKernel::set_capability`], [`FakeKernel::set_parameter`] and others |
//! | what vCPUs do | [`FakeKernel::set_guest`] |
//! | a call that fails | [`FakeKernel::fail_call`], with [`FakeKernel::calls`]; [`FakeKernel::fail_page`] |
//! | what the RMM was asked for | [`FakeKernel::rmi_calls`] |
//! | what was left open | [`FakeKernel::open_descriptors`] |
//!
//! Descriptors are those of files in memory, so they can be duplicated, mapped and closed like
//! those of KVM: a vCPU's is its run page, that of a guest_memfd its private memory.
//!
//! # Example
//!
//! A kernel of v14 has the type of its VMs and no other; its guests write to a device.
//!
//! ```
//! use std::os::fd::AsFd;
//!
//! use kvm_realm::Errno;
//! use kvm_realm::fake::{Action, FakeKernel, Script};
//! use kvm_realm::kernel::Kernel;
//!
//! let kernel = FakeKernel::new("rmi-v14").ok_or("no such generation")?;
//! kernel.set_guest(|_vcpu| Script::new([Action::MmioStore(0x900_0000, 1, 4)]));
//! let kvm = kernel.open_kvm()?;
//! let refused = kernel.create_vm(kvm.as_fd(), 0x100 | 40);
//! assert_eq!(refused.map(|_| ()), Err(Errno::EINVAL));
//! let vm = kernel.create_vm(kvm.as_fd(), 1 << 30 | 40)?;
//!
//! drop((kvm, vm));
//! assert_eq!(kernel.open_descriptors(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//!
//! Where it is not known what a kernel does, the fake one refuses. It knows no MTE, no nested
//! virtualisation, no AArch32, and no device but the GIC.

mod behaviour;
mod calls;
mod facts;
mod fields;
mod guest;
mod kernel;
mod launch;
mod machine;
mod memfd;
mod memory;
mod ranges;
mod realm;
mod run;
mod system;
#[cfg(test)]
mod tests;
mod vgic;
mod vm;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};

pub use calls::CallRecord;
pub use guest::{Action, Guest, Outcome, Script};
pub use kernel::FakeVcpu;
pub use realm::RmiCall;

use facts::{Facts, Given};
use machine::Machine;
use run::Shared;

use crate::Errno;

/// A kernel that is a part of the test. Clones are the same kernel.
#[derive(Clone)]
pub struct FakeKernel {
    shared: Arc<Shared>,
}

impl fmt::Debug for FakeKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = self.shared.lock();
        f.debug_struct("FakeKernel").field("generation", &machine.facts.id).finish_non_exhaustive()
    }
}

impl FakeKernel {
    /// The names of all generations of the description, also of those that [`FakeKernel::new`] does
    /// not know enough of.
    #[must_use]
    pub fn generations() -> Vec<String> {
        facts::generations()
    }

    /// A kernel of the generation with this name; `None` if there is none, or if its numbers have
    /// not been published.
    #[must_use]
    pub fn new(generation: &str) -> Option<Self> {
        Facts::of(generation, Given::default()).map(Self::from_facts)
    }

    /// A kernel of a generation whose numbers have not been published: it gets this capability, and
    /// this request for `KVM_ARM_RMI_INIT_RIPAS`.
    #[must_use]
    pub fn unnumbered(generation: &str, capability: u32, init_ripas: u32) -> Option<Self> {
        let given = Given { capability: Some(capability), init_ripas: Some(init_ripas) };
        Facts::of(generation, given).map(Self::from_facts)
    }

    /// A kernel with the numbers of a generation that cannot run Realms, for instance because there
    /// is no RMM.
    #[must_use]
    pub fn without_realms(generation: &str) -> Option<Self> {
        let kernel = Self::new(generation)?;
        kernel.shared.lock().options.has_realms = false;
        Some(kernel)
    }

    fn from_facts(facts: Facts) -> Self {
        let machine = Mutex::new(Machine::new(facts));
        Self { shared: Arc::new(Shared { machine, wake: Condvar::new() }) }
    }

    /// Sets the largest size of an IPA, in bits: of ordinary VMs, and of Realms.
    pub fn set_ipa_limits(&self, ordinary: u32, realms: u32) {
        let mut machine = self.shared.lock();
        machine.options.ipa_limit = ordinary.clamp(32, 52);
        machine.options.realm_ipa_limit = realms.clamp(32, 52);
    }

    /// Sets how many vCPUs a VM can have.
    pub fn set_max_vcpus(&self, vcpus: u64) {
        self.shared.lock().options.max_vcpus = vcpus;
    }

    /// Sets how many pages one call populates at most; 0 is a kernel that makes no progress.
    pub fn set_pages_per_populate(&self, pages: u64) {
        self.shared.lock().options.pages_per_populate = pages;
    }

    /// Makes the population of a page fail with this error, once, after this many other pages. What
    /// the call has populated before stays.
    pub fn fail_page(&self, pages: u64, errno: Errno) {
        self.shared.lock().options.page_failure = Some((pages, errno));
    }

    /// Makes kernels that change the RIPAS before they report it (v5 to v7) run out of memory
    /// during the next request, after as many pages: these are reported, which may be none.
    pub fn set_ripas_pages(&self, pages: u64) {
        self.shared.lock().options.ripas_pages = Some(pages);
    }

    /// Sets whether memory can be converted in place, where attributes belong to guest_memfds.
    pub fn set_in_place_conversion(&self, converts: bool) {
        self.shared.lock().options.converts_in_place = converts;
    }

    /// Sets what the RMM has: SVE, and SHA-512.
    pub fn set_features(&self, sve: bool, sha512: bool) {
        let mut machine = self.shared.lock();
        machine.options.has_sve = sve;
        machine.options.has_sha512 = sha512;
    }

    /// Sets whether KVM_ARM_VCPU_INIT demands the feature that makes a REC, as v6 and v7 do, or has
    /// no such feature, as v5. Without, the kernel of v5 to v7 is v5.
    pub fn set_rec_at_init(&self, is_demanded: bool) {
        self.shared.lock().behaviour.inits_rec = is_demanded;
    }

    /// Sets what the kernel answers for a capability, of whichever descriptor.
    pub fn set_capability(&self, capability: u32, value: u32) {
        self.shared.lock().capabilities.insert(capability, value);
    }

    /// Sets a parameter of the module `kvm`.
    pub fn set_parameter(&self, name: &str, value: &str) {
        self.shared.lock().parameters.insert(name.to_string(), value.to_string());
    }

    /// Sets what makes the programs of vCPUs, by their numbers, from now on. Without, they turn the
    /// system off.
    pub fn set_guest<G: Guest + 'static>(&self, mut make: impl FnMut(u64) -> G + Send + 'static) {
        self.shared.lock().make_guest = Box::new(move |id| Box::new(make(id)));
    }

    /// Makes the call with this number fail with this error, and do nothing else; 0 is the first
    /// call of all.
    pub fn fail_call(&self, call: usize, errno: Errno) {
        self.shared.lock().calls.fail(call, errno);
    }

    /// All calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<CallRecord> {
        self.shared.lock().calls.log.clone()
    }

    /// What the RMM was asked for by the VM that was created as the `vm`th, from 0 on.
    #[must_use]
    pub fn rmi_calls(&self, vm: usize) -> Vec<RmiCall> {
        let machine = self.shared.lock();
        machine.vms.get(vm).map_or_else(Vec::new, |vm| vm.realm.calls.clone())
    }

    /// Whether an SPI of a VM is asserted.
    #[must_use]
    pub fn is_asserted(&self, vm: usize, intid: u32) -> bool {
        let machine = self.shared.lock();
        let gic = machine.vms.get(vm).and_then(|vm| vm.vgic.as_ref());
        gic.is_some_and(|gic| gic.asserted.contains(&intid))
    }

    /// Whether a page of a VM is private, as the kernel has it.
    #[must_use]
    pub fn is_private(&self, vm: usize, address: u64) -> bool {
        self.shared.lock().vms.get(vm).is_some_and(|vm| vm.is_private(address))
    }

    /// How many descriptors of this kernel are open.
    #[must_use]
    pub fn open_descriptors(&self) -> usize {
        self.shared.lock().open_descriptors()
    }
}
