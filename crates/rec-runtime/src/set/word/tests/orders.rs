//! The protocol between the thread that runs a REC and those that kick, notify, pause and turn on:
//! every order of their steps is tried.
//!
//! A step is one access to the word, one interrupt, one call of the RMM, or what a thread does by
//! itself. The run loop looks at the word with a plain load before each entry. So that load may
//! return any value that is not older than what the thread has seen before, and a thread has seen
//! what an interrupt that it took was sent after.

use std::collections::HashSet;
use std::vec::Vec;

use super::super::{Obstacle, Power, Word};

/// What the program of the REC does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Program {
    /// It never exits by itself.
    Spins,
    /// It waits whenever it has no interrupt, and never exits otherwise.
    Waits,
    /// It turns itself off, and when it is turned on again, never exits.
    GoesOff,
}

/// Where the thread is that runs the REC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Thread {
    /// Before the loop.
    Begins,
    /// In the loop; it takes interrupts.
    Unmasked,
    /// It has masked interrupts, and then loaded the REC's interrupts.
    Loaded,
    /// It will enter, with the word that it has seen.
    Enters {
        epoch: u32,
        pending: bool,
    },
    /// The REC runs.
    Runs {
        epoch: u32,
        pending: bool,
    },
    /// The REC exited because it waits.
    ExitedWaiting,
    /// The REC exited because it turned itself off.
    ExitedOff {
        epoch: u32,
    },
    /// An entry was refused, although the REC was not just turned on.
    Failed,
    /// The loop ended, and the thread waits to be woken.
    Parked,
    Kicked,
    Stopped,
}

/// What another thread or an interrupt handler does, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Other {
    Kick,
    /// Records an interrupt.
    Raise,
    Notify,
    Pause,
    /// Looks whether the REC is paused, until it is.
    SeesPause,
    Resume,
    Stop,
    /// The RMM accepts a `CPU_ON`.
    Accept,
    TurnOn,
    Interrupt {
        cpu: u16,
        wake: bool,
        then: Then,
    },
    Wake {
        then: Then,
    },
    Done,
}

/// What follows when the effect of a step was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Then {
    Done,
    SeesPause,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    program: Program,
    thread: Thread,
    /// All values of the word; the last one is its value.
    words: Vec<u64>,
    /// The oldest value that the thread may still see.
    seen: usize,
    /// CPU of the thread, and how often it may still move to another.
    cpu: u16,
    moves: u8,
    /// An interrupt of a CPU, sent after the word had this value.
    interrupts: [Option<usize>; 2],
    is_woken: bool,
    /// Whether an interrupt for the REC was recorded, and whether it was loaded.
    raised: bool,
    loaded: bool,
    /// The RMM's state: the REC may run.
    runnable: bool,
    /// Pauses that were seen, and not ended.
    pauses: u8,
    others: Vec<Other>,
}

impl State {
    fn new(program: Program, is_on: bool, moves: u8, others: &[Other]) -> Self {
        Self {
            program,
            thread: Thread::Begins,
            words: [Word::new(is_on).0].into(),
            seen: 0,
            cpu: 0,
            moves,
            interrupts: [None; 2],
            is_woken: false,
            raised: false,
            loaded: false,
            runnable: is_on,
            pauses: 0,
            others: others.into(),
        }
    }

    fn word(&self) -> Word {
        Word(*self.words.last().unwrap())
    }

    /// A change of the word by another.
    fn update<T>(&mut self, change: impl Fn(Word) -> (Word, T)) -> T {
        let (word, result) = change(self.word());
        self.words.push(word.0);
        result
    }

    /// A change of the word by the thread of the REC, which sees its newest value.
    fn own_update<T>(&mut self, change: impl Fn(Word) -> (Word, T)) -> T {
        let result = self.update(change);
        self.seen = self.words.len() - 1;
        result
    }

    fn stopped_by(obstacle: Obstacle) -> Thread {
        match obstacle {
            Obstacle::Stopped => Thread::Stopped,
            Obstacle::Kicked => Thread::Kicked,
            Obstacle::Paused | Obstacle::Off => Thread::Parked,
            Obstacle::Moved => Thread::Unmasked,
        }
    }

    fn enters(word: Word) -> Thread {
        Thread::Enters { epoch: word.epoch(), pending: word.power() == Power::OnPending }
    }

    /// Takes a pending interrupt of the thread's CPU.
    fn takes_interrupt(&self) -> Option<Self> {
        let cpu = usize::from(self.cpu);
        let sent_after = self.interrupts[cpu]?;
        let mut next = self.clone();
        next.interrupts[cpu] = None;
        next.seen = next.seen.max(sent_after);
        Some(next)
    }

