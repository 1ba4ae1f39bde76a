//! The RMM itself: version, features, configuration, activation.

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::realm::RmmConfigPage;
use rmi_abi::{GranuleSize, Pa, Status};
use rmi_host::Registers;
use zerocopy::{FromZeros, IntoBytes};

use super::operation::Work;
use super::{Monitor, RmmState};
use crate::answer::{Answer, Answered, require};
use crate::granule::GranuleState;

impl Monitor {
    pub(super) fn version(&self, x: &Registers) -> Answered {
        let [_, wanted, ..] = *x;
        let InterfaceVersion(supported) = self.options.dialect.version();
        let status = if wanted == supported { Status::Success } else { Status::ErrorInput };
        Ok(Answer::from(status).x1(supported).x2(supported))
    }

    pub(super) fn feature(&self, x: &Registers) -> Answered {
        let [_, index, ..] = *x;
        let registers = self.features.registers();
        let value = usize::try_from(index).ok().and_then(|index| registers.get(index));
        Ok(Answer::success().x1(value.copied().unwrap_or(0)))
    }

    pub(super) fn config_get(&mut self, x: &Registers) -> Answered {
        let [_, page, ..] = *x;
        let at = Pa::new(page);
        require(self.granules.is(at, GranuleState::Undelegated), Status::ErrorInput)?;
        let mut config = RmmConfigPage::new_zeroed();
        config.rmi_granule_size = self.granules.size().code();
        config.tracking_region_size = self.regions.code();
        self.memory.write(at, config.as_bytes());
        Ok(Answer::success())
    }

    pub(super) fn config_set(&mut self, x: &Registers) -> Answered {
        let [_, page, ..] = *x;
        let mut config = RmmConfigPage::new_zeroed();
        self.read_host_page(page, config.as_mut_bytes())?;
        let granule = GranuleSize::from_code(config.rmi_granule_size)
            .filter(|granule| self.features.supports_granule(*granule))
            .ok_or(Status::ErrorInput)?;
        let is_known = self.regions.configure(granule, config.tracking_region_size);
        require(is_known, Status::ErrorInput)?;
        self.granules.set_size(granule);
        Ok(Answer::success())
    }

    pub(super) fn rmm_activate(&mut self) -> Answered {
        self.regions.activate();
        if self.options.rmm_activate_donates == 0 {
            self.state = RmmState::Active;
            return Ok(Answer::success());
        }
        let count = self.options.rmm_activate_donates;
        let answer = self.open_donation(Work::RmmActivate, count)?;
        self.state = RmmState::Intermediate;
        Ok(answer)
    }

    /// The last step of an activation that took memory.
    pub(super) fn finish_rmm_activate(&mut self, donated: alloc::vec::Vec<Pa>) -> Answered {
        self.donated = donated;
        self.state = RmmState::Active;
        Ok(Answer::success())
    }

    /// Returns the RMM to INIT, once the host has all memory back.
    pub(super) fn rmm_deactivate(&mut self) -> Answered {
        let census = self.granules.census();
        let mine = (self.donated.len() + self.regions.donated().count()) as u64;
        let mine = mine * (self.granules.bytes() / MIN_GRANULE);
        let is_idle = census.undelegated + mine == census.total && self.operations.count() == 0;
        // A region that the host made FINE keeps its memory from being the host's.
        let has_regions = self.regions.changeable().is_some()
            && self.regions.donated_for_tracking().next().is_some();
        require(is_idle && !has_regions, Status::ErrorGlobal)?;
        let mut memory = core::mem::take(&mut self.donated);
        memory.append(&mut self.regions.forget());
        if memory.is_empty() {
            self.state = RmmState::Init;
            return Ok(Answer::success());
        }
        let answer = self.open_return(Work::RmmDeactivate, memory)?;
        self.state = RmmState::Intermediate;
        Ok(answer)
    }

    /// The RMM is in INIT again: after a deactivation, or after an activation that failed.
    pub(super) fn back_to_init(&mut self) {
        self.state = RmmState::Init;
    }
}
