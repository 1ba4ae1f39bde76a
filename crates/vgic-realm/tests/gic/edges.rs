//! One case after the other: exact list registers, controls, kicks and reports.

use std::sync::atomic::{AtomicU32, Ordering};

use vgic_realm::{
    Affinity, Bank, Field, Gic, GicConfig, GicConfigError, GicStorage, InterfaceState, Intid,
    Kicks, PpiIntid, Route, Saved, SgiRegister, SgiRequest, SpiIntid, VirtualInterface, Vtr,
};

use crate::cpu::Cpu;
use crate::delivery::{gic, vtr};

const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 1 << 63;
const GROUP1: u64 = 1 << 60;
const EOI: u64 = 1 << 41;

/// `ICH_HCR_EL2`.
const LRENPIE: u64 = 1 << 2;
const NPIE: u64 = 1 << 3;
const GRP0_EIE: u64 = 1 << 4;
const GRP0_DIE: u64 = 1 << 5;
const GRP1_EIE: u64 = 1 << 6;
const GRP1_DIE: u64 = 1 << 7;
const TDIR: u64 = 1 << 14;

/// `ICH_VMCR_EL2`: nothing masked, both groups enabled; EOImode.
const OPEN: u64 = 0xff << 24 | 0b11;
const SPLIT: u64 = 1 << 9;

type Storage = GicStorage<4, 64>;

fn spi(n: u32) -> SpiIntid {
    SpiIntid::new(n).unwrap()
}

fn list(kicks: Kicks) -> Vec<usize> {
    kicks.iter().collect()
}

fn to(rec: u64) -> Route {
    Route::Specific(Affinity::from_mpidr(rec))
}

/// A run in which a guest does something; `vmcr` is what it leaves.
fn run(
    gic: &Gic<'_>,
    rec: usize,
    cpu: &mut Cpu,
    vmcr: u64,
    guest: impl FnOnce(&mut Cpu),
) -> Vec<usize> {
    gic.load(rec, cpu);
    cpu.vmcr = vmcr;
    guest(cpu);
    cpu.exit();
    let report = gic.save(rec, cpu);
    assert_eq!(report.saved, Saved::Used);
    list(report.kicks)
}

/// The list registers and the controls that a REC is loaded with. It does not run.
fn loaded(gic: &Gic<'_>, rec: usize, cpu: &mut Cpu) -> (Vec<u64>, u64) {
    gic.load(rec, cpu);
    let lists = (0..cpu.vtr().list_registers()).map(|n| cpu.list_register(n)).collect();
    let hcr = cpu.hcr();
    assert_eq!(gic.save(rec, cpu).saved, Saved::Unused);
    (lists, hcr)
}

#[test]
fn what_does_not_fit_is_asked_for_by_maintenance_interrupts() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(1));
    for (n, priority) in [(40, 0x40), (41, 0x20), (42, 0x80)] {
        let _ = gic.set_priority(Bank::Shared, n, priority);
        let _ = gic.set_spi(spi(n), true);
    }
    let register = |n: u64, priority: u64| PENDING | GROUP1 | EOI | priority << 48 | n;
    // A REC that has enabled no group: it exits when it does.
    let (lists, hcr) = loaded(&gic, 0, &mut cpu);
    assert_eq!((lists, hcr), (vec![register(41, 0x20)], 1 | TDIR | GRP0_EIE | GRP1_EIE));
    run(&gic, 0, &mut cpu, 0xff << 24 | 0b10, |_| ());
    let (lists, hcr) = loaded(&gic, 0, &mut cpu);
    assert_eq!((lists, hcr), (vec![register(41, 0x20)], 1 | TDIR | NPIE | GRP1_DIE));
    run(&gic, 0, &mut cpu, OPEN, |_| ());
    let (_, hcr) = loaded(&gic, 0, &mut cpu);
    assert_eq!(hcr, 1 | TDIR | NPIE | GRP0_DIE | GRP1_DIE);
    // With the most urgent one active, the next pending one has the list register.
    run(&gic, 0, &mut cpu, OPEN, |cpu| assert_eq!(cpu.acknowledge(), Some((41, 0x20))));
    let (lists, hcr) = loaded(&gic, 0, &mut cpu);
    let all = NPIE | GRP0_DIE | GRP1_DIE;
    assert_eq!((lists, hcr), (vec![register(40, 0x40)], 1 | TDIR | LRENPIE | all));
    // Two list registers: both, and one that is pending is outside.
    let mut two = Cpu::new(vtr(2));
    let (lists, hcr) = loaded(&gic, 0, &mut two);
    let active = ACTIVE | GROUP1 | EOI | 0x20 << 48 | 41;
    assert_eq!((lists, hcr), (vec![register(40, 0x40), active], 1 | TDIR | all));
    let mut four = Cpu::new(vtr(4));
    let (lists, hcr) = loaded(&gic, 0, &mut four);
    let three = vec![register(40, 0x40), register(42, 0x80), active, 0];
    assert_eq!((lists, hcr), (three, 1 | TDIR));
    // Ended without a list register.
    gic.load(0, &mut cpu);
    cpu.end(41);
    assert_eq!(cpu.misr(), LRENPIE);
    cpu.exit();
    let report = gic.save(0, &mut cpu);
    assert_eq!(report.ended.iter().collect::<Vec<_>>(), [Intid::new(41).unwrap()]);
    assert_eq!(format!("{:?}", report.ended), "[41]");
    let (lists, hcr) = loaded(&gic, 0, &mut cpu);
    assert_eq!((lists, hcr), (vec![register(41, 0x20)], 1 | TDIR | all), "its line is up");
}

