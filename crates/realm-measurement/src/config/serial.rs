//! Configurations in files.

use core::fmt;

use rmi_abi::realm::{HashAlgorithm, RPV_BYTES, S2apEncoding};
use rmi_abi::rtt::Level;
use serde::de::{Error as _, Unexpected, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{PlaneTables, RealmConfig};

/// The form of [`RealmConfig`] in a file. The compiler checks it against the original.
#[derive(Serialize, Deserialize)]
#[serde(remote = "RealmConfig", rename = "RealmConfig", deny_unknown_fields)]
struct File {
    ipa_width: u8,
    #[serde(default)]
    lpa2: Option<bool>,
    #[serde(default, with = "level")]
    start_level: Option<Level>,
    #[serde(default)]
    root_tables: Option<u8>,
    #[serde(default = "sha_256", with = "hash")]
    hash: HashAlgorithm,
    #[serde(default = "zeros", with = "hex")]
    personalization: [u8; RPV_BYTES],
    #[serde(default = "one")]
    num_bps: u8,
    #[serde(default = "one")]
    num_wps: u8,
    #[serde(default)]
    sve_vl: Option<u8>,
    #[serde(default)]
    pmu_num_ctrs: Option<u8>,
    #[serde(default)]
    private_mec: bool,
    #[serde(default)]
    live_activation: bool,
    #[serde(default)]
    device_assignment: bool,
    #[serde(default)]
    max_num_vdevs: u64,
    #[serde(default)]
    ats: bool,
    #[serde(default)]
    ats_plane: u8,
    #[serde(default)]
    num_aux_planes: u8,
    #[serde(default)]
    plane_tables: Option<PlaneTables>,
    #[serde(default, with = "s2ap")]
    s2ap: Option<S2apEncoding>,
    #[serde(default)]
    vmid: u16,
}

fn one() -> u8 {
    1
}

fn sha_256() -> HashAlgorithm {
    HashAlgorithm::Sha256
}

fn zeros() -> [u8; RPV_BYTES] {
    [0; RPV_BYTES]
}

impl Serialize for RealmConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        File::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for RealmConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        File::deserialize(deserializer)
    }
}

mod level {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        level: &Option<Level>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        level.map(Level::number).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Level>, D::Error> {
        let Some(number) = Option::<i64>::deserialize(deserializer)? else { return Ok(None) };
        match i8::try_from(number).ok().and_then(Level::new) {
            Some(level) => Ok(Some(level)),
            None => Err(D::Error::invalid_value(
                Unexpected::Signed(number),
                &"a translation table level, -1 to 3",
            )),
        }
    }
}

mod hash {
    use super::*;

    /// The names in files. They are the same as in the display of the algorithms.
    #[derive(Serialize, Deserialize)]
    enum Name {
        #[serde(rename = "sha-256")]
        Sha256,
        #[serde(rename = "sha-384")]
        Sha384,
        #[serde(rename = "sha-512")]
        Sha512,
    }

    pub(super) fn serialize<S: Serializer>(
        hash: &HashAlgorithm,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match hash {
            HashAlgorithm::Sha256 => Name::Sha256,
            HashAlgorithm::Sha384 => Name::Sha384,
            HashAlgorithm::Sha512 => Name::Sha512,
            HashAlgorithm::Unknown(_) => {
                return Err(S::Error::custom(format_args!("{hash} has no name")));
            }
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<HashAlgorithm, D::Error> {
        Ok(match Name::deserialize(deserializer)? {
            Name::Sha256 => HashAlgorithm::Sha256,
            Name::Sha384 => HashAlgorithm::Sha384,
            Name::Sha512 => HashAlgorithm::Sha512,
        })
    }
}

mod s2ap {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Name {
        Direct,
        Indirect,
    }

    pub(super) fn serialize<S: Serializer>(
        encoding: &Option<S2apEncoding>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match encoding {
            None => None,
            Some(S2apEncoding::Direct) => Some(Name::Direct),
            Some(S2apEncoding::Indirect) => Some(Name::Indirect),
            Some(other) => return Err(S::Error::custom(format_args!("{other:?} has no name"))),
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<S2apEncoding>, D::Error> {
        Ok(Option::<Name>::deserialize(deserializer)?.map(|name| match name {
            Name::Direct => S2apEncoding::Direct,
            Name::Indirect => S2apEncoding::Indirect,
        }))
    }
}

mod hex {
    use super::*;

    /// The value without the zeros at its end.
    struct Digits<'a>(&'a [u8]);

    impl fmt::Display for Digits<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let used = self.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            self.0.iter().take(used).try_for_each(|byte| write!(f, "{byte:02x}"))
        }
    }

    pub(super) fn serialize<S: Serializer>(
        value: &[u8; RPV_BYTES],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        // Without a heap no string can be passed.
        serializer.collect_str(&Digits(value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; RPV_BYTES], D::Error> {
        deserializer.deserialize_str(Digest)
    }

    struct Digest;

    impl Visitor<'_> for Digest {
        type Value = [u8; RPV_BYTES];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an even number of hexadecimal digits, at most {}", 2 * RPV_BYTES)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    fn parse(text: &str) -> Option<[u8; RPV_BYTES]> {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() || pairs.len() > RPV_BYTES {
            return None;
        }
        let mut value = zeros();
        for (byte, [high, low]) in value.iter_mut().zip(pairs) {
            *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
        }
        Some(value)
    }
}
