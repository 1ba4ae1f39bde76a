//! Two sessions on one RMM, of which one or both reach it through another thread. Safe code only,
//! but for the RMM in this file.
#![cfg(feature = "std")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use rmi_abi::{Command, Dialect, GranuleSize, Pa, PaRange};
use rmi_conduits::remote::{self, OtherMachine, Remote};
use rmi_host::{
    AccessFault, Conduit, Configured, Discovered, Host, HostAccess, Machine, OpenSessions,
    Platform, Registers, SessionOptions, Undelegated,
};

const DIALECT: Dialect = Dialect::V2_0Bet3;
/// Host memory of the RMM's machine.
const PAGES: u64 = 0x8000_0000;

/// An RMM that has every feature, and takes every configuration as often as it is told.
struct Willing {
    sessions: OpenSessions,
    memory: Mutex<BTreeMap<u64, u8>>,
    changes: Mutex<usize>,
}

impl Willing {
    fn new() -> Self {
        let sessions = OpenSessions::new(Machine::simulated());
        Self { sessions, memory: Mutex::default(), changes: Mutex::default() }
    }

    fn changes(&self) -> usize {
        *self.changes.lock().unwrap()
    }
}

#[expect(unsafe_code, reason = "a conduit and a memory that touch nothing, and a token of it")]
mod willing {
    use super::*;

    // SAFETY: only simulated memory is behind it.
    unsafe impl Conduit for Willing {
        fn open_sessions(&self) -> &OpenSessions {
            &self.sessions
        }

        unsafe fn call(&self, registers: Registers) -> Registers {
            let set = Command::RmmConfigSet.fid(DIALECT).unwrap();
            if registers[0] == u64::from(set.0) {
                *self.changes.lock().unwrap() += 1;
            }
            [0, u64::MAX, 0, 0, 0, 0, 0, 0]
        }
    }

    // SAFETY: only simulated memory is accessed.
    unsafe impl HostAccess for Willing {
        fn machine(&self) -> Machine {
            self.sessions.machine()
        }

        unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
            let memory = self.memory.lock().unwrap();
            for (at, byte) in (at.raw()..).zip(into) {
                *byte = memory.get(&at).copied().unwrap_or(0);
            }
            Ok(())
        }

        unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
            self.memory.lock().unwrap().extend((at.raw()..).zip(from.iter().copied()));
            Ok(())
        }
    }

    /// The `n`-th page of its memory.
    pub(super) fn page(rmm: &Willing, n: u64) -> Undelegated {
        let range = PaRange::with_size(Pa::new(PAGES + n * 0x1000), 0x1000).unwrap();
        // SAFETY: the memory is simulated.
        unsafe { Undelegated::of_machine(rmm.sessions.machine(), range) }
    }
}

/// Opens a session with a page whose first byte, the granule size that the RMM has, is 0: 4 KiB.
fn open<P: Platform>(platform: P, page: Undelegated, size: GranuleSize) -> Configured<P> {
    let mut options = SessionOptions::default();
    options.dialect = Some(DIALECT);
    options.granule_size = size;
    let (found, mut page) = (Discovered::probe(platform, options).unwrap(), page);
    found.configure(&mut page).unwrap()
}

#[test]
fn sound_3_a_session_through_a_remote_leaves_the_configuration_of_another() {
    let rmm = Willing::new();
    let here = open(Host::new(&rmm, &rmm), willing::page(&rmm, 0), GranuleSize::Size4KiB);
    let (remote, server) = remote::pair(rmm.open_sessions());
    thread::scope(|scope| {
        let served = scope.spawn(|| server.serve(&rmm));
        let there = open(remote.into_host(), willing::page(&rmm, 1), GranuleSize::Size64KiB);
        assert_eq!(there.granule_size(), here.granule_size());
        assert_eq!((rmm.changes(), rmm.open_sessions().count()), (0, 2));
        let _ = there.into_platform();
        assert_eq!(served.join().unwrap(), Ok(()));
    });
    assert_eq!(rmm.open_sessions().count(), 1);
    // And the other way round.
    let _ = here.into_platform();
    let (remote, server) = remote::pair(rmm.open_sessions());
    thread::scope(|scope| {
        scope.spawn(|| server.serve(&rmm));
        let there = open(remote.into_host(), willing::page(&rmm, 2), GranuleSize::Size4KiB);
        let here = open(Host::new(&rmm, &rmm), willing::page(&rmm, 3), GranuleSize::Size64KiB);
        assert_eq!(here.granule_size(), there.granule_size());
        assert_eq!(rmm.changes(), 0);
    });
}

#[test]
fn sound_3_sessions_through_two_remotes_have_one_configuration() {
    let rmm = Willing::new();
    let pairs = [remote::pair(rmm.open_sessions()), remote::pair(rmm.open_sessions())];
    let ([one, two], servers): ([Remote<'_>; 2], Vec<_>) = {
        let [(one, one_served), (two, two_served)] = pairs;
        ([one, two], vec![one_served, two_served])
    };
    thread::scope(|scope| {
        for server in &servers {
            let rmm = &rmm;
            scope.spawn(move || server.serve(rmm));
        }
        let first = open(one.into_host(), willing::page(&rmm, 0), GranuleSize::Size4KiB);
        let second = open(two.into_host(), willing::page(&rmm, 1), GranuleSize::Size64KiB);
        assert_eq!(second.granule_size(), first.granule_size());
        assert_eq!(rmm.changes(), 0);
        // Alone again, one may change it.
        let (_, second) = (first.into_platform(), second.into_platform());
        let third = open(second, willing::page(&rmm, 2), GranuleSize::Size64KiB);
        assert_eq!((third.granule_size(), rmm.changes()), (GranuleSize::Size64KiB, 1));
    });
}

#[test]
fn sound_3_a_server_refuses_a_conduit_whose_sessions_are_counted_elsewhere() {
    let rmm = Willing::new();
    // The number of the machine is the same.
    let sessions = OpenSessions::new(rmm.sessions.machine());
    let (remote, server) = remote::pair(&sessions);
    // Nobody is there to be served, so a server that accepts it ends at once.
    drop(remote);
    let refused: OtherMachine = server.serve(&rmm).unwrap_err();
    assert_eq!(refused.served(), rmm.sessions.machine());
}
