//! What the host learns of a run, where TF-RMM v0.8.0 says something else than later versions.

use std::sync::{Arc, Mutex};

use rmi_abi::esr::{Esr, fault_address};
use rmi_abi::run::{ExitReason, RecEnterFlags, RecExit};
use rmi_abi::{Command, Ipa, Pa, Status};
use rmm_model::{Action, GuestCpu, Outcome, Script, SysReg};

use crate::host::{Host, PAGE, Running, SHARED};

const TRAP_WFI: u64 = RecEnterFlags::TRAP_WFI.bits();
const TRAP_WFE: u64 = RecEnterFlags::TRAP_WFE.bits();
const EMUL_MMIO: u64 = RecEnterFlags::EMUL_MMIO.bits();
const INJECT_SEA: u64 = RecEnterFlags::INJECT_SEA.bits();

fn one(host: &Host, action: Action, flags: u64) -> (Running<'_>, RecExit) {
    let running = host.script(vec![
        Action::Set { register: 3, value: 0x1122_3344_5566_7788 },
        action,
        Action::Interrupt,
    ]);
    let (reason, exit) = running.enter(flags, &[]);
    assert!(matches!(reason, ExitReason::Sync | ExitReason::SError));
    (running, exit)
}

#[test]
fn a_wait_does_not_tell_its_deadline() {
    let host = Host::v1_0();
    for (action, esr) in [
        (Action::Wfi, 0x0400_0000),
        (Action::Wfit { deadline: 1234 }, 0x0400_0000),
        (Action::Wfe, 0x0400_0001),
        (Action::Wfet { deadline: 1234 }, 0x0400_0001),
    ] {
        let (_, exit) = one(&host, action, TRAP_WFI | TRAP_WFE);
        assert_eq!((exit.esr, exit.gprs[0]), (esr, 0));
    }
}

#[test]
fn an_access_that_cannot_be_emulated_is_told_as_it_is() {
    let host = Host::v1_0();
    // A write of X3, four bytes, without a valid syndrome.
    let esr = 0x9283_0047 | 0b10 << 22;
    let hpfar = SHARED >> 8;
    let action = Action::Sync { esr, far: 0x5a_1238, hpfar };
    let (running, exit) = one(&host, action, 0);
    assert_eq!(exit.esr, esr & (0x3f << 26 | 0b11 << 22 | 1 << 6 | 0x3f));
    assert_eq!((exit.far, exit.gprs[0]), (0x238, 0x5566_7788));
    assert_eq!(fault_address(exit.hpfar, exit.far), Ipa::new(SHARED + 0x238));
    running.refused(EMUL_MMIO, Status::ErrorRec);
    running.enter(INJECT_SEA, &[]);

    // With one, it can.
    let action = Action::Sync { esr: esr | 1 << 24, far: 0x1238, hpfar };
    let (running, exit) = one(&host, action, 0);
    assert!(Esr(exit.esr).is_valid_syndrome());
    running.enter(EMUL_MMIO, &[]);

    // In the protected half nothing but the address of the page is told.
    let action = Action::Sync { esr: esr | 1 << 24, far: 0x1238, hpfar: 0x10 };
    let realm = host.realm();
    host.done(Command::RttInitRipas, &[realm.rd, 0, 4 * PAGE]);
    let running = host.run(realm, Script::new(vec![action]));
    let (_, exit) = running.enter(0, &[]);
    assert_eq!((exit.esr, exit.far, exit.hpfar, exit.gprs[0]), (0x9000_0007, 0, 0x10, 0));
    running.refused(EMUL_MMIO, Status::ErrorRec);
    running.refused(INJECT_SEA, Status::ErrorRec);
}

#[test]
fn a_fetch_that_is_denied_reaches_the_host() {
    let host = Host::v1_0();
    let realm = host.realm();
    host.done(Command::RttInitRipas, &[realm.rd, 0, PAGE]);
    let fetch = |hpfar| Action::Sync { esr: 0x8200_000f, far: 0, hpfar };
    // Outside the protected half, and where nothing is, the Realm takes it.
    let actions = vec![fetch(SHARED >> 8), fetch(0x10), fetch(0)];
    let running = host.run(realm, Script::new(actions));
    let (reason, exit) = running.enter(0, &[]);
    assert_eq!((reason, exit.esr, exit.hpfar), (ExitReason::Sync, 0x8000_000f, 0));
}

#[test]
fn a_system_register_is_told_with_its_transfer_register() {
    let host = Host::v1_0();
    let sgi = Action::SysRegWrite { register: SysReg::ICC_SGI1R_EL1, value: 0x77 };
    let (_, exit) = one(&host, sgi, 0);
    let plain = exit.esr;
    assert_eq!(exit.gprs[0], 0x77);
    let (_, exit) = one(&host, Action::Sync { esr: plain | 3 << 5, far: 0, hpfar: 0 }, 0);
    assert_eq!((exit.esr, exit.gprs[0]), (plain | 3 << 5, 0x1122_3344_5566_7788));
    let read = Action::SysRegRead { register: SysReg::ICC_SGI1R_EL1, into: 5 };
    let (_, exit) = one(&host, read, 0);
    assert_eq!(exit.esr, plain | 5 << 5 | 1);
}

