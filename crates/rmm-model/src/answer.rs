//! The answer of a command: the result word and up to four output registers.

use rmi_abi::rtt::Level;
use rmi_abi::{ResultWord, Status};
use rmi_host::Registers;

/// The answer of one command. X1 to X3 are always written; X4 only by a command that defines it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) word: ResultWord,
    pub(crate) x1: u64,
    pub(crate) x2: u64,
    pub(crate) x3: u64,
    pub(crate) x4: Option<u64>,
}

/// A command either answers, or is refused with an answer. The distinction is for `?`; the host
/// gets an answer in either case.
pub(crate) type Answered = Result<Answer, Answer>;

impl Answer {
    /// `RMI_SUCCESS`, all outputs zero.
    pub(crate) fn success() -> Self {
        Self::from(Status::Success)
    }

    /// The answer to an unknown function identifier.
    pub(crate) fn absent() -> Self {
        Self::from(ResultWord::NOT_SUPPORTED)
    }

    /// `RMI_ERROR_RTT` at a level.
    pub(crate) fn rtt(level: Level) -> Self {
        Self::walk(0, level)
    }

    /// The refusal of a walk of the tree with that index: `RMI_ERROR_RTT` for the primary one (0),
    /// `RMI_ERROR_RTT_AUX` for the others.
    pub(crate) fn walk(tree: usize, level: Level) -> Self {
        let status = if tree == 0 { Status::ErrorRtt } else { Status::ErrorRttAux };
        Self::from(ResultWord::with_level(status, level))
    }

    pub(crate) fn x1(self, x1: u64) -> Self {
        Self { x1, ..self }
    }

    pub(crate) fn x2(self, x2: u64) -> Self {
        Self { x2, ..self }
    }

    pub(crate) fn x3(self, x3: u64) -> Self {
        Self { x3, ..self }
    }

    pub(crate) fn x4(self, x4: u64) -> Self {
        Self { x4: Some(x4), ..self }
    }

    /// The registers after the call, given those before it.
    pub(crate) fn registers(self, before: Registers) -> Registers {
        let [_, _, _, _, x4, x5, x6, x7] = before;
        [self.word.0, self.x1, self.x2, self.x3, self.x4.unwrap_or(x4), x5, x6, x7]
    }
}

impl From<ResultWord> for Answer {
    fn from(word: ResultWord) -> Self {
        Self { word, x1: 0, x2: 0, x3: 0, x4: None }
    }
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        Self::from(ResultWord::from_status(status))
    }
}

/// Refuses with a status.
pub(crate) fn refuse<T>(status: Status) -> Result<T, Answer> {
    Err(Answer::from(status))
}

/// Refuses with a status unless `condition` holds.
pub(crate) fn require(condition: bool, status: Status) -> Result<(), Answer> {
    if condition { Ok(()) } else { refuse(status) }
}
