//! The crate on conduits that answer anything: every return code and every value is reported, no
//! answer leads to a panic or to a loop without end.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![expect(clippy::indexing_slicing, reason = "tests")]
#![expect(unsafe_code, reason = "a conduit is an unsafe trait")]

mod any;
mod bad;
mod buffers;
mod fake;
mod registers;
mod statuses;
