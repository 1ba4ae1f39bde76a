//! The physical interrupt controller, a GICv3, and what its interrupts do.
//!
//! Enabled on each CPU are the interrupts that end the run of a REC: the SGI of a kick, the timer
//! of the host, the maintenance interrupt of the virtual CPU interface, and the timers of a Realm.
//! All are acknowledged, handled and ended here, at [`cpu::take_interrupts`]. There may be none
//! left by then: a Realm's timer and the maintenance interrupt go down with the exit, and the
//! register that acknowledges reads 1023.
#![expect(unsafe_code, reason = "registers at addresses of the device tree")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use aarch64_cpu::registers::{CNTP_CTL_EL0, CNTV_CTL_EL0, Writeable};
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{
    GicCpuInterface, GicDistributor, GicError, GicRedistributorIterator, SgiTarget, SgiTargetGroup,
};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use bare_metal::board::{Board, sgi_target_list};
use realm_sdk::abi::PaRange;
use spin::mutex::SpinMutex;

use crate::metal::{console, cpu};

/// The SGI of a kick.
const KICK: IntId = IntId::sgi(0);

/// Interrupts that are handled at once; more wait for the next time.
const MAX_AT_ONCE: usize = 64;

/// The identifiers that the device tree gives, once [`set_up`] has read it.
static MAINTENANCE: AtomicU32 = AtomicU32::new(25);
static EL1_PHYSICAL_TIMER: AtomicU32 = AtomicU32::new(30);
static EL1_VIRTUAL_TIMER: AtomicU32 = AtomicU32::new(27);
static EL2_PHYSICAL_TIMER: AtomicU32 = AtomicU32::new(26);

/// One CPU at a time looks for its redistributor.
static LOOKING: SpinMutex<()> = SpinMutex::new(());

fn pointer<T>(range: &PaRange) -> Option<NonNull<T>> {
    let address = usize::try_from(range.base().raw()).ok()?;
    NonNull::new(core::ptr::with_exposed_provenance_mut(address))
}

/// Sets the distributor up, and keeps the identifiers of the interrupts.
///
/// # Safety
///
/// The board's interrupt controller is there, mapped as a device, and nothing else uses it.
pub(crate) unsafe fn set_up(board: &Board) {
    MAINTENANCE.store(board.gic.maintenance, Ordering::Relaxed);
    EL1_PHYSICAL_TIMER.store(board.timers.el1_physical, Ordering::Relaxed);
    EL1_VIRTUAL_TIMER.store(board.timers.el1_virtual, Ordering::Relaxed);
    EL2_PHYSICAL_TIMER.store(board.timers.el2_physical, Ordering::Relaxed);
    let Some(registers) = pointer::<Gicd>(&board.gic.distributor) else { return };
    // SAFETY: by the caller's promise.
    let registers = unsafe { UniqueMmioPointer::new(registers) };
    GicDistributor::new(registers).configure_default_settings();
}

/// Enables the interrupts of this CPU, at its redistributor and at its interface. They stay masked.
///
/// # Errors
///
/// There is no redistributor for this CPU, or the driver does not know the form of its registers.
///
/// # Safety
///
/// As [`set_up`], which has been called before.
pub(crate) unsafe fn set_up_cpu(board: &Board) -> Result<(), GicError> {
    let _alone = LOOKING.lock();
    let mut redistributor = None;
    for first in board.gic.redistributors.iter().filter_map(pointer::<GicrSgi>) {
        // SAFETY: by the caller's promise the range has redistributors up to the last; another CPU
        // keeps no reference, as it does this under the same lock.
        let all = unsafe { GicRedistributorIterator::new(first) }?;
        for candidate in all {
            if candidate.typer().core_mpidr() == cpu::affinity() {
                redistributor = Some(candidate);
                break;
            }
        }
    }
    let mut redistributor =
        redistributor.ok_or(GicError::InvalidRedistributorIndex(cpu::index().into()))?;
    GicCpuInterface::enable_system_register_el2(true);
    // Firmware may have done it.
    let _ = redistributor.mark_core_awake();
    redistributor.configure_default_settings();
    let ids = [&MAINTENANCE, &EL1_PHYSICAL_TIMER, &EL1_VIRTUAL_TIMER, &EL2_PHYSICAL_TIMER];
    for id in ids.map(|id| id.load(Ordering::Relaxed)) {
        // PPIs are 16 to 31.
        redistributor.enable_interrupt(IntId::ppi(id.saturating_sub(16).min(15)), true)?;
    }
    redistributor.enable_interrupt(KICK, true)?;
    // The timers of EL1 are for Realms.
    CNTP_CTL_EL0.set(0);
    CNTV_CTL_EL0.set(0);
    GicCpuInterface::set_priority_mask(0xff);
    GicCpuInterface::enable_group1(true);
    Ok(())
}

/// Sends the SGI of a kick to the CPU with this affinity.
pub(crate) fn kick(affinity: u64) {
    let [_, affinity1, affinity2, _, affinity3, ..] = affinity.to_le_bytes();
    // Only CPUs that have one run.
    let Some(target_list) = sgi_target_list(affinity) else { return };
    let target = SgiTarget::List { affinity3, affinity2, affinity1, target_list };
    cpu::synchronize();
    // It fails for identifiers that are no SGI.
    let _ = GicCpuInterface::send_sgi(KICK, target, SgiTargetGroup::CurrentGroup1);
}

/// Handles the interrupts that are pending; called by the vector.
pub(crate) fn handle_interrupts() {
    for _ in 0..MAX_AT_ONCE {
        let acknowledged = GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1);
        let Some(interrupt) = acknowledged else { return };
        let id = u32::from(interrupt);
        let is = |ppi: &AtomicU32| id == ppi.load(Ordering::Relaxed);
        if is(&EL2_PHYSICAL_TIMER) {
            cpu::set_timer(None);
        } else if is(&EL1_VIRTUAL_TIMER) || is(&EL1_PHYSICAL_TIMER) {
            // The registers are the host's again, which does not use them.
            CNTP_CTL_EL0.set(0);
            CNTV_CTL_EL0.set(0);
        } else if interrupt != KICK && !is(&MAINTENANCE) {
            console::print(format_args!("CPU {}: unexpected {interrupt:?}\n", cpu::index()));
        }
        GicCpuInterface::end_interrupt(interrupt, InterruptGroup::Group1);
    }
}
