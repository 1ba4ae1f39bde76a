//! vCPUs of Realms on the fake kernel of each generation.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod features;
mod fixture;
mod lost_pages;
mod random;

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::time::Duration;

use fixture::{Machine, RAM, SHARED, fake, generations, on_each};
use kvm_realm::Errno;
use kvm_realm::error::Operation;
use kvm_realm::exit::{
    DeviceMapping, Exit, Hypercall, MmioLoad, MmioStore, PsciCall, SystemEvent, SystemEventKind,
};
use kvm_realm::fake::{Action, Outcome, Script};
use kvm_realm::generation::{Generation, Steps};
use kvm_realm::memory::{Converted, MemoryFault, Sides};
use kvm_realm::registers::Register;
use kvm_realm::vcpu::{AnswerError, NotAnExit, PsciAnswer, RunError};
use rmi_abi::{Ipa, IpaRange};

const OFF: Exit = Exit::System(SystemEvent { kind: SystemEventKind::Shutdown, first: 0 });

fn fault(to_private: bool, gpa: u64, bytes: u64) -> MemoryFault {
    MemoryFault { to_private, gpa, bytes, after_other_exit: false }
}

#[test]
fn devices_are_in_the_lower_half_and_a_forgotten_answer_is_zero() {
    let program = |_| {
        let (sender, receiver) = mpsc::channel();
        sender.send(Action::MmioStore(SHARED + 0x900_0000, 0x1234, 2)).unwrap();
        let mut loads = [Some(0x5678), Some(0), None].into_iter();
        move |outcome: Outcome| {
            if let Outcome::Value(value) = outcome {
                assert_eq!(Some(Some(value)), loads.next());
            }
            match receiver.try_recv() {
                Ok(action) => action,
                Err(_) if loads.len() > 1 => Action::MmioLoad(SHARED + 0x900_0018, 4),
                Err(_) => Action::SystemOff,
            }
        }
    };
    on_each(program, 1, |generation, _, vcpus| {
        let vcpu = &mut vcpus[0];
        let store = MmioStore { address: 0x900_0000, bytes: 2, value: 0x1234 };
        assert_eq!(vcpu.run(), Ok(Exit::MmioStore(store)), "{generation}");
        assert_eq!(vcpu.answer_load(1), Err(NotAnExit));
        let load = MmioLoad { address: 0x900_0018, bytes: 4 };
        assert_eq!(vcpu.run(), Ok(Exit::MmioLoad(load)), "{generation}");
        assert_eq!(vcpu.answer_load(0xffff_ffff_0000_5678), Ok(()));
        assert_eq!(vcpu.run(), Ok(Exit::MmioLoad(load)), "{generation}");
        assert_eq!(vcpu.run(), Ok(OFF), "{generation}");
    });
}

#[test]
fn what_the_guest_shares_is_converted() {
    let program = |_| {
        let ask = |ram| Action::SetRipas { base: RAM + 0x4000, top: RAM + 0x6000, ram };
        let mut steps = 0;
        move |outcome: Outcome| {
            steps += 1;
            match (steps, outcome) {
                // Some kernels leave it to the guest to make its memory RAM.
                (1, Outcome::Started(RAM, 0)) => ask(true),
                (2, Outcome::Done) => Action::Store(RAM + 0x4000, 7),
                (3, Outcome::Done) => ask(false),
                (4, Outcome::Done) => Action::Load(RAM + 0x4000),
                (5, Outcome::Aborted) => Action::Load(SHARED + RAM + 0x5000),
                (6, Outcome::Value(0)) => ask(true),
                (7, Outcome::Done) => Action::Load(RAM + 0x4000),
                // What was private before has gone with its sharing.
                (8, Outcome::Value(0)) => Action::SystemOff,
                wrong => panic!("{wrong:?}"),
            }
        }
    };
    on_each(program, 1, |generation, running, vcpus| {
        let returned_zero = generation == Generation::V5ToV7;
        for (to_private, expected) in [
            (true, Converted::AsItWas),
            (false, Converted::Done { bytes: 0x2000 }),
            (true, Converted::Done { bytes: 0x2000 }),
        ] {
            let fault = fault(to_private, RAM + 0x4000, 0x2000);
            let exit = vcpus[0].run();
            assert_eq!(exit, Ok(Exit::MemoryFault { fault, returned_zero }), "{generation}");
            assert_eq!(running.convert(0, fault), Ok(expected), "{generation}");
        }
        assert_eq!(vcpus[0].run(), Ok(OFF), "{generation}");
    });
}

