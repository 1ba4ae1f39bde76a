//! One way to call each wrapper, with arguments that show in which register they arrive.
#![expect(unsafe_code, reason = "some wrappers are unsafe, and nothing is behind the fake")]

use rmi_abi::commands::{Param, ParamType};
use rmi_abi::desc::{AddrRangeDesc, BlockSize, OpMemState};
use rmi_abi::device::{
    CmemParamsPage, CmemPdevParamsPage, DevCommStatus, PdevCategory, PdevParams,
    PdevStreamParamsPage, PsmmuIrq, PsmmuIrqSet, PsmmuParamsPage, PublicKeyParamsPage,
    VdevMeasureParamsPage, VdevParamsPage, VsmmuParamsPage,
};
use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::flags::{AuxMapFlags, AuxUnmapFlags, DataFlags};
use rmi_abi::granule::{MemCategory, TrackingRegionState};
use rmi_abi::psci::PsciReturnCode;
use rmi_abi::realm::{HashAlgorithm, RealmParamsPage, RmmConfigPage};
use rmi_abi::rec::RecParamsPage;
use rmi_abi::rtt::Level;
use rmi_abi::run::EntryRecord;
use rmi_abi::{Command, Dialect, GranuleSize, Ipa, IpaRange, Pa, PaRange};
use rmi_host::command::{
    AuxTree, CmemGranule, DevCommBuffers, PdevGranule, Peers, PsmmuName, ShareAt, Shared,
    SharedAccess, SharedMemory, Stream, VdevGranule, VsmmuGranule,
};
use rmi_host::{Channel, Error, Progress, RecGranule, Subject};
use zerocopy::FromZeros;

use crate::fixture::{Fake, PAGE, Platform, delegated, host, rd, rec};

pub(crate) const RD: u64 = 0x8000_1000;
const REC: u64 = 0x8000_2000;
const TARGET_REC: u64 = 0x8000_3000;
const PDEV: u64 = 0x8000_4000;
const PDEV_2: u64 = 0x8000_5000;
const VDEV: u64 = 0x8000_6000;
const VDEV_2: u64 = 0x8000_7000;
const VSMMU: u64 = 0x8000_8000;
const CMEM: u64 = 0x8000_9000;
const RTT: u64 = 0x8000_a000;
const DATA: u64 = 0x8000_b000;
const GRANULE: u64 = 0x8000_c000;
const PARAMS: u64 = 0x9000_0000;
const SOURCE: u64 = 0x9000_1000;
const PSMMU: u64 = 0x2b40_0000;
const REGION: u64 = 0x1_4000_0000;
/// Two blocks of 2 MiB.
pub(crate) const MEMORY: u64 = 0xc000_0000;
pub(crate) const BYTES: u64 = 0x40_0000;
pub(crate) const IPA: u64 = 0x4000_0000;
const VERSION: InterfaceVersion = InterfaceVersion::new(2, 7);
pub(crate) const BLOCKS: BlockSize = BlockSize::Level2;

/// What a wrapper returned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Pending,
    Failed(Error),
}

impl<T, E: Into<Outcome>> From<Result<T, E>> for Outcome
where
    T: Into<Ended>,
{
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => match value.into() {
                Ended(true) => Self::Done,
                Ended(false) => Self::Pending,
            },
            Err(error) => error.into(),
        }
    }
}

/// Whether a command that did not fail has ended.
pub(crate) struct Ended(bool);

impl From<()> for Ended {
    fn from((): ()) -> Self {
        Self(true)
    }
}

impl From<Progress> for Ended {
    fn from(progress: Progress) -> Self {
        Self(matches!(progress, Progress::Done(_)))
    }
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The outcome of a call of which only the error matters, wherever the wrapper returns it.
macro_rules! outcome {
    ($result:expr) => {
        match $result {
            Ok(_) => Outcome::Done,
            Err(failed) => Outcome::Failed(failed.error),
        }
    };
}

pub(crate) struct Case {
    pub(crate) command: Command,
    pub(crate) subject: Subject,
    /// X1 to X4 of a success.
    pub(crate) success: [u64; 4],
    pub(crate) run: fn(&Fake, Dialect) -> Outcome,
}

fn page() -> rmi_host::Undelegated {
    host(PARAMS, PAGE)
}

pub(crate) fn range() -> IpaRange {
    IpaRange::with_size(Ipa::new(IPA), BYTES).unwrap()
}

pub(crate) fn pa_range() -> PaRange {
    PaRange::with_size(Pa::new(MEMORY), BYTES).unwrap()
}

fn pdev() -> PdevGranule {
    PdevGranule::new(delegated(PDEV, PAGE))
}

fn pdev_2() -> PdevGranule {
    PdevGranule::new(delegated(PDEV_2, PAGE))
}

fn vdev() -> VdevGranule {
    VdevGranule::new(delegated(VDEV, PAGE))
}

fn vsmmu() -> VsmmuGranule {
    VsmmuGranule::new(delegated(VSMMU, PAGE))
}

fn cmem() -> CmemGranule {
    CmemGranule::new(delegated(CMEM, PAGE))
}

fn psmmu<'c>(channel: &'c Channel<Platform<'_>>) -> PsmmuName<'c> {
    channel.psmmu(Pa::new(PSMMU))
}

fn stream<'d>([pdev_1, pdev_2]: [&'d PdevGranule; 2]) -> Stream<'d> {
    let yes = Fake::default();
    yes.always([0, 0x5743, 0, 0, 0, 0, 0, 0]);
    let params = PdevStreamParamsPage::new_zeroed();
    let channel = yes.channel(Dialect::V2_0Bet3);
    channel.pdev_stream_connect(pdev_1, Some(pdev_2), &mut page(), &params).unwrap()
}