#[test]
fn groups_that_the_rec_disables_are_last() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(1));
    let _ = gic.set_bits(Bank::Shared, 1, Field::Group1, 1 << 8, false);
    let _ = gic.set_priority(Bank::Shared, 40, 0);
    run(&gic, 0, &mut cpu, 0xff << 24 | 0b10, |_| ());
    let _ = gic.set_spi(spi(40), true);
    let _ = gic.set_spi(spi(41), true);
    let (lists, hcr) = loaded(&gic, 0, &mut cpu);
    assert_eq!(lists, [PENDING | GROUP1 | EOI | 0x80 << 48 | 41]);
    assert_eq!(hcr, 1 | TDIR | GRP0_EIE);
    run(&gic, 0, &mut cpu, 0xff << 24 | 0b01, |_| ());
    let (lists, hcr) = loaded(&gic, 0, &mut cpu);
    assert_eq!((lists, hcr), (vec![PENDING | EOI | 40], 1 | TDIR | GRP1_EIE));
}

#[test]
fn a_route_is_the_register_of_the_architecture() {
    let specific = Route::Specific(Affinity::from_mpidr(0x04_0003_0201));
    assert_eq!(Route::from_irouter(0x04_0003_0201), specific);
    assert_eq!(specific.irouter(), 0x04_0003_0201);
    // IRM; the affinity does not matter then.
    assert_eq!(Route::from_irouter(1 << 31 | 5), Route::Any);
    assert_eq!(Route::Any.irouter(), 1 << 31);
}

#[test]
fn without_the_trap_of_dir_it_is_not_requested() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(Vtr::from_raw(4 << 29 | 4 << 26 | 3));
    let (_, hcr) = loaded(&gic, 0, &mut cpu);
    assert_eq!(hcr, 1);
}

#[test]
fn an_active_interrupt_keeps_its_priority_and_group_in_its_list_register() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    let sgi = |value| gic.send_sgi(0, SgiRegister::Group1, SgiRequest::from_raw(value));
    let _ = sgi(3 << 24 | 1);
    run(&gic, 0, &mut cpu, OPEN, |cpu| assert_eq!(cpu.acknowledge(), Some((3, 0x80))));
    let active = ACTIVE | GROUP1 | 0x80 << 48 | 3;
    assert_eq!(loaded(&gic, 0, &mut cpu).0, [active, 0, 0, 0]);
    // Pending again: it becomes pending in the same list register.
    let _ = sgi(3 << 24 | 1);
    assert_eq!(loaded(&gic, 0, &mut cpu).0, [active | PENDING, 0, 0, 0]);
    // But not with another priority or group, or while it is disabled: the host has to know the
    // end.
    let private = Bank::Private(0);
    let _ = gic.set_priority(private, 3, 0x20);
    assert_eq!(loaded(&gic, 0, &mut cpu).0, [active | EOI, 0, 0, 0]);
    let _ = gic.set_priority(private, 3, 0x87);
    assert_eq!(gic.priority(private, 3), 0x80, "three bits are not implemented");
    let _ = gic.set_bits(private, 0, Field::Group1, 1 << 3, false);
    assert_eq!(loaded(&gic, 0, &mut cpu).0, [active | EOI, 0, 0, 0]);
    let _ = gic.set_bits(private, 0, Field::Group1, 1 << 3, true);
    let _ = gic.set_bits(private, 0, Field::Enabled, 1 << 3, false);
    assert_eq!(loaded(&gic, 0, &mut cpu).0, [active | EOI, 0, 0, 0]);
    let _ = gic.set_bits(private, 0, Field::Pending, 1 << 3, false);
    assert_eq!(loaded(&gic, 0, &mut cpu).0, [active, 0, 0, 0]);
}

