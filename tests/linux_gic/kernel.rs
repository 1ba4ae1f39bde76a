//! A program that does with its GIC what Linux does: `drivers/irqchip/irq-gic-v3.c`,
//! `irq-gic-common.c`, and the drivers of a level-triggered device and of the architectural timer.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use realm_sdk::abi::Ipa;
use realm_sdk::abi::esr::SysReg;
use rmm_model::Action;

use crate::Threads;
use crate::device;
use crate::vcpu::Vcpu;

/// Frames of the device tree, from the first unprotected IPA on.
#[derive(Clone, Copy)]
pub(crate) struct Frames {
    pub(crate) distributor: Ipa,
    pub(crate) redistributors: Ipa,
    pub(crate) device: Ipa,
}

/// The IPIs that Linux uses.
const IPIS: u32 = 8;
const TIMER: u32 = 27;
/// Threads of the device, one for each of its first lines.
pub(crate) const DEVICE_THREADS: u32 = 3;
const PRIORITY: u64 = 0xa0;
/// `CNTV_CTL_EL0`: enabled and past its compare value; the same, with the interrupt masked.
const FIRED: u64 = 0b101;
const FIRED_MASKED: u64 = 0b111;

/// What the kernel counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Handled, by CPU and IPI.
    pub(crate) ipis: [[AtomicU32; 8]; 2],
    /// Handled, by CPU.
    pub(crate) ticks: [AtomicU32; 2],
    /// By CPU.
    pub(crate) spis: [Mutex<Vec<u32>>; 2],
    /// CPUs that are in the idle loop.
    pub(crate) online: AtomicU32,
    /// Asks the second CPU to turn itself off.
    pub(crate) stop: AtomicU32,
    pub(crate) spurious: AtomicU32,
}

/// One CPU of the kernel.
pub(crate) struct Kernel {
    vcpu: Vcpu,
    number: usize,
    frames: Frames,
    /// The RD frame of this CPU's redistributor.
    rd: Ipa,
    lines: u64,
    /// `EOImode` 1, which Linux uses as a hypervisor.
    splits_eoi: bool,
    /// PSTATE.I
    masked: bool,
    counters: Arc<Counters>,
}

fn at(base: Ipa, offset: u64) -> Ipa {
    base.checked_add(offset).unwrap()
}

impl Kernel {
    pub(crate) fn new(
        vcpu: Vcpu,
        number: usize,
        frames: Frames,
        splits_eoi: bool,
        counters: Arc<Counters>,
    ) -> Self {
        let rd = frames.redistributors;
        Self { vcpu, number, frames, rd, lines: 0, splits_eoi, masked: true, counters }
    }

    /// After each action, an interrupt is taken if one is signalled and PSTATE.I is clear.
    fn take_interrupts(&mut self) {
        while !self.masked && self.vcpu.is_interrupted() {
            self.masked = true;
            self.handle_irq();
            self.masked = false;
        }
    }

    fn readl(&mut self, base: Ipa, offset: u64) -> u64 {
        let value = self.vcpu.load(at(base, offset), 4);
        self.take_interrupts();
        value
    }

    fn readq(&mut self, base: Ipa, offset: u64) -> u64 {
        let value = self.vcpu.load(at(base, offset), 8);
        self.take_interrupts();
        value
    }

    fn write_as(&mut self, base: Ipa, offset: u64, bytes: u8, value: u64) {
        self.vcpu.store(at(base, offset), bytes, value);
        self.take_interrupts();
    }

    fn writel(&mut self, base: Ipa, offset: u64, value: u64) {
        self.write_as(base, offset, 4, value);
    }

    fn read_icc(&mut self, register: SysReg) -> u64 {
        let value = self.vcpu.read(register);
        self.take_interrupts();
        value
    }

    fn write_icc(&mut self, register: SysReg, value: u64) {
        self.vcpu.write(register, value);
        self.take_interrupts();
    }

    fn wait(&mut self, action: Action) {
        self.vcpu.act(action);
        self.take_interrupts();
    }

    fn sgi_frame(&self) -> Ipa {
        at(self.rd, 0x1_0000)
    }

    /// `gic_do_wait_for_rwp`
    fn wait_for_rwp(&mut self, base: Ipa) {
        assert_eq!(self.readl(base, 0) & 1 << 31, 0);
    }

