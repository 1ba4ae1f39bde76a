//! The host is told which level-sensitive interrupts ended, also of those that are deactivated by
//! other means than their end in a run.

use vgic_realm::{Bank, EndedInterrupts, Field, Gic, GicStorage, Intid, PpiIntid, Route, SpiIntid};

use crate::cpu::Cpu;
use crate::delivery::{gic, vtr};

/// `ICH_VMCR_EL2`: nothing masked, both groups enabled, EOImode 1.
const SPLIT: u64 = 0xff << 24 | 1 << 9 | 0b11;
/// `ICC_DIR_EL1`
const DIR: (u8, u8, u8, u8, u8) = (3, 0, 12, 11, 1);
/// An SPI and a PPI.
const SPI: u32 = 40;
const PPI: u32 = 27;

type Storage = GicStorage<4, 64>;

fn numbers(ended: &EndedInterrupts) -> Vec<u32> {
    ended.iter().map(Intid::number).collect()
}

/// What was deactivated, of a REC and of all SPIs.
fn taken(gic: &Gic<'_>, rec: usize) -> Vec<u32> {
    gic.take_ended(rec).as_ref().map(numbers).unwrap_or_default()
}

/// A run of a REC, and what the host is told to have ended in it.
fn run(gic: &Gic<'_>, rec: usize, cpu: &mut Cpu, guest: impl FnOnce(&mut Cpu)) -> Vec<u32> {
    gic.load(rec, cpu);
    cpu.vmcr = SPLIT;
    guest(cpu);
    cpu.exit();
    numbers(&gic.save(rec, cpu).ended)
}

/// The REC takes this interrupt, and drops its priority.
fn take(gic: &Gic<'_>, rec: usize, cpu: &mut Cpu, intid: u32) {
    let ended = run(gic, rec, cpu, |cpu| {
        assert_eq!(cpu.acknowledge().map(|(intid, _)| intid), Some(intid));
        cpu.end(intid);
    });
    assert_eq!(ended, [], "{intid}");
}

fn set_line(gic: &Gic<'_>, intid: u32, is_up: bool) {
    let _ = match (SpiIntid::new(intid), PpiIntid::new(intid)) {
        (Some(spi), _) => gic.set_spi(spi, is_up),
        (_, ppi) => gic.set_ppi(0, ppi.unwrap(), is_up),
    };
}

/// A device that lowers its line when it is asked to is asked before the next entry, so that each
/// of its interrupts is taken once.
#[test]
fn a_deactivation_is_told_before_the_next_entry() {
    for intid in [SPI, PPI] {
        let storage = Storage::new();
        let gic = gic(&storage);
        let mut cpu = Cpu::new(vtr(4));
        for _ in 0..3 {
            set_line(&gic, intid, true);
            take(&gic, 0, &mut cpu, intid);
            assert_eq!(taken(&gic, 0), [], "it is active");
            let _ = gic.write_sysreg(0, DIR, intid.into());
            assert_eq!(taken(&gic, 1), if intid == SPI { vec![intid] } else { vec![] });
            assert_eq!(taken(&gic, 0), if intid == SPI { vec![] } else { vec![intid] });
            set_line(&gic, intid, false);
            let ended = run(&gic, 0, &mut cpu, |cpu| assert_eq!(cpu.acknowledge(), None));
            assert_eq!(ended, [], "told twice");
            // It is not active any more.
            let _ = gic.write_sysreg(0, DIR, intid.into());
            assert_eq!(taken(&gic, 0), []);
        }
        assert_eq!(gic.take_ended(4), None);
    }
}

