//! One action of a Realm's program.

use alloc::boxed::Box;

use rmi_abi::esr::{AbortSeverity, Esr, ExceptionClass, Wfx, fault_address, fault_page};
use rmi_abi::rtt::Ripas;
use rmi_abi::run::ExitReason;
use rmi_abi::{Ipa, Pa};

use super::Monitor;
use super::access::{Kind, Translation};
use super::enter::{Acted, Exit, exit};
use super::sysreg::{accessed, is_of_gic, is_undefined};
use crate::gic::Group;
use crate::guest::{Action, DeviceRequest, Outcome, TimerKind};
use crate::rec::{LastExit, Load, Rec, Syndrome};
use crate::unsupported::{tells_deadline, tells_denied_fetches, tells_what_cannot_be_emulated};
use crate::{rsi, syndrome};

/// Exception classes of accesses to registers of FP, SVE and SME.
const FP: u8 = 0x07;
const SVE: u8 = 0x19;
const SME: u8 = 0x1d;

/// A data access of a program.
#[derive(Clone, Copy)]
struct DataAccess {
    ipa: Ipa,
    bytes: u8,
    /// The value to store; `None` for a load.
    store: Option<u64>,
}

impl DataAccess {
    /// Whether a single instruction makes it, as a single access at stage 2.
    fn is_natural(self) -> bool {
        matches!(self.bytes, 1 | 2 | 4 | 8) && self.ipa.is_aligned(u64::from(self.bytes))
    }

    /// How a load takes its value.
    fn load(self) -> Load {
        Load { bytes: self.bytes, register: None, sign_extend: false, wide: true }
    }
}

/// The low `bytes` bytes of a value.
pub(super) fn truncated(value: u64, bytes: u8) -> u64 {
    Load { bytes, register: None, sign_extend: false, wide: true }.extended(value)
}

impl Monitor {
    /// Carries out an action.
    pub(super) fn act(&mut self, address: Pa, cpu: u32, action: Action) -> Acted {
        match action {
            Action::Wfi => self.wait(address, cpu, Wfx::Wfi, 0),
            Action::Wfe => self.wait(address, cpu, Wfx::Wfe, 0),
            Action::Wfit { deadline } => self.wait(address, cpu, Wfx::Wfit, deadline),
            Action::Wfet { deadline } => self.wait(address, cpu, Wfx::Wfet, deadline),
            _ => Acted::from(self.act_at_once(address, cpu, action)),
        }
    }

    /// Carries out an action that is not a wait; returns the exit that it causes, if it does.
    fn act_at_once(&mut self, address: Pa, cpu: u32, action: Action) -> Option<Exit> {
        let dialect = self.options.dialect;
        match action {
            Action::Load { ipa, bytes } => {
                self.access(address, cpu, DataAccess { ipa, bytes, store: None }, action)
            }
            Action::Store { ipa, bytes, value } => {
                self.access(address, cpu, DataAccess { ipa, bytes, store: Some(value) }, action)
            }
            Action::Fetch { ipa } => self.fetch(address, cpu, ipa),
            Action::Smc(x) => self.realm_call(address, cpu, &x, action),
            Action::Wfi | Action::Wfe | Action::Wfit { .. } | Action::Wfet { .. } => None,
            Action::Interrupt => Some(exit(ExitReason::Irq, dialect)),
            Action::Fiq | Action::Spin => Some(exit(ExitReason::Fiq, dialect)),
            Action::SError { esr } => {
                let mut left = exit(ExitReason::SError, dialect);
                left.esr = syndrome::system_error(esr, dialect);
                Some(left)
            }
            Action::Sync { esr, far, hpfar } => self.raw(address, cpu, Esr(esr), far, hpfar),
            Action::SysRegWrite { register, value } => {
                self.sysreg_write(address, cpu, accessed(register, 0, false), value)
            }
            Action::SysRegRead { register, into } => {
                self.sysreg_read(address, cpu, accessed(register, into, true), into)
            }
            Action::Timer { kind, ctl, cval } => self.timer(address, kind, ctl, cval),
            Action::Device(request) => self.device_request(address, request),
            Action::Forge(forged) => {
                done(self.recs.get_mut(&address)?);
                Some(Box::new(forged.record()))
            }
            Action::Hvc if self.recs.get(&address)?.plane != 0 => {
                let esr = syndrome::class(ExceptionClass::Hvc64) | syndrome::LENGTH;
                self.plane_trap(address, cpu, esr, action)
            }
            Action::Hvc => {
                self.recs.get_mut(&address)?.take_exception(Outcome::Undefined);
                None
            }
            Action::Set { register, value } => {
                let rec = self.recs.get_mut(&address)?;
                rec.set_x(usize::from(register), value);
                rec.outcome = Outcome::Done;
                None
            }
            Action::Jump { pc } => {
                let rec = self.recs.get_mut(&address)?;
                rec.pc = pc;
                rec.outcome = Outcome::Done;
                None
            }
        }
    }

