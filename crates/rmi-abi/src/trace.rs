//! Calls, results and exits of RECs, printed decoded, as `strace` does for system calls.
//!
//! All types print with [`core::fmt`] alone. What a dialect does not define is printed as a number,
//! never omitted.
//!
//! ```
//! use rmi_abi::{Command, Dialect, trace};
//!
//! let dialect = Dialect::TfRmm2026_07;
//! let call = [0xc400_015d, 0x800_0000, 0x800_1000, 0x4000_0000, 3, 0, 0, 0];
//! assert_eq!(
//!     trace::CallDisplay::new(dialect, &call).to_string(),
//!     "RMI_RTT_CREATE(rd=0x8000000, rtt=0x8001000, ipa=0x40000000, level=3)",
//! );
//! let answer = [0x204, 0, 0, 0, 0, 0, 0, 0];
//! assert_eq!(
//!     trace::ResultDisplay::new(dialect, Command::RttCreate, &answer).to_string(),
//!     "RMI_ERROR_RTT(level 2)",
//! );
//! ```

mod exit;
mod value;

use core::fmt;

pub use exit::ExitDisplay;
pub use value::ValueDisplay;

use crate::address::GranuleSize;
use crate::commands::{Command, Fid, Form, ParamType};
use crate::desc::DonateRequest;
use crate::dialect::Dialect;
use crate::flags::AddrSet;
use crate::result::{OpMemReq, ResultWord, Status};

use value::BlockDisplay;

/// A call: the command's name and its arguments, each printed by its type.
///
/// A number that no command of the dialect has is printed as a number, with the arguments up to the
/// last one that is not 0.
#[derive(Clone, Copy, Debug)]
pub struct CallDisplay<'a> {
    dialect: Dialect,
    granule: GranuleSize,
    registers: &'a [u64],
}

impl<'a> CallDisplay<'a> {
    /// Prints a call made with these registers, X0 (the function identifier) first; missing ones
    /// count as 0.
    #[must_use]
    pub const fn new(dialect: Dialect, registers: &'a [u64]) -> Self {
        Self { dialect, granule: GranuleSize::Size4KiB, registers }
    }

    /// Sets the granule size that address range descriptors are decoded for; 4 KiB unless set.
    #[must_use]
    pub const fn granule(self, granule: GranuleSize) -> Self {
        Self { granule, ..self }
    }

    /// The function identifier.
    #[must_use]
    pub fn fid(&self) -> Fid {
        Fid::from_register(register(self.registers, 0))
    }

    /// The command, if the dialect has one with that number.
    #[must_use]
    pub fn command(&self) -> Option<Command> {
        Command::from_fid(self.fid(), self.dialect)
    }
}

/// A result: the status, the data that belongs to it, and the outputs that are valid with it.
///
/// With `RMI_INCOMPLETE` that is the handle and what the RMM requests; with `RMI_SUCCESS` the
/// outputs of the command.
#[derive(Clone, Copy, Debug)]
pub struct ResultDisplay<'a> {
    dialect: Dialect,
    granule: GranuleSize,
    command: Command,
    initiator: Option<Command>,
    call: &'a [u64],
    registers: &'a [u64],
}

impl<'a> ResultDisplay<'a> {
    /// Prints what `command` returned in these registers, X0 (the result word) first; missing ones
    /// count as 0.
    #[must_use]
    pub const fn new(dialect: Dialect, command: Command, registers: &'a [u64]) -> Self {
        let granule = GranuleSize::Size4KiB;
        Self { dialect, granule, command, initiator: None, call: &[], registers }
    }

    /// Sets the granule size that address range descriptors are decoded for; 4 KiB unless set.
    #[must_use]
    pub const fn granule(self, granule: GranuleSize) -> Self {
        Self { granule, ..self }
    }

    /// Gives the registers of the call, so that a feature register is decoded by its index.
    #[must_use]
    pub const fn of_call(self, call: &'a [u64]) -> Self {
        Self { call, ..self }
    }

    /// Sets the command that an `RMI_OP_CONTINUE` completes, so that its outputs are decoded.
    #[must_use]
    pub const fn initiated_by(self, initiator: Command) -> Self {
        Self { initiator: Some(initiator), ..self }
    }

    /// The result word.
    pub fn word(&self) -> ResultWord {
        ResultWord(register(self.registers, 0))
    }
}

fn register(registers: &[u64], number: u8) -> u64 {
    registers.get(usize::from(number)).copied().unwrap_or(0)
}

/// How the address argument of a map or unmap call is to be read.
fn address_set(form: &Form, registers: &[u64]) -> Option<AddrSet> {
    let flags = form.inputs()?.iter().find(|param| {
        matches!(
            param.kind(),
            ParamType::RttProtMapFlags | ParamType::RttUnmapFlags | ParamType::RttUnprotMapFlags
        )
    })?;
    AddrSet::decode(register(registers, flags.register()))
}

