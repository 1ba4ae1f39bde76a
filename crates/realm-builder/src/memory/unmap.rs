//! Unmapping memory of the protected half: with one command at a time, checked against the shadow,
//! and returned to the host by runs.

use core::ops::ControlFlow;

use rmi_abi::desc::AddrRangeDesc;
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Ipa, IpaRange, PaRange, Status};
use rmi_host::command::Unmapped;
use rmi_host::{Attempts, Error, Platform, Subject, Undelegated, Violation};
use sro::HostMemory;

use crate::memory::map::Free;
use crate::memory::realm_core::RealmCore;
use crate::memory::returned::ReturnedRanges;
use crate::shadow::{At, tag};

/// Where collecting unmapped memory ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collected {
    /// At the end.
    Done,
    /// At memory that is not contiguous with the run: the run has to be sent first.
    Send,
    /// After an entry that is still mapped.
    Mapped,
}

/// What one unmap command is to unmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// From an entry with memory to the end of another; in between there may be void ones.
    pub(crate) range: IpaRange,
    /// Whether it is one run of memory that one descriptor can describe.
    pub(crate) single: bool,
}

impl<P: Platform> RealmCore<'_, P> {
    /// Where a call that begins at an entry of `level` ends at the latest: after that entry where
    /// the dialect maps by entries, and with `table_by_table` at the end of the table.
    pub(crate) fn end_of_call(&self, at: Ipa, level: Level, table_by_table: bool) -> Option<Ipa> {
        let bytes = match self.rmm.call_limits().entries {
            Some(_) => self.geometry().entry_bytes(level),
            None if table_by_table => self.geometry().table_bytes(level),
            None => return None,
        };
        at.align_down(bytes).checked_add(bytes)
    }

    /// The memory from `first` on, as much as one unmap command and its list describe: up to `top`,
    /// and to the [end of the call](Self::end_of_call).
    pub(crate) fn span(&self, first: At, top: Ipa, table_by_table: bool) -> Span {
        let end = self.end_of_call(first.base, first.level, table_by_table);
        let top = end.unwrap_or(top).min(top);
        let max = u64::from(AddrRangeDesc::max_count(self.geometry().granule()));
        let room = self.geometry().entries_per_table();
        let mut reached = first.base;
        let (mut descriptors, mut whole) = (0, true);
        let mut open: Option<(PaRange, u64)> = None;
        self.each_memory(first.base, top, |shadow, at| {
            let Some(memory) = shadow.memory(at) else { return ControlFlow::Break(()) };
            // A table below the first entry's is another table.
            if at.top() > top || (table_by_table && at.level != first.level) {
                return ControlFlow::Break(());
            }
            let follows = |(last, blocks): (PaRange, u64)| {
                last.top() == memory.base() && last.bytes() == memory.bytes() && blocks < max
            };
            match open.filter(|open| follows(*open)) {
                Some((_, blocks)) => open = Some((memory, blocks + 1)),
                None if descriptors == room => return ControlFlow::Break(()),
                None => {
                    descriptors += 1;
                    open = Some((memory, 1));
                }
            }
            whole &= reached == at.base;
            reached = at.top();
            ControlFlow::Continue(())
        });
        let range = IpaRange::new_or_empty(first.base, reached);
        Span { range, single: descriptors <= 1 && whole }
    }

    /// Unmaps all of a range, whose ends no block reaches across, and returns its memory to the
    /// host.
    pub(crate) fn unmap_range(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        free: Free<'_>,
    ) -> Result<(), Error> {
        let mut returned = ReturnedRanges::default();
        let (mut from, mut result) = (range.base(), Ok(()));
        let mut idle = Attempts::default();
        while result.is_ok() {
            let next = self.next_memory(from, range.top());
            let Some(at) = next else { break };
            match self.unmap_some(memory.pool().pages_for(self.rmm).list, at, range.top()) {
                // An RMM that says it stopped inside an entry is not called for that entry forever.
                Ok(reached) if reached > at.base => {
                    (from, idle) = (reached.max(at.top()), Attempts::default());
                }
                Ok(reached) => {
                    result = self.try_again(Command::RttDataUnmap, &mut idle, reached);
                }
                // As a whole it may be unmapped.
                Err(error)
                    if error.status() == Some(Status::ErrorTracking)
                        && self.fold_around(memory.pool(), at, range) =>
                {
                    from = from.min(self.geometry().table_base(at.base, at.level));
                }
                Err(error) => result = Err(error),
            }
        }
        from = range.base();
        loop {
            match self.collect_unmapped(&mut from, range.top(), &mut returned) {
                Collected::Done => break,
                Collected::Send => returned.send(self.rmm, &mut |host| free(memory, host)),
                Collected::Mapped => {}
            }
        }
        returned.send(self.rmm, &mut |host| free(memory, host));
        result
    }

    /// One unmap command, from an entry that maps memory; returns how far it came. What is unmapped
    /// stays in the shadow, to be [collected](crate::Realm::collect_unmapped).
    pub(crate) fn unmap_some(
        &self,
        list: &mut Undelegated,
        first: At,
        top: Ipa,
    ) -> Result<Ipa, Error> {
        let by_table = self.range_hint.is_set();
        let Span { range, single } = self.span(first, top, by_table);
        let mut cursor = range.base();
        let mut foreign = None;
        let answer = if single {
            self.rmm.commands().rtt_data_unmap(&self.rd, range).map(|Unmapped { top, memory }| {
                foreign = memory.filter(|run| !self.name(&mut cursor, range.base(), top, *run));
                top
            })
        } else {
            self.rmm.commands().rtt_data_unmap_each(&self.rd, range, list, &mut |top, run| {
                self.name(&mut cursor, range.base(), top, run)
            })
        };
        let reached = match answer {
            Ok(reached) if reached > range.base() => reached,
            // The RMM yielded to an interrupt; the caller repeats the command within its retry
            // budget.
            Ok(reached) => {
                self.rmm.platform().relax();
                return Ok(reached);
            }
            // So memory whose mapping was unclear is not mapped: it cannot be in a missing table or
            // in a hole larger than the range.
            Err(Error::Refused(refusal))
                if refusal.status() == Status::ErrorRtt && !self.is_sure(first) =>
            {
                // If the walk ended above, nothing of the table exists; otherwise the answer is
                // about this entry.
                let above = refusal.level().is_some_and(|level| level < first.level);
                let top = if above { range.top() } else { first.top() };
                self.unsure_end(first, top)
            }
            Err(error) => {
                if !error.is_clean() {
                    self.retag(range, tag::SURE, tag::UNSURE);
                }
                self.doubt_hidden(&error, first.range());
                return Err(error);
            }
        };
        let done = range.before(reached);
        self.note_range(done, first.level, reached < range.top());
        self.retag(done, tag::SURE, tag::LOST);
        self.retag(done, tag::UNSURE, tag::LOST);
        match foreign {
            None => Ok(reached),
            Some(memory) => Err(Error::violation(
                Command::RttDataUnmap,
                Violation::ForeignMemory,
                memory.base().raw(),
                Subject::Ipa(range.base()),
            )),
        }
    }

    /// Whether a command that yielded is issued again, after a pause; `idle` is what was used of
    /// the budget since there was progress. An RMM that makes none would be called forever.
    pub(crate) fn try_again(
        &self,
        command: Command,
        idle: &mut Attempts,
        at: Ipa,
    ) -> Result<(), Error> {
        match self.rmm.pause(idle, Status::Busy) {
            true => Ok(()),
            false => Err(Error::no_progress(command, Subject::Ipa(at))),
        }
    }

    fn is_sure(&self, at: At) -> bool {
        self.shadow.lock().look(at).tag() == tag::SURE
    }

    /// The end of the entries whose mapping is unclear, in the table of `first`.
    fn unsure_end(&self, first: At, top: Ipa) -> Ipa {
        let table = self.geometry().table_bytes(first.level);
        let end = first.base.align_down(table).checked_add(table).unwrap_or(top).min(top);
        let mut reached = first.top();
        self.each_memory(reached, end, |shadow, at| {
            if shadow.look(at).tag() == tag::SURE {
                return ControlFlow::Break(());
            }
            reached = at.top();
            ControlFlow::Continue(())
        });
        reached
    }

    /// Records a run of memory that the RMM says it unmapped between two addresses; false if it was
    /// not all mapped there, or was named before. Runs mostly come in the order of their addresses,
    /// so the search begins where the last one ended.
    fn name(&self, cursor: &mut Ipa, base: Ipa, top: Ipa, run: PaRange) -> bool {
        let mut left = run.bytes();
        for (from, end) in [(*cursor, top), (base, *cursor)] {
            if left == 0 {
                break;
            }
            self.each_memory(from, end, |shadow, at| {
                let unnamed = shadow.look(at).tag() < tag::NAMED;
                if let Some(memory) = shadow.memory(at).filter(|memory| run.contains_range(memory))
                    && unnamed
                {
                    shadow.mark(at, tag::NAMED);
                    left = left.saturating_sub(memory.bytes());
                    *cursor = at.top();
                }
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        }
        left == 0
    }

    /// Changes a tag in a range.
    fn retag(&self, range: IpaRange, old: u8, new: u8) {
        self.each_memory(range.base(), range.top(), |shadow, at| {
            if shadow.look(at).tag() == old {
                shadow.mark(at, new);
            }
            ControlFlow::<()>::Continue(())
        });
    }

    /// Takes memory out of the shadow that is no longer mapped, from `from` on, which moves along,
    /// and puts it into `returned`. What the RMM did not name is marked as uncertain there.
    pub(crate) fn collect_unmapped(
        &self,
        from: &mut Ipa,
        top: Ipa,
        returned: &mut ReturnedRanges,
    ) -> Collected {
        let ended = self.each_memory(*from, top, |shadow, at| {
            let doubt = match shadow.look(at).tag() {
                tag::NAMED => false,
                tag::LOST => true,
                _ => {
                    *from = at.top();
                    return ControlFlow::Break(Collected::Mapped);
                }
            };
            if shadow.memory(at).is_some_and(|memory| !returned.takes(memory, doubt)) {
                return ControlFlow::Break(Collected::Send);
            }
            *from = at.top();
            let memory = shadow.take(at).unwrap_or_default();
            shadow.flag_unmapped(at, true);
            returned.doubt = doubt;
            // It is contiguous with the run.
            let refused = returned.run.merge(memory.into_released());
            drop(refused);
            ControlFlow::Continue(())
        });
        ended.unwrap_or(Collected::Done)
    }
}
