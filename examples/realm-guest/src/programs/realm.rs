//! A program's view of its Realm: the CPU, with what all programs need.

use rmi_abi::rsi::ReturnCode;
use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};

use crate::entry::Entry;
use crate::host_call::{STEP, VALUES, VERDICT};
use crate::layout::{self, DISTRIBUTOR, REDISTRIBUTOR_BYTES, REDISTRIBUTORS};
use crate::vcpu::{Aborted, Vcpu};

/// Something was not as expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where: a number that occurs once in the source of the programs.
    pub step: u64,
    /// What was expected; 0xc0ffee where an access aborted, or a call was refused.
    pub expected: u64,
    /// What was found. For a call that was refused, its return code.
    pub found: u64,
}

/// What was expected where an access aborted, or a call was refused.
const NO_REFUSAL: u64 = 0x00c0_ffee;

/// A virtual CPU that runs a program.
#[derive(Debug)]
pub struct Realm<'v, V> {
    /// The CPU.
    pub cpu: &'v mut V,
    entry: Entry,
}

impl<'v, V: Vcpu> Realm<'v, V> {
    /// A CPU at the start of a program.
    pub const fn new(cpu: &'v mut V, entry: Entry) -> Self {
        Self { cpu, entry }
    }

    /// What it was started with.
    #[must_use]
    pub const fn entry(&self) -> Entry {
        self.entry
    }

