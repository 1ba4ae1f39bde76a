//! A GIC with virtual CPUs and the reference beside it: each operation is done on both, and what
//! can be seen has to be equal.

use vgic_realm::{
    Affinity, Gic, GicConfig, GicStorage, Kicks, PpiIntid, SpiIntid, VirtualInterface,
};

use crate::cpu::{Cpu, Taken};
use crate::reference::{PRIVATE, Reference};

/// Aff3 in the highest byte; two share all but aff0 and are in different ranges of it.
pub(crate) const AFFINITIES: [u32; 3] = [0x0000_0000, 0x0000_0013, 0x0403_0201];
/// INTIDs 32 to 71: not a multiple of 32.
pub(crate) const SPIS: usize = 40;
/// The number of INTIDs.
const INTIDS: u32 = PRIVATE + SPIS as u32;
const PRIORITY_BITS: u32 = 5;
/// `ICC_SGI1R_EL1`, `ICC_ASGI1R_EL1`, `ICC_SGI0R_EL1` and `ICC_DIR_EL1`.
const SGI1R: (u8, u8, u8, u8, u8) = (3, 0, 12, 11, 5);
const ASGI1R: (u8, u8, u8, u8, u8) = (3, 0, 12, 11, 6);
const SGI0R: (u8, u8, u8, u8, u8) = (3, 0, 12, 11, 7);
const DIR: (u8, u8, u8, u8, u8) = (3, 0, 12, 11, 1);

pub(crate) type Storage = GicStorage<3, SPIS>;

/// One operation, as random numbers: what, which REC, where, and with what value.
pub(crate) type Raw = (u8, u8, u32, u64);

/// One virtual CPU.
struct Vcpu {
    cpu: Cpu,
    is_loaded: bool,
    /// Its thread waits until it is kicked.
    is_waiting: bool,
    /// Interrupts whose priority has not been dropped yet, the last one last.
    taken: Vec<Taken>,
    /// Interrupts that have not been deactivated yet, with `EOImode` 1.
    ended: Vec<Taken>,
}

pub(crate) struct Machine<'s> {
    gic: Gic<'s>,
    reference: Reference,
    vcpus: Vec<Vcpu>,
    /// Interrupts that were taken.
    taken: usize,
    splits_eoi: bool,
    /// Interrupts that a register made active, with the REC of private ones.
    activated: Vec<(Option<usize>, u32)>,
}

impl<'s> Machine<'s> {
    pub(crate) fn new(storage: &'s Storage, list_registers: usize, splits_eoi: bool) -> Self {
        let cpu = Cpu::new(list_registers);
        let affinities = AFFINITIES.map(|packed| {
            let (aff3, rest) = (u64::from(packed >> 24), u64::from(packed & 0xff_ffff));
            Affinity::from_mpidr(aff3 << 32 | rest)
        });
        let config = GicConfig { affinities: &affinities, spis: SPIS, vtr: cpu.vtr() };
        let gic = Gic::new(storage, &config).unwrap();
        let reference = Reference::new(&AFFINITIES, SPIS as u32, PRIORITY_BITS);
        let vcpus = (0..AFFINITIES.len())
            .map(|rec| {
                let mut cpu = cpu.clone();
                gic.load(rec, &mut cpu);
                cpu.start(splits_eoi);
                let _ = gic.save(rec, &mut cpu);
                let (taken, ended) = (Vec::new(), Vec::new());
                Vcpu { cpu, is_loaded: false, is_waiting: false, taken, ended }
            })
            .collect();
        let activated = Vec::new();
        let mut machine = Self { gic, reference, vcpus, taken: 0, splits_eoi, activated };
        for rec in 0..AFFINITIES.len() {
            machine.load(rec);
        }
        machine
    }