#[test]
fn the_other_vcpu_starts_and_a_realm_that_is_off_stops_all() {
    let program = |id| {
        let mut steps = 0;
        move |outcome: Outcome| {
            steps += 1;
            match (id, steps, outcome) {
                (0, 1, _) => Action::CpuOn(1, RAM + 0x1000, 5),
                (0, 2, Outcome::Psci(0)) => Action::NotYetOn,
                (0, 3, Outcome::Done) => Action::NotYetOn,
                (0, 4, Outcome::Done) => Action::Interrupted,
                (0, 5, Outcome::Done) => Action::SystemReset,
                (1, 1, Outcome::Started(at, 5)) if at == RAM + 0x1000 => Action::Interrupted,
                wrong => panic!("{wrong:?}"),
            }
        }
    };
    on_each(program, 2, |generation, _, vcpus| {
        let [first, second] = vcpus else { panic!("two vCPUs") };
        assert_eq!((first.affinity(), second.affinity()), (Ok(0), Ok(1)));
        for times in [1, 2] {
            match first.run() {
                Ok(exit) => assert_eq!(exit, Exit::Again { times }, "{generation}"),
                Err(RunError::Call(error)) => {
                    assert_eq!(generation.facts().exits.not_entered, Errno::ENXIO);
                    assert_eq!((error.errno, error.is_final()), (Errno::ENXIO, true));
                    assert!(RunError::Call(error).is_final());
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(second.run(), Ok(Exit::Interrupted), "{generation}");
        assert_eq!(first.run(), Ok(Exit::Interrupted), "{generation}");
        let reset = SystemEvent { kind: SystemEventKind::Reset, first: 0 };
        assert_eq!(first.run(), Ok(Exit::System(reset)), "{generation}");
        assert_eq!(second.run(), Ok(Exit::Off), "{generation}");

        // From here on, only a kick ends a run.
        let kick = second.kick().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                assert!(!kick.is_set());
                kick.set();
            });
            assert_eq!(second.run(), Ok(Exit::Interrupted), "{generation}");
        });
        assert!(kick.is_set());
        assert_eq!(second.run(), Ok(Exit::Interrupted), "{generation}");
        kick.clear();
        assert!(!kick.is_set());
    });
}

#[test]
fn psci_of_the_vmm_is_completed_before_a_vcpu_runs() {
    for (generation, name) in generations() {
        if generation.facts().psci_complete.is_none() {
            continue;
        }
        let kernel = fake(name);
        kernel.set_guest(|id| match id {
            0 => Script::new([
                Action::CpuOn(1, RAM, 5),
                Action::CpuOn(1, RAM, 5),
                Action::MmioStore(SHARED, 0, 1),
            ]),
            _ => Script::new([Action::MmioStore(SHARED + 4, 0, 1), Action::CpuOff]),
        });
        let psci = Some((0xc400_0000, 0x20));
        Machine::new(&kernel, generation, 2, psci).launched(|_, vcpus| {
            let [first, second] = vcpus else { panic!("two vCPUs") };
            let on = PsciCall::CpuOn { target_mpidr: 1, entry: RAM, context_id: 5 };
            for (times, answer) in [(1, PsciAnswer::Denied), (2, PsciAnswer::Success)] {
                let Ok(Exit::Hypercall(call)) = first.run() else { panic!("{generation}") };
                assert_eq!(call.psci(), Some(on), "{generation}");
                let refused = RunError::PsciNotCompleted { target_mpidr: 1 };
                assert!(!refused.is_final());
                assert_eq!(first.run(), Err(refused), "{generation}");
                // The other is not on yet, as the RMM has it.
                match second.run() {
                    Ok(exit) => assert_eq!(exit, Exit::Again { times }, "{generation}"),
                    Err(RunError::Call(error)) => assert_eq!(error.errno, Errno::ENXIO),
                    Err(error) => panic!("{error}"),
                }
                assert_eq!(first.complete_psci(answer), Ok(()), "{generation}");
                assert_eq!(first.complete_psci(answer), Err(NotAnExit.into()), "{generation}");
            }
            let store = |address| Exit::MmioStore(MmioStore { address, bytes: 1, value: 0 });
            assert_eq!(second.run(), Ok(store(4)), "{generation}");
            assert_eq!(first.run(), Ok(store(0)), "{generation}");
        });
    }
    // Where the kernel has PSCI, there is nothing to complete.
    let kernel = fake("rmi-v14");
    Machine::new(&kernel, Generation::V14, 1, None).launched(|_, vcpus| {
        assert_eq!(vcpus[0].complete_psci(PsciAnswer::Success), Err(NotAnExit.into()));
    });
}

