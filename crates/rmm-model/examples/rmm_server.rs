//! The model RMM as a process: lines in, answers out. See `docs/model-protocol.md`, and `--help` for the options.

use std::io::{self, BufRead, BufWriter, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use rmm_model::protocol::{Session, Start, USAGE};

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let options = match Start::from_arguments(arguments) {
        Ok(Start::Serve(options)) => options,
        Ok(Start::Help) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => return refuse(&why),
    };
    let session = match Session::new(options) {
        Ok(session) => session,
        Err(why) => return refuse(&why),
    };
    match serve(session, io::stdin().lock(), BufWriter::new(io::stdout().lock())) {
        Ok(code) => code,
        // Nobody is left to answer to.
        Err(_) => ExitCode::FAILURE,
    }
}

fn refuse(why: &dyn std::error::Error) -> ExitCode {
    eprintln!("rmm_server: {why}");
    ExitCode::from(2)
}

/// Answers lines until the input ends or says `quit`.
fn serve(
    mut session: Session,
    mut input: impl BufRead,
    mut output: impl Write,
) -> io::Result<ExitCode> {
    output.write_all(session.greeting().as_bytes())?;
    output.flush()?;
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? != 0 {
        let text = String::from_utf8_lossy(&line);
        let answered = panic::catch_unwind(AssertUnwindSafe(|| session.line(&text)));
        let Ok(reply) = answered else {
            output.write_all(b"! panic\n")?;
            output.flush()?;
            return Ok(ExitCode::from(3));
        };
        output.write_all(reply.text.as_bytes())?;
        output.flush()?;
        if reply.ends {
            break;
        }
        line.clear();
    }
    Ok(ExitCode::SUCCESS)
}
