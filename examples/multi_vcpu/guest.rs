//! What the Realm does: the same program on each virtual CPU, which the model executes in place of
//! instructions. It checks what it gets, and reports what is wrong to the device.
//!
//! Every wait for another CPU ends by an interrupt of that CPU, so a host that loses one is
//! noticed: it sees a CPU that waits for a very long time.

use realm_sdk::abi::esr::SysReg;
use realm_sdk::abi::psci::PsciReturnCode;
use realm_sdk::abi::rtt::{Geometry, Ripas};
use realm_sdk::abi::{Ipa, IpaRange};
use rmm_model::{Action, AsyncVcpu, TimerKind};

use crate::device;
use crate::layout::{self, DEVICE, DEVICE_SPI, DISTRIBUTOR, REDISTRIBUTORS, UART, UART_SPI, VCPUS};
use crate::random::Random;

// SGIs.
/// Somebody calls, see `mailbox`.
const CALL: u32 = 0;
/// A call was answered.
const ANSWERED: u32 = 1;
/// The CPU is to turn itself off.
const TURN_OFF: u32 = 2;
/// Nothing in particular.
const WAKE: u32 = 3;
/// The PPI of the virtual timer.
const TIMER: u32 = 27;

// Registers of the GIC.
const GICD_CTLR: u64 = 0;
const GICD_ISENABLER1: u64 = 0x104;
const GICD_IPRIORITYR: u64 = 0x400;
const GICD_IROUTER: u64 = 0x6000;
const GICR_WAKER: u64 = 0x14;
const GICR_ISENABLER0: u64 = 0x1_0100;
const GICR_IPRIORITYR: u64 = 0x1_0400;
/// Bytes of a redistributor.
const REDISTRIBUTOR: u64 = 0x2_0000;

/// What PSCI_AFFINITY_INFO returns for a CPU that is off.
const OFF: u64 = 1;
/// How often CPU 0 asks whether another one is off, before it does something else.
const POLLS: u32 = 50;

// Failures.
const WRONG_SCRATCH: u64 = 1;
const WRONG_MEMORY: u64 = 2;
const WRONG_BUFFER: u64 = 3;
const WRONG_STATUS: u64 = 4;
const WRONG_PSCI: u64 = 5;
const ABORTED: u64 = 6;
const UNKNOWN_INTERRUPT: u64 = 7;
const WRONG_TIME: u64 = 8;

/// A virtual CPU and its program.
pub(crate) struct Program {
    cpu: AsyncVcpu,
    me: usize,
    geometry: Geometry,
    random: Random,
    /// Asked to turn itself off.
    is_to_leave: bool,
    /// The timer has fired.
    has_ticked: bool,
}

impl Program {
    pub(crate) fn new(cpu: AsyncVcpu, me: usize, geometry: Geometry, seed: u64) -> Self {
        let random = Random::new(seed, me as u64);
        Self { cpu, me, geometry, random, is_to_leave: false, has_ticked: false }
    }

    /// The program of one virtual CPU. CPU 0 turns the Realm off at the end; the others turn
    /// themselves off, now and then, and are turned on again.
    pub(crate) async fn run(mut self) {
        if self.me == 0 {
            self.set_up_distributor().await;
        }
        loop {
            self.come_online().await;
            while !self.is_to_leave && !self.must_stop().await {
                self.work().await;
                self.take_interrupts().await;
            }
            if self.me == 0 {
                return self.end().await;
            }
            self.go_offline().await;
            self.cpu.cpu_off().await;
        }
    }

    /// One piece of work.
    async fn work(&mut self) {
        match self.random.below(12) {
            0..=2 => self.call_another().await,
            3 => self.send(WAKE, None).await,
            4 | 5 => self.use_registers().await,
            6 => self.print().await,
            7 => self.use_balloon().await,
            8 => self.use_buffer().await,
            9 => self.use_timer().await,
            10 => self.turn_another_on().await,
            _ if self.me == 0 => self.turn_another_off().await,
            _ => self.touch_memory().await,
        }
    }
}

