//! The RECs that have to be kicked.

use core::fmt;

/// The maximum number of RECs that a [`Gic`](crate::Gic) has.
pub const MAX_RECS: usize = 512;

const WORD_BITS: usize = u64::BITS as usize;

/// The RECs that the host has to kick after a change: to end the run that is going on, so that the
/// list registers are loaded again, or to wake the REC's thread, which waits for an interrupt.
///
/// A set of indices of RECs, without a heap. Kicking is left to the host: no lock of the
/// [`Gic`](crate::Gic) is held when it is returned. A kick that is sent twice does no harm; one
/// that is never sent delays the interrupt until the REC's next exit.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[must_use = "the RECs in it do not see the change until they are kicked"]
pub struct Kicks {
    words: [u64; MAX_RECS / WORD_BITS],
    /// Which of the words are not zero.
    used: u8,
}

impl Kicks {
    /// No REC.
    pub const NONE: Self = Self { words: [0; MAX_RECS / WORD_BITS], used: 0 };

    /// Whether no REC has to be kicked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Whether this REC has to be kicked.
    #[must_use]
    pub fn contains(&self, rec: usize) -> bool {
        self.words.get(rec / WORD_BITS).is_some_and(|word| word >> (rec % WORD_BITS) & 1 != 0)
    }

    /// The indices of the RECs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        bits(self.used.into()).flat_map(|n| {
            let word = self.words.get(n).copied().unwrap_or(0);
            bits(word).map(move |bit| n * WORD_BITS + bit)
        })
    }

    /// Adds a REC. Indices from [`MAX_RECS`] on are ignored.
    pub fn add(&mut self, rec: usize) {
        let at = rec / WORD_BITS;
        if let Some(word) = self.words.get_mut(at) {
            *word |= 1 << (rec % WORD_BITS);
            self.used |= 1 << at;
        }
    }

    /// Adds the RECs of another set.
    pub fn add_all(&mut self, other: Self) {
        for (word, more) in self.words.iter_mut().zip(other.words) {
            *word |= more;
        }
        self.used |= other.used;
    }
}

/// The numbers of the bits that are set.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let bit = word.trailing_zeros() as usize;
        (word != 0).then(|| {
            word &= word - 1;
            bit
        })
    })
}

impl fmt::Debug for Kicks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn a_set_has_the_recs_that_were_added() {
        let mut kicks = Kicks::NONE;
        assert!(kicks.is_empty());
        for rec in [0, 63, 64, 511, 512, 9999, 63] {
            kicks.add(rec);
        }
        assert!(!kicks.is_empty());
        assert_eq!(kicks.iter().collect::<Vec<_>>(), [0, 63, 64, 511]);
        for rec in 0..600 {
            assert_eq!(kicks.contains(rec), [0, 63, 64, 511].contains(&rec), "{rec}");
        }
        assert_eq!(format!("{kicks:?}"), "{0, 63, 64, 511}");
        let mut others = Kicks::NONE;
        others.add(1);
        others.add(64);
        kicks.add_all(others);
        assert_eq!(kicks.iter().collect::<Vec<_>>(), [0, 1, 63, 64, 511]);
    }
}
