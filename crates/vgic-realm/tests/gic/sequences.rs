//! Any sequence of lines, SGIs, writes, entries and what guests do, against a GIC without list
//! registers: no interrupt is lost, none is delivered twice, and the most urgent one comes first.

use proptest::prelude::*;
use vgic_realm::{
    Affinity, Bank, EndedInterrupts, Field, Gic, GicConfig, GicStorage, Kicks, PpiIntid, Route,
    Saved, SgiRegister, SgiRequest, SpiIntid, VirtualInterface, Vtr,
};

use crate::cpu::Cpu;
use crate::reference::{Irq, PRIVATE, RECS, Reference, Route as To, SHARED};

/// Something happens. Numbers select a REC, an interrupt, and so on.
#[derive(Clone, Debug)]
enum Step {
    Line { rec: usize, n: usize, up: bool },
    Pulse { n: usize },
    Sgi { from: usize, targets: u8, intid: u32, group1: bool, all: bool },
    Write { rec: usize, n: usize, field: Field, set: bool },
    Priority { rec: usize, n: usize, priority: u8 },
    Route { n: usize, to: To },
    Groups { group0: bool, group1: bool },
    Asleep { rec: usize, asleep: bool },
    Take { rec: usize },
    End { rec: usize },
    Deactivate { rec: usize, n: usize },
    Mask { rec: usize, mask: u8 },
    CoreGroups { rec: usize, group0: bool, group1: bool },
    Exit { rec: usize },
    Wait { rec: usize },
    Enter { rec: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let rec = || 0..RECS;
    let n = || 0..PRIVATE.len() + SHARED.len();
    let shared = || 0..SHARED.len();
    let priority = || prop::sample::select(vec![0x00, 0x20, 0x40, 0x80, 0xa0, 0xf0]);
    let field = prop::sample::select(vec![
        Field::Enabled,
        Field::Group1,
        Field::Pending,
        Field::Active,
        Field::Level,
    ]);
    let route = prop_oneof![
        4 => rec().prop_map(To::To),
        2 => Just(To::Any),
        1 => Just(To::Nowhere),
    ];
    let often = || prop::bool::weighted(0.85);
    prop_oneof![
        8 => (rec(), n(), any::<bool>()).prop_map(|(rec, n, up)| Step::Line { rec, n, up }),
        2 => shared().prop_map(|n| Step::Pulse { n }),
        3 => (rec(), 0..8_u8, 0..2_u32, any::<bool>(), any::<bool>()).prop_map(
            |(from, targets, intid, group1, all)| Step::Sgi { from, targets, intid, group1, all }
        ),
        4 => (rec(), n(), field, any::<bool>())
            .prop_map(|(rec, n, field, set)| Step::Write { rec, n, field, set }),
        2 => (rec(), n(), priority())
            .prop_map(|(rec, n, priority)| Step::Priority { rec, n, priority }),
        2 => (shared(), route).prop_map(|(n, to)| Step::Route { n, to }),
        1 => (often(), often()).prop_map(|(group0, group1)| Step::Groups { group0, group1 }),
        1 => (rec(), prop::bool::weighted(0.3))
            .prop_map(|(rec, asleep)| Step::Asleep { rec, asleep }),
        8 => rec().prop_map(|rec| Step::Take { rec }),
        6 => rec().prop_map(|rec| Step::End { rec }),
        3 => (rec(), n()).prop_map(|(rec, n)| Step::Deactivate { rec, n }),
        2 => (rec(), prop::sample::select(vec![0xf8, 0xf8, 0xa0, 0x40, 0x08]))
            .prop_map(|(rec, mask)| Step::Mask { rec, mask }),
        1 => (rec(), often(), often())
            .prop_map(|(rec, group0, group1)| Step::CoreGroups { rec, group0, group1 }),
        1 => rec().prop_map(|rec| Step::Exit { rec }),
        2 => rec().prop_map(|rec| Step::Wait { rec }),
        3 => rec().prop_map(|rec| Step::Enter { rec }),
    ]
}

/// Where a REC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Out,
    Waiting,
    In,
}

