//! The typed enums and flags against the tables of names, codes and fields: two statements of the
//! same facts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Debug;

use rmi_abi::describe::{ENUMERATIONS, Enumeration, REGISTERS, Register};
use rmi_abi::dialect::{Dialect, InterfaceVersion};
use rmi_abi::{
    address, desc, device, feature, flags, granule, psci, realm, rec, result, rsi, rtt, run,
};

/// A type with codes and the enumeration that lists them.
struct Codes {
    names: &'static [&'static str],
    /// What a code is, if it is known, and the code again.
    read: fn(i64) -> Option<(String, i64)>,
}

fn known<T: Debug + Copy + Into<N>, N: Into<i64>>(value: T) -> Option<(String, i64)> {
    let name = format!("{value:?}");
    (!name.starts_with("Unknown")).then(|| (name, value.into().into()))
}

macro_rules! codes {
    ($($type:ty: $number:ty = $($name:literal),+;)*) => {
        &[$(Codes {
            names: &[$($name),+],
            read: |code| {
                let number = <$number>::try_from(code).ok()?;
                known::<$type, $number>(<$type>::from(number))
            },
        }),*]
    };
}

const CODES: &[Codes] = codes! {
    result::Status: u8 = "RmiStatusCode";
    realm::HashAlgorithm: u8 = "RmiHashAlgorithm", "RsiHashAlgorithm";
    run::PmuOverflowStatus: u8 = "RmiPmuOverflowStatus";
    run::Response: u8 = "RmiResponse", "RsiResponse";
    rtt::Ripas: u8 = "RmiRipas", "RsiRipas";
    granule::TrackingRegionState: u8 = "RmiTrackingRegionState";
    granule::MemCategory: u8 = "RmiMemCategory";
    granule::GptParState: u8 = "RmiGptParState";
    realm::MecPolicy: u8 = "RmiMecPolicy";
    realm::LfaPolicy: u8 = "RmiLfaPolicy";
    realm::S2apEncoding: u8 = "RmiRttS2APEncoding";
    feature::RttPlaneFeature: u8 = "RmiRttPlaneFeature";
    feature::L0Gptsz: u8 = "RmiL0Gptsz";
    feature::Pps: u8 = "RmiPps";
    device::PdevState: u8 = "RmiPdevState";
    device::PdevCategory: u8 = "RmiPdevCategory";
    device::VdevState: u8 = "RmiVdevState";
    device::SignatureAlgorithm: u8 = "RmiSignatureAlgorithm";
    device::DevCommStatus: u8 = "RmiDevCommStatus";
    device::DevCommObject: u8 = "RmiDevCommObject";
    device::DevCommProtocol: u8 = "RmiDevCommProtocol";
    device::PdevStreamType: u8 = "RmiPdevStreamType";
    device::PsmmuIrq: u8 = "RmiPsmmuIrq";
    psci::PsciReturnCode: i64 = "PsciReturnCode";
    rsi::PlaneExitReason: u8 = "RsiPlaneExitReason";
};

/// Enumerations that are one bit or a part of another type; each has its own check below, or says
/// where it is.
const ELSEWHERE: &[&str] = &[
    // Flags.
    "RmiDataMeasureContent",
    "RmiEmulatedMmio",
    "RmiFeature",
    "RmiInjectSea",
    "RmiRecRunnable",
    "RmiTrap",
    "RmiContinueBeyond",
    // Decoded by dialect: see `exit_reasons_and_entry_states`.
    "RmiRecExitReason",
    "RmiRttEntryState",
    // Parts of words: see `parts_of_words`.
    "RmiOpMemReq",
    "RmiOpCanCancel",
    "RmiOpMemState",
    "RmiOpMemContig",
    "RmiAddrBlockSize",
    "RmiRttAddrType",
    "RmiGranuleSize",
    "RmiTrackingRegionSize_4KB",
    "RmiTrackingRegionSize_16KB",
    "RmiTrackingRegionSize_64KB",
    // A `u64`: see `return_codes_of_the_rsi`.
    "RsiCommandReturnCode",
];

