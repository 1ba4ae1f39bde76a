//! Which translation tables a Realm has during its launch, as far as the measurement depends on
//! them (RMI 1.0): what an RMM changes with one call, and what KVM does when it refuses.
//!
//! Sources: DEN0137 1.0-rel0, RMI_RTT_INIT_RIPAS; TF-RMM v0.8.0, `smc_rtt_init_ripas`; KVM,
//! `find_map_level` and `realm_init_ipa_state` (v5), `ripas_change` (v12).

use std::collections::BTreeSet;

use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange};

use crate::memory::PAGE;

/// Tables and pages of a Realm.
#[derive(Debug)]
pub(super) struct Tables {
    start: Level,
    /// Tables below the start level: level, first address.
    tables: BTreeSet<(Level, Ipa)>,
    /// Pages with content.
    pages: BTreeSet<Ipa>,
}

impl Tables {
    /// Those of a new Realm. KVM's start level is that of a stage 2 with up to 16 root tables.
    pub(super) fn new(ipa_width: u8) -> Self {
        let start = match ipa_width {
            ..35 => Level::L2,
            35..44 => Level::L1,
            _ => Level::L0,
        };
        Self { start, tables: BTreeSet::new(), pages: BTreeSet::new() }
    }

    /// The level of the entry that a walk to `ipa` ends at.
    fn walk(&self, ipa: Ipa) -> Level {
        let mut level = self.start;
        while let Some(child) = level.child() {
            if !self.tables.contains(&(child, ipa.align_down(child.table_bytes()))) {
                break;
            }
            level = child;
        }
        level
    }

    /// Creates the tables on the way to `ipa` down to `level`.
    fn create(&mut self, ipa: Ipa, level: Level) {
        let mut at = self.start;
        while let Some(child) = at.child().filter(|child| *child <= level) {
            self.tables.insert((child, ipa.align_down(child.table_bytes())));
            at = child;
        }
    }

    /// A page gets content.
    pub(super) fn populate(&mut self, page: Ipa) {
        self.create(page, Level::L3);
        self.pages.insert(page);
    }

    /// What one call of RMI_RTT_INIT_RIPAS for a range changes: the first entries, and their level.
    /// Empty if it is refused.
    fn init_ripas(&self, range: IpaRange) -> (IpaRange, Level) {
        let (base, level) = (range.base(), self.walk(range.base()));
        let mut top = base;
        let table = base.align_down(level.table_bytes()).checked_add(level.table_bytes());
        if base.is_aligned(level.entry_bytes()) {
            while let Some(next) = top.checked_add(level.entry_bytes()) {
                let is_in_table = table.is_none_or(|table| next <= table);
                // An entry that is a table, or has content, ends it.
                if next > range.top()
                    || !is_in_table
                    || self.walk(top) != level
                    || self.pages.contains(&top)
                {
                    break;
                }
                top = next;
            }
        }
        (IpaRange::new_or_empty(base, top), level)
    }

    /// The level that KVM maps the beginning of a range with.
    fn map_level(&self, range: IpaRange) -> Level {
        let mut level = Level::L3;
        while let Some(parent) = level.parent().filter(|_| level > self.start) {
            let block = parent.entry_bytes();
            if !range.base().is_aligned(block) || block > range.bytes() {
                break;
            }
            level = parent;
        }
        level
    }

    /// Makes a range RAM as KVM does, and says in which runs of entries. A page with content is
    /// skipped.
    pub(super) fn make_ram(&mut self, range: IpaRange, mut changed: impl FnMut(IpaRange, Level)) {
        let mut left = range;
        while !left.is_empty() {
            let (done, level) = self.init_ripas(left);
            if !done.is_empty() {
                changed(done, level);
                left = left.after(done.top());
                continue;
            }
            let wanted = self.map_level(left);
            if level >= wanted {
                left = left.split_at(PAGE).map_or(IpaRange::empty(left.top()), |(_, rest)| rest);
            } else {
                self.create(left.base(), wanted);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn runs(tables: &mut Tables, base: u64, bytes: u64) -> Vec<(u64, u64, i8)> {
        let mut runs = Vec::new();
        let range = IpaRange::with_size(Ipa::new(base), bytes).unwrap();
        tables.make_ram(range, |range, level| {
            runs.push((range.base().raw(), range.bytes(), level.number()));
        });
        runs
    }

    #[test]
    fn start_levels_are_those_of_kvm() {
        for (width, start) in
            [(32, 2), (34, 2), (35, 1), (40, 1), (43, 1), (44, 0), (48, 0), (52, 0)]
        {
            assert_eq!(Tables::new(width).start.number(), start, "{width}");
        }
    }

    #[test]
    fn nothing_is_mapped_above_the_start_level() {
        let whole = IpaRange::with_size(Ipa::new(0), 4 * GIB).unwrap();
        for (width, level) in [(33, 2), (40, 1)] {
            assert_eq!(Tables::new(width).map_level(whole).number(), level, "{width}");
        }
    }

    #[test]
    fn ram_of_a_new_realm_has_the_largest_entries() {
        let mut tables = Tables::new(40);
        assert_eq!(runs(&mut tables, 2 * GIB, 256 * MIB), [(2 * GIB, 256 * MIB, 2)]);
        let mut tables = Tables::new(40);
        assert_eq!(
            runs(&mut tables, GIB, 2 * GIB + 3 * MIB),
            [(GIB, 2 * GIB, 1), (3 * GIB, 2 * MIB, 2), (3 * GIB + 2 * MIB, MIB, 3),]
        );
        // A range that begins in the middle of an entry; and one call ends with its table.
        let mut tables = Tables::new(40);
        assert_eq!(
            runs(&mut tables, GIB - 2 * MIB - 0x1000, 4 * MIB + 0x1000),
            [(GIB - 2 * MIB - 0x1000, 0x1000, 3), (GIB - 2 * MIB, 2 * MIB, 2), (GIB, 2 * MIB, 2),]
        );
    }

    #[test]
    fn pages_with_content_are_skipped_and_split_what_is_around_them() {
        let mut tables = Tables::new(40);
        let base = 2 * GIB + 2 * MIB;
        tables.populate(Ipa::new(base + 0x3000));
        assert_eq!(
            runs(&mut tables, 2 * GIB, 8 * MIB),
            [
                (2 * GIB, 2 * MIB, 2),
                (base, 0x3000, 3),
                (base + 0x4000, 2 * MIB - 0x4000, 3),
                (base + 2 * MIB, 4 * MIB, 2),
            ]
        );
    }

    #[test]
    fn everything_but_the_pages_with_content_is_made_ram_once() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for width in [34, 40, 48] {
            for _ in 0..20 {
                let mut tables = Tables::new(width);
                let (base, pages) = (random(2048), 1 + random(2048));
                for _ in 0..random(6) {
                    tables.populate(Ipa::new((base + random(pages)) << 12));
                }
                let content = tables.pages.len() as u64;
                let (mut at, mut total) = (base << 12, 0);
                for (from, bytes, level) in runs(&mut tables, base << 12, pages << 12) {
                    assert!(from >= at && bytes > 0);
                    let entry = Level::new(level).unwrap().entry_bytes();
                    assert!(from % entry == 0 && bytes % entry == 0);
                    (at, total) = (from + bytes, total + bytes);
                }
                assert!(at <= (base + pages) << 12);
                assert_eq!(total, (pages - content) << 12);
            }
        }
    }
}
