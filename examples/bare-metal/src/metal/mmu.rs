//! The translation tables: everything has its physical address as its virtual one.
//!
//! All memory that the host may use is mapped as write-back memory by blocks, also while the RMM
//! has parts of it, as Linux maps its memory. Nothing in this program accesses memory for which it
//! has no `Undelegated` token. A CPU may still read such memory ahead of the program: the granule
//! protection check then fails, which is no exception as long as no instruction needs the value,
//! and nothing is cached (Arm DDI 0487, "Granule Protection Checks"). What is not told as the
//! host's memory is not mapped.
#![expect(unsafe_code, reason = "the tables that all code runs on")]

use aarch64_paging::MapError;
use aarch64_paging::descriptor::El23Attributes as Attributes;
use aarch64_paging::idmap::IdMap;
use aarch64_paging::paging::{El2, MemoryRegion};
use bare_metal::board::{Board, granules_around};
use core::ops::Range;
use realm_sdk::abi::PaRange;
use spin::Once;

use crate::metal::boot::{self, DEVICE, MAPPED, NORMAL};

/// The level of the first table, for 39 bits of addresses.
const ROOT_LEVEL: usize = 1;

static TABLES: Once<Tables> = Once::new();

struct Tables(IdMap<El2>);

// SAFETY: the value is only used to load the address of its root table into a register.
unsafe impl Send for Tables {}
// SAFETY: as for `Send`; the tables are complete before they are shared.
unsafe impl Sync for Tables {}

fn region(range: &PaRange) -> Option<Range<usize>> {
    Some(usize::try_from(range.base().raw()).ok()?..usize::try_from(range.top().raw()).ok()?)
}

/// Makes tables for the memory, the interrupt controller and the console of this board, and for the
/// image; [`activate`] has a CPU use them. The guards of stacks are not mapped.
///
/// # Errors
///
/// Something is beyond the addresses that the tables reach.
pub(crate) fn set_up(
    board: &Board,
    guards: impl Iterator<Item = Range<usize>>,
) -> Result<(), MapError> {
    let mut tables = IdMap::new(ROOT_LEVEL, El2);
    let mut map = |range: Range<usize>, attributes: Attributes| {
        tables.map_range(&MemoryRegion::new(range.start, range.end), attributes)
    };
    for range in board.accessible_memory().iter().filter_map(region) {
        map(range, NORMAL | Attributes::XN | MAPPED)?;
    }
    let gic = &board.gic;
    let console = board.console.and_then(|console| granules_around(console, 1));
    let devices = gic.redistributors.iter().chain([&gic.distributor]).chain(&console);
    for range in devices.filter_map(region) {
        map(range, DEVICE | MAPPED)?;
    }
    map(boot::image(), NORMAL | Attributes::XN | MAPPED)?;
    map(boot::code(), NORMAL | Attributes::READ_ONLY | MAPPED)?;
    map(boot::constants(), NORMAL | Attributes::READ_ONLY | Attributes::XN | MAPPED)?;
    for guard in guards {
        map(guard, Attributes::empty())?;
    }
    TABLES.call_once(|| Tables(tables));
    Ok(())
}

/// Has this CPU use the tables. Interrupts and SErrors are masked.
///
/// The tables of the start map by larger blocks, and some memory as a device. So the MMU is off
/// between the two: no translation of the first is left when the first of the second is made
/// (Arm DDI 0487, "Using break-before-make when updating translation table entries").
pub(crate) fn activate() {
    let Some(tables) = TABLES.get() else { return };
    let root = tables.0.root_address().0;
    // SAFETY: every virtual address is the physical one, with either tables and without the MMU, so
    // the code goes on where it is. It is in memory, not only in caches: the CPU began to run the
    // image with the MMU off. Nothing else is accessed while the MMU is off. The tables map the
    // image (with stacks and heap) and the console as the tables of the start do, but for the
    // guards of stacks, which nothing accesses; and they are never changed or dropped. What only
    // the tables of the start map is not used any more.
    unsafe {
        core::arch::asm!(
            "mrs {on}, sctlr_el2",
            "bic {off}, {on}, #1",
            "dsb ish",
            "msr sctlr_el2, {off}",
            "isb",
            "tlbi alle2",
            "dsb nsh",
            "msr ttbr0_el2, {root}",
            "isb",
            "msr sctlr_el2, {on}",
            "isb",
            on = out(reg) _,
            off = out(reg) _,
            root = in(reg) root,
            options(nostack, preserves_flags),
        );
    }
}
