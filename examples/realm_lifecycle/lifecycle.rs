//! The Realm from creation to destruction, step by step.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use realm_sdk::abi::desc::BlockSize;
use realm_sdk::abi::realm::HashAlgorithm;
use realm_sdk::abi::rec::Mpidr;
use realm_sdk::abi::rtt::Geometry;
use realm_sdk::abi::{GranuleSize, Ipa, IpaRange};
use realm_sdk::builder::{
    AnyRealm, Content, FixedRecords, New, Realm, RealmConfig, RecStart, Records, Region,
    ShadowTable, plan,
};
use realm_sdk::host::{Platform, Rmm, SessionOptions};
use realm_sdk::rec::gic::RecInterface;
use realm_sdk::rec::{Answer, Kick, Rec, RunEnd};
use realm_sdk::sro::{self, CallbackMemory, FixedPool, Pool, RecObject, Session};
use realm_sdk::vgic::{InterfaceState, VirtualInterface};
use rmm_model::Model;

use crate::Failure;
use crate::board::{self, Vcpus};
use crate::cli::Options;
use crate::console::Console;
use crate::guest::{First, Layout, Second};
use crate::image::Image;
use crate::machine::{Board, HostHeap};
use crate::output::say;
use crate::report;

/// Start of RAM in the Realm.
const RAM_BASE: u64 = 0x4000_0000;
/// The part at the end of RAM that the guest uses for a mailbox and RIPAS changes, in bytes.
pub(crate) const EXPERIMENTS: u64 = 4 << 20;
/// RECs of the Realm.
const RECS: u32 = 2;
/// Bytes that are populated before the progress bar moves. Smaller parts would take more calls.
const PART: u64 = 1 << 30;
/// Granules of a REC: its own, and what TF-RMM asks for.
const REC_GRANULES: u64 = 17;
/// Times that a virtual CPU may wait or be interrupted before the host gives up.
const ROUNDS: u32 = 100;

/// The layout of the Realm.
pub(crate) struct Plan {
    geometry: Geometry,
    image: IpaRange,
    /// RAM before and after the image.
    rest: Vec<IpaRange>,
    layout: Layout,
    /// Granules that tables, RECs and the Realm itself take.
    pool: u64,
    /// Translation tables of the Realm, root tables included.
    tables: usize,
}

impl Plan {
    /// Plans without asking an RMM: what is impossible is refused before there is one.
    pub(crate) fn new(options: &Options, image: &Image, ram: u64) -> Result<Self, Failure> {
        let geometry = Geometry::with_granule(options.granule, options.ipa_width)?;
        let ram = IpaRange::with_size(Ipa::new(RAM_BASE), ram)?;
        if !geometry.range_is_protected(&ram) {
            let (mib, width) = (options.ram_mib, options.ipa_width);
            return Err(Failure::Input(format!(
                "{mib} MiB of RAM do not fit into the protected half of {width} bits of IPA space"
            )));
        }
        let too_large = || {
            let need = (image.offset + image.footprint).div_ceil(1 << 20);
            Failure::Input(format!(
                "image {}: too large: it needs {need} MiB of RAM and {} MiB beside it, and the \
                 realm has {}",
                image.name,
                EXPERIMENTS >> 20,
                options.ram_mib
            ))
        };
        let free = ram.bytes().checked_sub(EXPERIMENTS).ok_or_else(too_large)?;
        if image.offset.checked_add(image.footprint).is_none_or(|end| end > free) {
            return Err(too_large());
        }
        let (before, from_image) = ram.split_at(image.offset).ok_or_else(too_large)?;
        let (at, after) =
            from_image.split_at(image.granule_bytes(options.granule)).ok_or_else(too_large)?;
        let (_, end) = ram.split_at(free).ok_or_else(too_large)?;
        let (mailbox, scratch) = end.split_at(2 << 20).ok_or_else(too_large)?;
        let layout = Layout {
            uart: board::uart(geometry.unprotected_base()).base(),
            mailbox: mailbox.base(),
            scratch,
            entry: at.base(),
        };
        let below = plan::tables(geometry, ram, realm_sdk::abi::rtt::Level::L3).count();
        let tables = plan::shadow_tables(geometry, core::iter::once(ram));
        let pool = below as u64
            + u64::from(geometry.root_tables()) * 2
            + u64::from(RECS) * REC_GRANULES
            + 4;
        let rest = [before, after].into_iter().filter(|range| !range.is_empty()).collect();
        Ok(Self { geometry, image: at, rest, layout, pool, tables })
    }
}

