//! The RMM itself: version, features, configuration, activation, tracking and granule protection tables.

use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::realm::RmmConfigPage;
use rmi_abi::{GranuleSize, Pa, Status};
use rmi_host::Registers;
use zerocopy::{FromZeros, IntoBytes};

use super::operation::Work;
use super::{Monitor, RmmState, pa_range};
use crate::answer::{Answer, Answered, refuse, require};
use crate::granule::GranuleState;
use crate::unmodelled;

/// Bytes that one level 0 entry of the granule protection table covers, and one tracking region with code 0 and 4 KiB granules.
const GIB: u64 = 1 << 30;
/// First physical address that this machine does not have.
const PA_END: u64 = 1 << 48;

/// `RmiMemCategory`: conventional memory.
const CATEGORY_CONVENTIONAL: u64 = 0;
/// `RmiTrackingRegionState`: not tracked.
const TRACKING_NONE: u64 = 1;
/// `RmiTrackingRegionState`: tracked by granule.
const TRACKING_FINE: u64 = 2;
/// `RmiGptParState`: not for the host.
const GPT_RESERVED: u64 = 0;
/// `RmiGptParState`: built by the platform.
const GPT_PLATFORM: u64 = 1;

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
        config.rmi_granule_size = GranuleSize::Size4KiB.code();
        self.memory.write(at, config.as_bytes());
        Ok(Answer::success())
    }

    pub(super) fn config_set(&mut self, x: &Registers) -> Answered {
        let [_, page, ..] = *x;
        let mut config = RmmConfigPage::new_zeroed();
        self.read_host_page(page, config.as_mut_bytes())?;
        let is_default = config.tracking_region_size == 0
            && config.rmi_granule_size == GranuleSize::Size4KiB.code();
        require(is_default, Status::ErrorInput)?;
        Ok(Answer::success())
    }

    pub(super) fn rmm_activate(&mut self) -> Answered {
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

    /// Back to INIT, once the host has taken all memory back.
    pub(super) fn rmm_deactivate(&mut self) -> Answered {
        let census = self.granules.census();
        let mine = self.donated.len() as u64;
        let is_idle = census.undelegated + mine == census.total && self.operations.count() == 0;
        require(is_idle, Status::ErrorGlobal)?;
        if mine == 0 {
            self.state = RmmState::Init;
            return Ok(Answer::success());
        }
        let answer = self.open_return(Work::RmmDeactivate, self.donated.clone())?;
        self.donated.clear();
        self.state = RmmState::Intermediate;
        Ok(answer)
    }

    /// The RMM is in INIT again: after a deactivation, or after an activation that failed.
    pub(super) fn back_to_init(&mut self) {
        self.state = RmmState::Init;
    }

    pub(super) fn tracking_get(&self, x: &Registers) -> Answered {
        let [_, base, top, ..] = *x;
        let range = pa_range(base, top)?;
        require(top < PA_END, Status::ErrorInput)?;
        let state =
            if self.options.dram.contains(range.base()) { TRACKING_FINE } else { TRACKING_NONE };
        // As TF-RMM, without looking whether the state holds up to the top.
        Ok(Answer::success().x1(CATEGORY_CONVENTIONAL).x2(state).x3(top))
    }

    /// All of DRAM is tracked by granule, and stays so.
    pub(super) fn tracking_set(&self, x: &Registers) -> Answered {
        let [_, address, category, state, ..] = *x;
        let is_as_is = Pa::new(address).is_aligned(GIB)
            && self.options.dram.contains(Pa::new(address))
            && category == CATEGORY_CONVENTIONAL
            && state == TRACKING_FINE;
        require(is_as_is, Status::ErrorInput)?;
        Ok(Answer::success())
    }

    pub(super) fn gpt_l1(&self, x: &Registers) -> Answered {
        let [_, address, ..] = *x;
        require(Pa::new(address).is_aligned(GIB), Status::ErrorInput)?;
        refuse(unmodelled::static_gpt(self.options.dialect))
    }

    pub(super) fn gpt_info(&self, x: &Registers) -> Answered {
        let [_, base, top, ..] = *x;
        let range = pa_range(base, top)?;
        require(range.is_aligned(GIB) && top <= PA_END, Status::ErrorInput)?;
        let region_top = top.min(base + GIB);
        let region = pa_range(base, region_top)?;
        let state = if self.options.dram.overlaps(&region) { GPT_PLATFORM } else { GPT_RESERVED };
        Ok(Answer::success().x1(region_top).x2(state))
    }
}
