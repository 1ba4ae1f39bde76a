//! The command line.

use std::fs;
use std::path::PathBuf;

use kvm_realm::Generation;
use lexopt::prelude::*;

pub(crate) const USAGE: &str = "\
usage: kvm_realm_boot --kernel IMAGE [options]

  --kernel IMAGE      an arm64 Image of Linux, not compressed
  --initramfs FILE    its initial RAM file system
  --cmdline TEXT      its command line; console=ttyAMA0 without
  --memory MIB        its RAM; 256 without
  --vcpus N           1 to 8; 1 without
  --plain             an ordinary VM, and no Realm
  --psci              this program answers PSCI calls, and not KVM (v5 to v13)
  --unmeasured        files are not measured, their addresses are
  --generation NAME   the interface of this kernel, instead of what is found out
  --fake NAME         a fake kernel of this generation, in this process, whose guest prints a line:
                      runs anywhere

Standard input is the guest's. On a terminal, Ctrl-A and x end the VM.
";

/// The most vCPUs.
const VCPUS: u64 = 8;
/// The most RAM, in MiB: 64 GiB.
const MEMORY: u64 = 0x1_0000;

/// An error that is printed and ends the program.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is run, and how.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: Option<PathBuf>,
    pub(crate) command_line: String,
    /// In MiB.
    pub(crate) memory: u64,
    pub(crate) vcpus: u64,
    pub(crate) is_plain: bool,
    pub(crate) owns_psci: bool,
    pub(crate) is_measured: bool,
    pub(crate) generation: Option<Generation>,
    /// The fake kernel, instead of that of the machine.
    pub(crate) fake: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kernel: PathBuf::new(),
            initramfs: None,
            command_line: "console=ttyAMA0".to_string(),
            memory: 256,
            vcpus: 1,
            is_plain: false,
            owns_psci: false,
            is_measured: true,
            generation: None,
            fake: None,
        }
    }
}

/// The files of the guest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    pub(crate) kernel: Vec<u8>,
    pub(crate) initramfs: Vec<u8>,
}

impl Options {
    /// `None` if help is asked for.
    pub(crate) fn parse(mut arguments: lexopt::Parser) -> Result<Option<Self>, Failure> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("kernel") => options.kernel = arguments.value()?.into(),
                Long("initramfs") => options.initramfs = Some(arguments.value()?.into()),
                Long("cmdline") => options.command_line = arguments.value()?.string()?,
                Long("memory") => options.memory = arguments.value()?.parse()?,
                Long("vcpus") => options.vcpus = arguments.value()?.parse()?,
                Long("plain") => options.is_plain = true,
                Long("psci") => options.owns_psci = true,
                Long("unmeasured") => options.is_measured = false,
                Long("generation") => {
                    options.generation = Some(Generation::parse(&arguments.value()?.string()?)?);
                }
                Long("fake") => options.fake = Some(arguments.value()?.string()?),
                Short('h') | Long("help") => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        if options.kernel.as_os_str().is_empty() {
            return Err("--kernel is missing".into());
        }
        if options.owns_psci && options.is_plain {
            return Err("--psci is for realms: --plain leaves PSCI to KVM".into());
        }
        if !(1..=VCPUS).contains(&options.vcpus) {
            return Err(format!("{} vCPUs: 1 to {VCPUS} are possible", options.vcpus).into());
        }
        if options.memory == 0 || options.memory > MEMORY || !options.memory.is_multiple_of(2) {
            return Err(format!("{} MiB of RAM are not possible", options.memory).into());
        }
        Ok(Some(options))
    }

    /// Reads the files.
    pub(crate) fn read(&self) -> Result<Files, Failure> {
        let read =
            |path: &PathBuf| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let initramfs = self.initramfs.as_ref().map(read).transpose()?;
        Ok(Files { kernel: read(&self.kernel)?, initramfs: initramfs.unwrap_or_default() })
    }
}