#[test]
fn hypercalls_have_their_registers_and_are_refused_without_an_answer() {
    for (generation, name) in generations() {
        let kernel = fake(name);
        kernel.set_guest(|_| {
            let mut steps = 0;
            move |outcome: Outcome| {
                steps += 1;
                match (steps, outcome) {
                    (1, _) => Action::Hypercall([0xc500_004b, 1, 2, 3, 4, 5, 6]),
                    (2, Outcome::Registers([u64::MAX, 1, 2, 3])) => {
                        Action::Hypercall([0xc500_004c, 1, 2, 3, 4, 5, 6])
                    }
                    (3, Outcome::Registers([7, 8, 9, 10])) => Action::SystemOff,
                    wrong => panic!("{wrong:?}"),
                }
            }
        });
        Machine::new(&kernel, generation, 1, Some((0xc500_0000, 0x100))).launched(|_, vcpus| {
            let vcpu = &mut vcpus[0];
            let arguments = [1, 2, 3, 4, 5, 6, 0];
            for function in [0xc500_004b, 0xc500_004c] {
                let call = Hypercall { function, flags: 0, arguments };
                assert_eq!(call.psci(), None);
                assert_eq!(vcpu.run(), Ok(Exit::Hypercall(call)), "{generation}");
            }
            assert_eq!(vcpu.accept_mapping(), Err(NotAnExit));
            assert_eq!(vcpu.answer_hypercall([7, 8, 9, 10]), Ok(()));
            assert_eq!(vcpu.run(), Ok(OFF), "{generation}");
            assert_eq!(vcpu.answer_hypercall([0; 4]), Err(AnswerError::NotAnExit(NotAnExit)));
        });
    }
}

#[test]
fn a_hypercall_whose_registers_cannot_be_read_is_refused() {
    for (generation, name) in generations() {
        // The run, X0, and X1 to X7.
        for fail in 1..=8 {
            let kernel = fake(name);
            kernel.set_guest(|_| {
                let mut steps = 0;
                move |outcome: Outcome| {
                    steps += 1;
                    match (steps, outcome) {
                        (1, _) => Action::Hypercall([0xc500_004b, 1, 2, 3, 4, 5, 6]),
                        (2, Outcome::Registers([u64::MAX, 1, 2, 3])) => Action::SystemOff,
                        wrong => panic!("{wrong:?}"),
                    }
                }
            });
            let machine = Machine::new(&kernel, generation, 1, Some((0xc500_0000, 0x100)));
            machine.launched(|_, vcpus| {
                let vcpu = &mut vcpus[0];
                kernel.fail_call(kernel.calls().len() + fail, Errno::ENOMEM);
                let Err(RunError::Call(error)) = vcpu.run() else { panic!("{generation}: {fail}") };
                assert_eq!(error.errno, Errno::ENOMEM);
                assert_eq!(vcpu.answer_hypercall([0; 4]), Err(AnswerError::NotAnExit(NotAnExit)));
                if fail > 1 {
                    assert_eq!(vcpu.run(), Ok(OFF), "{generation}: {fail}");
                }
            });
        }
    }
}

#[test]
fn a_mapping_of_a_device_is_rejected_without_an_answer() {
    let (generation, name) = generations().pop().unwrap();
    let kernel = fake(name);
    kernel.set_guest(|_| {
        let mut answers = [Outcome::Validated(false), Outcome::Validated(true)].into_iter();
        move |outcome: Outcome| match outcome {
            Outcome::Started(..) => Action::ValidateMapping(3, RAM, RAM + 0x1000, 0x4000_0000),
            outcome if Some(outcome) == answers.next() => match answers.len() {
                0 => Action::SystemOff,
                _ => Action::ValidateMapping(3, RAM, RAM + 0x1000, 0x4000_0000),
            },
            wrong => panic!("{wrong:?}"),
        }
    });
    Machine::new(&kernel, generation, 1, None).launched(|_, vcpus| {
        let mapping = Exit::DeviceMapping(DeviceMapping {
            flags: 0,
            number: 8,
            device: 3,
            base: RAM,
            top: RAM + 0x1000,
            physical: 0x4000_0000,
        });
        assert_eq!(vcpus[0].run(), Ok(mapping));
        assert_eq!(vcpus[0].run(), Ok(mapping));
        assert_eq!(vcpus[0].accept_mapping(), Ok(()));
        assert_eq!(vcpus[0].run(), Ok(OFF));
    });
}