/// Runs a Realm from creation to destruction. After any failure, what can be reclaimed is
/// reclaimed.
pub(crate) fn run_realm(
    options: &Options,
    image: &Image,
    plan: &Plan,
    model: &Model,
    platform: Board<'_>,
    heap: &mut HostHeap,
) -> Result<(), Failure> {
    say!(
        "image    {}: {}, {} bytes, to IPA {} to {}",
        image.name,
        image.kind,
        image.content.len(),
        plan.image.base(),
        plan.image.top()
    );

    let mut pool = FixedPool::<128>::new();
    let granule = options.granule.bytes();
    pool.set_granule_size(options.granule);
    if let Err(pages) = pool.add(heap.take(Pool::pages_bytes(options.granule), granule)?) {
        heap.put(pages);
        return Err(Failure::Broken("the pool's pages belong to another machine".into()));
    }
    let granules = options.pool.unwrap_or(plan.pool);
    if granules > 0 {
        let stock = match granules.checked_mul(granule).map(|bytes| heap.take(bytes, 16 * granule))
        {
            Some(Ok(stock)) => stock,
            _ => {
                pool.drain_host(&mut |memory| heap.put(memory));
                return Err(Failure::Input(format!(
                    "the machine does not have {granules} granules for the pool (--pool)"
                )));
            }
        };
        if let Err(stock) = pool.add(stock) {
            heap.put(stock);
        }
    }

    let rmm = match open(options, platform, &mut pool) {
        Ok(rmm) => rmm,
        Err(failure) => {
            pool.drain_host(&mut |memory| heap.put(memory));
            return Err(failure);
        }
    };
    let result = in_session(options, image, plan, model, &rmm, &mut pool, heap);
    // A Realm that could not be destroyed keeps the RMM from being deactivated.
    let closed = match rmm.close(&mut pool) {
        Ok(closed) => closed.kept.is_empty(),
        Err(failed) => result.is_err() && failed.kept.donated().is_empty(),
    };
    pool.drain_host(&mut |memory| heap.put(memory));
    if !closed {
        return result.and(Err(Failure::Broken("the session could not be closed".into())));
    }
    result
}

/// Opens the session.
fn open<'m>(
    options: &Options,
    platform: Board<'m>,
    pool: &mut FixedPool<128>,
) -> Result<Session<Board<'m>>, Failure> {
    // The session detects the dialect; the option is for the model. The tests compare them.
    let mut session_options = SessionOptions::default();
    session_options.granule_size = options.granule;
    let session = sro::open(platform, session_options, pool)?;
    let features = session.features();
    let hashes = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512]
        .into_iter()
        .filter(|hash| features.supports_hash(*hash))
        .map(|hash| hash.to_string())
        .collect::<Vec<_>>();
    say!("rmm      dialect {}, {}", session.dialect(), session.dialect_source());
    say!(
        "rmm      IPA spaces up to {} bits, {}, up to {} RECs",
        features.max_ipa_width(),
        hashes.join(" "),
        features.max_recs()
    );
    if options.granule != GranuleSize::Size4KiB {
        say!("rmm      granules of {} KiB", session.granule_size().bytes() >> 10);
    }
    say!("rmm      {}", if session.was_active() { "was active" } else { "activated" });
    Ok(session)
}