    /// Does an operation. With `entries` the virtual CPUs run; without them only registers and
    /// lines change, and the registers of active states may be written.
    pub(crate) fn apply(&mut self, (what, rec, at, value): Raw, entries: bool) {
        let rec = usize::from(rec) % AFFINITIES.len();
        match what % 32 {
            0..=3 => self.write_distributor(at, value, entries),
            4..=6 => self.write_redistributor(rec, at, value, entries),
            7 => self.read(rec, at, value),
            8..=10 => self.set_line(rec, 16 + at % (INTIDS - 16), value & 1 == 1),
            11..=12 => self.send_sgi(rec, value),
            13..=16 => self.raise(rec, at, value),
            _ if !entries => self.write_redistributor(rec, at, value, entries),
            17 => self.raise_again(rec, at),
            18 if at % 4 == 0 => self.turn_off_and_on(rec),
            18 if at % 4 == 1 => self.write(Frame::Redistributor(rec), 0x14, 4, value),
            18 => self.enter_or_exit(rec),
            19 => self.wait(rec),
            20..=26 => drop(self.acknowledge(rec)),
            _ => self.end(rec, at),
        }
        self.check_waiting();
    }

    /// Exits of all virtual CPUs, and a comparison of all registers.
    pub(crate) fn compare(&mut self) {
        let stopped = self.exit_all();
        let here = |from: u64, registers: u64| (from..from + 4 * registers).step_by(4);
        let words = here(0, 5).chain([0x80, 0x100, 0x180].into_iter().flat_map(|at| here(at, 4)));
        let words =
            words.chain([0x200, 0x280, 0x300, 0x380].into_iter().flat_map(|at| here(at, 4)));
        let words = words.chain(here(0x400, 20)).chain(here(0xc00, 6));
        for offset in words.clone().chain(here(0x6000, 2 * INTIDS as u64 + 2)) {
            self.compare_distributor(offset, 4);
        }
        for rec in 0..AFFINITIES.len() {
            for offset in here(0, 6).chain(words.clone().map(|offset| 0x1_0000 + offset)) {
                self.compare_redistributor(rec, offset, 4);
            }
        }
        for rec in stopped {
            self.load(rec);
        }
    }

    /// A comparison of what each offset reads as, in each width, where there are registers or a few
    /// bytes from there.
    pub(crate) fn compare_all(&mut self) {
        self.compare();
        let frame = (0..0x1010).chain(0x5ff0..0x6400).chain(0x7fc0..0x8010).chain(0xffc0..0x1_0004);
        for (offset, bytes) in frame.flat_map(|offset| [1, 2, 4, 8].map(|bytes| (offset, bytes))) {
            self.compare_distributor(offset, bytes);
            for rec in 0..AFFINITIES.len() {
                self.compare_redistributor(rec, offset, bytes);
                self.compare_redistributor(rec, 0x1_0000 + offset, bytes);
            }
        }
    }

    /// Lets the virtual CPUs take all that they may take, in a bounded number of runs.
    ///
    /// Returns the number of interrupts that were taken.
    pub(crate) fn finish(mut self) -> usize {
        self.compare();
        for rec in 0..AFFINITIES.len() {
            self.write(Frame::Redistributor(rec), 0x14, 4, 0);
        }
        let mut runs = 0;
        loop {
            let mut is_done = true;
            for rec in 0..AFFINITIES.len() {
                if !self.vcpus[rec].is_loaded {
                    self.load(rec);
                }
                while let Some(taken) = self.acknowledge(rec) {
                    is_done = false;
                    if taken.intid >= 16 {
                        self.set_line(rec, taken.intid, false);
                    }
                }
                while !self.vcpus[rec].taken.is_empty() || !self.vcpus[rec].ended.is_empty() {
                    is_done = false;
                    self.end(rec, 0);
                }
            }
            if is_done {
                break;
            }
            runs += 1;
            assert!(runs < 1000, "it never ends");
        }
        self.compare();
        for rec in 0..AFFINITIES.len() {
            assert_eq!(self.reference.deliverable(rec), [], "REC {rec}: lost");
        }
        self.taken
    }
}

/// Registers.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Distributor,
    Redistributor(usize),
}

