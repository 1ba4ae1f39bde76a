//! Guest images: where their parts are placed, and which images are refused.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use realm_measurement::image::arm64::Arm64Header;
use realm_measurement::image::{Image, ImageError, MAX_SEGMENTS};
use rmi_abi::Ipa;

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// An arm64 `Image` of `len` bytes.
fn arm64(len: usize, text_offset: u64, image_size: u64, flags: u64) -> Vec<u8> {
    let mut file = vec![0xd5; len];
    for (at, word) in [(8, text_offset), (16, image_size), (24, flags)] {
        put(&mut file, at, &word.to_le_bytes());
    }
    put(&mut file, 56, b"ARM\x64");
    file
}

/// A program header.
#[derive(Clone, Copy, Debug)]
struct Load {
    kind: u32,
    offset: u64,
    vaddr: u64,
    paddr: u64,
    filesz: u64,
    memsz: u64,
}

const fn load(offset: u64, addr: u64, filesz: u64, memsz: u64) -> Load {
    Load { kind: 1, offset, vaddr: addr, paddr: addr, filesz, memsz }
}

/// An ELF file of 64 KiB with these program headers.
fn elf(entry: u64, loads: &[Load]) -> Vec<u8> {
    let mut file: Vec<u8> = (0..=255).cycle().take(0x1_0000).collect();
    put(&mut file, 0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    put(&mut file, 16, &2_u16.to_le_bytes());
    put(&mut file, 18, &183_u16.to_le_bytes());
    put(&mut file, 20, &1_u32.to_le_bytes());
    for (at, word) in [(24, entry), (32, 64), (40, 0)] {
        put(&mut file, at, &word.to_le_bytes());
    }
    put(&mut file, 48, &[0; 16]);
    put(&mut file, 52, &64_u16.to_le_bytes());
    put(&mut file, 54, &56_u16.to_le_bytes());
    put(&mut file, 56, &u16::try_from(loads.len()).unwrap().to_le_bytes());
    for (n, load) in loads.iter().enumerate() {
        let at = 64 + n * 56;
        put(&mut file, at, &load.kind.to_le_bytes());
        put(&mut file, at + 4, &5_u32.to_le_bytes());
        for (k, word) in [load.offset, load.vaddr, load.paddr, load.filesz, load.memsz, 0x1000]
            .iter()
            .enumerate()
        {
            put(&mut file, at + 8 + k * 8, &word.to_le_bytes());
        }
    }
    file
}

/// First and last address of the granules, of those with content, and the length of the content.
fn places(image: &Image<'_>) -> Vec<(u64, u64, u64, usize)> {
    image
        .segments()
        .map(|segment| {
            let (all, content) = (segment.granules(), segment.content_granules());
            assert_eq!(content.bytes() + segment.vacant_granules().bytes(), all.bytes());
            assert_eq!(content.top(), segment.vacant_granules().base());
            let content_top = content.top().raw();
            (all.base().raw(), all.top().raw(), content_top, segment.content.len())
        })
        .collect()
}

#[test]
fn a_flat_image_is_one_segment() {
    let bytes = [7; 0x1801];
    let image = Image::flat(&bytes, Ipa::new(0x4000_0000)).unwrap();
    assert_eq!(image.entry(), Ipa::new(0x4000_0000));
    assert_eq!(places(&image), [(0x4000_0000, 0x4000_2000, 0x4000_2000, 0x1801)]);
    assert_eq!(image.range(), image.segments().next().unwrap().granules());
    assert_eq!(
        format!("{image:?}"),
        "Image { entry: Ipa(0x40000000), segments: [Segment { ipa: Ipa(0x40000000), content: \
         [6145 bytes], bytes: 6145 }] }"
    );

    assert_eq!(Image::flat(&[], Ipa::new(0)), Err(ImageError::Empty));
    let unaligned = Image::flat(&bytes, Ipa::new(0x800));
    assert!(matches!(
        unaligned,
        Err(ImageError::Unaligned { what: "place", address: 0x800, to: 0x1000, .. })
    ));
    let end = Ipa::new(0u64.wrapping_sub(0x1000));
    let wraps = Image::flat(&bytes, end);
    assert!(matches!(wraps, Err(ImageError::Overflow { bytes: 0x1801, .. })));
}

#[test]
fn an_arm64_image_is_placed_by_its_header_with_space_for_its_bss() {
    let ram = Ipa::new(0x4000_0000);
    let file = arm64(0x2100, 0x8_0000, 0x9000, 0b1010);
    let image = Image::arm64(&file, ram).unwrap();
    assert_eq!(image.entry(), Ipa::new(0x4008_0000));
    assert_eq!(places(&image), [(0x4008_0000, 0x4008_9000, 0x4008_3000, 0x2100)]);
    assert_eq!(image.segments().next().unwrap().content, file);
    let header = Arm64Header::parse(&file).unwrap();
    assert_eq!((header.page_size(), header.goes_anywhere()), (Some(4096), true));

    // More bytes in the file than in memory: the file counts.
    let file = arm64(0x2100, 0, 0x1000, 0);
    assert_eq!(places(&Image::arm64(&file, ram).unwrap())[0].1, 0x4000_3000);
    // Before Linux 3.17 the text offset had the kernel's byte order.
    let file = arm64(0x2000, 0x800_0000, 0, 0);
    assert_eq!(Image::arm64(&file, ram).unwrap().entry(), Ipa::new(0x4008_0000));
}

#[test]
fn errors_in_an_arm64_image_are_reported() {
    let ram = Ipa::new(0x4000_0000);
    let file = arm64(0x1000, 0, 0x1000, 0);
    assert_eq!(Image::arm64(&[], ram), Err(ImageError::Empty));
    for length in 1..64 {
        let cut = Image::arm64(&file[..length], ram);
        let bytes = length as u64;
        assert!(
            matches!(cut, Err(ImageError::Truncated { needed: 64, bytes: b, .. }) if b == bytes)
        );
    }
    assert!(matches!(Image::arm64(&[0; 64], ram), Err(ImageError::Magic { .. })));
    assert_eq!(Image::arm64(&arm64(0x1000, 0, 0x1000, 1), ram), Err(ImageError::BigEndian));
    for (file, ram, what) in [
        (arm64(0x1000, 0, 0x1000, 0), 0x4010_0000, "RAM"),
        (arm64(0x1000, 0x8_0800, 0x1000, 0), 0x4000_0000, "text offset"),
    ] {
        let refused = Image::arm64(&file, Ipa::new(ram));
        assert!(matches!(refused, Err(ImageError::Unaligned { what: w, .. }) if w == what));
    }
    for (offset, size) in [(u64::MAX - 0xfff, 0x1000), (0, u64::MAX)] {
        let file = arm64(0x1000, offset, size, 0);
        assert!(matches!(Image::arm64(&file, ram), Err(ImageError::Overflow { .. })));
    }
}

#[test]
fn an_elf_file_goes_to_its_physical_addresses() {
    let mut text = load(0x1000, 0x8000_0000, 0x1234, 0x1234);
    text.vaddr = 0xffff_8000_0000_0000;
    let data = load(0x3000, 0x7000_0000, 0x10, 0x5000);
    let bss = load(0xffff_0000, 0x9000_0000, 0, 0x1001);
    let note = Load { kind: 4, ..load(u64::MAX, 0x123, 9, 1) };
    let file = elf(0xffff_8000_0000_0010, &[text, note, bss, data, load(0, 1, 0, 0)]);
    let image = Image::elf(&file).unwrap();
    assert_eq!(image.entry(), Ipa::new(0x8000_0010));
    assert_eq!(
        places(&image),
        [
            (0x7000_0000, 0x7000_5000, 0x7000_1000, 0x10),
            (0x8000_0000, 0x8000_2000, 0x8000_2000, 0x1234),
            (0x9000_0000, 0x9000_2000, 0x9000_0000, 0),
        ]
    );
    let (base, top) = (image.range().base().raw(), image.range().top().raw());
    assert_eq!((base, top), (0x7000_0000, 0x9000_2000));
    assert_eq!(image.segments().nth(1).unwrap().content, &file[0x1000..0x2234]);
}

/// What linkers write by default: segments one after the other in the file, each at the same offset
/// in its page in memory.
#[test]
fn an_elf_segment_inside_a_granule_includes_what_precedes_it() {
    let base = 0x20_0000;
    let file = elf(
        base + 0x1_01d8,
        &[
            load(0, base, 0x1d8, 0x1d8),
            load(0x1d8, base + 0x1_01d8, 0x34, 0x34),
            load(0x1210, base + 0x2_0210, 0x8, 0x8008),
            load(0x1218, base + 0x3_0ff8, 0, 9),
        ],
    );
    let image = Image::elf(&file).unwrap();
    assert_eq!(image.entry(), Ipa::new(base + 0x1_01d8));
    assert_eq!(
        places(&image),
        [
            (base, base + 0x1000, base + 0x1000, 0x1d8),
            (base + 0x1_0000, base + 0x1_1000, base + 0x1_1000, 0x20c),
            (base + 0x2_0000, base + 0x2_9000, base + 0x2_1000, 0x218),
            (base + 0x3_0000, base + 0x3_2000, base + 0x3_0000, 0),
        ]
    );
    let contents: Vec<_> = image.segments().map(|segment| segment.content).collect();
    assert_eq!(contents, [&file[..0x1d8], &file[..0x20c], &file[0x1000..0x1218], &[]]);

    // A granule can hold one segment only.
    let file = elf(base, &[load(0, base, 0x100, 0x100), load(0x800, base + 0x800, 1, 1)]);
    assert!(matches!(Image::elf(&file), Err(ImageError::Overlap { .. })));
}

#[test]
fn errors_in_an_elf_file_are_reported() {
    let good = elf(0x8000_0000, &[load(0x1000, 0x8000_0000, 0x100, 0x100)]);
    assert!(Image::elf(&good).is_ok());
    let with = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        put(&mut file, at, bytes);
        file
    };
    assert_eq!(Image::elf(&[]), Err(ImageError::Empty));
    assert_eq!(Image::elf(&with(0, b"MZ")), Err(ImageError::Magic { format: "ELF file" }));
    assert!(matches!(
        Image::elf(&good[..63]),
        Err(ImageError::Truncated { needed: 64, bytes: 63, .. })
    ));
    for (at, bytes, error) in [
        (4, &[1][..], ImageError::Class(1)),
        (4, &[9], ImageError::Class(9)),
        (5, &[2], ImageError::BigEndian),
        (5, &[0], ImageError::ByteOrder(0)),
        (6, &[0], ImageError::Version(0)),
        (20, &[2], ImageError::Version(2)),
        (16, &[1], ImageError::Type(1)),
        (16, &[4], ImageError::Type(4)),
        (18, &[62], ImageError::Machine(62)),
        (54, &[32], ImageError::HeaderSize(32)),
        (56, &[0], ImageError::NoSegments),
        (64, &[3], ImageError::Interpreter),
        (64, &[6], ImageError::NoSegments),
    ] {
        assert_eq!(Image::elf(&with(at, bytes)), Err(error), "byte {at}");
    }
    let many = with(56, &[0xff, 0xff]);
    let many = Image::elf(&many);
    assert!(matches!(many, Err(ImageError::TooManySegments { max: MAX_SEGMENTS, .. })));
    // A shared object is a position independent executable.
    assert!(Image::elf(&with(16, &[3])).is_ok());
    // Program headers, and content, beyond the file.
    for (at, length) in [(32, 8), (64 + 8, 8), (64 + 32, 16)] {
        let file = with(at, &[0xff; 16][..length]);
        let refused = Image::elf(&file);
        assert!(matches!(refused, Err(ImageError::Truncated { needed: u64::MAX, .. })), "{at}");
    }

    let base = 0x8000_0000;
    let refusal = |entry, loads: &[Load]| Image::elf(&elf(entry, loads)).unwrap_err();
    for entry in [base - 4, base + 0x100, 0] {
        let error = refusal(entry, &[load(0x1000, base, 0x100, 0x1000)]);
        assert!(matches!(error, ImageError::Entry { entry: e, .. } if e == entry));
    }
    let error = refusal(base + 2, &[load(0x1000, base, 0x100, 0x100)]);
    assert!(matches!(error, ImageError::Unaligned { what: "entry", .. }));
    let error = refusal(base, &[load(0x1000, base + 0x10, 0x100, 0x100)]);
    assert!(matches!(error, ImageError::Unaligned { what: "segment", .. }));
    let error = refusal(base, &[load(0x1000, base, 0x101, 0x100)]);
    assert!(matches!(error, ImageError::MoreContent { file: 0x101, memory: 0x100, .. }));
    let error = refusal(base, &[load(0x1000, base, 0x100, u64::MAX)]);
    assert!(matches!(error, ImageError::Overflow { .. }));
    let error = refusal(
        base,
        &[load(0, base, 1, 0x2001), load(0, base + 0x4000, 1, 1), load(0, base + 0x2000, 1, 1)],
    );
    let pair = (Ipa::new(base + 0x2000), Ipa::new(base));
    assert!(matches!(error, ImageError::Overlap { ipa, other, .. } if (ipa, other) == pair));
    let many: Vec<Load> = (0..17).map(|n| load(0, base + n * 0x1000, 1, 1)).collect();
    assert!(Image::elf(&elf(base, &many[..16])).is_ok());
    let error = refusal(base, &many);
    assert!(matches!(error, ImageError::TooManySegments { max: MAX_SEGMENTS, .. }));
}

