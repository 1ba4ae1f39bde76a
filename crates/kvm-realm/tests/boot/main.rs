//! The example `kvm_realm_boot` on the fake kernel of each generation.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../../examples/kvm_realm_boot/console.rs"]
mod console;
#[path = "../../examples/kvm_realm_boot/guest.rs"]
mod guest;
#[path = "../../examples/kvm_realm_boot/host_memory.rs"]
mod host_memory;
#[path = "../../examples/kvm_realm_boot/machine.rs"]
mod machine;
#[path = "../../examples/kvm_realm_boot/options.rs"]
mod options;
#[path = "../../examples/kvm_realm_boot/report.rs"]
mod report;
#[path = "../../examples/kvm_realm_boot/run.rs"]
mod run;
#[path = "../../examples/kvm_realm_boot/signal.rs"]
mod signal;

use std::sync::Mutex;

use bare_metal::linux::layout::{IPA_WIDTH, RAM, UART};
use kvm_realm::Errno;
use kvm_realm::fake::{Action, FakeKernel, Outcome, RmiCall};
use kvm_realm::generation::{Generation, InitialRipas};
use options::{Files, Options};
use report::{End, Report};

const SHARED: u64 = 1 << (IPA_WIDTH - 1);
/// The magic number of a device tree, as a little-endian word reads it.
const TREE: u64 = 0xedfe_0dd0;

