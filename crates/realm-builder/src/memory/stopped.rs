//! How far work on a range that stopped early came.

use rmi_abi::Ipa;

use crate::error::BuildError;
use crate::memory::convert::ConvertStopped;
use crate::memory::fold::FoldStopped;
use crate::memory::s2ap::S2apStopped;
use crate::memory::share::NotShared;

/// Work on a range of IPAs that stopped early. Repeating it continues from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped at IPA {reached}: {error}")]
#[non_exhaustive]
pub struct Stopped {
    /// The reason.
    #[source]
    pub error: BuildError,
    /// How far it came. Everything below is done; what is above has not changed, except where the
    /// operation says otherwise. It is the start of the range if something that the work needs is
    /// missing.
    pub reached: Ipa,
}

/// The error alone, for `?` in functions that do not return how far they came. That of
/// [`NotShared`] drops the memory, which is then counted as dropped.
macro_rules! into_error {
    ($($stopped:ty),*) => {$(
        impl From<$stopped> for BuildError {
            fn from(stopped: $stopped) -> Self {
                stopped.error
            }
        }
    )*};
}

into_error!(Stopped, ConvertStopped, FoldStopped, S2apStopped, NotShared);
