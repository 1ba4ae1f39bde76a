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
#[path = "../../examples/kvm_realm_boot/input.rs"]
mod input;
#[path = "../../examples/kvm_realm_boot/machine.rs"]
mod machine;
#[path = "../../examples/kvm_realm_boot/options.rs"]
mod options;
#[path = "../../examples/kvm_realm_boot/poll.rs"]
mod poll;
#[path = "../../examples/kvm_realm_boot/power.rs"]
mod power;
#[path = "../../examples/kvm_realm_boot/report.rs"]
mod report;
#[path = "../../examples/kvm_realm_boot/run.rs"]
mod run;
#[path = "../../examples/kvm_realm_boot/signal.rs"]
mod signal;
#[path = "../../examples/kvm_realm_boot/terminal.rs"]
mod terminal;

mod console_input;
mod constants;
mod failures;

use std::os::fd::BorrowedFd;
use std::sync::Mutex;

use bare_metal::linux::layout::{IPA_WIDTH, RAM, UART};
use console::Terminal;
use kvm_realm::Errno;
use kvm_realm::fake::{Action, FakeKernel, Outcome, RmiCall};
use kvm_realm::generation::Generation;
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

/// How the guest's programs differ.
#[derive(Clone, Copy, Debug)]
struct Style {
    /// The vCPU that turns the system off.
    last: u64,
    /// The bit of shared addresses; none of an ordinary VM.
    shared: u64,
    /// Whether a REC that is not entered is to be run again.
    has_again: bool,
    /// Whether the others run on when the last one turns the system off.
    is_race: bool,
}

impl Style {
    fn new(generation: Generation, vcpus: u64) -> Self {
        let has_again = generation.facts().exits.not_entered == Errno::EAGAIN;
        Self { last: vcpus - 1, shared: SHARED, has_again, is_race: false }
    }
}