#[test]
fn what_changes_while_it_is_loaded_is_applied_at_the_exit() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    let shared = |field| gic.bits(Bank::Shared, 1, field) >> 8;
    let set = |field, is_set| list(gic.set_bits(Bank::Shared, 1, field, 1 << 8, is_set));
    assert_eq!(set(Field::Level, false), [], "nothing is loaded");
    run(&gic, 0, &mut cpu, OPEN, |_| ());
    let _ = gic.pulse_spi(spi(40));
    // Cleared while it is in a list register.
    gic.load(0, &mut cpu);
    assert_eq!(cpu.lists[0], PENDING | GROUP1 | 0x80 << 48 | 40, "no EOI for an edge");
    assert_eq!((shared(Field::Pending), shared(Field::Active)), (1, 0));
    assert_eq!(set(Field::Pending, false), [0]);
    assert_eq!(set(Field::Pending, false), [], "nothing changed");
    assert_eq!(shared(Field::Pending), 0);
    cpu.exit();
    let _ = gic.save(0, &mut cpu);
    assert_eq!(shared(Field::Pending), 0);
    assert_eq!(loaded(&gic, 0, &mut cpu).0, [0; 4]);
    // A second edge, after the first was taken.
    let _ = gic.pulse_spi(spi(40));
    gic.load(0, &mut cpu);
    assert_eq!(cpu.acknowledge(), Some((40, 0x80)));
    assert_eq!(list(gic.pulse_spi(spi(40))), [0]);
    cpu.exit();
    let _ = gic.save(0, &mut cpu);
    assert_eq!((shared(Field::Pending), shared(Field::Active)), (1, 1));
    // Deactivated from outside: it is pending for the next entry.
    gic.load(0, &mut cpu);
    assert_eq!(set(Field::Active, false), [0]);
    assert_eq!(shared(Field::Active), 0);
    cpu.exit();
    let _ = gic.save(0, &mut cpu);
    assert_eq!(loaded(&gic, 0, &mut cpu).0[0], PENDING | GROUP1 | 0x80 << 48 | 40);
    // Activated from outside.
    gic.load(0, &mut cpu);
    assert_eq!(set(Field::Active, true), [0]);
    assert_eq!(shared(Field::Active), 1);
    assert_eq!(set(Field::Active, false), [0]);
    assert_eq!(set(Field::Active, true), [0]);
    cpu.exit();
    let _ = gic.save(0, &mut cpu);
    let both = ACTIVE | PENDING | GROUP1 | 0x80 << 48 | 40;
    assert_eq!(loaded(&gic, 0, &mut cpu).0[0], both);
    // Its new route is that of the next time.
    assert_eq!(list(gic.set_route(spi(40), to(1))), []);
    assert_eq!(loaded(&gic, 1, &mut cpu).0, [0; 4]);
    assert_eq!(loaded(&gic, 0, &mut cpu).0[0], both & !PENDING | EOI);
    assert_eq!(set(Field::Active, false), [], "REC 1 neither runs nor waits");
    assert_eq!(loaded(&gic, 0, &mut cpu).0, [0; 4]);
    assert_eq!(loaded(&gic, 1, &mut cpu).0[0], both & !ACTIVE);
}

#[test]
fn a_line_that_goes_up_is_seen_at_the_end_and_one_that_goes_down_at_once() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    let timer = PpiIntid::VIRTUAL_TIMER;
    run(&gic, 0, &mut cpu, OPEN, |_| ());
    assert!(gic.set_ppi(0, timer, true).is_empty());
    gic.load(0, &mut cpu);
    assert_eq!(cpu.acknowledge(), Some((27, 0x80)));
    assert_eq!(list(gic.set_ppi(0, timer, false)), [0]);
    assert_eq!(list(gic.set_ppi(0, timer, false)), [], "nothing changed");
    assert_eq!(list(gic.set_ppi(0, timer, true)), [], "the end is reported");
    cpu.end(27);
    assert_eq!(cpu.misr(), 1);
    cpu.exit();
    let report = gic.save(0, &mut cpu);
    assert_eq!(report.ended.iter().map(Intid::number).collect::<Vec<_>>(), [27]);
    let pending = PENDING | GROUP1 | EOI | 0x80 << 48 | 27;
    assert_eq!(loaded(&gic, 0, &mut cpu).0[0], pending);
    // An edge-triggered interrupt that ends is not reported, nor one that did not end.
    let _ = gic.send_sgi(0, SgiRegister::Group1, SgiRequest::from_raw(1 << 24 | 1));
    gic.load(0, &mut cpu);
    let first = cpu.acknowledge();
    assert_eq!(first, Some((1, 0x80)));
    cpu.end(1);
    cpu.exit();
    assert_eq!(gic.save(0, &mut cpu).ended.iter().count(), 0);
    assert_eq!(gic.bits(Bank::Private(0), 0, Field::Pending), 1 << 27);
}

