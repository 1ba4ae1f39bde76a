//! What is called: function identifiers and argument registers, as the oracle names them.

use rmi_abi::Ipa;
use rmi_abi::psci::PsciFunction;
use rmi_abi::rsi::{
    HostCallBlock, MemPermission, PlaneRunPage1_1, PlaneRunPage2_0, RealmConfigPage,
    RipasChangeFlags, SysregAddress,
};
use rmi_abi::rtt::Ripas;
use rsi::{
    Granule, Measurement, PermissionCookie, PlaneRunPage, Psci, RealmConfig, Registers, Rsi,
};
use serde_json::Value;

use crate::fake::{Fake, range, rsi};

fn oracle() -> Value {
    serde_json::from_str(include_str!("../rsi.json")).unwrap()
}

/// The number in a text such as `0xC4000190`.
fn number(text: &Value) -> u64 {
    u64::from_str_radix(text.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// The registers of the one call that `f` makes, which succeeds with zeros.
fn called(f: impl FnOnce(&Rsi<Fake>)) -> Registers {
    let rsi = rsi(&[&[0]]);
    f(&rsi);
    let calls = rsi.conduit().calls.borrow();
    assert_eq!(calls.len(), 1);
    calls[0]
}

/// Checks the call of a command: its inputs by name.
fn check(name: &str, registers: Registers, inputs: &[(&str, u64)]) {
    let oracle = oracle();
    let commands = oracle["commands"].as_array().unwrap();
    let command = commands.iter().find(|command| command["name"] == name).unwrap();
    let mut expected = [0; 18];
    expected[0] = number(&command["fid"]);
    let named = command["inputs"].as_array().unwrap();
    for input in &named[1..] {
        let register: usize = input["reg"].as_str().unwrap()[1..].parse().unwrap();
        let of_name = inputs.iter().find(|(name, _)| input["name"] == *name);
        let Some((_, value)) = of_name else { panic!("{name} has {}", input["name"]) };
        expected[register] = *value;
    }
    assert_eq!(inputs.len() + 1, named.len(), "{name}");
    assert_eq!(registers, expected, "{name}");
}

#[test]
fn version_features_and_configuration() {
    let fake = Fake::default();
    fake.then(&[&[1, 0x1_0000, 0x1_0000], &[0, 0x1_0000, 0x1_0000]]);
    let rsi = Rsi::open(fake).unwrap();
    let calls = rsi.conduit().calls.borrow();
    check("RSI_VERSION", calls[0], &[("req", 0x1_0001)]);
    check("RSI_VERSION", calls[1], &[("req", 0x1_0000)]);
    check("RSI_FEATURES", called(|rsi| _ = rsi.features()), &[("index", 0)]);
    check("RSI_FEATURES", called(|rsi| _ = rsi.feature_register(7)), &[("index", 7)]);
    let mut page = RealmConfigPage::zeroed();
    let at = std::ptr::from_mut(&mut page).addr() as u64 & 0xffff;
    let call = called(|rsi| assert!(rsi.realm_config(&mut page).is_err()));
    check("RSI_REALM_CONFIG", call, &[("addr", at)]);
}

#[test]
fn measurements_and_tokens() {
    let values: Vec<String> = (0..8).map(|n| format!("value_{n}")).collect();
    for (number, which) in Measurement::ALL.into_iter().enumerate() {
        let index = ("index", number as u64);
        assert_eq!(which.index(), number as u64);
        check("RSI_MEASUREMENT_READ", called(|rsi| _ = rsi.measurement(which)), &[index]);
        let bytes: Vec<u8> = (1..=61).collect();
        let call = called(|rsi| rsi.extend_measurement(which, &bytes).unwrap());
        let word = |n: usize| std::array::from_fn(|i| bytes.get(8 * n + i).copied().unwrap_or(0));
        let mut inputs = vec![index, ("size", 61)];
        let words = values.iter().enumerate();
        inputs.extend(words.map(|(n, name)| (name.as_str(), u64::from_le_bytes(word(n)))));
        check("RSI_MEASUREMENT_EXTEND", call, &inputs);
    }
    let challenge = std::array::from_fn(|byte| byte.to_le_bytes()[0]);
    let names: Vec<String> = (0..8).map(|n| format!("challenge_{n}")).collect();
    let inputs: Vec<_> = (0..8)
        .map(|n| (names[n].as_str(), 0x0706_0504_0302_0100 + 0x0808_0808_0808_0808 * n as u64))
        .collect();
    let call = called(|rsi| _ = rsi.attestation_token(&challenge));
    check("RSI_ATTESTATION_TOKEN_INIT", call, &inputs);
    let mut granule = Granule::zeroed();
    let at = std::ptr::from_mut(&mut granule).addr() as u64 & 0xffff;
    for (space, size) in [(1, 1), (4096, 4096), (5000, 4096)] {
        let rsi = rsi(&[&[0, 0x4000], &[0, 0]]);
        let mut token = rsi.attestation_token(&challenge).unwrap();
        assert_eq!(token.size_bound(), 0x4000);
        token.next_part(&mut granule, &mut vec![0; space]).unwrap();
        let inputs = [("addr", at), ("offset", 0), ("size", size)];
        check("RSI_ATTESTATION_TOKEN_CONTINUE", rsi.conduit().calls.borrow()[1], &inputs);
    }
}

#[test]
fn memory() {
    let (base, top) = (range().base().raw(), range().top().raw());
    for (ripas, code) in [(Ripas::Empty, 0), (Ripas::Ram, 1)] {
        for (flags, bits) in [(RipasChangeFlags::empty(), 0), (RipasChangeFlags::DESTROYED, 1)] {
            // SAFETY: the call does nothing.
            let call =
                called(|rsi| assert!(unsafe { rsi.set_ripas(range(), ripas, flags) }.is_err()));
            let inputs = [("base", base), ("top", top), ("ripas", code), ("flags", bits)];
            check("RSI_IPA_STATE_SET", call, &inputs);
        }
    }
    let (command, base, top) = ("RSI_IPA_STATE_SET", ("base", base), ("top", top));
    // SAFETY: the calls do nothing.
    let call = called(|rsi| assert!(unsafe { rsi.claim_ram(range()) }.is_err()));
    check(command, call, &[base, top, ("ripas", 1), ("flags", 0)]);
    // SAFETY: as above.
    let call = called(|rsi| assert!(unsafe { rsi.unshare(range()) }.is_err()));
    check(command, call, &[base, top, ("ripas", 1), ("flags", 1)]);
    let space = rsi::IpaSpace::new(40).unwrap();
    // SAFETY: as above.
    let call = called(|rsi| assert!(unsafe { rsi.share(&space, range()) }.is_err()));
    check(command, call, &[base, top, ("ripas", 0), ("flags", 1)]);
    check("RSI_IPA_STATE_GET", called(|rsi| _ = rsi.ripas(range())), &[base, top]);
}

#[test]
fn planes_and_permissions() {
    let call = called(|rsi| _ = rsi.permission(2, 3));
    check("RSI_MEM_GET_PERM_VALUE", call, &[("plane", 2), ("index", 3)]);
    let call = called(|rsi| rsi.set_permission(2, 3, MemPermission::ReadWritePx).unwrap());
    check("RSI_MEM_SET_PERM_VALUE", call, &[("plane", 2), ("index", 3), ("value", 14)]);
    let (base, top) = (("base", range().base().raw()), ("top", range().top().raw()));
    let first = PermissionCookie::default();
    let call = called(|rsi| assert!(rsi.set_permission_index(range(), 5, first).is_err()));
    check("RSI_MEM_SET_PERM_INDEX", call, &[base, top, ("index", 5), ("cookie", 0)]);
    let register = SysregAddress::new(3, 0, 1, 0, 0);
    let encoding = ("encoding", 0xc080);
    let call = called(|rsi| _ = rsi.plane_register(1, register));
    check("RSI_PLANE_SYSREG_READ", call, &[("plane", 1), encoding]);
    let value = 0x1111_2222_3333_4444_5555_6666_7777_8888;
    let call = called(|rsi| rsi.set_plane_register(1, register, value).unwrap());
    let (low, high) = (0x5555_6666_7777_8888, 0x1111_2222_3333_4444);
    let inputs = [("plane", 1), encoding, ("value_lo", low), ("value_hi", high)];
    check("RSI_PLANE_SYSREG_WRITE", call, &inputs);

    let (mut old, mut new) = (PlaneRunPage1_1::zeroed(), PlaneRunPage2_0::zeroed());
    let at = std::ptr::from_mut(&mut old).addr() as u64 & 0xffff;
    // SAFETY: the call does nothing.
    let call = called(|rsi| _ = unsafe { rsi.enter_plane(3, &mut old) });
    let run = oracle()["commands"].as_array().unwrap().iter().find_map(|command| {
        let name = &command["inputs"][2]["name"];
        (command["name"] == "RSI_PLANE_ENTER").then(|| name.as_str().unwrap().to_owned())
    });
    check("RSI_PLANE_ENTER", call, &[("plane", 3), (&run.unwrap(), at)]);
    old.exit.elr_el2 = 0x1234;
    (new.exit.elr_el2, new.exit.exit_reason) = (0x5678, 2);
    assert_eq!(old.plane_exit().elr_el2, 0x1234);
    // SAFETY: as above.
    let exit = unsafe { rsi(&[&[0]]).enter_plane(1, &mut new) }.unwrap();
    assert_eq!((exit.elr_el2, exit.reason), (0x5678, rmi_abi::rsi::PlaneExitReason::Host));
}

#[test]
fn both_halves_of_a_plane_register_are_read() {
    let rsi = rsi(&[&[0, 0x1111, 0x2222]]);
    assert_eq!(rsi.plane_register(1, SysregAddress(0)), Ok(0x2222_0000_0000_0000_1111));
}

#[test]
fn calls_to_the_host() {
    let mut block = HostCallBlock::zeroed();
    let at = std::ptr::from_mut(&mut block).addr() as u64 & 0xffff;
    check("RSI_HOST_CALL", called(|rsi| rsi.host_call(&mut block).unwrap()), &[("addr", at)]);
}

#[test]
fn psci_functions_have_their_numbers_and_arguments() {
    let called = |f: &dyn Fn(&Psci<&Fake>)| {
        let fake = Fake::default();
        fake.then(&[&[0]]);
        f(&Psci::new(&fake));
        fake.calls.take()[0]
    };
    let oracle = oracle();
    let check = |name: &str, registers: Registers, arguments: &[u64]| {
        let functions =
            oracle["psci"].as_array().or_else(|| oracle["psci"]["functions"].as_array());
        let function = functions.unwrap().iter().find(|function| function["name"] == name).unwrap();
        let mut expected = [0; 18];
        expected[0] = number(&function["fid"]);
        expected[1..=arguments.len()].copy_from_slice(arguments);
        assert_eq!(registers, expected, "{name}");
    };
    check("PSCI_VERSION", called(&|psci| _ = psci.version()), &[]);
    let on = called(&|psci| {
        // SAFETY: nothing starts.
        unsafe { psci.cpu_on(0x1_0002_0304, Ipa::new(0x8000), 9) }.unwrap();
    });
    check("PSCI_CPU_ON", on, &[0x1_0002_0304, 0x8000, 9]);
    check("PSCI_CPU_OFF", called(&|psci| _ = psci.cpu_off()), &[]);
    check("PSCI_CPU_SUSPEND", called(&|psci| psci.cpu_suspend().unwrap()), &[]);
    check("PSCI_AFFINITY_INFO", called(&|psci| _ = psci.affinity_info(0x304)), &[0x304]);
    check("PSCI_SYSTEM_OFF", called(&|psci| _ = psci.system_off()), &[]);
    check("PSCI_SYSTEM_RESET", called(&|psci| _ = psci.system_reset()), &[]);
    let features = called(&|psci| _ = psci.has(PsciFunction::CpuOn64));
    check("PSCI_FEATURES", features, &[0xc400_0003]);
}

/// Every field of the configuration is where the oracle has it.
#[test]
fn the_configuration_is_laid_out_as_the_oracle_says() {
    let oracle = oracle();
    let structures = oracle["structs"].as_array().unwrap();
    let version = |name: &str| {
        let of_name = |one: &&Value| one["name"] == "RsiRealmConfig" && one["version"] == name;
        structures.iter().find(of_name)
    };
    let newest = version("2.0").or_else(|| version("1.1")).unwrap();
    let mut words = vec![0u8; 0x1000];
    for field in newest["fields"].as_array().unwrap() {
        let (offset, width) = (field["offset"].as_u64().unwrap(), field["width"].as_u64().unwrap());
        let value: u64 = match field["name"].as_str().unwrap() {
            "ipa_width" => 44,
            "hash_algo" => 1,
            "num_aux_planes" => 0x1_0000_0003,
            "gicv3_vtr" => 0x9000_0005,
            "ats_plane" => 0x2_0000_0001,
            "rpv" => 0x8877_6655_4433_2211,
            other => panic!("{other}"),
        };
        let (offset, width) = (usize::try_from(offset).unwrap(), usize::try_from(width).unwrap());
        let width = width.min(8);
        words[offset..offset + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
    let mut page = RealmConfigPage::zeroed();
    let at = std::ptr::from_mut(&mut page).cast::<u8>();
    for (offset, byte) in words.iter().enumerate() {
        // SAFETY: the page has so many bytes, and all of its fields are numbers.
        unsafe { at.add(offset).write(*byte) };
    }
    let config = RealmConfig::decode(&page).unwrap();
    assert_eq!(config.space.width(), 44);
    assert_eq!(config.hash_algorithm, rmi_abi::realm::HashAlgorithm::Sha512);
    assert_eq!((config.aux_planes, config.ats_plane), (0x1_0000_0003, 0x2_0000_0001));
    assert_eq!(config.gicv3_vtr, 0x9000_0005);
    assert_eq!(config.personalization_value[..8], 0x8877_6655_4433_2211u64.to_le_bytes());
}