    /// The steps that the thread of the REC may take.
    fn thread_steps(&self, into: &mut Vec<Self>) {
        let mut next = self.clone();
        match self.thread {
            Thread::Begins => {
                next.loaded = false;
                let cpu = next.cpu;
                next.thread = match next.own_update(|word| word.begin(cpu)) {
                    Ok(_) => Thread::Unmasked,
                    Err(obstacle) => Self::stopped_by(obstacle),
                };
                into.push(next);
            }
            Thread::Unmasked => {
                into.extend(self.takes_interrupt());
                if self.moves > 0 {
                    let mut moved = self.clone();
                    moved.moves -= 1;
                    moved.cpu ^= 1;
                    into.push(moved);
                }
                next.loaded = next.raised;
                next.thread = Thread::Loaded;
                into.push(next);
            }
            Thread::Loaded => {
                for at in self.seen..self.words.len() {
                    let mut next = self.clone();
                    let word = Word(self.words[at]);
                    next.seen = at;
                    let cpu = next.cpu;
                    next.thread = if word.is_plain(cpu) {
                        Self::enters(word)
                    } else {
                        match next.own_update(|word| word.prepare(cpu)) {
                            Ok(word) => Self::enters(word),
                            Err(obstacle) => Self::stopped_by(obstacle),
                        }
                    };
                    into.push(next);
                }
            }
            Thread::Enters { epoch, pending } => {
                next.thread = match (self.runnable, pending) {
                    (true, _) => Thread::Runs { epoch, pending },
                    (false, true) => Thread::ExitedOff { epoch },
                    (false, false) => Thread::Failed,
                };
                into.push(next);
            }
            Thread::Runs { epoch, pending } => {
                if let Some(mut next) = self.takes_interrupt() {
                    next.confirm(pending);
                    next.thread = Thread::Unmasked;
                    into.push(next);
                }
                match self.program {
                    Program::Waits if !self.loaded => {
                        next.confirm(pending);
                        next.thread = Thread::ExitedWaiting;
                        into.push(next);
                    }
                    Program::GoesOff => {
                        next.program = Program::Spins;
                        next.runnable = false;
                        next.thread = Thread::ExitedOff { epoch };
                        into.push(next);
                    }
                    _ => {}
                }
            }
            Thread::ExitedWaiting => {
                let has_slept = next.own_update(Word::sleep);
                next.thread = if has_slept { Thread::Parked } else { Thread::Unmasked };
                into.push(next);
            }
            Thread::ExitedOff { epoch } => {
                let is_off = next.own_update(|word| word.turn_off(epoch));
                next.thread = if is_off { Thread::Parked } else { Thread::Unmasked };
                into.push(next);
            }
            Thread::Parked if self.is_woken => {
                next.is_woken = false;
                // As a thread that waits for a condition.
                next.thread = if self.word().is_ready() { Thread::Begins } else { Thread::Parked };
                into.push(next);
            }
            Thread::Parked | Thread::Failed | Thread::Kicked | Thread::Stopped => {}
        }
    }

    fn confirm(&mut self, pending: bool) {
        if pending {
            self.own_update(Word::confirm_on);
        }
    }

    /// The step of another, if it can take one.
    fn other_step(&self, which: usize) -> Option<Self> {
        let mut next = self.clone();
        let (effect, then) = match self.others[which] {
            Other::Kick => (next.update(Word::kick), Then::Done),
            Other::Pause => (next.update(Word::pause), Then::SeesPause),
            Other::Stop => (next.update(Word::stop), Then::Done),
            Other::TurnOn => (next.update(Word::turn_on), Then::Done),
            Other::Notify => (next.update(Word::notify), Then::Done),
            Other::Resume => {
                next.pauses -= 1;
                (next.update(Word::resume), Then::Done)
            }
            Other::Raise => {
                next.raised = true;
                next.others[which] = Other::Notify;
                return Some(next);
            }
            Other::Accept => {
                // TF-RMM accepts it also when the REC runs or is on.
                next.runnable = true;
                next.others[which] = Other::TurnOn;
                return Some(next);
            }
            Other::SeesPause => {
                if !self.word().is_paused() || self.word().cpu().is_some() {
                    return None;
                }
                next.pauses += 1;
                next.others[which] = Other::Resume;
                return Some(next);
            }
            Other::Interrupt { cpu, wake, then } => {
                next.interrupts[usize::from(cpu)] = Some(self.words.len() - 1);
                next.others[which] = Other::after(wake, then);
                return Some(next);
            }
            Other::Wake { then } => {
                next.is_woken = true;
                next.others[which] = Other::after(false, then);
                return Some(next);
            }
            Other::Done => return None,
        };
        next.others[which] = match effect.interrupt {
            Some(cpu) => Other::Interrupt { cpu, wake: effect.wake, then },
            None => Other::after(effect.wake, then),
        };
        Some(next)
    }
}

