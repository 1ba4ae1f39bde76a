//! Decodes an exit record into an [`Exit`]. Total: whatever the RMM wrote, the result is an exit,
//! without a panic.

use rmi_abi::esr::{Esr, ExceptionClass, FaultStatus, fault_address_in, fault_page};
use rmi_abi::psci::PsciFunction;
use rmi_abi::rec::Mpidr;
use rmi_abi::rtt::{Geometry, Ripas};
use rmi_abi::run::{ExitReason, ExitRecord};
use rmi_abi::{Dialect, Ipa, IpaRange, Pa};

use super::{
    Abort, Exit, Fault, HostCall, MemoryError, MmioLoad, MmioStore, P2pBinding, PsciNotice,
    PsciRequest, PsciRequestKind, RipasChange, S2apChange, SharedFault, SysRegRead, SysRegWrite,
    VdevMapping, VdevRequest, VsmmuCommand, Wait,
};
use crate::answer::{AnswerValue, Ticket};
use crate::timer::{InterruptLines, Timers};

/// Decodes an exit record into `exit`, which is large: each place that makes an exit puts it there.
pub(crate) fn decode(
    record: &ExitRecord,
    dialect: Dialect,
    geometry: Geometry,
    ticket: Ticket,
    exit: &mut Exit,
) {
    let [x0, x1, ..] = record.gprs;
    let code = record.exit_reason;
    match ExitReason::decode(code, dialect) {
        ExitReason::Sync => sync(record, dialect, geometry, ticket, exit),
        ExitReason::Irq => *exit = Exit::Irq,
        ExitReason::Fiq => *exit = Exit::Fiq,
        ExitReason::Psci => psci(x0, x1, ticket, exit),
        ExitReason::RipasChange => {
            *exit = Exit::RipasChange(RipasChange {
                ticket,
                range: range(record.ripas_base, record.ripas_top),
                ripas: Ripas::from(record.ripas_value),
            });
        }
        ExitReason::HostCall => {
            *exit = Exit::HostCall(HostCall {
                ticket,
                imm: record.imm,
                gprs: record.gprs,
                plane: record.plane,
                lines: InterruptLines::new(record),
            });
        }
        ExitReason::SError => *exit = Exit::SError { esr: Esr(record.esr) },
        ExitReason::S2apChange => {
            let range = range(record.s2ap_base, record.s2ap_top);
            *exit = Exit::S2apChange(S2apChange { ticket, range });
        }
        ExitReason::VdevRequest => {
            *exit = Exit::VdevRequest(VdevRequest {
                ticket,
                vdev_id: record.vdev_id_1,
                lines: InterruptLines::new(record),
            });
        }
        ExitReason::VdevValidateMapping => {
            let range = (record.dev_mem_base, record.dev_mem_top);
            let (id, pa) = (record.vdev_id_1, record.dev_mem_pa);
            *exit = Exit::VdevMapping(VdevMapping::new(ticket, id, range, pa));
        }
        ExitReason::VdevP2pBinding => {
            let vdev_ids = [record.vdev_id_1, record.vdev_id_2];
            *exit = Exit::P2pBinding(P2pBinding { ticket, vdev_ids });
        }
        ExitReason::VsmmuCommand => {
            *exit = Exit::VsmmuCommand(VsmmuCommand { ticket, vsmmu: Pa::new(record.vsmmu) });
        }
        _ => *exit = Exit::Unknown { reason: code },
    }
}

/// The range of a request; an empty one if what was reported is not a range. The RMM waits for an
/// answer in either case.
fn range(base: u64, top: u64) -> IpaRange {
    let base = Ipa::new(base);
    IpaRange::new_or_empty(base, Ipa::new(top))
}

fn sync(
    record: &ExitRecord,
    dialect: Dialect,
    geometry: Geometry,
    ticket: Ticket,
    exit: &mut Exit,
) {
    let esr = Esr(record.esr);
    let [x0, ..] = record.gprs;
    match esr.class() {
        ExceptionClass::DataAbort => abort(record, false, geometry, ticket, exit),
        ExceptionClass::InstructionAbort => abort(record, true, geometry, ticket, exit),
        ExceptionClass::Wfx => {
            let kind = esr.wfx();
            let deadline = kind.deadline(x0, dialect);
            let hidden = deadline.is_none() && dialect.may_hide_wait_deadline();
            *exit = Exit::Wait(Wait { kind, deadline, hidden, timers: Timers::new(record) });
        }
        ExceptionClass::SysReg if esr.sysreg_is_read() => {
            *exit = Exit::SysRegRead(SysRegRead { ticket, esr });
        }
        ExceptionClass::SysReg => *exit = Exit::SysRegWrite(SysRegWrite { esr, value: x0 }),
        _ => *exit = Exit::UnknownSync { esr, page: fault_page(record.hpfar) },
    }
}

/// An abort, by its fault status. The address determines whether it can be answered: only after a
/// data abort at an unprotected IPA does an RMM let the host inject an abort.
fn abort(record: &ExitRecord, is_fetch: bool, geometry: Geometry, ticket: Ticket, exit: &mut Exit) {
    let esr = Esr(record.esr);
    let (status, page) = (esr.fault(), fault_page(record.hpfar));
    let [x0, ..] = record.gprs;
    if status.is_memory_error() {
        *exit = Exit::MemoryError(MemoryError { esr, is_fetch });
        return;
    }
    let protected = geometry.is_protected(page);
    match status {
        FaultStatus::Translation(level) if protected => {
            let rtt_tree = record.rtt_tree;
            let again = AnswerValue::None;
            *exit = Exit::Fault(Fault { ticket, page, esr, level, is_fetch, rtt_tree, again });
        }
        _ if protected || is_fetch || !status.has_ipa() => {
            *exit = Exit::Abort(Abort { page, esr, is_fetch });
        }
        FaultStatus::Translation(_) | FaultStatus::Permission(_) if esr.is_valid_syndrome() => {
            let (ipa, bytes) = (
                fault_address_in(geometry.granule(), record.hpfar, record.far),
                esr.access_bytes(),
            );
            if esr.is_write() {
                let value = x0 & (u64::MAX >> (64 - 8 * u32::from(bytes)));
                *exit = Exit::MmioStore(MmioStore { ticket, ipa, esr, bytes, value });
            } else {
                *exit = Exit::MmioLoad(MmioLoad { ticket, ipa, esr, bytes });
            }
        }
        _ => *exit = Exit::SharedFault(SharedFault { ticket, page, esr }),
    }
}

fn psci(x0: u64, x1: u64, ticket: Ticket, exit: &mut Exit) {
    // SMCCC functions are 32 bits, and an RMM forwards X0 as the Realm set it.
    let function = PsciFunction::from_register(x0);
    let kind = match function {
        PsciFunction::CpuOn32 | PsciFunction::CpuOn64 => PsciRequestKind::CpuOn,
        PsciFunction::AffinityInfo32 | PsciFunction::AffinityInfo64 => {
            PsciRequestKind::AffinityInfo
        }
        _ => {
            *exit = Exit::PsciNotice(match function {
                PsciFunction::CpuOff => PsciNotice::CpuOff,
                PsciFunction::CpuSuspend32 | PsciFunction::CpuSuspend64 => PsciNotice::CpuSuspend,
                PsciFunction::SystemOff => PsciNotice::SystemOff,
                PsciFunction::SystemReset => PsciNotice::SystemReset,
                other => PsciNotice::Other(other),
            });
            return;
        }
    };
    *exit = Exit::PsciRequest(PsciRequest { ticket, kind, target: Mpidr::from_psci(x1) });
}
