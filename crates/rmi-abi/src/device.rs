//! Device assignment: physical and virtual devices, their streams, keys and communication, SMMUs.
//!
//! All of it is 2.0. Parameter pages are written by the host and read by the RMM; the communication
//! page is written and read by both.

mod cmem;
mod comm;
mod key;
mod pdev;
mod smmu;
mod stream;
mod vdev;

pub use cmem::{CmemParamsPage, CmemPdevParamsPage};
pub use comm::{
    DevCommDataPage, DevCommEnter, DevCommExit, DevCommExitFlags, DevCommObject, DevCommProtocol,
    DevCommStatus,
};
pub use key::{KeyError, PublicKeyParamsPage, SignatureAlgorithm};
pub use pdev::{
    PdevCategory, PdevFlags, PdevParams, PdevParamsEncoded, PdevParamsError, PdevParamsPage,
    PdevParamsPageBet0, PdevState,
};
pub use smmu::{
    PsmmuEventSyndrome, PsmmuFlags, PsmmuIrq, PsmmuIrqResult, PsmmuIrqSet, PsmmuParamsPage,
    VsmmuCmdFlags, VsmmuEventFlags, VsmmuFeaturesBlock, VsmmuParamsPage,
};
pub use stream::{PdevStreamParamsPage, PdevStreamType};
pub use vdev::{VdevFlags, VdevMeasureFlags, VdevMeasureParamsPage, VdevParamsPage, VdevState};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::{Pa, PaRange, RangeError};
use crate::dialect::DialectSet;
use crate::layout::layout;

use DialectSet as D;

layout! {
    /// A range of physical addresses in a parameter page, 16 bytes.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet3, `RmiAddrRange`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiAddrRange")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct AddrRange {
        pub base: u64,
        pub top: u64,
    }

    DialectSet = "RmiAddrRange", 0x10 bytes, aligned to 8, in D::EVERY_2_0, unsure in D::NONE;
    0x000, 8, base, D::EVERY_2_0, "PA, first";
    0x008, 8, top, D::EVERY_2_0, "PA, end";
}

impl AddrRange {
    /// The structure of a range.
    #[must_use]
    pub fn new(range: &PaRange) -> Self {
        Self { base: range.base().raw(), top: range.top().raw() }
    }

    /// The range of the structure.
    ///
    /// # Errors
    ///
    /// As [`PaRange::new`](crate::address::AddressRange::new).
    pub fn range(&self) -> Result<PaRange, RangeError> {
        PaRange::new(Pa::new(self.base), Pa::new(self.top))
    }
}
