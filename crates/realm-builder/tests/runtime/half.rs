//! The mappings that the RMM should have.

use std::collections::BTreeMap;

use rmi_abi::{IpaRange, PaRange};

/// What one half of the IPA space maps: runs that are contiguous on both sides, as long as
/// possible. By first address: the number of bytes, and the physical address.
#[derive(Default)]
pub(crate) struct Half(pub(crate) BTreeMap<u64, (u64, u64)>);

impl Half {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.values().map(|(bytes, _)| bytes).sum()
    }

    /// The run at an address: where it begins, its length, and the physical address.
    pub(crate) fn at(&self, ipa: u64) -> Option<(u64, u64, u64)> {
        let (base, (bytes, pa)) = self.0.range(..=ipa).next_back()?;
        (ipa < base + bytes).then_some((*base, *bytes, *pa))
    }

    pub(crate) fn next(&self, range: IpaRange) -> Option<u64> {
        let (base, top) = (range.base().raw(), range.top().raw());
        let before = self.at(base).map(|_| base);
        before.or_else(|| self.0.range(base..top).next().map(|(base, _)| *base))
    }

    pub(crate) fn put(&mut self, mut base: u64, mut bytes: u64, mut pa: u64) {
        if let Some((before, length, there)) = base.checked_sub(1).and_then(|last| self.at(last))
            && there + length == pa
        {
            self.0.remove(&before);
            (base, bytes, pa) = (before, bytes + length, there);
        }
        if let Some((length, there)) = self.0.get(&(base + bytes)).copied()
            && pa + bytes == there
        {
            self.0.remove(&(base + bytes));
            bytes += length;
        }
        self.0.insert(base, (bytes, pa));
    }

    /// Removes everything that lies in a range.
    pub(crate) fn cut(&mut self, range: IpaRange) -> Half {
        let (mut out, top) = (Half::default(), range.top().raw());
        while let Some(from) = self.next(range) {
            let (base, bytes, pa) = self.at(from).unwrap();
            self.0.remove(&base);
            let end = top.min(base + bytes);
            if base < from {
                self.0.insert(base, (from - base, pa));
            }
            if end < base + bytes {
                self.0.insert(end, (base + bytes - end, pa + end - base));
            }
            out.put(from, end - from, pa + from - base);
        }
        out
    }

    /// The physical memory, sorted, with neighbours merged.
    pub(crate) fn memory(&self) -> Vec<PaRange> {
        join(
            self.0
                .values()
                .map(|(bytes, pa)| PaRange::with_size(rmi_abi::Pa::new(*pa), *bytes).unwrap()),
        )
    }
}

pub(crate) fn join(ranges: impl Iterator<Item = PaRange>) -> Vec<PaRange> {
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort();
    let mut joined: Vec<PaRange> = Vec::new();
    for range in ranges {
        match joined.last_mut().filter(|last| last.top() == range.base()) {
            Some(last) => *last = PaRange::new(last.base(), range.top()).unwrap(),
            None => joined.push(range),
        }
    }
    joined
}
