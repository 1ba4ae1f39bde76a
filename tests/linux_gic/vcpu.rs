//! A virtual CPU whose program is a function on a thread of its own.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use realm_sdk::abi::Ipa;
use realm_sdk::abi::esr::SysReg;
use rmm_model::{Action, Guest, GuestCpu, Outcome, TimerKind};

/// The program's side.
pub(crate) struct Vcpu {
    actions: Sender<Action>,
    states: Receiver<GuestCpu>,
    state: GuestCpu,
}

/// The model's side.
pub(crate) struct Program {
    actions: Receiver<Action>,
    states: Sender<GuestCpu>,
}

impl Guest for Program {
    fn next(&mut self, cpu: &GuestCpu) -> Action {
        let asked = self.states.send(*cpu).ok().and_then(|()| self.actions.recv().ok());
        // A program that panicked ends the Realm; the test finds out why when it joins the thread.
        asked.unwrap_or_else(Action::psci_system_off)
    }
}

/// Starts a program; it runs when its REC is entered.
pub(crate) fn start(program: impl FnOnce(Vcpu) + Send + 'static) -> (Program, JoinHandle<()>) {
    let ((actions, next), (states, views)) = (channel(), channel());
    let thread = thread::spawn(move || {
        // No state: the Realm ended before this CPU was on.
        if let Ok(state) = views.recv() {
            program(Vcpu { actions, states: views, state });
        }
    });
    (Program { actions: next, states }, thread)
}

impl Vcpu {
    /// Does one action, and returns the CPU after it.
    pub(crate) fn act(&mut self, action: Action) -> GuestCpu {
        self.actions.send(action).unwrap();
        self.state = self.states.recv().unwrap();
        self.state
    }

    /// Does the last action of a program.
    pub(crate) fn end(self, action: Action) {
        self.actions.send(action).unwrap();
    }

    /// Whether an interrupt of group 1 is signalled.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.state.irq.is_some()
    }

    pub(crate) fn load(&mut self, ipa: Ipa, bytes: u8) -> u64 {
        match self.act(Action::Load { ipa, bytes }).last {
            Outcome::Loaded(value) => value,
            other => unreachable!("load of {bytes} bytes at {ipa}: {other:?}"),
        }
    }

    pub(crate) fn store(&mut self, ipa: Ipa, bytes: u8, value: u64) {
        let stored = self.act(Action::Store { ipa, bytes, value }).last;
        assert_eq!(stored, Outcome::Stored, "store of {bytes} bytes at {ipa}");
    }

    pub(crate) fn read(&mut self, register: SysReg) -> u64 {
        match self.act(Action::SysRegRead { register, into: 0 }).last {
            Outcome::Read(value) => value,
            other => unreachable!("read of {register:?}: {other:?}"),
        }
    }

    pub(crate) fn write(&mut self, register: SysReg, value: u64) {
        let written = self.act(Action::SysRegWrite { register, value }).last;
        assert_eq!(written, Outcome::Done, "write of {register:?}");
    }

    /// Programs the virtual timer.
    pub(crate) fn timer(&mut self, ctl: u64, cval: u64) {
        self.act(Action::Timer { kind: TimerKind::Virtual, ctl, cval });
    }
}