    /// A load or store. One that causes an exit is tried again at the next entry, unless the host
    /// says that it emulated it.
    fn access(
        &mut self,
        address: Pa,
        cpu: u32,
        access: DataAccess,
        action: Action,
    ) -> Option<Exit> {
        let Rec { rd, plane, .. } = *self.recs.get(&address)?;
        let kind = if access.store.is_some() { Kind::Write } else { Kind::Read };
        let translation = if access.is_natural() {
            self.translate(rd, plane, access.ipa, kind)
        } else {
            Translation::Abort
        };
        match translation {
            Translation::Memory(pa) => {
                let outcome = self.transfer(pa, access);
                let rec = self.recs.get_mut(&address)?;
                rec.outcome = outcome;
                rec.step();
                None
            }
            Translation::Abort => {
                self.recs.get_mut(&address)?.take_exception(Outcome::Aborted);
                None
            }
            Translation::ToPlane0 { level, permission } => {
                let status = syndrome::fault_status(level, permission);
                let Esr(esr) = syndrome::data_access(access.bytes, access.store.is_some(), status);
                let syndrome = at(access.ipa, esr);
                self.plane_exception(address, cpu, syndrome, action)
            }
            Translation::Fault { level, permission } => {
                let status = syndrome::fault_status(level, permission);
                let esr = syndrome::data_access(access.bytes, access.store.is_some(), status);
                self.recs.get_mut(&address)?.own.syndrome = at(access.ipa, esr.0);
                let load = access.store.is_none().then(|| access.load());
                self.recs.get_mut(&address)?.retry = Some(action);
                self.data_abort(address, esr, access.ipa, load, access.store.unwrap_or(0))
            }
        }
    }

    /// Moves the bytes of an access that reached memory.
    fn transfer(&mut self, pa: Pa, access: DataAccess) -> Outcome {
        let length = usize::from(access.bytes.min(8));
        let mut bytes = access.store.unwrap_or(0).to_le_bytes();
        let Some(part) = bytes.get_mut(..length) else { return Outcome::Aborted };
        if access.store.is_some() {
            self.memory.write(pa, part);
            Outcome::Stored
        } else {
            self.memory.read(pa, part);
            Outcome::Loaded(truncated(u64::from_le_bytes(bytes), access.bytes))
        }
    }

    /// A data abort that the host has to handle.
    fn data_abort(
        &mut self,
        address: Pa,
        esr: Esr,
        ipa: Ipa,
        load: Option<Load>,
        stored: u64,
    ) -> Option<Exit> {
        let hpfar = syndrome::hpfar(ipa.align_down(self.granules.bytes()));
        let dialect = self.options.dialect;
        let rd = self.recs.get(&address)?.rd;
        let is_protected = self.is_protected(rd, ipa);
        let rec = self.recs.get_mut(&address)?;
        if is_protected {
            let plane = rec.plane;
            return Some(self.abort_exit(rd, plane, syndrome::opaque_abort(esr), 0, hpfar));
        }
        let plane = rec.plane;
        let seen = syndrome::unprotected_abort(esr, dialect);
        if esr.is_valid_syndrome() {
            rec.last_exit = LastExit::Emulatable { load };
        } else {
            rec.last_exit = LastExit::Unprotected;
            if !tells_what_cannot_be_emulated(dialect) {
                return Some(self.abort_exit(rd, plane, seen, 0, hpfar));
            }
        }
        let offset = ipa.raw() & (self.granules.bytes() - 1);
        let mut exit = self.abort_exit(rd, plane, seen, offset, hpfar);
        if load.is_none() {
            let [data, ..] = &mut exit.gprs;
            *data = truncated(stored, esr.access_bytes());
        }
        Some(exit)
    }

