//! A set of page numbers, as ranges.

use std::collections::BTreeMap;

/// A set of numbers as disjoint ranges that do not touch: their first numbers, and their ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Whether a number is in the set.
    pub(super) fn has(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, end)| number < *end)
    }

    /// Whether a whole range is in the set. The empty range is.
    pub(super) fn has_all(&self, from: u64, end: u64) -> bool {
        from >= end || self.0.range(..=from).next_back().is_some_and(|(_, last)| end <= *last)
    }

    /// Whether any number of a range is in the set.
    pub(super) fn has_any(&self, from: u64, end: u64) -> bool {
        from < end && (self.has(from) || self.0.range(from..end).next().is_some())
    }

    /// Adds a range.
    pub(super) fn add(&mut self, from: u64, end: u64) {
        if from >= end {
            return;
        }
        let (mut from, mut end) = (from, end);
        // The range before it, if it reaches it, and those that begin within or right after it.
        if let Some((first, last)) = self.0.range(..from).next_back()
            && *last >= from
        {
            (from, end) = (*first, end.max(*last));
        }
        while let Some((first, last)) = self.0.range(from..=end).next() {
            let first = *first;
            end = end.max(*last);
            self.0.remove(&first);
        }
        self.0.insert(from, end);
    }

    /// Removes a range.
    pub(super) fn remove(&mut self, from: u64, end: u64) {
        if from >= end {
            return;
        }
        if let Some((first, last)) = self.0.range(..from).next_back()
            && *last > from
        {
            let (first, last) = (*first, *last);
            self.0.insert(first, from);
            if last > end {
                self.0.insert(end, last);
            }
        }
        while let Some((first, last)) = self.0.range(from..end).next() {
            let (first, last) = (*first, *last);
            self.0.remove(&first);
            if last > end {
                self.0.insert(end, last);
            }
        }
    }

    /// How many numbers there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|(from, end)| end - from).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_ranges_are_one() {
        let mut ranges = Ranges::default();
        ranges.add(4, 6);
        ranges.add(8, 9);
        ranges.add(6, 8);
        assert_eq!(ranges.0, BTreeMap::from([(4, 9)]));
        ranges.add(9, 9);
        ranges.add(3, 10);
        assert_eq!(ranges.0, BTreeMap::from([(3, 10)]));
        ranges.remove(5, 7);
        assert_eq!(ranges.0, BTreeMap::from([(3, 5), (7, 10)]));
        assert!(ranges.has_all(7, 10) && !ranges.has_all(7, 11) && !ranges.has_all(4, 8));
        assert!(ranges.has_any(4, 6) && !ranges.has_any(5, 7) && ranges.has_any(5, 8));
    }

    #[test]
    fn any_sequence_is_that_of_a_set_of_numbers() {
        use std::collections::BTreeSet;
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for _ in 0..200 {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for _ in 0..40 {
                let (from, length) = (draw(40), draw(9));
                if draw(2) == 0 {
                    ranges.add(from, from + length);
                    set.extend(from..from + length);
                } else {
                    ranges.remove(from, from + length);
                    set.retain(|number| !(from..from + length).contains(number));
                }
                assert_eq!(ranges.len(), set.len() as u64);
                for number in 0..50 {
                    assert_eq!(ranges.has(number), set.contains(&number));
                    let end = number + length;
                    let within = set.range(number..end).count() as u64;
                    assert_eq!(ranges.has_all(number, end), within == length);
                    assert_eq!(ranges.has_any(number, end), within > 0);
                }
            }
        }
    }
}
