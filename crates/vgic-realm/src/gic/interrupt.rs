//! The state of one interrupt, and how it moves into a list register and back.

use crate::list_register::{Intid, ListRegister, State};

/// The state of one interrupt.
///
/// While it is in a list register it is *resident*: the pending latch that went with it is
/// *carried*, and what the Realm makes of it is known when the REC is saved. What is written
/// meanwhile is applied then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interrupt {
    flags: u16,
    priority: u8,
    /// The priority with which it became active: that of its list register while it is active,
    /// whatever is written to its priority meanwhile.
    active_priority: u8,
}

const ENABLED: u16 = 1;
const GROUP1: u16 = 1 << 1;
/// Level-sensitive, not edge-triggered.
const LEVEL: u16 = 1 << 2;
/// The pending latch: an edge, or a write to the register that sets pending.
const LATCH: u16 = 1 << 3;
/// The line is up.
const LINE: u16 = 1 << 4;
const ACTIVE: u16 = 1 << 5;
/// In a list register of a REC that is loaded.
const RESIDENT: u16 = 1 << 6;
/// The latch is in the list register.
const CARRIED: u16 = 1 << 7;
/// The group with which it became active.
const ACTIVE_GROUP1: u16 = 1 << 8;
/// What was written to the active state of a resident interrupt.
const ACTIVATE: u16 = 1 << 9;
const DEACTIVATE: u16 = 1 << 10;

/// A property of an interrupt that the register file has one bit for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `GICD_ISENABLER<n>`: it may be signalled.
    Enabled,
    /// `GICD_IGROUPR<n>`: it belongs to group 1.
    Group1,
    /// `GICD_ISPENDR<n>`: it is pending, by its latch or, if it is level-sensitive, by its line.
    /// Setting and clearing change the latch.
    Pending,
    /// `GICD_ISACTIVER<n>`: it is active.
    Active,
    /// The opposite of the upper bit of its field in `GICD_ICFGR<n>`: it is level-sensitive.
    Level,
}

/// What a run did with an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folded {
    /// It is still pending or active.
    Open,
    /// The Realm ended it: it is in the list register no longer, or it was active there and has
    /// been deactivated by a write meanwhile.
    Ended,
}

impl Interrupt {
    /// As a reset leaves it: disabled, group 1, priority 0.
    pub(crate) const fn new(is_level: bool) -> Self {
        let flags = if is_level { GROUP1 | LEVEL } else { GROUP1 };
        Self { flags, priority: 0, active_priority: 0 }
    }

    const fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    const fn put(&mut self, flag: u16, is_set: bool) {
        self.flags = if is_set { self.flags | flag } else { self.flags & !flag };
    }

    pub(crate) const fn is_group1(self) -> bool {
        self.has(GROUP1)
    }

    pub(crate) const fn is_level(self) -> bool {
        self.has(LEVEL)
    }

    pub(crate) const fn is_active(self) -> bool {
        self.has(ACTIVE)
    }

    pub(crate) const fn is_resident(self) -> bool {
        self.has(RESIDENT)
    }

    pub(crate) const fn is_pending(self) -> bool {
        self.has(LATCH | CARRIED) || self.has(LEVEL) && self.has(LINE)
    }

    /// Whether its line is up.
    pub(crate) const fn line_is_up(self) -> bool {
        self.has(LINE)
    }

    /// Pending, active or in a list register: not idle.
    pub(crate) const fn is_live(self) -> bool {
        self.is_pending() || self.has(ACTIVE | RESIDENT)
    }

    /// Pending and enabled, and neither active nor in a list register: the distributor forwards it
    /// if its group is enabled.
    pub(crate) const fn is_forwarded(self) -> bool {
        self.has(ENABLED) && self.is_pending() && !self.has(ACTIVE | RESIDENT)
    }

    /// Active, and in no list register.
    pub(crate) const fn is_active_outside(self) -> bool {
        self.has(ACTIVE) && !self.has(RESIDENT)
    }

    pub(crate) const fn priority(self) -> u8 {
        self.priority
    }

    pub(crate) const fn active_priority(self) -> u8 {
        self.active_priority
    }

    /// A property, as far as it is known: what a Realm that runs does with an interrupt in its list
    /// registers is not known before its exit.
    pub(crate) const fn field(self, field: Field) -> bool {
        match field {
            Field::Enabled => self.has(ENABLED),
            Field::Group1 => self.has(GROUP1),
            Field::Pending => self.is_pending(),
            Field::Active => self.has(ACTIVATE) || self.has(ACTIVE) && !self.has(DEACTIVATE),
            Field::Level => self.has(LEVEL),
        }
    }

