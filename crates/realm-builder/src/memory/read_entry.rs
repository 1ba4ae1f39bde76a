//! Asking the RMM about an entry of which the host is not sure: what it maps, or whether its RIPAS
//! is DESTROYED.

use core::ops::ControlFlow;

use rmi_abi::rtt::{Level, Ripas, RttEntryState};
use rmi_abi::{Command, Ipa, IpaRange};
use rmi_host::{Error, Platform, QuarantineReason, Subject, Violation};
use sro::{HostMemory, free_or_quarantine};

use crate::memory::realm_core::RealmCore;
use crate::shadow::tag;

/// Address bits of an entry as RMI_RTT_READ_ENTRY returns it, below those that depend on its
/// format.
pub(crate) const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

impl<P: Platform> RealmCore<'_, P> {
    /// Determines the state of the entry of a claimed page: with one RMI_RTT_READ_ENTRY if an
    /// answer of the RMM left open whether it is mapped, or if the host unmapped it and its RIPAS
    /// may be DESTROYED since; with no call otherwise. Returns where the RIPAS is DESTROYED, if it
    /// is.
    ///
    /// Memory that is found not to be mapped is freed.
    pub(crate) fn settle_entry(
        &self,
        memory: &mut dyn HostMemory,
        page: Ipa,
    ) -> Result<Option<IpaRange>, Error> {
        let (at, mapped, state) = {
            let shadow = self.shadow.lock();
            let Some(at) = shadow.walk(page, Level::L3) else { return Ok(None) };
            let mapped = shadow.memory(at);
            let state = mapped.map_or(tag::SURE, |_| shadow.look(at).tag());
            if state == tag::SURE && !shadow.may_be_destroyed(at) {
                return Ok(None);
            }
            (at, mapped, state)
        };
        let entry = self.rmm.commands().rtt_read_entry(&self.rd, at.base, at.level)?;
        let is_mapped = entry.state == RttEntryState::Data && entry.level == Some(at.level);
        let same = mapped.is_some_and(|memory| (entry.desc ^ memory.base().raw()) & ADDRESS == 0);
        let mut lost = None;
        {
            let mut shadow = self.shadow.lock();
            match (mapped, is_mapped, entry.state) {
                (Some(_), true, _) if same => shadow.mark(at, tag::SURE),
                (Some(_), _, RttEntryState::Void) if state != tag::SURE => lost = shadow.take(at),
                (None, _, RttEntryState::Void) => {}
                _ => {
                    let (command, subject) = (Command::RttReadEntry, Subject::Ipa(at.base));
                    let violation = Violation::ForeignMemory;
                    return Err(Error::violation(command, violation, entry.desc, subject));
                }
            }
            shadow.flag_unmapped(at, entry.ripas == Ripas::Destroyed);
        }
        if let Some(lost) = lost {
            let unclear = QuarantineReason::Unclear { command: Command::RttDataMap };
            let doubt = Some(unclear).filter(|_| state != tag::NAMED);
            let free = &mut |host| free_or_quarantine(self.rmm, memory, host);
            self.take_back(lost.into_released(), doubt, free);
        }
        Ok((entry.ripas == Ripas::Destroyed).then(|| at.range()))
    }

    /// Asks about the entries of a claimed range that may be mapped, each with one
    /// RMI_RTT_READ_ENTRY: those that map what the host knows are sure. Of the others nothing is
    /// concluded.
    pub(crate) fn settle_mapped(&self, range: IpaRange) {
        let mut from = range.base();
        let next_unsure = |from| {
            self.each_memory(from, range.top(), |shadow, at| match shadow.look(at).tag() {
                tag::UNSURE => ControlFlow::Break(at),
                _ => ControlFlow::Continue(()),
            })
        };
        while let Some(at) = next_unsure(from) {
            from = at.top();
            let Ok(entry) = self.rmm.commands().rtt_read_entry(&self.rd, at.base, at.level) else {
                return;
            };
            let is_mapped = entry.state == RttEntryState::Data && entry.level == Some(at.level);
            let mut shadow = self.shadow.lock();
            let is_same = shadow
                .memory(at)
                .is_some_and(|memory| (entry.desc ^ memory.base().raw()) & ADDRESS == 0);
            if is_mapped && is_same {
                shadow.mark(at, tag::SURE);
            }
        }
    }

    /// Records that the RMM has changed the RIPAS of a range: it is not DESTROYED there.
    pub(crate) fn trust_ripas(&self, base: Ipa, top: Ipa) {
        let mut from = base;
        while from < top {
            let reached = self.shadow.lock().trust_ripas(from, top);
            from = if reached > from { reached } else { top };
        }
    }
}
