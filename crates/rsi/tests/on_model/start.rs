//! Version, features, configuration, measurements.

use rmi_abi::Dialect;
use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::realm::HashAlgorithm;
use rmi_abi::rsi::{Command, FeatureRegister0, RealmConfigPage, ReturnCode, Version};
use rsi::{Error, Measurement, Rsi};

use crate::model::{self, CpuConduit, Setup};
use crate::{on_each, with};

#[test]
fn the_newest_common_version_is_used() {
    for (version, word) in
        [(Version::V1_0, (1, 0)), (Version::V1_1, (1, 1)), (Version::V2_0, (1, 1))]
    {
        let mut setup = Setup::new(Dialect::TfRmm2026_07);
        setup.options.rsi = version;
        with(setup, move |rsi| {
            assert_eq!(rsi.version(), InterfaceVersion::new(word.0, word.1));
            assert_eq!(rsi.features(), Ok(FeatureRegister0::empty()));
            assert_eq!(rsi.feature_register(9), Ok(0));
            // The conduit is that of the CPU.
            assert!(rsi.conduit().with(|cpu| cpu.state().pc) > model::RAM);
        });
    }
}

#[test]
fn the_configuration_is_that_of_the_host() {
    for version in Version::ALL {
        let mut setup = Setup::new(Dialect::TfRmm2026_07);
        setup.options.rsi = version;
        with(setup, move |rsi| {
            let mut page = RealmConfigPage::zeroed();
            page.num_aux_planes = 7;
            page.ats_plane = 7;
            let config = rsi.realm_config(&mut page).unwrap();
            assert_eq!(config.space.width(), 40);
            assert_eq!(config.space.shared_bit(), 1 << 39);
            assert_eq!(config.hash_algorithm, HashAlgorithm::Sha256);
            let mut value = [0; 64];
            value[..4].copy_from_slice(b"test");
            assert_eq!(config.personalization_value, value);
            // 16 list registers, 5 bits of priority.
            let has_vtr = version > Version::V1_0;
            assert_eq!(config.gicv3_vtr & 0x1f, if has_vtr { 15 } else { 0 });
            assert_eq!((config.aux_planes, config.ats_plane), (0, 0));
        });
    }
}

#[test]
fn measurements_are_read_and_extended() {
    on_each(|rsi| {
        let rim = rsi.measurement(Measurement::Initial).unwrap();
        assert_ne!(rim[..32], [0; 32]);
        assert_eq!(rim[32..], [0; 32]);
        let rems = &Measurement::ALL[1..];
        // The last one with as many as there can be.
        for (bytes, rem) in (61..).zip(rems) {
            assert_eq!(rsi.measurement(*rem), Ok([0; 64]));
            assert_eq!(rsi.extend_measurement(*rem, &[7; 64][..bytes]), Ok(()));
            assert_ne!(rsi.measurement(*rem), Ok([0; 64]));
        }
        let values: Vec<_> = rems.iter().map(|rem| rsi.measurement(*rem).unwrap()).collect();
        assert!((1..4).all(|number| values[number] != values[number - 1]));
        assert_eq!(rsi.measurement(Measurement::Initial), Ok(rim));

        let command = Command::MeasurementExtend;
        let status = ReturnCode::ErrorInput;
        let refused = rsi.extend_measurement(Measurement::Initial, b"no").unwrap_err();
        assert_eq!((refused.command(), refused.status()), (command, Some(status)));
        let long = rsi.extend_measurement(Measurement::Extensible0, &[0; 65]).unwrap_err();
        assert!(matches!(long, Error::Argument { value: 65, .. }), "{long}");
        assert_eq!(rsi.extend_measurement(Measurement::Extensible0, &[]), Ok(()));
    });
}

/// SHA-256 of 32 zeros followed by the value, as TF-RMM extends.
#[test]
fn an_extension_hashes_what_is_given() {
    with(Setup::new(Dialect::TfRmm2026_07), |rsi| {
        rsi.extend_measurement(Measurement::Extensible1, b"abcdefghi").unwrap();
        let expected = "84282db0860081e8c1fa35d3253661e116852335d6545b519b54bd2744c43f74";
        let value = rsi.measurement(Measurement::Extensible1).unwrap();
        let text: String = value[..32].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, expected);
    });
}

#[test]
fn a_host_is_no_realm() {
    // PSCI is there, and RSI is not, if the number is not known: as under any other firmware.
    struct NoRsi<'c>(CpuConduit<'c>);
    // SAFETY: the answers are those of the inner conduit, for a number that it does not have.
    unsafe impl rsi::Conduit for NoRsi<'_> {
        unsafe fn call(&self, mut registers: rsi::Registers) -> rsi::Registers {
            registers[0] = 0xc400_0fff;
            // SAFETY: the call does nothing.
            unsafe { self.0.call(registers) }
        }

        fn ipa(&self, address: *mut u8) -> Option<rmi_abi::Ipa> {
            self.0.ipa(address)
        }
    }
    let program = |conduit: CpuConduit<'_>| {
        assert_eq!(Rsi::open(NoRsi(conduit)).err(), Some(rsi::OpenError::NotARealm));
    };
    model::run(Setup::new(Dialect::TfRmm2026_07), program, |_| (), None);
}