impl Machine<'_> {
    fn write(&mut self, frame: Frame, offset: u64, bytes: u8, value: u64) {
        let kicks = match frame {
            Frame::Distributor => {
                self.reference.gicd_write(offset, bytes, value);
                self.gic.gicd_write(offset, bytes, value)
            }
            Frame::Redistributor(rec) => {
                self.reference.gicr_write(rec, offset, bytes, value);
                self.gic.gicr_write(rec, offset, bytes, value)
            }
        };
        self.kick(kicks);
    }

    fn write_distributor(&mut self, at: u32, value: u64, entries: bool) {
        let (offset, bytes) = place(at, true);
        let (offset, value) = self.limit_activity(None, (offset, bytes), value, entries);
        // Routes that lead somewhere are more than one in 2^32.
        let value = match offset {
            0x6000..0x8000 if at >> 30 == 1 => 1 << 31,
            0x6000..0x8000 if at >> 30 != 0 => {
                let packed = u64::from(AFFINITIES[value as usize % 3]);
                packed >> 24 << 32 | packed & 0xff_ffff
            }
            0 => value | value >> 2,
            _ => value,
        };
        self.write(Frame::Distributor, offset, bytes, value);
    }

    fn write_redistributor(&mut self, rec: usize, at: u32, value: u64, entries: bool) {
        let (offset, bytes) = place(at, false);
        let (offset, value) = self.limit_activity(Some(rec), (offset, bytes), value, entries);
        self.write(Frame::Redistributor(rec), offset, bytes, value);
    }

    /// While virtual CPUs run, registers change active states only if all of them are in list
    /// registers: of an interrupt that ends without one, the hardware tells no more than that, and
    /// it could be taken for one that a register activated. Otherwise it is another register. If
    /// they no longer are, those that a register activated are [deactivated](Self::load).
    ///
    /// An interrupt that a register deactivates is no longer ended by the virtual CPU that took it,
    /// and is not activated again before that.
    fn limit_activity(
        &mut self,
        rec: Option<usize>,
        (offset, bytes): (u64, u8),
        value: u64,
        entries: bool,
    ) -> (u64, u64) {
        let register = offset & 0xffff;
        let is_register = (0x300..0x400).contains(&register) && offset % 4 == 0 && bytes == 4;
        if !entries || !is_register {
            return (offset, value);
        }
        let has_room = self.vcpus[0].cpu.vtr().list_registers() == 16
            && !self.splits_eoi
            && !self.vcpus.iter().any(|vcpu| vcpu.is_loaded && vcpu.cpu.has_active_outside());
        let (bit, clears) = (value % 32, register >= 0x380);
        let intid = (register & 0x7f) as u32 * 8 + bit as u32;
        if rec.is_some() != (intid < PRIVATE) {
            return (offset, value);
        }
        let is_here = |n: usize| rec.is_none_or(|rec| rec == n);
        let mut taken = (self.vcpus.iter_mut().enumerate())
            .filter(|(n, _)| is_here(*n))
            .flat_map(|(_, vcpu)| &mut vcpu.taken)
            .filter(|taken| taken.intid == intid)
            .peekable();
        let is_allowed = clears || taken.peek().is_none() && self.reference.active() <= 12;
        if !has_room || !is_allowed {
            return (offset - 0x200, value);
        }
        taken.for_each(|taken| taken.is_over = true);
        self.activated.retain(|one| *one != (rec, intid));
        if !clears {
            self.activated.push((rec, intid));
        }
        (offset, 1 << bit)
    }

    /// Raises an interrupt that the REC may take.
    fn raise(&mut self, rec: usize, at: u32, value: u64) {
        let intid = at % INTIDS;
        let (frame, base) = if intid < PRIVATE {
            (Frame::Redistributor(rec), 0x1_0000)
        } else {
            (Frame::Distributor, 0)
        };
        let (word, bit, n) = (u64::from(intid / 32 * 4), 1 << (intid % 32), u64::from(intid));
        self.write(Frame::Distributor, 0x0, 4, 3);
        self.write(frame, base + 0x400 + n, 1, value & 0x7f);
        let packed = u64::from(AFFINITIES[rec]);
        let route =
            if value >> 63 == 1 { 1 << 31 } else { packed >> 24 << 32 | packed & 0xff_ffff };
        self.write(Frame::Distributor, 0x6000 + 8 * n, 8, route);
        self.write(frame, base + 0x100 + word, 4, bit);
        if intid < 16 || value >> 62 & 1 == 1 {
            self.write(frame, base + 0x200 + word, 4, bit);
        } else {
            self.set_line(rec, intid, true);
        }
    }

    /// One that the REC has taken is pending again, as edge-triggered ones may be before they end.
    fn raise_again(&mut self, rec: usize, at: u32) {
        let vcpu = &self.vcpus[rec];
        let active = vcpu.taken.len() + vcpu.ended.len();
        let n = (at as usize).checked_rem(active);
        let Some(taken) = n.and_then(|n| vcpu.taken.iter().chain(&vcpu.ended).nth(n)) else {
            return;
        };
        let (word, bit) = (u64::from(taken.intid / 32 * 4), 1 << (taken.intid % 32));
        if taken.intid < PRIVATE {
            self.write(Frame::Redistributor(rec), 0x1_0200 + word, 4, bit);
        } else {
            self.write(Frame::Distributor, 0x200 + word, 4, bit);
        }
    }

    fn compare_distributor(&self, offset: u64, bytes: u8) {
        let read = self.gic.gicd_read(offset, bytes);
        let expected = self.reference.gicd_read(offset, bytes);
        assert_eq!(read, expected, "GICD {offset:#x}, {bytes} bytes");
    }

    fn compare_redistributor(&self, rec: usize, offset: u64, bytes: u8) {
        let read = self.gic.gicr_read(rec, offset, bytes);
        let expected = self.reference.gicr_read(rec, offset, bytes);
        assert_eq!(read, expected, "GICR of REC {rec} {offset:#x}, {bytes} bytes");
    }

    fn read(&mut self, rec: usize, at: u32, value: u64) {
        self.exit_all();
        if value & 1 == 0 {
            let (offset, bytes) = place(at, true);
            self.compare_distributor(offset, bytes);
        } else {
            let (offset, bytes) = place(at, false);
            self.compare_redistributor(rec, offset, bytes);
        }
        for rec in 0..AFFINITIES.len() {
            self.load(rec);
        }
    }
}

