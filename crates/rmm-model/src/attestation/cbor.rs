//! An encoder of CBOR with definite lengths, in the shortest form.
//!
//! Source: RFC 8949, 3.1 and 4.2.1. The order of a map's keys is the caller's.

use alloc::vec::Vec;

/// The eight major types, those that are needed.
#[derive(Clone, Copy)]
enum Major {
    Unsigned = 0,
    Negative = 1,
    Bytes = 2,
    Text = 3,
    Array = 4,
    Map = 5,
    Tag = 6,
}

/// An item that grows.
pub(super) struct Encoder {
    encoded: Vec<u8>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { encoded: Vec::new() }
    }

    /// The encoded items.
    pub(super) fn finish(self) -> Vec<u8> {
        self.encoded
    }

    /// The head of an item: its major type, and a number in as few bytes as can be.
    fn head(&mut self, major: Major, number: u64) -> &mut Self {
        let major = (major as u8) << 5;
        let [.., e, f, g, h] = number.to_be_bytes();
        match number {
            0..24 => self.encoded.push(major | h),
            24..0x100 => self.encoded.extend([major | 24, h]),
            0x100..0x1_0000 => self.encoded.extend([major | 25, g, h]),
            0x1_0000..0x1_0000_0000 => self.encoded.extend([major | 26, e, f, g, h]),
            _ => {
                self.encoded.push(major | 27);
                self.encoded.extend(number.to_be_bytes());
            }
        }
        self
    }

    pub(super) fn int(&mut self, number: i64) -> &mut Self {
        match u64::try_from(number) {
            Ok(number) => self.head(Major::Unsigned, number),
            // -1 - n is !n in two's complement.
            Err(_) => self.head(Major::Negative, (!number).cast_unsigned()),
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.head(Major::Bytes, bytes.len() as u64);
        self.encoded.extend(bytes);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.head(Major::Text, text.len() as u64);
        self.encoded.extend(text.bytes());
        self
    }

    /// Begins an array; as many items follow.
    pub(super) fn array(&mut self, items: u64) -> &mut Self {
        self.head(Major::Array, items)
    }

    /// Begins a map; as many keys follow, each with its value.
    pub(super) fn map(&mut self, entries: u64) -> &mut Self {
        self.head(Major::Map, entries)
    }

    /// Tags the item that follows.
    pub(super) fn tag(&mut self, tag: u64) -> &mut Self {
        self.head(Major::Tag, tag)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::Encoder;

    fn encoded(encode: impl FnOnce(&mut Encoder)) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encode(&mut encoder);
        encoder.finish()
    }

    /// The examples are those of RFC 8949, appendix A.
    #[test]
    fn numbers_take_as_few_bytes_as_can_be() {
        for (number, expected) in [
            (0, &[0x00][..]),
            (23, &[0x17]),
            (24, &[0x18, 0x18]),
            (255, &[0x18, 0xff]),
            (256, &[0x19, 0x01, 0x00]),
            (65_535, &[0x19, 0xff, 0xff]),
            (65_536, &[0x1a, 0x00, 0x01, 0x00, 0x00]),
            (1_000_000, &[0x1a, 0x00, 0x0f, 0x42, 0x40]),
            (0xffff_ffff, &[0x1a, 0xff, 0xff, 0xff, 0xff]),
            (0x1_0000_0000, &[0x1b, 0, 0, 0, 1, 0, 0, 0, 0]),
            (1_000_000_000_000, &[0x1b, 0x00, 0x00, 0x00, 0xe8, 0xd4, 0xa5, 0x10, 0x00]),
            (-1, &[0x20]),
            (-35, &[0x38, 0x22]),
            (-1000, &[0x39, 0x03, 0xe7]),
            (i64::MIN, &[0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ] {
            assert_eq!(encoded(|item| _ = item.int(number)), expected, "{number}");
        }
    }

    #[test]
    fn strings_arrays_maps_and_tags() {
        let item = encoded(|item| {
            item.tag(907).map(1).int(10).array(2).bytes(&[1, 2]).text("IETF");
        });
        let expected =
            [0xd9, 0x03, 0x8b, 0xa1, 0x0a, 0x82, 0x42, 1, 2, 0x64, 0x49, 0x45, 0x54, 0x46];
        assert_eq!(item, expected);
        assert_eq!(encoded(|item| _ = item.bytes(&[7; 24]))[..3], [0x58, 24, 7]);
    }
}
