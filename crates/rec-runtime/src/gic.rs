//! The virtual GIC of a Realm at the exits of its RECs.
//!
//! [`RealmGic`] joins a [`Gic`] and a [`RecSet`]: whoever has to see a change of the interrupts is
//! notified. Its methods are what a [`Handler`](crate::Handler) does; its distributor and
//! redistributors are devices of an [`MmioBus`](crate::mmio::MmioBus).
//!
//! ```
//! use rec_runtime::exit::{MmioLoad, MmioStore, PsciNotice, SysRegRead, SysRegWrite, Wait};
//! use rec_runtime::gic::RealmGic;
//! use rec_runtime::mmio::MmioBus;
//! use rec_runtime::{Flow, Handler, Rec, Timers};
//! use vgic_realm::VirtualInterface;
//!
//! struct Vcpu<'v, I> {
//!     index: usize,
//!     gic: RealmGic<'v>,
//!     bus: &'v MmioBus<'v, 8>,
//!     /// The registers of the CPU that this runs on.
//!     interface: I,
//! }
//!
//! impl<I: VirtualInterface> Handler for Vcpu<'_, I> {
//!     fn before_entry(&mut self, _: &Rec) {
//!         // Physical interrupts are masked from here on.
//!         self.gic.load(self.index, &mut self.interface);
//!     }
//!
//!     fn entry_cancelled(&mut self, _: &Rec) {
//!         self.gic.save(self.index, &mut self.interface);
//!     }
//!
//!     fn after_exit(&mut self, timers: Timers, pmu_overflow: bool) {
//!         self.gic.after_exit(self.index, &mut self.interface, timers, pmu_overflow);
//!         // Until here.
//!     }
//!
//!     fn wait(&mut self, wait: Wait) -> Flow {
//!         self.gic.wait(self.index, wait)
//!     }
//!
//!     fn psci_notice(&mut self, notice: PsciNotice) -> Flow {
//!         match notice {
//!             PsciNotice::CpuSuspend => self.gic.suspend(self.index),
//!             _ => Flow::Leave,
//!         }
//!     }
//!
//!     fn mmio_load(&mut self, load: MmioLoad) -> Flow {
//!         Flow::Enter(self.bus.load(load))
//!     }
//!
//!     fn mmio_store(&mut self, store: MmioStore) -> Flow {
//!         Flow::Enter(self.bus.store(store))
//!     }
//!
//!     fn sysreg_read(&mut self, read: SysRegRead) -> Flow {
//!         Flow::Enter(self.gic.read_sysreg(read))
//!     }
//!
//!     fn sysreg_write(&mut self, write: SysRegWrite) -> Flow {
//!         Flow::Enter(self.gic.write_sysreg(self.index, write))
//!     }
//! }
//! ```

use core::fmt;

use rmi_host::DefaultLock;
use rmi_host::lock_api::RawMutex;
use vgic_realm::{
    DISTRIBUTOR_BYTES, EndedInterrupts, Gic, Kicks, PpiIntid, REDISTRIBUTOR_BYTES, SaveReport,
    SpiIntid, VirtualInterface,
};

use crate::answer::Answer;
use crate::exit::{SysRegRead, SysRegWrite, Wait};
use crate::mmio::{AccessSize, ExternalAbort, MmioDevice};
use crate::run::Flow;
use crate::set::RecSet;
use crate::timer::Timers;

/// The GIC of a Realm, and the RECs that its interrupts are for.
///
/// It is a pair of references: each thread, and each device with an interrupt, has a copy. RECs
/// have the same indices in both, the order of their creation.
///
/// No method waits for anything but the locks of the [`Gic`], and none is held while a REC is
/// notified: then an interrupt is sent to the CPU that runs it, or the thread that waits for it is
/// woken ([`RecSet::notify`]).
pub struct RealmGic<'r, L: RawMutex = DefaultLock> {
    gic: &'r Gic<'r, L>,
    set: &'r RecSet<'r>,
}