    fn fetch(&mut self, address: Pa, cpu: u32, ipa: Ipa) -> Option<Exit> {
        let Rec { rd, plane, .. } = *self.recs.get(&address)?;
        let translation = self.translate(rd, plane, ipa, Kind::Fetch);
        let rec = self.recs.get_mut(&address)?;
        match translation {
            Translation::Memory(_) => {
                rec.outcome = Outcome::Fetched;
                rec.step();
                None
            }
            Translation::Abort => {
                rec.take_exception(Outcome::Aborted);
                None
            }
            Translation::ToPlane0 { level, permission } => {
                let status = syndrome::fault_status(level, permission);
                let class = syndrome::class(ExceptionClass::InstructionAbort);
                let syndrome = at(ipa, class | syndrome::LENGTH | status);
                self.plane_exception(address, cpu, syndrome, Action::Fetch { ipa })
            }
            Translation::Fault { level, .. } => {
                rec.retry = Some(Action::Fetch { ipa });
                let status = syndrome::fault_status(level, false);
                let esr = Esr(syndrome::class(ExceptionClass::InstructionAbort) | status);
                rec.own.syndrome = at(ipa, esr.0 | syndrome::LENGTH);
                let hpfar = syndrome::hpfar(ipa.align_down(self.granules.bytes()));
                Some(self.abort_exit(rd, plane, syndrome::opaque_abort(esr), 0, hpfar))
            }
        }
    }

    /// An exit because of an abort; it says by which tree the plane is translated.
    fn abort_exit(&self, rd: Pa, plane: usize, esr: u64, far: u64, hpfar: u64) -> Exit {
        let mut exit = self.sync_exit(esr, far, hpfar);
        let tree = self.realms.get(&rd).map_or(0, |realm| realm.planes.tree_of(plane));
        exit.rtt_tree = tree as u64;
        exit
    }

    /// A wait. One that would end at once is not trapped: for an interrupt when there is one, or a
    /// virtual one is signalled; or when the deadline has come. Without a trap one for an event
    /// ends at once.
    fn wait(&mut self, address: Pa, cpu: u32, kind: Wfx, deadline: u64) -> Acted {
        let is_interrupted = self.is_interrupted(address, cpu);
        let interface = &self.cpu(cpu).interface;
        let is_signalled =
            [Group::Zero, Group::One].iter().any(|g| interface.signalled(*g).is_some());
        let is_over = kind.has_deadline() && self.clock.now() >= deadline;
        let Some(rec) = self.recs.get(&address) else { return Acted::On };
        let own = &rec.own;
        let is_trapped = if kind.is_for_event() { own.traps_wfe } else { own.traps_wfi };
        let plane = rec.plane;
        let is_woken = !kind.is_for_event() && (is_interrupted || is_signalled);
        if !is_woken && !is_over && is_trapped && plane != 0 {
            let (timed, action) = match kind {
                Wfx::Wfi => (0, Action::Wfi),
                Wfx::Wfe => (0, Action::Wfe),
                Wfx::Wfit => (0b10, Action::Wfit { deadline }),
                Wfx::Wfet => (0b10, Action::Wfet { deadline }),
            };
            let trapped = syndrome::ALWAYS | timed | u64::from(kind.is_for_event());
            let esr = syndrome::class(ExceptionClass::Wfx) | trapped;
            Acted::from(self.plane_trap(address, cpu, esr, action))
        } else if !is_woken && !is_over && is_trapped {
            self.end_wait(address);
            let timed = if kind.has_deadline() { 0b10 } else { 0 };
            let trapped = timed | u64::from(kind.is_for_event());
            let esr = Esr(syndrome::class(ExceptionClass::Wfx) | trapped);
            Acted::Exit(self.wait_exit(esr, deadline))
        } else if is_woken || is_over || kind.is_for_event() {
            self.end_wait(address);
            Acted::On
        } else {
            Acted::Wait
        }
    }

