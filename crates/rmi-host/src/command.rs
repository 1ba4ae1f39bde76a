//! Typed commands: one method for each, on [`Channel`]; a session has them by
//! [`Rmm::commands`](crate::Rmm::commands).
//!
//! # Safety
//!
//! A method is safe when a token proves what the command requires. A command can do four things to
//! the host's memory:
//!
//! | What it can do | Proof |
//! |---|---|
//! | take granules | a [`Delegated`](crate::Delegated) stands for granules that are the RMM's already; delegation consumes an [`Undelegated`] |
//! | read or write pages that are passed to it | an [`Undelegated`] is borrowed for the call; the SDK takes no address in a page from the caller if the RMM writes to it |
//! | map memory so that the Realm may write to it | an [`Undelegated`] is consumed; a [`SharedMemory`] returns it when the RMM has unmapped it |
//! | have an SMMU write messages to an address, or a host bridge programmed | none: [`psmmu_activate`](crate::Channel::psmmu_activate), [`cmem_create`](crate::Channel::cmem_create) and [`pdev_create`](crate::Channel::pdev_create) are unsafe |
//!
//! Mapping shared memory in an auxiliary tree as well is unsafe too, because no document says that
//! the RMM unmaps it there when it is unmapped in the primary tree.
//!
//! # Errors and progress
//!
//! Every method returns an [`Error`], or something that contains one: [`Failed`](crate::Failed)
//! returns a token, [`Halted`] contains what the RMM reported besides the status, [`ShareFailed`]
//! and others split the memory into what may be the RMM's or the Realm's and what is not. A command
//! that moves memory returns [`Progress`](crate::Progress). A command that the dialect does not
//! have is an error before any call.
//!
//! A range command may stop anywhere and reports where. Where a method allows an answer without
//! progress, it means that the call is to be repeated later.
//!
//! # RMI 1.0
//!
//! 1.0 has no range commands and no stateful operations. The methods of the commands that only 2.0
//! has issue commands of 1.0 there, and the same code above works in every dialect:
//!
//! | Method | In 1.0 |
//! |---|---|
//! | [`Rmm::delegate`](crate::Rmm::delegate), [`Rmm::undelegate`](crate::Rmm::undelegate) | `RMI_GRANULE_DELEGATE`, `RMI_GRANULE_UNDELEGATE` for each granule |
//! | [`rtt_data_map_init`](crate::Channel::rtt_data_map_init) | `RMI_DATA_CREATE` |
//! | [`rtt_data_map`](crate::Channel::rtt_data_map), [`rtt_data_map_list`](crate::Channel::rtt_data_map_list) | one `RMI_DATA_CREATE_UNKNOWN`, for the first page |
//! | [`rtt_data_unmap`](crate::Channel::rtt_data_unmap), [`rtt_data_unmap_list`](crate::Channel::rtt_data_unmap_list), [`rtt_data_unmap_each`](crate::Channel::rtt_data_unmap_each) | one `RMI_DATA_DESTROY`, for the first page or the gap before the next one |
//! | [`rtt_unprot_map`](crate::Channel::rtt_unprot_map), [`rtt_unprot_map_list`](crate::Channel::rtt_unprot_map_list) | one `RMI_RTT_MAP_UNPROTECTED`, for the first block |
//! | [`rtt_unprot_unmap`](crate::Channel::rtt_unprot_unmap) and its variants | `RMI_RTT_UNMAP_UNPROTECTED`, for the first entry or the gap before the next one |
//! | [`realm_terminate`](crate::Channel::realm_terminate) | nothing: a Realm can be destroyed in every state |
//! | [`realm_create`](crate::Channel::realm_create), [`realm_destroy`](crate::Channel::realm_destroy), [`rec_create`](crate::Channel::rec_create), [`rec_destroy`](crate::Channel::rec_destroy) | the command, which is done when the call returns; the parameters of a REC name its auxiliary granules |
//!
//! [`CallLimits`](crate::CallLimits) is how much one call does. Errors name the command that was
//! issued. A method with no equivalent in 1.0 is an error before any call.
//!
//! # Example
//!
//! An empty Realm, from its first command to its last:
//!
//! ```
//! use rmi_abi::Dialect;
//! use rmi_abi::realm::RealmParams;
//! use rmi_abi::rtt::Geometry;
//! use rmi_host::{Progress, Rd};
//! # use rmm_model::{GranuleState, Model, Options};
//! # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! # let mut memory = model.take_memory();
//! # let rmm = rmm_model::open(model.host(), &mut memory)?;
//! let mut page = memory.take_front(0x1000).expect("1 GiB");
//! let rd = rmm.delegate(memory.take_front(0x1000).expect("1 GiB"))?;
//! let root = rmm.delegate(memory.take_front(0x1000).expect("1 GiB"))?;
//!
//! let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
//! let started = rmm.commands().realm_create(&rd, &mut page, &params)?;
//! let Progress::Done(_) = started else { panic!("wants memory") };
//! let rd = Rd::new(rd);
//! rmm.commands().realm_activate(&rd)?;
//! assert_eq!(model.granule_state(rd.pa()), Some(GranuleState::Rd));
//!
//! rmm.commands().realm_terminate(&rd)?;
//! let Progress::Done(_) = rmm.commands().realm_destroy(&rd)? else {
//!     panic!("gives memory back")
//! };
//! for granule in [rd.into_released(), root] {
//!     rmm.undelegate(granule)?;
//! }
//! assert_eq!(model.census().undelegated, model.census().total);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Commands
//!
//! | Command | Method |
//! |---|---|
//! | `RMI_VERSION` | [`rmi_version`](crate::Channel::rmi_version) |
//! | `RMI_GRANULE_DELEGATE` | [`granule_delegate`](crate::Channel::granule_delegate) |
//! | `RMI_GRANULE_UNDELEGATE` | [`granule_undelegate`](crate::Channel::granule_undelegate) |
//! | `RMI_DATA_CREATE` | [`data_create`](crate::Channel::data_create) |
//! | `RMI_RTT_DATA_MAP_INIT` | [`rtt_data_map_init`](crate::Channel::rtt_data_map_init) |
//! | `RMI_DATA_CREATE_UNKNOWN` | [`data_create_unknown`](crate::Channel::data_create_unknown) |
//! | `RMI_DATA_DESTROY` | [`data_destroy`](crate::Channel::data_destroy) |
//! | `RMI_REALM_ACTIVATE` | [`realm_activate`](crate::Channel::realm_activate) |
//! | `RMI_REALM_CREATE` | [`realm_create`](crate::Channel::realm_create) |
//! | `RMI_REALM_DESTROY` | [`realm_destroy`](crate::Channel::realm_destroy) |
//! | `RMI_REC_CREATE` | [`rec_create`](crate::Channel::rec_create) |
//! | `RMI_REC_DESTROY` | [`rec_destroy`](crate::Channel::rec_destroy) |
//! | `RMI_REC_ENTER` | [`rec_enter`](crate::Channel::rec_enter) |
//! | `RMI_RTT_CREATE` | [`rtt_create`](crate::Channel::rtt_create) |
//! | `RMI_RTT_DESTROY` | [`rtt_destroy`](crate::Channel::rtt_destroy), [`rtt_destroy_or_skip`](crate::Channel::rtt_destroy_or_skip) |
//! | `RMI_RTT_MAP_UNPROTECTED` | [`rtt_map_unprotected`](crate::Channel::rtt_map_unprotected) |
//! | `RMI_RTT_READ_ENTRY` | [`rtt_read_entry`](crate::Channel::rtt_read_entry) |
//! | `RMI_RTT_UNMAP_UNPROTECTED` | [`rtt_unmap_unprotected`](crate::Channel::rtt_unmap_unprotected) |
//! | `RMI_RTT_DEV_VALIDATE` | [`rtt_dev_validate`](crate::Channel::rtt_dev_validate) |
//! | `RMI_PSCI_COMPLETE` | [`psci_complete`](crate::Channel::psci_complete) |
//! | `RMI_FEATURES` | [`feature`](crate::Channel::feature) |
//! | `RMI_RTT_FOLD` | [`rtt_fold`](crate::Channel::rtt_fold) |
//! | `RMI_REC_AUX_COUNT` | [`rec_aux_count`](crate::Channel::rec_aux_count) |
//! | `RMI_RTT_INIT_RIPAS` | [`rtt_init_ripas`](crate::Channel::rtt_init_ripas) |
//! | `RMI_RTT_SET_RIPAS` | [`rtt_set_ripas`](crate::Channel::rtt_set_ripas), [`rtt_set_ripas_or_halt`](crate::Channel::rtt_set_ripas_or_halt) |
//! | `RMI_VSMMU_CREATE` | [`vsmmu_create`](crate::Channel::vsmmu_create) |
//! | `RMI_VSMMU_DESTROY` | [`vsmmu_destroy`](crate::Channel::vsmmu_destroy) |
//! | `RMI_RMM_CONFIG_SET` | [`rmm_config_set`](crate::Channel::rmm_config_set) |
//! | `RMI_PSMMU_IRQ_NOTIFY` | [`psmmu_irq_notify`](crate::Channel::psmmu_irq_notify) |
//! | `RMI_ATTEST_PLAT_TOKEN_REFRESH` | [`attest_plat_token_refresh`](crate::Channel::attest_plat_token_refresh) |
//! | `RMI_PDEV_ABORT` | [`pdev_abort`](crate::Channel::pdev_abort) |
//! | `RMI_PDEV_COMMUNICATE` | [`pdev_communicate`](crate::Channel::pdev_communicate) |
//! | `RMI_PDEV_CREATE` | [`pdev_create`](crate::Channel::pdev_create) |
//! | `RMI_PDEV_DESTROY` | [`pdev_destroy`](crate::Channel::pdev_destroy) |
//! | `RMI_PDEV_GET_STATE` | [`pdev_get_state`](crate::Channel::pdev_get_state) |
//! | `RMI_PDEV_STREAM_KEY_REFRESH` | [`pdev_stream_key_refresh`](crate::Channel::pdev_stream_key_refresh) |
//! | `RMI_PDEV_SET_PUBKEY` | [`pdev_set_pubkey`](crate::Channel::pdev_set_pubkey) |
//! | `RMI_PDEV_STOP` | [`pdev_stop`](crate::Channel::pdev_stop) |
//! | `RMI_RTT_AUX_CREATE` | [`rtt_aux_create`](crate::Channel::rtt_aux_create) |
//! | `RMI_RTT_AUX_DESTROY` | [`rtt_aux_destroy`](crate::Channel::rtt_aux_destroy) |
//! | `RMI_RTT_AUX_FOLD` | [`rtt_aux_fold`](crate::Channel::rtt_aux_fold) |
//! | `RMI_RTT_AUX_MAP_PROTECTED` | [`rtt_aux_map_protected`](crate::Channel::rtt_aux_map_protected) |
//! | `RMI_RTT_AUX_MAP_UNPROTECTED` | [`rtt_aux_map_unprotected`](crate::Channel::rtt_aux_map_unprotected) |
//! | `RMI_RTT_AUX_UNMAP_PROTECTED` | [`rtt_aux_unmap_protected`](crate::Channel::rtt_aux_unmap_protected) |
//! | `RMI_RTT_AUX_UNMAP_UNPROTECTED` | [`rtt_aux_unmap_unprotected`](crate::Channel::rtt_aux_unmap_unprotected) |
//! | `RMI_VDEV_ABORT` | [`vdev_abort`](crate::Channel::vdev_abort) |
//! | `RMI_VDEV_COMMUNICATE` | [`vdev_communicate`](crate::Channel::vdev_communicate) |
//! | `RMI_VDEV_CREATE` | [`vdev_create`](crate::Channel::vdev_create) |
//! | `RMI_VDEV_DESTROY` | [`vdev_destroy`](crate::Channel::vdev_destroy) |
//! | `RMI_VDEV_GET_STATE` | [`vdev_get_state`](crate::Channel::vdev_get_state) |
//! | `RMI_VDEV_UNLOCK` | [`vdev_unlock`](crate::Channel::vdev_unlock) |
//! | `RMI_RTT_SET_S2AP` | [`rtt_set_s2ap`](crate::Channel::rtt_set_s2ap) |
//! | `RMI_VDEV_COMPLETE` | [`vdev_complete`](crate::Channel::vdev_complete) |
//! | `RMI_VDEV_GET_INTERFACE_REPORT` | [`vdev_get_interface_report`](crate::Channel::vdev_get_interface_report) |
//! | `RMI_VDEV_GET_MEASUREMENTS` | [`vdev_get_measurements`](crate::Channel::vdev_get_measurements) |
//! | `RMI_VDEV_LOCK` | [`vdev_lock`](crate::Channel::vdev_lock) |
//! | `RMI_VDEV_START` | [`vdev_start`](crate::Channel::vdev_start) |
//! | `RMI_VDEV_P2P_BIND` | [`vdev_p2p_bind`](crate::Channel::vdev_p2p_bind) |
//! | `RMI_VDEV_P2P_UNBIND` | [`vdev_p2p_unbind`](crate::Channel::vdev_p2p_unbind) |
//! | `RMI_VSMMU_EVENT_NOTIFY` | [`vsmmu_event_notify`](crate::Channel::vsmmu_event_notify) |
//! | `RMI_VSMMU_EVENT_HANDLE` | [`vsmmu_event_handle`](crate::Channel::vsmmu_event_handle) |
//! | `RMI_PSMMU_ACTIVATE` | [`psmmu_activate`](crate::Channel::psmmu_activate) |
//! | `RMI_PSMMU_DEACTIVATE` | [`psmmu_deactivate`](crate::Channel::psmmu_deactivate) |
//! | `RMI_PSMMU_ST_L2_CREATE` | [`psmmu_st_l2_create`](crate::Channel::psmmu_st_l2_create) |
//! | `RMI_PSMMU_ST_L2_DESTROY` | [`psmmu_st_l2_destroy`](crate::Channel::psmmu_st_l2_destroy) |
//! | `RMI_DPT_L0_CREATE` | [`dpt_l0_create`](crate::Channel::dpt_l0_create) |
//! | `RMI_DPT_L0_DESTROY` | [`dpt_l0_destroy`](crate::Channel::dpt_l0_destroy) |
//! | `RMI_DPT_L1_CREATE` | [`dpt_l1_create`](crate::Channel::dpt_l1_create) |
//! | `RMI_DPT_L1_DESTROY` | [`dpt_l1_destroy`](crate::Channel::dpt_l1_destroy) |
//! | `RMI_GRANULE_TRACKING_GET` | [`granule_tracking_get`](crate::Channel::granule_tracking_get) |
//! | `RMI_GRANULE_TRACKING_SET` | [`granule_tracking_set`](crate::Channel::granule_tracking_set) |
//! | `RMI_CMEM_ADD_PDEV` | [`cmem_add_pdev`](crate::Channel::cmem_add_pdev) |
//! | `RMI_CMEM_CREATE` | [`cmem_create`](crate::Channel::cmem_create) |
//! | `RMI_CMEM_DESTROY` | [`cmem_destroy`](crate::Channel::cmem_destroy) |
//! | `RMI_CMEM_POPULATE` | none: its registers are not public |
//! | `RMI_CMEM_REMOVE_PDEV` | [`cmem_remove_pdev`](crate::Channel::cmem_remove_pdev) |
//! | `RMI_CMEM_START` | none: its registers are not public |
//! | `RMI_CMEM_STOP` | none: its registers are not public |
//! | `RMI_CMEM_UNPOPULATE` | none: its registers are not public |
//! | `RMI_RMM_CONFIG_GET` | [`rmm_config_get`](crate::Channel::rmm_config_get) |
//! | `RMI_PDEV_MEC_UPDATE` | none: its registers are not public |
//! | `RMI_VSMMU_EVENT_COMPLETE` | [`vsmmu_event_complete`](crate::Channel::vsmmu_event_complete) |
//! | `RMI_RMM_STATE_GET` | [`rmm_state_get`](crate::Channel::rmm_state_get) |
//! | `RMI_PSMMU_EVENT_DISCARD` | none: its registers are not public |
//! | `RMI_PSMMU_EVENT_CONSUME` | [`psmmu_event_consume`](crate::Channel::psmmu_event_consume) |
//! | `RMI_GRANULE_RANGE_DELEGATE` | [`Rmm::delegate`](crate::Rmm::delegate) |
//! | `RMI_GRANULE_RANGE_UNDELEGATE` | [`Rmm::undelegate`](crate::Rmm::undelegate) |
//! | `RMI_GPT_L1_CREATE` | [`gpt_l1_create`](crate::Channel::gpt_l1_create) |
//! | `RMI_GPT_L1_DESTROY` | [`gpt_l1_destroy`](crate::Channel::gpt_l1_destroy) |
//! | `RMI_RTT_DATA_MAP` | [`rtt_data_map`](crate::Channel::rtt_data_map), [`rtt_data_map_list`](crate::Channel::rtt_data_map_list) |
//! | `RMI_RTT_DATA_UNMAP` | [`rtt_data_unmap`](crate::Channel::rtt_data_unmap), [`rtt_data_unmap_list`](crate::Channel::rtt_data_unmap_list), [`rtt_data_unmap_each`](crate::Channel::rtt_data_unmap_each) |
//! | `RMI_RTT_DEV_MAP` | [`rtt_dev_map`](crate::Channel::rtt_dev_map), [`rtt_dev_map_list`](crate::Channel::rtt_dev_map_list) |
//! | `RMI_RTT_DEV_UNMAP` | [`rtt_dev_unmap`](crate::Channel::rtt_dev_unmap), [`rtt_dev_unmap_list`](crate::Channel::rtt_dev_unmap_list) |
//! | `RMI_RTT_ARCH_DEV_MAP` | [`rtt_arch_dev_map`](crate::Channel::rtt_arch_dev_map) |
//! | `RMI_RTT_ARCH_DEV_UNMAP` | [`rtt_arch_dev_unmap`](crate::Channel::rtt_arch_dev_unmap) |
//! | `RMI_RTT_UNPROT_MAP` | [`rtt_unprot_map`](crate::Channel::rtt_unprot_map), [`rtt_unprot_map_list`](crate::Channel::rtt_unprot_map_list) |
//! | `RMI_RTT_UNPROT_UNMAP` | [`rtt_unprot_unmap`](crate::Channel::rtt_unprot_unmap), [`rtt_unprot_unmap_entry`](crate::Channel::rtt_unprot_unmap_entry), [`rtt_unprot_unmap_list`](crate::Channel::rtt_unprot_unmap_list) |
//! | `RMI_RTT_AUX_PROT_MAP` | [`rtt_aux_prot_map`](crate::Channel::rtt_aux_prot_map) |
//! | `RMI_RTT_AUX_PROT_UNMAP` | [`rtt_aux_prot_unmap`](crate::Channel::rtt_aux_prot_unmap) |
//! | `RMI_RTT_AUX_UNPROT_MAP` | [`rtt_aux_unprot_map`](crate::Channel::rtt_aux_unprot_map) |
//! | `RMI_RTT_AUX_UNPROT_UNMAP` | [`rtt_aux_unprot_unmap`](crate::Channel::rtt_aux_unprot_unmap) |
//! | `RMI_REALM_TERMINATE` | [`realm_terminate`](crate::Channel::realm_terminate) |
//! | `RMI_RMM_ACTIVATE` | [`rmm_activate`](crate::Channel::rmm_activate) |
//! | `RMI_OP_CONTINUE` | [`op_continue`](crate::Channel::op_continue) |
//! | `RMI_PDEV_STREAM_CONNECT` | [`pdev_stream_connect`](crate::Channel::pdev_stream_connect) |
//! | `RMI_PDEV_STREAM_DISCONNECT` | [`pdev_stream_disconnect`](crate::Channel::pdev_stream_disconnect) |
//! | `RMI_PDEV_STREAM_COMPLETE` | [`pdev_stream_complete`](crate::Channel::pdev_stream_complete) |
//! | `RMI_PDEV_STREAM_KEY_PURGE` | [`pdev_stream_key_purge`](crate::Channel::pdev_stream_key_purge) |
//! | `RMI_OP_MEM_DONATE` | [`op_mem_donate`](crate::Channel::op_mem_donate), [`op_mem_donate_nothing`](crate::Channel::op_mem_donate_nothing) |
//! | `RMI_OP_MEM_RECLAIM` | [`op_mem_reclaim`](crate::Channel::op_mem_reclaim) |
//! | `RMI_OP_CANCEL` | [`op_cancel`](crate::Channel::op_cancel) |
//! | `RMI_PDEV_SET_PROT` | none: its registers are not public |
//! | `RMI_VSMMU_FEATURES` | [`vsmmu_features`](crate::Channel::vsmmu_features) |
//! | `RMI_VSMMU_CMD_GET` | [`vsmmu_cmd_get`](crate::Channel::vsmmu_cmd_get) |
//! | `RMI_VSMMU_CMD_COMPLETE` | [`vsmmu_cmd_complete`](crate::Channel::vsmmu_cmd_complete) |
//! | `RMI_PSMMU_INFO` | none: its registers are not public |
//! | `RMI_RMM_DEACTIVATE` | [`rmm_deactivate`](crate::Channel::rmm_deactivate) |
//! | `RMI_PDEV_STREAM_INFO` | [`pdev_stream_info`](crate::Channel::pdev_stream_info) |
//! | `RMI_GPT_INFO` | [`gpt_info`](crate::Channel::gpt_info) |

