//! What happens to a call.

use rmi_abi::{ResultWord, Status};
use rmi_host::conduit::Registers;

/// What happens to the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The RMM does not get the call; it is answered with these X0 to X7.
    Instead(Registers),
    /// The RMM runs the call, and its answer is replaced by these X0 to X7.
    Afterwards(Registers),
    /// The RMM gets neither the call nor the next `times` - 1 like it; all are answered with
    /// `status`. The one after them is forwarded, whatever the rule says.
    ///
    /// "Like it" means any call that the rule's command, address and predicate match: the host is
    /// expected to make the same call again. With several threads the calls may be different ones.
    Delay {
        /// [`Status::Busy`] or [`Status::Blocked`]; any other status is returned just the same.
        status: Status,
        /// The number of calls that are delayed.
        times: u32,
    },
    /// The RMM does not get the call; X0 to X7 are random bits, the same for the same seed and
    /// number of the call.
    Garbage {
        /// Chooses the bits.
        seed: u64,
    },
    /// The RMM runs the call and X0 is its own, but X1 to X7 are random bits, the same for the same
    /// seed and number of the call.
    Scribble {
        /// Chooses the bits.
        seed: u64,
    },
}

impl Fault {
    /// The RMM does not get the call; it is refused with this status and zeros in the other
    /// registers.
    #[must_use]
    pub fn status(status: Status) -> Self {
        Self::Instead(answer(ResultWord::from_status(status)))
    }
}

/// An answer with this X0 and zeros.
pub(super) const fn answer(word: ResultWord) -> Registers {
    [word.0, 0, 0, 0, 0, 0, 0, 0]
}

/// Random registers for call `number`.
pub(super) fn garbage(seed: u64, number: u64) -> Registers {
    let mut state = seed ^ number.wrapping_mul(0xd134_2543_de82_ef95);
    [(); 8].map(|()| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(state)
    })
}

/// The output function of SplitMix64 (Steele, Lea and Flood, 2014): small, without state, and
/// random enough for this purpose.
const fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
