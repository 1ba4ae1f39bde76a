//! A configuration against the features of an RMM and its dialect.

use rmi_abi::feature::{Features, RttPlaneFeature};
use rmi_abi::realm::{OptionalParameter, RealmParams, S2apEncoding};
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Dialect, GranuleSize, Pa};

use super::{ConfigError, HashOffer, Parameter, PlaneTables, RealmConfig};

/// Number of auxiliary trees that the parameter page has space for.
const AUX_TREES: u64 = 3;
/// Widest IPA space without LPA2.
const WIDTH_48: u8 = 48;

fn within(parameter: Parameter, wanted: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&wanted) {
        Ok(())
    } else {
        Err(ConfigError::Range { parameter, wanted, min, max })
    }
}

fn offered(parameter: Parameter, offered: bool) -> Result<(), ConfigError> {
    if offered { Ok(()) } else { Err(ConfigError::Unavailable { parameter }) }
}

/// How the planes of one Realm are translated.
struct Translation {
    tree_per_plane: bool,
    s2ap_indirect: bool,
}

impl RealmConfig {
    /// The parameters of `RMI_REALM_CREATE` for an RMM with these features and granules of 4 KiB,
    /// except for the root tables' addresses, which stay 0: one run of [`Geometry::root_tables`]
    /// granules, and with [`RealmParams::tree_per_plane`] one more for each auxiliary plane.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first parameter that the RMM does not offer, or that the dialect
    /// does not have.
    pub fn validate(
        &self,
        features: &Features,
        dialect: Dialect,
    ) -> Result<RealmParams, ConfigError> {
        self.validate_for(GranuleSize::Size4KiB, features, dialect)
    }

    /// As [`RealmConfig::validate`], for an RMM that is configured for granules of this size, which
    /// is that of the Realm's translation tables.
    ///
    /// # Errors
    ///
    /// As [`RealmConfig::validate`].
    pub fn validate_for(
        &self,
        granule: GranuleSize,
        features: &Features,
        dialect: Dialect,
    ) -> Result<RealmParams, ConfigError> {
        self.check_dialect(dialect)?;
        let geometry = self.geometry(granule, features)?;
        let lpa2 = self.check_lpa2(features, dialect)?;
        if !features.supports_hash(self.hash) {
            let offered = HashOffer::of(features);
            return Err(ConfigError::Hash { wanted: self.hash, offered });
        }
        self.check_cpu(features)?;
        if self.private_mec && features.mec_count() == 0 {
            return Err(ConfigError::PrivateMec);
        }
        self.check_devices(features)?;
        let translation = self.translation(features)?;

        let mut params = RealmParams::new(geometry, Pa::new(0));
        params.lpa2 = lpa2;
        params.hash = self.hash;
        params.rpv = self.personalization;
        params.num_bps = self.num_bps;
        params.num_wps = self.num_wps;
        params.sve_vl = self.sve_vl;
        params.pmu_num_ctrs = self.pmu_num_ctrs;
        params.private_mec = self.private_mec;
        params.live_activation = self.live_activation;
        params.device_assignment = self.device_assignment;
        params.max_num_vdevs = self.max_num_vdevs;
        params.ats = self.ats;
        params.ats_plane = self.ats_plane.into();
        params.num_aux_planes = self.num_aux_planes;
        params.tree_per_plane = translation.tree_per_plane;
        params.s2ap_indirect = translation.s2ap_indirect;
        params.vmid = self.vmid;
        // The codec decides what a dialect can express.
        params.check(dialect)?;
        Ok(params)
    }

    /// What the dialect lacks comes before what this RMM lacks: no other RMM of the dialect would
    /// accept it.
    fn check_dialect(&self, dialect: Dialect) -> Result<(), ConfigError> {
        use OptionalParameter as Optional;
        let is_indirect = self.s2ap == Some(S2apEncoding::Indirect);
        for (is_set, parameter, optional) in [
            (self.private_mec, Parameter::PrivateMec, Optional::PrivateMec),
            (self.live_activation, Parameter::LiveActivation, Optional::LiveActivation),
            (self.device_assignment, Parameter::DeviceAssignment, Optional::DeviceAssignment),
            (self.max_num_vdevs != 0, Parameter::MaxNumVdevs, Optional::MaxNumVdevs),
            (self.ats, Parameter::Ats, Optional::Ats),
            (self.ats_plane != 0, Parameter::AtsPlane, Optional::AtsPlane),
            (self.num_aux_planes != 0, Parameter::NumAuxPlanes, Optional::NumAuxPlanes),
            (is_indirect, Parameter::S2ap, Optional::S2apIndirect),
            (self.vmid != 0, Parameter::Vmid, Optional::Vmid),
        ] {
            if is_set && !optional.exists_in(dialect) {
                return Err(ConfigError::Foreign { parameter, dialect });
            }
        }
        Ok(())
    }

    fn geometry(&self, granule: GranuleSize, features: &Features) -> Result<Geometry, ConfigError> {
        let (wanted, max) = (self.ipa_width, features.max_ipa_width());
        if wanted > max {
            return Err(ConfigError::IpaWidth { wanted, max });
        }
        let geometry = match self.start_level {
            Some(level) => Geometry::with_granule_from(granule, wanted, level)?,
            // Level 0 needs 44-bit physical addresses. They are at least as wide as the widest IPA
            // space; below that, level 1 suffices everywhere.
            None if granule == GranuleSize::Size4KiB && max < 44 && wanted >= 40 => {
                Geometry::with_start_level(wanted, Level::L1)?
            }
            None => Geometry::with_granule(granule, wanted)?,
        };
        let needed = geometry.root_tables();
        match self.root_tables {
            Some(wanted) if wanted != needed => Err(ConfigError::RootTables { wanted, needed }),
            _ => Ok(geometry),
        }
    }

