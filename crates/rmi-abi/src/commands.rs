//! Every command of every dialect: function identifier, registers and effects.
//!
//! A [`Command`] is the command itself, independent of its number; [`Command::form`] returns its
//! number and registers in one dialect, and [`Command::from_fid`] finds the command that has a
//! number in a dialect. All of them are listed in [`index`].

mod cmem;
mod data;
mod form;
mod granule;
pub mod index;
mod op;
mod pdev;
mod realm;
mod rec;
mod rmm;
mod rtt;
mod rtt_aux;
mod smmu;
mod vdev;

use core::fmt;

pub(crate) use form::p;
pub use form::{Effect, Fid, Form, Param, ParamType};

use crate::dialect::Dialect;

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $module:ident::$forms:ident;)*) => {
        /// A command of the Realm Management Interface.
        ///
        /// The enum contains the commands of all dialects; [`Command::form`] tells whether a
        /// dialect has one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Command {
            $($(#[$doc])* #[doc(alias = $name)] $variant,)*
        }

        impl Command {
            /// Every command, ordered by function identifier.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The specification's name, for example `RMI_REC_CREATE`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The forms of the command: one for each number and register layout that it has in the
            /// dialects.
            #[must_use]
            pub const fn forms(self) -> &'static [Form] {
                match self {
                    $(Self::$variant => $module::$forms,)*
                }
            }
        }

        /// The function identifiers as constants.
        ///
        /// A command keeps its number in all dialects that have it; but a number may belong to
        /// different commands in different dialects. [`Command::fid`] returns a number only where
        /// the dialect has the command.
        pub mod fid {
            use super::*;

            $(
                $(#[$doc])*
                #[doc(alias = $name)]
                pub const $forms: Fid = only_fid($module::$forms);
            )*
        }
    };
}

