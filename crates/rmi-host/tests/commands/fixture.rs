//! A conduit that records calls and gives the answers that it was told, and tokens to call with.
#![expect(
    unsafe_code,
    reason = "a conduit and a memory that touch nothing, and tokens of memory that nobody touches"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use rmi_abi::{Dialect, GranuleSize, Pa, PaRange};
use rmi_host::{
    AccessFault, Channel, Conduit, Delegated, Discovered, Host, HostAccess, Machine, OpenSessions,
    Rd, RecGranule, Registers, RetryBudget, Rmm, SessionOptions, Undelegated,
};

/// A page of the fixture's memory.
pub(crate) const PAGE: u64 = 0x1000;

/// The RMM's side: first the queued answers in order, then always the same one.
#[derive(Debug)]
pub(crate) struct Fake {
    calls: Mutex<Vec<Registers>>,
    answers: Mutex<VecDeque<Registers>>,
    always: Mutex<Registers>,
    memory: Mutex<BTreeMap<u64, u8>>,
    sessions: OpenSessions,
}

impl Default for Fake {
    fn default() -> Self {
        Self::of(Machine::REAL)
    }
}

impl Fake {
    /// The RMM of a machine.
    pub(crate) fn of(machine: Machine) -> Self {
        Self {
            calls: Mutex::default(),
            answers: Mutex::default(),
            always: Mutex::default(),
            memory: Mutex::default(),
            // The tokens of the tests are of this machine; each fake counts for itself.
            sessions: OpenSessions::new(machine),
        }
    }
}

pub(crate) type Platform<'f> = Host<&'f Fake, &'f Fake>;

impl Fake {
    pub(crate) fn always(&self, answer: Registers) {
        *self.always.lock().unwrap() = answer;
    }

    pub(crate) fn next(&self, answer: Registers) {
        self.answers.lock().unwrap().push_back(answer);
    }

    pub(crate) fn calls(&self) -> Vec<Registers> {
        self.calls.lock().unwrap().clone()
    }

    /// A channel of a dialect; it does not wait.
    pub(crate) fn channel(&self, dialect: Dialect) -> Channel<Platform<'_>> {
        self.channel_of(dialect, GranuleSize::Size4KiB)
    }

    /// A channel to an RMM with granules of this size.
    pub(crate) fn channel_of(&self, dialect: Dialect, size: GranuleSize) -> Channel<Platform<'_>> {
        // SAFETY: nothing real is behind a fake.
        unsafe { Channel::new(Host::new(self, self), dialect, size, RetryBudget::NONE) }
    }

    /// A session of a dialect; the calls that opened it are removed from the record.
    pub(crate) fn session(&self, dialect: Dialect) -> Rmm<Platform<'_>> {
        self.session_on(Host::new(self, self), dialect)
    }

    /// As [`Fake::session`], on a platform that leads to this fake.
    pub(crate) fn session_on<P: rmi_host::Platform>(
        &self,
        platform: P,
        dialect: Dialect,
    ) -> Rmm<P> {
        // All bits of all feature registers are set.
        let open = [0, u64::MAX, 0, 0, 0, 0, 0, 0];
        let answers = core::mem::take(&mut *self.answers.lock().unwrap());
        let always = core::mem::replace(&mut *self.always.lock().unwrap(), open);
        let mut options = SessionOptions::default();
        options.dialect = Some(dialect);
        options.retry_budget = RetryBudget::NONE;
        let found = Discovered::probe(platform, options).unwrap();
        let configured = found.configure(&mut host(0x7000_0000, PAGE)).unwrap();
        self.calls.lock().unwrap().clear();
        *self.answers.lock().unwrap() = answers;
        self.always(always);
        configured.into_active()
    }

    pub(crate) fn poke(&self, at: u64, words: &[u64]) {
        let mut memory = self.memory.lock().unwrap();
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        memory.extend((at..).zip(bytes));
    }

    pub(crate) fn peek(&self, at: u64) -> u64 {
        let memory = self.memory.lock().unwrap();
        u64::from_le_bytes(core::array::from_fn(|i| {
            memory.get(&(at + i as u64)).copied().unwrap_or(0)
        }))
    }
}

// SAFETY: only simulated memory is behind it.
unsafe impl Conduit for Fake {
    fn open_sessions(&self) -> &OpenSessions {
        &self.sessions
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        self.calls.lock().unwrap().push(registers);
        self.answers.lock().unwrap().pop_front().unwrap_or(*self.always.lock().unwrap())
    }
}

// SAFETY: as for the calls.
unsafe impl HostAccess for Fake {
    fn machine(&self) -> Machine {
        self.sessions.machine()
    }

    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        let memory = self.memory.lock().unwrap();
        for (address, byte) in (at.raw()..).zip(into) {
            *byte = memory.get(&address).copied().unwrap_or(0);
        }
        Ok(())
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        let mut memory = self.memory.lock().unwrap();
        for (address, byte) in (at.raw()..).zip(from) {
            if *byte == 0 {
                memory.remove(&address);
            } else {
                memory.insert(address, *byte);
            }
        }
        Ok(())
    }
}

pub(crate) fn host(base: u64, bytes: u64) -> Undelegated {
    // SAFETY: no test accesses the memory except through a fake.
    unsafe { Undelegated::from_raw(PaRange::with_size(Pa::new(base), bytes).unwrap()) }
}

/// Delegated memory, from an RMM that answers every call with success.
pub(crate) fn delegated(base: u64, bytes: u64) -> Delegated {
    let yes = Fake::default();
    let channel = yes.channel(Dialect::V1_0);
    let mut memory = Delegated::empty();
    for at in (base..base + bytes).step_by(0x1000) {
        memory.append(channel.granule_delegate(host(at, PAGE)).unwrap()).unwrap();
    }
    memory
}

pub(crate) fn rd(base: u64) -> Rd {
    Rd::new(delegated(base, PAGE))
}

pub(crate) fn rec(base: u64) -> RecGranule {
    RecGranule::new(delegated(base, PAGE))
}
