//! Values for fuzzing, behind the feature `arbitrary`.
//!
//! What is decoded from bytes or words (wire structs, words, flags, codes) can have any bits. What
//! is encoded (descriptors, parameters) has the values that its documentation allows, whether or
//! not a dialect can express them.

use arbitrary::{Arbitrary, Result, Unstructured};
use zerocopy::{FromZeros, IntoBytes};

use crate::address::{Address, AddressRange, GranuleSize, Ipa, MIN_GRANULE, Pa};
use crate::commands::{Command, Fid, ParamType};
use crate::desc::{AddrRangeDesc, BlockSize, DonateRequest, OpMemState};
use crate::dialect::{Dialect, InterfaceVersion};
use crate::esr::{Access, Esr, ExceptionClass, FaultStatus};
use crate::feature::{Features, L0Gptsz, Pps, RttPlaneFeature};
use crate::flags::{
    AddrSet, AuxMapFlags, AuxUnmapFlags, ContinueFlags, DataFlags, MemAttr, S2Access,
    UnprotMapFlags, UnprotectedDesc,
};
use crate::granule::{GptParState, MemCategory, TrackingRegionSize, TrackingRegionState};
use crate::psci::{PsciFunction, PsciReturnCode};
use crate::realm::{
    HashAlgorithm, LfaPolicy, MecPolicy, RealmFlags0, RealmFlags1, RealmParams, RealmParamsPage,
    S2apEncoding,
};
use crate::rec::{Mpidr, RecCreateFlags, RecParams, RecParamsPage};
use crate::result::{OpMemReq, ResultWord, Status};
use crate::rhi::RhiFunction;
use crate::rmm::{RmmConfig, RmmConfigPage, RmmState};
use crate::rtt::{Geometry, Level, Ripas, RttEntryState};
use crate::run::{
    ExitReason, PmuOverflowStatus, RecEnter, RecEnterFlags, RecExit, RecRun, Response,
};
use crate::{device, measurement, rsi};

/// Any bytes.
macro_rules! bytes {
    ($($type:ty),* $(,)?) => {$(
        impl<'a> Arbitrary<'a> for $type {
            fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
                let mut value = Self::new_zeroed();
                u.fill_buffer(value.as_mut_bytes())?;
                Ok(value)
            }
        }
    )*};
}

/// Any number, through a conversion.
macro_rules! number {
    ($($type:ty: $number:ty = $make:expr),* $(,)?) => {$(
        impl<'a> Arbitrary<'a> for $type {
            fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
                let make: fn($number) -> Self = $make;
                Ok(make(u.arbitrary()?))
            }
        }
    )*};
}

/// One of a list.
macro_rules! choice {
    ($($type:ty = $all:expr),* $(,)?) => {$(
        impl<'a> Arbitrary<'a> for $type {
            fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
                Ok(*u.choose(&$all)?)
            }
        }
    )*};
}

bytes!(
    RealmParamsPage,
    RecParamsPage,
    RmmConfigPage,
    RecEnter,
    RecExit,
    RecRun,
    device::AddrRange,
    device::CmemParamsPage,
    device::CmemPdevParamsPage,
    device::DevCommDataPage,
    device::DevCommEnter,
    device::DevCommExit,
    device::PdevParamsPage,
    device::PdevParamsPageBet0,
    device::PdevStreamParamsPage,
    device::PsmmuParamsPage,
    device::PublicKeyParamsPage,
    device::VdevMeasureParamsPage,
    device::VdevParamsPage,
    device::VsmmuFeaturesBlock,
    device::VsmmuParamsPage,
    measurement::DataDescriptor,
    measurement::RecDescriptor,
    measurement::RipasDescriptor,
    rsi::DevInfoBlock,
    rsi::DevMeasureParamsBlock,
    rsi::HostCallBlock,
    rsi::PlaneEnter1_1,
    rsi::PlaneEnter2_0,
    rsi::PlaneExit1_1,
    rsi::PlaneExit2_0,
    rsi::PlaneRunPage1_1,
    rsi::PlaneRunPage2_0,
    rsi::RealmConfigPage,
    rsi::VdevInfoBlock,
);

