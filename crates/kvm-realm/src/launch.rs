//! The launch of a Realm, as states: configured, created, populated, running.
//!
//! ```text
//! Configured ── create ──▶ Created ── populate ──▶ Populated ── activate ──▶ Running
//! ```
//!
//! | | v5 to v10 | from v12 on |
//! |---|---|---|
//! | [`Configured::create`] | makes RAM private, configures and creates the Realm | makes RAM private |
//! | [`Created::populate`] | RIPAS, contents through the slots | contents, which create the Realm |
//! | [`Populated::activate`] | finalizes the vCPUs in their order, activates | nothing; the first KVM_RUN does it |
//!
//! Before: the VM ([`vm::create`](crate::vm::create)), the RAM ([`RealmMemory::add`]), the GIC and
//! all vCPUs, initialised; before [`Populated::activate`], the registers of the vCPUs.
//!
//! A step that is refused gives its state back ([`StepError::Refused`]), and can be tried again: a
//! populate step goes on where it stopped. A step that left the VM dead says so
//! ([`StepError::Dead`]): what is left is closing its descriptors.
//!
//! Regions are populated in the order of `realm-measurement`, that of their addresses, so that the
//! same regions give the same measurement; [`predict`] computes it beforehand.

mod populate;
mod rim;
mod tables;
#[cfg(test)]
mod tests;

pub use populate::PopulateError;
pub use rim::{BootRegisters, predict};

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use realm_measurement::region::{LayoutError, check, sort};
use realm_measurement::{Content, RegionLayout};
use rmi_abi::IpaRange;
use rmi_abi::address::GranuleSize;
use rmi_abi::realm::{HashAlgorithm, RPV_BYTES};
use thiserror::Error;

use crate::calls::Calls;
use crate::errno::Errno;
use crate::error::CallError;
use crate::generation::{Generation, Steps};
use crate::kernel::Kernel;
use crate::memory::{ConvertError, Converted, MemoryFault, RealmMemory};
use populate::Progress;

/// What a Realm is to be.
///
/// The IPA width is that of the VM, RAM is added beforehand; SVE, breakpoints and the PMU follow
/// from the vCPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<'c> {
    /// The algorithm that measures it.
    pub hash: HashAlgorithm,
    /// The Realm Personalization Value.
    pub personalization: [u8; RPV_BYTES],
    /// Memory with content, at least a page; whole granules of 4 KiB, each in RAM. The order does
    /// not matter.
    pub regions: Vec<RegionLayout<'c>>,
}

impl<'c> Plan<'c> {
    /// A Realm that SHA-256 measures, with an all-zero personalization value, and these regions.
    #[must_use]
    pub const fn new(regions: Vec<RegionLayout<'c>>) -> Self {
        Self { hash: HashAlgorithm::Sha256, personalization: [0; RPV_BYTES], regions }
    }

    /// Sorts and checks it.
    fn check(&mut self, generation: Generation, memory: &RealmMemory) -> Result<(), PlanError> {
        let facts = generation.facts();
        let is_default = self.hash == HashAlgorithm::Sha256;
        if !is_default && !facts.hashes.contains(&self.hash) {
            return Err(PlanError::Hash { hash: self.hash, generation });
        }
        if !facts.personalization && self.personalization != [0; RPV_BYTES] {
            return Err(PlanError::Personalization { generation });
        }
        // What has no content is what RAM is anyway.
        self.regions.retain(|region| region.content != Content::Unspecified);
        sort(&mut self.regions);
        if self.regions.is_empty() {
            return Err(PlanError::NoContent);
        }
        check(&self.regions, memory.geometry(), GranuleSize::Size4KiB)?;
        match self.regions.iter().find(|region| !memory.is_ram(region.range())) {
            Some(region) => Err(PlanError::NoRam(region.range())),
            None => Ok(()),
        }
    }
}

