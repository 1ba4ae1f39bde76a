//! The physical CPUs, as a set of RECs uses them.

/// How a set of RECs reaches the physical CPUs, and the threads that run RECs.
///
/// CPUs are numbered by the embedder, from 0 to 65,535.
///
/// All methods are called without a lock of the set or of a `Gic` held. A lock of a device may be:
/// one that calls [`RecSet::notify`](super::RecSet::notify) while it sets its interrupt line, for
/// instance. [`PhysicalCpus::interrupt`] and
/// [`PhysicalCpus::wake`] are called in the context of whoever kicks, notifies, pauses, resumes, or
/// turns a REC on or the Realm off.
pub trait PhysicalCpus: Sync {
    /// The CPU that the caller runs on. The run loop asks after
    /// [`Handler::before_entry`](crate::Handler::before_entry), in which the embedder has made sure
    /// that the thread stays on its CPU until the exit.
    fn current(&self) -> u16;

    /// Interrupts a CPU: the run of a REC that is in progress there ends, and otherwise the next
    /// one does. The interrupt (an SGI for example) stays pending while the CPU masks it.
    ///
    /// What the caller did before is visible on that CPU to what runs there after the interrupt was
    /// taken. On Arm that takes a `DSB ISHST` before the write to `ICC_SGI1R_EL1`.
    fn interrupt(&self, cpu: u16);

    /// The REC with this index may be entered again, or its run loop has something to tell, and the
    /// last run loop ended because the REC was off, waited, or the set was paused. May also be
    /// called without need.
    ///
    /// It may be called before the loop has returned. So a thread that then goes to sleep needs a
    /// wake-up that is not lost (as `std::thread::Thread::unpark`), or asks
    /// [`RecSet::is_ready`](super::RecSet::is_ready) when it no longer can be.
    fn wake(&self, index: usize) {
        let _ = index;
    }
}
