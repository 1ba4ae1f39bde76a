//! Prediction of the Realm Initial Measurement (RIM), on the host and without an RMM.
//!
//! A [`Rim`] computes what an RMM computes: it begins with the Realm's parameters and is extended
//! by each granule of content, by RIPAS changes where the dialect measures them, and by each
//! runnable REC, in the order of the calls. So a verifier of attestation tokens can compute
//! beforehand which measurement a kernel and a configuration give.
//!
//! | | 1.0 | 2.0 betas | tf-rmm-2026-07 |
//! |---|---|---|---|
//! | begins with | hash of the measured parameters | zero | hash of the measured parameters |
//! | [`add_measured`](Rim::add_measured) | IPA, flags, hash of the content | as 1.0 | as 1.0 |
//! | [`add_unmeasured`](Rim::add_unmeasured) | IPA, flags | as 1.0 | as 1.0 |
//! | [`add_ripas`](Rim::add_ripas) | base and top of each entry | nothing | nothing |
//! | [`add_rec`](Rim::add_rec), runnable | hash of flags, PC, X0 to X7 | as 1.0 | as 1.0 |
//!
//! Of the parameters flags, IPA width, SVE vector length, numbers of breakpoints, watchpoints and
//! counters, and the algorithm are measured; the personalization value, the VMID and the root
//! tables are not. Memory without content is not measured. Granules have the size for which the RMM
//! is configured: that of the [`Geometry`] of the parameters. On an RMM with larger ones the same
//! content has another measurement.
//!
//! A kernel with a page whose content is not measured, and a runnable REC:
//!
//! ```
//! use realm_measurement::Rim;
//! use rmi_abi::realm::RealmParams;
//! use rmi_abi::rec::{Mpidr, RecParams};
//! use rmi_abi::rtt::Geometry;
//! use rmi_abi::{Dialect, Ipa, IpaRange, Pa};
//!
//! let params = RealmParams::new(Geometry::new(40)?, Pa::new(0));
//! let (kernel, at) = ([0xd5; 0x4abc], Ipa::new(0x8000_0000));
//! let data = IpaRange::with_size(Ipa::new(0x8000_5000), 0x1000)?;
//!
//! // The events are not read here; `measurement_log` shows their use.
//! let mut rim = Rim::new(&params, Dialect::TfRmm2026_07, &mut |_| {})?;
//! rim.add_measured(at, &kernel, &mut |_| {})?;
//! rim.add_unmeasured(data, &mut |_| {})?;
//! let boot =
//!     RecParams {
//!         runnable: true,
//!         mpidr: Mpidr::from_index(0),
//!         pc: at.raw(),
//!         gprs: [0; 8],
//!     };
//! rim.add_rec(&boot, &mut |_| {})?;
//! println!("{}", rim.digest()); // sha-256:…
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod hash;

use rmi_abi::address::{GranuleSize, RangeError};
use rmi_abi::dialect::InitialMeasurement;
use rmi_abi::flags::DataFlags;
use rmi_abi::measurement::{DataDescriptor, MEASUREMENT_BYTES, RecDescriptor, RipasDescriptor};
use rmi_abi::realm::RealmParams;
use rmi_abi::rec::RecParams;
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Dialect, Ipa, IpaRange};
use zerocopy::IntoBytes;

pub use error::RimError;

use crate::measurement_log::{Digest, MeasurementEvent};
use crate::region::{Content, HasLayout, LayoutCheck, LayoutError, sort, without_gaps};
use hash::{bytes, hash, hash_granule};

/// A Realm Initial Measurement that is being computed.
///
/// Each change is reported to `log` afterwards, event by event; [`Rim::replay`] of these events
/// gives the same measurement. An error leaves the measurement as it was.
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, "Realm Initial Measurement".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "RIM")]
pub struct Rim {
    dialect: Dialect,
    granule: GranuleSize,
    digest: Digest,
}

impl Rim {
    /// The measurement of a Realm that was just created with these parameters.
    ///
    /// [`RealmConfig::validate`](crate::RealmConfig::validate) gives them, and refuses an algorithm
    /// that the RMM does not have; here any known one is computed. The address of the root tables
    /// has no effect.
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, RMI_REALM_CREATE.
    ///
    /// # Errors
    ///
    /// [`RimError::Params`] when the dialect cannot express a parameter, [`RimError::Digest`] for
    /// an unknown algorithm.
    pub fn new(
        params: &RealmParams,
        dialect: Dialect,
        log: &mut dyn FnMut(&MeasurementEvent),
    ) -> Result<Self, RimError> {
        let page = params.encode(dialect)?;
        let digest = match dialect.initial_measurement() {
            InitialMeasurement::Parameters => hash(params.hash, page.measured().as_bytes())?,
            InitialMeasurement::Zero => Digest::zero(params.hash)?,
        };
        let granule = params.geometry.granule();
        log(&MeasurementEvent::Create { dialect, granule, rim: digest });
        Ok(Self { dialect, granule, digest })
    }

