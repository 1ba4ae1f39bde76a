//! A conduit to an RMM that answers wrongly.
#![expect(unsafe_code, reason = "`Conduit` is an unsafe trait")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};
use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Command, Fid};
use rmi_host::conduit::{NO_ANSWER, NOT_SENT};
use rmi_host::{Conduit, OpenSessions, Registers};
use rmm_model::Model;

use crate::machine::Machine;

/// Calls of a whole case, after which the host is said not to come to an end.
const LIMIT: u64 = 3_000_000;

/// Which calls are answered wrongly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wrong {
    /// Decides which calls, and how.
    pub(crate) seed: u64,
    /// One call of so many.
    pub(crate) one_in: u64,
    /// Only calls of this command.
    pub(crate) only: Option<Command>,
    /// Whether they get no answer at all, instead of a false one.
    pub(crate) is_silent: bool,
}

/// Random numbers that are the same for the same seed.
pub(crate) fn random(seed: u64) -> TestRng {
    let seed = [seed, 0, 0, 0].map(u64::to_le_bytes);
    TestRng::from_seed(RngAlgorithm::ChaCha, seed.as_flattened())
}

/// One of some values.
fn one_of<const N: usize>(random: &mut TestRng, values: [u64; N]) -> u64 {
    values.into_iter().nth(random.random_range(0..N)).unwrap()
}

/// Forwards calls to the model. As long as it [answers wrongly](Self::answer_wrongly) some of them
/// do not reach it, or its answer is replaced.
pub(crate) struct WrongAnswers<'m> {
    model: &'m Model,
    machine: Machine,
    wrong: Option<(Wrong, spin::Mutex<TestRng>)>,
    is_on: AtomicBool,
    calls: AtomicU64,
}

impl<'m> WrongAnswers<'m> {
    /// `wrong`: how it answers wrongly; `None` for never.
    pub(crate) fn new(model: &'m Model, machine: Machine, wrong: Option<Wrong>) -> Self {
        let wrong = wrong.map(|wrong| (wrong, spin::Mutex::new(random(wrong.seed))));
        Self { model, machine, wrong, is_on: AtomicBool::new(false), calls: AtomicU64::new(0) }
    }

    /// From now on, wrong answers or none.
    pub(crate) fn answer_wrongly(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Whether a call that gets a wrong answer is executed; `None` for any other call.
    fn choose(&self, registers: &Registers) -> Option<bool> {
        let [x0, ..] = registers;
        let (wrong, random) = self.wrong.as_ref().filter(|_| self.is_on.load(Ordering::Relaxed))?;
        let fid = Fid::from_register(*x0).without_sve_hint();
        let concerns = |only: Command| only.fid(self.machine.dialect) == Some(fid);
        let mut random = random.lock();
        let chosen = wrong.only.is_none_or(concerns) && random.random_range(0..wrong.one_in) == 0;
        chosen.then(|| random.random())
    }

    /// What might stand in the place of the answer `real`.
    fn answer(&self, random: &mut TestRng, registers: Registers, real: Registers) -> Registers {
        let granule = self.machine.granule.bytes();
        let block = self.machine.block();
        let dram = self.machine.dram();
        let [_, x1, x2, x3, x4, ..] = registers;
        let [word, outputs @ ..] = real;
        let x0 = match random.random_range(0..8) {
            0..=2 => 0,
            3 => word,
            4 => one_of(random, [NO_ANSWER[0], NOT_SENT[0], u64::MAX]),
            // A status, with a level or what an operation requests.
            _ => random.random_range(0..=16) | one_of(random, [0, 1, 2, 3, 4, 0xff]) << 8,
        };
        let [x1, x2, x3, x4, x5, x6, x7] = outputs.map(|output| {
            let argument = one_of(random, [x1, x2, x3, x4]);
            let distances = [0, 1, MIN_GRANULE, granule, block, block - granule, 1 << 30, 1 << 39];
            let distance = one_of(random, distances);
            match random.random_range(0..8) {
                0 | 1 => output,
                2 => 0,
                3 => argument,
                4 => argument.wrapping_add(distance),
                5 => argument.wrapping_sub(distance),
                6 => dram.base().raw() + random.random_range(0..dram.bytes()) / granule * granule,
                _ => u64::MAX,
            }
        });
        [x0, x1, x2, x3, x4, x5, x6, x7]
    }
}

// SAFETY: the model has its own memory; no answer concerns memory of this program.
unsafe impl Conduit for WrongAnswers<'_> {
    fn open_sessions(&self) -> &OpenSessions {
        self.model.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(calls < LIMIT, "the host does not come to an end: {registers:x?}");
        let is_executed = self.choose(&registers);
        let mut real = [0; 8];
        if is_executed != Some(false) {
            // SAFETY: the caller's promise is passed on unchanged.
            real = unsafe { self.model.call(registers) };
        }
        match (&self.wrong, is_executed) {
            (Some((wrong, _)), Some(_)) if wrong.is_silent => NO_ANSWER,
            (Some((_, random)), Some(_)) => self.answer(&mut random.lock(), registers, real),
            _ => real,
        }
    }
}
