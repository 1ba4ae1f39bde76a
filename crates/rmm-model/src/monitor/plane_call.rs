//! Planes that run: `RSI_PLANE_*`, and the exits of a plane to plane 0.
//!
//! Source: RSI 2.0 draft; TF-RMM of July 2026, `handle_rsi_plane_enter` and `handle_plane_n_exit`.

mod registers;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::esr::ExceptionClass;
use rmi_abi::rsi::{PlaneEnter2_0, PlaneEnterFlags, PlaneExit2_0, PlaneExitReason};
use rmi_abi::run::RecEnterFlags;
use rmi_abi::{Ipa, Pa};
use zerocopy::{FromZeros, IntoBytes};

use super::Monitor;
use super::access::Translation;
use super::enter::Exit;
use super::realm_call::{Reply, status};
use crate::gic::{self, VirtualInterface};
use crate::guest::{Action, Outcome, SysReg, encoding};
use crate::rec::{LastExit, Rec, Syndrome};
use crate::rsi;
use crate::syndrome;
use crate::unsupported::answers_as_tf_rmm;
use registers::is_of_planes;

/// `SPSR_EL2.M[4]`: `AArch32`.
const PSTATE_AARCH32: u64 = 1 << 4;
/// Offset of the exit in the run page.
const EXIT_OFFSET: u64 = 0x800;

/// Registers that the run page has by themselves.
const SCTLR_EL1: SysReg = SysReg { op0: 3, op1: 0, crn: 1, crm: 0, op2: 0 };
const VBAR_EL1: SysReg = SysReg { op0: 3, op1: 0, crn: 12, crm: 0, op2: 0 };
const ELR_EL1: SysReg = SysReg { op0: 3, op1: 0, crn: 4, crm: 0, op2: 1 };

impl Monitor {
    /// Whether Realms have the calls for planes.
    pub(super) fn runs_planes(&self) -> bool {
        self.has_planes() && self.options.rsi >= rmi_abi::rsi::Version::V2_0
    }

    /// An auxiliary plane of a Realm by its index.
    fn auxiliary_plane(&self, rd: Pa, index: u64) -> Option<usize> {
        let number = self.realms.get(&rd)?.planes.number();
        usize::try_from(index).ok().filter(|index| (1..number).contains(index))
    }

    pub(super) fn plane_enter(
        &mut self,
        address: Pa,
        cpu: u32,
        rd: Pa,
        [index, run]: [u64; 2],
    ) -> Option<Reply> {
        let Some(plane) = self.auxiliary_plane(rd, index) else {
            return Some(status(rsi::ERROR_INPUT));
        };
        let run = Ipa::new(run);
        let at = match self.buffer(rd, run, MIN_GRANULE) {
            Ok(at) => at,
            Err(reply) => return Some(reply),
        };
        let mut page = PlaneEnter2_0::new_zeroed();
        self.memory.read(at, page.as_mut_bytes());
        let flags = PlaneEnterFlags::from_bits_retain(page.flags);
        let owns_gic = flags.contains(PlaneEnterFlags::OWN_GIC);
        let count = self.options.list_registers.into();
        let is_acceptable = owns_gic || gic::accepts(page.gicv3_lrs.iter().take(count).copied());
        if page.pstate & PSTATE_AARCH32 != 0 || !is_acceptable {
            return Some(status(rsi::ERROR_INPUT));
        }

        let now = self.clock.now();
        let fresh = VirtualInterface::new(gic::Vtr::new(&self.options));
        let physical = self.cpu(cpu).interface;
        let rec = self.recs.get_mut(&address)?;
        rec.timers.show(now);
        rec.switch_plane(plane);
        rec.plane_run = run;
        resume(rec, &page);
        rec.own.traps_wfi = flags.contains(PlaneEnterFlags::TRAP_WFI);
        rec.own.traps_wfe = flags.contains(PlaneEnterFlags::TRAP_WFE);
        rec.own.traps_host_calls = flags.contains(PlaneEnterFlags::TRAP_HC);
        if owns_gic {
            rec.gic_owner = plane;
        } else {
            rec.host_interface = Some(physical);
            let mut interface = rec.own.interface.unwrap_or(fresh);
            for (n, list) in page.gicv3_lrs.into_iter().enumerate() {
                interface.set_list(n, list);
            }
            interface.set_hcr(page.gicv3_hcr);
            self.cpu(cpu).interface = interface;
        }
        Some(Reply::Switched)
    }

