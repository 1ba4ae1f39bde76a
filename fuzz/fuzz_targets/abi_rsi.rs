//! The RSI: commands by number, pages by version, codes.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use rmi_abi::Fid;
use rmi_abi::rsi::{
    Command, PlaneExit1_1, PlaneExit2_0, PlaneExitReason, ReturnCode, SysregAddress, Version,
};

#[derive(Arbitrary, Debug)]
enum Input {
    Number(u32, Version),
    Word(u64),
    Exit1_1(PlaneExit1_1),
    Exit2_0(PlaneExit2_0),
}

fuzz_target!(|input: Input| match input {
    Input::Number(number, version) => {
        let fid = Fid(number);
        if let Some(command) = Command::from_fid(fid, version) {
            assert_eq!(command.fid(version), Some(fid.without_sve_hint()));
        }
    }
    Input::Word(word) => {
        assert_eq!(u64::from(ReturnCode::from(word)), word);
        let (op0, op1, crn, crm, op2) = SysregAddress(word).parts();
        assert_eq!(SysregAddress::new(op0, op1, crn, crm, op2).0, word & 0xffff);
    }
    Input::Exit1_1(page) => {
        let exit = page.decode();
        let known = !matches!(exit.reason, PlaneExitReason::Unknown(_));
        assert!(!known || u64::from(u8::from(exit.reason)) == page.exit_reason);
    }
    Input::Exit2_0(page) => assert_eq!(u8::from(page.decode().reason), page.exit_reason),
});
