//! What a device tree says of the machine: memory, console, interrupt controller, timers, CPUs.
//!
//! The tree comes from firmware, which is trusted to describe the machine; but its bytes are
//! checked before anything is read from them, and a node that says too little is an error and no
//! panic.
//!
//! Source: Devicetree Specification v0.4; the bindings `arm,gic-v3`, `arm,armv8-timer` and
//! `arm,psci`.

use alloc::vec::Vec;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property, ToCellInt};
use realm_sdk::abi::{Pa, PaRange};

/// What memory is counted in.
const GRANULE: u64 = 0x1000;

/// Device-tree nodes are not nested deeper than this in a tree that is accepted.
const MAX_DEPTH: usize = 16;

/// Why a device tree does not describe a machine that this program can run on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// The bytes are no device tree.
    #[error("no device tree: {0}")]
    Format(dtoolkit::error::FdtParseError),
    /// There is no node of this kind.
    #[error("the device tree has no {0}")]
    Missing(&'static str),
    /// A property of this kind of node does not have the form that it should.
    #[error("the device tree describes the {0} in another form than expected")]
    Malformed(&'static str),
}

/// The interrupt controller, a GICv3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GicRegions {
    /// The registers of the distributor.
    pub distributor: PaRange,
    /// The registers of the redistributors, in one range or several.
    pub redistributors: Vec<PaRange>,
    /// The maintenance interrupt of the virtual CPU interface.
    pub maintenance: u32,
}

/// The interrupts of the timers of each CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerInterrupts {
    /// Of the EL1 physical timer in the Non-secure state.
    pub el1_physical: u32,
    /// Of the EL1 virtual timer.
    pub el1_virtual: u32,
    /// Of the EL2 physical timer.
    pub el2_physical: u32,
}

/// What [`Board::read`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// The memory, as whole granules of 4 KiB, sorted; no range overlaps another or touches it.
    pub memory: Vec<PaRange>,
    /// The granules that are in use already, or are not to be used, in no order.
    pub reserved: Vec<PaRange>,
    /// The registers of the console, a PL011.
    pub console: Option<Pa>,
    /// The interrupt controller.
    pub gic: GicRegions,
    /// The interrupts of the timers.
    pub timers: TimerInterrupts,
    /// The affinity (as in `MPIDR_EL1`) of each CPU that PSCI starts.
    pub cpus: Vec<u64>,
}

impl Board {
    /// Reads a tree. The slice may be longer than the tree.
    ///
    /// Without a node for timers, interrupts are those of the Base System Architecture: 30, 27 and
    /// 26, and 25 for maintenance.
    ///
    /// # Errors
    ///
    /// [`BoardError`]: the tree is damaged, or has no memory, no GICv3 or no CPU.
    pub fn read(bytes: &[u8]) -> Result<Self, BoardError> {
        let tree = parse(bytes)?;
        Ok(Self {
            memory: memory(tree)?,
            reserved: reserved(tree),
            console: console(tree),
            gic: gic(tree)?,
            timers: timers(tree),
            cpus: cpus(tree)?,
        })
    }

    /// The memory that this program may access: that which is not reserved.
    #[must_use]
    pub fn accessible_memory(&self) -> Vec<PaRange> {
        without(&self.memory, &self.reserved)
    }

    /// The memory that is free: that of [`Board::accessible_memory`] which is not in use.
    #[must_use]
    pub fn free_memory(&self, in_use: &[PaRange]) -> Vec<PaRange> {
        without(&self.accessible_memory(), in_use)
    }
}

/// The registers of the console as [`Board::console`] has them, also if the tree lacks what
/// [`Board::read`] needs; `None` if there is no PL011.
///
/// # Errors
///
/// [`BoardError::Format`]: the tree is damaged.
pub fn find_console(bytes: &[u8]) -> Result<Option<Pa>, BoardError> {
    parse(bytes).map(console)
}

/// The slice may be longer than the tree.
fn parse(bytes: &[u8]) -> Result<Fdt<'_>, BoardError> {
    let bytes = total_size(bytes).and_then(|size| bytes.get(..size)).unwrap_or(bytes);
    Fdt::new(bytes).map_err(BoardError::Format)
}

/// The targets of an SGI for the CPU with this affinity, among the 16 CPUs that have all of it but
/// `Aff0` in common; `None` if `Aff0` is above 15, which SGIs do not reach without range selectors.
///
/// Source: Arm IHI 0069, ICC_SGI1R_EL1.
#[must_use]
pub fn sgi_target_list(affinity: u64) -> Option<u16> {
    1u16.checked_shl(u32::try_from(affinity & 0xff).ok()?)
}