    /// The measurement that the creation of a Realm begins.
    ///
    /// # Errors
    ///
    /// [`RimError::NotCreated`] for another event, [`RimError::NotZero`] for an initial value that
    /// the dialect does not have.
    pub fn start(event: &MeasurementEvent) -> Result<Self, RimError> {
        let MeasurementEvent::Create { dialect, granule, rim } = *event else {
            return Err(RimError::NotCreated);
        };
        let is_zero = rim.value() == [0; MEASUREMENT_BYTES];
        if dialect.initial_measurement() == InitialMeasurement::Zero && !is_zero {
            return Err(RimError::NotZero(dialect));
        }
        Ok(Self { dialect, granule, digest: rim })
    }

    /// The measurement that all events of a Realm, from its creation on, give.
    ///
    /// # Errors
    ///
    /// [`RimError::NotCreated`] without events; otherwise as [`Rim::start`] and [`Rim::apply`].
    pub fn replay<'e>(
        events: impl IntoIterator<Item = &'e MeasurementEvent>,
    ) -> Result<Self, RimError> {
        let mut events = events.into_iter();
        let mut rim = Self::start(events.next().ok_or(RimError::NotCreated)?)?;
        events.try_for_each(|event| rim.apply(event))?;
        Ok(rim)
    }

    /// Extends the measurement by one event after the creation. At most 512 descriptors are hashed.
    ///
    /// # Errors
    ///
    /// [`RimError::CreatedAgain`]; [`RimError::Algorithm`] for digests of another algorithm;
    /// [`RimError::Range`] or [`RimError::Unaligned`] for an address that is not of a granule;
    /// [`RimError::RipasNotMeasured`] and [`RimError::Entries`] for a RIPAS change.
    pub fn apply(&mut self, event: &MeasurementEvent) -> Result<(), RimError> {
        match *event {
            MeasurementEvent::Create { .. } => Err(RimError::CreatedAgain),
            MeasurementEvent::Data { ipa, content } => self.extend_data(ipa, content),
            MeasurementEvent::Ripas { range, level } => self.extend_ripas(&range, level),
            MeasurementEvent::Rec { content, .. } => {
                self.check_algorithm(&content)?;
                self.extend(|rim| RecDescriptor::new(rim, content.value()))
            }
        }
    }

    /// Extends the measurement by content that is measured, granule by granule; the last one is
    /// filled up with zeros.
    ///
    /// This is what `Realm::populate` of `realm-builder` does with [`Content::Measured`]. It
    /// takes regions in order of their IPAs; the calls here have to be in that order, too.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_DATA_CREATE; 2.0-bet3, RMI_RTT_DATA_MAP_INIT.
    ///
    /// # Errors
    ///
    /// [`RimError::Range`] or [`RimError::Unaligned`] when `ipa` is not aligned to granules, and
    /// [`RimError::Range`] when the content leaves the address space.
    pub fn add_measured(
        &mut self,
        ipa: Ipa,
        content: &[u8],
        log: &mut dyn FnMut(&MeasurementEvent),
    ) -> Result<(), RimError> {
        let granule = self.granule;
        let range = granules_of(granule, ipa, content)?;
        for (ipa, chunk) in granules(granule, range).zip(content.chunks(bytes(granule))) {
            let content = Some(hash_granule(self.digest.algorithm(), chunk, granule)?);
            self.add(&MeasurementEvent::Data { ipa, content }, log)?;
        }
        Ok(())
    }

    /// Extends the measurement by content of which only the IPA is measured, granule by granule.
    ///
    /// This is what `Realm::populate` of `realm-builder` does with [`Content::Unmeasured`].
    /// Memory without content is not measured at all.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_DATA_CREATE; 2.0-bet3, RMI_RTT_DATA_MAP_INIT.
    ///
    /// # Errors
    ///
    /// [`RimError::Unaligned`] when the range does not begin with a granule of the RMM's size.
    pub fn add_unmeasured(
        &mut self,
        range: IpaRange,
        log: &mut dyn FnMut(&MeasurementEvent),
    ) -> Result<(), RimError> {
        granules(self.granule, range)
            .try_for_each(|ipa| self.add(&MeasurementEvent::Data { ipa, content: None }, log))
    }

    /// Extends the measurement by a RIPAS change before activation, where the dialect measures it
    /// (1.0); otherwise does nothing.
    ///
    /// A call of `RMI_RTT_INIT_RIPAS` changes the entries of the table that its base walks to, from
    /// the base up to the address that it answers, and measures each of them. The measurement
    /// therefore depends on which tables exist: one entry of level 2 is not 512 entries of level 3.
    /// `range` is what one call, or several in a row, changed; `level` is that of the entries.
    /// Entries that were RAM before are measured again.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_RTT_INIT_RIPAS.
    ///
    /// # Errors
    ///
    /// [`RimError::Entries`] when the range is not one or more whole entries of that level; an RMM
    /// does not change any other.
    #[doc(alias = "RMI_RTT_INIT_RIPAS")]
    pub fn add_ripas(
        &mut self,
        range: IpaRange,
        level: Level,
        log: &mut dyn FnMut(&MeasurementEvent),
    ) -> Result<(), RimError> {
        if !self.dialect.init_ripas_is_measured() {
            return Ok(());
        }
        check_entries(&range, level)?;
        let mut base = range.base();
        while base < range.top() {
            // A call ends with the table that it began in.
            let table = base.align_down(level.table_bytes()).checked_add(level.table_bytes());
            let top = table.map_or(range.top(), |table| table.min(range.top()));
            self.add(&MeasurementEvent::Ripas { range: IpaRange::new(base, top)?, level }, log)?;
            base = top;
        }
        Ok(())
    }

    /// Extends the measurement by regions, in the order in which `Realm::populate` of
    /// `realm-builder` populates them: the measurement of a Realm before it is built. RECs follow,
    /// with [`Rim::add_rec`].
    ///
    /// The regions are sorted. Those without content are measured as if neighbours in the IPA space
    /// were one, and by the largest possible entries: where their memory is, and whether they have
    /// any, makes no difference. Empty regions (also those that are populated already) are left
    /// out.
    ///
    /// ```
    /// use realm_measurement::{RegionLayout, Rim};
    /// # use rmi_abi::realm::RealmParams;
    /// # use rmi_abi::rtt::Geometry;
    /// # use rmi_abi::{Dialect, Ipa, Pa};
    /// # let params = RealmParams::new(Geometry::new(40)?, Pa::new(0));
    /// # let kernel = [0xd5; 0x1800];
    /// let mut regions = [
    ///     RegionLayout::unspecified(Ipa::new(0x8000_2000), 1 << 30),
    ///     RegionLayout::measured(Ipa::new(0x8000_0000), &kernel),
    /// ];
    /// let mut rim = Rim::new(&params, Dialect::TfRmm2026_07, &mut |_| {})?;
    /// rim.add_regions(&mut regions, params.geometry, &mut |event| println!("{event}"))?;
    /// # let mut other = Rim::new(&params, Dialect::TfRmm2026_07, &mut |_| {})?;
    /// # other.add_measured(Ipa::new(0x8000_0000), &kernel, &mut |_| {})?;
    /// # assert_eq!(rim, other);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RimError::Range`] when a region is not aligned to granules, or leaves the address space;
    /// [`RimError::Layout`] when a Realm cannot start with it for another reason. All of them are
    /// checked first.
    pub fn add_regions<R: HasLayout>(
        &mut self,
        regions: &mut [R],
        geometry: Geometry,
        log: &mut dyn FnMut(&MeasurementEvent),
    ) -> Result<(), RimError> {
        for region in regions.iter().map(R::layout) {
            IpaRange::with_size(region.ipa, region.bytes)?;
        }
        sort(regions);
        let mut check = LayoutCheck::new(geometry, self.granule);
        for region in regions.iter().map(R::layout).filter(|region| region.bytes > 0) {
            check.next(&region).map_err(|problem| LayoutError::new(&region, problem))?;
        }
        for region in without_gaps(regions) {
            match region.content {
                Content::Measured(content) => self.add_measured(region.ipa, content, log)?,
                Content::Unmeasured(_) => self.add_unmeasured(region.range(), log)?,
                Content::Unspecified => {
                    for run in region.entries(geometry) {
                        self.add_ripas(run.range(), run.level, log)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Extends the measurement by a REC, if it is runnable; otherwise does nothing.
    ///
    /// Flags, program counter and X0 to X7 are measured. The MPIDR is not.
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, RMI_REC_CREATE.
    ///
    /// # Errors
    ///
    /// Currently none; any REC can be measured.
    pub fn add_rec(
        &mut self,
        params: &RecParams,
        log: &mut dyn FnMut(&MeasurementEvent),
    ) -> Result<(), RimError> {
        if !params.runnable {
            return Ok(());
        }
        let content = hash(self.digest.algorithm(), params.encode().measured().as_bytes())?;
        self.add(&MeasurementEvent::Rec { mpidr: params.mpidr, content }, log)
    }

    /// The measurement so far, with its algorithm.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The measurement so far as the RMM keeps it: the digest in the low bytes, zeros above.
    ///
    /// A Realm reads it in another form: see [`Rim::is_read_as`].
    #[must_use]
    pub const fn value(&self) -> [u8; MEASUREMENT_BYTES] {
        self.digest.value()
    }

    /// Whether this is the measurement that a Realm reads: `registers` are X1 to X8 after
    /// `RSI_MEASUREMENT_READ`.
    ///
    /// Only the registers that the digest fills are compared, four of a SHA-256: TF-RMM leaves the
    /// others unchanged.
    ///
    /// Source: DEN0137 2.0-bet3, RSI_MEASUREMENT_READ; TF-RMM (July 2026), which writes as many
    /// registers as the digest has.
    #[must_use]
    #[doc(alias = "RSI_MEASUREMENT_READ")]
    pub fn is_read_as(&self, registers: &[u64; MEASUREMENT_BYTES / 8]) -> bool {
        Digest::from_registers(self.digest.algorithm(), registers) == Ok(self.digest)
    }

    /// The dialect of the RMM.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Every change is made from its event, so that a log cannot differ from what was measured.
    fn add(
        &mut self,
        event: &MeasurementEvent,
        log: &mut dyn FnMut(&MeasurementEvent),
    ) -> Result<(), RimError> {
        self.apply(event)?;
        log(event);
        Ok(())
    }

    fn extend_data(&mut self, ipa: Ipa, content: Option<Digest>) -> Result<(), RimError> {
        // No RMM maps an address that is not of a granule of the address space.
        check_granule(self.granule, ipa)?;
        let (flags, content) = match content {
            Some(content) => {
                self.check_algorithm(&content)?;
                (DataFlags::MEASURE, content.value())
            }
            None => (DataFlags::empty(), [0; MEASUREMENT_BYTES]),
        };
        self.extend(|rim| DataDescriptor::new(rim, ipa.raw(), flags.bits(), content))
    }

    fn extend_ripas(&mut self, range: &IpaRange, level: Level) -> Result<(), RimError> {
        if !self.dialect.init_ripas_is_measured() {
            return Err(RimError::RipasNotMeasured(self.dialect));
        }
        check_entries(range, level)?;
        // This also bounds the loop, whatever a log says.
        let table = range.base().align_down(level.table_bytes());
        if range.top().checked_offset_from(table).is_none_or(|bytes| bytes > level.table_bytes()) {
            return Err(RimError::Entries { range: *range, level });
        }
        let mut base = range.base();
        while base < range.top() {
            let entry = IpaRange::with_size(base, level.entry_bytes())?;
            self.extend(|rim| RipasDescriptor::new(rim, &entry))?;
            base = entry.top();
        }
        Ok(())
    }

    /// Replaces the measurement by the hash of a descriptor that contains it.
    fn extend<D: IntoBytes + zerocopy::Immutable>(
        &mut self,
        descriptor: impl FnOnce([u8; MEASUREMENT_BYTES]) -> D,
    ) -> Result<(), RimError> {
        let descriptor = descriptor(self.value());
        self.digest = hash(self.digest.algorithm(), descriptor.as_bytes())?;
        Ok(())
    }

    fn check_algorithm(&self, digest: &Digest) -> Result<(), RimError> {
        let (realm, event) = (self.digest.algorithm(), digest.algorithm());
        if realm == event { Ok(()) } else { Err(RimError::Algorithm { realm, event }) }
    }
}

/// The addresses of the granules of a range.
fn granules(granule: GranuleSize, range: IpaRange) -> impl Iterator<Item = Ipa> {
    (range.base().raw()..range.top().raw()).step_by(bytes(granule)).map(Ipa::new)
}

/// Whether there is a granule at an address.
fn check_granule(granule: GranuleSize, ipa: Ipa) -> Result<(), RimError> {
    IpaRange::with_size(ipa, granule.bytes())?;
    match ipa.is_aligned(granule.bytes()) {
        true => Ok(()),
        false => Err(RimError::Unaligned { ipa, granule }),
    }
}

/// The granules that content fills.
fn granules_of(granule: GranuleSize, ipa: Ipa, content: &[u8]) -> Result<IpaRange, RangeError> {
    let granules = content.len().div_ceil(bytes(granule)) as u64;
    IpaRange::with_size(ipa, granules.saturating_mul(granule.bytes()))
}

/// Whether `range` is one or more whole entries of `level`.
fn check_entries(range: &IpaRange, level: Level) -> Result<(), RimError> {
    if range.is_empty() || !range.is_aligned(level.entry_bytes()) {
        return Err(RimError::Entries { range: *range, level });
    }
    Ok(())
}
