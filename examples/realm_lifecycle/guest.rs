//! What the Realm does: programs for its two virtual CPUs, carried out by the model in place of
//! instructions.

use std::collections::VecDeque;

use realm_sdk::abi::rtt::Ripas;
use realm_sdk::abi::{Ipa, IpaRange};
use rmm_model::{Action, Guest, GuestCpu, Outcome, TimerKind};

use crate::console;

/// The addresses in the Realm that the programs use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// The UART, at an unprotected IPA.
    pub(crate) uart: Ipa,
    /// A page of RAM for the host call's structure.
    pub(crate) mailbox: Ipa,
    /// RAM that the Realm changes to EMPTY and back to RAM.
    pub(crate) scratch: IpaRange,
    /// Where the second CPU starts.
    pub(crate) entry: Ipa,
}

/// The immediate value of the host call by which the Realm reports its measurement.
pub(crate) const REPORT: u16 = 0x5d0;
/// The host's answer to it, in X0.
pub(crate) const THANKS: u64 = 0x7ea;
/// The MPIDR of the second CPU.
const SECOND: u64 = 1;
/// The virtual timer's interrupt.
const TIMER: u32 = 27;

/// The steps of the first CPU's program.
#[derive(Clone, Copy, Debug)]
enum Step {
    Hello,
    AskUart,
    GiveUp,
    TakeBack,
    Touch,
    Measure,
    Report,
    StartSecond,
    Wait,
    Timer,
    Goodbye,
    Off,
}

/// The program of the first CPU.
pub(crate) struct First {
    layout: Layout,
    step: Step,
    queue: VecDeque<Action>,
    /// How far a RIPAS change has come; the RMM may do it in parts.
    reached: Option<Ipa>,
}

impl First {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, step: Step::Hello, queue: VecDeque::new(), reached: None }
    }

    fn say(&mut self, text: &str) {
        self.queue.extend(print(self.layout.uart, text));
    }

    /// Asks for a RIPAS change until all of it is done; `None` when it is.
    fn change(&mut self, cpu: &GuestCpu, ripas: Ripas) -> Option<Action> {
        let [result, reached, ..] = cpu.x;
        let base = match self.reached {
            None => self.layout.scratch.base(),
            Some(_) if result == 0 => Ipa::new(reached),
            Some(at) => at,
        };
        if base >= self.layout.scratch.top() {
            self.reached = None;
            return None;
        }
        self.reached = Some(base);
        Some(Action::ipa_state_set(base, self.layout.scratch.top(), ripas, 0))
    }
}

impl Guest for First {
    fn next(&mut self, cpu: &GuestCpu) -> Action {
        loop {
            if let Some(action) = self.queue.pop_front() {
                return action;
            }
            let Layout { uart, mailbox, scratch, entry } = self.layout;
            self.step = match self.step {
                Step::Hello => {
                    // All priorities, and interrupts of group 1.
                    self.queue.push_back(Action::set_priority_mask(0xf0));
                    self.queue.push_back(Action::enable_group_1(true));
                    self.say("cpu 0: hello from the realm\n");
                    Step::AskUart
                }
                Step::AskUart => {
                    let flags = Ipa::new(uart.raw() + console::FLAGS);
                    self.queue.push_back(Action::Load { ipa: flags, bytes: 4 });
                    Step::GiveUp
                }
                Step::GiveUp => {
                    if self.reached.is_none() {
                        let ready = cpu.last == Outcome::Loaded(console::TX_EMPTY);
                        self.say(if ready {
                            "cpu 0: uart ready\n"
                        } else {
                            "cpu 0: uart not ready\n"
                        });
                    }
                    match self.change(cpu, Ripas::Empty) {
                        Some(action) => {
                            self.queue.push_back(action);
                            Step::GiveUp
                        }
                        None => Step::TakeBack,
                    }
                }
                Step::TakeBack => match self.change(cpu, Ripas::Ram) {
                    Some(action) => {
                        self.queue.push_back(action);
                        Step::TakeBack
                    }
                    None => Step::Touch,
                },
                Step::Touch => {
                    let at = scratch.base();
                    self.queue.push_back(Action::Store { ipa: at, bytes: 8, value: 0x600d_5eed });
                    self.queue.push_back(Action::Load { ipa: at, bytes: 8 });
                    Step::Measure
                }
                Step::Measure => {
                    let works = cpu.last == Outcome::Loaded(0x600d_5eed);
                    self.say(if works {
                        "cpu 0: memory given up, taken back, usable\n"
                    } else {
                        "cpu 0: memory lost\n"
                    });
                    self.queue.push_back(Action::measurement_read(0));
                    Step::Report
                }
                Step::Report => {
                    // The measurement is in X1 to X8; it is passed to the host in the registers of
                    // the call.
                    let words = cpu.x.iter().skip(1).take(8).copied();
                    let store = |offset: u64, bytes, value| Action::Store {
                        ipa: Ipa::new(mailbox.raw() + offset),
                        bytes,
                        value,
                    };
                    self.queue.push_back(store(0, 2, u64::from(REPORT)));
                    self.queue.extend(words.zip(0..).map(|(word, n)| store(8 + 8 * n, 8, word)));
                    self.queue.push_back(Action::host_call(mailbox));
                    self.queue
                        .push_back(Action::Load { ipa: Ipa::new(mailbox.raw() + 8), bytes: 8 });
                    Step::StartSecond
                }
                Step::StartSecond => {
                    let thanked = cpu.last == Outcome::Loaded(THANKS);
                    self.say(if thanked {
                        "cpu 0: the host knows my measurement\n"
                    } else {
                        "cpu 0: no answer\n"
                    });
                    self.queue.push_back(Action::psci_cpu_on(SECOND, entry.raw(), 0x1234));
                    Step::Wait
                }
                Step::Wait => {
                    self.queue.push_back(Action::Wfi);
                    Step::Timer
                }
                Step::Timer => {
                    // Enabled, and its condition is met already.
                    self.queue.push_back(Action::Timer {
                        kind: TimerKind::Virtual,
                        ctl: 0b101,
                        cval: 1000,
                    });
                    Step::Goodbye
                }
                Step::Goodbye => {
                    if cpu.irq == Some(TIMER) {
                        self.queue.push_back(Action::acknowledge());
                        self.queue.push_back(Action::Timer {
                            kind: TimerKind::Virtual,
                            ctl: 0,
                            cval: 0,
                        });
                        self.queue.push_back(Action::end_of_interrupt(TIMER));
                        self.say("cpu 0: timer interrupt taken; goodbye\n");
                    } else {
                        self.say("cpu 0: no timer interrupt\n");
                    }
                    Step::Off
                }
                Step::Off => return Action::psci_system_off(),
            };
        }
    }
}

/// The program of the second CPU.
pub(crate) struct Second {
    queue: VecDeque<Action>,
}

impl Second {
    pub(crate) fn new(layout: Layout) -> Self {
        let mut queue: VecDeque<_> = print(layout.uart, "cpu 1: hello, too\n").collect();
        queue.push_back(Action::psci_cpu_off());
        Self { queue }
    }
}

impl Guest for Second {
    fn next(&mut self, _: &GuestCpu) -> Action {
        self.queue.pop_front().unwrap_or(Action::Spin)
    }
}

fn print(uart: Ipa, text: &str) -> impl Iterator<Item = Action> {
    text.bytes().map(move |byte| Action::Store { ipa: uart, bytes: 1, value: u64::from(byte) })
}
