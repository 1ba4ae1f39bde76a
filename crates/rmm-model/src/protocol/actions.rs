//! Actions of Realms, given by lines: a queue for the REC that is entered next, whichever it is.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;

use rmi_abi::run::RUN_GPRS;
use spin::Mutex;

use super::{BAD_NUMBER, Refusal, number};
use crate::guest::{Action, Guest, GuestCpu};

/// Most actions in the queue.
const QUEUE: usize = 1 << 16;
/// Most entries in the log; later ones are not logged.
const LOG: usize = 1 << 16;

const BAD_GUEST: Refusal = "guest";

/// `ESR_EL2` of a WFI: its class, a 32-bit instruction, the condition "always". Bit 0 makes it a
/// WFE.
const ESR_WFI: u64 = 1 << 26 | 1 << 25 | 1 << 24 | 0xe << 20;

/// One entry of a Realm: registers to set, then the action to exit with.
#[derive(Debug)]
struct Entry {
    set: Vec<(u8, u64)>,
    pc: Option<u64>,
    action: Action,
}

impl Entry {
    fn new(action: Action) -> Self {
        Self { set: Vec::new(), pc: None, action }
    }
}

/// What one entry of a Realm saw.
struct Seen {
    cpu: u32,
    pc: u64,
    x: [u64; RUN_GPRS],
}

/// The queue, and the log of entries.
#[derive(Default)]
pub(super) struct Actions {
    queue: VecDeque<Entry>,
    leaves_with_irq: bool,
    log: Vec<Seen>,
    /// The physical CPU that calls.
    pub(super) cpu: u32,
}

impl Actions {
    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }

    pub(super) fn set_default(&mut self, exit: &str) -> Result<(), Refusal> {
        self.leaves_with_irq = match exit {
            "irq" => true,
            "fiq" => false,
            _ => return Err(BAD_GUEST),
        };
        Ok(())
    }

    /// Queues one entry. Words with `=` name something, the others are X0 and up.
    pub(super) fn queue(&mut self, action: &str, words: &[&str]) -> Result<(), Refusal> {
        if self.queue.len() >= QUEUE {
            return Err(BAD_GUEST);
        }
        let (mut esr, mut far, mut hpfar) = (None, 0, 0);
        let mut entry = Entry::new(Action::Fiq);
        let mut register = 0..;
        for word in words {
            let Some((name, value)) = word.split_once('=') else {
                let register = register.next().filter(|n| usize::from(*n) < RUN_GPRS);
                entry.set.push((register.ok_or(BAD_GUEST)?, number(word)?));
                continue;
            };
            let value = number(value)?;
            match name {
                "esr" => esr = Some(value),
                "far" => far = value,
                "hpfar" => hpfar = value,
                "pc" => entry.pc = Some(value),
                // The model's programs have no processor state.
                "spsr" => {}
                _ => {
                    let register: u8 =
                        name.strip_prefix('x').ok_or(BAD_GUEST)?.parse().map_err(|_| BAD_NUMBER)?;
                    if usize::from(register) >= RUN_GPRS {
                        return Err(BAD_NUMBER);
                    }
                    entry.set.push((register, value));
                }
            }
        }
        let sync = |esr| Action::Sync { esr, far, hpfar };
        entry.action = match action {
            "smc" => Action::Smc([0; 18]),
            "hvc" => Action::Hvc,
            "wfi" => sync(esr.unwrap_or(ESR_WFI)),
            "wfe" => sync(esr.unwrap_or(ESR_WFI | 1)),
            "irq" => Action::Interrupt,
            "fiq" => Action::Fiq,
            "sync" => sync(esr.unwrap_or(0)),
            "serror" => Action::SError { esr: esr.unwrap_or(0) },
            _ => return Err(BAD_GUEST),
        };
        self.queue.push_back(entry);
        Ok(())
    }

    /// Returns the log as lines and empties it.
    pub(super) fn take_log(&mut self) -> String {
        let mut text = String::new();
        for (n, seen) in core::mem::take(&mut self.log).into_iter().enumerate() {
            // Writing to a string does not fail.
            let _ = write!(text, "- {n:x} cpu={:x} pc={:x} x", seen.cpu, seen.pc);
            for x in seen.x {
                let _ = write!(text, " {x:x}");
            }
            text.push('\n');
        }
        text
    }

    /// Logs what an entry sees; returns what it is going to do.
    fn enter(&mut self, cpu: &GuestCpu) -> Entry {
        if self.log.len() < LOG {
            self.log.push(Seen { cpu: self.cpu, pc: cpu.pc, x: cpu.x });
        }
        self.queue.pop_front().unwrap_or_else(|| {
            Entry::new(if self.leaves_with_irq { Action::Interrupt } else { Action::Fiq })
        })
    }
}

/// The program of a REC: it does what the queue says.
pub(super) struct QueuedGuest {
    actions: Arc<Mutex<Actions>>,
    /// The entry in progress.
    entry: Option<Entry>,
}

impl QueuedGuest {
    pub(super) fn new(actions: Arc<Mutex<Actions>>) -> Self {
        Self { actions, entry: None }
    }
}

impl Guest for QueuedGuest {
    fn next(&mut self, cpu: &GuestCpu) -> Action {
        let mut entry = self.entry.take().unwrap_or_else(|| self.actions.lock().enter(cpu));
        let direction = match entry.set.pop() {
            Some((register, value)) => Some(Action::Set { register, value }),
            None => entry.pc.take().map(|pc| Action::Jump { pc }),
        };
        if let Some(direction) = direction {
            self.entry = Some(entry);
            return direction;
        }
        match entry.action {
            // Registers that the line does not set keep their values for the call.
            Action::Smc(_) => {
                Action::Smc(core::array::from_fn(|n| cpu.x.get(n).copied().unwrap_or(0)))
            }
            action => action,
        }
    }

    fn repeats(&self) -> bool {
        false
    }
}
