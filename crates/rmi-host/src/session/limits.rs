//! How much one call does in a dialect: what a plan of calls needs to know.

use rmi_abi::Dialect;
use rmi_abi::rtt::Level;

use crate::platform::Platform;
use crate::session::Rmm;

/// How much one call does at most, by the dialect. An RMM may do less where a call takes a range.
///
/// ```
/// use rmi_abi::Dialect;
/// use rmi_abi::rtt::Level;
/// use rmi_host::CallLimits;
///
/// let limits = CallLimits::of(Dialect::V1_0);
/// assert_eq!((limits.granules, limits.entries), (Some(1), Some(1)));
/// assert_eq!((limits.data_level, limits.shared_level), (Level::L3, Level::L1));
///
/// let limits = CallLimits::of(Dialect::V2_0Bet3);
/// assert_eq!((limits.granules, limits.entries), (None, None));
/// assert_eq!((limits.data_level, limits.shared_level), (Level::L1, Level::L1));
/// ```
///
/// Source: DEN0137 1.0-rel0, RMI_GRANULE_DELEGATE, RMI_DATA_CREATE, RMI_DATA_DESTROY,
/// RMI_RTT_MAP_UNPROTECTED; 2.0-bet3, RMI_GRANULE_RANGE_DELEGATE, RMI_RTT_DATA_MAP,
/// RMI_RTT_UNPROT_MAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallLimits {
    /// Granules that one call delegates or undelegates; `None` where a call takes a range.
    pub granules: Option<u64>,
    /// Entries that one call maps or unmaps; `None` where a call takes a range, or a list of them.
    pub entries: Option<u64>,
    /// The level of the largest entry by which a call maps or unmaps data.
    ///
    /// Where that is level 3, a larger block is made by folding a table (`RMI_RTT_FOLD`), and split
    /// (`RMI_RTT_CREATE`) before what it maps is unmapped.
    pub data_level: Level,
    /// The level of the largest entry by which a call maps or unmaps shared memory.
    pub shared_level: Level,
}

impl CallLimits {
    /// The limits in a dialect.
    #[must_use]
    pub const fn of(dialect: Dialect) -> Self {
        let (per_call, data_level) =
            if dialect.is_2_0() { (None, Level::L1) } else { (Some(1), Level::L3) };
        Self { granules: per_call, entries: per_call, data_level, shared_level: Level::L1 }
    }
}

impl<P: Platform> Rmm<P> {
    /// How much one call does at most.
    #[must_use]
    pub const fn call_limits(&self) -> CallLimits {
        CallLimits::of(self.dialect())
    }
}
