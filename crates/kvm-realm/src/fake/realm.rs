//! A Realm as the RMM has it: its states, its memory, and what it was made by.

use super::ranges::Ranges;
use crate::Errno;

/// Bytes of a page.
pub(super) const PAGE_BYTES: usize = 0x1000;
/// The same, for addresses.
pub(super) const PAGE: u64 = PAGE_BYTES as u64;

/// A call that the kernel makes to the RMM, of those that the Realm Initial Measurement is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RmiCall {
    /// RMI_REALM_CREATE.
    RealmCreate {
        /// Bits of an IPA.
        ipa_bits: u32,
        /// The hash algorithm: 0 is SHA-256, 1 is SHA-512.
        hash_algo: u32,
        /// The personalization value.
        rpv: [u8; 64],
    },
    /// RMI_RTT_INIT_RIPAS of a range. The kernel's calls end where translation tables end, so one
    /// range can be several calls.
    InitRipas {
        /// First IPA.
        base: u64,
        /// End.
        top: u64,
    },
    /// RMI_DATA_CREATE, RMI_RTT_DATA_MAP_INIT.
    DataCreate {
        /// The page.
        ipa: u64,
        /// Whether its content is measured.
        is_measured: bool,
        /// Its content.
        content: Vec<u8>,
    },
    /// RMI_REC_CREATE.
    RecCreate {
        /// Its affinity.
        mpidr: u64,
        /// X0 to X7.
        gprs: [u64; 8],
        /// Where it starts.
        pc: u64,
        /// Whether it runs from the beginning.
        is_runnable: bool,
    },
    /// RMI_REALM_ACTIVATE.
    RealmActivate,
}

/// The states of a Realm, as KVM has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RealmState {
    #[default]
    None,
    New,
    Active,
    Dead,
}

/// A Realm.
#[derive(Debug, Default)]
pub(super) struct Realm {
    pub(super) state: RealmState,
    pub(super) ipa_bits: u32,
    pub(super) hash_algo: u32,
    pub(super) rpv: Option<[u8; 64]>,
    /// Pages whose RIPAS is RAM.
    pub(super) ram: Ranges,
    /// Pages that the RMM has.
    pub(super) assigned: Ranges,
    /// Pages that were taken from the Realm without being asked: an access to them never ends.
    pub(super) destroyed: Ranges,
    /// RECs, in the order in which they are made.
    pub(super) recs: u64,
    pub(super) calls: Vec<RmiCall>,
}

impl Realm {
    /// The end of the protected half.
    pub(super) fn protected_end(&self) -> u64 {
        1 << self.ipa_bits.saturating_sub(1)
    }

    /// RMI_REALM_CREATE.
    pub(super) fn create(&mut self) {
        self.state = RealmState::New;
        self.calls.push(RmiCall::RealmCreate {
            ipa_bits: self.ipa_bits,
            hash_algo: self.hash_algo,
            rpv: self.rpv.unwrap_or([0; 64]),
        });
    }

    /// Initialises the RIPAS of a range to RAM.
    ///
    /// # Errors
    ///
    /// `ENXIO` for what the RMM refuses: a range that is not of whole pages, outside of the
    /// protected half, or in which there is content.
    pub(super) fn init_ripas(&mut self, base: u64, top: u64) -> Result<(), Errno> {
        let is_valid = base.is_multiple_of(PAGE) && top.is_multiple_of(PAGE) && base <= top;
        let (from, end) = (base / PAGE, top / PAGE);
        if !is_valid || top > self.protected_end() || self.assigned.has_any(from, end) {
            return Err(Errno::ENXIO);
        }
        self.ram.add(from, end);
        if base < top {
            self.calls.push(RmiCall::InitRipas { base, top });
        }
        Ok(())
    }

    /// Initialises the RIPAS of a slot to RAM where there is no content, as RMI 2.0 allows.
    pub(super) fn make_ram(&mut self, base: u64, top: u64) {
        let top = top.min(self.protected_end());
        self.ram.add(base / PAGE, top / PAGE);
        if base < top {
            self.calls.push(RmiCall::InitRipas { base, top });
        }
    }

