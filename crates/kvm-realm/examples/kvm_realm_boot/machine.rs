//! The VM: its memory, its devices and its vCPUs, as a Realm or without.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use bare_metal::linux::layout::{DISTRIBUTOR, IPA_WIDTH, RAM, REDISTRIBUTORS};
use kvm_realm::calls::Calls;
use kvm_realm::generation::Generation;
use kvm_realm::kernel::{Kernel, MemoryRegion};
use kvm_realm::launch::{BootRegisters, Configured, Plan, Running, predict};
use kvm_realm::memory::{Ram, RealmMemory};
use kvm_realm::probe::probe;
use kvm_realm::registers::Register;
use kvm_realm::smccc;
use kvm_realm::vcpu::{Power as Start, RealmVcpu, VcpuFeatures};
use kvm_realm::vgic::{Vgic, VgicConfig};
use kvm_realm::vm;
use realm_sdk::abi::realm::RealmParams;
use realm_sdk::abi::rtt::Geometry;
use realm_sdk::abi::{Ipa, IpaRange, Pa};
use realm_sdk::measurement::RegionLayout;

use crate::console::Terminal;
use crate::guest::Guest;
use crate::host_memory::Mapping;
use crate::options::{Failure, Files, Options};
use crate::power::Power;
use crate::report::Report;
use crate::run::{Host, Timeline, run};

/// Boots a guest and runs it to its end, with its console at a terminal.
pub(crate) fn boot<K>(
    kernel: &K,
    options: &Options,
    files: &Files,
    terminal: Terminal<'_>,
) -> Result<Report, Failure>
where
    K: Kernel + Sync,
    K::Vcpu: Send,
{
    let start = Instant::now();
    let kvm = kernel.open_kvm().map_err(|errno| format!("/dev/kvm: {errno}"))?;
    let generation = generation(kernel, kvm.as_fd(), options)?;
    let calls = Calls::new(kernel, generation);
    // The memory is given back after the VM is closed.
    let memory;
    let (vm, geometry) = create_vm(&calls, kvm.as_fd(), options)?;
    let parts = Parts::new(calls, vm.as_fd(), geometry, options)?;
    let affinities = parts.vcpus.iter().map(RealmVcpu::affinity);
    let affinities = affinities.collect::<Result<Vec<_>, _>>()?;
    let guest = Guest::new(options, files, &affinities)?;
    let bytes = guest.layout.ram.bytes();
    let length = usize::try_from(bytes)?;
    let registers = BootRegisters {
        pc: guest.layout.entry.raw(),
        x: [guest.layout.tree.base().raw(), 0, 0, 0, 0, 0, 0, 0],
    };
    parts.set(&registers)?;
    let psci = options.owns_psci.then(|| Power::new(&affinities));
    let mut timeline = Timeline { start, created: start.elapsed(), populated: start.elapsed() };

    if options.is_plain {
        memory = Mapping::new(length, None)?;
        let host = memory.memory();
        for (at, content) in guest.contents() {
            host.write(usize::try_from(at.raw() - RAM.raw())?, content)?;
        }
        let region = MemoryRegion {
            slot: 0,
            flags: 0,
            guest_phys_addr: RAM.raw(),
            bytes,
            host,
            guest_memfd: None,
        };
        calls.set_memory_region(vm.as_fd(), &region)?;
        timeline.populated = start.elapsed();
        let host = Host { kernel, vm: vm.as_fd(), terminal, psci };
        return run(None::<Running<'_, K>>, host, parts.vcpus, timeline);
    }

    let guest_memfd = calls.create_guest_memfd(vm.as_fd(), bytes)?;
    let is_in_place = generation.facts().memory.is_in_place();
    memory = Mapping::new(length, is_in_place.then(|| guest_memfd.as_fd()))?;
    let mut ram = RealmMemory::new(geometry);
    let slot = Ram { base: RAM, bytes, host: memory.memory(), guest_memfd, offset: 0 };
    ram.add(&calls, vm.as_fd(), slot)?;
    let region = |(at, content)| {
        let make =
            if options.is_measured { RegionLayout::measured } else { RegionLayout::unmeasured };
        make(at, content)
    };
    let contents = guest.contents();
    let mut regions: Vec<_> = contents.into_iter().map(region).collect();
    let slots: Vec<IpaRange> = ram.ranges().collect();
    let rim = rim(generation, &parts, geometry, &slots, &mut regions, &registers);
    let configured = Configured::new(calls, vm.as_fd(), ram, Plan::new(regions))?;
    let populated = configured.create().map_err(lost)?.populate().map_err(lost)?;
    let running = populated.activate(parts.vcpus.iter().map(RealmVcpu::kernel_vcpu));
    let running = running.map_err(lost)?;
    timeline.populated = start.elapsed();
    let host = Host { kernel, vm: vm.as_fd(), terminal, psci };
    let mut report = run(Some(running), host, parts.vcpus, timeline)?;
    report.generation = Some(generation);
    report.rim = rim;
    Ok(report)
}

/// A step that failed: why. What it gives back is closed.
fn lost<S, E: std::error::Error>(error: kvm_realm::launch::StepError<S, E>) -> Failure {
    error.to_string().into()
}

/// What the kernel is taken for.
fn generation<K: Kernel>(
    kernel: &K,
    kvm: BorrowedFd<'_>,
    options: &Options,
) -> Result<Generation, Failure> {
    match options.generation {
        Some(generation) => Ok(generation),
        // All ordinary VMs are alike.
        None if options.is_plain => Ok(Generation::V14),
        None => {
            let report = probe(kernel, kvm)?;
            report.generation().ok_or_else(|| report.to_string().into())
        }
    }
}

/// Creates the VM.
fn create_vm<K: Kernel>(
    calls: &Calls<'_, K>,
    kvm: BorrowedFd<'_>,
    options: &Options,
) -> Result<(OwnedFd, Geometry), Failure> {
    if options.is_plain {
        let vm = calls.kernel.create_vm(kvm, IPA_WIDTH.into());
        let vm = vm.map_err(|errno| format!("KVM_CREATE_VM: {errno}"))?;
        return Ok((vm, Geometry::new(IPA_WIDTH)?));
    }
    let realm = vm::create(calls, kvm, IPA_WIDTH, IPA_WIDTH)?;
    Ok((realm.vm, realm.geometry))
}

/// What a VM has beside memory.
struct Parts<'k, K: Kernel> {
    vcpus: Vec<RealmVcpu<'k, K>>,
    _gic: Vgic,
}

