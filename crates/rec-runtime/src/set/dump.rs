//! The state of a set as text, for a report. Nothing in it was chosen by the Realm.

use core::fmt;

use sro::Awaiting;

use super::RecSet;
use super::slot::RecSlot;
use super::statistics::{ExitKind, Statistics};
use super::word::Power;

impl fmt::Display for RecSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.len == 1 { "" } else { "s" };
        write!(f, "{} REC{plural}", self.len)?;
        if let Some(end) = self.system_end() {
            write!(f, ", system {end:?}")?;
        }
        for (index, slot) in self.slots().iter().enumerate() {
            write!(f, "\nREC {index}")?;
            describe(slot, f)?;
            if self.clock.is_some() {
                let Statistics { time_inside, time_outside, .. } = slot.counters.read();
                write!(f, ", time inside {time_inside}, outside {time_outside}")?;
            }
        }
        Ok(())
    }
}

fn describe(slot: &RecSlot, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Some(rec) = slot.rec() {
        write!(f, ", MPIDR {:#x}: ", rec.mpidr().raw())?;
    }
    let word = slot.word.load();
    f.write_str(match word.power() {
        Power::Off => "off",
        Power::OnPending => "on pending",
        Power::On => "on",
    })?;
    if slot.held.is_locked() {
        f.write_str(", claimed")?;
    }
    match word.cpu() {
        Some(cpu) => write!(f, ", in the loop on CPU {cpu}")?,
        None if word.waits() => f.write_str(", waits for an interrupt or event")?,
        None => {}
    }
    if word.is_kicked() {
        f.write_str(", kicked")?;
    }
    if word.is_notified() {
        f.write_str(", notified")?;
    }
    if word.is_paused() {
        f.write_str(", paused")?;
    }
    match slot.rec().map(crate::Rec::awaiting) {
        Some(Awaiting::Answer(_)) => f.write_str(", last exit unanswered")?,
        Some(Awaiting::Unknown) => f.write_str(", state unknown to the host")?,
        _ => {}
    }
    let statistics = slot.counters.read();
    let all = statistics.all_exits();
    write!(f, ", exits {all}")?;
    let mut before = ": ";
    for kind in ExitKind::ALL {
        let exits = statistics.exits(kind);
        if exits > 0 {
            write!(f, "{before}{kind:?} {exits}")?;
            before = ", ";
        }
    }
    if statistics.refused > 0 {
        write!(f, ", refused entries {}", statistics.refused)?;
    }
    Ok(())
}
