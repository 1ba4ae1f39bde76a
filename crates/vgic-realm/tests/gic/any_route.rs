//! SPIs for any REC: to whom they are offered, and when to another.

use vgic_realm::{Affinity, Bank, Field, Gic, GicStorage, Kicks, PpiIntid, Route, SpiIntid, Vtr};
use vgic_realm::{GicConfig, RunPage, Saved};

use crate::cpu::Cpu;
use crate::delivery::{gic, vtr};

/// `ICH_HCR_EL2`: En and TDIR, and the maintenance interrupts when a group is enabled.
const ON: u64 = 1 | 1 << 14;
const GRP0_EIE: u64 = 1 << 4;
const GRP1_EIE: u64 = 1 << 6;
/// A pending, level-sensitive SPI of group 1.
const PENDING: u64 = 1 << 62 | 1 << 60 | 1 << 41;

type Storage = GicStorage<4, 64>;

fn spi(n: u32) -> SpiIntid {
    SpiIntid::new(n).unwrap()
}

fn list(kicks: Kicks) -> Vec<usize> {
    kicks.iter().collect()
}

/// A run after which a REC masks priorities from `mask` on and enables the groups.
fn run(gic: &Gic<'_>, rec: usize, mask: u64, groups: u64) -> Vec<usize> {
    let mut cpu = Cpu::new(vtr(4));
    gic.load(rec, &mut cpu);
    cpu.vmcr = mask << 24 | groups;
    cpu.exit();
    list(gic.save(rec, &mut cpu).kicks)
}

/// The same, and the REC waits.
fn sleep(gic: &Gic<'_>, rec: usize, mask: u64, groups: u64) -> Vec<usize> {
    let kicks = run(gic, rec, mask, groups);
    assert!(!gic.has_pending(rec));
    kicks
}

/// The first list register and the controls with which a REC is loaded; it does not run.
fn loaded(gic: &Gic<'_>, rec: usize) -> (u64, u64) {
    let mut cpu = Cpu::new(vtr(4));
    gic.load(rec, &mut cpu);
    let result = (cpu.lists[0], cpu.hcr);
    assert_eq!(gic.save(rec, &mut cpu).saved, Saved::Unused);
    result
}

#[test]
fn a_rec_that_slept_and_is_not_run_is_chosen_no_more() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    let _ = gic.set_route(spi(40), Route::Any);
    sleep(&gic, 0, 0xff, 0b11);
    run(&gic, 1, 0xff, 0b11);
    gic.load(1, &mut cpu);
    assert_eq!(list(gic.leave(0)), [], "nothing is pending");
    assert_eq!(list(gic.set_spi(spi(40), true)), [1], "REC 0 does not wait any more");
    let _ = gic.set_spi(spi(40), false);
    // Chosen before it leaves.
    assert!(!gic.has_pending(0));
    assert_eq!(list(gic.set_spi(spi(40), true)), [0]);
    assert_eq!(list(gic.leave(0)), [1]);
    assert_eq!(list(gic.leave(0)), [1], "still pending, and offered to whoever runs");
    assert_eq!(list(gic.leave(9)), []);
    // One that is loaded stays so.
    assert_eq!(list(gic.leave(1)), [1]);
    assert_eq!(list(gic.set_ppi(1, PpiIntid::PMU, true)), [1]);
}

#[test]
fn a_rec_that_was_chosen_and_leaves_hands_it_on() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    let _ = gic.set_route(spi(40), Route::Any);
    sleep(&gic, 1, 0xff, 0b11);
    run(&gic, 0, 0xff, 0b11);
    gic.load(0, &mut cpu);
    assert_eq!(list(gic.set_spi(spi(40), true)), [0]);
    cpu.exit();
    assert_eq!(list(gic.save(0, &mut cpu).kicks), [], "it may be entered at once");
    assert_eq!(list(gic.leave(0)), [1]);
    assert_eq!(loaded(&gic, 1).0, PENDING | 0x80 << 48 | 40);
}