#[test]
fn an_spi_for_any_rec_goes_to_one_that_takes_it() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    for n in [40, 41, 42, 43] {
        assert!(gic.set_route(spi(n), Route::Any).is_empty());
    }
    assert_eq!(gic.route(spi(40)), Some(Route::Any));
    assert_eq!(list(gic.set_spi(spi(41), true)), [], "no REC is on");
    assert_eq!(list(gic.set_spi(spi(41), false)), []);
    for rec in 0..3 {
        run(&gic, rec, &mut cpu, OPEN, |_| ());
        assert!(!gic.has_pending(rec));
    }
    // The first one is at the INTID modulo the number of RECs; REC 3 is off.
    for (n, rec) in [(40, 0), (41, 1), (42, 2), (43, 0)] {
        assert_eq!(list(gic.set_spi(spi(n), true)), [rec], "{n}");
        assert_eq!(list(gic.set_spi(spi(n), false)), []);
    }
    // One that masks it is passed over.
    run(&gic, 1, &mut cpu, 0x80 << 24 | 0b11, |_| ());
    assert!(!gic.has_pending(1));
    assert_eq!(list(gic.set_spi(spi(41), true)), [2]);
    assert_eq!([0, 1, 2, 3].map(|rec| gic.has_pending(rec)), [true, false, true, false]);
    // Whoever loads it first has it, and returns it if it does not take it.
    let register = PENDING | GROUP1 | EOI | 0x80 << 48 | 41;
    gic.load(0, &mut cpu);
    assert_eq!(cpu.lists[0], register);
    let mut other = Cpu::new(vtr(4));
    assert_eq!(loaded(&gic, 2, &mut other).0[0], 0);
    cpu.exit();
    assert_eq!(list(gic.save(0, &mut cpu).kicks), []);
    assert_eq!(loaded(&gic, 2, &mut other).0[0], register);
    // A REC that was never entered enables no group.
    assert_eq!(loaded(&gic, 3, &mut other).0[0], 0);
    // The REC that had it stops taking it: another one is kicked.
    assert!(!gic.has_pending(3));
    assert_eq!(run(&gic, 1, &mut cpu, OPEN, |_| ()), []);
    assert!(gic.has_pending(1));
    run(&gic, 1, &mut cpu, OPEN, |cpu| assert_eq!(cpu.acknowledge(), Some((41, 0x80))));
    assert!(!gic.has_pending(2));
    assert_eq!(run(&gic, 1, &mut cpu, OPEN, |cpu| cpu.end(41)), [] as [usize; 0]);
    assert!(gic.has_pending(2), "its line is still up");
    let _ = gic.set_spi(spi(41), false);
    assert!(!gic.has_pending(2));
    gic.load(0, &mut cpu);
    gic.load(1, &mut other);
    assert_eq!(list(gic.set_spi(spi(41), true)), [1]);
    other.vmcr = 0xff << 24 | 0b01;
    other.exit();
    assert_eq!(list(gic.save(1, &mut other).kicks), [2], "group 1 is disabled now");
    // Nobody is known to take it: all that run are asked.
    cpu.exit();
    let _ = gic.save(0, &mut cpu);
    assert_eq!(list(gic.turn_off(2)), []);
    assert_eq!(list(gic.set_spi(spi(41), false)), []);
    gic.load(1, &mut other);
    gic.load(3, &mut cpu);
    assert_eq!(list(gic.set_spi(spi(41), true)), [1, 3]);
}

