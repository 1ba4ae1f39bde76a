//! What is known of a shadow when it is compiled.

use lock_api::RawMutex;
use rmi_abi::GranuleSize;
use rmi_host::Platform;

/// The kind of a shadow: its lock, and what the compiler may take as constant.
pub(crate) trait Shape {
    /// The lock.
    type Lock: RawMutex;

    /// See [`Platform::GRANULE_SIZE`].
    const GRANULE_SIZE: Option<GranuleSize>;

    /// See [`Platform::AUX_TREES`].
    const AUX_TREES: bool;
}

impl<P: Platform> Shape for P {
    type Lock = P::Lock;

    const GRANULE_SIZE: Option<GranuleSize> = P::GRANULE_SIZE;
    const AUX_TREES: bool = P::AUX_TREES;
}

/// The shape without a platform.
#[cfg(test)]
#[derive(Debug)]
pub(crate) enum AnyShape {}

#[cfg(test)]
impl Shape for AnyShape {
    type Lock = rmi_host::DefaultLock;

    const GRANULE_SIZE: Option<GranuleSize> = None;
    const AUX_TREES: bool = true;
}
