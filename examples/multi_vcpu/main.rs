//! A Realm with eight virtual CPUs on eight threads, on the model RMM: CPUs are turned on and off,
//! call each other by IPIs, use devices, give memory up and share it, while the host kicks and
//! pauses them at random. It ends with the balance of memory.
//!
//! `cargo run --release --example multi_vcpu -- --seconds 60 --dialect 2.0-bet3`

mod cli;
#[path = "../shared/cpus.rs"]
mod cpus;
mod device;
mod guest;
mod host;
mod layout;
#[path = "../vmm/memory.rs"]
mod memory;
#[path = "../shared/output.rs"]
mod output;
mod random;
mod vcpu;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use realm_sdk::Error;
use realm_sdk::abi::{IpaRange, PaRange};
use realm_sdk::builder::{Active, Content, Realm, RealmConfig, RecStart, Records, Region};
use realm_sdk::host::{CountingLedger, Host as SdkHost, Platform, Rmm, SessionOptions};
use realm_sdk::rec::Rec;
use realm_sdk::rec::gic::{RealmGic, RecInterface};
use realm_sdk::rec::mmio::{MmioBus, MmioDevice, PL011_SIZE, Pl011};
use realm_sdk::rec::set::{ExitKind, RecSet};
use realm_sdk::sro::{HostAllocator, HostMemory, open};
use realm_sdk::vgic::{Gic, GicConfig, GicStorage, SpiIntid, VirtualInterface, Vtr};
use rmm_model::{AsyncGuest, Model, Options as ModelOptions};

use cli::Options;
use cpus::{CPU, Cpus};
use device::Device;
use guest::Program;
use host::{Host, Tally, Terminal};
use layout::{DEVICE, DEVICE_SPI, DISTRIBUTOR, IMAGE, REDISTRIBUTORS, UART, UART_SPI, VCPUS};
use memory::{Frames, STOCK, ThreadMemory};
use output::{complain, say};

/// The image: the guest of the model does not execute it.
const IMAGE_CONTENT: [u8; 0x4000] = [0x1f; 0x4000];