#[test]
fn a_group_that_a_rec_enables_is_awaited_for_an_spi_for_any() {
    let storage = Storage::new();
    let gic = gic(&storage);
    for n in [40, 41] {
        let _ = gic.set_route(spi(n), Route::Any);
    }
    run(&gic, 0, 0xff, 0b01);
    assert_eq!(loaded(&gic, 0), (0, ON), "nothing is pending");
    let _ = gic.set_spi(spi(40), true);
    assert_eq!(loaded(&gic, 0), (0, ON | GRP1_EIE));
    // Group 0 is enabled: that of SPI 41 does not matter.
    let _ = gic.set_bits(Bank::Shared, 1, Field::Group1, 1 << 9, false);
    let _ = gic.set_spi(spi(41), true);
    let group0 = 1 << 62 | 1 << 41 | 0x80 << 48 | 41;
    assert_eq!(loaded(&gic, 0), (group0, ON | GRP1_EIE));
    run(&gic, 0, 0xff, 0b10);
    assert_eq!(loaded(&gic, 0), (PENDING | 0x80 << 48 | 40, ON | GRP0_EIE));
    run(&gic, 0, 0xff, 0b11);
    assert_eq!(loaded(&gic, 0), (PENDING | 0x80 << 48 | 40, ON));
    // Next to some of its own that do not fit.
    run(&gic, 0, 0xff, 0b00);
    let own = Bank::Private(0);
    let _ = gic.set_bits(own, 0, Field::Pending, 0x1f << 16, true);
    assert_eq!(loaded(&gic, 0).1, ON | GRP0_EIE | GRP1_EIE);
    let _ = gic.set_bits(own, 0, Field::Pending, 0x1f << 16, false);
    // Not what is not forwarded, or goes to another REC.
    assert_eq!(loaded(&gic, 0), (0, ON | GRP0_EIE | GRP1_EIE));
    let _ = gic.set_group_enables(false, false);
    assert_eq!(loaded(&gic, 0), (0, ON));
    let _ = gic.set_group_enables(true, true);
    for n in [40, 41] {
        let _ = gic.set_route(spi(n), Route::Specific(Affinity::from_mpidr(1)));
    }
    assert_eq!(loaded(&gic, 0), (0, ON));
    let _ = gic.set_asleep(0, true);
    let _ = gic.set_route(spi(40), Route::Any);
    assert_eq!(loaded(&gic, 0), (0, ON));
}

#[test]
fn as_many_recs_are_kicked_as_spis_for_any_are_pending() {
    let storage = Storage::new();
    let gic = gic(&storage);
    for n in [40, 41, 42] {
        let _ = gic.set_route(spi(n), Route::Any);
    }
    for rec in [1, 2, 3] {
        sleep(&gic, rec, 0xff, 0b10);
    }
    run(&gic, 0, 0xff, 0b10);
    // From the INTID modulo the number of RECs on.
    let _ = gic.set_spi(spi(42), true);
    assert_eq!(list(gic.leave(0)), [2]);
    let _ = gic.set_spi(spi(41), true);
    assert_eq!(list(gic.leave(0)), [1, 2]);
    let _ = gic.set_spi(spi(40), true);
    assert_eq!(list(gic.leave(0)), [1, 2, 3]);
    assert_eq!(list(gic.leave(3)), [1, 2], "no more are left");
    let _ = gic.set_bits(Bank::Shared, 1, Field::Enabled, 0b11 << 9, false);
    assert_eq!(list(gic.leave(0)), [1]);
    // No REC that waits takes group 0.
    let _ = gic.set_bits(Bank::Shared, 1, Field::Group1, 1 << 8, false);
    assert_eq!(list(gic.leave(0)), []);
    // When the distributor forwards it again, a REC that waits for it is kicked.
    sleep(&gic, 2, 0xff, 0b10);
    let _ = gic.set_group_enables(false, false);
    sleep(&gic, 2, 0xff, 0b11);
    sleep(&gic, 3, 0xff, 0b11);
    let _ = gic.set_spi(spi(50), true);
    let _ = gic.set_route(spi(50), Route::Specific(Affinity::from_mpidr(1)));
    assert_eq!(list(gic.set_group_enables(true, false)), [2]);
    assert_eq!(list(gic.set_group_enables(false, true)), [1], "its route");
}

