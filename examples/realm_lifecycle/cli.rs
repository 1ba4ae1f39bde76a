//! The command line.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;

use lexopt::prelude::*;
use realm_sdk::abi::realm::{HashAlgorithm, RPV_BYTES};
use realm_sdk::abi::{Dialect, GranuleSize};
use rmm_model::Options as ModelOptions;

/// Help, as `--help` prints it.
const HELP: &str = "\
Runs a guest image in an Arm CCA Realm on the model RMM, from creation to destruction.

Usage: realm_lifecycle [OPTIONS] [IMAGE]

Arguments:
  [IMAGE]             A flat image (whole 4 KiB pages) or an arm64 `Image`;
                      without one, a small built-in image

Realm:
  --ipa-width BITS    Width of the IPA space [default: 40]
  --hash ALGORITHM    sha-256, sha-384 or sha-512 [default: sha-256]
  --personalize TEXT  Realm Personalization Value: up to 64 bytes of text, or
                      0x and up to 128 hex digits
  --ram MIB           Memory of the Realm [default: 256]
  --pad               Fill a flat image up to whole pages with zeros

Host:
  --granule SIZE      4k, 16k or 64k: the size of granules that the RMM is
                      configured for [default: 4k]
  --pool GRANULES     Granules for tables, RECs and the Realm Descriptor
                      [default: as many as needed]
  --trace             Print each RMI call and each exit of a REC, decoded, to
                      standard error

RMM:
  --dialect NAME      tf-rmm-2026-07, 2.0-bet3, 2.0-bet1, 2.0-bet0 or 1.0
                      [default: tf-rmm-2026-07]
  --range-capable     The RMM takes whole ranges per call, not one granule or
                      table
  --yield-every N     Every N-th range command yields and has to be continued
  --busy-every N      Every N-th call is answered RMI_BUSY

  --help              Print this
  --version           Print the version

Exit status: 0 if every granule is back with the host; 1 if one is not, or
something else went wrong; 2 for bad input; 3 if the output cannot be written;
141 if standard output is closed.";

/// What to do.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// Run a Realm from creation to destruction.
    Run(Box<Options>),
    /// Print something and stop.
    Print(String),
}

/// The options of a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) image: Option<PathBuf>,
    pub(crate) ipa_width: u8,
    pub(crate) hash: HashAlgorithm,
    pub(crate) personalization: [u8; RPV_BYTES],
    pub(crate) ram_mib: u64,
    pub(crate) pad: bool,
    pub(crate) granule: GranuleSize,
    pub(crate) pool: Option<u64>,
    pub(crate) trace: bool,
    pub(crate) dialect: Dialect,
    pub(crate) range_capable: bool,
    pub(crate) yield_every: Option<NonZeroU32>,
    pub(crate) busy_every: Option<NonZeroU32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            image: None,
            ipa_width: 40,
            hash: HashAlgorithm::Sha256,
            personalization: [0; RPV_BYTES],
            ram_mib: 256,
            pad: false,
            granule: GranuleSize::Size4KiB,
            pool: None,
            trace: false,
            dialect: Dialect::TfRmm2026_07,
            range_capable: false,
            yield_every: None,
            busy_every: None,
        }
    }
}

/// Reads the command line; the message says what is wrong with it.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, String> {
    parse_args(args).map_err(|error| format!("{error}; see --help"))
}

fn parse_args(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, lexopt::Error> {
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("ipa-width") => options.ipa_width = parser.value()?.parse()?,
            Long("hash") => options.hash = parser.value()?.parse_with(hash)?,
            Long("personalize") => {
                options.personalization = parser.value()?.parse_with(personalization)?
            }
            Long("ram") => options.ram_mib = parser.value()?.parse()?,
            Long("pad") => options.pad = true,
            Long("granule") => options.granule = parser.value()?.parse_with(granule)?,
            Long("pool") => options.pool = Some(parser.value()?.parse()?),
            Long("trace") => options.trace = true,
            Long("dialect") => options.dialect = parser.value()?.parse_with(dialect)?,
            Long("range-capable") => options.range_capable = true,
            Long("yield-every") => options.yield_every = Some(parser.value()?.parse()?),
            Long("busy-every") => options.busy_every = Some(parser.value()?.parse()?),
            Long("help") | Short('h') => return Ok(Invocation::Print(HELP.into())),
            Long("version") => {
                return Ok(Invocation::Print(format!(
                    "realm_lifecycle {}",
                    env!("CARGO_PKG_VERSION")
                )));
            }
            Value(path) if options.image.is_none() => options.image = Some(path.into()),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Invocation::Run(Box::new(options)))
}

/// A dialect; the model plays all of them.
fn dialect(name: &str) -> Result<Dialect, String> {
    name.parse()
        .map_err(|_| format!("the dialects of the model are {}", ModelOptions::dialect_names()))
}

fn granule(name: &str) -> Result<GranuleSize, &'static str> {
    match name {
        "4k" => Ok(GranuleSize::Size4KiB),
        "16k" => Ok(GranuleSize::Size16KiB),
        "64k" => Ok(GranuleSize::Size64KiB),
        _ => Err("the sizes of granules are 4k, 16k and 64k"),
    }
}

fn hash(name: &str) -> Result<HashAlgorithm, &'static str> {
    match name {
        "sha-256" => Ok(HashAlgorithm::Sha256),
        "sha-384" => Ok(HashAlgorithm::Sha384),
        "sha-512" => Ok(HashAlgorithm::Sha512),
        _ => Err("the algorithms are sha-256, sha-384 and sha-512"),
    }
}

fn personalization(text: &str) -> Result<[u8; RPV_BYTES], &'static str> {
    let bytes = match text.strip_prefix("0x") {
        None => text.as_bytes().to_vec(),
        Some(digits) => {
            if digits.len() % 2 != 0 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err("hex digits come in pairs");
            }
            let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0).to_le_bytes()[0];
            digits
                .as_bytes()
                .chunks(2)
                .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | nibble(*digit)))
                .collect()
        }
    };
    let mut value = [0; RPV_BYTES];
    let room =
        value.get_mut(..bytes.len()).ok_or("a personalization value has at most 64 bytes")?;
    room.copy_from_slice(&bytes);
    Ok(value)
}
