//! The machine: a model RMM, and the host's memory.

use std::fmt::Arguments;

use realm_sdk::abi::address::MIN_GRANULE;
use realm_sdk::abi::desc::BlockSize;
use realm_sdk::abi::{GranuleSize, Pa, PaRange};
use realm_sdk::conduits::counting::Counting;
use realm_sdk::conduits::tracing::Tracing;
use realm_sdk::host::granules::{AnyGranules, HostOwned};
use realm_sdk::host::{Balance, CountingLedger, FixedQuarantine, Host, Undelegated};
use realm_sdk::sro::GranuleSet;
use rmm_model::{Model, Options as ModelOptions};

use crate::Failure;
use crate::cli::Options;
use crate::image::Image;
use crate::lifecycle::{self, Plan};
use crate::output::{complain, say};
use crate::{output, report};

/// How calls reach the model: counted, and printed if wanted.
pub(crate) type TracedConduit<'m> = Counting<Tracing<&'m Model, fn(Arguments<'_>), &'m Model>>;

/// The platform of the session.
pub(crate) type Board<'m> =
    Host<&'m TracedConduit<'m>, &'m Model, &'m CountingLedger, &'m FixedQuarantine<64>>;

const MIB: u64 = 1 << 20;

/// The host's memory that is free now.
pub(crate) struct HostHeap {
    free: GranuleSet<HostOwned, Vec<AnyGranules>>,
    whole: PaRange,
}

impl HostHeap {
    fn new(memory: Undelegated) -> Self {
        let whole = memory.range();
        let mut free = GranuleSet::new((0..256).map(|_| AnyGranules::empty()).collect::<Vec<_>>());
        if free.insert(memory).is_err() {
            unreachable!("the set is empty");
        }
        Self { free, whole }
    }

    /// Takes contiguous memory.
    pub(crate) fn take(&mut self, bytes: u64, alignment: u64) -> Result<Undelegated, Failure> {
        let short = || {
            Failure::Broken(format!(
                "the host has no {} KiB aligned to {} KiB left",
                bytes >> 10,
                alignment >> 10
            ))
        };
        self.free.take(bytes, alignment).ok_or_else(short)
    }

    /// Takes memory back.
    pub(crate) fn put(&mut self, memory: Undelegated) {
        if let Err(refused) = self.free.insert(memory) {
            // More than 256 gaps: the final check reports it.
            complain!("host heap full, {} dropped", refused.range());
        }
    }

    /// Whether all memory is back.
    fn is_whole(&self) -> bool {
        self.free.iter().eq([self.whole])
    }
}

/// Runs the example and returns whether every granule is back with the host.
///
/// Errors of the input that can be found without an RMM are found before there is one; then nothing
/// else is printed.
pub(crate) fn run(options: &Options) -> Result<bool, Failure> {
    let ram = options.ram_mib.checked_mul(MIB).filter(|ram| *ram > 0 && *ram <= 32 << 30);
    let Some(ram) = ram else {
        let mib = options.ram_mib;
        return Err(Failure::Input(format!("{mib} MiB of RAM are not within 1 to 32768")));
    };
    let most = ram.saturating_sub(lifecycle::EXPERIMENTS);
    let image = Image::load(options.image.as_deref(), options.pad, most).map_err(Failure::Input)?;
    let plan = Plan::new(options, &image, ram)?;

    let mut model_options = ModelOptions::new(options.dialect);
    if options.range_capable {
        model_options = model_options.range_capable();
    }
    model_options.yield_every = options.yield_every;
    model_options.busy_every = options.busy_every;
    // RAM, the memory that the host needs in addition, and space to align both.
    let mut dram = (ram + 64 * MIB).next_multiple_of(1 << 30) + (1 << 30);
    if options.granule != GranuleSize::Size4KiB {
        model_options = model_options.with_all_granules();
        dram += 4 * BlockSize::Level2.bytes(options.granule);
    }
    model_options.dram = PaRange::with_size(Pa::new(0x8000_0000), dram)?;
    let model = Model::new(model_options).map_err(|error| Failure::Input(error.to_string()))?;

    let print: fn(Arguments<'_>) = output::print_trace;
    let tracing = Tracing::with_exits(&model, &model, print, options.dialect);
    tracing.silence(!options.trace);
    let conduit = Counting::new(tracing);
    let ledger = CountingLedger::new();
    let quarantine = FixedQuarantine::new();
    let board = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let mut heap = HostHeap::new(model.take_memory());

    let result = lifecycle::run_realm(options, &image, &plan, &model, board, &mut heap)
        .map_err(|failure| failure.in_granules(options.granule));

    let balance = ledger.balance();
    if result.as_ref().is_err_and(Failure::is_input) && balance == Balance::default() {
        // Refused before the RMM was given anything: there is nothing to account for.
        return result.map(|()| true);
    }
    report::calls(&conduit, options.dialect);
    quarantine.for_each(|range, reason| say!("quarantined {range}: {reason}"));
    say!("balance: {balance}");
    let census = model.census();
    let exact = balance.outstanding() == 0
        && balance.quarantined == 0
        && balance.dropped_operations == 0
        && model.open_operations() == 0
        && census.undelegated == census.total
        && heap.is_whole();
    say!(
        "the model has {} of {} granules of {} KiB undelegated: {}",
        census.undelegated,
        census.total,
        MIN_GRANULE >> 10,
        if exact { "exact" } else { "not exact" }
    );
    result.map(|()| exact)
}
