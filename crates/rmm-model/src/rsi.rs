//! The function identifiers, statuses and layouts of the Realm's interface (RSI), as far as the
//! model has them.
//!
//! Source: DEN0137 1.0 and later, "Realm Services Interface".

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
/// `SMCCC_VERSION`
pub(crate) const SMCCC_VERSION: u64 = 0x8000_0000;

/// `RSI_SUCCESS`
pub(crate) const SUCCESS: u64 = 0;
/// `RSI_ERROR_INPUT`
pub(crate) const ERROR_INPUT: u64 = 1;
/// `RSI_ERROR_STATE`
pub(crate) const ERROR_STATE: u64 = 2;
/// `RSI_ERROR_UNKNOWN`
pub(crate) const ERROR_UNKNOWN: u64 = 4;

/// The versions that TF-RMM reports: 1.0 and 1.1.
pub(crate) const VERSIONS: [u64; 2] = [0x1_0000, 0x1_0001];

/// The answer to an SMC that the RMM does not know.
pub(crate) const NOT_SUPPORTED: u64 = u64::MAX;

/// Bytes of `RsiHostCall`, also its alignment: a 16-bit immediate at 0, 31 registers from 8 on.
pub(crate) const HOST_CALL_BYTES: u64 = 0x100;
/// Offset of the registers in `RsiHostCall`.
pub(crate) const HOST_CALL_GPRS: u64 = 8;
