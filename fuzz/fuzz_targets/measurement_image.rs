//! Guest images: any file is refused or yields segments that can be placed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use realm_measurement::image::{Image, ImageError, MAX_SEGMENTS};
use rmi_abi::Ipa;

fn check(image: Result<Image<'_>, ImageError>) {
    let image = match image {
        Ok(image) => image,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!((1..=MAX_SEGMENTS).contains(&image.segments().len()));
    assert!(image.range().contains(image.entry()));
    let mut end = image.range().base();
    for segment in image.segments() {
        let (all, content) = (segment.granules(), segment.content_granules());
        assert!(end <= all.base() && !all.is_empty());
        assert!(segment.content.len() as u64 <= segment.bytes && segment.bytes <= all.bytes());
        assert_eq!(content.bytes() + segment.vacant_granules().bytes(), all.bytes());
        let mut at = all.base();
        for region in segment.regions() {
            assert_eq!(region.ipa, at);
            at = region.range().top();
        }
        assert_eq!(at, all.top());
        end = all.top();
    }
    assert_eq!(end, image.range().top());
}

fuzz_target!(|input: (u64, &[u8])| {
    let (at, bytes) = input;
    check(Image::elf(bytes));
    check(Image::arm64(bytes, Ipa::new(at)));
    check(Image::arm64(bytes, Ipa::new(at & !0x1f_ffff)));
    check(Image::flat(bytes, Ipa::new(at & !0xfff)));
});
