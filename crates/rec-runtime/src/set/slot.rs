//! Storage for the RECs of a set.

use rmi_host::{DefaultLock, lock_api};

use super::statistics::{Counters, ExitKind};
use super::word::SharedWord;
use crate::answer::{Answer, AnswerValue};
use crate::rec::Rec;

/// Storage for one REC of a [`RecSet`](super::RecSet).
#[derive(Debug)]
pub struct RecSlot {
    rec: Option<Rec>,
    pub(super) word: SharedWord,
    pub(super) counters: Counters,
    /// Locked by the only [`Runner`](super::Runner) of the REC. Nothing waits for this lock.
    pub(super) held: lock_api::Mutex<DefaultLock, Held>,
    #[cfg(feature = "std")]
    pub(super) park: super::wait::Park,
}

/// What the runner of a REC passes on to the next one.
#[derive(Debug)]
pub(super) struct Held {
    /// The answer for the next entry.
    pub(super) answer: Option<Answer>,
    /// The time of the last exit, and its kind.
    pub(super) left_at: Option<(u64, ExitKind)>,
}

impl Held {
    /// Keeps the answer for the next entry. Copies no registers of one that has none.
    #[inline(always)]
    pub(super) fn keep(&mut self, answer: Answer) {
        let Answer { exit, flags, value } = answer;
        match value {
            AnswerValue::None => {
                self.answer = Some(Answer { exit, flags, value: AnswerValue::None });
            }
            AnswerValue::Word(word) => {
                self.answer = Some(Answer { exit, flags, value: AnswerValue::Word(word) });
            }
            value => self.answer = Some(Answer { exit, flags, value }),
        }
    }
}

impl RecSlot {
    /// An empty slot.
    #[must_use]
    pub const fn new() -> Self {
        Self::with(None, false)
    }

    pub(super) const fn of(rec: Rec, is_on: bool) -> Self {
        Self::with(Some(rec.in_set(true)), is_on)
    }

    const fn with(rec: Option<Rec>, is_on: bool) -> Self {
        Self {
            rec,
            word: SharedWord::new(is_on),
            counters: Counters::new(),
            held: lock_api::Mutex::new(Held { answer: None, left_at: None }),
            #[cfg(feature = "std")]
            park: super::wait::Park::new(),
        }
    }

    pub(super) const fn rec(&self) -> Option<&Rec> {
        self.rec.as_ref()
    }

    pub(super) fn into_rec(self) -> Option<Rec> {
        self.rec.map(|rec| rec.in_set(false))
    }
}

impl Default for RecSlot {
    fn default() -> Self {
        Self::new()
    }
}

/// The slots of a set.
pub(super) enum Slots<'s> {
    Lent(&'s mut [RecSlot]),
    #[cfg(feature = "alloc")]
    Owned(alloc::boxed::Box<[RecSlot]>),
}

impl Slots<'_> {
    pub(super) const fn all(&self) -> &[RecSlot] {
        match self {
            Self::Lent(slots) => slots,
            #[cfg(feature = "alloc")]
            Self::Owned(slots) => slots,
        }
    }

    pub(super) const fn all_mut(&mut self) -> &mut [RecSlot] {
        match self {
            Self::Lent(slots) => slots,
            #[cfg(feature = "alloc")]
            Self::Owned(slots) => slots,
        }
    }
}