impl<'k, K: Kernel> Parts<'k, K> {
    fn new(
        calls: Calls<'k, K>,
        vm: BorrowedFd<'_>,
        geometry: Geometry,
        options: &Options,
    ) -> Result<Self, Failure> {
        let config = VgicConfig {
            distributor: Ipa::new(DISTRIBUTOR),
            redistributors: Ipa::new(REDISTRIBUTORS),
            vcpus: u32::try_from(options.vcpus)?,
            interrupts: None,
        };
        if options.owns_psci {
            smccc::forward_psci(&calls, vm)?;
        }
        let gic = Vgic::create(&calls, vm, geometry, &config)?;
        let of_realm = (!options.is_plain).then_some(geometry);
        let mut vcpus = Vec::new();
        for id in 0..options.vcpus {
            let vcpu = RealmVcpu::create(calls, vm, of_realm, id)?;
            // A VMM that answers PSCI calls does not run the others until they are turned on.
            let starts = id == 0 || options.owns_psci;
            let start = if starts { Start::On } else { Start::Off };
            vcpu.init(vm, VcpuFeatures::default(), start)?;
            vcpus.push(vcpu);
        }
        gic.init(&calls)?;
        Ok(Self { vcpus, _gic: gic })
    }

    /// Sets what the first vCPU starts with.
    fn set(&self, registers: &BootRegisters) -> Result<(), Failure> {
        let Some(first) = self.vcpus.first() else { return Err("no vCPUs".into()) };
        for (number, value) in (0..).zip(registers.x) {
            if let Some(register) = Register::x(number) {
                first.set_register(register, value)?;
            }
        }
        Ok(first.set_register(Register::PC, registers.pc)?)
    }
}

/// The measurement that the Realm will have; `None` where it cannot be predicted.
fn rim<K: Kernel>(
    generation: Generation,
    parts: &Parts<'_, K>,
    geometry: Geometry,
    slots: &[IpaRange],
    regions: &mut [RegionLayout<'_>],
    registers: &BootRegisters,
) -> Option<Vec<u8>> {
    // KVM gives these numbers of breakpoints and watchpoints to the RMM.
    let debug = parts.vcpus.first()?.register(Register::DEBUG_FEATURES).unwrap_or(0);
    let number = |shift: u32| u8::try_from(debug >> shift & 0xf).unwrap_or(0);
    let params = RealmParams {
        num_bps: number(12),
        num_wps: number(20),
        ..RealmParams::new(geometry, Pa::new(0))
    };
    let dialect = generation.facts().dialect;
    let rim = predict(generation, dialect, &params, slots, regions, registers, &mut |_| ());
    Some(rim.ok()?.digest().as_bytes().to_vec())
}
