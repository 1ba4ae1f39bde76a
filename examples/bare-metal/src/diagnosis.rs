//! What firmware cannot do, where a refused call alone does not say it.

use alloc::format;
use alloc::string::{String, ToString};

use realm_sdk::abi::Dialect;
use realm_sdk::host::{Error, SessionError};

/// Why no session was opened, in one line: without an RMM, with an RMM of another dialect, or with
/// firmware at EL3 that does not pass calls on.
///
/// EL3 that forwards the 23 functions of RMI 1.0 only, as RustedFirmware-A 0.2 does, lets an RMM of
/// 2.0 answer `RMI_VERSION` and `RMI_FEATURES`, and answers everything else itself.
#[must_use]
pub fn explain(error: &SessionError) -> String {
    let SessionError::Call(Error::Refused(refusal)) = error else { return error.to_string() };
    let command = refusal.command();
    let is_filtered = refusal.result().is_not_supported() && command.fid(Dialect::V1_0).is_none();
    if !is_filtered {
        return error.to_string();
    }
    format!(
        "the firmware at EL3 does not forward {command}: it forwards the calls of RMI 1.0 only, \
         and the RMM has RMI 2.0"
    )
}
