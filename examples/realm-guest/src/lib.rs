//! The programs of the Realms that the bare-metal host runs, and what both sides agree on.
//!
//! A program is written once, for any [`Vcpu`]: the payload executes it with real instructions, the
//! model RMM as a function that it calls instead. Which one a virtual CPU runs, and with which
//! arguments, is in the registers that it starts with ([`Entry`]); the program's number is also in
//! the first two bytes of the Realm's personalization value ([`Program::personalization`]).
//!
//! | Module | Contents |
//! |---|---|
//! | [`layout`] | where memory and devices are in the IPA space |
//! | [`entry`] | the programs, and the registers at the start of a virtual CPU |
//! | [`host_call`] | what a program tells and asks the host |
//! | [`vcpu`] | what a program needs of its CPU |
//! | [`programs`] | the programs |
//!
//! # The course of a program
//!
//! [`programs::start`] runs the program of a virtual CPU. At its end the CPU tells the host whether
//! everything was as expected ([`host_call::VERDICT`]); then CPU 0 turns the Realm off, and the
//! others turn themselves off. All of that is done by [`programs::start`], which does not return.
#![no_std]
#![forbid(unsafe_code)]

pub mod entry;
pub mod host_call;
pub mod layout;
pub mod programs;
pub mod vcpu;

pub use entry::{Entry, Program};
pub use vcpu::Vcpu;
