//! Numbers of private and of shared interrupts.

use crate::list_register::Intid;

/// The number of SGIs of each REC: INTIDs 0 to 15.
pub(crate) const SGIS: u32 = 16;
/// The number of private interrupts of each REC (SGIs and PPIs), and the INTID of the first SPI.
pub(crate) const PRIVATE: u32 = 32;
/// The last SPI.
const LAST_SPI: u32 = 1019;
/// The maximum number of SPIs: INTIDs 32 to 1019.
pub const MAX_SPIS: usize = (LAST_SPI - PRIVATE + 1) as usize;

/// A private peripheral interrupt: INTIDs 16 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PpiIntid(u32);

impl PpiIntid {
    /// The PMU's PPI, as the Arm Base System Architecture assigns it.
    pub const PMU: Self = Self(23);
    /// The virtual EL1 timer's PPI, likewise.
    pub const VIRTUAL_TIMER: Self = Self(27);
    /// The physical EL1 timer's PPI, likewise.
    pub const PHYSICAL_TIMER: Self = Self(30);

    /// The PPI with that INTID; `None` if it is not 16 to 31.
    #[must_use]
    pub const fn new(intid: u32) -> Option<Self> {
        if intid >= SGIS && intid < PRIVATE { Some(Self(intid)) } else { None }
    }

    /// The INTID.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl From<PpiIntid> for Intid {
    fn from(ppi: PpiIntid) -> Self {
        Self::from_valid(ppi.0)
    }
}

/// A shared peripheral interrupt: INTIDs 32 to 1019.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiIntid(u32);

impl SpiIntid {
    /// The SPI with that INTID; `None` if it is not 32 to 1019.
    #[must_use]
    pub const fn new(intid: u32) -> Option<Self> {
        if intid >= PRIVATE && intid <= LAST_SPI { Some(Self(intid)) } else { None }
    }

    /// The INTID.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl From<SpiIntid> for Intid {
    fn from(spi: SpiIntid) -> Self {
        Self::from_valid(spi.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_numbers() {
        let numbers = [0, 15, 16, 31, 32, 1019, 1020, 1056, 4096, 8192];
        let ppis = numbers.map(|n| PpiIntid::new(n).map(PpiIntid::number));
        assert_eq!(ppis, [None, None, Some(16), Some(31), None, None, None, None, None, None]);
        let spis = numbers.map(|n| SpiIntid::new(n).map(SpiIntid::number));
        let (first, last) = (Some(32), Some(1019));
        assert_eq!(spis, [None, None, None, None, first, last, None, None, None, None]);
        let timers = [PpiIntid::PMU, PpiIntid::VIRTUAL_TIMER, PpiIntid::PHYSICAL_TIMER];
        let all = [Intid::PMU, Intid::VIRTUAL_TIMER, Intid::PHYSICAL_TIMER];
        assert_eq!(timers.map(Intid::from), all);
        assert_eq!(SpiIntid::new(33).map(Intid::from), Intid::new(33));
    }
}