commands! {
    /// Negotiates an interface version; returns the range of versions that the RMM supports.
    Version = "RMI_VERSION", rmm::VERSION;
    /// Gives one granule of host memory to the RMM (1.0).
    GranuleDelegate = "RMI_GRANULE_DELEGATE", granule::GRANULE_DELEGATE;
    /// Takes one delegated granule back (1.0).
    GranuleUndelegate = "RMI_GRANULE_UNDELEGATE", granule::GRANULE_UNDELEGATE;
    /// Copies a host page into a new DATA granule of a Realm and measures it (1.0).
    DataCreate = "RMI_DATA_CREATE", data::DATA_CREATE;
    /// Copies a host page into a new DATA granule of a Realm and measures it.
    RttDataMapInit = "RMI_RTT_DATA_MAP_INIT", rtt::RTT_DATA_MAP_INIT;
    /// Maps a DATA granule with unspecified content (1.0).
    DataCreateUnknown = "RMI_DATA_CREATE_UNKNOWN", data::DATA_CREATE_UNKNOWN;
    /// Unmaps one DATA granule (1.0).
    DataDestroy = "RMI_DATA_DESTROY", data::DATA_DESTROY;
    /// Makes a new Realm runnable and freezes its initial measurement.
    RealmActivate = "RMI_REALM_ACTIVATE", realm::REALM_ACTIVATE;
    /// Creates a Realm from an RD granule, root tables and a parameter page.
    RealmCreate = "RMI_REALM_CREATE", realm::REALM_CREATE;
    /// Destroys a Realm that owns nothing any more.
    RealmDestroy = "RMI_REALM_DESTROY", realm::REALM_DESTROY;
    /// Creates a REC (a virtual CPU) of a new Realm.
    RecCreate = "RMI_REC_CREATE", rec::REC_CREATE;
    /// Destroys a REC that is not running.
    RecDestroy = "RMI_REC_DESTROY", rec::REC_DESTROY;
    /// Runs a REC until its next exit.
    RecEnter = "RMI_REC_ENTER", rec::REC_ENTER;
    /// Adds a translation table below an existing one.
    RttCreate = "RMI_RTT_CREATE", rtt::RTT_CREATE;
    /// Removes a translation table without live entries.
    RttDestroy = "RMI_RTT_DESTROY", rtt::RTT_DESTROY;
    /// Maps host memory at an unprotected IPA (1.0).
    RttMapUnprotected = "RMI_RTT_MAP_UNPROTECTED", rtt::RTT_MAP_UNPROTECTED;
    /// Reads one translation table entry.
    RttReadEntry = "RMI_RTT_READ_ENTRY", rtt::RTT_READ_ENTRY;
    /// Unmaps an unprotected IPA (1.0).
    RttUnmapUnprotected = "RMI_RTT_UNMAP_UNPROTECTED", rtt::RTT_UNMAP_UNPROTECTED;
    /// Completes a Realm's request to validate a device mapping.
    RttDevValidate = "RMI_RTT_DEV_VALIDATE", rtt::RTT_DEV_VALIDATE;
    /// Completes a PSCI request that targets another REC.
    PsciComplete = "RMI_PSCI_COMPLETE", rec::PSCI_COMPLETE;
    /// Reads one feature register.
    Features = "RMI_FEATURES", rmm::FEATURES;
    /// Replaces a homogeneous table by one entry of its parent.
    RttFold = "RMI_RTT_FOLD", rtt::RTT_FOLD;
    /// Returns how many auxiliary granules a REC of this Realm needs (1.0).
    RecAuxCount = "RMI_REC_AUX_COUNT", rec::REC_AUX_COUNT;
    /// Sets the RIPAS of a range of a new Realm to RAM.
    RttInitRipas = "RMI_RTT_INIT_RIPAS", rtt::RTT_INIT_RIPAS;
    /// Applies a RIPAS change that the Realm requested.
    RttSetRipas = "RMI_RTT_SET_RIPAS", rtt::RTT_SET_RIPAS;
    /// Creates a virtual SMMU of a Realm.
    VsmmuCreate = "RMI_VSMMU_CREATE", smmu::VSMMU_CREATE;
    /// Destroys a virtual SMMU.
    VsmmuDestroy = "RMI_VSMMU_DESTROY", smmu::VSMMU_DESTROY;
    /// Sets the RMM's granule size and tracking region size before activation.
    RmmConfigSet = "RMI_RMM_CONFIG_SET", rmm::RMM_CONFIG_SET;
    /// Tells the RMM that an interrupt of a physical SMMU arrived.
    PsmmuIrqNotify = "RMI_PSMMU_IRQ_NOTIFY", smmu::PSMMU_IRQ_NOTIFY;
    /// Makes the RMM fetch the platform attestation token again.
    AttestPlatTokenRefresh = "RMI_ATTEST_PLAT_TOKEN_REFRESH", rmm::ATTEST_PLAT_TOKEN_REFRESH;
    /// Aborts the communication in progress with a physical device.
    PdevAbort = "RMI_PDEV_ABORT", pdev::PDEV_ABORT;
    /// Advances the communication between the RMM and a physical device.
    PdevCommunicate = "RMI_PDEV_COMMUNICATE", pdev::PDEV_COMMUNICATE;
    /// Creates a PDEV object for a physical device.
    PdevCreate = "RMI_PDEV_CREATE", pdev::PDEV_CREATE;
    /// Destroys a stopped PDEV object.
    PdevDestroy = "RMI_PDEV_DESTROY", pdev::PDEV_DESTROY;
    /// Reads the state of a PDEV object.
    PdevGetState = "RMI_PDEV_GET_STATE", pdev::PDEV_GET_STATE;
    /// Starts a key refresh of a device stream.
    PdevStreamKeyRefresh = "RMI_PDEV_STREAM_KEY_REFRESH", pdev::PDEV_STREAM_KEY_REFRESH;
    /// Gives the RMM the public key of a device.
    PdevSetPubkey = "RMI_PDEV_SET_PUBKEY", pdev::PDEV_SET_PUBKEY;
    /// Starts stopping a PDEV object.
    PdevStop = "RMI_PDEV_STOP", pdev::PDEV_STOP;
    /// Adds a table to an auxiliary plane's tree.
    RttAuxCreate = "RMI_RTT_AUX_CREATE", rtt_aux::RTT_AUX_CREATE;
    /// Removes a table from an auxiliary plane's tree.
    RttAuxDestroy = "RMI_RTT_AUX_DESTROY", rtt_aux::RTT_AUX_DESTROY;
    /// Folds a table of an auxiliary plane's tree.
    RttAuxFold = "RMI_RTT_AUX_FOLD", rtt_aux::RTT_AUX_FOLD;
    /// Maps a protected IPA in an auxiliary tree (1.1 draft form).
    RttAuxMapProtected = "RMI_RTT_AUX_MAP_PROTECTED", rtt_aux::RTT_AUX_MAP_PROTECTED;
    /// Maps an unprotected IPA in an auxiliary tree (1.1 draft form).
    RttAuxMapUnprotected = "RMI_RTT_AUX_MAP_UNPROTECTED", rtt_aux::RTT_AUX_MAP_UNPROTECTED;
    /// Unmaps a protected IPA in an auxiliary tree (1.1 draft form).
    RttAuxUnmapProtected = "RMI_RTT_AUX_UNMAP_PROTECTED", rtt_aux::RTT_AUX_UNMAP_PROTECTED;
    /// Unmaps an unprotected IPA in an auxiliary tree (1.1 draft form).
    RttAuxUnmapUnprotected = "RMI_RTT_AUX_UNMAP_UNPROTECTED", rtt_aux::RTT_AUX_UNMAP_UNPROTECTED;
    /// Aborts the communication in progress for a virtual device.
    VdevAbort = "RMI_VDEV_ABORT", vdev::VDEV_ABORT;
    /// Advances the communication between the RMM and a virtual device.
    VdevCommunicate = "RMI_VDEV_COMMUNICATE", vdev::VDEV_COMMUNICATE;
    /// Creates a VDEV object, a device interface assigned to a Realm.
    VdevCreate = "RMI_VDEV_CREATE", vdev::VDEV_CREATE;
    /// Destroys a VDEV object.
    VdevDestroy = "RMI_VDEV_DESTROY", vdev::VDEV_DESTROY;
    /// Reads the state of a VDEV object.
    VdevGetState = "RMI_VDEV_GET_STATE", vdev::VDEV_GET_STATE;
    /// Starts unlocking a virtual device.
    VdevUnlock = "RMI_VDEV_UNLOCK", vdev::VDEV_UNLOCK;
    /// Applies a stage 2 permission change that the Realm requested.
    RttSetS2ap = "RMI_RTT_SET_S2AP", rtt::RTT_SET_S2AP;
    /// Completes a Realm's request for a virtual device.
    VdevComplete = "RMI_VDEV_COMPLETE", vdev::VDEV_COMPLETE;
    /// Starts reading a device's interface report.
    VdevGetInterfaceReport = "RMI_VDEV_GET_INTERFACE_REPORT", vdev::VDEV_GET_INTERFACE_REPORT;
    /// Starts reading a device's measurements.
    VdevGetMeasurements = "RMI_VDEV_GET_MEASUREMENTS", vdev::VDEV_GET_MEASUREMENTS;
    /// Starts locking a virtual device.
    VdevLock = "RMI_VDEV_LOCK", vdev::VDEV_LOCK;
    /// Starts a locked virtual device.
    VdevStart = "RMI_VDEV_START", vdev::VDEV_START;
    /// Binds two virtual devices for peer to peer traffic.
    VdevP2pBind = "RMI_VDEV_P2P_BIND", vdev::VDEV_P2P_BIND;
    /// Undoes a peer to peer binding.
    VdevP2pUnbind = "RMI_VDEV_P2P_UNBIND", vdev::VDEV_P2P_UNBIND;
    /// Passes an SMMU event to a Realm's virtual SMMU.
    VsmmuEventNotify = "RMI_VSMMU_EVENT_NOTIFY", smmu::VSMMU_EVENT_NOTIFY;
    /// Handles a pending event of a virtual SMMU.
    VsmmuEventHandle = "RMI_VSMMU_EVENT_HANDLE", smmu::VSMMU_EVENT_HANDLE;
    /// Gives a physical SMMU to the RMM.
    PsmmuActivate = "RMI_PSMMU_ACTIVATE", smmu::PSMMU_ACTIVATE;
    /// Takes a physical SMMU back from the RMM.
    PsmmuDeactivate = "RMI_PSMMU_DEACTIVATE", smmu::PSMMU_DEACTIVATE;
    /// Adds a level 2 stream table to a physical SMMU.
    PsmmuStL2Create = "RMI_PSMMU_ST_L2_CREATE", smmu::PSMMU_ST_L2_CREATE;
    /// Removes a level 2 stream table from a physical SMMU.
    PsmmuStL2Destroy = "RMI_PSMMU_ST_L2_DESTROY", smmu::PSMMU_ST_L2_DESTROY;
    /// Creates the level 0 device permission table.
    DptL0Create = "RMI_DPT_L0_CREATE", granule::DPT_L0_CREATE;
    /// Destroys the level 0 device permission table.
    DptL0Destroy = "RMI_DPT_L0_DESTROY", granule::DPT_L0_DESTROY;
    /// Creates a level 1 device permission table.
    DptL1Create = "RMI_DPT_L1_CREATE", granule::DPT_L1_CREATE;
    /// Destroys a level 1 device permission table.
    DptL1Destroy = "RMI_DPT_L1_DESTROY", granule::DPT_L1_DESTROY;
    /// Reads how the RMM tracks a range of physical memory.
    GranuleTrackingGet = "RMI_GRANULE_TRACKING_GET", granule::GRANULE_TRACKING_GET;
    /// Changes how the RMM tracks a region of physical memory.
    GranuleTrackingSet = "RMI_GRANULE_TRACKING_SET", granule::GRANULE_TRACKING_SET;
    /// Adds a device to a coherent memory object.
    CmemAddPdev = "RMI_CMEM_ADD_PDEV", cmem::CMEM_ADD_PDEV;
    /// Creates a coherent memory object.
    CmemCreate = "RMI_CMEM_CREATE", cmem::CMEM_CREATE;
    /// Destroys a coherent memory object.
    CmemDestroy = "RMI_CMEM_DESTROY", cmem::CMEM_DESTROY;
    /// Populates a coherent memory object; its registers are not public.
    CmemPopulate = "RMI_CMEM_POPULATE", cmem::CMEM_POPULATE;
    /// Removes a device from a coherent memory object.
    CmemRemovePdev = "RMI_CMEM_REMOVE_PDEV", cmem::CMEM_REMOVE_PDEV;
    /// Starts a coherent memory object; its registers are not public.
    CmemStart = "RMI_CMEM_START", cmem::CMEM_START;
    /// Stops a coherent memory object; its registers are not public.
    CmemStop = "RMI_CMEM_STOP", cmem::CMEM_STOP;
    /// Empties a coherent memory object; its registers are not public.
    CmemUnpopulate = "RMI_CMEM_UNPOPULATE", cmem::CMEM_UNPOPULATE;
    /// Reads the RMM's granule size and tracking region size.
    RmmConfigGet = "RMI_RMM_CONFIG_GET", rmm::RMM_CONFIG_GET;
    /// Updates the memory encryption context of a device.
    PdevMecUpdate = "RMI_PDEV_MEC_UPDATE", pdev::PDEV_MEC_UPDATE;
    /// Completes an event of a virtual SMMU.
    VsmmuEventComplete = "RMI_VSMMU_EVENT_COMPLETE", smmu::VSMMU_EVENT_COMPLETE;
    /// Reads the activation state of the RMM.
    RmmStateGet = "RMI_RMM_STATE_GET", rmm::RMM_STATE_GET;
    /// Discards an event of a physical SMMU; its registers are not public.
    PsmmuEventDiscard = "RMI_PSMMU_EVENT_DISCARD", smmu::PSMMU_EVENT_DISCARD;
    /// Consumes an event of a physical SMMU.
    PsmmuEventConsume = "RMI_PSMMU_EVENT_CONSUME", smmu::PSMMU_EVENT_CONSUME;
    /// Gives a range of host memory to the RMM.
    GranuleRangeDelegate = "RMI_GRANULE_RANGE_DELEGATE", granule::GRANULE_RANGE_DELEGATE;
    /// Takes a range of delegated memory back.
    GranuleRangeUndelegate = "RMI_GRANULE_RANGE_UNDELEGATE", granule::GRANULE_RANGE_UNDELEGATE;
    /// Creates a level 1 granule protection table.
    GptL1Create = "RMI_GPT_L1_CREATE", granule::GPT_L1_CREATE;
    /// Destroys a level 1 granule protection table.
    GptL1Destroy = "RMI_GPT_L1_DESTROY", granule::GPT_L1_DESTROY;
    /// Maps delegated memory as DATA with unspecified content.
    RttDataMap = "RMI_RTT_DATA_MAP", rtt::RTT_DATA_MAP;
    /// Unmaps DATA; the memory becomes delegated.
    RttDataUnmap = "RMI_RTT_DATA_UNMAP", rtt::RTT_DATA_UNMAP;
    /// Maps device memory of a virtual device.
    RttDevMap = "RMI_RTT_DEV_MAP", rtt::RTT_DEV_MAP;
    /// Unmaps device memory.
    RttDevUnmap = "RMI_RTT_DEV_UNMAP", rtt::RTT_DEV_UNMAP;
    /// Maps an architected device (a virtual SMMU).
    RttArchDevMap = "RMI_RTT_ARCH_DEV_MAP", rtt::RTT_ARCH_DEV_MAP;
    /// Unmaps an architected device.
    RttArchDevUnmap = "RMI_RTT_ARCH_DEV_UNMAP", rtt::RTT_ARCH_DEV_UNMAP;
    /// Maps host memory at unprotected IPAs.
    RttUnprotMap = "RMI_RTT_UNPROT_MAP", rtt::RTT_UNPROT_MAP;
    /// Unmaps unprotected IPAs.
    RttUnprotUnmap = "RMI_RTT_UNPROT_UNMAP", rtt::RTT_UNPROT_UNMAP;
    /// Maps protected IPAs in an auxiliary tree.
    RttAuxProtMap = "RMI_RTT_AUX_PROT_MAP", rtt_aux::RTT_AUX_PROT_MAP;
    /// Unmaps protected IPAs in an auxiliary tree.
    RttAuxProtUnmap = "RMI_RTT_AUX_PROT_UNMAP", rtt_aux::RTT_AUX_PROT_UNMAP;
    /// Maps unprotected IPAs in an auxiliary tree.
    RttAuxUnprotMap = "RMI_RTT_AUX_UNPROT_MAP", rtt_aux::RTT_AUX_UNPROT_MAP;
    /// Unmaps unprotected IPAs in an auxiliary tree.
    RttAuxUnprotUnmap = "RMI_RTT_AUX_UNPROT_UNMAP", rtt_aux::RTT_AUX_UNPROT_UNMAP;
    /// Stops a Realm permanently; mandatory before it is destroyed.
    RealmTerminate = "RMI_REALM_TERMINATE", realm::REALM_TERMINATE;
    /// Changes the RMM's state from INIT to ACTIVE.
    RmmActivate = "RMI_RMM_ACTIVATE", rmm::RMM_ACTIVATE;
    /// Continues an incomplete stateful operation.
    OpContinue = "RMI_OP_CONTINUE", op::OP_CONTINUE;
    /// Starts connecting a device stream.
    PdevStreamConnect = "RMI_PDEV_STREAM_CONNECT", pdev::PDEV_STREAM_CONNECT;
    /// Starts disconnecting a device stream.
    PdevStreamDisconnect = "RMI_PDEV_STREAM_DISCONNECT", pdev::PDEV_STREAM_DISCONNECT;
    /// Completes a connect, refresh or disconnect of a device stream.
    PdevStreamComplete = "RMI_PDEV_STREAM_COMPLETE", pdev::PDEV_STREAM_COMPLETE;
    /// Purges the keys of a device stream.
    PdevStreamKeyPurge = "RMI_PDEV_STREAM_KEY_PURGE", pdev::PDEV_STREAM_KEY_PURGE;
    /// Donates memory to an incomplete stateful operation.
    OpMemDonate = "RMI_OP_MEM_DONATE", op::OP_MEM_DONATE;
    /// Takes memory back from an incomplete stateful operation.
    OpMemReclaim = "RMI_OP_MEM_RECLAIM", op::OP_MEM_RECLAIM;
    /// Cancels an incomplete stateful operation, if the RMM allows it.
    OpCancel = "RMI_OP_CANCEL", op::OP_CANCEL;
    /// Sets the protection of a device (an early name, before VSMMU_FEATURES took the number).
    PdevSetProt = "RMI_PDEV_SET_PROT", pdev::PDEV_SET_PROT;
    /// Reads the features of the virtual SMMU implementation.
    VsmmuFeatures = "RMI_VSMMU_FEATURES", smmu::VSMMU_FEATURES;
    /// Reads a pending command of a virtual SMMU.
    VsmmuCmdGet = "RMI_VSMMU_CMD_GET", smmu::VSMMU_CMD_GET;
    /// Completes a pending command of a virtual SMMU.
    VsmmuCmdComplete = "RMI_VSMMU_CMD_COMPLETE", smmu::VSMMU_CMD_COMPLETE;
    /// Describes a physical SMMU; its registers are not public.
    PsmmuInfo = "RMI_PSMMU_INFO", smmu::PSMMU_INFO;
    /// Changes the RMM's state from ACTIVE back to INIT.
    RmmDeactivate = "RMI_RMM_DEACTIVATE", rmm::RMM_DEACTIVATE;
    /// Describes a device stream.
    PdevStreamInfo = "RMI_PDEV_STREAM_INFO", pdev::PDEV_STREAM_INFO;
    /// Returns who created the granule protection tables of a range.
    GptInfo = "RMI_GPT_INFO", granule::GPT_INFO;
}

