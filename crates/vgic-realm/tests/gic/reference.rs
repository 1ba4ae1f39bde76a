//! A GIC without list registers: the architecture's text, as plainly as possible.
//!
//! Source: Arm IHI 0069 (GICv3), "Interrupt handling and prioritization".

use std::collections::BTreeMap;

pub(crate) const RECS: usize = 3;
/// The interrupts that the tests use.
pub(crate) const PRIVATE: [u32; 5] = [0, 1, 16, 17, 27];
pub(crate) const SHARED: [u32; 5] = [32, 33, 34, 63, 64];

/// An interrupt: of a REC if it is private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Irq {
    pub(crate) rec: Option<usize>,
    pub(crate) intid: u32,
}

/// The priority and the INTID of an interrupt that can be signalled.
pub(crate) type Signal = (u8, u32);

/// Where an SPI goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    To(usize),
    Any,
    Nowhere,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) enabled: bool,
    pub(crate) group1: bool,
    pub(crate) priority: u8,
    pub(crate) level: bool,
    pub(crate) latch: bool,
    pub(crate) line: bool,
    pub(crate) active: bool,
    pub(crate) route: Route,
}

impl State {
    pub(crate) fn pending(self) -> bool {
        self.latch || self.level && self.line
    }
}

/// One CPU.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    pub(crate) mask: u8,
    pub(crate) groups: [bool; 2],
    pub(crate) asleep: bool,
    /// What was taken and not ended, with its priority.
    pub(crate) running: Vec<(u32, u8)>,
    /// Whether it was ever entered.
    pub(crate) on: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) irqs: BTreeMap<Irq, State>,
    pub(crate) cores: Vec<Core>,
    /// What the distributor forwards.
    pub(crate) groups: [bool; 2],
    /// The level-sensitive interrupts that ended, and that the host was not told yet.
    pub(crate) ended: Vec<Irq>,
}

impl Reference {
    pub(crate) fn new() -> Self {
        let state = |level, route| State {
            enabled: false,
            group1: true,
            priority: 0,
            level,
            latch: false,
            line: false,
            active: false,
            route,
        };
        let mut irqs = BTreeMap::new();
        for rec in 0..RECS {
            for intid in PRIVATE {
                let irq = Irq { rec: Some(rec), intid };
                irqs.insert(irq, state(intid >= 16, Route::To(rec)));
            }
        }
        for intid in SHARED {
            irqs.insert(Irq { rec: None, intid }, state(true, Route::To(0)));
        }
        let core =
            Core { mask: 0, groups: [false; 2], asleep: false, running: Vec::new(), on: false };
        Self { irqs, cores: vec![core; RECS], groups: [false; 2], ended: Vec::new() }
    }

    pub(crate) fn at(&mut self, irq: Irq) -> &mut State {
        self.irqs.get_mut(&irq).unwrap()
    }

    /// Which of a REC's and of the shared interrupts has that number.
    pub(crate) fn irq(rec: usize, intid: u32) -> Irq {
        Irq { rec: (intid < 32).then_some(rec), intid }
    }

    pub(crate) fn set_line(&mut self, irq: Irq, up: bool) {
        let state = self.at(irq);
        state.latch |= up && !state.line && !state.level;
        state.line = up;
    }

    /// The interrupts that a REC may be signalled, regardless of what it masks by priority: those
    /// that go to it, and those that go to it or another.
    pub(crate) fn candidates(&self, rec: usize) -> (Vec<Signal>, Vec<Signal>) {
        let core = &self.cores[rec];
        let (mut own, mut any) = (Vec::new(), Vec::new());
        for (irq, state) in &self.irqs {
            let group = usize::from(state.group1);
            let forwarded = state.enabled && state.pending() && !state.active && self.groups[group];
            if !forwarded || core.asleep || !core.groups[group] {
                continue;
            }
            match state.route {
                Route::To(target) if target == rec => own.push((state.priority, irq.intid)),
                Route::Any if core.on => any.push((state.priority, irq.intid)),
                _ => {}
            }
        }
        (own, any)
    }

    /// The lowest priority that is not signalled to a REC.
    pub(crate) fn threshold(&self, rec: usize) -> u32 {
        let core = &self.cores[rec];
        let running = core.running.iter().map(|(_, priority)| u32::from(*priority)).min();
        u32::from(core.mask).min(running.unwrap_or(256))
    }

    /// A REC takes an interrupt.
    pub(crate) fn take(&mut self, rec: usize, intid: u32) {
        let state = self.at(Self::irq(rec, intid));
        assert!(state.pending() && !state.active, "{intid} is delivered without being pending");
        let priority = state.priority;
        state.latch = false;
        state.active = true;
        self.cores[rec].running.push((intid, priority));
    }

    /// A REC ends the interrupt that it took last.
    pub(crate) fn end(&mut self, rec: usize, deactivates: bool) -> Option<u32> {
        let (intid, _) = self.cores[rec].running.pop()?;
        if deactivates {
            self.deactivate(Self::irq(rec, intid));
        }
        Some(intid)
    }

    /// The active state of an interrupt goes away.
    pub(crate) fn deactivate(&mut self, irq: Irq) {
        let state = self.at(irq);
        let is_end = state.active && state.level;
        state.active = false;
        if is_end {
            self.ended.push(irq);
        }
    }
}