fn vdev_2() -> VdevGranule {
    VdevGranule::new(delegated(VDEV_2, PAGE))
}

fn peers<'d>([vdev_1, vdev_2]: [&'d VdevGranule; 2]) -> Peers<'d> {
    Peers { vdev_1, vdev_2 }
}

fn tree() -> AuxTree {
    AuxTree::new(2).unwrap()
}

const AUX_MAP: AuxMapFlags = AuxMapFlags { tree_index: 2, block: true, invalid_pri: true };
const AUX_UNMAP: AuxUnmapFlags = AuxUnmapFlags { tree_index: 2 };

/// Memory shared with the Realm by an RMM that answers every call with success.
pub(crate) fn shared(rd: &rmi_host::Rd) -> SharedMemory {
    let yes = Fake::default();
    yes.always([0, IPA + BYTES, 0, 0, 0, 0, 0, 0]);
    let channel = yes.channel(Dialect::V2_0Bet3);
    let Shared { shared, rest } =
        channel.rtt_unprot_map(share_at(rd), host(MEMORY, BYTES), BLOCKS).unwrap();
    assert!(rest.is_empty());
    shared
}

pub(crate) fn share_at(rd: &rmi_host::Rd) -> ShareAt<'_> {
    ShareAt { rd, ipa: Ipa::new(IPA), access: SharedAccess::MEMORY }
}

pub(crate) fn create_pdev(
    channel: &Channel<Platform<'_>>,
    params: &PdevParams,
) -> Result<Progress, Error> {
    // SAFETY: no device is programmed.
    unsafe { channel.pdev_create(&delegated(PDEV, PAGE), &mut page(), params) }
}

fn pdev_params() -> PdevParams {
    PdevParams {
        spdm: true,
        category: PdevCategory::EndpointAccelOffChip,
        p2p: false,
        hb_base: 0,
        pdev_id: 1,
        routing_id: 2,
        id_index: 0,
        rid_base: 3,
        rid_top: 4,
        hash: HashAlgorithm::Sha256,
        max_vdevs_order: 0,
    }
}

