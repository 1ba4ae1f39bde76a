//! A REC's state is loaded completely, saved completely, and not mixed with another guest's.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use proptest::prelude::*;
use vgic_realm::state::HCR_CONTROLS;
use vgic_realm::{InterfaceState, Intid, Saved, State, VirtualInterface, Vtr};

/// The registers of a CPU that implements `vtr`; others must not be accessed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Registers {
    vtr: Vtr,
    lists: [u64; 16],
    ap0r: [u64; 4],
    ap1r: [u64; 4],
    hcr: u64,
    vmcr: u64,
    misr: u64,
    /// Writes of `ICH_HCR_EL2`, and whether other registers were written while the interface was
    /// on.
    hcr_writes: Vec<u64>,
    written_while_on: bool,
}

impl Registers {
    /// Registers with the values that another guest left.
    fn dirty(vtr: Vtr) -> Self {
        Self {
            vtr,
            lists: [1 << 62 | 99; 16],
            ap0r: [0xdead; 4],
            ap1r: [0xbeef; 4],
            hcr: 1 | 0xfe,
            vmcr: 0xff00_0003,
            misr: 0xff,
            hcr_writes: Vec::new(),
            written_while_on: false,
        }
    }
}

impl VirtualInterface for Registers {
    fn vtr(&self) -> Vtr {
        self.vtr
    }
    fn list_register(&self, n: usize) -> u64 {
        assert!(n < self.vtr.list_registers());
        self.lists[n]
    }
    fn set_list_register(&mut self, n: usize, value: u64) {
        assert!(n < self.vtr.list_registers());
        self.lists[n] = value;
        self.written_while_on |= self.hcr & 1 != 0;
    }
    fn hcr(&self) -> u64 {
        self.hcr
    }
    fn set_hcr(&mut self, value: u64) {
        self.hcr = value;
        self.hcr_writes.push(value);
    }
    fn vmcr(&self) -> u64 {
        self.vmcr
    }
    fn set_vmcr(&mut self, value: u64) {
        self.vmcr = value;
        self.written_while_on |= self.hcr & 1 != 0;
    }
    fn ap0r(&self, n: usize) -> u64 {
        assert!(n < self.vtr.active_priority_registers());
        self.ap0r[n]
    }
    fn set_ap0r(&mut self, n: usize, value: u64) {
        assert!(n < self.vtr.active_priority_registers());
        self.ap0r[n] = value;
        self.written_while_on |= self.hcr & 1 != 0;
    }
    fn ap1r(&self, n: usize) -> u64 {
        assert!(n < self.vtr.active_priority_registers());
        self.ap1r[n]
    }
    fn set_ap1r(&mut self, n: usize, value: u64) {
        assert!(n < self.vtr.active_priority_registers());
        self.ap1r[n] = value;
        self.written_while_on |= self.hcr & 1 != 0;
    }
    fn misr(&self) -> u64 {
        self.misr
    }
}

/// `ICH_VTR_EL2` of a CPU with the given numbers of list registers, preemption bits and priority
/// bits.
fn vtr(list_registers: u64, bits: u64) -> Vtr {
    Vtr::from_raw((bits - 1) << 29 | (bits - 1) << 26 | (list_registers - 1))
}

#[test]
fn how_much_there_is_comes_from_the_type_register() {
    for (bits, registers) in [(5, 1), (6, 2), (7, 4)] {
        let vtr = vtr(4, bits);
        assert_eq!((vtr.list_registers(), vtr.active_priority_registers()), (4, registers));
        assert_eq!(
            (u64::from(vtr.priority_bits()), u64::from(vtr.preemption_bits())),
            (bits, bits)
        );
        assert!(!vtr.traps_dir());
    }
    // QEMU's `virt` machine.
    let qemu = Vtr::from_raw(0x9038_0003);
    assert_eq!((qemu.list_registers(), qemu.active_priority_registers()), (4, 1));
    assert!(qemu.traps_dir());
    let all = Vtr::from_raw(u64::MAX);
    assert_eq!((all.list_registers(), all.active_priority_registers()), (16, 4));
    assert_eq!(Vtr::from_raw(0).list_registers(), 1);
    assert_eq!(all.raw(), u64::MAX);
    // RMI 1.0: PRIbits and PREbits are 4, TDS is 1; the number of list registers has four bits.
    assert_eq!(Vtr::of_run_page(0x3).raw(), 0x9008_0003);
    assert_eq!(Vtr::of_run_page(0xff).raw(), 0x9008_000f);
}

