//! Which parts of a Realm's IPA space threads are working on.
//!
//! Commands are issued without a lock. A claim keeps two threads from the same entries: a range
//! that belongs to one of them until it is done.

use rmi_abi::IpaRange;

/// How many threads may work on the memory of one Realm at a time; further threads wait.
pub(crate) const CLAIMS: usize = 32;

/// A claim, which must be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    slot: usize,
}

/// What a range is claimed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// To change it: exclusive.
    Change,
    /// To read it: shared with other readers.
    Read,
}

/// The claims on one Realm.
#[derive(Debug)]
pub(crate) struct Claims {
    slots: [Option<(IpaRange, Use)>; CLAIMS],
}

impl Claims {
    /// No claims.
    pub(crate) const fn new() -> Self {
        Self { slots: [None; CLAIMS] }
    }

    /// Claims a range, unless it overlaps another claim or there are too many.
    pub(crate) fn claim(&mut self, range: IpaRange) -> Option<Claim> {
        self.claim_for(range, Use::Change)
    }

    /// Claims a range for reading, unless it overlaps a claim of another kind or there are too
    /// many.
    pub(crate) fn claim_to_read(&mut self, range: IpaRange) -> Option<Claim> {
        self.claim_for(range, Use::Read)
    }

    fn claim_for(&mut self, range: IpaRange, wanted: Use) -> Option<Claim> {
        let excludes = |(claimed, kind): &(IpaRange, Use)| {
            claimed.overlaps(&range) && (*kind, wanted) != (Use::Read, Use::Read)
        };
        if self.slots.iter().flatten().any(excludes) {
            return None;
        }
        let slot = self.slots.iter().position(Option::is_none)?;
        *self.slots.get_mut(slot)? = Some((range, wanted));
        Some(Claim { slot })
    }

    /// Whether a part of a range is covered by another claim.
    pub(crate) fn is_others(&self, range: &IpaRange, own: Claim) -> bool {
        let others = self.slots.iter().enumerate().filter(|(slot, _)| *slot != own.slot);
        others.filter_map(|(_, claimed)| *claimed).any(|(claimed, _)| claimed.overlaps(range))
    }

    /// Releases a claim.
    pub(crate) fn release(&mut self, claim: Claim) {
        if let Some(slot) = self.slots.get_mut(claim.slot) {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use rmi_abi::Ipa;

    use super::*;

    fn range(base: u64, bytes: u64) -> IpaRange {
        IpaRange::with_size(Ipa::new(base), bytes).unwrap()
    }

    #[test]
    fn claims_exclude_what_overlaps_and_nothing_else() {
        let mut claims = Claims::new();
        let first = claims.claim(range(0x2000, 0x2000)).unwrap();
        assert_eq!(claims.claim(range(0x3000, 0x1000)), None);
        assert_eq!(claims.claim(range(0, 0x3000)), None);
        let second = claims.claim(range(0x4000, 0x1000)).unwrap();
        assert_ne!(first, second);
        claims.release(first);
        assert!(claims.claim(range(0x3000, 0x1000)).is_some());
    }

    #[test]
    fn readers_exclude_changes_and_not_each_other() {
        let mut claims = Claims::new();
        let first = claims.claim_to_read(range(0x2000, 0x2000)).unwrap();
        let second = claims.claim_to_read(range(0x3000, 0x2000)).unwrap();
        assert_eq!(claims.claim(range(0x3000, 0x1000)), None);
        claims.release(first);
        assert_eq!(claims.claim(range(0x3000, 0x1000)), None);
        claims.release(second);
        claims.claim(range(0x3000, 0x1000)).unwrap();
        assert_eq!(claims.claim_to_read(range(0x2000, 0x2000)), None);
    }

    #[test]
    fn only_claims_of_others_are_reported() {
        let mut claims = Claims::new();
        let own = claims.claim(range(0x2000, 0x2000)).unwrap();
        let other = claims.claim_to_read(range(0x4000, 0x1000)).unwrap();
        assert!(!claims.is_others(&range(0x2000, 0x2000), own));
        assert!(claims.is_others(&range(0x2000, 0x2000), other));
        assert!(claims.is_others(&range(0x3000, 0x2000), own));
        assert!(!claims.is_others(&range(0x5000, 0x1000), own));
        claims.release(other);
        assert!(!claims.is_others(&range(0x3000, 0x2000), own));
    }

    #[test]
    fn there_is_an_end_to_them() {
        let mut claims = Claims::new();
        for n in 0..CLAIMS as u64 {
            assert!(claims.claim(range(n << 12, 0x1000)).is_some());
        }
        assert_eq!(claims.claim(range(1 << 30, 0x1000)), None);
    }
}
