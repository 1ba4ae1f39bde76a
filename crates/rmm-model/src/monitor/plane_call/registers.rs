//! The system registers of a plane that plane 0 accesses.

use rmi_abi::esr::SysReg;

use crate::guest::encoding;

/// The registers that `RSI_PLANE_SYSREG_*` accept, besides those of the timers and of the event
/// counters, as they encode them. Bit 16 asks for 128 bits, which the CPUs of the model lack.
///
/// Source: TF-RMM of July 2026, `access_plane_sysreg` and `access_pmu_sysregs`.
const REGISTERS: [u64; 51] = [
    // MDCCINT, MDSCR, BRBCR
    0x8010, 0x8012, 0x8c80, // SCTLR, ACTLR, CPACR, ZCR
    0xc080, 0xc081, 0xc082, 0xc090, // TTBR0, TTBR1, TCR, TCR2
    0xc100, 0xc101, 0xc102, 0xc103,
    // APIAKEY, APIBKEY, APDAKEY, APDBKEY, APGAKEY: low and high
    0xc108, 0xc109, 0xc10a, 0xc10b, 0xc110, 0xc111, 0xc112, 0xc113, 0xc118, 0xc119,
    // SPSR, ELR, SP_EL0
    0xc200, 0xc201, 0xc208, // AFSR0, AFSR1, ESR, FAR, PAR
    0xc288, 0xc289, 0xc290, 0xc300, 0xc3a0, // PMINTENSET
    0xc4f1, // MAIR, PIRE0, PIR, POR, AMAIR
    0xc510, 0xc512, 0xc513, 0xc514, 0xc518,
    // VBAR, DISR, CONTEXTIDR, TPIDR_EL1, CNTKCTL
    0xc600, 0xc609, 0xc681, 0xc684, 0xc708, // CSSELR
    0xd000, // PMCR, PMCNTENSET, PMSELR, PMCCNTR, PMUSERENR, PMOVSSET
    0xdce0, 0xdce1, 0xdce5, 0xdce8, 0xdcf0, 0xdcf3, // TPIDR_EL0, TPIDRRO_EL0
    0xde82, 0xde83, // PMCCFILTR
    0xdf7f, // SP_EL1
    0xe208,
];

/// The first of 31 event counters (`PMEVCNTR<n>_EL0`), and of their types (`PMEVTYPER<n>_EL0`).
const COUNTERS: [u64; 2] = [0xdf40, 0xdf60];

/// Whether plane 0 may access the register that is encoded so.
pub(super) fn is_of_planes(register: u64) -> bool {
    let is_counter = COUNTERS.iter().any(|first| (*first..first + 31).contains(&register));
    is_counter || timer(register).is_some() || REGISTERS.contains(&register)
}

/// The register of a timer that is encoded so.
pub(super) fn timer(register: u64) -> Option<SysReg> {
    let timers =
        [SysReg::CNTP_CTL_EL0, SysReg::CNTP_CVAL_EL0, SysReg::CNTV_CTL_EL0, SysReg::CNTV_CVAL_EL0];
    timers.into_iter().find(|timer| encoding(*timer) == register)
}