/// # Memory and devices
impl Program {
    async fn load(&mut self, ipa: Ipa, bytes: u8) -> u64 {
        match self.cpu.load(ipa, bytes).await {
            Ok(value) => value,
            Err(_) => {
                self.fail(ABORTED).await;
                0
            }
        }
    }

    async fn store(&mut self, ipa: Ipa, bytes: u8, value: u64) {
        if self.cpu.store(ipa, bytes, value).await.is_err() {
            self.fail(ABORTED).await;
        }
    }

    /// Reports that something is wrong.
    async fn fail(&mut self, failure: u64) {
        let failure = failure << 8 | self.me as u64;
        let register = layout::unprotected(self.geometry, DEVICE + device::FAILURE);
        let _ = self.cpu.store(register, 8, failure).await;
    }

    async fn expect(&mut self, is_right: bool, failure: u64) {
        if !is_right {
            self.fail(failure).await;
        }
    }

    fn at(&self, offset: u64) -> Ipa {
        layout::unprotected(self.geometry, offset)
    }

    async fn must_stop(&mut self) -> bool {
        let register = self.at(DEVICE + device::STOP);
        self.load(register, 4).await != 0
    }

    /// Writes parts of a register of the device, and reads them back.
    async fn use_registers(&mut self) {
        let word = DEVICE + device::SCRATCH + 8 * self.me as u64;
        let value = self.random.next();
        self.store(self.at(word), 8, value).await;
        let bytes = 1_u8 << self.random.below(4);
        let part = self.random.below(8) & !u64::from(bytes - 1);
        let mask = u64::MAX >> (64 - 8 * u32::from(bytes));
        let read = self.load(self.at(word + part), bytes).await;
        self.expect(read == value >> (8 * part) & mask, WRONG_SCRATCH).await;
    }

    async fn print(&mut self) {
        const FULL: u64 = 1 << 5;
        let flags = self.load(self.at(UART + 0x18), 4).await;
        if flags & FULL == 0 {
            let letter = u64::from(b'a') + self.me as u64;
            self.store(self.at(UART), 1, letter).await;
        }
    }

    async fn touch_memory(&mut self) {
        let area = layout::area(self.me);
        // The upper half is used for nothing else.
        let word = area.bytes() / 2 + self.random.below(area.bytes() / 16) * 8;
        let ipa = Ipa::new(area.base().raw() + word);
        let value = self.random.next();
        self.store(ipa, 8, value).await;
        let read = self.load(ipa, 8).await;
        self.expect(read == value, WRONG_MEMORY).await;
    }

    /// Changes the RIPAS of a range, until all of it is changed.
    async fn change_ripas(&mut self, range: IpaRange, ripas: Ripas) {
        let mut base = range.base();
        while base < range.top() {
            let call = Action::ipa_state_set(base, range.top(), ripas, 0);
            let [status, reached, response, ..] = self.cpu.call(call).await;
            if status != 0 || response != 0 {
                return self.fail(WRONG_STATUS).await;
            }
            base = Ipa::new(reached);
            self.take_interrupts().await;
        }
    }

    /// Gives memory up, and takes it back.
    async fn use_balloon(&mut self) {
        let balloon = layout::balloon(self.me);
        self.store(balloon.base(), 8, 1).await;
        self.change_ripas(balloon, Ripas::Empty).await;
        self.change_ripas(balloon, Ripas::Ram).await;
        let value = self.random.next();
        self.store(balloon.base(), 8, value).await;
        let read = self.load(balloon.base(), 8).await;
        self.expect(read == value, WRONG_MEMORY).await;
    }