impl fmt::Display for CallDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = self.command().and_then(|command| command.form(self.dialect));
        match self.command() {
            Some(command) => write!(f, "{command}(")?,
            None => write!(f, "{:#010x}(", register(self.registers, 0))?,
        }
        if let Some(form) = form
            && let Some(inputs) = form.inputs()
        {
            let set = address_set(form, self.registers);
            for (i, param) in inputs.iter().enumerate() {
                let value = register(self.registers, param.register());
                let value = ValueDisplay::new(param.kind(), value, self.dialect)
                    .granule(self.granule)
                    .address_set(set);
                write!(f, "{}{}={value}", if i == 0 { "" } else { ", " }, param.name())?;
            }
        } else {
            raw(f, self.registers)?;
        }
        f.write_str(")")
    }
}

/// X1 and up as plain numbers, as far as they are not 0.
fn raw(f: &mut fmt::Formatter<'_>, registers: &[u64]) -> fmt::Result {
    let arguments = registers.get(1..).unwrap_or_default();
    let used = arguments.iter().rposition(|&value| value != 0).map_or(0, |last| last + 1);
    for (i, value) in arguments.iter().take(used).enumerate() {
        write!(f, "{}x{}={value:#x}", if i == 0 { "" } else { ", " }, i + 1)?;
    }
    Ok(())
}

impl fmt::Display for ResultDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word();
        if word.is_not_supported() {
            return f.write_str("NOT_SUPPORTED (no such function)");
        }
        match word.status() {
            Status::Unknown(code) => write!(f, "status {code}")?,
            status => f.write_str(status.name())?,
        }
        match word.status() {
            Status::Success => return self.outputs(f),
            Status::Incomplete => return self.incomplete(f),
            // Before the late revisions these two statuses have no data.
            Status::ErrorTracking | Status::ErrorDpt if word.data() == 0 => {}
            status if status.carries_level() => match word.level() {
                Some(level) => write!(f, "(level {level})")?,
                None => write!(f, "(index {})", word.index())?,
            },
            Status::ErrorGranule => {
                write!(f, " at {:#x}", register(self.registers, 1))?;
            }
            _ if word.index() != 0 => write!(f, "(index {})", word.index())?,
            _ => {}
        }
        if word.0 >> 16 != 0 {
            write!(f, " data={:#x}", word.0 >> 8)?;
        }
        if matches!(word.status(), Status::ErrorRtt | Status::ErrorRttAux) {
            self.skip(f)?;
        }
        // RMI_VERSION returns the supported range in any case.
        if self.command == Command::Version { self.outputs(f) } else { Ok(()) }
    }
}

