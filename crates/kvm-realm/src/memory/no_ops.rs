//! Faults of a vCPU that asked for what was the case already.

use super::MemoryFault;

/// How many different faults are remembered.
const FAULTS: usize = 8;
/// How often one of them is let pass, with others in between.
const TIMES: u32 = 16;

/// The last faults of a vCPU, oldest first: what they asked for, and how often.
///
/// A Realm may ask for what is so, for instance for the state of all its RAM, so different faults
/// are let pass without a limit. The same ones again and again are pages that cannot be had.
#[derive(Debug, Default)]
pub(super) struct NoOps {
    faults: Vec<(MemoryFault, u32)>,
}

impl NoOps {
    /// Notes a fault. Whether it is to be refused.
    pub(super) fn is_repeated(&mut self, fault: MemoryFault) -> bool {
        // What came before is the caller's matter. One of no bytes is let pass more often.
        let fault = MemoryFault { after_other_exit: false, ..fault };
        let is_last = fault.bytes > 0 && self.faults.last().is_some_and(|(last, _)| *last == fault);
        let found = self.faults.iter().position(|(known, _)| *known == fault);
        let times = found.map_or(0, |index| self.faults.remove(index).1);
        if self.faults.len() == FAULTS {
            self.faults.remove(0);
        }
        self.faults.push((fault, times.saturating_add(1)));
        is_last || times >= TIMES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(page: u64) -> MemoryFault {
        MemoryFault { to_private: true, gpa: page << 12, bytes: 0x1000, after_other_exit: false }
    }

    #[test]
    fn the_same_fault_is_refused_at_once() {
        let mut faults = NoOps::default();
        assert!(!faults.is_repeated(fault(1)));
        assert!(faults.is_repeated(fault(1)));
        assert!(faults.is_repeated(fault(1)));
        assert!(!faults.is_repeated(fault(2)));
        let other_side = MemoryFault { to_private: false, ..fault(2) };
        assert!(!faults.is_repeated(other_side));
        let later = MemoryFault { after_other_exit: true, ..other_side };
        assert!(faults.is_repeated(later));
    }

    #[test]
    fn a_fault_of_no_bytes_is_let_pass_for_a_while() {
        let (mut faults, none) = (NoOps::default(), MemoryFault { bytes: 0, ..fault(1) });
        assert!((0..16).all(|_| !faults.is_repeated(none)));
        assert!(faults.is_repeated(none));
    }

    #[test]
    fn faults_that_take_turns_are_refused_in_the_end() {
        for turns in 2..=8 {
            let mut faults = NoOps::default();
            for _ in 0..16 {
                for page in 0..turns {
                    assert!(!faults.is_repeated(fault(page)), "{turns}");
                }
            }
            for page in 0..turns {
                assert!(faults.is_repeated(fault(page)), "{turns}");
            }
        }
    }

    #[test]
    fn different_faults_are_let_pass() {
        let mut faults = NoOps::default();
        for page in 0..10_000 {
            assert!(!faults.is_repeated(fault(page)));
        }
        assert_eq!(faults.faults.len(), FAULTS);
        // More than are remembered take their turns: each is as new.
        for page in 0..1000 {
            assert!(!faults.is_repeated(fault(page % 9)));
        }
    }
}
