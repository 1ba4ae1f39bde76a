//! A REC that can be entered.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use rmi_abi::rec::Mpidr;
use rmi_abi::rtt::Geometry;
use rmi_abi::run::{EntryRecord, GicEntry, GicExit, RecEnterFlags};
use rmi_host::{DefaultLock, Failed, Platform, RealmNumber, RecName, Rmm, Undelegated, lock_api};
use sro::{Awaiting, EnterError, RecObject};

use crate::answer::{Answer, Ticket};
use crate::exit::{Exit, decode};
use crate::timer::{InterruptLines, Timers};

/// The outcome of one run of a REC.
#[derive(Debug)]
#[must_use = "an exit may want an answer"]
#[non_exhaustive]
pub struct Event {
    /// Why the REC exited.
    pub exit: Exit,
    /// The EL1 timers of the Realm. After every exit the host raises and lowers their interrupts
    /// accordingly.
    ///
    /// An exit before the REC ran ([`Exit::Fault`] for a reply to a host call that could not be
    /// written, and what follows a [`VdevRequest`](crate::exit::VdevRequest)) does not report them;
    /// then they are as at the previous exit.
    pub timers: Timers,
    /// Whether the PMU's overflow interrupt is raised. Where an exit does not report the timers,
    /// this too is as at the previous exit.
    pub pmu_overflow: bool,
}

/// A REC together with its run page: a virtual CPU.
///
/// 1. [`Rec::new`] makes it of a REC of a Realm and a page of host memory.
/// 2. [`Rec::enter`] runs it until its next exit, which the host handles; an answer made from the
///    exit goes into the next entry. [`Rec::run`] does that in a loop, with a
///    [`Handler`](crate::Handler).
/// 3. [`Rec::into_parts`] returns both, so that the Realm can destroy the REC.
///
/// Threads may share it: a REC runs on one CPU at a time, and an entry while it runs is refused. It
/// may move to another CPU between runs. While it runs, the others can name it, as the target of a
/// [`PsciRequest`](crate::exit::PsciRequest) for instance:
///
/// ```
/// # use rec_runtime::Rec;
/// # use rmi_abi::rec::Mpidr;
/// struct Vm {
///     vcpus: [Rec; 4],
/// }
///
/// impl Vm {
///     fn find(&self, target: Mpidr) -> Option<&Rec> {
///         self.vcpus.iter().find(|rec| rec.mpidr() == target)
///     }
/// }
/// ```
#[must_use = "take it apart with `into_parts` to destroy the REC"]
pub struct Rec {
    object: RecObject,
    /// Locked during an entry. Nothing waits for this lock, and an entry that finds it locked is
    /// refused; so in a set only a runner may lock it.
    run: Mutex<RunPage>,
    geometry: Geometry,
    exits: AtomicU64,
    /// Only a [`Runner`](crate::set::Runner) enters it.
    is_in_set: bool,
}

/// The run page, and what the next entry writes to it.
struct RunPage {
    page: Undelegated,
    /// Beside those of the answer.
    flags: RecEnterFlags,
    /// Whether the host's half has been zeroed, which an entry writes only in part.
    is_cleared: bool,
    /// The virtual CPU interface of RMI 1.0: for the next entry, and of the last exit.
    gic: (GicEntry, Option<GicExit>),
}

/// A lock that is only ever tried.
type Mutex<T> = lock_api::Mutex<DefaultLock, T>;

/// # Creation and end
impl Rec {
    /// Gives a REC its run page: one granule of host memory. `geometry` is that of its Realm.
    ///
    /// What the REC waits for is recorded in `object`: an exit that has not been answered yet still
    /// needs its answer, and no other is accepted.
    pub const fn new(object: RecObject, run: Undelegated, geometry: Geometry) -> Self {
        let (flags, gic) = (RecEnterFlags::empty(), (GicEntry::EMPTY, None));
        let run = Mutex::new(RunPage { page: run, flags, is_cleared: false, gic });
        Self { object, run, geometry, exits: AtomicU64::new(0), is_in_set: false }
    }

    /// Notes whether it is in a set.
    pub(crate) const fn in_set(mut self, is_in_set: bool) -> Self {
        self.is_in_set = is_in_set;
        self
    }

    /// That the REC is in no set, where only a runner enters it and changes its entries.
    pub(crate) const fn check_alone(&self) -> Result<(), EnterError> {
        if self.is_in_set { Err(EnterError::Running) } else { Ok(()) }
    }

    /// Returns the REC, to be destroyed, and its run page.
    pub fn into_parts(self) -> (RecObject, Undelegated) {
        (self.object, self.run.into_inner().page)
    }
}

