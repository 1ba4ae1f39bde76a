//! Optional features of vCPUs: SVE with its vectors, and the PMU.

use std::os::fd::AsFd;

use kvm_realm::calls::Calls;
use kvm_realm::error::Operation;
use kvm_realm::launch::{Configured, Created, Plan};
use kvm_realm::memory::{Ram, RealmMemory};
use kvm_realm::pmu::PmuPpi;
use kvm_realm::vcpu::{Power, RealmVcpu, Sve, VcpuFeatures};
use kvm_realm::{Kernel, vm};
use realm_measurement::RegionLayout;
use rmi_abi::Ipa;

use super::*;

#[test]
fn vectors_are_those_of_the_machine_up_to_the_longest_that_is_wanted() {
    for (generation, name) in generations() {
        // The machine has 1, 2, 4, 8 and 16 quadwords.
        for (sve, longest) in [
            (Sve::All, 16),
            (Sve::UpTo(16), 16),
            (Sve::UpTo(15), 8),
            (Sve::UpTo(4), 4),
            (Sve::UpTo(3), 2),
            (Sve::UpTo(1), 1),
        ] {
            let kernel = fake(name);
            let features = VcpuFeatures { sve, ..VcpuFeatures::default() };
            let machine = Machine::with_features(&kernel, generation, 2, None, features);
            for vcpu in &machine.vcpus {
                assert_eq!(vcpu.longest_vector(), Ok(longest), "{generation}: {sve:?}");
            }
            machine.launched(|_, vcpus| assert_eq!(vcpus[0].run(), Ok(OFF), "{generation}"));
        }
        let kernel = fake(name);
        let machine = Machine::new(&kernel, generation, 1, None);
        let error = machine.vcpus[0].longest_vector().unwrap_err();
        assert_eq!((error.operation, error.errno), (Operation::GetRegister, Errno::ENOENT));
        // Without any vector, there is no SVE, and a Realm has up to 16.
        let vcpu = &machine.vcpus[0];
        for quadwords in [0, 17, 255] {
            let features = VcpuFeatures { sve: Sve::UpTo(quadwords), ..VcpuFeatures::default() };
            let before = kernel.calls().len();
            let error = vcpu.init(machine.vm.as_fd(), features, Power::On).unwrap_err();
            assert_eq!(
                (error.operation, error.errno),
                (Operation::InitVcpu, Errno::EINVAL),
                "{generation}"
            );
            assert!(error.meaning().contains("vector lengths"), "{error}");
            assert_eq!(kernel.calls().len(), before, "{generation}");
        }
    }
}

#[test]
fn each_call_of_the_vectors_can_fail() {
    let features = VcpuFeatures { sve: Sve::UpTo(2), ..VcpuFeatures::default() };
    for (fail, operation) in [
        (0, Operation::PreferredTarget),
        (1, Operation::InitVcpu),
        (2, Operation::GetRegister),
        (3, Operation::SetRegister),
        (4, Operation::FinalizeVcpu),
    ] {
        let kernel = fake("rmi-v14");
        let kvm = kernel.open_kvm().unwrap();
        let calls = Calls::new(&kernel, Generation::V14);
        let realm = vm::create(&calls, kvm.as_fd(), 33, 33).unwrap();
        let vm = realm.vm.as_fd();
        let vcpu = RealmVcpu::create(calls, vm, Some(realm.geometry), 0).unwrap();
        kernel.fail_call(kernel.calls().len() + fail, Errno::ENOMEM);
        let error = vcpu.init(vm, features, Power::On).unwrap_err();
        assert_eq!((error.operation, error.errno), (operation, Errno::ENOMEM));
    }
}

