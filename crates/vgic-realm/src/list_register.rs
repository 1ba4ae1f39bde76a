//! One virtual interrupt: the value of a list register.

use core::fmt;

/// The number of a virtual interrupt (vINTID).
///
/// Valid numbers are 0 to 1019 (SGIs, PPIs, SPIs), 1056 to 1119 (extended PPIs), 4096 to 5119
/// (extended SPIs), and from 8192 up to 24 bits (LPIs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias = "vINTID")]
pub struct Intid(u32);

impl Intid {
    /// The virtual EL1 timer's PPI.
    pub const VIRTUAL_TIMER: Self = Self(27);
    /// The physical EL1 timer's PPI.
    pub const PHYSICAL_TIMER: Self = Self(30);
    /// The PMU's PPI.
    pub const PMU: Self = Self(23);

    /// The interrupt with that number; `None` if no interrupt has it.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match number {
            0..=1019 | 1056..=1119 | 4096..=5119 | 8192..=0xff_ffff => Some(Self(number)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The interrupt with a number that is known to be valid.
    pub(crate) const fn from_valid(number: u32) -> Self {
        Self(number)
    }
}

/// Bits 63:62 of a list register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Inactive: the list register is free.
    Inactive,
    /// Pending: not taken yet.
    Pending,
    /// Active: taken, but not finished.
    Active,
    /// Active, and pending again.
    PendingActive,
}

const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 1 << 63;
const HW: u64 = 1 << 61;
const GROUP1: u64 = 1 << 60;
const PRIORITY_SHIFT: u32 = 48;
const EOI: u64 = 1 << 41;

/// The value of one list register (`ICH_LR<n>_EL2`) that an RMM accepts: HW is always zero, because
/// a Realm's interrupt never represents a physical one.
///
/// Source: Arm IHI 0069 (GICv3), `ICH_LR<n>_EL2`; DEN0137 2.0-bet3, RMI_REC_ENTER.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct ListRegister(u64);

impl ListRegister {
    /// A free list register.
    pub const FREE: Self = Self(0);

    /// A pending group 1 interrupt; smaller priorities are more urgent.
    #[must_use]
    pub const fn pending(intid: Intid, priority: u8) -> Self {
        Self::new(intid, State::Pending, priority, true)
    }

    /// An interrupt in any state; smaller priorities are more urgent. An inactive one is a
    /// [free](Self::FREE) list register.
    #[must_use]
    pub const fn new(intid: Intid, state: State, priority: u8, is_group1: bool) -> Self {
        let state = match state {
            State::Inactive => return Self::FREE,
            State::Pending => PENDING,
            State::Active => ACTIVE,
            State::PendingActive => PENDING | ACTIVE,
        };
        let group = if is_group1 { GROUP1 } else { 0 };
        Self(state | group | (priority as u64) << PRIORITY_SHIFT | intid.0 as u64)
    }

    /// The same list register, with a maintenance interrupt for the host when the Realm finishes
    /// the interrupt: for level interrupts.
    #[must_use]
    pub const fn with_eoi_maintenance(self) -> Self {
        Self(self.0 | EOI)
    }

    /// Decodes the value of a list register after a run; `None` if the RMM would not accept it
    /// again: HW set, or an interrupt number that does not exist.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Option<Self> {
        let list_register = Self(raw);
        match list_register.state() {
            State::Inactive => Some(Self::FREE),
            _ if raw & HW != 0 => None,
            _ if list_register.intid().is_none() => None,
            _ => Some(list_register),
        }
    }

    /// What a CPU made of the interrupt during a run, in which this list register had `raw` at the
    /// end. No CPU puts another interrupt there: then this list register was not used.
    #[inline]
    pub(crate) const fn left_as(self, raw: u64) -> Self {
        let left = Self(raw);
        match (left.valid_number(), self.valid_number()) {
            (None, _) => Self::FREE,
            (Some(left_in), Some(loaded)) if left_in == loaded && raw & HW == 0 => left,
            _ => self,
        }
    }

    /// The register value.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The state.
    #[must_use]
    pub const fn state(self) -> State {
        match (self.0 & PENDING != 0, self.0 & ACTIVE != 0) {
            (false, false) => State::Inactive,
            (true, false) => State::Pending,
            (false, true) => State::Active,
            (true, true) => State::PendingActive,
        }
    }

    /// The same interrupt made pending, or pending and active if it is active.
    #[must_use]
    pub const fn made_pending(self) -> Self {
        Self(self.0 | PENDING)
    }

    /// The same interrupt no longer pending: the line of a level interrupt went down.
    #[must_use]
    pub const fn made_not_pending(self) -> Self {
        let rest = self.0 & !PENDING;
        if rest & ACTIVE != 0 { Self(rest) } else { Self::FREE }
    }

    /// The interrupt; `None` in a free list register.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "bits 31:0")]
    pub const fn intid(self) -> Option<Intid> {
        match self.state() {
            State::Inactive => None,
            _ => Intid::new(self.0 as u32),
        }
    }

    /// The number of the interrupt of one that is not free, and that is known to be valid; `None`
    /// in a free list register.
    #[expect(clippy::cast_possible_truncation, reason = "bits 31:0")]
    pub(crate) const fn valid_number(self) -> Option<u32> {
        if self.0 & (PENDING | ACTIVE) == 0 { None } else { Some(self.0 as u32) }
    }

    /// Whether it is pending, or pending and active.
    #[must_use]
    pub const fn is_pending(self) -> bool {
        self.0 & PENDING != 0
    }

    /// Whether it is active, or pending and active.
    #[must_use]
    pub const fn is_active(self) -> bool {
        self.0 & ACTIVE != 0
    }

    /// Whether it belongs to group 1.
    #[must_use]
    pub const fn is_group1(self) -> bool {
        self.0 & GROUP1 != 0
    }

    /// The priority.
    #[must_use]
    pub const fn priority(self) -> u8 {
        (self.0 >> PRIORITY_SHIFT).to_le_bytes()[0]
    }
}

