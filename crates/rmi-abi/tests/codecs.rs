//! Round trips: what is encoded is decoded to the same, and what is decoded is stable, whatever the
//! bits.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;
use rmi_abi::address::{AddressRange, GranuleSize, Ipa, IpaRange, MIN_GRANULE, Pa, PaRange};
use rmi_abi::commands::{Command, Fid, ParamType};
use rmi_abi::desc::{AddrRangeDesc, DonateRequest, OpMemState};
use rmi_abi::device::{PdevParams, PdevParamsEncoded, PublicKeyParamsPage, SignatureAlgorithm};
use rmi_abi::dialect::{Dialect, InterfaceVersion};
use rmi_abi::esr::{Access, Esr, ExceptionClass, FaultStatus, Syndrome, fault_address};
use rmi_abi::feature::Features;
use rmi_abi::flags::{
    AddrSet, AuxMapFlags, AuxUnmapFlags, S2Access, UnprotMapFlags, UnprotectedDesc,
};
use rmi_abi::psci::{PsciFunction, PsciReturnCode};
use rmi_abi::realm::{RealmParams, RealmParamsPage};
use rmi_abi::rec::{Mpidr, RecParams, RecParamsPage};
use rmi_abi::result::{OpMemReq, ResultWord, Status};
use rmi_abi::rmm::RmmConfig;
use rmi_abi::rtt::{Geometry, Level, TableShape};
use rmi_abi::run::{ExitReason, RecRun};
use rmi_abi::trace::{CallDisplay, ResultDisplay, ValueDisplay};
use rmi_abi::{rsi, trace};
use zerocopy::{FromBytes, IntoBytes};

/// Values of a type, made from random bytes. A short supply is filled with zeros, so every draw
/// makes one.
fn any_of<T: for<'a> Arbitrary<'a> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    prop::collection::vec(any::<u8>(), 0..256)
        .prop_map(|bytes| T::arbitrary(&mut Unstructured::new(&bytes)).unwrap())
}

