//! From the exit record to an [`Exit`]. Total: whatever the RMM wrote, something comes out, and nothing panics.

use rmi_abi::esr::{Esr, ExceptionClass, fault_address, fault_page};
use rmi_abi::psci::PsciFunction;
use rmi_abi::rec::Mpidr;
use rmi_abi::rtt::{Geometry, Ripas};
use rmi_abi::run::{ExitReason, RecExit};
use rmi_abi::{Dialect, Ipa, IpaRange};

use super::{
    Exit, Fault, HostCall, MmioLoad, MmioStore, PsciNotice, PsciRequest, PsciRequestKind,
    RipasChange, S2apChange, SharedFault, SysRegRead, SysRegWrite,
};
use crate::answer::Ticket;

/// Decodes an exit record.
pub(crate) fn decode(
    record: &RecExit,
    dialect: Dialect,
    geometry: Geometry,
    ticket: Ticket,
) -> Exit {
    let [x0, x1, ..] = record.gprs;
    let reason = record.exit_reason;
    match ExitReason::decode(reason, dialect) {
        ExitReason::Sync => sync(record, geometry, ticket),
        ExitReason::Irq => Exit::Irq,
        ExitReason::Fiq => Exit::Fiq,
        ExitReason::Psci => psci(x0, x1, ticket),
        ExitReason::RipasChange => {
            let ends = (Ipa::new(record.ripas_base), Ipa::new(record.ripas_top));
            match IpaRange::new(ends.0, ends.1) {
                Ok(range) => Exit::RipasChange(RipasChange {
                    ticket,
                    range,
                    ripas: Ripas::from(record.ripas_value),
                }),
                Err(_) => Exit::Unknown { reason },
            }
        }
        ExitReason::HostCall => Exit::HostCall(HostCall {
            ticket,
            imm: record.imm,
            gprs: record.gprs,
            plane: record.plane,
        }),
        ExitReason::SError => Exit::SError { esr: Esr(record.esr) },
        ExitReason::S2apChange => {
            let (base, top) = (Ipa::new(record.s2ap_base), Ipa::new(record.s2ap_top));
            match IpaRange::new(base, top) {
                Ok(range) => Exit::S2apChange(S2apChange { ticket, range }),
                Err(_) => Exit::Unknown { reason },
            }
        }
        ExitReason::VdevRequest
        | ExitReason::VdevValidateMapping
        | ExitReason::VdevP2pBinding
        | ExitReason::VsmmuCommand => Exit::Device { reason, vdev_id: record.vdev_id_1 },
        _ => Exit::Unknown { reason },
    }
}

fn sync(record: &RecExit, geometry: Geometry, ticket: Ticket) -> Exit {
    let esr = Esr(record.esr);
    let page = fault_page(record.hpfar);
    let [x0, ..] = record.gprs;
    let protected = geometry.is_protected(page);
    match esr.class() {
        ExceptionClass::DataAbort if protected => {
            Exit::Fault(Fault { ticket, page, esr, is_fetch: false, rtt_tree: record.rtt_tree })
        }
        ExceptionClass::DataAbort if !esr.is_valid_syndrome() => {
            Exit::SharedFault(SharedFault { ticket, page, esr })
        }
        ExceptionClass::DataAbort => {
            let (ipa, bytes) = (fault_address(record.hpfar, record.far), esr.access_bytes());
            if esr.is_write() {
                let value = x0 & (u64::MAX >> (64 - 8 * u32::from(bytes)));
                Exit::MmioStore(MmioStore { ticket, ipa, bytes, value })
            } else {
                Exit::MmioLoad(MmioLoad { ticket, ipa, bytes })
            }
        }
        ExceptionClass::InstructionAbort => {
            Exit::Fault(Fault { ticket, page, esr, is_fetch: true, rtt_tree: record.rtt_tree })
        }
        ExceptionClass::Wfx => Exit::Wfx { is_wfe: esr.wfx_kind() & 1 != 0, deadline: x0 },
        ExceptionClass::SysReg if esr.sysreg_is_read() => {
            Exit::SysRegRead(SysRegRead { ticket, esr })
        }
        ExceptionClass::SysReg => Exit::SysRegWrite(SysRegWrite { esr, value: x0 }),
        _ => Exit::UnknownSync { esr, page },
    }
}

fn psci(x0: u64, x1: u64, ticket: Ticket) -> Exit {
    let Ok(number) = u32::try_from(x0) else {
        return Exit::PsciNotice(PsciNotice::Other(PsciFunction::Unknown(0)));
    };
    let function = PsciFunction::from(number);
    let notice = match function {
        PsciFunction::CpuOff => PsciNotice::CpuOff,
        PsciFunction::CpuSuspend32 | PsciFunction::CpuSuspend64 => PsciNotice::CpuSuspend,
        PsciFunction::SystemOff => PsciNotice::SystemOff,
        PsciFunction::SystemReset => PsciNotice::SystemReset,
        PsciFunction::CpuOn32
        | PsciFunction::CpuOn64
        | PsciFunction::AffinityInfo32
        | PsciFunction::AffinityInfo64 => {
            let kind = match function {
                PsciFunction::CpuOn32 | PsciFunction::CpuOn64 => PsciRequestKind::CpuOn,
                _ => PsciRequestKind::AffinityInfo,
            };
            return match Mpidr::from_psci(x1) {
                Some(target) => Exit::PsciRequest(PsciRequest { ticket, kind, target }),
                None => Exit::PsciNotice(PsciNotice::Other(function)),
            };
        }
        other => PsciNotice::Other(other),
    };
    Exit::PsciNotice(notice)
}
