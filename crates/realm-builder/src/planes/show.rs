//! Showing memory in an auxiliary tree.

use rmi_abi::flags::AuxMapFlags;
use rmi_abi::{Command, Ipa, IpaRange, Pa, Status};
use rmi_host::command::AuxTree;
use rmi_host::{Attempts, Error, Platform};
use sro::Pool;

use super::PlaneMapped;
use crate::error::BuildError;
use crate::memory::range_lock::RangeLock;
use crate::memory::realm_core::RealmCore;
use crate::plan::{self, Run};
use crate::shadow::{Row, Shows};

impl<P: Platform> RealmCore<'_, P> {
    /// Makes the tables that an auxiliary tree needs to show what the primary one maps in a range
    /// that is claimed in both; returns whether any was missing.
    pub(super) fn make_for(
        &self,
        held: &mut RangeLock<'_, P>,
        pool: &mut Pool,
        tree: AuxTree,
        range: IpaRange,
    ) -> Result<bool, BuildError> {
        let before = self.tables();
        let mut from = range.base();
        let runs = core::iter::from_fn(move || {
            let row = self.hidden(tree, from, range.top(), u64::MAX)?;
            from = row.range.top();
            let (ipa, bytes) = (row.range.base(), row.range.bytes());
            Some(Run { ipa, pa: Pa::new(0), level: row.level, bytes })
        });
        self.make_in(Some(tree), held, pool, plan::tables_of_runs(self.geometry(), runs))?;
        Ok(self.tables() > before)
    }

    fn hidden(&self, tree: AuxTree, from: Ipa, top: Ipa, most: u64) -> Option<Row> {
        self.hidden_row(tree, from, top, most)
    }

    /// Shows in an auxiliary tree what the primary one maps in a claimed range; the tables exist.
    pub(super) fn show(&self, tree: AuxTree, range: IpaRange) -> Result<PlaneMapped, BuildError> {
        let by_range = self.shows_by_range();
        let mut mapped = PlaneMapped::default();
        let (mut from, mut idle) = (range.base(), Attempts::default());
        while let Some(row) = self.hidden(tree, from, range.top(), self.at_once(by_range)) {
            let first = row.first().range;
            match self.show_row(tree, &row, by_range) {
                Ok(reached) if reached > row.range.base() => {
                    idle = Attempts::default();
                    mapped.bytes += reached.checked_offset_from(row.range.base()).unwrap_or(0);
                    from = reached;
                }
                Ok(at) => {
                    // The RMM yielded to an interrupt.
                    self.try_again(Command::RttAuxProtMap, &mut idle, at)?;
                }
                // The primary tree maps memory there: the RIPAS is not RAM.
                Err(error) if error.status() == Some(Status::ErrorRtt) && error.is_clean() => {
                    mapped.not_ram += first.bytes();
                    from = first.top();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(mapped)
    }

    /// One command; returns the address up to which whole entries are shown.
    fn show_row(&self, tree: AuxTree, row: &Row, by_range: bool) -> Result<Ipa, Error> {
        let base = row.range.base();
        let answer = if by_range {
            let tree_index = tree.index();
            let flags = AuxMapFlags { tree_index, block: false, invalid_pri: false };
            self.rmm.commands().rtt_aux_prot_map(&self.rd, row.range, flags)
        } else {
            let shown = self.rmm.commands().rtt_aux_map_protected(&self.rd, tree, base);
            shown.map(|()| row.range.top()).map_err(Error::from)
        };
        match answer {
            Ok(reached) => {
                let (whole, part) = row.split(reached);
                self.learn_end(row, reached);
                self.note_shown(tree, whole, Shows::Memory);
                // An entry that is shown in part may be shown.
                self.note_shown(tree, part, Shows::Perhaps);
                Ok(whole.top())
            }
            Err(error) => {
                if !error.is_clean() {
                    self.note_shown(tree, row.range, Shows::Perhaps);
                }
                Err(error)
            }
        }
    }
}