    fn mpidr(&self) -> u64 {
        self.number as u64
    }

    /// `gic_of_init` and `gic_init_bases`, up to the first `gic_cpu_init`.
    fn probe(&mut self) {
        let gicd = self.frames.distributor;
        assert_eq!(self.readl(gicd, 0xffe8) & 0xf0, 0x30, "GICD_PIDR2: GICv3");
        let typer = self.readl(gicd, 0x4);
        self.lines = (((typer & 0x1f) + 1) * 32).min(1020);
        assert_eq!(typer >> 16 & 0b11, 0, "no MBIs, no LPIs");
        assert_eq!(typer & 1 << 8, 0, "no extended SPIs");
        assert_ne!(typer & 1 << 26, 0, "range selector");
        assert_ne!(self.readl(gicd, 0x8), 0, "GICD_IIDR");
        assert_eq!(self.readl(gicd, 0xc) & 1 << 8, 0, "GICD_TYPER2: SGIs have an active state");
    }

    /// `gic_iterate_rdists`: the first redistributor for which `is_it` says so, if any.
    fn find_redistributor(&mut self, is_it: impl Fn(u64) -> bool) -> Option<Ipa> {
        let mut rd = self.frames.redistributors;
        assert_eq!(self.readl(rd, 0xffe8) & 0xf0, 0x30, "GICR_PIDR2: GICv3");
        for _ in 0..64 {
            let typer = self.readq(rd, 0x8);
            assert_eq!(typer & 0b11, 0, "no LPIs, virtual or physical");
            if is_it(typer) {
                return Some(rd);
            }
            if typer & 1 << 4 != 0 {
                return None;
            }
            rd = at(rd, 0x2_0000);
        }
        unreachable!("no redistributor is the last");
    }

    /// `gic_dist_init`
    fn init_distributor(&mut self) {
        let gicd = self.frames.distributor;
        self.writel(gicd, 0x0, 0);
        self.wait_for_rwp(gicd);
        for n in (32..self.lines).step_by(32) {
            self.writel(gicd, 0x80 + n / 8, 0xffff_ffff);
        }
        // `gic_dist_config`
        for n in (32..self.lines).step_by(16) {
            self.writel(gicd, 0xc00 + n / 4, 0);
        }
        for n in (32..self.lines).step_by(4) {
            self.writel(gicd, 0x400 + n, PRIORITY * 0x0101_0101);
        }
        for n in (32..self.lines).step_by(32) {
            self.writel(gicd, 0x380 + n / 8, 0xffff_ffff);
            self.writel(gicd, 0x180 + n / 8, 0xffff_ffff);
        }
        self.wait_for_rwp(gicd);
        // ARE_NS, ENABLE_G1A and ENABLE_G1 as a Non-secure write would have them.
        self.writel(gicd, 0x0, 0x13);
        self.wait_for_rwp(gicd);
        let affinity = self.mpidr();
        for n in 32..self.lines {
            self.write_as(gicd, 0x6000 + n * 8, 8, affinity);
        }
        assert_ne!(self.readl(gicd, 0x0) & 1 << 6, 0, "GICD_CTLR.DS");
    }

    /// `gic_cpu_init`
    fn init_cpu(&mut self) {
        let affinity = self.mpidr();
        self.rd = self.find_redistributor(|typer| typer >> 32 == affinity).unwrap();
        // `gic_enable_redist`
        let waker = self.readl(self.rd, 0x14);
        self.writel(self.rd, 0x14, waker & !0b10);
        assert_eq!(self.readl(self.rd, 0x14) & 0b100, 0, "ChildrenAsleep");
        let sgi = self.sgi_frame();
        self.writel(sgi, 0x80, 0xffff_ffff);
        // `gic_cpu_config`
        self.writel(sgi, 0x380, 0xffff_ffff);
        self.writel(sgi, 0x180, 0xffff_ffff);
        for n in (0..32).step_by(4) {
            self.writel(sgi, 0x400 + n, PRIORITY * 0x0101_0101);
        }
        self.wait_for_rwp(self.rd);
        self.init_interface();
    }

