//! The list registers of one REC, as the host keeps them between runs.

use core::fmt;

use crate::interface::VirtualInterface;
use crate::list_register::{Intid, ListRegister, State};

/// Most list registers that the architecture has.
pub const MAX_LIST_REGISTERS: usize = 16;

/// No list register is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the interrupt is not pending; keep it and try after the next exit"]
pub struct Full {
    /// The interrupt that found no place.
    pub intid: Intid,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no list register is free for interrupt {}", self.intid.number())
    }
}

impl core::error::Error for Full {}

/// The list registers of one REC: never two for the same interrupt, never one that the RMM would refuse.
///
/// In 2.0 the list registers are not in the run page: the host loads them into the CPU before `RMI_REC_ENTER` and reads them afterwards. Between the two they are
/// live on that CPU and no other guest may use them.
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

    /// What stands for an interrupt, if anything does.
    #[must_use]
    pub fn get(&self, intid: Intid) -> Option<ListRegister> {
        self.iter().find(|register| register.intid() == Some(intid))
    }

    /// Makes an interrupt pending. One that is there already keeps its place.
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

    /// Takes a pending interrupt back: the line of a level interrupt went down.
    pub fn clear_pending(&mut self, intid: Intid) {
        for register in self.usable_mut() {
            if register.intid() == Some(intid) {
                *register = register.made_not_pending();
            }
        }
    }

    /// Follows the line of a level interrupt, for example a timer's.
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

    /// Loads the list registers into the CPU and turns its virtual interface on. To be called just before each entry: the RMM leaves it off.
    pub fn load(&self, interface: &mut impl VirtualInterface) {
        for (n, register) in self.usable().iter().enumerate() {
            interface.set_list_register(n, register.raw());
        }
        interface.set_hcr(interface.hcr() | HCR_EN);
    }

    /// Reads the list registers back after an exit. A value that the RMM would not accept again (no interface should hold one) frees its list register.
    pub fn save(&mut self, interface: &impl VirtualInterface) {
        for (n, register) in self.usable_mut().iter_mut().enumerate() {
            *register =
                ListRegister::from_raw(interface.list_register(n)).unwrap_or(ListRegister::FREE);
        }
        // Two for the same interrupt cannot come from a sound interface either; the first stays.
        for at in 1..self.implemented {
            let (before, rest) = self.registers.split_at_mut(at);
            if let Some(register) = rest.first_mut()
                && register.intid().is_some()
                && before.iter().any(|other| other.intid() == register.intid())
            {
                *register = ListRegister::FREE;
            }
        }
    }
}

/// `ICH_HCR_EL2.En`: the virtual interface is on.
const HCR_EN: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Registers {
        list: [u64; 16],
        hcr: u64,
    }

    impl VirtualInterface for Registers {
        fn list_register(&self, n: usize) -> u64 {
            self.list[n]
        }
        fn set_list_register(&mut self, n: usize, value: u64) {
            self.list[n] = value;
        }
        fn hcr(&self) -> u64 {
            self.hcr
        }
        fn set_hcr(&mut self, value: u64) {
            self.hcr = value;
        }
    }

    fn intid(number: u32) -> Intid {
        Intid::new(number).unwrap()
    }

    #[test]
    fn an_interrupt_has_one_place() {
        let mut set = ListRegisters::new(2);
        set.set_pending(intid(27), 0x80).unwrap();
        set.set_pending(intid(27), 0x80).unwrap();
        set.set_pending(intid(30), 0x80).unwrap();
        assert_eq!(set.set_pending(intid(1), 0), Err(Full { intid: intid(1) }));
        set.set_level(intid(27), 0x80, false).unwrap();
        assert_eq!(set.get(intid(27)), None);
        set.set_pending(intid(1), 0).unwrap();
    }

    #[test]
    fn loading_turns_the_interface_on() {
        let mut cpu = Registers::default();
        let mut set = ListRegisters::new(4);
        set.set_pending(Intid::VIRTUAL_TIMER, 0x20).unwrap();
        set.load(&mut cpu);
        assert_eq!((cpu.hcr & 1, cpu.list[0]), (1, 1 << 62 | 1 << 60 | 0x20 << 48 | 27));
        // The Realm took the interrupt.
        cpu.list[0] ^= 0b11 << 62;
        set.save(&cpu);
        assert_eq!(set.get(Intid::VIRTUAL_TIMER).unwrap().state(), State::Active);
        set.set_level(Intid::VIRTUAL_TIMER, 0x20, true).unwrap();
        assert_eq!(set.get(Intid::VIRTUAL_TIMER).unwrap().state(), State::PendingActive);
    }

    proptest! {
        /// Whatever the interface holds, what is kept of it is acceptable to an RMM: HW clear, numbers valid, no interrupt twice.
        #[test]
        fn what_is_saved_can_be_loaded(list: [u64; 16], same in 0usize..16) {
            let mut cpu = Registers { list, hcr: 0 };
            cpu.list[same] = cpu.list[0];
            let mut set = ListRegisters::new(16);
            set.save(&cpu);
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