impl<L: RawMutex> Clone for RealmGic<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L: RawMutex> Copy for RealmGic<'_, L> {}

impl<'r, L: RawMutex> RealmGic<'r, L> {
    /// Joins them.
    #[must_use]
    pub const fn new(gic: &'r Gic<'r, L>, set: &'r RecSet<'r>) -> Self {
        Self { gic, set }
    }

    /// The GIC.
    #[must_use]
    pub const fn gic(self) -> &'r Gic<'r, L> {
        self.gic
    }

    /// The RECs.
    #[must_use]
    pub const fn set(self) -> &'r RecSet<'r> {
        self.set
    }

    /// Notifies RECs of a change of the GIC.
    pub fn notify(self, kicks: Kicks) {
        for rec in kicks.iter() {
            self.set.notify(rec);
        }
    }

    /// Sets the level of an SPI's line, for instance in a device's callback: [`Gic::set_spi`].
    pub fn set_spi(self, spi: SpiIntid, is_up: bool) {
        self.notify(self.gic.set_spi(spi, is_up));
    }

    /// Has an edge-triggered SPI occur: [`Gic::pulse_spi`].
    pub fn pulse_spi(self, spi: SpiIntid) {
        self.notify(self.gic.pulse_spi(spi));
    }
}

/// # At entries and exits of one REC
impl<L: RawMutex> RealmGic<'_, L> {
    /// Loads the REC's interrupts into the CPU: in
    /// [`Handler::before_entry`](crate::Handler::before_entry), with interrupts masked.
    pub fn load(self, rec: usize, interface: &mut impl VirtualInterface) {
        self.gic.load(rec, interface);
    }

    /// Saves the REC's interrupts from the CPU: in
    /// [`Handler::entry_cancelled`](crate::Handler::entry_cancelled). Returns the level-sensitive
    /// interrupts that the Realm ended, for a host that asks devices for their lines.
    pub fn save(self, rec: usize, interface: &mut impl VirtualInterface) -> EndedInterrupts {
        let SaveReport { kicks, ended, .. } = self.gic.save(rec, interface);
        self.notify(kicks);
        ended
    }

    /// Saves the REC's interrupts from the CPU, and sets the lines of its timers (PPIs 27 and 30)
    /// and of its PMU (PPI 23) as its exit reports them: in
    /// [`Handler::after_exit`](crate::Handler::after_exit). Returns what [`RealmGic::save`] does.
    pub fn after_exit(
        self,
        rec: usize,
        interface: &mut impl VirtualInterface,
        timers: Timers,
        pmu_overflow: bool,
    ) -> EndedInterrupts {
        let ended = self.save(rec, interface);
        for (ppi, is_up) in [
            (PpiIntid::VIRTUAL_TIMER, timers.virtual_timer.is_raised()),
            (PpiIntid::PHYSICAL_TIMER, timers.physical_timer.is_raised()),
            (PpiIntid::PMU, pmu_overflow),
        ] {
            self.notify(self.gic.set_ppi(rec, ppi, is_up));
        }
        ended
    }

    /// Answers a wait: one for an event ends at once, one for an interrupt as
    /// [`RealmGic::suspend`] says.
    pub fn wait(self, rec: usize, wait: Wait) -> Flow {
        if wait.is_for_event() { Flow::Enter(Answer::resume()) } else { self.suspend(rec) }
    }

    /// Answers a REC that waits for an interrupt, in [`Handler::wait`](crate::Handler::wait) or
    /// after [`PsciNotice::CpuSuspend`](crate::exit::PsciNotice::CpuSuspend): it is entered again
    /// if it has one; otherwise the loop ends, and an interrupt that comes from now on notifies the
    /// REC. A host that ends the loop without this call does not learn of interrupts.
    pub fn suspend(self, rec: usize) -> Flow {
        if self.gic.has_pending(rec) {
            Flow::Enter(Answer::resume())
        } else {
            Flow::Stop(Answer::resume())
        }
    }

    /// Answers a read of a trapped system register. Those that the GIC does not have read as zero.
    pub fn read_sysreg(self, read: SysRegRead) -> Answer {
        let value = self.gic.read_sysreg(read.register()).unwrap_or(0);
        read.complete(value)
    }

    /// Carries out a write of a trapped system register: one that sends SGIs, or deactivates an
    /// interrupt. Writes of those that the GIC does not have are ignored.
    pub fn write_sysreg(self, rec: usize, write: SysRegWrite) -> Answer {
        if let Some(kicks) = self.gic.write_sysreg(rec, write.register(), write.value()) {
            self.notify(kicks);
        }
        Answer::resume()
    }
}

