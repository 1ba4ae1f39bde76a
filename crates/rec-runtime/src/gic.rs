//! The virtual GIC of a Realm at the exits of its RECs.
//!
//! [`RealmGic`] joins a [`Gic`] and a [`RecSet`]: whoever has to see a change of the interrupts is
//! notified. Its distributor and redistributors are devices of an
//! [`MmioBus`](crate::mmio::MmioBus).
//!
//! [`GicHandler`] is the [`Handler`](crate::Handler) of a REC with such a GIC: it does all that the
//! GIC and the bus need, and leaves the rest to another handler. A host with a handler of its own
//! calls the methods of [`RealmGic`].
//!
//! The list registers are the CPU's (RMI 2.0), or in the run page (1.0). All else is the same: the
//! interface of the handler is that of the CPU or a [`RunPage`](vgic_realm::RunPage), or a
//! [`RecInterface`], which is what the RMM uses.
//!
//! ```
//! use rec_runtime::gic::{GicHandler, RealmGic, RunReport};
//! use rec_runtime::mmio::MmioBus;
//! use rec_runtime::{Handler, Rec, Timers};
//! use vgic_realm::{Saved, VirtualInterface};
//!
//! /// What a host does itself.
//! struct Vcpu;
//!
//! impl Handler for Vcpu {
//!     fn before_entry(&mut self, _: &Rec) {
//!         // On hardware, mask physical interrupts and preemption first.
//!     }
//!
//!     fn entry_cancelled(&mut self, _: &Rec) {
//!         // Unmask them.
//!     }
//!
//!     fn interrupts_saved(&mut self, report: &RunReport) {
//!         if report.saved == Saved::Unused {
//!             // The REC did not get its interrupts: to be reported.
//!         }
//!     }
//!
//!     fn after_exit(&mut self, _: Timers, _: bool) {
//!         // Unmask them.
//!     }
//! }
//!
//! /// The handler of a REC, for the thread that runs it.
//! fn handler<'v, I: VirtualInterface>(
//!     gic: RealmGic<'v>,
//!     index: usize,
//!     interface: I,
//!     bus: &'v MmioBus<'v, 8>,
//! ) -> impl Handler {
//!     GicHandler { gic, index, interface, bus, rest: Vcpu }
//! }
//! ```

mod handler;
mod interface;

use core::fmt;

use rmi_host::DefaultLock;
use rmi_host::lock_api::RawMutex;
use vgic_realm::{
    Affinity, DISTRIBUTOR_BYTES, EndedInterrupts, Gic, Kicks, PpiIntid, REDISTRIBUTOR_BYTES,
    SaveReport, Saved, SpiIntid, VirtualInterface,
};

pub use handler::GicHandler;
pub use interface::RecInterface;

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

/// What a run did to the interrupts of a REC. Who has to be notified, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunReport {
    /// Whether the REC ran on the registers that were loaded. After an exit, [`Saved::Unused`]
    /// means that it did not get the interrupts in them: its documentation lists the causes.
    pub saved: Saved,
    /// The level-sensitive interrupts that the Realm ended, for a host that asks devices for their
    /// lines. A [`GicHandler`] passes them to
    /// [`Handler::interrupts_ended`](crate::Handler::interrupts_ended).
    pub ended: EndedInterrupts,
}

impl<L: RawMutex> Clone for RealmGic<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L: RawMutex> Copy for RealmGic<'_, L> {}

impl<'r, L: RawMutex> RealmGic<'r, L> {
    /// Joins them. The set has all its RECs, and the affinities of the GIC are
    /// [`RecSet::affinities`].
    ///
    /// # Errors
    ///
    /// [`GicMismatch`]: a Realm reads its MPIDRs from its RECs, and finds redistributors and sends
    /// SGIs by them.
    pub fn new(gic: &'r Gic<'r, L>, set: &'r RecSet<'r>) -> Result<Self, GicMismatch> {
        if gic.recs() != set.len() {
            return Err(GicMismatch::Count { gic: gic.recs(), set: set.len() });
        }
        for (rec, in_set) in set.affinities().enumerate() {
            if let Some(in_gic) = gic.affinity(rec)
                && in_gic != in_set
            {
                return Err(GicMismatch::Affinity { rec, gic: in_gic, set: in_set });
            }
        }
        Ok(Self { gic, set })
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
    ///
    /// The calls for a line are made in the order of its changes. So a device that several threads
    /// change makes them while it holds its own lock.
    pub fn set_spi(self, spi: SpiIntid, is_up: bool) {
        self.notify(self.gic.set_spi(spi, is_up));
    }

    /// Has an edge-triggered SPI occur: [`Gic::pulse_spi`].
    pub fn pulse_spi(self, spi: SpiIntid) {
        self.notify(self.gic.pulse_spi(spi));
    }
}

/// Why a GIC and a set of RECs do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GicMismatch {
    /// They have different numbers of RECs.
    #[error("the GIC is for {gic} RECs, and the set has {set}")]
    Count {
        /// RECs of the GIC.
        gic: usize,
        /// RECs of the set.
        set: usize,
    },
    /// A REC has different affinities.
    #[error("REC {rec} has the affinity {gic} in the GIC, and {set} in the set")]
    Affinity {
        /// Its index.
        rec: usize,
        /// Its affinity in the GIC.
        gic: Affinity,
        /// Its affinity in the set, which the Realm reads.
        set: Affinity,
    },
}

