//! A conduit that answers what it is told to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use rmi_abi::{Ipa, IpaRange};
use rsi::{Conduit, Registers, Rsi};

/// A conduit with a list of answers, the last of which is repeated.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    answers: RefCell<VecDeque<Registers>>,
    last: Cell<Registers>,
    pub(crate) calls: RefCell<Vec<Registers>>,
    /// What is added to addresses, or nothing is mapped.
    pub(crate) offset: Cell<Option<u64>>,
}

/// X0 and up.
pub(crate) fn answer(values: &[u64]) -> Registers {
    std::array::from_fn(|register| values.get(register).copied().unwrap_or(0))
}

impl Fake {
    /// Gives the next answers.
    pub(crate) fn then(&self, answers: &[&[u64]]) {
        self.answers.borrow_mut().extend(answers.iter().map(|values| answer(values)));
    }

    /// Gives an answer, from now on.
    pub(crate) fn answer(&self, values: &[u64]) {
        self.answers.borrow_mut().clear();
        self.last.set(answer(values));
    }

    /// The answer of now.
    pub(crate) fn last(&self) -> Registers {
        self.last.get()
    }

    /// Number of calls since this was asked last.
    pub(crate) fn count(&self) -> usize {
        std::mem::take(&mut *self.calls.borrow_mut()).len()
    }
}

// SAFETY: no call writes to memory.
unsafe impl Conduit for Fake {
    unsafe fn call(&self, registers: Registers) -> Registers {
        self.calls.borrow_mut().push(registers);
        if let Some(next) = self.answers.borrow_mut().pop_front() {
            self.last.set(next);
        }
        self.last.get()
    }

    fn ipa(&self, address: *mut u8) -> Option<Ipa> {
        self.offset.get().map(|offset| Ipa::new((address.addr() as u64 & 0xffff) + offset))
    }
}

/// The interface on such a conduit, version 1.1.
pub(crate) fn rsi(answers: &[&[u64]]) -> Rsi<Fake> {
    let fake = Fake::default();
    fake.offset.set(Some(0));
    fake.then(&[&[0, 0x1_0001, 0x1_0001]]);
    let rsi = Rsi::open(fake).unwrap();
    assert_eq!(rsi.conduit().count(), 1);
    rsi.conduit().then(answers);
    rsi
}

/// 16 pages.
pub(crate) fn range() -> IpaRange {
    IpaRange::with_size(Ipa::new(0x10_0000), 0x1_0000).unwrap()
}
