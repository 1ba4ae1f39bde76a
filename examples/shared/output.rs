//! Standard output that may be closed early. A closed pipe (`| head`) ends the program without a
//! message, as SIGPIPE ends other programs; anything else, a full disk for instance, ends it with
//! one line on standard error and its own status.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process;

/// Exit status when standard output cannot be written.
pub(crate) const NOT_WRITTEN: i32 = 3;
/// Exit status when standard output is closed: what shells report for SIGPIPE.
pub(crate) const NOT_READ: i32 = 141;

/// Prints one line to standard output.
pub(crate) fn print_line(text: Arguments<'_>) {
    if let Err(error) = writeln!(io::stdout().lock(), "{text}") {
        end(&error, "standard output");
    }
}

#[allow(dead_code, reason = "not every example prints there")]
/// Prints one line to standard error, where a closed pipe or a full disk ends the program as well.
pub(crate) fn print_trace(text: Arguments<'_>) {
    if let Err(error) = writeln!(io::stderr().lock(), "{text}") {
        end(&error, "standard error");
    }
}

/// Prints a message to standard error. If that fails, there is no way to report it.
pub(crate) fn print_message(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{}: {text}", env!("CARGO_CRATE_NAME"));
}

fn end(error: &io::Error, what: &str) -> ! {
    if error.kind() == ErrorKind::BrokenPipe {
        process::exit(NOT_READ);
    }
    print_message(format_args!("error: cannot write to {what}: {error}"));
    process::exit(NOT_WRITTEN);
}

/// `println!`, but a closed pipe or a full disk ends the program.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::print_line(format_args!($($text)*)) };
}

/// `eprintln!`, after the name of the program, without a panic.
#[allow(unused_macros, reason = "not every example has messages")]
macro_rules! complain {
    ($($text:tt)*) => { $crate::output::print_message(format_args!($($text)*)) };
}

#[allow(unused_imports, reason = "not every example has messages")]
pub(crate) use {complain, say};
