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

use core::time::Duration;

use crate::balanced::in_session;
use crate::machine::Machine;
use crate::report::Summary;
use realm::TestRealm;

/// The name of the payload in the archive: `realm.bin` of TF-A-Tests.
pub const PAYLOAD: &str = "realm.bin";

/// Runs all tests that need one REC, on this CPU, and prints a line for each, and the balance. A
/// command that takes longer than `limit` has failed.
pub fn run<M: Machine>(machine: &M, payload: &[u8], limit: Duration) -> Summary {
    in_session(machine, "", false, &mut |session, conduit, memory, summary| {
        let realm = TestRealm { machine, rmm: session, payload, limit };
        let outcome = realm.cost(memory, &|| conduit.total().issued);
        memory.drain(session);
        summary.print(machine, "cost", outcome);
        for test in tests::ALL {
            let outcome = realm.run(memory, test);
            memory.drain(session);
            summary.print(machine, test.name, outcome);
        }
    })
}