impl ResultDisplay<'_> {
    fn incomplete(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word();
        match word.op_mem_req() {
            OpMemReq::None => f.write_str("(continue")?,
            OpMemReq::Donate => {
                let request = DonateRequest::decode(register(self.registers, 2), self.dialect);
                let blocks = BlockDisplay {
                    count: request.count,
                    size: request.size,
                    granule: self.granule,
                };
                write!(f, "(donate {blocks}")?;
                if request.contiguous {
                    f.write_str(" contiguous")?;
                }
                if let Some(state) = value::state_name(request.state) {
                    write!(f, " {state}")?;
                }
            }
            OpMemReq::Reclaim => f.write_str("(reclaim")?,
            OpMemReq::Reserved => f.write_str("(memory request 3")?,
        }
        f.write_str(if word.can_cancel() { ", can cancel)" } else { ", can't cancel)" })?;
        let x1 = register(self.registers, 1);
        match self.command {
            Command::OpContinue | Command::OpCancel => Ok(()),
            Command::OpMemDonate => write!(f, " donated_count={x1}"),
            Command::OpMemReclaim => write!(f, " out_count={x1}"),
            _ => write!(f, " handle={x1:#x}"),
        }
    }

    /// The address at which to continue after an entry that is not live: commands that remove
    /// something also return it with the error of a walk.
    fn skip(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outputs = self.command.form(self.dialect).and_then(Form::outputs).unwrap_or_default();
        match outputs.iter().find(|param| param.name() == "top") {
            Some(top) => write!(f, " top={:#x}", register(self.registers, top.register())),
            None => Ok(()),
        }
    }

    fn outputs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = match (self.command, self.initiator) {
            (Command::OpContinue, Some(initiator)) => initiator,
            (command, _) => command,
        };
        let Some(outputs) = command.form(self.dialect).and_then(Form::outputs) else {
            f.write_str(" ")?;
            return raw(f, self.registers);
        };
        for param in outputs {
            let value = register(self.registers, param.register());
            write!(f, " {}=", param.name())?;
            let value = ValueDisplay::new(param.kind(), value, self.dialect).granule(self.granule);
            if command == Command::Features && !self.call.is_empty() {
                write!(f, "{}", value.feature_register(register(self.call, 1)))?;
            } else {
                write!(f, "{value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    const TF_RMM: Dialect = Dialect::TfRmm2026_07;

    fn call(dialect: Dialect, registers: &[u64]) -> std::string::String {
        CallDisplay::new(dialect, registers).to_string()
    }

    #[test]
    fn calls_are_printed_by_the_types_of_their_arguments() {
        assert_eq!(
            call(TF_RMM, &[0xc400_01f5, 0x1000, 0x20_0000, 0x40_0000, 1, 0x20_0005]),
            "RMI_RTT_DATA_MAP(rd=0x1000, base=0x200000, top=0x400000, \
             flags={oaddr_type=SINGLE}, oaddr={0x200000, 1 x 2 MiB, DELEGATED})"
        );
        assert_eq!(
            call(TF_RMM, &[0xc400_01fb, 0x1000, 0x20_0000, 0x40_0000, 2 | (9 << 2), 0x8000]),
            "RMI_RTT_UNPROT_MAP(rd=0x1000, base=0x200000, top=0x400000, \
             flags={oaddr_type=LIST, list_count=9}, oaddr=0x8000)"
        );
        assert_eq!(call(Dialect::V1_0, &[0xc400_0150, 0x1_0000]), "RMI_VERSION(req=1.0)");
        assert_eq!(
            call(TF_RMM, &[0xc400_0164, 0x1000, 0x2000, (-3i64).cast_unsigned()]),
            "RMI_PSCI_COMPLETE(calling_rec=0x1000, target_rec=0x2000, status=PSCI_DENIED)"
        );
        assert_eq!(
            call(Dialect::V1_0, &[0xc400_01f1, 0x1000, 0x2000]),
            "0xc40001f1(x1=0x1000, x2=0x2000)"
        );
        assert_eq!(call(TF_RMM, &[]), "0x00000000()");
    }

    fn result(command: Command, registers: &[u64]) -> std::string::String {
        ResultDisplay::new(TF_RMM, command, registers).to_string()
    }

    #[test]
    fn results_are_printed_with_what_their_status_carries() {
        assert_eq!(
            result(Command::RecCreate, &[0x10d, 7, 0x40]),
            "RMI_INCOMPLETE(donate 16 x 4 KiB DELEGATED, can't cancel) handle=0x7"
        );
        assert_eq!(
            result(Command::OpMemDonate, &[0x40d, 16, 0]),
            "RMI_INCOMPLETE(continue, can cancel) donated_count=16"
        );
        assert_eq!(
            result(Command::RttDestroy, &[0, 0x8000, 0x20_0000]),
            "RMI_SUCCESS rtt=0x8000 top=0x200000"
        );
        assert_eq!(
            result(Command::RttDestroy, &[0x204, 0, 0x4000_0000]),
            "RMI_ERROR_RTT(level 2) top=0x40000000"
        );
        assert_eq!(result(Command::GranuleRangeDelegate, &[12]), "RMI_ERROR_TRACKING");
        assert_eq!(result(Command::RttCreate, &[0xff04]), "RMI_ERROR_RTT(level -1)");
        assert_eq!(
            result(Command::Version, &[1, 0x2_0000, 0x2_0000]),
            "RMI_ERROR_INPUT lower=2.0 higher=2.0"
        );
        assert_eq!(
            result(Command::RttReadEntry, &[0, 3, 1, 0x800_0000, 1]),
            "RMI_SUCCESS walk_level=3 state=ASSIGNED desc=0x8000000 ripas=RAM"
        );
        assert_eq!(result(Command::GranuleRangeDelegate, &[200]), "status 200");
        assert_eq!(
            result(Command::GranuleRangeDelegate, &[u64::MAX]),
            "NOT_SUPPORTED (no such function)"
        );
        assert_eq!(
            ResultDisplay::new(TF_RMM, Command::OpContinue, &[0, 0x2000])
                .initiated_by(Command::GranuleRangeDelegate)
                .to_string(),
            "RMI_SUCCESS out_top=0x2000"
        );
        assert_eq!(
            ResultDisplay::new(TF_RMM, Command::Features, &[0, 0x41])
                .of_call(&[0xc400_0165, 3])
                .to_string(),
            "RMI_SUCCESS value=0x41{MAX_NUM_AUX_PLANES=1, RTT_PLANE=AUX, RTT_S2AP_INDIRECT}"
        );
    }
}