#[test]
fn a_pmu_is_set_up_after_the_gic_where_realms_have_one() {
    let features = VcpuFeatures { pmu: true, ..VcpuFeatures::default() };
    for (generation, name) in generations() {
        let kernel = fake(name);
        if !generation.facts().pmu {
            let machine = Machine::new(&kernel, generation, 1, None);
            let calls = kernel.calls().len();
            let refused = machine.vcpus[0].init(machine.vm.as_fd(), features, Power::On);
            assert_eq!(refused.unwrap_err().errno, Errno::ENOENT, "{generation}");
            assert_eq!(kernel.calls().len(), calls, "{generation}");
            // An ordinary VM can have it.
            let plain =
                RealmVcpu::open(machine.calls, AsFd::as_fd(machine.vcpus[0].kernel_vcpu()), None);
            let refused = plain.unwrap().init(machine.vm.as_fd(), features, Power::On);
            assert_eq!(refused.unwrap_err().operation, Operation::InitVcpu);
            assert_eq!(kernel.calls().len(), calls + 2, "{generation}");
            continue;
        }
        let machine = Machine::with_features(&kernel, generation, 2, None, features);
        let [first, second] = &machine.vcpus[..] else { panic!("two vCPUs") };
        let init = |vcpu: &RealmVcpu<'_, _>, ppi: PmuPpi| {
            ppi.init(&machine.calls, AsFd::as_fd(vcpu.kernel_vcpu())).map_err(|error| error.errno)
        };
        assert_eq!(init(first, PmuPpi(15)), Err(Errno::EINVAL), "{generation}");
        assert_eq!(init(first, PmuPpi::RECOMMENDED), Ok(()), "{generation}");
        assert_eq!(init(first, PmuPpi::RECOMMENDED), Err(Errno::EBUSY), "{generation}");
        assert_eq!(init(second, PmuPpi(24)), Err(Errno::EINVAL), "{generation}");
        assert_eq!(init(second, PmuPpi::RECOMMENDED), Ok(()), "{generation}");
        machine.launched(|_, vcpus| assert_eq!(vcpus[0].run(), Ok(OFF), "{generation}"));

        // Without that, no vCPU runs.
        let kernel = fake(name);
        let machine = Machine::with_features(&kernel, generation, 1, None, features);
        machine.launched(|_, vcpus| {
            let Err(RunError::Call(error)) = vcpus[0].run() else { panic!("{generation}") };
            assert_eq!((error.operation, error.errno), (Operation::FirstRun, Errno::EINVAL));
        });
    }
}

#[test]
fn vcpus_have_the_same_vectors() {
    for (generation, name) in generations() {
        let kernel = fake(name);
        let calls = Calls::new(&kernel, generation);
        let kvm = kernel.open_kvm().unwrap();
        let realm = vm::create(&calls, kvm.as_fd(), 33, 33).unwrap();
        let vm = realm.vm.as_fd();
        for (id, sve) in [(0, Sve::All), (1, Sve::UpTo(1))] {
            let vcpu = RealmVcpu::create(calls, vm, Some(realm.geometry), id).unwrap();
            let features = VcpuFeatures { sve, ..VcpuFeatures::default() };
            vcpu.init(vm, features, Power::On).unwrap();
        }
        let mut memory = RealmMemory::new(realm.geometry);
        memory.add(&calls, vm, Ram::allocate(&calls, vm, Ipa::new(RAM), 0x1000).unwrap()).unwrap();
        let plan = Plan::new(vec![RegionLayout::measured(Ipa::new(RAM), &[1])]);
        let created = Configured::new(calls, vm, memory, plan).unwrap().create();
        let refused = match created.map(Created::populate) {
            Ok(populated) => populated.unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(refused.contains("EINVAL"), "{generation}: {refused}");
    }
}

#[test]
fn a_pmu_with_the_interrupt_of_a_timer_does_not_run() {
    let features = VcpuFeatures { pmu: true, ..VcpuFeatures::default() };
    for (generation, name) in generations() {
        for (ppi, runs) in [(27, false), (30, false), (28, true)] {
            if !generation.facts().pmu {
                continue;
            }
            let kernel = fake(name);
            let machine = Machine::with_features(&kernel, generation, 1, None, features);
            let vcpu = AsFd::as_fd(machine.vcpus[0].kernel_vcpu());
            PmuPpi(ppi).init(&machine.calls, vcpu).unwrap();
            machine.launched(|_, vcpus| match vcpus[0].run() {
                Err(RunError::Call(error)) => {
                    assert_eq!(
                        (error.operation, error.errno),
                        (Operation::FirstRun, Errno::EINVAL)
                    );
                    assert!(error.meaning().starts_with("timers and PMU"), "{error}");
                    assert!(!runs, "{generation} {ppi}");
                }
                exit => assert_eq!((exit, runs), (Ok(OFF), true), "{generation} {ppi}"),
            });
        }
    }
}