/// `totalsize` of the header, if the bytes begin with one: how many bytes the tree has.
#[must_use]
pub fn total_size(header: &[u8]) -> Option<usize> {
    const MAGIC: u32 = 0xd00d_feed;
    let (words, _) = header.as_chunks::<4>();
    match words {
        [magic, size, ..] if u32::from_be_bytes(*magic) == MAGIC => {
            usize::try_from(u32::from_be_bytes(*size)).ok()
        }
        _ => None,
    }
}

fn text<'a>(node: &FdtNode<'a>, property: &str) -> Option<&'a str> {
    let value: &'a [u8] = node.property(property)?.value_as().ok()?;
    core::ffi::CStr::from_bytes_until_nul(value).ok()?.to_str().ok()
}

/// A node without `status` is there.
fn is_enabled(node: &FdtNode<'_>) -> bool {
    matches!(text(node, "status"), None | Some("okay" | "ok"))
}

/// All granules of 4 KiB that have a part of these bytes; `None` for none, and at the end of the
/// address space.
#[must_use]
pub fn granules_around(base: Pa, bytes: u64) -> Option<PaRange> {
    let top = base.checked_add(bytes)?.align_up(GRANULE)?;
    PaRange::new(base.align_down(GRANULE), top).ok().filter(|range| !range.is_empty())
}

/// All granules of 4 KiB that are in these bytes.
fn granules_within(base: Pa, bytes: u64) -> Option<PaRange> {
    let top = base.checked_add(bytes)?.align_down(GRANULE);
    PaRange::new(base.align_up(GRANULE)?, top).ok().filter(|range| !range.is_empty())
}

/// `reg` of a node whose parent is the root, or a node that does not translate.
fn registers(node: FdtNode<'_>) -> Vec<(Pa, u64)> {
    let Ok(Some(regions)) = node.reg() else { return Vec::new() };
    regions.filter_map(|reg| Some((Pa::new(reg.address().ok()?), reg.size().ok()?))).collect()
}

