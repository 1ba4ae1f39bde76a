//! Layouts, enumerations and bit fields of the RSI as data, in the structure of
//! [`crate::describe`].

use super::{
    DevInfoBlock, DevMeasureParamsBlock, HostCallBlock, PlaneEnter1_1, PlaneEnter2_0, PlaneExit1_1,
    PlaneExit2_0, PlaneRunPage1_1, PlaneRunPage2_0, RealmConfigPage, VdevInfoBlock, VersionSet,
};
use crate::describe::{Bits, Enumeration, Register, Structure, Value};
use crate::dialect::DialectSet;

/// Every structure of the RSI, in all versions. A name occurs twice where versions lay the
/// structure out differently.
pub const STRUCTURES: &[Structure<VersionSet>] = &[
    RealmConfigPage::LAYOUT,
    HostCallBlock::LAYOUT,
    PlaneEnter1_1::LAYOUT,
    PlaneExit1_1::LAYOUT,
    PlaneRunPage1_1::LAYOUT,
    PlaneEnter2_0::LAYOUT,
    PlaneExit2_0::LAYOUT,
    PlaneRunPage2_0::LAYOUT,
    DevInfoBlock::LAYOUT,
    DevMeasureParamsBlock::LAYOUT,
    VdevInfoBlock::LAYOUT,
];

const fn v(name: &'static str, number: i64) -> Value {
    Value { name, number, dialects: DialectSet::EVERY }
}

const fn f(name: &'static str, lsb: u8, msb: u8) -> Bits {
    Bits { name, lsb, msb, dialects: DialectSet::EVERY, kind: None }
}

/// Every enumeration of the RSI; the numbers are the same with every version and dialect.
pub const ENUMERATIONS: &[Enumeration] = &[
    Enumeration {
        name: "RsiCommandReturnCode",
        values: &[
            v("RSI_SUCCESS", 0),
            v("RSI_ERROR_INPUT", 1),
            v("RSI_ERROR_STATE", 2),
            v("RSI_INCOMPLETE", 3),
            v("RSI_ERROR_UNKNOWN", 4),
            v("RSI_ERROR_DEVICE", 5),
        ],
    },
    Enumeration {
        name: "RsiHashAlgorithm",
        values: &[v("RSI_HASH_SHA_256", 0), v("RSI_HASH_SHA_512", 1), v("RSI_HASH_SHA_384", 2)],
    },
    Enumeration {
        name: "RsiRipas",
        values: &[v("RSI_EMPTY", 0), v("RSI_RAM", 1), v("RSI_DESTROYED", 2), v("RSI_DEV", 3)],
    },
    Enumeration { name: "RsiResponse", values: &[v("RSI_ACCEPT", 0), v("RSI_REJECT", 1)] },
    Enumeration {
        name: "RsiPlaneExitReason",
        values: &[v("RSI_EXIT_SYNC", 0), v("RSI_EXIT_IRQ", 1), v("RSI_EXIT_HOST", 2)],
    },
];

/// Every bit field of the RSI; the positions are the same with every version and dialect.
pub const REGISTERS: &[Register] = &[
    Register { name: "RsiInterfaceVersion", fields: &[f("minor", 0, 15), f("major", 16, 30)] },
    Register { name: "RsiRipasChangeFlags", fields: &[f("destroyed", 0, 0)] },
    Register {
        name: "RsiFeatureRegister0",
        fields: &[f("DA", 0, 0), f("MRO", 1, 1), f("ATS", 2, 2)],
    },
    Register {
        name: "RsiPlaneEnterFlags",
        fields: &[
            f("trap_wfi", 0, 0),
            f("trap_wfe", 1, 1),
            f("trap_hc", 2, 2),
            f("own_gic", 3, 3),
            f("trap_simd", 4, 4),
            f("trap_dbg", 5, 5),
        ],
    },
    Register {
        name: "RsiSysregAddress",
        fields: &[
            f("op2", 0, 2),
            f("crm", 3, 6),
            f("crn", 7, 10),
            f("op1", 11, 13),
            f("op0", 14, 15),
            f("sysreg128", 16, 16),
        ],
    },
];
