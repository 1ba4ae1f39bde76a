//! Which machine memory belongs to.

use core::sync::atomic::{AtomicU32, Ordering};

/// A machine: memory, and an RMM that manages it.
///
/// Every token names the machine whose memory it is, and so does every [`Conduit`](crate::Conduit)
/// and [`HostAccess`](crate::HostAccess). A session is opened on parts of one machine, and its
/// commands refuse tokens of another with [`Error::OtherMachine`](crate::Error::OtherMachine)
/// before any call.
///
/// ```
/// # use rmi_abi::Dialect;
/// use rmi_host::Machine;
/// # use rmm_model::{Model, Options};
/// let one = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// let two = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// assert_ne!(one.machine(), two.machine());
/// assert_ne!(one.machine(), Machine::REAL);
/// assert_eq!(one.take_memory().machine(), one.machine());
/// # Ok::<(), rmm_model::OptionsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Machine(u32);

static SIMULATED: AtomicU32 = AtomicU32::new(0);

impl Machine {
    /// The machine that this program runs on: pointers of the program reach its memory.
    pub const REAL: Self = Self(0);

    /// Bits of a code.
    pub(crate) const BITS: u32 = 18;

    /// A machine that this process or another simulates. No pointer of this program reaches its
    /// memory.
    ///
    /// 262,143 of them have different numbers; after that numbers are reused. If simulated memory
    /// is confused, the program's own is not affected.
    #[must_use]
    pub fn simulated() -> Self {
        const NUMBERS: u32 = (1 << Machine::BITS) - 1;
        Self(SIMULATED.fetch_add(1, Ordering::Relaxed) % NUMBERS + 1)
    }

    /// The number, for storage in [`Machine::BITS`] bits.
    pub(crate) const fn code(self) -> u32 {
        self.0
    }

    /// The machine of a stored number.
    pub(crate) const fn from_code(code: u32) -> Self {
        Self(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "slow")]
    fn the_number_of_a_simulated_machine_fits_and_is_not_that_of_the_real_one() {
        // Past the last number, where they begin again.
        for _ in 0..(1 << Machine::BITS) + 2 {
            let code = Machine::simulated().code();
            assert!((1..1 << Machine::BITS).contains(&code), "{code}");
        }
    }
}