#[test]
fn writes_of_the_active_state_end_those_that_are_active() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let (private, shared) = (Bank::Private(1), Bank::Shared);
    for (bank, word) in [(private, 0), (shared, 1), (shared, 2)] {
        let _ = gic.set_bits(bank, word, Field::Active, u32::MAX, true);
        let _ = gic.set_bits(bank, word, Field::Pending, u32::MAX, false);
        let _ = gic.set_bits(bank, word, Field::Enabled, u32::MAX, false);
    }
    let _ = gic.set_bits(shared, 2, Field::Level, 0b10, false);
    assert_eq!(gic.take_ended(1), None);
    // GICD_ICACTIVER2 and GICR_ICACTIVER0: of those that are level-sensitive.
    let _ = gic.gicd_write(0x388, 4, 0b0111);
    assert_eq!(taken(&gic, 0), [64, 66]);
    let _ = gic.gicd_write(0x388, 4, 0b1111);
    assert_eq!(taken(&gic, 0), [67]);
    let _ = gic.gicr_write(1, 0x1_0380, 4, 1 << 27 | 1 << 16 | 1 << 15);
    assert_eq!(taken(&gic, 0), []);
    assert_eq!(taken(&gic, 1), [16, 27]);
    // At most 47 at a time; the others are told the next time.
    let _ = gic.gicd_write(0x384, 4, u64::MAX);
    let _ = gic.gicd_write(0x388, 4, u64::MAX);
    let _ = gic.gicr_write(1, 0x1_0380, 4, u64::MAX);
    let expected = (16..32).filter(|intid| ![16, 27].contains(intid)).chain(32..64);
    let expected = expected.chain(68..96);
    assert_eq!(taken(&gic, 1), expected.clone().take(47).collect::<Vec<_>>());
    assert_eq!(taken(&gic, 1), expected.skip(47).collect::<Vec<_>>());
    assert_eq!(taken(&gic, 1), []);
}

/// Who does not ask learns of it after the next run.
#[test]
fn what_is_not_taken_is_in_the_next_report() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    for intid in [SPI, PPI] {
        set_line(&gic, intid, true);
        take(&gic, 0, &mut cpu, intid);
        set_line(&gic, intid, false);
    }
    let _ = (gic.deactivate(0, SPI), gic.deactivate(0, PPI));
    let mut other = Cpu::new(vtr(4));
    assert_eq!(run(&gic, 1, &mut other, |_| ()), [SPI]);
    assert_eq!(run(&gic, 0, &mut cpu, |_| ()), [PPI]);
    assert_eq!(run(&gic, 0, &mut cpu, |_| ()), []);
}

/// Another REC deactivates it meanwhile.
#[test]
fn one_in_a_list_register_ends_with_the_run() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let (mut cpu, mut other) = (Cpu::new(vtr(4)), Cpu::new(vtr(4)));
    run(&gic, 1, &mut other, |_| ());
    let _ = gic.set_route(SpiIntid::new(SPI).unwrap(), Route::Specific(gic.affinity(0).unwrap()));
    set_line(&gic, SPI, true);
    take(&gic, 0, &mut cpu, SPI);
    set_line(&gic, SPI, false);
    let ended = run(&gic, 0, &mut cpu, |_| {
        let kicks = gic.deactivate(1, SPI);
        assert!(kicks.contains(0));
        assert_eq!(gic.take_ended(1), None, "not before it is taken back");
    });
    assert_eq!(ended, [SPI]);
    // Or before an entry after which it was not saved, which therefore did not happen.
    set_line(&gic, SPI, true);
    take(&gic, 0, &mut cpu, SPI);
    set_line(&gic, SPI, false);
    gic.load(0, &mut cpu);
    let _ = gic.deactivate(1, SPI);
    gic.load(0, &mut cpu);
    assert_eq!(taken(&gic, 0), [SPI]);
    cpu.exit();
    assert_eq!(numbers(&gic.save(0, &mut cpu).ended), []);
    // One that is pending there was not taken: it does not end.
    set_line(&gic, SPI, true);
    let ended = run(&gic, 0, &mut cpu, |_| {
        let _ = gic.deactivate(1, SPI);
    });
    assert_eq!(ended, []);
    take(&gic, 0, &mut cpu, SPI);
}

#[test]
fn a_gic_in_used_storage_has_nothing_to_tell() {
    let storage = Storage::new();
    for _ in 0..2 {
        let gic = gic(&storage);
        assert_eq!((gic.take_ended(0), gic.take_ended(3)), (None, None));
        for (bank, word) in [(Bank::Private(3), 0), (Bank::Shared, 1)] {
            let _ = gic.set_bits(bank, word, Field::Active, u32::MAX, true);
            let _ = gic.set_bits(bank, word, Field::Active, u32::MAX, false);
        }
    }
}
