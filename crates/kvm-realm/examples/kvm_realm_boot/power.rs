//! Which vCPUs are on, where this program answers the PSCI calls of a Realm.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Which vCPUs are on.
#[derive(Debug)]
pub(crate) struct Power {
    states: Mutex<States>,
    changed: Condvar,
}

#[derive(Debug)]
struct States {
    /// Affinity of each vCPU, and whether it is on.
    vcpus: Vec<(u64, bool)>,
    has_ended: bool,
}

impl Power {
    /// Of vCPUs with these affinities: the first is on.
    pub(crate) fn new(affinities: &[u64]) -> Self {
        let vcpus = (0..).zip(affinities).map(|(id, affinity)| (*affinity, id == 0)).collect();
        Self { states: Mutex::new(States { vcpus, has_ended: false }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The RMM has turned a vCPU on, or finds that it was.
    pub(crate) fn turn_on(&self, affinity: u64) {
        let mut states = self.lock();
        let target = states.vcpus.iter_mut().find(|(of, _)| *of == affinity);
        if let Some((_, is_on)) = target {
            *is_on = true;
        }
        self.changed.notify_all();
    }

    /// A vCPU has turned itself off.
    pub(crate) fn turn_off(&self, vcpu: u64) {
        let index = usize::try_from(vcpu).unwrap_or(usize::MAX);
        if let Some((_, is_on)) = self.lock().vcpus.get_mut(index) {
            *is_on = false;
        }
    }

    /// No vCPU is waited for any more.
    pub(crate) fn end(&self) {
        self.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// Waits until a vCPU is on, or the guest has ended.
    pub(crate) fn wait(&self, vcpu: u64) {
        let index = usize::try_from(vcpu).unwrap_or(usize::MAX);
        let mut states = self.lock();
        while !states.has_ended && states.vcpus.get(index).is_some_and(|(_, is_on)| !is_on) {
            states = self.changed.wait(states).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
