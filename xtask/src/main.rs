//! The project's chores.

mod budgets;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use lexopt::prelude::*;

/// Why a chore failed: a message.
type Failure = Box<dyn Error>;

const USAGE: &str = "\
usage: cargo xtask <chore>

  budgets [--paths]  text, stack and panics of the images in benches/footprint; fails above a
                     ceiling; --paths: the deepest path of each exported function
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace")?;
    let mut arguments = lexopt::Parser::from_env();
    let chore = match arguments.next()? {
        Some(Value(chore)) => chore.string()?,
        Some(Short('h') | Long("help")) | None => {
            print!("{USAGE}");
            return Ok(());
        }
        Some(other) => return Err(other.unexpected().into()),
    };
    let mut with_paths = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("paths") if chore == "budgets" => with_paths = true,
            other => return Err(other.unexpected().into()),
        }
    }
    match chore.as_str() {
        "budgets" => budgets::run(root, with_paths),
        other => Err(format!("no chore `{other}`\n{USAGE}").into()),
    }
}
