//! A machine on which every call is answered in place of an RMM: entries of a REC with crafted exit
//! records, other commands with success.
#![expect(unsafe_code, reason = "`Conduit` and `HostAccess` are unsafe traits")]

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::fmt;

use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::run::{RecEnter, RecExit};
use rmi_abi::{Command, Dialect, Pa, PaRange};
use rmi_host::linear_map::LinearMap;
use rmi_host::{
    AccessFault, Conduit, Host, HostAccess, Machine, OpenSessions, Rd, Registers, Rmm,
    SessionOptions, Undelegated,
};
use spin::{Mutex, MutexGuard};
use sro::{FixedPool, RecObject};
use zerocopy::{FromZeros, IntoBytes};

const BASE: Pa = Pa::new(0x8000_0000);
const BYTES: usize = 0x10_0000;
const EXIT: u64 = size_of::<RecEnter>() as u64;

/// A machine of any dialect whose RMM agrees to everything, and runs nothing: an entry of a REC
/// ends with the exit record that [`Crafted::exits_with`] was given, or that the function of
/// [`Crafted::runs`] makes.
pub struct Crafted {
    dialect: Dialect,
    sessions: OpenSessions,
    memory: Box<[UnsafeCell<u64>]>,
    state: Mutex<State>,
}

/// What a REC does from an entry to the next exit.
type Runs = Box<dyn FnMut(&RecEnter) -> RecExit + Send>;

struct State {
    exit: RecExit,
    runs: Option<Runs>,
    /// The number of list registers in the run page.
    list_registers: u8,
    entry: RecEnter,
    refusal: Option<u64>,
    calls: u64,
    clock: Option<fn() -> u64>,
    time: u64,
}

// SAFETY: the memory is only accessed through the map, by atomic words.
unsafe impl Sync for Crafted {}

