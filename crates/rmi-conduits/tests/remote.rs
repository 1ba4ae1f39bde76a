//! A model in another thread.
#![cfg(feature = "std")]
#![expect(clippy::unwrap_used, reason = "tests")]

use rmi_abi::{Command, Dialect, Pa, PaRange};
use rmi_conduits::remote;
use rmi_conduits::replay::{Replay, Transcript};
use rmi_host::conduit::NOT_SENT;
use rmi_host::{
    AccessFault, Conduit, CountingLedger, Error, HostAccess, Machine, OpenSessions, Registers,
};
use rmm_model::{GranuleState, Model, Options};

const ROUNDS: usize = if cfg!(miri) { 1 } else { 100 };
const THREADS: u8 = if cfg!(miri) { 4 } else { 8 };

/// Host threads delegate, write and undelegate through one conduit to `servers` threads.
fn threads(servers: u32) {
    let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let (remote, server) = remote::pair(model.open_sessions());
    std::thread::scope(|scope| {
        for number in 0..servers {
            let (server, model) = (&server, &model);
            scope.spawn(move || server.serve(&model.cpu(number)));
        }
        let platform = remote.into_host().with_ledger(&ledger);
        let rmm = rmm_model::open(platform, &mut memory).unwrap();
        std::thread::scope(|scope| {
            for number in 0..THREADS {
                let (rmm, mut mine) = (&rmm, memory.take_front(0x4000).unwrap());
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        rmm.write_host(&mut mine, 0x3ff8, &[number; 8]).unwrap();
                        let mut back = [0; 8];
                        rmm.read_host(&mine, 0x3ff8, &mut back).unwrap();
                        assert_eq!(back, [number; 8]);
                        mine = rmm.undelegate(rmm.delegate(mine).unwrap()).unwrap();
                    }
                });
            }
        });
    });
    let balance = ledger.balance();
    let moved = u64::try_from(usize::from(THREADS) * 4 * ROUNDS).unwrap();
    assert_eq!((balance.delegated, balance.returned), (moved, moved));
    assert_eq!(model.census().undelegated, model.census().total);
}

#[test]
#[cfg_attr(miri, ignore = "as with three, in the same time")]
fn eight_threads_use_one() {
    threads(1);
}

#[test]
fn eight_threads_use_three() {
    threads(3);
}

#[test]
fn a_replay_can_be_at_the_other_end() {
    let text = "rmi-recording 1 2.0-bet3\ncall 0 c4000150 20000 = 0 1 2\n";
    let replay = Replay::new(text.parse::<Transcript>().unwrap());
    let (remote, server) = remote::pair(replay.open_sessions());
    std::thread::scope(|scope| {
        scope.spawn(|| server.serve(&replay));
        assert_eq!(call(&remote, 0xc400_0150, 0x2_0000), [0, 1, 2, 0, 0, 0, 0, 0]);
        drop(remote);
    });
    assert_eq!((replay.divergence(), replay.remaining()), (None, 0));
}

#[expect(unsafe_code, reason = "a call to what has no memory of this program")]
fn call(conduit: &impl Conduit, x0: u64, x1: u64) -> [u64; 8] {
    // SAFETY: nothing of this program is affected.
    unsafe { conduit.call([x0, x1, 0, 0, 0, 0, 0, 0]) }
}

#[expect(unsafe_code, reason = "memory that is not of this program")]
#[test]
fn sound_2_a_call_without_a_server_was_not_sent() {
    let sessions = OpenSessions::new(Machine::simulated());
    let (remote, server) = remote::pair(&sessions);
    drop(server);
    assert_eq!(call(&remote, 0xc400_0150, 0x2_0000), NOT_SENT);
    let at = Pa::new(0x8000_0000);
    // SAFETY: nothing of this program is affected.
    let read = unsafe { remote.read(at, &mut [0; 8]) };
    // SAFETY: as above.
    let written = unsafe { remote.write(at, &[0; 8]) };
    assert_eq!((read, written), (Err(AccessFault { at }), Err(AccessFault { at })));
}

/// Makes the call that it was told, and panics before it answers.
struct Dying<'m> {
    model: &'m Model,
    fid: u64,
}

#[expect(unsafe_code, reason = "a conduit passes the caller's promise on")]
mod dying {
    use super::*;

    // SAFETY: the answers are the model's.
    unsafe impl Conduit for Dying<'_> {
        fn open_sessions(&self) -> &rmi_host::OpenSessions {
            self.model.open_sessions()
        }

        unsafe fn call(&self, registers: Registers) -> Registers {
            // SAFETY: the caller's promise is passed on unchanged.
            let answer = unsafe { self.model.call(registers) };
            assert_ne!(registers[0], self.fid, "a panic on purpose");
            answer
        }
    }

    // SAFETY: the memory is the model's.
    unsafe impl HostAccess for Dying<'_> {
        fn machine(&self) -> Machine {
            self.model.machine()
        }

        unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
            // SAFETY: the caller's promise is passed on unchanged.
            unsafe { self.model.read(at, into) }
        }

        unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
            // SAFETY: the caller's promise is passed on unchanged.
            unsafe { self.model.write(at, from) }
        }
    }
}

#[test]
fn sound_2_memory_is_the_rmms_when_its_server_ends_after_the_call() {
    let dialect = Dialect::TfRmm2026_07;
    let model = Model::new(Options::new(dialect)).unwrap();
    let mut memory = model.take_memory();
    let (remote, server) = remote::pair(model.open_sessions());
    let fid = Command::GranuleRangeDelegate.fid(dialect).unwrap().0.into();
    let dying = Dying { model: &model, fid };
    std::thread::scope(|scope| {
        let serving = scope.spawn(move || server.serve(&dying));
        let rmm = rmm_model::open(remote.into_host(), &mut memory).unwrap();
        let failed = rmm.delegate(memory.take_front(0x2000).unwrap()).unwrap_err();
        assert!(matches!(failed.error, Error::NoAnswer { .. }), "{failed:?}");
        assert!(!failed.error.is_clean() && failed.error.status().is_none());
        assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (0x2000, 0));
        let state = model.granule_state(failed.delegated.base());
        assert_eq!(state, Some(GranuleState::Delegated));

        // The server thread has ended. What it is asked now, it has not received.
        assert!(serving.join().is_err());
        let failed = rmm.delegate(memory.take_front(0x2000).unwrap()).unwrap_err();
        assert!(matches!(failed.error, Error::NotSent { .. }), "{failed:?}");
        assert!(failed.error.is_clean() && !failed.error.is_not_supported());
        assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (0, 0x2000));
    });
    assert_eq!(model.census().delegated, 1);
}

#[expect(unsafe_code, reason = "memory that is not of this program")]
#[test]
fn faults_come_back_through_the_channel() {
    let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
    let beyond = PaRange::with_size(model.options().dram.top(), 0x1000).unwrap();
    let (remote, server) = remote::pair(model.open_sessions());
    std::thread::scope(|scope| {
        scope.spawn(|| server.serve(&model));
        let at = beyond.base();
        // SAFETY: nothing of this program is affected.
        assert_eq!(unsafe { remote.read(at, &mut [0; 8]) }, Err(AccessFault { at }));
        // SAFETY: as above.
        assert_eq!(unsafe { remote.write(at, &[0; 8]) }, Err(AccessFault { at }));
        drop(remote);
    });
}