/// # What it is and what it waits for
impl Rec {
    /// The REC's name, for as long as this is borrowed.
    #[must_use]
    pub fn name(&self) -> RecName<'_> {
        self.object.name()
    }

    /// The REC's MPIDR.
    #[must_use]
    pub const fn mpidr(&self) -> Mpidr {
        self.object.mpidr()
    }

    /// The Realm that it belongs to.
    #[must_use]
    pub const fn realm(&self) -> RealmNumber {
        self.object.realm()
    }

    /// What the REC waits for before it can be entered.
    #[must_use]
    pub fn awaiting(&self) -> Awaiting {
        self.object.awaiting()
    }

    /// The number of runs since [`Rec::new`].
    #[must_use]
    pub fn exits(&self) -> u64 {
        self.exits.load(Ordering::Relaxed)
    }
}

/// # What the next entries do
///
/// In a set these functions are refused, and so is [`Rec::enter`]: otherwise any thread could
/// change what the one that runs the REC has prepared. There, use
/// [`Runner::trap_waiting`](crate::set::Runner::trap_waiting),
/// [`Runner::force_plane_0`](crate::set::Runner::force_plane_0),
/// [`Handler::gic_entry`](crate::Handler::gic_entry) and
/// [`Handler::gic_exit`](crate::Handler::gic_exit).
impl Rec {
    /// Sets whether the REC exits when it waits for an interrupt (WFI) or an event (WFE), with a
    /// deadline or without: [`Exit::Wait`]. Otherwise the CPU waits, until a physical interrupt at
    /// the latest. By default neither exits.
    ///
    /// # Errors
    ///
    /// [`EnterError::Running`] while a thread has entered the REC, and in a set.
    pub fn trap_waiting(&self, wfi: bool, wfe: bool) -> Result<(), EnterError> {
        self.check_alone()?;
        self.set_flags(&[(RecEnterFlags::TRAP_WFI, wfi), (RecEnterFlags::TRAP_WFE, wfe)])
    }

    /// Sets whether the next entry that succeeds returns to plane 0 first, if another plane of the
    /// REC was running (2.0). For a host that has something for plane 0.
    ///
    /// Source: DEN0137 2.0-bet3, `RmiRecEnterFlags`, `force_p0`.
    ///
    /// # Errors
    ///
    /// As [`Rec::trap_waiting`].
    pub fn force_plane_0(&self, force: bool) -> Result<(), EnterError> {
        self.check_alone()?;
        self.set_flags(&[(RecEnterFlags::FORCE_P0, force)])
    }

    /// For the only runner of a REC in a set, which is never refused.
    pub(crate) fn set_flags(&self, flags: &[(RecEnterFlags, bool)]) -> Result<(), EnterError> {
        let mut run = self.run.try_lock().ok_or(EnterError::Running)?;
        for (flag, is_set) in flags {
            run.flags.set(*flag, *is_set);
        }
        Ok(())
    }

    /// Sets the virtual CPU interface for the next entries, in a dialect that has it in the run
    /// page ([`Dialect::gic_in_run_page`](rmi_abi::Dialect::gic_in_run_page)); others ignore it. It
    /// is what `vgic_realm::RunPage::enter` gives.
    ///
    /// # Errors
    ///
    /// As [`Rec::trap_waiting`].
    pub fn set_gic(&self, gic: GicEntry) -> Result<(), EnterError> {
        self.check_alone()?;
        let mut run = self.run.try_lock().ok_or(EnterError::Running)?;
        run.gic = (gic, None);
        Ok(())
    }

    /// The virtual CPU interface at the last exit, for `vgic_realm::RunPage::exit`. `None` if the
    /// dialect does not have it in the run page, or the REC has not run since [`Rec::set_gic`].
    ///
    /// # Errors
    ///
    /// As [`Rec::trap_waiting`].
    pub fn gic(&self) -> Result<Option<GicExit>, EnterError> {
        self.check_alone()?;
        Ok(self.run.try_lock().ok_or(EnterError::Running)?.gic.1)
    }
}