#[test]
fn the_rec_that_masks_least_is_kicked_and_others_as_far_as_they_take_it() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    for (n, priority) in [(40, 0x40), (41, 0x80), (42, 0x80)] {
        let _ = gic.set_route(spi(n), Route::Any);
        let _ = gic.set_priority(Bank::Shared, n, priority);
    }
    sleep(&gic, 1, 0x41, 0b10);
    sleep(&gic, 2, 0x81, 0b10);
    sleep(&gic, 3, 0x40, 0b10);
    run(&gic, 0, 0x10, 0b10);
    let _ = gic.set_spi(spi(40), true);
    assert_eq!(list(gic.leave(0)), [2]);
    let _ = gic.set_spi(spi(41), true);
    assert_eq!(list(gic.leave(0)), [1, 2], "REC 3 masks both");
    // A REC that runs may have changed its mask: it is asked if one is left that nobody takes.
    gic.load(0, &mut cpu);
    assert_eq!(cpu.lists[..2], [PENDING | 0x40 << 48 | 40, PENDING | 0x80 << 48 | 41]);
    assert_eq!(list(gic.set_spi(spi(42), true)), [2]);
    assert_eq!(list(gic.leave(3)), [2]);
    assert_eq!(list(gic.leave(2)), [0]);
    cpu.exit();
    let _ = gic.save(0, &mut cpu);
    assert_eq!(list(gic.leave(3)), [1]);
    // Exactly at the mask.
    let _ = gic.set_priority(Bank::Shared, 40, 0x48);
    assert_eq!(list(gic.leave(3)), []);
}

#[test]
fn a_rec_that_masks_the_most_urgent_of_them_is_not_kicked() {
    for (mask, kicked) in [(0x80, None), (0x88, Some(1))] {
        let storage = Storage::new();
        let gic = gic(&storage);
        let _ = gic.set_route(spi(40), Route::Any);
        sleep(&gic, 1, mask, 0b11);
        run(&gic, 0, 0xff, 0b11);
        assert!(!gic.has_pending(0));
        assert_eq!(list(gic.set_spi(spi(40), true)), [0]);
        assert_eq!(list(gic.leave(0)), Vec::from_iter(kicked), "{mask:#x}");
    }
}

#[test]
fn one_that_a_rec_had_and_masks_goes_to_another_too() {
    // Where SPI 40 goes, its priority, and who is kicked after REC 0 had it.
    let own = Route::Specific(Affinity::from_mpidr(0));
    for (route, priority, kicked) in
        [(Route::Any, 0x80, Some(1)), (Route::Any, 0x78, None), (own, 0x80, None)]
    {
        let storage = Storage::new();
        let gic = gic(&storage);
        let _ = gic.set_route(spi(40), route);
        let _ = gic.set_priority(Bank::Shared, 40, priority);
        sleep(&gic, 1, 0xff, 0b11);
        run(&gic, 0, 0x80, 0b11);
        let _ = gic.set_spi(spi(40), true);
        assert_eq!(loaded(&gic, 0).0, PENDING | u64::from(priority) << 48 | 40);
        assert_eq!(run(&gic, 0, 0x80, 0b11), Vec::from_iter(kicked), "{route:?} {priority:#x}");
    }
}

