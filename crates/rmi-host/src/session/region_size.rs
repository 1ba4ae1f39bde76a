//! The size of tracking regions.

use rmi_abi::GranuleSize;
use rmi_abi::granule::TrackingRegionSize;

/// A size of tracking regions, for [`SessionOptions`](super::SessionOptions).
///
/// A configuration names the size by a code. 2.0-bet3 has regions of 2 MiB for granules of 4 KiB,
/// but no public source tells their code, so that this size is refused unless the embedder knows it
/// from its RMM:
///
/// ```
/// use rmi_abi::Dialect;
/// use rmi_abi::granule::TrackingRegionSize;
/// use rmi_host::{Discovered, SessionError, SessionOptions, TrackingRegion};
/// # use rmm_model::{FirstTracking, Model, Options, RegionOptions};
///
/// # let mut machine = Options::new(Dialect::V2_0Bet3);
/// # let mut regions = RegionOptions::new(FirstTracking::Fine);
/// # regions.code_of_2_mib = core::num::NonZeroU8::new(1);
/// # machine.regions = Some(regions);
/// let model = Model::new(machine)?;
/// let mut page = model.take_memory();
/// let mut options = SessionOptions::default();
/// options.tracking_region = Some(TrackingRegion::new(2 << 20));
/// let failed = Discovered::probe(model.host(), options).unwrap_err();
/// assert_eq!(failed.error, SessionError::TrackingRegion(TrackingRegion::new(2 << 20)));
/// assert_eq!(
///     failed.error.to_string(),
///     "the code of tracking regions of 2 MiB is not known"
/// );
///
/// // In this RMM it is 1.
/// options.tracking_region =
///     Some(TrackingRegion::with_code(2 << 20, TrackingRegionSize(1)));
/// let configured = Discovered::probe(failed.kept, options)?.configure(&mut page)?;
/// # configured.start_activation()?;
/// assert_eq!(configured.into_active().tracking_region_size(), Some(2 << 20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrackingRegion {
    bytes: u64,
    code: Option<TrackingRegionSize>,
}

impl TrackingRegion {
    /// A size in bytes whose code is known for the granule size.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self { bytes, code: None }
    }

    /// A size in bytes, a power of two, and the code that this RMM has for it. It is refused if
    /// the code is that of another size.
    #[must_use]
    pub const fn with_code(bytes: u64, code: TrackingRegionSize) -> Self {
        Self { bytes, code: Some(code) }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// The code, if there is one.
    pub(super) fn code(self, granule: GranuleSize) -> Option<TrackingRegionSize> {
        let known = TrackingRegionSize::of(self.bytes, granule);
        let Some(given) = self.code else { return known };
        let is_free = given.bytes(granule).is_none() && known.is_none();
        let is_size = self.bytes.is_power_of_two() && self.bytes > granule.bytes();
        (known == Some(given) || is_free && is_size).then_some(given)
    }
}

/// The size of the regions of an RMM whose configuration has this code.
pub(super) fn bytes(
    asked: Option<TrackingRegion>,
    code: TrackingRegionSize,
    granule: GranuleSize,
) -> Option<u64> {
    let asked = asked.filter(|region| region.code(granule) == Some(code));
    asked.map(TrackingRegion::bytes).or(code.bytes(granule))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: GranuleSize = GranuleSize::Size4KiB;
    const MIB: u64 = 1 << 20;

    #[test]
    fn a_code_stands_for_one_size() {
        let given = |bytes, code| TrackingRegion::with_code(bytes, TrackingRegionSize(code));
        for (region, code) in [
            (TrackingRegion::new(1 << 30), Some(0)),
            (TrackingRegion::new(2 * MIB), None),
            (TrackingRegion::new(0), None),
            (given(1 << 30, 0), Some(0)),
            (given(1 << 30, 1), None),
            (given(2 * MIB, 0), None),
            (given(2 * MIB, 1), Some(1)),
            (given(3 * MIB, 1), None),
            (given(0x2000, 1), Some(1)),
            (given(0x1000, 1), None),
        ] {
            assert_eq!(region.code(FOUR), code.map(TrackingRegionSize), "{region:?}");
        }
        let sixteen = TrackingRegion::new(64 << 30).code(GranuleSize::Size16KiB);
        assert_eq!(sixteen, Some(TrackingRegionSize(1)));
    }

    #[test]
    fn a_size_is_known_if_its_code_is_or_was_asked_for() {
        let two = Some(TrackingRegion::with_code(2 * MIB, TrackingRegionSize(1)));
        for (asked, code, size) in [
            (None, 0, Some(1 << 30)),
            (None, 1, None),
            (two, 0, Some(1 << 30)),
            (two, 1, Some(2 * MIB)),
            (two, 2, None),
        ] {
            assert_eq!(bytes(asked, TrackingRegionSize(code), FOUR), size);
        }
    }
}
