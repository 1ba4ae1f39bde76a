//! Accesses of a Realm to system registers.

use rmi_abi::Pa;
use rmi_abi::esr::{Esr, ExceptionClass};

use super::Monitor;
use super::enter::Exit;
use super::step::{done, rec_register};
use crate::gic::Access;
use crate::guest::{Outcome, SysReg};
use crate::rec::LastExit;
use crate::syndrome;

impl Monitor {
    /// A write to a system register. Writes to those that a Realm does not have are ignored.
    pub(super) fn sysreg_write(
        &mut self,
        address: Pa,
        cpu: u32,
        esr: Esr,
        value: u64,
    ) -> Option<Exit> {
        let register = esr.system_register();
        let now = self.clock.now();
        let rec = self.recs.get_mut(&address)?;
        done(rec);
        if rec.timers.write(register, value, now) {
            return None;
        }
        if self.cpu(cpu).realm_accesses(register, Some(value)) != Access::Trapped {
            return None;
        }
        Some(self.sysreg_write_exit(esr, value))
    }

    /// The exit of a write to a system register.
    fn sysreg_write_exit(&self, esr: Esr, value: u64) -> Exit {
        let seen = syndrome::sysreg(esr, self.options.dialect);
        let mut exit = self.sync_exit(seen, 0, 0);
        let [written, ..] = &mut exit.gprs;
        *written = value;
        exit
    }

    /// The exit of a trapped access by way of the general purpose register `rt`.
    pub(super) fn sysreg_exit(&mut self, address: Pa, esr: Esr, rt: u8) -> Option<Exit> {
        let rec = self.recs.get_mut(&address)?;
        done(rec);
        if !esr.sysreg_is_read() {
            let value = rec_register(rec, rt);
            return Some(self.sysreg_write_exit(esr, value));
        }
        rec.last_exit = LastExit::SysRegRead(rt);
        let seen = syndrome::sysreg(esr, self.options.dialect);
        Some(self.sync_exit(seen, 0, 0))
    }

    /// A read of a system register. Those that a Realm does not have read as zero.
    pub(super) fn sysreg_read(
        &mut self,
        address: Pa,
        cpu: u32,
        esr: Esr,
        into: u8,
    ) -> Option<Exit> {
        let register = esr.system_register();
        let (now, frequency) = (self.clock.now(), self.options.counter_frequency);
        let timer = self.recs.get(&address)?.timers.read(register, now, frequency);
        let access = match timer {
            Some(value) => Access::Done(value),
            None => self.cpu(cpu).realm_accesses(register, None),
        };
        let value = match access {
            Access::Trapped => return self.sysreg_exit(address, esr, into),
            Access::Done(value) => value,
            Access::Unknown => 0,
        };
        let rec = self.recs.get_mut(&address)?;
        done(rec);
        rec.set_x(usize::from(into), value);
        rec.outcome = Outcome::Read(value);
        None
    }
}

/// Whether the RMM passes a trapped access to a register on to the host: one of the CPU interface.
///
/// Source: TF-RMM, `sysreg_handlers`; so of the following.
pub(super) fn is_of_gic(register: SysReg) -> bool {
    let SysReg { op0, op1, crn, crm, .. } = register;
    op0 == 3 && op1 & 3 == 0 && crn == 12 && crm & 8 != 0 || register == SysReg::ICC_PMR_EL1
}

/// Whether a trapped access to a register is undefined in a Realm: one of the branch record buffer,
/// of memory partitioning, or `S2POR_EL1`.
pub(super) fn is_undefined(register: SysReg) -> bool {
    matches!(
        register,
        SysReg { op0: 2, op1: 1, crn: 8 | 9, .. }
            | SysReg { op0: 3, op1: 0, crn: 10, crm: 4 | 5, .. }
            | SysReg { op0: 3, op1: 0, crn: 10, crm: 2, op2: 5 }
    )
}

/// The syndrome of an access to a register, by way of the general purpose register `rt`.
pub(super) fn accessed(register: SysReg, rt: u8, is_read: bool) -> Esr {
    let SysReg { op0, op1, crn, crm, op2 } = register;
    Esr(syndrome::class(ExceptionClass::SysReg)
        | 1 << 25
        | u64::from(op0 & 0b11) << 20
        | u64::from(op2 & 0b111) << 17
        | u64::from(op1 & 0b111) << 14
        | u64::from(crn & 0xf) << 10
        | u64::from(rt & 0x1f) << 5
        | u64::from(crm & 0xf) << 1
        | u64::from(is_read))
}
