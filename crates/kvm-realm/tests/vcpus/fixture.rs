//! A Realm on the fake kernel, whose vCPUs run programs.

use std::os::fd::{AsFd, OwnedFd};

use kvm_realm::calls::Calls;
use kvm_realm::fake::{FakeKernel, Guest};
use kvm_realm::generation::{DaV7Numbers, Generation};
use kvm_realm::kernel::{DeviceAttr, Kernel};
use kvm_realm::launch::{Configured, Plan, Running};
use kvm_realm::memory::{Ram, RealmMemory};
use kvm_realm::registers::Register;
use kvm_realm::vcpu::{Power, RealmVcpu, VcpuFeatures};
use kvm_realm::vgic::{Vgic, VgicConfig};
use kvm_realm::{HostMemory, vm};
use realm_measurement::RegionLayout;
use rmi_abi::Ipa;

pub(crate) const RAM: u64 = 0x8000_0000;
pub(crate) const BYTES: usize = 0x1_0000;
/// Bits of an IPA, and the bit that is set in the shared half.
pub(crate) const IPA_BITS: u8 = 33;
pub(crate) const SHARED: u64 = 1 << 32;
/// A capability, and a request of 64 bytes, that no kernel has.
const UNUSED: (u32, u32) = (260, 0x4040_aed8);

/// Every generation, with the name of its kernel in the description.
pub(crate) fn generations() -> Vec<(Generation, &'static str)> {
    let numbers = DaV7Numbers::new(UNUSED.0, UNUSED.1).unwrap();
    vec![
        (Generation::V5ToV7, "rme-v5..v7"),
        (Generation::V8, "rme-v8"),
        (Generation::V9, "rme-v9"),
        (Generation::V10, "rme-v10"),
        (Generation::V12, "rmi-v12"),
        (Generation::V13, "rmi-v13"),
        (Generation::V14, "rmi-v14"),
        (Generation::V15, "rmi-v15"),
        (Generation::Tree2026_09, "rmi-sep2026-tree"),
        (Generation::DaV7(numbers), "da-v7-tree"),
    ]
}

pub(crate) fn fake(name: &str) -> FakeKernel {
    match name {
        "da-v7-tree" => FakeKernel::unnumbered(name, UNUSED.0, UNUSED.1).unwrap(),
        _ => FakeKernel::new(name).unwrap(),
    }
}

/// A Realm before it runs.
pub(crate) struct Machine<'k> {
    pub(crate) calls: Calls<'k, FakeKernel>,
    pub(crate) vm: OwnedFd,
    pub(crate) vcpus: Vec<RealmVcpu<'k, FakeKernel>>,
    pub(crate) memory: RealmMemory,
}

impl<'k> Machine<'k> {
    /// With as many vCPUs. `forward` is a range of functions whose calls reach the VMM.
    pub(crate) fn new(
        kernel: &'k FakeKernel,
        generation: Generation,
        vcpus: u64,
        forward: Option<(u32, u32)>,
    ) -> Self {
        Self::with_features(kernel, generation, vcpus, forward, VcpuFeatures::default())
    }

    /// The same, with features of the vCPUs.
    pub(crate) fn with_features(
        kernel: &'k FakeKernel,
        generation: Generation,
        vcpus: u64,
        forward: Option<(u32, u32)>,
        features: VcpuFeatures,
    ) -> Self {
        let calls = Calls::new(kernel, generation);
        let kvm = kernel.open_kvm().unwrap();
        let realm = vm::create(&calls, kvm.as_fd(), IPA_BITS, IPA_BITS).unwrap();
        let geometry = realm.geometry;
        let vm = realm.vm;
        if let Some((base, count)) = forward {
            let mut filter = [0; 24];
            filter[..4].copy_from_slice(&base.to_le_bytes());
            filter[4..8].copy_from_slice(&count.to_le_bytes());
            filter[8] = 2;
            let attr = DeviceAttr { group: 0, attr: 0, value: Some(&filter) };
            kernel.set_device_attr(vm.as_fd(), &attr).unwrap();
        }
        let guest_memfd = calls.create_guest_memfd(vm.as_fd(), BYTES as u64).unwrap();
        let host = HostMemory::map(BYTES).unwrap();
        let mut memory = RealmMemory::new(geometry);
        let ram = Ram { base: Ipa::new(RAM), bytes: BYTES as u64, host, guest_memfd, offset: 0 };
        memory.add(&calls, vm.as_fd(), ram).unwrap();
        let gic = VgicConfig {
            distributor: Ipa::new(0x800_0000),
            redistributors: Ipa::new(0x80a_0000),
            vcpus: u32::try_from(vcpus).unwrap(),
            interrupts: None,
        };
        let gic = Vgic::create(&calls, vm.as_fd(), geometry, &gic).unwrap();
        let vcpus: Vec<_> = (0..vcpus)
            .map(|id| RealmVcpu::create(calls, vm.as_fd(), Some(geometry), id).unwrap())
            .collect();
        for (id, vcpu) in vcpus.iter().enumerate() {
            let power = if id == 0 { Power::On } else { Power::Off };
            // A VMM that has PSCI itself holds its vCPUs itself.
            let power = if forward.is_some() { Power::On } else { power };
            vcpu.init(vm.as_fd(), features, power).unwrap();
        }
        gic.init(&calls).unwrap();
        vcpus.first().unwrap().set_register(Register::PC, RAM).unwrap();
        Self { calls, vm, vcpus, memory }
    }

    /// Launches the Realm; hands its state and its vCPUs to `test`.
    pub(crate) fn launched(
        self,
        test: impl FnOnce(&mut Running<'_, FakeKernel>, &mut [RealmVcpu<'_, FakeKernel>]),
    ) {
        let Self { calls, vm, mut vcpus, memory } = self;
        let content = [0x5a; 0x1000];
        let plan = Plan::new(vec![RegionLayout::measured(Ipa::new(RAM), &content)]);
        let configured = Configured::new(calls, vm.as_fd(), memory, plan).unwrap();
        let populated = configured.create().unwrap().populate().unwrap();
        let mut running = populated.activate(vcpus.iter().map(RealmVcpu::kernel_vcpu)).unwrap();
        test(&mut running, &mut vcpus);
    }
}

/// A kernel of each generation in turn, whose vCPUs do what `make` says.
pub(crate) fn on_each<G: Guest + 'static>(
    make: impl Fn(u64) -> G + Clone + Send + 'static,
    vcpus: u64,
    test: impl Fn(Generation, &mut Running<'_, FakeKernel>, &mut [RealmVcpu<'_, FakeKernel>]),
) {
    // v5, and v6 and v7, differ in the initialisation alone.
    let old = std::iter::once((Generation::V5ToV7, "v6"));
    for (generation, name) in generations().into_iter().chain(old) {
        let kernel = fake(if name == "v6" { "rme-v5..v7" } else { name });
        if name == "v6" {
            kernel.set_rec_at_init(true);
        }
        kernel.set_guest(make.clone());
        let machine = Machine::new(&kernel, generation, vcpus, None);
        machine.launched(|running, vcpus| test(generation, running, vcpus));
        assert_eq!(kernel.open_descriptors(), 0, "{generation}");
    }
}
