//! The model on a CPU whose registers are not its own.

use std::sync::{Arc, Mutex};

use rmi_abi::run::{ExitReason, RecEnter, RecExit};
use rmi_abi::{Command, Dialect};
use rmm_model::{Action, GuestCpu, Options, RealCpu};
use vgic_realm::{VirtualInterface, Vtr};
use zerocopy::{FromZeros, IntoBytes};

use crate::host::{DIALECTS, Host, Running};

const PENDING: u64 = 1 << 62 | 1 << 60;
/// List registers of the CPU, and active priority registers of a group.
const LISTS: usize = 4;
const ACTIVE: usize = 2;
const VTR: u64 = 5 << 29 | 5 << 26 | 3;

/// Registers that anyone may read and write, as those of a CPU.
#[derive(Clone, Debug, Default, PartialEq)]
struct Registers {
    lists: [u64; LISTS],
    hcr: u64,
    vmcr: u64,
    ap0r: [u64; ACTIVE],
    ap1r: [u64; ACTIVE],
}

impl VirtualInterface for Registers {
    fn vtr(&self) -> Vtr {
        Vtr::from_raw(VTR)
    }
    fn list_register(&self, n: usize) -> u64 {
        self.lists[n]
    }
    fn set_list_register(&mut self, n: usize, value: u64) {
        self.lists[n] = value;
    }
    fn hcr(&self) -> u64 {
        self.hcr
    }
    fn set_hcr(&mut self, value: u64) {
        self.hcr = value;
    }
    fn vmcr(&self) -> u64 {
        self.vmcr
    }
    fn set_vmcr(&mut self, value: u64) {
        self.vmcr = value;
    }
    fn ap0r(&self, n: usize) -> u64 {
        self.ap0r[n]
    }
    fn set_ap0r(&mut self, n: usize, value: u64) {
        self.ap0r[n] = value;
    }
    fn ap1r(&self, n: usize) -> u64 {
        self.ap1r[n]
    }
    fn set_ap1r(&mut self, n: usize, value: u64) {
        self.ap1r[n] = value;
    }
    fn misr(&self) -> u64 {
        0
    }
}

/// A CPU to which interrupts come at known moments.
#[derive(Default)]
struct Cpu {
    registers: Registers,
    /// How often it was asked.
    asked: usize,
    /// When it says that an interrupt is pending.
    interrupts: Vec<usize>,
}

impl RealCpu for Cpu {
    fn interface(&mut self) -> &mut dyn VirtualInterface {
        &mut self.registers
    }
    fn is_interrupted(&mut self) -> bool {
        self.asked += 1;
        self.interrupts.contains(&self.asked)
    }
}

impl Cpu {
    /// An entry, at the questions of which interrupts are pending.
    fn enter(&mut self, running: &Running<'_>, interrupts: &[usize]) -> ExitReason {
        (self.asked, self.interrupts) = (0, interrupts.to_vec());
        let host = running.host;
        host.write(running.run, RecEnter::new_zeroed().as_bytes());
        let mut x: [u64; 18] = std::array::from_fn(|n| n as u64);
        x[0] = Command::RecEnter.fid(host.dialect).unwrap().0.into();
        (x[1], x[2]) = (running.rec, running.run);
        let answer = host.model.handle_on(5, self, x);
        assert_eq!(answer[0], 0);
        assert_eq!(answer[8..], [8, 9, 10, 11, 12, 13, 14, 15, 16, 17]);
        let mut exit = RecExit::new_zeroed();
        exit.as_mut_bytes().copy_from_slice(&host.read::<0x800>(running.run + 0x800));
        ExitReason::decode(exit.exit_reason, host.dialect)
    }
}

fn options(dialect: Dialect) -> Options {
    Options::new(dialect).with_vtr(Vtr::from_raw(VTR))
}