    fn check_lpa2(&self, features: &Features, dialect: Dialect) -> Result<bool, ConfigError> {
        let parameter = Parameter::Lpa2;
        let needed = self.ipa_width > WIDTH_48;
        match self.lpa2 {
            Some(false) if needed => {
                return Err(ConfigError::Lpa2Declined { ipa_width: self.ipa_width });
            }
            Some(true) if !needed && !dialect.has_lpa2_flag() => {
                return Err(ConfigError::Foreign { parameter, dialect });
            }
            Some(true) => offered(parameter, features.lpa2())?,
            _ if needed && !features.lpa2() => {
                return Err(ConfigError::IpaWidth { wanted: self.ipa_width, max: WIDTH_48 });
            }
            _ => {}
        }
        Ok(self.lpa2.unwrap_or(needed))
    }

    fn check_cpu(&self, features: &Features) -> Result<(), ConfigError> {
        for (parameter, wanted, max) in [
            (Parameter::NumBps, self.num_bps, features.num_bps()),
            (Parameter::NumWps, self.num_wps, features.num_wps()),
        ] {
            // Numbers minus one, of which 0 is reserved.
            within(parameter, wanted.into(), 1, max.into())?;
        }
        for (parameter, wanted, max) in [
            (Parameter::SveVl, self.sve_vl, features.sve_vl()),
            (Parameter::PmuNumCtrs, self.pmu_num_ctrs, features.pmu_num_ctrs()),
        ] {
            let Some(wanted) = wanted else { continue };
            let max = max.ok_or(ConfigError::Unavailable { parameter })?;
            within(parameter, wanted.into(), 0, max.into())?;
        }
        Ok(())
    }

    fn check_devices(&self, features: &Features) -> Result<(), ConfigError> {
        let needs = Parameter::DeviceAssignment;
        for (is_set, parameter) in
            [(self.max_num_vdevs != 0, Parameter::MaxNumVdevs), (self.ats, Parameter::Ats)]
        {
            if is_set && !self.device_assignment {
                return Err(ConfigError::Needs { parameter, needs });
            }
        }
        if self.device_assignment {
            offered(needs, features.device_assignment())?;
        }
        if self.ats {
            offered(Parameter::Ats, features.ats())?;
        }
        let max = features.realm_max_vdevs_order().map_or(0, |order| 1 << order);
        within(Parameter::MaxNumVdevs, self.max_num_vdevs, 0, max)
    }

    fn translation(&self, features: &Features) -> Result<Translation, ConfigError> {
        let max = features.max_aux_planes().into();
        let planes = u64::from(self.num_aux_planes);
        within(Parameter::NumAuxPlanes, planes, 0, max)?;
        within(Parameter::AtsPlane, self.ats_plane.into(), 0, planes)?;
        let tables = self.tables(features);
        let s2ap_indirect = match (self.s2ap, tables) {
            (None, tables) => tables == Some(PlaneTables::Shared),
            (Some(S2apEncoding::Direct), None | Some(PlaneTables::PerPlane)) => false,
            (Some(S2apEncoding::Indirect), None | Some(PlaneTables::Shared)) => true,
            (Some(wanted), tables) => return Err(ConfigError::S2ap { wanted, tables }),
        };
        let tree_per_plane = tables == Some(PlaneTables::PerPlane);
        if let Some(wanted) = tables {
            let offer = features.rtt_plane().unwrap_or(RttPlaneFeature::Unknown(0));
            if !offers(offer, wanted) {
                return Err(ConfigError::PlaneTables { wanted, offered: offer });
            }
        }
        if tree_per_plane {
            within(Parameter::NumAuxPlanes, planes, 0, AUX_TREES)?;
        }
        offered(Parameter::S2ap, !s2ap_indirect || features.s2ap_indirect())?;
        Ok(Translation { tree_per_plane, s2ap_indirect })
    }

    /// The planes' tables: only a tree per plane goes with direct permissions, only a common tree
    /// with indirect ones. `None` for the only plane.
    fn tables(&self, features: &Features) -> Option<PlaneTables> {
        if self.num_aux_planes == 0 {
            return None;
        }
        let offer = features.rtt_plane();
        let shared = match (self.plane_tables, self.s2ap) {
            (Some(wanted), _) => wanted == PlaneTables::Shared,
            (None, Some(encoding)) => encoding == S2apEncoding::Indirect,
            (None, None) => match offer {
                Some(RttPlaneFeature::Single) => true,
                Some(RttPlaneFeature::AuxSingle) => features.s2ap_indirect(),
                _ => false,
            },
        };
        Some(if shared { PlaneTables::Shared } else { PlaneTables::PerPlane })
    }
}

/// Whether an RMM supports tables of this kind.
const fn offers(offer: RttPlaneFeature, tables: PlaneTables) -> bool {
    match tables {
        PlaneTables::Shared => {
            matches!(offer, RttPlaneFeature::Single | RttPlaneFeature::AuxSingle)
        }
        PlaneTables::PerPlane => {
            matches!(offer, RttPlaneFeature::Aux | RttPlaneFeature::AuxSingle)
        }
    }
}