    /// The plane that runs exits to plane 0, with a synchronous exception of the action or an
    /// interrupt. `Err` if the run page is not mapped: the REC exits to the host, and the plane has
    /// to do the same again.
    pub(super) fn exit_plane(
        &mut self,
        address: Pa,
        cpu: u32,
        reason: PlaneExitReason,
    ) -> Result<(), Option<Exit>> {
        let now = self.clock.now();
        let physical = self.cpu(cpu).interface;
        let rec = self.recs.get_mut(&address).ok_or(None)?;
        let (rd, run) = (rec.rd, rec.plane_run);
        let result = match self.translate_structure(rd, run) {
            Translation::Memory(at) => {
                let rec = self.recs.get_mut(&address).ok_or(None)?;
                // A plane that does not own the interface has its own one, which is on the CPU
                // while the REC runs.
                if rec.running {
                    rec.timers.show(now);
                    rec.own.interface = Some(physical);
                }
                let exit = record(rec, reason, now, gic::Vtr::new(&self.options));
                self.memory.write(Pa::new(at.raw() + EXIT_OFFSET), exit.as_bytes());
                rsi::SUCCESS
            }
            // Plane 0 made its page EMPTY: what the plane had is lost.
            Translation::Abort | Translation::ToPlane0 { .. } => rsi::ERROR_INPUT,
            Translation::Fault { level, .. } => {
                let status = syndrome::fault_status(level, false);
                let esr = syndrome::class(ExceptionClass::DataAbort) | status;
                return Err(Some(self.sync_exit(esr, 0, syndrome::hpfar_of_structure(run))));
            }
        };
        let rec = self.recs.get_mut(&address).ok_or(None)?;
        rec.switch_plane(0);
        rec.answer([result, 0, 0, 0]);
        rec.step();
        rec.was_handled = true;
        rec.gic_owner = 0;
        if let Some(host) = rec.host_interface.take() {
            self.cpu(cpu).interface = host;
        }
        Ok(())
    }

    /// The plane that runs exits because of a synchronous exception of an action, which it does
    /// again unless plane 0 moves it on.
    pub(super) fn plane_exception(
        &mut self,
        address: Pa,
        cpu: u32,
        syndrome: Syndrome,
        action: Action,
    ) -> Option<Exit> {
        let rec = self.recs.get_mut(&address)?;
        rec.retry = Some(action);
        rec.own.syndrome = syndrome;
        self.exit_plane(address, cpu, PlaneExitReason::Sync).err().flatten()
    }

    /// The same where the instruction is complete when it traps, as HVC and waits are.
    pub(super) fn plane_trap(
        &mut self,
        address: Pa,
        cpu: u32,
        esr: u64,
        action: Action,
    ) -> Option<Exit> {
        let rec = self.recs.get_mut(&address)?;
        rec.outcome = Outcome::Done;
        rec.step();
        rec.own.syndrome = Syndrome { esr, ..Syndrome::default() };
        let exit = self.exit_plane(address, cpu, PlaneExitReason::Sync).err().flatten();
        if exit.is_some() {
            let rec = self.recs.get_mut(&address)?;
            rec.pc = rec.pc.wrapping_sub(4);
            rec.retry = Some(action);
        }
        exit
    }

    /// Before a REC runs again: whether it leaves its plane for plane 0, because the host asks for
    /// that, or has an interrupt for plane 0. `Err` if the run page is not mapped.
    pub(super) fn return_to_plane_0(&mut self, address: Pa, cpu: u32) -> Result<(), ()> {
        let interface = &self.cpu(cpu).interface;
        let has_interrupt = interface.holds_anything();
        let is_tf_rmm = answers_as_tf_rmm(self.options.dialect);
        let Some(rec) = self.recs.get(&address).filter(|rec| rec.plane != 0) else {
            return Ok(());
        };
        let reason = if rec.flags.contains(RecEnterFlags::INJECT_SEA) {
            PlaneExitReason::Sync
        } else if rec.flags.contains(RecEnterFlags::FORCE_P0) {
            // TF-RMM has no reason for it.
            if is_tf_rmm { PlaneExitReason::Sync } else { PlaneExitReason::Host }
        } else if rec.gic_owner != rec.plane && has_interrupt {
            PlaneExitReason::Irq
        } else {
            return Ok(());
        };
        self.exit_plane(address, cpu, reason).map_err(|_| ())
    }

    /// The RMM is about to run the REC: whether it exits for IRQ instead, because the output of a
    /// timer is not what the host saw last. A plane that does not own the interface is left then.
    pub(super) fn timers_end_run(&mut self, address: Pa, cpu: u32) -> bool {
        let now = self.clock.now();
        let Some(rec) = self.recs.get_mut(&address) else { return false };
        let has_changed = rec.timers.check(now);
        if has_changed && rec.gic_owner != rec.plane {
            rec.reported = Some(reported(rec, now));
            // If the page is not mapped the plane stays, as on TF-RMM.
            let _ = self.exit_plane(address, cpu, PlaneExitReason::Irq);
        }
        has_changed
    }