    /// RMI_DATA_CREATE.
    ///
    /// # Errors
    ///
    /// `ENXIO` for what the RMM refuses: an address outside of the protected half, or with content.
    pub(super) fn add_data(
        &mut self,
        ipa: u64,
        is_measured: bool,
        content: Vec<u8>,
    ) -> Result<(), Errno> {
        let page = ipa / PAGE;
        if ipa >= self.protected_end() || self.assigned.has(page) {
            return Err(Errno::ENXIO);
        }
        self.assigned.add(page, page + 1);
        self.ram.add(page, page + 1);
        self.calls.push(RmiCall::DataCreate { ipa, is_measured, content });
        Ok(())
    }

    /// RMI_REC_CREATE.
    ///
    /// # Errors
    ///
    /// `ENXIO` if the affinity is not the next one.
    pub(super) fn add_rec(
        &mut self,
        mpidr: u64,
        gprs: [u64; 8],
        pc: u64,
        is_runnable: bool,
    ) -> Result<(), Errno> {
        if mpidr != affinity(self.recs) {
            return Err(Errno::ENXIO);
        }
        self.recs += 1;
        self.calls.push(RmiCall::RecCreate { mpidr, gprs, pc, is_runnable });
        Ok(())
    }

    /// RMI_REALM_ACTIVATE.
    pub(super) fn activate(&mut self) {
        self.state = RealmState::Active;
        self.calls.push(RmiCall::RealmActivate);
    }

    /// Changes the RIPAS as the Realm has asked. What is no longer RAM is unmapped.
    pub(super) fn set_ripas(&mut self, base: u64, top: u64, ram: bool) {
        let (from, end) = (base / PAGE, top / PAGE);
        self.destroyed.remove(from, end);
        if ram {
            self.ram.add(from, end);
        } else {
            self.ram.remove(from, end);
            self.assigned.remove(from, end);
        }
    }

    /// Takes pages away without the Realm having asked.
    pub(super) fn unmap(&mut self, from: u64, end: u64) {
        for page in from..end.min(self.protected_end() / PAGE) {
            if self.assigned.has(page) {
                self.destroyed.add(page, page + 1);
            }
        }
        self.assigned.remove(from, end);
    }
}

/// The affinity of a vCPU, by its number: 16 in a cluster, as KVM numbers them.
pub(super) const fn affinity(vcpu: u64) -> u64 {
    (vcpu & 0xf) | (vcpu >> 4 & 0xff) << 8 | (vcpu >> 12 & 0xff) << 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm() -> Realm {
        let mut realm = Realm { ipa_bits: 33, ..Realm::default() };
        realm.create();
        realm
    }

    #[test]
    fn content_is_added_once_and_within_the_protected_half() {
        let mut realm = realm();
        assert_eq!(realm.add_data(0x8000, true, vec![1]), Ok(()));
        assert_eq!(realm.add_data(0x8000, true, vec![1]), Err(Errno::ENXIO));
        assert_eq!(realm.add_data(1 << 32, true, vec![1]), Err(Errno::ENXIO));
        assert_eq!(realm.add_data((1 << 32) - PAGE, false, vec![]), Ok(()));
        assert_eq!(realm.init_ripas(0x7000, 0x8000), Ok(()));
        for (base, top) in [(0x8000, 0x9000), (0x8800, 0x9000), (0, 0xf00), (1 << 32, 2 << 32)] {
            assert_eq!(realm.init_ripas(base, top), Err(Errno::ENXIO), "{base:#x}");
        }
        assert_eq!(realm.ram.len(), 3);
        assert_eq!(realm.calls.len(), 4);
    }

    #[test]
    fn recs_are_made_in_the_order_of_their_affinity() {
        let mut realm = realm();
        for vcpu in 0..18 {
            assert_eq!(realm.add_rec(affinity(vcpu + 1), [0; 8], 0, false), Err(Errno::ENXIO));
            assert_eq!(realm.add_rec(affinity(vcpu), [0; 8], 0, vcpu == 0), Ok(()));
        }
        assert_eq!((affinity(15), affinity(16), affinity(0x1_2345)), (15, 0x100, 0x12_3405));
    }

    #[test]
    fn pages_that_are_taken_away_are_destroyed_until_the_realm_asks() {
        let mut realm = realm();
        assert_eq!(realm.add_data(0x8000, true, vec![]), Ok(()));
        realm.unmap(0, 100);
        assert!(realm.destroyed.has(8) && !realm.destroyed.has(9) && !realm.assigned.has(8));
        realm.set_ripas(0x8000, 0x9000, true);
        assert!(!realm.destroyed.has(8) && realm.ram.has(8));
        realm.set_ripas(0x8000, 0x9000, false);
        assert!(!realm.ram.has(8));
    }
}
