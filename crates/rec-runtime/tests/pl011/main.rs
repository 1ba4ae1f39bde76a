//! The PL011: each register, and what the drivers of Linux and EDK2 do with it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod drivers;
mod registers;
mod uart;