#[test]
fn a_fresh_rec_starts_from_reset_values() {
    for (lists, bits) in [(1, 5), (4, 5), (16, 6), (16, 7)] {
        let vtr = vtr(lists, bits);
        let mut cpu = Registers::dirty(vtr);
        let state = InterfaceState::new(vtr);
        state.load(&mut cpu);
        let clean = Registers { hcr_writes: vec![0, 1], ..cpu.clone() };
        assert_eq!(cpu, clean, "off first, on last");
        assert!(!cpu.written_while_on);
        assert_eq!((cpu.hcr, cpu.vmcr), (1, 0));
        for n in 0..16 {
            let other = if n < vtr.list_registers() { 0 } else { 1 << 62 | 99 };
            assert_eq!(cpu.lists[n], other);
        }
        for n in 0..4 {
            let is_there = n < vtr.active_priority_registers();
            let expected = if is_there { (0, 0) } else { (0xdead, 0xbeef) };
            assert_eq!((cpu.ap0r[n], cpu.ap1r[n]), expected);
        }
    }
}

#[test]
fn all_that_a_rec_left_is_there_at_its_next_entry() {
    let vtr = vtr(4, 7);
    let mut cpu = Registers::dirty(vtr);
    let mut first = InterfaceState::new(vtr);
    let mut second = InterfaceState::new(vtr);
    first.list_registers_mut().set_pending(Intid::VIRTUAL_TIMER, 0x80).unwrap();
    first.load(&mut cpu);
    // The Realm sets its mask and takes the interrupt; the RMM turns the interface off.
    cpu.vmcr = 0xf04c_000a;
    cpu.lists[0] ^= 0b11 << 62;
    (cpu.ap0r, cpu.ap1r) = ([1, 2, 3, 4], [5, 6, 7, 8]);
    cpu.misr = 0x20;
    cpu.hcr &= !1;
    assert_eq!(first.save(&mut cpu), Saved::Used);
    assert_eq!((first.priority_mask(), first.vmcr(), first.misr()), (0xf0, 0xf04c_000a, 0x20));
    assert_eq!((first.ap0r(3), first.ap1r(0), first.ap1r(4)), (4, 5, 0));
    assert_eq!(cpu.hcr, 0);

    second.load(&mut cpu);
    assert_eq!((cpu.vmcr, cpu.ap0r, cpu.ap1r), (0, [0; 4], [0; 4]));
    assert_eq!(cpu.lists[..4], [0; 4]);
    cpu.hcr &= !1;
    assert_eq!(second.save(&mut cpu), Saved::Used);

    first.load(&mut cpu);
    assert_eq!((cpu.vmcr, cpu.ap0r, cpu.ap1r), (0xf04c_000a, [1, 2, 3, 4], [5, 6, 7, 8]));
    let timer = first.list_registers().get(Intid::VIRTUAL_TIMER).unwrap();
    assert_eq!((timer.state(), timer.raw()), (State::Active, cpu.lists[0]));
}

#[test]
fn registers_that_were_not_used_are_reported() {
    let mut cpu = Registers::dirty(vtr(4, 5));
    let mut state = InterfaceState::new(cpu.vtr);
    state.list_registers_mut().set_pending(Intid::PMU, 0).unwrap();
    let before = state;
    state.load(&mut cpu);
    assert_eq!(state.save(&mut cpu), Saved::Unused);
    assert_eq!((state.list_registers(), cpu.hcr), (before.list_registers(), 0));
}

