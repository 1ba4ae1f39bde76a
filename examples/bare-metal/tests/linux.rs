//! Linux Realms on the model RMM: a program that makes the first exits of Linux, in their order, on
//! threads in place of CPUs.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

#[path = "linux/kernel.rs"]
mod kernel;
#[path = "shared/threads.rs"]
mod machine;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bare_metal::linux::{Files, Options, run};
use bare_metal::{Machine, Summary};
use realm_sdk::abi::Dialect;
use rmm_model::{AsyncGuest, GuestIdentity};

use kernel::{Cpu, End, Kernel, LINE, Plan};
use machine::Threads;

/// A kernel of three pages, of which the last is BSS.
fn image() -> Vec<u8> {
    let mut image = vec![0xd5; 0x1800];
    image[8..16].fill(0);
    image[16..24].copy_from_slice(&0x3000_u64.to_le_bytes());
    image[24..32].copy_from_slice(&0b1010_u64.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

fn plan(options: &Options) -> Plan {
    let ram = options.ram << 20;
    let vcpus = options.vcpus as u64;
    let initramfs = (0..0x1234_u32).flat_map(u32::to_le_bytes).collect();
    Plan { ram, vcpus, initramfs, ..Plan::default() }
}

struct Ran {
    summary: Summary,
    printed: Vec<String>,
    kernel: Arc<Kernel>,
}

impl Ran {
    fn contains(&self, text: &str) -> bool {
        self.printed.iter().any(|line| line.contains(text))
    }

    fn count(&self, line: &str) -> usize {
        self.printed.iter().filter(|printed| *printed == line).count()
    }

    #[track_caller]
    fn passed(&self) {
        let printed = self.printed.join("\n");
        assert_eq!(self.summary.failed, 0, "{printed}");
        assert!(printed.contains("0 outstanding") || self.contains("linux balance"), "{printed}");
    }

    /// The failure of the only run; the memory is back all the same.
    #[track_caller]
    fn failed(&self, text: &str) {
        let printed = self.printed.join("\n");
        assert_eq!((self.summary.passed, self.summary.failed), (1, 1), "{printed}");
        assert!(self.contains("pass  linux balance"), "{printed}");
        let line = self.printed.iter().find(|line| line.starts_with("FAIL  linux run")).unwrap();
        assert!(line.contains(text), "{line}");
    }
}

fn boot_on(rmm: rmm_model::Options, cpus: u16, options: &Options, plan: Plan) -> Ran {
    let model = machine::model(rmm);
    let kernel = Arc::new(Kernel { plan, ..Kernel::default() });
    let shared = Arc::clone(&kernel);
    model.set_default_guest(Box::new(move |identity: &GuestIdentity| {
        assert_eq!(&identity.personalization[..6], b"linux ");
        let (kernel, number) = (Arc::clone(&shared), identity.mpidr);
        Some(Box::new(AsyncGuest::new(move |cpu| Cpu { cpu, number, kernel }.run())))
    }));
    let machine = Threads::new(&model, machine::calling(&model), cpus);
    let free = machine.memory().bytes();
    let image = image();
    let files = Files {
        kernel: &image,
        initramfs: &kernel.plan.initramfs,
        command_line: "console=ttyAMA0",
    };
    let summary = machine.with_alarms(|| run(&machine, &files, options));
    assert_eq!(machine.memory().bytes(), free);
    let printed = machine.printed();
    Ran { summary, printed, kernel }
}

fn boot(cpus: u16, options: &Options, plan: Plan) -> Ran {
    // As TF-RMM: a granule in a call, and a table.
    boot_on(rmm_model::Options::new(Dialect::TfRmm2026_07), cpus, options, plan)
}

/// Lines of a run: its end, six kinds of operations on memory, exits for faults, failed calls.
const LINES: u32 = 9;

fn options(text: &str) -> Options {
    Options::parse(&format!("ram=64 limit=60 {text}")).unwrap()
}

fn boots(cpus: u16, text: &str) -> Ran {
    let options = options(text);
    let ran = boot(cpus, &options, plan(&options));
    ran.passed();
    let realms = u32::try_from(options.realms).unwrap();
    assert_eq!(ran.summary.passed, options.runs * LINES + 1);
    let counts = &ran.kernel.counts;
    assert_eq!(counts.boots.load(Ordering::SeqCst), realms * options.runs);
    ran
}

#[test]
fn on_one_cpu() {
    let ran = boots(1, "vcpus=2 cpus=4");
    assert_eq!(ran.count(&format!("linux 0 | {LINE}")), 1);
    assert_eq!(ran.count("linux 0 | CPU1: Booted secondary processor"), 1);
    assert_eq!(ran.kernel.counts.ipis.load(Ordering::SeqCst), 2);
    // 4 MiB and a page, of which one page is private again.
    assert_eq!(ran.count("linux 0: 4198400 bytes became shared, 4096 private again"), 1);
}

#[test]
fn on_two_cpus() {
    let ran = boots(2, "vcpus=2 cpus=2");
    assert_eq!(ran.kernel.counts.ipis.load(Ordering::SeqCst), 2);
}

#[test]
fn four_virtual_cpus_on_two() {
    let ran = boots(2, "vcpus=4 cpus=2 measured=1");
    assert_eq!(ran.kernel.counts.ipis.load(Ordering::SeqCst), 6);
}

#[test]
fn one_virtual_cpu() {
    let ran = boots(2, "vcpus=1");
    assert_eq!(ran.kernel.counts.ipis.load(Ordering::SeqCst), 0);
}

#[test]
fn twice_on_one_session() {
    let ran = boots(2, "vcpus=2 runs=2");
    assert_eq!(ran.count(&format!("linux 0 | {LINE}")), 2);
}

/// In every dialect, and by an RMM that takes ranges: the calls for memory are those that are
/// predicted, none fails, and no leaf table has a second fault.
#[test]
fn calls_are_as_predicted() {
    let kinds = Dialect::ALL.map(rmm_model::Options::new);
    let ranges = rmm_model::Options::new(Dialect::V2_0Bet3).range_capable();
    for rmm in kinds.into_iter().chain([ranges]) {
        let options = options("vcpus=2");
        let what = format!("{rmm:?}");
        let ran = boot_on(rmm, 2, &options, plan(&options));
        ran.passed();
        assert_eq!(ran.summary.passed, LINES + 1, "{what}");
        let line = |kind| {
            let start = format!("pass  linux run 1, {kind}: ");
            let lines = ran.printed.iter().filter_map(|line| line.strip_prefix(start.as_str()));
            lines.map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(line("failed calls"), ["none"], "{what}");
        assert_eq!(line("conversions to private").len(), 1, "{what}");
        assert!(line("conversions to private")[0].starts_with("1 with "), "{what}");
        assert!(line("exits for faults")[0].ends_with(" for 32 leaf tables"), "{what}");
    }
}

/// An RMM that does more in a call than it shows: predictions of it are wrong.
#[test]
fn other_calls_than_predicted_are_a_failure() {
    let mut rmm = rmm_model::Options::new(Dialect::TfRmm2026_07);
    rmm.tables_per_call = rmm_model::TablesPerCall::All;
    let options = options("vcpus=1");
    let ran = boot_on(rmm, 1, &options, plan(&options));
    let wrong: Vec<_> = ran.printed.iter().filter(|line| line.starts_with("FAIL")).collect();
    // A fault is in one table; the conversion to private is of one page.
    let kinds = ["populating", "RIPAS changes", "conversions to shared", "taking apart"];
    assert_eq!((ran.summary.failed, wrong.len()), (4, 4), "{wrong:?}");
    for (line, kind) in wrong.iter().zip(kinds) {
        assert!(line.starts_with(&format!("FAIL  linux run 1, {kind}: ")), "{line}");
    }
    assert!(wrong[1].ends_with(": 1 SMCs at [0x40000000, 0x44000000), 4 predicted"), "{wrong:?}");
    assert!(ran.contains("pass  linux run 1, failed calls: none"));
}

#[test]
fn nothing_is_compared_if_that_is_an_option() {
    let options = options("vcpus=2 compare=0");
    let ran = boot(2, &options, plan(&options));
    ran.passed();
    assert_eq!((ran.summary.passed, ran.summary.skipped), (LINES - 6 + 1, 6));
    assert_eq!(ran.count("skip  linux run 1, faults: `compare=0`"), 1);
}

/// A Realm that resets itself is built again.
#[test]
fn resets() {
    let options = options("vcpus=1");
    let ran = boot(1, &options, Plan { resets: 2, ..plan(&options) });
    ran.passed();
    assert_eq!(ran.kernel.counts.boots.load(Ordering::SeqCst), 3);
    assert_eq!(ran.printed.iter().filter(|line| line.starts_with("linux: reset after")).count(), 2);
}

#[test]
fn resets_without_end() {
    let options = options("vcpus=1");
    let ran = boot(1, &options, Plan { resets: u32::MAX, ..plan(&options) });
    ran.failed("more than 16 resets");
    assert_eq!(ran.kernel.counts.boots.load(Ordering::SeqCst), 17);
}

#[test]
fn idle_until_the_time_is_up() {
    for cpus in [1, 2] {
        let options = options("vcpus=2 limit=1");
        let ran = boot(cpus, &options, Plan { end: End::Idle, ..plan(&options) });
        ran.failed("the time is up");
    }
}

#[test]
fn all_virtual_cpus_are_off() {
    let options = options("vcpus=1");
    let ran = boot(1, &options, Plan { end: End::CpuOff, ..plan(&options) });
    ran.failed("all virtual CPUs are off");
}

#[test]
fn an_unknown_exit() {
    let options = options("vcpus=2");
    let ran = boot(2, &options, Plan { end: End::Strange, ..plan(&options) });
    ran.failed("an unexpected exit: Unknown");
}

/// A guest has no say about memory that is not its RAM: all of the host's would follow.
#[test]
fn memory_after_the_end_of_ram_is_not_shared() {
    let options = options("vcpus=1");
    let ran = boot(1, &options, Plan { end: End::Greedy, ..plan(&options) });
    ran.failed("which is not all RAM");
}

#[test]
fn ram_is_too_small_for_the_files() {
    let options = options("vcpus=1 ram=2");
    let ran = boot(1, &options, plan(&options));
    ran.failed("the files need");
}

#[test]
fn the_machine_has_too_little_memory() {
    let options = options("vcpus=1 ram=1024");
    let ran = boot(1, &options, plan(&options));
    ran.failed("");
}
