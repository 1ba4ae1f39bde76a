//! Tests of the interface against the text of the architecture.

use rmi_abi::Dialect;
use rmi_abi::esr::SysReg;

use super::*;

fn machine(list_registers: u8, priority_bits: u8) -> VirtualInterface {
    let mut options = Options::new(Dialect::TfRmm2026_07);
    options.list_registers = list_registers;
    options.priority_bits = priority_bits;
    VirtualInterface::new(Vtr::new(&options))
}

/// An interface that is on, with all priorities and group 1 enabled.
fn enabled() -> VirtualInterface {
    let mut cpu = machine(16, 5);
    cpu.set_hcr(HCR_EN);
    write(&mut cpu, SysReg::ICC_PMR_EL1, 0xff);
    write(&mut cpu, SysReg::ICC_IGRPEN1_EL1, 1);
    cpu
}

fn pending(intid: u64, priority: u64) -> u64 {
    STATE_PENDING | GROUP | priority << PRIORITY_SHIFT | intid
}

fn read(cpu: &mut VirtualInterface, register: SysReg) -> u64 {
    match cpu.realm_reads(register) {
        Access::Done(value) => value,
        other => panic!("{register:?}: {other:?}"),
    }
}

fn write(cpu: &mut VirtualInterface, register: SysReg, value: u64) {
    assert_eq!(cpu.realm_writes(register, value), Access::Done(0), "{register:?}");
}

#[test]
fn only_software_interrupts_and_each_but_once() {
    let mut cpu = machine(16, 5);
    assert!(cpu.may_enter());
    cpu.set_list(0, STATE_PENDING | 27);
    cpu.set_list(15, STATE_ACTIVE | 30);
    assert!(cpu.may_enter());
    cpu.set_list(3, STATE_PENDING | 27);
    assert!(!cpu.may_enter());
    cpu.set_list(3, 27);
    assert!(cpu.may_enter(), "an invalid list register does not count");
    cpu.set_list(3, STATE_PENDING | HW | 40);
    assert!(!cpu.may_enter());
    cpu.set_list(3, STATE_PENDING | EOI | 40);
    assert!(cpu.may_enter());
}

#[test]
fn an_interrupt_from_pending_to_inactive() {
    let mut cpu = enabled();
    cpu.set_list(2, pending(27, 0x80));
    cpu.leave();
    assert_eq!(cpu.signalled(Group::One), None, "the interface is off");
    assert_eq!(read(&mut cpu, SysReg::ICC_IAR1_EL1), 1023);
    cpu.set_hcr(HCR_EN);
    assert_eq!((cpu.signalled(Group::One), cpu.signalled(Group::Zero)), (Some(27), None));
    assert_eq!(read(&mut cpu, SysReg::ICC_HPPIR1_EL1), 27);
    assert_eq!(read(&mut cpu, SysReg::ICC_HPPIR0_EL1), 1023);
    assert_eq!(read(&mut cpu, SysReg::ICC_IAR0_EL1), 1023);
    assert_eq!(read(&mut cpu, SysReg::ICC_IAR1_EL1), 27);
    assert_eq!(cpu.list(2), pending(27, 0x80) ^ STATE);
    assert_eq!((cpu.active(Group::One, 0), cpu.active(Group::Zero, 0)), (0x1_0000, 0));
    assert_eq!(read(&mut cpu, SysReg::ICC_RPR_EL1), 0x80);
    assert_eq!(read(&mut cpu, SysReg::ICC_IAR1_EL1), 1023);
    write(&mut cpu, SysReg::ICC_EOIR1_EL1, 27);
    assert_eq!(cpu.list(2), pending(27, 0x80) & !STATE);
    assert_eq!((cpu.active(Group::One, 0), read(&mut cpu, SysReg::ICC_RPR_EL1)), (0, 0xff));
}