#[test]
fn a_rec_that_is_off_or_asleep_hands_on_what_any_may_take() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    let _ = gic.set_route(spi(40), Route::Any);
    for rec in [0, 1] {
        run(&gic, rec, &mut cpu, OPEN, |_| ());
        assert!(!gic.has_pending(rec));
    }
    let own = gic.set_ppi(0, PpiIntid::PMU, true);
    assert_eq!(list(own), [0]);
    assert_eq!(list(gic.set_spi(spi(40), true)), [0]);
    assert!(!gic.is_asleep(0));
    assert_eq!(list(gic.set_asleep(0, true)), [1]);
    assert!(gic.is_asleep(0) && !gic.has_pending(0));
    assert_eq!(list(gic.set_asleep(0, true)), [], "nothing changed");
    assert_eq!(loaded(&gic, 0, &mut cpu).0, [0; 4]);
    assert!(!gic.has_pending(0));
    assert_eq!(list(gic.set_asleep(0, false)), [0]);
    gic.load(0, &mut cpu);
    assert_eq!(list(gic.set_asleep(0, true)), [0]);
    cpu.vmcr = OPEN;
    cpu.exit();
    assert_eq!(list(gic.save(0, &mut cpu).kicks), [1], "it did not take it");
    assert_eq!(list(gic.set_asleep(0, false)), [] as [usize; 0]);
    assert_eq!(list(gic.turn_off(0)), [1]);
    // Its interface is reset, its interrupts are not.
    assert_eq!(gic.bits(Bank::Private(0), 0, Field::Pending), 1 << 23);
    gic.load(0, &mut cpu);
    assert_eq!(cpu.vmcr, 0);
    assert_eq!(list(gic.set_asleep(9, true)), []);
    assert!(!gic.is_asleep(9));
}

#[test]
fn group_enables_of_the_distributor_concern_everyone() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    for rec in [0, 1] {
        run(&gic, rec, &mut cpu, OPEN, |_| ());
        assert!(!gic.has_pending(rec));
    }
    gic.load(2, &mut cpu);
    assert_eq!(gic.group_enables(), (true, true));
    assert_eq!(list(gic.set_group_enables(true, true)), []);
    assert_eq!(list(gic.set_group_enables(true, false)), [2]);
    assert_eq!(gic.group_enables(), (true, false));
    assert!(gic.set_ppi(1, PpiIntid::PMU, true).is_empty());
    assert!(!gic.has_pending(1));
    assert_eq!(list(gic.set_group_enables(false, true)), [1, 2]);
    assert_eq!(gic.group_enables(), (false, true));
    assert!(gic.has_pending(1));
}

#[test]
fn dir_is_for_programs_that_separate_it_from_eoi() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    let _ = gic.set_bits(Bank::Private(0), 0, Field::Active, 1 << 20, true);
    let _ = gic.set_bits(Bank::Shared, 1, Field::Active, 1 << 8, true);
    let active = || {
        let private = gic.bits(Bank::Private(0), 0, Field::Active);
        (private, gic.bits(Bank::Shared, 1, Field::Active))
    };
    run(&gic, 0, &mut cpu, OPEN, |_| ());
    assert!(gic.deactivate(0, 20).is_empty() && gic.deactivate(0, 40).is_empty());
    assert_eq!(active(), (1 << 20, 1 << 8), "ignored");
    run(&gic, 0, &mut cpu, OPEN | SPLIT, |_| ());
    assert!(gic.deactivate(0, 21).is_empty() && gic.deactivate(0, 1023).is_empty());
    assert!(gic.deactivate(9, 20).is_empty());
    assert_eq!(active(), (1 << 20, 1 << 8));
    assert!(gic.deactivate(0, 20).is_empty());
    assert_eq!(active(), (0, 1 << 8));
    // Another REC has it in its list registers and is asked to give it back.
    run(&gic, 1, &mut cpu, OPEN | SPLIT, |_| ());
    gic.load(0, &mut cpu);
    assert_eq!(cpu.lists[0], ACTIVE | GROUP1 | EOI | 0x80 << 48 | 40);
    assert_eq!(list(gic.deactivate(1, 40)), [0]);
    assert_eq!(active(), (0, 0));
    cpu.exit();
    let _ = gic.save(0, &mut cpu);
    assert_eq!(active(), (0, 0));
}

#[test]
fn an_entry_that_was_not_saved_did_not_happen() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    let _ = gic.set_spi(spi(40), true);
    let _ = gic.send_sgi(1, SgiRegister::Group1, SgiRequest::from_raw(7 << 24 | 1));
    gic.load(0, &mut cpu);
    let lists = cpu.lists;
    assert_ne!(lists[1], 0);
    cpu.vmcr = OPEN;
    assert!(cpu.acknowledge().is_some());
    gic.load(0, &mut cpu);
    assert_eq!(cpu.lists, lists);
}

#[test]
fn list_registers_that_a_cpu_could_not_leave_change_nothing() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    let _ = gic.set_spi(spi(40), true);
    let _ = gic.send_sgi(1, SgiRegister::Group1, SgiRequest::from_raw(7 << 24 | 1));
    gic.load(0, &mut cpu);
    // Another interrupt, and one that was never there.
    cpu.lists[0] ^= 1;
    cpu.lists[3] = ACTIVE | 50;
    cpu.exit();
    let _ = gic.save(0, &mut cpu);
    assert_eq!(gic.bits(Bank::Private(0), 0, Field::Pending), 1 << 7);
    assert_eq!(gic.bits(Bank::Shared, 1, Field::Active), 0);
}

