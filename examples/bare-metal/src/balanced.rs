//! A session around what uses it, at whose end all memory is back.

use alloc::boxed::Box;
use alloc::format;

use realm_sdk::conduits::counting::Counting;
use realm_sdk::host::{CountingLedger, Host, SessionOptions};
use realm_sdk::sro::{HostMemory, Session, open};

use crate::diagnosis::explain;
use crate::fixture::FixtureHost;
use crate::frames::{CpuMemory, STOCK};
use crate::machine::Machine;
use crate::report::{Stop, Summary};

/// What runs in the session: it counts its outcomes in the summary.
pub(crate) type Work<'w, M> = dyn FnMut(
        &Session<FixtureHost<'_, M>>,
        &Counting<&<M as Machine>::Conduit>,
        &mut CpuMemory<'_>,
        &mut Summary,
    ) + 'w;

/// Opens a session, does `work`, and closes it; prints the lines `{prefix}session` (if that
/// fails) and `{prefix}balance`, the calls to the RMM if `has_table`, and the summary.
pub(crate) fn in_session<M: Machine>(
    machine: &M,
    prefix: &str,
    has_table: bool,
    work: &mut Work<'_, M>,
) -> Summary {
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
            let outcome = Err(Stop::failed(explain(&failed.error)));
            summary.print(machine, &format!("{prefix}session"), outcome);
            machine.print(format_args!("{summary}"));
            return summary;
        }
    };
    let dialect = session.dialect();
    work(&session, &conduit, &mut memory, &mut summary);
    let closed = session.close(memory.pool());
    memory.drain_host();
    let (balance, now) = (ledger.balance(), frames.bytes());
    let outcome = match closed {
        Err(failed) => Err(Stop::failed(failed.error)),
        Ok(_) if balance.outstanding() == 0 && now == free => Ok(format!("{balance}")),
        Ok(_) => Err(Stop::failed(format_args!("{now} of {free} bytes are free; {balance}"))),
    };
    summary.print(machine, &format!("{prefix}balance"), outcome);
    if has_table {
        machine.print(format_args!("{}", conduit.report(dialect)));
    }
    machine.print(format_args!("{summary}"));
    summary
}
