//! The machine of the checks.

use core::fmt;
use core::num::NonZeroU32;

use bare_metal::{Frames, Machine};
use realm_sdk::abi::Pa;
use realm_sdk::host::smc::SmcConduit;
use realm_sdk::vgic::HardwareInterface;

use crate::metal::memory::Ram;
use crate::metal::{console, cpu, power, secondary};

/// This machine, with all its CPUs.
///
/// Interrupts are masked all the time but for a moment in [`Machine::unmask_interrupts`], which
/// takes those that are pending. So nothing is interrupted anywhere else, and no state of floating
/// point is lost in a handler.
#[derive(Debug)]
pub(crate) struct Metal {
    pub(crate) conduit: SmcConduit,
    pub(crate) access: Ram,
    pub(crate) memory: Frames,
    pub(crate) payload: Option<&'static [u8]>,
}

impl Machine for Metal {
    type Conduit = SmcConduit;
    type Access = Ram;
    type Interface = HardwareInterface;

    fn conduit(&self) -> &SmcConduit {
        &self.conduit
    }

    fn access(&self) -> &Ram {
        &self.access
    }

    fn memory(&self) -> &Frames {
        &self.memory
    }

    fn payload(&self) -> Option<&[u8]> {
        self.payload
    }

    fn cpus(&self) -> u16 {
        secondary::count()
    }

    fn current_cpu(&self) -> u16 {
        cpu::index()
    }

    fn on_cpus(&self, count: u16, work: &(dyn Fn(u16) + Sync)) {
        secondary::on_cpus(count, work);
    }

    fn interrupt(&self, cpu: u16) {
        secondary::interrupt(cpu);
    }

    fn mask_interrupts(&self) {}

    fn unmask_interrupts(&self) {
        cpu::take_interrupts();
    }

    fn wait_for_interrupt(&self) {
        cpu::wait_for_interrupt();
    }

    fn set_alarm(&self, at: Option<u64>) {
        cpu::set_timer(at);
    }

    fn interface(&self) -> HardwareInterface {
        match HardwareInterface::new() {
            Ok(interface) => interface,
            Err(error) => power::stop(format_args!("CPU {}: {error}", cpu::index())),
        }
    }

    fn can_read(&self, at: Pa) -> Option<bool> {
        Some(cpu::probe(usize::try_from(at.raw()).ok()?).is_some())
    }

    fn ticks(&self) -> u64 {
        cpu::ticks()
    }

    fn frequency(&self) -> NonZeroU32 {
        // The architecture has firmware set it.
        u32::try_from(cpu::frequency()).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX)
    }

    /// Budgets of waiting count calls of this function. An emulator may stop a CPU for milliseconds
    /// while another waits for it, so a call takes ten microseconds.
    fn relax() {
        let until = cpu::ticks().saturating_add(cpu::frequency() / 100_000);
        while cpu::ticks() < until {
            core::hint::spin_loop();
        }
    }

    fn print(&self, line: fmt::Arguments<'_>) {
        console::print(format_args!("{line}\n"));
    }
}
