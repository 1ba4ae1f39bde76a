//! Probes and launches of every generation on its fake kernel, with every call failing in turn.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../vcpus/fixture.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod fixture;
mod measurement;
mod wrong_generation;

use std::os::fd::AsFd;

use kvm_realm::calls::Calls;
use kvm_realm::exit::Exit;
use kvm_realm::fake::{Action, FakeKernel, RmiCall, Script};
use kvm_realm::kernel::MemoryRegion;
use kvm_realm::launch::{Configured, Plan, StepError};
use kvm_realm::memory::{ConvertError, Converted, Ram, RealmMemory};
use kvm_realm::probe::{Verdict, probe};
use kvm_realm::registers::Register;
use kvm_realm::vcpu::{Power, RealmVcpu, VcpuFeatures};
use kvm_realm::vgic::{Vgic, VgicConfig};
use kvm_realm::{Errno, Generation, HostMemory, Kernel, vm};
use realm_measurement::RegionLayout;
use rmi_abi::Ipa;

use fixture::{BYTES, IPA_BITS, RAM, fake, generations};

/// Two slots with a hole between them.
const SLOTS: [u64; 2] = [RAM, RAM + 2 * BYTES as u64];
/// Where the second region is: in the second slot.
const DATA: u64 = SLOTS[1] + 0x2000;
const KERNEL: [u8; 0x2345] = [0x5a; 0x2345];
const DTB: [u8; 3] = [1, 2, 3];

fn plan() -> Plan<'static> {
    Plan::new(vec![
        RegionLayout::unmeasured(Ipa::new(DATA), &DTB),
        RegionLayout::measured(Ipa::new(RAM), &KERNEL),
    ])
}

/// What came of a launch.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The Realm ran, and turned itself off.
    Ran,
    /// Something was refused; what, in words.
    Refused(String),
    /// The VM is dead.
    Dead(String),
}

fn refused(error: impl std::fmt::Display) -> End {
    End::Refused(error.to_string())
}

/// A step, tried once again if it can be.
fn step<S, T, E: std::fmt::Display>(
    done: Result<T, StepError<S, E>>,
    again: impl FnOnce(S) -> Result<T, StepError<S, E>>,
) -> Result<T, End> {
    let done = match done {
        Err(StepError::Refused { state, .. }) => again(state),
        done => done,
    };
    done.map_err(|error| match error {
        StepError::Refused { error, .. } => refused(error),
        StepError::Dead(error) => End::Dead(error.to_string()),
    })
}

/// Everything that a VMM does, from opening KVM to the end of the Realm.
fn launch(kernel: &FakeKernel, generation: Generation) -> Result<(), End> {
    let calls = Calls::new(kernel, generation);
    let kvm = kernel.open_kvm().map_err(refused)?;
    let realm = vm::create(&calls, kvm.as_fd(), IPA_BITS, IPA_BITS).map_err(refused)?;
    let vm = realm.vm.as_fd();
    let mut memory = RealmMemory::new(realm.geometry);
    for base in SLOTS {
        let ram = Ram::allocate(&calls, vm, Ipa::new(base), BYTES as u64).map_err(refused)?;
        memory.add(&calls, vm, ram).map_err(refused)?;
    }
    let gic = VgicConfig {
        distributor: Ipa::new(0x800_0000),
        redistributors: Ipa::new(0x80a_0000),
        vcpus: 2,
        interrupts: Some(96),
    };
    let gic = Vgic::create(&calls, vm, realm.geometry, &gic).map_err(refused)?;
    let mut vcpus = Vec::new();
    for (id, power) in [(0, Power::On), (1, Power::Off)] {
        let vcpu = RealmVcpu::create(calls, vm, Some(realm.geometry), id).map_err(refused)?;
        vcpu.init(vm, VcpuFeatures::default(), power).map_err(refused)?;
        vcpus.push(vcpu);
    }
    gic.init(&calls).map_err(refused)?;
    let boot = vcpus.first().unwrap();
    boot.set_register(Register::PC, RAM).map_err(refused)?;
    boot.set_register(Register::x(0).unwrap(), DATA).map_err(refused)?;

    let configured = Configured::new(calls, vm, memory, plan()).map_err(refused)?;
    let created = step(configured.create(), Configured::create)?;
    let populated = step(created.populate(), |created| created.populate())?;
    let all = || vcpus.iter().map(RealmVcpu::kernel_vcpu);
    let running = step(populated.activate(all()), |populated| populated.activate(all()))?;
    assert_eq!(running.memory().ranges().count(), 2);
    let boot = vcpus.first_mut().unwrap();
    loop {
        match boot.run().map_err(refused)? {
            Exit::Interrupted => {}
            Exit::System(_) => return Ok(()),
            exit => return Err(refused(format!("{exit:?}"))),
        }
    }
}

