//! QEMU's firmware configuration device: values that are given on QEMU's command line.
//!
//! Source: QEMU, "QEMU Firmware Configuration (fw_cfg) Device".

/// The key of the directory.
const DIRECTORY: u16 = 0x19;
/// Bytes of a name in the directory, which ends with a zero byte.
const NAME: usize = 56;
/// Files are not looked at beyond so many.
const MOST_FILES: u32 = 0x1000;

/// The registers of the device.
pub trait Device {
    /// Selects an item, and its first byte.
    fn select(&mut self, key: u16);
    /// The next byte of the item; 0 behind its end.
    fn next(&mut self) -> u8;
}

fn bytes<const N: usize>(device: &mut impl Device) -> [u8; N] {
    core::array::from_fn(|_| device.next())
}

/// Reads the file with that name as far as `into` reaches; returns what was read, or `None` if
/// there is no such file.
pub fn read<'b>(device: &mut impl Device, name: &str, into: &'b mut [u8]) -> Option<&'b [u8]> {
    device.select(DIRECTORY);
    let files = u32::from_be_bytes(bytes(device)).min(MOST_FILES);
    for _ in 0..files {
        let size = u32::from_be_bytes(bytes(device));
        let key = u16::from_be_bytes(bytes(device));
        let _reserved: [u8; 2] = bytes(device);
        let found: [u8; NAME] = bytes(device);
        if found.split(|byte| *byte == 0).next() == Some(name.as_bytes()) {
            device.select(key);
            let size = usize::try_from(size).unwrap_or(usize::MAX).min(into.len());
            let (content, _) = into.split_at_mut(size);
            content.fill_with(|| device.next());
            return Some(content);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// A device with these files, of which the first has the key 0x20.
    struct Files {
        files: Vec<(&'static str, &'static [u8])>,
        rest: Vec<u8>,
    }

    impl Device for Files {
        fn select(&mut self, key: u16) {
            let mut item = Vec::new();
            if key == 0x19 {
                item.extend(u32::try_from(self.files.len()).unwrap_or(0).to_be_bytes());
                for (key, (name, content)) in (0x20_u16..).zip(&self.files) {
                    item.extend(u32::try_from(content.len()).unwrap_or(0).to_be_bytes());
                    item.extend(key.to_be_bytes());
                    item.extend([0xff, 0xff]);
                    item.extend(name.bytes().chain(core::iter::repeat(0)).take(56));
                }
            } else if let Some((_, content)) = self.files.get(usize::from(key - 0x20)) {
                item.extend_from_slice(content);
            }
            item.reverse();
            self.rest = item;
        }

        fn next(&mut self) -> u8 {
            self.rest.pop().unwrap_or(0)
        }
    }

    fn files() -> Files {
        Files { files: [("opt/a", &b"one"[..]), ("opt/ab", b"twelve")].into(), rest: Vec::new() }
    }

    #[test]
    fn a_file_is_found_by_its_whole_name() {
        let mut into = [9; 8];
        assert_eq!(read(&mut files(), "opt/ab", &mut into), Some(&b"twelve"[..]));
        assert_eq!(read(&mut files(), "opt/a", &mut into), Some(&b"one"[..]));
        assert_eq!(read(&mut files(), "opt/", &mut into), None);
        assert_eq!(read(&mut files(), "opt/abc", &mut into), None);
        assert_eq!(read(&mut files(), "opt/ab", &mut [0; 3]), Some(&b"twe"[..]));
        assert_eq!(read(&mut Files { files: Vec::new(), rest: Vec::new() }, "", &mut into), None);
    }

    /// No device at all: reads are all ones.
    struct Nothing;

    impl Device for Nothing {
        fn select(&mut self, _: u16) {}
        fn next(&mut self) -> u8 {
            0xff
        }
    }

    #[test]
    fn a_directory_without_end_is_left() {
        assert_eq!(read(&mut Nothing, "opt/a", &mut [0; 8]), None);
    }
}
