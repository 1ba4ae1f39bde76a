//! The layouts of all wire structs.

use super::Structure;
use crate::device::{
    AddrRange, CmemParamsPage, CmemPdevParamsPage, DevCommDataPage, DevCommEnter, DevCommExit,
    PdevParamsPage, PdevParamsPageBet0, PdevStreamParamsPage, PsmmuParamsPage, PublicKeyParamsPage,
    VdevMeasureParamsPage, VdevParamsPage, VsmmuFeaturesBlock, VsmmuParamsPage,
};
use crate::measurement::{DataDescriptor, RecDescriptor, RipasDescriptor};
use crate::realm::RealmParamsPage;
use crate::rec::RecParamsPage;
use crate::rmm::RmmConfigPage;
use crate::run::{RecEnter, RecExit, RecRun};

/// Every structure of the RMI, in all dialects. A name occurs twice where dialects lay the
/// structure out differently.
pub const STRUCTURES: &[Structure] = &[
    RmmConfigPage::LAYOUT,
    RealmParamsPage::LAYOUT,
    RecParamsPage::LAYOUT,
    RecEnter::LAYOUT,
    RecExit::LAYOUT,
    RecRun::LAYOUT,
    AddrRange::LAYOUT,
    DevCommEnter::LAYOUT,
    DevCommExit::LAYOUT,
    DevCommDataPage::LAYOUT,
    PdevParamsPageBet0::LAYOUT,
    PdevParamsPage::LAYOUT,
    PublicKeyParamsPage::LAYOUT,
    VdevParamsPage::LAYOUT,
    VdevMeasureParamsPage::LAYOUT,
    PsmmuParamsPage::LAYOUT,
    PdevStreamParamsPage::LAYOUT,
    VsmmuParamsPage::LAYOUT,
    VsmmuFeaturesBlock::LAYOUT,
    CmemParamsPage::LAYOUT,
    CmemPdevParamsPage::LAYOUT,
    DataDescriptor::LAYOUT,
    RecDescriptor::LAYOUT,
    RipasDescriptor::LAYOUT,
];