fn communicate(run: impl FnOnce(&mut DevCommBuffers<'_>) -> Result<(), Error>) -> Outcome {
    let (mut data, mut request) = (page(), host(SOURCE, PAGE));
    let response = host(SOURCE + PAGE, PAGE);
    run(&mut DevCommBuffers { data: &mut data, request: &mut request, response: &response }).into()
}

/// The value that the wrapper was given for a parameter, by the parameter's name in the
/// specification.
pub(crate) fn value(command: Command, dialect: Dialect, param: &Param) -> u64 {
    use Command as C;
    match (param.name(), param.kind()) {
        ("rd", _) => RD,
        ("rec" | "rec_ptr" | "calling_rec", _) => REC,
        ("target_rec", _) => TARGET_REC,
        ("pdev" | "pdev_1", _) => PDEV,
        ("pdev_2", _) => PDEV_2,
        ("vdev" | "vdev_1", _) => VDEV,
        ("vdev_2", _) => VDEV_2,
        ("vsmmu" | "dev_ptr", _) => VSMMU,
        ("psmmu", _) => PSMMU,
        ("cmem", _) => CMEM,
        ("rtt", _) => RTT,
        ("data", _) => DATA,
        ("src", _) => SOURCE + PAGE,
        ("params_ptr" | "config_ptr" | "run_ptr" | "data_ptr" | "features_ptr", _) => PARAMS,
        ("ipa", _) | ("base", ParamType::Ipa) => IPA,
        ("top", ParamType::Ipa) => IPA + BYTES,
        ("base", ParamType::Pa) => MEMORY,
        ("top", ParamType::Pa) => MEMORY + BYTES,
        ("addr", _) if matches!(command, C::GranuleDelegate | C::GranuleUndelegate) => GRANULE,
        ("addr", _) if command == C::GranuleTrackingGet => MEMORY,
        ("addr", _) => REGION,
        ("level", _) => 2,
        ("index", _) if command == C::Features => 3,
        ("index", _) if matches!(command, C::CmemAddPdev | C::CmemRemovePdev) => 5,
        ("index", _) => 2,
        ("req", _) => 0x2_0007,
        ("status", _) => (-3i64).cast_unsigned(),
        ("category", _) => 1,
        ("state", _) => 3,
        ("stream_handle", _) => 0x5743,
        ("sid" | "psid", _) => 0x51d,
        ("irqs", _) => 0b1010,
        ("irq", _) => 2,
        ("desc", _) => MEMORY | 0b110 << 2 | 0b11 << 6,
        ("flags", ParamType::DataFlags) => 1,
        ("flags", ParamType::RttAuxMapFlags) => 0b1110,
        ("flags", ParamType::RttAuxUnmapFlags) => 0b10,
        ("flags", ParamType::RttProtMapFlags | ParamType::RttUnmapFlags) => 1,
        ("flags", ParamType::RttUnprotMapFlags) => 1 | 6 << 16 | 3 << 19,
        ("oaddr", _) => {
            let state = match command {
                C::RttUnprotMap => OpMemState::Undelegated,
                C::RttDataMap | C::RttDevMap => OpMemState::Delegated,
                _ => return 0,
            };
            let granule = GranuleSize::Size4KiB;
            let desc = AddrRangeDesc::from_range(&pa_range(), BLOCKS, state, granule).unwrap();
            desc.encode(dialect, granule).unwrap()
        }
        (name, kind) => panic!("{command} has a parameter {name} ({kind:?}) that no case knows"),
    }
}

/// A case for each command except `RMI_OP_*`.
pub(crate) fn cases() -> Vec<Case> {
    use Command as C;
    const PA_RD: Subject = Subject::Pa(Pa::new(RD));
    const PA_REC: Subject = Subject::Pa(Pa::new(REC));
    const PA_PAGE: Subject = Subject::Pa(Pa::new(PARAMS));
    const PA_PDEV: Subject = Subject::Pa(Pa::new(PDEV));
    const PA_VDEV: Subject = Subject::Pa(Pa::new(VDEV));
    const PA_VSMMU: Subject = Subject::Pa(Pa::new(VSMMU));
    const PA_PSMMU: Subject = Subject::Pa(Pa::new(PSMMU));
    const PA_CMEM: Subject = Subject::Pa(Pa::new(CMEM));
    const PA_REGION: Subject = Subject::Pa(Pa::new(REGION));
    const PA_GRANULE: Subject = Subject::Pa(Pa::new(GRANULE));
    const PA_MEMORY: Subject = Subject::Pa(Pa::new(MEMORY));
    const AT_IPA: Subject = Subject::Ipa(Ipa::new(IPA));
    const NONE: [u64; 4] = [0; 4];
    const TOP: [u64; 4] = [IPA + BYTES, 0, 0, 0];
    const PA_TOP: [u64; 4] = [MEMORY + BYTES, 0, 0, 0];
    vec![
        // The RMM.
        case(C::Version, Subject::Rmm, NONE, |f, d| outcome!(f.channel(d).rmi_version(VERSION))),
        case(C::Features, Subject::Rmm, NONE, |f, d| f.channel(d).feature(3).map(drop).into()),
        case(C::RmmConfigGet, PA_PAGE, NONE, |f, d| {
            f.channel(d).rmm_config_get(&mut page()).map(drop).into()
        }),
        case(C::RmmConfigSet, PA_PAGE, NONE, |f, d| {
            f.channel(d).rmm_config_set(&mut page(), &RmmConfigPage::new_zeroed()).into()
        }),
        case(C::RmmStateGet, Subject::Rmm, NONE, |f, d| {
            f.channel(d).rmm_state_get().map(drop).into()
        }),
        case(C::RmmActivate, Subject::Rmm, NONE, |f, d| f.channel(d).rmm_activate().into()),
        case(C::RmmDeactivate, Subject::Rmm, NONE, |f, d| f.channel(d).rmm_deactivate().into()),
        case(C::AttestPlatTokenRefresh, Subject::Rmm, NONE, |f, d| {
            f.channel(d).attest_plat_token_refresh().into()
        }),
        // Granules and tracking.
        case(C::GranuleDelegate, PA_GRANULE, NONE, |f, d| {
            outcome!(f.channel(d).granule_delegate(host(GRANULE, PAGE)))
        }),
        case(C::GranuleUndelegate, PA_GRANULE, NONE, |f, d| {
            outcome!(f.channel(d).granule_undelegate(delegated(GRANULE, PAGE)))
        }),
        case(C::GranuleRangeDelegate, PA_MEMORY, PA_TOP, |f, d| {
            outcome!(f.session(d).delegate(host(MEMORY, BYTES)))
        }),
        case(C::GranuleRangeUndelegate, PA_MEMORY, PA_TOP, |f, d| {
            outcome!(f.session(d).undelegate(delegated(MEMORY, BYTES)))
        }),
        case(C::GranuleTrackingGet, PA_MEMORY, [0, 2, MEMORY + BYTES, 0], |f, d| {
            f.channel(d).granule_tracking_get(pa_range()).map(drop).into()
        }),
        case(C::GranuleTrackingSet, PA_REGION, NONE, |f, d| {
            let (category, state) = (MemCategory::DevNcoh, TrackingRegionState::Coarse);
            f.channel(d).granule_tracking_set(Pa::new(REGION), category, state).into()
        }),
        case(C::GptL1Create, PA_REGION, NONE, |f, d| {
            f.channel(d).gpt_l1_create(Pa::new(REGION)).into()
        }),
        case(C::GptL1Destroy, PA_REGION, NONE, |f, d| {
            f.channel(d).gpt_l1_destroy(Pa::new(REGION)).into()
        }),
        case(C::GptInfo, PA_MEMORY, PA_TOP, |f, d| {
            f.channel(d).gpt_info(pa_range()).map(drop).into()
        }),
        case(C::DptL0Create, Subject::Rmm, NONE, |f, d| f.channel(d).dpt_l0_create().into()),
        case(C::DptL0Destroy, Subject::Rmm, NONE, |f, d| f.channel(d).dpt_l0_destroy().into()),
        case(C::DptL1Create, PA_REGION, NONE, |f, d| {
            f.channel(d).dpt_l1_create(Pa::new(REGION)).into()
        }),
        case(C::DptL1Destroy, PA_REGION, NONE, |f, d| {
            f.channel(d).dpt_l1_destroy(Pa::new(REGION)).into()
        }),
        // Realms and RECs.
        case(C::RealmCreate, PA_RD, NONE, |f, d| {
            let params = RealmParamsPage::new_zeroed();
            f.channel(d).realm_create(&delegated(RD, PAGE), &mut page(), &params).into()
        }),
        case(C::RealmActivate, PA_RD, NONE, |f, d| f.channel(d).realm_activate(&rd(RD)).into()),
        case(C::RealmTerminate, PA_RD, NONE, |f, d| f.channel(d).realm_terminate(&rd(RD)).into()),
        case(C::RealmDestroy, PA_RD, NONE, |f, d| f.channel(d).realm_destroy(&rd(RD)).into()),
        case(C::RecAuxCount, PA_RD, NONE, |f, d| {
            f.channel(d).rec_aux_count(&rd(RD)).map(drop).into()
        }),
        case(C::RecCreate, PA_REC, NONE, |f, d| {
            let params = RecParamsPage::new_zeroed();
            f.channel(d).rec_create(&rd(RD), &delegated(REC, PAGE), &mut page(), &params).into()
        }),
        case(C::RecDestroy, PA_REC, NONE, |f, d| {
            f.channel(d).rec_destroy(&RecGranule::new(delegated(REC, PAGE))).into()
        }),
        case(C::RecEnter, PA_REC, NONE, |f, d| {
            let rec = RecGranule::new(delegated(REC, PAGE));
            f.channel(d).rec_enter(&rec, &mut page(), &EntryRecord::default(), |_| ()).into()
        }),
        case(C::PsciComplete, PA_REC, NONE, |f, d| {
            f.channel(d)
                .psci_complete(
                    rec(REC).name(),
                    Some(rec(TARGET_REC).name()),
                    PsciReturnCode::Denied,
                )
                .into()
        }),
        // Translation tables.
        case(C::RttCreate, AT_IPA, NONE, |f, d| {
            let table = delegated(RTT, PAGE);
            outcome!(f.channel(d).rtt_create(&rd(RD), table, Ipa::new(IPA), Level::L2))
        }),
        case(C::RttDestroy, AT_IPA, NONE, |f, d| {
            f.channel(d).rtt_destroy(&rd(RD), Ipa::new(IPA), Level::L2).map(drop).into()
        }),
        case(C::RttDestroy, AT_IPA, NONE, |f, d| {
            outcome!(f.channel(d).rtt_destroy_or_skip(&rd(RD), Ipa::new(IPA), Level::L2))
        }),
        case(C::RttFold, AT_IPA, NONE, |f, d| {
            f.channel(d).rtt_fold(&rd(RD), Ipa::new(IPA), Level::L2).map(drop).into()
        }),
        case(C::RttReadEntry, AT_IPA, NONE, |f, d| {
            f.channel(d).rtt_read_entry(&rd(RD), Ipa::new(IPA), Level::L2).map(drop).into()
        }),
        case(C::RttInitRipas, AT_IPA, TOP, |f, d| {
            f.channel(d).rtt_init_ripas(&rd(RD), range()).map(drop).into()
        }),
        case(C::RttSetRipas, AT_IPA, TOP, |f, d| {
            f.channel(d).rtt_set_ripas(&rd(RD), rec(REC).name(), range()).map(drop).into()
        }),
        case(C::RttSetRipas, AT_IPA, TOP, |f, d| {
            outcome!(f.channel(d).rtt_set_ripas_or_halt(&rd(RD), rec(REC).name(), range()))
        }),
        case(C::RttSetS2ap, AT_IPA, TOP, |f, d| {
            outcome!(f.channel(d).rtt_set_s2ap(&rd(RD), rec(REC).name(), range()))
        }),
        case(C::DataCreate, AT_IPA, NONE, |f, d| {
            let (data, source) = (delegated(DATA, PAGE), host(SOURCE, 2 * PAGE));
            let flags = DataFlags::MEASURE;
            outcome!(f.channel(d).data_create(&rd(RD), data, Ipa::new(IPA), &source, PAGE, flags))
        }),
        case(C::DataCreateUnknown, AT_IPA, NONE, |f, d| {
            outcome!(f.channel(d).data_create_unknown(
                &rd(RD),
                delegated(DATA, PAGE),
                Ipa::new(IPA)
            ))
        }),
        case(C::DataDestroy, AT_IPA, NONE, |f, d| {
            outcome!(f.channel(d).data_destroy(&rd(RD), Ipa::new(IPA)))
        }),
        case(C::RttDataMapInit, AT_IPA, NONE, |f, d| {
            let (data, source) = (delegated(DATA, PAGE), host(SOURCE, 2 * PAGE));
            let (rd, ipa, flags) = (rd(RD), Ipa::new(IPA), DataFlags::MEASURE);
            outcome!(f.channel(d).rtt_data_map_init(&rd, data, ipa, &source, PAGE, flags))
        }),
        case(C::RttDataMap, AT_IPA, TOP, |f, d| {
            let memory = delegated(MEMORY, BYTES);
            outcome!(f.channel(d).rtt_data_map(&rd(RD), Ipa::new(IPA), memory, BLOCKS))
        }),
        case(C::RttDataUnmap, AT_IPA, TOP, |f, d| {
            f.channel(d).rtt_data_unmap(&rd(RD), range()).map(drop).into()
        }),
        // Unprotected memory.
        case(C::RttUnprotMap, AT_IPA, TOP, |f, d| {
            outcome!(f.channel(d).rtt_unprot_map(share_at(&rd(RD)), host(MEMORY, BYTES), BLOCKS))
        }),
        case(C::RttUnprotUnmap, AT_IPA, TOP, |f, d| {
            let rd = rd(RD);
            outcome!(f.channel(d).rtt_unprot_unmap(&rd, shared(&rd)))
        }),
        case(C::RttMapUnprotected, AT_IPA, NONE, |f, d| {
            let (rd, memory) = (rd(RD), host(MEMORY, BYTES / 2));
            outcome!(f.channel(d).rtt_map_unprotected(share_at(&rd), Level::L2, memory, false))
        }),
        case(C::RttUnmapUnprotected, AT_IPA, TOP, |f, d| {
            let rd = rd(RD);
            outcome!(f.channel(d).rtt_unmap_unprotected(&rd, shared(&rd), Level::L2))
        }),
        // Planes.
        case(C::RttAuxCreate, AT_IPA, NONE, |f, d| {
            let (rd, table) = (rd(RD), delegated(RTT, PAGE));
            outcome!(f.channel(d).rtt_aux_create(&rd, tree(), table, Ipa::new(IPA), Level::L2))
        }),
        case(C::RttAuxDestroy, AT_IPA, NONE, |f, d| {
            outcome!(f.channel(d).rtt_aux_destroy(&rd(RD), tree(), Ipa::new(IPA), Level::L2))
        }),
        case(C::RttAuxFold, AT_IPA, NONE, |f, d| {
            f.channel(d).rtt_aux_fold(&rd(RD), tree(), Ipa::new(IPA), Level::L2).map(drop).into()
        }),
        case(C::RttAuxMapProtected, AT_IPA, NONE, |f, d| {
            outcome!(f.channel(d).rtt_aux_map_protected(&rd(RD), tree(), Ipa::new(IPA)))
        }),
        case(C::RttAuxMapUnprotected, AT_IPA, NONE, |f, d| {
            // SAFETY: nothing is behind the fake.
            outcome!(unsafe {
                f.channel(d).rtt_aux_map_unprotected(&rd(RD), tree(), Ipa::new(IPA))
            })
        }),
        case(C::RttAuxUnmapProtected, AT_IPA, NONE, |f, d| {
            outcome!(f.channel(d).rtt_aux_unmap_protected(&rd(RD), tree(), Ipa::new(IPA)))
        }),
        case(C::RttAuxUnmapUnprotected, AT_IPA, NONE, |f, d| {
            outcome!(f.channel(d).rtt_aux_unmap_unprotected(&rd(RD), tree(), Ipa::new(IPA)))
        }),
        case(C::RttAuxProtMap, AT_IPA, TOP, |f, d| {
            f.channel(d).rtt_aux_prot_map(&rd(RD), range(), AUX_MAP).map(drop).into()
        }),
        case(C::RttAuxProtUnmap, AT_IPA, TOP, |f, d| {
            f.channel(d).rtt_aux_prot_unmap(&rd(RD), range(), AUX_UNMAP).map(drop).into()
        }),
        case(C::RttAuxUnprotMap, AT_IPA, TOP, |f, d| {
            // SAFETY: nothing is behind the fake.
            unsafe { f.channel(d).rtt_aux_unprot_map(&rd(RD), range(), AUX_MAP) }.map(drop).into()
        }),
        case(C::RttAuxUnprotUnmap, AT_IPA, TOP, |f, d| {
            f.channel(d).rtt_aux_unprot_unmap(&rd(RD), range(), AUX_UNMAP).map(drop).into()
        }),
        // Memory of devices.
        case(C::RttDevMap, AT_IPA, TOP, |f, d| {
            let (rd, memory) = (rd(RD), delegated(MEMORY, BYTES));
            outcome!(f.channel(d).rtt_dev_map(&rd, &vdev(), Ipa::new(IPA), memory, BLOCKS))
        }),
        case(C::RttDevUnmap, AT_IPA, TOP, |f, d| {
            f.channel(d).rtt_dev_unmap(&rd(RD), range()).map(drop).into()
        }),
        case(C::RttDevValidate, AT_IPA, TOP, |f, d| {
            let devices = (&pdev(), &vdev());
            f.channel(d)
                .rtt_dev_validate(&rd(RD), rec(REC).name(), devices, range())
                .map(drop)
                .into()
        }),
        case(C::RttArchDevMap, AT_IPA, TOP, |f, d| {
            f.channel(d).rtt_arch_dev_map(&rd(RD), &vsmmu(), range()).map(drop).into()
        }),
        case(C::RttArchDevUnmap, AT_IPA, TOP, |f, d| {
            f.channel(d).rtt_arch_dev_unmap(&rd(RD), &vsmmu(), range()).map(drop).into()
        }),
        // Physical devices.
        case(C::PdevCreate, PA_PDEV, NONE, |f, d| {
            create_pdev(&f.channel(d), &pdev_params()).into()
        }),
        case(C::PdevDestroy, PA_PDEV, NONE, |f, d| {
            f.channel(d).pdev_destroy(&PdevGranule::new(delegated(PDEV, PAGE))).into()
        }),
        case(C::PdevGetState, PA_PDEV, NONE, |f, d| {
            f.channel(d).pdev_get_state(&pdev()).map(drop).into()
        }),
        case(C::PdevAbort, PA_PDEV, NONE, |f, d| f.channel(d).pdev_abort(&pdev()).into()),
        case(C::PdevStop, PA_PDEV, NONE, |f, d| f.channel(d).pdev_stop(&pdev()).into()),
        case(C::PdevSetPubkey, PA_PDEV, NONE, |f, d| {
            let key = PublicKeyParamsPage::new_zeroed();
            f.channel(d).pdev_set_pubkey(&pdev(), &mut page(), &key).into()
        }),
        case(C::PdevCommunicate, PA_PDEV, NONE, |f, d| {
            communicate(|buffers| {
                let answer = (DevCommStatus::None, 0);
                f.channel(d).pdev_communicate(&pdev(), buffers, answer).map(drop)
            })
        }),
        case(C::PdevStreamConnect, PA_PDEV, NONE, |f, d| {
            let (params, two) = (PdevStreamParamsPage::new_zeroed(), Some(&pdev_2()));
            f.channel(d).pdev_stream_connect(&pdev(), two, &mut page(), &params).map(drop).into()
        }),
        case(C::PdevStreamDisconnect, PA_PDEV, NONE, |f, d| {
            f.channel(d).pdev_stream_disconnect(&mut stream([&pdev(), &pdev_2()])).into()
        }),
        case(C::PdevStreamComplete, PA_PDEV, NONE, |f, d| {
            outcome!(f.channel(d).pdev_stream_complete(stream([&pdev(), &pdev_2()])))
        }),
        case(C::PdevStreamKeyRefresh, PA_PDEV, NONE, |f, d| {
            f.channel(d).pdev_stream_key_refresh(&stream([&pdev(), &pdev_2()])).into()
        }),
        case(C::PdevStreamKeyPurge, PA_PDEV, NONE, |f, d| {
            f.channel(d).pdev_stream_key_purge(&stream([&pdev(), &pdev_2()])).into()
        }),
        case(C::PdevStreamInfo, PA_PDEV, NONE, |f, d| {
            f.channel(d).pdev_stream_info(&stream([&pdev(), &pdev_2()])).map(drop).into()
        }),
        // Virtual devices.
        case(C::VdevCreate, PA_VDEV, NONE, |f, d| {
            let (vdev, params) = (delegated(VDEV, PAGE), VdevParamsPage::new_zeroed());
            f.channel(d).vdev_create(&rd(RD), &pdev(), &vdev, &mut page(), &params).into()
        }),
        case(C::VdevDestroy, PA_VDEV, NONE, |f, d| {
            let vdev = VdevGranule::new(delegated(VDEV, PAGE));
            f.channel(d).vdev_destroy(&rd(RD), &pdev(), &vdev).into()
        }),
        case(C::VdevGetState, PA_VDEV, NONE, |f, d| {
            f.channel(d).vdev_get_state(&vdev()).map(drop).into()
        }),
        case(C::VdevAbort, PA_VDEV, NONE, |f, d| {
            f.channel(d).vdev_abort(&rd(RD), &pdev(), &vdev()).into()
        }),
        case(C::VdevCommunicate, PA_VDEV, NONE, |f, d| {
            communicate(|buffers| {
                let (rd, answer) = (rd(RD), (DevCommStatus::None, 0));
                f.channel(d).vdev_communicate(&rd, &pdev(), &vdev(), buffers, answer).map(drop)
            })
        }),
        case(C::VdevLock, PA_VDEV, NONE, |f, d| {
            f.channel(d).vdev_lock(&rd(RD), &pdev(), &vdev()).into()
        }),
        case(C::VdevStart, PA_VDEV, NONE, |f, d| {
            f.channel(d).vdev_start(&rd(RD), &pdev(), &vdev()).into()
        }),
        case(C::VdevUnlock, PA_VDEV, NONE, |f, d| {
            outcome!(f.channel(d).vdev_unlock(&rd(RD), &pdev(), &vdev()))
        }),
        case(C::VdevGetInterfaceReport, PA_VDEV, NONE, |f, d| {
            f.channel(d).vdev_get_interface_report(&rd(RD), &pdev(), &vdev()).into()
        }),
        case(C::VdevGetMeasurements, PA_VDEV, NONE, |f, d| {
            let (rd, params) = (rd(RD), VdevMeasureParamsPage::new_zeroed());
            f.channel(d).vdev_get_measurements(&rd, &pdev(), &vdev(), &mut page(), &params).into()
        }),
        case(C::VdevComplete, PA_VDEV, NONE, |f, d| {
            f.channel(d).vdev_complete(rec(REC).name(), &vdev()).into()
        }),
        case(C::VdevP2pBind, PA_VDEV, NONE, |f, d| {
            f.channel(d)
                .vdev_p2p_bind(
                    &rd(RD),
                    rec(REC).name(),
                    &stream([&pdev(), &pdev_2()]),
                    peers([&vdev(), &vdev_2()]),
                )
                .into()
        }),
        case(C::VdevP2pUnbind, PA_VDEV, NONE, |f, d| {
            f.channel(d)
                .vdev_p2p_unbind(
                    &rd(RD),
                    &stream([&pdev(), &pdev_2()]),
                    peers([&vdev(), &vdev_2()]),
                )
                .into()
        }),
        // SMMUs.
        case(C::PsmmuActivate, PA_PSMMU, NONE, |f, d| {
            let (channel, params) = (f.channel(d), PsmmuParamsPage::new_zeroed());
            // SAFETY: nothing is behind the fake.
            unsafe { channel.psmmu_activate(psmmu(&channel), &mut page(), &params) }.into()
        }),
        case(C::PsmmuDeactivate, PA_PSMMU, NONE, |f, d| {
            let channel = f.channel(d);
            channel.psmmu_deactivate(psmmu(&channel)).into()
        }),
        case(C::PsmmuStL2Create, PA_PSMMU, NONE, |f, d| {
            let channel = f.channel(d);
            channel.psmmu_st_l2_create(psmmu(&channel), 0x51d).into()
        }),
        case(C::PsmmuStL2Destroy, PA_PSMMU, NONE, |f, d| {
            let channel = f.channel(d);
            channel.psmmu_st_l2_destroy(psmmu(&channel), 0x51d).into()
        }),
        case(C::PsmmuIrqNotify, PA_PSMMU, NONE, |f, d| {
            let irqs = PsmmuIrqSet::EVENTQ | PsmmuIrqSet::CMDQ;
            let channel = f.channel(d);
            channel.psmmu_irq_notify(psmmu(&channel), irqs).map(drop).into()
        }),
        case(C::PsmmuEventConsume, PA_PSMMU, NONE, |f, d| {
            let channel = f.channel(d);
            channel.psmmu_event_consume(psmmu(&channel), PsmmuIrq::Priq).into()
        }),
        case(C::VsmmuFeatures, PA_PAGE, NONE, |f, d| {
            f.channel(d).vsmmu_features(&mut page()).map(drop).into()
        }),
        case(C::VsmmuCreate, PA_VSMMU, NONE, |f, d| {
            let (vsmmu, params) = (delegated(VSMMU, PAGE), VsmmuParamsPage::new_zeroed());
            f.channel(d).vsmmu_create(&rd(RD), &vsmmu, &mut page(), &params).into()
        }),
        case(C::VsmmuDestroy, PA_VSMMU, NONE, |f, d| {
            let vsmmu = VsmmuGranule::new(delegated(VSMMU, PAGE));
            f.channel(d).vsmmu_destroy(&rd(RD), &vsmmu).into()
        }),
        case(C::VsmmuEventNotify, PA_VSMMU, NONE, |f, d| {
            let (rd, devices) = (rd(RD), (&pdev(), &vdev()));
            let channel = f.channel(d);
            channel.vsmmu_event_notify(psmmu(&channel), &rd, &vsmmu(), devices).map(drop).into()
        }),
        case(C::VsmmuEventHandle, PA_VSMMU, NONE, |f, d| {
            f.channel(d).vsmmu_event_handle(&rd(RD), &vsmmu(), (&pdev(), &vdev())).map(drop).into()
        }),
        case(C::VsmmuEventComplete, PA_PSMMU, NONE, |f, d| {
            let channel = f.channel(d);
            channel.vsmmu_event_complete(psmmu(&channel), &rd(RD), rec(REC).name(), 0x51d).into()
        }),
        case(C::VsmmuCmdGet, PA_VSMMU, NONE, |f, d| {
            f.channel(d).vsmmu_cmd_get(&rd(RD), &vsmmu()).map(drop).into()
        }),
        case(C::VsmmuCmdComplete, PA_VSMMU, NONE, |f, d| {
            f.channel(d).vsmmu_cmd_complete(&rd(RD), &vsmmu(), (&pdev(), &vdev())).map(drop).into()
        }),
        // Coherent memory.
        case(C::CmemCreate, PA_CMEM, NONE, |f, d| {
            let params = CmemParamsPage::new_zeroed();
            // SAFETY: nothing is behind the fake.
            unsafe { f.channel(d).cmem_create(&delegated(CMEM, PAGE), &mut page(), &params) }.into()
        }),
        case(C::CmemDestroy, PA_CMEM, NONE, |f, d| {
            f.channel(d).cmem_destroy(&CmemGranule::new(delegated(CMEM, PAGE))).into()
        }),
        case(C::CmemAddPdev, PA_CMEM, NONE, |f, d| {
            let params = CmemPdevParamsPage::new_zeroed();
            f.channel(d).cmem_add_pdev(&cmem(), &pdev(), 5, &mut page(), &params).into()
        }),
        case(C::CmemRemovePdev, PA_CMEM, NONE, |f, d| {
            f.channel(d).cmem_remove_pdev(&cmem(), &pdev(), 5).into()
        }),
    ]
}

fn case(
    command: Command,
    subject: Subject,
    success: [u64; 4],
    run: fn(&Fake, Dialect) -> Outcome,
) -> Case {
    Case { command, subject, success, run }
}
