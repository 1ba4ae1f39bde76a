//! The platform: the parts of the SDK for bare metal.

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

/// The dialect that is known when the image is built.
#[cfg(not(any(feature = "all-dialects", feature = "no-aux-trees")))]
type Served = realm_sdk::host::OnlyTfRmm2026_07;
/// That, for Realms without auxiliary trees.
#[cfg(all(feature = "no-aux-trees", not(feature = "all-dialects")))]
pub(crate) enum Served {}

#[cfg(all(feature = "no-aux-trees", not(feature = "all-dialects")))]
impl realm_sdk::host::ServedDialect for Served {
    const DIALECT: Option<realm_sdk::abi::Dialect> = Some(realm_sdk::abi::Dialect::TfRmm2026_07);
    const AUX_TREES: bool = false;
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