#[test]
fn mask_groups_and_active_priorities_decide() {
    let mut cpu = enabled();
    cpu.set_list(0, pending(27, 0x80));
    cpu.set_list(1, pending(40, 0xa0) & !GROUP);
    // The mask lets smaller priorities through, not its own.
    write(&mut cpu, SysReg::ICC_PMR_EL1, 0x80);
    assert_eq!(cpu.signalled(Group::One), None);
    write(&mut cpu, SysReg::ICC_PMR_EL1, 0x88);
    assert_eq!(cpu.signalled(Group::One), Some(27));
    write(&mut cpu, SysReg::ICC_IGRPEN1_EL1, 0);
    assert_eq!(cpu.signalled(Group::One), None);
    write(&mut cpu, SysReg::ICC_PMR_EL1, 0xff);
    write(&mut cpu, SysReg::ICC_IGRPEN0_EL1, 1);
    assert_eq!((cpu.signalled(Group::One), cpu.signalled(Group::Zero)), (None, Some(40)));
    // The most urgent interrupt of both groups is signalled.
    write(&mut cpu, SysReg::ICC_IGRPEN1_EL1, 1);
    assert_eq!((cpu.signalled(Group::One), cpu.signalled(Group::Zero)), (Some(27), None));
    assert_eq!(read(&mut cpu, SysReg::ICC_IAR1_EL1), 27);
    // What is active blocks what is not more urgent, of any group.
    assert_eq!(cpu.signalled(Group::Zero), None);
    cpu.set_list(2, pending(41, 0x80));
    assert_eq!(cpu.signalled(Group::One), None);
    cpu.set_list(2, pending(41, 0x78));
    assert_eq!(cpu.signalled(Group::One), Some(41));
    // Above the binary point they are equal.
    write(&mut cpu, SysReg::ICC_BPR1_EL1, 7);
    cpu.set_list(2, pending(41, 0x80));
    cpu.set_list(3, pending(42, 0x08));
    assert_eq!(cpu.signalled(Group::One), Some(42));
    assert_eq!(read(&mut cpu, SysReg::ICC_IAR1_EL1), 42);
    assert_eq!(read(&mut cpu, SysReg::ICC_RPR_EL1), 0);
    write(&mut cpu, SysReg::ICC_EOIR1_EL1, 42);
    assert_eq!(read(&mut cpu, SysReg::ICC_RPR_EL1), 0x80);
}

#[test]
fn pending_and_active_is_not_signalled_again() {
    let mut cpu = enabled();
    cpu.set_list(0, pending(27, 0x80) | STATE_ACTIVE);
    assert_eq!(cpu.signalled(Group::One), None);
    cpu.set_active(Group::One, 0, 0x1_0000);
    write(&mut cpu, SysReg::ICC_EOIR1_EL1, 27);
    assert_eq!((cpu.list(0), cpu.signalled(Group::One)), (pending(27, 0x80), Some(27)));
}

#[test]
fn ending_in_two_steps_and_what_no_list_register_holds() {
    let mut cpu = enabled();
    write(&mut cpu, SysReg::ICC_CTLR_EL1, 2);
    assert_eq!(read(&mut cpu, SysReg::ICC_CTLR_EL1) & 0b111_0000_0011, 4 << 8 | 2);
    cpu.set_list(0, pending(27, 0x80));
    assert_eq!(read(&mut cpu, SysReg::ICC_IAR1_EL1), 27);
    write(&mut cpu, SysReg::ICC_EOIR1_EL1, 27);
    assert_eq!((cpu.list(0) & STATE, cpu.active(Group::One, 0)), (STATE_ACTIVE, 0));
    write(&mut cpu, SysReg::ICC_DIR_EL1, 27);
    assert_eq!(cpu.list(0) & STATE, 0);
    write(&mut cpu, SysReg::ICC_DIR_EL1, 28);
    assert_eq!(cpu.hcr(), HCR_EN | 1 << HCR_EOICOUNT_SHIFT);
    write(&mut cpu, SysReg::ICC_CTLR_EL1, 0);
    write(&mut cpu, SysReg::ICC_EOIR1_EL1, 28);
    assert_eq!(cpu.hcr() >> HCR_EOICOUNT_SHIFT, 1, "nothing was active");
    cpu.set_active(Group::One, 0, 1 << 5);
    write(&mut cpu, SysReg::ICC_EOIR1_EL1, 28);
    assert_eq!((cpu.hcr() >> HCR_EOICOUNT_SHIFT, cpu.active(Group::One, 0)), (2, 0));
    cpu.set_hcr(HCR_EN | HCR_EOICOUNT);
    cpu.set_active(Group::One, 0, 1 << 5);
    write(&mut cpu, SysReg::ICC_EOIR1_EL1, 28);
    assert_eq!(cpu.hcr(), HCR_EN, "the count wraps");
}

