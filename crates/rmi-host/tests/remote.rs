//! A model in another thread.
#![cfg(feature = "std")]
#![expect(clippy::unwrap_used, reason = "tests")]

use rmi_abi::{Dialect, Pa, PaRange};
use rmi_host::replay::{Replay, Transcript};
use rmi_host::{
    AccessFault, Conduit, CountingLedger, Discovered, HostAccess, Machine, SessionOptions, remote,
};
use rmm_model::{Model, Options};

const ROUNDS: usize = if cfg!(miri) { 2 } else { 100 };

/// Eight host threads delegate, write and undelegate through one door to `servers` threads.
fn eight_threads(servers: u32) {
    let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let (remote, server) = remote::pair(model.machine());
    std::thread::scope(|scope| {
        for number in 0..servers {
            let (server, model) = (&server, &model);
            scope.spawn(move || server.serve(&model.cpu(number)));
        }
        let platform = remote.into_host().with_ledger(&ledger);
        let found = Discovered::probe(platform, SessionOptions::default()).unwrap();
        let _ = found.start_activation().unwrap();
        let rmm = found.into_active();
        std::thread::scope(|scope| {
            for number in 0..8u8 {
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
    let moved = u64::try_from(8 * 4 * ROUNDS).unwrap();
    assert_eq!((balance.delegated, balance.returned), (moved, moved));
    assert_eq!(model.census().undelegated, model.census().total);
}

#[test]
fn eight_threads_use_one() {
    eight_threads(1);
}

#[test]
fn eight_threads_use_three() {
    eight_threads(3);
}

#[test]
fn a_replay_can_be_at_the_other_end() {
    let text = "rmi-recording 1 2.0-bet3\ncall 0 c4000150 20000 = 0 1 2\n";
    let replay = Replay::new(text.parse::<Transcript>().unwrap());
    let (remote, server) = remote::pair(replay.machine());
    std::thread::scope(|scope| {
        scope.spawn(|| server.serve(&replay));
        assert_eq!(call(&remote, 0xc400_0150, 0x2_0000), [0, 1, 2, 0, 0, 0, 0, 0]);
        drop(remote);
    });
    assert_eq!((replay.divergence(), replay.remaining()), (None, 0));
}

#[expect(unsafe_code, reason = "a call to what has no memory of this program")]
fn call(door: &impl Conduit, x0: u64, x1: u64) -> [u64; 8] {
    // SAFETY: nothing of this program is at stake.
    unsafe { door.call([x0, x1, 0, 0, 0, 0, 0, 0]) }
}

#[expect(unsafe_code, reason = "memory that is not of this program")]
#[test]
fn nobody_at_the_other_end_is_no_rmm() {
    let (remote, server) = remote::pair(Machine::simulated());
    drop(server);
    assert_eq!(call(&remote, 0xc400_0150, 0x2_0000), [u64::MAX, 0, 0, 0, 0, 0, 0, 0]);
    let at = Pa::new(0x8000_0000);
    // SAFETY: nothing of this program is at stake.
    let read = unsafe { remote.read(at, &mut [0; 8]) };
    // SAFETY: as above.
    let written = unsafe { remote.write(at, &[0; 8]) };
    assert_eq!((read, written), (Err(AccessFault { at }), Err(AccessFault { at })));
}

#[expect(unsafe_code, reason = "memory that is not of this program")]
#[test]
fn faults_come_back_through_the_channel() {
    let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
    let beyond = PaRange::with_size(model.options().dram.top(), 0x1000).unwrap();
    let (remote, server) = remote::pair(model.machine());
    std::thread::scope(|scope| {
        scope.spawn(|| server.serve(&model));
        let at = beyond.base();
        // SAFETY: nothing of this program is at stake.
        assert_eq!(unsafe { remote.read(at, &mut [0; 8]) }, Err(AccessFault { at }));
        // SAFETY: as above.
        assert_eq!(unsafe { remote.write(at, &[0; 8]) }, Err(AccessFault { at }));
        drop(remote);
    });
}
