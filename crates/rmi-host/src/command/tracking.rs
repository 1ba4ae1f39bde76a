//! Commands about how the RMM tracks memory, and about the granule protection tables.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::granule::{GptParState, MemCategory, TrackingRegionState};
use rmi_abi::{Command, Pa, PaRange};

use crate::channel::{Attempts, Call, Channel, Progress, Reply};
use crate::error::{Error, Subject};
use crate::platform::Platform;

/// How the RMM tracks memory, from an address on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionTracking {
    /// The kind of memory.
    pub category: MemCategory,
    /// How finely it is tracked.
    pub state: TrackingRegionState,
    /// The end of the range that this applies to; `None` in a dialect that takes one address
    /// (2.0-bet0): it applies to the tracking region of that address.
    pub top: Option<Pa>,
}

/// Who created the granule protection tables, from an address on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GptPart {
    /// The end of the range that this applies to.
    pub top: Pa,
    /// Who created them.
    pub state: GptParState,
}

/// The code of an enumeration, the low byte of its register.
pub(super) fn code(register: u64) -> u8 {
    let [code, ..] = register.to_le_bytes();
    code
}

impl<P: Platform> Channel<P> {
    fn query(&self, command: Command, range: PaRange) -> Result<(Call, Reply), Error> {
        let args = [range.base().raw(), range.top().raw()];
        let call = Call::new(command, Subject::Pa(range.base()), args);
        Ok((call, self.ask_to_the_end(&call)?))
    }

    /// `RMI_GRANULE_TRACKING_GET`: returns how the RMM tracks `range`, from its start up to where
    /// that changes.
    ///
    /// In 2.0-bet0 the command takes the start only.
    ///
    /// ```
    /// # use rmi_abi::{Dialect, Pa, PaRange};
    /// # use rmi_abi::granule::{MemCategory, TrackingRegionState};
    /// # use rmm_model::{Model, Options};
    /// # let model = Model::new(Options::new(Dialect::V2_0Bet3))?;
    /// # let rmm = rmm_model::open(model.host(), &mut model.take_memory())?;
    /// let memory = PaRange::with_size(Pa::new(0x8000_0000), 0x4000_0000)?;
    /// let answer = rmm.commands().granule_tracking_get(memory)?;
    /// assert_eq!(answer.category, MemCategory::Conventional);
    /// assert_eq!(answer.state, TrackingRegionState::Fine);
    /// assert_eq!(answer.top, Some(memory.top()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Source: DEN0137 2.0-bet3, RMI_GRANULE_TRACKING_GET.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when the range is empty or beyond the physical
    /// address space. By the text of 2.0-bet0 [`ErrorGlobal`](rmi_abi::Status::ErrorGlobal) unless
    /// the RMM is active; TF-RMM (July 2026) answers in every state.
    pub fn granule_tracking_get(&self, range: PaRange) -> Result<RegionTracking, Error> {
        let command = Command::GranuleTrackingGet;
        let (reply, top) = if self.dialect().tracking_get_takes_range() {
            let (call, reply) = self.query(command, range)?;
            (reply, Some(self.progress(&call, range, reply.x3())?))
        } else {
            let call = Call::new(command, Subject::Pa(range.base()), [range.base().raw()]);
            (self.ask_to_the_end(&call)?, None)
        };
        let category = MemCategory::from(code(reply.x1()));
        Ok(RegionTracking { category, state: TrackingRegionState::from(code(reply.x2())), top })
    }

    /// `RMI_GRANULE_TRACKING_SET`: starts to change how the RMM tracks the tracking region at
    /// `region`. Finer tracking takes memory, coarser tracking returns it.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_GRANULE_TRACKING_SET.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when `region` is not aligned to tracking regions
    /// or out of range, the host may not set the state, or the category is not that of the memory;
    /// [`ErrorGlobal`](rmi_abi::Status::ErrorGlobal) unless the RMM is active.
    pub fn granule_tracking_set(
        &self,
        region: Pa,
        category: MemCategory,
        state: TrackingRegionState,
    ) -> Result<Progress, Error> {
        self.granule_tracking_set_within(region, category, state, &mut Attempts::default())
    }

    /// As [`Channel::granule_tracking_set`], of a change that has used a part of its budget.
    #[doc(hidden)]
    pub fn granule_tracking_set_within(
        &self,
        region: Pa,
        category: MemCategory,
        state: TrackingRegionState,
        attempts: &mut Attempts,
    ) -> Result<Progress, Error> {
        let args = [region.raw(), u8::from(category).into(), u8::from(state).into()];
        let call = Call::new(Command::GranuleTrackingSet, Subject::Pa(region), args);
        // SAFETY: the command takes no granule; what the operation wants is donated by tokens.
        unsafe { self.start_within(&call, attempts) }
    }

    /// `RMI_GPT_L1_CREATE`: starts to create the granule protection table of the region at
    /// `region`, which takes memory.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_GPT_L1_CREATE.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when `region` is not aligned to what a level 0
    /// entry covers or out of range. [`ErrorGpt`](rmi_abi::Status::ErrorGpt), with later TF-RMM
    /// [`ErrorGlobal`](rmi_abi::Status::ErrorGlobal): the table exists, for instance because the
    /// firmware made it.
    pub fn gpt_l1_create(&self, region: Pa) -> Result<Progress, Error> {
        self.region_command(Command::GptL1Create, region)
    }

    /// `RMI_GPT_L1_DESTROY`: starts to destroy a granule protection table that the host created,
    /// which returns memory.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_GPT_L1_DESTROY.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) as for [`Channel::gpt_l1_create`];
    /// [`ErrorGpt`](rmi_abi::Status::ErrorGpt) or [`ErrorGlobal`](rmi_abi::Status::ErrorGlobal)
    /// when there is no table that the host created.
    pub fn gpt_l1_destroy(&self, region: Pa) -> Result<Progress, Error> {
        self.region_command(Command::GptL1Destroy, region)
    }

    /// Starts a command about the table of one region of physical memory.
    pub(super) fn region_command(&self, command: Command, region: Pa) -> Result<Progress, Error> {
        let call = Call::new(command, Subject::Pa(region), [region.raw()]);
        // SAFETY: the command takes no granule; what the operation wants is donated by tokens.
        unsafe { self.start(&call) }
    }

    /// `RMI_GPT_INFO`: returns who created the granule protection tables of `range`, from its start
    /// up to where that changes.
    ///
    /// ```
    /// # use rmi_abi::{Dialect, Pa, PaRange};
    /// # use rmi_abi::granule::GptParState;
    /// # use rmm_model::{Model, Options};
    /// # let model = Model::new(Options::new(Dialect::V2_0Bet3))?;
    /// # let rmm = rmm_model::open(model.host(), &mut model.take_memory())?;
    /// let memory = PaRange::with_size(Pa::new(0x8000_0000), 0x4000_0000)?;
    /// // The firmware made the tables.
    /// assert_eq!(rmm.commands().gpt_info(memory)?.state, GptParState::Plat);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Source: DEN0137 2.0-bet3, RMI_GPT_INFO.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when the range is empty, beyond the physical
    /// address space, or not aligned to what a level 0 entry covers.
    pub fn gpt_info(&self, range: PaRange) -> Result<GptPart, Error> {
        let (call, reply) = self.query(Command::GptInfo, range)?;
        let top = self.progress(&call, range, reply.x1())?;
        Ok(GptPart { top, state: GptParState::from(code(reply.x2())) })
    }
}
