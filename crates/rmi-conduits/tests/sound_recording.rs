//! Which memory a recording reads.
#![expect(unsafe_code, reason = "a conduit and an access that pretend to be the machine's")]

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use rmi_abi::{Command, Dialect, Pa};
use rmi_conduits::recording::Recording;
use rmi_conduits::tracing::WriteSink;
use rmi_host::{AccessFault, Conduit, HostAccess, Machine, Registers, Simulated};

/// Answers every call with success, on the machine that the program runs on; counts what is read.
#[derive(Default)]
struct Pretence {
    reads: AtomicU64,
}

// SAFETY: it takes no memory away; see `Simulated` below.
unsafe impl Conduit for Pretence {
    fn open_sessions(&self) -> &rmi_host::OpenSessions {
        rmi_host::OpenSessions::of_this_machine()
    }

    unsafe fn call(&self, _: Registers) -> Registers {
        [0; 8]
    }
}

// SAFETY: no memory is touched.
unsafe impl Simulated for Pretence {}

// SAFETY: no memory is touched.
unsafe impl HostAccess for Pretence {
    fn machine(&self) -> Machine {
        Machine::REAL
    }

    unsafe fn read(&self, _: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        into.fill(0);
        Ok(())
    }

    unsafe fn write(&self, _: Pa, _: &[u8]) -> Result<(), AccessFault> {
        Ok(())
    }
}

/// In a dialect that is not the session's, an argument may be taken for the address of a page. So
/// memory of the program is read only on an unsafe promise.
#[test]
fn sound_9_a_recording_reads_memory_of_the_program_by_promise_only() {
    let dialect = Dialect::V2_0Bet3;
    let fid = Command::RmmConfigSet.fid(dialect).unwrap().0.into();
    let call = [fid, 0x8000_0000, 0, 0, 0, 0, 0, 0];
    let sink = || WriteSink::new(RefCell::new(String::new()));
    let pretence = Pretence::default();
    let recording = Recording::new(&pretence, &pretence, sink(), dialect);
    // SAFETY: no RMM is behind it.
    unsafe { recording.call(call) };
    assert_eq!(pretence.reads.load(Ordering::Relaxed), 0);
    // SAFETY: the call is one of the dialect.
    let recording = unsafe { Recording::of_real(&pretence, &pretence, sink(), dialect) };
    // SAFETY: as above.
    unsafe { recording.call(call) };
    assert_eq!(pretence.reads.load(Ordering::Relaxed), 1);
}