/// A kernel that only has a header, and the first word of its code.
fn files() -> Files {
    let mut kernel = vec![0; 0x1800];
    for (at, word) in [(0, 0x1234_5678_u64), (16, 0x20_0000), (24, 0b1010)] {
        kernel[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    kernel[56..60].copy_from_slice(b"ARM\x64");
    Files { kernel, initramfs: vec![7; 0x1001] }
}

/// What a vCPU of the guest does: the first finds its files, and turns on the next; each one prints
/// its number, and shares a page and takes it back; the last one turns the system off.
fn program(vcpu: u64, last: u64, shared: u64) -> impl FnMut(Outcome) -> Action + Send {
    let page = RAM.raw() + 0x0800_0000 + vcpu * 0x1000;
    let mut step = 0;
    move |outcome| {
        step += 1;
        match (step, outcome) {
            (1, Outcome::Started(entry, tree)) if vcpu == 0 => {
                assert_eq!(entry, RAM.raw());
                Action::Load(tree)
            }
            (1, Outcome::Started(0x77, of)) => {
                assert_eq!(of, vcpu);
                Action::Interrupted
            }
            (2, Outcome::Value(word)) => {
                assert_eq!((vcpu, word & 0xffff_ffff), (0, TREE));
                Action::Load(RAM.raw())
            }
            (2, Outcome::Done) => Action::NotYetOn,
            (3, Outcome::Value(word)) => {
                assert_eq!((vcpu, word), (0, 0x1234_5678));
                Action::MmioStore(shared + UART, u64::from(b'0') + vcpu, 1)
            }
            (3, Outcome::Done) => Action::MmioStore(shared + UART, u64::from(b'0') + vcpu, 1),
            (4, Outcome::Done) => Action::MmioLoad(shared + UART + 0x18, 4),
            // The transmitter is empty.
            (5, Outcome::Value(flags)) => {
                assert_eq!(flags & 0x80, 0x80);
                Action::SetRipas { base: page, top: page + 0x1000, ram: true }
            }
            (6, Outcome::Done) => Action::Store(page, 9),
            (7, Outcome::Done) => Action::SetRipas { base: page, top: page + 0x1000, ram: false },
            (8, Outcome::Done) => Action::Store(shared + page, vcpu),
            (9, Outcome::Done) => Action::Load(shared + page),
            (10, Outcome::Value(value)) => {
                assert_eq!(value, vcpu);
                if vcpu == last {
                    Action::SystemOff
                } else {
                    Action::CpuOn(vcpu + 1, 0x77, vcpu + 1)
                }
            }
            (11, Outcome::Psci(0)) => Action::CpuOff,
            wrong => panic!("vCPU {vcpu}: {wrong:?}"),
        }
    }
}

fn kernels() -> impl Iterator<Item = (Generation, FakeKernel)> {
    let names = [
        "rme-v5..v7",
        "rme-v8",
        "rme-v9",
        "rme-v10",
        "rmi-v12",
        "rmi-v13",
        "rmi-v14",
        "rmi-v15",
        "rmi-sep2026-tree",
    ];
    Generation::ALL.into_iter().zip(names.map(|name| FakeKernel::new(name).unwrap()))
}

fn boot(kernel: &FakeKernel, options: &Options) -> (Result<Report, options::Failure>, String) {
    let output = Mutex::new(String::new());
    let text = |letters: &str| output.lock().unwrap().push_str(letters);
    let report = machine::boot(kernel, options, &files(), &text);
    (report, output.into_inner().unwrap())
}

#[test]
fn a_realm_boots_on_every_generation() {
    for (generation, kernel) in kernels() {
        // Only these do not say that a REC is to be entered again.
        let is_old = generation.facts().ripas == InitialRipas::Action;
        for vcpus in if is_old { 1..=1 } else { 1..=8 } {
            kernel.set_guest(move |vcpu| program(vcpu, vcpus - 1, SHARED));
            // What is not given is found out.
            let given = (vcpus != 1).then_some(generation);
            let options = Options { vcpus, generation: given, ..Options::default() };
            let (report, text) = boot(&kernel, &options);
            let report = report.unwrap();
            assert_eq!(report.end, End::Off, "{generation}, {vcpus}: {:#?}", report.lines());
            let numbers: String = (0..vcpus).map(|vcpu| vcpu.to_string()).collect();
            assert_eq!(text, numbers, "{generation}");
            assert_eq!(report.exits["MMIO write"], vcpus, "{generation}");
            assert_eq!(report.exits["MMIO read"], vcpus, "{generation}");
            assert_eq!(report.exits["memory fault"], 2 * vcpus, "{generation}");
            assert_eq!(report.rim.as_ref().map(Vec::len), Some(32), "{generation}");
            assert_eq!(report.generation, Some(generation));
            assert!(report.is_orderly());
            assert_eq!(kernel.open_descriptors(), 0, "{generation}");
        }
    }
}

#[test]
fn an_ordinary_vm_boots_on_every_kernel() {
    for (generation, kernel) in kernels() {
        kernel.set_guest(move |vcpu| {
            let mut program = program(vcpu, 2, 0);
            move |outcome| match program(outcome) {
                // There is no RIPAS, and no REC.
                Action::SetRipas { .. } | Action::NotYetOn => Action::Interrupted,
                action => action,
            }
        });
        let options = Options { vcpus: 3, is_plain: true, ..Options::default() };
        let (report, text) = boot(&kernel, &options);
        let report = report.unwrap();
        assert_eq!((&report.end, text.as_str()), (&End::Off, "012"), "{generation}");
        assert_eq!((report.generation, report.rim), (None, None));
        assert_eq!(kernel.open_descriptors(), 0, "{generation}");
    }
}

#[test]
fn a_kernel_without_realms_is_reported() {
    let kernel = FakeKernel::without_realms("rmi-v14").unwrap();
    let error = boot(&kernel, &Options::default()).0.unwrap_err().to_string();
    assert!(error.len() > 20, "{error}");
    assert_eq!(kernel.open_descriptors(), 0);
}

#[test]
fn a_generation_boots_on_no_other_kernel() {
    let mut boots = Vec::new();
    for (own, kernel) in kernels() {
        for generation in Generation::ALL.into_iter().filter(|generation| *generation != own) {
            kernel.set_guest(|vcpu| program(vcpu, 0, SHARED));
            let options = Options { generation: Some(generation), ..Options::default() };
            if boot(&kernel, &options).0.is_ok_and(|report| report.is_orderly()) {
                boots.push((generation, own));
            }
            assert_eq!(kernel.open_descriptors(), 0, "{generation} on {own}");
        }
    }
    // v15 has the attributes of guest_memfds as well, and nothing else that the tree uses differs.
    assert_eq!(boots, [(Generation::Tree2026_09, Generation::V15)]);
}

#[test]
fn files_are_measured_or_not() {
    for is_measured in [true, false] {
        let kernel = FakeKernel::new("rmi-v14").unwrap();
        kernel.set_guest(|vcpu| program(vcpu, 0, SHARED));
        let generation = Some(Generation::V14);
        let (report, _) = boot(&kernel, &Options { is_measured, generation, ..Options::default() });
        assert!(report.unwrap().is_orderly());
        let calls = kernel.rmi_calls(0);
        let data = calls.iter().filter_map(|call| match call {
            RmiCall::DataCreate { ipa, is_measured, content } => Some((ipa, is_measured, content)),
            _ => None,
        });
        let data: Vec<_> = data.collect();
        // Two pages of the kernel, one of the tree, two of the file system.
        assert_eq!(data.len(), 5);
        assert!(data.iter().all(|(_, measured, _)| **measured == is_measured));
        assert!(data.is_sorted_by_key(|(ipa, ..)| **ipa));
        assert_eq!((*data[0].0, data[0].2[56]), (RAM.raw(), b'A'));
    }
}

#[test]
fn each_call_can_fail() {
    for (generation, kernel) in kernels() {
        kernel.set_guest(|vcpu| program(vcpu, 0, SHARED));
        let options = Options { generation: Some(generation), ..Options::default() };
        boot(&kernel, &options).0.unwrap();
        let all = kernel.calls().len();
        for errno in [Errno::ENOMEM, Errno::EIO] {
            for call in 0..all {
                let before = kernel.calls().len();
                kernel.fail_call(before + call, errno);
                let (report, _) = boot(&kernel, &options);
                let failed = kernel.calls()[before + call];
                assert_eq!(failed.error, Some(errno));
                let is_ended = match report {
                    Ok(report) => report.is_orderly(),
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        false
                    }
                };
                // The registers that are read for the prediction alone are not needed.
                let is_needed = failed.name != "KVM_GET_ONE_REG" && failed.name != "KVM_IRQ_LINE";
                assert!(!(is_ended && is_needed), "{generation}: {failed:?}");
                assert_eq!(kernel.open_descriptors(), 0, "{generation}: {failed:?}");
            }
        }
    }
}

#[test]
fn a_guest_that_does_not_behave_stops_the_vm() {
    let bad = |action: Action| {
        let kernel = FakeKernel::new("rmi-v14").unwrap();
        kernel.set_guest(move |vcpu| {
            move |_: Outcome| match vcpu {
                0 => action,
                _ => unreachable!("it is off"),
            }
        });
        let generation = Some(Generation::V14);
        let options = Options { vcpus: 2, generation, ..Options::default() };
        boot(&kernel, &options).0.unwrap().end
    };
    for action in [
        Action::Exit(77, [0; 4]),
        Action::UnknownExit,
        // There is no RAM, and it asks again and again.
        Action::SetRipas { base: 0, top: 0x1000, ram: false },
    ] {
        assert!(matches!(bad(action), End::Stopped(0, _)), "{action:?}");
    }
    assert_eq!(bad(Action::SystemReset), End::Reset);
}

#[test]
fn the_command_line_is_checked() {
    let parse = |words: &[&str]| Options::parse(lexopt::Parser::from_args(words));
    let all = ["--kernel", "k", "--memory", "64", "--vcpus", "8", "--plain", "--unmeasured"];
    let options = parse(&all).unwrap().unwrap();
    assert_eq!((options.memory, options.vcpus), (64, 8));
    assert!(options.is_plain && !options.is_measured && options.generation.is_none());
    assert!(parse(&["--help"]).unwrap().is_none());
    for option in all.into_iter().filter(|word| word.starts_with("--")) {
        assert!(options::USAGE.contains(option), "{option}");
    }
    // Files that are not there are named.
    let error = options.read().unwrap_err().to_string();
    assert!(error.starts_with("k: "), "{error}");
    let manifest = env!("CARGO_MANIFEST_DIR");
    let file = format!("{manifest}/Cargo.toml");
    let files = parse(&["--kernel", &file, "--initramfs", &file]).unwrap().unwrap().read().unwrap();
    assert!(files.kernel.starts_with(b"[package]") && files.kernel == files.initramfs);
    for wrong in [
        &["--vcpus", "1"][..],
        &["--kernel", "k", "--vcpus", "0"],
        &["--kernel", "k", "--vcpus", "9"],
        &["--kernel", "k", "--memory", "3"],
        &["--kernel", "k", "--memory", "0"],
        &["--kernel", "k", "--generation", "v11"],
        &["--kernel", "k", "--fast"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}