    /// Shares memory with the host, has the device change it, and makes it private again.
    async fn use_buffer(&mut self) {
        let buffer = layout::buffer(self.me);
        self.change_ripas(buffer, Ripas::Empty).await;
        let alias = Ipa::new(buffer.base().raw() | self.geometry.unprotected_base().raw());
        let value = self.random.next();
        self.store(alias, 8, value).await;
        self.store(self.at(DEVICE + device::DOORBELL), 8, alias.raw()).await;
        let read = self.load(alias, 8).await;
        self.expect(read == !value, WRONG_BUFFER).await;
        self.change_ripas(buffer, Ripas::Ram).await;
        self.store(buffer.base(), 8, value).await;
        let read = self.load(buffer.base(), 8).await;
        self.expect(read == value, WRONG_MEMORY).await;
    }
}

/// # Interrupts
impl Program {
    /// Sets up what all CPUs share: the distributor, and the UART, which interrupts for input.
    async fn set_up_distributor(&mut self) {
        const LINE_CONTROL: u64 = 0x2c;
        const CONTROL: u64 = 0x30;
        const MASK: u64 = 0x38;
        for (register, value) in [(LINE_CONTROL, 0x70), (CONTROL, 0x301), (MASK, 0x50)] {
            self.store(self.at(UART + register), 4, value).await;
        }
        // Group 1, affinity routing.
        self.store(self.at(DISTRIBUTOR + GICD_CTLR), 4, 0b1_0010).await;
        for spi in [UART_SPI, DEVICE_SPI] {
            self.store(self.at(DISTRIBUTOR + GICD_IPRIORITYR + u64::from(spi)), 1, 0xa0).await;
        }
        // Any CPU; CPU 0.
        for (spi, route) in [(UART_SPI, 1 << 31), (DEVICE_SPI, 0)] {
            self.store(self.at(DISTRIBUTOR + GICD_IROUTER + 8 * u64::from(spi)), 8, route).await;
        }
        let enabled = 1 << (UART_SPI % 32) | 1 << (DEVICE_SPI % 32);
        self.store(self.at(DISTRIBUTOR + GICD_ISENABLER1), 4, enabled).await;
    }

    /// Sets the CPU's interrupts up, and takes calls from then on.
    async fn come_online(&mut self) {
        self.is_to_leave = false;
        let redistributor = REDISTRIBUTORS + REDISTRIBUTOR * self.me as u64;
        self.store(self.at(redistributor + GICR_WAKER), 4, 0).await;
        for intid in [CALL, ANSWERED, TURN_OFF, WAKE, TIMER] {
            let priority = redistributor + GICR_IPRIORITYR + u64::from(intid);
            self.store(self.at(priority), 1, 0xa0).await;
        }
        self.store(self.at(redistributor + GICR_ISENABLER0), 4, 1 << TIMER | 0xf).await;
        self.cpu.act(Action::set_priority_mask(0xf0)).await;
        self.cpu.act(Action::enable_group_1(true)).await;
        self.store(layout::online(self.me), 8, 1).await;
    }

    /// Takes no calls any more. Whoever has called until then is answered; whoever calls later sees
    /// that the CPU is offline.
    async fn go_offline(&mut self) {
        self.store(layout::online(self.me), 8, 0).await;
        self.answer_calls().await;
        self.take_interrupts().await;
        self.cpu.act(Action::enable_group_1(false)).await;
    }

    /// Sends an SGI to one CPU, or to all others.
    async fn send(&mut self, sgi: u32, target: Option<usize>) {
        let targets = target.map_or(1 << 40, |target| 1 << target);
        let value = u64::from(sgi) << 24 | targets;
        if self.cpu.write_sysreg(SysReg::ICC_SGI1R_EL1, value).await.is_err() {
            self.fail(ABORTED).await;
        }
    }

    /// Handles all interrupts that are signalled.
    async fn take_interrupts(&mut self) {
        while self.cpu.irq().is_some() {
            let Some(intid) = self.cpu.acknowledge().await else { return };
            match intid {
                CALL => self.answer_calls().await,
                ANSWERED | WAKE => {}
                TURN_OFF => self.is_to_leave = self.me != 0,
                TIMER => self.take_tick().await,
                UART_SPI => self.read_input().await,
                DEVICE_SPI => {
                    let status = self.at(DEVICE + device::STATUS);
                    let is_raised = self.load(status, 4).await;
                    self.expect(is_raised == 1, UNKNOWN_INTERRUPT).await;
                    self.store(status, 4, 1).await;
                }
                _ => self.fail(UNKNOWN_INTERRUPT).await,
            }
            self.cpu.end_of_interrupt(intid).await;
        }
    }