    /// Whether such a change ends the interrupt, and it is level-sensitive. What is written while
    /// it is in a list register counts when it is [taken back](Interrupt::fold).
    pub(crate) const fn is_ended_by(self, field: Field, is_set: bool) -> bool {
        matches!(field, Field::Active) && !is_set && self.is_level() && self.is_active_outside()
    }

    /// Changes a property; whether anything changed.
    pub(crate) const fn set_field(&mut self, field: Field, is_set: bool) -> bool {
        let before = self.flags;
        match field {
            Field::Enabled => self.put(ENABLED, is_set),
            Field::Group1 => self.put(GROUP1, is_set),
            Field::Level => self.put(LEVEL, is_set),
            Field::Pending if is_set => self.put(LATCH, true),
            Field::Pending => self.put(LATCH | CARRIED, false),
            Field::Active if self.has(RESIDENT) => {
                self.put(ACTIVATE, is_set);
                self.put(DEACTIVATE, !is_set);
            }
            Field::Active if is_set && !self.has(ACTIVE) => self.activate(),
            Field::Active => self.put(ACTIVE, is_set),
        }
        self.flags != before
    }

    const fn activate(&mut self) {
        self.put(ACTIVE, true);
        self.put(ACTIVE_GROUP1, self.is_group1());
        self.active_priority = self.priority;
    }

    /// Changes the priority; whether it changed.
    pub(crate) const fn set_priority(&mut self, priority: u8) -> bool {
        let changes = self.priority != priority;
        self.priority = priority;
        changes
    }

    /// The line goes up or down; whether anything changed. A rising line of an edge-triggered
    /// interrupt makes it pending.
    pub(crate) const fn set_line(&mut self, is_up: bool) -> bool {
        let before = self.flags;
        if is_up && !self.has(LINE | LEVEL) {
            self.put(LATCH, true);
        }
        self.put(LINE, is_up);
        self.flags != before
    }

    /// Moves the interrupt, which is forwarded, into a list register: it is pending there.
    ///
    /// Its end is reported to the host if it is level-sensitive, as its line may still be up.
    #[inline]
    pub(crate) const fn take_pending(&mut self, intid: Intid) -> ListRegister {
        self.carry();
        let register = ListRegister::new(intid, State::Pending, self.priority, self.is_group1());
        if self.is_level() { register.with_eoi_maintenance() } else { register }
    }

    /// Moves the interrupt, which is active, into a list register. It keeps its priority and its
    /// group there. If it is pending as well, only an edge goes along, and only if it may.
    ///
    /// The end of the interrupt is reported to the host if it is level-sensitive, as its line may
    /// still be up, and if it is pending but not there.
    #[inline]
    pub(crate) const fn take_active(&mut self, intid: Intid, may_be_pending: bool) -> ListRegister {
        let (priority, is_group1) = (self.active_priority, self.has(ACTIVE_GROUP1));
        let (wants, is_level) = (self.is_pending(), self.is_level());
        let is_same = self.priority == priority && self.is_group1() == is_group1;
        let pends = wants && may_be_pending && self.has(ENABLED) && !is_level && is_same;
        let state = if pends {
            self.carry();
            State::PendingActive
        } else {
            self.put(RESIDENT, true);
            State::Active
        };
        let register = ListRegister::new(intid, state, priority, is_group1);
        if is_level || wants && !pends { register.with_eoi_maintenance() } else { register }
    }

    /// It is in a list register from here on, and its latch too.
    const fn carry(&mut self) {
        self.put(RESIDENT, true);
        if self.has(LATCH) {
            self.put(LATCH, false);
            self.put(CARRIED, true);
        }
    }

    /// Takes the interrupt back from its list register, which may be free now.
    #[inline]
    pub(crate) const fn fold(&mut self, left: ListRegister) -> Folded {
        let (pends, is_active) = (left.is_pending(), left.is_active());
        let before = *self;
        self.put(RESIDENT | CARRIED | ACTIVE | ACTIVATE | DEACTIVATE, false);
        if pends && before.has(CARRIED) {
            self.put(LATCH, true);
        }
        if is_active {
            self.put(ACTIVE, true);
            self.put(ACTIVE_GROUP1, left.is_group1());
            self.active_priority = left.priority();
        }
        if before.has(ACTIVATE | DEACTIVATE) {
            self.apply_written(before.has(ACTIVATE));
        }
        let is_open = if is_active { !before.has(DEACTIVATE) } else { pends };
        if is_open { Folded::Open } else { Folded::Ended }
    }

    /// Its active state is what was written to it.
    const fn apply_written(&mut self, is_active: bool) {
        if is_active && !self.has(ACTIVE) {
            self.activate();
        }
        self.put(ACTIVE, is_active);
    }
}
