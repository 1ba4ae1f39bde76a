//! The model RMM as a process: lines in, answers out. See `docs/model-protocol.md`, and `--help`
//! for the options.

use std::error::Error;
use std::io::{self, BufRead, BufWriter, ErrorKind, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use rmm_model::protocol::{Session, Start, USAGE};

/// Exit status for bad options, and for input that is no text of lines.
const BAD_INPUT: u8 = 2;
/// Exit status when the RMM is dead.
const DEAD: u8 = 3;
/// Exit status when an answer cannot be written, or a line not read.
const BROKEN: u8 = 4;
/// Exit status when nobody reads the answers any more: what shells report for SIGPIPE.
const NOT_READ: u8 = 141;

/// The longest line that is read, in bytes.
const LONGEST: u64 = 1 << 20;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let mut output = BufWriter::new(io::stdout().lock());
    let options = match Start::from_arguments(arguments) {
        Ok(Start::Serve(options)) => options,
        Ok(Start::Help) => {
            let written = output.write_all(USAGE.as_bytes()).and_then(|()| output.flush());
            return written.map_or_else(|error| stop(&error), |()| ExitCode::SUCCESS);
        }
        Err(why) => return refuse(&why, BAD_INPUT),
    };
    let session = match Session::new(options) {
        Ok(session) => session,
        Err(why) => return refuse(&why, BAD_INPUT),
    };
    serve(session, io::stdin().lock(), output).unwrap_or_else(|error| stop(&error))
}

fn refuse(why: &dyn Error, status: u8) -> ExitCode {
    // If standard error is gone as well, nobody is left to be told.
    let _ = writeln!(io::stderr(), "rmm_server: {why}");
    ExitCode::from(status)
}

/// Ends quietly when nobody reads the answers, otherwise with a line.
fn stop(error: &io::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::BrokenPipe => ExitCode::from(NOT_READ),
        ErrorKind::InvalidData => refuse(error, BAD_INPUT),
        _ => refuse(error, BROKEN),
    }
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
    while (&mut input).take(LONGEST).read_until(b'\n', &mut line)? != 0 {
        if line.len() as u64 == LONGEST && !line.ends_with(b"\n") {
            let why = format!("a line of the input is longer than {LONGEST} bytes");
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        }
        let text = String::from_utf8_lossy(&line);
        let answered = panic::catch_unwind(AssertUnwindSafe(|| session.line(&text)));
        let Ok(reply) = answered else {
            output.write_all(b"! panic\n")?;
            output.flush()?;
            return Ok(ExitCode::from(DEAD));
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