/// What a Realm cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The algorithm cannot be chosen.
    #[error("{generation} does not measure realms with {hash}")]
    Hash {
        /// The algorithm.
        hash: HashAlgorithm,
        /// The kernel's generation.
        generation: Generation,
    },
    /// There is no personalization value.
    #[error("{generation} has no personalization value")]
    Personalization {
        /// The kernel's generation.
        generation: Generation,
    },
    /// A region cannot be content of a Realm.
    #[error("{0}")]
    Region(#[from] LayoutError),
    /// A region is not in RAM in all of its length.
    #[error("the content at {0} is not in RAM")]
    NoRam(IpaRange),
    /// There is no content. From v12 on, populating memory is what creates a Realm; and a Realm
    /// without a program cannot run.
    #[error("a realm has at least one page of content")]
    NoContent,
    /// The descriptor of the VM cannot be duplicated.
    #[error("the descriptor of the VM: {0}")]
    Descriptor(#[source] Errno),
}

impl From<std::io::Error> for PlanError {
    fn from(error: std::io::Error) -> Self {
        Self::Descriptor(Errno::of(error))
    }
}

/// A plan was refused; the memory is given back.
#[derive(Debug, Error)]
#[error("{error}")]
pub struct Unplanned {
    /// The memory.
    pub memory: RealmMemory,
    /// What is wrong.
    #[source]
    pub error: PlanError,
}

/// A step was not completed.
#[derive(Debug)]
pub enum StepError<S, E = CallError> {
    /// It was refused; the state is given back, and the step can be tried again.
    Refused {
        /// The state.
        state: S,
        /// Why.
        error: E,
    },
    /// The VM is dead, and the memory not needed any more.
    Dead(E),
}

impl<S, E> StepError<S, E> {
    /// A step that failed: the state again, or the end.
    fn new(state: S, error: E, is_final: bool) -> Self {
        if is_final { Self::Dead(error) } else { Self::Refused { state, error } }
    }

    /// Why.
    pub const fn error(&self) -> &E {
        match self {
            Self::Refused { error, .. } | Self::Dead(error) => error,
        }
    }

    /// Why, without the state.
    pub fn into_error(self) -> E {
        match self {
            Self::Refused { error, .. } | Self::Dead(error) => error,
        }
    }

    /// The state; `None` if the VM is dead.
    #[must_use]
    pub fn into_state(self) -> Option<S> {
        match self {
            Self::Refused { state, .. } => Some(state),
            Self::Dead(_) => None,
        }
    }
}

impl<S, E: std::fmt::Display> std::fmt::Display for StepError<S, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { error, .. } => write!(f, "{error}"),
            Self::Dead(error) => write!(f, "{error}; the VM is dead"),
        }
    }
}

impl<S: std::fmt::Debug, E: std::error::Error + 'static> std::error::Error for StepError<S, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.error())
    }
}

/// What every state has.
#[derive(Debug)]
struct Base<'k, K> {
    calls: Calls<'k, K>,
    /// A duplicate of the caller's.
    vm: OwnedFd,
    memory: RealmMemory,
}

/// A VM that is to be a Realm, with a plan that was checked.
#[derive(Debug)]
#[must_use = "it owns the private memory of the Realm"]
pub struct Configured<'k, 'c, K> {
    base: Base<'k, K>,
    plan: Plan<'c>,
    /// Whether a plan has set the personalization value.
    is_personalized: bool,
}

impl<'k, 'c, K: Kernel> Configured<'k, 'c, K> {
    /// Checks a plan against the generation and the RAM of a VM, and duplicates its descriptor. KVM
    /// is not called.
    ///
    /// # Errors
    ///
    /// [`Unplanned`] gives the memory back.
    pub fn new(
        calls: Calls<'k, K>,
        vm: BorrowedFd<'_>,
        memory: RealmMemory,
        mut plan: Plan<'c>,
    ) -> Result<Self, Unplanned> {
        let checked = plan.check(calls.generation, &memory);
        match checked.and_then(|()| vm.try_clone_to_owned().map_err(PlanError::from)) {
            Ok(vm) => Ok(Self { base: Base { calls, vm, memory }, plan, is_personalized: false }),
            Err(error) => Err(Unplanned { memory, error }),
        }
    }