fn find(name: &str) -> &'static Enumeration {
    ENUMERATIONS.iter().chain(rsi::ENUMERATIONS).find(|e| e.name == name).unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "all codes, slow and without bytes to check")]
fn types_know_the_codes_of_their_enumeration_and_no_others() {
    let mut seen: BTreeSet<_> = ELSEWHERE.iter().copied().collect();
    for codes in CODES {
        let listed: BTreeSet<_> = codes
            .names
            .iter()
            .flat_map(|name| find(name).values)
            .map(|value| value.number)
            .collect();
        for code in -300..=300 {
            let read = (codes.read)(code);
            assert_eq!(
                read.is_some(),
                listed.contains(&code),
                "{:?} {code}: {read:?}",
                codes.names
            );
            if let Some((_, again)) = read {
                assert_eq!(again, code);
            }
        }
        seen.extend(codes.names);
    }
    for enumeration in ENUMERATIONS.iter().chain(rsi::ENUMERATIONS) {
        assert!(seen.remove(enumeration.name), "{} is not checked", enumeration.name);
        seen.remove(enumeration.name);
    }
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
#[cfg_attr(miri, ignore = "all codes, slow and without bytes to check")]
fn exit_reasons_and_entry_states() {
    let spelled = |name: &str| name.trim_start_matches("RMI_EXIT_").replace('_', "").to_lowercase();
    for dialect in Dialect::ALL {
        for code in 0..=u8::MAX {
            let listed = find("RmiRecExitReason").name_of(code.into(), dialect);
            let read = match run::ExitReason::decode(code, dialect) {
                run::ExitReason::Unknown(_) => None,
                reason => Some(format!("{reason:?}").to_lowercase()),
            };
            match (listed, read, code, dialect) {
                (Some("DEV_MEM_MAP"), Some(name), ..) => assert_eq!(name, "vdevvalidatemapping"),
                // Deliberate, see the list in the oracle test.
                (None, Some(name), 10, Dialect::TfRmm2026_07) => assert_eq!(name, "vdevp2pbinding"),
                (listed, read, ..) => assert_eq!(listed.map(spelled), read, "{dialect} {code}"),
            }
            let state = rtt::RttEntryState::from(code);
            let listed = find("RmiRttEntryState").name_of(code.into(), dialect);
            assert_eq!(state.is_aux_destroyed(dialect), listed == Some("AUX_DESTROYED"));
            assert_eq!(state.is_arch_dev(dialect), listed == Some("ARCH_DEV"));
            let typed = !matches!(state, rtt::RttEntryState::Unknown(_));
            assert!(typed || listed.is_none() || [4, 5].contains(&code));
            assert_eq!(typed, code <= 3);
        }
    }
}

#[test]
fn parts_of_words() {
    let number = |enumeration: &str, name: &str| {
        let value = find(enumeration).values.iter().find(|value| value.name == name).unwrap();
        u64::try_from(value.number).unwrap()
    };
    let incomplete = |req| result::ResultWord::incomplete(req, false).0;
    for (req, name) in [
        (result::OpMemReq::None, "NONE"),
        (result::OpMemReq::Donate, "DONATE"),
        (result::OpMemReq::Reclaim, "RECLAIM"),
    ] {
        assert_eq!((incomplete(req) >> 8) & 0b11, number("RmiOpMemReq", name));
    }
    let can = result::ResultWord::incomplete(result::OpMemReq::None, true).0 >> 10;
    assert_eq!(can, number("RmiOpCanCancel", "CAN_CANCEL"));
    let request = |size, contiguous, state| {
        desc::DonateRequest { size, count: 0, contiguous, state }.encode()
    };
    use desc::{BlockSize, OpMemState};
    for (state, name) in [
        (OpMemState::Delegated, "DELEGATED"),
        (OpMemState::Undelegated, "UNDELEGATED"),
        (OpMemState::Conditional, "CONDITIONAL"),
    ] {
        assert_eq!(request(BlockSize::Page, false, state) >> 17, number("RmiOpMemState", name));
    }
    let contiguous = request(BlockSize::Page, true, OpMemState::Delegated) >> 16;
    assert_eq!(contiguous, number("RmiOpMemContig", "CONTIG"));
    for (size, name) in
        BlockSize::ALL.into_iter().zip(["PAGE_L3", "BLOCK_L2", "BLOCK_L1", "BLOCK_L0"])
    {
        assert_eq!(size.code(), number("RmiAddrBlockSize", name));
    }
    use flags::AddrSet;
    for (set, name) in
        [(AddrSet::None, "NONE"), (AddrSet::Single, "SINGLE"), (AddrSet::List { count: 0 }, "LIST")]
    {
        assert_eq!(set.encode(), number("RmiRttAddrType", name));
    }
    use address::GranuleSize;
    for (size, name, regions) in [
        (GranuleSize::Size4KiB, "4KB", &["1GB"][..]),
        (GranuleSize::Size16KiB, "16KB", &["32MB", "64GB"]),
        (GranuleSize::Size64KiB, "64KB", &["512MB", "4TB"]),
    ] {
        assert_eq!(u64::from(size.code()), number("RmiGranuleSize", name));
        for code in 0..=u8::MAX {
            let bytes = granule::TrackingRegionSize(code).bytes(size);
            let listed = regions.get(usize::from(code)).map(|region| {
                assert_eq!(number(&format!("RmiTrackingRegionSize_{name}"), region), code.into());
                let (digits, unit) = region.split_at(region.len() - 2);
                let shift = ["MB", "GB", "TB"].iter().position(|u| *u == unit).unwrap() * 10 + 20;
                digits.parse::<u64>().unwrap() << shift
            });
            assert_eq!(bytes, listed);
        }
    }
}

#[test]
fn return_codes_of_the_rsi() {
    for value in find("RsiCommandReturnCode").values {
        let code = rsi::ReturnCode::from(u64::try_from(value.number).unwrap());
        assert_eq!(code.name(), Some(value.name));
    }
    for value in find("PsciReturnCode").values {
        assert_eq!(psci::PsciReturnCode::from(value.number).name(), Some(value.name));
    }
    for value in find("RmiStatusCode").values {
        assert_eq!(result::Status::from(u8::try_from(value.number).unwrap()).name(), value.name);
    }
}

/// The flags of a `bitflags` type: name and bits.
fn flags_of<F: bitflags::Flags<Bits = u64>>() -> Vec<(&'static str, u64)> {
    let named = F::FLAGS.iter().filter(|flag| !flag.name().is_empty());
    named.map(|flag| (flag.name(), flag.value().bits())).collect()
}

#[test]
fn flags_are_where_the_tables_say() {
    let sets = [
        ("RmiDataFlags", flags_of::<flags::DataFlags>()),
        ("RmiContinueFlags", flags_of::<flags::ContinueFlags>()),
        ("RmiRealmFlags", flags_of::<realm::RealmFlags0>()),
        ("RmiRealmFlags0", flags_of::<realm::RealmFlags0>()),
        ("RmiRealmFlags1", flags_of::<realm::RealmFlags1>()),
        ("RmiRecCreateFlags", flags_of::<rec::RecCreateFlags>()),
        ("RmiRecEnterFlags", flags_of::<run::RecEnterFlags>()),
        ("RmiPdevFlags", flags_of::<device::PdevFlags>()),
        ("RmiVdevFlags", flags_of::<device::VdevFlags>()),
        ("RmiVdevMeasureFlags", flags_of::<device::VdevMeasureFlags>()),
        ("RmiDevCommExitFlags", flags_of::<device::DevCommExitFlags>()),
        ("RmiPsmmuFlags", flags_of::<device::PsmmuFlags>()),
        ("RmiPsmmuIrqSet", flags_of::<device::PsmmuIrqSet>()),
        ("RmiPsmmuIrqResult", flags_of::<device::PsmmuIrqResult>()),
        ("RmiVsmmuCmdFlags", flags_of::<device::VsmmuCmdFlags>()),
        ("RmiVsmmuEventFlags", flags_of::<device::VsmmuEventFlags>()),
        ("RsiRipasChangeFlags", flags_of::<rsi::RipasChangeFlags>()),
        ("RsiFeatureRegister0", flags_of::<rsi::FeatureRegister0>()),
        ("RsiPlaneEnterFlags", flags_of::<rsi::PlaneEnterFlags>()),
    ];
    // The flag says what is answered or chosen, the field what is asked.
    let named = |flag: &str| {
        let field = match flag {
            "RIPAS_REJECT" => "ripas_response",
            "S2AP_REJECT" => "s2ap_response",
            "DEV_MEM_REJECT" => "dev_mem_response",
            "STOP" => "beyond",
            "LFA_ALLOW" => "lfa_policy",
            "MEC_PRIVATE" => "mec_policy",
            "RTT_S2AP_INDIRECT" => "rtt_s2ap_encoding",
            "CATEGORY_LSB" | "CATEGORY_MSB" => "category",
            other => other,
        };
        field.to_lowercase()
    };
    for (name, flags) in sets {
        let register = REGISTERS.iter().chain(rsi::REGISTERS).find(|r| r.name == name).unwrap();
        for field in register.fields {
            let bits: u64 = flags
                .iter()
                .filter(|(flag, _)| named(flag) == field.name.to_lowercase())
                .fold(0, |all, (_, bits)| all | bits);
            assert_ne!(bits & field.mask(), 0, "{name}.{}", field.name);
            assert_eq!(bits & !field.mask(), 0, "{name}.{}", field.name);
        }
        if name != "RmiRealmFlags" {
            for (flag, bits) in &flags {
                let field = register.fields.iter().find(|f| f.name.to_lowercase() == named(flag));
                assert!(field.is_some_and(|f| f.mask() & bits == *bits), "{name} {flag}");
            }
        }
    }
}

/// Each field of a word moves exactly the part of the typed value that it should.
#[test]
fn fields_of_words_are_where_the_tables_say() {
    use address::GranuleSize;
    let field = |register: &str, name: &str, dialect| {
        Register::find(register).unwrap().fields(dialect).find(|f| f.name == name).unwrap().mask()
    };
    for dialect in Dialect::ALL.into_iter().filter(|dialect| dialect.is_2_0()) {
        for (name, granule) in [
            ("RmiAddrRangeDesc4KB", GranuleSize::Size4KiB),
            ("RmiAddrRangeDesc16KB", GranuleSize::Size16KiB),
            ("RmiAddrRangeDesc64KB", GranuleSize::Size64KiB),
        ] {
            let read = |word| desc::AddrRangeDesc::decode(word, dialect, granule);
            assert_eq!(read(field(name, "size", dialect)).size, desc::BlockSize::Level0);
            assert_eq!(
                read(field(name, "count", dialect)).count,
                desc::AddrRangeDesc::max_count(granule)
            );
            let base = read(field(name, "addr", dialect)).base.raw();
            assert_eq!(base, (1 << 52) - granule.bytes());
            let all = read(field(name, "state", dialect)).state;
            let widest = if dialect == Dialect::V2_0Bet3 {
                desc::OpMemState::Reserved
            } else {
                desc::OpMemState::Undelegated
            };
            assert_eq!(all, widest);
            let rest = read(!Register::find(name).unwrap().known(dialect));
            assert_eq!(rest, read(0));
        }
        let read = |word| desc::DonateRequest::decode(word, dialect);
        let name = "RmiOpMemDonateReq";
        assert_eq!(read(field(name, "count", dialect)).count, 0x3fff);
        assert!(read(field(name, "contig", dialect)).contiguous);
        assert_eq!(read(!Register::find(name).unwrap().known(dialect)), read(0));
        for name in ["RmiRttProtMapFlags", "RmiRttUnmapFlags", "RmiRttUnprotMapFlags"] {
            let list = flags::AddrSet::List { count: 0x3fff }.encode();
            assert_eq!(
                list,
                field(name, "list_count", dialect) | 2 & field(name, "oaddr_type", dialect)
            );
        }
        let unprot = |memattr: u8, s2ap| {
            let addresses = flags::AddrSet::None;
            flags::UnprotMapFlags { addresses, memattr: memattr.into(), s2ap }.encode()
        };
        assert_eq!(unprot(7, 0), field("RmiRttUnprotMapFlags", "memattr", dialect));
        assert_eq!(unprot(0, 0xf), field("RmiRttUnprotMapFlags", "s2ap", dialect));
        let aux = |tree_index, block, invalid_pri| {
            flags::AuxMapFlags { tree_index, block, invalid_pri }.encode()
        };
        assert_eq!(aux(3, false, false), field("RmiRttAuxMapFlags", "tree_index", dialect));
        assert_eq!(aux(0, true, false), field("RmiRttAuxMapFlags", "block", dialect));
        assert_eq!(aux(0, false, true), field("RmiRttAuxMapFlags", "invalid_pri", dialect));
        let unmap = flags::AuxUnmapFlags { tree_index: 3 }.encode();
        assert_eq!(unmap, field("RmiRttAuxUnmapFlags", "tree_index", dialect));
        let syndrome =
            |name| device::PsmmuEventSyndrome(field("PsmmuEventSyndrome", name, dialect));
        assert!(syndrome("rnw").is_read() && syndrome("s2").is_stage_2());
        assert_eq!(syndrome("class").class(), 0b11);
    }
    for dialect in Dialect::ALL {
        let name = "RmiRecMpidr";
        for (index, part) in ["aff0", "aff1", "aff2", "aff3"].into_iter().enumerate() {
            let mpidr = rec::Mpidr::from_raw(field(name, part, dialect)).unwrap();
            let set: Vec<_> =
                (0..4).filter(|i| mpidr.affinity().into_iter().nth(*i) != Some(0)).collect();
            assert_eq!(set, [index]);
        }
        assert!(rec::Mpidr::from_raw(1 << 4).is_none());
    }
    let v1 = Dialect::V1_0;
    let version = |name| InterfaceVersion(field("RmiInterfaceVersion", name, v1));
    assert_eq!((version("minor").major(), version("minor").minor()), (0, 0xffff));
    assert_eq!((version("major").major(), version("major").minor()), (0x7fff, 0));
    let word = |address, memattr: u8, s2ap| {
        let address = address::Pa::new(address);
        flags::UnprotectedDesc { address, memattr: memattr.into(), s2ap }.encode(true).unwrap()
    };
    let none = flags::S2Access { read: false, write: false };
    let name = "UnprotectedDescriptor";
    assert_eq!(word(0, 7, none), field(name, "MemAttr", v1));
    assert_eq!(word(0, 0, flags::S2Access::READ_WRITE), field(name, "S2AP", v1));
    assert_eq!(word((1 << 48) - 0x1000, 0, none), field(name, "OA_47_12", v1));
    assert_eq!(word(0b11 << 48, 0, none), field(name, "OA_49_48_LPA2", v1));
    assert_eq!(word(0b11 << 50, 0, none), field(name, "OA_51_50_LPA2", v1));
    let sysreg = rsi::REGISTERS.iter().find(|r| r.name == "RsiSysregAddress").unwrap();
    let part =
        |name| rsi::SysregAddress(sysreg.fields.iter().find(|f| f.name == name).unwrap().mask());
    assert_eq!(part("op0").parts(), (3, 0, 0, 0, 0));
    assert_eq!(part("op1").parts(), (0, 7, 0, 0, 0));
    assert_eq!(part("crn").parts(), (0, 0, 15, 0, 0));
    assert_eq!(part("crm").parts(), (0, 0, 0, 15, 0));
    assert_eq!(part("op2").parts(), (0, 0, 0, 0, 7));
    assert!(part("sysreg128").is_128_bit());
}

/// Every bit field of the tables is checked by one of the tests: here, or in the feature register's
/// own.
#[test]
fn no_bit_field_is_left_out() {
    let source = include_str!("typed.rs");
    for register in REGISTERS.iter().chain(rsi::REGISTERS) {
        let feature = register.name.starts_with("RmiFeatureRegister");
        // The same word as the RMI's.
        let version = register.name == "RsiInterfaceVersion";
        let here = source.contains(&format!("\"{}\"", register.name));
        if !(feature || version || here) {
            panic!("{} is not checked", register.name);
        }
    }
}