/// Everything that needs a session.
fn in_session<P: Platform>(
    options: &Options,
    image: &Image,
    plan: &Plan,
    model: &Model,
    rmm: &Rmm<P>,
    pool: &mut FixedPool<128>,
    heap: &mut HostHeap,
) -> Result<(), Failure> {
    let mut config = RealmConfig::new(options.ipa_width);
    config.hash = options.hash;
    config.personalization = options.personalization;
    let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(plan.tables).collect();
    let mut fixed = FixedRecords::new();
    let records = Records::new(&mut fixed, &mut tables, &mut []);
    let mut realm = Realm::create(rmm, &config, records, pool)?;
    say!(
        "realm    created: IPA space of {} bits, {}, walk from level {} with {} root tables",
        options.ipa_width,
        options.hash,
        plan.geometry.start_level(),
        plan.geometry.root_tables()
    );

    let mut recs = Vec::new();
    let built = build(image, plan, model, &mut realm, pool, heap, &mut recs);
    let rd = realm.rd().pa();
    let (realm, mut result): (AnyRealm<'_, P>, _) = match built {
        Err(failure) => (realm.into(), Err(failure)),
        Ok(()) => match realm.activate() {
            Err(failed) => (failed.kept.into(), Err(failed.error.into())),
            Ok(active) => {
                let measurement = model.measurement(rd, 0).unwrap_or([0; 64]);
                let digest = measurement
                    .get(..options.hash.digest_bytes().unwrap_or(64))
                    .unwrap_or(&measurement);
                say!("realm    active");
                say!("RIM      {}", report::hex(digest));
                let result = run(plan, model, &active, pool, heap, &mut recs, &measurement);
                (active.into(), result)
            }
        },
    };
    let mut memory = CallbackMemory::freeing(pool, |memory| heap.put(memory));
    let ended = realm.tear_down(&mut memory, recs).error;
    match ended {
        None => say!("realm    terminated and destroyed"),
        Some(error) => result = result.and(Err(error.into())),
    }
    result
}

/// Populates the Realm and creates its RECs.
fn build<P: Platform>(
    image: &Image,
    plan: &Plan,
    model: &Model,
    realm: &mut Realm<'_, P, New>,
    pool: &mut FixedPool<128>,
    heap: &mut HostHeap,
    recs: &mut Vec<RecObject>,
) -> Result<(), Failure> {
    let block = BlockSize::Level2.bytes(realm.rmm().granule_size());
    let mut regions = vec![Region::new(
        plan.image.base(),
        heap.take(plan.image.bytes(), block)?,
        Content::Measured(&image.content),
    )];
    for range in &plan.rest {
        // With the same offset from the boundary of a block in host memory and IPA space, blocks
        // map as much as possible.
        let skew = range.base().raw() % block;
        let mut memory = heap.take(range.bytes() + skew, block)?;
        if let Some(front) = memory.take_front(skew) {
            heap.put(front);
        }
        regions.push(Region::new(range.base(), memory, Content::Unspecified));
    }
    let bar = progress_bar();
    let total = regions.iter().map(|region| region.range().bytes()).sum();
    bar.set_length(total);
    let populated = loop {
        match realm.populate_some(pool, &mut regions, PART) {
            Ok(0) => break Ok(()),
            Ok(left) => bar.set_position(total - left),
            Err(error) => break Err(error),
        }
    };
    bar.finish_and_clear();
    for region in regions {
        heap.put(region.into_memory());
    }
    populated?;
    say!(
        "realm    populated: {} KiB measured, {} KiB unmeasured, {} tables",
        plan.image.bytes() >> 10,
        (realm.memory_bytes() - plan.image.bytes()) >> 10,
        realm.tables()
    );

    let rd = realm.rd().pa();
    let granule = realm.rmm().granule_size().bytes();
    for index in 0..RECS {
        // One run for the REC and the memory that it asks for costs the fewest calls.
        pool.prefill(realm.rmm(), REC_GRANULES * granule, granule)?;
        let start = RecStart { runnable: index == 0, pc: plan.layout.entry, gprs: [0; 8] };
        recs.push(realm.create_rec(pool, &start)?);
    }
    model.set_guest(rd, 0, Box::new(First::new(plan.layout)));
    model.set_guest(rd, 1, Box::new(Second::new(plan.layout)));
    say!("realm    has {} RECs", realm.recs());
    Ok(())
}