use rmi_abi::{Command, Pa};

use crate::channel::Channel;
use crate::error::{Error, Subject};
use crate::granules::Undelegated;
use crate::platform::Platform;

mod cmem;
mod device;
mod dpt;
mod granule;
mod halted;
mod list;
pub(crate) mod named;
mod object;
mod offer;
mod one_by_one;
mod op;
mod packed_blocks;
mod pdev;
mod plane;
mod psmmu;
mod realm;
mod rec;
pub(crate) mod rmm;
mod rtt;
mod tracking;
mod unprot;
mod v1;
mod vdev;
mod vsmmu;

pub use granule::{DelegateFailed, UndelegateFailed};
pub use halted::Halted;
pub use list::UnmappedList;
pub use object::{CmemGranule, PdevGranule, VdevGranule, VsmmuGranule};
pub use offer::Offer;
pub use op::{Donation, Reclaim, Returned};
pub use packed_blocks::{Listed, MapList};
pub use pdev::{DevCommBuffers, Stream, StreamInfo};
pub use plane::{AuxObstacle, AuxTree, AuxUnmapped, S2apProgress};
pub use psmmu::{PsmmuEvent, PsmmuName};
pub use realm::{Rd, RealmNumber};
pub use rec::{RecGranule, RecName};
pub use rmm::Versions;
pub(crate) use rmm::delegate_range;
pub use rtt::{Mapped, RttDestroyed, RttEntry, Unmapped};
pub use tracking::{GptPart, RegionTracking};
pub use unprot::{ShareAt, ShareFailed, Shared, SharedAccess, SharedMemory, Unshared};
pub use v1::{DataDestroyed, UnshareFailed};
pub use vdev::Peers;
pub use vsmmu::{VsmmuCmd, VsmmuEvent, VsmmuMessage};

impl<P: Platform> Channel<P> {
    /// The address of a granule at `offset` in host memory that a command reads, for `bytes` of
    /// memory: the RMM reads a whole granule, whatever the size of the tokens.
    fn source_page(
        &self,
        command: Command,
        subject: Subject,
        source: &Undelegated,
        offset: u64,
        bytes: u64,
    ) -> Result<Pa, Error> {
        let bytes = bytes.max(self.granule_size().bytes());
        self.own(command, source)?;
        let end = offset.checked_add(bytes).filter(|end| *end <= source.bytes());
        let at = end.and_then(|_| source.base().checked_add(offset));
        let what = "the source page lies outside the source memory";
        at.ok_or(Error::argument(command, what, subject))
    }
}