/// # For the GIC
impl RecSet<'_> {
    /// The affinities of the RECs, in the order of their indices:
    /// [`GicConfig::affinities`](vgic_realm::GicConfig).
    ///
    /// They are not the indices: the MPIDR of REC 16 is `0x100`.
    pub fn affinities(&self) -> impl Iterator<Item = Affinity> + '_ {
        let recs = (0..self.len()).filter_map(|index| self.rec(index));
        recs.map(|rec| Affinity::from_mpidr(rec.mpidr().to_psci()))
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
    /// [`Handler::entry_cancelled`](crate::Handler::entry_cancelled), where they are usually
    /// [unused](Saved::Unused).
    pub fn save(self, rec: usize, interface: &mut impl VirtualInterface) -> RunReport {
        let SaveReport { saved, kicks, ended } = self.gic.save(rec, interface);
        self.notify(kicks);
        RunReport { saved, ended }
    }

    /// Saves the REC's interrupts from the CPU, and sets the lines of its timers (PPIs 27 and 30)
    /// and of its PMU (PPI 23) as its exit reports them: in
    /// [`Handler::after_exit`](crate::Handler::after_exit).
    pub fn after_exit(
        self,
        rec: usize,
        interface: &mut impl VirtualInterface,
        timers: Timers,
        pmu_overflow: bool,
    ) -> RunReport {
        let report = self.save(rec, interface);
        let [virtual_timer, physical_timer] = Self::lines(timers);
        let lines = [virtual_timer, physical_timer, (PpiIntid::PMU, pmu_overflow)];
        self.notify(self.gic.set_ppis(rec, lines));
        report
    }

    /// Sets the lines of the REC's timers (PPIs 27 and 30). Between two runs of the REC, a host
    /// whose thread slept raises with this what has expired meanwhile: `sleep.timers.at(counter)`
    /// ([`Timers::at`]) after [`Outcome::Waiting`](crate::set::Outcome::Waiting).
    pub fn set_timers(self, rec: usize, timers: Timers) {
        self.notify(self.gic.set_ppis(rec, Self::lines(timers)));
    }

    /// The lines of timers.
    const fn lines(timers: Timers) -> [(PpiIntid, bool); 2] {
        [
            (PpiIntid::VIRTUAL_TIMER, timers.virtual_timer.is_raised()),
            (PpiIntid::PHYSICAL_TIMER, timers.physical_timer.is_raised()),
        ]
    }

    /// Resets the virtual CPU interface of a REC that has turned itself off: in
    /// [`Handler::cpu_off`](crate::Handler::cpu_off). SPIs that any REC may take, and that this one
    /// did not, go to others: [`Gic::turn_off`].
    pub fn turn_off(self, rec: usize) {
        self.notify(self.gic.turn_off(rec));
    }

    /// Answers a wait: one for an event ends at once, one for an interrupt as
    /// [`RealmGic::suspend`] says.
    pub fn wait(self, rec: usize, wait: Wait) -> Flow {
        if wait.is_for_event() { Flow::Enter(Answer::resume()) } else { self.suspend(rec) }
    }

    /// Answers a REC that waits for an interrupt, in [`Handler::wait`](crate::Handler::wait) or
    /// after [`PsciNotice::CpuSuspend`](crate::exit::PsciNotice::CpuSuspend): it is entered again
    /// if it has one; otherwise the loop ends, and an interrupt that comes from now on notifies the
    /// REC. A host that ends the loop without this call does not learn of interrupts; one that does
    /// not run the REC again when it is notified calls [`RealmGic::leave`].
    pub fn suspend(self, rec: usize) -> Flow {
        if self.gic.has_pending(rec) {
            Flow::Enter(Answer::resume())
        } else {
            Flow::Stop(Answer::resume())
        }
    }

    /// The REC is not run for a while, so interrupts for any REC go to others ([`Gic::leave`]): in
    /// [`Handler::loop_ended`](crate::Handler::loop_ended).
    pub fn leave(self, rec: usize) {
        self.notify(self.gic.leave(rec));
    }

    /// Answers a read of a trapped system register. Those that the GIC does not have read as zero.
    pub fn read_sysreg(self, read: SysRegRead) -> Answer {
        let value = self.gic.read_sysreg(read.register()).unwrap_or(0);
        read.complete(value)
    }

    /// Carries out a write of a trapped system register: one that sends SGIs, or deactivates an
    /// interrupt, of which [`Gic::take_ended`] tells afterwards. Writes of those that the GIC does
    /// not have are ignored.
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