#[test]
fn what_does_not_exist_is_ignored() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    gic.load(0, &mut cpu);
    for bank in [Bank::Private(0), Bank::Private(4), Bank::Shared] {
        for word in [3, 31, 32, usize::MAX] {
            assert!(gic.set_bits(bank, word, Field::Pending, u32::MAX, true).is_empty());
            assert_eq!(gic.bits(bank, word, Field::Pending), 0);
        }
        for intid in [96, 1019, 1020, u32::MAX] {
            assert!(gic.set_priority(bank, intid, 8).is_empty());
            assert_eq!(gic.priority(bank, intid), 0);
        }
    }
    assert_eq!(gic.bits(Bank::Shared, 0, Field::Enabled), 0);
    assert_eq!(gic.bits(Bank::Private(0), 1, Field::Enabled), 0);
    assert_eq!(gic.priority(Bank::Shared, 31), 0);
    assert_eq!(gic.priority(Bank::Private(0), 32), 0);
    assert_eq!(gic.route(spi(96)), None);
    assert!(gic.set_route(spi(96), Route::Any).is_empty());
    assert!(gic.set_spi(spi(96), true).is_empty() && gic.pulse_spi(spi(96)).is_empty());
    assert!(gic.set_ppi(4, PpiIntid::PMU, true).is_empty());
    assert!(!gic.has_pending(4) && gic.turn_off(4).is_empty());
    assert_eq!((gic.affinity(3), gic.affinity(4)), (Some(Affinity::from_mpidr(3)), None));
    let mut other = Cpu::new(vtr(4));
    other.lists[0] = PENDING | 1;
    gic.load(4, &mut other);
    assert_eq!((other.lists[0], other.hcr), (0, 1));
    assert_eq!(gic.save(4, &mut other).saved, Saved::Unused);
    assert_eq!(other.hcr, 0);
    // SGIs are edge-triggered.
    assert!(gic.set_bits(Bank::Private(1), 0, Field::Level, u32::MAX, true).is_empty());
    assert_eq!(gic.bits(Bank::Private(1), 0, Field::Level), 0xffff_0000);
    assert_eq!(gic.bits(Bank::Shared, 1, Field::Level), u32::MAX);
    let _ = gic.write_bits(Bank::Private(1), 0, Field::Level, 0x000f_000f, 0x0001_0001);
    assert_eq!(gic.bits(Bank::Private(1), 0, Field::Level), 0xfff1_0000);
}

#[test]
fn an_interface_of_the_reset_state_has_no_interrupts() {
    let storage = GicStorage::<2, 32>::new();
    let affinities = [Affinity::from_mpidr(0), Affinity::from_mpidr(0x100)];
    let config = GicConfig { affinities: &affinities, spis: 32, vtr: vtr(4) };
    let gic = Gic::new(&storage, &config).unwrap();
    assert_eq!((gic.recs(), gic.spis(), gic.priority_bits()), (2, 32, 5));
    assert_eq!(gic.index_of(Affinity::from_mpidr(0x100)), Some(1));
    assert_eq!(gic.index_of(Affinity::from_mpidr(1)), None);
    assert_eq!(gic.group_enables(), (false, false));
    for bank in [Bank::Private(1), Bank::Shared] {
        let word = usize::from(bank == Bank::Shared);
        let bits = |field| gic.bits(bank, word, field);
        let fields = [Field::Enabled, Field::Pending, Field::Active];
        assert_eq!(fields.map(bits), [0; 3]);
        assert_eq!(bits(Field::Group1), u32::MAX);
    }
    assert_eq!(gic.route(spi(63)), Some(to(0)));
    let mut cpu = Cpu::new(vtr(4));
    gic.load(1, &mut cpu);
    let mut fresh = Cpu::new(vtr(4));
    InterfaceState::new(vtr(4)).load(&mut fresh);
    assert_eq!((cpu.lists, cpu.vmcr), (fresh.lists, fresh.vmcr));
    assert_eq!(format!("{gic:?}"), "Gic { recs: 2, live_spis: 0, .. }");
    assert_eq!(format!("{storage:?}"), "GicStorage { recs: 2, spis: 32 }");
}

