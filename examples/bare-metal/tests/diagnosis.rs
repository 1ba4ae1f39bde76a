//! Firmware that cannot run Realms is named in one line.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
#![expect(unsafe_code, reason = "a conduit is an unsafe trait")]

#[path = "shared/threads.rs"]
mod machine;

use bare_metal::diagnosis::explain;
use bare_metal::linux;
use realm_sdk::abi::{Command, Dialect};
use realm_sdk::host::{Conduit, Host, OpenSessions, Registers, SessionError, SessionOptions};
use rmm_model::{Model, Options};

/// `NOT_SUPPORTED` of the SMC calling convention.
const NOT_SUPPORTED: Registers = [u64::MAX, 0, 0, 0, 0, 0, 0, 0];

/// Firmware at EL3 in front of the model, which passes some calls on.
struct Firmware<'m> {
    model: &'m Model,
    forwards: fn(u64) -> bool,
}

// SAFETY: the model has its own memory; what is not forwarded has no effect.
unsafe impl Conduit for Firmware<'_> {
    fn open_sessions(&self) -> &OpenSessions {
        self.model.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        if (self.forwards)(registers[0]) {
            // SAFETY: the caller's promise is passed on unchanged.
            unsafe { self.model.call(registers) }
        } else {
            NOT_SUPPORTED
        }
    }
}

/// What is said of a session with the model behind such firmware.
fn said(dialect: Dialect, forwards: fn(u64) -> bool) -> String {
    let model = Model::new(Options::new(dialect)).unwrap();
    let mut pool = pool(&model);
    let host = Host::new(Firmware { model: &model, forwards }, &model);
    match realm_sdk::sro::open(host, SessionOptions::default(), &mut pool) {
        Ok(_) => "opened".into(),
        Err(failed) => explain(&failed.error),
    }
}

fn pool(model: &Model) -> realm_sdk::sro::FixedPool<16> {
    let mut memory = model.take_memory();
    let mut pool = realm_sdk::sro::FixedPool::new();
    pool.add(memory.take_front(0x10_0000).unwrap()).unwrap();
    pool
}

fn all(_: u64) -> bool {
    true
}

fn none(_: u64) -> bool {
    false
}

/// The functions of RMI 1.0.
fn those_of_1_0(fid: u64) -> bool {
    let mut known = Command::ALL.iter().filter_map(|command| command.fid(Dialect::V1_0));
    known.any(|known| u64::from(known.0) == fid)
}

#[test]
fn firmware_of_1_0_forwards_23_functions() {
    let known = Command::ALL.iter().filter(|command| command.fid(Dialect::V1_0).is_some());
    assert_eq!(known.count(), 23);
}

#[test]
fn each_is_named() {
    assert_eq!(said(Dialect::TfRmm2026_07, all), "opened");
    assert_eq!(said(Dialect::V2_0Bet3, all), "opened");
    assert_eq!(
        said(Dialect::TfRmm2026_07, none),
        "no RMM: the firmware has none, or it failed to start"
    );
    for dialect in [Dialect::TfRmm2026_07, Dialect::V2_0Bet3] {
        assert_eq!(
            said(dialect, those_of_1_0),
            "the firmware at EL3 does not forward RMI_RMM_CONFIG_GET: it forwards the calls of RMI \
             1.0 only, and the RMM has RMI 2.0"
        );
    }
    // A function of 1.0 is not what such firmware keeps back.
    let said = said(Dialect::TfRmm2026_07, |fid| {
        let features = Command::Features.fid(Dialect::V1_0);
        features.is_none_or(|features| u64::from(features.0) != fid)
    });
    assert!(said.starts_with("RMI_FEATURES for the RMM refused: no such function"), "{said}");
    // An error that is something else keeps its text.
    let other = SessionError::ListRegistersLost;
    assert_eq!(explain(&other), other.to_string());
}

/// Whatever the program is to do; here it is to boot Linux.
#[test]
fn linux_is_not_booted_without_saying_why() {
    let model = machine::model(Options::new(Dialect::TfRmm2026_07));
    let firmware = Firmware { model: &model, forwards: those_of_1_0 };
    let machine = machine::Threads::new(&model, firmware, 1);
    let files = linux::Files { kernel: &[], initramfs: &[], command_line: "" };
    let run = || linux::run(&machine, &files, &linux::Options::default());
    let summary = machine.with_alarms(run);
    assert_eq!((summary.passed, summary.failed), (0, 1));
    let printed = machine.printed();
    let expected = "FAIL  linux session: the firmware at EL3 does not forward RMI_RMM_CONFIG_GET";
    assert!(printed.iter().any(|line| line.starts_with(expected)), "{printed:?}");
}
