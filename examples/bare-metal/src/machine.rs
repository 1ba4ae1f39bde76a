//! What the checks need of the machine below them.

use core::fmt;
use core::num::NonZeroU32;

use realm_sdk::abi::Pa;
use realm_sdk::host::{Conduit, HostAccess};
use realm_sdk::vgic::VirtualInterface;

use crate::frames::Frames;

/// A machine whose CPUs run Realms.
///
/// CPUs are numbered from 0, on which [`run`](crate::run) is called. Each method says on which CPU
/// it acts; *this CPU* is that of the caller. Outside [`Machine::mask_interrupts`] and
/// [`Machine::unmask_interrupts`] interrupts are unmasked, and those of [`Machine::interrupt`] and
/// [`Machine::set_alarm`] are taken without effect.
pub trait Machine: Sync {
    /// The conduit to the RMM, from the CPU of the caller.
    type Conduit: Conduit + Sync;
    /// The host's view of its memory.
    type Access: HostAccess + Sync;
    /// The virtual CPU interface of a CPU.
    type Interface: VirtualInterface;

    /// The conduit to the RMM.
    fn conduit(&self) -> &Self::Conduit;

    /// The host's view of its memory.
    fn access(&self) -> &Self::Access;

    /// The free memory: 256 MiB at least, with an aligned piece of 64 MiB.
    fn memory(&self) -> &Frames;

    /// The image that Realms are given at [`IMAGE`](realm_guest::layout::IMAGE); `None` if the RMM
    /// is the model, whose guests are functions.
    fn payload(&self) -> Option<&[u8]>;

    /// CPUs that can run work, with this one.
    fn cpus(&self) -> u16;

    /// The number of this CPU.
    fn current_cpu(&self) -> u16;

    /// Calls `work` with the numbers of the first `count` CPUs, on each of them at once, this one
    /// included; returns when all calls have returned. Called on CPU 0 only, and `count` is 1 to
    /// [`Machine::cpus`].
    fn on_cpus(&self, count: u16, work: &(dyn Fn(u16) + Sync));

    /// Interrupts a CPU, this one or another, as
    /// [`PhysicalCpus::interrupt`](realm_sdk::rec::set::PhysicalCpus::interrupt) wants it.
    fn interrupt(&self, cpu: u16);

    /// Masks interrupts on this CPU. They stay pending, end runs of RECs, and end
    /// [`Machine::wait_for_interrupt`].
    fn mask_interrupts(&self);

    /// Unmasks interrupts on this CPU, and takes those that are pending.
    fn unmask_interrupts(&self);

    /// Waits until an interrupt is pending on this CPU; called with interrupts masked.
    fn wait_for_interrupt(&self);

    /// Has an interrupt become pending on this CPU when the counter has reached `at`, in place of
    /// an alarm that was set before; `None` for no alarm.
    fn set_alarm(&self, at: Option<u64>);

    /// The virtual CPU interface of this CPU. It is used on this CPU only, with interrupts masked.
    fn interface(&self) -> Self::Interface;

    /// Whether the host can read memory, which may be the RMM's; `None` if the machine cannot tell.
    /// Nothing else comes of trying.
    fn can_read(&self, at: Pa) -> Option<bool> {
        let _ = at;
        None
    }

    /// The physical counter (`CNTPCT_EL0`), in ticks.
    fn ticks(&self) -> u64;

    /// Ticks in a second.
    fn frequency(&self) -> NonZeroU32;

    /// Called while the RMM is busy, or another CPU is waited for.
    fn relax() {
        core::hint::spin_loop();
    }

    /// Prints a line.
    fn print(&self, line: fmt::Arguments<'_>);
}