/// # Devices of the bus
impl<'r, L: RawMutex> RealmGic<'r, L> {
    /// The distributor: GICD.
    #[must_use]
    pub const fn distributor(self) -> Distributor<'r, L> {
        Distributor(self)
    }

    /// The redistributors of all RECs, one after the other: GICR.
    #[must_use]
    pub const fn redistributors(self) -> Redistributors<'r, L> {
        Redistributors(self)
    }
}

/// The distributor as a device, see [`RealmGic::distributor`].
#[doc(alias = "GICD")]
pub struct Distributor<'r, L: RawMutex = DefaultLock>(RealmGic<'r, L>);

impl<L: RawMutex> Distributor<'_, L> {
    /// The bytes that its registers take: 64 KiB.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        DISTRIBUTOR_BYTES
    }
}

impl<L: RawMutex + Send + Sync> MmioDevice for Distributor<'_, L> {
    fn read(&self, offset: u64, size: AccessSize) -> Result<u64, ExternalAbort> {
        Ok(self.0.gic.gicd_read(offset, size.bytes()))
    }

    fn write(&self, offset: u64, size: AccessSize, value: u64) -> Result<(), ExternalAbort> {
        self.0.notify(self.0.gic.gicd_write(offset, size.bytes(), value));
        Ok(())
    }
}

/// The redistributors of all RECs as a device, see [`RealmGic::redistributors`].
#[doc(alias = "GICR")]
pub struct Redistributors<'r, L: RawMutex = DefaultLock>(RealmGic<'r, L>);

impl<L: RawMutex> Redistributors<'_, L> {
    /// The bytes that their registers take: 128 KiB for each REC.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        REDISTRIBUTOR_BYTES * self.0.gic.recs() as u64
    }

    /// The REC of an offset, and the offset in its redistributor.
    fn rec(offset: u64) -> Result<(usize, u64), ExternalAbort> {
        let rec = usize::try_from(offset / REDISTRIBUTOR_BYTES).map_err(|_| ExternalAbort)?;
        Ok((rec, offset % REDISTRIBUTOR_BYTES))
    }
}

impl<L: RawMutex + Send + Sync> MmioDevice for Redistributors<'_, L> {
    fn read(&self, offset: u64, size: AccessSize) -> Result<u64, ExternalAbort> {
        let (rec, offset) = Self::rec(offset)?;
        Ok(self.0.gic.gicr_read(rec, offset, size.bytes()))
    }

    fn write(&self, offset: u64, size: AccessSize, value: u64) -> Result<(), ExternalAbort> {
        let (rec, offset) = Self::rec(offset)?;
        self.0.notify(self.0.gic.gicr_write(rec, offset, size.bytes(), value));
        Ok(())
    }
}

impl<L: RawMutex> fmt::Debug for RealmGic<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealmGic").field("gic", self.gic).finish_non_exhaustive()
    }
}

impl<L: RawMutex> fmt::Debug for Distributor<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Distributor").field(&self.0).finish()
    }
}

impl<L: RawMutex> fmt::Debug for Redistributors<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redistributors").field(&self.0).finish()
    }
}
