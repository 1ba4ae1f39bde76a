//! Prints the interface as JSON, from the crate's own tables.

mod export;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use rmi_abi::Dialect;

const USAGE: &str = "\
Prints commands, structures, enumerations and bit fields as JSON.

Usage: abi_json [--interface rmi] --dialect <DIALECT>
       abi_json --interface rsi

Options:
  --interface <rmi|rsi>  the interface; rmi unless told
  --dialect <DIALECT>    1.0, 2.0-bet0, 2.0-bet1, tf-rmm-2026-07 or 2.0-bet3;
                         the RSI has none
  --help                 prints this text

Exit status: 0, or 2 for bad arguments, 3 if the output cannot be written, 141
if the reader of the output has gone.";

enum Request {
    Help,
    Rmi(Dialect),
    Rsi,
}

fn request(mut arguments: impl Iterator<Item = String>) -> Result<Request, String> {
    let (mut dialect, mut rsi) = (None, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(Request::Help),
            "--dialect" => {
                let name = value()?;
                dialect = Some(name.parse().map_err(|error| format!("{name}: {error}"))?);
            }
            "--interface" => match value()?.as_str() {
                "rmi" => rsi = false,
                "rsi" => rsi = true,
                other => return Err(format!("{other}: unknown interface; it is rmi or rsi")),
            },
            other => return Err(format!("{other}: unknown argument; see --help")),
        }
    }
    match (rsi, dialect) {
        (true, _) => Ok(Request::Rsi),
        (false, Some(dialect)) => Ok(Request::Rmi(dialect)),
        (false, None) => Err("--dialect is missing; see --help".into()),
    }
}

/// Prints the text to standard output.
fn print(text: std::fmt::Arguments<'_>) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads any more; shells report 141 for programs that SIGPIPE ends.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(141),
        Err(error) => fail(&format!("cannot write to standard output: {error}"), 3),
    }
}

fn fail(why: &str, status: u8) -> ExitCode {
    // If standard error is gone as well, nobody is left to be told.
    let _ = writeln!(io::stderr(), "abi_json: {why}");
    ExitCode::from(status)
}

fn main() -> ExitCode {
    match request(std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned())) {
        Ok(Request::Help) => print(format_args!("{USAGE}")),
        Ok(Request::Rmi(dialect)) => print(format_args!("{:#}", export::rmi(dialect))),
        Ok(Request::Rsi) => print(format_args!("{:#}", export::rsi())),
        Err(why) => fail(&why, 2),
    }
}
