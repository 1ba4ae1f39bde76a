//! Private pages that the kernel cannot get.

use std::os::fd::AsFd;

use kvm_realm::Errno;
use kvm_realm::error::Operation;
use kvm_realm::exit::Exit;
use kvm_realm::fake::{Action, Script};
use kvm_realm::generation::{Generation, Steps};
use kvm_realm::launch::{Configured, Plan};
use kvm_realm::vcpu::{RealmVcpu, RunError};
use realm_measurement::RegionLayout;
use rmi_abi::Ipa;

use crate::fixture::{Machine, RAM, SHARED, fake, generations};

#[test]
fn private_memory_goes_with_what_owns_it() {
    for (generation, name) in generations() {
        let kernel = fake(name);
        let exit = Action::MmioStore(SHARED, 1, 1);
        kernel.set_guest(move |_| Script::new([Action::Load(RAM), exit, Action::Load(RAM), exit]));
        let machine = Machine::new(&kernel, generation, 1, None);
        let Machine { calls, vm, mut vcpus, memory } = machine;
        let content = [1; 0x1000];
        let plan = Plan::new(vec![RegionLayout::measured(Ipa::new(RAM), &content)]);
        let configured = Configured::new(calls, vm.as_fd(), memory, plan).unwrap();
        let populated = configured.create().unwrap().populate().unwrap();
        let running = populated.activate(vcpus.iter().map(RealmVcpu::kernel_vcpu)).unwrap();
        let vcpu = &mut vcpus[0];
        assert!(matches!(vcpu.run(), Ok(Exit::MmioStore(_))), "{generation}");
        drop(running);
        for _ in 0..2 {
            match vcpu.run() {
                Err(RunError::Call(error)) if generation.facts().steps == Steps::Actions => {
                    assert_eq!((error.operation, error.errno), (Operation::Run, Errno::EFAULT));
                }
                Ok(Exit::MemoryFault { fault, returned_zero: false }) => {
                    let found = (fault.to_private, fault.gpa, fault.bytes);
                    assert_eq!(found, (false, RAM, 0x1000), "{generation}");
                }
                other => panic!("{generation}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_request_that_is_carried_out_in_part_goes_on() {
    for pages in 0..3 {
        let kernel = fake("rme-v5..v7");
        let (base, top) = (RAM + 0x4000, RAM + 0x6000);
        kernel.set_guest(move |_| Script::new([Action::SetRipas { base, top, ram: false }]));
        let machine = Machine::new(&kernel, Generation::V5ToV7, 1, None);
        machine.launched(|running, vcpus| {
            kernel.set_ripas_pages(pages);
            let mut reported = Vec::new();
            let end = loop {
                match vcpus[0].run() {
                    Ok(Exit::MemoryFault { fault, returned_zero: true }) => {
                        reported.push((fault.gpa, fault.bytes));
                        running.convert(0, fault).unwrap();
                    }
                    end => break end,
                }
            };
            assert!(matches!(end, Ok(Exit::System(_))), "{end:?}");
            let rest = (base + (pages << 12), (2 - pages) << 12);
            let expected = [(base, pages << 12), rest];
            assert_eq!(reported, expected[..if pages == 2 { 1 } else { 2 }]);
            for page in [base, base + 0x1000] {
                assert!(!kernel.is_private(0, page), "{pages}");
            }
            assert!(kernel.is_private(0, top));
        });
    }
}
