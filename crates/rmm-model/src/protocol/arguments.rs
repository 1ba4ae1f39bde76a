//! The start options of a server.

use alloc::string::{String, ToString};
use core::fmt;
use core::num::NonZeroU32;

use rmi_abi::feature::Features;
use rmi_abi::{Dialect, Pa, PaRange};

use super::number;
use crate::options::{GranulesPerCall, Options};

/// The help text.
pub const USAGE: &str = "\
A model RMM behind a line protocol on standard input and output (docs/model-protocol.md).

usage: rmm_server [options]

  --dialect NAME              tf-rmm-2026-07 (default), 2.0-bet3, 2.0-bet1, 2.0-bet0 or 1.0
  --dram BASE SIZE            memory (80000000 40000000)
  --features F0[,F1 to F4]    the feature registers; those that are missing are 0
  --granules-per-call N|all   granules that one delegate or undelegate call handles (1)
  --yield-every N             every N-th range command is interrupted
  --cannot-cancel             no operation can be cancelled
  --help                      this text

Numbers are hexadecimal without 0x.
";

/// What the arguments of a server ask for.
#[derive(Clone, Debug)]
pub enum Start {
    /// To serve.
    Serve(Options),
    /// To print [`USAGE`].
    Help,
}

/// An argument that a server does not understand, or options that the model refuses; displayed as
/// one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentError(String);

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for ArgumentError {}

fn wrong(what: impl fmt::Display) -> ArgumentError {
    ArgumentError(what.to_string())
}

impl Start {
    /// Reads the arguments of a server, without the name of the program.
    ///
    /// Operations can be cancelled unless the arguments say otherwise; with [`Options::new`] they
    /// cannot, as in TF-RMM.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] names the first argument that is wrong.
    pub fn from_arguments(
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<Self, ArgumentError> {
        let mut arguments = arguments.into_iter();
        let mut dialect = Dialect::TfRmm2026_07;
        let (mut dram, mut features, mut granules_per_call, mut yield_every) =
            (None, None, GranulesPerCall::One, None);
        let mut can_cancel = true;
        while let Some(name) = arguments.next() {
            let mut value =
                || arguments.next().ok_or_else(|| wrong(format_args!("{name} needs a value")));
            match name.as_str() {
                "--help" | "-h" => return Ok(Self::Help),
                "--dialect" => {
                    let value = value()?;
                    dialect = value.parse().map_err(|_| {
                        wrong(format_args!(
                            "{value:?} is not a dialect of the model; it has {}",
                            Options::dialect_names()
                        ))
                    })?;
                }
                "--dram" => {
                    let (base, size) = (parsed(&name, &value()?)?, parsed(&name, &value()?)?);
                    let range = PaRange::with_size(Pa::new(base), size);
                    dram = Some(range.map_err(|why| wrong(format_args!("{name}: {why}")))?);
                }
                "--features" => {
                    let value = value()?;
                    let mut registers = [0; 5];
                    if value.split(',').count() > registers.len() {
                        return Err(wrong(format_args!(
                            "{name} takes up to five numbers, not {value:?}"
                        )));
                    }
                    for (register, word) in registers.iter_mut().zip(value.split(',')) {
                        *register = parsed(&name, word)?;
                    }
                    features = Some(registers);
                }
                "--granules-per-call" => {
                    let value = value()?;
                    granules_per_call = match value.as_str() {
                        "all" => GranulesPerCall::All,
                        count => GranulesPerCall::AtMost(period(&name, count)?),
                    };
                }
                "--yield-every" => yield_every = Some(period(&name, &value()?)?),
                "--cannot-cancel" => can_cancel = false,
                _ => return Err(wrong(format_args!("unknown argument {name:?}"))),
            }
        }
        let mut options = Options::new(dialect);
        options.dram = dram.unwrap_or(options.dram);
        options.features = features.unwrap_or(options.features);
        // In 1.0 the features say how many list registers there are.
        let reported = Features::new(dialect, options.features).gic_num_lrs();
        options.list_registers = reported.unwrap_or(options.list_registers);
        options.granules_per_call = granules_per_call;
        options.yield_every = yield_every;
        options.can_cancel = can_cancel && dialect.is_2_0();
        options.check().map_err(wrong)?;
        Ok(Self::Serve(options))
    }
}

fn parsed(name: &str, word: &str) -> Result<u64, ArgumentError> {
    number(word).map_err(|_| wrong(format_args!("{name}: {word:?} is no hexadecimal number")))
}

fn period(name: &str, word: &str) -> Result<NonZeroU32, ArgumentError> {
    let number = u32::try_from(parsed(name, word)?).ok().and_then(NonZeroU32::new);
    number.ok_or_else(|| wrong(format_args!("{name}: {word:?} is 0 or too large")))
}