#[test]
fn controls_stay_the_hosts_and_the_eoi_count_is_taken_once() {
    let mut cpu = Registers::dirty(vtr(4, 5));
    let mut state = InterfaceState::new(cpu.vtr);
    state.set_controls(u64::MAX);
    assert_eq!((state.controls(), HCR_CONTROLS), (0x40fe, 0x40fe));
    state.set_controls(1 << 1 | 1 << 14);
    state.load(&mut cpu);
    assert_eq!(cpu.hcr, 1 | 1 << 1 | 1 << 14);
    cpu.hcr = 3 << 27 | 1 << 14;
    assert_eq!(state.save(&mut cpu), Saved::Used);
    assert_eq!(state.controls(), 1 << 1 | 1 << 14);
    state.load(&mut cpu);
    assert_eq!(cpu.hcr, 3 << 27 | 1 | 1 << 1 | 1 << 14, "it counts on");
    cpu.hcr = 4 << 27;
    assert_eq!(state.save(&mut cpu), Saved::Used);
    assert_eq!((state.take_eoi_count(), state.take_eoi_count()), (4, 0));
    state.load(&mut cpu);
    assert_eq!(cpu.hcr >> 27, 0);
}

#[test]
fn powering_on_resets_all_but_the_hosts_controls() {
    let mut cpu = Registers::dirty(vtr(4, 5));
    let mut state = InterfaceState::new(cpu.vtr);
    state.set_controls(1 << 3);
    let fresh = state;
    cpu.hcr = 7 << 27;
    assert_eq!(state.save(&mut cpu), Saved::Used);
    assert_ne!(state, fresh);
    state.reset();
    assert_eq!(state, fresh);
}

#[test]
fn a_smaller_cpu_loses_nothing() {
    let mut state = InterfaceState::new(vtr(16, 7));
    let mut large = Registers::dirty(state.vtr());
    large.lists = core::array::from_fn(|n| 1 << 62 | n as u64);
    large.hcr = 0;
    (large.ap0r, large.ap1r) = ([1, 2, 3, 4], [5, 6, 7, 8]);
    assert_eq!(state.save(&mut large), Saved::Used);
    let before = state;
    let mut small = Registers::dirty(vtr(2, 5));
    state.load(&mut small);
    assert_eq!((small.lists[0], small.lists[1]), (1 << 62, 1 << 62 | 1));
    small.lists[1] = 0;
    small.hcr = 0;
    assert_eq!(state.save(&mut small), Saved::Used);
    assert_eq!(state.list_registers().get(Intid::new(1).unwrap()), None);
    for n in [0, 2, 15] {
        let intid = Intid::new(n).unwrap();
        assert_eq!(state.list_registers().get(intid), before.list_registers().get(intid));
    }
    assert_eq!((state.ap0r(3), state.ap1r(3)), (4, 8));
}

proptest! {
    /// Whatever a Realm leaves in the registers is restored when its REC is loaded, and those of
    /// its list registers that were accepted can be loaded.
    #[test]
    fn saved_is_what_is_loaded(
        lists: [u64; 16],
        active: ([u64; 4], [u64; 4]),
        vmcr: u64,
        hcr: u64,
        bits in 5..8_u64,
        count in 1..17_u64,
    ) {
        let mut cpu = Registers::dirty(vtr(count, bits));
        (cpu.lists, cpu.ap0r, cpu.ap1r) = (lists, active.0, active.1);
        (cpu.vmcr, cpu.hcr) = (vmcr, hcr);
        let mut state = InterfaceState::new(cpu.vtr);
        let saved = state.save(&mut cpu);
        prop_assert_eq!(saved == Saved::Used, hcr & 1 == 0);
        let mut other = Registers::dirty(cpu.vtr);
        state.load(&mut other);
        prop_assert_eq!((other.vmcr, other.hcr), (vmcr, hcr & 0x1f << 27 | 1));
        let registers = cpu.vtr.active_priority_registers();
        prop_assert_eq!(&other.ap0r[..registers], &active.0[..registers]);
        prop_assert_eq!(&other.ap1r[..registers], &active.1[..registers]);
        let registers = lists.iter().zip(other.lists).take(cpu.vtr.list_registers());
        for (left, loaded) in registers {
            prop_assert!(loaded == 0 || loaded == *left);
            prop_assert_eq!(loaded & 1 << 61, 0);
        }
    }
}
