//! The metal half: what the program does with the hardware, and its start.
#![expect(unsafe_code, reason = "taking the machine that the device tree describes")]

mod boot;
mod console;
mod cpu;
mod exceptions;
mod files;
mod gic;
mod heap;
mod instructions;
mod machine;
mod memory;
mod mmu;
mod power;
mod secondary;
mod stacks;
mod tree;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU16, Ordering};
use core::time::Duration;

use bare_metal::board::{self, Board, granules_around};
use bare_metal::{linux, tf_a_tests};
use realm_sdk::abi::{Pa, PaRange};
use realm_sdk::host::smc::SmcConduit;

use crate::metal::console::print;
use crate::metal::machine::Metal;
use crate::metal::memory::Ram;
use crate::metal::tree::DeviceTree;
use crate::platform;

/// Called on the first CPU with X0 to X3 as firmware left them, with interrupts masked, and with
/// the tables of [`boot`].
fn start(x0: u64, x1: u64, x2: u64, x3: u64) -> ! {
    cpu::set_index(0);
    heap::set_up();
    let Some(tree) = tree::find([x0, x1, x2, x3]) else {
        // There is no console to say it on.
        power::off();
    };
    // Before anything that can fail, so that it can be told.
    let console = board::find_console(&tree.bytes).ok().flatten();
    let console = console.and_then(|at| usize::try_from(at.raw()).ok());
    if let Some(console) = console.filter(|at| boot::map_device(*at)) {
        // SAFETY: the tree names it, it is mapped as a device by the tables of the start as well as
        // by those of `mmu`, and only this function takes it.
        unsafe { console::set(console) };
    }
    let board = match Board::read(&tree.bytes) {
        Ok(board) => board,
        Err(error) => power::stop(format_args!("{error}")),
    };
    let board: &'static Board = Box::leak(Box::new(board));
    let others = board.cpus.len().saturating_sub(1);
    let Some(stacks) = stacks::allocate(others) else {
        power::stop(format_args!("the heap has no room for the stacks of {others} more CPUs"));
    };
    let guards = stacks.iter().map(|stack| stacks::guard(stack));
    if let Err(error) = mmu::set_up(board, guards.chain([stacks::first_guard()])) {
        power::stop(format_args!("translation tables: {error}"));
    }
    mmu::activate();
    // SAFETY: the tree names them, they are mapped as devices now, and only this function takes
    // them: the console once more, where it is beside the image.
    unsafe {
        if let Some(console) = console {
            console::set(console);
        }
        gic::set_up(board);
        if let Err(error) = gic::set_up_cpu(board) {
            power::stop(format_args!("GIC: {error}"));
        }
        secondary::start_all(board, stacks);
    }
    cpu::report_errors();
    let mut in_use = in_use(&tree);
    // SAFETY: `mmu` maps it, and nothing else uses memory yet; the archive counts as in use from
    // here on.
    let archive = unsafe { files::find(board) }.map(|(archive, range)| {
        in_use.push(range);
        archive
    });
    describe(board, &tree, &in_use);
    instructions::print_figures();
    let machine = Metal {
        // SAFETY: this program runs at EL2 of the machine, in the Non-secure state; maps and tokens
        // are of the machine's memory.
        conduit: unsafe { SmcConduit::new() },
        // SAFETY: `mmu` maps it, and the tables are in use on all CPUs.
        access: unsafe { Ram::of(board) },
        // SAFETY: what the program uses is in the image and in the archive; the tree's bytes have
        // been copied, but may be of use to someone who looks at memory later.
        memory: unsafe { memory::free(board, &in_use) },
        payload: platform::PAYLOAD,
    };
    let payload = archive.as_ref().and_then(|archive| archive.file(tf_a_tests::PAYLOAD));
    if let Some(payload) = payload {
        tf_a_tests::run(&machine, payload, Duration::from_secs(20));
        power::off();
    }
    match archive.as_ref().map(linux::Files::find) {
        Some(Ok(Some((files, options)))) => linux::run(&machine, &files, &options),
        Some(Err(error)) => power::stop(format_args!("archive: {error}")),
        None | Some(Ok(None)) => bare_metal::run(&machine, &bare_metal::Options::default()),
    };
    power::off()
}

/// What is in use: the image, and the tree.
fn in_use(tree: &DeviceTree) -> Vec<PaRange> {
    let granules = |base: usize, bytes: usize| granules_around(Pa::new(base as u64), bytes as u64);
    let image = boot::image();
    let ranges = [granules(image.start, image.len()), granules(tree.address, tree.bytes.len())];
    ranges.into_iter().flatten().collect()
}

fn describe(board: &Board, tree: &DeviceTree, in_use: &[PaRange]) {
    print(format_args!(
        "bare-metal: image at {:#x}, device tree at {:#x}\n",
        boot::image().start,
        tree.address
    ));
    let (working, guarded) = (AtomicU16::new(0), AtomicU16::new(0));
    let count = secondary::count();
    secondary::on_cpus(count, &|index| {
        working.fetch_add(1, Ordering::Relaxed);
        let is_guarded = secondary::guard(index).is_some_and(|at| cpu::probe(at).is_none());
        guarded.fetch_add(is_guarded.into(), Ordering::Relaxed);
    });
    let (working, guarded) = (working.into_inner(), guarded.into_inner());
    print(format_args!("{working} of {} CPUs\n", board.cpus.len()));
    if guarded != working {
        power::stop(format_args!("{guarded} stacks of {working} end at a page that is not mapped"));
    }
    for range in board.free_memory(in_use) {
        print(format_args!("free memory: {range}\n"));
    }
}