    /// `gic_cpu_sys_reg_init`
    fn init_interface(&mut self) {
        assert_eq!(self.read_icc(SysReg::ICC_SRE_EL1) & 1, 1, "system registers are used");
        let priority_bits = (self.read_icc(SysReg::ICC_CTLR_EL1) >> 8 & 0b111) + 1;
        // `gic_has_group0`
        let mask = self.read_icc(SysReg::ICC_PMR_EL1);
        self.write_icc(SysReg::ICC_PMR_EL1, 1 << (8 - priority_bits));
        assert_ne!(self.read_icc(SysReg::ICC_PMR_EL1), 0);
        self.write_icc(SysReg::ICC_PMR_EL1, mask);

        self.write_icc(SysReg::ICC_PMR_EL1, 0xf0);
        self.write_icc(SysReg::ICC_BPR1_EL1, 0);
        self.write_icc(SysReg::ICC_CTLR_EL1, u64::from(self.splits_eoi) << 1);
        self.write_icc(SysReg::ICC_AP0R0_EL1, 0);
        self.write_icc(SysReg::ICC_AP1R0_EL1, 0);
        self.write_icc(SysReg::ICC_IGRPEN1_EL1, 1);
    }

    /// `gic_unmask_irq` of an SGI or PPI.
    fn enable_private(&mut self, intid: u32) {
        let sgi = self.sgi_frame();
        self.writel(sgi, 0x100, 1 << intid);
        self.wait_for_rwp(self.rd);
        assert_eq!(self.readl(sgi, 0x100) >> intid & 1, 1);
    }

    /// `gic_irq_set_prio` and `gic_set_type` to level-triggered, of an SPI.
    fn set_up_spi(&mut self, intid: u32, priority: u64) {
        let (gicd, intid) = (self.frames.distributor, u64::from(intid));
        self.write_as(gicd, 0x400 + intid, 1, priority);
        let config = self.readl(gicd, 0xc00 + intid / 16 * 4);
        self.writel(gicd, 0xc00 + intid / 16 * 4, config & !(0b10 << (intid % 16 * 2)));
    }

    /// `gic_poke_irq` of an SPI.
    fn poke_spi(&mut self, intid: u32, offset: u64) {
        let (gicd, intid) = (self.frames.distributor, u64::from(intid));
        self.writel(gicd, offset + intid / 32 * 4, 1 << (intid % 32));
        self.wait_for_rwp(gicd);
    }

    /// `gic_peek_irq` of an SPI.
    fn peek_spi(&mut self, intid: u32, offset: u64) -> bool {
        let (gicd, intid) = (self.frames.distributor, u64::from(intid));
        self.readl(gicd, offset + intid / 32 * 4) >> (intid % 32) & 1 == 1
    }

    /// `gic_set_affinity`
    fn set_affinity(&mut self, intid: u32, route: u64) {
        let is_enabled = self.peek_spi(intid, 0x100);
        if is_enabled {
            self.poke_spi(intid, 0x180);
        }
        let (gicd, at) = (self.frames.distributor, 0x6000 + u64::from(intid) * 8);
        self.write_as(gicd, at, 8, route);
        assert_eq!(self.readq(gicd, at), route);
        if is_enabled {
            self.poke_spi(intid, 0x100);
        }
    }

    /// `gic_ipi_send_mask`, to one CPU.
    fn send_ipi(&mut self, cpu: u64, ipi: u32) {
        self.write_icc(SysReg::ICC_SGI1R_EL1, u64::from(ipi) << 24 | 1 << cpu);
    }