/// The function identifier of all forms of a command; it is a compile-time error if they differ.
#[expect(clippy::panic, reason = "evaluated at compile time only")]
const fn only_fid(mut forms: &'static [Form]) -> Fid {
    let [first, ..] = forms else { panic!("a command without forms") };
    while let [form, rest @ ..] = forms {
        assert!(form.fid().0 == first.fid().0, "a command with two numbers");
        forms = rest;
    }
    first.fid()
}

impl Command {
    /// The number and registers of the command in `dialect`; `None` when it lacks it.
    #[must_use]
    pub const fn form(self, dialect: Dialect) -> Option<&'static Form> {
        let mut forms = self.forms();
        while let [form, rest @ ..] = forms {
            if form.dialects().contains(dialect) {
                return Some(form);
            }
            forms = rest;
        }
        None
    }

    /// The number and registers of the command in `dialect`.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] when the dialect lacks the command.
    pub const fn require(self, dialect: Dialect) -> Result<&'static Form, Unsupported> {
        match self.form(dialect) {
            Some(form) => Ok(form),
            None => Err(Unsupported { command: self, dialect }),
        }
    }

    /// The function identifier in `dialect`; `None` when it lacks the command.
    #[must_use]
    pub const fn fid(self, dialect: Dialect) -> Option<Fid> {
        match self.form(dialect) {
            Some(form) => Some(form.fid()),
            None => None,
        }
    }

    /// The command that has this function identifier in `dialect`. The SVE hint (bit 16) is
    /// ignored.
    #[must_use]
    pub fn from_fid(fid: Fid, dialect: Dialect) -> Option<Self> {
        let fid = fid.without_sve_hint();
        Self::ALL.iter().copied().find(|command| command.fid(dialect) == Some(fid))
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A command that a dialect lacks; detected before any call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unsupported {
    /// The command.
    pub command: Command,
    /// The dialect that lacks it.
    pub dialect: Dialect,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not exist in dialect {}", self.command, self.dialect)
    }
}

impl core::error::Error for Unsupported {}
