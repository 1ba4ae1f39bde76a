//! Everything that changed a Realm Initial Measurement (RIM), as plain data and as text.
//!
//! A [`MeasurementEvent`] contains the input of the measurement, with contents as their digests.
//! From the events of a Realm its RIM can be computed again without the contents, and it is visible
//! in which of them two Realms differ. `rim::Rim` (feature `rim`) makes events and applies them;
//! events are passed one by one to a function of the embedder, so no heap is needed to store them.
//!
//! An event is one line of text, which [`str::parse`] parses:
//!
//! ```text
//! create dialect=1.0 rim=sha-256:f33498f2…
//! ripas base=0x80000000 top=0x80200000 level=2
//! data ipa=0x80200000 content=sha-256:f600eca8…
//! data ipa=0x80201000 content=unmeasured
//! rec mpidr=0x7 content=sha-256:5e558ecc…
//! ```
//!
//! On an RMM with granules of 16 KiB the first line is `create dialect=2.0-bet3 granule=0x4000` and
//! so on.
//!
//! A log written as text and replayed elsewhere:
//!
#![cfg_attr(feature = "rim", doc = "```")]
#![cfg_attr(not(feature = "rim"), doc = "```ignore")]
//! use realm_measurement::{MeasurementEvent, Rim};
//! use rmi_abi::realm::RealmParams;
//! use rmi_abi::rtt::Geometry;
//! use rmi_abi::{Dialect, Ipa, Pa};
//!
//! let params = RealmParams::new(Geometry::new(40)?, Pa::new(0));
//! // The host logs what it expects to be measured …
//! let mut text = String::new();
//! let mut log = |event: &MeasurementEvent| text += &format!("{event}\n");
//! let mut rim = Rim::new(&params, Dialect::TfRmm2026_07, &mut log)?;
//! rim.add_measured(Ipa::new(0x8000_0000), &[0xd5; 0x1800], &mut log)?;
//!
//! // … and another party computes the measurement from that.
//! let events = text.lines().map(str::parse).collect::<Result<Vec<MeasurementEvent>, _>>()?;
//! assert_eq!(events.len(), 3);
//! assert_eq!(Rim::replay(&events)?, rim);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod digest;
mod parse;

use core::fmt;

use rmi_abi::rec::Mpidr;
use rmi_abi::rtt::Level;
use rmi_abi::{Dialect, GranuleSize, Ipa, IpaRange};

pub use digest::{Digest, DigestError};
pub use parse::{ParseEventError, ParseEventErrorKind};

/// The text in place of the digest of content that is not measured.
const UNMEASURED: &str = "unmeasured";

/// One change of a Realm Initial Measurement.
///
/// The events of a Realm in their order, [`Create`](Self::Create) first, are all that its RIM
/// depends on. They are not checked for consistency here; that is done where events are applied.
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, "Realm Initial Measurement".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RIM")]
pub enum MeasurementEvent {
    /// The Realm was created; the measurement begins.
    #[doc(alias = "RMI_REALM_CREATE")]
    Create {
        /// The dialect of the RMM, which says what is measured.
        dialect: Dialect,
        /// The size of its granules. Not measured itself.
        granule: GranuleSize,
        /// What the measurement begins with: the digest of the measured parameters, or zero. Its
        /// algorithm is the Realm's.
        rim: Digest,
    },
    /// A granule was given content.
    #[doc(alias = "RmmMeasurementDescriptorData")]
    #[doc(alias = "RMI_DATA_CREATE")]
    #[doc(alias = "RMI_RTT_DATA_MAP_INIT")]
    Data {
        /// Its IPA; aligned to granules.
        ipa: Ipa,
        /// The digest of the granule; `None` when only its IPA was measured.
        content: Option<Digest>,
    },
    /// One call set entries of one translation table to RAM before activation (1.0 only).
    #[doc(alias = "RmmMeasurementDescriptorRipas")]
    #[doc(alias = "RMI_RTT_INIT_RIPAS")]
    Ripas {
        /// From the base of the call up to where the RMM said it came: whole entries, within one
        /// table.
        range: IpaRange,
        /// Level of the entries. Each is measured separately.
        level: Level,
    },
    /// A runnable REC was created.
    #[doc(alias = "RmmMeasurementDescriptorRec")]
    #[doc(alias = "RMI_REC_CREATE")]
    Rec {
        /// Its MPIDR. Not measured; for the reader only.
        mpidr: Mpidr,
        /// The digest of the measured parameters.
        content: Digest,
    },
}

impl fmt::Display for MeasurementEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { dialect, granule: GranuleSize::Size4KiB, rim } => {
                write!(f, "create dialect={dialect} rim={rim}")
            }
            Self::Create { dialect, granule, rim } => {
                write!(f, "create dialect={dialect} granule={:#x} rim={rim}", granule.bytes())
            }
            Self::Data { ipa, content: Some(content) } => {
                write!(f, "data ipa={ipa} content={content}")
            }
            Self::Data { ipa, content: None } => write!(f, "data ipa={ipa} content={UNMEASURED}"),
            Self::Ripas { range, level } => {
                let (base, top) = (range.base(), range.top());
                write!(f, "ripas base={base} top={top} level={}", level.number())
            }
            Self::Rec { mpidr, content } => {
                write!(f, "rec mpidr={:#x} content={content}", mpidr.raw())
            }
        }
    }
}
