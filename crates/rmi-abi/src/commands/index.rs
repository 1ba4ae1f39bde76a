//! Every command of the RMI: function identifier, effect, dialects.
//!
//! An effect is what [`Effect`](super::Effect) says: a stateful command may answer
//! `RMI_INCOMPLETE`, a transfer also moves memory. A mark in brackets means that only the number
//! and the name are certain in that dialect. Registers and statuses are in [`Form`](super::Form).
//!
//! | Identifier | Command | Effect | 1.0 | 2.0-bet0 | 2.0-bet1 | tf-rmm-2026-07 | 2.0-bet3 |
//! |---|---|---|---|---|---|---|---|
//! | `0xc4000150` | [`RMI_VERSION`](super::Command::Version) | immediate | yes | yes | yes | yes | yes |
//! | `0xc4000151` | [`RMI_GRANULE_DELEGATE`](super::Command::GranuleDelegate) | immediate | yes | - | - | - | - |
//! | `0xc4000152` | [`RMI_GRANULE_UNDELEGATE`](super::Command::GranuleUndelegate) | immediate | yes | - | - | - | - |
//! | `0xc4000153` | [`RMI_DATA_CREATE`](super::Command::DataCreate) | immediate | yes | - | - | - | - |
//! | `0xc4000153` | [`RMI_RTT_DATA_MAP_INIT`](super::Command::RttDataMapInit) | stateful | - | yes | yes | yes | yes |
//! | `0xc4000154` | [`RMI_DATA_CREATE_UNKNOWN`](super::Command::DataCreateUnknown) | immediate | yes | - | - | - | - |
//! | `0xc4000155` | [`RMI_DATA_DESTROY`](super::Command::DataDestroy) | immediate | yes | - | - | - | - |
//! | `0xc4000157` | [`RMI_REALM_ACTIVATE`](super::Command::RealmActivate) | immediate | yes | yes | yes | yes | yes |
//! | `0xc4000158` | [`RMI_REALM_CREATE`](super::Command::RealmCreate) | immediate, transfer | yes | yes | yes | yes | yes |
//! | `0xc4000159` | [`RMI_REALM_DESTROY`](super::Command::RealmDestroy) | immediate, transfer | yes | yes | yes | yes | yes |
//! | `0xc400015a` | [`RMI_REC_CREATE`](super::Command::RecCreate) | immediate, transfer | yes | yes | yes | yes | yes |
//! | `0xc400015b` | [`RMI_REC_DESTROY`](super::Command::RecDestroy) | immediate, transfer | yes | yes | yes | yes | yes |
//! | `0xc400015c` | [`RMI_REC_ENTER`](super::Command::RecEnter) | immediate | yes | yes | yes | yes | yes |
//! | `0xc400015d` | [`RMI_RTT_CREATE`](super::Command::RttCreate) | immediate, stateful | yes | yes | yes | yes | yes |
//! | `0xc400015e` | [`RMI_RTT_DESTROY`](super::Command::RttDestroy) | immediate, stateful | yes | yes | yes | yes | yes |
//! | `0xc400015f` | [`RMI_RTT_MAP_UNPROTECTED`](super::Command::RttMapUnprotected) | immediate | yes | - | - | - | - |
//! | `0xc4000161` | [`RMI_RTT_READ_ENTRY`](super::Command::RttReadEntry) | immediate | yes | yes | yes | yes | yes |
//! | `0xc4000162` | [`RMI_RTT_UNMAP_UNPROTECTED`](super::Command::RttUnmapUnprotected) | immediate | yes | - | - | - | - |
//! | `0xc4000163` | [`RMI_RTT_DEV_VALIDATE`](super::Command::RttDevValidate) | stateful | - | yes | yes | yes | yes |
//! | `0xc4000164` | [`RMI_PSCI_COMPLETE`](super::Command::PsciComplete) | immediate | yes | yes | yes | yes | yes |
//! | `0xc4000165` | [`RMI_FEATURES`](super::Command::Features) | immediate | yes | yes | yes | yes | yes |
//! | `0xc4000166` | [`RMI_RTT_FOLD`](super::Command::RttFold) | immediate, stateful | yes | yes | yes | yes | yes |
//! | `0xc4000167` | [`RMI_REC_AUX_COUNT`](super::Command::RecAuxCount) | immediate | yes | - | - | - | - |
//! | `0xc4000168` | [`RMI_RTT_INIT_RIPAS`](super::Command::RttInitRipas) | immediate, stateful | yes | yes | yes | yes | yes |
//! | `0xc4000169` | [`RMI_RTT_SET_RIPAS`](super::Command::RttSetRipas) | immediate, stateful | yes | yes | yes | yes | yes |
//! | `0xc400016a` | [`RMI_VSMMU_CREATE`](super::Command::VsmmuCreate) | transfer | - | (yes) | (yes) | - | (yes) |
//! | `0xc400016b` | [`RMI_VSMMU_DESTROY`](super::Command::VsmmuDestroy) | transfer | - | (yes) | (yes) | - | (yes) |
//! | `0xc400016e` | [`RMI_RMM_CONFIG_SET`](super::Command::RmmConfigSet) | immediate | - | yes | yes | yes | yes |
//! | `0xc400016f` | [`RMI_PSMMU_IRQ_NOTIFY`](super::Command::PsmmuIrqNotify) | immediate | - | (yes) | (yes) | - | (yes) |
//! | `0xc4000170` | [`RMI_ATTEST_PLAT_TOKEN_REFRESH`](super::Command::AttestPlatTokenRefresh) | immediate | - | (yes) | - | - | (yes) |
//! | `0xc4000174` | [`RMI_PDEV_ABORT`](super::Command::PdevAbort) | immediate | - | yes | yes | yes | yes |
//! | `0xc4000175` | [`RMI_PDEV_COMMUNICATE`](super::Command::PdevCommunicate) | immediate | - | yes | yes | yes | yes |
//! | `0xc4000176` | [`RMI_PDEV_CREATE`](super::Command::PdevCreate) | transfer | - | yes | yes | yes | yes |
//! | `0xc4000177` | [`RMI_PDEV_DESTROY`](super::Command::PdevDestroy) | transfer | - | yes | yes | yes | yes |
//! | `0xc4000178` | [`RMI_PDEV_GET_STATE`](super::Command::PdevGetState) | immediate | - | yes | yes | yes | yes |
//! | `0xc400017a` | [`RMI_PDEV_STREAM_KEY_REFRESH`](super::Command::PdevStreamKeyRefresh) | immediate | - | yes | yes | yes | yes |
//! | `0xc400017b` | [`RMI_PDEV_SET_PUBKEY`](super::Command::PdevSetPubkey) | immediate | - | yes | yes | yes | yes |
//! | `0xc400017c` | [`RMI_PDEV_STOP`](super::Command::PdevStop) | immediate | - | yes | yes | yes | yes |
//! | `0xc400017d` | [`RMI_RTT_AUX_CREATE`](super::Command::RttAuxCreate) | stateful | - | yes | yes | yes | yes |
//! | `0xc400017e` | [`RMI_RTT_AUX_DESTROY`](super::Command::RttAuxDestroy) | stateful | - | yes | yes | yes | yes |
//! | `0xc400017f` | [`RMI_RTT_AUX_FOLD`](super::Command::RttAuxFold) | stateful | - | yes | yes | yes | yes |
//! | `0xc4000180` | [`RMI_RTT_AUX_MAP_PROTECTED`](super::Command::RttAuxMapProtected) | immediate | - | - | - | yes | - |
//! | `0xc4000181` | [`RMI_RTT_AUX_MAP_UNPROTECTED`](super::Command::RttAuxMapUnprotected) | immediate | - | - | - | yes | - |
//! | `0xc4000183` | [`RMI_RTT_AUX_UNMAP_PROTECTED`](super::Command::RttAuxUnmapProtected) | immediate | - | - | - | yes | - |
//! | `0xc4000184` | [`RMI_RTT_AUX_UNMAP_UNPROTECTED`](super::Command::RttAuxUnmapUnprotected) | immediate | - | - | - | yes | - |
//! | `0xc4000185` | [`RMI_VDEV_ABORT`](super::Command::VdevAbort) | immediate | - | yes | yes | yes | yes |
//! | `0xc4000186` | [`RMI_VDEV_COMMUNICATE`](super::Command::VdevCommunicate) | immediate | - | yes | yes | yes | yes |
//! | `0xc4000187` | [`RMI_VDEV_CREATE`](super::Command::VdevCreate) | transfer | - | yes | yes | yes | yes |
//! | `0xc4000188` | [`RMI_VDEV_DESTROY`](super::Command::VdevDestroy) | transfer | - | yes | yes | yes | yes |
//! | `0xc4000189` | [`RMI_VDEV_GET_STATE`](super::Command::VdevGetState) | immediate | - | yes | yes | yes | yes |
//! | `0xc400018a` | [`RMI_VDEV_UNLOCK`](super::Command::VdevUnlock) | immediate | - | yes | yes | yes | yes |
//! | `0xc400018b` | [`RMI_RTT_SET_S2AP`](super::Command::RttSetS2ap) | stateful | - | yes | yes | yes | yes |
//! | `0xc400018e` | [`RMI_VDEV_COMPLETE`](super::Command::VdevComplete) | immediate | - | yes | yes | yes | - |
//! | `0xc40001d0` | [`RMI_VDEV_GET_INTERFACE_REPORT`](super::Command::VdevGetInterfaceReport) | immediate | - | yes | yes | yes | yes |
//! | `0xc40001d1` | [`RMI_VDEV_GET_MEASUREMENTS`](super::Command::VdevGetMeasurements) | immediate | - | yes | yes | yes | yes |
//! | `0xc40001d2` | [`RMI_VDEV_LOCK`](super::Command::VdevLock) | immediate | - | yes | yes | yes | yes |
//! | `0xc40001d3` | [`RMI_VDEV_START`](super::Command::VdevStart) | immediate | - | yes | yes | yes | yes |
//! | `0xc40001d4` | [`RMI_VDEV_P2P_BIND`](super::Command::VdevP2pBind) | immediate | - | (yes) | - | - | - |
//! | `0xc40001d5` | [`RMI_VDEV_P2P_UNBIND`](super::Command::VdevP2pUnbind) | immediate | - | (yes) | - | - | - |
//! | `0xc40001d6` | [`RMI_VSMMU_EVENT_NOTIFY`](super::Command::VsmmuEventNotify) | immediate | - | (yes) | (yes) | - | - |
//! | `0xc40001d6` | [`RMI_VSMMU_EVENT_HANDLE`](super::Command::VsmmuEventHandle) | immediate | - | - | - | - | (yes) |
//! | `0xc40001d7` | [`RMI_PSMMU_ACTIVATE`](super::Command::PsmmuActivate) | transfer | - | yes | yes | yes | yes |
//! | `0xc40001d8` | [`RMI_PSMMU_DEACTIVATE`](super::Command::PsmmuDeactivate) | transfer | - | yes | yes | yes | yes |
//! | `0xc40001db` | [`RMI_PSMMU_ST_L2_CREATE`](super::Command::PsmmuStL2Create) | transfer | - | yes | yes | yes | yes |
//! | `0xc40001dc` | [`RMI_PSMMU_ST_L2_DESTROY`](super::Command::PsmmuStL2Destroy) | transfer | - | yes | yes | yes | yes |
//! | `0xc40001dd` | [`RMI_DPT_L0_CREATE`](super::Command::DptL0Create) | transfer | - | (yes) | (yes) | - | (yes) |
//! | `0xc40001de` | [`RMI_DPT_L0_DESTROY`](super::Command::DptL0Destroy) | transfer | - | (yes) | (yes) | - | (yes) |
//! | `0xc40001df` | [`RMI_DPT_L1_CREATE`](super::Command::DptL1Create) | transfer | - | (yes) | (yes) | - | (yes) |
//! | `0xc40001e0` | [`RMI_DPT_L1_DESTROY`](super::Command::DptL1Destroy) | transfer | - | (yes) | (yes) | - | (yes) |
//! | `0xc40001e1` | [`RMI_GRANULE_TRACKING_GET`](super::Command::GranuleTrackingGet) | immediate | - | yes | yes | yes | yes |
//! | `0xc40001e3` | [`RMI_GRANULE_TRACKING_SET`](super::Command::GranuleTrackingSet) | transfer | - | yes | yes | - | yes |
//! | `0xc40001e4` | [`RMI_CMEM_ADD_PDEV`](super::Command::CmemAddPdev) | immediate | - | (yes) | - | - | - |
//! | `0xc40001e5` | [`RMI_CMEM_CREATE`](super::Command::CmemCreate) | transfer | - | (yes) | - | - | - |
//! | `0xc40001e6` | [`RMI_CMEM_DESTROY`](super::Command::CmemDestroy) | transfer | - | (yes) | - | - | - |
//! | `0xc40001e7` | [`RMI_CMEM_POPULATE`](super::Command::CmemPopulate) | immediate | - | (yes) | - | - | - |
//! | `0xc40001e8` | [`RMI_CMEM_REMOVE_PDEV`](super::Command::CmemRemovePdev) | immediate | - | (yes) | - | - | - |
//! | `0xc40001e9` | [`RMI_CMEM_START`](super::Command::CmemStart) | immediate | - | (yes) | - | - | - |
//! | `0xc40001ea` | [`RMI_CMEM_STOP`](super::Command::CmemStop) | immediate | - | (yes) | - | - | - |
//! | `0xc40001eb` | [`RMI_CMEM_UNPOPULATE`](super::Command::CmemUnpopulate) | immediate | - | (yes) | - | - | - |
//! | `0xc40001ec` | [`RMI_RMM_CONFIG_GET`](super::Command::RmmConfigGet) | immediate | - | yes | yes | yes | yes |
//! | `0xc40001ed` | [`RMI_PDEV_MEC_UPDATE`](super::Command::PdevMecUpdate) | immediate | - | (yes) | - | - | - |
//! | `0xc40001ee` | [`RMI_VSMMU_EVENT_COMPLETE`](super::Command::VsmmuEventComplete) | immediate | - | (yes) | - | - | - |
//! | `0xc40001ee` | [`RMI_RMM_STATE_GET`](super::Command::RmmStateGet) | immediate | - | - | (yes) | - | (yes) |
//! | `0xc40001f0` | [`RMI_PSMMU_EVENT_DISCARD`](super::Command::PsmmuEventDiscard) | immediate | - | (yes) | - | - | - |
//! | `0xc40001f0` | [`RMI_PSMMU_EVENT_CONSUME`](super::Command::PsmmuEventConsume) | immediate | - | - | (yes) | - | (yes) |
//! | `0xc40001f1` | [`RMI_GRANULE_RANGE_DELEGATE`](super::Command::GranuleRangeDelegate) | stateful | - | yes | yes | yes | yes |
//! | `0xc40001f2` | [`RMI_GRANULE_RANGE_UNDELEGATE`](super::Command::GranuleRangeUndelegate) | stateful | - | yes | yes | yes | yes |
//! | `0xc40001f3` | [`RMI_GPT_L1_CREATE`](super::Command::GptL1Create) | transfer | - | yes | yes | yes | yes |
//! | `0xc40001f4` | [`RMI_GPT_L1_DESTROY`](super::Command::GptL1Destroy) | transfer | - | yes | yes | - | yes |
//! | `0xc40001f5` | [`RMI_RTT_DATA_MAP`](super::Command::RttDataMap) | stateful | - | yes | yes | yes | yes |
//! | `0xc40001f6` | [`RMI_RTT_DATA_UNMAP`](super::Command::RttDataUnmap) | stateful | - | yes | yes | yes | yes |
//! | `0xc40001f7` | [`RMI_RTT_DEV_MAP`](super::Command::RttDevMap) | stateful | - | yes | yes | yes | yes |
//! | `0xc40001f8` | [`RMI_RTT_DEV_UNMAP`](super::Command::RttDevUnmap) | stateful | - | yes | yes | yes | yes |
//! | `0xc40001f9` | [`RMI_RTT_ARCH_DEV_MAP`](super::Command::RttArchDevMap) | immediate | - | (yes) | (yes) | - | (yes) |
//! | `0xc40001fa` | [`RMI_RTT_ARCH_DEV_UNMAP`](super::Command::RttArchDevUnmap) | immediate | - | (yes) | (yes) | - | (yes) |
//! | `0xc40001fb` | [`RMI_RTT_UNPROT_MAP`](super::Command::RttUnprotMap) | stateful | - | yes | yes | yes | yes |
//! | `0xc40001fc` | [`RMI_RTT_UNPROT_UNMAP`](super::Command::RttUnprotUnmap) | stateful | - | yes | yes | yes | yes |
//! | `0xc40001fd` | [`RMI_RTT_AUX_PROT_MAP`](super::Command::RttAuxProtMap) | stateful | - | yes | yes | - | yes |
//! | `0xc40001fe` | [`RMI_RTT_AUX_PROT_UNMAP`](super::Command::RttAuxProtUnmap) | stateful | - | (yes) | (yes) | - | (yes) |
//! | `0xc40001ff` | [`RMI_RTT_AUX_UNPROT_MAP`](super::Command::RttAuxUnprotMap) | stateful | - | (yes) | (yes) | - | (yes) |
//! | `0xc4000200` | [`RMI_RTT_AUX_UNPROT_UNMAP`](super::Command::RttAuxUnprotUnmap) | stateful | - | (yes) | (yes) | - | (yes) |
//! | `0xc4000201` | [`RMI_REALM_TERMINATE`](super::Command::RealmTerminate) | stateful | - | yes | yes | yes | yes |
//! | `0xc4000202` | [`RMI_RMM_ACTIVATE`](super::Command::RmmActivate) | transfer | - | yes | yes | yes | yes |
//! | `0xc4000203` | [`RMI_OP_CONTINUE`](super::Command::OpContinue) | immediate | - | yes | yes | yes | yes |
//! | `0xc4000204` | [`RMI_PDEV_STREAM_CONNECT`](super::Command::PdevStreamConnect) | immediate | - | yes | yes | yes | yes |
//! | `0xc4000205` | [`RMI_PDEV_STREAM_DISCONNECT`](super::Command::PdevStreamDisconnect) | immediate | - | yes | yes | yes | yes |
//! | `0xc4000206` | [`RMI_PDEV_STREAM_COMPLETE`](super::Command::PdevStreamComplete) | immediate | - | yes | yes | yes | yes |
//! | `0xc4000207` | [`RMI_PDEV_STREAM_KEY_PURGE`](super::Command::PdevStreamKeyPurge) | immediate | - | yes | yes | yes | yes |
//! | `0xc4000208` | [`RMI_OP_MEM_DONATE`](super::Command::OpMemDonate) | immediate | - | yes | yes | yes | yes |
//! | `0xc4000209` | [`RMI_OP_MEM_RECLAIM`](super::Command::OpMemReclaim) | immediate | - | yes | yes | yes | yes |
//! | `0xc400020a` | [`RMI_OP_CANCEL`](super::Command::OpCancel) | immediate | - | yes | yes | yes | yes |
//! | `0xc400020b` | [`RMI_PDEV_SET_PROT`](super::Command::PdevSetProt) | immediate | - | (yes) | - | - | - |
//! | `0xc400020b` | [`RMI_VSMMU_FEATURES`](super::Command::VsmmuFeatures) | immediate | - | - | (yes) | - | (yes) |
//! | `0xc400020c` | [`RMI_VSMMU_CMD_GET`](super::Command::VsmmuCmdGet) | immediate | - | (yes) | (yes) | - | (yes) |
//! | `0xc400020d` | [`RMI_VSMMU_CMD_COMPLETE`](super::Command::VsmmuCmdComplete) | immediate | - | (yes) | (yes) | - | (yes) |
//! | `0xc400020e` | [`RMI_PSMMU_INFO`](super::Command::PsmmuInfo) | immediate | - | - | (yes) | - | (yes) |
//! | `0xc400020f` | [`RMI_RMM_DEACTIVATE`](super::Command::RmmDeactivate) | transfer | - | - | - | - | (yes) |
//! | `0xc4000210` | [`RMI_PDEV_STREAM_INFO`](super::Command::PdevStreamInfo) | immediate | - | - | - | - | (yes) |
//! | `0xc4000211` | [`RMI_GPT_INFO`](super::Command::GptInfo) | immediate | - | - | - | - | yes |
//!
//! A command with two effects is immediate in 1.0, which has no stateful operations.