/// A place in a frame, mostly of a register: bits 1:0 select the width, bits 5:2 what is near, the
/// others where exactly.
fn place(at: u32, is_distributor: bool) -> (u64, u8) {
    let bytes = [4, 4, 1, 8][at as usize & 3];
    let bytes = if at >> 6 & 0x1f == 0 { [2, 3, 16, 0][at as usize & 3] } else { bytes };
    let rest = u64::from(at >> 11);
    let from = match at >> 2 & 0xf {
        0 => 0x0,
        1 => 0x80,
        2 | 3 => 0x100,
        4 => 0x180,
        5 | 6 => 0x200,
        7 => 0x280,
        8 => 0x300,
        9 => 0x380,
        10 | 11 => 0x400,
        12 => 0xc00,
        13 if is_distributor => 0x6100,
        14 => 0xffd0,
        // Anywhere, and at any alignment.
        _ => return (rest & 0x1_ffff, bytes),
    };
    let near = match from {
        0x400 => rest % 0x48,
        0x6100 => (rest % 0x148) & !3,
        0xffd0 => rest % 0x30,
        _ => rest % 6 * 4,
    };
    let frame = if is_distributor || from == 0 || from == 0xffd0 { 0 } else { 0x1_0000 };
    (frame + from + near, bytes)
}

/// Sources.
impl Machine<'_> {
    fn set_line(&mut self, rec: usize, intid: u32, is_up: bool) {
        self.reference.set_line(rec, intid, is_up);
        let kicks = match (PpiIntid::new(intid), SpiIntid::new(intid)) {
            (Some(ppi), _) => self.gic.set_ppi(rec, ppi, is_up),
            (_, Some(spi)) => self.gic.set_spi(spi, is_up),
            _ => Kicks::NONE,
        };
        self.kick(kicks);
    }

    fn send_sgi(&mut self, from: usize, value: u64) {
        let register = [SGI1R, SGI1R, ASGI1R, SGI0R][(value >> 28) as usize & 3];
        let target = u64::from(AFFINITIES[(value >> 30) as usize % 3]);
        // To a REC, to all others, or anywhere.
        let fields = target >> 24 << 48
            | (target >> 16 & 0xff) << 32
            | (target >> 8 & 0xff) << 16
            | (target >> 4 & 0xf) << 44
            | 1 << (target & 0xf);
        let value = match value >> 32 & 7 {
            0 => value,
            1 => value & 0xf << 24 | 1 << 40,
            _ => value & 0xf << 24 | fields,
        };
        self.reference.send_sgi(from, value, register == SGI1R);
        let kicks = self.gic.write_sysreg(from, register, value).unwrap();
        self.kick(kicks);
    }
}