fn end(kernel: &FakeKernel, generation: Generation) -> End {
    kernel.set_guest(|_| Script::new([]));
    let end = launch(kernel, generation).map_or_else(|end| end, |()| End::Ran);
    // Whatever came of it, nothing stays open.
    assert_eq!(kernel.open_descriptors(), 0, "{generation}: {end:?}");
    end
}

#[test]
fn every_generation_launches() {
    for (generation, name) in generations() {
        assert_eq!(end(&fake(name), generation), End::Ran, "{generation}");
    }
}

#[test]
fn every_generation_is_probed() {
    for (generation, name) in generations() {
        let kernel = fake(name);
        let kvm = kernel.open_kvm().unwrap();
        let report = probe(&kernel, kvm.as_fd()).unwrap();
        if let Generation::DaV7(_) = generation {
            // Its number is not public, so no probe can know it.
            assert_eq!(report.verdict(), Verdict::Unknown, "{report}");
            assert_eq!(report.forced(generation).generation(), Some(generation));
        } else {
            assert_eq!(report.generation(), Some(generation), "{report}");
        }
        drop(kvm);
        assert_eq!(kernel.open_descriptors(), 0);
        // Nothing but what reads, and VMs.
        for call in kernel.calls() {
            let is_harmless = ["open", "KVM_CHECK_EXTENSION", "KVM_CREATE_VM"].contains(&call.name);
            assert!(is_harmless, "{}", call.name);
        }
    }
}

#[test]
fn kernels_without_realms_have_none() {
    for name in ["rme-v8", "rme-v10", "rmi-v13", "rmi-v15"] {
        let kernel = FakeKernel::without_realms(name).unwrap();
        let kvm = kernel.open_kvm().unwrap();
        let report = probe(&kernel, kvm.as_fd()).unwrap();
        assert_eq!((report.generation(), report.exit_status()), (None, 1), "{report}");
    }
}

#[test]
fn generations_of_which_too_little_is_known_are_refused() {
    // As v11 and v16 are: the steps, the type and the memory of a generation that is known, and a
    // number that is not.
    for (name, own, number, version) in
        [("rmi-v13", 248, 246, "v11"), ("rmi-v15", 251, 252, "v16"), ("rme-v10", 244, 245, "v11")]
    {
        let kernel = fake(name);
        kernel.set_capability(own, 0);
        kernel.set_capability(number, 1);
        let kvm = kernel.open_kvm().unwrap();
        let report = probe(&kernel, kvm.as_fd()).unwrap();
        assert_eq!(report.verdict(), Verdict::Unknown, "{report}");
        assert_eq!((report.generation(), report.exit_status()), (None, 2), "{report}");
        // Also when the module tells the number.
        kernel.set_parameter("kvm_cap_arm_rmi", &number.to_string());
        let report = probe(&kernel, kvm.as_fd()).unwrap();
        assert_eq!(report.verdict(), Verdict::UnknownNumber(number), "{report}");
        assert_eq!((report.generation(), report.exit_status()), (None, 2), "{report}");
        assert!(report.to_string().starts_with("not usable: "), "{report}");
        // The name alone is known, and is no generation.
        let refused = Generation::parse(version).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("the numbers of {version} are in no public source")
        );
        drop(kvm);
        assert_eq!(kernel.open_descriptors(), 0);
    }
}

