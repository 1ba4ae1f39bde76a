//! What is returned when delegating or undelegating memory stops early.

use rmi_abi::Command;

use crate::error::{Error, carries_error};
use crate::granules::{Delegated, Undelegated};
use crate::ledger::QuarantineReason;

/// A delegation that stopped early; every granule is in one of the two parts.
#[derive(Debug)]
#[must_use = "it owns memory"]
pub struct DelegateFailed {
    /// Why it stopped.
    pub error: Error,
    /// What is delegated, or may be: after an unclear answer that includes all that the call named,
    /// which is the rest of the range, or one granule in 1.0.
    pub delegated: Delegated,
    /// What is still the host's.
    pub host: Undelegated,
}

carries_error!(
    DelegateFailed,
    "{error}; {delegated:#x} bytes are delegated, {host:#x} bytes are not",
    delegated,
    host
);

impl DelegateFailed {
    /// Why [`DelegateFailed::delegated`] may be the host's, and is to be
    /// [recovered](crate::Rmm::recover); `None` when it is certainly delegated.
    #[must_use]
    pub fn doubt(&self) -> Option<QuarantineReason> {
        let command = self.error.command().unwrap_or(Command::GranuleRangeDelegate);
        (!self.error.is_clean()).then_some(QuarantineReason::Unclear { command })
    }
}

/// An undelegation that stopped early; every granule is in one of the two parts.
///
/// ```
/// # use rmi_abi::{Dialect, Status};
/// # use rmi_abi::realm::RealmParams;
/// # use rmi_abi::rtt::Geometry;
/// # use rmm_model::{Model, Options};
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut memory)?;
/// let mut three = rmm.delegate(memory.take_front(0x3000).expect("1 GiB"))?;
/// let mut free = three.take_front(0x1000).expect("three granules");
/// let rd = three.take_front(0x1000).expect("two granules");
/// let root = three;
/// # let mut page = memory.take_front(0x1000).unwrap();
/// # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
/// rmm.commands().realm_create(&rd, &mut page, &params)?;
///
/// // Undelegating a granule of a Realm is refused, and no memory is lost.
/// free.append(rd).expect("neighbours");
/// let failed = rmm.undelegate(free).unwrap_err();
/// assert_eq!(failed.error.status(), Some(Status::ErrorInput));
/// assert_eq!((failed.host.bytes(), failed.kept.bytes()), (0x1000, 0x1000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "it owns memory"]
pub struct UndelegateFailed {
    /// Why it stopped.
    pub error: Error,
    /// What is the host's again.
    pub host: Undelegated,
    /// What is still the RMM's.
    pub kept: Delegated,
}

carries_error!(
    UndelegateFailed,
    "{error}; {host:#x} bytes are undelegated, {kept:#x} bytes are not",
    host,
    kept
);