#[test]
fn the_options_follow_the_cpu() {
    let options = options(Dialect::V2_0Bet3);
    assert_eq!((options.list_registers, options.priority_bits), (4, 6));
    assert_eq!(Vtr::from_raw(VTR).active_priority_registers(), ACTIVE);
}

#[test]
fn a_realm_uses_the_registers_of_the_cpu() {
    for dialect in DIALECTS {
        let host = Host::new(options(dialect));
        let running = host.script(vec![
            Action::set_priority_mask(0xf0),
            Action::enable_group_1(true),
            Action::acknowledge(),
            Action::Interrupt,
        ]);
        let mut cpu = Cpu::default();
        // The most urgent one is in the last list register; an active one is less urgent.
        let lists = [0, PENDING | 0xa0 << 48 | 33, 0, PENDING | 0x40 << 48 | 27];
        cpu.registers = Registers { lists, hcr: 1, vmcr: 1, ap0r: [0, 2], ap1r: [0, 1 << 31] };
        assert_eq!(cpu.enter(&running, &[]), ExitReason::Irq);
        let expected = Registers {
            lists: [lists[0], lists[1], lists[2], lists[3] ^ 3 << 62],
            // The interface is off; the mask and group 1 are as the Realm set them, group 0 as it
            // was.
            hcr: 0,
            vmcr: cpu.registers.vmcr,
            ap0r: [0, 2],
            // Six bits of preemption: priority 0x40 is bit 16.
            ap1r: [1 << 16, 1 << 31],
        };
        assert_eq!(cpu.registers, expected);
        assert_eq!((cpu.registers.vmcr >> 24, cpu.registers.vmcr & 0b11), (0xf0, 0b11));
        // Before the entry, and before each of the four actions.
        assert_eq!(cpu.asked, 5);
    }
}

#[test]
fn other_calls_leave_the_cpu_alone() {
    let host = Host::new(options(Dialect::TfRmm2026_07));
    let mut cpu = Cpu::default();
    cpu.registers.hcr = 0xffff_ffff;
    let before = cpu.registers.clone();
    let mut x = [0; 18];
    x[0] = Command::Version.fid(host.dialect).unwrap().0.into();
    x[1] = 0x2_0000;
    let answer = host.model.handle_on(0, &mut cpu, x);
    assert_eq!(answer[..3], [0, 0x2_0000, 0x2_0000]);
    assert_eq!((cpu.asked, cpu.registers), (0, before));
    // Functions that are not the RMM's, and those of PSCI.
    for function in [0, 0x8400_0000, 0xc400_0003, 0xc400_0190] {
        let mut x = [7; 18];
        x[0] = function;
        let answer = host.model.handle(0, x);
        assert_eq!((answer[0], &answer[8..]), (u64::MAX, &[7; 10][..]));
    }
}

#[test]
fn physical_interrupts_end_runs_and_are_not_remembered() {
    let host = Host::new(options(Dialect::TfRmm2026_07));
    let actions = Arc::new(Mutex::new(0));
    let count = Arc::clone(&actions);
    let guest = move |_: &GuestCpu| {
        *count.lock().unwrap() += 1;
        match *count.lock().unwrap() {
            3 => Action::Fiq,
            7 => Action::Spin,
            _ => Action::Set { register: 1, value: 1 },
        }
    };
    let running = host.running(guest);
    let mut cpu = Cpu::default();
    let taken = || *actions.lock().unwrap();
    // Pending at the entry: no action.
    assert_eq!((cpu.enter(&running, &[1]), taken()), (ExitReason::Irq, 0));
    // Pending during the second action.
    assert_eq!((cpu.enter(&running, &[3]), taken()), (ExitReason::Irq, 2));
    // An exit comes first; the interrupt is the host's then.
    assert_eq!((cpu.enter(&running, &[2]), taken()), (ExitReason::Fiq, 3));
    assert_eq!((cpu.enter(&running, &[4]), taken()), (ExitReason::Irq, 6));
    assert_eq!((cpu.enter(&running, &[]), taken()), (ExitReason::Fiq, 7));
}
