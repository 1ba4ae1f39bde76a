//! Physical SMMUs and streams between devices: what names them.

use rmi_abi::device::{PdevStreamParamsPage, PsmmuIrq, PsmmuIrqSet};
use rmi_abi::{Dialect, Pa};
use rmi_host::command::PdevGranule;
use rmi_host::conduit::NO_ANSWER;
use rmi_host::{Error, Failed, Machine};
use zerocopy::FromZeros;

use crate::fixture::{Fake, PAGE, delegated, host};

const BET3: Dialect = Dialect::V2_0Bet3;
const A: u64 = 0xa000_0000;
const B: u64 = 0xb000_0000;

#[test]
fn sound_3_smmus_and_streams_of_another_machine_are_refused_before_any_call() {
    let (here, there) = (Fake::default(), Fake::of(Machine::simulated()));
    here.always([0, 7, 0, 0, 0, 0, 0, 0]);
    let (channel, other) = (here.channel(BET3), there.channel(BET3));
    let foreign = |error: Error| assert!(matches!(error, Error::OtherMachine { .. }), "{error}");

    let psmmu = channel.psmmu(Pa::new(0x2b40_0000));
    assert_ne!(psmmu, other.psmmu(psmmu.pa()));
    foreign(other.psmmu_deactivate(psmmu).unwrap_err());
    foreign(other.psmmu_st_l2_create(psmmu, 1).unwrap_err());
    foreign(other.psmmu_st_l2_destroy(psmmu, 1).unwrap_err());
    foreign(other.psmmu_irq_notify(psmmu, PsmmuIrqSet::EVENTQ).unwrap_err());
    foreign(other.psmmu_event_consume(psmmu, PsmmuIrq::Priq).unwrap_err());

    let pdev = PdevGranule::new(delegated(A, PAGE));
    let params = PdevStreamParamsPage::new_zeroed();
    let mut page = host(B, PAGE);
    let mut stream = channel.pdev_stream_connect(&pdev, None, &mut page, &params).unwrap();
    assert_eq!((stream.pdev_1().pa(), stream.handle()), (Pa::new(A), 7));
    foreign(other.pdev_stream_info(&stream).unwrap_err());
    foreign(other.pdev_stream_disconnect(&mut stream).unwrap_err());
    let Failed { error, kept } = other.pdev_stream_complete(stream).unwrap_err();
    foreign(error);
    assert!(there.calls().is_empty() && kept.is_some());
}

#[test]
fn sound_3_a_stream_ends_with_its_disconnection() {
    let fake = Fake::default();
    fake.always([0, 7, 0, 0, 0, 0, 0, 0]);
    let channel = fake.channel(BET3);
    let pdev = PdevGranule::new(delegated(A, PAGE));
    let params = PdevStreamParamsPage::new_zeroed();
    let mut page = host(B, PAGE);
    let stream = channel.pdev_stream_connect(&pdev, None, &mut page, &params).unwrap();

    // A connection is complete, and so is a refresh: the stream is there. So it is when one of
    // these is refused or ends without a clear answer.
    let stream = channel.pdev_stream_complete(stream).unwrap().unwrap();
    channel.pdev_stream_key_refresh(&stream).unwrap();
    let stream = channel.pdev_stream_complete(stream).unwrap().unwrap();
    fake.next(NO_ANSWER);
    let mut stream = channel.pdev_stream_complete(stream).unwrap_err().kept.unwrap();
    // A disconnection that is refused, and one that is complete.
    fake.next([1, 0, 0, 0, 0, 0, 0, 0]);
    assert!(channel.pdev_stream_disconnect(&mut stream).unwrap_err().is_clean());
    let mut stream = channel.pdev_stream_complete(stream).unwrap().unwrap();
    channel.pdev_stream_disconnect(&mut stream).unwrap();
    fake.next([1, 0, 0, 0, 0, 0, 0, 0]);
    let stream = channel.pdev_stream_complete(stream).unwrap_err().kept.unwrap();
    assert!(channel.pdev_stream_complete(stream).unwrap().is_none());

    // One of which nobody knows whether it has begun, or ended.
    for unclear in [[true, false], [false, true]] {
        let mut stream = channel.pdev_stream_connect(&pdev, None, &mut page, &params).unwrap();
        let answer = |unclear| match unclear {
            true => NO_ANSWER,
            false => [0; 8],
        };
        fake.next(answer(unclear[0]));
        assert_eq!(channel.pdev_stream_disconnect(&mut stream).is_err(), unclear[0]);
        fake.next(answer(unclear[1]));
        match channel.pdev_stream_complete(stream) {
            Ok(left) => assert!(left.is_none()),
            Err(Failed { kept, .. }) => assert!(unclear[1] && kept.is_none()),
        }
    }
}