    /// The program goes on after a wait.
    pub(super) fn end_wait(&mut self, address: Pa) {
        if let Some(rec) = self.recs.get_mut(&address) {
            done(rec);
        }
    }

    /// The exit of a trapped wait.
    fn wait_exit(&self, esr: Esr, deadline: u64) -> Exit {
        let dialect = self.options.dialect;
        let mut exit = self.sync_exit(syndrome::wfx(esr, dialect), 0, 0);
        if tells_deadline(dialect)
            && let Some(deadline) = esr.wfx().deadline(deadline, dialect)
        {
            let [x0, ..] = &mut exit.gprs;
            *x0 = deadline;
        }
        exit
    }

    /// The exit of an external abort. As TF-RMM, no address is reported, and one that is
    /// recoverable aborts in the Realm, too. One that is restartable does not: what the instruction
    /// does when it is executed again is the program's next action. (An uncontainable one ends
    /// TF-RMM; here it exits like a restartable one.)
    fn external_abort(&mut self, address: Pa, esr: Esr) -> Option<Exit> {
        let rec = self.recs.get_mut(&address)?;
        rec.last_exit = LastExit::Other;
        rec.outcome = Outcome::Done;
        if esr.severity() == AbortSeverity::Recoverable {
            rec.take_exception(Outcome::Aborted);
        }
        Some(self.sync_exit(syndrome::opaque_abort(esr), 0, 0))
    }

    /// Programs a timer.
    fn timer(&mut self, address: Pa, kind: TimerKind, ctl: u64, cval: u64) -> Option<Exit> {
        let rec = self.recs.get_mut(&address)?;
        let timer = rec.timers.timer_mut(kind);
        timer.control = ctl;
        timer.cval = cval;
        done(rec)
    }

    /// A request about a device. The call ends when the host has answered, or at once where the
    /// dialect has no such exit.
    fn device_request(&mut self, address: Pa, request: DeviceRequest) -> Option<Exit> {
        let dialect = self.options.dialect;
        let rec = self.recs.get_mut(&address)?;
        done(rec);
        rec.answer([rsi::NOT_SUPPORTED, 0, 0, 0]);
        request.reason().encode(dialect)?;
        rec.last_exit = LastExit::Device(request);
        let mut left = exit(request.reason(), dialect);
        request.describe(&mut left);
        Some(left)
    }

