//! Active interrupts that have no list register, or are pending again.

use vgic_realm::{Bank, Field, Gic, GicStorage, PpiIntid, Saved, SpiIntid, VirtualInterface};

use crate::cpu::Cpu;
use crate::delivery::{gic, vtr};

const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 1 << 63;
const GROUP1: u64 = 1 << 60;
const EOI: u64 = 1 << 41;

/// `ICH_HCR_EL2`.
const NPIE: u64 = 1 << 3;
const GRP0_DIE: u64 = 1 << 5;
const GRP1_DIE: u64 = 1 << 7;
const TDIR: u64 = 1 << 14;

/// `ICH_VMCR_EL2`: nothing masked, both groups enabled.
const OPEN: u64 = 0xff << 24 | 0b11;

type Storage = GicStorage<4, 64>;

/// A run of REC 0 in which a guest does something; the level-sensitive interrupts that it ended.
fn run(gic: &Gic<'_>, cpu: &mut Cpu, guest: impl FnOnce(&mut Cpu)) -> Vec<u32> {
    gic.load(0, cpu);
    cpu.vmcr = OPEN;
    guest(cpu);
    cpu.exit();
    let report = gic.save(0, cpu);
    assert_eq!(report.saved, Saved::Used);
    report.ended.iter().map(|intid| intid.number()).collect()
}

/// The list registers and the controls that REC 0 is loaded with. It does not run.
fn loaded(gic: &Gic<'_>, cpu: &mut Cpu) -> (Vec<u64>, u64) {
    gic.load(0, cpu);
    let lists = (0..cpu.vtr().list_registers()).map(|n| cpu.list_register(n)).collect();
    let hcr = cpu.hcr();
    assert_eq!(gic.save(0, cpu).saved, Saved::Unused);
    (lists, hcr)
}

/// An interrupt that is active and pending again becomes pending in its list register when it ends:
/// it must not be taken before more urgent ones that have no list register.
#[test]
fn one_that_is_pending_again_does_not_overtake_those_outside() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(2));
    for (sgi, priority) in [(3, 0x40), (1, 0x10), (2, 0x20)] {
        let _ = gic.set_priority(Bank::Private(0), sgi, priority);
    }
    let send = |sgi: u32| {
        let _ = gic.set_bits(Bank::Private(0), 0, Field::Pending, 1 << sgi, true);
    };
    send(3);
    run(&gic, &mut cpu, |cpu| assert_eq!(cpu.acknowledge(), Some((3, 0x40))));
    send(3);
    let register = |n: u64, priority: u64| GROUP1 | priority << 48 | n;
    // All that is pending has a list register, and so may the second SGI 3.
    send(1);
    let again = PENDING | ACTIVE | register(3, 0x40);
    let (lists, hcr) = loaded(&gic, &mut cpu);
    assert_eq!((lists, hcr), (vec![PENDING | register(1, 0x10), again], 1 | TDIR));
    // SGI 2 has none, and is taken before the second SGI 3: the end of the first one is an exit.
    send(2);
    let active = ACTIVE | EOI | register(3, 0x40);
    let (lists, hcr) = loaded(&gic, &mut cpu);
    let controls = 1 | TDIR | NPIE | GRP0_DIE | GRP1_DIE;
    assert_eq!((lists, hcr), (vec![PENDING | register(1, 0x10), active], controls));
    // The guest ends SGI 3 before it takes another.
    run(&gic, &mut cpu, |cpu| {
        cpu.end(3);
        assert_eq!(cpu.misr(), 1);
    });
    for (sgi, priority) in [(1, 0x10), (2, 0x20), (3, 0x40)] {
        run(&gic, &mut cpu, |cpu| {
            assert_eq!(cpu.acknowledge(), Some((sgi, priority)));
            cpu.end(sgi);
        });
    }
    assert_eq!(loaded(&gic, &mut cpu), (vec![0, 0], 1 | TDIR));
}

/// A guest that nests interrupts, each more urgent than the one before, and has one list register:
/// it ends the most urgent one first, whichever number it has.
#[test]
fn the_most_urgent_active_interrupt_is_ended_first() {
    for intids in [[40, 41, 42], [42, 41, 40], [25, 40, 26], [40, 25, 41], [26, 25, 41]] {
        let storage = Storage::new();
        let gic = gic(&storage);
        let mut cpu = Cpu::new(vtr(1));
        let set = |intid: u32, priority, is_up| {
            let bank = if intid < 32 { Bank::Private(0) } else { Bank::Shared };
            let _ = gic.set_priority(bank, intid, priority);
            let _ = match SpiIntid::new(intid) {
                Some(spi) => gic.set_spi(spi, is_up),
                None => gic.set_ppi(0, PpiIntid::new(intid).unwrap(), is_up),
            };
        };
        for (intid, priority) in intids.into_iter().zip([0x60, 0x40, 0x20]) {
            set(intid, priority, true);
            run(&gic, &mut cpu, |cpu| assert_eq!(cpu.acknowledge(), Some((intid, priority))));
            set(intid, 0x80, false);
        }
        let most_urgent = ACTIVE | GROUP1 | EOI | 0x20 << 48 | u64::from(intids[2]);
        assert_eq!(loaded(&gic, &mut cpu).0, [most_urgent], "{intids:?}");
        // One that is pending has the list register, and the guest masks it.
        set(39, 0x10, true);
        for intid in intids.into_iter().rev() {
            let ended = run(&gic, &mut cpu, |cpu| cpu.end(intid));
            assert_eq!(ended, [intid], "{intids:?}");
        }
    }
}

/// An active interrupt keeps the priority with which it became active: that of the write for one
/// that a register made active, also if the same write is made again.
#[test]
fn what_a_register_activates_in_a_list_register_has_the_priority_of_that_time() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    let spi = SpiIntid::new(40).unwrap();
    let _ = gic.set_priority(Bank::Shared, 40, 0x60);
    let _ = gic.set_spi(spi, true);
    let activate = |priority| {
        let _ = gic.set_priority(Bank::Shared, 40, priority);
        let _ = gic.set_bits(Bank::Shared, 1, Field::Active, 1 << 8, true);
    };
    let active = ACTIVE | GROUP1 | EOI | 0x60 << 48 | 40;
    run(&gic, &mut cpu, |_| activate(0x60));
    assert_eq!(loaded(&gic, &mut cpu).0, [active, 0, 0, 0]);
    run(&gic, &mut cpu, |_| activate(0x20));
    assert_eq!(loaded(&gic, &mut cpu).0, [active, 0, 0, 0]);
    activate(0x20);
    assert_eq!(loaded(&gic, &mut cpu).0, [active, 0, 0, 0]);
    // One that is neither pending nor in a list register.
    let _ = gic.set_bits(Bank::Shared, 1, Field::Active, 1 << 8, false);
    activate(0x20);
    let _ = gic.set_priority(Bank::Shared, 40, 0x60);
    assert_eq!(loaded(&gic, &mut cpu).0, [ACTIVE | GROUP1 | EOI | 0x20 << 48 | 40, 0, 0, 0]);
}