    /// Reads what was typed.
    async fn read_input(&mut self) {
        const EMPTY: u64 = 1 << 4;
        while self.load(self.at(UART + 0x18), 4).await & EMPTY == 0 {
            self.load(self.at(UART), 4).await;
        }
    }

    /// The timer's interrupt: turns it off, if it has fired.
    async fn take_tick(&mut self) {
        const FIRED: u64 = 1 << 2;
        match self.cpu.read_sysreg(SysReg::CNTV_CTL_EL0).await {
            Ok(control) if control & FIRED != 0 => {
                self.cpu.stop_timer(TimerKind::Virtual).await;
                self.has_ticked = true;
            }
            Ok(_) => {}
            Err(_) => self.fail(ABORTED).await,
        }
    }

    /// Waits for some time.
    async fn use_timer(&mut self) {
        let end = self.cpu.counter().await + self.random.below(1000);
        self.has_ticked = false;
        self.cpu.set_timer(TimerKind::Virtual, end).await;
        while !self.has_ticked {
            self.wait_for_interrupt().await;
        }
        let now = self.cpu.counter().await;
        self.expect(now >= end, WRONG_TIME).await;
    }

    async fn wait_for_interrupt(&mut self) {
        match (self.cpu.irq(), self.random.below(4)) {
            (Some(_), _) => {}
            (None, 0) => _ = self.cpu.call(Action::psci_cpu_suspend()).await,
            (None, _) => self.cpu.wfi().await,
        }
        self.take_interrupts().await;
    }

    /// Calls another CPU, and waits for its answer.
    async fn call_another(&mut self) {
        let other = self.another();
        if self.load(layout::online(other), 8).await == 0 {
            return;
        }
        let mailbox = layout::mailbox(other, self.me);
        self.store(mailbox, 8, 1).await;
        self.send(CALL, Some(other)).await;
        while self.load(mailbox, 8).await != 0 {
            if self.load(layout::online(other), 8).await == 0 {
                // It went offline before it saw the call, or answers in this moment.
                return self.store(mailbox, 8, 0).await;
            }
            self.wait_for_interrupt().await;
        }
    }

    async fn answer_calls(&mut self) {
        for other in 0..VCPUS {
            let mailbox = layout::mailbox(self.me, other);
            if self.load(mailbox, 8).await != 0 {
                self.store(mailbox, 8, 0).await;
                self.send(ANSWERED, Some(other)).await;
            }
        }
    }

    fn another(&mut self) -> usize {
        (self.me + 1 + self.random.index(VCPUS - 1)) % VCPUS
    }
}

/// # Power
impl Program {
    async fn turn_another_on(&mut self) {
        let other = self.another();
        use PsciReturnCode::{AlreadyOn, Denied, OnPending, Success};
        let answer = self.cpu.cpu_on(other as u64, layout::IMAGE, 0).await;
        let is_right = matches!(answer, Success | AlreadyOn | OnPending | Denied);
        self.expect(is_right, WRONG_PSCI).await;
    }

    async fn turn_another_off(&mut self) {
        let other = self.another();
        self.send(TURN_OFF, Some(other)).await;
        for _ in 0..POLLS {
            self.take_interrupts().await;
            if self.cpu.affinity_info(other as u64).await == OFF {
                break;
            }
        }
    }

    /// Turns the Realm off when all other CPUs are off: they see that they have to stop.
    async fn end(&mut self) {
        for other in 1..VCPUS {
            while self.cpu.affinity_info(other as u64).await != OFF {
                self.take_interrupts().await;
            }
        }
        self.cpu.system_off().await
    }
}