#[test]
fn group_enables_wake_a_rec_only_for_what_it_is_signalled() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let _ = gic.set_ppi(0, PpiIntid::PMU, true);
    // It is forwarded, and the REC masks it.
    sleep(&gic, 0, 0x80, 0b11);
    assert_eq!(list(gic.set_group_enables(false, true)), []);
    // It is signalled, but not forwarded.
    let _ = gic.set_group_enables(true, false);
    sleep(&gic, 0, 0xff, 0b11);
    assert_eq!(list(gic.set_group_enables(false, false)), []);
    assert_eq!(list(gic.set_group_enables(false, true)), [0]);
}

#[test]
fn a_rec_that_falls_asleep_hands_on_what_is_pending_and_one_that_wakes_does_not() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let _ = gic.set_route(spi(40), Route::Any);
    run(&gic, 0, 0xff, 0b11);
    sleep(&gic, 1, 0xff, 0b11);
    let _ = gic.set_spi(spi(40), true);
    // It is between two runs.
    assert_eq!(list(gic.set_asleep(0, true)), [1]);
    assert_eq!(list(gic.set_asleep(0, false)), []);
}

#[test]
fn an_active_interrupt_keeps_less_urgent_ones_from_ending_a_wait() {
    let storage = Storage::new();
    let gic = gic(&storage);
    let mut cpu = Cpu::new(vtr(4));
    let timer = PpiIntid::VIRTUAL_TIMER;
    for (ppi, priority) in [(27, 0x40), (23, 0x40), (30, 0x38)] {
        let _ = gic.set_priority(Bank::Private(0), ppi, priority);
    }
    let _ = gic.set_ppi(0, timer, true);
    run(&gic, 0, 0xff, 0b11);
    gic.load(0, &mut cpu);
    assert_eq!(cpu.acknowledge(), Some((27, 0x40)));
    cpu.exit();
    let _ = gic.save(0, &mut cpu);
    // WFI in its handler.
    let _ = gic.set_ppi(0, PpiIntid::PMU, true);
    let _ = gic.set_spi(spi(40), true);
    assert!(!gic.has_pending(0), "of the same priority, and less urgent");
    assert_eq!(list(gic.set_spi(spi(41), true)), []);
    assert_eq!(list(gic.set_ppi(0, PpiIntid::PHYSICAL_TIMER, true)), [0]);
    assert!(gic.has_pending(0));
    let _ = gic.set_ppi(0, PpiIntid::PHYSICAL_TIMER, false);
    assert!(!gic.has_pending(0));
    // After the priority drop.
    let _ = gic.set_ppi(0, timer, false);
    gic.load(0, &mut cpu);
    cpu.end(27);
    cpu.exit();
    let _ = gic.save(0, &mut cpu);
    assert!(gic.has_pending(0));
}

#[test]
fn in_the_run_page_active_priorities_are_not_known() {
    let storage = Storage::new();
    let affinities = [Affinity::default()];
    let config = GicConfig { affinities: &affinities, spis: 32, vtr: Vtr::of_run_page(3) };
    let gic = Gic::new(&storage, &config).unwrap();
    let _ = gic.set_group_enables(true, true);
    let _ = gic.set_bits(Bank::Private(0), 0, Field::Enabled, u32::MAX, true);
    let _ = gic.set_priority(Bank::Private(0), 23, 0x80);
    let _ = gic.set_ppi(0, PpiIntid::VIRTUAL_TIMER, true);
    let mut page = RunPage::new(Vtr::of_run_page(3));
    gic.load(0, &mut page);
    let (hcr, mut lists) = page.enter();
    lists[0] ^= 0b11 << 62;
    page.exit(hcr, lists, 0, 0xf800_0002);
    assert_eq!(gic.save(0, &mut page).saved, Saved::Used);
    assert!(!gic.has_pending(0));
    assert_eq!(list(gic.set_ppi(0, PpiIntid::PMU, true)), [0]);
    assert!(gic.has_pending(0));
}