/// Virtual CPUs.
impl Machine<'_> {
    /// What a host does for a kick: the REC exits and is entered again.
    fn kick(&mut self, kicks: Kicks) {
        for rec in kicks.iter() {
            if self.vcpus[rec].is_loaded || self.vcpus[rec].is_waiting {
                self.exit(rec);
                self.load(rec);
            }
        }
    }

    /// What must be signalled to a REC whose thread does not run, and what may be.
    fn signalled(&mut self, rec: usize) -> (bool, bool) {
        let limit = self.vcpus[rec].cpu.limit();
        let mut all = self.reference.deliverable(rec);
        all.retain(|(priority, _)| *priority < limit);
        let must = all.iter().any(|one| !self.reference.is_one_of_n(one.1));
        (must, !all.is_empty())
    }

    /// The virtual CPU waits for an interrupt, unless it has one.
    fn wait(&mut self, rec: usize) {
        self.exit(rec);
        let (must, may) = self.signalled(rec);
        if self.gic.has_pending(rec) {
            assert!(may, "REC {rec} is woken for nothing");
            self.vcpus[rec].is_waiting = false;
            self.load(rec);
        } else {
            assert!(!must, "REC {rec} waits and has an interrupt");
            self.vcpus[rec].is_waiting = true;
        }
    }

    /// No interrupt waits for a REC that waits.
    fn check_waiting(&mut self) {
        for rec in 0..AFFINITIES.len() {
            if self.vcpus[rec].is_waiting {
                assert!(!self.signalled(rec).0, "REC {rec} was not kicked");
            }
        }
        // One for any REC goes to one that is awake: if all of those wait, there is none.
        let mut recs = self.vcpus.iter().zip(&self.reference.asleep);
        if recs.all(|(vcpu, is_asleep)| vcpu.is_waiting || *is_asleep) {
            for rec in 0..AFFINITIES.len() {
                assert!(!self.signalled(rec).1, "no REC was kicked");
            }
        }
    }

    /// `CPU_OFF`, and `CPU_ON` by another; not in an interrupt handler.
    fn turn_off_and_on(&mut self, rec: usize) {
        if !self.vcpus[rec].taken.is_empty() || !self.vcpus[rec].ended.is_empty() {
            return;
        }
        self.exit(rec);
        let kicks = self.gic.turn_off(rec);
        self.kick(kicks);
        self.load(rec);
        self.vcpus[rec].cpu.start(self.splits_eoi);
        self.maintain(rec);
    }

    fn load(&mut self, rec: usize) {
        let vcpu = &mut self.vcpus[rec];
        assert!(!vcpu.is_loaded);
        self.gic.load(rec, &mut vcpu.cpu);
        vcpu.is_loaded = true;
        vcpu.is_waiting = false;
        if vcpu.cpu.has_active_outside() {
            for (bank, intid) in std::mem::take(&mut self.activated) {
                let (frame, base) = match bank {
                    Some(rec) => (Frame::Redistributor(rec), 0x1_0000),
                    None => (Frame::Distributor, 0),
                };
                let (word, bit) = (u64::from(intid / 32 * 4), 1 << (intid % 32));
                self.write(frame, base + 0x380 + word, 4, bit);
            }
        }
        let vcpu = &self.vcpus[rec];
        assert_eq!(vcpu.cpu.misr(), 0, "it would exit before its first instruction, for ever");
        let mut seen = Vec::new();
        for n in 0..vcpu.cpu.vtr().list_registers() {
            let list = vcpu.cpu.list_register(n);
            if list >> 62 != 0 {
                assert_eq!(list >> 61 & 1, 0, "HW");
                assert!(!seen.contains(&(list & 0xffff_ffff)), "an interrupt twice");
                seen.push(list & 0xffff_ffff);
            }
        }
    }

    fn exit(&mut self, rec: usize) {
        if !self.vcpus[rec].is_loaded {
            return;
        }
        self.vcpus[rec].is_loaded = false;
        self.vcpus[rec].cpu.leave();
        let report = self.gic.save(rec, &mut self.vcpus[rec].cpu);
        self.kick(report.kicks);
    }

    /// Exits of all virtual CPUs, also of those that waited and are kicked because of that. Returns
    /// which are to be entered again.
    fn exit_all(&mut self) -> Vec<usize> {
        let was_there: Vec<bool> =
            self.vcpus.iter().map(|vcpu| vcpu.is_loaded || vcpu.is_waiting).collect();
        while let Some(rec) = self.vcpus.iter().position(|vcpu| vcpu.is_loaded) {
            self.exit(rec);
        }
        (0..AFFINITIES.len()).filter(|&rec| was_there[rec] && !self.vcpus[rec].is_waiting).collect()
    }

    fn enter_or_exit(&mut self, rec: usize) {
        if self.vcpus[rec].is_loaded {
            self.exit(rec);
        } else {
            self.load(rec);
        }
    }

    /// A maintenance interrupt ends the run.
    fn maintain(&mut self, rec: usize) {
        if self.vcpus[rec].cpu.misr() != 0 {
            self.exit(rec);
            self.load(rec);
        }
    }

    /// The most urgent interrupt is taken, if one is more urgent than what is active.
    fn acknowledge(&mut self, rec: usize) -> Option<Taken> {
        if !self.vcpus[rec].is_loaded {
            return None;
        }
        let limit = self.vcpus[rec].cpu.limit();
        let urgent = |(priority, _): &(u8, u32)| *priority < limit;
        let all = self.reference.deliverable(rec);
        // One for any REC may be in another's list registers.
        let must = all.iter().filter(|one| urgent(one) && !self.reference.is_one_of_n(one.1)).min();
        let taken = self.vcpus[rec].cpu.acknowledge();
        match (taken, must) {
            (None, None) => return None,
            (None, Some(must)) => {
                unreachable!("REC {rec} does not get {must:?}: {}", self.show(rec))
            }
            (Some(taken), must) => {
                let known = all.iter().find(|one| one.1 == taken.intid);
                assert_eq!(known, Some(&(taken.priority, taken.intid)), "{}", self.show(rec));
                assert_eq!(
                    taken.group_1,
                    self.reference.interrupt(rec, taken.intid).group_1,
                    "{taken:?}"
                );
                assert!(
                    must.is_none_or(|must| taken.priority <= must.0),
                    "{taken:?}, not {must:?}"
                );
            }
        }
        let taken = taken?;
        self.reference.acknowledge(rec, taken.intid);
        self.vcpus[rec].taken.push(taken);
        self.taken += 1;
        self.maintain(rec);
        Some(taken)
    }

    /// The interrupt that was taken last ends; or one is deactivated after its priority was
    /// dropped, in any order.
    fn end(&mut self, rec: usize, at: u32) {
        let vcpu = &mut self.vcpus[rec];
        if !vcpu.is_loaded {
            return;
        }
        let drops = at & 1 == 0 || vcpu.ended.is_empty();
        match vcpu.taken.pop_if(|_| drops) {
            Some(taken) if vcpu.cpu.end(taken) => {
                if !taken.is_over {
                    self.reference.deactivate(rec, taken.intid);
                }
            }
            Some(taken) => vcpu.ended.push(taken),
            None if vcpu.ended.is_empty() => return,
            None => {
                let taken = vcpu.ended.swap_remove(at as usize / 2 % vcpu.ended.len());
                self.reference.deactivate(rec, taken.intid);
                if vcpu.cpu.traps_deactivation() {
                    // A trap is an exit.
                    self.exit(rec);
                    let kicks = self.gic.write_sysreg(rec, DIR, taken.intid.into()).unwrap();
                    self.kick(kicks);
                    self.load(rec);
                } else {
                    vcpu.cpu.deactivate(taken.intid);
                }
            }
        }
        self.maintain(rec);
    }

    fn show(&self, rec: usize) -> String {
        let cpu = &self.vcpus[rec].cpu;
        let lists: Vec<_> = (0..cpu.vtr().list_registers())
            .map(|n| format!("{:#x}", cpu.list_register(n)))
            .collect();
        format!("list registers {lists:?}, taken {:?}", self.vcpus[rec].taken)
    }
}
