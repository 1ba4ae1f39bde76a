//! How many sessions are open on an RMM, so that none changes its configuration under another.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::granules::Machine;

/// A machine, and the number of sessions that this program has open on its RMM. A
/// [`Conduit`](crate::Conduit::open_sessions) has it, and says with it which machine it leads to:
/// so no two conduits lead to one machine by different counts.
///
/// The granule size is part of every descriptor of memory. So the RMM's configuration is changed
/// only while no session is open: a session that is opened while another is open uses the
/// configuration that the RMM has.
///
/// A session is counted from [`Discovered::configure`](crate::Discovered::configure) until
/// [`Configured::into_platform`](crate::Configured::into_platform),
/// [`Rmm::into_platform`](crate::Rmm::into_platform), or the functions of the crates above that
/// call them. One that is dropped, and a channel made by [`Channel::new`](crate::Channel::new),
/// count for as long as the program runs.
///
/// ```
/// # use rmi_abi::Dialect;
/// use rmi_host::{Conduit, Discovered, SessionOptions};
/// # use rmm_model::{Model, Options};
/// # let model = Model::new(Options::new(Dialect::V2_0Bet3))?;
/// # let mut memory = model.take_memory();
/// let first = rmm_model::open(model.host(), &mut memory)?;
/// let found = Discovered::probe(model.host(), SessionOptions::default())?;
/// let second = found.configure(&mut memory)?.into_active();
/// assert_eq!(model.open_sessions().count(), 2);
/// let _ = (first.into_platform(), second.into_platform());
/// assert_eq!(model.open_sessions().count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OpenSessions {
    machine: Machine,
    state: AtomicU32,
}

/// Set while a session is being configured and no other is open.
const CONFIGURING: u32 = 1 << 31;
/// Where counting stops: that many sessions were dropped, and the configuration stays.
const MOST: u32 = CONFIGURING - 1;

static OF_THIS_MACHINE: OpenSessions = OpenSessions::new(Machine::REAL);

/// Another session is being configured.
#[derive(Debug)]
pub(crate) struct Configuring;

impl OpenSessions {
    /// No session on the RMM of this machine, which has no other count: whatever simulates a
    /// machine makes it, with a new number ([`Machine::simulated`]).
    #[must_use]
    pub const fn new(machine: Machine) -> Self {
        Self { machine, state: AtomicU32::new(0) }
    }

    /// The sessions on the RMM of the machine that this program runs on
    /// ([`Machine::REAL`](crate::Machine::REAL)).
    #[must_use]
    pub const fn of_this_machine() -> &'static Self {
        &OF_THIS_MACHINE
    }

    /// The machine whose RMM they are on.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        self.machine
    }

    /// How many sessions are open.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.state.load(Ordering::Acquire) & MOST
    }

    /// Begins to configure a session.
    pub(crate) fn begin(&self) -> Result<Opening<'_>, Configuring> {
        let next = |state| match state {
            0 => Some(CONFIGURING),
            MOST => Some(MOST),
            open if open & CONFIGURING == 0 => Some(open + 1),
            _ => None,
        };
        match self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(before) => Ok(Opening { sessions: self, is_alone: before == 0, is_kept: false }),
            Err(_) => Err(Configuring),
        }
    }

    /// Counts a session whose configuration is not determined here.
    pub(crate) fn add(&self) {
        let next = |state| (state & MOST != MOST).then_some(state + 1);
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }

    /// One session has ended.
    pub(crate) fn end(&self) {
        let next = |state| match state & MOST {
            0 | MOST => None,
            _ => Some(state - 1),
        };
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }
}

/// A session that is being configured. It ends when this is dropped, also by unwinding, unless it
/// is [kept](Opening::keep).
#[derive(Debug)]
pub(crate) struct Opening<'s> {
    sessions: &'s OpenSessions,
    is_alone: bool,
    is_kept: bool,
}

impl Opening<'_> {
    /// Whether no other session is open, and none can be opened before this ends: only then may the
    /// configuration of the RMM be changed.
    pub(crate) const fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// The session is open.
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if self.is_alone {
            if self.is_kept {
                self.sessions.add();
            }
            self.sessions.state.fetch_and(!CONFIGURING, Ordering::AcqRel);
        } else if !self.is_kept {
            self.sessions.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_session_that_is_alone_may_configure() {
        let sessions = OpenSessions::new(Machine::REAL);
        let first = sessions.begin().ok();
        assert!(first.as_ref().is_some_and(Opening::is_alone));
        // Another has to wait until the configuration is known.
        assert!(sessions.begin().is_err());
        first.into_iter().for_each(Opening::keep);
        assert_eq!(sessions.count(), 1);

        let second = sessions.begin().ok();
        assert!(second.as_ref().is_some_and(|second| !second.is_alone()));
        assert!(sessions.begin().is_ok(), "they do not wait for each other");
        second.into_iter().for_each(Opening::keep);
        assert_eq!(sessions.count(), 2);
        for _ in 0..3 {
            sessions.end();
        }
        assert_eq!(sessions.count(), 0);
        // One that fails leaves nothing.
        drop(sessions.begin());
        assert!(sessions.begin().is_ok_and(|opening| opening.is_alone()));
    }

    #[test]
    fn sessions_that_nobody_ended_keep_the_configuration() {
        let sessions = OpenSessions { machine: Machine::REAL, state: AtomicU32::new(MOST - 1) };
        sessions.add();
        sessions.add();
        sessions.end();
        assert_eq!(sessions.count(), MOST);
        assert!(sessions.begin().is_ok_and(|opening| !opening.is_alone()));
        assert_eq!(sessions.count(), MOST);
        // A channel without a session, made while one is being configured.
        let sessions = OpenSessions::new(Machine::REAL);
        let opening = sessions.begin().ok();
        sessions.add();
        drop(opening);
        assert_eq!(sessions.count(), 1);
    }
}
