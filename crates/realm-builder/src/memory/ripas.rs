//! RIPAS changes that a running Realm asks for.

use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::{Ipa, IpaRange};
use rmi_host::{Attempts, Platform, RecName};
use sro::HostMemory;

use crate::error::BuildError;
use crate::memory::realm_core::RealmCore;
use crate::memory::stopped::Stopped;
use crate::plan;

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::set_ripas`](crate::Realm::set_ripas).
    pub(crate) fn set_ripas(
        &self,
        memory: &mut dyn HostMemory,
        rec: RecName<'_>,
        range: IpaRange,
        calls: u32,
    ) -> Result<Ipa, Stopped> {
        self.set_ripas_to(memory, rec, range, Ripas::Empty, calls)
    }

    /// See [`Realm::set_ripas_to`](crate::Realm::set_ripas_to).
    pub(crate) fn set_ripas_to(
        &self,
        memory: &mut dyn HostMemory,
        rec: RecName<'_>,
        range: IpaRange,
        ripas: Ripas,
        calls: u32,
    ) -> Result<Ipa, Stopped> {
        let stop = |error, reached| Stopped { error, reached };
        let range = self.check_change(range).map_err(|error| stop(error, range.base()))?;
        if range.is_empty() {
            return Ok(range.base());
        }
        let mut held = match self.lock_range(range) {
            Err(BuildError::Contended { .. }) => return Ok(range.base()),
            held => held.map_err(|error| stop(error, range.base()))?,
        };
        self.make_in(None, &mut held, memory.pool(), plan::edges(self.geometry(), range))
            .map_err(|error| stop(error, range.base()))?;
        let (mut from, mut idle) = (range.base(), Attempts::default());
        for _ in 0..calls {
            let left = range.after(from);
            if left.is_empty() {
                break;
            }
            // What is shown is hidden table by table, so that a part of the work is done in all
            // trees.
            let shown = if ripas == Ripas::Ram { None } else { self.first_shown(left) };
            let table_top = self.table_top(from);
            if let Some((tree, row)) = shown.filter(|(_, row)| row.range.base() < table_top) {
                self.hide_row(tree, row, &mut idle).map_err(|error| stop(error.into(), from))?;
                continue;
            }
            let end = shown.map_or(left.top(), |(_, row)| row.range.base());
            let part = IpaRange::new(from, end).unwrap_or(left);
            let top = self
                .rmm
                .commands()
                .rtt_set_ripas(&self.rd, rec, part)
                .inspect_err(|error| self.doubt_hidden(error, part))
                .map_err(|error| stop(error.into(), from))?;
            // Where the RMM has changed the RIPAS, it is not DESTROYED.
            self.trust_ripas(from, top);
            from = top;
        }
        Ok(from)
    }

    /// The end of the table in which the walk to `from` ends.
    fn table_top(&self, from: Ipa) -> Ipa {
        let level = self.shadow.lock().walk(from, Level::L3).map_or(Level::L3, |at| at.level);
        let table = self.geometry().table_bytes(level);
        from.align_down(table).checked_add(table).unwrap_or(from)
    }
}
