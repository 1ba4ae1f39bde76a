//! The checks.

use core::fmt::Display;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU64, Ordering};

use rmi_abi::{Command, Dialect};

use crate::{cpu, uart};

const VERSION: u64 = 0x8400_0000;
const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: u64 = 0xc400_0003;
const AFFINITY_INFO: u64 = 0xc400_0004;
const SYSTEM_OFF: u64 = 0x8400_0008;
const SMCCC_VERSION: u64 = 0x8000_0000;

const INVALID_PARAMETERS: u64 = (-2_i64).cast_unsigned();
const ALREADY_ON: u64 = (-4_i64).cast_unsigned();
const INVALID_ADDRESS: u64 = (-9_i64).cast_unsigned();
const NOT_SUPPORTED: u64 = u64::MAX;

/// The first bytes of a device tree.
const DEVICE_TREE: u32 = 0xd00d_feed;
/// An address in the memory of the firmware.
const SECURE: u64 = 0x0e00_0000;
/// How often something is looked at that another CPU does.
const LOOKS: u32 = 1 << 26;

/// What the CPUs other than the first have got in X0, by number; 0 if they have not started.
static STARTED: [AtomicU64; cpu::MOST_CPUS] = [const { AtomicU64::new(0) }; cpu::MOST_CPUS];
/// Whether those CPUs had an interrupt.
static INTERRUPTED: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Results {
    passed: u32,
    failed: u32,
}

impl Results {
    fn check(&mut self, what: &dyn Display, is_right: bool) {
        let counter = if is_right { &mut self.passed } else { &mut self.failed };
        *counter += 1;
        uart::line(format_args!("{} {what}", if is_right { "passed " } else { "FAILED " }));
    }

    fn equal(&mut self, what: &dyn Display, found: u64, expected: u64) {
        if found != expected {
            uart::line(format_args!("        found {found:#x}, expected {expected:#x}"));
        }
        self.check(what, found == expected);
    }
}

fn first_of([x0, ..]: [u64; 4]) -> u64 {
    x0
}

/// What `AFFINITY_INFO` says of a CPU, in the end.
fn becomes(mpidr: u64, expected: u64) -> bool {
    (0..LOOKS).any(|_| first_of(cpu::smc([AFFINITY_INFO, mpidr, 0, 0])) == expected)
}

/// The first CPU.
pub(crate) fn run(x0: u64) -> ! {
    let mut results = Results::default();
    results.equal(&"the host starts at EL2", cpu::exception_level(), 2);
    let magic = cpu::big_endian_word(x0) == Some(DEVICE_TREE);
    results.check(&"X0 is the address of a device tree", magic);
    calls(&mut results);
    let interrupt = cpu::sends_itself_an_interrupt();
    results.check(&"interrupts of group 1 are the host's", interrupt);
    others(&mut results);
    let Results { passed, failed } = results;
    uart::line(format_args!("{passed} passed, {failed} failed, 0 skipped"));
    cpu::smc([SYSTEM_OFF, 0, 0, 0]);
    uart::line(format_args!("FAILED  SYSTEM_OFF has returned"));
    cpu::stand_still()
}

fn calls(results: &mut Results) {
    results.equal(&"PSCI is 1.1", first_of(cpu::smc([VERSION, 0, 0, 0])), 0x1_0001);
    let version = first_of(cpu::smc([SMCCC_VERSION, 0, 0, 0]));
    results.equal(&"the SMC calling convention is 1.2", version, 0x1_0002);
    let unknown = first_of(cpu::smc([0xc200_0000, 0, 0, 0]));
    results.equal(&"an unknown function is not supported", unknown, NOT_SUPPORTED);
    // The same function in all dialects; the lower version is that which the RMM would use.
    let fid = |command: Command| command.fid(Dialect::V2_0Bet3).map_or(0, |fid| fid.0.into());
    let version = fid(Command::Version);
    let [status, lower, ..] = cpu::smc([version, 2 << 16, 0, 0]);
    results.equal(&"the RMM has version 2.0", status, 0);
    results.equal(&"RMI_VERSION answers with it", lower, 2 << 16);
    for (what, function, argument) in [
        ("PSCI_VERSION", VERSION, 0),
        ("RMI_VERSION", version, 2 << 16),
        ("RMI_FEATURES", fid(Command::Features), 1),
        ("an unknown function", 0xc200_0000, 0),
    ] {
        let changed = cpu::registers_changed_by(function, argument);
        let what = format_args!("{what} leaves X8 to X30 and Q0 to Q31");
        results.equal(&what, changed, 0);
    }
}

/// All other CPUs, as many as there are.
fn others(results: &mut Results) {
    let entry = cpu::entry_of_others();
    let on = |mpidr, entry, context| first_of(cpu::smc([CPU_ON, mpidr, entry, context]));
    results.equal(&"a CPU that is on is not started", on(0, entry, 0), ALREADY_ON);
    results.equal(
        &"a CPU that is not there is not started",
        on(0xff, entry, 0),
        INVALID_PARAMETERS,
    );
    let exists = |mpidr: &u64| first_of(cpu::smc([AFFINITY_INFO, *mpidr, 0, 0])) == 1;
    let count = (1..cpu::MOST_CPUS as u64).take_while(exists).count();
    if count == 0 {
        return;
    }
    results.equal(&"no CPU starts in secure memory", on(1, SECURE, 0), INVALID_ADDRESS);
    // Twice: a CPU that is off starts again.
    for round in [1, 2] {
        for (mpidr, started) in (0_u64..).zip(&STARTED).skip(1).take(count) {
            let context = round << 32 | mpidr;
            results.equal(&format_args!("CPU {mpidr} starts"), on(mpidr, entry, context), 0);
            let looks = (0..LOOKS).any(|_| started.load(Ordering::Acquire) == context);
            results.check(&format_args!("CPU {mpidr} has its context in X0"), looks);
            results.check(&format_args!("CPU {mpidr} is off"), becomes(mpidr, 1));
        }
    }
    let interrupted = INTERRUPTED.load(Ordering::Acquire);
    results.equal(&"the other CPUs had an interrupt", interrupted, 2 * count as u64);
}

/// Another CPU.
pub(crate) fn run_other(context: u64) -> ! {
    if cpu::exception_level() == 2 && cpu::sends_itself_an_interrupt() {
        INTERRUPTED.fetch_add(1, Ordering::AcqRel);
    }
    let number = usize::try_from(context & 0xff).unwrap_or(0);
    if let Some(started) = STARTED.get(number) {
        started.store(context, Ordering::Release);
    }
    cpu::smc([CPU_OFF, 0, 0, 0]);
    uart::line(format_args!("FAILED  CPU_OFF has returned"));
    cpu::stand_still()
}

/// An exception that nothing expects.
pub(crate) fn unexpected(vector: u64, esr: u64, elr: u64, far: u64) -> ! {
    uart::line(format_args!(
        "FAILED  exception {vector}: ESR_EL2 {esr:#x}, ELR_EL2 {elr:#x}, FAR_EL2 {far:#x}"
    ));
    cpu::smc([SYSTEM_OFF, 0, 0, 0]);
    cpu::stand_still()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    uart::line(format_args!("FAILED  {info}"));
    cpu::smc([SYSTEM_OFF, 0, 0, 0]);
    cpu::stand_still()
}
