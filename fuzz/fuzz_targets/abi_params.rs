//! Parameter pages: any bytes are refused or decoded, and what is decoded is stable.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use rmi_abi::Dialect;
use rmi_abi::device::{
    PdevParams, PdevParamsEncoded, PdevParamsPage, PdevParamsPageBet0, PublicKeyParamsPage,
};
use rmi_abi::realm::{RealmParams, RealmParamsPage};
use rmi_abi::rec::{RecParams, RecParamsPage};
use rmi_abi::rmm::RmmConfigPage;

#[derive(Arbitrary, Debug)]
enum Input {
    Realm(RealmParamsPage),
    RealmValue(RealmParams),
    Rec(RecParamsPage),
    Rmm(RmmConfigPage),
    Pdev(PdevParamsPage),
    PdevBet0(PdevParamsPageBet0),
    PdevValue(PdevParams),
    Key(PublicKeyParamsPage),
}

fuzz_target!(|input: (Dialect, Input)| {
    let (dialect, input) = input;
    match input {
        Input::Realm(page) => {
            if let Ok(params) = RealmParams::decode(&page, dialect) {
                let again = params.encode(dialect).expect("what is read can be written");
                assert_eq!(RealmParams::decode(&again, dialect), Ok(params));
            }
        }
        Input::RealmValue(params) => {
            if let Ok(page) = params.encode(dialect) {
                let read =
                    RealmParams::decode(&page, dialect).expect("what is written can be read");
                assert_eq!(RealmParams { lpa2: params.lpa2, ..read }, params);
            }
        }
        Input::Rec(page) => {
            if let Ok(params) = RecParams::decode(&page) {
                assert_eq!(RecParams::decode(&params.encode()), Ok(params));
            }
        }
        Input::Rmm(page) => {
            if let Some(config) = page.decode() {
                assert_eq!(config.encode().decode(), Some(config));
            }
        }
        Input::Pdev(page) => {
            let _ = PdevParamsEncoded::SinceBet1(page).decode();
        }
        Input::PdevBet0(page) => {
            let _ = PdevParamsEncoded::Bet0(page).decode();
        }
        Input::PdevValue(params) => {
            if let Ok(page) = params.encode(dialect) {
                assert_eq!(page.decode(), Some(params));
            }
        }
        Input::Key(page) => {
            let _ = (page.key(), page.metadata());
        }
    }
});