/// # Running
impl Rec {
    /// Enters the REC and runs it until its next exit: `RMI_REC_ENTER`.
    ///
    /// The REC runs on the CPU that makes the call, which is the one that this function is called
    /// on if the session's conduit is the calling CPU's (see
    /// [`Conduit::call`](rmi_host::Conduit::call)). The host has loaded the REC's virtual CPU
    /// interface into that CPU, does not migrate to another until it has saved it, and physical
    /// interrupts that are to end the run are enabled: [who owns which other state of the
    /// CPU](crate#the-cpu-across-an-entry). No lock is waited for.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REC_ENTER.
    ///
    /// # Errors
    ///
    /// The answer is returned, as the REC did not run: [`EnterError::Unanswered`],
    /// [`EnterError::WrongAnswer`], and [`EnterError::Running`] while another thread has entered
    /// the REC, or it is in a [`RecSet`](crate::RecSet), whose [`Runner`](crate::set::Runner) is
    /// the only one who enters it, before any call; [`ErrorRealm`](rmi_abi::Status::ErrorRealm)
    /// when the Realm is off or not active, [`ErrorRec`](rmi_abi::Status::ErrorRec) when the REC is
    /// running, turned off, or refuses the virtual GIC's state.
    ///
    /// If it is not certain that the REC did not run, because the RMM's answer was lost or is
    /// garbled, the answer is used up: `kept` is `None`. What the REC waits for now is not known,
    /// and every later entry is [`EnterError::Unclear`].
    pub fn enter<P: Platform>(
        &self,
        rmm: &Rmm<P>,
        answer: Answer,
    ) -> Result<Event, Failed<Option<Answer>, EnterError>> {
        let mut exit = Exit::Irq;
        let entered =
            self.check_alone().and_then(|()| self.enter_into(rmm, &answer, &mut AsSet, &mut exit));
        match entered {
            Ok(InterruptLines { timers, pmu_overflow }) => Ok(Event { exit, timers, pmu_overflow }),
            Err(error) => Err(Failed::new(error.is_clean().then_some(answer), error)),
        }
    }

    /// As [`Rec::enter`], in a set too; the exit, which is large, is put into `exit`. Unless the
    /// error is clean, the answer is used up.
    pub(crate) fn enter_into<P: Platform>(
        &self,
        rmm: &Rmm<P>,
        answer: &Answer,
        interface: &mut dyn RunPageInterface,
        exit: &mut Exit,
    ) -> Result<InterruptLines, EnterError> {
        let Some(mut run) = self.run.try_lock() else {
            return Err(EnterError::Running);
        };
        let run = &mut *run;
        if !run.is_cleared {
            rmm.commands().clear_run_page(&mut run.page)?;
            run.is_cleared = true;
        }
        let (dialect, geometry) = (rmm.dialect(), self.geometry);
        if dialect.gic_in_run_page() {
            interface.enter(&mut run.gic.0);
        }
        let entry = EntryRecord {
            flags: answer.flags | run.flags,
            gprs: answer.gprs(),
            gic: Some(&run.gic.0),
        };
        let (page, gic) = (&mut run.page, &mut run.gic.1);
        let entered = self.object.enter(rmm, page, &entry, answer.exit, |record, number| {
            decode(record, dialect, geometry, Ticket { exit: number }, exit);
            let mut lines = InterruptLines::new(record);
            // Most records have none, and it is large.
            match &record.gic {
                Some(registers) => *gic = Some(*registers),
                None => *gic = None,
            }
            if let Some(before) = answer.value.lines_before(exit) {
                // A REC that ran may have no timers, but `gicv3_hcr` has the bits that were
                // entered, of a `vgic_realm::Gic` always TDIR. A host that enters none of them
                // cannot tell a REC that did not run from one that has ended all its interrupts,
                // masks all and disables both groups: that one gets an edge again.
                let has_gic = gic.as_ref().is_some_and(|gic| *gic != GicExit::default());
                if lines.is_untold() && !has_gic {
                    (lines, *gic) = (before, None);
                }
                if let Exit::Fault(fault) = exit {
                    fault.again = answer.value.again(lines);
                }
            }
            (lines, exit.wants_answer())
        });
        if entered.is_ok() {
            self.exits.fetch_add(1, Ordering::Relaxed);
            run.flags.remove(RecEnterFlags::FORCE_P0);
            if let Some(gic) = &run.gic.1 {
                interface.exit(gic);
            }
        }
        entered
    }
}

/// Who has the virtual CPU interface, in a dialect that has it in the run page.
pub(crate) trait RunPageInterface {
    /// Changes what the next entry writes.
    fn enter(&mut self, gic: &mut GicEntry);
    /// Takes what the exit has.
    fn exit(&mut self, gic: &GicExit);
}

/// It is as [`Rec::set_gic`] set it.
struct AsSet;

impl RunPageInterface for AsSet {
    fn enter(&mut self, _: &mut GicEntry) {}
    fn exit(&mut self, _: &GicExit) {}
}

impl fmt::Debug for Rec {
    /// Takes no lock, as the entry of another thread would be refused meanwhile.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rec")
            .field("object", &self.object)
            .field("exits", &self.exits)
            .field("is_in_set", &self.is_in_set)
            .finish_non_exhaustive()
    }
}