impl Other {
    const fn after(wake: bool, then: Then) -> Self {
        match (wake, then) {
            (true, _) => Self::Wake { then },
            (false, Then::Done) => Self::Done,
            (false, Then::SeesPause) => Self::SeesPause,
        }
    }
}

/// Tries all orders, and calls `at_end` with each state in which nobody can take a step. Returns
/// the number of these.
fn try_all(first: State, at_end: impl Fn(&State)) -> usize {
    let (mut known, mut todo, mut ends) = (HashSet::new(), Vec::from([first]), 0);
    while let Some(state) = todo.pop() {
        assert_ne!(state.thread, Thread::Failed, "{state:?}");
        let is_running = matches!(state.thread, Thread::Runs { .. });
        assert!(!(state.pauses > 0 && is_running), "it runs although paused: {state:?}");
        let mut next = Vec::new();
        state.thread_steps(&mut next);
        next.extend((0..state.others.len()).filter_map(|which| state.other_step(which)));
        if next.is_empty() {
            ends += 1;
            assert!(state.others.iter().all(|other| *other == Other::Done), "{state:?}");
            at_end(&state);
        }
        todo.extend(next.into_iter().filter(|state| known.insert(state.clone())));
    }
    ends
}

const PROGRAMS: [Program; 3] = [Program::Spins, Program::Waits, Program::GoesOff];

#[test]
fn no_kick_is_lost() {
    for program in PROGRAMS {
        for is_on in [true, false] {
            for others in [
                &[Other::Kick][..],
                &[Other::Kick, Other::Kick],
                &[Other::Kick, Other::Raise],
                &[Other::Kick, Other::Accept],
                &[Other::Kick, Other::Pause],
            ] {
                let ends = try_all(State::new(program, is_on, 2, others), |state| {
                    assert_eq!(state.thread, Thread::Kicked, "{state:?}");
                });
                assert!(ends > 0);
            }
        }
    }
}

#[test]
fn no_wake_up_is_lost() {
    for program in PROGRAMS {
        for others in [
            &[Other::Raise][..],
            &[Other::Raise, Other::Raise],
            &[Other::Raise, Other::Pause],
            &[Other::Raise, Other::Accept],
        ] {
            let ends = try_all(State::new(program, true, 1, others), |state| match state.thread {
                Thread::Runs { .. } => assert!(state.loaded, "{state:?}"),
                Thread::Parked => assert!(!state.runnable, "{state:?}"),
                _ => panic!("{state:?}"),
            });
            assert!(ends > 0);
        }
    }
}

#[test]
fn no_cpu_on_is_lost() {
    for program in PROGRAMS {
        for is_on in [true, false] {
            for others in [
                &[Other::Accept][..],
                &[Other::Accept, Other::Accept],
                &[Other::Accept, Other::Accept, Other::Accept],
                &[Other::Accept, Other::Pause],
                &[Other::Accept, Other::Raise],
                // One that the RMM accepts and does not carry out.
                &[Other::TurnOn],
                &[Other::TurnOn, Other::Accept],
            ] {
                let ends = try_all(State::new(program, is_on, 0, others), |state| {
                    let power = state.word().power();
                    match state.thread {
                        Thread::Runs { .. } => assert!(state.runnable, "{state:?}"),
                        Thread::Parked => {
                            assert_eq!(power == Power::Off, !state.runnable, "{state:?}");
                            assert_eq!(power != Power::Off, state.word().waits(), "{state:?}");
                        }
                        _ => panic!("{state:?}"),
                    }
                });
                assert!(ends > 0);
            }
        }
    }
}

#[test]
fn a_pause_ends_all_runs_and_nothing_else() {
    for program in PROGRAMS {
        for is_on in [true, false] {
            for others in [&[Other::Pause][..], &[Other::Pause, Other::Pause]] {
                let ends = try_all(State::new(program, is_on, 1, others), |state| {
                    let runs = matches!(state.thread, Thread::Runs { .. });
                    let waits = state.thread == Thread::Parked && state.word().waits();
                    assert_eq!(runs || waits, state.runnable, "{state:?}");
                });
                assert!(ends > 0);
            }
        }
    }
}

#[test]
fn a_realm_that_is_off_has_no_rec_in_a_loop() {
    for program in PROGRAMS {
        for is_on in [true, false] {
            for others in [
                &[Other::Stop][..],
                &[Other::Stop, Other::Pause],
                &[Other::Stop, Other::Raise],
                &[Other::Stop, Other::Accept],
            ] {
                let ends = try_all(State::new(program, is_on, 2, others), |state| {
                    assert_eq!(state.thread, Thread::Stopped, "{state:?}");
                });
                assert!(ends > 0);
            }
        }
    }
}