number!(
    Pa: u64 = Self::new,
    Ipa: u64 = Self::new,
    Fid: u32 = Self,
    InterfaceVersion: u64 = Self,
    ResultWord: u64 = Self,
    Esr: u64 = Self,
    TrackingRegionSize: u8 = Self,
    Mpidr: u32 = Self::from_index,
    Status: u8 = Self::from,
    ExceptionClass: u8 = Self::from,
    FaultStatus: u8 = Self::decode,
    L0Gptsz: u8 = Self::from,
    Pps: u8 = Self::from,
    RttPlaneFeature: u8 = Self::from,
    GptParState: u8 = Self::from,
    MemCategory: u8 = Self::from,
    TrackingRegionState: u8 = Self::from,
    HashAlgorithm: u8 = Self::from,
    LfaPolicy: u8 = Self::from,
    MecPolicy: u8 = Self::from,
    S2apEncoding: u8 = Self::from,
    RmmState: u8 = Self::from,
    Ripas: u8 = Self::from,
    RttEntryState: u8 = Self::from,
    PmuOverflowStatus: u8 = Self::from,
    Response: u8 = Self::from,
    PsciFunction: u32 = Self::from,
    PsciReturnCode: i64 = Self::from,
    RhiFunction: u32 = Self::from,
    DataFlags: u64 = Self::from_bits_retain,
    ContinueFlags: u64 = Self::from_bits_retain,
    RealmFlags0: u64 = Self::from_bits_retain,
    RealmFlags1: u64 = Self::from_bits_retain,
    RecCreateFlags: u64 = Self::from_bits_retain,
    RecEnterFlags: u64 = Self::from_bits_retain,
    device::PsmmuEventSyndrome: u64 = Self,
    device::PdevState: u8 = Self::from,
    device::PdevStreamType: u8 = Self::from,
    device::VdevState: u8 = Self::from,
    device::SignatureAlgorithm: u8 = Self::from,
    device::DevCommStatus: u8 = Self::from,
    device::DevCommObject: u8 = Self::from,
    device::DevCommProtocol: u8 = Self::from,
    device::PsmmuIrq: u8 = Self::from,
    device::DevCommExitFlags: u64 = Self::from_bits_retain,
    device::PdevFlags: u64 = Self::from_bits_retain,
    device::VdevFlags: u64 = Self::from_bits_retain,
    device::VdevMeasureFlags: u64 = Self::from_bits_retain,
    device::PsmmuFlags: u64 = Self::from_bits_retain,
    device::PsmmuIrqSet: u64 = Self::from_bits_retain,
    device::PsmmuIrqResult: u64 = Self::from_bits_retain,
    device::VsmmuCmdFlags: u64 = Self::from_bits_retain,
    device::VsmmuEventFlags: u64 = Self::from_bits_retain,
    rsi::ReturnCode: u64 = Self::from,
    rsi::SysregAddress: u64 = Self,
    rsi::PlaneExitReason: u8 = Self::from,
    rsi::PlaneEnterFlags: u64 = Self::from_bits_retain,
    rsi::RipasChangeFlags: u64 = Self::from_bits_retain,
    rsi::FeatureRegister0: u64 = Self::from_bits_retain,
);

choice!(
    Dialect = Dialect::ALL,
    GranuleSize = [GranuleSize::Size4KiB, GranuleSize::Size16KiB, GranuleSize::Size64KiB],
    BlockSize = BlockSize::ALL,
    OpMemState = [
        OpMemState::Delegated,
        OpMemState::Undelegated,
        OpMemState::Conditional,
        OpMemState::Reserved,
    ],
    OpMemReq = [OpMemReq::None, OpMemReq::Donate, OpMemReq::Reclaim, OpMemReq::Reserved],
    Level = [Level::MINUS_1, Level::L0, Level::L1, Level::L2, Level::L3],
    ParamType = ParamType::ALL,
    rsi::Version = rsi::Version::ALL,
);

impl<'a> Arbitrary<'a> for Command {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(*u.choose(Self::ALL)?)
    }
}

impl<'a> Arbitrary<'a> for rsi::Command {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(*u.choose(Self::ALL)?)
    }
}

impl<'a, A: Address> Arbitrary<'a> for AddressRange<A> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        const LAST: u64 = u64::MAX / MIN_GRANULE;
        let base = u.int_in_range(0..=LAST)?;
        let top = u.int_in_range(base..=LAST)?;
        let [base, top] = [base, top].map(|granule| A::from_raw(granule * MIN_GRANULE));
        Self::new(base, top).map_err(|_| arbitrary::Error::IncorrectFormat)
    }
}

impl<'a> Arbitrary<'a> for Geometry {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let width = u.int_in_range(Self::MIN_IPA_WIDTH..=Self::MAX_IPA_WIDTH)?;
        let geometry = Self::with_start_level(width, u.arbitrary()?).or_else(|_| Self::new(width));
        geometry.map_err(|_| arbitrary::Error::IncorrectFormat)
    }
}