    /// A synchronous exception as the hardware reports it.
    fn raw(&mut self, address: Pa, cpu: u32, esr: Esr, far: u64, hpfar: u64) -> Option<Exit> {
        let rec = self.recs.get_mut(&address)?;
        let (rd, plane) = (rec.rd, rec.plane);
        let action = Action::Sync { esr: esr.0, far, hpfar };
        let syndrome = Syndrome { esr: esr.0, far, hpfar };
        rec.own.syndrome = syndrome;
        let is_for_plane_0 = plane != 0 && self.is_for_plane_0(rd, esr, far, hpfar);
        let rec = self.recs.get_mut(&address)?;
        match esr.class() {
            ExceptionClass::Wfx if plane != 0 => self.plane_trap(address, cpu, esr.0, action),
            ExceptionClass::DataAbort | ExceptionClass::InstructionAbort if is_for_plane_0 => {
                self.plane_exception(address, cpu, syndrome, action)
            }
            ExceptionClass::Wfx => {
                let deadline = rec.x(usize::from(syndrome::wait_register(esr)));
                done(rec);
                Some(self.wait_exit(esr, deadline))
            }
            ExceptionClass::DataAbort | ExceptionClass::InstructionAbort
                if esr.fault().is_external() =>
            {
                self.external_abort(address, esr)
            }
            ExceptionClass::SysReg if is_undefined(esr.system_register()) => {
                rec.take_exception(Outcome::Undefined);
                None
            }
            ExceptionClass::SysReg => {
                let [rt, ..] = syndrome::sysreg_rt(esr).to_le_bytes();
                if is_of_gic(esr.system_register()) {
                    // The hardware has trapped the access, whatever the interface says.
                    return self.sysreg_exit(address, esr, rt);
                }
                if esr.sysreg_is_read() {
                    return self.sysreg_read(address, cpu, esr, rt);
                }
                let value = rec_register(rec, rt);
                self.sysreg_write(address, cpu, esr, value)
            }
            ExceptionClass::Hvc64 => self.act_at_once(address, cpu, Action::Hvc),
            ExceptionClass::Smc64 => {
                let x = core::array::from_fn(|n| rec.x(n));
                self.realm_call(address, cpu, &x, action)
            }
            class if [FP, SVE, SME].contains(&u8::from(class)) => {
                // A Realm gets its registers at its first access; the instruction is executed
                // again.
                if u8::from(class) != FP && !self.realms.get(&rd)?.sve {
                    self.recs.get_mut(&address)?.take_exception(Outcome::Undefined);
                }
                None
            }
            ExceptionClass::DataAbort => {
                let ipa = fault_address(hpfar, far);
                if self.host_never_sees(rd, ipa) {
                    self.recs.get_mut(&address)?.take_exception(Outcome::Aborted);
                    return None;
                }
                let register = syndrome::access_register(esr);
                let stored = rec_register(self.recs.get(&address)?, register);
                let load = (!esr.is_write()).then(|| Load {
                    bytes: esr.access_bytes(),
                    register: Some(register),
                    sign_extend: syndrome::is_sign_extended(esr),
                    wide: esr.is_64_bit_register(),
                });
                self.data_abort(address, esr, ipa, load, stored)
            }
            ExceptionClass::InstructionAbort => {
                let page = fault_page(hpfar);
                let is_denied =
                    esr.fault().is_permission() && !tells_denied_fetches(self.options.dialect);
                let is_refused = is_denied || !self.is_protected(rd, page);
                if is_refused || self.host_never_sees(rd, page) {
                    self.recs.get_mut(&address)?.take_exception(Outcome::Aborted);
                    return None;
                }
                let esr = syndrome::opaque_abort(esr);
                Some(self.abort_exit(rd, plane, esr, 0, syndrome::hpfar(page)))
            }
            _ => Some(self.sync_exit(0, 0, 0)),
        }
    }

    /// Whether an abort of another plane is plane 0's to handle: of permissions, where memory is
    /// EMPTY, or of a fetch outside the protected half.
    fn is_for_plane_0(&self, rd: Pa, esr: Esr, far: u64, hpfar: u64) -> bool {
        let ipa = fault_address(hpfar, far);
        let is_fetch = esr.class() == ExceptionClass::InstructionAbort;
        let is_empty = matches!(self.ripas(rd, ipa), Some((Ripas::Empty, _)));
        let is_outside = is_fetch && !self.is_protected(rd, ipa);
        !esr.fault().is_external() && (esr.fault().is_permission() || is_empty || is_outside)
    }

    /// Whether an abort at `ipa` is taken by the Realm itself: the address is EMPTY, or does not
    /// exist.
    fn host_never_sees(&self, rd: Pa, ipa: Ipa) -> bool {
        let Some(realm) = self.realms.get(&rd) else { return true };
        if ipa >= realm.tree.geometry().end() {
            return true;
        }
        matches!(self.ripas(rd, ipa), Some((Ripas::Empty, _)))
    }
}

/// A register by the number in a syndrome; 31 is XZR.
pub(super) fn rec_register(rec: &Rec, register: u8) -> u64 {
    rec.x(usize::from(register))
}

/// The syndrome of an abort at an address, which stage 1 does not translate.
fn at(ipa: Ipa, esr: u64) -> Syndrome {
    Syndrome { esr, far: ipa.raw(), hpfar: syndrome::hpfar(ipa) }
}

/// Ends an action that has no result.
pub(super) fn done(rec: &mut Rec) -> Option<Exit> {
    rec.outcome = Outcome::Done;
    rec.step();
    None
}