#[test]
fn every_call_fails_once() {
    for (generation, name) in generations() {
        let kernel = fake(name);
        assert_eq!(end(&kernel, generation), End::Ran);
        let clean = kernel.calls();
        for (number, call) in clean.iter().enumerate() {
            for errno in [Errno::EINTR, Errno::ENOMEM, Errno::EINVAL, Errno::ENXIO, Errno::EIO] {
                let kernel = fake(name);
                kernel.fail_call(number, errno);
                let end = end(&kernel, generation);
                let failed = kernel.calls().iter().filter(|call| call.error.is_some()).count();
                assert!(failed >= 1, "{generation}: call {number} is not made");
                // A VM that runs has missed no call.
                if end == End::Ran {
                    let missed = clean.iter().find(|call| {
                        let count = |calls: &[kvm_realm::fake::CallRecord]| {
                            let same = |other: &&kvm_realm::fake::CallRecord| {
                                other.name == call.name
                                    && other.number == call.number
                                    && other.error.is_none()
                            };
                            calls.iter().filter(same).count()
                        };
                        count(&kernel.calls()) < count(&clean)
                    });
                    let is_discard = call.name == "madvise";
                    assert!(missed.is_none() || is_discard, "{generation}: {call:?} {errno}");
                }
                if let End::Dead(text) = &end {
                    let is_final = [Errno::EIO, Errno::ENXIO].contains(&errno);
                    assert!(is_final, "{generation}: {call:?} {errno}: {text}");
                }
            }
        }
    }
}

#[test]
fn a_refused_probe_is_an_error_or_a_verdict() {
    let kernel = fake("rmi-v14");
    let kvm = kernel.open_kvm().unwrap();
    probe(&kernel, kvm.as_fd()).unwrap();
    let calls = kernel.calls().len();
    for number in 1..calls {
        let kernel = fake("rmi-v14");
        let kvm = kernel.open_kvm().unwrap();
        kernel.fail_call(number, Errno::ENOMEM);
        match probe(&kernel, kvm.as_fd()) {
            // The first call says that the descriptor is one of KVM.
            Err(error) => assert_eq!((number, error.errno), (1, Errno::ENOMEM)),
            Ok(report) => assert!(report.exit_status() <= 2),
        }
    }
}

#[test]
fn a_kernel_that_populates_page_by_page_is_called_again() {
    for (generation, name) in generations() {
        let kernel = fake(name);
        kernel.set_pages_per_populate(1);
        assert_eq!(end(&kernel, generation), End::Ran, "{generation}");
    }
}

#[test]
fn population_that_fails_at_any_page_goes_on_there() {
    for (generation, name) in generations() {
        let clean = fake(name);
        assert_eq!(end(&clean, generation), End::Ran, "{generation}");
        let is_page = |call: &RmiCall| matches!(call, RmiCall::DataCreate { .. });
        let pages = clean.rmi_calls(0).iter().filter(|call| is_page(call)).count();
        for page in 0..pages {
            let kernel = fake(name);
            kernel.fail_page(page as u64, Errno::ENOMEM);
            assert_eq!(end(&kernel, generation), End::Ran, "{generation} {page}");
            assert_eq!(kernel.rmi_calls(0), clean.rmi_calls(0), "{generation} {page}");
        }
        assert!(pages > 3, "{generation}");
    }
}