    /// The memory.
    #[must_use]
    pub const fn memory(&self) -> &RealmMemory {
        &self.base.memory
    }

    /// The same VM with another plan, for instance after the RMM has refused the algorithm of the
    /// first one. KVM is not called.
    ///
    /// # Errors
    ///
    /// [`StepError::Refused`] with the first plan.
    pub fn replan(self, mut plan: Plan<'c>) -> Result<Self, StepError<Self, PlanError>> {
        match plan.check(self.base.calls.generation, &self.base.memory) {
            Ok(()) => Ok(Self { plan, ..self }),
            Err(error) => Err(StepError::new(self, error, false)),
        }
    }

    /// Makes all RAM private; configures and creates the Realm where these are steps of their own.
    ///
    /// # Errors
    ///
    /// [`StepError`]. What the RMM refuses of the plan can be changed: [`Configured::replan`].
    pub fn create(mut self) -> Result<Created<'k, 'c, K>, StepError<Self>> {
        match self.make() {
            Ok(()) => {
                let Self { base, plan, .. } = self;
                Ok(Created { base, regions: plan.regions, progress: Progress::default() })
            }
            Err(error) => Err(StepError::new(self, error, error.is_final())),
        }
    }

    fn make(&mut self) -> Result<(), CallError> {
        let Base { calls, vm, memory } = &mut self.base;
        let vm = vm.as_fd();
        memory.make_private(calls, vm)?;
        match calls.generation.facts().steps {
            Steps::Implicit => Ok(()),
            Steps::Actions => {
                calls.configure_hash(vm, self.plan.hash)?;
                // Zeros are the default, but an earlier plan may have set something else.
                if self.is_personalized || self.plan.personalization != [0; RPV_BYTES] {
                    calls.configure_personalization(vm, &self.plan.personalization)?;
                    self.is_personalized = true;
                }
                calls.create_realm(vm)
            }
        }
    }
}

/// A Realm without content.
#[derive(Debug)]
#[must_use = "it owns the private memory of the Realm"]
pub struct Created<'k, 'c, K> {
    base: Base<'k, K>,
    regions: Vec<RegionLayout<'c>>,
    progress: Progress,
}

impl<'k, 'c, K: Kernel> Created<'k, 'c, K> {
    /// How much content is populated, in bytes.
    #[must_use]
    pub const fn populated(&self) -> u64 {
        self.progress.bytes
    }

    /// Populates all regions in their order, from where an earlier call stopped.
    ///
    /// The kernel of v14 takes the RMM's refusal of the first page of a call for a number of pages
    /// that it has populated. Pages are then left out without an error, and the measurement is not
    /// the predicted one.
    ///
    /// # Errors
    ///
    /// [`StepError`] with [`PopulateError`]. A signal (`EINTR`) stops it as well, and
    /// [`Created::populated`] tells how far it came: a VMM that does not end goes on.
    pub fn populate(self) -> Result<Populated<'k, K>, StepError<Self, PopulateError>> {
        self.populate_with(|_| ControlFlow::Continue(()))
    }

    /// The same with progress: after each call of the kernel, of a page up to v10 and of up to
    /// 1 MiB from v12 on, `observe` is told how much content is populated, in bytes, and may stop
    /// it.
    ///
    /// # Errors
    ///
    /// As [`Created::populate`], and [`PopulateError::Stopped`], which gives the state back.
    pub fn populate_with(
        mut self,
        mut observe: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Populated<'k, K>, StepError<Self, PopulateError>> {
        let Base { calls, vm, memory } = &mut self.base;
        match self.progress.go_on(calls, vm.as_fd(), memory, &self.regions, &mut observe) {
            Ok(()) => Ok(Populated { base: self.base, bytes: self.progress.bytes, finalized: 0 }),
            Err(error) => Err(StepError::new(self, error, error.is_final())),
        }
    }
}

