//! Address range descriptors, donation requests, and the related flag words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rmi_abi::desc::{AddrRangeDesc, DonateRequest, list_capacity};
use rmi_abi::flags::{AddrSet, AuxMapFlags, UnprotMapFlags, UnprotectedDesc};
use rmi_abi::{Dialect, GranuleSize, Pa};

fuzz_target!(|input: (u64, Dialect, GranuleSize, AddrRangeDesc)| {
    let (word, dialect, granule, desc) = input;
    let decoded = AddrRangeDesc::decode(word, dialect, granule);
    if let Ok(again) = decoded.encode(dialect, granule) {
        assert_eq!(AddrRangeDesc::decode(again, dialect, granule), decoded);
    }
    if let Some(range) = decoded.range(granule)
        && !range.is_empty()
    {
        let whole = AddrRangeDesc::from_range(&range, decoded.size, decoded.state, granule);
        assert!(whole.is_none_or(|whole| whole == decoded));
    }
    if let Ok(encoded) = desc.encode(dialect, granule) {
        assert_eq!(AddrRangeDesc::decode(encoded, dialect, granule), desc);
    }
    let request = DonateRequest::decode(word, dialect);
    assert_eq!(DonateRequest::decode(request.encode(), dialect), request);
    let _ = request.bytes(granule);
    let _ = list_capacity(Pa::new(word), granule);
    if let Some(set) = AddrSet::decode(word) {
        assert_eq!(AddrSet::decode(set.encode()), Some(set));
    }
    if let Some(flags) = UnprotMapFlags::decode(word) {
        assert_eq!(UnprotMapFlags::decode(flags.encode()), Some(flags));
    }
    let flags = AuxMapFlags::decode(word);
    assert_eq!(AuxMapFlags::decode(flags.encode()), flags);
    for lpa2 in [false, true] {
        if let Some(desc) = UnprotectedDesc::decode(word, lpa2) {
            assert_eq!(desc.encode(lpa2), Some(word));
        }
    }
});
