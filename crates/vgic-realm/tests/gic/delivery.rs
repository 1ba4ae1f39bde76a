//! Interrupts from their sources to a REC and back.

use vgic_realm::{
    Affinity, Bank, Field, Gic, GicConfig, GicStorage, Kicks, PpiIntid, Route, Saved, SgiRegister,
    SgiRequest, SpiIntid, Vtr,
};

use crate::cpu::Cpu;

/// `ICH_VTR_EL2` of a CPU with these many list registers, 5 bits of priority, and TDIR.
pub(crate) fn vtr(list_registers: u64) -> Vtr {
    Vtr::from_raw(4 << 29 | 4 << 26 | 1 << 19 | (list_registers - 1))
}

/// A guest that unmasked all priorities and enabled both groups.
const OPEN: u64 = 0xff << 24 | 0b11;

type Storage = GicStorage<4, 64>;

/// A GIC of four RECs with the affinities 0.0.0.0 to 0.0.0.3, both groups enabled, and all
/// interrupts enabled with priority 0x80.
pub(crate) fn gic(storage: &Storage) -> Gic<'_> {
    let affinities = [0, 1, 2, 3].map(Affinity::from_mpidr);
    let config = GicConfig { affinities: &affinities, spis: 64, vtr: vtr(4) };
    let gic = Gic::new(storage, &config).unwrap();
    let mut kicks = gic.set_group_enables(true, true);
    for bank in [0, 1, 2, 3].map(Bank::Private).into_iter().chain([Bank::Shared]) {
        for word in 0..3 {
            kicks.add_all(gic.set_bits(bank, word, Field::Enabled, u32::MAX, true));
        }
        for intid in 0..96 {
            kicks.add_all(gic.set_priority(bank, intid, 0x80));
        }
    }
    assert!(kicks.is_empty());
    gic
}

/// Loads, lets the guest do something, and saves.
pub(crate) fn run<R>(
    gic: &Gic<'_>,
    rec: usize,
    cpu: &mut Cpu,
    guest: impl FnOnce(&mut Cpu) -> R,
) -> (R, Vec<usize>) {
    gic.load(rec, cpu);
    cpu.vmcr = OPEN;
    let result = guest(cpu);
    cpu.exit();
    let report = gic.save(rec, cpu);
    assert_eq!(report.saved, Saved::Used);
    (result, report.kicks.iter().collect())
}

fn spi(n: u32) -> SpiIntid {
    SpiIntid::new(n).unwrap()
}

fn list(kicks: &Kicks) -> Vec<usize> {
    kicks.iter().collect()
}

#[test]
fn a_level_spi_is_taken_and_comes_back_while_its_line_is_up() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    assert!(gic.set_spi(spi(40), true).is_empty(), "the REC neither runs nor waits");
    let (taken, kicks) = run(&gic, 0, &mut cpu, |cpu| {
        assert_eq!(cpu.lists[..2], [1 << 62 | 1 << 60 | 0x80 << 48 | 1 << 41 | 40, 0]);
        let taken = cpu.acknowledge();
        cpu.end(40);
        taken
    });
    assert_eq!((taken, kicks), (Some((40, 0x80)), vec![]));
    assert_eq!(gic.bits(Bank::Shared, 1, Field::Pending), 1 << 8, "the line is still up");
    let kicks = gic.set_spi(spi(40), false);
    assert!(kicks.is_empty());
    assert_eq!(run(&gic, 0, &mut cpu, Cpu::acknowledge).0, None);
}

#[test]
fn a_running_or_waiting_rec_is_kicked() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    run(&gic, 2, &mut cpu, |_| ());
    assert!(gic.set_route(spi(33), Route::Specific(Affinity::from_mpidr(2))).is_empty());
    assert!(!gic.has_pending(2), "it waits from here on");
    assert_eq!(list(&gic.set_spi(spi(33), true)), [2]);
    assert!(gic.has_pending(2));
    gic.load(2, &mut cpu);
    assert_eq!(list(&gic.set_ppi(2, PpiIntid::VIRTUAL_TIMER, true)), [2]);
    assert_eq!(list(&gic.set_spi(spi(33), false)), [2], "it has to be recalled");
    cpu.exit();
    let report = gic.save(2, &mut cpu);
    assert!(report.kicks.is_empty());
    let (taken, _) = run(&gic, 2, &mut cpu, |cpu| (cpu.acknowledge(), cpu.acknowledge()));
    assert_eq!(taken, (Some((27, 0x80)), None));
}

#[test]
fn an_sgi_is_pending_once_at_each_target() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    gic.load(1, &mut cpu);
    let all_but_sender = SgiRequest::from_raw(1 << 40 | 5 << 24);
    let send = || gic.send_sgi(0, SgiRegister::Group1, all_but_sender);
    assert_eq!(list(&send()), [1]);
    assert!(send().is_empty(), "nothing changed");
    cpu.exit();
    let _ = gic.save(1, &mut cpu);
    for rec in 0..4 {
        let taken = run(&gic, rec, &mut cpu, |cpu| {
            let taken = cpu.acknowledge();
            cpu.end(5);
            (taken, cpu.acknowledge())
        });
        let expected = (rec != 0).then_some((5, 0x80));
        assert_eq!(taken.0, (expected, None), "{rec}");
    }
}

#[test]
fn with_separate_deactivation_an_interrupt_stays_active_until_dir() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    let _ = gic.set_spi(spi(40), true);
    gic.load(0, &mut cpu);
    cpu.vmcr = OPEN | 1 << 9;
    assert_eq!(cpu.acknowledge(), Some((40, 0x80)));
    cpu.end(40);
    assert!(cpu.dir_traps(40));
    cpu.exit();
    let _ = gic.save(0, &mut cpu);
    assert!(gic.set_spi(spi(40), false).is_empty());
    assert_eq!(gic.bits(Bank::Shared, 1, Field::Active), 1 << 8);
    // Any REC deactivates an SPI.
    gic.load(1, &mut cpu);
    cpu.vmcr = OPEN | 1 << 9;
    cpu.exit();
    let _ = gic.save(1, &mut cpu);
    assert!(gic.deactivate(1, 40).is_empty());
    assert_eq!(gic.bits(Bank::Shared, 1, Field::Active), 0);
    gic.load(0, &mut cpu);
    assert!(!cpu.is_signalled());
}
