//! What the Realm does: a program for each virtual CPU, which the model executes in place of
//! instructions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use realm_sdk::abi::rtt::{Geometry, Ripas};
use realm_sdk::abi::{Ipa, IpaRange};
use rmm_model::{Action, AsyncVcpu, Exception};

use crate::devices::{self, DISK, DISTRIBUTOR, REDISTRIBUTORS, UART};
use crate::vmm::{self, VCPUS};

/// A part of RAM that the Realm gives back: 2 MiB.
const UNPLUGGED: u64 = 0x4040_0000;
/// What PSCI_AFFINITY_INFO returns for a CPU that is off.
const OFF: u64 = 1;

/// A virtual CPU.
pub(crate) struct Program {
    pub(crate) cpu: AsyncVcpu,
    pub(crate) number: usize,
    pub(crate) geometry: Geometry,
    /// The lock of the console, which all virtual CPUs share.
    pub(crate) console: Arc<AtomicBool>,
}

impl Program {
    /// What the virtual CPU does. The first time the Realm asks for a reset at the end, then for
    /// shutdown.
    pub(crate) async fn run(mut self, is_first: bool) -> Result<(), Exception> {
        let number = self.number;
        self.print(&format!("cpu {number}: hello\n")).await?;
        if number > 0 {
            let own = vmm::ram().base().raw() + 0x60_0000 + number as u64 * 0x20_0000;
            self.cpu.store(Ipa::new(own), 8, number as u64).await?;
            self.print(&format!("cpu {number}: has memory of its own\n")).await?;
            self.cpu.cpu_off().await;
            return Ok(());
        }
        for other in 1..VCPUS as u64 {
            self.cpu.cpu_on(other, vmm::ram().base(), 0).await;
        }
        self.read_sector(7).await?;
        self.cpu.store(Ipa::new(UNPLUGGED), 8, 1).await?;
        self.give_up(IpaRange::with_size_or_empty(Ipa::new(UNPLUGGED), 2 << 20)).await;
        for other in 1..VCPUS as u64 {
            while self.cpu.affinity_info(other).await != OFF {}
        }
        self.print("cpu 0: all others are off\n").await?;
        if is_first {
            self.cpu.call(Action::psci_system_reset()).await;
        }
        self.cpu.system_off().await
    }

    /// The address of a device's register.
    fn register(&self, offset: u64) -> Ipa {
        Ipa::new(self.geometry.unprotected_base().raw() + offset)
    }

    async fn write(&mut self, register: u64, value: u64) -> Result<(), Exception> {
        self.cpu.store(self.register(register), 4, value).await
    }

    async fn print(&mut self, text: &str) -> Result<(), Exception> {
        let console = Arc::clone(&self.console);
        while console.swap(true, Ordering::Acquire) {
            self.cpu.nop().await;
        }
        for letter in text.bytes() {
            self.cpu.store(self.register(UART), 1, letter.into()).await?;
        }
        console.store(false, Ordering::Release);
        Ok(())
    }

    /// Gives memory to the host, by making it EMPTY.
    async fn give_up(&mut self, range: IpaRange) {
        let mut base = range.base();
        while base < range.top() {
            let call = Action::ipa_state_set(base, range.top(), Ripas::Empty, 0);
            let [_, reached, ..] = self.cpu.call(call).await;
            base = Ipa::new(reached);
        }
    }

    /// Enables the interrupt of the disk: the distributor, and this CPU.
    async fn enable_interrupts(&mut self) -> Result<(), Exception> {
        const CONTROL: u64 = 0;
        const ENABLE_SPIS: u64 = 0x104;
        const WAKER: u64 = 0x14;
        self.write(DISTRIBUTOR + CONTROL, 0b1_0010).await?;
        self.write(DISTRIBUTOR + ENABLE_SPIS, 1 << (devices::DISK_SPI.number() - 32)).await?;
        self.write(REDISTRIBUTORS + WAKER, 0).await?;
        self.cpu.act(Action::set_priority_mask(0xf0)).await;
        self.cpu.act(Action::enable_group_1(true)).await;
        Ok(())
    }

    /// Shares the buffer, has the disk read a sector into it, and prints that.
    async fn read_sector(&mut self, sector: u64) -> Result<(), Exception> {
        let buffer = vmm::buffer();
        self.give_up(buffer).await;
        let alias = Ipa::new(buffer.base().raw() | self.geometry.unprotected_base().raw());
        self.enable_interrupts().await?;
        self.cpu.store(alias, 8, sector).await?;
        self.cpu.store(self.register(DISK + devices::DOORBELL), 8, alias.raw()).await?;
        let interrupt = self.cpu.next_interrupt().await;
        self.write(DISK + devices::ACKNOWLEDGE, 1).await?;
        self.cpu.end_of_interrupt(interrupt).await;
        let mut text = format!("cpu 0: interrupt {interrupt}\ncpu 0: read ");
        for word in 0..2 {
            let content = Ipa::new(alias.raw() + devices::CONTENT + 8 * word);
            let letters = self.cpu.load(content, 8).await?.to_le_bytes();
            text.extend(letters.into_iter().filter(|letter| *letter != 0).map(char::from));
        }
        self.print(&text).await
    }
}
