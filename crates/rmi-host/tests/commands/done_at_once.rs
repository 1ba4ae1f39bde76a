//! Realms and RECs of RMI 1.0: their commands are done when the call returns.

use core::mem::offset_of;

use rmi_abi::realm::RealmParamsPage;
use rmi_abi::rec::{Mpidr, RecParams, RecParamsPage};
use rmi_abi::{Command, Dialect, Pa, ResultWord, Status};
use rmi_host::{Error, Progress, RecGranule, Subject, Violation};
use zerocopy::FromZeros;

use crate::cases::RD;
use crate::fixture::{Fake, PAGE, delegated, host, rd};
use crate::one_by_one::{answers, call};

const V1: Dialect = Dialect::V1_0;
const REC: u64 = 0x8000_2000;
const PARAMS: u64 = 0x9000_0000;

/// The parameters of a REC with two auxiliary granules.
fn params() -> RecParamsPage {
    let mpidr = Mpidr::from_index(17);
    let mut params = RecParams { runnable: true, mpidr, pc: 0x1234, gprs: [7; 8] }.encode();
    params.num_aux = 2;
    for (slot, address) in params.aux.iter_mut().zip([0xa000_0000, 0xb000_0000]) {
        *slot = address;
    }
    params
}

#[test]
fn a_rec_is_made_with_the_granules_that_the_parameters_name() {
    let fake = Fake::default();
    let mut page = host(PARAMS, PAGE);
    let done = fake.channel(V1).rec_create(&rd(RD), &delegated(REC, PAGE), &mut page, &params());
    assert!(matches!(done, Ok(Progress::Done(_))));
    assert_eq!(fake.calls(), [call(Command::RecCreate, [RD, REC, PARAMS])]);
    let word = |offset: usize| fake.peek(PARAMS + offset as u64);
    assert_eq!(word(offset_of!(RecParamsPage, num_aux)), 2);
    let aux = offset_of!(RecParamsPage, aux);
    assert_eq!([aux, aux + 8, aux + 16].map(word), [0xa000_0000, 0xb000_0000, 0]);
    assert_eq!(word(offset_of!(RecParamsPage, mpidr)), 0x101);

    fake.always([1, 0, 0, 0, 0, 0, 0, 0]);
    let made = fake.channel(V1).rec_create(&rd(RD), &delegated(REC, PAGE), &mut page, &params());
    let error = made.unwrap_err();
    assert_eq!(error.status(), Some(Status::ErrorInput));
    assert_eq!(error.subject(), Some(Subject::Pa(Pa::new(REC))));
    assert!(error.is_clean());
}

#[test]
fn commands_of_1_0_are_no_operations() {
    // One that answers "incomplete" breaks the specification.
    let fake = answers(ResultWord::from_status(Status::Incomplete).0, 7, 0);
    let channel = fake.channel(V1);
    let (rd, rec) = (rd(RD), RecGranule::new(delegated(REC, PAGE)));
    let mut page = host(PARAMS, PAGE);
    let realm = RealmParamsPage::new_zeroed();
    for error in [
        channel.realm_create(&delegated(RD, PAGE), &mut page, &realm).unwrap_err(),
        channel.realm_destroy(&rd).unwrap_err(),
        channel.rec_create(&rd, &delegated(REC, PAGE), &mut page, &params()).unwrap_err(),
        channel.rec_destroy(&rec).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Violation { violation: Violation::Status, .. }), "{error}");
        assert!(!error.is_clean());
    }
    assert_eq!(fake.calls().len(), 4);
    fake.always([0; 8]);
    assert!(matches!(channel.realm_destroy(&rd), Ok(Progress::Done(_))));
    assert!(matches!(channel.rec_destroy(&rec), Ok(Progress::Done(_))));
    assert_eq!(fake.calls().len(), 6);
    // Nothing is to be terminated.
    channel.realm_terminate(&rd).unwrap();
    assert_eq!(fake.calls().len(), 6);
}