/// Sorts ranges and joins those that touch.
fn join(mut ranges: Vec<PaRange>) -> Vec<PaRange> {
    ranges.sort_by_key(PaRange::base);
    let mut joined: Vec<PaRange> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.base() <= last.top() => {
                *last = PaRange::new_or_empty(last.base(), last.top().max(range.top()));
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// What of the first ranges is in none of the second.
fn without(ranges: &[PaRange], excluded: &[PaRange]) -> Vec<PaRange> {
    let mut rest = ranges.to_vec();
    for excluded in excluded {
        rest = rest
            .iter()
            .flat_map(|range| [range.before(excluded.base()), range.after(excluded.top())])
            .filter(|range| !range.is_empty())
            .collect();
    }
    rest
}

fn memory(tree: Fdt<'_>) -> Result<Vec<PaRange>, BoardError> {
    let ranges = join(
        tree.root()
            .children()
            .filter(|node| text(node, "device_type") == Some("memory") && is_enabled(node))
            .flat_map(registers)
            .filter_map(|(base, bytes)| granules_within(base, bytes))
            .collect(),
    );
    if ranges.is_empty() { Err(BoardError::Missing("memory")) } else { Ok(ranges) }
}

fn reserved(tree: Fdt<'_>) -> Vec<PaRange> {
    let listed = tree.memory_reservations().map(|entry| (Pa::new(entry.address()), entry.size()));
    let described = tree
        .find_node("/reserved-memory")
        .into_iter()
        .flat_map(|parent| parent.children())
        .filter(is_enabled)
        .flat_map(registers);
    listed.chain(described).filter_map(|(base, bytes)| granules_around(base, bytes)).collect()
}

/// Where a node's first range of registers is, as the CPUs see it: the address goes through the
/// `ranges` of the buses above. `found` says which node.
fn translated(
    node: FdtNode<'_>,
    found: &mut dyn FnMut(&FdtNode<'_>) -> bool,
    depth: usize,
) -> Option<u64> {
    if depth == 0 {
        return None;
    }
    for child in node.children() {
        let address = match found(&child) {
            true => child.reg().ok()??.next()?.address().ok(),
            false => translated(child, found, depth - 1),
        };
        let Some(address) = address else { continue };
        // The root has no bus above.
        return match node.name() {
            "" => Some(address),
            _ => through(node, address),
        };
    }
    None
}

/// Translates an address below a bus into one above it. An empty `ranges` changes nothing.
fn through(bus: FdtNode<'_>, address: u64) -> Option<u64> {
    let mut ranges = bus.ranges().ok()??.peekable();
    if ranges.peek().is_none() {
        return Some(address);
    }
    ranges.find_map(|range| {
        let child: u64 = range.child_bus_address().ok()?;
        let offset = address.checked_sub(child)?;
        let length: u64 = range.length().ok()?;
        let parent: u64 = range.parent_bus_address().ok()?;
        if offset < length { parent.checked_add(offset) } else { None }
    })
}

/// The PL011 that `stdout-path` names, or the first one.
fn console(tree: Fdt<'_>) -> Option<Pa> {
    let is_uart = |node: &FdtNode<'_>| node.is_compatible("arm,pl011") && is_enabled(node);
    let named = tree
        .find_node("/chosen")
        .and_then(|chosen| text(&chosen, "stdout-path"))
        .and_then(|path| path.split(':').next())
        .and_then(|path| match path.starts_with('/') {
            true => Some(path),
            false => text(&tree.find_node("/aliases")?, path),
        });
    let by_name = named.and_then(|path| {
        let name = path.rsplit('/').next()?;
        let mut is_named = |node: &FdtNode<'_>| node.name() == name && is_uart(node);
        translated(tree.root(), &mut is_named, MAX_DEPTH)
    });
    by_name.or_else(|| translated(tree.root(), &mut |node| is_uart(node), MAX_DEPTH)).map(Pa::new)
}

/// The interrupts of a node whose parent is a GIC, as identifiers of PPIs.
fn ppis<'a>(node: &FdtNode<'a>) -> impl Iterator<Item = Option<u32>> + use<'a> {
    const PPI: u32 = 1;
    const FIRST_PPI: u32 = 16;
    let triples = node
        .property("interrupts")
        .and_then(|property| property.as_prop_encoded_array([1, 1, 1]).ok());
    triples.into_iter().flatten().map(|[kind, number, _]| {
        let kind: u32 = kind.to_int().ok()?;
        let number: u32 = number.to_int().ok()?;
        (kind == PPI && number < 16).then_some(FIRST_PPI + number)
    })
}

fn gic(tree: Fdt<'_>) -> Result<GicRegions, BoardError> {
    const MAINTENANCE: u32 = 25;
    const WHAT: &str = "GICv3";
    let node = tree
        .root()
        .children()
        .find(|node| node.is_compatible("arm,gic-v3") && is_enabled(node))
        .ok_or(BoardError::Missing(WHAT))?;
    let count = match node.property("#redistributor-regions") {
        None => 1,
        Some(property) => {
            property.value_as::<u32>().map_err(|_| BoardError::Malformed(WHAT))? as usize
        }
    };
    let mut regions =
        registers(node).into_iter().filter_map(|(base, bytes)| granules_around(base, bytes));
    let distributor = regions.next().ok_or(BoardError::Malformed(WHAT))?;
    let redistributors: Vec<_> = regions.take(count).collect();
    if redistributors.is_empty() {
        return Err(BoardError::Malformed(WHAT));
    }
    let maintenance = ppis(&node).next().flatten().unwrap_or(MAINTENANCE);
    Ok(GicRegions { distributor, redistributors, maintenance })
}

fn timers(tree: Fdt<'_>) -> TimerInterrupts {
    let node = tree.root().children().find(|node| node.is_compatible("arm,armv8-timer"));
    let mut interrupts = node.iter().flat_map(ppis);
    // The first is that of the Secure state.
    let _ = interrupts.next();
    let mut next = |usual: u32| interrupts.next().flatten().unwrap_or(usual);
    TimerInterrupts { el1_physical: next(30), el1_virtual: next(27), el2_physical: next(26) }
}

/// CPUs that PSCI starts. A CPU without `enable-method` counts: where firmware has its own PSCI,
/// QEMU leaves the property out.
fn cpus(tree: Fdt<'_>) -> Result<Vec<u64>, BoardError> {
    const WHAT: &str = "CPUs";
    let parent = tree.find_node("/cpus").ok_or(BoardError::Missing(WHAT))?;
    let cpus: Vec<_> = parent
        .children()
        .filter(|node| text(node, "device_type") == Some("cpu") && is_enabled(node))
        .filter(|node| matches!(text(node, "enable-method"), None | Some("psci")))
        .filter_map(|node| node.reg().ok()??.next()?.address().ok())
        .collect();
    if cpus.is_empty() { Err(BoardError::Missing(WHAT)) } else { Ok(cpus) }
}
