//! The bit fields of the interface as data.
//!
//! A field that differs between dialects has one row for each position. Bits without a row are
//! reserved.

use super::{Bits, Register};
use crate::dialect::DialectSet;

use DialectSet as D;

/// A field of one bit.
const fn b(name: &'static str, bit: u8, dialects: DialectSet) -> Bits {
    f(name, bit, bit, dialects)
}

/// A field of several bits, from `lsb` to `msb`.
const fn f(name: &'static str, lsb: u8, msb: u8, dialects: DialectSet) -> Bits {
    Bits { name, lsb, msb, dialects, kind: None }
}

impl Bits {
    /// Sets the enumeration that the field's value belongs to.
    const fn of(self, kind: &'static str) -> Self {
        Self { kind: Some(kind), ..self }
    }
}

const fn r(name: &'static str, fields: &'static [Bits]) -> Register {
    Register { name, fields }
}

/// Every bit field of the RMI, in all dialects.
pub const REGISTERS: &[Register] = &[
    r("RmiDataFlags", &[b("measure", 0, D::EVERY)]),
    r("RmiRealmFlags", &[b("lpa2", 0, D::V1_0), b("sve", 1, D::V1_0), b("pmu", 2, D::V1_0)]),
    r("RmiRecCreateFlags", &[b("runnable", 0, D::EVERY)]),
    r(
        "RmiRecEnterFlags",
        &[
            b("emul_mmio", 0, D::EVERY),
            b("inject_sea", 1, D::EVERY),
            b("trap_wfi", 2, D::EVERY),
            b("trap_wfe", 3, D::EVERY),
            b("ripas_response", 4, D::EVERY),
            b("s2ap_response", 5, D::EVERY_2_0),
            b("dev_mem_response", 6, D::EVERY_2_0),
            b("force_p0", 7, D::EVERY_2_0),
        ],
    ),
    r(
        "RmiRecMpidr",
        &[
            f("aff0", 0, 3, D::EVERY),
            f("aff1", 8, 15, D::EVERY),
            f("aff2", 16, 23, D::EVERY),
            f("aff3", 24, 31, D::EVERY),
        ],
    ),
    r("RmiInterfaceVersion", &[f("minor", 0, 15, D::V1_0), f("major", 16, 30, D::V1_0)]),
    r(
        "RmiFeatureRegister0",
        &[
            f("S2SZ", 0, 7, D::EVERY),
            b("LPA2", 8, D::EVERY),
            b("SVE_EN", 9, D::V1_0),
            b("SVE", 9, D::EVERY_2_0),
            f("SVE_VL", 10, 13, D::EVERY),
            f("NUM_BPS", 14, 19, D::EVERY),
            f("NUM_WPS", 20, 25, D::EVERY),
            b("PMU_EN", 26, D::V1_0),
            b("PMU", 26, D::EVERY_2_0),
            f("PMU_NUM_CTRS", 27, 31, D::EVERY),
            b("HASH_SHA_256", 32, D::V1_0),
            b("L0GPT_BLOCK_DELEGATE", 32, D::BET3),
            b("HASH_SHA_512", 33, D::V1_0),
            f("S2OASZ", 33, 40, D::BET3),
            f("GICV3_NUM_LRS", 34, 37, D::V1_0),
            f("MAX_RECS_ORDER", 38, 41, D::V1_0),
        ],
    ),
    r(
        "UnprotectedDescriptor",
        &[
            f("MemAttr", 2, 4, D::V1_0),
            f("S2AP", 6, 7, D::V1_0),
            f("OA_51_50_LPA2", 8, 9, D::V1_0),
            f("OA_47_12", 12, 47, D::V1_0),
            f("OA_49_48_LPA2", 48, 49, D::V1_0),
        ],
    ),
    r(
        "RmiFeatureRegister1",
        &[
            b("GRAN_SZ_4KB", 0, D::EVERY_2_0),
            b("GRAN_SZ_16KB", 1, D::EVERY_2_0),
            b("GRAN_SZ_64KB", 2, D::EVERY_2_0),
            b("HASH_SHA_256", 3, D::EVERY_2_0),
            b("HASH_SHA_384", 4, D::EVERY_2_0),
            b("HASH_SHA_512", 5, D::EVERY_2_0),
            f("MAX_RECS_ORDER", 6, 9, D::EVERY_2_0),
            f("L0GPTSZ", 10, 13, D::EVERY_2_0).of("RmiL0Gptsz"),
            f("PPS", 14, 16, D::EVERY_2_0).of("RmiPps"),
        ],
    ),
    r(
        "RmiFeatureRegister2",
        &[
            b("DA", 0, D::EVERY_2_0),
            b("DA_COH", 1, D::EVERY_2_0),
            b("VSMMU", 2, D::EVERY_2_0),
            b("ATS", 3, D::EVERY_2_0),
            f("MAX_VDEVS_ORDER", 4, 7, D::BEFORE_BET3),
            f("PDEV_MAX_VDEVS_ORDER", 4, 7, D::BET3),
            b("VDEV_KROU", 8, D::EVERY_2_0),
            b("NON_TEE_STREAM", 9, D::EVERY_2_0),
            f("REALM_MAX_VDEVS_ORDER", 10, 14, D::BET3),
        ],
    ),
    r(
        "RmiFeatureRegister3",
        &[
            f("MAX_NUM_AUX_PLANES", 0, 3, D::EVERY_2_0),
            f("RTT_PLANE", 4, 5, D::EVERY_2_0).of("RmiRttPlaneFeature"),
            b("RTT_S2AP_INDIRECT", 6, D::EVERY_2_0),
        ],
    ),
    r("RmiFeatureRegister4", &[f("MEC_COUNT", 0, 63, D::EVERY_2_0)]),
    r(
        "RmiRealmFlags0",
        &[
            b("lpa2", 0, D::BEFORE_BET3),
            b("sve", 1, D::EVERY_2_0),
            b("pmu", 2, D::EVERY_2_0),
            b("da", 3, D::EVERY_2_0),
            f("lfa_policy", 5, 6, D::EVERY_2_0).of("RmiLfaPolicy"),
            f("mec_policy", 7, 8, D::EVERY_2_0).of("RmiMecPolicy"),
        ],
    ),
    r(
        "RmiRealmFlags1",
        &[
            b("rtt_tree_per_plane", 0, D::EVERY_2_0),
            b("rtt_s2ap_encoding", 1, D::EVERY_2_0).of("RmiRttS2APEncoding"),
            b("ats", 2, D::BET0),
        ],
    ),
    r(
        "RmiRttProtMapFlags",
        &[
            f("oaddr_type", 0, 1, D::EVERY_2_0).of("RmiRttAddrType"),
            f("list_count", 2, 15, D::EVERY_2_0),
        ],
    ),
    r(
        "RmiRttUnmapFlags",
        &[
            f("oaddr_type", 0, 1, D::EVERY_2_0).of("RmiRttAddrType"),
            f("list_count", 2, 15, D::EVERY_2_0),
        ],
    ),
    r(
        "RmiRttUnprotMapFlags",
        &[
            f("oaddr_type", 0, 1, D::EVERY_2_0).of("RmiRttAddrType"),
            f("list_count", 2, 15, D::EVERY_2_0),
            f("memattr", 16, 18, D::EVERY_2_0),
            f("s2ap", 19, 22, D::EVERY_2_0),
        ],
    ),
    r(
        "RmiRttAuxMapFlags",
        &[
            f("tree_index", 0, 1, D::EVERY_2_0),
            b("block", 2, D::EVERY_2_0),
            b("invalid_pri", 3, D::EVERY_2_0),
        ],
    ),
    r("RmiRttAuxUnmapFlags", &[f("tree_index", 0, 1, D::EVERY_2_0)]),
    r("RmiContinueFlags", &[b("beyond", 0, D::EVERY_2_0).of("RmiContinueBeyond")]),
    r(
        "RmiOpMemDonateReq",
        &[
            f("size", 0, 1, D::EVERY_2_0).of("RmiAddrBlockSize"),
            f("count", 2, 15, D::EVERY_2_0),
            b("contig", 16, D::EVERY_2_0).of("RmiOpMemContig"),
            b("state", 17, D::BEFORE_BET3).of("RmiOpMemState"),
            f("state", 17, 18, D::BET3).of("RmiOpMemState"),
        ],
    ),
    r(
        "RmiAddrRangeDesc4KB",
        &[
            f("size", 0, 1, D::EVERY_2_0).of("RmiAddrBlockSize"),
            f("count", 2, 11, D::EVERY_2_0),
            f("addr", 12, 51, D::EVERY_2_0),
            f("state", 62, 63, D::BET3).of("RmiOpMemState"),
            b("state", 63, D::BEFORE_BET3).of("RmiOpMemState"),
        ],
    ),
    r(
        "RmiAddrRangeDesc16KB",
        &[
            f("size", 0, 1, D::EVERY_2_0).of("RmiAddrBlockSize"),
            f("count", 2, 13, D::EVERY_2_0),
            f("addr", 14, 51, D::EVERY_2_0),
            f("state", 62, 63, D::BET3).of("RmiOpMemState"),
            b("state", 63, D::BEFORE_BET3).of("RmiOpMemState"),
        ],
    ),
    r(
        "RmiAddrRangeDesc64KB",
        &[
            f("size", 0, 1, D::EVERY_2_0).of("RmiAddrBlockSize"),
            f("count", 2, 15, D::EVERY_2_0),
            f("addr", 16, 51, D::EVERY_2_0),
            f("state", 62, 63, D::BET3).of("RmiOpMemState"),
            b("state", 63, D::BEFORE_BET3).of("RmiOpMemState"),
        ],
    ),
    r(
        "RmiPdevFlags",
        &[
            b("spdm", 0, D::EVERY_2_0),
            f("category", 1, 2, D::EVERY_2_0).of("RmiPdevCategory"),
            b("p2p", 3, D::BET0),
        ],
    ),
    r("RmiVdevFlags", &[b("vsmmu", 0, D::EVERY_2_0)]),
    r("RmiVdevMeasureFlags", &[b("raw", 0, D::EVERY_2_0)]),
    r(
        "RmiDevCommExitFlags",
        &[
            b("req_cache", 0, D::EVERY_2_0),
            b("rsp_cache", 1, D::EVERY_2_0),
            b("req_send", 2, D::EVERY_2_0),
            b("rsp_wait", 3, D::EVERY_2_0),
            b("rsp_reset", 4, D::EVERY_2_0),
            b("multi", 5, D::EVERY_2_0),
            b("stream_wait", 6, D::EVERY_2_0),
        ],
    ),
    r(
        "RmiPsmmuFlags",
        &[b("msi", 0, D::EVERY_2_0), b("ats", 1, D::EVERY_2_0), b("pri", 2, D::EVERY_2_0)],
    ),
    r(
        "RmiPsmmuIrqSet",
        &[
            b("gerror", 0, D::EVERY_2_0),
            b("eventq", 1, D::EVERY_2_0),
            b("priq", 2, D::EVERY_2_0),
            b("cmdq", 3, D::EVERY_2_0),
        ],
    ),
    r(
        "RmiPsmmuIrqResult",
        &[
            b("pending", 0, D::EVERY_2_0),
            b("vsmmu_event", 1, D::EVERY_2_0),
            b("smmu_event", 2, D::EVERY_2_0),
            b("empty", 3, D::EVERY_2_0),
        ],
    ),
    r(
        "PsmmuEventSyndrome",
        &[b("rnw", 0, D::EVERY_2_0), b("s2", 1, D::EVERY_2_0), f("class", 2, 3, D::EVERY_2_0)],
    ),
    r(
        "RmiVsmmuCmdFlags",
        &[
            b("pending", 0, D::EVERY_2_0),
            b("cmd_complete", 1, D::EVERY_2_0),
            b("irq", 2, D::EVERY_2_0),
        ],
    ),
    r("RmiVsmmuEventFlags", &[b("irq", 0, D::EVERY_2_0), b("abort", 1, D::EVERY_2_0)]),
];