fn config() -> ProptestConfig {
    let cases = if cfg!(miri) { 2 } else { 512 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Words in which single bits, runs of ones and small numbers are as likely as noise.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..64u32, 0..64u32).prop_map(|(a, b)| (u64::MAX >> a) & (u64::MAX << b)),
        0..1024u64,
        (0..64u32).prop_map(|bit| 1 << bit),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn result_words(
        raw in word(),
        level in any_of::<Level>(),
        req in any_of::<OpMemReq>(),
        cancel: bool,
    ) {
        let result = ResultWord(raw);
        let [status, index, ..] = raw.to_le_bytes();
        prop_assert_eq!(u8::from(result.status()), status);
        prop_assert_eq!(result.index(), index);
        prop_assert_eq!(result.data() << 8 | u64::from(status), raw);
        if let Some(level) = result.level() {
            prop_assert_eq!(level.number().cast_unsigned(), index);
        }
        prop_assert_eq!(ResultWord::from_status(result.status()).status(), result.status());
        let failed = ResultWord::with_level(Status::ErrorRtt, level);
        prop_assert_eq!((failed.status(), failed.level()), (Status::ErrorRtt, Some(level)));
        // An address above the level changes nothing.
        let tolerant = ResultWord(failed.0 | raw << 16);
        prop_assert_eq!((tolerant.status(), tolerant.level()), (Status::ErrorRtt, Some(level)));
        let incomplete = ResultWord::incomplete(req, cancel);
        prop_assert_eq!(incomplete.status(), Status::Incomplete);
        prop_assert_eq!((incomplete.op_mem_req(), incomplete.can_cancel()), (req, cancel));
    }

    #[test]
    fn range_descriptors(
        desc in any_of::<AddrRangeDesc>(),
        raw in word(),
        dialect in any_of::<Dialect>(),
        granule in any_of::<GranuleSize>(),
    ) {
        if let Ok(encoded) = desc.encode(dialect, granule) {
            prop_assert_eq!(AddrRangeDesc::decode(encoded, dialect, granule), desc);
        }
        let mut valid = desc;
        valid.base = Pa::new(desc.base.raw() & ((1 << 52) - 1)).align_down(granule.bytes());
        valid.count &= AddrRangeDesc::max_count(granule);
        valid.state = OpMemState::Undelegated;
        prop_assert_eq!(
            AddrRangeDesc::decode(valid.encode(dialect, granule).unwrap(), dialect, granule),
            valid
        );
        let decoded = AddrRangeDesc::decode(raw, dialect, granule);
        let _ = decoded.range(granule);
        match decoded.encode(dialect, granule) {
            Ok(again) => prop_assert_eq!(AddrRangeDesc::decode(again, dialect, granule), decoded),
            Err(_) => prop_assert_eq!(decoded.state, OpMemState::Reserved),
        }
    }

    #[test]
    fn ranges_and_descriptors(
        range in any_of::<PaRange>(),
        size in any_of(),
        state in any_of(),
        granule in any_of::<GranuleSize>(),
        at in word(),
    ) {
        if let Some(desc) = AddrRangeDesc::from_range(&range, size, state, granule) {
            prop_assert_eq!(desc.range(granule), Some(range));
        }
        if let Some((low, high)) = range.split_at(at) {
            prop_assert_eq!(low.bytes() + high.bytes(), range.bytes());
            prop_assert_eq!(AddressRange::new(low.base(), high.top()), Ok(range));
        }
        let (below, above) = (range.before(Pa::new(at)), range.after(Pa::new(at)));
        prop_assert_eq!((below.base(), above.top()), (range.base(), range.top()));
        prop_assert!(range.contains_range(&below) && range.contains_range(&above));
        if at % MIN_GRANULE == 0 {
            prop_assert_eq!(below.top(), above.base());
            prop_assert!(below.is_empty() || below.top() <= Pa::new(at));
            prop_assert!(above.is_empty() || above.base() >= Pa::new(at));
        } else if range.contains(Pa::new(at)) {
            prop_assert_eq!(below.top().checked_add(MIN_GRANULE), Some(above.base()));
        }
        let (base, top) = (range.base(), range.top());
        prop_assert_eq!(AddressRange::new_or_empty(base, top), range);
        prop_assert_eq!(AddressRange::with_size_or_empty(base, range.bytes()), range);
        let empty = PaRange::empty(Pa::new(at));
        for (made, whole) in [
            (PaRange::new(Pa::new(at), top), PaRange::new_or_empty(Pa::new(at), top)),
            (PaRange::with_size(Pa::new(at), at), PaRange::with_size_or_empty(Pa::new(at), at)),
        ] {
            prop_assert_eq!(whole, made.unwrap_or(empty));
        }
        prop_assert!(!range.overlaps(&empty));
        prop_assert_eq!(range.overlaps(&range), !range.is_empty());
        let capacity = rmi_abi::desc::list_capacity(Pa::new(at), granule);
        prop_assert_eq!(capacity.is_some(), at % 8 == 0);
        prop_assert!(capacity.is_none_or(|n| n >= 1 && n <= granule.bytes() / 8));
    }

    #[test]
    fn donation_requests(
        request in any_of::<DonateRequest>(),
        raw in word(),
        dialect in any_of::<Dialect>(),
    ) {
        let decoded = DonateRequest::decode(raw, dialect);
        prop_assert_eq!(DonateRequest::decode(decoded.encode(), dialect), decoded);
        let read = DonateRequest::decode(request.encode(), Dialect::V2_0Bet3);
        prop_assert_eq!(read, request);
        let _ = request.bytes(GranuleSize::Size64KiB);
    }

    #[test]
    fn flag_words(
        set in any_of::<AddrSet>(),
        unprot in any_of::<UnprotMapFlags>(),
        map in any_of::<AuxMapFlags>(),
        unmap in any_of::<AuxUnmapFlags>(),
        access in any_of::<S2Access>(),
        raw in word(),
    ) {
        prop_assert_eq!(AddrSet::decode(set.encode()), Some(set));
        prop_assert_eq!(UnprotMapFlags::decode(unprot.encode()), Some(unprot));
        prop_assert_eq!(AuxMapFlags::decode(map.encode()), map);
        prop_assert_eq!(AuxUnmapFlags::decode(unmap.encode()), unmap);
        prop_assert_eq!(S2Access::decode_direct(access.encode_direct()), Some(access));
        prop_assert_eq!(S2Access::decode_indirect(access.encode_indirect()), Some(access));
        prop_assert_eq!(S2Access::decode_direct(raw).is_some(), raw <= 3);
        prop_assert_eq!(S2Access::decode_indirect(raw).is_some(), raw <= 3);
        if let Some(decoded) = AddrSet::decode(raw) {
            prop_assert_eq!(AddrSet::decode(decoded.encode()), Some(decoded));
        }
        if let Some(decoded) = UnprotMapFlags::decode(raw) {
            prop_assert_eq!(UnprotMapFlags::decode(decoded.encode()), Some(decoded));
            prop_assert_eq!(decoded.encode() & !raw & !0xfffc, 0);
        }
        prop_assert_eq!(AuxMapFlags::decode(raw).encode(), raw & 0xf);
        prop_assert_eq!(AuxUnmapFlags::decode(raw).encode(), raw & 0b11);
    }

    #[test]
    fn unprotected_descriptors(desc in any_of::<UnprotectedDesc>(), raw in word(), lpa2: bool) {
        let width = if lpa2 { 52 } else { 48 };
        let address = desc.address.raw() & ((1 << width) - 1) & !0xfff;
        let desc = UnprotectedDesc { address: Pa::new(address), ..desc };
        prop_assert_eq!(UnprotectedDesc::decode(desc.encode(lpa2).unwrap(), lpa2), Some(desc));
        if let Some(decoded) = UnprotectedDesc::decode(raw, lpa2) {
            prop_assert_eq!(decoded.encode(lpa2), Some(raw));
        }
    }

    #[test]
    fn names_of_recs(index in 0..1u32 << 28, raw in word()) {
        let mpidr = Mpidr::from_index(index);
        prop_assert_eq!(mpidr.index(), index);
        prop_assert_eq!(Mpidr::from_raw(mpidr.raw()), Some(mpidr));
        prop_assert_eq!(Mpidr::from_psci(mpidr.to_psci()), mpidr);
        let [aff0, aff1, aff2, aff3] = mpidr.affinity().map(u32::from);
        prop_assert_eq!(aff0 + (aff1 << 4) + (aff2 << 12) + (aff3 << 20), index);
        if let Some(mpidr) = Mpidr::from_raw(raw) {
            prop_assert_eq!(mpidr.raw(), raw);
        }
        prop_assert_eq!(Mpidr::from_psci(raw).to_psci(), raw & 0xff_00ff_ff0f);
    }

    #[test]
    fn realm_parameters(params in any_of::<RealmParams>(), page in any_of::<RealmParamsPage>()) {
        for dialect in Dialect::ALL {
            if let Ok(page) = params.encode(dialect) {
                let mut expected = params;
                if !dialect.has_lpa2_flag() {
                    expected.lpa2 = params.geometry.ipa_width() > 48;
                }
                prop_assert_eq!(RealmParams::decode(&page, dialect), Ok(expected));
                let measured = page.measured();
                prop_assert!(measured.measured().as_bytes() == measured.as_bytes());
            }
            // Noise is refused or stable.
            if let Ok(decoded) = RealmParams::decode(&page, dialect) {
                let again = decoded.encode(dialect).unwrap();
                prop_assert_eq!(RealmParams::decode(&again, dialect), Ok(decoded));
            }
        }
        // A Realm without extras exists in every dialect.
        let mut plain = RealmParams::new(params.geometry, params.rtt_base);
        (plain.sve_vl, plain.pmu_num_ctrs) = (params.sve_vl, params.pmu_num_ctrs);
        for dialect in Dialect::ALL {
            prop_assert_eq!(
                RealmParams::decode(&plain.encode(dialect).unwrap(), dialect),
                Ok(plain)
            );
        }
    }

    #[test]
    fn other_parameters(
        rec in any_of::<RecParams>(),
        page in any_of::<RecParamsPage>(),
        config in any_of::<RmmConfig>(),
        pdev in any_of::<PdevParams>(),
        key in prop::collection::vec(any::<u8>(), 0..1100),
    ) {
        prop_assert_eq!(RecParams::decode(&rec.encode()), Ok(rec));
        if let Ok(decoded) = RecParams::decode(&page) {
            prop_assert_eq!(RecParams::decode(&decoded.encode()), Ok(decoded));
        }
        prop_assert_eq!(config.encode().decode(), Some(config));
        for dialect in Dialect::ALL {
            let mut pdev = pdev;
            if dialect == Dialect::V2_0Bet0 {
                (pdev.hb_base, pdev.rid_base, pdev.rid_top) =
                    (0, pdev.rid_base & 0xffff, pdev.rid_top & 0xffff);
            } else {
                (pdev.p2p, pdev.max_vdevs_order) = (false, 0);
            }
            match pdev.encode(dialect) {
                Ok(page) => prop_assert_eq!(page.decode(), Some(pdev)),
                Err(error) => prop_assert_eq!(error.dialect, Dialect::V1_0),
            }
        }
        match PublicKeyParamsPage::new(SignatureAlgorithm::EcdsaP256, &key, &key) {
            Ok(page) => prop_assert_eq!((page.key(), page.metadata()), (Some(&*key), Some(&*key))),
            Err(_) => prop_assert!(key.len() > 1024),
        }
    }

    #[test]
    fn device_pages(
        old in any_of::<rmi_abi::device::PdevParamsPageBet0>(),
        new in any_of::<rmi_abi::device::PdevParamsPage>(),
        key in any_of::<PublicKeyParamsPage>(),
    ) {
        let pages = [
            (PdevParamsEncoded::Bet0(old), Dialect::V2_0Bet0),
            (PdevParamsEncoded::SinceBet1(new), Dialect::V2_0Bet3),
        ];
        for (page, dialect) in pages {
            if let Some(decoded) = page.decode() {
                prop_assert_eq!(decoded.encode(dialect).unwrap().decode(), Some(decoded));
            }
        }
        let _ = (key.key(), key.metadata());
    }

    #[test]
    fn exits(code: u8, dialect in any_of::<Dialect>(), run in any_of::<RecRun>()) {
        let reason = ExitReason::decode(code, dialect);
        prop_assert_eq!(reason.encode(dialect), Some(code));
        let copy = RecRun::read_from_bytes(run.as_bytes()).unwrap();
        prop_assert!(copy.as_bytes() == run.as_bytes());
        let _ = fault_address(run.exit.hpfar, run.exit.far);
    }

    #[test]
    fn syndromes(
        raw in word(),
        class in any_of::<ExceptionClass>(),
        access in any_of::<Access>(),
        value in word(),
    ) {
        let esr = Esr(raw & !(0x3f << 26) | u64::from(u8::from(class) & 0x3f) << 26);
        let visible = esr.visible();
        prop_assert_eq!(visible.visible(), visible);
        prop_assert_eq!(visible.0 & !esr.0, 0);
        prop_assert_eq!(visible.class(), esr.class());
        match (esr.decode(), visible.decode()) {
            (Syndrome::Unknown { .. }, Syndrome::Unknown { .. }) => {}
            (all, seen) => prop_assert_eq!(all, seen),
        }
        prop_assert_eq!(FaultStatus::decode(esr.fault_status()).encode(), esr.fault_status());
        // The host's value survives the RMM's extension in its low bits.
        for sign_extend in [false, true] {
            let extended = access.extended(value, sign_extend);
            let kept = if access.register_64 { access.mask() } else { access.mask() & 0xffff_ffff };
            prop_assert_eq!(extended & kept, value & kept);
            prop_assert_eq!(access.value(access.value(value)), access.value(value));
        }
        prop_assert!(fault_address(raw, value).raw() < 1 << 52);
    }

    #[test]
    fn features(registers: [u64; 5], dialect in any_of::<Dialect>()) {
        let features = Features::new(dialect, registers);
        prop_assert_eq!(features.registers(), registers);
        for (index, register) in registers.into_iter().enumerate() {
            prop_assert_eq!(features.unknown(index) & !register, 0);
        }
        let _ = (features.max_recs(), features.gic_num_lrs(), features.l0gptsz(), features.pps());
    }

    #[test]
    fn geometries(
        geometry in any_of::<Geometry>(),
        raw in word(),
        level in any_of::<Level>(),
        range in any_of::<IpaRange>(),
    ) {
        let ipa = Ipa::new(raw % geometry.end().raw());
        prop_assert!(geometry.is_protected(ipa) != geometry.is_unprotected(ipa));
        if let Some(alias) = geometry.unprotected_alias(ipa) {
            prop_assert!(geometry.is_unprotected(alias));
        }
        prop_assert!(
            !(geometry.range_is_protected(&range) && geometry.range_is_unprotected(&range))
        );
        // The indices of a walk put the address together again.
        let page = geometry
            .walk(ipa, Level::L3)
            .fold(0, |sum, (level, index)| sum + (index << level.entry_shift()));
        prop_assert_eq!(page, ipa.raw() & !0xfff);
        let last = u64::from(geometry.root_tables()) * 512;
        let entries = |level| if level == geometry.start_level() { last } else { 512 };
        let in_bounds = geometry.walk(ipa, level).all(|(level, index)| index < entries(level));
        prop_assert!(in_bounds);
        prop_assert!(geometry.table_base(ipa, level) <= ipa);
        let _ = geometry.entry_index(Ipa::new(raw), level);
        let _ = geometry.largest_block(Ipa::new(raw), Pa::new(raw), raw);
    }

    #[test]
    fn tables_of_any_granule(
        granule in any_of::<GranuleSize>(),
        level in any_of::<Level>(),
        raw in word(),
        width: u8,
    ) {
        let shape = TableShape::new(granule);
        if let Some(tables) = shape.root_tables(width, level) {
            prop_assert!(tables.is_power_of_two() && tables <= TableShape::MAX_ROOT_TABLES);
            let top = Ipa::new((1 << width) - 1);
            prop_assert!(
                shape.root_index(top, level).unwrap() < u64::from(tables) * shape.entries()
            );
        }
        prop_assert!(
            shape.entry_index(Ipa::new(raw), level).is_none_or(|index| index < shape.entries())
        );
    }

    #[test]
    fn levels_versions_and_codes(
        raw in word(),
        level in any_of::<Level>(),
        major in 0..0x8000u16,
        minor: u16,
    ) {
        prop_assert_eq!(Level::from_register(level.to_register()), Some(level));
        if let Some(level) = Level::from_register(raw) {
            prop_assert_eq!(level.to_register(), raw);
        }
        let version = InterfaceVersion::new(major, minor);
        prop_assert_eq!((version.major(), version.minor()), (major, minor));
        prop_assert_eq!(PsciReturnCode::from_register(raw).to_register(), raw);
        prop_assert_eq!(u64::from(rsi::ReturnCode::from(raw)), raw);
        let [a, b, c, d, ..] = raw.to_le_bytes();
        let number = u32::from_le_bytes([a, b, c, d]);
        prop_assert_eq!(u32::from(PsciFunction::from(number)), number);
        let x0 = u64::from(number) | 0xdead_beef << 32;
        prop_assert_eq!(PsciFunction::from_register(x0), PsciFunction::from(number));
        let rhi = rmi_abi::rhi::RhiFunction::from_register(x0);
        prop_assert_eq!(rhi, rmi_abi::rhi::RhiFunction::from(number));
        prop_assert_eq!(u32::from(rmi_abi::rhi::RhiFunction::from(number)), number);
        let name = rsi::SysregAddress(raw & 0xffff);
        let (op0, op1, crn, crm, op2) = name.parts();
        prop_assert_eq!(rsi::SysregAddress::new(op0, op1, crn, crm, op2), name);
    }

    #[test]
    fn planes(
        old in any_of::<rsi::PlaneExit1_1>(),
        new in any_of::<rsi::PlaneExit2_0>(),
        enter in any_of::<rsi::PlaneEnter1_1>(),
    ) {
        let entry = enter.decode();
        prop_assert_eq!(entry.encode_1_1().decode(), entry);
        prop_assert_eq!(entry.encode_2_0().decode(), entry);
        prop_assert_eq!(old.decode().gprs, old.gprs);
        prop_assert_eq!(u8::from(new.decode().reason), new.exit_reason);
    }

    /// The tracer prints anything, and never nothing.
    #[test]
    fn everything_is_printed(
        registers: [u64; 8],
        call: [u64; 8],
        dialect in any_of::<Dialect>(),
        command in any_of::<Command>(),
        granule in any_of::<GranuleSize>(),
        kind in any_of::<ParamType>(),
        raw in word(),
    ) {
        let fid = command.fid(dialect).unwrap_or(Fid(0));
        let [_, arguments @ ..] = call;
        let [a, b, c, d, e, f, g] = arguments;
        let named = [fid.0.into(), a, b, c, d, e, f, g];
        for call in [call, named] {
            let text = CallDisplay::new(dialect, &call).granule(granule).to_string();
            prop_assert!(text.ends_with(')'), "{}", text);
        }
        if command.fid(dialect).is_some() {
            let text = CallDisplay::new(dialect, &named).to_string();
            prop_assert!(text.starts_with(command.name()), "{}", text);
        }
        for word in [registers[0], raw, 0, 4, 13, 0x10d, u64::MAX] {
            let mut registers = registers;
            registers[0] = word;
            let result = trace::ResultDisplay::new(dialect, command, &registers).granule(granule);
            prop_assert!(!result.to_string().is_empty());
            let more = result.of_call(&named).initiated_by(command);
            prop_assert!(!more.to_string().is_empty());
            prop_assert!(
                !ResultDisplay::new(dialect, Command::OpContinue, &registers)
                    .initiated_by(command)
                    .to_string()
                    .is_empty()
            );
        }
        let value = ValueDisplay::new(kind, raw, dialect).granule(granule);
        prop_assert!(!value.to_string().is_empty());
        prop_assert!(!value.feature_register(raw % 8).to_string().is_empty());
    }
}

#[test]
fn every_code_is_kept() {
    for code in 0..=u8::MAX {
        assert_eq!(u8::from(Status::from(code)), code);
        for dialect in Dialect::ALL {
            assert_eq!(ExitReason::decode(code, dialect).encode(dialect), Some(code));
        }
    }
}