#[test]
fn ending_another_interrupt_deactivates_nothing() {
    let mut cpu = enabled();
    cpu.set_list(0, pending(27, 0x80));
    cpu.set_list(1, pending(40, 0x40) ^ STATE);
    assert_eq!(read(&mut cpu, SysReg::ICC_IAR1_EL1), 27);
    write(&mut cpu, SysReg::ICC_EOIR1_EL1, 40);
    assert_eq!((cpu.list(1) & STATE, cpu.active(Group::One, 0)), (STATE_ACTIVE, 0));
    write(&mut cpu, SysReg::ICC_EOIR1_EL1, 1023);
    cpu.set_list(2, pending(8192, 0x10));
    assert_eq!(read(&mut cpu, SysReg::ICC_IAR1_EL1), 8192);
    assert_eq!(
        (cpu.list(2) & STATE, cpu.active(Group::One, 0)),
        (0, 1 << 2),
        "LPIs are not active"
    );
    write(&mut cpu, SysReg::ICC_EOIR1_EL1, 8192);
    assert_eq!(cpu.active(Group::One, 0), 0);
}

#[test]
fn maintenance_is_asked_for_bit_by_bit() {
    let mut cpu = machine(4, 5);
    assert_eq!(cpu.misr(), 0);
    for (bit, misr) in [(1, 2), (3, 8), (5, 0x20), (7, 0x80)] {
        cpu.set_hcr(1 << bit);
        assert_eq!((cpu.misr(), cpu.wants_maintenance()), (misr, false), "{bit}");
        cpu.set_hcr(1 << bit | HCR_EN);
        assert!(cpu.wants_maintenance());
    }
    cpu.set_vmcr(VMCR_ENG0 | VMCR_ENG1);
    for (bit, misr) in [(4, 0x10), (5, 0), (6, 0x40), (7, 0)] {
        cpu.set_hcr(1 << bit);
        assert_eq!(cpu.misr(), misr, "{bit}");
    }
    cpu.set_list(0, pending(27, 0x80));
    cpu.set_hcr(HCR_UIE | HCR_NPIE | HCR_LRENPIE);
    assert_eq!(cpu.misr(), 2, "one valid is still an underflow");
    cpu.set_list(3, pending(30, 0x80) ^ STATE);
    assert_eq!(cpu.misr(), 0);
    cpu.set_hcr(HCR_LRENPIE | 3 << HCR_EOICOUNT_SHIFT);
    assert_eq!(cpu.misr(), 4);
    cpu.set_hcr(0);
    cpu.set_list(1, EOI | 40);
    assert_eq!(cpu.misr(), 1);
}

#[test]
fn what_is_not_implemented_is_not_there() {
    for (lists, bits, vtr, active) in [
        (16, 5, 0x9038_000f, 1),
        (4, 6, 0xb438_0003, 2),
        (1, 7, 0xd838_0000, 4),
        (2, 8, 0xf838_0001, 4),
    ] {
        let mut cpu = machine(lists, bits);
        assert_eq!((cpu.vtr().value(), cpu.vtr().active_registers()), (vtr, active));
        for n in 0..20 {
            cpu.set_list(n, u64::MAX);
            assert_eq!(cpu.list(n) != 0, n < usize::from(lists), "{n}");
            cpu.set_active(Group::One, n, 1);
            assert_eq!(cpu.active(Group::One, n) != 0, n < active, "{n}");
        }
        let priorities = 0xff << (8 - bits) & 0xff;
        assert_eq!(cpu.list(0) >> PRIORITY_SHIFT & 0xff, priorities);
        write(&mut cpu, SysReg::ICC_PMR_EL1, 0xff);
        assert_eq!(read(&mut cpu, SysReg::ICC_PMR_EL1), priorities);
        let lowest = u64::from(7 - bits.min(7));
        assert_eq!(read(&mut cpu, SysReg::ICC_BPR0_EL1), lowest);
        assert_eq!(read(&mut cpu, SysReg::ICC_BPR1_EL1), lowest + 1);
    }
}