/// What holds for every image.
fn check(image: &Image<'_>) {
    let segments: Vec<_> = image.segments().collect();
    assert!(!segments.is_empty() && segments.len() <= MAX_SEGMENTS);
    assert!(segments.windows(2).all(|pair| pair[0].granules().top() <= pair[1].granules().base()));
    for segment in &segments {
        assert!(segment.bytes > 0 && segment.content.len() as u64 <= segment.bytes);
        assert!(image.range().contains_range(&segment.granules()));
        assert!(segment.granules().bytes() - segment.bytes < 0x1000);
    }
    assert!(image.range().contains(image.entry()));
}

proptest! {
    #[test]
    fn any_program_headers_give_an_image_or_an_error(
        entry in 0u64..0x8000,
        loads in prop::collection::vec(
            (0u64..0x1_1000, 0u64..8, prop::option::of(any::<u64>()), 0u64..0x3000, 0u64..0x3000),
            0..6,
        ),
        flips in prop::collection::vec((0usize..400, any::<u8>()), 0..3),
    ) {
        let loads: Vec<Load> = loads
            .into_iter()
            .map(|(offset, page, paddr, filesz, more)| Load {
                paddr: paddr.unwrap_or(page << 12),
                ..load(offset, page << 12, filesz, filesz + more)
            })
            .collect();
        let mut file = elf(entry & !3, &loads);
        for (at, to) in flips {
            file[at] = to;
        }
        if let Ok(image) = Image::elf(&file) {
            check(&image);
        }
    }

    #[test]
    fn any_header_gives_an_arm64_image_or_an_error(
        words in any::<[u64; 3]>(),
        small in any::<bool>(),
        ram in any::<u64>(),
        len in 0usize..0x3000,
    ) {
        let [offset, size, flags] =
            words.map(|word| if small { (word % 0x40) << 12 } else { word });
        let mut file = arm64(0x3000, offset, size, flags);
        file.truncate(len);
        for ram in [ram, ram & 0x7fff_ffff_ffe0_0000] {
            if let Ok(image) = Image::arm64(&file, Ipa::new(ram)) {
                check(&image);
                prop_assert!(len >= Arm64Header::BYTES);
            }
            if let Ok(image) = Image::flat(&file, Ipa::new(ram & !0xfff)) {
                check(&image);
            }
        }
    }
}