#[test]
fn a_slot_of_the_vmm_has_another_number() {
    for (generation, name) in generations() {
        let kernel = fake(name);
        let calls = Calls::new(&kernel, generation);
        let kvm = kernel.open_kvm().unwrap();
        let realm = vm::create(&calls, kvm.as_fd(), 33, 33).unwrap();
        let vm = realm.vm.as_fd();
        let slot = |slot, address| MemoryRegion {
            slot,
            flags: 0,
            guest_phys_addr: address,
            bytes: 0x1000,
            host: HostMemory::map(0x1000).unwrap(),
            guest_memfd: None,
        };
        calls.set_memory_region(vm, &slot(1, 0)).unwrap();
        let mut memory = RealmMemory::new(realm.geometry);
        let ram = |base| Ram::allocate(&calls, vm, Ipa::new(base), 0x1_0000).unwrap();
        memory.add(&calls, vm, ram(RAM)).unwrap();
        let refused = memory.add(&calls, vm, ram(RAM + 0x1_0000)).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("whose number another one has"), "{generation}: {text}");
        // The number is used by what is added next, after the VMM has moved its own.
        calls.set_memory_region(vm, &MemoryRegion { bytes: 0, ..slot(1, 0) }).unwrap();
        calls.set_memory_region(vm, &slot(2, 0)).unwrap();
        memory.add(&calls, vm, refused.ram).unwrap();
        assert_eq!(memory.ranges().count(), 2);
    }
}

#[test]
fn a_vcpu_that_was_left_out_of_the_activation_cannot_run() {
    for (generation, name) in generations() {
        let kernel = fake(name);
        kernel.set_guest(|_| Script::new([]));
        let fixture::Machine { calls, vm, mut vcpus, memory } =
            fixture::Machine::new(&kernel, generation, 2, None);
        let plan = Plan::new(vec![RegionLayout::measured(Ipa::new(RAM), &[1])]);
        let configured = Configured::new(calls, vm.as_fd(), memory, plan).unwrap();
        let populated = configured.create().unwrap().populate().unwrap();
        let first = vcpus[0].kernel_vcpu();
        let running = populated.activate([first]).unwrap();
        if generation.facts().rec_feature.is_some() {
            for _ in 0..2 {
                let error = vcpus[1].run().unwrap_err().to_string();
                assert!(error.contains("EPERM"), "{generation}: {error}");
                assert!(error.ends_with("once it is active, create another VM"), "{error}");
            }
        }
        assert!(matches!(vcpus[0].run(), Ok(Exit::System(_))), "{generation}");
        drop(running);
    }
}

#[test]
fn the_ipa_width_is_the_rmms() {
    let kernel = fake("rmi-v13");
    kernel.set_ipa_limits(44, 36);
    let calls = Calls::new(&kernel, Generation::V13);
    let kvm = kernel.open_kvm().unwrap();
    let limit = vm::ipa_limit(&calls, kvm.as_fd()).unwrap();
    assert_eq!(limit, 44);
    let realm = vm::create(&calls, kvm.as_fd(), 32, limit).unwrap();
    assert_eq!(realm.geometry.ipa_width(), 36);
    let refused = vm::create(&calls, kvm.as_fd(), 37, limit).unwrap_err();
    assert!(refused.to_string().starts_with("KVM_CREATE_VM: EINVAL (v13): "), "{refused}");
}

#[test]
fn what_a_guest_shares_is_shared_in_the_kernel() {
    let shared = Action::SetRipas { base: RAM, top: RAM + 0x1000, ram: false };
    let kernel = fake("rmi-v14");
    kernel.set_guest(move |_| Script::new([shared]));
    let machine = fixture::Machine::new(&kernel, Generation::V14, 1, None);
    machine.launched(|running, vcpus| {
        let exit = vcpus.first_mut().unwrap().run().unwrap();
        let Exit::MemoryFault { fault, .. } = exit else { panic!("{exit:?}") };
        assert!(running.convert(0, fault).is_ok());
        assert!(!kernel.is_private(0, RAM) && kernel.is_private(0, RAM + 0x1000));
    });
}
