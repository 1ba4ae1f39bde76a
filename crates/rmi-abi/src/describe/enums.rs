//! The enumerations of the interface as data.
//!
//! A name is spelled as the sources of its dialect spell it: the 1.0 text has the prefix `RMI_`,
//! the 2.0 texts do not.

use super::{Enumeration, Value};
use crate::dialect::DialectSet;

use DialectSet as D;

const fn v(name: &'static str, number: i64, dialects: DialectSet) -> Value {
    Value { name, number, dialects }
}

const fn e(name: &'static str, values: &'static [Value]) -> Enumeration {
    Enumeration { name, values }
}

/// Every enumeration of the RMI, in all dialects.
pub const ENUMERATIONS: &[Enumeration] = &[
    e(
        "RmiStatusCode",
        &[
            v("RMI_SUCCESS", 0, D::EVERY),
            v("RMI_ERROR_INPUT", 1, D::EVERY),
            v("RMI_ERROR_REALM", 2, D::EVERY),
            v("RMI_ERROR_REC", 3, D::EVERY),
            v("RMI_ERROR_RTT", 4, D::EVERY),
            v("RMI_ERROR_NOT_SUPPORTED", 5, D::EVERY_2_0),
            v("RMI_ERROR_DEVICE", 6, D::EVERY_2_0),
            v("RMI_ERROR_RTT_AUX", 7, D::EVERY_2_0),
            v("RMI_ERROR_PSMMU_ST", 8, D::EVERY_2_0),
            v("RMI_ERROR_DPT", 9, D::EVERY_2_0),
            v("RMI_BUSY", 10, D::EVERY_2_0),
            v("RMI_ERROR_GLOBAL", 11, D::EVERY_2_0),
            v("RMI_ERROR_TRACKING", 12, D::EVERY_2_0),
            v("RMI_INCOMPLETE", 13, D::EVERY_2_0),
            v("RMI_BLOCKED", 14, D::EVERY_2_0),
            v("RMI_ERROR_GPT", 15, D::EVERY_2_0),
            v("RMI_ERROR_GRANULE", 16, D::EVERY_2_0),
        ],
    ),
    e(
        "RmiDataMeasureContent",
        &[
            v("RMI_NO_MEASURE_CONTENT", 0, D::V1_0),
            v("RMI_MEASURE_CONTENT", 1, D::V1_0),
            v("NO_MEASURE", 0, D::EVERY_2_0),
            v("MEASURE", 1, D::EVERY_2_0),
        ],
    ),
    e(
        "RmiEmulatedMmio",
        &[v("RMI_NOT_EMULATED_MMIO", 0, D::V1_0), v("RMI_EMULATED_MMIO", 1, D::V1_0)],
    ),
    e("RmiFeature", &[v("RMI_FEATURE_FALSE", 0, D::V1_0), v("RMI_FEATURE_TRUE", 1, D::V1_0)]),
    e(
        "RmiHashAlgorithm",
        &[
            v("RMI_HASH_SHA_256", 0, D::V1_0),
            v("RMI_HASH_SHA_512", 1, D::V1_0),
            v("SHA_256", 0, D::EVERY_2_0),
            v("SHA_512", 1, D::EVERY_2_0),
            v("SHA_384", 2, D::EVERY_2_0),
        ],
    ),
    e("RmiInjectSea", &[v("RMI_NO_INJECT_SEA", 0, D::V1_0), v("RMI_INJECT_SEA", 1, D::V1_0)]),
    e(
        "RmiPmuOverflowStatus",
        &[
            v("RMI_PMU_OVERFLOW_NOT_ACTIVE", 0, D::V1_0),
            v("RMI_PMU_OVERFLOW_ACTIVE", 1, D::V1_0),
            v("NOT_ACTIVE", 0, D::EVERY_2_0),
            v("ACTIVE", 1, D::EVERY_2_0),
        ],
    ),
    e("RmiRecRunnable", &[v("RMI_NOT_RUNNABLE", 0, D::V1_0), v("RMI_RUNNABLE", 1, D::V1_0)]),
    e(
        "RmiResponse",
        &[
            v("RMI_ACCEPT", 0, D::V1_0),
            v("RMI_REJECT", 1, D::V1_0),
            v("ACCEPT", 0, D::EVERY_2_0),
            v("REJECT", 1, D::EVERY_2_0),
        ],
    ),
    e(
        "RmiRipas",
        &[
            v("RMI_EMPTY", 0, D::V1_0),
            v("RMI_RAM", 1, D::V1_0),
            v("RMI_DESTROYED", 2, D::V1_0),
            v("EMPTY", 0, D::EVERY_2_0),
            v("RAM", 1, D::EVERY_2_0),
            v("DESTROYED", 2, D::EVERY_2_0),
            v("DEV", 3, D::EVERY_2_0),
        ],
    ),
    e(
        "RmiRttEntryState",
        &[
            v("RMI_UNASSIGNED", 0, D::V1_0),
            v("RMI_ASSIGNED", 1, D::V1_0),
            v("RMI_TABLE", 2, D::V1_0),
            v("VOID", 0, D::BETAS),
            v("DATA", 1, D::BETAS),
            v("TABLE", 2, D::EVERY_2_0),
            v("NARCH_DEV", 3, D::BETAS),
            v("AUX_DESTROYED", 4, D::BET0),
            v("ARCH_DEV", 5, D::BET0),
            v("UNASSIGNED", 0, D::TF_RMM),
            v("ASSIGNED", 1, D::TF_RMM),
            v("ASSIGNED_DEV", 3, D::TF_RMM),
            v("AUX_DESTROYED", 5, D::TF_RMM),
        ],
    ),
    e("RmiTrap", &[v("RMI_NO_TRAP", 0, D::V1_0), v("RMI_TRAP", 1, D::V1_0)]),
    e(
        "RmiRecExitReason",
        &[
            v("RMI_EXIT_SYNC", 0, D::V1_0),
            v("RMI_EXIT_IRQ", 1, D::V1_0),
            v("RMI_EXIT_FIQ", 2, D::V1_0),
            v("RMI_EXIT_PSCI", 3, D::V1_0),
            v("RMI_EXIT_RIPAS_CHANGE", 4, D::V1_0),
            v("RMI_EXIT_HOST_CALL", 5, D::V1_0),
            v("RMI_EXIT_SERROR", 6, D::V1_0),
            v("SYNC", 0, D::EVERY_2_0),
            v("IRQ", 1, D::EVERY_2_0),
            v("FIQ", 2, D::EVERY_2_0),
            v("PSCI", 3, D::EVERY_2_0),
            v("RIPAS_CHANGE", 4, D::EVERY_2_0),
            v("HOST_CALL", 5, D::EVERY_2_0),
            v("SERROR", 6, D::EVERY_2_0),
            v("S2AP_CHANGE", 7, D::EVERY_2_0),
            v("VDEV_REQUEST", 8, D::BEFORE_BET3),
            v("VDEV_VALIDATE_MAPPING", 9, D::BET0.and(D::BET1)),
            v("VSMMU_COMMAND", 10, D::BETAS),
            v("VDEV_P2P_BINDING", 11, D::BET0),
            v("DEV_MEM_MAP", 9, D::TF_RMM),
            v("VDEV_VALIDATE_MAPPING", 8, D::BET3),
        ],
    ),
    e(
        "PsciReturnCode",
        &[
            v("PSCI_SUCCESS", 0, D::V1_0),
            v("PSCI_OFF", 1, D::V1_0),
            v("PSCI_NOT_SUPPORTED", -1, D::V1_0),
            v("PSCI_INVALID_PARAMETERS", -2, D::V1_0),
            v("PSCI_DENIED", -3, D::V1_0),
            v("PSCI_ALREADY_ON", -4, D::V1_0),
            v("PSCI_ON_PENDING", -5, D::V1_0),
            v("PSCI_INTERNAL_FAILURE", -6, D::V1_0),
            v("PSCI_NOT_PRESENT", -7, D::V1_0),
            v("PSCI_DISABLED", -8, D::V1_0),
            v("PSCI_INVALID_ADDRESS", -9, D::V1_0),
        ],
    ),
    e(
        "RmiOpMemReq",
        &[v("NONE", 0, D::EVERY_2_0), v("DONATE", 1, D::EVERY_2_0), v("RECLAIM", 2, D::EVERY_2_0)],
    ),
    e("RmiOpCanCancel", &[v("CANNOT_CANCEL", 0, D::EVERY_2_0), v("CAN_CANCEL", 1, D::EVERY_2_0)]),
    e("RmiContinueBeyond", &[v("KEEP_GOING", 0, D::EVERY_2_0), v("STOP", 1, D::EVERY_2_0)]),
    e(
        "RmiOpMemState",
        &[
            v("DELEGATED", 0, D::EVERY_2_0),
            v("UNDELEGATED", 1, D::EVERY_2_0),
            v("CONDITIONAL", 2, D::BET3),
        ],
    ),
    e("RmiOpMemContig", &[v("NON_CONTIG", 0, D::EVERY_2_0), v("CONTIG", 1, D::EVERY_2_0)]),
    e(
        "RmiAddrBlockSize",
        &[
            v("PAGE_L3", 0, D::EVERY_2_0),
            v("BLOCK_L2", 1, D::EVERY_2_0),
            v("BLOCK_L1", 2, D::EVERY_2_0),
            v("BLOCK_L0", 3, D::EVERY_2_0),
        ],
    ),
    e(
        "RmiRttAddrType",
        &[v("NONE", 0, D::EVERY_2_0), v("SINGLE", 1, D::EVERY_2_0), v("LIST", 2, D::EVERY_2_0)],
    ),
    e(
        "RmiGranuleSize",
        &[v("4KB", 0, D::EVERY_2_0), v("16KB", 1, D::EVERY_2_0), v("64KB", 2, D::EVERY_2_0)],
    ),
    e("RmiTrackingRegionSize_4KB", &[v("1GB", 0, D::EVERY_2_0)]),
    e("RmiTrackingRegionSize_16KB", &[v("32MB", 0, D::EVERY_2_0), v("64GB", 1, D::EVERY_2_0)]),
    e("RmiTrackingRegionSize_64KB", &[v("512MB", 0, D::EVERY_2_0), v("4TB", 1, D::EVERY_2_0)]),
    e(
        "RmiTrackingRegionState",
        &[
            v("RESERVED", 0, D::EVERY_2_0),
            v("NONE", 1, D::EVERY_2_0),
            v("FINE", 2, D::EVERY_2_0),
            v("COARSE", 3, D::EVERY_2_0),
            v("INTERMEDIATE", 4, D::BET3),
        ],
    ),
    e(
        "RmiMemCategory",
        &[
            v("CONVENTIONAL", 0, D::EVERY_2_0),
            v("DEV_NCOH", 1, D::EVERY_2_0),
            v("DEV_COH", 2, D::EVERY_2_0),
            v("NONE", 3, D::BET3),
        ],
    ),
    e("RmiMecPolicy", &[v("SHARED", 0, D::EVERY_2_0), v("PRIVATE", 1, D::EVERY_2_0)]),
    e("RmiLfaPolicy", &[v("DISALLOW", 0, D::EVERY_2_0), v("ALLOW", 1, D::EVERY_2_0)]),
    e("RmiRttS2APEncoding", &[v("DIRECT", 0, D::EVERY_2_0), v("INDIRECT", 1, D::EVERY_2_0)]),
    e(
        "RmiRttPlaneFeature",
        &[
            v("AUX", 0, D::EVERY_2_0),
            v("AUX_SINGLE", 1, D::EVERY_2_0),
            v("SINGLE", 2, D::EVERY_2_0),
        ],
    ),
    e(
        "RmiL0Gptsz",
        &[
            v("30_BITS", 0, D::EVERY_2_0),
            v("34_BITS", 4, D::EVERY_2_0),
            v("36_BITS", 6, D::EVERY_2_0),
            v("39_BITS", 9, D::EVERY_2_0),
        ],
    ),
    e("RmiPps", &[v("48_BITS", 5, D::EVERY_2_0), v("52_BITS", 6, D::EVERY_2_0)]),
    e(
        "RmiPdevState",
        &[
            v("NEW", 0, D::EVERY_2_0),
            v("NEEDS_KEY", 1, D::EVERY_2_0),
            v("HAS_KEY", 2, D::EVERY_2_0),
            v("READY", 3, D::EVERY_2_0),
            v("STOPPED", 4, D::EVERY_2_0),
            v("ERROR", 5, D::EVERY_2_0),
        ],
    ),
    e(
        "RmiPdevCategory",
        &[
            v("ROOTPORT", 0, D::EVERY_2_0),
            v("ENDPOINT_ACCEL_OFF_CHIP", 1, D::EVERY_2_0),
            v("ENDPOINT_ACCEL_ON_CHIP", 2, D::EVERY_2_0),
            v("CMEM_bet0", 3, D::EVERY_2_0),
        ],
    ),
    e(
        "RmiVdevState",
        &[
            v("NEW", 0, D::EVERY_2_0),
            v("UNLOCKED", 1, D::EVERY_2_0),
            v("LOCKED", 2, D::EVERY_2_0),
            v("STARTED", 3, D::EVERY_2_0),
            v("ERROR", 4, D::EVERY_2_0),
            v("KEY_REFRESH", 5, D::EVERY_2_0),
            v("KEY_PURGE", 6, D::EVERY_2_0),
        ],
    ),
    e(
        "RmiSignatureAlgorithm",
        &[
            v("RSASSA_3072", 0, D::EVERY_2_0),
            v("ECDSA_P256", 1, D::EVERY_2_0),
            v("ECDSA_P384", 2, D::EVERY_2_0),
        ],
    ),
    e(
        "RmiDevCommStatus",
        &[v("NONE", 0, D::EVERY_2_0), v("RESPONSE", 1, D::EVERY_2_0), v("ERROR", 2, D::EVERY_2_0)],
    ),
    e(
        "RmiDevCommObject",
        &[
            v("VCA", 0, D::EVERY_2_0),
            v("CERTIFICATE", 1, D::EVERY_2_0),
            v("MEASUREMENTS", 2, D::EVERY_2_0),
            v("INTERFACE_REPORT", 3, D::EVERY_2_0),
        ],
    ),
    e("RmiDevCommProtocol", &[v("SPDM", 0, D::EVERY_2_0), v("SECURE_SPDM", 1, D::EVERY_2_0)]),
    e(
        "RmiPdevStreamType",
        &[
            v("NON_TEE", 0, D::EVERY_2_0),
            v("NCOH", 1, D::EVERY_2_0),
            v("COH", 2, D::EVERY_2_0),
            v("NCOH_SYS", 3, D::EVERY_2_0),
            v("COH_SYS", 4, D::EVERY_2_0),
            v("NCOH_P2P_bet0", 5, D::EVERY_2_0),
            v("COH_CMEM_bet0", 6, D::EVERY_2_0),
        ],
    ),
    e(
        "RmiPsmmuIrq",
        &[
            v("GERROR", 0, D::EVERY_2_0),
            v("EVENTQ", 1, D::EVERY_2_0),
            v("PRIQ", 2, D::EVERY_2_0),
            v("CMDQ", 3, D::EVERY_2_0),
        ],
    ),
    e(
        "RmiGptParState",
        &[
            v("RESERVED", 0, D::BET3),
            v("PLAT", 1, D::BET3),
            v("HOST_NOT_CREATED", 2, D::BET3),
            v("HOST_CREATED", 3, D::BET3),
        ],
    ),
];
