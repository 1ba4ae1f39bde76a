//! Two RMMs behind the line protocol that get the same calls: the model, and another one that it
//! has to agree with.
//!
//! `REALM_SDK_RMM` names the other one, a program and its arguments, for example firmware built as
//! a program. Without it, the other one is the model too.
#![expect(unsafe_code, reason = "a conduit to two RMMs")]
#![allow(dead_code, reason = "not every test has a Realm that says something")]

#[path = "../../../rmi-conduits/tests/lines/wire.rs"]
mod wire;

use std::process;

use rmi_abi::{Command, Dialect, Pa};
use rmi_conduits::lines::{LineAnswer, Lines};
use rmi_host::{AccessFault, Conduit, HostAccess, Machine, Registers, Simulated, Undelegated};
use rmm_model::Options;

pub(crate) const D: Dialect = Dialect::TfRmm2026_07;

/// A conduit to both. The answers are the other's; the model has to agree with each of them.
#[derive(Debug)]
pub(crate) struct Both {
    model: Lines,
    other: Lines,
}

impl Both {
    /// Both, newly started. The model has the features of the other one, except device assignment.
    pub(crate) fn new() -> Self {
        let other = other();
        let mut options = Options::new(D);
        options.dram = other.memory().unwrap();
        let version = Command::Version.fid(D).unwrap();
        other.say(&format!("smc {:x} 20000", version.0)).unwrap();
        options.features = [0, 1, 2, 3, 4].map(|index| feature(&other, index));
        options.features[2] = 0;
        Self { model: wire::model(options), other }
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
        let same = |answer: Registers| match is_features_2(call) {
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
        assert_eq!(here, into, "memory at {at} differs");
        Ok(())
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        // SAFETY: as for reading.
        unsafe { self.model.write(at, from).and(self.other.write(at, from)) }
    }
}

fn other() -> Lines {
    let Ok(line) = std::env::var("REALM_SDK_RMM") else {
        let mut options = Options::new(D);
        // As in TF-RMM: three auxiliary planes, with their own tables.
        options.features[3] = 3;
        return wire::model(options);
    };
    let mut words = line.split_whitespace();
    let mut program = process::Command::new(words.next().unwrap());
    Lines::spawn(program.args(words)).unwrap()
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
