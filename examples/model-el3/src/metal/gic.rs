//! The GIC: interrupts are the host's, in the non-secure group 1.
//!
//! Source: Arm IHI 0069 (GICv3).

use super::board::MOST_CPUS;
use super::mmio::devices::{DISTRIBUTOR, REDISTRIBUTOR, REDISTRIBUTORS};
use super::registers;

/// `GICD_CTLR`: affinity routing for both security states; `RWP` while a write takes effect.
const CTLR: usize = 0x0000;
const ARE_S: u32 = 1 << 4;
const ARE_NS: u32 = 1 << 5;
const RWP: u32 = 1 << 31;
/// `GICD_TYPER.ITLinesNumber`: registers of 32 interrupts, without the first.
const TYPER: usize = 0x0004;
const LINES: u32 = 0x1f;
/// `GICD_IGROUPR<n>` and `GICD_IGRPMODR<n>`, or those of a redistributor.
const IGROUPR: usize = 0x0080;
const IGRPMODR: usize = 0x0d00;

/// `GICR_TYPER`: the affinity of its CPU, and whether it is the last one.
const GICR_TYPER: usize = 0x0008;
const AFFINITY_SHIFT: u32 = 32;
const LAST: u64 = 1 << 4;
/// `GICR_WAKER`: the CPU sleeps, as far as its redistributor knows.
const GICR_WAKER: usize = 0x0014;
const PROCESSOR_SLEEP: u32 = 1 << 1;
const CHILDREN_ASLEEP: u32 = 1 << 2;
/// The frame of SGIs and PPIs.
const SGI_BASE: usize = 0x1_0000;

/// How often a bit is looked at that the GIC clears soon.
const LOOKS: u32 = 1 << 20;

/// Waits until a bit is 0.
fn wait(mut is_clear: impl FnMut() -> bool) {
    (0..LOOKS).any(|_| is_clear());
}

/// Gives all SPIs to the Normal world; returns the MPIDRs of the CPUs that have a redistributor.
pub(super) fn init_distributor() -> impl Iterator<Item = u64> {
    let is_written = || DISTRIBUTOR.read32(CTLR) & RWP == 0;
    DISTRIBUTOR.write32(CTLR, 0);
    wait(is_written);
    let registers = 1 + (DISTRIBUTOR.read32(TYPER) & LINES);
    for n in (0_u16..).map(usize::from).take(registers as usize).skip(1) {
        DISTRIBUTOR.write32(IGROUPR + 4 * n, u32::MAX);
        DISTRIBUTOR.write32(IGRPMODR + 4 * n, 0);
    }
    DISTRIBUTOR.write32(CTLR, ARE_S | ARE_NS);
    wait(is_written);
    redistributors().map(|(_, mpidr)| mpidr)
}

/// The redistributors: their offsets, and the MPIDRs of their CPUs.
fn redistributors() -> impl Iterator<Item = (usize, u64)> {
    let mut is_over = false;
    (0..MOST_CPUS).map(|n| n * REDISTRIBUTOR).map_while(move |frame| {
        if is_over {
            return None;
        }
        let typer = REDISTRIBUTORS.read64(frame + GICR_TYPER);
        is_over = typer & LAST != 0;
        // Aff3 is in bits 31:24 there, and in bits 39:32 of an MPIDR.
        let affinity = typer >> AFFINITY_SHIFT;
        Some((frame, affinity & 0xff_ffff | (affinity >> 24) << 32))
    })
}

/// Wakes the redistributor of the CPU with that MPIDR, on which this runs, gives its SGIs and PPIs
/// to the Normal world, and opens the registers of the CPU interface to it.
pub(super) fn init_cpu(mpidr: u64) {
    let is_this = |of: &(usize, u64)| of.1 == mpidr & 0xff_00ff_ffff;
    if let Some((frame, _)) = redistributors().find(is_this) {
        let waker = REDISTRIBUTORS.read32(frame + GICR_WAKER);
        REDISTRIBUTORS.write32(frame + GICR_WAKER, waker & !PROCESSOR_SLEEP);
        wait(|| REDISTRIBUTORS.read32(frame + GICR_WAKER) & CHILDREN_ASLEEP == 0);
        REDISTRIBUTORS.write32(frame + SGI_BASE + IGROUPR, u32::MAX);
        REDISTRIBUTORS.write32(frame + SGI_BASE + IGRPMODR, 0);
    }
    registers::open_cpu_interface();
}
