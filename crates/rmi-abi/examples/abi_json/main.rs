//! Prints the interface as JSON, from the crate's own tables.

mod export;

use std::process::ExitCode;

use rmi_abi::Dialect;

const USAGE: &str = "\
Prints commands, structures, enumerations and bit fields as JSON.

Usage: abi_json [--interface rmi] --dialect <DIALECT>
       abi_json --interface rsi

Options:
  --interface <rmi|rsi>  the interface; rmi unless told
  --dialect <DIALECT>    1.0, 2.0-bet0, 2.0-bet1, tf-rmm-2026-07 or 2.0-bet3; the RSI has none
  --help                 prints this text";

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

fn main() -> ExitCode {
    let json = match request(std::env::args().skip(1)) {
        Ok(Request::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Request::Rmi(dialect)) => export::rmi(dialect),
        Ok(Request::Rsi) => export::rsi(),
        Err(error) => {
            eprintln!("abi_json: {error}");
            return ExitCode::from(2);
        }
    };
    println!("{json:#}");
    ExitCode::SUCCESS
}