    pub(super) fn plane_sysreg_read(&mut self, address: Pa, rd: Pa, x: [u64; 2]) -> Option<Reply> {
        let [index, register] = x;
        let now = self.clock.now();
        let plane = self.auxiliary_plane(rd, index).filter(|_| is_of_planes(register));
        let Some(plane) = plane else { return Some(status(rsi::ERROR_INPUT)) };
        let state = self.recs.get_mut(&address)?.parked(plane);
        let value = match registers::timer(register) {
            Some(register) => state.timers.read(register, now, 0),
            None => state.own_mut().registers.get(&register).copied(),
        };
        Some(Reply::Values([rsi::SUCCESS, value.unwrap_or(0), 0, 0]))
    }

    pub(super) fn plane_sysreg_write(&mut self, address: Pa, rd: Pa, x: [u64; 3]) -> Option<Reply> {
        let [index, register, value] = x;
        let now = self.clock.now();
        let plane = self.auxiliary_plane(rd, index).filter(|_| is_of_planes(register));
        let Some(plane) = plane else { return Some(status(rsi::ERROR_INPUT)) };
        let state = self.recs.get_mut(&address)?.parked(plane);
        match registers::timer(register) {
            Some(register) => _ = state.timers.write(register, value, now),
            None => _ = state.own_mut().registers.insert(register, value),
        }
        Some(status(rsi::SUCCESS))
    }
}

/// The timers that an exit record shows.
pub(super) fn reported(rec: &Rec, now: u64) -> [u64; 4] {
    match rec.timers_of_plane_0() {
        Some(plane_0) => rec.timers.report_beside(plane_0, now),
        None => rec.timers.report(now),
    }
}

/// Continues a plane as plane 0 says. An instruction that made it exit is done again if it is still
/// the next one, and was emulated if the program counter is behind it.
fn resume(rec: &mut Rec, page: &PlaneEnter2_0) {
    let is_next = page.pc == rec.pc;
    let is_behind = page.pc == rec.pc.wrapping_add(4);
    let [x0, ..] = page.gprs;
    rec.outcome = match rec.retry {
        _ if is_next => rec.outcome,
        // The syndrome names X0 as the register of the access.
        Some(Action::Load { bytes, .. }) if is_behind => {
            Outcome::Loaded(super::step::truncated(x0, bytes))
        }
        Some(Action::Store { .. }) if is_behind => Outcome::Stored,
        Some(Action::Fetch { .. }) if is_behind => Outcome::Fetched,
        Some(Action::Smc(_)) if is_behind => Outcome::Returned,
        Some(_) if is_behind => Outcome::Done,
        _ => Outcome::None,
    };
    if !is_next {
        rec.retry = None;
    }
    rec.x = page.gprs;
    rec.pc = page.pc;
    rec.own.pstate = page.pstate;
    rec.own.registers.insert(encoding(ELR_EL1), page.elr_el1);
    rec.last_exit = LastExit::Other;
}

/// What plane 0 is told of a plane that exits.
fn record(rec: &Rec, reason: PlaneExitReason, now: u64, vtr: gic::Vtr) -> PlaneExit2_0 {
    let mut exit = PlaneExit2_0::new_zeroed();
    exit.exit_reason = reason.into();
    exit.elr_el2 = rec.pc;
    exit.pstate = rec.own.pstate;
    exit.gprs = rec.x;
    let Syndrome { esr, far, hpfar } = rec.own.syndrome;
    (exit.esr_el2, exit.far_el2, exit.hpfar_el2) = (esr, far, hpfar);
    let interface = rec.own.interface.unwrap_or(VirtualInterface::new(vtr));
    exit.gicv3_hcr = interface.hcr();
    for (n, list) in exit.gicv3_lrs.iter_mut().enumerate() {
        *list = interface.list(n);
    }
    exit.gicv3_misr = interface.misr();
    exit.gicv3_vmcr = interface.vmcr();
    [exit.cntp_ctl, exit.cntp_cval, exit.cntv_ctl, exit.cntv_cval] = rec.timers.report(now);
    let register = |register| rec.own.registers.get(&encoding(register)).copied().unwrap_or(0);
    exit.sctlr_el1 = register(SCTLR_EL1);
    exit.vbar_el1 = register(VBAR_EL1);
    exit.elr_el1 = register(ELR_EL1);
    exit
}
