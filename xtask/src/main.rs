//! The project's chores.

mod budgets;
#[path = "../../examples/shared/output.rs"]
mod output;
mod surface;
mod words;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use lexopt::prelude::*;
use output::{complain, say};

/// Why a chore failed: a message.
type Failure = Box<dyn Error>;

const USAGE: &str = "\
usage: cargo xtask <chore>

  budgets [--paths]  text, stack and panics of the images in benches/footprint; fails above a
                     ceiling; --paths: the deepest path of each exported function
  surface            public items of each library crate, and the largest numbers of parameters
  words [--places]   words that do not say what they mean; fails if there are any;
                     --places: where they are
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain!("error: {failure}");
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
            say!("{}", USAGE.trim_end());
            return Ok(());
        }
        Some(other) => return Err(other.unexpected().into()),
    };
    let mut in_detail = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("paths") if chore == "budgets" => in_detail = true,
            Long("places") if chore == "words" => in_detail = true,
            other => return Err(other.unexpected().into()),
        }
    }
    match chore.as_str() {
        "budgets" => budgets::run(root, in_detail),
        "surface" => surface::run(root),
        "words" => words::run(root, in_detail),
        other => Err(format!("no chore `{other}`\n{USAGE}").into()),
    }
}
