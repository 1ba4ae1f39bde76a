//! A virtual CPU's life: enter a REC, own its exits, give typed answers.
#![no_std]
#![forbid(unsafe_code)]

mod answer;
pub mod exit;
pub mod rec;
pub mod run;
pub mod timer;

pub use answer::Answer;
pub use exit::Exit;
pub use rec::{EnterError, Event, Rec};
pub use run::{Flow, Handler, Kick, Stopped};
pub use timer::{Timer, Timers};
