//! The command tables and the tracer: any registers can be printed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rmi_abi::commands::{Fid, ParamType};
use rmi_abi::trace::{CallDisplay, ResultDisplay, ValueDisplay};
use rmi_abi::{Command, Dialect, GranuleSize};

fuzz_target!(|input: (Dialect, GranuleSize, Command, ParamType, [u64; 8], [u64; 8])| {
    let (dialect, granule, command, kind, mut call, result) = input;
    let fid = Fid(call[0] as u32);
    if let Some(found) = Command::from_fid(fid, dialect) {
        assert_eq!(found.fid(dialect), Some(fid.without_sve_hint()));
    }
    assert!(CallDisplay::new(dialect, &call).granule(granule).to_string().ends_with(')'));
    if let Ok(form) = command.require(dialect) {
        call[0] = form.fid().0.into();
        assert!(CallDisplay::new(dialect, &call).to_string().starts_with(command.name()));
    }
    let display = ResultDisplay::new(dialect, command, &result).granule(granule);
    assert!(!display.to_string().is_empty());
    assert!(!display.of_call(&call).initiated_by(command).to_string().is_empty());
    let value = ValueDisplay::new(kind, call[1], dialect).granule(granule);
    assert!(!value.to_string().is_empty());
});
