//! The files of a Linux guest: the archive, the options, their places in RAM, the device tree.
#![expect(clippy::indexing_slicing, reason = "tests")]

use bare_metal::archive::{Archive, File};
use bare_metal::linux::device_tree::Description;
use bare_metal::linux::layout::{BLOCK, Layout, LayoutError, RAM};
use bare_metal::linux::options::{COMMAND_LINE, OptionsError};
use bare_metal::linux::{Files, Options};
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::measurement::ImageError;

/// An entry of an archive, as `cpio -o -H newc` makes it.
fn entry(name: &str, content: &[u8]) -> Vec<u8> {
    let mut numbers = [0; 13];
    numbers[6] = content.len();
    numbers[11] = name.len() + 1;
    let mut entry = b"070701".to_vec();
    for number in numbers {
        entry.extend(format!("{number:08X}").into_bytes());
    }
    entry.extend(name.bytes());
    entry.push(0);
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry.extend(content);
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let end: [(&str, &[u8]); 1] = [("TRAILER!!!", b"")];
    let entries = files.iter().chain(&end);
    entries.flat_map(|(name, content)| entry(name, content)).collect()
}

fn kernel(bytes: usize, image_size: u64) -> Vec<u8> {
    let mut image = vec![0xd5; bytes];
    image[8..16].fill(0);
    image[16..24].copy_from_slice(&image_size.to_le_bytes());
    image[24..32].copy_from_slice(&0b1010_u64.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

#[test]
fn an_archive_has_its_files() {
    let bytes = archive(&[("./one", b"1"), ("two", b"22222"), ("empty", b"")]);
    let mut memory = bytes.clone();
    memory.resize(bytes.len() + 100, 0xff);
    let found = Archive::find(&memory).unwrap();
    assert_eq!(found.bytes(), bytes.len());
    let files: Vec<_> = found.files().collect();
    let expected = [("one", &b"1"[..]), ("two", b"22222"), ("empty", b"")]
        .map(|(name, content)| File { name, content });
    assert_eq!(files, expected);
    assert_eq!(found.file("two"), Some(&b"22222"[..]));
    assert_eq!(found.file("TRAILER!!!"), None);
    assert_eq!(found.file("three"), None);
}

#[test]
fn an_archive_without_files() {
    let bytes = archive(&[]);
    assert_eq!(Archive::find(&bytes).unwrap().files().count(), 0);
    // The padding at the end may be missing.
    assert_eq!(bytes.len(), 124);
    assert_eq!(Archive::find(&bytes[..124]).unwrap().bytes(), 124);
    assert!(Archive::find(&bytes[..120]).is_none());
}

#[test]
fn damaged_archives_are_none() {
    assert!(Archive::find(&[]).is_none());
    let whole = archive(&[("name", b"content"), ("other", b"x")]);
    assert!(Archive::find(&whole).is_some());
    for length in 0..whole.len() {
        assert!(Archive::find(&whole[..length]).is_none(), "{length} bytes");
    }
    let without_end = entry("name", b"content");
    assert!(Archive::find(&without_end).is_none());
    let damaged = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        Archive::find(&bytes).is_none()
    };
    assert!(damaged(5, b'2'), "another format");
    assert!(damaged(6 + 8 * 6, b'F'), "a file beyond the end");
    assert!(damaged(6 + 8 * 6, b'x'), "no number");
    assert!(damaged(6 + 8 * 11, b'F'), "a name beyond the end");
    assert!(damaged(6 + 8 * 11 + 7, b'0'), "a name without its NUL");
    assert!(damaged(110, 0xff), "a name that is not text");
    assert!(damaged(114, b'!'), "a name that does not end");
    // Fields that do not matter.
    assert!(!damaged(6, b'7'));
}

#[test]
fn files_of_a_guest() {
    let bytes = archive(&[("initramfs", b"ramfs")]);
    assert_eq!(Files::find(&Archive::find(&bytes).unwrap()).unwrap().map(|_| ()), None);
    let bytes = archive(&[("Image", b"kernel")]);
    let (files, options) = Files::find(&Archive::find(&bytes).unwrap()).unwrap().unwrap();
    assert_eq!((files.kernel, files.initramfs), (&b"kernel"[..], &b""[..]));
    assert_eq!((files.command_line, options), (COMMAND_LINE, Options::DEFAULT));
    let all: [(&str, &[u8]); 4] = [
        ("Image", b"kernel"),
        ("initramfs", b"ramfs"),
        ("cmdline", b" quiet loglevel=3\n"),
        ("options", b"vcpus=3"),
    ];
    let bytes = archive(&all);
    let (files, options) = Files::find(&Archive::find(&bytes).unwrap()).unwrap().unwrap();
    assert_eq!((files.initramfs, files.command_line), (&b"ramfs"[..], "quiet loglevel=3"));
    assert_eq!(options.vcpus, 3);
    for name in ["cmdline", "options"] {
        let bytes = archive(&[("Image", b"kernel"), (name, b"\xff")]);
        let refused = Files::find(&Archive::find(&bytes).unwrap()).map(|_| ());
        assert_eq!(refused, Err(OptionsError::NotText(name)));
        assert!(refused.unwrap_err().to_string().contains(name));
    }
}

#[test]
fn options_are_words() {
    assert_eq!(Options::parse(" \n"), Ok(Options::default()));
    let text = "vcpus=4 cpus=3\nram=512 realms=2 runs=5 measured=1 compare=0 limit=77";
    let options = Options::parse(text).unwrap();
    let Options { vcpus, cpus, ram, realms, runs, measured, compare, limit, .. } = options;
    assert_eq!((vcpus, cpus, ram, realms, runs, measured, limit), (4, 3, 512, 2, 5, true, 77));
    assert!(!compare && Options::parse("compare=0 compare=1").unwrap().compare);
    assert!(!Options::parse("measured=1 measured=0").unwrap().measured);
    let most = "vcpus=16 cpus=65535 ram=262144 realms=16 runs=1000 limit=86400";
    assert!(Options::parse(most).is_ok());
    for word in most.split(' ') {
        let (name, most) = word.split_once('=').unwrap();
        let above = format!("{name}={}", most.parse::<u64>().unwrap() + 1);
        assert_eq!(Options::parse(&above), Err(OptionsError::Range(&above)));
        let none = format!("{name}=0");
        assert_eq!(Options::parse(&none), Err(OptionsError::Range(&none)));
        let text = format!("{name}=many");
        assert!(matches!(Options::parse(&text), Err(OptionsError::Number(..))), "{text}");
    }
    assert_eq!(Options::parse("compare=2"), Err(OptionsError::Range("compare=2")));
    assert_eq!(Options::parse("measured=2"), Err(OptionsError::Range("measured=2")));
    assert_eq!(Options::parse("vcpu=2"), Err(OptionsError::Unknown("vcpu=2")));
    assert_eq!(Options::parse("vcpus"), Err(OptionsError::Unknown("vcpus")));
    let errors = ["vcpus=0", "vcpus=x", "x=1"].map(|text| Options::parse(text).unwrap_err());
    assert_eq!(errors[0].to_string(), "`vcpus=0` is out of range");
    assert_eq!(errors[1].to_string(), "`vcpus=x`: invalid digit found in string");
    assert_eq!(errors[2].to_string(), "`x=1` is no option");
}

#[test]
fn files_have_places_in_ram() {
    let image = kernel(0x1800, 0x30_0000);
    let layout = Layout::new(&image, 0x1001, 64 << 20).unwrap();
    let at = |offset, bytes| IpaRange::with_size(Ipa::new(RAM.raw() + offset), bytes).unwrap();
    assert_eq!(layout.ram, at(0, 64 << 20));
    assert_eq!(layout.entry, RAM);
    assert_eq!(layout.kernel, at(0, 0x30_0000));
    assert_eq!(layout.tree, at(2 * BLOCK, BLOCK));
    assert_eq!(layout.initramfs, at(3 * BLOCK, 0x2000));
    assert_eq!(layout.initramfs_bytes, 0x1001);
}

#[test]
fn files_without_a_place() {
    let image = kernel(0x1800, BLOCK);
    let new = |initramfs, ram| Layout::new(&image, initramfs, ram).map(|_| ());
    assert_eq!(new(BLOCK, 3 * BLOCK), Ok(()));
    let (needed, ram) = (3 * BLOCK + 0x1000, 3 * BLOCK);
    assert_eq!(new(BLOCK + 1, ram), Err(LayoutError::TooSmall { needed, ram }));
    let needed = u64::MAX;
    assert_eq!(new(u64::MAX, ram), Err(LayoutError::TooSmall { needed, ram }));
    assert_eq!(new(u64::MAX - 0xfff, ram), Err(LayoutError::TooSmall { needed, ram }));
    let most = (1 << 39) - RAM.raw();
    assert_eq!(new(0, most), Ok(()));
    for ram in [0, BLOCK / 2, BLOCK + 0x1000, most + BLOCK] {
        assert_eq!(new(0, ram), Err(LayoutError::Ram(ram)));
    }
    let no_kernel = Layout::new(&[0; 64], 0, BLOCK);
    let error = ImageError::Magic { format: "arm64 Image" };
    assert_eq!(no_kernel, Err(LayoutError::Kernel(error)));
    let texts = [
        LayoutError::Kernel(error),
        LayoutError::Ram(5),
        LayoutError::TooSmall { needed: 32, ram: 16 },
    ]
    .map(|error| error.to_string());
    assert!(texts[0].starts_with("the kernel cannot be loaded: "), "{}", texts[0]);
    assert_eq!(texts[1], "0x5 bytes of RAM are not whole blocks of the protected half");
    assert_eq!(texts[2], "the files need 0x20 bytes of RAM, and there are 0x10");
}

fn value(tree: Fdt<'_>, path: &str, property: &str) -> Vec<u8> {
    let node = tree.find_node(path).unwrap_or_else(|| unreachable!("no {path}"));
    let found = node.properties().find(|found| found.name() == property);
    found.unwrap_or_else(|| unreachable!("{path} has no {property}")).value().to_vec()
}

fn cells(value: &[u8]) -> Vec<u32> {
    value.as_chunks::<4>().0.iter().map(|cell| u32::from_be_bytes(*cell)).collect()
}

fn names(node: FdtNode<'_>) -> Vec<String> {
    node.children().map(|child| child.name().to_owned()).collect()
}

fn description<'d>(
    layout: &'d Layout,
    mpidrs: &'d [u64],
    command_line: &'d str,
) -> Description<'d> {
    Description { layout, mpidrs, command_line, psci_method: "smc" }
}

