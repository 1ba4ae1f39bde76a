//! Which RAM is private.

use std::collections::BTreeMap;

use rmi_abi::IpaRange;

/// Which sides of the memory in a range a Realm uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sides {
    /// All of it is private.
    Private,
    /// Nothing of it is private.
    Shared,
    /// Some of it is private.
    Mixed,
}

/// Private ranges, by their first address: the end of each. They neither overlap nor touch.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<u64, u64>);

impl Ledger {
    /// Notes that a range is private, or is not.
    pub(super) fn set(&mut self, range: IpaRange, is_private: bool) {
        if range.is_empty() {
            return;
        }
        let (mut base, mut top) = (range.base().raw(), range.top().raw());
        // What begins before or at the end, and ends after or at the beginning, touches.
        let touching: Vec<_> = self
            .0
            .range(..=top)
            .rev()
            .map(|(from, to)| (*from, *to))
            .take_while(|(_, to)| *to >= base)
            .collect();
        for (from, to) in touching {
            self.0.remove(&from);
            if is_private {
                (base, top) = (base.min(from), top.max(to));
                continue;
            }
            if from < base {
                self.0.insert(from, base);
            }
            if to > top {
                self.0.insert(top, to);
            }
        }
        if is_private {
            self.0.insert(base, top);
        }
    }

    pub(super) fn sides(&self, range: IpaRange) -> Sides {
        let (base, top) = (range.base().raw(), range.top().raw());
        match self.0.range(..top).next_back() {
            Some((from, to)) if *from <= base && *to >= top && base < top => Sides::Private,
            Some((_, to)) if *to > base => Sides::Mixed,
            _ => Sides::Shared,
        }
    }
}

#[cfg(test)]
mod tests {
    use rmi_abi::Ipa;

    use super::*;

    fn pages(from: u64, to: u64) -> IpaRange {
        IpaRange::new(Ipa::new(from << 12), Ipa::new(to << 12)).unwrap()
    }

    fn numbers(ledger: &Ledger) -> Vec<(u64, u64)> {
        ledger.0.iter().map(|(from, to)| (from >> 12, to >> 12)).collect()
    }

    #[test]
    fn neighbours_are_one_range() {
        let mut ledger = Ledger::default();
        ledger.set(pages(2, 4), true);
        ledger.set(pages(6, 8), true);
        assert_eq!(numbers(&ledger), [(2, 4), (6, 8)]);
        ledger.set(pages(4, 6), true);
        assert_eq!(numbers(&ledger), [(2, 8)]);
        ledger.set(pages(3, 5), false);
        assert_eq!(numbers(&ledger), [(2, 3), (5, 8)]);
        ledger.set(pages(1, 9), true);
        assert_eq!(numbers(&ledger), [(1, 9)]);
        ledger.set(pages(1, 2), false);
        ledger.set(pages(8, 9), false);
        assert_eq!(numbers(&ledger), [(2, 8)]);
        ledger.set(pages(0, 20), false);
        ledger.set(pages(3, 3), true);
        assert_eq!(numbers(&ledger), []);
    }

    #[test]
    fn sides_are_of_all_of_a_range() {
        let mut ledger = Ledger::default();
        ledger.set(pages(2, 4), true);
        for (range, sides) in [
            (pages(2, 4), Sides::Private),
            (pages(2, 3), Sides::Private),
            (pages(3, 4), Sides::Private),
            (pages(1, 4), Sides::Mixed),
            (pages(2, 5), Sides::Mixed),
            (pages(0, 9), Sides::Mixed),
            (pages(0, 2), Sides::Shared),
            (pages(4, 9), Sides::Shared),
            (pages(3, 3), Sides::Mixed),
        ] {
            assert_eq!(ledger.sides(range), sides, "{range}");
        }
    }

    #[test]
    fn a_ledger_is_what_a_list_of_pages_is() {
        // A linear congruential generator: the same cases each time.
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let index = |page: u64| usize::try_from(page).unwrap();
        let (mut ledger, mut list) = (Ledger::default(), [false; 32]);
        for _ in 0..2000 {
            let from = random(32);
            let to = from + 1 + random(32 - from);
            let is_private = random(2) == 1;
            ledger.set(pages(from, to), is_private);
            list[index(from)..index(to)].fill(is_private);
            let from = random(32);
            let to = from + 1 + random(32 - from);
            let part = &list[index(from)..index(to)];
            let sides = match (part.contains(&true), part.contains(&false)) {
                (true, true) => Sides::Mixed,
                (true, false) => Sides::Private,
                _ => Sides::Shared,
            };
            assert_eq!(ledger.sides(pages(from, to)), sides);
        }
    }
}