fn progress_bar() -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    // Everything but the bar takes 20 columns; the bar takes the rest of the line, if any.
    if let Ok(style) = ProgressStyle::with_template("populate {percent:>3}% {wide_bar} {eta:>4}") {
        bar.set_style(style);
    }
    bar
}

/// Runs both virtual CPUs, in turns on one thread, until the Realm turns itself off.
fn run<P: Platform>(
    plan: &Plan,
    model: &Model,
    realm: &Realm<'_, P, realm_sdk::builder::Active>,
    pool: &mut FixedPool<128>,
    heap: &mut HostHeap,
    recs: &mut Vec<RecObject>,
    measurement: &[u8; 64],
) -> Result<(), Failure> {
    let (rmm, geometry) = (realm.rmm(), realm.geometry());
    let (mut vcpus, mut states) = (Vec::new(), Vec::new());
    let registers = RecInterface::new(rmm, model.cpu(0));
    let interface = InterfaceState::new(registers.vtr());
    while let Some(object) = recs.pop() {
        let granule = rmm.granule_size().bytes();
        match heap.take(granule, granule) {
            Ok(page) => {
                let rec = Rec::new(object, page, geometry);
                let trapped = rec.trap_waiting(true, false);
                vcpus.push(rec);
                states.push((interface, Some(Answer::resume())));
                if let Err(error) = trapped {
                    take_back(vcpus, recs, heap);
                    return Err(error.into());
                }
            }
            Err(failure) => {
                recs.push(object);
                take_back(vcpus, recs, heap);
                return Err(failure);
            }
        }
    }
    vcpus.reverse();
    let mut board = Vcpus {
        console: Console::default(),
        uart: board::uart(geometry.unprotected_base()),
        recs: &vcpus,
        on: vcpus.iter().take(1).map(Rec::mpidr).collect(),
        reported: None,
        system_off: false,
        realm,
        pool,
        registers,
        current: Mpidr::from_index(0),
        interface,
    };
    debug_assert_eq!(plan.layout.uart, board.uart.base());
    let kick = Kick::new();
    let mut result: Result<(), Failure> = Ok(());
    'rounds: for _ in 0..ROUNDS {
        for (rec, (interface, next)) in vcpus.iter().zip(&mut states) {
            if !board.on.contains(&rec.mpidr()) {
                continue;
            }
            let answer = next.take().unwrap_or(Answer::resume());
            (board.current, board.interface) = (rec.mpidr(), *interface);
            let ended = rec.run(rmm, answer, &mut board, &kick);
            *interface = board.interface;
            match ended {
                Ok(RunEnd::Stopped(answer) | RunEnd::Kicked(answer)) => *next = Some(answer),
                Ok(RunEnd::Left) => {}
                Err(failed) => {
                    result = Err(failed.into());
                    break 'rounds;
                }
            }
            if board.system_off {
                break 'rounds;
            }
        }
    }
    let (off, reported) = (board.system_off, board.reported);
    take_back(vcpus, recs, heap);
    result?;
    if !off {
        return Err(Failure::Broken("the realm did not turn itself off".into()));
    }
    if reported.as_ref() != Some(measurement) {
        return Err(Failure::Broken("the realm reports another measurement than the model".into()));
    }
    say!("realm    off; it read the same RIM through RSI");
    Ok(())
}

/// Gives run pages back to the host and RECs back to the caller, which destroys them.
fn take_back(vcpus: Vec<Rec>, recs: &mut Vec<RecObject>, heap: &mut HostHeap) {
    for rec in vcpus {
        let (object, page) = rec.into_parts();
        recs.push(object);
        heap.put(page);
    }
}