/// A machine with a CPU for each REC, next to the reference.
struct Machine<'g> {
    gic: Gic<'g>,
    reference: Reference,
    cpus: Vec<Cpu>,
    at: [At; RECS],
    split: bool,
    /// The interrupts of which the host was told that they ended.
    told: Vec<Irq>,
}

fn number(n: usize) -> u32 {
    PRIVATE.into_iter().chain(SHARED).nth(n).unwrap()
}

fn bank(irq: Irq) -> Bank {
    irq.rec.map_or(Bank::Shared, Bank::Private)
}

impl<'g> Machine<'g> {
    fn new(storage: &'g GicStorage<RECS, 40>, vtr: Vtr, split: bool) -> Self {
        let affinities = [0, 1, 2].map(Affinity::from_mpidr);
        let config = GicConfig { affinities: &affinities, spis: 40, vtr };
        let mut machine = Self {
            gic: Gic::new(storage, &config).unwrap(),
            reference: Reference::new(),
            cpus: vec![Cpu::new(vtr); RECS],
            at: [At::Out; RECS],
            split,
            told: Vec::new(),
        };
        // A program that has enabled everything.
        machine.step(&Step::Groups { group0: true, group1: true });
        for rec in 0..RECS {
            machine.enter(rec);
            machine.step(&Step::Mask { rec, mask: 0xf8 });
            machine.step(&Step::CoreGroups { rec, group0: true, group1: true });
            for n in 0..PRIVATE.len() + SHARED.len() {
                machine.step(&Step::Write { rec, n, field: Field::Enabled, set: true });
                machine.step(&Step::Priority { rec, n, priority: 0x80 });
            }
        }
        machine
    }

    fn enter(&mut self, rec: usize) {
        if self.at[rec] != At::In {
            self.at[rec] = At::In;
            self.reference.cores[rec].on = true;
            self.gic.load(rec, &mut self.cpus[rec]);
            if self.split {
                self.cpus[rec].vmcr |= 1 << 9;
            }
        }
    }

    fn exit(&mut self, rec: usize) -> Kicks {
        if self.at[rec] != At::In {
            return Kicks::NONE;
        }
        self.at[rec] = At::Out;
        self.cpus[rec].exit();
        let report = self.gic.save(rec, &mut self.cpus[rec]);
        assert_eq!(report.saved, Saved::Used);
        assert!(!report.kicks.contains(rec), "it was just saved");
        self.tell(rec, &report.ended);
        report.kicks
    }

    fn tell(&mut self, rec: usize, ended: &EndedInterrupts) {
        self.told.extend(ended.iter().map(|intid| Reference::irq(rec, intid.number())));
    }

