//! Says whether this machine's KVM can run Realms, of which generation its interface is, and why.
//!
//! ```text
//! kvm_realm_probe [--json] [--generation NAME]
//! ```
//!
//! `--generation` overrides what is found, for a kernel of which the user knows better; the tree
//! for device assignment is `da-v7:CAPABILITY:REQUEST`, with the numbers of its kernel. The exit
//! status is 0 if Realms can be run, 1 if there are none, 2 if there are some that this crate does
//! not know or that lack something, 3 if KVM cannot be asked.

use std::process::ExitCode;

use kvm_realm::Generation;

/// What the command line says.
#[derive(Debug, Default)]
struct Options {
    json: bool,
    generation: Option<Generation>,
}

/// The options, or what is wrong with them.
fn options(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut options, mut arguments) = (Options::default(), arguments);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => options.json = true,
            "--generation" => {
                let name = arguments.next().ok_or("--generation needs a name")?;
                let generation = Generation::parse(&name).map_err(|error| error.to_string())?;
                options.generation = Some(generation);
            }
            _ => return Err("usage: kvm_realm_probe [--json] [--generation NAME]".to_owned()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(|options| probe(&options)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}

#[cfg(target_arch = "aarch64")]
fn probe(options: &Options) -> Result<u8, String> {
    use std::os::fd::AsFd;

    use kvm_realm::Kernel;
    use kvm_realm::error::{CallError, Operation};
    use kvm_realm::linux::Linux;

    let open = |errno| {
        let error = CallError { operation: Operation::OpenKvm, errno, generation: None };
        error.to_string()
    };
    let linux = Linux::open().map_err(open)?;
    let kvm = linux.open_kvm().map_err(open)?;
    let report = kvm_realm::probe::probe(&linux, kvm.as_fd()).map_err(|error| error.to_string())?;
    let report = match options.generation {
        Some(generation) => report.forced(generation),
        None => report,
    };
    if options.json {
        println!("{}", report.to_json());
    } else {
        print!("{report}");
    }
    Ok(report.exit_status())
}

#[cfg(not(target_arch = "aarch64"))]
fn probe(_: &Options) -> Result<u8, String> {
    Err("only arm64 has realms".to_owned())
}