#[test]
fn exit_44_of_other_kernels_is_not_answered() {
    let words = [1, 2, 3, 4];
    let program = move |_| Script::new([Action::Exit(44, words)]);
    on_each(program, 1, |generation, _, vcpus| {
        let exit = vcpus[0].run().unwrap();
        let has_it = matches!(generation, Generation::DaV7(_));
        assert_eq!(matches!(exit, Exit::DeviceMapping(_)), has_it, "{generation}");
        // The response is after the six words of the exit.
        let page = vcpus[0].kernel_vcpu().as_fd().try_clone_to_owned().unwrap();
        let mut response = [9; 8];
        File::from(page).read_exact_at(&mut response, 80).unwrap();
        assert_eq!(response, [if has_it { 0xff } else { 0 }; 8], "{generation}");
        if !has_it {
            assert_eq!(exit, Exit::Unknown { reason: 44, words: [1, 2, 3, 4, 0, 0, 0] });
            assert_eq!(vcpus[0].accept_mapping(), Err(NotAnExit), "{generation}");
        }
        assert_eq!(vcpus[0].run(), Ok(OFF), "{generation}");
    });
}

#[test]
fn an_old_fault_is_not_taken_for_a_new_one() {
    let kernel = fake("rmi-v14");
    let fault = fault(false, RAM, 0x1000);
    kernel.set_guest(|_| Script::new([Action::ExitWithFault(39, [0, RAM, 0x1000, 0])]));
    Machine::new(&kernel, Generation::V14, 1, None).launched(|_, vcpus| {
        let first = vcpus[0].run();
        assert_eq!(first, Ok(Exit::MemoryFault { fault, returned_zero: false }));
        let calls = kernel.calls().len();
        kernel.fail_call(calls, Errno::EFAULT);
        let Err(RunError::Call(error)) = vcpus[0].run() else { panic!("a fault without an exit") };
        assert!(!RunError::Call(error).is_final());
        assert_eq!(error.errno, Errno::EFAULT);
        assert_eq!(vcpus[0].run(), Ok(OFF));
    });
}

#[test]
fn a_repeated_fault_is_refused_unless_the_vcpu_has_left_for_another_reason() {
    let kernel = fake("rmi-v14");
    let fault = fault(true, RAM, 0x1000);
    let ask = Action::ExitWithFault(39, [8, RAM, 0x1000, 0]);
    kernel.set_guest(move |_| Script::new([ask, Action::Interrupted, ask, ask]));
    Machine::new(&kernel, Generation::V14, 1, None).launched(|running, vcpus| {
        let vcpu = &mut vcpus[0];
        let exit = Ok(Exit::MemoryFault { fault, returned_zero: false });
        assert_eq!(vcpu.run(), exit);
        assert_eq!(running.convert(0, fault), Ok(Converted::AsItWas));
        assert_eq!(vcpu.run(), Ok(Exit::Interrupted));
        running.has_progressed(0);
        assert_eq!(vcpu.run(), exit);
        assert_eq!(running.convert(0, fault), Ok(Converted::AsItWas));
        assert_eq!(vcpu.run(), exit);
        assert!(running.convert(0, fault).unwrap_err().to_string().contains("asks again"));
    });
}

#[test]
fn the_same_request_after_another_exit_is_a_fresh_one() {
    let ask = Action::SetRipas { base: RAM + 0x4000, top: RAM + 0x6000, ram: true };
    let program = move |_| Script::new([ask, Action::MmioStore(SHARED, 1, 1), ask]);
    on_each(program, 1, |generation, running, vcpus| {
        let (mut faults, mut stores) = (Vec::new(), 0);
        loop {
            match vcpus[0].run().unwrap() {
                Exit::MemoryFault { fault, .. } => {
                    faults.push(fault.after_other_exit);
                    let converted = running.convert(0, fault);
                    assert_eq!(converted, Ok(Converted::AsItWas), "{generation}");
                }
                Exit::MmioStore(_) => stores += 1,
                exit => break assert_eq!(exit, OFF, "{generation}"),
            }
        }
        assert_eq!((faults, stores), (vec![false, true], 1), "{generation}");
    });
}

