//! A small VMM on the model RMM: its own page allocator, four virtual CPUs on four threads, an
//! interrupt controller, a UART, a disk behind a shared buffer, memory that is unplugged, a pause,
//! a reset and a shutdown.
//!
//! `cargo run --release --example vmm [-- DIALECT]`

#[path = "../shared/cpus.rs"]
mod cpus;
mod devices;
mod guest;
mod memory;
#[path = "../shared/output.rs"]
mod output;
mod vcpu;
mod vmm;

use std::process::ExitCode;

use realm_sdk::Error;
use realm_sdk::abi::{Dialect, PaRange};
use realm_sdk::builder::Records;
use realm_sdk::host::{CountingLedger, Host, SessionOptions};
use realm_sdk::rec::set::SystemEnd;
use realm_sdk::sro::{HostAllocator, HostMemory, open};
use rmm_model::{Model, Options};

use cpus::{CPU, Cpus};
use memory::{Frames, STOCK, ThreadMemory};
use output::say;
use vmm::Vmm;

/// Runs one Realm, and the next one after a reset, until one turns itself off.
fn main() -> Result<ExitCode, Error> {
    // On hardware: the SMC instruction, and memory of the host's allocator.
    // The name of a dialect is the only argument, for the model: the session finds it out.
    let dialect = std::env::args().nth(1).map_or(Ok(Dialect::TfRmm2026_07), |name| name.parse())?;
    let mut options = Options::new(dialect);
    options.dram = PaRange::with_size(options.dram.base(), 64 << 20)?;
    let Ok(model) = Model::new(options) else { unreachable!("a valid model") };
    let machine = model.calling_cpu(|| CPU.get().into());
    let frames = Frames::new();
    drop(frames.free(model.take_memory()));
    let total = frames.bytes();

    let ledger = CountingLedger::new();
    let platform = Host::new(&machine, &machine).with_ledger(&ledger);
    let mut memory = ThreadMemory::new(&frames, STOCK);
    let session = open(platform, SessionOptions::default(), memory.pool())?;
    say!("vmm  | the RMM has dialect {}", session.dialect());

    // Each Realm gets the storage of the one before it.
    let cpus = Cpus(&model);
    let mut storage = Records::growing();
    let mut rims = Vec::new();
    loop {
        let vmm = Vmm::build(&session, &cpus, storage, &mut memory, rims.is_empty())?;
        rims.push(vmm.rim());
        say!("vmm  | RIM {}", vmm.rim());
        let ended = vmm.run(&frames);
        storage = vmm.tear_down(&mut memory);
        match ended? {
            SystemEnd::Reset => say!("vmm  | reset: the same Realm again"),
            _ => break,
        }
    }
    rims.dedup();

    let closed = session.close(memory.pool())?;
    say!("vmm  | the RMM is {}", if closed.deactivated { "inactive" } else { "still active" });
    memory.drain_host();
    let balance = ledger.balance();
    say!("vmm  | {} of {} KiB are free", frames.bytes() >> 10, total >> 10);
    say!("balance: {balance}");
    let is_right = rims.len() == 1 && balance.outstanding() == 0 && frames.bytes() == total;
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