impl Crafted {
    /// A machine of this dialect.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        let state = State {
            exit: RecExit::new_zeroed(),
            runs: None,
            list_registers: 1,
            entry: RecEnter::new_zeroed(),
            refusal: None,
            calls: 0,
            clock: None,
            time: 0,
        };
        Self {
            dialect,
            sessions: OpenSessions::new(Machine::simulated()),
            memory: (0..BYTES / 8).map(|_| UnsafeCell::new(0)).collect(),
            state: Mutex::new(state),
        }
    }

    /// The dialect.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The record of the exits of all entries from now on.
    pub fn exits_with(&self, exit: &RecExit) {
        self.state().exit = *exit;
    }

    /// The function that runs the REC from now on.
    pub fn runs(&self, runs: impl FnMut(&RecEnter) -> RecExit + Send + 'static) {
        self.state().runs = Some(Box::new(runs));
    }

    /// How many list registers the features of 1.0 tell, 1 to 16, for sessions that are opened from
    /// now on.
    pub fn has_list_registers(&self, count: u8) {
        self.state().list_registers = count;
    }

    /// X0 of the next call's answer, instead of success.
    pub fn refuses_with(&self, x0: u64) {
        self.state().refusal = Some(x0);
    }

    /// The host's half of the run page at the last entry.
    #[must_use]
    pub fn last_entry(&self) -> RecEnter {
        self.state().entry
    }

    /// How many calls were made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Measures the time of answers from now on.
    pub fn has_clock(&self, clock: fn() -> u64) {
        self.state().clock = Some(clock);
    }

    /// How long the answers took, by the clock of [`Crafted::has_clock`].
    #[must_use]
    pub fn time(&self) -> u64 {
        self.state().time
    }

    /// The whole memory. To be called once.
    fn take_memory(&self) -> Undelegated {
        let range = PaRange::with_size(BASE, BYTES as u64).unwrap();
        // SAFETY: there is no other token for memory of this machine.
        unsafe { Undelegated::of_machine(self.sessions.machine(), range) }
    }

    /// How the host reaches the memory: through a linear map.
    fn access(&self) -> CraftedMemory {
        let window = PaRange::with_size(BASE, BYTES as u64).unwrap();
        let start = UnsafeCell::raw_get(self.memory.as_ptr()).cast();
        // SAFETY: the window is the array, which is only accessed through the map; no conduit
        // reaches an RMM of the machine that the program runs on.
        let map = unsafe { LinearMap::new(window, start) };
        CraftedMemory { machine: self.sessions.machine(), map }
    }

    /// Opens a session and makes a REC that can be entered, a run page, and 64 KiB of memory.
    ///
    /// They are abandoned: there is nothing behind them.
    pub fn with_rec<R>(
        &self,
        run: impl FnOnce(&Rmm<CraftedHost<'_>>, RecObject, Undelegated, Undelegated) -> R,
    ) -> R {
        let mut memory = self.take_memory();
        let mut pool: FixedPool<16> = crate::pool(&mut memory, 64 << 12);
        let mut options = SessionOptions::default();
        options.dialect = Some(self.dialect);
        let rmm = sro::open(Host::new(self, self.access()), options, &mut pool).unwrap();
        let rd = rmm.delegate(memory.take_front(0x1000).unwrap()).unwrap();
        let rd = Rd::new(rd);
        let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
        let object = RecObject::create(&rmm, &rd, &mut pool, &params).unwrap();
        let page = memory.take_front(0x1000).unwrap();
        let rest = memory.take_front(0x1_0000).unwrap();
        run(&rmm, object, page, rest)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Answers a call in place of an RMM.
    #[inline(never)]
    fn answer(&self, registers: &Registers) -> Registers {
        let mut state = self.state();
        state.calls += 1;
        let Some(clock) = state.clock else { return self.answer_of(&mut state, registers) };
        let began = clock();
        let answer = self.answer_of(&mut state, registers);
        state.time += clock() - began;
        answer
    }

    fn answer_of(&self, state: &mut State, registers: &Registers) -> Registers {
        let [x0, _, x2, ..] = *registers;
        if let Some(refusal) = state.refusal.take() {
            return [refusal, 0, 0, 0, 0, 0, 0, 0];
        }
        let is =
            |command: Command| command.fid(self.dialect).is_some_and(|fid| u64::from(fid.0) == x0);
        let version = self.dialect.version().0;
        if is(Command::RecEnter) {
            let memory = self.access();
            // SAFETY: the caller of the conduit owns the page and has no reference into it.
            unsafe { memory.read(Pa::new(x2), state.entry.as_mut_bytes()) }.unwrap();
            let State { entry, runs, exit, .. } = state;
            if let Some(runs) = runs {
                *exit = runs(entry);
            }
            // SAFETY: the same.
            unsafe { memory.write(Pa::new(x2 + EXIT), exit.as_bytes()) }.unwrap();
        } else if is(Command::Version) {
            return [0, version, version, 0, 0, 0, 0, 0];
        } else if is(Command::Features) {
            // Granules of 4 KiB, in register 1 of 2.0.
            let lists = u64::from(state.list_registers - 1);
            let lists = if self.dialect.gic_in_run_page() { lists << 34 } else { 0 };
            return [0, 1 | lists, 0, 0, 0, 0, 0, 0];
        } else if is(Command::GranuleRangeDelegate) || is(Command::GranuleRangeUndelegate) {
            return [0, x2, 0, 0, 0, 0, 0, 0];
        }
        [0; 8]
    }
}

impl fmt::Debug for Crafted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crafted").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

// SAFETY: nothing but the machine's own memory is affected, which no object of the program is in.
unsafe impl Conduit for Crafted {
    fn open_sessions(&self) -> &OpenSessions {
        &self.sessions
    }

    #[inline]
    unsafe fn call(&self, registers: Registers) -> Registers {
        self.answer(&registers)
    }
}

/// The platform of a [`Crafted`] machine.
pub type CraftedHost<'m> = Host<&'m Crafted, CraftedMemory>;

/// The memory of a [`Crafted`] machine.
#[derive(Clone, Copy, Debug)]
pub struct CraftedMemory {
    machine: Machine,
    map: LinearMap,
}

// SAFETY: the map is that of the machine's memory.
unsafe impl HostAccess for CraftedMemory {
    fn machine(&self) -> Machine {
        self.machine
    }

    #[inline]
    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { self.map.read(at, into) }
    }

    #[inline]
    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { self.map.write(at, from) }
    }
}
