//! Granules, and shared memory.

use rmi_abi::Ipa;
use rsi::{Conduit, Granule, OutOfRange, SharedMemory};

use crate::fake::Fake;

#[test]
fn a_granule_is_a_page_of_zeros_whose_content_is_not_printed() {
    let mut granule = Granule::default();
    assert_eq!(std::ptr::from_ref(&granule).addr() % 4096, 0);
    assert_eq!(size_of::<Granule>(), 4096);
    assert!(granule.bytes().iter().all(|byte| *byte == 0));
    granule.bytes_mut()[7] = 0x77;
    assert_eq!((granule.bytes()[7], granule.clone().bytes()[8]), (0x77, 0));
    assert_eq!(format!("{granule:?}"), "Granule { .. }");
}

#[test]
fn shared_memory_is_accessed_within_its_bounds() {
    let mut words = [0u64; 4];
    // SAFETY: nothing else uses the words meanwhile.
    let shared = unsafe { SharedMemory::new(words.as_mut_ptr().cast(), 32) };
    assert_eq!(shared.bytes(), 32);
    assert_eq!(shared.write_u64(24, 0x1122_3344_5566_7788), Ok(()));
    assert_eq!(shared.read_u64(24), Ok(0x1122_3344_5566_7788));
    let mut bytes = [0; 3];
    assert_eq!(shared.read(25, &mut bytes), Ok(()));
    assert_eq!(bytes, [0x77, 0x66, 0x55]);
    assert_eq!(shared.write(29, &[1, 2, 3]), Ok(()));
    assert_eq!(shared.read_u64(24), Ok(0x0302_0144_5566_7788));
    assert_eq!(shared.write(30, &[9, 9, 9]), Err(OutOfRange));
    assert_eq!(shared.read(30, &mut bytes), Err(OutOfRange));
    assert_eq!(shared.read(usize::MAX, &mut bytes), Err(OutOfRange));
    assert_eq!(shared.read(32, &mut []), Ok(()));
    assert_eq!(shared.read(33, &mut []), Err(OutOfRange));
    assert_eq!((shared.read_u64(25), shared.read_u64(20)), (Err(OutOfRange), Err(OutOfRange)));
    assert_eq!(
        (shared.write_u64(25, 0), shared.write_u64(20, 0)),
        (Err(OutOfRange), Err(OutOfRange))
    );
    assert_eq!(bytes, [0x77, 0x66, 0x55]);
    let text = "the access is not within the shared memory, or not aligned";
    assert_eq!(OutOfRange.to_string(), text);
    assert_eq!(words, [0, 0, 0, 0x0302_0144_5566_7788]);
}

#[test]
fn a_reference_to_a_conduit_has_its_addresses() {
    fn ipa(conduit: impl Conduit, address: *mut u8) -> Option<Ipa> {
        conduit.ipa(address)
    }
    let fake = Fake::default();
    let address = std::ptr::without_provenance_mut(0x1234);
    assert_eq!(ipa(&fake, address), None);
    fake.offset.set(Some(0x5_0000));
    assert_eq!(ipa(&fake, address), Some(Ipa::new(0x5_1234)));
}
