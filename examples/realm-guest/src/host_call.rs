//! What a program tells and asks the host: `RSI_HOST_CALL` with these immediates.
//!
//! The structure of the call is at [`call_page`](crate::layout::call_page) of the virtual CPU.

/// The end of the program on this virtual CPU: X0 is 0 if everything was as expected; otherwise the
/// number of the [step](crate::programs::Failure), X1 what was expected there, X2 what was found.
pub const VERDICT: u16 = 0x5d00;
/// Values for the host: X0 says what they are ([`values`]), X1 and up are the values.
pub const VALUES: u16 = 0x5d01;
/// The program has got as far as X0 says, and waits until the host has done what belongs to that
/// step. X0 on return is the host's answer, of which the program knows the meaning. X1 and up are
/// arguments.
pub const STEP: u16 = 0x5d02;

/// What [`VALUES`] are.
pub mod values {
    /// X1 to X8: the initial measurement, as `RSI_MEASUREMENT_READ` returns it.
    pub const INITIAL_MEASUREMENT: u64 = 1;
    /// X1: IPA width; X2: hash algorithm; X3 to X10: the personalization value.
    pub const CONFIGURATION: u64 = 2;
    /// X1 to X8: an extensible measurement before, X9 to X16: after it was extended.
    pub const EXTENDED: u64 = 3;
    /// X1: bytes of the attestation token; X2: where it is shared, an unprotected IPA.
    pub const TOKEN: u64 = 4;
    /// X1: what is counted, by the program; X2: how many.
    pub const COUNT: u64 = 5;
}