#[test]
fn a_system_error_has_no_class() {
    let host = Host::v1_0();
    let (_, exit) = one(&host, Action::SError { esr: 0xbe00_0e11 }, 0);
    assert_eq!(exit.esr, 0xe11);
}

#[test]
fn fields_of_later_versions_are_zero() {
    let host = Host::v1_0();
    let page = 0x1000;
    let realm = host.realm();
    host.populate(realm, page, 0x5a, 0);
    let mut call = Some(Action::host_call(Ipa::new(page)));
    let running = host.run(realm, move |_: &GuestCpu| {
        call.take().unwrap_or(Action::Load { ipa: Ipa::new(SHARED), bytes: 4 })
    });
    let (reason, exit) = running.enter(0, &[]);
    assert_eq!((reason, exit.imm, exit.plane), (ExitReason::HostCall, 0x5a5a, 0));
    assert_eq!(exit.gprs, [0x5a5a_5a5a_5a5a_5a5a; 31]);
    let (reason, exit) = running.enter(0, &[7; 31]);
    assert_eq!((reason, exit.rtt_tree, exit.rtt_level), (ExitReason::Sync, 0, 0));
}

/// What a program sees of exceptions that the hardware reports, each followed by an interrupt: the
/// outcomes, and how far the program counter came.
fn outcomes(host: &Host, sve: bool, exceptions: &[u64]) -> Vec<(Outcome, u64)> {
    let (rd, root) = (host.fresh(1), host.fresh(1));
    let mut params = host.params(root);
    params.sve_vl = sve.then_some(0);
    let running = host.run(host.create_realm(rd, &params), Script::new(vec![]));
    exceptions
        .iter()
        .map(|esr| {
            let seen = Arc::new(Mutex::new((Outcome::None, 0)));
            let log = Arc::clone(&seen);
            let (mut start, mut actions) = (None, vec![Action::Interrupt]);
            actions.push(Action::Sync { esr: *esr, far: 0, hpfar: 0 });
            let guest = move |cpu: &GuestCpu| {
                let start = *start.get_or_insert(cpu.pc);
                *log.lock().unwrap() = (cpu.last, cpu.pc.wrapping_sub(start));
                actions.pop().unwrap_or(Action::Interrupt)
            };
            host.model.set_guest(Pa::new(rd), 0, Box::new(guest));
            running.enter(0, &[]);
            *seen.lock().unwrap()
        })
        .collect()
}

#[test]
fn trapped_registers_are_ignored_or_undefined() {
    let host = Host::v1_0();
    let register = |op0: u64, op1: u64, crn: u64, crm: u64, op2: u64| {
        0x18 << 26 | 1 << 25 | op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1
    };
    let undefined = [
        register(2, 1, 8, 0, 0),
        register(2, 1, 9, 15, 7),
        register(3, 0, 10, 4, 0),
        register(3, 0, 10, 5, 7),
        register(3, 0, 10, 2, 5),
    ];
    for esr in undefined {
        let [(outcome, _)] = outcomes(&host, false, &[esr])[..] else { panic!() };
        assert_eq!(outcome, Outcome::Undefined, "{esr:#x}");
    }
    let ignored = [
        register(2, 1, 7, 0, 0),
        register(2, 1, 10, 0, 0),
        register(2, 0, 8, 0, 0),
        register(3, 1, 10, 4, 0),
        register(3, 0, 10, 3, 0),
        register(3, 0, 10, 6, 0),
        register(3, 0, 10, 2, 4),
        register(3, 0, 12, 7, 1),
    ];
    for esr in ignored {
        assert_eq!(outcomes(&host, false, &[esr]), [(Outcome::Done, 4)], "{esr:#x}");
    }
    // Those of the GIC reach the host.
    for esr in [register(3, 0, 12, 8, 3), register(3, 0, 12, 15, 0), register(3, 0, 4, 6, 0)] {
        let (_, exit) = one(&host, Action::Sync { esr: esr | 3 << 5, far: 0, hpfar: 0 }, 0);
        assert_eq!((exit.esr, exit.gprs[0]), (esr | 3 << 5, 0x1122_3344_5566_7788));
    }
}

#[test]
fn registers_of_fp_and_sve_are_loaded_at_the_first_access() {
    let host = Host::v1_0();
    let [fp, sve, sme] = [0x07_u64, 0x19, 0x1d].map(|class| class << 26);
    for (sve_realm, esr, is_undefined) in [
        (false, fp, false),
        (true, fp, false),
        (false, sve, true),
        (true, sve, false),
        (false, sme, true),
        (true, sme, false),
    ] {
        let [(outcome, moved)] = outcomes(&host, sve_realm, &[esr])[..] else { panic!() };
        assert_eq!(outcome == Outcome::Undefined, is_undefined, "{sve_realm} {esr:#x}");
        // The instruction is executed again.
        assert!(is_undefined || moved == 0);
    }
}