impl fmt::Debug for ListRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.intid() {
            None => f.write_str("free"),
            Some(intid) => {
                write!(f, "{} {:?} priority {}", intid.number(), self.state(), self.priority())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;

    use super::*;

    const TIMER: Intid = Intid::VIRTUAL_TIMER;

    #[test]
    fn interrupts_have_the_numbers_of_the_architecture() {
        let valid = [0..=1019, 1056..=1119, 4096..=5119, 8192..=0xff_ffff_u32]
            .map(|range| range.into_inner());
        for (first, last) in valid {
            assert_eq!(Intid::new(first).map(Intid::number), Some(first));
            assert_eq!(Intid::new(last).map(Intid::number), Some(last));
            assert_eq!(Intid::new(last + 1), None);
            assert_eq!(first.checked_sub(1).and_then(Intid::new), None);
        }
        let known = [Intid::PMU, TIMER, Intid::PHYSICAL_TIMER];
        assert_eq!(known.map(Intid::number), [23, 27, 30]);
    }

    #[test]
    fn a_pending_interrupt_is_the_register_of_the_architecture() {
        let register = ListRegister::pending(TIMER, 0xa8);
        assert_eq!(register.raw(), 0x50a8_0000_0000_001b);
        assert_eq!(register.with_eoi_maintenance().raw(), 0x50a8_0200_0000_001b);
        let again = register.with_eoi_maintenance().with_eoi_maintenance();
        assert_eq!(again, register.with_eoi_maintenance());
        assert_eq!((register.intid(), register.priority()), (Some(TIMER), 0xa8));
        let largest = Intid::new(0xff_ffff).unwrap();
        assert_eq!(ListRegister::pending(largest, 0xff).raw(), 0x50ff_0000_00ff_ffff);
        assert_eq!((ListRegister::FREE.raw(), ListRegister::FREE.intid()), (0, None));
    }

    #[test]
    fn every_field_has_its_bits() {
        let register = |state, group1| ListRegister::new(TIMER, state, 0xa8, group1);
        let of = |state, group1| register(state, group1).raw();
        assert_eq!(of(State::Pending, true), 0x50a8_0000_0000_001b);
        assert_eq!(of(State::Active, false), 0x80a8_0000_0000_001b);
        assert_eq!(of(State::PendingActive, true), 0xd0a8_0000_0000_001b);
        assert_eq!(register(State::Inactive, true), ListRegister::FREE);
        let bits = |state, group1| {
            let register = register(state, group1);
            (register.is_pending(), register.is_active(), register.is_group1())
        };
        assert_eq!(bits(State::Pending, true), (true, false, true));
        assert_eq!(bits(State::Active, false), (false, true, false));
        assert_eq!(bits(State::PendingActive, false), (true, true, false));
    }

    #[test]
    fn states_follow_the_line() {
        let pending = ListRegister::pending(TIMER, 0x80);
        let of =
            |state: u64| ListRegister::from_raw(pending.raw() & !(3 << 62) | state << 62).unwrap();
        let states = [State::Inactive, State::Pending, State::Active, State::PendingActive];
        for (bits, state) in (0..).zip(states) {
            assert_eq!(of(bits).state(), state);
        }
        assert_eq!(of(0), ListRegister::FREE, "an interrupt without a state is none");
        assert_eq!((of(1).made_pending(), of(2).made_pending()), (of(1), of(3)));
        assert_eq!((of(1).made_not_pending(), of(3).made_not_pending()), (of(0), of(2)));
        assert_eq!(of(2).made_not_pending(), of(2));
    }

    #[test]
    fn what_an_rmm_refuses_is_not_taken_back() {
        let pending = ListRegister::pending(TIMER, 0).raw();
        assert_eq!(ListRegister::from_raw(pending | 1 << 61), None, "HW");
        assert_eq!(ListRegister::from_raw(pending & !0xff | 1020), None);
        assert_eq!(ListRegister::from_raw(pending | 1 << 24), None);
        assert_eq!(ListRegister::from_raw(1 << 61 | 1020), Some(ListRegister::FREE));
    }

    #[test]
    fn what_a_cpu_leaves_of_another_interrupt_is_what_was_loaded() {
        let loaded = ListRegister::pending(TIMER, 0x80).with_eoi_maintenance();
        let raw = loaded.raw();
        let active = raw & !(1 << 62) | 1 << 63;
        assert_eq!(loaded.left_as(raw), loaded);
        assert_eq!(loaded.left_as(active).raw(), active);
        assert_eq!(loaded.left_as(raw & !(1 << 62)), ListRegister::FREE);
        assert_eq!(loaded.left_as(0), ListRegister::FREE);
        for other in [active ^ 1, active | 1 << 31, active | 1 << 61] {
            assert_eq!(loaded.left_as(other), loaded, "{other:#x}");
        }
        assert_eq!(ListRegister::FREE.left_as(raw), ListRegister::FREE);
    }

    #[test]
    fn it_prints_what_it_is() {
        let register = ListRegister::pending(TIMER, 0x80);
        assert_eq!(format!("{register:?}"), "27 Pending priority 128");
        assert_eq!(format!("{:?}", ListRegister::FREE), "free");
    }
}