#[test]
fn the_least_urgent_priority_has_the_last_bit() {
    let mut cpu = machine(1, 7);
    cpu.set_hcr(HCR_EN);
    write(&mut cpu, SysReg::ICC_PMR_EL1, 0xff);
    write(&mut cpu, SysReg::ICC_IGRPEN1_EL1, 1);
    cpu.set_list(0, pending(27, 0xfc));
    assert_eq!(read(&mut cpu, SysReg::ICC_IAR1_EL1), 27);
    assert_eq!(cpu.active(Group::One, 3), 1 << 30);
    assert_eq!(read(&mut cpu, SysReg::ICC_RPR_EL1), 0xfc);
    let third = SysReg { op2: 3, ..SysReg::ICC_AP1R0_EL1 };
    assert_eq!(read(&mut cpu, third), 1 << 30);
    write(&mut cpu, third, 0);
    assert_eq!(read(&mut cpu, SysReg::ICC_RPR_EL1), 0xff);
}

#[test]
fn accesses_trap_as_the_host_wants() {
    let mut cpu = machine(4, 5);
    let all = [
        (SysReg::ICC_SGI1R_EL1, !0),
        (SysReg::ICC_SGI0R_EL1, !0),
        (SysReg::ICC_ASGI1R_EL1, !0),
        (SysReg::ICC_DIR_EL1, HCR_TDIR | HCR_TC),
        (SysReg::ICC_PMR_EL1, HCR_TC),
        (SysReg::ICC_CTLR_EL1, HCR_TC),
        (SysReg::ICC_RPR_EL1, HCR_TC),
        (SysReg::ICC_IAR0_EL1, HCR_TALL0),
        (SysReg::ICC_AP0R0_EL1, HCR_TALL0),
        (SysReg::ICC_IGRPEN0_EL1, HCR_TALL0),
        (SysReg::ICC_EOIR1_EL1, HCR_TALL1),
        (SysReg::ICC_AP1R0_EL1, HCR_TALL1),
        (SysReg::ICC_IGRPEN1_EL1, HCR_TALL1),
        (SysReg::ICC_SRE_EL1, 0),
    ];
    for trap in [0, HCR_TC, HCR_TALL0, HCR_TALL1, HCR_TDIR] {
        cpu.set_hcr(HCR_EN | trap);
        for (register, by) in all {
            let is_trapped = by & (trap | 1 << 63) != 0;
            assert_eq!(
                cpu.realm_writes(register, 0) == Access::Trapped,
                is_trapped,
                "{register:?}"
            );
        }
    }
    let unknown = SysReg { op0: 3, op1: 0, crn: 1, crm: 0, op2: 0 };
    assert_eq!(cpu.realm_reads(unknown), Access::Unknown);
    assert_eq!(cpu.realm_writes(unknown, 1), Access::Unknown);
}

#[test]
fn a_common_binary_point_is_that_of_group_0() {
    let mut cpu = enabled();
    write(&mut cpu, SysReg::ICC_BPR0_EL1, 4);
    write(&mut cpu, SysReg::ICC_CTLR_EL1, 1);
    assert_eq!(read(&mut cpu, SysReg::ICC_BPR1_EL1), 5);
    write(&mut cpu, SysReg::ICC_BPR1_EL1, 3);
    assert_eq!(read(&mut cpu, SysReg::ICC_BPR1_EL1), 5);
    cpu.set_list(0, pending(27, 0xb8));
    assert_eq!(read(&mut cpu, SysReg::ICC_IAR1_EL1), 27);
    assert_eq!(read(&mut cpu, SysReg::ICC_RPR_EL1), 0xa0);
}
