//! What is run, and how: files, and options in one of them.

use core::fmt;
use core::num::ParseIntError;

use crate::archive::Archive;

/// Names of the files in the archive.
pub const KERNEL: &str = "Image";
/// The initial RAM file system.
pub const INITRAMFS: &str = "initramfs";
/// The kernel's command line; without it, [`COMMAND_LINE`].
pub const COMMAND_LINE_FILE: &str = "cmdline";
/// The options.
pub const OPTIONS_FILE: &str = "options";

/// The kernel's command line, unless the archive has one. The console is the PL011.
pub const COMMAND_LINE: &str = "console=ttyAMA0";

/// The files of the guest.
#[derive(Clone, Copy, Debug)]
pub struct Files<'f> {
    /// An arm64 `Image`, not compressed.
    pub kernel: &'f [u8],
    /// The initial RAM file system; may be empty.
    pub initramfs: &'f [u8],
    /// The kernel's command line.
    pub command_line: &'f str,
}

/// How the guest is run.
///
/// In a file they are words like `vcpus=2`, with white space between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// `vcpus`: virtual CPUs of each Realm.
    pub vcpus: usize,
    /// `cpus`: physical CPUs that run them; more than the machine has count as those.
    pub cpus: u16,
    /// `ram`: RAM of each Realm in MiB.
    pub ram: u64,
    /// `realms`: Realms that run at once.
    pub realms: usize,
    /// `runs`: how often that is done, one after the other.
    pub runs: u32,
    /// `measured=1`: kernel, device tree and initial RAM file system are measured.
    pub measured: bool,
    /// `compare=0`: operations on memory take place on several CPUs at once, and the calls that
    /// they take are not compared with what is predicted.
    pub compare: bool,
    /// `limit`: seconds after which a run is ended, and has failed.
    pub limit: u64,
}

impl Options {
    /// Two virtual CPUs on two physical ones, 256 MiB, once.
    pub const DEFAULT: Self = Self {
        vcpus: 2,
        cpus: 2,
        ram: 256,
        realms: 1,
        runs: 1,
        measured: false,
        compare: true,
        limit: 600,
    };
}

impl Default for Options {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What is wrong with an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionsError<'f> {
    /// The options or the command line are not text.
    NotText(&'static str),
    /// There is no option of this name.
    Unknown(&'f str),
    /// The value of an option is no number.
    Number(&'f str, ParseIntError),
    /// The value of an option is zero, or too large.
    Range(&'f str),
}

impl fmt::Display for OptionsError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText(file) => write!(f, "the file `{file}` is not text"),
            Self::Unknown(word) => write!(f, "`{word}` is no option"),
            Self::Number(word, error) => write!(f, "`{word}`: {error}"),
            Self::Range(word) => write!(f, "`{word}` is out of range"),
        }
    }
}

impl core::error::Error for OptionsError<'_> {}

impl<'f> Files<'f> {
    /// The files of a guest and its options; `None` if there is no kernel.
    ///
    /// # Errors
    ///
    /// [`OptionsError`].
    pub fn find(archive: &Archive<'f>) -> Result<Option<(Self, Options)>, OptionsError<'f>> {
        let Some(kernel) = archive.file(KERNEL) else { return Ok(None) };
        let text = |name| {
            let content = archive.file(name).map(core::str::from_utf8).transpose();
            content.map_err(|_| OptionsError::NotText(name))
        };
        let initramfs = archive.file(INITRAMFS).unwrap_or_default();
        let command_line = text(COMMAND_LINE_FILE)?.map_or(COMMAND_LINE, str::trim);
        let options = Options::parse(text(OPTIONS_FILE)?.unwrap_or_default())?;
        Ok(Some((Self { kernel, initramfs, command_line }, options)))
    }
}

impl Options {
    /// The most virtual CPUs of a Realm: those that a distributor of 256 MiB below the UART serves.
    pub const MOST_VCPUS: u64 = 16;

    /// Reads options; what is not there is as in [`Options::DEFAULT`].
    ///
    /// # Errors
    ///
    /// [`OptionsError`].
    pub fn parse(text: &str) -> Result<Self, OptionsError<'_>> {
        let mut options = Self::DEFAULT;
        for word in text.split_ascii_whitespace() {
            let (name, value) = word.split_once('=').ok_or(OptionsError::Unknown(word))?;
            let number: u64 = value.parse().map_err(|error| OptionsError::Number(word, error))?;
            let within = |most: u64| match number {
                1.. if number <= most => Ok(number),
                _ => Err(OptionsError::Range(word)),
            };
            // Each limit fits into the type.
            match name {
                "vcpus" => options.vcpus = narrow(within(Self::MOST_VCPUS)?),
                "cpus" => options.cpus = narrow(within(u16::MAX.into())?),
                "ram" => options.ram = within(1 << 18)?,
                "realms" => options.realms = narrow(within(16)?),
                "runs" => options.runs = narrow(within(1000)?),
                "measured" if number <= 1 => options.measured = number == 1,
                "compare" if number <= 1 => options.compare = number == 1,
                "measured" | "compare" => return Err(OptionsError::Range(word)),
                "limit" => options.limit = within(86_400)?,
                _ => return Err(OptionsError::Unknown(word)),
            }
        }
        Ok(options)
    }
}

/// A number that is known to fit.
fn narrow<T: TryFrom<u64> + Default>(number: u64) -> T {
    T::try_from(number).unwrap_or_default()
}
