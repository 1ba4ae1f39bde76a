//! One value for each granule of memory, in little space where granules have the same.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::iter;
use core::ops::Range;

/// Granules whose values are stored together: 2 MiB.
const CHUNK: usize = 512;

/// The values of 512 granules.
#[derive(Clone, Debug)]
enum Chunk<T> {
    /// All have this one.
    Same(T),
    Each(Box<[T; CHUNK]>),
}

impl<T: Copy + PartialEq> Chunk<T> {
    fn get(&self, index: usize) -> Option<T> {
        match self {
            Self::Same(value) => Some(*value),
            Self::Each(values) => values.get(index).copied(),
        }
    }

    /// Sets the values of some granules, and tells the ones that they had, each with its number.
    fn set(&mut self, part: Range<usize>, value: T, replaced: &mut impl FnMut(T, usize)) {
        match self {
            Self::Same(old) => replaced(*old, part.len()),
            Self::Each(values) => {
                values.get(part.clone()).unwrap_or(&[]).iter().for_each(|old| replaced(*old, 1));
            }
        }
        if part.len() == CHUNK {
            *self = Self::Same(value);
            return;
        }
        if let Self::Same(old) = *self {
            if old == value {
                return;
            }
            *self = Self::Each(Box::new([old; CHUNK]));
        }
        if let Self::Each(values) = self {
            values.get_mut(part).unwrap_or(&mut []).fill(value);
        }
    }

    /// How many of the granules have the value, from the first of `part` on.
    fn run(&self, part: Range<usize>, value: T) -> usize {
        match self {
            Self::Same(same) if *same == value => part.len(),
            Self::Same(_) => 0,
            Self::Each(values) => {
                let values = values.get(part).unwrap_or(&[]);
                values.iter().take_while(|other| **other == value).count()
            }
        }
    }
}

/// A value for each granule, by its number.
#[derive(Debug)]
pub(crate) struct PerGranule<T> {
    granules: usize,
    chunks: Vec<Chunk<T>>,
}

impl<T: Copy + PartialEq> PerGranule<T> {
    /// The same value for so many granules.
    pub(crate) fn new(granules: usize, value: T) -> Self {
        let chunks = iter::repeat_n(Chunk::Same(value), granules.div_ceil(CHUNK)).collect();
        Self { granules, chunks }
    }

    /// The value of a granule; `None` if there is no such granule.
    pub(crate) fn get(&self, number: usize) -> Option<T> {
        let chunk = self.chunks.get(number / CHUNK).filter(|_| number < self.granules)?;
        chunk.get(number % CHUNK)
    }

    /// Gives the granules of a range a value, as far as there are any. `replaced` is told the
    /// values that they had, and how many had each.
    pub(crate) fn set(
        &mut self,
        range: Range<usize>,
        value: T,
        mut replaced: impl FnMut(T, usize),
    ) {
        for (number, part) in parts(range.start..range.end.min(self.granules)) {
            if let Some(chunk) = self.chunks.get_mut(number) {
                chunk.set(part, value, &mut replaced);
            }
        }
    }

    /// How many granules have the value, from the first of `range` on.
    pub(crate) fn run(&self, range: Range<usize>, value: T) -> usize {
        let mut run = 0;
        for (number, part) in parts(range.start..range.end.min(self.granules)) {
            let length = part.len();
            let found = self.chunks.get(number).map_or(0, |chunk| chunk.run(part, value));
            run += found;
            if found < length {
                break;
            }
        }
        run
    }
}

/// The chunks of a range, each with the part of it that is in the range.
fn parts(range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let Range { start, end } = range;
    let mut at = start;
    iter::from_fn(move || {
        let number = at / CHUNK;
        let next = ((number + 1) * CHUNK).min(end);
        let part = at % CHUNK..at % CHUNK + next.checked_sub(at).filter(|length| *length != 0)?;
        at = next;
        Some((number, part))
    })
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    /// All values, and the chunks that have a value for each of their granules.
    fn content(values: &PerGranule<u8>) -> (Vec<u8>, usize) {
        let each = values.chunks.iter().filter(|chunk| matches!(chunk, Chunk::Each(_))).count();
        ((0..values.granules).map(|n| values.get(n).unwrap()).collect(), each)
    }

    /// The same calls on a plain vector, in random ranges of any length.
    #[test]
    fn values_are_as_in_a_vector() {
        const LEN: usize = 3 * CHUNK + 7;
        let mut values = PerGranule::new(LEN, 0_u8);
        let mut plain = vec![0_u8; LEN];
        let mut seed = 1_u64;
        let mut random = |limit: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap() % limit
        };
        for round in 0..2000 {
            let start = random(LEN + 2);
            let (start, length) = match random(4) {
                0 => (start / CHUNK * CHUNK, CHUNK * (1 + random(2))),
                1 => (start, random(2 * CHUNK)),
                _ => (start, random(3)),
            };
            let (range, value) = (start..start + length, u8::try_from(random(3)).unwrap());
            let inside = range.start.min(LEN)..range.end.min(LEN);
            let expected = plain[inside.clone()].iter().take_while(|old| **old == value).count();
            assert_eq!(values.run(range.clone(), value), expected, "{round}");
            let mut old = [0; 3];
            values.set(range, value, |value, count| old[usize::from(value)] += count);
            for value in 0..3 {
                let had = plain[inside.clone()].iter().filter(|old| **old == value).count();
                assert_eq!(old[usize::from(value)], had, "{round}");
            }
            plain[inside].fill(value);
            assert_eq!(content(&values).0, plain, "{round}");
        }
        assert_eq!((values.get(LEN - 1).is_some(), values.get(LEN)), (true, None));
    }

    #[test]
    fn chunks_that_are_set_as_a_whole_take_no_space() {
        let mut values = PerGranule::new(2 * CHUNK, 1_u8);
        values.set(0..2 * CHUNK, 2, |_, _| ());
        assert_eq!(content(&values).1, 0);
        // The same value again changes nothing, another one does.
        values.set(5..6, 2, |_, _| ());
        assert_eq!(content(&values).1, 0);
        values.set(5..6, 3, |_, _| ());
        assert_eq!(content(&values).1, 1);
        values.set(0..CHUNK, 3, |_, _| ());
        assert_eq!(content(&values).1, 0);
        assert_eq!(values.run(0..2 * CHUNK, 3), CHUNK);
        assert_eq!(values.run(CHUNK - 1..CHUNK + 1, 3), 1);
        assert_eq!(values.run(0..2 * CHUNK, 2), 0);
        assert_eq!(values.run(CHUNK..CHUNK, 2), 0);
    }
}