    /// `gic_handle_irq`
    fn handle_irq(&mut self) {
        let iar = self.vcpu.read(SysReg::ICC_IAR1_EL1);
        let intid = u32::try_from(iar).unwrap();
        if (1020..=1023).contains(&intid) {
            self.counters.spurious.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.splits_eoi {
            self.vcpu.write(SysReg::ICC_EOIR1_EL1, iar);
        }
        match intid {
            0..IPIS => {
                self.counters.ipis[self.number][intid as usize].fetch_add(1, Ordering::Relaxed);
            }
            TIMER => {
                // The handler masks the timer until it is programmed again.
                self.vcpu.timer(FIRED_MASKED, 0);
                self.counters.ticks[self.number].fetch_add(1, Ordering::Relaxed);
            }
            _ => self.handle_device(intid),
        }
        let register = if self.splits_eoi { SysReg::ICC_DIR_EL1 } else { SysReg::ICC_EOIR1_EL1 };
        self.vcpu.write(register, iar);
    }

    /// A level-triggered device: reading what it wants, and telling it, lowers its line.
    fn handle_device(&mut self, intid: u32) {
        let device = self.frames.device;
        let raised = self.vcpu.load(at(device, device::STATUS), 4);
        let line = u64::from(intid - device::FIRST_SPI);
        // One that was made pending by a register has no line up.
        if raised >> line & 1 == 1 {
            self.vcpu.store(at(device, device::LOWER), 4, 1 << line);
        }
        self.counters.spis[self.number].lock().unwrap().push(intid);
    }

    fn ipis(&self, cpu: usize) -> Vec<u32> {
        self.counters.ipis[cpu].iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    fn spis(&self, cpu: usize) -> Vec<u32> {
        self.counters.spis[cpu].lock().unwrap().clone()
    }

    /// The first CPU: boots, turns on the second, and tries everything.
    pub(crate) fn boot(mut self, threads: Threads) {
        self.probe();
        assert_eq!(self.find_redistributor(|_| false), None, "there is a last redistributor");
        self.init_distributor();
        self.init_cpu();
        self.masked = false;
        for ipi in 0..IPIS {
            self.enable_private(ipi);
        }
        self.enable_private(TIMER);
        self.start_second_cpu();
        self.exchange_ipis();
        self.tick();
        self.use_device();
        self.reroute();
        self.retrigger();
        if threads == Threads::Two {
            self.serve_threads();
        }
        self.counters.stop.store(1, Ordering::Relaxed);
        self.send_ipi(1, 0);
        while self.vcpu.act(Action::psci_affinity_info(1)).x[0] != 1 {
            self.wait(Action::Wfe);
        }
        self.vcpu.end(Action::psci_system_off());
    }

    fn start_second_cpu(&mut self) {
        let on = self.vcpu.act(Action::psci_cpu_on(1, 0, 0)).x[0];
        assert_eq!(on, 0, "CPU_ON");
        while self.counters.online.load(Ordering::Relaxed) == 0 {
            self.wait(Action::Wfe);
        }
    }

    /// All IPIs to the other CPU, twice; it answers each with the same one.
    fn exchange_ipis(&mut self) {
        for round in 1..=2 {
            for ipi in 0..IPIS {
                self.send_ipi(1, ipi);
            }
            while self.ipis(0) != [round; 8] {
                self.wait(Action::Wfi);
            }
            assert_eq!(self.ipis(1), [round; 8]);
        }
        // To all others, and to oneself.
        self.write_icc(SysReg::ICC_SGI1R_EL1, 1 << 40 | 3 << 24);
        while self.ipis(0)[3] != 3 {
            self.wait(Action::Wfi);
        }
        self.send_ipi(0, 5);
        while self.ipis(0)[5] != 3 {
            self.wait(Action::Wfi);
        }
        assert_eq!(self.ipis(1)[5], 2, "an IPI to oneself goes to no one else");
        // In no range that a CPU has, and of the other cluster: to no one.
        self.write_icc(SysReg::ICC_SGI1R_EL1, 1 << 44 | 7 << 24 | 0xffff);
        self.write_icc(SysReg::ICC_SGI1R_EL1, 1 << 16 | 7 << 24 | 0xffff);
    }

    fn tick(&mut self) {
        for tick in 1..=3 {
            self.vcpu.timer(FIRED, 0);
            self.take_interrupts();
            while self.counters.ticks[0].load(Ordering::Relaxed) != tick {
                self.wait(Action::Wfi);
            }
        }
    }

    /// More interrupts of a level-triggered device than there are list registers; the more urgent
    /// ones come first.
    fn use_device(&mut self) {
        for line in 0..device::LINES {
            self.set_up_spi(device::FIRST_SPI + line, 0xa0 - u64::from(line) * 8);
            self.poke_spi(device::FIRST_SPI + line, 0x100);
        }
        for round in 1..=3 {
            self.masked = true;
            self.write_as(self.frames.device, device::RAISE, 4, (1 << device::LINES) - 1);
            for line in 0..device::LINES {
                assert!(self.peek_spi(device::FIRST_SPI + line, 0x200), "pending");
            }
            self.masked = false;
            self.take_interrupts();
            while self.spis(0).len() < round * device::LINES as usize {
                self.wait(Action::Wfi);
            }
            let last = self.spis(0).split_off((round - 1) * device::LINES as usize);
            let by_priority: Vec<_> =
                (0..device::LINES).rev().map(|line| device::FIRST_SPI + line).collect();
            assert_eq!(last, by_priority);
            for line in 0..device::LINES {
                assert!(!self.peek_spi(device::FIRST_SPI + line, 0x200), "not pending");
                assert!(!self.peek_spi(device::FIRST_SPI + line, 0x300), "not active");
            }
        }
        self.counters.spis[0].lock().unwrap().clear();
    }

    /// The second CPU gets what is routed to it, and either gets what is routed to any.
    fn reroute(&mut self) {
        let (device, spi) = (self.frames.device, device::FIRST_SPI);
        self.set_affinity(spi, 1);
        self.write_as(device, device::RAISE, 4, 1);
        while self.spis(1) != [spi] {
            self.wait(Action::Wfe);
        }
        assert_eq!(self.spis(0), [0; 0]);
        self.set_affinity(spi, 1 << 31);
        self.write_as(device, device::RAISE, 4, 1);
        while self.spis(0).len() + self.spis(1).len() < 2 {
            self.wait(Action::Wfe);
        }
        // A route to no CPU: it stays pending until it has another.
        self.set_affinity(spi, 7);
        self.write_as(device, device::RAISE, 4, 1);
        assert!(self.peek_spi(spi, 0x200));
        self.wait(Action::Wfe);
        assert!(self.peek_spi(spi, 0x200));
        let before = self.spis(0).len();
        self.set_affinity(spi, 0);
        while self.spis(0).len() == before {
            self.wait(Action::Wfi);
        }
        assert!(!self.peek_spi(spi, 0x200));
    }

    /// Lines that are raised by other threads while both CPUs run: of the first, of the second, and
    /// of either.
    fn serve_threads(&mut self) {
        for (line, route) in (0..DEVICE_THREADS).zip([0, 1, 1 << 31]) {
            self.set_affinity(device::FIRST_SPI + line, route);
        }
        let device = self.frames.device;
        self.write_as(device, device::THREADS, 4, 1);
        while self.readl(device, device::THREADS) != u64::from(DEVICE_THREADS) {
            self.wait(Action::Wfe);
        }
    }

    /// `gic_retrigger`: an interrupt made pending by a register; and one that is disabled waits.
    fn retrigger(&mut self) {
        let spi = device::FIRST_SPI + 1;
        let before = self.spis(0).len();
        self.poke_spi(spi, 0x180);
        self.poke_spi(spi, 0x200);
        assert!(self.peek_spi(spi, 0x200) && self.peek_spi(spi, 0x280));
        self.wait(Action::Wfe);
        assert_eq!(self.spis(0).len(), before, "it is disabled");
        self.poke_spi(spi, 0x100);
        while self.spis(0).len() == before {
            self.wait(Action::Wfi);
        }
        self.poke_spi(spi, 0x180);
        self.poke_spi(spi, 0x200);
        self.poke_spi(spi, 0x280);
        assert!(!self.peek_spi(spi, 0x200), "no longer pending");
        self.poke_spi(spi, 0x100);
        self.wait(Action::Wfe);
        assert_eq!(self.spis(0).len(), before + 1);
    }

    /// The second CPU: idle but for interrupts; answers IPIs.
    pub(crate) fn idle(mut self) {
        self.init_cpu();
        self.masked = false;
        for ipi in 0..IPIS {
            self.enable_private(ipi);
        }
        self.counters.online.store(1, Ordering::Relaxed);
        let mut answered = [0; 8];
        while self.counters.stop.load(Ordering::Relaxed) == 0 {
            let seen = self.ipis(1);
            if seen == answered {
                self.wait(Action::Wfi);
            }
            for (ipi, (answered, seen)) in (0..).zip(answered.iter_mut().zip(seen)) {
                while *answered < seen {
                    *answered += 1;
                    self.send_ipi(0, ipi);
                }
            }
        }
        self.vcpu.end(Action::psci_cpu_off());
    }
}
