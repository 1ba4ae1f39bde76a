//! What the RMM says of itself is checked: wrong answers are a failure.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
#![expect(unsafe_code, reason = "a conduit is an unsafe trait")]

#[path = "shared/threads.rs"]
#[expect(dead_code, reason = "the check waits for nothing and prints nothing")]
mod machine;

use std::sync::atomic::{AtomicBool, Ordering};

use bare_metal::checks;
use bare_metal::fixture::Fixture;
use bare_metal::report::{Outcome, Stop};
use realm_sdk::abi::{Command, Dialect, ResultWord, Status};
use realm_sdk::conduits::counting::Counting;
use realm_sdk::host::{Conduit, CountingLedger, Host, OpenSessions, Registers, SessionOptions};
use realm_sdk::sro::{HostMemory, open};
use rmm_model::Options;

use machine::{Calling, Threads};

const DIALECTS: [Dialect; 3] = [Dialect::V1_0, Dialect::TfRmm2026_07, Dialect::V2_0Bet3];

/// Changes X0 to X7 of an answer to a call, before or after the session is open.
type Alter<'a> = dyn Fn(&Registers, bool, &mut Registers) + Sync + 'a;

/// The model with other answers.
struct Altered<'m> {
    model: Calling<'m>,
    alter: &'m Alter<'m>,
    is_open: &'m AtomicBool,
}

// SAFETY: the model has its own memory; what answers say does no harm to it.
unsafe impl Conduit for Altered<'_> {
    fn open_sessions(&self) -> &OpenSessions {
        self.model.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        // SAFETY: the caller's promise is passed on unchanged.
        let mut answer = unsafe { self.model.call(registers) };
        (self.alter)(&registers, self.is_open.load(Ordering::Relaxed), &mut answer);
        answer
    }
}

/// The outcome of the check on such a model.
fn discovery(dialect: Dialect, alter: &Alter<'_>) -> Outcome {
    let model = machine::model(Options::new(dialect));
    let is_open = AtomicBool::new(false);
    let altered = Altered { model: machine::calling(&model), alter, is_open: &is_open };
    let machine = Threads::new(&model, altered, 2);
    let conduit = Counting::new(bare_metal::Machine::conduit(&machine));
    let ledger = CountingLedger::new();
    let host = Host::new(&conduit, bare_metal::Machine::access(&machine)).with_ledger(&ledger);
    let mut memory = bare_metal::frames::CpuMemory::new(bare_metal::Machine::memory(&machine), 0);
    let session = open(host, SessionOptions::default(), memory.pool()).unwrap();
    is_open.store(true, Ordering::Relaxed);
    let options = bare_metal::Options::default();
    let (conduit, ledger, session) = (&conduit, &ledger, &session);
    let fixture = Fixture { machine: &machine, options, conduit, ledger, session };
    let all = checks::all();
    let (_, check) = all.iter().find(|(name, _)| *name == "discovery").unwrap();
    check(&fixture)
}

/// What the check found wrong.
fn failed(outcome: &Outcome) -> &str {
    let Err(Stop::Failed(what)) = outcome else { unreachable!("{outcome:?}") };
    what
}

fn failure(dialect: Dialect, alter: &Alter<'_>) -> String {
    failed(&discovery(dialect, alter)).to_owned()
}

fn is(command: Command, dialect: Dialect, call: &Registers) -> bool {
    command.fid(dialect).is_some_and(|fid| u64::from(fid.0) == call[0])
}

/// What a model says that has these bits in a feature register in place of its own.
fn with_bits(dialect: Dialect, index: u64, mask: u64, bits: u64) -> Outcome {
    discovery(dialect, &|call, _, answer| {
        if is(Command::Features, dialect, call) && call[1] == index {
            answer[1] = answer[1] & !mask | bits;
        }
    })
}

#[test]
fn right_answers_pass() {
    for dialect in DIALECTS {
        assert_eq!(
            discovery(dialect, &|_, _, _| {}).unwrap(),
            "48-bit IPAs, 1023 RECs, 0 auxiliary planes; 2 CPUs"
        );
    }
}

#[test]
fn a_feature_register_that_changes_is_a_failure() {
    for dialect in DIALECTS {
        // 1.0 has one register.
        for index in if dialect.is_2_0() { 0..5 } else { 0..1 } {
            let what = failure(dialect, &|call, is_open, answer| {
                if is(Command::Features, dialect, call) && call[1] == index && is_open {
                    answer[1] ^= 1 << 63;
                }
            });
            assert!(what.starts_with(&format!("feature register {index} has become 0x")), "{what}");
        }
    }
}

#[test]
fn features_with_which_no_realm_can_be_made_are_a_failure() {
    for dialect in DIALECTS {
        let failed = |index, mask, bits| failed(&with_bits(dialect, index, mask, bits)).to_owned();
        assert_eq!(failed(0, 0xff, 31), "IPAs of 31 bits");
        assert_eq!(failed(0, 0xff, 53), "IPAs of 53 bits");
        with_bits(dialect, 0, 0xff, 32).unwrap();
        with_bits(dialect, 0, 0xff, 52).unwrap();
        let (register, order, hashes) =
            if dialect.is_2_0() { (1, 0xf << 6, 7 << 3) } else { (0, 0xf << 38, 3 << 32) };
        assert_eq!(failed(register, order, 0), "Realms without RECs");
        with_bits(dialect, register, order, order & order >> 3).unwrap();
        assert_eq!(failed(register, hashes, 0), "no hash algorithm");
        for bit in 0..64 {
            if hashes >> bit & 1 != 0 {
                with_bits(dialect, register, hashes, 1 << bit).unwrap();
            }
        }
    }
}

#[test]
fn another_version_is_a_failure() {
    for dialect in DIALECTS {
        let what = failure(dialect, &|call, is_open, answer| {
            if is(Command::Version, dialect, call) && is_open {
                *answer = [
                    ResultWord::from_status(Status::ErrorInput).0,
                    0x3_0000,
                    0x3_0000,
                    0,
                    0,
                    0,
                    0,
                    0,
                ];
            }
        });
        assert!(what.contains("3.0"), "{what}");
    }
}