#[test]
fn a_gic_that_cannot_be_made_is_refused_by_name() {
    static STORAGE: GicStorage<2, 32> = GicStorage::new();
    let two = [0, 1].map(Affinity::from_mpidr);
    let config = GicConfig { affinities: &two, spis: 32, vtr: vtr(4) };
    let error = |config| Gic::new(&STORAGE, &config).unwrap_err();
    let three = [0, 1, 2].map(Affinity::from_mpidr);
    let many = error(GicConfig { affinities: &three, ..config });
    assert_eq!(many, GicConfigError::TooManyRecs { recs: 3, limit: 2 });
    assert_eq!(many.to_string(), "3 RECs: the storage is for at most 2");
    let none = error(GicConfig { affinities: &[], ..config });
    assert_eq!((none, none.to_string().as_str()), (GicConfigError::NoRecs, "a GIC needs a REC"));
    let twice = [two[1]; 2];
    let same = error(GicConfig { affinities: &twice, ..config });
    assert_eq!(same, GicConfigError::SameAffinity { first: 0, second: 1 });
    assert_eq!(same.to_string(), "RECs 0 and 1 have the same affinity");
    let spis = error(GicConfig { spis: 33, ..config });
    assert_eq!(spis, GicConfigError::TooManySpis { spis: 33, limit: 32 });
    assert_eq!(spis.to_string(), "33 SPIs: the storage is for at most 32");
    let gic = Gic::new(&STORAGE, &config).unwrap();
    let used = error(config);
    assert_eq!(used, GicConfigError::InUse);
    assert_eq!(used.to_string(), "another GIC uses the storage");
    drop(gic);
    let large = GicStorage::<1, 1000>::new();
    let one = GicConfig { affinities: &two[..1], spis: 989, vtr: vtr(4) };
    let error = Gic::new(&large, &one).unwrap_err();
    assert_eq!(error, GicConfigError::TooManySpis { spis: 989, limit: 988 });
}

#[cfg(feature = "alloc")]
#[test]
fn a_gic_in_used_storage_is_as_in_a_new_one() {
    let storage = GicStorage::<2, 32>::new();
    let two = [7, 9].map(Affinity::from_mpidr);
    let config = GicConfig { affinities: &two, spis: 32, vtr: vtr(4) };
    let gic = Gic::new(&storage, &config).unwrap();
    let mut cpu = Cpu::new(vtr(4));
    run(&gic, 0, &mut cpu, OPEN, |_| ());
    assert!(!gic.has_pending(0));
    let _ = gic.set_group_enables(true, true);
    let _ = gic.set_asleep(1, true);
    for (bank, word) in [(Bank::Private(0), 0), (Bank::Shared, 1)] {
        for field in [Field::Enabled, Field::Pending, Field::Active] {
            let _ = gic.set_bits(bank, word, field, 1 << 20, true);
        }
    }
    assert_eq!(format!("{gic:?}"), "Gic { recs: 2, live_spis: 1, .. }");
    drop(gic);
    let other = [0, 1].map(Affinity::from_mpidr);
    let gic = Gic::new(&storage, &GicConfig { affinities: &other, ..config }).unwrap();
    assert_eq!(format!("{gic:?}"), "Gic { recs: 2, live_spis: 0, .. }");
    assert_eq!((gic.group_enables(), gic.is_asleep(1)), ((false, false), false));
    assert_eq!([0, 1].map(|rec| gic.affinity(rec)), other.map(Some));
    for (bank, word) in [(Bank::Private(0), 0), (Bank::Shared, 1)] {
        for field in [Field::Enabled, Field::Pending, Field::Active] {
            assert_eq!(gic.bits(bank, word, field), 0);
        }
    }
    // No REC waits, and none enables a group.
    let _ = gic.set_group_enables(true, true);
    let _ = gic.set_route(spi(40), Route::Any);
    let _ = gic.set_bits(Bank::Shared, 1, Field::Enabled, 1 << 8, true);
    assert_eq!(list(gic.set_spi(spi(40), true)), []);
    let _ = gic.set_bits(Bank::Private(0), 0, Field::Enabled, 1 << 23, true);
    assert_eq!(list(gic.set_ppi(0, PpiIntid::PMU, true)), []);
    assert!(!gic.has_pending(0));
    let (lists, hcr) = loaded(&gic, 0, &mut Cpu::new(vtr(4)));
    assert_eq!((lists[0] as u32, lists[1]), (23, 0));
    assert_eq!(hcr, 1 | TDIR | GRP0_EIE | GRP1_EIE, "the SPI has no list register");
}

