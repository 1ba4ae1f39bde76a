//! The function identifiers, statuses and layouts of the Realm's interface (RSI), as far as the
//! model has them.
//!
//! Source: DEN0137 1.0 and later, "Realm Services Interface".

use rmi_abi::Fid;
use rmi_abi::rsi::{Command, Version};

/// The versions that `RSI_VERSION` knows, in ascending order, for an RMM whose newest one is
/// `newest`. That of 2.0 is not decided yet: as TF-RMM, the RMM says that it is 1.1.
pub(crate) fn known_versions(newest: Version) -> &'static [u64] {
    match newest {
        Version::V1_0 => &[0x1_0000],
        _ => &[0x1_0000, 0x1_0001],
    }
}

/// Whether a function, without the SVE hint, is one for devices. Some numbers mean different
/// functions in 1.1 and 2.0.
pub(crate) fn is_of_devices(function: Fid, version: Version) -> bool {
    let name = Command::from_fid(function, version).map_or("", Command::name);
    name.starts_with("RSI_RDEV_") || name.starts_with("RSI_VDEV_")
}

/// `RSI_VERSION`
pub(crate) const VERSION: u64 = 0xc400_0190;
/// `RSI_FEATURES`
pub(crate) const FEATURES: u64 = 0xc400_0191;
/// `RSI_MEASUREMENT_READ`
pub(crate) const MEASUREMENT_READ: u64 = 0xc400_0192;
/// `RSI_MEASUREMENT_EXTEND`
pub(crate) const MEASUREMENT_EXTEND: u64 = 0xc400_0193;
/// `RSI_ATTESTATION_TOKEN_INIT`
pub(crate) const ATTESTATION_TOKEN_INIT: u64 = 0xc400_0194;
/// `RSI_ATTESTATION_TOKEN_CONTINUE`
pub(crate) const ATTESTATION_TOKEN_CONTINUE: u64 = 0xc400_0195;
/// `RSI_REALM_CONFIG`
pub(crate) const REALM_CONFIG: u64 = 0xc400_0196;
/// `RSI_IPA_STATE_SET`
pub(crate) const IPA_STATE_SET: u64 = 0xc400_0197;
/// `RSI_IPA_STATE_GET`
pub(crate) const IPA_STATE_GET: u64 = 0xc400_0198;
/// `RSI_HOST_CALL`
pub(crate) const HOST_CALL: u64 = 0xc400_0199;
/// `RSI_MEM_GET_PERM_VALUE`
pub(crate) const MEM_GET_PERM_VALUE: u64 = 0xc400_01a0;
/// `RSI_MEM_SET_PERM_INDEX`
pub(crate) const MEM_SET_PERM_INDEX: u64 = 0xc400_01a1;
/// `RSI_MEM_SET_PERM_VALUE`
pub(crate) const MEM_SET_PERM_VALUE: u64 = 0xc400_01a2;
/// `RSI_PLANE_ENTER` (2.0)
pub(crate) const PLANE_ENTER: u64 = 0xc400_01a3;
/// `RSI_PLANE_SYSREG_READ` (2.0)
pub(crate) const PLANE_SYSREG_READ: u64 = 0xc400_01ae;
/// `RSI_PLANE_SYSREG_WRITE` (2.0)
pub(crate) const PLANE_SYSREG_WRITE: u64 = 0xc400_01af;
/// `SMCCC_VERSION`
pub(crate) const SMCCC_VERSION: u64 = 0x8000_0000;

/// `RSI_SUCCESS`
pub(crate) const SUCCESS: u64 = 0;
/// `RSI_ERROR_INPUT`
pub(crate) const ERROR_INPUT: u64 = 1;
/// `RSI_ERROR_STATE`
pub(crate) const ERROR_STATE: u64 = 2;
/// `RSI_INCOMPLETE`
pub(crate) const INCOMPLETE: u64 = 3;
/// `RSI_ERROR_UNKNOWN`
pub(crate) const ERROR_UNKNOWN: u64 = 4;

/// The answer to an SMC that the RMM does not know.
pub(crate) const NOT_SUPPORTED: u64 = u64::MAX;

/// Bytes of `RsiHostCall`, also its alignment: a 16-bit immediate at 0, 31 registers from 8 on.
pub(crate) const HOST_CALL_BYTES: u64 = 0x100;
/// Offset of the registers in `RsiHostCall`.
pub(crate) const HOST_CALL_GPRS: u64 = 8;
