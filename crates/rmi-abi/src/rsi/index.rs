//! Every command of the RSI: function identifier and versions.
//!
//! | Identifier | Command | 1.0 | 1.1 | 2.0 |
//! |---|---|---|---|---|
//! | `0xc4000190` | [`RSI_VERSION`](super::Command::Version) | yes | yes | yes |
//! | `0xc4000191` | [`RSI_FEATURES`](super::Command::Features) | yes | yes | yes |
//! | `0xc4000192` | [`RSI_MEASUREMENT_READ`](super::Command::MeasurementRead) | yes | yes | yes |
//! | `0xc4000193` | [`RSI_MEASUREMENT_EXTEND`](super::Command::MeasurementExtend) | yes | yes | yes |
//! | `0xc4000194` | [`RSI_ATTESTATION_TOKEN_INIT`](super::Command::AttestationTokenInit) | yes | yes | yes |
//! | `0xc4000195` | [`RSI_ATTESTATION_TOKEN_CONTINUE`](super::Command::AttestationTokenContinue) | yes | yes | yes |
//! | `0xc4000196` | [`RSI_REALM_CONFIG`](super::Command::RealmConfig) | yes | yes | yes |
//! | `0xc4000197` | [`RSI_IPA_STATE_SET`](super::Command::IpaStateSet) | yes | yes | yes |
//! | `0xc4000198` | [`RSI_IPA_STATE_GET`](super::Command::IpaStateGet) | yes | yes | yes |
//! | `0xc4000199` | [`RSI_HOST_CALL`](super::Command::HostCall) | yes | yes | yes |
//! | `0xc400019c` | [`RSI_RDEV_GET_INSTANCE_ID`](super::Command::RdevGetInstanceId) | - | yes | - |
//! | `0xc400019c` | [`RSI_VDEV_DMA_ENABLE`](super::Command::VdevDmaEnable) | - | - | yes |
//! | `0xc400019d` | [`RSI_VDEV_GET_INFO`](super::Command::VdevGetInfo) | - | - | yes |
//! | `0xc400019f` | [`RSI_VDEV_VALIDATE_MAPPING`](super::Command::VdevValidateMapping) | - | - | yes |
//! | `0xc40001a0` | [`RSI_MEM_GET_PERM_VALUE`](super::Command::MemGetPermValue) | - | yes | yes |
//! | `0xc40001a1` | [`RSI_MEM_SET_PERM_INDEX`](super::Command::MemSetPermIndex) | - | yes | yes |
//! | `0xc40001a2` | [`RSI_MEM_SET_PERM_VALUE`](super::Command::MemSetPermValue) | - | yes | yes |
//! | `0xc40001a3` | [`RSI_PLANE_ENTER`](super::Command::PlaneEnter) | - | yes | yes |
//! | `0xc40001a4` | [`RSI_RDEV_CONTINUE`](super::Command::RdevContinue) | - | yes | - |
//! | `0xc40001a4` | [`RSI_VDEV_DMA_DISABLE`](super::Command::VdevDmaDisable) | - | - | yes |
//! | `0xc40001a5` | [`RSI_RDEV_GET_INFO`](super::Command::RdevGetInfo) | - | yes | - |
//! | `0xc40001a6` | [`RSI_RDEV_GET_INTERFACE_REPORT`](super::Command::RdevGetInterfaceReport) | - | yes | - |
//! | `0xc40001a7` | [`RSI_RDEV_GET_MEASUREMENTS`](super::Command::RdevGetMeasurements) | - | yes | - |
//! | `0xc40001a8` | [`RSI_RDEV_GET_STATE`](super::Command::RdevGetState) | - | yes | - |
//! | `0xc40001a9` | [`RSI_RDEV_LOCK`](super::Command::RdevLock) | - | yes | - |
//! | `0xc40001aa` | [`RSI_RDEV_START`](super::Command::RdevStart) | - | yes | - |
//! | `0xc40001ab` | [`RSI_RDEV_STOP`](super::Command::RdevStop) | - | yes | - |
//! | `0xc40001ac` | [`RSI_RDEV_VALIDATE_MAPPING`](super::Command::RdevValidateMapping) | - | yes | - |
//! | `0xc40001ae` | [`RSI_PLANE_SYSREG_READ`](super::Command::PlaneSysregRead) | - | yes | yes |
//! | `0xc40001af` | [`RSI_PLANE_SYSREG_WRITE`](super::Command::PlaneSysregWrite) | - | yes | yes |