/// A Realm with content.
#[derive(Debug)]
#[must_use = "it owns the private memory of the Realm"]
pub struct Populated<'k, K> {
    base: Base<'k, K>,
    bytes: u64,
    /// How many vCPUs are finalized.
    finalized: usize,
}

impl<'k, K: Kernel> Populated<'k, K> {
    /// How much content was populated, in bytes.
    #[must_use]
    pub const fn populated(&self) -> u64 {
        self.bytes
    }

    /// Finalizes the vCPUs, which are all of the VM in the order of their numbers, and activates
    /// the Realm, where these are steps of their own.
    ///
    /// The registers of the vCPUs are set before: they cannot be set any more. Where the first
    /// KVM_RUN activates the Realm, nothing is done here, and an error of that call is final.
    ///
    /// KVM does not compare them with the vCPUs that it has. One that is left out cannot be
    /// finalized afterwards: its KVM_RUN is `EPERM`, for good.
    ///
    /// # Errors
    ///
    /// [`StepError`]. When it is tried again, with the same vCPUs, those that are finalized are
    /// left out.
    pub fn activate<'u>(
        mut self,
        vcpus: impl IntoIterator<Item = &'u K::Vcpu>,
    ) -> Result<Running<'k, K>, StepError<Self>>
    where
        K::Vcpu: 'u,
    {
        match self.finish(vcpus) {
            Ok(()) => Ok(Running { base: self.base }),
            Err(error) => Err(StepError::new(self, error, error.is_final())),
        }
    }

    fn finish<'u>(&mut self, vcpus: impl IntoIterator<Item = &'u K::Vcpu>) -> Result<(), CallError>
    where
        K::Vcpu: 'u,
    {
        let Base { calls, vm, .. } = &self.base;
        match calls.generation.facts().steps {
            Steps::Implicit => Ok(()),
            Steps::Actions => {
                for vcpu in vcpus.into_iter().skip(self.finalized) {
                    calls.finalize_rec(vcpu)?;
                    self.finalized += 1;
                }
                calls.activate(vm.as_fd())
            }
        }
    }
}

/// A Realm whose vCPUs can run.
///
/// It owns the Realm's private memory, and is kept as long as a vCPU runs: when it is dropped, the
/// kernel takes the pages away.
#[derive(Debug)]
#[must_use = "it owns the private memory of the Realm, which runs no longer than this is kept"]
pub struct Running<'k, K> {
    base: Base<'k, K>,
}

impl<'k, K: Kernel> Running<'k, K> {
    /// The VM.
    #[must_use]
    pub fn vm(&self) -> BorrowedFd<'_> {
        self.base.vm.as_fd()
    }

    /// The calls of the kernel.
    #[must_use]
    pub const fn calls(&self) -> Calls<'k, K> {
        self.base.calls
    }

    /// The memory.
    #[must_use]
    pub const fn memory(&self) -> &RealmMemory {
        &self.base.memory
    }

    /// Answers a memory fault of a vCPU: [`RealmMemory::convert`].
    ///
    /// # Errors
    ///
    /// [`ConvertError`].
    pub fn convert(&mut self, vcpu: u64, fault: MemoryFault) -> Result<Converted, ConvertError> {
        let Base { calls, vm, memory } = &mut self.base;
        memory.convert(calls, vm.as_fd(), vcpu, fault)
    }

    /// Notes that a vCPU left KVM_RUN for another reason than a memory fault.
    pub fn has_progressed(&mut self, vcpu: u64) {
        self.base.memory.has_progressed(vcpu);
    }
}