    /// The index of this CPU.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.entry.index.into()
    }

    /// The verdict, and the end: CPU 0 turns the Realm off, another one itself.
    pub async fn end(&mut self, result: Result<(), Failure>) {
        let verdict = match result {
            Ok(()) => [0, 0, 0],
            Err(Failure { step, expected, found }) => [step, expected, found],
        };
        // If the host cannot be told, it sees a Realm that ends without a verdict.
        let _ = self.call_host(VERDICT, &verdict).await;
        if self.entry.index == 0 {
            self.cpu.system_off().await;
        } else {
            self.cpu.cpu_off().await;
        }
    }

    /// Compares.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the numbers differ.
    pub fn expect(&self, step: u64, expected: u64, found: u64) -> Result<(), Failure> {
        if expected == found { Ok(()) } else { Err(Failure { step, expected, found }) }
    }

    /// Takes the value of a call that has to succeed.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it was refused.
    pub fn done<T>(&self, step: u64, result: Result<T, ReturnCode>) -> Result<T, Failure> {
        result.map_err(|code| Failure { step, expected: NO_REFUSAL, found: code.into() })
    }

    /// Checks that a call was refused with that code.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it succeeded, or was refused otherwise.
    pub fn refused<T>(
        &self,
        step: u64,
        code: ReturnCode,
        result: Result<T, ReturnCode>,
    ) -> Result<(), Failure> {
        let found = result.err().map_or(0, u64::from);
        self.expect(step, code.into(), found)
    }

    /// Checks that an access aborted.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it did not.
    pub fn aborts<T>(&self, step: u64, result: Result<T, Aborted>) -> Result<(), Failure> {
        self.expect(step, 1, result.is_err().into())
    }

    /// Loads a value from where there has to be something.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the access aborts.
    pub async fn load(&mut self, step: u64, ipa: Ipa, bytes: u8) -> Result<u64, Failure> {
        let loaded = self.cpu.load(ipa, bytes).await;
        loaded.map_err(|Aborted| Failure { step, expected: NO_REFUSAL, found: ipa.raw() })
    }

    /// Stores a value to where there has to be something.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the access aborts.
    pub async fn store(
        &mut self,
        step: u64,
        ipa: Ipa,
        bytes: u8,
        value: u64,
    ) -> Result<(), Failure> {
        let stored = self.cpu.store(ipa, bytes, value).await;
        stored.map_err(|Aborted| Failure { step, expected: NO_REFUSAL, found: ipa.raw() })
    }

    /// Calls the host: X0 afterwards.
    async fn call_host(&mut self, immediate: u16, values: &[u64]) -> Result<u64, Failure> {
        let page = layout::call_page(self.entry.index.into());
        let word = |number: u64| Ipa::new(page.raw() + 8 * number);
        self.store(1, page, 2, immediate.into()).await?;
        for (number, value) in (1..).zip(values) {
            self.store(2, word(number), 8, *value).await?;
        }
        let called = self.cpu.host_call(page).await;
        self.done(3, called)?;
        self.load(4, word(1), 8).await
    }

    /// Tells the host values.
    ///
    /// # Errors
    ///
    /// [`Failure`] when that is not possible.
    pub async fn tell<const N: usize>(
        &mut self,
        what: u64,
        values: [u64; N],
    ) -> Result<(), Failure> {
        let mut all = [0; 20];
        for (to, from) in all.iter_mut().zip([what].into_iter().chain(values)) {
            *to = from;
        }
        let told = all.get(..=N).unwrap_or(&all);
        self.call_host(VALUES, told).await.map(|_| ())
    }

    /// Tells the host that a step is reached, and waits for its answer.
    ///
    /// # Errors
    ///
    /// [`Failure`] when that is not possible.
    pub async fn ask(&mut self, number: u64, a: u64, b: u64) -> Result<u64, Failure> {
        self.call_host(STEP, &[number, a, b]).await
    }

    /// On CPU 0, waits until the others of `cpus` CPUs have turned themselves off.
    pub async fn wait_for_others(&mut self, cpus: u64) {
        /// What PSCI_AFFINITY_INFO returns for a CPU that is off.
        const OFF: u64 = 1;
        if self.entry.index != 0 {
            return;
        }
        for cpu in 1..cpus {
            while self.cpu.affinity_info(cpu).await != OFF {
                self.cpu.relax().await;
            }
        }
    }

    /// Changes the RIPAS of a range, in as many calls as it takes: how many those were.
    ///
    /// # Errors
    ///
    /// [`Failure`] when a call is refused, rejected by the host, or gets nowhere.
    pub async fn set_ripas(
        &mut self,
        step: u64,
        range: IpaRange,
        ripas: Ripas,
    ) -> Result<u64, Failure> {
        let (mut base, mut calls) = (range.base(), 0);
        while base < range.top() {
            let changed = self.cpu.ipa_state_set(base, range.top(), ripas, false).await;
            let (reached, is_accepted) = self.done(step, changed)?;
            self.expect(step, 1, is_accepted.into())?;
            if reached <= base || reached > range.top() {
                let (expected, found) = (range.top().raw(), reached.raw());
                return Err(Failure { step, expected, found });
            }
            (base, calls) = (reached, calls + 1);
        }
        Ok(calls)
    }

    /// Lets interrupts through, in the distributor and for this CPU: those of an SGI or PPI in
    /// `private`, and one SPI, which goes to the CPU with the affinity `route`.
    ///
    /// # Errors
    ///
    /// [`Failure`] when an access aborts.
    pub async fn enable_interrupts(
        &mut self,
        private: u32,
        spi: Option<(u32, u64)>,
    ) -> Result<(), Failure> {
        // Registers of the distributor, and of a redistributor.
        const GICD_CTLR: u64 = 0;
        const GICD_ISENABLER: u64 = 0x100;
        const GICD_IPRIORITYR: u64 = 0x400;
        const GICD_IROUTER: u64 = 0x6000;
        const GICR_WAKER: u64 = 0x14;
        const GICR_ISENABLER0: u64 = 0x1_0100;
        const GICR_IPRIORITYR: u64 = 0x1_0400;
        // Group 1, affinity routing.
        self.store(5, layout::unprotected(DISTRIBUTOR + GICD_CTLR), 4, 0b1_0010).await?;
        if let Some((spi, route)) = spi {
            let spi = u64::from(spi);
            let at = |offset| layout::unprotected(DISTRIBUTOR + offset);
            self.store(6, at(GICD_IPRIORITYR + spi), 1, 0xa0).await?;
            self.store(7, at(GICD_IROUTER + 8 * spi), 8, route).await?;
            self.store(8, at(GICD_ISENABLER + spi / 32 * 4), 4, 1 << (spi % 32)).await?;
        }
        let redistributor = REDISTRIBUTORS + REDISTRIBUTOR_BYTES * self.index();
        let at = |offset| layout::unprotected(redistributor + offset);
        self.store(9, at(GICR_WAKER), 4, 0).await?;
        for intid in (0..32).filter(|intid| private >> intid & 1 == 1) {
            self.store(10, at(GICR_IPRIORITYR + intid), 1, 0xa0).await?;
        }
        self.store(11, at(GICR_ISENABLER0), 4, private.into()).await?;
        self.cpu.enable_interrupts().await;
        Ok(())
    }

    /// Waits with WFI for an interrupt, and acknowledges it.
    pub async fn next_interrupt(&mut self) -> u32 {
        loop {
            if let Some(intid) = self.cpu.acknowledge().await {
                return intid;
            }
            self.cpu.wait_for_interrupt().await;
        }
    }
}
