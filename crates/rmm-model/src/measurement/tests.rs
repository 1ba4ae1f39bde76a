//! The test vectors of the 1.0 reference, which are also those of TF-RMM.

use alloc::format;
use alloc::string::String;

use rmi_abi::Ipa;
use rmi_abi::realm::RealmParamsPage;
use rmi_abi::rec::{Mpidr, RecParams};
use zerocopy::FromZeros;

use super::*;

fn hex(value: &Value, bytes: usize) -> String {
    value.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// The five steps of the vectors: create, RIPAS descriptor (1.0 only), measured page, unmeasured
/// page, REC.
fn steps(algorithm: HashAlgorithm) -> [String; 5] {
    let bytes = algorithm.digest_bytes().unwrap();
    let mut params = RealmParamsPage::new_zeroed();
    params.s2sz = 40;
    params.num_bps = 5;
    params.num_wps = 3;
    params.hash_algo = algorithm.into();
    params.rpv = [9; 64];
    let mut m = Measurements::new(algorithm, hash(algorithm, params.measured().as_bytes()));
    let mut out: [String; 5] = Default::default();
    out[0] = hex(&m.get(0).unwrap(), bytes);

    m.add_ripas(&IpaRange::with_size(Ipa::new(0x8000_0000), 0x20_0000).unwrap());
    out[1] = hex(&m.get(0).unwrap(), bytes);

    m.add_data(0x8020_0000, 1, Some(&[0xa5; 4096]));
    out[2] = hex(&m.get(0).unwrap(), bytes);
    m.add_data(0x8020_1000, 0, None);
    out[3] = hex(&m.get(0).unwrap(), bytes);
    let rec = RecParams {
        runnable: true,
        mpidr: Mpidr::from_index(7),
        pc: 0x8020_0000,
        gprs: [0x8400_0000, 0, 0, 0, 0, 0, 0, 0],
    };
    m.add_rec(rec.encode().measured().as_bytes());
    out[4] = hex(&m.get(0).unwrap(), bytes);
    out
}

#[test]
fn rim_vectors_sha_256() {
    assert_eq!(
        steps(HashAlgorithm::Sha256),
        [
            "f33498f22eed8d51fb28b95769b27275a8c69a469e26b0050f1e809c4e0146b4",
            "f1716fdda6e64db71c74619256e348fab4818fd547d9abc6b8cab34ab5a8001c",
            "74ce397e9857648778773ddbb4a33a6059c5b7a935a78a705d328bfda27e570a",
            "fe5b0fee29f53091aef1130ed8d94e3b1a33d8af37c9dcebbc956a8e115839bc",
            "4cbc9849ebc9079c0c8422a9a64ba436cf78e586ba1da5ff90aceefe56fd35da",
        ]
    );
}

#[test]
fn rim_vectors_sha_512() {
    assert_eq!(
        steps(HashAlgorithm::Sha512),
        [
            "1cda1fc639e5604da537f04e7f2d6f8e18894c86f4b64f3397783b090053ba0d81dd585810b5aad1e5c2ac5c65fa0c8ad8b125031ae2d3a987f0d84dd775c4c6",
            "32a6b1c70fbe3244066bcbddac340775fbc989549b8458cda14abb837c02ffe1abd813273b5eeb5b582aaa5204732a6e56358b09d2137860e8f20d0b9c661d35",
            "9287b520dfe7dbb64965cffa78fa0f910e2b29f3792e6536857dd6fd39260a456f8fe61c769e3ed6159d28ac9481ee215f36fc6fae0a3c6d218851cd546b4165",
            "42abcf9373d98eec4ee563e6ea2994d2a6509239f424c37b3ef48d97f361d53ac48c91e61bf3c5edf09442db368538e9083838a306445a93b2248967778979f7",
            "87b8aa088e8fb672d02cbdf2b5a04ef6a8ee3e337ceb600a6d13f97c1c31a8966890561b686d0eea64367106b97269f6e98567d4ab3b61a0f1ccb288e36ca01c",
        ]
    );
}

#[test]
fn rem_vectors() {
    let value: alloc::vec::Vec<u8> = (0..0x20).collect();
    for (algorithm, expected) in [
        (HashAlgorithm::Sha256, "bb2275c49f28ad52cae6d55e34a974a58c7a3ba26f976e8ecbbe7a536918dc73"),
        (
            HashAlgorithm::Sha512,
            "1b3f258fc7df037a1324b4952aaf709dcfc46aaf1af751e62808b48ab70de5ab4a98f4738472bdf0b708229d955f592d1b8fbbe4d134c65a0b9c6fce562778aa",
        ),
    ] {
        let mut m = Measurements::new(algorithm, [1; 64]);
        assert!(m.extend(1, &value));
        assert_eq!(hex(&m.get(1).unwrap(), algorithm.digest_bytes().unwrap()), expected);
        assert!(!m.extend(0, &value) && !m.extend(5, &value));
        assert_eq!(m.get(0), Some([1; 64]));
    }
}
