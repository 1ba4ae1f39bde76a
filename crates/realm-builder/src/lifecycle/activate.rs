//! From a Realm with content to one that runs, and to one that never runs again.

use rmi_host::{Failed, Platform};

use crate::lifecycle::realm::{Active, Building, New, Populated, Realm, Terminated};

/// # Activation and the end of running
impl<'a, P: Platform> Realm<'a, P, New> {
    /// Declares that the Realm has all its content. Only RECs add to its measurement from here on;
    /// no call is made.
    pub fn populated(self) -> Realm<'a, P, Populated> {
        self.become_state()
    }
}

impl<'a, P: Platform, S: Building> Realm<'a, P, S> {
    /// Makes the Realm runnable and freezes its measurement: `RMI_REALM_ACTIVATE`.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REALM_ACTIVATE.
    ///
    /// # Errors
    ///
    /// The Realm is returned in its old state.
    pub fn activate(self) -> Result<Realm<'a, P, Active>, Failed<Self>> {
        match self.core.rmm.commands().realm_activate(&self.core.rd) {
            Ok(()) => Ok(self.become_state()),
            Err(error) => Err(Failed::new(self, error)),
        }
    }
}

impl<'a, P: Platform, S> Realm<'a, P, S> {
    /// Stops the Realm permanently: `RMI_REALM_TERMINATE`. None of its RECs may be running.
    ///
    /// 1.0 has no such command, and no call is made: a Realm is stopped by a host that enters its
    /// RECs no more. The host waits until none is running, as no RMM refuses this meanwhile, and
    /// none of the next entries either. What runs after that loses its memory page by page while
    /// the Realm is dismantled.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REALM_TERMINATE.
    ///
    /// # Errors
    ///
    /// The Realm is returned in its old state: [`ErrorRealm`](rmi_abi::Status::ErrorRealm) while a
    /// REC is running (2.0).
    pub fn terminate(self) -> Result<Realm<'a, P, Terminated>, Failed<Self>> {
        match self.core.rmm.commands().realm_terminate(&self.core.rd) {
            Ok(()) => Ok(self.become_state()),
            Err(error) => Err(Failed::new(self, error)),
        }
    }
}
