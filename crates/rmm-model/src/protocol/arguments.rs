//! The start options of a server.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::num::{NonZeroU8, NonZeroU32};

use rmi_abi::feature::Features;
use rmi_abi::{Dialect, GranuleSize, Pa, PaRange};

use super::number;
use crate::options::{FirstTracking, GranulesPerCall, Options, RegionOptions};

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
  --all-granules              granules of 16 KiB and 64 KiB can be configured as well
  --regions fine|coarse       the host can change tracking regions, which are all FINE at first;
                              or COARSE, and take memory to become FINE
  --tracking-donates N        granules that a region takes for that (1)
  --code-of-2-mib N           the code of regions of 2 MiB; without it there are none
  --coarse-steps N            a COARSE region is moved, mapped or unmapped after N more calls (0)
  --roll-back-every N         every N-th delegation of a COARSE region is rolled back
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
        let (mut can_cancel, mut all_granules) = (true, false);
        let (mut regions, mut donates, mut changes) = (None, None, Vec::new());
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
                "--all-granules" => all_granules = true,
                "--regions" => {
                    regions = Some(match value()?.as_str() {
                        "fine" => FirstTracking::Fine,
                        "coarse" => FirstTracking::Coarse,
                        other => {
                            return Err(wrong(format_args!(
                                "{name}: {other:?} is neither fine nor coarse"
                            )));
                        }
                    });
                }
                "--tracking-donates" => {
                    let count = parsed(&name, &value()?)?;
                    let count = u16::try_from(count)
                        .map_err(|_| wrong(format_args!("{name}: {count:x} is too large")))?;
                    donates = Some((name, count));
                }
                "--code-of-2-mib" => {
                    let code = u8::try_from(period(&name, &value()?)?.get()).ok();
                    let code = code.and_then(NonZeroU8::new);
                    let code = code.ok_or_else(|| wrong(format_args!("{name} is above ff")))?;
                    changes.push((name, RegionChange::CodeOf2MiB(code)));
                }
                "--coarse-steps" => {
                    let steps = parsed(&name, &value()?)?;
                    let steps = u32::try_from(steps)
                        .map_err(|_| wrong(format_args!("{name}: {steps:x} is too large")))?;
                    changes.push((name, RegionChange::CoarseSteps(steps)));
                }
                "--roll-back-every" => {
                    let every = period(&name, &value()?)?;
                    changes.push((name, RegionChange::RollBackEvery(every)));
                }
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
        if all_granules {
            options = options.with_all_granules();
            let features = Features::new(dialect, options.features);
            if !features.supports_granule(GranuleSize::Size16KiB) {
                return Err(wrong("--all-granules: the dialect has granules of 4 KiB only"));
            }
        }
        if let Some(first) = regions {
            let mut regions = RegionOptions::new(first);
            for (_, change) in changes {
                change.apply(&mut regions);
            }
            let default = u16::from(regions.takes_memory());
            options.tracking_donates = donates.map_or(default, |(_, count)| count);
            options.regions = Some(regions);
        } else {
            let of_regions = changes.first().map(|(name, _)| name);
            if let Some(name) = donates.as_ref().map(|(name, _)| name).or(of_regions) {
                return Err(wrong(format_args!("{name} needs --regions")));
            }
        }
        options.check().map_err(wrong)?;
        Ok(Self::Serve(options))
    }
}

/// What an argument changes of [`RegionOptions`].
enum RegionChange {
    CodeOf2MiB(NonZeroU8),
    CoarseSteps(u32),
    RollBackEvery(NonZeroU32),
}

impl RegionChange {
    fn apply(self, options: &mut RegionOptions) {
        match self {
            Self::CodeOf2MiB(code) => options.code_of_2_mib = Some(code),
            Self::CoarseSteps(steps) => options.coarse_steps = steps,
            Self::RollBackEvery(every) => options.roll_back_every = Some(every),
        }
    }
}

fn parsed(name: &str, word: &str) -> Result<u64, ArgumentError> {
    number(word).map_err(|_| wrong(format_args!("{name}: {word:?} is no hexadecimal number")))
}

fn period(name: &str, word: &str) -> Result<NonZeroU32, ArgumentError> {
    let number = u32::try_from(parsed(name, word)?).ok().and_then(NonZeroU32::new);
    number.ok_or_else(|| wrong(format_args!("{name}: {word:?} is 0 or too large")))
}
