//! Arm's Realm payload of TF-A-Tests, served by this host: the tests that need one REC.
//!
//! The payload is a file in the archive ([`PAYLOAD`]). It asks the host for a buffer in shared
//! memory, finds there which test it is to run, and tells the result by a host call. Each test has
//! a Realm of its own.
//!
//! Source: TF-A-Tests of August 2026, `realm/realm_payload_main.c`,
//! `include/runtime_services/host_realm_managment/host_shared_data.h`.

mod realm;
mod tests;

use alloc::boxed::Box;
use alloc::format;
use core::time::Duration;

use realm_sdk::conduits::counting::Counting;
use realm_sdk::host::{CountingLedger, Host, SessionOptions};
use realm_sdk::sro::{HostMemory, open};

use crate::frames::{CpuMemory, STOCK};
use crate::machine::Machine;
use crate::report::{Outcome, Stop, Summary};
use realm::TestRealm;

/// The name of the payload in the archive: `realm.bin` of TF-A-Tests.
pub const PAYLOAD: &str = "realm.bin";

/// Runs all tests that need one REC, on this CPU, and prints a line for each, and the balance. A
/// command that takes longer than `limit` has failed.
pub fn run<M: Machine>(machine: &M, payload: &[u8], limit: Duration) -> Summary {
    let conduit = Box::new(Counting::new(machine.conduit()));
    let ledger = CountingLedger::new();
    let (frames, mut summary) = (machine.memory(), Summary::default());
    let free = frames.bytes();
    let host = Host::new(&*conduit, machine.access()).with_ledger(&ledger).with_relax(M::relax);
    let mut memory = CpuMemory::new(frames, STOCK);
    let session = match open(host, SessionOptions::default(), memory.pool()) {
        Ok(session) => session,
        Err(failed) => {
            memory.drain_host();
            summary.print(machine, "session", Err(Stop::failed(failed.error)));
            machine.print(format_args!("{summary}"));
            return summary;
        }
    };
    let realm = TestRealm { machine, rmm: &session, payload, limit };
    let outcome = realm.cost(&mut memory, &|| conduit.total().issued);
    memory.drain(&session);
    summary.print(machine, "cost", outcome);
    for test in tests::ALL {
        let outcome = realm.run(&mut memory, test);
        memory.drain(&session);
        summary.print(machine, test.name, outcome);
    }
    let closed = session.close(memory.pool());
    memory.drain_host();
    let (balance, now) = (ledger.balance(), frames.bytes());
    let outcome: Outcome = match closed {
        Err(failed) => Err(Stop::failed(failed.error)),
        Ok(_) if balance.outstanding() == 0 && now == free => Ok(format!("{balance}")),
        Ok(_) => Err(Stop::failed(format_args!("{now} of {free} bytes are free; {balance}"))),
    };
    summary.print(machine, "balance", outcome);
    machine.print(format_args!("{summary}"));
    summary
}
