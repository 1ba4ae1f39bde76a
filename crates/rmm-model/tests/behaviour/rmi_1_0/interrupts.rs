//! The virtual CPU interface in the run page.

use rmi_abi::run::{ExitReason, RecEnter, RecExit};
use rmi_abi::{Command, Dialect, Status};
use rmm_model::{Action, GuestCpu, Options, Script, SysReg};
use zerocopy::FromZeros;

use crate::host::{Host, Running};

const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 1 << 63;
const GROUP_1: u64 = 1 << 60;
const EN: u64 = 1;

fn record(hcr: u64, lists: &[u64]) -> RecEnter {
    let mut enter = RecEnter::new_zeroed();
    enter.gicv3_hcr = hcr;
    enter.gicv3_lrs[..lists.len()].copy_from_slice(lists);
    enter
}

fn enter(running: &Running<'_>, hcr: u64, lists: &[u64]) -> (ExitReason, RecExit) {
    running.enter_with(&record(hcr, lists))
}

fn host(list_registers: u8) -> Host {
    let vtr = vgic_realm::Vtr::of_run_page(list_registers - 1);
    Host::new(Options::new(Dialect::V1_0).with_vtr(vtr))
}

#[test]
fn interrupts_come_and_go_by_the_run_page() {
    let host = host(4);
    let running = host.script(vec![
        Action::SysRegWrite { register: SysReg::ICC_PMR_EL1, value: 0xf0 },
        Action::enable_group_1(true),
        Action::Interrupt,
        Action::acknowledge(),
        Action::Interrupt,
        Action::end_of_interrupt(27),
        Action::Interrupt,
    ]);
    let interrupt = PENDING | GROUP_1 | 27;
    let (reason, exit) = enter(&running, 0, &[interrupt, 0, 0, 0]);
    assert_eq!((reason, exit.gicv3_hcr, exit.gicv3_misr), (ExitReason::Irq, 0, 0));
    assert_eq!(exit.gicv3_lrs[..4], [interrupt, 0, 0, 0]);
    // Group 1 is enabled.
    assert_eq!(exit.gicv3_vmcr & 0b10, 0b10);
    let (_, exit) = enter(&running, 0, &[interrupt, 0, 0, 0]);
    assert_eq!(exit.gicv3_lrs[0], ACTIVE | GROUP_1 | 27);
    let (_, exit) = enter(&running, 0, &exit.gicv3_lrs[..4]);
    assert_eq!(exit.gicv3_lrs[0] & (PENDING | ACTIVE), 0);
    // The interface of the CPU is off.
    assert_eq!(host.model.cpu(0).hcr() & EN, 0);
}

#[test]
fn maintenance_interrupts_end_a_run() {
    let host = host(2);
    let running = host.running(|_: &GuestCpu| Action::Wfe);
    // No list register is pending: NPIE.
    let (reason, exit) = enter(&running, 1 << 3, &[]);
    assert_eq!(reason, ExitReason::Irq);
    assert_eq!((exit.gicv3_hcr, exit.gicv3_misr), (1 << 3, 1 << 3));
    // All that the host controls comes back; EN is the RMM's.
    let allowed = 0xfe | 1 << 14;
    assert_eq!(enter(&running, allowed, &[]).1.gicv3_hcr, allowed);
    assert_eq!(enter(&running, 0, &[]).1.gicv3_hcr, 0);
}

#[test]
fn what_a_realm_sets_stays_with_its_rec() {
    let host = host(2);
    let mask = |value| Action::SysRegWrite { register: SysReg::ICC_PMR_EL1, value };
    let first = host.script(vec![mask(0x80), Action::Interrupt, Action::Interrupt]);
    let second = host.script(vec![mask(0x40), Action::Interrupt]);
    let before = enter(&first, 0, &[]).1.gicv3_vmcr;
    assert_eq!(before >> 24, 0x80);
    assert_eq!(enter(&second, 0, &[]).1.gicv3_vmcr >> 24, 0x40);
    assert_eq!(enter(&first, 0, &[]).1.gicv3_vmcr, before);
}

#[test]
fn the_count_of_ended_interrupts_comes_back() {
    let host = host(2);
    let running = host.script(vec![
        Action::enable_group_1(true),
        Action::end_of_interrupt(30),
        Action::Interrupt,
    ]);
    let (_, exit) = enter(&running, 0, &[]);
    let kept = exit.gicv3_hcr;
    assert_eq!(kept & !(0x1f << 27), 0);
    assert_eq!(enter(&running, 1 << 1, &[PENDING | 27]).1.gicv3_hcr, kept | 1 << 1);
}

#[test]
fn what_the_registers_may_be() {
    let host = host(2);
    let running = host.running(|_: &GuestCpu| Action::Interrupt);
    let refused =
        |hcr: u64, lists: &[u64]| running.refused_with(&record(hcr, lists), Status::ErrorRec);
    refused(1, &[]);
    refused(1 << 27, &[]);
    refused(0, &[PENDING | 1 << 61 | 27]);
    refused(0, &[PENDING | 27, ACTIVE | 27]);
    refused(0, &[PENDING | 1020]);
    // As in TF-RMM, registers that the CPU lacks are not looked at; nor are those not used.
    let (_, exit) = enter(&running, 0, &[PENDING | 27, 1 << 61 | 27, PENDING | 27]);
    assert_eq!(exit.gicv3_lrs[..3], [PENDING | 27, 1 << 61 | 27, 0]);
}

/// The state of the REC is checked before the GIC, and that before the answer.
#[test]
fn the_order_of_checks() {
    let host = host(2);
    let running = host.script(vec![Action::psci_cpu_off()]);
    let mut enter = record(1, &[]);
    enter.flags = 0b11;
    running.refused_with(&enter, Status::ErrorRec);
    // Nothing is written to the page of a run that did not take place.
    host.write(running.run + 0x800, &[0x77; 0x800]);
    host.fails(Status::ErrorRec, Command::RecEnter, &[running.rec, running.run]);
    assert_eq!(host.read::<0x800>(running.run + 0x800), [0x77; 0x800]);
    running.host.model.set_guest(
        rmi_abi::Pa::new(running.realm.rd),
        0,
        Box::new(Script::new(vec![])),
    );
}

/// A host call whose page is gone is answered before the Realm runs: the record has no more than
/// the abort.
#[test]
fn a_host_call_that_cannot_be_answered() {
    let host = host(2);
    let realm = host.realm();
    host.populate(realm, 0x1000, 0, 0);
    let call = Action::host_call(rmi_abi::Ipa::new(0x1100));
    let running = host.run(realm, Script::new(vec![call, Action::Interrupt]));
    assert_eq!(enter(&running, 0, &[PENDING | 27]).0, ExitReason::HostCall);
    host.done(Command::DataDestroy, &[realm.rd, 0x1000]);
    let (reason, exit) = enter(&running, 1 << 1, &[PENDING | 30]);
    assert_eq!((reason, exit.esr, exit.hpfar), (ExitReason::Sync, 0x9000_0007, 0x11));
    assert_eq!((exit.gicv3_hcr, exit.gicv3_lrs, exit.gicv3_vmcr), (0, [0; 16], 0));
}
