//! Two RMMs behind the line protocol that get the same calls: the model, and another one that it
//! has to agree with.
//!
//! `REALM_SDK_RMM` names the other one, a program and its arguments, for example firmware built as
//! a program; it says which dialect it has. Without it, the other one is the model too, and the
//! tests run on each dialect.
#![expect(unsafe_code, reason = "a conduit to two RMMs")]
#![allow(dead_code, reason = "not every test has a Realm that says something")]

#[path = "../../../rmi-conduits/tests/lines/wire.rs"]
mod wire;

use std::ops::Range;
use std::process;

use rmi_abi::feature::Features;
use rmi_abi::{Command, Dialect, Pa};
use rmi_conduits::lines::{LineAnswer, Lines};
use rmi_host::{AccessFault, Conduit, HostAccess, Machine, Registers, Simulated, Undelegated};
use rmm_model::Options;

/// The dialect with planes and stateful operations.
pub(crate) const D: Dialect = Dialect::TfRmm2026_07;

/// The dialects that the other one can have: its own, or that of either model.
pub(crate) fn dialects() -> Vec<Dialect> {
    match program() {
        Some(other) => vec![dialect_of(&other)],
        None => vec![D, Dialect::V1_0],
    }
}

/// A conduit to both. The answers are the other's; the model has to agree with each of them.
#[derive(Debug)]
pub(crate) struct Both {
    model: Lines,
    other: Lines,
    dialect: Dialect,
}

impl Both {
    /// Both, newly started, of [`D`] or of the dialect that the program has.
    pub(crate) fn new() -> Self {
        Self::of(D)
    }

    /// Both, newly started, of this dialect unless a program has another one. The model has the
    /// features of the other one, except device assignment.
    pub(crate) fn of(dialect: Dialect) -> Self {
        let other = program().unwrap_or_else(|| model(dialect));
        let dialect = dialect_of(&other);
        let mut options = Options::new(dialect);
        options.dram = other.memory().unwrap();
        options.features = [0, 1, 2, 3, 4].map(|index| feature(&other, index));
        options.features[2] = 0;
        let reported = Features::new(dialect, options.features).gic_num_lrs();
        options.list_registers = reported.unwrap_or(options.list_registers);
        Self { model: wire::model(options), other, dialect }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// `bytes` bytes of memory that both have.
    pub(crate) fn take_memory(&self, bytes: u64) -> Undelegated {
        let mut memory = self.other.take_memory().unwrap();
        let taken = memory.take_front(bytes).unwrap();
        let _ = memory.into_raw();
        taken
    }

    /// Says to both a line that is not a call.
    pub(crate) fn say(&self, line: &str) -> LineAnswer {
        let (model, other) = (self.model.say(line), self.other.say(line));
        let (model, other) = (model.unwrap(), other.unwrap());
        assert_eq!(model, other, "the model and {} differ at {line}", self.other.banner());
        other
    }
}

// SAFETY: both only play the RMM, with memory of their own.
unsafe impl Conduit for Both {
    fn open_sessions(&self) -> &rmi_host::OpenSessions {
        self.other.open_sessions()
    }

    unsafe fn call(&self, call: Registers) -> Registers {
        // SAFETY: neither can reach memory of this program.
        let (model, other) = unsafe { (self.model.call(call), self.other.call(call)) };
        // The other one may have device assignment, which the model does not have.
        let same = |answer: Registers| match self.dialect == D && is_features_2(call) {
            true => {
                [answer[0], 0, answer[2], answer[3], answer[4], answer[5], answer[6], answer[7]]
            }
            false => answer,
        };
        assert_eq!(
            same(model),
            same(other),
            "the model and {} differ at {call:x?}",
            self.other.banner()
        );
        other
    }
}

// SAFETY: as for the calls.
unsafe impl Simulated for Both {}

// SAFETY: what is read is the other's memory, and the model's must be equal to it.
unsafe impl HostAccess for Both {
    fn machine(&self) -> Machine {
        self.other.machine()
    }

    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        let mut here = vec![0; into.len()];
        // SAFETY: the caller promises what the method requires, for memory that both have.
        unsafe { (self.model.read(at, &mut here)?, self.other.read(at, into)?) };
        if self.dialect == Dialect::V1_0 {
            // A program has no virtual CPU interface.
            for ((byte, here), there) in (at.raw()..).zip(&mut here).zip(into.iter()) {
                if GIC_OF_RUN_PAGE.contains(&(byte & 0xfff)) {
                    *here = *there;
                }
            }
        }
        assert_eq!(here, into, "memory at {at} differs");
        Ok(())
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        // SAFETY: as for reading.
        unsafe { self.model.write(at, from).and(self.other.write(at, from)) }
    }
}

/// What the RMM of 1.0 writes about the GIC, in a run page.
const GIC_OF_RUN_PAGE: Range<u64> = 0xb00..0xb98;

/// The program that is the other one, newly started.
fn program() -> Option<Lines> {
    let line = std::env::var("REALM_SDK_RMM").ok()?;
    let mut words = line.split_whitespace();
    let mut program = process::Command::new(words.next().unwrap());
    Some(Lines::spawn(program.args(words)).unwrap())
}

fn model(dialect: Dialect) -> Lines {
    let mut options = Options::new(dialect);
    if dialect == D {
        // As in TF-RMM: three auxiliary planes, with their own tables.
        options.features[3] = 3;
    }
    wire::model(options)
}

/// The dialect of an RMM: [`D`] if it has version 2.0.
fn dialect_of(rmm: &Lines) -> Dialect {
    let version = Command::Version.fid(D).unwrap();
    let answer = rmm.say(&format!("smc {:x} 20000", version.0)).unwrap();
    if answer.words.starts_with("0 20000 ") { D } else { Dialect::V1_0 }
}

fn is_features_2(call: Registers) -> bool {
    call[1] == 2 && Command::Features.fid(D).is_some_and(|fid| u64::from(fid.0) == call[0])
}

/// The value of a feature register of an RMM.
fn feature(rmm: &Lines, index: u64) -> u64 {
    let fid = Command::Features.fid(D).unwrap();
    let answer = rmm.say(&format!("smc {:x} {index:x}", fid.0)).unwrap();
    u64::from_str_radix(answer.words.split(' ').nth(1).unwrap(), 16).unwrap()
}
