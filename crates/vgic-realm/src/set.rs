//! The list registers of one REC, as the host keeps them between runs.

use core::fmt;

use crate::interface::Vtr;
use crate::list_register::{Intid, ListRegister, State};

/// The maximum number of list registers in the architecture.
pub const MAX_LIST_REGISTERS: usize = Vtr::MAX_LIST_REGISTERS;

/// No list register is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the interrupt is not pending; keep it and try after the next exit"]
pub struct Full {
    /// The interrupt that was not added.
    pub intid: Intid,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no list register is free for interrupt {}", self.intid.number())
    }
}

impl core::error::Error for Full {}

/// The list registers of one REC: never two for the same interrupt, and never one that the RMM
/// would refuse.
///
/// They are part of the state that a host loads and saves with the REC:
/// [`InterfaceState`](crate::InterfaceState).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRegisters {
    registers: [ListRegister; MAX_LIST_REGISTERS],
    implemented: usize,
}

impl ListRegisters {
    /// Free list registers, as many as the CPU implements (at most 16).
    #[must_use]
    pub const fn new(implemented: usize) -> Self {
        let implemented =
            if implemented > MAX_LIST_REGISTERS { MAX_LIST_REGISTERS } else { implemented };
        Self { registers: [ListRegister::FREE; MAX_LIST_REGISTERS], implemented }
    }

    fn usable(&self) -> &[ListRegister] {
        self.registers.get(..self.implemented).unwrap_or_default()
    }

    fn usable_mut(&mut self) -> &mut [ListRegister] {
        self.registers.get_mut(..self.implemented).unwrap_or_default()
    }