/// What a vCPU of the guest does: the first finds its files, and turns on the next; each one prints
/// its number, and shares a page and takes it back; the last one turns the system off.
fn program(vcpu: u64, style: Style) -> impl FnMut(Outcome) -> Action + Send {
    let Style { last, shared, has_again, is_race } = style;
    let page = RAM.raw() + 0x0100_0000 + vcpu * 0x1000;
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
            (2, Outcome::Done) if has_again => Action::NotYetOn,
            (2, Outcome::Done) => Action::Interrupted,
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
            (11, Outcome::Psci(0)) if !is_race => Action::CpuOff,
            (11, Outcome::Psci(0)) => Action::Interrupted,
            // Until another one has turned the system off.
            (12.., Outcome::Done) if is_race => Action::Interrupted,
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

fn boot_with(
    kernel: &FakeKernel,
    options: &Options,
    input: Option<BorrowedFd<'_>>,
) -> (Result<Report, options::Failure>, String) {
    let output = Mutex::new(String::new());
    let text = |letters: &str| output.lock().unwrap().push_str(letters);
    let terminal = Terminal { text: &text, input, is_interactive: false };
    let report = machine::boot(kernel, options, &files(), terminal);
    (report, output.into_inner().unwrap())
}

fn boot(kernel: &FakeKernel, options: &Options) -> (Result<Report, options::Failure>, String) {
    boot_with(kernel, options, None)
}

/// Little memory, of a kernel of this generation.
fn options(generation: Generation, vcpus: u64) -> Options {
    Options { vcpus, memory: 64, generation: Some(generation), ..Options::default() }
}

#[test]
fn a_realm_boots_on_every_generation() {
    for (generation, kernel) in kernels() {
        for vcpus in 1..=8 {
            let style = Style::new(generation, vcpus);
            kernel.set_guest(move |vcpu| program(vcpu, style));
            // What is not given is found out.
            let given = (vcpus != 1).then_some(generation);
            let options = Options { generation: given, ..options(generation, vcpus) };
            let (report, text) = boot(&kernel, &options);
            let report = report.unwrap();
            assert_eq!(report.end, End::Off, "{generation}, {vcpus}: {:#?}", report.lines());
            let numbers: String = (0..vcpus).map(|vcpu| vcpu.to_string()).collect();
            assert_eq!(text, numbers, "{generation}");
            assert_eq!(report.exits["MMIO write"], vcpus, "{generation}");
            assert_eq!(report.exits["MMIO read"], vcpus, "{generation}");
            assert_eq!(report.exits["memory fault"], 2 * vcpus, "{generation}");
            assert_eq!(report.exits.get("hypercall"), None, "{generation}");
            // All but the first are not entered once, where that is known to KVM.
            let again = (style.has_again && vcpus > 1).then_some(vcpus - 1);
            assert_eq!(report.exits.get("again").copied(), again, "{generation}");
            assert_eq!(report.rim.as_ref().map(Vec::len), Some(32), "{generation}");
            assert_eq!(report.generation, Some(generation));
            assert!(report.is_orderly());
            assert_eq!(kernel.open_descriptors(), 0, "{generation}");
        }
    }
}

#[test]
fn the_vmm_answers_psci_calls_where_it_can() {
    for (generation, kernel) in kernels() {
        let style = Style::new(generation, 1);
        kernel.set_guest(move |vcpu| program(vcpu, style));
        let psci = |vcpus| Options { owns_psci: true, ..options(generation, vcpus) };
        if generation.facts().psci_complete.is_none() {
            let error = boot(&kernel, &psci(1)).0.unwrap_err().to_string();
            assert!(error.contains("only the kernel answers the PSCI calls of realms"), "{error}");
            assert_eq!(kernel.open_descriptors(), 0, "{generation}");
            continue;
        }
        for vcpus in 1..=8 {
            for is_race in [false, true] {
                let style = Style { is_race, ..Style::new(generation, vcpus) };
                kernel.set_guest(move |vcpu| program(vcpu, style));
                let (report, text) = boot(&kernel, &psci(vcpus));
                let report = report.unwrap();
                assert_eq!(report.end, End::Off, "{generation}, {vcpus}: {:#?}", report.lines());
                let numbers: String = (0..vcpus).map(|vcpu| vcpu.to_string()).collect();
                assert_eq!(text, numbers, "{generation}");
                // Each but the last turns one on and itself off, and the last ends all.
                let calls = if is_race { vcpus } else { 2 * vcpus - 1 };
                let counted = report.exits["hypercall"];
                assert!(counted <= calls && counted >= vcpus, "{generation}: {counted} {calls}");
                assert_eq!(kernel.open_descriptors(), 0, "{generation}");
            }
        }
    }
}

#[test]
fn a_realm_that_turns_itself_off_stops_the_vcpus_that_run() {
    for (generation, kernel) in kernels() {
        for vcpus in 2..=8 {
            let style = Style { is_race: true, ..Style::new(generation, vcpus) };
            kernel.set_guest(move |vcpu| program(vcpu, style));
            let (report, _) = boot(&kernel, &options(generation, vcpus));
            let report = report.unwrap();
            // Whether the others see it or are kicked first, it is off.
            assert_eq!(report.end, End::Off, "{generation}, {vcpus}: {:#?}", report.lines());
            assert!(report.exits.get("off").is_none_or(|times| *times < vcpus), "{generation}");
            assert_eq!(report.exits["system event"], 1, "{generation}");
            assert_eq!(kernel.open_descriptors(), 0, "{generation}");
        }
    }
}

#[test]
fn an_ordinary_vm_boots_on_every_kernel() {
    for (generation, kernel) in kernels() {
        let style = Style { shared: 0, ..Style::new(generation, 3) };
        kernel.set_guest(move |vcpu| {
            let mut program = program(vcpu, style);
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
            let style = Style::new(own, 1);
            kernel.set_guest(move |vcpu| program(vcpu, style));
            if boot(&kernel, &options(generation, 1)).0.is_ok_and(|report| report.is_orderly()) {
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
        let style = Style::new(Generation::V14, 1);
        kernel.set_guest(move |vcpu| program(vcpu, style));
        let (report, _) = boot(&kernel, &Options { is_measured, ..options(Generation::V14, 1) });
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
fn a_guest_that_does_not_behave_stops_the_vm() {
    let bad = |action: Action| {
        let kernel = FakeKernel::new("rmi-v14").unwrap();
        kernel.set_guest(move |vcpu| {
            move |_: Outcome| match vcpu {
                0 => action,
                _ => unreachable!("it is off"),
            }
        });
        boot(&kernel, &options(Generation::V14, 2)).0.unwrap().end
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
    assert!(!options.owns_psci && parse(&["--kernel", "k", "--psci"]).unwrap().unwrap().owns_psci);
    assert!(parse(&["--help"]).unwrap().is_none());
    let listed = all.into_iter().chain(["--psci"]).filter(|word| word.starts_with("--"));
    for option in listed {
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
        &["--kernel", "k", "--psci", "--plain"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}
