//! Every call fails once, at every stage: launch, conversions, vCPUs, PSCI, the end.

use kvm_realm::fake::CallRecord;

use super::*;

/// What an error of a call says it was: parts of [`Operation::name`], by what the kernel calls it.
///
/// [`Operation::name`]: kvm_realm::error::Operation::name
fn names(call: &CallRecord) -> &'static [&'static str] {
    match call.name {
        "open" => &["/dev/kvm"],
        "ioctl" => &[
            "population",
            "initialisation of RIPAS",
            "KVM_SET_MEMORY_ATTRIBUTES2",
            "completion of a PSCI call",
        ],
        "KVM_ENABLE_CAP" => &["KVM_ENABLE_CAP", "population", "initialisation of RIPAS"],
        "fallocate" => &["fallocate of a guest_memfd"],
        "madvise" => &["madvise of shared memory"],
        _ => &[],
    }
}

/// Boots with each call failing in turn, and judges what is reported.
fn fail_each(generation: Generation, kernel: &FakeKernel, options: &Options, errnos: &[Errno]) {
    let style = Style::new(generation, options.vcpus);
    kernel.set_guest(move |vcpu| program(vcpu, style));
    let before = kernel.calls().len();
    assert!(boot(kernel, options).0.unwrap().is_orderly());
    let clean: Vec<_> = kernel.calls().split_off(before);
    // A launch, a conversion to each side, and the end.
    for name in ["KVM_CREATE_VM", "KVM_CREATE_GUEST_MEMFD", "KVM_CREATE_VCPU", "KVM_RUN"] {
        assert!(clean.iter().any(|call| call.name == name), "{generation}: {name}");
    }
    for errno in errnos.iter().copied() {
        for number in 0..clean.len() {
            let before = kernel.calls().len();
            kernel.fail_call(before + number, errno);
            let (report, _) = boot(kernel, options);
            let calls = kernel.calls().split_off(before);
            // Several vCPUs do not make the same number of calls each time.
            let Some(failed) = calls.get(number) else {
                assert!(options.vcpus > 1, "{generation}: call {number} is not made");
                continue;
            };
            assert_eq!(failed.error, Some(errno), "{generation}: {failed:?}");
            let (text, is_ended) = match report {
                Ok(report) => match report.end {
                    End::Stopped(_, why) => (why, false),
                    _ => (String::new(), true),
                },
                Err(error) => (error.to_string(), false),
            };
            let what = format!("{generation}: {failed:?}: {text}");
            assert_eq!(kernel.open_descriptors(), 0, "{what}");
            if is_ended {
                // What is read for the prediction alone, and the level of the console's interrupt,
                // are not needed; KVM_RUN is called again when it is interrupted.
                let is_needed = match failed.name {
                    "KVM_GET_ONE_REG" | "KVM_IRQ_LINE" => false,
                    "KVM_RUN" => ![Errno::EINTR, Errno::EAGAIN].contains(&errno),
                    // Memory that is no file is discarded in the other way.
                    "madvise" => errno != Errno::EINVAL,
                    // v5 has no such feature, and says so by that.
                    "KVM_ARM_VCPU_INIT" => {
                        errno != Errno::ENOENT || generation != Generation::V5ToV7
                    }
                    _ => true,
                };
                // Where there are several vCPUs, another may have ended the VM before.
                let is_late = options.vcpus > 1
                    && calls.iter().take(number).any(|call| call.name == "KVM_RUN");
                assert!(!is_needed || is_late, "{what}");
                continue;
            }
            // The call, the error number, and what it means in this generation.
            let is_named =
                text.contains(failed.name) || names(failed).iter().any(|name| text.contains(name));
            assert!(is_named, "{what}");
            let number = errno.name().unwrap();
            if failed.name == "open" {
                assert!(text.contains(number), "{what}");
                continue;
            }
            let said = text.split_once(&format!(": {number} ({generation}): "));
            assert!(said.is_some_and(|(_, meaning)| meaning.contains("; ")), "{what}");
        }
    }
}

#[test]
fn every_call_fails_once_on_every_generation() {
    for (generation, kernel) in kernels() {
        let errnos = [Errno::ENOMEM, Errno::EIO];
        fail_each(generation, &kernel, &options(generation, 1), &errnos);
    }
}

#[test]
fn every_call_is_refused_once_on_every_generation() {
    for (generation, kernel) in kernels() {
        let errnos = [Errno::EINVAL, Errno::EFAULT];
        fail_each(generation, &kernel, &options(generation, 1), &errnos);
    }
}

#[test]
fn every_call_is_interrupted_once_on_every_generation() {
    for (generation, kernel) in kernels() {
        let errnos = [Errno::EINTR, Errno::ENOENT];
        fail_each(generation, &kernel, &options(generation, 1), &errnos);
    }
}

#[test]
fn every_call_of_several_vcpus_fails_once() {
    for (generation, kernel) in kernels() {
        let owns_psci = generation.facts().psci_complete.is_some();
        let options = Options { owns_psci, ..options(generation, 2) };
        fail_each(generation, &kernel, &options, &[Errno::ENXIO]);
    }
}

#[test]
fn a_probe_that_fails_is_reported() {
    for (generation, kernel) in kernels() {
        let style = Style::new(generation, 1);
        kernel.set_guest(move |vcpu| program(vcpu, style));
        let options = Options { generation: None, ..options(generation, 1) };
        assert!(boot(&kernel, &options).0.unwrap().is_orderly());
        let calls = kernel.calls();
        let is_probed = |call: &&CallRecord| call.name != "KVM_CREATE_GUEST_MEMFD";
        let probed = calls.iter().take_while(is_probed).count();
        for number in 0..probed {
            let before = kernel.calls().len();
            kernel.fail_call(before + number, Errno::ENOMEM);
            // It is taken for nothing, or for what it is.
            match boot(&kernel, &options).0 {
                Ok(report) => assert_eq!(report.generation, Some(generation)),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            assert_eq!(kernel.open_descriptors(), 0);
        }
    }
}
