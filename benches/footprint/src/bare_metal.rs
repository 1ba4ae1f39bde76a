//! The platform: the parts of the SDK for bare metal.

#[cfg(not(feature = "all-dialects"))]
use realm_sdk::abi::{Dialect, GranuleSize};
use realm_sdk::builder::Realm;
use realm_sdk::host::linear_map::LinearMap;
use realm_sdk::host::{DefaultLock, FixedQuarantine, Host, NullLedger, Rmm};

#[cfg(target_arch = "aarch64")]
pub(crate) use realm_sdk::host::smc::SmcConduit;

/// Replaces the SMC instruction on targets without one, so that the image can be checked there.
#[cfg(not(target_arch = "aarch64"))]
pub(crate) enum SmcConduit {}

#[cfg(not(target_arch = "aarch64"))]
mod nowhere {
    #![expect(unsafe_code, reason = "a conduit is an unsafe trait")]

    use realm_sdk::host::{Conduit, OpenSessions, Registers};

    // SAFETY: there is no value of this type, so no call is ever made.
    unsafe impl Conduit for super::SmcConduit {
        unsafe fn call(&self, _: Registers) -> Registers {
            match *self {}
        }
        fn open_sessions(&self) -> &OpenSessions {
            match *self {}
        }
    }
}

/// What is known when the image is built.
#[cfg(not(feature = "all-dialects"))]
pub(crate) enum Served {}

#[cfg(not(feature = "all-dialects"))]
impl realm_sdk::host::ServedDialect for Served {
    const DIALECT: Option<Dialect> = Some(Dialect::TfRmm2026_07);
    const AUX_TREES: bool = !cfg!(feature = "no-aux-trees");
    const GRANULE_SIZE: Option<GranuleSize> = Some(GranuleSize::Size4KiB);
    const COARSE_TRACKING: bool = false;
}
/// The dialect is found at run time.
#[cfg(feature = "all-dialects")]
type Served = realm_sdk::host::AnyDialect;

/// SMC instructions, a linear map, no ledger, and a small quarantine.
pub(crate) type BareMetal =
    Host<SmcConduit, LinearMap, NullLedger, FixedQuarantine<16>, DefaultLock, Served>;

/// A session.
pub(crate) type Session = Rmm<BareMetal>;

/// A Realm in the state `S`.
pub(crate) type BareMetalRealm<'r, S> = Realm<'r, BareMetal, S>;