#[test]
fn requests_that_the_kernel_has_no_memory_for_are_run_again() {
    let nothing = Action::Exit(39, [8, RAM + 0x4000, 0, 0]);
    let program = move |_| Script::new([nothing; 20]);
    on_each(program, 1, |generation, running, vcpus| {
        for times in 0..17 {
            let exit = vcpus[0].run().unwrap();
            let Exit::MemoryFault { fault, .. } = exit else { panic!("{exit:?}") };
            let converted = running.convert(0, fault);
            assert_eq!(converted.is_ok(), times < 16, "{generation} {times}");
        }
    });
}

#[test]
fn exits_that_end_a_vm_are_told_from_others() {
    for (generation, name) in generations() {
        let kernel = fake(name);
        kernel.set_guest(|_| Script::new([Action::Exit(77, [1, 2, 3, 4]), Action::UnknownExit]));
        Machine::new(&kernel, generation, 1, None).launched(|_, vcpus| {
            let vcpu = &mut vcpus[0];
            let unknown = Exit::Unknown { reason: 77, words: [1, 2, 3, 4, 0, 0, 0] };
            assert_eq!(vcpu.run(), Ok(unknown), "{generation}");
            assert!(matches!(vcpu.run(), Ok(Exit::InternalError { .. })), "{generation}");
            let is_newest = matches!(generation, Generation::Tree2026_09 | Generation::DaV7(_));
            match vcpu.run() {
                Ok(exit) => assert!(exit == OFF && !is_newest, "{generation}"),
                Err(RunError::Call(error)) => {
                    assert!(is_newest, "{generation}");
                    assert_eq!((error.errno, error.is_final()), (Errno::EIO, true));
                }
                Err(error) => panic!("{error}"),
            }
        });
    }
}

#[test]
fn a_broken_page_is_an_error_and_stays_where_it_is() {
    let program = |_| {
        move |outcome: Outcome| match outcome {
            Outcome::Started(..) => Action::MmioStore(SHARED, 1, 1),
            _ => Action::Poisoned(RAM + 0x2000),
        }
    };
    on_each(program, 1, |generation, running, vcpus| {
        assert!(matches!(vcpus[0].run(), Ok(Exit::MmioStore(_))), "{generation}");
        for _ in 0..2 {
            let Err(RunError::Call(error)) = vcpus[0].run() else { panic!("{generation}") };
            assert_eq!((error.operation, error.errno), (Operation::Run, Errno::EHWPOISON));
            assert!(error.is_final(), "{generation}");
        }
        let page = IpaRange::with_size(Ipa::new(RAM + 0x2000), 0x1000).unwrap();
        assert_eq!(running.memory().sides(page), Sides::Private, "{generation}");
    });
}

#[test]
fn only_the_first_run_of_a_vcpu_ends_a_vm_that_lacks_memory() {
    for (generation, name) in generations() {
        let is_implicit = generation.facts().steps == Steps::Implicit;
        for first in [true, false] {
            let kernel = fake(name);
            kernel.set_guest(|_| Script::new([Action::MmioStore(SHARED, 1, 1)]));
            Machine::new(&kernel, generation, 1, None).launched(|_, vcpus| {
                if !first {
                    assert!(matches!(vcpus[0].run(), Ok(Exit::MmioStore(_))), "{generation}");
                }
                kernel.fail_call(kernel.calls().len(), Errno::ENOMEM);
                let Err(RunError::Call(error)) = vcpus[0].run() else { panic!("{generation}") };
                assert_eq!(error.errno, Errno::ENOMEM);
                assert_eq!(error.is_final(), first && is_implicit, "{generation} {first}");
            });
        }
    }
}

#[test]
fn registers_are_those_that_the_generation_has() {
    for (generation, name) in generations() {
        let kernel = fake(name);
        let machine = Machine::new(&kernel, generation, 1, None);
        let vcpu = &machine.vcpus[0];
        let set = |number| vcpu.set_register(Register::x(number).unwrap(), 9);
        assert_eq!((set(0), set(7)), (Ok(()), Ok(())), "{generation}");
        assert_eq!(set(8).is_ok(), generation.facts().steps == Steps::Implicit, "{generation}");
        assert_eq!(vcpu.register(Register::x(7).unwrap()), Ok(9));
        assert_eq!(vcpu.register(Register::PC), Ok(RAM));
        let again = kvm_realm::vcpu::RealmVcpu::open(
            machine.calls,
            std::os::fd::AsFd::as_fd(vcpu.kernel_vcpu()),
            None,
        );
        assert_eq!(again.unwrap().register(Register::PC), Ok(RAM));
    }
}