    /// The list registers in order.
    pub fn iter(&self) -> impl Iterator<Item = ListRegister> + '_ {
        self.usable().iter().copied()
    }

    /// The list register of an interrupt, if it has one.
    #[must_use]
    pub fn get(&self, intid: Intid) -> Option<ListRegister> {
        self.iter().find(|register| register.intid() == Some(intid))
    }

    /// Puts an interrupt into the list registers, in place of that of the same interrupt if it has
    /// one. A free one changes nothing.
    ///
    /// # Errors
    ///
    /// [`Full`] when no list register is free.
    pub fn insert(&mut self, register: ListRegister) -> Result<(), Full> {
        let Some(intid) = register.intid() else { return Ok(()) };
        let registers = self.usable_mut();
        let same = registers.iter().position(|other| other.intid() == Some(intid));
        let free = || registers.iter().position(|other| other.state() == State::Inactive);
        match same.or_else(free).and_then(|at| registers.get_mut(at)) {
            Some(place) => {
                *place = register;
                Ok(())
            }
            None => Err(Full { intid }),
        }
    }

    /// Frees all list registers.
    pub const fn clear(&mut self) {
        self.registers = [ListRegister::FREE; MAX_LIST_REGISTERS];
    }

    /// A list register; a free one if it does not exist.
    pub(crate) fn at(&self, n: usize) -> ListRegister {
        self.usable().get(n).copied().unwrap_or(ListRegister::FREE)
    }

    /// Replaces a list register. The interrupt has no other one.
    pub(crate) fn put(&mut self, n: usize, register: ListRegister) {
        if let Some(place) = self.usable_mut().get_mut(n) {
            *place = register;
        }
    }

    /// Makes an interrupt pending. One that already has a list register keeps it.
    ///
    /// # Errors
    ///
    /// [`Full`] when no list register is free.
    pub fn set_pending(&mut self, intid: Intid, priority: u8) -> Result<(), Full> {
        let registers = self.usable_mut();
        if let Some(register) =
            registers.iter_mut().find(|register| register.intid() == Some(intid))
        {
            *register = register.made_pending();
            return Ok(());
        }
        match registers.iter_mut().find(|register| register.state() == State::Inactive) {
            Some(free) => {
                *free = ListRegister::pending(intid, priority);
                Ok(())
            }
            None => Err(Full { intid }),
        }
    }

    /// Clears the pending state of an interrupt: the line of a level interrupt went down.
    pub fn clear_pending(&mut self, intid: Intid) {
        for register in self.usable_mut() {
            if register.intid() == Some(intid) {
                *register = register.made_not_pending();
            }
        }
    }

    /// Updates a level interrupt to the state of its line, for example a timer's.
    ///
    /// A line that is up makes an active interrupt pending as well. If the line goes down while the
    /// Realm handles the interrupt, without an exit, the Realm takes the interrupt once more and
    /// finds no cause.
    ///
    /// # Errors
    ///
    /// [`Full`] when the line is up and no list register is free.
    pub fn set_level(&mut self, intid: Intid, priority: u8, is_up: bool) -> Result<(), Full> {
        if is_up {
            self.set_pending(intid, priority)
        } else {
            self.clear_pending(intid);
            Ok(())
        }
    }

    /// Reads the first `count` list registers back from a CPU. A value that the RMM would not
    /// accept frees its list register.
    pub(crate) fn take_back(&mut self, count: usize, read: impl Fn(usize) -> u64) {
        for (n, register) in self.usable_mut().iter_mut().enumerate().take(count) {
            *register = ListRegister::from_raw(read(n)).unwrap_or(ListRegister::FREE);
        }
        if self.iter().filter(|register| register.valid_number().is_some()).count() > 1 {
            self.keep_the_first_of_each();
        }
    }

    /// A correct interface never contains two for the same interrupt either; the first is kept.
    fn keep_the_first_of_each(&mut self) {
        let mut registers = self.usable_mut();
        while let Some((register, before)) = registers.split_last_mut() {
            let number = register.valid_number();
            if number.is_some() && before.iter().any(|other| other.valid_number() == number) {
                *register = ListRegister::FREE;
            }
            registers = before;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;
    use proptest::prelude::*;

    fn intid(number: u32) -> Intid {
        Intid::new(number).unwrap()
    }

    #[test]
    fn an_interrupt_has_one_place() {
        let mut set = ListRegisters::new(2);
        set.set_pending(intid(27), 0x80).unwrap();
        set.set_pending(intid(27), 0x80).unwrap();
        set.set_pending(intid(30), 0x80).unwrap();
        let full = set.set_pending(intid(1), 0).unwrap_err();
        assert_eq!(full, Full { intid: intid(1) });
        assert_eq!(full.to_string(), "no list register is free for interrupt 1");
        set.set_level(intid(27), 0x80, false).unwrap();
        assert_eq!(set.get(intid(27)), None);
        set.set_pending(intid(1), 0).unwrap();
    }

    #[test]
    fn an_interrupt_in_any_state_is_inserted_once() {
        let register = |number, state| ListRegister::new(intid(number), state, 0x80, false);
        let mut set = ListRegisters::new(2);
        set.insert(ListRegister::FREE).unwrap();
        set.insert(register(40, State::Active)).unwrap();
        set.insert(register(41, State::Pending)).unwrap();
        set.insert(register(40, State::PendingActive)).unwrap();
        let all: std::vec::Vec<_> = set.iter().collect();
        assert_eq!(all, [register(40, State::PendingActive), register(41, State::Pending)]);
        let full = set.insert(register(42, State::Pending)).unwrap_err();
        assert_eq!(full, Full { intid: intid(42) });
        set.insert(ListRegister::FREE).unwrap();
        set.clear();
        assert_eq!(set, ListRegisters::new(2));
    }

    #[test]
    fn of_two_for_the_same_interrupt_the_first_is_kept() {
        for count in [2, 3, 16] {
            let mut set = ListRegisters::new(count);
            set.take_back(count, |n| 1 << 62 | (n as u64 % 2) << 48 | 40);
            let left: std::vec::Vec<_> = set.iter().map(ListRegister::raw).collect();
            assert_eq!((left[0], &left[1..]), (1 << 62 | 40, &[0; 15][..count - 1]));
        }
    }

    proptest! {
        /// Whatever the interface contains, an RMM accepts what is kept of it: HW clear, numbers
        /// valid, no interrupt twice.
        #[test]
        fn what_is_saved_can_be_loaded(list: [u64; 16], same in 0usize..16) {
            let mut list = list;
            list[same] = list[0];
            let mut set = ListRegisters::new(16);
            set.take_back(16, |n| list[n]);
            let mut seen = [None; 16];
            for (n, register) in set.iter().enumerate() {
                prop_assert_eq!(register.raw() & 1 << 61, 0);
                if register.state() != State::Inactive {
                    prop_assert!(register.intid().is_some());
                    prop_assert!(!seen.contains(&register.intid()));
                    seen[n] = register.intid();
                }
            }
        }
    }
}