#[test]
fn a_gic_on_the_heap_has_up_to_512_recs_and_all_spis() {
    let storage: vgic_realm::OwnedGicStorage = vgic_realm::OwnedGicStorage::new(600);
    let all: Vec<Affinity> =
        (0..600).map(|n| Affinity::from_mpidr(n & 0xf | (n >> 4) << 8)).collect();
    let config = GicConfig { affinities: &all[..512], spis: vgic_realm::MAX_SPIS, vtr: vtr(4) };
    let limit = GicConfigError::TooManyRecs { recs: 513, limit: 512 };
    let many = GicConfig { affinities: &all[..513], ..config };
    assert_eq!(Gic::new(&storage, &many).unwrap_err(), limit);
    let gic = Gic::new(&storage, &config).unwrap();
    let _ = gic.set_group_enables(true, true);
    let _ = gic.set_bits(Bank::Shared, 31, Field::Enabled, u32::MAX, true);
    let _ = gic.set_route(spi(1019), Route::Specific(all[511]));
    let mut cpu = Cpu::new(vtr(4));
    gic.load(511, &mut cpu);
    assert_eq!(list(gic.set_spi(spi(1019), true)), [511]);
    cpu.exit();
    let _ = gic.save(511, &mut cpu);
    assert_eq!(loaded(&gic, 511, &mut cpu).0[0], PENDING | GROUP1 | EOI | 1019);
    assert_eq!(format!("{storage:?}"), "OwnedGicStorage { recs: 600, .. }");
}

/// A lock of the embedder, which counts.
struct Counting(spin::Mutex<()>);

static LOCKED: AtomicU32 = AtomicU32::new(0);

// SAFETY: it is the default lock.
#[expect(unsafe_code, reason = "a raw lock is an unsafe trait")]
unsafe impl lock_api::RawMutex for Counting {
    const INIT: Self = Self(<spin::Mutex<()> as lock_api::RawMutex>::INIT);
    type GuardMarker = lock_api::GuardNoSend;

    fn lock(&self) {
        LOCKED.fetch_add(1, Ordering::Relaxed);
        lock_api::RawMutex::lock(&self.0);
    }

    fn try_lock(&self) -> bool {
        lock_api::RawMutex::try_lock(&self.0)
    }

    unsafe fn unlock(&self) {
        // SAFETY: the caller holds it.
        unsafe { lock_api::RawMutex::unlock(&self.0) }
    }
}

#[test]
fn the_embedder_brings_its_lock_and_an_entry_without_spis_takes_one() {
    let storage = GicStorage::<1, 32, Counting>::new();
    let affinities = [Affinity::default()];
    let config = GicConfig { affinities: &affinities, spis: 32, vtr: vtr(4) };
    let gic = Gic::new(&storage, &config).unwrap();
    let mut cpu = Cpu::new(vtr(4));
    let locks = |step: &dyn Fn(&mut Cpu), cpu: &mut Cpu| {
        let before = LOCKED.load(Ordering::Relaxed);
        step(cpu);
        LOCKED.load(Ordering::Relaxed) - before
    };
    let load = |cpu: &mut Cpu| gic.load(0, cpu);
    let save = |cpu: &mut Cpu| {
        cpu.exit();
        let _ = gic.save(0, cpu);
    };
    assert_eq!((locks(&load, &mut cpu), locks(&save, &mut cpu)), (1, 1));
    let _ = gic.set_spi(spi(32), true);
    assert_eq!((locks(&load, &mut cpu), locks(&save, &mut cpu)), (2, 2));
    let _ = gic.set_spi(spi(32), false);
    assert_eq!((locks(&load, &mut cpu), locks(&save, &mut cpu)), (1, 1));
}

#[test]
fn several_lines_are_set_at_once_as_one_after_the_other() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    let (timer, pmu) = (PpiIntid::VIRTUAL_TIMER, PpiIntid::PMU);
    let pending = |ppi: PpiIntid| gic.bits(Bank::Private(0), 0, Field::Pending) >> ppi.number() & 1;
    assert!(gic.set_ppis(0, [(timer, true), (pmu, false)]).is_empty(), "it is not loaded");
    assert_eq!((pending(timer), pending(pmu)), (1, 0));
    gic.load(0, &mut cpu);
    assert!(gic.set_ppis(0, [(timer, true), (pmu, false)]).is_empty(), "nothing changed");
    assert_eq!(list(gic.set_ppis(0, [(timer, true), (pmu, true)])), [0]);
    assert_eq!((pending(timer), pending(pmu)), (1, 1));
    assert_eq!(list(gic.set_ppis(0, [(timer, false), (pmu, true)])), [0], "it is resident");
    let _ = gic.save(0, &mut cpu);
    assert_eq!((pending(timer), pending(pmu)), (0, 1));
    assert!(gic.set_ppis(4, [(timer, true)]).is_empty(), "there is no such REC");
    assert!(gic.set_ppis(0, []).is_empty());
    assert_eq!((pending(timer), pending(pmu)), (0, 1));
}