fn main() -> ExitCode {
    let options = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            say!("{}", cli::help());
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            complain!("error: {message}");
            return ExitCode::from(2);
        }
    };
    // An RMM that reports how many list registers there are reports as many.
    let vtr = Vtr::of_run_page(options.list_registers.saturating_sub(1));
    let mut model_options = ModelOptions::new(options.dialect).with_vtr(vtr);
    model_options.list_registers = options.list_registers;
    model_options.yield_every = options.yield_every;
    model_options.busy_every = options.busy_every;
    let dram = PaRange::with_size_or_empty(model_options.dram.base(), 128 << 20);
    model_options.dram = dram;
    let model = match Model::new(model_options) {
        Ok(model) => model,
        Err(error) => {
            complain!("error: {error}");
            return ExitCode::from(2);
        }
    };
    // A tick is a microsecond.
    let start = Instant::now();
    let ticks = move || u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    model.set_clock(Box::new(ticks));
    match run(&model, &options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a Realm; returns whether nothing was wrong and all memory is back.
fn run(model: &Model, options: &Options) -> Result<bool, Error> {
    let machine = model.calling_cpu(|| CPU.get().into());
    let frames = Frames::new();
    drop(frames.free(model.take_memory()));
    let total = frames.bytes();
    let ledger = CountingLedger::new();
    let platform = SdkHost::new(&machine, &machine).with_ledger(&ledger);
    let mut memory = ThreadMemory::new(&frames, STOCK);
    let session = open(platform, SessionOptions::default(), memory.pool())?;
    say!("dialect {}", session.dialect());

    let is_right = run_realm(&session, model, &frames, &mut memory, options)?;

    let _ = session.close(memory.pool())?;
    memory.drain_host();
    let balance = ledger.balance();
    say!("{} of {} KiB are free", frames.bytes() >> 10, total >> 10);
    say!("balance: {balance}");
    let is_exact = balance.outstanding() == 0
        && balance.quarantined == 0
        && model.open_operations() == 0
        && model.census().undelegated == model.census().total
        && frames.bytes() == total;
    Ok(is_right && is_exact)
}

/// Builds the Realm, runs it, and tears it down; returns whether nothing was wrong.
fn run_realm<P: Platform<Conduit: Sync, Lock: Send + Sync> + Sync>(
    rmm: &Rmm<P>,
    model: &Model,
    frames: &Frames,
    memory: &mut ThreadMemory<'_>,
    options: &Options,
) -> Result<bool, Error> {
    let take = |bytes| frames.allocate(bytes, 0x1000).unwrap_or_default();
    let config = RealmConfig::new(layout::IPA_WIDTH);
    let mut realm = Realm::create(rmm, &config, Records::growing(), memory)?;
    let mut regions = [
        Region::new(IMAGE, take(0x4000), Content::Measured(&IMAGE_CONTENT)),
        Region::without_memory(layout::ram().base(), layout::ram().bytes()),
    ];
    realm.populate(memory, &mut regions)?;
    let cpus = Cpus(model);
    let mut set = RecSet::with_capacity(VCPUS, &cpus);
    let (geometry, seed) = (realm.geometry(), options.seed);
    for index in 0..VCPUS {
        let start = RecStart { runnable: index == 0, pc: IMAGE, gprs: [0; 8] };
        let rec = Rec::new(realm.create_rec(memory, &start)?, take(0x1000), geometry);
        if let Err(failed) = set.add(rec, index == 0) {
            complain!("error: {}", failed.error);
            return Ok(false);
        }
        let program = move |cpu| Program::new(cpu, index, geometry, seed).run();
        model.set_guest(realm.rd().pa(), index as u64, Box::new(AsyncGuest::new(program)));
    }
    let realm = realm.activate()?;

    let tally = run_active(&realm, model, &set, frames, options)?;

    let (objects, pages): (Vec<_>, Vec<_>) = set.drain().map(Rec::into_parts).unzip();
    let ended = realm.tear_down(memory, objects);
    pages.into_iter().for_each(|page| drop(memory.allocator().free(page)));
    if let Some(error) = ended.error {
        complain!("the Realm is not gone: {error}");
    }
    let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(number(&tally.failures) == 0 && number(&tally.lost) == 0)
}

/// Runs an active Realm until it has turned itself off.
fn run_active<P: Platform<Conduit: Sync, Lock: Send + Sync> + Sync>(
    realm: &Realm<'_, P, Active>,
    model: &Model,
    set: &RecSet<'_>,
    frames: &Frames,
    options: &Options,
) -> Result<Tally, Error> {
    let storage = GicStorage::<VCPUS, 32>::new();
    let affinities: Vec<_> = set.affinities().collect();
    let vtr = RecInterface::new(realm.rmm(), model.cpu(0)).vtr();
    let config = GicConfig { affinities: &affinities, spis: 32, vtr };
    let Ok(gic) = Gic::new(&storage, &config) else { unreachable!("valid affinities") };
    let Ok(gic) = RealmGic::new(&gic, set) else { unreachable!("the RECs of the set") };
    let (Some(uart_spi), Some(device_spi)) = (SpiIntid::new(UART_SPI), SpiIntid::new(DEVICE_SPI))
    else {
        unreachable!("both are SPIs")
    };
    let printed = AtomicU64::new(0);
    let uart: Pl011<_> = Pl011::new(Terminal { gic, spi: uart_spi, printed: &printed });
    let type_in = |bytes: &[u8]| uart.push(bytes);
    let set_line = move |level| gic.set_spi(device_spi, level);
    let device = Device::new(realm, &set_line);
    let (distributor, redistributors) = (gic.distributor(), gic.redistributors());
    let devices: [(u64, u64, &dyn MmioDevice); 4] = [
        (DISTRIBUTOR, distributor.bytes(), &distributor),
        (REDISTRIBUTORS, redistributors.bytes(), &redistributors),
        (UART, PL011_SIZE, &uart),
        (DEVICE, 0x1000, &device),
    ];
    let mut bus = MmioBus::new(realm.geometry());
    for (offset, bytes, device) in devices {
        let base = layout::unprotected(realm.geometry(), offset);
        let added = bus.add(IpaRange::with_size(base, bytes)?, device);
        assert_eq!(added, Ok(()), "the devices of the example are apart");
    }
    let host = Host {
        realm,
        model,
        set,
        gic,
        bus: &bus,
        device: &device,
        type_in: &type_in,
        has_given_up: AtomicBool::new(false),
        tally: Tally::default(),
    };
    host.run(frames, options)?;
    report(&host, printed.load(Ordering::Relaxed));
    Ok(host.tally)
}

/// Prints what happened.
fn report<P: Platform>(host: &Host<'_, P>, printed: u64) {
    for kind in ExitKind::ALL {
        let statistics = (0..VCPUS).filter_map(|index| host.set.statistics(index));
        let exits: u64 = statistics.map(|statistics| statistics.exits(kind)).sum();
        if exits > 0 {
            say!("{exits:>9} exits: {kind:?}");
        }
    }
    let Tally { kicks, pauses, raised, typed, turned_off, lost, failures } = &host.tally;
    let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    say!("{} kicks, {} pauses", number(kicks), number(pauses));
    say!("{} device interrupts, {} bytes typed, {printed} printed", number(raised), number(typed));
    say!("{} times turned off", number(turned_off));
    failures.fetch_add(host.device.failures(), Ordering::Relaxed);
    if host.has_given_up.load(Ordering::Relaxed) {
        failures.fetch_add(1, Ordering::Relaxed);
    }
    say!("{} interrupts lost, {} failures", number(lost), number(failures));
}