    /// The host was told of each end of a level-sensitive interrupt, once.
    fn check_ended(&mut self) {
        let mut ended = std::mem::take(&mut self.reference.ended);
        let mut told = std::mem::take(&mut self.told);
        ended.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, ended);
    }

    /// Does what a host does: kicks, and enters again after maintenance interrupts.
    fn settle(&mut self, kicks: Kicks) {
        let mut next = kicks;
        for round in 0.. {
            assert!(round < 20, "the RECs kick each other for ever");
            let mut more = Kicks::NONE;
            for rec in 0..RECS {
                let is_due = self.at[rec] == At::In && self.cpus[rec].misr() != 0;
                if is_due || next.contains(rec) {
                    more.add_all(self.exit(rec));
                    self.enter(rec);
                }
            }
            if more.is_empty()
                && (0..RECS).all(|rec| self.cpus[rec].hcr & 1 == 0 || self.cpus[rec].misr() == 0)
            {
                break;
            }
            next = more;
        }
    }

    /// Whether another REC that runs or waits takes an SPI for any, or has it in a list register.
    fn is_offered_to_another(&self, rec: usize, spi: (u8, u32)) -> bool {
        (0..RECS).filter(|other| *other != rec && self.at[*other] != At::Out).any(|other| {
            let holds = |list: &u64| list >> 62 == 1 && *list as u32 == spi.1;
            self.at[other] == At::In && self.cpus[other].lists.iter().any(holds)
                || self.reference.candidates(other).1.contains(&spi)
        })
    }

    /// What is signalled to each REC is what the reference says.
    fn check(&self) {
        for rec in 0..RECS {
            let (own, any) = self.reference.candidates(rec);
            let (must, may) = any
                .into_iter()
                .partition::<Vec<_>, _>(|spi| !self.is_offered_to_another(rec, *spi));
            let (own, any) = ([own, must].concat(), may);
            let best = own.iter().map(|(priority, _)| *priority).min();
            match self.at[rec] {
                At::Out => {}
                At::Waiting => {
                    let threshold = self.reference.threshold(rec);
                    let is_signalled = best.is_some_and(|best| u32::from(best) < threshold);
                    assert!(!is_signalled, "{rec} waits for ever: {own:?}");
                }
                At::In => {
                    let threshold = self.reference.threshold(rec);
                    let best = best.filter(|best| u32::from(*best) < threshold);
                    let mut cpu = self.cpus[rec].clone();
                    match cpu.acknowledge() {
                        None => assert_eq!(best, None, "{rec} misses one of {own:?}"),
                        Some((intid, priority)) => {
                            let taken = (priority, intid);
                            assert!(own.contains(&taken) || any.contains(&taken), "{taken:?}");
                            assert!(u32::from(priority) < threshold);
                            assert!(best.is_none_or(|best| priority <= best), "{taken:?} {own:?}");
                        }
                    }
                }
            }
        }
    }

    fn is_running(&self, irq: Irq) -> bool {
        let cores = self.reference.cores.iter().enumerate();
        cores
            .filter(|(rec, _)| irq.rec.is_none_or(|own| own == *rec))
            .any(|(_, core)| core.running.iter().any(|(intid, _)| *intid == irq.intid))
    }

    fn step(&mut self, step: &Step) {
        let kicks = self.apply(step);
        // Before any entry.
        for rec in 0..RECS {
            if let Some(ended) = self.gic.take_ended(rec) {
                self.tell(rec, &ended);
            }
        }
        self.settle(kicks);
        self.check();
        self.check_ended();
    }

    fn apply(&mut self, step: &Step) -> Kicks {
        let Self { gic, reference, .. } = self;
        match *step {
            Step::Line { rec, n, up } => {
                let irq = Reference::irq(rec, number(n));
                if irq.intid < 16 {
                    return Kicks::NONE;
                }
                reference.set_line(irq, up);
                match SpiIntid::new(irq.intid) {
                    Some(spi) => gic.set_spi(spi, up),
                    None => gic.set_ppi(rec, PpiIntid::new(irq.intid).unwrap(), up),
                }
            }
            Step::Pulse { n } => {
                let irq = Irq { rec: None, intid: SHARED[n] };
                reference.set_line(irq, true);
                reference.set_line(irq, false);
                gic.pulse_spi(SpiIntid::new(SHARED[n]).unwrap())
            }
            Step::Sgi { from, targets, intid, group1, all } => {
                for rec in 0..RECS {
                    let named = if all { rec != from } else { targets >> rec & 1 != 0 };
                    let state = reference.at(Reference::irq(rec, intid));
                    state.latch |= named && (group1 || !state.group1);
                }
                let register = if group1 { SgiRegister::Group1 } else { SgiRegister::Group0 };
                let value = u64::from(all) << 40 | u64::from(intid) << 24 | u64::from(targets);
                gic.send_sgi(from, register, SgiRequest::from_raw(value))
            }
            Step::Write { rec, n, field, set } => {
                let irq = Reference::irq(rec, number(n));
                if field == Field::Level && irq.intid < 16
                    // A program that ends what is not active, or the reverse, is not handled by
                    // counting its ends.
                    || field == Field::Active && (!self.split || self.is_running(irq))
                {
                    return Kicks::NONE;
                }
                // What ended before was level-sensitive, or not, as it was then.
                let mut kicks = Kicks::NONE;
                if field == Field::Level {
                    for other in (0..RECS).filter(|other| self.at[*other] == At::In) {
                        kicks.add(other);
                    }
                    for other in kicks.iter() {
                        let more = self.exit(other);
                        self.enter(other);
                        self.settle(more);
                    }
                }
                if field == Field::Active && !set {
                    self.reference.deactivate(irq);
                }
                let state = self.reference.at(irq);
                match field {
                    Field::Enabled => state.enabled = set,
                    Field::Group1 => state.group1 = set,
                    Field::Pending => state.latch = set,
                    Field::Active => state.active = set,
                    Field::Level => state.level = set,
                }
                let (word, bit) = (irq.intid as usize / 32, irq.intid % 32);
                self.gic.set_bits(bank(irq), word, field, 1 << bit, set)
            }
            Step::Priority { rec, n, priority } => {
                let irq = Reference::irq(rec, number(n));
                reference.at(irq).priority = priority;
                gic.set_priority(bank(irq), irq.intid, priority | 0x7)
            }
            Step::Route { n, to } => {
                reference.at(Irq { rec: None, intid: SHARED[n] }).route = to;
                let to = |rec: usize| Route::Specific(Affinity::from_mpidr(rec as u64));
                let route = match reference.at(Irq { rec: None, intid: SHARED[n] }).route {
                    To::To(rec) => to(rec),
                    To::Any => Route::Any,
                    To::Nowhere => to(77),
                };
                gic.set_route(SpiIntid::new(SHARED[n]).unwrap(), route)
            }
            Step::Groups { group0, group1 } => {
                reference.groups = [group0, group1];
                gic.set_group_enables(group0, group1)
            }
            Step::Asleep { rec, asleep } => {
                reference.cores[rec].asleep = asleep;
                gic.set_asleep(rec, asleep)
            }
            Step::Take { rec } => {
                if self.at[rec] == At::In
                    && let Some((intid, _)) = self.cpus[rec].acknowledge()
                {
                    self.reference.take(rec, intid);
                }
                Kicks::NONE
            }
            Step::End { rec } => {
                if self.at[rec] == At::In
                    && let Some(intid) = self.reference.end(rec, !self.split)
                {
                    self.cpus[rec].end(intid);
                }
                Kicks::NONE
            }
            Step::Deactivate { rec, n } => {
                let irq = Reference::irq(rec, number(n));
                if self.at[rec] != At::In || !self.split || self.is_running(irq) {
                    return Kicks::NONE;
                }
                self.reference.deactivate(irq);
                assert!(self.cpus[rec].dir_traps(irq.intid), "an SPI of another REC");
                let mut kicks = self.exit(rec);
                kicks.add_all(self.gic.deactivate(rec, irq.intid));
                self.enter(rec);
                kicks
            }
            Step::Mask { rec, mask } => {
                if self.at[rec] == At::In {
                    self.reference.cores[rec].mask = mask;
                    let vmcr = &mut self.cpus[rec].vmcr;
                    *vmcr = *vmcr & !(0xff << 24) | u64::from(mask) << 24;
                }
                Kicks::NONE
            }
            Step::CoreGroups { rec, group0, group1 } => {
                if self.at[rec] == At::In {
                    self.reference.cores[rec].groups = [group0, group1];
                    let vmcr = &mut self.cpus[rec].vmcr;
                    *vmcr = *vmcr & !0b11 | u64::from(group1) << 1 | u64::from(group0);
                }
                Kicks::NONE
            }
            Step::Exit { rec } => {
                let mut kicks = self.exit(rec);
                // One that waits is not run either.
                self.at[rec] = At::Out;
                kicks.add_all(self.gic.leave(rec));
                kicks
            }
            Step::Wait { rec } => {
                let kicks = self.exit(rec);
                let is_pending = self.gic.has_pending(rec);
                let (own, any) = self.reference.candidates(rec);
                let threshold = self.reference.threshold(rec);
                let signalled =
                    |of: &[(u8, u32)]| of.iter().any(|(one, _)| u32::from(*one) < threshold);
                assert!(is_pending || !signalled(&own), "{own:?}");
                assert!(!is_pending || signalled(&own) || signalled(&any));
                self.at[rec] = if is_pending { At::Out } else { At::Waiting };
                if is_pending {
                    self.enter(rec);
                }
                kicks
            }
            Step::Enter { rec } => {
                self.enter(rec);
                Kicks::NONE
            }
        }
    }

    /// Every state of every interrupt is that of the reference.
    fn compare(&mut self) {
        for rec in 0..RECS {
            let kicks = self.exit(rec);
            let _ = kicks;
        }
        for (irq, state) in &self.reference.irqs {
            let (word, bit) = (irq.intid as usize / 32, irq.intid % 32);
            let is = |field| self.gic.bits(bank(*irq), word, field) >> bit & 1 != 0;
            let fields = [Field::Enabled, Field::Group1, Field::Pending, Field::Active];
            let expected = [state.enabled, state.group1, state.pending(), state.active];
            assert_eq!(fields.map(is), expected, "{irq:?} {state:?}");
            assert_eq!(self.gic.priority(bank(*irq), irq.intid), state.priority);
        }
    }

    /// All lines go down, and all RECs run until nothing is pending.
    fn drain(&mut self) {
        for irq in self.reference.irqs.clone().into_keys() {
            let n = PRIVATE.into_iter().chain(SHARED).position(|one| one == irq.intid).unwrap();
            let rec = irq.rec.unwrap_or(0);
            self.step(&Step::Line { rec, n, up: false });
            self.step(&Step::Write { rec, n, field: Field::Enabled, set: true });
            if let Some(n) = n.checked_sub(PRIVATE.len()) {
                self.step(&Step::Route { n, to: To::Any });
            }
        }
        self.step(&Step::Groups { group0: true, group1: true });
        for rec in 0..RECS {
            self.step(&Step::Asleep { rec, asleep: false });
            self.step(&Step::Enter { rec });
            self.step(&Step::Mask { rec, mask: 0xf8 });
            self.step(&Step::CoreGroups { rec, group0: true, group1: true });
        }
        for _ in 0..64 {
            for rec in 0..RECS {
                self.step(&Step::Take { rec });
                self.step(&Step::End { rec });
                for n in 0..PRIVATE.len() + SHARED.len() {
                    self.step(&Step::Deactivate { rec, n });
                }
            }
        }
        for (irq, state) in &self.reference.irqs {
            assert!(!state.pending() && !state.active, "{irq:?} {state:?}");
        }
        self.compare();
    }
}

fn vtr(list_registers: usize) -> Vtr {
    Vtr::from_raw(4 << 29 | 4 << 26 | 1 << 19 | (list_registers as u64 - 1))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_rec_sees_what_a_gic_without_list_registers_signals(
        steps in prop::collection::vec(step(), 1..120),
        list_registers in prop::sample::select(vec![1, 2, 4, 16]),
        split: bool,
    ) {
        let storage = GicStorage::new();
        let mut machine = Machine::new(&storage, vtr(list_registers), split);
        for step in &steps {
            machine.step(step);
        }
        machine.drain();
    }

    #[test]
    fn the_state_after_exits_is_that_of_a_gic_without_list_registers(
        steps in prop::collection::vec(step(), 1..60),
        list_registers in prop::sample::select(vec![1, 2, 4, 16]),
        split: bool,
    ) {
        let storage = GicStorage::new();
        let mut machine = Machine::new(&storage, vtr(list_registers), split);
        for step in &steps {
            machine.step(step);
        }
        machine.compare();
    }
}
