//! What the Realm does: a program for each virtual CPU, which the model executes in place of
//! instructions.

use std::collections::VecDeque;

use realm_sdk::abi::rtt::{Geometry, Ripas};
use realm_sdk::abi::{Ipa, IpaRange};
use rmm_model::{Action, Guest, GuestCpu, Outcome};

use crate::devices;
use crate::vmm::{self, VCPUS};

/// A part of RAM that the Realm gives back: 2 MiB.
const UNPLUGGED: u64 = 0x4040_0000;
/// What PSCI_AFFINITY_INFO returns for a CPU that is off.
const OFF: u64 = 1;

/// A step of a program.
enum Step {
    Do(Action),
    /// Writes the bytes of the value that was loaded last to the UART.
    PrintLoaded,
    /// Waits until a CPU is off.
    WaitForOff(u64),
}

/// The program of one virtual CPU.
struct Program {
    steps: VecDeque<Step>,
    uart: Ipa,
    waiting_for: Option<u64>,
}

/// The program of a virtual CPU. The first time the Realm asks for a reset at the end, then for
/// shutdown.
pub(crate) fn program(number: usize, geometry: Geometry, is_first: bool) -> Box<dyn Guest> {
    let device = |offset| Ipa::new(geometry.unprotected_base().raw() + offset);
    let uart = device(devices::UART);
    let mut program = Program { steps: VecDeque::new(), uart, waiting_for: None };
    program.print(&format!("cpu {number}: hello\n"));
    if number > 0 {
        let own = Ipa::new(vmm::ram().base().raw() + 0x60_0000 + number as u64 * 0x20_0000);
        program.act(store(own, number as u64));
        program.print(&format!("cpu {number}: has memory of its own\n"));
        program.act(Action::psci_cpu_off());
        return Box::new(program);
    }
    let others = 1..VCPUS as u64;
    for other in others.clone() {
        program.act(Action::psci_cpu_on(other, vmm::ram().base().raw(), 0));
    }
    program.read_sector(7, geometry, device(devices::DOORBELL));
    program.act(store(Ipa::new(UNPLUGGED), 1));
    program.give_up(IpaRange::with_size(Ipa::new(UNPLUGGED), 2 << 20));
    program.steps.extend(others.map(Step::WaitForOff));
    program.print("cpu 0: all others are off\n");
    program.act(if is_first { Action::psci_system_reset() } else { Action::psci_system_off() });
    Box::new(program)
}

fn store(ipa: Ipa, value: u64) -> Action {
    Action::Store { ipa, bytes: 8, value }
}

impl Program {
    fn act(&mut self, action: Action) {
        self.steps.push_back(Step::Do(action));
    }

    fn print(&mut self, text: &str) {
        let uart = self.uart;
        self.steps.extend(text.bytes().map(|letter| Step::Do(letter_to(uart, letter))));
    }

    /// Gives memory to the host, by making it EMPTY.
    fn give_up<E: std::fmt::Debug>(&mut self, range: Result<IpaRange, E>) {
        if let Ok(range) = range {
            self.act(Action::ipa_state_set(range.base(), range.top(), Ripas::Empty, 0));
        }
    }

    /// Shares the buffer, and prints a sector that the block device has written into it.
    fn read_sector(&mut self, sector: u64, geometry: Geometry, doorbell: Ipa) {
        let buffer = vmm::buffer();
        self.act(Action::ipa_state_set(buffer.base(), buffer.top(), Ripas::Empty, 0));
        let Some(alias) = geometry.unprotected_alias(buffer.base()) else { return };
        self.act(store(alias, sector));
        self.act(store(doorbell, alias.raw()));
        self.print("cpu 0: read ");
        for word in 0..2 {
            let ipa = Ipa::new(alias.raw() + devices::CONTENT + 8 * word);
            self.act(Action::Load { ipa, bytes: 8 });
            self.steps.push_back(Step::PrintLoaded);
        }
    }
}

fn letter_to(uart: Ipa, letter: u8) -> Action {
    Action::Store { ipa: uart, bytes: 1, value: u64::from(letter) }
}

impl Guest for Program {
    fn next(&mut self, cpu: &GuestCpu) -> Action {
        if let Some(other) = self.waiting_for.take()
            && cpu.x[0] != OFF
        {
            self.steps.push_front(Step::WaitForOff(other));
        }
        loop {
            match self.steps.pop_front() {
                Some(Step::Do(action)) => return action,
                Some(Step::WaitForOff(other)) => {
                    self.waiting_for = Some(other);
                    return Action::psci_affinity_info(other);
                }
                Some(Step::PrintLoaded) => {
                    let Outcome::Loaded(value) = cpu.last else { continue };
                    let letters = value.to_le_bytes().into_iter().filter(|letter| *letter != 0);
                    for letter in letters.rev() {
                        self.steps.push_front(Step::Do(letter_to(self.uart, letter)));
                    }
                }
                None => return Action::Spin,
            }
        }
    }
}
