//! Feature registers: every getter returns for any bits, and no bit is lost.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rmi_abi::GranuleSize;
use rmi_abi::feature::Features;
use rmi_abi::realm::HashAlgorithm;

fuzz_target!(|input: (Features, HashAlgorithm, GranuleSize, usize)| {
    let (features, hash, granule, index) = input;
    let registers = features.registers();
    let unknown = features.unknown(index);
    assert_eq!(unknown & !registers.get(index).copied().unwrap_or(0), 0);
    let _ = (features.max_ipa_width(), features.lpa2(), features.sve_vl(), features.num_bps());
    let _ = (features.num_wps(), features.pmu_num_ctrs(), features.supports_hash(hash));
    let _ = (features.supports_granule(granule), features.max_recs(), features.gic_num_lrs());
    let _ = (features.l0gptsz().map(|size| size.bytes()), features.pps().map(|pps| pps.bits()));
    let _ = (features.l0gpt_block_delegate(), features.max_output_width());
    let _ = (features.pdev_max_vdevs_order(), features.realm_max_vdevs_order());
    let _ = (features.max_aux_planes(), features.rtt_plane(), features.mec_count());
});