#[test]
fn the_device_tree_describes_the_realm() {
    let layout = Layout::new(&kernel(0x1800, BLOCK), 0x1001, 64 << 20).unwrap();
    let mpidrs = [0, 1, 0x100];
    let blob = description(&layout, &mpidrs, "console=ttyAMA0 quiet").blob().unwrap();
    let tree = Fdt::new(&blob).unwrap();
    let top = [
        "chosen",
        "memory@40000000",
        "cpus",
        "psci",
        "interrupt-controller@8000000",
        "timer",
        "uart-clock",
        "serial@9000000",
    ];
    assert_eq!(names(tree.root()), top);
    assert_eq!(cells(&value(tree, "/", "#address-cells")), [2]);
    assert_eq!(cells(&value(tree, "/", "#size-cells")), [2]);
    assert_eq!(value(tree, "/chosen", "bootargs"), b"console=ttyAMA0 quiet\0");
    assert_eq!(value(tree, "/chosen", "stdout-path"), b"/serial@9000000\0");
    assert_eq!(cells(&value(tree, "/chosen", "linux,initrd-start")), [0, 0x4040_0000]);
    assert_eq!(cells(&value(tree, "/chosen", "linux,initrd-end")), [0, 0x4040_1001]);
    let memory = value(tree, "/memory@40000000", "reg");
    assert_eq!(cells(&memory), [0, 0x4000_0000, 0, 64 << 20]);
    assert_eq!(names(tree.find_node("/cpus").unwrap()), ["cpu@0", "cpu@1", "cpu@100"]);
    assert_eq!(cells(&value(tree, "/cpus/cpu@100", "reg")), [0, 0x100]);
    assert_eq!(value(tree, "/cpus/cpu@1", "enable-method"), b"psci\0");
    assert_eq!(value(tree, "/psci", "method"), b"smc\0");
    assert_eq!(value(tree, "/psci", "compatible"), b"arm,psci-1.0\0arm,psci-0.2\0");
    let gic = "/interrupt-controller@8000000";
    let frames = [0, 0x0800_0000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0x6_0000];
    assert_eq!(cells(&value(tree, gic, "reg")), frames);
    assert_eq!(cells(&value(tree, gic, "phandle")), cells(&value(tree, "/", "interrupt-parent")));
    assert_eq!(cells(&value(tree, gic, "#interrupt-cells")), [3]);
    assert_eq!(value(tree, gic, "interrupt-controller"), b"");
    let timers = cells(&value(tree, "/timer", "interrupts"));
    assert_eq!(timers, [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]);
    assert_eq!(cells(&value(tree, "/serial@9000000", "reg")), [0, 0x0900_0000, 0, 0x1000]);
    assert_eq!(cells(&value(tree, "/serial@9000000", "interrupts")), [0, 1, 4]);
    let clock = value(tree, "/uart-clock", "phandle");
    assert_eq!(
        cells(&value(tree, "/serial@9000000", "clocks")),
        [cells(&clock), cells(&clock)].concat()
    );
}

#[test]
fn a_device_tree_without_initial_ram_file_system() {
    let layout = Layout::new(&kernel(0x1800, BLOCK), 0, 64 << 20).unwrap();
    let blob = description(&layout, &[0], "").blob().unwrap();
    let chosen = Fdt::new(&blob).unwrap().find_node("/chosen").unwrap();
    let properties: Vec<_> =
        chosen.properties().map(|property| property.name().to_owned()).collect();
    assert_eq!(properties, ["bootargs", "stdout-path"]);
    // Strings of a tree end with NUL.
    let nul = description(&layout, &[0], "a\0b");
    assert!(nul.blob().is_err());
}