impl<'a> Arbitrary<'a> for ExitReason {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self::decode(u.arbitrary()?, u.arbitrary()?))
    }
}

impl<'a> Arbitrary<'a> for Features {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self::new(u.arbitrary()?, u.arbitrary()?))
    }
}

impl<'a> Arbitrary<'a> for Access {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let bytes = 1 << u.int_in_range(0..=3)?;
        Ok(Self { bytes, write: u.arbitrary()?, register_64: u.arbitrary()? })
    }
}

impl<'a> Arbitrary<'a> for AddrRangeDesc {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            base: u.arbitrary()?,
            size: u.arbitrary()?,
            count: u.arbitrary()?,
            state: u.arbitrary()?,
        })
    }
}

impl<'a> Arbitrary<'a> for DonateRequest {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            size: u.arbitrary()?,
            count: u.int_in_range(0..=0x3fff)?,
            contiguous: u.arbitrary()?,
            state: u.arbitrary()?,
        })
    }
}

impl<'a> Arbitrary<'a> for AddrSet {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.int_in_range(0..=2)? {
            0 => Self::None,
            1 => Self::Single,
            _ => Self::List { count: u.int_in_range(0..=0x3fff)? },
        })
    }
}

impl<'a> Arbitrary<'a> for MemAttr {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(u.int_in_range(0..=7u8)?.into())
    }
}

impl<'a> Arbitrary<'a> for S2Access {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self { read: u.arbitrary()?, write: u.arbitrary()? })
    }
}

impl<'a> Arbitrary<'a> for UnprotMapFlags {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let s2ap = u.int_in_range(0..=0xf)?;
        Ok(Self { addresses: u.arbitrary()?, memattr: u.arbitrary()?, s2ap })
    }
}

impl<'a> Arbitrary<'a> for AuxMapFlags {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let tree_index = u.int_in_range(0..=3)?;
        Ok(Self { tree_index, block: u.arbitrary()?, invalid_pri: u.arbitrary()? })
    }
}

impl<'a> Arbitrary<'a> for AuxUnmapFlags {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self { tree_index: u.int_in_range(0..=3)? })
    }
}

impl<'a> Arbitrary<'a> for UnprotectedDesc {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self { address: u.arbitrary()?, memattr: u.arbitrary()?, s2ap: u.arbitrary()? })
    }
}

impl<'a> Arbitrary<'a> for RmmConfig {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self { granule: u.arbitrary()?, tracking: u.arbitrary()? })
    }
}

impl<'a> Arbitrary<'a> for RecParams {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            runnable: u.arbitrary()?,
            mpidr: u.arbitrary()?,
            pc: u.arbitrary()?,
            gprs: u.arbitrary()?,
        })
    }
}

impl<'a> Arbitrary<'a> for RealmParams {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            lpa2: u.arbitrary()?,
            sve_vl: u.arbitrary()?,
            pmu_num_ctrs: u.arbitrary()?,
            device_assignment: u.arbitrary()?,
            live_activation: u.arbitrary()?,
            private_mec: u.arbitrary()?,
            num_bps: u.arbitrary()?,
            num_wps: u.arbitrary()?,
            hash: u.arbitrary()?,
            num_aux_planes: u.arbitrary()?,
            tree_per_plane: u.arbitrary()?,
            s2ap_indirect: u.arbitrary()?,
            ats: u.arbitrary()?,
            ats_plane: u.arbitrary()?,
            rpv: u.arbitrary()?,
            vmid: u.arbitrary()?,
            rtt_base: u.arbitrary()?,
            aux_rtt_base: u.arbitrary()?,
            max_num_vdevs: u.arbitrary()?,
            geometry: u.arbitrary()?,
        })
    }
}

impl<'a> Arbitrary<'a> for device::PdevCategory {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(u.int_in_range(0..=3u8)?.into())
    }
}

impl<'a> Arbitrary<'a> for device::PdevParams {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            spdm: u.arbitrary()?,
            category: u.arbitrary()?,
            p2p: u.arbitrary()?,
            hb_base: u.arbitrary()?,
            pdev_id: u.arbitrary()?,
            routing_id: u.arbitrary()?,
            id_index: u.arbitrary()?,
            rid_base: u.arbitrary()?,
            rid_top: u.arbitrary()?,
            hash: u.arbitrary()?,
            max_vdevs_order: u.arbitrary()?,
        })
    }
}
